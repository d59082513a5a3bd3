"""Arduino Mega: schematic Arduino Mega of 2009."""

from __future__ import annotations

from tinamou.boards.avr.common import MEGA_PINS, EepromFile, FuseBytes, LockBits, Traced, VcdFileName, arduino
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

TITLE = "Arduino Mega (ATmega1280)"


@board("arduino-mega", TITLE, arch="avr", cpu="ATmega1280", alias="mega", ram=8 * KiB)
def arduino_mega(m: Machine, *, eeprom: EepromFile = "", fuses: FuseBytes = "", lock: LockBits = "", vcd: VcdFileName = "",
                 trace: Traced = "all") -> None:
    """54 digital and sixteen analog pins, a serial port over USB."""
    arduino(m, "ATmega1280", TITLE, MEGA_PINS, eeprom=eeprom, fuses=fuses, lock=lock, vcd=vcd, trace=trace)
