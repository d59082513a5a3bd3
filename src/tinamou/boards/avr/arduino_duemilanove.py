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


@board("arduino-duemilanove", TITLE, arch="avr", cpu="ATmega168", alias="2009", ram=1 * KiB, fixed_ram=True)
def arduino_duemilanove(m: Machine, *, eeprom: Annotated[str, "File that keeps the content of the EEPROM"] = "") -> None:
    """Fourteen digital and six analog pins, a serial port over USB."""
    arduino(m, "ATmega168", TITLE, DIGITAL, ANALOG, eeprom)
