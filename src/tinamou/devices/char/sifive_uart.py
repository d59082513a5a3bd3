"""SiFive UART: FE310-G000 manual, chapter 18."""

from __future__ import annotations

from tinamou.devices.char.port import SerialDevice
from tinamou.machine.device import fifo
from tinamou.machine.lines import line
from tinamou.machine.registers import Reg


class SifiveUart(SerialDevice, type="riscv.sifive.uart", compatible="sifive,uart0", node="serial", size=0x20, access=(4, 4)):
    """Transmit and receive FIFOs of eight bytes with watermark interrupts; the model transmits at once."""

    TXDATA = Reg(0x00)
    tx_full = TXDATA.ro(31)
    tx_data = TXDATA.wo(7, 0)
    RXDATA = Reg(0x04)
    rx_empty = RXDATA.ro(31)            # declared first: sampled before rx_data pops the byte
    rx_data = RXDATA.ro(7, 0)
    TXCTRL = Reg(0x08)
    tx_mark = TXCTRL.rw(18, 16)
    stop_bits = TXCTRL.rw(1)
    tx_enable = TXCTRL.rw(0)
    RXCTRL = Reg(0x0C)
    rx_mark = RXCTRL.rw(18, 16)
    rx_enable = RXCTRL.rw(0)
    IE = Reg(0x10)
    rx_ie = IE.rw(1)
    tx_ie = IE.rw(0)
    IP = Reg(0x14)
    rx_ip = IP.ro(1)
    tx_ip = IP.ro(0)
    DIV = Reg(0x18)
    div = DIV.rw(15, 0, reset=0xFFFF)

    rx = fifo(8)

    @tx_data.on_write
    def transmit(self, byte: int) -> None:
        if self.tx_enable:
            self.send(byte)

    @rx_data.on_read
    def take(self) -> int:
        if not self.rx:
            return 0
        byte = self.rx.popleft()
        self.more()
        return byte

    @rx_empty.computed
    def nothing_received(self) -> int:
        return not self.rx

    @tx_ip.computed
    def below_tx_mark(self) -> int:
        return self.tx_mark > 0

    @rx_ip.computed
    def above_rx_mark(self) -> int:
        return len(self.rx) > self.rx_mark

    @rx_enable.on_write
    def listen(self, on: int) -> None:
        if on:
            self.more()

    @line
    def irq(self) -> int:
        return self.tx_ie & self.tx_ip | self.rx_ie & self.rx_ip

    def can_receive(self) -> int:
        return self.rx.room if self.rx_enable else 0

    def receive(self, data: bytes) -> None:
        self.rx.extend(data[: self.rx.room])
        self.settle()
