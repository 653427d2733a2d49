"""Sirens as the control room keeps them ready: readiness, coverage, silent tests and exercises on their calendars."""
