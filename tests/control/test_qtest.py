import pytest

from control.vm_harness import make
from tinamou.control.qtest import QtestSession


class Talk:
    def __init__(self):
        self.out = bytearray()
        self.vm = make()
        self.session = QtestSession(self.vm, self.out.extend)

    def __call__(self, text):
        self.out.clear()
        self.session.receive(text.encode() + b"\n")
        return bytes(self.out).decode().splitlines()


@pytest.fixture
def q():
    return Talk()


def test_memory_and_registers(q):
    assert q("writel 0x80000000 0x12345678") == ["OK"] and q("readw 0x80000002") == ["OK 0x0000000000001234"]
    assert q("read 0x80000000 4") == ["OK 0x78563412"] and q("b64read 0x80000000 3") == ["OK eFY0"]
    assert q("write 0x80000000 2 0xaabb") == ["OK"] and q("memset 0x80000002 2 0x11") == ["OK"]
    assert q("readl 0x80000000") == ["OK 0x000000001111bbaa"] and q("b64write 0x80000000 1 AA==") == ["OK"]
    assert q("readb 0x10000005") == ["OK 0x0000000000000060"] and q("endianness") == ["OK little"]
    assert q("readl 0xf0000000000") == ["OK 0x0000000000000000"]


def test_clock(q):
    assert q("clock_step 1000") == ["OK 1000"]
    q("writeq 0x2004000 5")
    assert q("clock_set 400") == ["OK 1000"]
    q("writeq 0x2004000 20")
    assert q("clock_step") == ["OK 2000"]


def test_interrupts(q):
    assert q("irq_intercept_in riscv.sifive.plic") == ["OK"]
    assert q("writeb 0x10000001 2") == ["IRQ raise 10", "OK"]
    assert q("writeb 0x10000001 0") == ["IRQ lower 10", "OK"]
    assert q("set_irq_in riscv.sifive.plic source 5 1") == ["IRQ raise 5", "OK"] and q("readl 0xc001000") == ["OK 0x0000000000000020"]
    assert q("irq_intercept_in serial-mm") == ["FAIL IRQ intercept already enabled"]


def test_mistakes(q):
    assert q("foo") == ["FAIL Unknown command 'foo'"] and q("readl") == ["FAIL bad arguments of readl"]
    assert q("readl zz") == ["FAIL bad arguments of readl"] and q("inb 5") == ["FAIL this machine has no I/O ports"]
    assert q("memset 0 99999999999 0")[0].startswith("FAIL size")
    assert q("irq_intercept_in /machine/zz") == ["FAIL Unknown device"]
