"""Timer/counters of AVR microcontrollers."""
