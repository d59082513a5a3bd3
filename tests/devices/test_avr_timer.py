"""Timers of AVR microcontrollers against a model that counts clock by clock."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avr_harness import Bench
from tinamou.devices.avr.timer.waveform import MODES8, MODES16, NEVER, Ramp

# mode number -> (slopes, top, where OCR is loaded, where TOV is set): data sheet tables 15-8 and 16-4
TABLE8 = {0: (1, 255, "now", "max"), 1: (2, 255, "top", "bottom"), 2: (1, "ocr", "now", "max"), 3: (1, 255, "bottom", "max"),
          5: (2, "ocr", "top", "bottom"), 7: (1, "ocr", "bottom", "top")}
TABLE16 = {0: (1, 0xFFFF, "now", "max"), 1: (2, 0xFF, "top", "bottom"), 2: (2, 0x1FF, "top", "bottom"), 3: (2, 0x3FF, "top", "bottom"),
           4: (1, "ocr", "now", "max"), 5: (1, 0xFF, "bottom", "top"), 6: (1, 0x1FF, "bottom", "top"), 7: (1, 0x3FF, "bottom", "top"),
           8: (2, "icr", "bottom", "bottom"), 9: (2, "ocr", "bottom", "bottom"), 10: (2, "icr", "top", "bottom"),
           11: (2, "ocr", "top", "bottom"), 12: (1, "icr", "now", "max"), 14: (1, "icr", "bottom", "top"), 15: (1, "ocr", "bottom", "top")}


class Counting:
    """One clock after the other: the reference."""

    def __init__(self, row, ocr_a, ocr_b, icr, bits, com_a, com_b):
        self.slopes, self.top_, self.load, self.tov = row
        self.maximum = (1 << bits) - 1
        self.ocr, self.icr, self.bits = [ocr_a, ocr_b], icr, bits
        self.com, self.out = [com_a, com_b], [0, 0]
        self.count, self.up, self.flags = 0, True, 0
        self.buffered, self.blocked = [ocr_a, ocr_b], False

    def write(self, what, value):
        """`a`, `b`: OCR, `count`: TCNT, `clear`: ones to TIFR."""
        if what == "clear":
            self.flags &= ~value
        elif what == "count":
            self.count, self.blocked = value, True
        else:
            self.buffered["ab".index(what)] = value
            if self.load == "now":
                self.ocr = list(self.buffered)

    @property
    def top(self):
        return {"ocr": self.ocr[0], "icr": self.icr}.get(self.top_, self.top_)

    def clock(self):
        old, top = self.count, self.top
        for k in (0, 1):
            if old == self.ocr[k] and not self.blocked:
                self.flags |= 2 << k
                if self.load == "now":
                    self.out[k] = (self.out[k], 1 - self.out[k], 0, 1)[self.com[k]]
        if self.slopes == 1:
            if (old == self.maximum and self.tov == "max") or (old == top and self.tov == "top"):
                self.flags |= 1
            if old == top and self.top_ == "icr":
                self.flags |= 0x20
            self.count = 0 if old in (top, self.maximum) else old + 1
        else:
            if old == 0:
                self.flags |= 1
            if old == top and self.top_ == "icr":
                self.flags |= 0x20
            if old == 0:
                self.up = True
            if old >= top:
                self.up = False
            self.count = old + 1 if self.up else old - 1
        self.blocked = False
        if self.load != "now" and old == (0 if self.slopes == 2 and self.load == "bottom" else top):
            self.ocr = list(self.buffered)


values8 = st.one_of(st.sampled_from([1, 2, 127, 254, 255]), st.integers(1, 255))
steps = st.lists(st.one_of(st.integers(1, 40), st.integers(1, 1100)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TABLE8)), values8, values8, st.integers(0, 3), st.integers(0, 3), steps)
def test_timer0_counts_as_the_reference(mode, a, b, com_a, com_b, waits):
    bench, model = Bench(), Counting(TABLE8[mode], a, b, 0, 8, com_a, com_b)
    bench["OCR0A"], bench["OCR0B"] = a, b
    bench["TCCR0A"] = com_a << 6 | com_b << 4 | mode & 3
    bench["TCCR0B"] = (mode & 4) << 1 | 1
    for n in waits:
        bench.pass_(n)
        for _ in range(n):
            model.clock()
        assert (bench["TCNT0"], bench["TIFR0"]) == (model.count, model.flags)
        if model.load == "now":
            timer = bench.device("timer0")
            assert [int(timer.output(k)) for k in (0, 1)] == model.out


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TABLE16)), st.integers(1, 700), st.integers(1, 700), st.integers(1, 700), steps)
def test_timer1_counts_as_the_reference(mode, a, b, icr, waits):
    bench, model = Bench(), Counting(TABLE16[mode], a, b, icr, 16, 0, 0)
    bench["TCCR1B"] = (mode & 0xC) << 1
    bench["TCCR1A"] = mode & 3
    bench["ICR1"] = icr
    bench["OCR1A"], bench["OCR1B"] = a, b
    bench["TCCR1B"] = (mode & 0xC) << 1 | 1
    if mode in (8, 10, 12, 14):
        assert bench["ICR1"] == icr
    else:
        model.icr = None
    for n in waits:
        bench.pass_(n)
        for _ in range(n):
            model.clock()
        assert (bench["TCNT1"], bench["TIFR1"]) == (model.count, model.flags)


acts = st.one_of(st.tuples(st.sampled_from(["a", "b", "count"]), st.integers(1, 255)),
                 st.tuples(st.just("clear"), st.sampled_from([1, 2, 4, 7])))
course = st.lists(st.tuples(st.one_of(st.integers(1, 9), st.integers(1, 700)), acts), min_size=1, max_size=12)


def follow(bench, model, number, acts_):
    """Writes at any time, flags looked at or not."""
    names = {"a": f"OCR{number}A", "b": f"OCR{number}B", "count": f"TCNT{number}", "clear": f"TIFR{number}"}
    for n, (what, value) in acts_:
        bench.pass_(n)
        for _ in range(n):
            model.clock()
        assert (bench[f"TCNT{number}"], bench[f"TIFR{number}"]) == (model.count, model.flags)
        if what == "count" and (model.slopes == 2 or (model.tov == "top" and value > model.top)):
            continue                # the data sheet says nothing of it
        bench[names[what]] = value
        model.write(what, value)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(TABLE8)), values8, values8, course)
def test_timer0_follows_its_registers(mode, a, b, acts_):
    bench, model = Bench(), Counting(TABLE8[mode], a, b, 0, 8, 0, 0)
    bench["OCR0A"], bench["OCR0B"] = a, b
    bench["TCCR0A"], bench["TCCR0B"] = mode & 3, (mode & 4) << 1 | 1
    follow(bench, model, 0, acts_)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(TABLE16)), st.integers(1, 700), st.integers(1, 700), st.integers(1, 700), course)
def test_timer1_follows_its_registers(mode, a, b, icr, acts_):
    bench, model = Bench(), Counting(TABLE16[mode], a, b, icr if mode in (8, 10, 12, 14) else None, 16, 0, 0)
    bench["TCCR1B"], bench["TCCR1A"] = (mode & 0xC) << 1, mode & 3
    bench["ICR1"], bench["OCR1A"], bench["OCR1B"] = icr, a, b
    bench["TCCR1B"] = (mode & 0xC) << 1 | 1
    follow(bench, model, 1, acts_)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 3, 5, 7]), st.one_of(st.sampled_from([2, 255]), st.integers(2, 60)), st.integers(0, 61),
       st.sampled_from([2, 3]), steps)
def test_pwm_outputs_as_the_reference(mode, a, b, com, waits):
    """Channel B of timer 0: data sheet 15.7.3 and 15.7.4; OCR = TOP is constantly high, OCR = BOTTOM low in phase correct mode."""
    slopes, top = TABLE8[mode][0], a if TABLE8[mode][1] == "ocr" else 255
    bench, model = Bench(), Counting(TABLE8[mode], a, b, 0, 8, 0, 0)
    bench["OCR0A"], bench["OCR0B"] = a, b
    bench["TCCR0A"], bench["TCCR0B"] = com << 4 | mode & 3, (mode & 4) << 1 | 1
    timer, out = bench.device("timer0"), 1 if slopes == 1 or b > 0 else 0
    for n in waits:
        bench.pass_(n)
        for _ in range(n):
            before = model.count
            model.clock()
            if slopes == 1:
                out = 1 if model.count == 0 else 0 if before == b else out
            elif before == b and 0 < b < top:
                out = 0 if model.count > before else 1
        expected = out if slopes == 1 or 0 < b < top else int(b > 0)
        if b > top:
            expected = 1
        assert int(timer.output(1)) == expected ^ (com == 3)


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.integers(0, 20), st.integers(0, 31), st.booleans(), st.integers(0, 31), st.integers(0, 80))
def test_ramp(dual, top, start, down, value, after):
    ramp = Ramp(dual, top, 31, start, down and dual)
    counts = [ramp.count(n) for n in range(300)]
    assert counts[0] == start
    for x, y in itertools.pairwise(counts):
        assert y in (x + 1, x - 1, 0) or top <= 1
    if top > 1:
        leaves = [n for n in range(1, 300) if counts[n - 1] == value and counts[n] != value]
        expected = next((n for n in leaves if n > after), NEVER)
        assert ramp.leaves(value, after) == expected
        assert ramp.passes(value, 290) == sum(n <= 290 for n in leaves)


def test_prescaler_and_its_reset():
    b = Bench()
    b["TCCR0B"] = 3                              # 64
    t0 = b.now
    b.pass_(64 * 10 - t0 % 64)
    assert b["TCNT0"] == 10
    b.pass_(63)
    assert b["TCNT0"] == 10
    b["GTCCR"] = 1                               # the prescaler begins again
    b.pass_(63)
    assert b["TCNT0"] == 10
    b.pass_(1)
    assert b["TCNT0"] == 11
    b["GTCCR"] = 0x81
    b.pass_(10_000)
    assert b["TCNT0"] == 11
    b["GTCCR"] = 0
    b.pass_(64)
    assert b["TCNT0"] == 12


def test_overflow_interrupt():
    b = Bench()
    b["TIMSK0"], b["TCCR0B"] = 1, 1
    b.pass_(255)
    assert b.pending() == []
    b.pass_(1)
    assert b.pending() == [17]
    b.enter(17)
    assert b.pending() == [] and not b["TIFR0"] & 1
    b.pass_(256)
    assert b.pending() == [17]
    b["TIFR0"] = 1
    assert b.pending() == []


def test_write_to_tcnt_blocks_the_match():
    b = Bench()
    b["OCR0A"], b["TCCR0B"] = 50, 1
    b["TCNT0"] = 50
    b.pass_(1)
    assert not b["TIFR0"] & 2
    b["TCNT0"] = 49
    b.pass_(1)
    assert not b["TIFR0"] & 2
    b.pass_(1)
    assert b["TIFR0"] & 2


@pytest.mark.parametrize("periods", [0, 1, 7])
def test_double_buffering(periods):
    b = Bench()
    b["OCR0A"], b["OCR0B"] = 99, 20
    b["TCCR0A"], b["TCCR0B"] = 0x23, 9           # fast PWM to OCRA, B clears on match
    b.pass_(periods * 100 + 10)
    b["OCR0B"] = 60
    timer, counts = b.device("timer0"), []
    for _ in range(190):
        counts.append(timer.output(1))
        b.pass_(1)
    start = counts.index(False)
    assert start == 11 and counts[start:90] == [False] * 79
    assert counts[90:151] == [True] * 61 and not any(counts[151:])


@pytest.mark.parametrize("rising", [False, True])
def test_input_capture(rising):
    b = Bench()
    b["TIMSK1"], b["TCCR1B"] = 0x20, 1 | rising << 6
    b.pins["D8"].drive(not rising)
    b["TIFR1"] = 0x20
    b["TCNT1"] = 0x1230
    b.pass_(5)
    b.pins["D8"].drive(rising)
    assert b.pending() == [11] and b["ICR1"] == 0x1235
    b.enter(11)
    b.pins["D8"].drive(not rising)
    assert b.pending() == []


def test_noise_canceler():
    b = Bench()
    b["TCCR1B"] = 0xC1
    b.pins["D8"].drive(False)
    b.pins["D8"].drive(True)
    b.pass_(3)
    b.pins["D8"].drive(False)
    b.pass_(10)
    assert not b["TIFR1"] & 0x20
    b.pins["D8"].drive(True)
    b.pass_(4)
    assert b["TIFR1"] & 0x20


def test_external_clock():
    b = Bench()
    b["TIMSK0"], b["TCCR0B"] = 1, 7
    b["TCNT0"] = 0xFE
    for _ in range(2):
        b.pins["D4"].drive(False)
        b.pins["D4"].drive(True)
    assert b["TCNT0"] == 0 and b.pending() == [17]


def test_asynchronous_timer_2():
    b = Bench()
    b["ASSR"] = 0x20
    b["TCCR2B"] = 5                              # 128: 256 counts a second
    b["TIMSK2"] = 1
    assert b["ASSR"] & 1
    b.pass_(16_000_000 * 4 // 32768)
    assert not b["ASSR"] & 1
    b.pass_(16_000_000)
    assert b.pending() == [10]
    b["TCNT2"] = 100
    assert b["ASSR"] & 0x10 and b["TCNT2"] != 100


def test_power_reduction_stops_the_count():
    b = Bench()
    b["TCCR0B"] = 1
    b.pass_(10)
    b["PRR0"] = 1 << 5
    b.pass_(100)
    b["PRR0"] = 0
    assert b["TCNT0"] == 10
    b.pass_(5)
    assert b["TCNT0"] == 15


def test_force_output_compare():
    b = Bench()
    b["DDRD"], b["TCCR0A"] = 0x40, 0x40
    b["TCCR0B"] = 0x80
    assert b.pins["D6"].level and not b["TIFR0"]
    b["TCCR0B"] = 0x80
    assert not b.pins["D6"].level


def test_pwm_of_every_output():
    b = Bench("mega2560")
    for n in (1, 3, 4, 5):
        b[f"TCCR{n}A"], b[f"TCCR{n}B"] = 0xAA, 0x1A      # fast PWM to ICR, 8
        b[f"ICR{n}"] = 999
        b[f"OCR{n}A"], b[f"OCR{n}B"], b[f"OCR{n}C"] = 99, 249, 499
    for p in "BEHL":
        b[f"DDR{p}"] = 0xFF
    for pins in (("PB5", "PB6", "PB7"), ("PE3", "PE4", "PE5"), ("PH3", "PH4", "PH5"), ("PL3", "PL4", "PL5")):
        assert [b.pins[p].duty for p in pins] == [0.1, 0.25, 0.5]
        assert {b.pins[p].frequency for p in pins} == {2000.0}


def test_tables_of_the_modes():
    assert len(MODES8) == 8 and len(MODES16) == 16


def test_saved_and_restored():
    b = Bench()
    b["OCR0A"], b["TCCR0A"], b["TCCR0B"], b["TIMSK0"] = 77, 2, 2, 2
    b.pass_(100)
    saved, timer = b.device("timer0").save(), b.device("timer0")
    before = [b["TCNT0"]]
    b.pass_(8 * 50)
    before.append(b["TCNT0"])
    time = b.m.time.now
    b.m.time.set(time - 8 * 50 * 1000 // 16)
    timer.load(saved)
    after = [b["TCNT0"]]
    b.pass_(8 * 50)
    after.append(b["TCNT0"])
    assert before == after


def test_icr_is_written_only_where_it_is_top():
    """Data sheet, 16.6.3: the mode has to be chosen before ICR1 can be written."""
    b = Bench()
    b["ICR1"] = 1000
    assert b["ICR1"] == 0 and b.logged == ["timer1: write of ICR in a mode where it is not TOP: it keeps its value"]
    b["TCCR1B"] = 0x18
    b["ICR1"] = 1000
    assert b["ICR1"] == 1000 and len(b.logged) == 1


@pytest.mark.parametrize("on,com,mask", [("uno", 0xF3, 0x27), ("mega2560", 0xFF, 0x2F)])
def test_bits_of_a_third_channel_are_there_where_the_channel_is(on, com, mask):
    b = Bench(on)
    b["TCCR1A"], b["TIMSK1"] = 0xFF, 0xFF
    assert (b["TCCR1A"], b["TIMSK1"]) == (com, mask)
