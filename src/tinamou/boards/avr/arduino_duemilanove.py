"""Arduino Duemilanove: schematic Arduino Duemilanove of 2009."""

from __future__ import annotations

from typing import Annotated

from tinamou.boards.avr.common import arduino
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

TITLE = "Arduino Duemilanove (ATmega168)"
DIGITAL = [*(f"PD{n}" for n in range(8)), *(f"PB{n}" for n in range(6))]
ANALOG = [f"PC{n}" for n in range(6)]


@board("arduino-duemilanove", TITLE, arch="avr", cpu="ATmega168", alias="2009", ram=1 * KiB)
def arduino_duemilanove(m: Machine, *, eeprom: Annotated[str, "File that keeps the content of the EEPROM"] = "",
                        vcd: Annotated[str, "File for a Value Change Dump of pins and buses"] = "",
                        trace: Annotated[str, "What to dump: D13:D9:usart0"] = "all") -> None:
    """Fourteen digital and six analog pins, a serial port over USB."""
    arduino(m, "ATmega168", TITLE, DIGITAL, ANALOG, eeprom=eeprom, vcd=vcd, trace=trace)
