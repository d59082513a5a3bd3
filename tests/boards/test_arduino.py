"""Arduino boards with genuine sketches, built against the Arduino core of Debian."""

import itertools

import pytest

from avr_guests import BOARDS, Running, bin_of, hex_of, needs_core, program, sketch
from tinamou.devices.i2c.at24c import At24c
from tinamou.devices.i2c.lm75 import Lm75
from tinamou.devices.ssi.nor import Is25lp128
from tinamou.machine import board

pytestmark = needs_core


@pytest.fixture(params=BOARDS)
def on(request):
    return request.param


@pytest.fixture
def start():
    made = []

    def make(name, on, **options):
        made.append(Running(sketch(name, on), on, **options))
        return made[-1]
    yield make
    for r in made:
        assert r.logged == []
        r.close()


def test_blink(start, on):
    r, edges = start("blink.ino", on), []
    r.pins["D13"].on_change(lambda level: edges.append((r.m.time.now, level)))
    r.run(1)
    assert [level for _, level in edges] == [True, False] * 5
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(edges)]
    assert all(99.9e6 < g < 100.1e6 for g in gaps), gaps


def test_two_runs_give_identical_traces(start):
    traces = []
    for _ in range(2):
        r, edges = start("blink.ino", "uno"), []
        r.pins["D13"].on_change(lambda level, r=r, edges=edges: edges.append((r.m.cpus[0].cycles, level)))
        traces.append(edges)
        r.run(0.5)
    assert traces[0] == traces[1] and len(traces[0]) == 5


def test_serial_echo(start, on):
    r = start("echo.ino", on).until("ready")
    r.send(b"first line\nsecond\n")
    r.until("2: second")
    assert r.text == "ready\r\n1: first line\r\n2: second\r\n"


def test_analog_read(start, on):
    r = start("analog.ino", on)
    for volts in (0, 1.0, 2.5, 4.999, 5.0):
        r.pins["A0"].voltage = volts
        r.run(0.02)
        assert int(r.text.split()[-1]) == min(1023, int(volts * 1024 / 5))


def test_fade(start, on):
    r = start("fade.ino", on)
    r.run(0.015)
    assert r.pins["D9"].duty == pytest.approx(51 / 255)
    assert r.pins["D9"].frequency == pytest.approx(16e6 / 64 / 510)
    slow = on in ("mega", "mega2560")       # D6 is on timer 4 there, in phase correct mode
    assert r.pins["D6"].duty == pytest.approx(204 / 255 if slow else 205 / 256)
    assert r.pins["D6"].frequency == pytest.approx(16e6 / 64 / (510 if slow else 256))
    r.run(0.06)
    assert r.pins["D9"].level and r.pins["D9"].duty == 1.0
    assert not r.pins["D6"].level and r.pins["D6"].frequency == 0


def test_picture_of_the_board(start):
    r = start("fade.ino", "uno")
    r.pins["A0"].voltage = 2.5
    r.pins["A5"].drive(True)
    r.pins["D2"].drive(False)
    r.run(0.015)
    assert r.pins.picture().splitlines() == [
        "+-----------------------------------------------------------------------+",
        "|   D13  D12  D11  D10   D9   D8   D7   D6   D5   D4   D3   D2   D1   D0|",
        "|     -    -    -    -  20%    -    -  80%    -    -    -    L    -    H|",
        "|                              arduino-uno                              |",
        "| 2.5V    -    -    -    -    H                                         |",
        "|   A0   A1   A2   A3   A4   A5                                         |",
        "+-----------------------------------------------------------------------+",
    ]
    assert r.pins.describe().startswith(r.pins.picture())


def test_pwm_edges_match_the_duty(start):
    r = start("fade.ino", "uno").run(0.025)
    edges = []
    end = r.pins["D9"].on_change(lambda level: edges.append((r.m.cpus[0].clock.ticks, level)))
    r.run(0.0045)
    end()
    high = [b - a for (a, up), (b, _) in itertools.pairwise(edges) if up]
    assert high and set(high) == {2 * 102 * 64}
    rises = [a for a, up in edges if up]
    assert {b - a for a, b in itertools.pairwise(rises)} == {510 * 64}


def test_button(start, on):
    r = start("button.ino", on)
    button = r.pins["D2"].button()
    r.run(0.01)
    assert r.pins["D2"].level and not r.pins["LED"].level
    for n in range(1, 4):
        button.press()
        r.run(0.002)
        assert r.pins["LED"].level
        button.release()
        r.run(0.002)
        assert not r.pins["LED"].level and r.text.split() == [str(k) for k in range(1, n + 1)]


def test_tone(start, on):
    r, edges = start("tone.ino", on), []
    r.pins["D8"].on_change(lambda level: edges.append(r.m.time.now))
    r.run(0.2)
    assert len(edges) == 88
    assert (len(edges) - 1) / 2 / (edges[-1] - edges[0]) * 1e9 == pytest.approx(440, rel=0.002)


def test_eeprom_outlives_the_emulator(start, on, tmp_path):
    size = {"uno": 1024, "2009": 512}.get(on, 4096)
    file = tmp_path / "eeprom.bin"
    for n in (1, 2, 3):
        r = start("eeprom.ino", on, options={"eeprom": str(file)}).until("3.25")
        assert r.text == f"{n} of {size} 3.25\r\n"
    assert file.stat().st_size == size and file.read_bytes()[10] == 3


def test_wire(start, on):
    r = start("wire.ino", on)
    sensor = Lm75()
    r.bus("i2c-bus").plug(sensor)
    r.bus("i2c-bus").plug(At24c())
    sensor.celsius = 21.5
    r.until("21.50")
    assert r.text.splitlines()[:3] == ["found 48", "found 50", "hello"]
    sensor.celsius = -3.5
    r.until("-3.50")


def test_spi_flash(start, on):
    r = start("spi.ino", on)
    r.bus("spi").plug(Is25lp128(cs=10))
    r.until("flash")
    assert r.text.splitlines()[0] == "9D 60 18 "


@pytest.mark.parametrize("form", [hex_of, bin_of])
def test_other_forms_of_the_program(form):
    r = Running(form(sketch("echo.ino", "uno")), "uno").until("ready")
    r.close()


def test_names_and_aliases():
    for name, b in board.discover("avr").items():
        assert board.find(b.alias) is board.find(name) is b
    assert {b.alias for b in board.discover("avr").values()} == set(BOARDS)


def test_interrupts_and_c(start):
    r = Running(program("""
        #include <avr/io.h>
        #include <avr/interrupt.h>
        volatile unsigned n;
        ISR(TIMER0_OVF_vect) { n++; }
        static void put(char c) { while (!(UCSR0A & 1 << UDRE0)); UDR0 = c; }
        int main(void) {
            UBRR0 = 0; UCSR0B = 1 << TXEN0; TCCR0B = 1; TIMSK0 = 1; sei();
            TCNT1 = 0; TCCR1B = 1;
            while (TCNT1 < 25600);
            cli();
            for (int k = 100; k; k /= 10) put('0' + n / k % 10);
            for (;;);
        }""", "uno"), "uno").run(0.01)
    assert r.text == "100"
    r.close()
