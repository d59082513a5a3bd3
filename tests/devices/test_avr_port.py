"""Ports and external interrupts of AVR microcontrollers."""

import pytest

from avr_harness import Bench


@pytest.fixture
def b():
    return Bench()


def test_outputs_inputs_and_pull_ups(b):
    b["DDRB"], b["PORTB"] = 0x0F, 0x35
    b.pass_(2)
    assert [b.pins[f"D{n}"].level for n in range(8, 14)] == [True, False, True, False, True, True]
    assert b.pins["D12"].describe().endswith("pulled high") and b.pins["D8"].describe().endswith("output high")
    assert b["PINB"] == 0x35
    b.pins["D12"].drive(False)
    b.pass_(2)
    assert b["PINB"] == 0x25
    b["MCUCR"] = 0x10                       # PUD
    assert b.pins["D13"].describe().endswith("floating")


def test_synchronizer_shows_a_level_one_cycle_later(b):
    b["DDRB"] = 1
    b.pass_(5)
    b["PORTB"] = 1
    assert b["PINB"] == 0
    b.pass_(1)
    assert b["PINB"] == 0
    b.pass_(1)
    assert b["PINB"] == 1


def test_only_the_pins_that_changed_are_seen_late(b):
    b["DDRB"] = 3
    b.pins["D12"].drive(True)
    b.pins["D13"].drive(True)
    b.pass_(5)
    b.pins["D13"].drive(False)
    b.pass_(5)
    b["PORTB"] = 1
    assert b["PINB"] == 0x10
    b.pass_(1)
    b["PORTB"] = 3
    b["PORTB"] = 1                          # twice in one cycle: what was before
    assert b["PINB"] == 0x11
    b.pass_(1)
    b["PORTB"] = 2
    b.pass_(1)
    assert b["PINB"] == 0x11                # of each change what was just before it
    b.pass_(1)
    assert b["PINB"] == 0x12


def test_writing_pin_toggles(b):
    b["DDRB"], b["PORTB"] = 0xFF, 0x0F
    b["PINB"] = 0x81
    assert b["PORTB"] == 0x8E
    b.io.write_bits(b.at["PINB"], 0x02, 0x02)           # sbi PINB, 1 toggles that bit alone
    assert b["PORTB"] == 0x8C


def test_flags_survive_sbi(b):
    b["EICRA"] = 0x0F
    for pin in ("D2", "D3"):
        b.pins[pin].drive(False)
        b.pins[pin].drive(True)
    assert b["EIFR"] == 3
    b.io.write_bits(b.at["EIFR"], 0x01, 0x01)           # sbi EIFR, 0
    assert b["EIFR"] == 2


@pytest.mark.parametrize("sense,expected", [(0, None), (1, [True, True]), (2, [False, True]), (3, [True, False])])
def test_external_interrupt(b, sense, expected):
    b.pins["D2"].drive(False)
    b["EICRA"], b["EIMSK"] = sense, 1
    if sense == 0:
        assert b.pending() == [2]
        b.enter(2)
        assert b.pending() == [2]               # a level stays
        b.pins["D2"].drive(True)
        assert b.pending() == []
        return
    seen = []
    for level in (True, False):
        b.pins["D2"].drive(level)
        seen.append(b.pending() == [2])
        if b.pending():
            b.enter(2)
    assert seen == expected


def test_pin_change_interrupts(b):
    b["PCICR"], b["PCMSK0"], b["PCMSK2"] = 1, 0x02, 0x10
    b.pins["D8"].drive(True)
    assert b.pending() == []
    b.pins["D9"].drive(True)
    assert b.pending() == [4]
    b.enter(4)
    b.pins["D9"].drive(False)
    assert b.pending() == [4]
    b["PCIFR"] = 1
    b.pins["D4"].drive(True)
    assert b.pending() == [] and b["PCIFR"] == 4
    b["PCICR"] = 4
    assert b.pending() == [6]


@pytest.mark.parametrize("pin,number", [("D21", 2), ("D20", 3), ("D19", 4), ("D18", 5), ("D2", 6), ("D3", 7)])
def test_interrupt_pins_of_the_mega(pin, number):
    b = Bench("mega2560")
    b["EICRA"], b["EICRB"], b["EIMSK"] = 0xFF, 0xFF, 0xFF
    b.pins[pin].drive(False)
    b.pins[pin].drive(True)
    assert b.pending() == [number]


def test_pin_change_groups_of_the_mega():
    b = Bench("mega2560")
    b["PCICR"], b["PCMSK0"], b["PCMSK1"], b["PCMSK2"] = 7, 0xFF, 0xFF, 0xFF
    for pin, vector in (("D53", 10), ("D0", 11), ("D14", 11), ("A8", 12)):
        b.pins[pin].drive(not b.pins[pin].level)
        assert b.pending() == [vector]
        b.enter(vector)


def test_every_pin_of_every_board():
    for on, count in (("uno", 20), ("2009", 20), ("mega", 70), ("mega2560", 70)):
        b = Bench(on)
        names = [p for p in b.pins if p[0] in "DA" and p[1:].isdigit()]
        assert len(names) == count
        for name in names:
            pin = b.pins[name]
            port, bit = pin.chip[1], int(pin.chip[2])
            b[f"PORT{port}"] = 0
            b[f"DDR{port}"] = 1 << bit
            b[f"PORT{port}"] = 1 << bit
            assert pin.level, (on, name)
            b[f"PORT{port}"] = 0
            assert not pin.level
            b[f"DDR{port}"] = 0
