"""The control room: judges, warns, tells and remembers. One process, one journal, one event loop."""
