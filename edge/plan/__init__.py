"""The plan that comes over the alarm lane, and the change to it."""
