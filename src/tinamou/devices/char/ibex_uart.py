"""OpenTitan UART: OpenTitan hardware documentation, UART HWIP technical specification."""

from __future__ import annotations

from tinamou.devices.char.port import SerialDevice
from tinamou.machine.device import fifo
from tinamou.machine.lines import lines
from tinamou.machine.registers import Reg

TX_WATERMARK, RX_WATERMARK, TX_EMPTY, RX_OVERFLOW = 0, 1, 2, 3
RX_LEVELS = (1, 4, 8, 16, 30)


class IbexUart(SerialDevice, type="ibex-uart", size=0x400, access=(4, 4)):
    """FIFOs of 32 bytes; the model transmits at once."""

    INTR_STATE = Reg(0x00)
    state_ = INTR_STATE.w1c(7, 0)
    INTR_ENABLE = Reg(0x04)
    enable = INTR_ENABLE.rw(7, 0)
    INTR_TEST = Reg(0x08)
    test = INTR_TEST.wo(7, 0)
    ALERT_TEST = Reg(0x0C)
    alert = ALERT_TEST.unimpl(0)
    CTRL = Reg(0x10)
    nco = CTRL.rw(31, 16)
    break_level = CTRL.rw(9, 8)
    parity_odd = CTRL.rw(7)
    parity_enable = CTRL.rw(6)
    line_loop = CTRL.rw(5)
    system_loop = CTRL.rw(4)
    noise_filter = CTRL.rw(2)
    rx_enable = CTRL.rw(1)
    tx_enable = CTRL.rw(0)
    STATUS = Reg(0x14)
    rx_empty = STATUS.ro(5)
    rx_idle = STATUS.const(1, 4)
    tx_idle = STATUS.const(1, 3)
    tx_empty = STATUS.const(1, 2)
    rx_full = STATUS.ro(1)
    tx_full = STATUS.const(0, 0)
    RDATA = Reg(0x18)
    rdata = RDATA.ro(7, 0)
    WDATA = Reg(0x1C)
    wdata = WDATA.wo(7, 0)
    FIFO_CTRL = Reg(0x20)
    tx_level = FIFO_CTRL.rw(6, 5)
    rx_level = FIFO_CTRL.rw(4, 2)
    tx_reset = FIFO_CTRL.wo(1)
    rx_reset = FIFO_CTRL.wo(0)
    FIFO_STATUS = Reg(0x24)
    rx_count = FIFO_STATUS.ro(21, 16)
    tx_count = FIFO_STATUS.const(0, 5, 0)
    OVRD = Reg(0x28)
    override = OVRD.unimpl(1, 0)
    VAL = Reg(0x2C)
    samples = VAL.unimpl(15, 0)
    TIMEOUT_CTRL = Reg(0x30)
    timeout = TIMEOUT_CTRL.unimpl()

    rx = fifo(32)

    def raise_(self, n: int) -> None:
        self.state_ |= 1 << n

    @test.on_write
    def raise_all(self, value: int) -> None:
        self.state_ |= value

    @wdata.on_write
    def transmit(self, byte: int) -> None:
        if not self.tx_enable:
            return
        if self.system_loop:
            self.accept(byte)
        else:
            self.send(byte)
        self.raise_(TX_WATERMARK)
        self.raise_(TX_EMPTY)

    @rdata.on_read
    def take(self) -> int:
        if not self.rx:
            return 0
        byte = self.rx.popleft()
        self.more()
        return byte

    @rx_reset.on_write
    def empty_rx(self, on: int) -> None:
        if on:
            self.rx.clear()
            self.more()

    @rx_enable.on_write
    def listen(self, on: int) -> None:
        if on:
            self.more()

    @rx_empty.computed
    def nothing(self) -> int:
        return not self.rx

    @rx_full.computed
    def full(self) -> int:
        return self.rx.full

    @rx_count.computed
    def depth(self) -> int:
        return len(self.rx)

    def accept(self, byte: int) -> None:
        if self.rx.full:
            self.raise_(RX_OVERFLOW)
            return
        self.rx.append(byte)
        if len(self.rx) >= RX_LEVELS[min(self.rx_level, 4)]:
            self.raise_(RX_WATERMARK)

    def can_receive(self) -> int:
        return self.rx.room if self.rx_enable else 0

    def receive(self, data: bytes) -> None:
        for byte in data:
            self.accept(byte)
        self.settle()

    @lines(8)
    def irq(self, n: int) -> int:
        return (self.state_ & self.enable) >> n & 1
