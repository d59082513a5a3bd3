"""Arduino UNO: schematic Arduino UNO Rev3."""

from __future__ import annotations

from tinamou.boards.avr.common import UNO_PINS, EepromFile, FuseBytes, LockBits, Traced, VcdFileName, arduino
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

TITLE = "Arduino UNO (ATmega328P)"


@board("arduino-uno", TITLE, arch="avr", cpu="ATmega328P", alias="uno", ram=2 * KiB)
def arduino_uno(m: Machine, *, eeprom: EepromFile = "", fuses: FuseBytes = "", lock: LockBits = "", vcd: VcdFileName = "",
                trace: Traced = "all") -> None:
    """Fourteen digital and six analog pins, a serial port over USB."""
    arduino(m, "ATmega328P", TITLE, UNO_PINS, eeprom=eeprom, fuses=fuses, lock=lock, vcd=vcd, trace=trace)
