"""Timer/counters of AVR microcontrollers, as far as those of 8 (`timer8`) and of 16 bits (`timer16`) are alike. ATmega48A/PA/88A/PA/168A/
PA/328/P data sheet, chapters 15, 16 and 18; ATmega640/1280/1281/2560/2561 data sheet, chapters 16, 17, 20.

Nothing is counted: a counter is a ramp, a function of the clock ticks since it was last touched, and so are its flags and the
levels of its outputs. Only what somebody waits for becomes an event: an enabled interrupt, an edge of a watched pin, the moment a
double-buffered compare value takes over.

Timing, from the diagrams of the data sheets: the flags and outputs of a compare match change on the timer clock after the one in
which the counter has that value, the overflow flag on the one that leaves MAX, TOP or BOTTOM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinamou.devices.avr.core import AvrDevice, Signal
from tinamou.devices.avr.timer.waveform import MODES8, NEVER, Mode, Ramp
from tinamou.machine.clock import Clock
from tinamou.machine.device import timer
from tinamou.machine.lines import line, state
from tinamou.machine.pins import Driver, Net
from tinamou.machine.props import OBJECT, U8, prop
from tinamou.machine.registers import Field, Reg

TOV, OCFA, OCFB, OCFC, ICF = range(5)


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
            t.settle()

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
                    t.settle()


def puts(what: str) -> Callable[[TimerCounter, int], None]:
    """What the write of a field does: `put` it."""
    return lambda self, value: self.put(what, value)


def forces(channel: int) -> Callable[[TimerCounter, int], None]:
    """FOC: a strobe that forces a compare match."""
    return lambda self, on: self.force(on << channel)


class Output(Signal):
    """A compare output as the pin sees it."""

    def __init__(self, timer_: TimerCounter, channel: int) -> None:
        super().__init__(lambda: timer_.output(channel), timer_.refresh)
        self.timer, self.channel = timer_, channel
        self.driver: Driver | None = None

    def duty(self) -> float:
        return self.timer.duty_of(self.channel)

    def frequency(self) -> float:
        return self.timer.frequency_of(self.channel)


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
    since = state(0)                    # the clock at which a buffered OCR was last written
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

    wgm_low: ClassVar[Field]
    wgm_high: ClassVar[Field]

    def wgm(self) -> int:
        return self.wgm_high << 2 | self.wgm_low

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
        self.seen, self.since = [0] * 5, 0
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
        self.buffered[channel], self.since = value, self.n
        if not self.mode.pwm or self.stopped:
            self._take(channel)
        else:
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
            return ramp.leaves(ramp.top, self.since)
        return ramp.leaves(0 if ramp.dual else ramp.top, self.since)

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
        high = self.high_latch()
        self._told = told
        low, latch = self.address.get("TCNT", self.address.get("TCNTL", 0)), self.address.get("TCNTH", 0)
        if told is None:
            hints.device(low)
            if latch:
                hints.device(latch)
        else:
            hints.counter(low, start=told[0], divider=told[1], first=0, top=told[2], dual=told[3], latch=latch)
            if latch:
                hints.shadow(latch, high)

    def high_latch(self) -> int:
        """TEMP: what a load of TCNTnH gives."""
        return 0

    def clock_changed(self) -> None:
        """clkIO has another frequency: what the CPU was told is no longer true."""
        self.high_latch()
        self._told = None
        self.refresh()

    def refresh(self) -> None:
        """Somebody else changed what this timer waits for: whether the CPU asks for its interrupts by itself may be different now."""
        self.rearm()
        self.settle()

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
        self.high_latch()
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
