"""The control room: judge, warn, tell, remember."""
