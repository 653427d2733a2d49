"""The verbs of `bucium`, one file a group. They parse and print; what they do is done elsewhere."""
