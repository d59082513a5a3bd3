"""USART of AVR microcontrollers."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avr_harness import Bench
from tinamou.devices.ssi.nor import Is25lp128


@pytest.fixture
def b():
    return Bench()


@pytest.mark.parametrize("a,ubrr,c,bits,cycles", [
    (0, 103, 0x06, 10, 16 * 104), (2, 207, 0x06, 10, 8 * 208), (0, 8, 0x0E, 11, 16 * 9), (0, 8, 0x2E, 12, 16 * 9), (0, 0, 0x00, 7, 16)])
def test_frames_take_their_time(b, a, ubrr, c, bits, cycles):
    b["UCSR0A"], b["UBRR0"], b["UCSR0C"], b["UCSR0B"] = a, ubrr, c, 0x08
    b["UDR0"] = ord("A")
    assert b["UCSR0A"] & 0x60 == 0x20                   # the buffer is empty again at once
    b["UDR0"] = ord("B")
    assert b["UCSR0A"] & 0x60 == 0
    b.pass_(bits * cycles - 1)
    assert b.ports[0].sent == b""
    b.pass_(1)
    mask = 0x1F if c == 0 else 0xFF
    assert b.ports[0].sent == bytes([ord("A") & mask]) and b["UCSR0A"] & 0x60 == 0x20
    b.pass_(bits * cycles)
    assert b.ports[0].sent == bytes([ord("A") & mask, ord("B") & mask]) and b["UCSR0A"] & 0x60 == 0x60
    b["UCSR0A"] = 0x40 | a
    assert not b["UCSR0A"] & 0x40


def test_interrupts(b):
    b["UBRR0"], b["UCSR0B"] = 0, 0xF8
    assert b.pending() == [20]
    b["UCSR0B"] = 0xD8
    b["UDR0"] = 1
    b.ports[0].deliver(b"x")
    b.pass_(160)
    assert b.pending() == [19, 21]
    b.enter(21)
    assert b.pending() == [19]
    assert b["UDR0"] == ord("x") and b.pending() == []


def test_reception_is_paced_and_loses_nothing(b):
    b["UBRR0"], b["UCSR0B"] = 0, 0x10
    b.ports[0].deliver(b"abcdef")
    b.pass_(159)
    assert not b["UCSR0A"] & 0x80
    b.pass_(161)
    assert b.ports[0].backlog == 4
    b.pass_(10_000)
    out = bytearray()
    while b["UCSR0A"] & 0x80:
        out.append(b["UDR0"])
        b.pass_(160)
    assert out == b"abcdef"


def test_errors_and_the_ninth_bit(b):
    b["UCSR0B"] = 0x1C                                  # nine bits
    u = b.device("usart0")
    u.receive_frame(0x155, parity_error=True)
    assert b["UCSR0A"] & 0x9C == 0x84 and b["UCSR0B"] & 2 and b["UDR0"] == 0x55 and b["UCSR0A"] & 0x9C == 0
    u.receive_frame(0x0AA, frame_error=True)
    assert b["UCSR0A"] & 0x9C == 0x90 and not b["UCSR0B"] & 2 and b["UDR0"] == 0xAA
    for n in range(3):
        u.receive_frame(n)
    assert [(b["UCSR0A"] & 0x88, b["UDR0"]) for _ in range(3)] == [(0x80, 0), (0x80, 1), (0x80, 2)]     # the third in the shift register
    for n in range(5):
        u.receive_frame(n)
    assert [(b["UCSR0A"] & 0x88, b["UDR0"]) for _ in range(3)] == [(0x80, 0), (0x80, 1), (0x88, 4)]     # overrun, told with the next frame
    assert not b["UCSR0A"] & 0x88
    b["UCSR0B"] = 0x0C | 1
    b["UDR0"] = 0x33
    assert u.tx_shift == 0x133


def test_multiprocessor_mode(b):
    b["UCSR0B"], b["UCSR0A"] = 0x14, 1
    u = b.device("usart0")
    u.receive_frame(0x42)
    assert not b["UCSR0A"] & 0x80
    u.receive_frame(0x142)
    assert b["UCSR0A"] & 0x80 and b["UDR0"] == 0x42


def test_pins_belong_to_the_usart(b):
    b["UBRR0"], b["DDRD"], b["PORTD"] = 1, 0, 0
    edges, start = [], b.now
    b["UCSR0B"] = 0x18
    assert b.pins["D1"].level
    b.pins["D1"].on_change(lambda level: edges.append((b.now - start, level)))
    b["UDR0"] = 0b0101_0011
    b.pass_(400)
    assert edges == [(0, False), (32, True), (96, False), (160, True), (192, False), (224, True), (256, False), (288, True)]
    b["UCSR0B"] = 0
    assert b.pins["D1"].describe().endswith("floating")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 255), st.sampled_from([0x06, 0x26, 0x36, 0x0E]))
def test_frames_over_wires(byte, frame):
    b = Bench("mega2560")
    for n in (1, 2):
        b[f"UBRR{n}"], b[f"UCSR{n}C"], b[f"UCSR{n}B"] = 3, frame, 0x18
    b.pins["D18"].connect(b.pins["D17"])                # TX1 to RX2
    b["UDR1"] = byte
    b.pass_(64 * 12)
    assert b["UCSR2A"] & 0x9C == 0x80 and b["UDR2"] == byte


def test_wrong_parity_over_wires():
    b = Bench("mega2560")
    b["UBRR1"], b["UCSR1C"], b["UCSR1B"] = 3, 0x26, 0x18
    b["UBRR2"], b["UCSR2C"], b["UCSR2B"] = 3, 0x36, 0x18
    b.pins["D18"].connect(b.pins["D17"])
    b["UDR1"] = 7
    b.pass_(64 * 12)
    assert b["UCSR2A"] & 0x84 == 0x84


def test_spi_master_mode(b):
    u = b.device("usart0")
    u.spi.plug(Is25lp128())
    u.spi.chip_select(0, True)
    b["UBRR0"], b["UCSR0C"], b["UCSR0B"] = 0, 0xC0, 0x18
    answers = []
    for byte in (0x9F, 0, 0, 0):
        b["UDR0"] = byte
        b.pass_(15)
        assert not b["UCSR0A"] & 0x80
        b.pass_(1)
        answers.append(b["UDR0"])
    assert answers[1:] == [0x9D, 0x60, 0x18]


def test_clock_pin(b):
    b["DDRD"], b["UBRR0"], b["UCSR0C"] = 0x10, 3, 0x46          # synchronous master
    assert (b.pins["D4"].frequency, b.pins["D4"].duty) == (2e6, 0.5)
    edges, start = [], b.now
    end = b.pins["D4"].on_change(lambda level: edges.append(b.now - start))
    b.pass_(40)
    assert [y - x for x, y in itertools.pairwise(edges)] == [4] * (len(edges) - 1) and len(edges) in (9, 10)
    end()
    b["UBRR0"], b["UCSR0C"], b["UCSR0B"] = 0, 0xC0, 0x08         # SPI mode: eight pulses a byte
    rises = []
    b.pins["D4"].on_change(lambda level: rises.append(b.now) if level else None)
    b["UDR0"] = 0x55
    b.pass_(100)
    assert len(rises) == 8 and b.pins["D4"].frequency == 0


def test_synchronous_frames_over_wires():
    b = Bench("mega2560")
    b["DDRD"] = 1 << 5                                          # XCK1 is no pin of the board: this makes it the master
    b["DDRH"] = 1 << 2
    for n in (1, 2):
        b[f"UBRR{n}"], b[f"UCSR{n}C"], b[f"UCSR{n}B"] = 3, 0x46, 0x18
    b.pins["D18"].connect(b.pins["D17"])
    b["UDR1"] = 0xA7
    b.pass_(8 * 12)
    assert b["UCSR2A"] & 0x9C == 0x80 and b["UDR2"] == 0xA7


@pytest.mark.parametrize("polarity", [0, 1])
def test_a_clock_from_outside_moves_the_bits(b, polarity):
    """XCK is an input: whatever the baud rate register says. Even parity, two stop bits; nothing happens without edges."""
    b["UBRR0"], b["UCSR0C"], b["UCSR0B"] = 77, 0x6E | polarity, 0x18
    b.pins["D0"].drive(True)
    b.pins["D4"].drive(bool(polarity))
    for sent, answer in ((0xA7, 0x3C), (0x01, 0x80), (0xFF, 0)):
        b["UDR0"] = answer
        b.pass_(100_000)
        line = []
        for bit in [0, *(sent >> n & 1 for n in range(8)), sent.bit_count() & 1, 1, 1]:
            b.pins["D4"].drive(not polarity)                    # data change
            b.pins["D0"].drive(bool(bit))
            b.pass_(17)
            line.append(int(b.pins["D1"].level))
            b.pins["D4"].drive(bool(polarity))                  # and are sampled
            b.pass_(23)
        assert line == [0, *(answer >> n & 1 for n in range(8)), answer.bit_count() & 1, 1, 1]
        assert b["UCSR0A"] & 0x9C == 0x80 and b["UDR0"] == sent
        b.pins["D4"].drive(not polarity)                        # the end of the last stop bit
        assert b["UCSR0A"] & 0x40 and b.ports[0].sent[-1] == answer
        b.pins["D4"].drive(bool(polarity))
        b["UCSR0A"] = 0x40
    b.ports[0].deliver(b"x")
    b.pass_(1_000_000)
    assert not b["UCSR0A"] & 0x80                               # no clock, no frame


def test_data_change_at_the_rising_edge_of_the_clock(b):
    b["DDRD"], b["UBRR0"], b["UCSR0C"], b["UCSR0B"] = 0x10, 7, 0x46, 0x08
    events = []
    for pin in ("D1", "D4"):
        b.pins[pin].on_change(lambda level, pin=pin: events.append((b.now, pin, level)))
    b["UDR0"] = 0x55
    b.pass_(16 * 10)
    changes = {t for t, pin, _ in events if pin == "D1"}
    assert len(changes) >= 9 and changes <= {t for t, pin, level in events if pin == "D4" and level} | {min(changes)}


def test_writing_too_early_is_told(b):
    b["UDR0"] = 1
    assert any("transmitter" in x for x in b.logged)
