"""AVR: the 8-bit RISC of Atmel and Microchip."""
