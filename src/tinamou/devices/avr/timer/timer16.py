"""16-bit timer/counters of AVR microcontrollers: ATmega48A/PA/88A/PA/168A/PA/328/P data sheet, chapter 16; ATmega640/1280/1281/2560/2561
data sheet, chapter 17."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.devices.avr.timer.base import ICF, TimerCounter, forces, puts
from tinamou.devices.avr.timer.waveform import MODES16
from tinamou.machine.device import timer
from tinamou.machine.lines import line, state
from tinamou.machine.pins import Net
from tinamou.machine.props import OBJECT, prop
from tinamou.machine.registers import Reg


def puts_word(what: str) -> Callable[[Timer16, int], None]:
    """The write of a register's low byte: TEMP has the high one."""
    return lambda self, value: self.put(what, self.high_latch() << 8 | value)


def compare_byte(channel: int, shift: int) -> Callable[[Timer16], int]:
    """The read of a byte of OCR."""
    return lambda self: self.buffered[channel] >> shift & 0xFF


class Timer16(TimerCounter, type="avr-timer16"):
    """16-bit timer/counter with two or three compare units and input capture."""

    bits = 16
    modes = MODES16

    pin_icp: Net | None = prop(OBJECT, default=None, help="the input capture pin")

    TCCRA = Reg(0)
    com_a = TCCRA.rw(7, 6)
    com_b = TCCRA.rw(5, 4)
    com_c = TCCRA.rw(3, 2)
    wgm_low = TCCRA.rw(1, 0)
    TCCRB = Reg(1)
    icnc = TCCRB.rw(7)
    ices = TCCRB.rw(6)
    wgm_high = TCCRB.rw(4, 3)
    cs = TCCRB.rw(2, 0)
    TCCRC = Reg(2)
    foc_a = TCCRC.wo(7)
    foc_b = TCCRC.wo(6)
    foc_c = TCCRC.wo(5)
    TCNTL = Reg(4)
    tcnt_low = TCNTL.rw()
    TCNTH = Reg(5)
    tcnt_high = TCNTH.rw()
    ICRL = Reg(6)
    icr_low = ICRL.rw()
    ICRH = Reg(7)
    icr_high = ICRH.rw()
    OCRAL = Reg(8)
    ocr_al = OCRAL.rw()
    OCRAH = Reg(9)
    ocr_ah = OCRAH.rw()
    OCRBL = Reg(10)
    ocr_bl = OCRBL.rw()
    OCRBH = Reg(11)
    ocr_bh = OCRBH.rw()
    OCRCL = Reg(12)
    ocr_cl = OCRCL.rw()
    OCRCH = Reg(13)
    ocr_ch = OCRCH.rw()
    TIFR = Reg(0x10)
    icf = TIFR.w1c(5)
    tifr = TIFR.w1c(3, 0)
    TIMSK = Reg(0x11)
    icie = TIMSK.rw(5)
    timsk = TIMSK.rw(3, 0)

    temp = state(0)             # the high byte on its way

    for _field, _what in ((wgm_low, "mode"), (wgm_high, "mode"), (cs, "clock")):
        _field.on_write(puts(_what))
    for _field, _what in ((tcnt_low, "count"), (ocr_al, "a"), (ocr_bl, "b"), (ocr_cl, "c")):
        _field.on_write(puts_word(_what))
    for _n, _field in enumerate((foc_a, foc_b, foc_c)):
        _field.on_write(forces(_n))
    for _n, (_field, _high) in enumerate(((ocr_al, ocr_ah), (ocr_bl, ocr_bh), (ocr_cl, ocr_ch))):
        _field.computed(compare_byte(_n, 0))
        _high.computed(compare_byte(_n, 8))
    del _field, _what, _n, _high
    tifr.on_write(TimerCounter.clear)
    com_c.legal(lambda self, value: value if self.channels > 2 else 0)          # reserved where there is no channel C
    timsk.legal(lambda self, value: value if self.channels > 2 else value & 7)

    def setup(self) -> None:
        super().setup()
        self.analog_capture: Any = None
        if self.pin_icp is not None:
            self.pin_icp.listen(self.captured)

    def lacks(self, register: str) -> bool:
        return self.channels < 3 and register in ("OCRCL", "OCRCH")

    def on_reset(self, kind: str) -> None:
        self.high(0)
        super().on_reset(kind)

    def coms(self) -> list[int]:
        return [self.com_a, self.com_b, self.com_c][: self.channels]

    def masks(self) -> int:
        return self.icie << 5 | self.timsk

    def captured(self, level: bool, source: str = "pin") -> None:
        """An edge at the input capture pin, or of the analog comparator."""
        comparator = self.analog_capture is not None and self.analog_capture()
        if comparator != (source == "comparator") or self.mode.top == "icr" or not self._powered:
            return
        if bool(level) != bool(self.ices):
            self.noise_cancelled.cancel()
        elif self.icnc:
            self.noise_cancelled.after(4)
        else:
            self._capture()
            self.settle()

    @timer
    def noise_cancelled(self) -> None:
        """The input was the same for four clocks."""
        self._capture()

    def _capture(self) -> None:
        self.capture = self.count()
        n = self.n
        self.set_flags = self.flags_at(n) | 0x20
        self.seen = [n] * 5
        self._due = None
        self.rearm()
        for k, f in list(self.flag_users):
            if k == ICF:
                f()

    # --- the bytes of 16-bit registers: high before low when written, low before high when read (TCNT and ICR)

    @tcnt_low.on_read
    def read_low(self) -> int:
        count = self.count()
        self.high(count >> 8)
        return count & 0xFF

    @tcnt_low.computed
    def peek_low(self) -> int:
        return self.count() & 0xFF

    @tcnt_high.on_read
    def read_high(self) -> int:
        return self.high_latch()

    @tcnt_high.computed
    def peek_high(self) -> int:
        return self.count() >> 8

    @icr_low.on_read
    def read_capture(self) -> int:
        self.high(self.capture >> 8)
        return self.capture & 0xFF

    @icr_low.computed
    def peek_capture(self) -> int:
        return self.capture & 0xFF

    @icr_high.on_read
    def read_capture_high(self) -> int:
        return self.high_latch()

    @icr_high.computed
    def peek_capture_high(self) -> int:
        return self.capture >> 8

    @icr_low.on_write
    def write_capture(self, value: int) -> None:
        if self.mode.top == "icr":
            self.set_capture(self.high_latch() << 8 | value)
        else:
            self.log.guest_error(f"{self.label}: write of ICR in a mode where it is not TOP: it keeps its value")

    def high(self, value: int) -> None:
        """Put a byte into TEMP. While the CPU counts by itself it has TEMP, as what loads of TCNTnH give."""
        self.temp = value
        if self._told is not None and self.hints is not None:
            self.hints.shadow(self.address["TCNTH"], value)

    for _field in (tcnt_high, icr_high, ocr_ah, ocr_bh, ocr_ch):
        _field.on_write(high)
    del _field

    def high_latch(self) -> int:
        if self._told is not None and self.hints is not None:
            self.temp = self.hints.flags(self.address["TCNTH"])
        return self.temp

    # --- flags and interrupts

    @tifr.computed
    def read_flags(self) -> int:
        return self.flags() & 0xF

    @tifr.on_read
    def poll_flags(self) -> int:
        return self.polled_flags() & 0xF

    @icf.computed
    def read_capture_flag(self) -> int:
        return self.flags() >> 5

    @icf.on_write
    def clear_capture_flag(self, on: int) -> None:
        self.clear(on << 5)

    @timsk.on_write
    def enable(self, _: int) -> None:
        self.rearm()

    @line
    def compc(self) -> int:
        return self.asking(8)

    @line
    def capt(self) -> int:
        return self.asking(0x20)
