"""Arduino boards as the command line builds them: what monitors are told of resets, and real time."""

import time

import pytest

from avr_guests import needs_gcc, program
from tinamou.control.building import build
from tinamou.control.commandline import parse
from tinamou.isa.avr import runner
from tinamou.tools import run
from tinamou.tools.system import engine_of

pytestmark = needs_gcc
DOG = "#include <avr/wdt.h>\nint main(void) { MCUSR = 0; wdt_enable(WDTO_15MS); for (;;); }"
IDLE = "#include <avr/io.h>\nint main(void) { TCCR1B = 1; TIMSK1 = 1; for (;;); }"


class Board:
    """A machine of the command line; `events` are what a monitor sees of it."""

    def __init__(self, source, *words):
        bios = ["-bios", program(source)]
        r = parse(["-M", "uno", *bios, "-display", "none", "-monitor", "none", "-serial", "null", *words], "test", "avr")
        self.factory, self.runner = engine_of("avr")(r)
        self.vm = build(r, self.factory, self.runner, "avr")
        self.events = []
        self.vm.on_event(lambda e: self.events.append((e["event"], e.get("data"))))
        self.vm.start()

    def until(self, done, seconds=60.0):
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.events
            self.vm.loop.once(0.01)

    def close(self):
        self.vm.stop()
        self.runner.close()


def test_a_watchdog_reset_is_an_event():
    b = Board(DOG)
    b.until(lambda: len(b.events) >= 7)
    assert b.events[0] == ("RESUME", None)
    assert b.events[1:7] == [("WATCHDOG", {"action": "reset"}), ("RESET", {"guest": True, "reason": "guest-reset"})] * 3
    b.close()


def test_no_reboot_ends_at_a_watchdog_reset():
    b = Board(DOG, "-no-reboot")
    b.until(lambda: b.vm.ended)
    assert b.events[1:] == [("WATCHDOG", {"action": "reset"}), ("SHUTDOWN", {"guest": True, "reason": "guest-reset"})]
    assert b.vm.exit_code == 0
    b.close()


def test_the_reset_button_is_an_event_of_the_host():
    b = Board(IDLE, "-no-reboot")
    with b.vm.machine.lock:
        b.vm.machine.pins["RESET"].drive(False)
        b.vm.machine.pins["RESET"].release()
    b.until(lambda: len(b.events) >= 2)
    assert b.events[1] == ("RESET", {"guest": False, "reason": "host-ui"}) and not b.vm.ended
    b.close()


class Clock:
    """The host's clock, on which nothing takes time but waiting."""

    def __init__(self):
        self.now = 1.0

    def monotonic(self):
        return self.now

    def monotonic_ns(self):
        return round(self.now * 1e9)

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("words,paced", [(["-rtc", "clock=rt"], True), (["-icount", "shift=0,align=on,sleep=on"], True), ([], False)])
def test_real_time_of_the_system_emulator(words, paced, monkeypatch):
    """With -rtc clock=rt the board waits for the host's clock, never for longer than it has run ahead."""
    clock = Clock()
    monkeypatch.setattr(runner, "time", clock)
    b = Board(IDLE, *words)
    b.until(lambda: b.vm.machine.cpus[0].instructions > 4_800_000)
    b.vm.stop()
    waited, ran = clock.now - 1.0, b.vm.machine.time.now / 1e9
    assert (ran - 0.05 <= waited <= ran + 1e-6) if paced else waited == 0
    b.close()


@pytest.mark.parametrize("words,paced", [(["--realtime"], True), (["--live"], True), ([], False)])
def test_real_time_of_tinamou_run(words, paced, monkeypatch, capsys):
    clock = Clock()
    monkeypatch.setattr(run, "time", clock)
    monkeypatch.setattr(run.sys, "stdin", None)
    assert run.main([program(IDLE), "--seconds", "0.3", *words]) == 0
    waited = clock.now - 1.0
    assert waited == (pytest.approx(0.3, abs=0.011) if paced else 0)
