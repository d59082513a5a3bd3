"""SiFive GPIO: FE310-G002 manual, chapter 17."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.machine.device import Device
from tinamou.machine.lines import lines, pins, state
from tinamou.machine.props import U32, prop
from tinamou.machine.registers import Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed


class SifiveGpio(Device, type="sifive_soc.gpio", compatible="sifive,gpio0", node="gpio", size=0x100, access=(4, 4)):
    """Up to 32 pins with pull-ups, per-pin interrupts on edges and levels, and an output inverter."""

    ngpio: int = prop(U32, default=32, help="number of pins")

    INPUT_VAL = Reg(0x00)
    input_val = INPUT_VAL.ro()
    INPUT_EN = Reg(0x04)
    input_en = INPUT_EN.rw()
    OUTPUT_EN = Reg(0x08)
    output_en = OUTPUT_EN.rw()
    OUTPUT_VAL = Reg(0x0C)
    output_val = OUTPUT_VAL.rw()
    PUE = Reg(0x10)
    pull_up = PUE.rw()
    DS = Reg(0x14)
    drive_strength = DS.rw()
    RISE_IE = Reg(0x18)
    rise_ie = RISE_IE.rw()
    RISE_IP = Reg(0x1C)
    rise_ip = RISE_IP.w1c()
    FALL_IE = Reg(0x20)
    fall_ie = FALL_IE.rw()
    FALL_IP = Reg(0x24)
    fall_ip = FALL_IP.w1c()
    HIGH_IE = Reg(0x28)
    high_ie = HIGH_IE.rw()
    HIGH_IP = Reg(0x2C)
    high_ip = HIGH_IP.w1c()
    LOW_IE = Reg(0x30)
    low_ie = LOW_IE.rw()
    LOW_IP = Reg(0x34)
    low_ip = LOW_IP.w1c()
    IOF_EN = Reg(0x38)
    iof_en = IOF_EN.rw()
    IOF_SEL = Reg(0x3C)
    iof_sel = IOF_SEL.rw()
    OUT_XOR = Reg(0x40)
    out_xor = OUT_XOR.rw()

    driven = state(0)                   # pins somebody outside drives
    outside = state(0)                  # and their levels
    seen = state(0)                     # input values at the last look, for edges

    @property
    def mask(self) -> int:
        return (1 << self.ngpio) - 1

    def pads(self) -> int:
        """The level of every pad: our driver, else the outside, else the pull-up."""
        ours = self.output_val ^ self.out_xor
        rest = self.outside & self.driven | self.pull_up & ~self.driven
        return (ours & self.output_en | rest & ~self.output_en) & self.mask

    @input_val.computed
    def read_inputs(self) -> int:
        return self.pads() & self.input_en

    def settle(self) -> None:
        """Latch edges and levels, then drive the lines."""
        if self._ready:
            now = self.input_val
            changed = now ^ self.seen
            self.rise_ip |= changed & now
            self.fall_ip |= changed & ~now & self.mask
            self.high_ip |= now & self.input_en
            self.low_ip |= ~now & self.input_en & self.mask
            self.seen = now
        super().settle()

    @pins("ngpio")
    def pad(self, n: int, level: bool) -> None:
        """An outside part drives pin `n`."""
        self.driven |= 1 << n
        self.outside = self.outside & ~(1 << n) | level << n

    @lines("ngpio")
    def irq(self, n: int) -> int:
        pending = (self.rise_ip & self.rise_ie | self.fall_ip & self.fall_ie
                   | self.high_ip & self.high_ie | self.low_ip & self.low_ie)
        return pending >> n & 1

    @lines("ngpio")
    def output(self, n: int) -> int:
        return self.pads() >> n & self.output_en >> n & 1

    def fdt(self, node: Node, placed: Placed) -> None:
        for key, value in (("gpio-controller", True), ("#gpio-cells", 2), ("interrupt-controller", True),
                           ("#interrupt-cells", 2)):
            node[key] = value
