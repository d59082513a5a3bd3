"""8-bit timer/counters of AVR microcontrollers: ATmega48A/PA/88A/PA/168A/PA/328/P data sheet, chapters 15 and 18 (with asynchronous
operation); ATmega640/1280/1281/2560/2561 data sheet, chapters 16 and 20."""

from __future__ import annotations

from typing import Any

from tinamou.devices.avr.timer.base import TimerCounter, forces, puts
from tinamou.machine.clock import Clock
from tinamou.machine.device import timer
from tinamou.machine.lines import state
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg


class Timer8(TimerCounter, type="avr-timer8"):
    """8-bit timer/counter with two compare units."""

    TCCRA = Reg(0)
    com_a = TCCRA.rw(7, 6)
    com_b = TCCRA.rw(5, 4)
    wgm_low = TCCRA.rw(1, 0)
    TCCRB = Reg(1)
    foc_a = TCCRB.wo(7)
    foc_b = TCCRB.wo(6)
    wgm_high = TCCRB.rw(3)
    cs = TCCRB.rw(2, 0)
    TCNT = Reg(2)
    tcnt = TCNT.rw()
    OCRA = Reg(3)
    ocr_a = OCRA.rw()
    OCRB = Reg(4)
    ocr_b = OCRB.rw()
    TIFR = Reg(0x10)
    tifr = TIFR.w1c(2, 0)
    TIMSK = Reg(0x11)
    ocie_b = TIMSK.rw(2)
    ocie_a = TIMSK.rw(1)
    toie = TIMSK.rw(0)

    for _field, _what in ((wgm_low, "mode"), (wgm_high, "mode"), (cs, "clock"), (tcnt, "count"), (ocr_a, "a"), (ocr_b, "b")):
        _field.on_write(puts(_what))
    for _n, _field in enumerate((foc_a, foc_b)):
        _field.on_write(forces(_n))
    del _field, _what, _n
    tcnt.computed(TimerCounter.count)
    tifr.computed(TimerCounter.flags)
    tifr.on_read(TimerCounter.polled_flags)
    tifr.on_write(TimerCounter.clear)

    def coms(self) -> list[int]:
        return [self.com_a, self.com_b]

    def masks(self) -> int:
        return self.ocie_b << 2 | self.ocie_a << 1 | self.toie

    @toie.on_write
    def enable(self, _: int) -> None:
        self.rearm()


NONE_WAITING: list[list[Any]] = []


class Timer2(Timer8, type="avr-timer2"):
    """8-bit timer/counter with asynchronous operation from a watch crystal on TOSC1/TOSC2."""

    divisors = (0, 1, 8, 32, 64, 128, 256, 1024)
    prescaler_number = 1

    crystal: Clock | None = prop(OBJECT, default=None, help="clock on TOSC1: 32768 Hz")

    ASSR = Reg(6)
    exclk = ASSR.rw(6)
    as2 = ASSR.rw(5)
    update_busy = ASSR.ro(4, 0, doc="TCN2UB OCR2AUB OCR2BUB TCR2AUB TCR2BUB")

    waiting = state(NONE_WAITING)       # values that have not reached the crystal's domain yet: (what, value)
    asynchronous = state(False)

    @property
    def source(self) -> Clock:
        return self.crystal if self.asynchronous and self.crystal is not None else self.clock

    @as2.on_write
    def switch(self, on: int) -> None:
        if bool(on) != self.asynchronous:
            self.hold()
            self.asynchronous = bool(on)
            self.waiting = []
            self.transfer.cancel()
            self.prescaler.base[1] = self.source.ticks
            self.go()

    def put(self, what: str, value: int = 0) -> None:
        if not self.asynchronous or self.crystal is None:
            super().put(what, value)
            return
        self.waiting = [w for w in self.waiting if w[0] != what] + [[what, value]]
        if self.transfer.deadline is None:
            self.transfer.clock = self.crystal
            self.transfer.at(self.crystal.ticks + 2)        # two to three crystal clocks

    @timer
    def transfer(self) -> None:
        waiting, self.waiting = self.waiting, []
        for what, value in waiting:
            super().put(what, value)

    @update_busy.computed
    def busy(self) -> int:
        names = {"clock": 1, "mode": 2, "b": 4, "a": 8, "count": 16}
        return sum(names[str(w[0])] for w in self.waiting)
