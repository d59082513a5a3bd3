"""SPI and TWI of AVR microcontrollers, and parts on I2C."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avr_harness import Bench
from tinamou.devices.i2c.at24c import At24c
from tinamou.devices.i2c.lm75 import Lm75
from tinamou.devices.ssi.bus import SsiDevice
from tinamou.machine.props import PropertyError


class Echo(SsiDevice):
    """Gives each byte back inverted, one later."""

    last = 0

    def setup(self):
        self.got = []

    def transfer(self, byte):
        out, self.last = self.last, byte ^ 0xFF
        self.got.append(byte)
        return out


@pytest.fixture
def b():
    return Bench()


def bus(b, name):
    return next(x for x in b.m.buses() if x.name == name)


@pytest.mark.parametrize("spcr,spsr,cycles", [(0, 0, 4), (0, 1, 2), (1, 0, 16), (1, 1, 8), (2, 0, 64), (2, 1, 32), (3, 0, 128), (3, 1, 64)])
def test_spi_master(b, spcr, spsr, cycles):
    echo = Echo(cs=10)
    b["DDRB"], b["PORTB"] = 0x2C, 0x04
    bus(b, "spi").plug(echo)
    b["SPCR"], b["SPSR"] = 0xD0 | spcr, spsr
    b["PORTB"] = 0
    b["SPDR"] = 0xA5
    b.pass_(8 * cycles - 1)
    assert b.pending() == []
    b["SPDR"] = 1
    assert b["SPSR"] & 0x40                                 # write collision
    b.pass_(1)
    assert b.pending() == [18] and b["SPSR"] & 0xC0 == 0xC0
    assert b["SPDR"] == 0 and b["SPSR"] & 0xC0 == 0 and b.pending() == []
    b["SPDR"] = 0
    b.pass_(8 * cycles)
    b.enter(18)
    assert b["SPDR"] == 0x5A and echo.got == [0xA5, 0]
    b["PORTB"] = 4
    b["SPDR"] = 7
    b.pass_(8 * cycles)
    assert b["SPDR"] == 0xFF and len(echo.got) == 2         # not selected


def test_spi_bit_order_and_pins(b):
    echo, bits = Echo(cs=9), []
    b["DDRB"] = 0x2E
    bus(b, "spi").plug(echo)
    b["SPCR"] = 0x70
    b.pins["D13"].on_change(lambda up: bits.append(int(b.pins["D11"].level)) if up else None)
    b["SPDR"] = 0b0000_1101
    b.pass_(64)
    assert echo.got == [0b1011_0000] and bits == [1, 0, 1, 1, 0, 0, 0, 0]


def test_spi_slave(b):
    b["SPCR"], b["SPDR"] = 0xC0, 0x77
    b.pins["D10"].drive(True)
    assert b.device("spi").exchange(1) is None
    b.pins["D10"].drive(False)
    assert b.device("spi").exchange(0x12) == 0x77 and b.pending() == [18] and b["SPDR"] == 0x12


@pytest.mark.parametrize("mode", range(8))
def test_spi_slave_on_pins(b, mode):
    """A master outside: both polarities, both phases, both bit orders."""
    polarity, phase, lsb_first = mode >> 1 & 1, mode & 1, mode >> 2
    pins = b.pins
    pins["D10"].drive(True)
    pins["D13"].drive(bool(polarity))
    b["DDRB"] = 0x10                                            # MISO
    b["SPCR"] = 0xC0 | lsb_first << 5 | polarity << 3 | phase << 2
    assert pins["D12"].describe().endswith("floating")
    for sent, answer in ((0x12, 0x77), (0xF0, 0x81)):
        b["SPDR"] = answer
        pins["D10"].drive(False)
        got = []
        for n in range(8):
            bit = bool(sent >> (n if lsb_first else 7 - n) & 1)
            if not phase:
                pins["D11"].drive(bit)
                got.append(int(pins["D12"].level))
                pins["D13"].drive(not polarity)
                b.pass_(9)
                pins["D13"].drive(bool(polarity))
            else:
                pins["D13"].drive(not polarity)
                pins["D11"].drive(bit)
                b.pass_(9)
                got.append(int(pins["D12"].level))
                pins["D13"].drive(bool(polarity))
        assert got == [answer >> (n if lsb_first else 7 - n) & 1 for n in range(8)]
        assert b.pending() == [18] and b["SPSR"] & 0x80 and b["SPDR"] == sent and not b["SPSR"] & 0x80
        pins["D10"].drive(True)
    assert pins["D12"].describe().endswith("floating")


def test_spi_slave_starts_anew_when_selected(b):
    b.pins["D10"].drive(False)
    b.pins["D13"].drive(False)
    b["SPCR"], b["SPDR"] = 0x40, 0x55
    for _ in range(5):
        b.pins["D13"].drive(True)
        b.pins["D13"].drive(False)
    b["SPDR"] = 0xAA
    assert b["SPSR"] & 0x40                                     # a collision: the byte was on its way
    b.pins["D10"].drive(True)
    b.pins["D10"].drive(False)
    for _ in range(8):
        b.pins["D13"].drive(True)
        b.pins["D13"].drive(False)
    assert b["SPSR"] & 0x80


def test_spi_master_loses_the_bus(b):
    b.pins["D10"].drive(True)
    b["SPCR"] = 0x50
    assert b["SPCR"] & 0x10
    b.pins["D10"].drive(False)
    assert not b["SPCR"] & 0x10 and b["SPSR"] & 0x80


# --- TWI

TWINT, TWEA, TWSTA, TWSTO, TWEN = 0x80, 0x40, 0x20, 0x10, 0x04


def twi(b, control, data=None, bits=9):
    if data is not None:
        b["TWDR"] = data
    b["TWCR"] = TWINT | TWEN | control
    b.pass_(bits * b.device("twi").scl_cycles)
    return b["TWSR"] & 0xF8


def test_twi_master(b):
    memory = At24c()
    bus(b, "i2c-bus").plug(memory)
    b["TWBR"] = 72
    assert b.device("twi").scl_cycles == 160
    b["TWCR"] = TWINT | TWSTA | TWEN
    b.pass_(159)
    assert not b["TWCR"] & TWINT
    b.pass_(1)
    assert b["TWCR"] & TWINT and b["TWSR"] & 0xF8 == 0x08
    assert twi(b, 0, 0xA0) == 0x18
    assert [twi(b, 0, x) for x in (0x00, 0x10, 0x11, 0x22)] == [0x28] * 4
    b["TWCR"] = TWINT | TWSTO | TWEN
    b.pass_(160)
    assert not b["TWCR"] & TWSTO and b["TWSR"] == 0xF8
    assert twi(b, TWSTA, bits=1) == 0x08 and twi(b, 0, 0xA0) == 0x20           # busy writing
    b.pass_(5 * 16_000)
    assert twi(b, TWSTA, bits=1) == 0x10 and twi(b, 0, 0xA0) == 0x18
    assert [twi(b, 0, x) for x in (0x00, 0x10)] == [0x28] * 2
    assert twi(b, TWSTA, bits=1) == 0x10 and twi(b, 0, 0xA1) == 0x40
    assert twi(b, TWEA) == 0x50 and b["TWDR"] == 0x11
    assert twi(b, 0) == 0x58 and b["TWDR"] == 0x22
    assert twi(b, TWSTA, bits=1) == 0x10 and twi(b, 0, 0xC0) == 0x20           # nobody there


def test_twi_slave_receives(b):
    b["TWAR"], b["TWCR"] = 0x42 << 1, TWEA | TWEN | 1
    done = []
    b.device("twi").master_write(0x41, b"x", done.append)
    assert done == [None]
    b.device("twi").master_write(0x42, b"\x01\x02", done.append)
    status, data = [], []
    for _ in range(4):
        assert b.pending() == [25]
        status.append(b["TWSR"])
        data.append(b["TWDR"])
        b["TWCR"] = TWINT | TWEA | TWEN | 1
        b.pass_(9 * 16)
    assert status == [0x60, 0x80, 0x80, 0xA0] and data[1:3] == [1, 2] and done == [None, [1, 2]] and b.pending() == []


def test_twi_slave_transmits_and_general_call(b):
    b["TWAR"], b["TWCR"] = 0x42 << 1 | 1, TWEA | TWEN
    done, status = [], []
    b.device("twi").master_read(0x42, 3, done.append)
    for byte in (5, 6, 7, None):
        status.append(b["TWSR"])
        if byte is not None:
            b["TWDR"] = byte
        b["TWCR"] = TWINT | TWEA | TWEN
        b.pass_(9 * 16)
    assert status == [0xA8, 0xB8, 0xB8, 0xC0] and done == [[5, 6, 7]]
    b.device("twi").master_write(0, b"\x09", done.append)
    assert b["TWSR"] == 0x70
    b["TWCR"] = TWINT | TWEA | TWEN
    b.pass_(9 * 16)
    assert b["TWSR"] == 0x90 and b["TWDR"] == 9


ARBITRATION = [  # what both masters send; status; whether the other one is through then
    ((0xA0,), (0x10, b"x"), 0x38, True),            # its address has the first 0
    ((0xA0,), (0x42, b"x"), 0x68, False),           # ... and means us
    ((0xA0,), (0x00, b"x"), 0x78, False),           # general call
    ((0xA0,), (0x42, 1), 0xB0, False),              # it wants to read from us
    ((0x20,), (0x42, b"x"), 0x20, False),           # we win; nobody is there
    ((0xA0, 0x30), (0x50, b"\x21"), 0x38, True),    # the same address: the data decide
    ((0xA0, 0x20), (0x50, b"\x21"), 0x28, False),
    ((0xA0, 0x21), (0x50, b"\x21"), 0x28, False),
]


@pytest.mark.parametrize("ours,theirs,status,through", ARBITRATION)
def test_arbitration(b, ours, theirs, status, through):
    """Tables of the status codes: 0x38, 0x68, 0x78, 0xB0."""
    twi_, done = b.device("twi"), []
    bus(b, "i2c-bus").plug(At24c())
    b["TWAR"] = 0x42 << 1 | 1
    b["TWCR"] = TWINT | TWSTA | TWEA | TWEN
    address, what = theirs
    twi_.master_read(address, what, done.append) if isinstance(what, int) else twi_.master_write(address, what, done.append)
    b.pass_(twi_.scl_cycles)
    assert b["TWSR"] & 0xF8 == 0x08
    for byte in ours:
        last = twi(b, TWEA, byte)
    assert last == status and done == [None] * through
    if status == 0x38:                                          # try again when the bus is free
        assert twi(b, TWSTA | TWEA, bits=1) == 0x08 and twi(b, TWEA, 0xA0) == 0x18
    elif status in (0x20, 0x28):                                # the other one's turn comes with our STOP
        twi(b, TWSTO | TWEA, bits=1)
        assert b["TWSR"] == (0x60 if address == 0x42 else 0xF8) and done == ([] if address == 0x42 else [None])
    elif status == 0xB0:
        assert twi(b, TWEA, 0x55) == 0xC0 and twi(b, TWEA, bits=1) == 0xF8 and done == [[0x55]]
    else:
        assert twi(b, TWEA) == (0x90 if status == 0x78 else 0x80) and b["TWDR"] == ord("x")
        twi(b, TWEA, bits=1)
        assert b["TWSR"] == 0xA0


def test_bus_error(b):
    b["TWCR"] = TWINT | TWSTA | TWEN
    b.pass_(b.device("twi").scl_cycles)
    b["TWDR"] = 0xA0
    b["TWCR"] = TWINT | TWEN
    b.pass_(20)
    b.device("twi").bus_error()
    assert b["TWCR"] & TWINT and b["TWSR"] == 0
    b["TWCR"] = TWINT | TWSTO | TWEN                            # no STOP is sent: the bus is left
    assert b["TWSR"] == 0xF8 and not b["TWCR"] & (TWSTO | TWINT)


def test_addresses_on_the_bus(b):
    wires = bus(b, "i2c-bus")
    wires.plug(Lm75())
    with pytest.raises(PropertyError, match="address 0x48 of bus i2c-bus is taken"):
        wires.plug(Lm75())
    with pytest.raises(PropertyError, match="from 0x08 to 0x77"):
        wires.plug(Lm75(address=0x7C))


def test_parts_come_and_go(b):
    wires, part = bus(b, "i2c-bus"), Lm75()
    wires.plug(part)
    assert wires.start(0x48, True)
    wires.unplug(part)
    assert wires.read() == 0xFF and not wires.start(0x48, True)
    wires.plug(Lm75())


@given(st.integers(-60_000, 130_000))
def test_lm75(millidegrees):
    part = Lm75()
    part.celsius = millidegrees / 1000
    part.start(0x48, True)
    raw = part.transmit() << 8 | part.transmit()
    value = (raw - 0x10000 if raw & 0x8000 else raw) / 256
    assert raw & 0x7F == 0 and value <= max(-55, min(125, millidegrees / 1000)) < value + 0.5


def test_lm75_thermostat():
    part = Lm75(millidegrees=79_000)
    assert not part.os
    part.celsius = 80
    assert part.os
    part.celsius = 76
    assert part.os
    part.celsius = 74
    assert not part.os
    part.start(0x48, False)
    for byte in (3, 0x14, 0x80):
        part.receive(byte)
    assert part.overtemperature == 0x1480
    part.celsius = 20.5
    assert part.os


@pytest.mark.parametrize("size,page", [(256, 8), (2048, 16), (4096, 32), (32768, 64)])
def test_at24c_pages_wrap(size, page):
    part = At24c(size_=size)
    wide = size > 2048
    part.start(0x50, False)
    for byte in [0] * wide + [page - 1, 1, 2]:
        assert part.receive(byte)
    part.stop()
    assert not part.start(0x50, False)
    part.clock.time.advance(5_000_000)
    assert part.start(0x50, False)
    assert part.content[page - 1] == 1 and part.content[0] == 2


def test_at24c_sizes():
    with pytest.raises(PropertyError, match="rom-size"):
        At24c(size_=1000)
