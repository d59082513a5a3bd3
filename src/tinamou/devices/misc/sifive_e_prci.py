"""SiFive FE310 power, reset, clock, interrupt block: FE310-G002 manual, chapter 6 (clock generation)."""

from __future__ import annotations

from tinamou.machine.clock import Clock
from tinamou.machine.device import Device
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg

HFXOSC, HFROSC = 16_000_000, 72_000_000


class SifiveEPrci(Device, type="riscv.sifive.e.prci", compatible="sifive,aloeprci0", size=0x1000, access=(4, 4)):
    """The oscillators and the PLL that make `hfclk`; its frequency follows the registers."""

    hfclk: Clock = prop(OBJECT, default=None, help="the clock this block drives")

    HFROSCCFG = Reg(0x00)
    hfrosc_ready = HFROSCCFG.ro(31)
    hfrosc_enable = HFROSCCFG.rw(30, reset=1)
    hfrosc_trim = HFROSCCFG.rw(20, 16, reset=0x10)
    hfrosc_div = HFROSCCFG.rw(5, 0, reset=4)
    HFXOSCCFG = Reg(0x04)
    hfxosc_ready = HFXOSCCFG.ro(31)
    hfxosc_enable = HFXOSCCFG.rw(30, reset=1)
    PLLCFG = Reg(0x08)
    pll_lock = PLLCFG.ro(31)
    pll_bypass = PLLCFG.rw(18, reset=1)
    pll_refsel = PLLCFG.rw(17, reset=1)
    pll_sel = PLLCFG.rw(16)
    pll_q = PLLCFG.rw(11, 10, reset=3)
    pll_f = PLLCFG.rw(9, 4, reset=0x1F)
    pll_r = PLLCFG.rw(2, 0, reset=1)
    PLLOUTDIV = Reg(0x0C)
    pll_out_by_1 = PLLOUTDIV.rw(8, reset=1)
    pll_out_div = PLLOUTDIV.rw(5, 0)
    PROCMONCFG = Reg(0xF0)
    procmon = PROCMONCFG.rw()

    @hfrosc_ready.computed
    def ring_ready(self) -> int:
        return self.hfrosc_enable

    @hfxosc_ready.computed
    def crystal_ready(self) -> int:
        return self.hfxosc_enable

    @pll_lock.computed
    def locked(self) -> int:
        return 1

    @property
    def frequency(self) -> int:
        """hfclk in Hz (figure 5 of the manual)."""
        ring = HFROSC // (self.hfrosc_div + 1)
        if not self.pll_sel:
            return ring
        source = HFXOSC if self.pll_refsel else ring
        if not self.pll_bypass:
            source = source // (self.pll_r + 1) * 2 * (self.pll_f + 1) // (1 << self.pll_q)
        return source if self.pll_out_by_1 else source // (2 * (self.pll_out_div + 1))

    def settle(self) -> None:
        super().settle()
        if self.hfclk is not None and self._ready:
            self.hfclk.hz = self.frequency
