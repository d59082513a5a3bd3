import pytest

from tinamou.backends.chardev.base import MemoryChardev
from tinamou.devices.char.ns16550a import Ns16550a
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine

DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR = range(8)


@pytest.fixture
def uart():
    host = MemoryChardev()
    u = Ns16550a(chardev=host)
    u.host, u.irqs = host, []
    u.connect("irq", Pin(u.irqs.append))
    return u


def test_reset_values(uart):
    assert [uart.read(i, 1) for i in (IER, IIR, LCR, MCR, LSR, MSR, SCR)] == [0, 1, 0, 8, 0x60, 0xB0, 0]


def test_divisor_latch(uart):
    uart.write(LCR, 0x83, 1)
    uart.write(DATA, 0x34, 1)
    uart.write(IER, 0x12, 1)
    assert uart.divisor == 0x1234 and (uart.read(DATA, 1), uart.read(IER, 1)) == (0x34, 0x12)
    uart.write(LCR, 3, 1)
    assert uart.read(IER, 1) == 0


def test_transmit_interrupt_is_taken_back_by_reading_iir(uart):
    uart.write(IER, 2, 1)
    assert uart.irqs == [True]
    assert uart.read(IIR, 1) == 2 and uart.read(IIR, 1) == 1 and uart.irqs == [True, False]
    uart.write(DATA, ord("A"), 1)
    assert uart.host.sent == b"A" and uart.irqs == [True, False, True]


def test_receive_without_and_with_fifo(uart):
    uart.write(IER, 1, 1)
    uart.host.deliver(b"abc")
    assert uart.read(LSR, 1) == 0x61 and uart.read(IIR, 1) == 4
    assert bytes(uart.read(DATA, 1) for _ in range(3)) == b"abc" and uart.irqs[-1] is False
    uart.write(IIR, 0x41, 1)                # FIFO, trigger at 4
    uart.host.deliver(b"abc")
    assert uart.read(IIR, 1) == 0xC1
    uart.host.deliver(b"d")
    assert uart.read(IIR, 1) == 0xC4
    uart.read(DATA, 1)
    assert uart.irqs[-1] is False


def test_timeout_interrupt_below_the_trigger(uart):
    m = Machine()
    m.at(0, uart)
    uart.write(IIR, 0xC1, 1)
    uart.write(IER, 1, 1)
    uart.host.deliver(b"x")
    assert not uart.irqs
    m.time.advance(uart.character(4))
    assert uart.irqs == [True] and uart.read(IIR, 1) == 0xCC
    uart.read(DATA, 1)
    assert uart.irqs == [True, False]


def test_loopback_and_modem_lines(uart):
    uart.write(MCR, 0x1A, 1)
    uart.write(DATA, 0x55, 1)
    assert uart.host.sent == b"" and uart.read(DATA, 1) == 0x55
    assert uart.read(MSR, 1) & 0xF0 == 0x90     # RTS gives CTS, OUT2 gives DCD


def test_overrun_and_break(uart):
    uart.write(IER, 4, 1)
    uart.accept(1)
    uart.accept(2)
    uart.settle()
    assert uart.read(IIR, 1) == 6 and uart.read(LSR, 1) & 2 and not uart.read(LSR, 1) & 2
    uart.read(DATA, 1)
    uart.event("break")
    assert uart.read(LSR, 1) & 0x10 and uart.read(DATA, 1) == 0


def test_regshift():
    m, host = Machine(), MemoryChardev()
    m.at(0x1000, Ns16550a(chardev=host, regshift=2))
    m.memory.write(0x1000, ord("q"), 4)
    assert host.sent == b"q" and m.memory.read(0x1014, 4) == 0x60
