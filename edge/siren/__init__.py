"""The node's sirens: orders verified, activations played and proved, the reflex when cut off."""
