"""What a counter does in time: the waveform generation modes of AVR timers, and the course of a count. ATmega48A/PA/88A/PA/168A/PA/
328/P data sheet, tables 15-8 and 16-4, and the timing diagrams of chapters 15 and 16."""

from __future__ import annotations

from dataclasses import dataclass

NEVER = 1 << 62


@dataclass(frozen=True)
class Mode:
    """A row of the waveform generation mode table. `top` is a number, "ocr" or "icr"; `update` says when OCR is loaded."""

    name: str
    slope: int
    top: int | str
    update: str = "now"
    overflow: str = "max"
    pwm: bool = False


def _mode(kind: str, top: int | str) -> Mode:
    slope, update, overflow = {"normal": (1, "now", "max"), "ctc": (1, "now", "max"), "fast": (1, "bottom", "top"),
                               "phase": (2, "top", "bottom"), "both": (2, "bottom", "bottom")}[kind]
    return Mode(kind, slope, top, update, overflow, update != "now")


RESERVED = _mode("normal", 0)
# data sheet table 15-8: WGM2:0 of the 8-bit timers
MODES8 = [_mode("normal", 0xFF), _mode("phase", 0xFF), _mode("ctc", "ocr"), _mode("fast", 0xFF),
          RESERVED, _mode("phase", "ocr"), RESERVED, _mode("fast", "ocr")]
# data sheet table 16-4: WGM3:0 of the 16-bit timers
MODES16 = [_mode("normal", 0xFFFF), _mode("phase", 0xFF), _mode("phase", 0x1FF), _mode("phase", 0x3FF),
           _mode("ctc", "ocr"), _mode("fast", 0xFF), _mode("fast", 0x1FF), _mode("fast", 0x3FF),
           _mode("both", "icr"), _mode("both", "ocr"), _mode("phase", "icr"), _mode("phase", "ocr"),
           _mode("ctc", "icr"), RESERVED, _mode("fast", "icr"), _mode("fast", "ocr")]


class Ramp:
    """The course of a counter, as a function of the timer clocks `n` since it began at `start`.

    Single slope: up to `top`, then 0; a start above `top` first runs up to `maximum`. Dual slope: up to `top` and down again;
    a start above `top` first comes down to it. Positions number the clocks of one period from 0.
    """

    __slots__ = ("down", "dual", "lead", "maximum", "offset", "period", "start", "top")

    def __init__(self, dual: bool, top: int, maximum: int, start: int, down: bool = False) -> None:
        self.dual, self.top, self.maximum, self.start, self.down = dual, top, maximum, start, down
        self.period = max(1, 2 * top) if dual else top + 1
        self.lead = 0
        if start <= top:
            self.offset = (2 * top - start if down else start) % self.period if dual else start
        elif dual:
            self.lead = start - top
            self.offset = top - self.lead
        else:
            self.lead = maximum + 1 - start
            self.offset = -self.lead

    def count(self, n: int) -> int:
        """The counter's value."""
        if n < self.lead:
            return self.start - n if self.dual else self.start + n
        p = (n + self.offset) % self.period
        return 2 * self.top - p if p > self.top else p

    def falls(self, n: int) -> bool:
        """The counter counts down."""
        return self.dual and (n < self.lead or (n + self.offset) % self.period >= max(self.top, 1))

    def _at(self, position: int, after: int) -> int:
        m = max(after, self.lead)
        return m + 1 + (position - self.offset - m - 1) % self.period

    def leaves(self, value: int, after: int) -> int:
        """The first clock after `after` that moves the counter away from `value`; NEVER if none does."""
        if self.lead:
            n = self.start - value + 1 if self.dual else value - self.start + 1
            if after < n <= self.lead and n > 0:
                return n
        if value > self.top:
            return NEVER
        up = self._at((value + 1) % self.period, after)
        if not self.dual or value in (0, self.top):
            return up
        return min(up, self._at((2 * self.top - value + 1) % self.period, after))

    def leaves_maximum(self, after: int) -> int:
        """The first clock after `after` at which a single slope wraps at its maximum."""
        if self.lead and not self.dual and after < self.lead:
            return self.lead
        return self.leaves(self.maximum, after) if self.top == self.maximum else NEVER

    def passes(self, value: int, n: int) -> int:
        """How often the counter left `value` in the clocks 1 to `n`."""
        total, at = 0, self.leaves(value, 0)
        if at > n:
            return 0
        if self.lead and at <= self.lead:
            total, at = 1, self.leaves(value, at)
            if at > n:
                return total
        per = 2 if self.dual and value not in (0, self.top) else 1
        whole, rest = divmod(n - at, self.period)
        total += whole * per + 1
        if per == 2:
            second = self.leaves(value, at)
            total += second - at <= rest
        return total
