from tinamou.devices.timer.clint import Clint
from tinamou.machine.clock import Clock
from tinamou.machine.lines import Pin


def test_timer_and_software_interrupts():
    clock = Clock(10_000_000)
    c = Clint(harts=2, clock=clock)
    levels = {}
    for n in (0, 1):
        c.connect("timeout", [Pin(lambda v, n=n: levels.__setitem__(("t", n), v)) for n in (0, 1)])
        c.connect("software", [Pin(lambda v, n=n: levels.__setitem__(("s", n), v)) for n in (0, 1)])
    c.write(4, 1, 4)
    assert levels == {("s", 1): True}
    c.write(0x4008, 100, 8)
    clock.time.advance(9_999)
    assert ("t", 1) not in levels
    clock.time.advance(1)
    assert levels[("t", 1)] is True and ("t", 0) not in levels and c.read(0xBFF8, 8) == 100
    c.write(0x4008, 0xFFFF_FFFF, 4)
    assert levels[("t", 1)] is False and c.read(0x4008, 8) == 0xFFFF_FFFF
    c.write(0xBFF8, 0x1_0000_0000, 8)
    assert levels[("t", 1)] is True and c.read(0xBFFC, 4) == 1


def test_deadline_survives_a_new_mtime():
    clock = Clock(1000)
    c = Clint(harts=1, clock=clock)
    level = []
    c.connect("timeout", Pin(level.append))
    c.write(0x4000, 5000, 8)
    c.write(0xBFF8, 4990, 8)
    clock.time.advance(9_999_999)
    assert level == []
    clock.time.advance(1)
    assert level == [True]
