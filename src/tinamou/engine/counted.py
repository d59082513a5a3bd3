"""Time by the number of executed instructions (`-icount`): the CPUs of a machine take turns in one thread.

An instruction takes 2^shift nanoseconds.  While all CPUs wait, time goes on to the next event: at once, or with `sleep` as the host's
clock does.  Events fire between two turns, at the first taken jump behind their time; a turn ends early when a device sets an earlier
one.  So a machine without input from outside does the same at each run.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinamou.machine.machine import Machine

    from .system import SystemEngine, SystemVcpu

TURN = 20_000  # instructions of one CPU before the next one runs
FIRST_SHIFT = 3  # where `auto` begins
HIGHEST_SHIFT = 10
ADJUST = 100_000_000  # host nanoseconds between looks at how fast time goes
SLACK = 3_000_000  # nanoseconds that `align` lets the guest be ahead of the host


@dataclass(frozen=True)
class Icount:
    """`-icount`: shift None is `auto`."""

    shift: int | None = None
    sleep: bool = True
    align: bool = False


class Turns:
    """Runs the CPUs of a machine, and its events, in one thread."""

    def __init__(self, engine: SystemEngine, machine: Machine, how: Icount) -> None:
        self.engine, self.machine, self.how = engine, machine, how
        self.shift = FIRST_SHIFT if how.shift is None else how.shift
        self.current: SystemVcpu | None = None
        self.thread: threading.Thread | None = None
        self.wake = threading.Event()
        self.next = self.entered = 0
        self.done = 0  # instructions of all CPUs up to the last turn's end
        self.base_ns = self.base_count = 0  # the time when the shift was changed
        self.adjusted = (0, 0)  # host time and ours at the last look

    # -- time

    def count(self) -> int:
        """Instructions executed by all CPUs; exact in the thread of the CPUs."""
        v = self.current
        if v is None or threading.current_thread() is not self.thread:
            return self.done
        slice_ = int(v.cpu.slice)
        return self.done + v.instructions - self.entered + (slice_ - int(v.cpu.budget) if slice_ else 0)

    def now(self) -> int:
        """The time in nanoseconds."""
        return self.base_ns + (self.count() - self.base_count << self.shift)

    def skip(self, ns: int) -> None:
        self.base_ns += ns

    def deadline_changed(self) -> None:
        """There is an earlier event."""
        v = self.current
        if v is not None:
            if threading.current_thread() is self.thread:
                v._cut.value = 1
            else:
                v._kick.value = 1
        self.wake.set()

    def adjust(self) -> None:
        """`auto`: choose the shift that lets time go as the host's does."""
        host, ours = time.monotonic_ns(), self.now()
        before, then = self.adjusted
        if not before:
            self.adjusted = host, ours
        elif host - before >= ADJUST:
            shift = self.shift
            if ours - then > (host - before) * 5 // 4 and shift > 0:
                shift -= 1
            elif ours - then < (host - before) * 2 // 3 and shift < HIGHEST_SHIFT:
                shift += 1
            self.base_ns, self.base_count, self.shift = ours, self.count(), shift
            self.adjusted = host, ours

    # -- running

    def start(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self.work, name="CPUs", daemon=True)
            for v in self.engine.vcpus:
                v.thread, v.wake = self.thread, self.wake
            self.thread.start()

    def work(self) -> None:
        engine, virtual = self.engine, self.machine.time
        cond = engine.changed
        while True:
            with cond:
                if not engine.running:
                    for v in engine.vcpus:
                        v.still = True
                    cond.notify_all()
                    while not engine.running and not engine.closed:
                        cond.wait()
                    self.adjusted = (0, 0)
                if engine.closed:
                    return
                for v in engine.vcpus:
                    v.still = False
                virtual.fire()
                self.wake.clear()
            if not self.turn():
                self.idle()
            if self.how.shift is None:
                self.adjust()
            elif self.how.align:
                self.align()

    def turn(self) -> bool:
        """Every CPU that can runs for a while, until an event is due; False when none can."""
        engine, virtual = self.engine, self.machine.time
        ran = False
        for k in range(len(engine.vcpus)):
            v = engine.vcpus[(self.next + k) % len(engine.vcpus)]
            if v.held or not engine.running:
                continue
            if v._halted.value:
                if not v.awake():
                    continue
                v._halted.value = 0
                v._attention.value = 1
            ran = True
            left = TURN
            with engine.changed:
                deadline = virtual.deadline
                if deadline is not None:
                    left = min(left, max(0, deadline - virtual.now) >> self.shift)
                self.entered = v.instructions
                self.current = v
            try:
                hit = v.run_some(left)
            except RuntimeError as e:
                engine.failed(str(e))
                hit = None
            with engine.changed:
                self.done += v.instructions - self.entered
                self.current = None
                due = virtual.deadline
            if hit is not None:
                engine.hit(hit)
            if due is not None and due <= virtual.now:
                self.next = v.index + 1
                break
        return ran

    def idle(self) -> None:
        """All CPUs wait."""
        virtual = self.machine.time
        with self.engine.changed:
            if not self.engine.running:  # they do not wait: they were stopped
                return
            deadline = virtual.deadline
            left = None if deadline is None else max(0, deadline - virtual.now)
            if left is not None and not self.how.sleep:
                self.skip(left)
                return
        began = time.monotonic_ns()
        early = self.wake.wait(None if left is None else left / 1e9)
        with self.engine.changed:
            if left is not None:
                self.skip(min(left, time.monotonic_ns() - began) if early else left)
            elif self.engine.running:
                self.skip(time.monotonic_ns() - began)

    def align(self) -> None:
        """Wait for the host's clock when the guest's is ahead."""
        host, ours = time.monotonic_ns(), self.now()
        before, then = self.adjusted
        if not before:
            self.adjusted = host, ours
        elif (ahead := ours - then - (host - before)) > SLACK:
            time.sleep(ahead / 1e9)
