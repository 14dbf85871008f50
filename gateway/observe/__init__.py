"""Listeners of the engine's events: metrics and logs."""
