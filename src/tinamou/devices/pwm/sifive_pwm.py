"""SiFive pulse-width modulator: FE310-G002 manual, chapter 20."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.machine.clock import Clock
from tinamou.machine.device import Device, timer
from tinamou.machine.lines import lines, state
from tinamou.machine.props import OBJECT, U32, prop
from tinamou.machine.registers import Bank, Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed


class SifivePwm(Device, type="sifive-pwm", compatible="sifive,pwm0", node="pwm", size=0x100, access=(4, 4)):
    """A scaled counter and four comparators, each an output and an interrupt."""

    bits: int = prop(U32, default=16, name="cmp-width", hidden=True, help="bits of a comparator")
    clock: Clock = prop(OBJECT, default=None)

    PWMCFG = Reg(0x00)
    ip = PWMCFG.rw(31, 28)
    gang = PWMCFG.rw(27, 24)
    center = PWMCFG.rw(19, 16)
    one_shot = PWMCFG.rw(13)
    always = PWMCFG.rw(12)
    deglitch = PWMCFG.rw(10)
    zero_at_0 = PWMCFG.rw(9)
    sticky = PWMCFG.rw(8)
    scale = PWMCFG.rw(3, 0)
    PWMCOUNT = Reg(0x08)
    count = PWMCOUNT.rw(30, 0)
    PWMS = Reg(0x10)
    scaled = PWMS.ro()
    COMPARE = Bank(0x20, stride=4, count=4)
    PWMCMP = COMPARE.reg(0)
    compare = PWMCMP.rw(31, 0, reset=0xFFFF)

    base = state(0)                     # the tick at which count was 0
    frozen = state(0)                   # count while the counter stands

    @property
    def running(self) -> bool:
        return bool(self.always or self.one_shot)

    @property
    def top(self) -> int:
        """The scaled value after which the counter starts again."""
        top = (1 << self.bits) - 1
        return min(top, self.compare[0]) if self.zero_at_0 else top

    @property
    def period(self) -> int:
        return self.top + 1 << self.scale

    @count.computed
    def read_count(self) -> int:
        if not self.running:
            return self.frozen
        gone = self.clock.ticks - self.base
        return gone % self.period if self.always or gone < self.period else 0

    @count.on_write
    def set_count(self, value: int) -> None:
        self.frozen, self.base = value, self.clock.ticks - value
        self.plan()

    @scaled.computed
    def read_scaled(self) -> int:
        return self.count >> self.scale & (1 << self.bits) - 1

    def write(self, offset: int, value: int, size: int) -> None:
        before = self.count
        super().write(offset, value, size)
        if offset == 0:
            self.frozen, self.base = before, self.clock.ticks - before
        self.plan()
        self.settle()

    def levels(self) -> int:
        now = self.scaled
        return sum((now >= c) << n for n, c in enumerate(self.compare))

    def plan(self) -> None:
        """Sleep until a comparator or the end of the period comes up."""
        self.latch()
        self.change.cancel()
        if not self.running:
            return
        now = self.count
        ahead = [c << self.scale for c in self.compare if now < c << self.scale <= self.top << self.scale]
        self.change.after(max(1, min([*ahead, self.period]) - now))

    def latch(self) -> None:
        self.ip = (self.ip if self.sticky else 0) | self.levels()

    @timer
    def change(self) -> None:
        if self.one_shot and not self.always and self.clock.ticks - self.base >= self.period:
            self.one_shot = self.frozen = 0
        self.plan()

    @lines(4)
    def irq(self, n: int) -> int:
        return self.ip >> n & 1

    @lines(4)
    def output(self, n: int) -> int:
        return self.levels() >> n & 1

    def fdt(self, node: Node, placed: Placed) -> None:
        node["#pwm-cells"] = 0
