from tinamou.devices.rtc.goldfish import GoldfishRtc
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine, Settings


def test_time_and_alarm():
    m = Machine(settings=Settings(rtc_base="2020-08-11T00:00:00", rtc_clock="vm"))
    irqs = []
    r = m.at(0, GoldfishRtc(), irq=Pin(irqs.append))

    def now():
        low = r.read(0, 4)
        return r.read(4, 4) << 32 | low

    start = 1597104000 * 10**9
    assert now() == start
    m.time.advance(5)
    assert now() == start + 5
    when = start + 1000
    r.write(0xC, when >> 32, 4)
    r.write(0x8, when & 0xFFFF_FFFF, 4)
    r.write(0x10, 1, 4)
    assert r.read(0x18, 4) == 1
    m.time.advance(994)
    assert irqs == []
    m.time.advance(1)
    assert irqs == [True] and r.read(0x18, 4) == 0
    r.write(0x1C, 0, 4)
    assert irqs == [True, False]
    r.write(4, 0, 4)
    r.write(0, 77, 4)
    assert now() == 77
