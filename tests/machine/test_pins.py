import pytest

from tinamou.machine.machine import Machine
from tinamou.machine.pins import PULL_UP, Driver
from tinamou.machine.props import PropertyError


@pytest.fixture
def m():
    machine = Machine("bench")
    for n in range(4):
        machine.pins.add(f"D{n}", f"PX{n}")
    machine.log.sink = lambda text: None
    return machine


class Square:
    """An output of 25 % at 1 kHz."""

    def __init__(self):
        self.high, self.watched = False, []

    def level(self):
        return self.high

    def duty(self):
        return 0.25

    def frequency(self):
        return 1000.0

    def watch(self, on):
        self.watched.append(on)


def test_resolution(m):
    pin = m.pins["D0"]
    assert not pin.level and pin.describe().endswith("floating")
    chip = Driver("chip", pin.net)
    chip.set(5.0, PULL_UP)
    assert pin.level and pin.voltage == pytest.approx(5) and pin.describe().endswith("pulled high")
    pin.pull(False, PULL_UP)
    assert pin.voltage == pytest.approx(2.5) and pin.level              # between the thresholds nothing changes
    pin.pull(False, PULL_UP / 10)
    assert not pin.level
    pin.drive(True)
    assert pin.level and pin.describe().endswith("driven high")
    pin.release()
    chip.release()
    assert pin.level                                                    # nobody drives: the level stays


def test_hysteresis(m):
    pin, seen = m.pins["D1"], []
    pin.on_change(seen.append)
    for volts in (0.0, 2.9, 3.1, 2.0, 1.6, 1.4, 2.9, 5.0):
        pin.voltage = volts
    assert seen == [True, False, True]


def test_listeners_end(m):
    pin, seen = m.pins["D0"], []
    end = pin.on_change(seen.append)
    pin.drive(True)
    end()
    pin.drive(False)
    assert seen == [True]


def test_waves_make_edges_only_while_watched(m):
    pin, wave = m.pins["D2"], Square()
    chip = Driver("chip", pin.net)
    chip.follow(wave)
    assert (pin.duty, pin.frequency) == (0.25, 1000.0) and wave.watched == []
    wave.high = True
    assert pin.level and pin.voltage == 5.0
    end = pin.on_change(lambda level: None)
    end2 = pin.net.meter(lambda: None)
    assert wave.watched == [True]
    end()
    assert wave.watched == [True]
    end2()
    assert wave.watched == [True, False]
    chip.release()
    assert pin.frequency == 0


def test_wires_join_nets(m):
    a, b, c, seen = m.pins["D0"], m.pins["D1"], m.pins["D2"], []
    c.on_change(seen.append)
    a.connect(b)
    b.connect(c)
    a.drive(True)
    assert b.level and c.level and seen == [True] and a.net is c.net


def test_short_circuits_are_told_once(m):
    a, b = Driver("one", m.pins["D3"].net), Driver("two", m.pins["D3"].net)
    a.level(True)
    b.level(True)
    assert m.pins.shorts == []
    b.level(False)
    a.level(True)
    assert [str(s) for s in m.pins.shorts] == ["short circuit on D3: one (5 V) against two (0 V)"]
    b.release()
    b.level(False)
    assert len(m.pins.shorts) == 2


def test_button(m):
    pin = m.pins["D0"]
    pin.pull(True)
    button = pin.button()
    assert pin.level
    button.press()
    assert not pin.level and button.pressed and m.pins.shorts == []
    button.release()
    assert pin.level


def test_names(m):
    assert m.pins["PX1"] is m.pins["D1"] is m.pins["d1"] and "D9" not in m.pins and list(m.pins) == ["D0", "D1", "D2", "D3"]
    with pytest.raises(PropertyError, match="no pin 'D9' on machine 'bench'"):
        m.pins["D9"]
    with pytest.raises(PropertyError, match="has no pins"):
        Machine("empty").pins["D0"]
    with pytest.raises(ValueError, match="two pins"):
        m.pins.add("D0")


def test_what_the_outside_holds_is_saved(m):
    m.pins["D0"].voltage = 1.5
    m.pins["D1"].pull(True)
    saved = m.pins.save()
    m.pins["D0"].release()
    m.pins["D2"].drive(True)
    m.pins.load(saved)
    assert m.pins["D0"].voltage == 1.5 and m.pins["D1"].level and m.pins.save() == saved
