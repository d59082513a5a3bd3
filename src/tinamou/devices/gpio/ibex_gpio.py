"""OpenTitan GPIO: OpenTitan hardware documentation, GPIO HWIP technical specification."""

from __future__ import annotations

from tinamou.machine.device import Device
from tinamou.machine.lines import lines, pins, state
from tinamou.machine.registers import Reg


class IbexGpio(Device, type="ibex-gpio", size=0x1000, access=(4, 4)):
    """32 pins; outputs are written directly or through halves with a mask."""

    INTR_STATE = Reg(0x00)
    pending = INTR_STATE.w1c()
    INTR_ENABLE = Reg(0x04)
    enable = INTR_ENABLE.rw()
    INTR_TEST = Reg(0x08)
    test = INTR_TEST.wo()
    ALERT_TEST = Reg(0x0C)
    alert = ALERT_TEST.unimpl(0)
    DATA_IN = Reg(0x10)
    data_in = DATA_IN.ro()
    DIRECT_OUT = Reg(0x14)
    out = DIRECT_OUT.rw()
    MASKED_OUT_LOWER = Reg(0x18)
    out_low = MASKED_OUT_LOWER.rw()
    MASKED_OUT_UPPER = Reg(0x1C)
    out_high = MASKED_OUT_UPPER.rw()
    DIRECT_OE = Reg(0x20)
    oe = DIRECT_OE.rw()
    MASKED_OE_LOWER = Reg(0x24)
    oe_low = MASKED_OE_LOWER.rw()
    MASKED_OE_UPPER = Reg(0x28)
    oe_high = MASKED_OE_UPPER.rw()
    RISING = Reg(0x2C)
    rising = RISING.rw()
    FALLING = Reg(0x30)
    falling = FALLING.rw()
    LVLHIGH = Reg(0x34)
    level_high = LVLHIGH.rw()
    LVLLOW = Reg(0x38)
    level_low = LVLLOW.rw()
    FILTER = Reg(0x3C)
    filtered = FILTER.rw()

    outside = state(0)
    seen = state(0)

    def pads(self) -> int:
        return self.out & self.oe | self.outside & ~self.oe & 0xFFFF_FFFF

    @data_in.computed
    def read_pads(self) -> int:
        return self.pads()

    @test.on_write
    def force(self, value: int) -> None:
        self.pending |= value

    @out_low.computed
    def read_out_low(self) -> int:
        return self.out & 0xFFFF

    @out_high.computed
    def read_out_high(self) -> int:
        return self.out >> 16

    @oe_low.computed
    def read_oe_low(self) -> int:
        return self.oe & 0xFFFF

    @oe_high.computed
    def read_oe_high(self) -> int:
        return self.oe >> 16

    @out_low.on_write
    def set_out_low(self, value: int) -> None:
        self.out = masked(self.out, value, 0)

    @out_high.on_write
    def set_out_high(self, value: int) -> None:
        self.out = masked(self.out, value, 16)

    @oe_low.on_write
    def set_oe_low(self, value: int) -> None:
        self.oe = masked(self.oe, value, 0)

    @oe_high.on_write
    def set_oe_high(self, value: int) -> None:
        self.oe = masked(self.oe, value, 16)

    def settle(self) -> None:
        """Latch edges and levels, then drive the lines."""
        if self._ready:
            now = self.pads()
            changed = now ^ self.seen
            self.pending |= (changed & now & self.rising | changed & ~now & self.falling
                             | now & self.level_high | ~now & self.level_low) & 0xFFFF_FFFF
            self.seen = now
        super().settle()

    @pins(32)
    def pad(self, n: int, level: bool) -> None:
        """An outside part drives pin `n`."""
        self.outside = self.outside & ~(1 << n) | level << n

    @lines(32)
    def irq(self, n: int) -> int:
        return (self.pending & self.enable) >> n & 1

    @lines(32)
    def output(self, n: int) -> int:
        return (self.out & self.oe) >> n & 1


def masked(old: int, value: int, shift: int) -> int:
    """Bits 31:16 select which of the sixteen pins from `shift` on take bits 15:0."""
    mask = value >> 16 << shift
    return old & ~mask | value << shift & mask
