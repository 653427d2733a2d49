"""The journal: written, replayed into state, and verified by code of its own."""
