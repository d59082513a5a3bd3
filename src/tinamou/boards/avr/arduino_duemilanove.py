"""Arduino Duemilanove: schematic Arduino Duemilanove of 2009."""

from __future__ import annotations

from tinamou.boards.avr.common import UNO_PINS, EepromFile, FuseBytes, LockBits, Traced, VcdFileName, arduino
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

TITLE = "Arduino Duemilanove (ATmega168)"


@board("arduino-duemilanove", TITLE, arch="avr", cpu="ATmega168", alias="2009", ram=1 * KiB)
def arduino_duemilanove(m: Machine, *, eeprom: EepromFile = "", fuses: FuseBytes = "", lock: LockBits = "", vcd: VcdFileName = "",
                        trace: Traced = "all") -> None:
    """Fourteen digital and six analog pins, a serial port over USB."""
    arduino(m, "ATmega168", TITLE, UNO_PINS, eeprom=eeprom, fuses=fuses, lock=lock, vcd=vcd, trace=trace)
