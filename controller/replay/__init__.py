"""Replay: the journal's inputs through the real code once more, every decision compared with what was journaled then."""
