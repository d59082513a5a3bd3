"""PL011: identification, transmission, reception, interrupts."""

from __future__ import annotations

from tinamou.devices.char.pl011 import Pl011
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine

BASE = 0x900_0000
DR, FR, LCR_H, IMSC, RIS, MIS, ICR = 0x00, 0x18, 0x2C, 0x38, 0x3C, 0x40, 0x44
RX, TX, TIMEOUT = 0x10, 0x20, 0x40


class Wire:
    """A chardev that keeps what is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def attach(self, device: Pl011) -> None:
        self.device = device

    def write(self, data: bytes) -> None:
        self.sent += data

    def accept_input(self) -> None:
        pass


class Uart:
    def __init__(self) -> None:
        self.machine, self.levels, self.wire = Machine(), [], Wire()
        self.device = self.machine.at(BASE, Pl011(), irq=Pin(self.levels.append))
        self.device.chardev = self.wire
        self.machine.reset("cold")

    def __getitem__(self, offset: int) -> int:
        return self.machine.memory.read(BASE + offset, 4)

    def __setitem__(self, offset: int, value: int) -> None:
        self.machine.memory.write(BASE + offset, value, 4)


def test_identification() -> None:
    uart = Uart()
    assert [uart[0xFE0 + 4 * n] for n in range(8)] == [0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1]
    assert uart[FR] == 0x91


def test_transmission_and_its_interrupt() -> None:
    uart = Uart()
    uart[IMSC] = TX
    uart[DR] = 0x141
    assert uart.wire.sent == b"A" and uart.levels == [True]
    assert (uart[RIS], uart[MIS]) == (TX, TX)
    uart[ICR] = TX
    assert (uart[RIS], uart.levels) == (0, [True, False])


def test_reception() -> None:
    uart = Uart()
    uart[LCR_H] = 0x70
    uart[IMSC] = RX | TIMEOUT
    assert uart.device.can_receive() == 16
    uart.device.receive(b"ab")
    assert uart[MIS] == TIMEOUT and uart[FR] & 0x10 == 0 and uart.levels == [True]
    uart.device.receive(bytes(14))
    assert uart[MIS] == RX | TIMEOUT and uart[FR] & 0x40
    assert uart.device.can_receive() == 0
    assert [uart[DR] for _ in range(2)] == [0x61, 0x62]
    for _ in range(14):
        uart[DR]
    assert uart[FR] & 0x10 and uart[RIS] == 0 and uart.levels == [True, False]


def test_without_fifo_there_is_room_for_one_byte() -> None:
    uart = Uart()
    assert uart.device.can_receive() == 1
    uart.device.receive(b"x")
    assert uart.device.can_receive() == 0 and uart[RIS] == RX | TIMEOUT
