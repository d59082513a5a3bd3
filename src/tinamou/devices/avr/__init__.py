"""Peripherals of AVR microcontrollers."""
