"""Alarms: their life, the book of them, and how two views of one are joined."""
