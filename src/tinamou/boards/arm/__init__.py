"""Boards with Arm processors."""
