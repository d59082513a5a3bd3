"""External and pin change interrupts: ATmega48A-328P data sheet, chapter 13; ATmega640-2561 data sheet, chapter 15."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.lines import lines, state
from tinamou.machine.pins import Net
from tinamou.machine.props import OBJECT, U8, prop
from tinamou.machine.registers import Reg

LOW, ANY, FALLING, RISING = range(4)


class ExternalInterrupts(AvrDevice, type="avr-extint"):
    """INT0 up to INT7 by level or edge, PCINT0 up to PCINT23 in groups of eight.

    `asynchronous` is the mask of the inputs whose edges are seen without clkIO.
    """

    inputs: list[Net] = prop(OBJECT, default=None, help="the INT pins")
    changes: dict[int, Net] = prop(OBJECT, default=None, help="the PCINT pins by number")
    count: int = prop(U8, default=2)
    groups: int = prop(U8, default=3)
    asynchronous: int = prop(U8, default=0)

    EICRA = Reg(0)
    isc_low = EICRA.rw()
    EICRB = Reg(1)
    isc_high = EICRB.rw()
    EIMSK = Reg(2)
    mask = EIMSK.rw()
    EIFR = Reg(3)
    flags = EIFR.w1c()
    PCICR = Reg(4)
    group_enable = PCICR.rw(2, 0)
    PCIFR = Reg(5)
    group_flags = PCIFR.w1c(2, 0)
    PCMSK0 = Reg(6)
    pcmsk0 = PCMSK0.rw()
    PCMSK1 = Reg(7)
    pcmsk1 = PCMSK1.rw()
    PCMSK2 = Reg(8)
    pcmsk2 = PCMSK2.rw()

    polled = ("EIFR", "PCIFR")
    ready = state(True)

    def setup(self) -> None:
        super().setup()
        self.users: list[tuple[int, Callable[[], None]]] = []       # (n, f): parts that INTn triggers
        self._ends: dict[tuple[str, int], Callable[[], None]] = {}

    def on_reset(self, kind: str) -> None:
        self.follow()

    def sense(self, n: int) -> int:
        """ISCn1:0."""
        return (self.isc_high << 8 | self.isc_low) >> 2 * n & 3

    def follow(self) -> None:
        """Listen to exactly the pins that matter now."""
        wanted: dict[tuple[str, int], Callable[[bool], object]] = {}
        for n in range(min(self.count, len(self.inputs or []))):
            if self.mask >> n & 1 or self.sense(n) or any(k == n for k, _ in self.users):
                wanted["int", n] = partial(self.edge, n)
        masks = self.pcmsk2 << 16 | self.pcmsk1 << 8 | self.pcmsk0
        for n in self.changes or {}:
            if masks >> n & 1:
                wanted["pc", n] = partial(self.changed, n)
        for key in [k for k in self._ends if k not in wanted]:
            self._ends.pop(key)()
        for key, f in wanted.items():
            if key not in self._ends:
                net = self.inputs[key[1]] if key[0] == "int" else self.changes[key[1]]
                self._ends[key] = net.listen(f)

    def written(self, value: int) -> None:
        self.follow()

    for _field in (isc_low, isc_high, mask, pcmsk0, pcmsk1, pcmsk2):
        _field.on_write(written)
    del _field

    def edge(self, n: int, level: bool) -> None:
        sense = self.sense(n)
        if (sense == ANY or sense == (RISING if level else FALLING)) and (self.clock.hz or self.asynchronous >> n & 1):
            self.flags |= 1 << n
            for k, f in list(self.users):
                if k == n:
                    f()
        self.settle()

    def changed(self, n: int, level: bool) -> None:
        self.group_flags |= 1 << n // 8
        self.settle()

    @lines("count")
    def external(self, n: int) -> int:
        if not self.mask >> n & 1:
            return 0
        if self.sense(n) == LOW:
            return int(self.inputs is not None and not self.inputs[n].level)
        return self.flags >> n & 1

    @lines("groups")
    def pin_change(self, n: int) -> int:
        return self.group_flags & self.group_enable & 1 << n

    def acknowledge(self, output: str) -> None:
        kind, _, n = output.partition(":")
        if kind == "external":
            self.flags &= ~(1 << int(n))
        else:
            self.group_flags &= ~(1 << int(n))
        self.settle()

    def restored(self) -> None:
        self.follow()
