"""OpenTitan RISC-V timer: OpenTitan hardware documentation, RV_TIMER HWIP technical specification (one hart, one timer)."""

from __future__ import annotations

from tinamou.machine.clock import Clock
from tinamou.machine.device import Device, timer
from tinamou.machine.lines import line, state
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg


class IbexTimer(Device, type="ibex-timer", size=0x400, access=(4, 4)):
    """A 64-bit counter that adds `step` every `prescale` + 1 cycles, and one comparator."""

    clock: Clock = prop(OBJECT)

    ALERT_TEST = Reg(0x000)
    alert = ALERT_TEST.unimpl(0)
    CTRL = Reg(0x004)
    active = CTRL.rw(0)
    CFG0 = Reg(0x100)
    step = CFG0.rw(23, 16, reset=1)
    prescale = CFG0.rw(11, 0)
    TIMER_V_LOWER = Reg(0x104)
    value_low = TIMER_V_LOWER.rw()
    TIMER_V_UPPER = Reg(0x108)
    value_high = TIMER_V_UPPER.rw()
    COMPARE_LOWER = Reg(0x10C)
    compare_low = COMPARE_LOWER.rw(31, 0, reset=0xFFFF_FFFF)
    COMPARE_UPPER = Reg(0x110)
    compare_high = COMPARE_UPPER.rw(31, 0, reset=0xFFFF_FFFF)
    INTR_ENABLE = Reg(0x114)
    enable = INTR_ENABLE.rw(0)
    INTR_STATE = Reg(0x118)
    pending = INTR_STATE.w1c(0)
    INTR_TEST = Reg(0x11C)
    test = INTR_TEST.wo(0)

    start = state(0)                    # tick at which `held` was the value
    held = state(0)

    @property
    def value(self) -> int:
        gone = (self.clock.ticks - self.start) // (self.prescale + 1) * self.step if self.active else 0
        return self.held + gone & 2**64 - 1

    @property
    def compare(self) -> int:
        return self.compare_high << 32 | self.compare_low

    def hold(self, value: int) -> None:
        self.held, self.start = value, self.clock.ticks

    def write(self, offset: int, value: int, size: int) -> None:
        if offset in (0x004, 0x100):
            now = self.value
            super().write(offset, value, size)
            self.hold(now)
        else:
            super().write(offset, value, size)
        self.plan()
        self.settle()

    @value_low.computed
    def read_low(self) -> int:
        return self.value

    @value_high.computed
    def read_high(self) -> int:
        return self.value >> 32

    @value_low.on_write
    def set_low(self, value: int) -> None:
        self.hold(self.value >> 32 << 32 | value)

    @value_high.on_write
    def set_high(self, value: int) -> None:
        self.hold(self.value & 0xFFFF_FFFF | value << 32)

    @test.on_write
    def force(self, on: int) -> None:
        self.pending |= on

    def plan(self) -> None:
        self.expire.cancel()
        if not self.active or not self.step:
            return
        if self.value >= self.compare:
            self.pending = 1
            return
        steps = -(-(self.compare - self.held) // self.step)
        if steps < 1 << 62:
            self.expire.at(self.start + steps * (self.prescale + 1))

    @timer
    def expire(self) -> None:
        self.plan()

    @line
    def irq(self) -> int:
        return self.pending & self.enable
