"""Measured promises: each file measures one, against what a user would otherwise use, in one run on one machine."""
