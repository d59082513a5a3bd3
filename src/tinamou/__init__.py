"""Tinamou: a machine emulator whose source is Python and whose speed is native."""

__version__ = "0.1.0"
