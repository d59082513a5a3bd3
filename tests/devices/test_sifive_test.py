from tinamou.devices.misc.sifive_test import SifiveTest
from tinamou.machine.machine import Machine


def test_requests():
    m, seen = Machine(), []
    m.at(0x10_0000, SifiveTest())
    m.on_request(lambda what, details: seen.append((what, details)))
    for value, size in ((0x5555, 4), (0x0007_3333, 4), (0x7777, 2), (0x1234, 4)):
        m.memory.write(0x10_0000, value, size)
    assert seen == [("shutdown", {"cause": "guest-shutdown", "code": 0}),
                    ("shutdown", {"cause": "guest-shutdown", "code": 7}), ("reset", {"cause": "guest-reset"})]
