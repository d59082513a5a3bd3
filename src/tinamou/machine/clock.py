"""Time inside a machine: one virtual nanosecond count with a sorted event list, and clock domains that divide it.

Virtual time follows the host's monotonic clock while the machine runs, or is derived from the number of executed
instructions (`-icount`), or is stepped by hand (tests, `-qtest`).
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from datetime import UTC, datetime

SECOND = 1_000_000_000


class Event:
    """One entry of the event list. `cancel` may be called at any time, also when it has fired."""

    __slots__ = ("action", "at", "cancelled", "time")

    def __init__(self, at: int, action: Callable[[], object], time: VirtualTime) -> None:
        self.at, self.action, self.cancelled, self.time = at, action, False, time

    def cancel(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.time.forget()


class VirtualTime:
    """Nanoseconds since the machine was made.

    A fresh object is stepped: only `advance` moves it. `follow_host` makes it run with the host clock, `follow` with
    any source of nanoseconds (an instruction counter). `changed` is called when the earliest deadline moved.
    """

    def __init__(self) -> None:
        self._base = 0
        self._source: Callable[[], int] | None = None
        self._origin = 0
        self._running = False
        self._queue: list[tuple[int, int, Event]] = []
        self._order = 0
        self._dead = 0
        self.changed: Callable[[], object] = lambda: None

    # --- reading

    @property
    def now(self) -> int:
        """Nanoseconds of virtual time."""
        if self._running and self._source is not None:
            return self._base + self._source() - self._origin
        return self._base

    @property
    def stepped(self) -> bool:
        """No source: time moves only by `advance`."""
        return self._source is None

    # --- modes

    def follow(self, source: Callable[[], int]) -> None:
        """From now on take the flow of time from `source` (nanoseconds, never decreasing)."""
        self._base = self.now
        self._source, self._origin = source, source()

    def follow_host(self) -> None:
        """Run with the host's monotonic clock while started."""
        self.follow(time.monotonic_ns)

    def start(self) -> None:
        """The machine runs: a source counts from here."""
        if not self._running:
            self._running = True
            self._origin = self._source() if self._source else 0
            self.changed()

    def stop(self) -> None:
        """The machine is stopped: time stands still."""
        if self._running:
            self._base = self.now
            self._running = False

    def set(self, now: int) -> None:
        """Jump to a saved time without firing events (restore of a snapshot)."""
        self._base = now
        self._origin = self._source() if self._source else 0

    # --- the event list

    def at(self, when: int, action: Callable[[], object]) -> Event:
        """Call `action` when virtual time reaches `when`; equal times fire in the order of the calls."""
        event = Event(when, action, self)
        self._order += 1
        first = not self._queue or when < self._queue[0][0]
        heapq.heappush(self._queue, (when, self._order, event))
        if first:
            self.changed()
        return event

    def forget(self) -> None:
        """An event was cancelled; the list is swept when half of it is dead."""
        self._dead += 1
        if self._dead > 64 and self._dead * 2 > len(self._queue):
            self._queue = [entry for entry in self._queue if not entry[2].cancelled]
            heapq.heapify(self._queue)
            self._dead = 0

    def _next(self) -> Event:
        event = heapq.heappop(self._queue)[2]
        event.cancelled = True
        return event

    @property
    def deadline(self) -> int | None:
        """When the next event is due, or None."""
        while self._queue and self._queue[0][2].cancelled:
            heapq.heappop(self._queue)
            self._dead = max(0, self._dead - 1)
        return self._queue[0][0] if self._queue else None

    def fire(self) -> int:
        """Run every event that is due; returns how many ran."""
        n = 0
        while (due := self.deadline) is not None and due <= self.now:
            self._next().action()
            n += 1
        return n

    def advance(self, ns: int) -> None:
        """Move stepped time forward, firing each event at its own time."""
        self.advance_to(self._base + ns)

    def advance_to(self, when: int) -> None:
        while (due := self.deadline) is not None and due <= when:
            self._base = max(self._base, due)
            self._next().action()
        self._base = max(self._base, when)


