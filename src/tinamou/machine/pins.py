"""Electrical nets: what lies on a pin when several parts drive it, who is told when it changes, and who fights whom.

A driver is a voltage behind a resistance, or nothing at all. A net's voltage is that of its strong drivers, else the mean of the
weak ones weighted by conductance; a net nobody drives keeps its level (its capacitance). Two strong drivers that disagree are a
short circuit, which is reported with both names. Digital inputs have hysteresis: low below 0.3 Vcc, high above 0.6 Vcc.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tinamou.machine.props import PropertyError, nearest

if TYPE_CHECKING:
    from tinamou.machine.machine import Machine

HEADER = 14             # pins in a row of the picture
STRONG = 25.0          # ohms: a push-pull output
WEAK = 1000.0          # ohms: from here on a driver gives way without a short circuit
PULL_UP = 35_000.0     # ohms: the middle of what AVR data sheets allow


class Wave(Protocol):
    """An output that changes by itself (PWM). It produces edges only while somebody watches."""

    def level(self) -> bool:
        """What it is now."""
        ...

    def duty(self) -> float:
        """Share of the time it is high, 0 to 1."""
        ...

    def frequency(self) -> float:
        """Periods per second; 0 when it stands still."""
        ...

    def watch(self, on: bool) -> None:
        """From now on the edges matter (or no longer)."""
        ...


class Driver:
    """One part's end of a net. `set` puts a voltage there, `release` lets go, `follow` hands over to a wave."""

    __slots__ = ("name", "net", "ohms", "volts", "wave")

    def __init__(self, name: str, net: Net) -> None:
        self.name, self.net = name, net
        self.volts: float | None = None
        self.ohms = STRONG
        self.wave: Wave | None = None
        net.drivers.append(self)

    def __repr__(self) -> str:
        return f"<driver {self.name} {'-' if self.volts is None else f'{self.volts:g} V'}>"

    def set(self, volts: float, ohms: float = STRONG) -> None:
        if self.wave is not None or volts != self.volts or ohms != self.ohms:
            self._leave()
            self.volts, self.ohms = volts, ohms
            self.net.update()

    def level(self, high: bool) -> None:
        """A push-pull output."""
        self.set(self.net.vcc if high else 0.0)

    def release(self) -> None:
        if self.volts is not None or self.wave is not None:
            self._leave()
            self.volts = None
            self.net.update()

    def follow(self, wave: Wave) -> None:
        """The output is what `wave` says; it calls `changed` at its edges while it is watched."""
        if self.wave is not wave:
            self._leave()
            self.wave, self.ohms = wave, STRONG
            if self.net.watched:
                wave.watch(True)
        self.changed()

    def changed(self) -> None:
        """The wave has another level now."""
        if self.wave is not None:
            self.volts = self.net.vcc if self.wave.level() else 0.0
        self.net.update()

    def _leave(self) -> None:
        if self.wave is not None and not self.net.watched:
            self.net.resolve()          # a net that floats from now on keeps the level it has in this moment
        wave, self.wave = self.wave, None
        if wave is not None and self.net.watched:
            wave.watch(False)

    def forget(self) -> Wave | None:
        """Let go without any effect on the net: a snapshot is being restored. Returns the wave that is watched no longer."""
        wave, self.wave, self.volts = self.wave, None, None
        return wave if self.net.watched else None

    def pulses(self) -> bool:
        """Low and high in turn: sooner or later against whatever else drives the net."""
        return self.wave is not None and 0 < self.wave.duty() < 1

    def sample(self) -> float | None:
        if self.wave is not None:
            self.volts = self.net.vcc if self.wave.level() else 0.0
        return self.volts


@dataclass(frozen=True)
class Short:
    """Two outputs against each other."""

    net: str
    one: str
    other: str
    time: int

    def __str__(self) -> str:
        return f"short circuit on {self.net}: {self.one} against {self.other}"


