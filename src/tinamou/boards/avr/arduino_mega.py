"""Arduino Mega: schematic Arduino Mega of 2009."""

from __future__ import annotations

from typing import Annotated

from tinamou.boards.avr.common import arduino
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

TITLE = "Arduino Mega (ATmega1280)"
DIGITAL = """PE0 PE1 PE4 PE5 PG5 PE3 PH3 PH4 PH5 PH6 PB4 PB5 PB6 PB7 PJ1 PJ0 PH1 PH0 PD3 PD2 PD1 PD0 PA0 PA1 PA2 PA3 PA4 PA5
PA6 PA7 PC7 PC6 PC5 PC4 PC3 PC2 PC1 PC0 PD7 PG2 PG1 PG0 PL7 PL6 PL5 PL4 PL3 PL2 PL1 PL0 PB3 PB2 PB1 PB0""".split()
ANALOG = [*(f"PF{n}" for n in range(8)), *(f"PK{n}" for n in range(8))]


@board("arduino-mega", TITLE, arch="avr", cpu="ATmega1280", alias="mega", ram=8 * KiB)
def arduino_mega(m: Machine, *, eeprom: Annotated[str, "File that keeps the content of the EEPROM"] = "",
                 vcd: Annotated[str, "File for a Value Change Dump of pins and buses"] = "",
                 trace: Annotated[str, "What to dump: D13:D9:usart0"] = "all") -> None:
    """54 digital and sixteen analog pins, a serial port over USB."""
    arduino(m, "ATmega1280", TITLE, DIGITAL, ANALOG, eeprom=eeprom, vcd=vcd, trace=trace)
