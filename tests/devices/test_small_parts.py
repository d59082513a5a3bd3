"""GPIO, PWM, always-on domain, timers and SPI hosts."""

import pytest

from tinamou.devices.gpio.ibex_gpio import IbexGpio
from tinamou.devices.gpio.sifive_gpio import SifiveGpio
from tinamou.devices.misc.sifive_e_aon import FOOD, KEY, SifiveEAon
from tinamou.devices.misc.sifive_e_prci import SifiveEPrci
from tinamou.devices.misc.sifive_otp import SifiveEOtp
from tinamou.devices.pwm.sifive_pwm import SifivePwm
from tinamou.devices.ssi.bus import SsiDevice
from tinamou.devices.ssi.ibex_spi_host import IbexSpiHost
from tinamou.devices.ssi.nor import W25q128
from tinamou.devices.timer.ibex_timer import IbexTimer
from tinamou.machine.clock import Clock
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine
from tinamou.machine.memory import Ram
from tinamou.machine.props import PropertyError


def record(device, output, count):
    levels = [False] * count
    device.connect(output, [Pin(lambda v, n=n: levels.__setitem__(n, v)) for n in range(count)])
    return levels


def test_sifive_gpio_edges_levels_and_outputs():
    g = SifiveGpio(ngpio=16)
    irq, out = record(g, "irq", 16), record(g, "output", 16)
    g.write(0x04, 0xFF, 4)
    g.write(0x18, 1 << 3, 4)
    g.pad[3](True)
    assert irq[3] and g.read(0x00, 4) == 8 and g.read(0x1C, 4) == 8
    g.write(0x1C, 8, 4)
    assert not irq[3]
    g.write(0x20, 1 << 3, 4)
    g.pad[3](False)
    assert irq[3]
    g.write(0x10, 1 << 5, 4)
    assert g.read(0, 4) == 1 << 5               # pulled up
    g.write(0x08, 1 << 2, 4)
    g.write(0x40, 1 << 2, 4)
    assert out[2] and g.read(0, 4) >> 2 & 1     # inverted, seen by our own input
    with pytest.raises(IndexError):
        g.pad[16]


def test_ibex_gpio_masked_writes():
    g = IbexGpio()
    irq, out = record(g, "irq", 32), record(g, "output", 32)
    g.write(0x20, 0xFFFF_FFFF, 4)
    g.write(0x18, 0x00F0_0050, 4)
    g.write(0x1C, 0x8000_8000, 4)
    assert g.read(0x14, 4) == 0x8000_0050 and out[31] and out[4] and not out[5] and g.read(0x10, 4) == 0x8000_0050
    g.write(0x24, 0xFFFF_0000, 4)
    g.write(0x2C, 1, 4)
    g.write(0x04, 1, 4)
    g.pad[0](True)
    assert irq[0]
    g.write(0x00, 1, 4)
    assert not irq[0]


def test_pwm_counts_compares_and_interrupts():
    c = Clock(1000)
    p = SifivePwm(clock=c)
    irq, out = record(p, "irq", 4), record(p, "output", 4)
    p.write(0x20, 99, 4)
    p.write(0x24, 30, 4)
    p.write(0x00, 1 << 12 | 1 << 9 | 1 << 8, 4)         # always, zero at comparator 0, sticky
    c.time.advance(29_999_999)
    assert not out[1]
    c.time.advance(1)
    assert out[1] and irq[1] and p.read(0x08, 4) == 30
    c.time.advance(70_000_000)
    assert not out[1] and irq[1] and p.read(0x10, 4) == 0
    p.write(0x00, 1 << 12 | 1 << 9, 4)
    assert not irq[1]
    p.write(0x00, 0, 4)
    p.write(0x08, 0, 4)
    p.write(0x00, 1 << 13 | 1 << 9, 4)                  # one shot
    c.time.advance(500_000_000)
    assert p.one_shot == 0 and p.read(0x08, 4) == 0


def aon():
    m, irqs = Machine(), {}
    a = m.at(0x1000_0000, SifiveEAon(clock=m.clock(32768)), wdog=Pin(lambda v: irqs.__setitem__("wdog", v)),
             rtc=Pin(lambda v: irqs.__setitem__("rtc", v)))
    return m, a, irqs


