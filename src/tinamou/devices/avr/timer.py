"""Timer/counters of AVR microcontrollers: ATmega48A/PA/88A/PA/168A/PA/328/P data sheet, chapters 15 (8-bit), 16 (16-bit), 18
(8-bit with asynchronous operation); ATmega640/1280/1281/2560/2561 data sheet, chapters 16, 17, 20.

Nothing is counted: a counter is a ramp, a function of the clock ticks since it was last touched, and so are its flags and the
levels of its outputs. Only what somebody waits for becomes an event: an enabled interrupt, an edge of a watched pin, the moment a
double-buffered compare value takes over.

Timing, from the diagrams of the data sheets: the flags and outputs of a compare match change on the timer clock after the one in
which the counter has that value, the overflow flag on the one that leaves MAX, TOP or BOTTOM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tinamou.devices.avr.core import AvrDevice
from tinamou.machine.clock import Clock
from tinamou.machine.device import timer
from tinamou.machine.lines import line, state
from tinamou.machine.pins import Driver, Net
from tinamou.machine.props import OBJECT, U8, prop
from tinamou.machine.registers import Reg

NEVER = 1 << 62
TOV, OCFA, OCFB, OCFC, ICF = range(5)


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


class Prescaler(AvrDevice, type="avr-prescaler", size=1):
    """The prescalers behind the timers, and GTCCR, which resets and halts them."""

    GTCCR = Reg(0)
    hold = GTCCR.rw(7, doc="TSM")
    reset_async = GTCCR.wo(1, doc="PSRASY")
    reset_sync = GTCCR.wo(0, doc="PSRSYNC")

    base = state([0, 0])        # tick of the clock at which each prescaler was last 0
    halted = state([False, False])

    def setup(self) -> None:
        super().setup()
        self.timers: list[TimerCounter] = []

    def restart(self, which: int, clock: Clock | None = None) -> None:
        """Set a prescaler to 0: 0 is the one of clkIO, 1 that of timer 2."""
        mine = [t for t in self.timers if t.prescaler_number == which]
        for t in mine:
            t.hold()
        self.base[which] = (mine[0].source if mine else self.clock).ticks
        for t in mine:
            t.go()

    @reset_sync.on_write
    def sync(self, on: int) -> None:
        self._strobe(0, on)

    @reset_async.on_write
    def sync_async(self, on: int) -> None:
        self._strobe(1, on)

    def _strobe(self, which: int, on: int) -> None:
        if on:
            self.restart(which)
        halt = bool(on and self.hold)
        if halt != self.halted[which]:
            for t in self.timers:
                if t.prescaler_number == which:
                    t.hold()
            self.halted[which] = halt
            if not halt:
                self.restart(which)
            for t in self.timers:
                if t.prescaler_number == which:
                    t.go()


class Output:
    """A compare output as the pin sees it (machine.pins.Wave)."""

    def __init__(self, timer_: TimerCounter, channel: int) -> None:
        self.timer, self.channel, self.watched = timer_, channel, False
        self.driver: Driver | None = None

    def level(self) -> bool:
        return self.timer.output(self.channel)

    def duty(self) -> float:
        return self.timer.duty_of(self.channel)

    def frequency(self) -> float:
        return self.timer.frequency_of(self.channel)

    def watch(self, on: bool) -> None:
        self.watched = on
        self.timer.rearm()


class TimerCounter(AvrDevice):
    """What all timers have. Subclasses declare the registers."""

    bits: ClassVar[int] = 8
    modes: ClassVar[list[Mode]] = MODES8
    divisors: ClassVar[tuple[int, ...]] = (0, 1, 8, 64, 256, 1024)     # by CS2:0; 6 and 7 are the pin Tn
    prescaler_number: ClassVar[int] = 0

    channels: int = prop(U8, default=2)
    prescaler: Prescaler = prop(OBJECT)
    pin_t: Net | None = prop(OBJECT, default=None, help="the pin Tn")
    ports: list[Any] = prop(OBJECT, default=None, help="where the compare outputs lie: (port, bit) of each")

    compare = state([0, 0, 0])          # OCR as the comparators have it
    buffered = state([0, 0, 0])         # OCR as the CPU sees it
    capture = state(0)                  # ICR
    set_flags = state(0)                # flags that were set when the ramp began
    seen = state([0] * 5)               # the clock up to which each flag's events are told
    out = state([0, 0, 0])              # level of each output outside PWM when the ramp began
    anchor = state(0)                   # tick of the timer clock at which the ramp began
    edges = state(0)                    # on the pin Tn
    ramp_state = state([0, 0])          # the ramp's start value, and whether it falls
    blocked = state(0)                  # the first clock after a write to TCNT: no match counts
    stopped = state(True)
    select = state(0)                   # CS2:0 as the timer has it
    com = state([0, 0, 0])              # COM1:0 of each channel as the timer has them

    def setup(self) -> None:
        super().setup()
        self.maximum = (1 << self.bits) - 1
        self.mode = self.modes[0]
        self.ramp = Ramp(False, self.maximum, self.maximum, 0)
        self.waves = [Output(self, n) for n in range(self.channels)]
        self.prescaler.timers.append(self)
        self._end_t: Any = None
        self.flag_users: list[tuple[int, Any]] = []      # (flag, f): parts that are triggered by a flag
        self.hot = False                                 # TIFR is polled: wait for all its flags, so that the CPU need not ask
        self.polls = 0
        self._told: tuple[int, int, int, bool] | None = None
        self._due: list[tuple[int, int]] | None = None
        self._source, self._divider, self._origin = self.clock, 0, 0
        self.rung: dict[int, tuple[int, ...]] = {}      # flags that the CPU sets by itself: flag -> its alarm
        self.used = [TOV, *range(OCFA, OCFA + self.channels), *([ICF] if self.bits == 16 else [])]

    def on_reset(self, kind: str) -> None:
        self.quiet()
        self.mode = self.modes[0]
        self._count_from()
        self._shape(0, False)
        self._connect()
        self.rearm()

    # --- what subclasses tell of their registers

    def wgm(self) -> int:
        raise NotImplementedError

    def coms(self) -> list[int]:
        raise NotImplementedError

    def masks(self) -> int:
        """TIMSK."""
        raise NotImplementedError

    # --- the clock

    @property
    def source(self) -> Clock:
        return self.clock

    def ticks(self) -> int:
        """Timer clocks, counted from the last reset of the prescaler (or edges of Tn)."""
        if self.external:
            return self.edges
        return int(self.source.ticks - self.prescaler.base[self.prescaler_number]) // self.divisors[self.select]

    @property
    def external(self) -> bool:
        """Clocked by the pin Tn."""
        return self.select >= len(self.divisors)

    @property
    def n(self) -> int:
        """Timer clocks since the ramp began."""
        if self._divider:
            return int(self._source.ticks - self._origin) // self._divider
        return 0 if self.stopped else self.edges - self.anchor

    def _count_from(self) -> None:
        """The clock or the beginning of the ramp changed: prepare `n`."""
        self._divider = 0
        if not self.stopped and not self.external:
            self._source, divider = self.source, self.divisors[self.select]
            self._origin = self.prescaler.base[self.prescaler_number] + self.anchor * divider
            self._divider = divider

    def hold(self) -> None:
        """Freeze: flags, outputs and count become stored values of a ramp that begins here and stands still."""
        self.listen_up()
        self.quiet()
        n = self.n
        self._load(n)
        ramp = self.ramp
        flags = self.flags_at(n)
        out = [int(self.output(c)) for c in range(self.channels)]
        count, falls = ramp.count(n), ramp.falls(n)
        self.set_flags = flags
        self.out[: self.channels] = out
        self.blocked = 1 if n == 0 and self.blocked else 0
        self.stopped = True
        self._count_from()
        self._shape(count, falls)

    def _shape(self, count: int, falls: bool) -> None:
        self.seen = [0] * 5
        self._due = None
        self.ramp_state = [count, int(falls)]
        self.ramp = Ramp(self.mode.slope == 2, self.top, self.maximum, count, falls and self.mode.slope == 2)

    def _reshape(self) -> None:
        self._shape(self.ramp_state[0], bool(self.ramp_state[1]))

    def go(self) -> None:
        """Continue from where `hold` left it, with the clock that the registers choose now."""
        if self.select and self._powered and not self.prescaler.halted[self.prescaler_number]:
            self.stopped = False
            self.anchor = self.ticks()
            self._count_from()
        self.rearm()

    def power(self, on: bool) -> None:
        self.hold()
        self._powered = on
        self.go()

    @property
    def top(self) -> int:
        top = self.mode.top
        return self.compare[0] if top == "ocr" else self.capture if top == "icr" else int(top) or self.maximum

    # --- registers

    def put(self, what: str, value: int = 0) -> None:
        """A register was written; takes effect now."""
        match what:
            case "mode":
                self.set_mode()
            case "clock":
                self.hold()
                self.select = value
                self._listen()
                self.go()
            case "count":
                self.set_count(value)
            case "a" | "b" | "c":
                self.set_compare("abc".index(what), value)

    def set_mode(self) -> None:
        """WGM or COM changed."""
        wanted, com = self.modes[self.wgm()], self.coms()
        if wanted is self.mode and com == self.com[: self.channels]:
            return
        self.hold()
        if wanted is not self.mode:
            self.mode = wanted
            if not wanted.pwm:
                self.compare = list(self.buffered)
            self._reshape()
        self.com[: self.channels] = com
        self.go()
        self._connect()

    def _listen(self) -> None:
        if self._end_t is not None:
            self._end_t()
            self._end_t = None
        if self.external and self.pin_t is not None:
            rising = self.select == 7

            def edge(level: bool) -> None:
                if level == rising and self._powered:
                    self.edges += 1
                    self._expired()
                    self.settle()
            self._end_t = self.pin_t.listen(edge)

    def set_compare(self, channel: int, value: int) -> None:
        self._load(self.n)
        self.buffered[channel] = value
        if not self.mode.pwm or self.stopped:
            self._take(channel)
        self.rearm()

    def _take(self, channel: int) -> None:
        if self.compare[channel] != self.buffered[channel]:
            self.hold()
            self.compare[channel] = self.buffered[channel]
            self._reshape()
            self.go()

    def set_count(self, value: int) -> None:
        self.hold()
        falls = self.mode.slope == 2 and bool(self.ramp_state[1])
        self._shape(value, falls)
        self.blocked = 1
        self.go()

    def set_capture(self, value: int) -> None:
        self.hold()
        self.capture = value
        self._reshape()
        self.go()

    def count(self) -> int:
        n = self.n
        self._load(n)
        return self.ramp.count(self.n)

    # --- double buffering: OCR is loaded at TOP or BOTTOM

    def _load_at(self) -> int:
        """The clock at which buffered compare values take over."""
        if not self.mode.pwm or self.compare == self.buffered:
            return NEVER
        ramp = self.ramp
        if self.mode.update == "top":
            return ramp.leaves(ramp.top, 0)
        return ramp.leaves(0 if ramp.dual else ramp.top, 0)

    def _load(self, n: int) -> None:
        """Take over buffered values that became due up to clock `n`: the ramp is begun again at that moment."""
        if not self.mode.pwm or self.compare == self.buffered:
            return
        while not self.stopped and (at := self._load_at()) <= n:
            ramp = self.ramp
            self.set_flags = self.flags_at(at)
            self.out[: self.channels] = [int(self.output(c, at)) for c in range(self.channels)]
            count, falls = ramp.count(at), ramp.falls(at)
            self.compare = list(self.buffered)
            self._shape(count, falls)
            self.anchor += at
            self.blocked = 0
            self._count_from()
            n -= at

    # --- flags

    def _next(self, flag: int, after: int) -> int:
        """The clock of the next event of a flag."""
        ramp, mode = self.ramp, self.mode
        if flag == TOV:
            if mode.overflow == "max":
                return ramp.leaves_maximum(after)
            if mode.overflow == "top":
                at = ramp.leaves(ramp.top, after)
                return min(at, ramp.leaves_maximum(after))
            return ramp.leaves(0, after)
        if flag == ICF:
            return ramp.leaves(ramp.top, after) if mode.top == "icr" else NEVER
        return ramp.leaves(self.compare[flag - OCFA], max(after, self.blocked))

    BITS: ClassVar[tuple[int, ...]] = (0, 1, 2, 3, 5)

    def _expected(self) -> list[tuple[int, int]]:
        """(bit of TIFR, clock at which it will be set) of the flags that are not set yet."""
        if self._due is None:
            self._due = [(1 << self.BITS[k], self._next(k, self.seen[k])) for k in self.used if not self.set_flags >> self.BITS[k] & 1]
        return self._due

    def flags_at(self, n: int) -> int:
        flags = self.set_flags
        if not self.stopped:
            for bit, at in self._expected():
                if at <= n:
                    flags |= bit
        return flags

    def flags(self) -> int:
        """TIFR now."""
        self.listen_up()
        n = self.n
        if self.mode.pwm:
            self._load(n)
            n = self.n
        return self.flags_at(n)

    def polled_flags(self) -> int:
        """The guest reads TIFR: when it does so often, its flags become events and the CPU need not ask."""
        if not self.hot and self.hints is not None:
            self.polls += 1
            if self.polls > 16:
                self.hot = True
                self.rearm()
        return self.flags()

    def clear(self, bits: int) -> None:
        """The guest wrote ones to TIFR, or an interrupt was taken."""
        self.listen_up()
        self._load(self.n)
        n = self.n
        self.set_flags = self.flags_at(n) & ~bits
        if self.rung and self.hints is not None:
            self.hints.set_flags(self.address["TIFR"], self.set_flags)
        self.seen = [n] * 5
        self._due = None
        self.rearm()

    # --- events

    def rearm(self) -> None:
        """Wait for the next thing that somebody cares about."""
        self.listen_up()
        self._follow()
        if self.stopped or self.external:
            self.expire.cancel()
            self.hint(self.n)
            return
        now = self.n
        first = NEVER
        if self.mode.pwm:
            self._load(now)
            now, first = self.n, self._load_at()
        wanted = 0xFF if self.hot else self.masks()
        for k, _ in self.flag_users:
            wanted |= 1 << self.BITS[k]
        if self.ring(now, first, wanted):
            self.hint(now)
            self.expire.cancel()
            return
        for bit, at in self._expected():
            if wanted & bit and now < at < first:
                first = at
        for o in self.waves:
            if o.watched and self.connected(o.channel):
                first = min(first, self._edge(o.channel, now))
        self.hint(now)
        if first >= NEVER:
            self.expire.cancel()
            return
        at = self._origin + first * self._divider
        alarm = self.expire
        if alarm.deadline != at or alarm.clock is not self._source:
            alarm.cancel()
            alarm.clock = self._source
            alarm.at(at)

    # --- alarms: as long as nothing but flags changes, the CPU sets them by itself

    OUTPUTS: ClassVar[tuple[str, ...]] = ("ovf", "compa", "compb", "compc", "capt")

    def ring(self, now: int, load: int, wanted: int) -> bool:
        """Have the CPU set the flags; False when there is more to do than that."""
        hints, address, ramp = self.hints, self.address.get("TIFR"), self.ramp
        if (hints is None or address is None or load < NEVER or self.flag_users or self._source is not self.clock or now < ramp.lead
                or now < self.blocked or not hints.steady() or any(o.watched and self.connected(o.channel) for o in self.waves)):
            self.quiet()
            return False
        masks, divider = self.masks(), self._divider
        alarms: dict[int, tuple[int, ...]] = {}
        for k in self.used:
            bit = 1 << self.BITS[k]
            if wanted & bit and (at := self._next(k, max(now, self.seen[k]))) < NEVER:
                if self._next(k, at) - at != ramp.period:  # a compare match on the way up and on the way down
                    self.quiet()
                    return False
                vector = self.vectors.get(self.OUTPUTS[k], 0) if masks & bit else 0
                alarms[k] = self._origin + at * divider, ramp.period * divider, vector
        hints.set_flags(address, self.flags_at(now))
        for k in self.used:
            bit = 1 << self.BITS[k]
            if k in alarms:
                at, period, vector = alarms[k]
                hints.alarm(address, bit, at=at, period=period, vector=vector)
            elif k in self.rung:
                hints.silence(address, bit)
        self.rung = alarms
        return True

    def listen_up(self) -> None:
        """Take over the flags that the CPU set and cleared."""
        if self.rung and self.hints is not None:
            n, flags = self.n, self.hints.flags(self.address["TIFR"])
            for k in self.rung:
                bit = 1 << self.BITS[k]
                self.set_flags = self.set_flags & ~bit | flags & bit
                self.seen[k] = n
            self._due = None

    def quiet(self) -> None:
        """No alarms any more."""
        if self.rung and self.hints is not None:
            for k in self.rung:
                self.hints.silence(self.address["TIFR"], 1 << self.BITS[k])
            self.rung = {}
            self._shown.pop("TIFR", None)

    def hint(self, n: int) -> None:
        """Tell the CPU what loads of TIFR and TCNT give until the next event."""
        hints = self.hints
        if hints is None or "TIFR" not in self.address:
            return
        self.show("TIFR", self.flags_at(n) if self.hot or self.stopped else None)
        ramp = self.ramp
        told = None
        if self._divider and self._source is self.clock and n >= ramp.lead and ramp.top:
            told = (self._origin - ramp.offset * self._divider, self._divider, ramp.top, ramp.dual)
        if told == self._told:
            return
        self._told = told
        low, latch = self.address.get("TCNT", self.address.get("TCNTL", 0)), self.address.get("TCNTH", 0)
        if told is None:
            hints.device(low)
            if latch:
                hints.device(latch)
        else:
            hints.counter(low, start=told[0], divider=told[1], first=0, top=told[2], dual=told[3], latch=latch)
            if latch:
                hints.shadow(latch, self.high_latch())

    def high_latch(self) -> int:
        """TEMP: what a load of TCNTnH gives before one of TCNTnL."""
        return 0

    def clock_changed(self) -> None:
        """clkIO has another frequency: what the CPU was told is no longer true."""
        self._told = None
        self.rearm()

    def _follow(self) -> None:
        for o in self.waves:
            if o.watched and o.driver is not None and o.driver.wave is o:
                level = o.driver.net.vcc if self.output(o.channel) else 0.0
                if level != o.driver.volts:
                    o.driver.changed()

    @timer
    def expire(self) -> None:
        self._expired()

    def _expired(self) -> None:
        if self.flag_users:
            before = self.set_flags
            flags = self.flags()
            if flags & ~before:
                n = self.n
                self.set_flags = flags
                self.seen = [n] * 5
                self._due = None
                for k, f in list(self.flag_users):
                    if flags & ~before & 1 << self.BITS[k]:
                        f()
        self.rearm()

    # --- compare outputs

    def connected(self, channel: int) -> bool:
        """The output, not the port register, decides about the pin."""
        com = self.com[channel]
        if not com:
            return False
        if com == 1 and self.mode.pwm:
            return self._toggles(channel)
        return True

    def _toggles(self, channel: int) -> bool:
        """COM = 1 in a PWM mode toggles only channel A, in some modes."""
        if channel:
            return False
        if self.bits == 8:
            return self.mode.top == "ocr"
        return self.wgm() in (9, 11, 14, 15)

    def output(self, channel: int, n: int | None = None) -> bool:
        """The level of a compare output."""
        if n is None:
            self._load(self.n)
            n = self.n
        com, ramp, x = self.com[channel], self.ramp, self.compare[channel]
        if com == 0:
            return bool(self.out[channel])
        if not self.mode.pwm or com == 1:
            if self.stopped:
                return bool(self.out[channel])
            hits = ramp.passes(x, n) - (self.blocked and ramp.passes(x, min(n, 1)))
            if com == 1:
                return bool(self.out[channel] ^ hits & 1)
            return bool(com == 3) if hits else bool(self.out[channel])
        count = ramp.count(n)
        if not ramp.dual:
            high = count <= x
        elif x >= ramp.top:
            high = True
        elif x == 0:
            high = False
        else:
            high = count < x if ramp.falls(n) else count <= x
        return high ^ (com == 3)

    def _edge(self, channel: int, now: int) -> int:
        at = self._next(OCFA + channel, now)
        if self.mode.pwm and self.com[channel] >= 2:
            ramp = self.ramp
            if not ramp.dual:
                at = min(at, ramp.leaves(ramp.top, now))
            elif ramp.lead > now:
                at = min(at, ramp.lead)
        return at

    def force(self, strobes: int) -> None:
        """FOC: act on the outputs as a match would, without flags, outside PWM."""
        if self.mode.pwm:
            return
        self.hold()
        for c in range(self.channels):
            if strobes >> c & 1 and self.com[c]:
                self.out[c] = (1 - self.out[c], 0, 1)[self.com[c] - 1]
        self.go()

    def _connect(self) -> None:
        for o, place in zip(self.waves, self.ports or [], strict=False):
            port, bit = place
            o.driver = port.drivers.get(bit)
            port.override(bit, o, self.connected(o.channel))

    def clock_hz(self) -> float:
        if self.stopped or self.external:
            return 0.0
        return self.source.hz / self.divisors[self.select]

    def frequency_of(self, channel: int) -> float:
        """Hz of a compare output."""
        period = self.ramp.period
        if self.com[channel] == 1:
            period *= 2
        elif not self.mode.pwm:
            return 0.0
        return float(self.clock_hz() / period)

    def duty_of(self, channel: int) -> float:
        """Share of time a compare output is high."""
        com, x, top = self.com[channel], self.buffered[channel], self.ramp.top
        if com == 1 and self.clock_hz():
            return 0.5
        if not self.mode.pwm or not self.clock_hz():
            return float(self.output(channel))
        share = min(1.0, x / top if self.mode.slope == 2 else (x + 1) / (top + 1)) if top else 1.0
        return share if com == 2 else 1.0 - share

    # --- interrupts

    def asking(self, bit: int) -> int:
        """The interrupt of a flag is requested, and not by the CPU itself."""
        if not self.masks() & bit:
            return 0
        alarm = self.rung.get(self.BITS.index(bit.bit_length() - 1))
        return 0 if alarm and alarm[2] else self.flags() & bit

    @line
    def ovf(self) -> int:
        return self.asking(1)

    @line
    def compa(self) -> int:
        return self.asking(2)

    @line
    def compb(self) -> int:
        return self.asking(4)

    ACKS: ClassVar[dict[str, int]] = {"ovf": 1, "compa": 2, "compb": 4, "compc": 8, "capt": 0x20}

    def acknowledge(self, output: str) -> None:
        """The CPU entered the handler of that interrupt: hardware clears the flag."""
        self.clear(self.ACKS[output])
        self.settle()

    def save(self) -> dict[str, Any]:
        self.listen_up()
        return super().save() | {"hot": self.hot}

    def load_more(self, saved: dict[str, Any]) -> None:
        self.mode = self.modes[self.wgm()]
        self.rung, self._told, self._due, self.hot = {}, None, None, saved["hot"]
        self._count_from()
        count, falls = self.ramp_state
        self.ramp = Ramp(self.mode.slope == 2, self.top, self.maximum, count, bool(falls) and self.mode.slope == 2)

    def restored(self) -> None:
        hints, address = self.hints, self.address.get("TIFR")
        if hints is not None and address is not None:
            for k in self.used:
                hints.silence(address, 1 << self.BITS[k])
        self._count_from()
        self._listen()
        self._connect()
        self.rearm()


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

    def wgm(self) -> int:
        return self.wgm_high << 2 | self.wgm_low

    def coms(self) -> list[int]:
        return [self.com_a, self.com_b]

    def masks(self) -> int:
        return self.ocie_b << 2 | self.ocie_a << 1 | self.toie

    @wgm_low.on_write
    def mode_low(self, _: int) -> None:
        self.put("mode")

    @wgm_high.on_write
    def mode_high(self, _: int) -> None:
        self.put("mode")

    @cs.on_write
    def choose_clock(self, new: int) -> None:
        self.put("clock", new)

    @foc_a.on_write
    def force_a(self, on: int) -> None:
        self.force(on)

    @foc_b.on_write
    def force_b(self, on: int) -> None:
        self.force(on << 1)

    @tcnt.computed
    def read_count(self) -> int:
        return self.count()

    @tcnt.on_write
    def write_count(self, value: int) -> None:
        self.put("count", value)

    @ocr_a.on_write
    def write_a(self, value: int) -> None:
        self.put("a", value)

    @ocr_b.on_write
    def write_b(self, value: int) -> None:
        self.put("b", value)

    @tifr.computed
    def read_flags(self) -> int:
        return self.flags()

    @tifr.on_read
    def poll_flags(self) -> int:
        return self.polled_flags()

    @tifr.on_write
    def clear_flags(self, bits: int) -> None:
        self.clear(bits)

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

    def setup(self) -> None:
        super().setup()
        self.analog_capture: Any = None
        if self.pin_icp is not None:
            self.pin_icp.listen(self.captured)

    def wgm(self) -> int:
        return self.wgm_high << 2 | self.wgm_low

    def coms(self) -> list[int]:
        return [self.com_a, self.com_b, self.com_c][: self.channels]

    def masks(self) -> int:
        return self.icie << 5 | self.timsk

    @wgm_low.on_write
    def mode_low(self, _: int) -> None:
        self.put("mode")

    @wgm_high.on_write
    def mode_high(self, _: int) -> None:
        self.put("mode")

    @cs.on_write
    def choose_clock(self, new: int) -> None:
        self.put("clock", new)

    @foc_a.on_write
    def force_a(self, on: int) -> None:
        self.force(on)

    @foc_b.on_write
    def force_b(self, on: int) -> None:
        self.force(on << 1)

    @foc_c.on_write
    def force_c(self, on: int) -> None:
        self.force(on << 2)

    def captured(self, level: bool, source: str = "pin") -> None:
        """An edge at the input capture pin, or of the analog comparator."""
        comparator = self.analog_capture is not None and self.analog_capture()
        if bool(level) != bool(self.ices) or comparator != (source == "comparator") or self.mode.top == "icr" or not self._powered:
            return
        if self.icnc:
            self.pending_level = level
            self.noise_cancelled.after(4)
        else:
            self._capture()
            self.settle()

    pending_level = state(False)

    @timer
    def noise_cancelled(self) -> None:
        if self.analog_capture is not None and self.analog_capture():
            self._capture()
        elif self.pin_icp is not None and self.pin_icp.level == self.pending_level:
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
        self.temp = count >> 8
        return count & 0xFF

    @tcnt_low.computed
    def peek_low(self) -> int:
        return self.count() & 0xFF

    @tcnt_high.on_read
    def read_high(self) -> int:
        return self.temp

    @tcnt_high.computed
    def peek_high(self) -> int:
        return self.count() >> 8

    @tcnt_low.on_write
    def write_low(self, value: int) -> None:
        self.put("count", self.temp << 8 | value)

    @icr_low.on_read
    def read_capture(self) -> int:
        self.temp = self.capture >> 8
        return self.capture & 0xFF

    @icr_low.computed
    def peek_capture(self) -> int:
        return self.capture & 0xFF

    @icr_high.on_read
    def read_capture_high(self) -> int:
        return self.temp

    @icr_high.computed
    def peek_capture_high(self) -> int:
        return self.capture >> 8

    @icr_low.on_write
    def write_capture(self, value: int) -> None:
        if self.mode.top == "icr":
            self.set_capture(self.temp << 8 | value)
        else:
            self.capture = self.temp << 8 | value

    @ocr_al.computed
    def a_low(self) -> int:
        return self.buffered[0] & 0xFF

    @ocr_ah.computed
    def a_high(self) -> int:
        return self.buffered[0] >> 8

    @ocr_bl.computed
    def b_low(self) -> int:
        return self.buffered[1] & 0xFF

    @ocr_bh.computed
    def b_high(self) -> int:
        return self.buffered[1] >> 8

    @ocr_cl.computed
    def c_low(self) -> int:
        return self.buffered[2] & 0xFF

    @ocr_ch.computed
    def c_high(self) -> int:
        return self.buffered[2] >> 8

    @ocr_al.on_write
    def write_a(self, value: int) -> None:
        self.put("a", self.temp << 8 | value)

    @ocr_bl.on_write
    def write_b(self, value: int) -> None:
        self.put("b", self.temp << 8 | value)

    @ocr_cl.on_write
    def write_c(self, value: int) -> None:
        self.put("c", self.temp << 8 | value)

    def high(self, value: int) -> None:
        self.temp = value

    for _field in (tcnt_high, icr_high, ocr_ah, ocr_bh, ocr_ch):
        _field.on_write(high)
    del _field

    def high_latch(self) -> int:
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

    @tifr.on_write
    def clear_flags(self, bits: int) -> None:
        self.clear(bits)

    @icf.on_write
    def clear_capture_flag(self, on: int) -> None:
        self.clear(on << 5)

    @timsk.on_write
    def enable(self, _: int) -> None:
        self.rearm()

    @icie.on_write
    def enable_capture(self, _: int) -> None:
        self.rearm()

    @line
    def compc(self) -> int:
        return self.asking(8)

    @line
    def capt(self) -> int:
        return self.asking(0x20)
