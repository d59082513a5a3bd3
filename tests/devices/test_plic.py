import pytest

from tinamou.devices.intc.plic import Plic
from tinamou.machine.lines import Pin
from tinamou.machine.props import PropertyError


@pytest.fixture
def plic():
    p = Plic(hart_config="M,MS", sources=40)
    p.levels_seen = {}
    p.connect("external", [Pin(lambda v, n=n: p.levels_seen.__setitem__(n, v)) for n in range(3)])
    for n in range(1, 41):
        p.write(4 * n, 1, 4)
    return p


def test_contexts(plic):
    assert plic.modes == [(0, "M"), (1, "M"), (1, "S")]
    with pytest.raises(PropertyError):
        print(Plic(hart_config="M,X").modes)


def test_claim_and_complete(plic):
    plic.write(0x2000, 1 << 10 | 1 << 3, 4)
    plic.write(0x2084, 1, 4)                    # context 1, source 32
    plic.write(4 * 10, 7, 4)
    for n in (3, 10, 32):
        plic[n](True)
    assert plic.levels_seen == {0: True, 1: True} and plic.read(0x1000, 4) == 1 << 3 | 1 << 10 and plic.read(0x1004, 4) == 1
    assert plic.read(0x20_0004, 4) == 10 and plic.read(0x20_0004, 4) == 3 and plic.read(0x20_0004, 4) == 0
    assert plic.levels_seen[0] is False
    plic[3](False)
    plic.write(0x20_0004, 3, 4)
    assert plic.levels_seen[0] is False
    plic.write(0x20_0004, 10, 4)                # still high: pending again
    assert plic.levels_seen[0] is True
    plic.write(0x20_0000, 7, 4)                 # threshold
    assert plic.levels_seen[0] is False
    assert dict(plic.served) == {10: 1, 3: 1}


def test_what_does_not_exist_stays_zero(plic):
    plic.write(0, 5, 4)
    plic.write(0x2000, 0xFFFF_FFFF, 4)
    plic.write(0x2004, 0xFFFF_FFFF, 4)
    plic.write(4, 0xFF, 4)
    assert [plic.read(a, 4) for a in (0, 0x2000, 0x2004, 4)] == [0, 0xFFFF_FFFE, 0x1FF, 7]
    with pytest.raises(IndexError):
        plic[0]
    with pytest.raises(IndexError):
        plic[41]


def test_saved_and_restored(plic):
    plic.write(0x2000, 1 << 5, 4)
    plic[5](True)
    plic.read(0x20_0004, 4)
    other = Plic(hart_config="M,MS", sources=40)
    other.load(plic.save())
    assert other.save() == {k: v for k, v in plic.save().items() if k != "pins held"} and other.claimed == 1 << 5
