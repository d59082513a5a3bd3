"""Watchdog timer of AVR microcontrollers: ATmega48A-328P data sheet, section 11.8; ATmega640-2561 data sheet, section 12.4."""

from __future__ import annotations

from typing import Any

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.clock import Clock
from tinamou.machine.device import Timer
from tinamou.machine.lines import line, state
from tinamou.machine.props import BOOL, OBJECT, prop
from tinamou.machine.registers import Reg


class Watchdog(AvrDevice, type="avr-watchdog", size=1):
    """Interrupt, system reset, or first one and then the other. `bite()` resets the part; `forced()` tells WDRF."""

    rc: Clock = prop(OBJECT, default=None, help="nanoseconds: the watchdog has an oscillator of its own, of 128 kHz")
    always: bool = prop(BOOL, default=False, help="the fuse WDTON is programmed")
    bite: Any = prop(OBJECT, default=None)
    forced: Any = prop(OBJECT, default=None)

    WDTCSR = Reg(0)
    wdif = WDTCSR.w1c(7)
    wdie = WDTCSR.rw(6)
    wdp3 = WDTCSR.rw(5)
    wdce = WDTCSR.rw(4)
    wde = WDTCSR.rw(3)
    wdp = WDTCSR.rw(2, 0)

    unlocked = state(-1)        # cycle up to which WDE and WDP may change
    opening = state(False)
    before = state(0)           # the protected bits as they are: WDP3, WDE, WDP2:0

    def setup(self) -> None:
        super().setup()
        if self.rc is None:
            self.rc = Clock(1_000_000_000)

    def on_reset(self, kind: str) -> None:
        if self.always or (self.forced is not None and self.forced()):
            self.wde = 1
        self.before = self._protected()
        self._arm()

    def _protected(self) -> int:
        return self.wdp3 << 5 | self.wde << 3 | self.wdp

    @property
    def timeout(self) -> int:
        """Nanoseconds: 2048 to 1048576 oscillator cycles, table 11-2."""
        return 16_000_000 << min(9, self.wdp3 << 3 | self.wdp)

    @wde.on_write
    def protect(self, _: int) -> None:
        new, old = self._protected(), self.before
        open_ = self.cycles <= self.unlocked
        if self.opening and self.wde:
            self.unlocked = self.cycles + 4
            new = old | 8
        elif open_:
            self.unlocked = -1
        else:
            new = old | new & 8
        if self.always or (self.forced is not None and self.forced()):
            new |= 8
        self.wdp3, self.wde, self.wdp = new >> 5 & 1, new >> 3 & 1, new & 7
        changed = new != old
        self.before = new
        if changed or self.barked.deadline is None or not (self.wde or self.wdie):
            self._arm()

    @wdce.on_write
    def open_sequence(self, on: int) -> None:
        self.opening = bool(on)

    @wdce.computed
    def sequence(self) -> int:
        return self.cycles <= self.unlocked

    def feed(self) -> None:
        """The instruction WDR."""
        self._arm()

    def _arm(self) -> None:
        if self.wde or self.wdie:
            self.barked.after(self.timeout)
        else:
            self.barked.cancel()

    def _bark(self) -> None:
        if self.wdie:
            self.wdif = 1
            self._arm()
        elif self.wde and self.bite is not None:
            self.bite()

    barked = Timer(_bark, "rc")
    barked.name = "barked"

    @line
    def irq(self) -> int:
        return self.wdif & self.wdie

    def acknowledge(self, output: str) -> None:
        self.wdif = 0
        if self.wde:
            self.wdie = 0
        self.settle()
