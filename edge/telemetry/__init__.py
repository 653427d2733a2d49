"""What the node says and may lose: its Sparkplug session."""
