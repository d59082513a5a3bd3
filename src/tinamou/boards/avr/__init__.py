"""Boards with AVR microcontrollers."""
