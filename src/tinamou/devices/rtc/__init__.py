"""Clocks that know the date."""