class Net:
    """Everything that is connected. `level` is what a digital input sees, `voltage` what a meter shows."""

    def __init__(self, name: str, vcc: float = 5.0, owner: Pins | None = None) -> None:
        self.name, self.vcc, self.owner = name, vcc, owner
        self.drivers: list[Driver] = []
        self.held = False
        self.volts = 0.0
        self._listeners: list[Callable[[bool], object]] = []
        self._meters: list[Callable[[], object]] = []
        self._shorted: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<net {self.name} {self.volts:g} V>"

    @property
    def watched(self) -> bool:
        return bool(self._listeners or self._meters)

    @property
    def voltage(self) -> float:
        """Volts now."""
        self.resolve()
        return self.volts

    @property
    def level(self) -> bool:
        """What a digital input reads now."""
        for d in self.drivers:
            if d.wave is not None:
                self.resolve()
                break
        return self.held

    def update(self) -> None:
        """A driver changed."""
        before, volts = self.held, self.volts
        self.resolve()
        if self.owner is not None and self.owner.quiet:
            return
        if self.held != before:
            for f in list(self._listeners):
                f(self.held)
        if self._meters and self.volts != volts:
            for g in list(self._meters):
                g()

    def resolve(self) -> None:
        """Voltage and level from what the drivers put there now."""
        strong: Driver | None = None
        current = conductance = 0.0
        fight = None
        for d in self.drivers:
            volts = d.sample()
            if volts is None:
                continue
            current += volts / d.ohms
            conductance += 1 / d.ohms
            if d.ohms < WEAK:
                if strong is None:
                    strong = d
                elif abs((strong.volts or 0.0) - volts) > 0.5 or strong.pulses() or d.pulses():
                    fight = (strong, d)
        if fight is not None:
            self._short(*fight)
        elif self._shorted:
            self._shorted = frozenset()
        if conductance:
            self.volts = current / conductance
        if self.volts > 0.6 * self.vcc:
            self.held = True
        elif self.volts < 0.3 * self.vcc:
            self.held = False
        elif any(d.wave is not None for d in self.drivers):     # a wave against something else: nobody may have seen its last edge
            self.held = self.volts > 0.45 * self.vcc

    def _short(self, one: Driver, other: Driver) -> None:
        names = frozenset((one.name, other.name))
        if names != self._shorted and self.owner is not None:
            self._shorted = names
            a, b = (f"{d.name} ({d.volts:g} V)" for d in (one, other))
            self.owner.short(Short(self.name, a, b, self.owner.now))

    # --- who wants to know

    def listen(self, f: Callable[[bool], object]) -> Callable[[], None]:
        """Call `f(level)` at each change of the digital level; returns what ends that."""
        return self._watch(self._listeners, f)

    def meter(self, f: Callable[[], object]) -> Callable[[], None]:
        """Call `f()` at each change of the voltage; returns what ends that."""
        return self._watch(self._meters, f)

    def _watch(self, where: list[Any], f: Any) -> Callable[[], None]:
        if not self.watched:
            self.resolve()
            for d in self.drivers:
                if d.wave is not None:
                    d.wave.watch(True)
        where.append(f)

        def end() -> None:
            if f in where:
                where.remove(f)
                if not self.watched:
                    for d in self.drivers:
                        if d.wave is not None:
                            d.wave.watch(False)
        return end


