"""EEPROM of AVR microcontrollers: ATmega48A-328P data sheet, section 8.4; ATmega640-2561 data sheet, section 8.3."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.clock import Clock
from tinamou.machine.device import Timer
from tinamou.machine.lines import line, state
from tinamou.machine.props import OBJECT, STR, U16, PropertyError, prop
from tinamou.machine.registers import Reg

BOTH, ERASE, WRITE, _ = range(4)
TIMES = {BOTH: 3_400_000, ERASE: 1_800_000, WRITE: 1_800_000}      # ns: table 8-1


class Eeprom(AvrDevice, type="avr-eeprom", size=4):
    """Bytes that outlive the power supply; with `file` they outlive the emulator."""

    bytes_: int = prop(U16, default=1024, name="bytes")
    file: str = prop(STR, default="", help="where the content is kept; made when it does not exist")
    cpu: Any = prop(OBJECT, default=None)
    rc: Clock = prop(OBJECT, default=None, help="nanoseconds: the EEPROM's own oscillator")
    asleep: Callable[[], bool] = prop(OBJECT, default=lambda: False, help="in a sleep mode that a finished write does not end")

    EECR = Reg(0)
    eepm = EECR.rw(5, 4, sticky=True)
    eerie = EECR.rw(3)
    eepe = EECR.w1s(1)              # before EEMPE: it looks at an earlier write of that
    eempe = EECR.w1s(2)
    eere = EECR.wo(0)
    EEDR = Reg(1)
    data = EEDR.rw()
    EEARL = Reg(2)
    low = EEARL.rw(sticky=True)
    EEARH = Reg(3)
    high = EEARH.rw(3, 0, sticky=True)

    polled = ("EECR",)
    unlocked = state(-1)            # cycle up to which EEPE is accepted
    pending = state([0, 0])         # address and value being written

    def setup(self) -> None:
        super().setup()
        self.content = bytearray(b"\xff" * self.bytes_)
        self.lost = False               # the file can no longer be written
        if self.rc is None:
            self.rc = Clock(1_000_000_000)
        if self.file:
            self._open()

    def _open(self) -> None:
        try:
            if os.path.exists(self.file):
                size = os.path.getsize(self.file)
                if size != self.bytes_:
                    raise PropertyError(f"EEPROM file '{self.file}' has {size} bytes, the EEPROM of this part has {self.bytes_}",
                                        f"use a file of {self.bytes_} bytes, or the name of a new one")
                with open(self.file, "rb") as f:
                    self.content[:] = f.read(self.bytes_)
            else:
                self.keep()
        except OSError as e:
            raise PropertyError(f"Could not open EEPROM file '{self.file}': {e.strerror}") from None

    def keep(self) -> None:
        """Write the whole content to the file: all of it or nothing."""
        if self.file:
            new = self.file + ".new"
            try:
                with open(new, "wb") as f:
                    f.write(self.content)
                os.replace(new, self.file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(new)
                raise

    def fill(self, address: int, data: bytes) -> None:
        """Content that comes with a program (its section .eeprom). Raises PropertyError when it does not fit."""
        if address + len(data) > self.bytes_:
            raise PropertyError(f"EEPROM data up to {address + len(data) - 1:#x} does not fit into {self.bytes_} bytes")
        self.content[address : address + len(data)] = data

    @property
    def at(self) -> int:
        return (self.high << 8 | self.low) % self.bytes_

    @eempe.on_write
    def unlock(self, on: int) -> None:
        if on:
            self.unlocked = self.cycles + 4

    @eempe.computed
    def open_(self) -> int:
        return self.cycles <= self.unlocked

    def visible(self, name: str) -> int | None:
        return None if self.cycles <= self.unlocked else super().visible(name)

    @eepe.computed
    def busy(self) -> int:
        return self.written.deadline is not None

    @eepe.on_write
    def start(self, on: int) -> None:
        if on and not self.busy() and self.cycles <= self.unlocked and self.eepm in TIMES:
            self.unlocked = -1
            self.pending = [self.at, self.data]
            self.written.after(TIMES[self.eepm])
            if self.cpu is not None:
                self.cpu.stall(2)

    @eere.on_write
    def fetch(self, on: int) -> None:
        if on and not self.busy():
            self.data = self.content[self.at]
            if self.cpu is not None:
                self.cpu.stall(4)

    def _written(self) -> None:
        at, value = self.pending
        self.content[at] = 0xFF if self.eepm == ERASE else self.content[at] & value if self.eepm == WRITE else value
        if self.file and not self.lost:
            try:
                with open(self.file, "r+b") as f:
                    f.seek(at)
                    f.write(self.content[at : at + 1])
            except OSError as e:
                self.lost = True
                self.log.sink(f"tinamou: Could not write EEPROM file '{self.file}': {e.strerror}; it keeps its content from now on")

    written = Timer(_written, "rc")
    written.name = "written"

    @line
    def ready(self) -> int:
        return self.eerie and not self.busy() and not self.asleep()

    def save_more(self) -> dict[str, Any]:
        return {"content": bytes(self.content)}

    def load_more(self, saved: dict[str, Any]) -> None:
        self.content[:] = saved["content"]