class Clock:
    """A clock domain of `hz` over virtual time. A change of `hz` keeps the tick count and moves pending deadlines."""

    def __init__(self, hz: int, time: VirtualTime | None = None) -> None:
        if hz < 0:
            raise ValueError("a clock frequency cannot be negative")
        self.time = time or VirtualTime()
        self._hz = hz
        self._skew = 0
        self._base_ns, self._base_ticks = self.time.now, self.time.now * hz // SECOND
        self._pending: dict[Event, int] = {}  # fired and cancelled events are swept now and then
        self._listeners: list[Callable[[], object]] = []

    @property
    def hz(self) -> int:
        """Ticks per second; 0 is a stopped clock."""
        return self._hz

    @hz.setter
    def hz(self, hz: int) -> None:
        if hz == self._hz:
            return
        self._base_ticks, self._base_ns = self.ticks, self.time.now
        self._hz = hz
        self._changed()

    def join(self, other: Clock) -> None:
        """Tick when `other` does from now on, at its frequency. The tick count goes on; deadlines move."""
        base = other._base_ns, other._base_ticks - (other.ticks - self.ticks)
        if (other._hz, *base) != (self._hz, self._base_ns, self._base_ticks):
            self._hz = other._hz
            self._base_ns, self._base_ticks = base
            self._changed()

    def _changed(self) -> None:
        pending, self._pending = self._pending, {}
        for event, tick in pending.items():
            if not event.cancelled:
                event.cancel()
                self.at(tick, event.action)
        for f in self._listeners:
            f()

    @property
    def skew(self) -> int:
        """What a guest has added to the counter that shows this clock's ticks (RISC-V: by writing mtime)."""
        return self._skew

    @skew.setter
    def skew(self, ticks: int) -> None:
        if ticks != self._skew:
            self._skew = ticks
            for f in self._listeners:
                f()

    def save(self) -> list[int]:
        """Frequency and count as plain numbers, for devices that change the frequency."""
        return [self._hz, self._base_ns, self._base_ticks, self._skew]

    def load(self, saved: list[int]) -> None:
        """Take over what `save` gave. Pending events are those that devices ask for again."""
        self._hz, self._base_ns, self._base_ticks, self._skew = saved
        self._pending.clear()

    def on_change(self, f: Callable[[], object]) -> None:
        """Call `f` whenever the frequency or the skew changes."""
        self._listeners.append(f)

    @property
    def ticks(self) -> int:
        """Ticks since time 0."""
        return self._base_ticks + (self.time.now - self._base_ns) * self._hz // SECOND

    def ns(self, tick: int) -> int:
        """The virtual time at which the tick count reaches `tick` (at the present frequency)."""
        return self._base_ns - (self._base_ticks - tick) * SECOND // self._hz if tick < self._base_ticks else \
            self._base_ns - (-(tick - self._base_ticks) * SECOND // self._hz)

    def at(self, tick: int, action: Callable[[], object]) -> Event:
        """Call `action` when `ticks` reaches `tick`; at once (as an event) when that has passed."""
        when = self.ns(tick) if self._hz else 1 << 100
        event = self.time.at(min(when, 1 << 100), action)
        if len(self._pending) > 64:
            self._pending = {e: t for e, t in self._pending.items() if not e.cancelled}
        self._pending[event] = tick
        return event

    def divided(self, by: int) -> Clock:
        """A slower clock that follows this one."""
        slow = Clock(self._hz // by, self.time)
        self.on_change(lambda: setattr(slow, "hz", self._hz // by))
        return slow


class Rtc:
    """What a battery-backed clock shows: `-rtc base=utc|localtime|DATE,clock=host|rt|vm`."""

    def __init__(self, time_: VirtualTime, base: str = "utc", clock: str = "host") -> None:
        self._time, self._vm = time_, clock == "vm"
        self.localtime = base == "localtime"
        wall = time.time_ns()
        if base in ("utc", "localtime"):
            start = wall
            if self.localtime:
                offset = datetime.now().astimezone().utcoffset()
                start += int(offset.total_seconds()) * SECOND if offset else 0
        else:
            start = parse_date(base) * SECOND
        self._offset = start - (self._time.now if self._vm else wall)

    @property
    def now(self) -> int:
        """Nanoseconds since 1970-01-01 as the guest should see them."""
        return self._offset + (self._time.now if self._vm else time.time_ns())


def parse_date(text: str) -> int:
    """Seconds since 1970 of `2006-06-17T16:01:21` or `2006-06-17`. Raises ValueError."""
    for form in ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"):
        try:
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise ValueError(f"invalid datetime format; valid formats: '2006-06-17T16:01:21' or '2006-06-17', not '{text}'")
