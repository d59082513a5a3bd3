"""ADC and analog comparator of AVR microcontrollers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_harness import Bench


@pytest.fixture
def b():
    return Bench()


def convert(b, admux, wait=25 * 128):
    b["ADMUX"] = admux
    b["ADCSRA"] = 0xC7
    b.pass_(wait + 128)
    assert b["ADCSRA"] & 0x50 == 0x10
    b["ADCSRA"] = 0x97
    return b["ADC"]


@given(st.floats(0, 5.5, allow_nan=False))
def test_result(volts):
    b = Bench()
    b.pins["A3"].voltage = volts
    assert convert(b, 0x43) == min(1023, int(volts * 1024 / 5 + 1e-9))


def test_references_and_special_channels(b):
    b.pins["A0"].voltage, b.pins["AREF"].voltage = 1.0, 2.0
    assert convert(b, 0x00) == 512 and convert(b, 0x40) == 204 and convert(b, 0xC0) == int(1024 / 1.1)
    assert convert(b, 0x4E) == int(1.1 * 1024 / 5) and convert(b, 0x4F) == 0 and convert(b, 0xC8) == int(0.314 * 1024 / 1.1)
    b["ADMUX"] = 0x60
    b["ADCSRA"] = 0xC7
    b.pass_(14 * 128)
    assert b["ADCH"] == 204 >> 2


def test_timing(b):
    b["ADMUX"], b["ADCSRA"] = 0x40, 0xCF
    b.pass_(25 * 128 - 1)
    assert b.pending() == []
    b.pass_(1)
    assert b.pending() == [22]
    b.enter(22)
    b["ADCSRA"] = 0xCF
    b.pass_(13 * 128 - 1)
    assert b.pending() == []
    b.pass_(128)
    assert b.pending() == [22]


def test_the_sample_is_taken_early(b):
    b["ADCSRA"] = 0x87
    convert(b, 0x40)
    b.pins["A0"].voltage = 2.0
    b["ADCSRA"] = 0xC7
    b.pass_(128 * 3)
    b.pins["A0"].voltage = 4.0
    b.pass_(128 * 12)
    assert b["ADC"] == int(2.0 * 1024 / 5)


def test_low_byte_locks_the_result(b):
    b.pins["A0"].voltage = 1.0
    assert convert(b, 0x40) == 204
    assert b["ADCL"] == 204
    b.pins["A0"].voltage = 5.0
    b["ADCSRA"] = 0xC7
    b.pass_(14 * 128)
    assert b["ADCH"] == 0                   # the new result was lost
    assert convert(b, 0x40) == 1023


def test_free_running(b):
    seen = []
    b["ADMUX"], b["ADCSRB"], b["ADCSRA"] = 0x40, 0, 0xEF
    b.pass_(25 * 128)
    for n in range(5):
        assert b.pending() == [22]
        b.enter(22)
        b.pins["A0"].voltage = n
        b.pass_(13 * 128)
        seen.append(b["ADC"])
    assert seen == [int(n * 1024 / 5) for n in range(5)]


def test_auto_trigger_by_timer_and_pin(b):
    b["ADMUX"], b["ADCSRA"], b["ADCSRB"] = 0x40, 0x87 | 0x20, 3      # timer 0 compare match A
    b["OCR0A"], b["TCCR0A"], b["TCCR0B"] = 99, 2, 1
    b.pass_(99)
    assert not b["ADCSRA"] & 0x40
    b.pass_(1)
    assert b["ADCSRA"] & 0x40
    b["ADCSRA"] = 0x10
    c = Bench()
    c["EICRA"] = 3
    c["ADMUX"], c["ADCSRA"], c["ADCSRB"] = 0x40, 0xA7, 2
    c.pins["D2"].drive(False)
    c.pins["D2"].drive(True)
    assert c["ADCSRA"] & 0x40


def comparator_rises(b):
    b.pins["D6"].voltage, b.pins["D7"].voltage = 1, 2
    b["ACSR"] = 3
    b.pins["D6"].voltage = 3


def int0_rises(b):
    b["EICRA"] = 3
    b.pins["D2"].drive(False)
    b.pins["D2"].drive(True)


def timer0(b, **registers):
    b["TCCR0B"] = 1
    for name, value in registers.items():
        b[name] = value
    b.pass_(120)


def timer1(b, **registers):
    for name, value in registers.items():
        b[name] = value
    b["TCCR1B"] = 1
    b.pass_(120)


def capture(b):
    b["TCCR1B"] = 0x41
    b.pins["D8"].drive(False)
    b.pins["D8"].drive(True)


@pytest.mark.parametrize("source,cause", [
    (1, comparator_rises), (2, int0_rises), (3, lambda b: timer0(b, OCR0A=100)), (4, lambda b: timer0(b, TCNT0=200, OCR0A=150)),
    (5, lambda b: timer1(b, OCR1B=100)), (6, lambda b: timer1(b, TCNT1=0xFFC0, OCR1B=0x8000)), (7, capture)])
def test_each_trigger_source(source, cause):
    """ADTS: table 24-6. No other event starts a conversion."""
    for chosen in range(1, 8):
        b = Bench()
        b["ADMUX"], b["ADCSRA"], b["ADCSRB"] = 0x40, 0xA7, chosen
        cause(b)
        assert bool(b["ADCSRA"] & 0x40) == (chosen == source)


def test_noise_reduction(b):
    b["ADMUX"], b["ADCSRA"] = 0x40, 0x8F
    b["SMCR"] = 3
    assert b.cpu.on_sleep()
    assert b["ADCSRA"] & 0x40 and b.device("system").clock.hz == 0
    b.pass_(26 * 128)
    assert b.pending() == [22]
    b.cpu.on_wake()
    assert b.device("system").clock.hz == 16_000_000


def test_differential_channels():
    b = Bench("mega2560")
    b.pins["A0"].voltage, b.pins["A1"].voltage, b.pins["A9"].voltage, b.pins["A10"].voltage = 2.0, 1.0, 3.0, 1.0
    assert convert(b, 0x50) == int(512 / 5)                 # ADC0 - ADC1
    assert convert(b, 0x40 | 0x09) == 0x3FF & max(-512, int(-1.0 * 10 * 512 // 5))      # (ADC1 - ADC0) x 10
    b["ADCSRB"] = 8
    assert convert(b, 0x41) == int(3.0 * 1024 / 5)          # ADC9
    assert convert(b, 0x40 | 0x19) == int(2.0 * 512 / 5)    # ADC9 - ADC10


def test_digital_input_off(b):
    b.pins["A2"].drive(True)
    assert b["PINC"] & 4
    b["DIDR0"] = 4
    assert not b["PINC"] & 4


def test_comparator(b):
    b.pins["D6"].voltage, b.pins["D7"].voltage = 2.0, 1.0
    assert b["ACSR"] & 0x20
    b["ACSR"] = 0x0B                                        # interrupt on rising
    b.pins["D7"].voltage = 3.0
    assert b.pending() == [] and not b["ACSR"] & 0x20
    b.pins["D6"].voltage = 4.0
    assert b.pending() == [24]
    b.enter(24)
    assert b.pending() == []
    b["ACSR"] = 0x40                                        # bandgap
    assert not b["ACSR"] & 0x20
    b.pins["D7"].voltage = 1.0
    assert b["ACSR"] & 0x20
    b["ADCSRB"], b["ADMUX"] = 0x40, 2                       # ADC2 instead of AIN1
    b.pins["A2"].voltage = 1.2
    assert not b["ACSR"] & 0x20


def test_comparator_captures(b):
    b.pins["D6"].voltage, b.pins["D7"].voltage = 1.0, 2.0
    b["ACSR"], b["TCCR1B"] = 0x04, 0x41
    b.pass_(100)
    b.pins["D6"].voltage = 3.0
    assert b["TIFR1"] & 0x20 and b["ICR1"] == 100
