"""Pulse-width modulators."""
