"""SiFive SPI controller: FE310-G002 manual, chapter 19."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.devices.ssi.bus import SsiBus
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device, fifo
from tinamou.machine.lines import line, lines
from tinamou.machine.props import BOOL, U32, prop
from tinamou.machine.registers import Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Machine, Placed

AUTO, HOLD, OFF = 0, 2, 3


class SifiveSpi(Device, type="sifive.spi", compatible="sifive,spi0", node="spi", size=0x1000, access=(4, 4)):
    """FIFOs of eight bytes; the model transfers at once."""

    num_cs: int = prop(U32, default=1, help="number of chip selects")
    flash: bool = prop(BOOL, default=False, hidden=True, help="has the memory-mapped flash interface")

    SCKDIV = Reg(0x00)
    sckdiv = SCKDIV.rw(11, 0, reset=3)
    SCKMODE = Reg(0x04)
    sckmode = SCKMODE.rw(1, 0)
    CSID = Reg(0x10)
    csid = CSID.rw()
    CSDEF = Reg(0x14)
    csdef = CSDEF.rw(31, 0, reset=lambda self: (1 << self.num_cs) - 1)
    CSMODE = Reg(0x18)
    csmode = CSMODE.rw(1, 0)
    DELAY0 = Reg(0x28)
    sckcs = DELAY0.rw(23, 16, reset=1)
    cssck = DELAY0.rw(7, 0, reset=1)
    DELAY1 = Reg(0x2C)
    interxfr = DELAY1.rw(23, 16)
    intercs = DELAY1.rw(7, 0, reset=1)
    FMT = Reg(0x40)
    length = FMT.rw(19, 16, reset=8)
    transmit_only = FMT.rw(3)
    endian_ = FMT.rw(2)
    protocol = FMT.rw(1, 0)
    TXDATA = Reg(0x48)
    tx_full = TXDATA.ro(31)
    tx_data = TXDATA.wo(7, 0)
    RXDATA = Reg(0x4C)
    rx_empty = RXDATA.ro(31)
    rx_data = RXDATA.ro(7, 0)
    TXMARK = Reg(0x50)
    tx_mark = TXMARK.rw(2, 0)
    RXMARK = Reg(0x54)
    rx_mark = RXMARK.rw(2, 0)
    FCTRL = Reg(0x60)
    flash_enable = FCTRL.rw(0, reset=lambda self: self.flash)
    FFMT = Reg(0x64)
    flash_format = FFMT.rw(31, 0, reset=lambda self: 0x0003_0007 if self.flash else 0)
    IE = Reg(0x70)
    rx_ie, tx_ie = IE.rw(1), IE.rw(0)
    IP = Reg(0x74)
    rx_ip, tx_ip = IP.ro(1), IP.ro(0)

    rx = fifo(8)

    def setup(self) -> None:
        self.ssi = SsiBus("spi", self)

    def buses(self) -> list[Bus]:
        return [self.ssi]

    def attached(self, machine: Machine) -> None:
        super().attached(machine)
        for d in self.ssi.children:
            d.attached(machine)

    def drive_select(self, active: bool) -> None:
        if self.csid < self.num_cs:
            self.ssi.chip_select(self.csid, active)

    @csmode.on_write
    def mode_changed(self, mode: int) -> None:
        self.drive_select(mode == HOLD)

    @csid.on_write
    def other_chip(self, value: int) -> None:
        if value >= self.num_cs:
            self.log.guest_error(f"{self.label}: chip select {value} of {self.num_cs}")
        for n in range(self.num_cs):
            self.ssi.chip_select(n, self.csmode == HOLD and n == value)

    @tx_data.on_write
    def exchange(self, byte: int) -> None:
        if self.csmode == AUTO:
            self.drive_select(True)
        got = self.ssi.transfer(byte)
        if self.csmode == AUTO:
            self.drive_select(False)
        if not self.transmit_only and not self.rx.full:
            self.rx.append(got)

    @rx_empty.computed
    def nothing(self) -> int:
        return not self.rx

    @rx_data.on_read
    def take(self) -> int:
        return self.rx.popleft() if self.rx else 0

    @tx_ip.computed
    def below(self) -> int:
        return self.tx_mark > 0

    @rx_ip.computed
    def above(self) -> int:
        return len(self.rx) > self.rx_mark

    @line
    def irq(self) -> int:
        return self.tx_ie & self.tx_ip | self.rx_ie & self.rx_ip

    @lines("num_cs")
    def cs(self, n: int) -> int:
        return n not in self.ssi.selected

    def fdt(self, node: Node, placed: Placed) -> None:
        node["#address-cells"] = 1
        node["#size-cells"] = 0
