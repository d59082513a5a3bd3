"""SiFive FU540 clocks and resets: FU540-C000 manual, chapter 7."""

from __future__ import annotations

from tinamou.machine.device import Device
from tinamou.machine.registers import Reg


class SifiveUPrci(Device, type="riscv.sifive.u.prci", compatible="sifive,fu540-c000-prci", node="clock-controller",
                  size=0x1000, access=(4, 4)):
    """The crystal is always ready and every PLL locks at once."""

    HFXOSCCFG = Reg(0x00)
    hfxosc_ready = HFXOSCCFG.ro(31, reset=1)
    hfxosc_enable = HFXOSCCFG.rw(30, reset=1)
    COREPLLCFG0 = Reg(0x04)
    core_lock = COREPLLCFG0.ro(31, reset=1)
    core_pll = COREPLLCFG0.rw(30, 0, reset=0x0201_87C1)
    COREPLLCFG1 = Reg(0x08)
    core_output = COREPLLCFG1.rw()
    DDRPLLCFG0 = Reg(0x0C)
    ddr_lock = DDRPLLCFG0.ro(31, reset=1)
    ddr_pll = DDRPLLCFG0.rw(30, 0, reset=0x0201_87C1)
    DDRPLLCFG1 = Reg(0x10)
    ddr_output = DDRPLLCFG1.rw()
    GEMGXLPLLCFG0 = Reg(0x1C)
    gem_lock = GEMGXLPLLCFG0.ro(31, reset=1)
    gem_pll = GEMGXLPLLCFG0.rw(30, 0, reset=0x0201_87C1)
    GEMGXLPLLCFG1 = Reg(0x20)
    gem_output = GEMGXLPLLCFG1.rw()
    CORECLKSEL = Reg(0x24)
    core_select = CORECLKSEL.rw(0, reset=1)
    DEVICESRESET = Reg(0x28)
    resets = DEVICESRESET.rw()
    CLKMUXSTATUS = Reg(0x2C)
    mux = CLKMUXSTATUS.ro()

    def fdt(self, node: object, placed: object) -> None:
        node["#clock-cells"] = 1  # type: ignore[index]
