"""Parts on the pins of a board: displays, lights, servos, serial ports in software."""

import pytest

from avr_guests import Running, needs_core, needs_gcc, program, sketch
from tinamou.backends.chardev.base import MemoryChardev
from tinamou.devices.board.hd44780 import Hd44780
from tinamou.devices.board.pin_uart import PinUart
from tinamou.devices.board.servo import Servo
from tinamou.devices.board.seven_segment import SevenSegment
from tinamou.devices.board.ws2812 import Ws2812
from tinamou.machine.props import PropertyError

pytestmark = needs_gcc


def attach(r, device):
    r.bus("pins").plug(device)
    return device


def test_display_strip_and_digit():
    r = Running(program("parts.c"))
    lcd = attach(r, Hd44780(rs="D2", en="D3", d4="D4", d5="D5", d6="D6", d7="D7"))
    strip = attach(r, Ws2812(data="D8", count=4))
    digit = attach(r, SevenSegment(a="A0", b="A1", c="A2", d="A3", e="A4", f="A5", g="D9"))
    r.run(0.05)
    assert lcd.text == "Hello           \nsecond line     "
    assert strip.pixels == [(255, 0, 0), (32, 16, 48), (2, 1, 3), (0, 0, 0)]
    assert digit.segments == 0x5F and digit.text == "?"
    assert digit.picture() == " _ \n _|\n|_|"
    assert r.logged == []
    r.close()


@needs_core
@pytest.mark.parametrize("on", ["uno", "2009", "mega", "mega2560"])
def test_software_serial(on):
    r, host = Running(sketch("soft.ino", on), on), MemoryChardev(id="host")
    port = attach(r, PinUart(chardev=host, rx="D11", tx="D10", baud=9600))
    r.run(0.05)
    assert host.sent == b"soft\r\n"
    for byte in b"HAL":                 # one at a time: the sketch hears nothing while it speaks
        host.deliver(bytes([byte]))
        r.run(0.005)
    assert host.sent == b"soft\r\nIBM" and port.errors == 0
    r.close()


@needs_core
@pytest.mark.parametrize("on", ["uno", "2009", "mega", "mega2560"])
def test_servo(on):
    r = Running(sketch("servo.ino", on), on)
    arm, seen = attach(r, Servo(signal="D9")), []
    for _ in range(18):
        r.run(0.01)
        seen.append(arm.angle)
    assert seen[0] == pytest.approx(0, abs=2.5)
    assert all(any(a == pytest.approx(to, abs=2.5) for a in seen) for to in (90, 180))
    r.close()


@needs_core
@pytest.mark.parametrize("on", ["uno", "2009", "mega", "mega2560"])
def test_servos_by_interrupts(on):
    """Pulses as the Arduino library Servo makes them: by timer 1's compare interrupts."""
    r = Running(sketch("servos.ino", on), on)
    arms = [attach(r, Servo(signal=f"D{n}")) for n in (5, 6, 7)]
    r.run(0.09)
    assert [a.angle for a in arms] == [pytest.approx(wanted, abs=1.5) for wanted in (0, 45, 180)]
    r.run(0.1)
    assert [a.angle for a in arms] == [pytest.approx(wanted, abs=1.5) for wanted in (120, 45, 180)]
    r.close()


def test_pins_that_do_not_exist_are_named():
    r = Running(program("parts.c"))
    with pytest.raises(PropertyError, match=r"Property 'servo.signal': no pin 'D77'") as e:
        attach(r, Servo(signal="D77"))
    assert "D7" in e.value.hint
    r.close()