class BoardPin:
    """A pin one can touch from outside: read it, drive it, connect it, be told about it."""

    def __init__(self, name: str, net: Net, chip: str = "") -> None:
        self.name, self.net, self.chip = name, net, chip
        self._outside: Driver | None = None

    def __repr__(self) -> str:
        return f"<pin {self.name} ({self.chip}) {'high' if self.level else 'low'} {self.voltage:.3g} V>"

    @property
    def level(self) -> bool:
        """The digital level."""
        return self.net.level

    @property
    def voltage(self) -> float:
        """Volts on the pin. Setting it connects a source of that voltage from outside; None takes it away."""
        return self.net.voltage

    @voltage.setter
    def voltage(self, volts: float | None) -> None:
        if volts is None:
            self.release()
        else:
            self.outside.set(float(volts))

    @property
    def outside(self) -> Driver:
        """The driver that acts for the outside world."""
        if self._outside is None:
            self._outside = Driver("outside", self.net)
        return self._outside

    def drive(self, high: bool) -> None:
        """Hold the pin high or low from outside."""
        self.outside.level(high)

    def pull(self, high: bool, ohms: float = 10_000.0) -> None:
        """A resistor to Vcc or to ground from outside."""
        self.outside.set(self.net.vcc if high else 0.0, ohms)

    def release(self) -> None:
        """Take away what `voltage`, `drive` or `pull` put there."""
        if self._outside is not None:
            self._outside.release()

    def button(self, to: bool = False) -> Button:
        """A push button from this pin to ground, or to Vcc."""
        return Button(self, to)

    def on_change(self, f: Callable[[bool], object]) -> Callable[[], None]:
        """Call `f(level)` at every edge from now on; returns a function that ends it."""
        return self.net.listen(f)

    def connect(self, other: BoardPin) -> None:
        """A wire to another pin: both are one net from now on."""
        mine, theirs = self.net, other.net
        if mine is theirs:
            return
        for d in theirs.drivers:
            if d.wave is not None and mine.watched and not theirs.watched:
                d.wave.watch(True)
            d.net = mine
        for d in mine.drivers:
            if d.wave is not None and theirs.watched and not mine.watched:
                d.wave.watch(True)
        mine.drivers += theirs.drivers
        mine._listeners += theirs._listeners
        mine._meters += theirs._meters
        mine.name = f"{mine.name}+{theirs.name}"
        theirs.drivers, theirs._listeners, theirs._meters = mine.drivers, mine._listeners, mine._meters
        if mine.owner is not None:
            for pin in mine.owner.all():
                if pin.net is theirs:
                    pin.net = mine
        other.net = mine
        mine.update()

    def _wave(self) -> Wave | None:
        return next((d.wave for d in self.net.drivers if d.wave is not None), None)

    @property
    def duty(self) -> float:
        """Share of the time the pin is high, 0 to 1: of a PWM output, or of a level that stands still."""
        wave = self._wave()
        return wave.duty() if wave is not None else float(self.level)

    @property
    def frequency(self) -> float:
        """Of the PWM output on the pin, in Hz; 0 without one."""
        wave = self._wave()
        return wave.frequency() if wave is not None else 0.0

    def mark(self) -> str:
        """What is on the pin in at most four characters: H, L, - (floating), volts, or the duty of a PWM output."""
        wave = self._wave()
        if wave is not None and wave.frequency():
            return f"{wave.duty() * 100:.0f}%"
        if all(d.volts is None for d in self.net.drivers):
            return "-"
        volts = self.voltage
        return "L" if volts < 0.1 else "H" if volts > self.net.vcc - 0.1 else f"{volts:.1f}V"

    def describe(self) -> str:
        """One line of `info pins`."""
        wave = self._wave()
        if wave is not None and wave.frequency():
            state = f"pwm {wave.duty() * 100:.1f}% {wave.frequency():.6g} Hz"
        else:
            who = [d for d in self.net.drivers if d.volts is not None]
            if not who:
                state = "floating"
            elif all(d.ohms >= WEAK for d in who):
                state = f"pulled {'high' if self.level else 'low'}"
            else:
                inside = any(d.ohms < WEAK and d.name != "outside" for d in who)
                state = f"{'output' if inside else 'driven'} {'high' if self.level else 'low'}"
        return f"{self.name:<5} {self.chip:<5} {self.voltage:5.2f} V  {state}"


class Button:
    """Pressed, it connects its pin to ground (or Vcc)."""

    def __init__(self, pin: BoardPin, to: bool = False) -> None:
        self._driver, self._to = Driver(f"button on {pin.name}", pin.net), to
        self.pressed = False

    def press(self) -> None:
        self.pressed = True
        self._driver.level(self._to)

    def release(self) -> None:
        self.pressed = False
        self._driver.release()


def _cells(texts: list[str]) -> str:
    return "".join(f"{text:>5}" for text in texts)


