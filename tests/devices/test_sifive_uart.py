from tinamou.backends.chardev.base import MemoryChardev
from tinamou.devices.char.sifive_uart import SifiveUart
from tinamou.machine.lines import Pin

TXDATA, RXDATA, TXCTRL, RXCTRL, IE, IP, DIV = range(0, 0x1C, 4)


def test_both_directions():
    host, irqs = MemoryChardev(), []
    u = SifiveUart(chardev=host)
    u.connect("irq", Pin(irqs.append))
    u.write(TXDATA, ord("x"), 4)
    assert host.sent == b"" and u.read(RXDATA, 4) == 0x8000_0000 and u.read(DIV, 4) == 0xFFFF
    u.write(TXCTRL, 1, 4)
    u.write(TXDATA, ord("y"), 4)
    assert host.sent == b"y" and u.read(TXDATA, 4) == 0
    host.deliver(b"0123456789")
    assert host.backlog == 10
    u.write(IE, 2, 4)
    u.write(RXCTRL, 0x20001, 4)
    assert irqs == [True] and u.read(IP, 4) == 2 and host.backlog == 2
    assert bytes(u.read(RXDATA, 4) for _ in range(10)) == b"0123456789"
    assert irqs == [True, False] and u.read(RXDATA, 4) == 0x8000_0000
    u.write(TXCTRL, 0x10001, 4)
    u.write(IE, 1, 4)
    assert irqs[-1] is True
