"""Arduino Mega 2560: schematic Arduino MEGA 2560 Rev3."""

from __future__ import annotations

from tinamou.boards.avr.common import MEGA_PINS, EepromFile, FuseBytes, LockBits, Traced, VcdFileName, arduino
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

TITLE = "Arduino Mega 2560 (ATmega2560)"


@board("arduino-mega-2560-v3", TITLE, arch="avr", cpu="ATmega2560", alias="mega2560", ram=8 * KiB)
def arduino_mega_2560(m: Machine, *, eeprom: EepromFile = "", fuses: FuseBytes = "", lock: LockBits = "", vcd: VcdFileName = "",
                      trace: Traced = "all") -> None:
    """54 digital and sixteen analog pins, a serial port over USB."""
    arduino(m, "ATmega2560", TITLE, MEGA_PINS, eeprom=eeprom, fuses=fuses, lock=lock, vcd=vcd, trace=trace)