class Pins:
    """The pins of a board by name. Several names may mean one pin; `shorts` lists the short circuits so far."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._pins: dict[str, BoardPin] = {}
        self._order: list[BoardPin] = []
        self.shorts: list[Short] = []
        self.on_short: list[Callable[[Short], object]] = []
        self.quiet = False      # a snapshot is being restored: nothing happened on the pins

    @property
    def now(self) -> int:
        return self.machine.time.now

    def add(self, name: str, chip: str = "", vcc: float = 5.0) -> BoardPin:
        """A new pin; `chip` is its name on the chip, by which it is found too."""
        found = BoardPin(name, Net(name, vcc, self), chip)
        self._order.append(found)
        self.alias(name, found)
        if chip and chip != name:
            self.alias(chip, found)
        return found

    def alias(self, name: str, pin: BoardPin) -> None:
        """Another name of a pin."""
        if name in self._pins:
            raise ValueError(f"two pins are called {name}")
        self._pins[name] = pin

    def __getitem__(self, name: str) -> BoardPin:
        """Raises PropertyError, naming the nearest pins."""
        found = self._pins.get(name) or self._pins.get(name.upper())
        if found is None:
            if not self._pins:
                raise PropertyError(f"no pin '{name}': machine '{self.machine.name}' has no pins")
            raise PropertyError(f"no pin '{name}' on machine '{self.machine.name}'",
                                (nearest(name.upper(), self._pins, "nearest: ") or f"pins: {', '.join(self)}"))
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._pins or name.upper() in self._pins

    def __iter__(self) -> Iterator[str]:
        return (p.name for p in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def all(self) -> list[BoardPin]:
        """The pins in the order of the board."""
        return list(self._order)

    def short(self, what: Short) -> None:
        """Report a short circuit once, until it ends."""
        if self.quiet:
            return
        self.shorts.append(what)
        self.machine.log.sink(str(what))
        for f in self.on_short:
            f(what)

    def describe(self) -> str:
        """The text of `info pins`: the picture of the board, then each pin in words."""
        return self.picture() + "".join(p.describe() + "\n" for p in self._order)

    def picture(self) -> str:
        """The board as text, D0 to the right above and A0 to the left below, as they are soldered; empty where pins have other names."""
        digital, analog = ([p for p in self._order if re.fullmatch(kind + r"\d+", p.name)] for kind in "DA")
        width = 5 * min(HEADER, len(digital)) + 1
        above: list[str] = []
        for n in range(0, len(digital), HEADER):
            row = digital[n : n + HEADER][::-1]
            above[:0] = [_cells([p.name for p in row]).rjust(width), _cells([p.mark() for p in row]).rjust(width)]
        below: list[str] = []
        for n in range(0, len(analog), HEADER):
            row = analog[n : n + HEADER]
            below += [_cells([p.mark() for p in row]), _cells([p.name for p in row])]
        if not above:
            return ""
        edge = f"+{'-' * width}+\n"
        return edge + "".join(f"|{line:<{width}}|\n" for line in [*above, self.machine.name.center(width), *below]) + edge

    # --- snapshots: what the outside holds; the rest follows from the devices

    def save(self) -> dict[str, list[float]]:
        return {p.name: [p._outside.volts, p._outside.ohms] for p in self._order
                if p._outside is not None and p._outside.volts is not None}

    def load(self, saved: dict[str, list[float]]) -> None:
        for p in self._order:
            if p.name in saved:
                p.outside.set(*saved[p.name])
            else:
                p.release()

    def charges(self) -> dict[str, list[float]]:
        """[volts, level] of each net: what is left there when nobody drives it, and the level of voltages in between."""
        return {p.name: [p.net.volts, p.net.held] for p in self._order}

    def charge(self, saved: dict[str, list[float]]) -> None:
        """Put nets into that state again; who drives one does so again after that."""
        for p in self._order:
            if p.name in saved:
                p.net.volts, p.net.held = saved[p.name][0], bool(saved[p.name][1])
