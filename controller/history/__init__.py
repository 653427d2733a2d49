"""Telemetry and transitions to a time-series database, spooled while it is away."""
