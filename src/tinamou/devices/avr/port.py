"""I/O ports of AVR microcontrollers: ATmega48A-328P data sheet, chapter 14; ATmega640-2561 data sheet, chapter 13.

A pin is an output while DDR says so, an input with or without pull-up otherwise; peripherals may take over the output
(`override`) or its direction (`direct`). The input synchronizer shows a level one cycle after it was there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.lines import state
from tinamou.machine.pins import PULL_UP, BoardPin, Driver, Wave
from tinamou.machine.props import OBJECT, U8, prop
from tinamou.machine.registers import Reg


class Port(AvrDevice, type="avr-port", size=3):
    """Up to eight pins. `pins` are the board's pins by bit number."""

    present: int = prop(U8, default=0xFF, help="mask of the bits that have a pin")
    pins_: dict[int, BoardPin] = prop(OBJECT, default=None)

    PIN = Reg(0)
    level = PIN.w1t()
    DDR = Reg(1)
    ddr = DDR.rw()
    PORT = Reg(2)
    out = PORT.rw()

    before = state(0)           # what the synchronizer shows of the bits `late` until `fresh`
    late = state(0)
    fresh = state(0)            # cycle from which on it shows the levels of now
    pull_up_disable = state(False)
    analog = state(0)           # DIDR: digital input switched off

    polled = ("DDR", "PORT")

    def setup(self) -> None:
        super().setup()
        self.waves: dict[int, list[Wave]] = {}
        self.directions: dict[int, bool] = {}
        self.drivers: dict[int, Driver] = {}
        self._driven = (0, 0)               # DDR and PORT as the drivers have them
        self.polls = 0
        letter = self.name[-1:].upper() or "?"
        for n, pin in sorted((self.pins_ or {}).items()):
            self.drivers[n] = Driver(f"P{letter}{n}", pin.net)
        self._end: list[Any] = []
        self._left: list[Wave] = []

    def on_reset(self, kind: str) -> None:
        self.waves.clear()
        self.directions.clear()
        self._drive_all()

    # --- outputs

    def drive(self, n: int) -> None:
        """Put on pin `n` what registers and peripherals say."""
        d = self.drivers.get(n)
        if d is None:
            return
        bit = 1 << n
        if self.directions.get(n, bool(self.ddr & bit)):
            claims = self.waves.get(n)
            if claims:
                d.follow(claims[-1])
            else:
                d.level(bool(self.out & bit))
        elif self.out & bit and not self.pull_up_disable:
            d.set(d.net.vcc, PULL_UP)
        else:
            d.release()

    def override(self, n: int, wave: Wave, on: bool) -> None:
        """A peripheral's output takes the place of PORTxn, or gives it back. Of several the latest has it."""
        claims = [w for w in self.waves.get(n, []) if w is not wave]
        self.waves[n] = [*claims, wave] if on else claims
        self._change(n)

    def direct(self, n: int, output: bool | None) -> None:
        """A peripheral decides the direction of pin `n` (None gives it back to DDR)."""
        if output is None:
            self.directions.pop(n, None)
        else:
            self.directions[n] = output
        self._change(n)

    def _change(self, n: int) -> None:
        d = self.drivers.get(n)
        if d is not None:
            was = d.net.level
            self.drive(n)
            if d.net.level != was:
                self._changed(1 << n, was << n)

    def _drive_all(self) -> None:
        self._driven = self.ddr, self.out
        for n in self.drivers:
            self.drive(n)

    def _written(self) -> None:
        """DDR or PORT have other bits."""
        ddr, out = self._driven
        bits = (self.ddr ^ ddr | self.out ^ out) & 0xFF
        self._driven = self.ddr, self.out
        while bits:
            self._change(bits.bit_length() - 1)
            bits ^= 1 << bits.bit_length() - 1

    @out.on_write
    def write_port(self, value: int) -> None:
        self._written()

    @ddr.on_write
    def write_ddr(self, value: int) -> None:
        self._written()

    @level.on_write
    def toggle(self, bits: int) -> None:
        """Writing ones to PINx toggles PORTx."""
        self.out ^= bits & self.present
        self._written()

    def disable_pull_ups(self, on: bool) -> None:
        """PUD in MCUCR."""
        self.pull_up_disable = on
        for n in self.drivers:
            self._change(n)

    def digital_off(self, mask: int) -> None:
        """DIDR."""
        self.analog = mask

    # --- inputs

    def _sample(self) -> int:
        value = 0
        for n, d in self.drivers.items():
            if d.net.level:
                value |= 1 << n
        return value

    def _changed(self, bits: int, before: int) -> None:
        """These pins had the levels `before`: so they are seen for one more cycle."""
        if self.machine is not None and self.machine.pins.quiet:
            return
        fresh = self.cycles + 2
        if self.fresh != fresh:
            self.late, self.fresh = 0, fresh
        self.before = self.before & ~(bits & ~self.late) | before & ~self.late
        self.late |= bits
        self.show("PIN", None)

    def _edge(self, n: int, level: bool) -> None:
        self._changed(1 << n, (not level) << n)

    @level.computed
    def value(self) -> int:
        shown = self._sample()
        if self.cycles < self.fresh:
            shown = shown & ~self.late | self.before & self.late
        return shown & self.present & ~self.analog

    @level.on_read
    def read_pins(self) -> int:
        """Polled often, and nothing there changes by itself: the CPU need not ask until a level changes."""
        value = int(self.value())
        self.polls += 1
        if self.polls > 16 and self.hints is not None and self.cycles >= self.fresh \
                and not any(x.wave is not None for d in self.drivers.values() for x in d.net.drivers):
            if not self._end:
                self._end = [d.net.listen(partial(self._edge, n)) for n, d in self.drivers.items()]
            self.show("PIN", value)
        return value

    def load_more(self, saved: dict[str, Any]) -> None:
        self._left = [w for d in self.drivers.values() if (w := d.forget()) is not None]

    def restored(self) -> None:
        for wave in self._left:
            wave.watch(False)
        self._left = []
        self._drive_all()
        self.settle()