def test_watchdog_needs_its_key_and_its_food():
    m, a, irqs = aon()

    def locked(offset, value):
        a.write(0x1C, KEY, 4)
        a.write(offset, value, 4)

    a.write(0x20, 5, 4)
    assert a.wdog_compare == 0xFFFF
    locked(0x20, 32768 - 1)
    locked(0x00, 1 << 12)
    m.time.advance(900_000_000)
    locked(0x18, FOOD)
    m.time.advance(900_000_000)
    assert "wdog" not in irqs
    m.time.advance(200_000_000)
    assert irqs["wdog"]
    seen = []
    m.on_request(lambda what, details: seen.append((what, details["cause"])))
    locked(0x00, 1 << 12 | 1 << 8)
    assert seen == [("reset", "watchdog")]


def test_real_time_counter():
    m, a, irqs = aon()
    a.write(0x60, 100, 4)
    a.write(0x40, 1 << 12, 4)
    m.time.advance(1_000_000_000)
    assert irqs["rtc"] and a.read(0x48, 4) == 32768 and a.read(0x40, 4) >> 28 == 1
    a.write(0x60, 1 << 20, 4)
    assert not irqs["rtc"]
    a.backup[3] = 7
    a.reset("warm")
    assert a.backup[3] == 7


def test_prci_ready_bits_and_frequency():
    p = SifiveEPrci(hfclk=Clock(1))
    assert p.frequency == 14_400_000 and p.hfclk.hz == 14_400_000 and p.read(0, 4) == 0xC010_0004
    p.write(0, 0, 4)
    assert p.read(0, 4) >> 30 == 0 and p.hfclk.hz == 72_000_000


def test_fe310_fuses():
    ram = Ram("otp", 8192, readonly=True)
    ram.buffer[:] = b"\xff" * 8192
    o = SifiveEOtp(memory=ram)
    for offset, value in ((0x0C, 1), (0x24, 1), (0x28, 2), (0x2C, 0xFFFF_0000), (0x10, 0xFFFF_FFFF)):
        o.write(offset, value, 4)
    assert o.read(0x30, 4) == 0xFFFF_0000 and bytes(ram.buffer[8:12]) == b"\0\0\xff\xff"


def test_ibex_timer():
    c, level = Clock(1000), []
    t = IbexTimer(clock=c)
    t.connect("irq", Pin(level.append))
    t.write(0x100, 2 << 16 | 1, 4)                      # step 2, every 2 cycles
    t.write(0x110, 0, 4)
    t.write(0x10C, 100, 4)
    t.write(0x114, 1, 4)
    t.write(0x004, 1, 4)
    c.time.advance(99_999_999)
    assert level == []
    c.time.advance(1)
    assert level == [True] and t.read(0x104, 4) == 100
    t.write(0x10C, 200, 4)
    t.write(0x118, 1, 4)
    assert level == [True, False]


def test_ibex_spi_host_talks_to_a_flash():
    h = IbexSpiHost()
    h.ssi.plug(W25q128())
    h.write(0x10, 1 << 31, 4)
    h.write(0x28, 0x9F, 4)
    h.write(0x20, 2 << 12 | 1 << 9 | 0, 4)              # send one byte, keep the chip selected
    h.write(0x20, 1 << 12 | 2, 4)                       # receive three
    assert h.read(0x14, 4) >> 24 & 1 == 0 and h.read(0x24, 4) == 0x1840EF
    assert h.read(0x24, 4) == 0 and h.read(0x30, 4) == 4 and h.read(0, 4) & 1
    h.write(0x1C, 9, 4)
    h.write(0x20, 0, 4)
    assert h.read(0x30, 4) & 16


def test_spi_bus_refuses_two_parts_at_one_chip_select():
    h = IbexSpiHost()
    h.ssi.plug(W25q128())
    with pytest.raises(PropertyError, match="chip select 0 of bus ssi is taken"):
        h.ssi.plug(SsiDevice())
