"""Examples of genuine Arduino libraries that come in no package: Servo, LiquidCrystal, FreeRTOS for AVR (Arduino_FreeRTOS_Library).

ARDUINO_EXPORTS names a folder with those programs as the Arduino IDE exports them, a folder for each board: uno/Sweep.ino.elf.
"""

import itertools
import os
from pathlib import Path

import pytest

from avr_guests import BOARDS, Running
from tinamou.devices.board.hd44780 import Hd44780
from tinamou.devices.board.servo import Servo

EXPORTS = Path(os.environ.get("ARDUINO_EXPORTS", "/nonexistent"))
RTOS_BOARDS = [b for b in BOARDS if b != "2009"]  # tasks of this library do not fit into 1 KiB


@pytest.fixture
def start():
    made = []

    def make(name, on):
        path = EXPORTS / on / f"{name}.ino.elf"
        if not path.exists():
            pytest.skip(f"ARDUINO_EXPORTS names no folder with {on}/{name}.ino.elf")
        made.append(Running(str(path), on))
        return made[-1]

    yield make
    for r in made:
        assert r.logged == []
        r.close()


def blinks(r):
    """Moments of LED changes, in milliseconds."""
    moments = []
    r.pins["LED"].on_change(lambda level: moments.append(r.m.time.now / 1e6))
    return moments


def gaps(moments):
    return [b - a for a, b in itertools.pairwise(moments)]


@pytest.mark.parametrize("on", BOARDS)
def test_sweep(start, on):
    """Servo: a degree each 15 ms, there and back; pulses of 544 to 2400 us, each 20 ms."""
    r = start("Sweep", on)
    arm, seen = Servo(signal="D9"), []
    r.bus("pins").plug(arm)
    r.pins["D9"].on_change(lambda level: seen.append((arm.pulse / 1000, arm.period / 1000)) if arm.pulses and not level else None)
    r.run(6)
    pulses, periods = zip(*seen, strict=True)
    assert min(pulses) == pytest.approx(544, abs=3) and max(pulses) == pytest.approx(2400, abs=4)
    top = pulses.index(max(pulses))
    there, back = gaps(pulses[1:top]), gaps(pulses[top:260])
    assert 100 < top < 150 and all(6 < g < 25 for g in there) and all(-25 < g < 3 for g in back)
    assert all(p == pytest.approx(20_000, abs=20) for p in periods[1:]) and 297 <= arm.pulses <= 299


@pytest.mark.parametrize("on", BOARDS)
def test_knob(start, on):
    """Servo: the arm follows a voltage."""
    r, arm = start("Knob", on), Servo(signal="D9")
    r.bus("pins").plug(arm)
    for volts in (0, 1, 2.5, 4, 5):
        r.pins["A0"].voltage = volts
        r.run(0.08)
        assert arm.angle == pytest.approx(volts / 5 * 180, abs=1.5)


@pytest.mark.parametrize("on", BOARDS)
@pytest.mark.parametrize("name", ["HelloWorld", "Scroll"])
def test_display(start, name, on):
    """LiquidCrystal: text that is written, and text that the display shifts."""
    r, lcd = start(name, on), Hd44780(rs="D12", en="D11", d4="D5", d5="D4", d6="D3", d7="D2")
    r.bus("pins").plug(lcd)
    seen = []
    for _ in range(3):
        r.run(1.05)
        seen.append(lcd.text.splitlines())
    if name == "HelloWorld":
        assert seen == [["hello, world!   ", f"{n:<16}"] for n in (1, 2, 3)]
    else:
        text = "hello, world!".ljust(40)
        shifts = [text.index(top[:2]) for top, _ in seen]
        assert 0 < shifts[0] < shifts[1] < shifts[2] and all(top == text[k : k + 16] for k, (top, _) in zip(shifts, seen, strict=True))


@pytest.mark.parametrize("on", RTOS_BOARDS)
def test_tasks(start, on):
    """Two tasks: ticks of 16 ms from the watchdog, 62 of them are 'a second'."""
    r = start("Blink_AnalogRead", on)
    led, end = blinks(r), 0
    for volts in (2.5, 1.0, 5.0):
        r.pins["A0"].voltage = volts
        r.run(0.99)
        numbers, end = r.text[end:].split(), len(r.text)
        assert 58 <= len(numbers) <= 64 and set(numbers[2:]) == {str(min(1023, int(volts * 1024 / 5)))}
    assert gaps(led) == [pytest.approx(62 * 16, abs=0.1)] * 2


@pytest.mark.parametrize("on", RTOS_BOARDS)
def test_queue(start, on):
    r = start("IntegerQueue", on)
    led = blinks(r)
    r.pins["A0"].voltage = 2.5
    r.run(1)
    assert 58 <= len(r.text.split()) <= 64 and set(r.text.split()) == {"512"}
    assert gaps(led) == [pytest.approx(15 * 16, abs=0.5)] * 4


@pytest.mark.parametrize("on", RTOS_BOARDS)
def test_mutex(start, on):
    r = start("Mutex", on).run(0.2)
    assert r.text.splitlines() == [
        "Mutex created",
        "Task1, Count read value: 0, Updated value: 1",
        "Task2, Count read value: 1, Updated value: 2",
    ]


@pytest.mark.parametrize("on", RTOS_BOARDS)
def test_notification_from_an_interrupt(start, on):
    r = start("Notifications", on).run(0.3)
    assert r.text == ""
    r.pins["D2"].drive(False)
    r.run(0.0001)
    r.pins["D2"].release()  # while it is low the interrupt comes again and again
    r.until("Notification received")


@pytest.mark.parametrize("on", RTOS_BOARDS)
def test_suspended_and_resumed(start, on):
    r = start("TaskStatus", on)
    led = blinks(r)
    r.run(0.5).send(b"s")
    r.run(2).send(b"r")
    r.run(0.1)
    assert r.text == "Suspend!\r\nResume!\r\n" and len(led) == 2 and led[1] > 2500


@pytest.mark.parametrize("on", RTOS_BOARDS)
def test_what_the_kernel_knows_of_its_tasks(start, on):
    r = start("TaskUtilities", on).run(0.5)
    assert "Tick count: 0, Task count: 6" in r.text
    assert all(f"- TASK {t}, High Watermark: " in r.text for t in ("Serial", "Blink", "Deleted", "Blocked"))


@pytest.mark.parametrize("on", BOARDS)
def test_semaphore_from_an_interrupt(start, on):
    r = start("Interrupts", on)
    led = blinks(r)
    r.run(0.3)
    r.pins["D2"].drive(False)
    r.run(0.0005)
    r.pins["D2"].release()
    r.run(0.4)
    assert r.pins["LED"].level is False and len(led) == 2 and gaps(led)[0] == pytest.approx(10 * 16, abs=16)


def test_no_memory(start):
    """What the library does when a task does not fit: the LED blinks fast."""
    r = start("Blink_AnalogRead", "2009")
    led = blinks(r)
    r.run(1)
    assert len(led) == 20 and gaps(led) == [pytest.approx(50, rel=0.01)] * 19
