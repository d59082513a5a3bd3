"""PrimeCell UART PL011: Arm DDI 0183, r1p5, chapter 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.devices.char.port import SerialDevice
from tinamou.machine.device import fifo
from tinamou.machine.lines import line, state
from tinamou.machine.registers import Bank, Reg

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed

RX, TX, TIMEOUT = 1 << 4, 1 << 5, 1 << 6
IDENTIFICATION = (0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1)  # UARTPeriphID0-3, UARTPCellID0-3
TRIGGER = (2, 4, 8, 12, 14)  # of 16, by UARTIFLS


class Pl011(SerialDevice, type="pl011", compatible=("arm,pl011", "arm,primecell"), node="pl011", size=0x1000, access=(1, 4)):
    """FIFOs of 16 bytes; the model transmits at once."""

    DR = Reg(0x000)
    data = DR.rw(7, 0)
    receive_errors = DR.ro(11, 8)
    RSR = Reg(0x004)
    errors = RSR.rw(3, 0)
    FR = Reg(0x018)
    tx_empty = FR.ro(7, reset=1)
    rx_full = FR.ro(6)
    tx_full = FR.ro(5)
    rx_empty = FR.ro(4)
    clear_to_send = FR.ro(0, reset=1)
    ILPR = Reg(0x020)
    low_power = ILPR.rw(7, 0)
    IBRD = Reg(0x024)
    divisor = IBRD.rw(15, 0)
    FBRD = Reg(0x028)
    fraction = FBRD.rw(5, 0)
    LCR_H = Reg(0x02C)
    line_control = LCR_H.rw(7, 0)
    CR = Reg(0x030)
    control = CR.rw(15, 0, reset=0x300)
    IFLS = Reg(0x034)
    levels = IFLS.rw(5, 0, reset=0x12)
    IMSC = Reg(0x038)
    mask = IMSC.rw(10, 0)
    RIS = Reg(0x03C)
    raw = RIS.ro(10, 0)
    MIS = Reg(0x040)
    masked = MIS.ro(10, 0)
    ICR = Reg(0x044)
    clear = ICR.wo(10, 0)
    DMACR = Reg(0x048)
    dma = DMACR.rw(2, 0)
    IDS = Bank(0xFE0, stride=4, count=8)
    ID = IDS.reg(0)
    identification = ID.ro(7, 0)

    rx = fifo(16)
    pending = state(0)

    @data.on_write
    def transmit(self, byte: int) -> None:
        self.send(byte)
        self.pending |= TX

    @data.on_read
    def take(self) -> int:
        if not self.rx:
            return 0
        byte = self.rx.popleft()
        if not self.rx:
            self.pending &= ~TIMEOUT
        if len(self.rx) < self.trigger:
            self.pending &= ~RX
        self.more()
        return byte

    @property
    def trigger(self) -> int:
        """Received bytes that interrupt."""
        return TRIGGER[min(self.levels >> 3, 4)] if self.line_control & 0x10 else 1

    @rx_empty.computed
    def nothing_received(self) -> int:
        return not self.rx

    @rx_full.computed
    def no_room(self) -> int:
        return not self.rx.room

    @raw.computed
    def status(self) -> int:
        return self.pending

    @masked.computed
    def status_masked(self) -> int:
        return self.pending & self.mask

    @clear.on_write
    def acknowledge(self, bits: int) -> None:
        self.pending &= ~bits

    @identification.computed
    def identify(self, n: int) -> int:
        return IDENTIFICATION[n]

    @line
    def irq(self) -> int:
        return self.pending & self.mask

    def can_receive(self) -> int:
        return self.rx.room if self.line_control & 0x10 else 1 - len(self.rx)

    def receive(self, data: bytes) -> None:
        self.rx.extend(data[: self.rx.room])
        self.pending |= TIMEOUT | (RX if len(self.rx) >= self.trigger else 0)
        self.settle()

    def fdt(self, node: Node, placed: Placed) -> None:
        node["clock-names"] = ["uartclk", "apb_pclk"]
