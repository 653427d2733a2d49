"""What the node feels: devices sampled at their pace, and judged."""
