"""What runs the AVR CPU of a machine.

engine = AvrEngine()
machine = find("arduino-uno").make(settings, cpu_factory=engine.factory)
engine.run_cycles(16_000_000)       # a second, in the thread that calls
engine.start()                      # or in a thread of its own; `control.vm.Vm` does it
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tinamou.engine import harvard
from tinamou.engine.cpu import PAGE, READ, WRITE
from tinamou.engine.harvard import NEVER
from tinamou.engine.machinecpu import tell_failure
from tinamou.machine.machine import Machine
from tinamou.machine.memory import Memory, MemoryListener, Ram
from tinamou.machine.props import PropertyError, nearest
from tinamou.native.types import u64

from .models import MODELS, find
from .state import DATA
from .vcpu import NO_ADDRESS, AvrError, AvrVcpu

WATCHES = {"read": READ, "write": WRITE, "access": READ | WRITE}


class AvrEngine(MemoryListener):
    """What executes the CPU of one machine (`machine.cpu.Runner`).

    `realtime`: virtual time does not run ahead of the host's.  `jit`: off, traces, on or eager (engine.traceroom).
    """

    name = "tcg"
    keeps_time = True  # the machine's time is stepped, by the CPU

    def __init__(self, realtime: bool = False, jit: str = "") -> None:
        self.realtime, self.jit = realtime, jit
        self.breaks: list[tuple[str, int]] = []  # kind, code address
        self.watches: list[tuple[str, int, int]] = []  # kind, address, bytes
        self.machine: Machine | None = None
        self.cpu: AvrVcpu | None = None
        self.thread: threading.Thread | None = None
        self.wake = threading.Event()
        self.running = self.closed = False
        self.still = True
        self.changed = threading.Condition(threading.RLock())
        self.stopped_by: Callable[..., object] | None = None
        self._began = (0, 0)

    def factory(self, machine: Machine, model: str, index: int, properties: dict[str, Any]) -> Any:
        """`machine.cpu.CpuFactory`.  Raises PropertyError."""
        try:
            part = find(model)
        except KeyError:
            raise PropertyError(f"unable to find CPU model '{model}'", nearest(model, MODELS, "nearest: ")) from None
        soldered = MODELS.get(machine.board.cpu) if machine.board is not None else None
        if soldered is not None:
            if part.name not in (soldered.name, soldered.family):
                raise PropertyError(f"machine '{machine.name}' has an {soldered.name} ({soldered.family}), not an {part.name}")
            part = soldered
        if self.cpu is not None:
            raise PropertyError("an AVR machine has one CPU")
        self.machine, self.changed = machine, threading.Condition(machine.lock)
        self.cpu = AvrVcpu(self, machine, part, index)
        machine.memory.listen(self)
        return self.cpu

    # -- MemoryListener

    def map_changed(self, memory: Memory) -> None:
        if self.cpu is not None:
            self.cpu.follow(memory)

    def ram_written(self, ram: Ram, offset: int, size: int) -> None:
        if self.cpu is not None and ram is self.cpu.flash and size > 0:
            self.cpu.forget(max(offset - 2, 0) // PAGE, (offset + size - 1) // PAGE + 1)

    # -- running

    def pace(self, now: int) -> None:
        """Wait for the host's clock when virtual time (in nanoseconds) has run ahead."""
        if self.realtime and self.running:
            host, virtual = self._began
            ahead = (now - virtual) - (time.monotonic_ns() - host)
            if ahead < -50_000_000:  # nothing happened for a while
                self._began = time.monotonic_ns(), now
            elif ahead > 1_000_000:
                lock = self.machine.lock if self.machine is not None else self.changed
                lock.release()
                time.sleep(min(ahead / 1e9, 0.1))
                lock.acquire()

    def run_cycles(self, cycles: int) -> int:
        """Run until so many cycles have passed, asleep or not, in this thread; gives them: an instruction is not cut in two."""
        v = self.cpu
        assert v is not None
        start = int(v._cycles.value)
        v._until = start + cycles
        try:
            v.prepare()
            while int(v._cycles.value) < v._until:
                v.cpu.passed = u64(1)  # breakpoints are for those who start() the machine
                v.run()
        finally:
            v._until = NEVER
        return int(v._cycles.value) - start

    def start(self, only: Sequence[int] | None = None) -> None:
        with self.changed:
            if self.running or self.cpu is None or self.machine is None:
                return
            self.running = True
            self.cpu.prepare()
            self.cpu.cpu.passed = u64(1)
            self._began = time.monotonic_ns(), self.machine.time.now
            if self.thread is None:
                self.thread = threading.Thread(target=self.work, name="CPU 0", daemon=True)
                self.thread.start()
            self.changed.notify_all()

    def work(self) -> None:
        """The CPU's thread."""
        v = self.cpu
        assert v is not None
        while True:
            with self.changed:
                if not self.running:
                    self.still = True
                    self.changed.notify_all()
                    while not self.running and not self.closed:
                        self.changed.wait()
                if self.closed:
                    self.still = True
                    self.changed.notify_all()
                    return
                self.still = False
            self.wake.clear()
            try:
                v.run()
            except AvrError as e:
                self.failed(str(e))
                return
            if v._deadline.value >= NEVER and v.halted and not v._attention.value and self.running:
                if v.cpu.is_deaf() and not v.holds:
                    v.machine.log.guest_error("the CPU sleeps with interrupts disabled: only a reset wakes it")
                self.wake.wait()

    def stop(self) -> None:
        """Returns when the CPU stands still, if it is not the CPU that calls."""
        with self.changed:
            self.running = False
            if self.cpu is not None:
                self.cpu._kick.value = 1
                self.cpu._attention.value = 1
            self.wake.set()
            if self.thread is threading.current_thread():
                return
            while self.thread is not None and not self.still and self.thread.is_alive():
                self.changed.wait(1.0)

    def step(self, index: int, flags: int, others: Sequence[int] = ()) -> tuple[int, str, int] | None:
        """One instruction."""
        assert self.cpu is not None
        self.cpu.prepare()
        found: list[tuple[int, str, int]] = []
        tell, self.stopped_by = self.stopped_by, lambda *hit: found.append(hit)
        try:
            self.cpu.step()
        finally:
            self.stopped_by = tell
        return found[0] if found else None

    def set_break(self, kind: str, address: int, size: int) -> None:
        """A breakpoint at a code address, or a watchpoint at one of DATA and up.  RuntimeError when it cannot be had."""
        if kind in WATCHES:
            if address < DATA:
                raise AvrError("only the data space, from 0x800000 on, is watched")
            if len(self.watches) == harvard.BREAKS:
                raise AvrError(f"no more than {harvard.BREAKS} watchpoints")
            self.watches.append((kind, address, size))
            self._tell_watches()
            return
        if len(self.breaks) == harvard.BREAKS and address not in {a for _, a in self.breaks}:
            raise AvrError(f"no more than {harvard.BREAKS} breakpoints")
        self.breaks.append((kind, address))
        self._tell_breaks()

    def clear_break(self, kind: str, address: int, size: int) -> None:
        if kind in WATCHES:
            self.watches.remove((kind, address, size))
            self._tell_watches()
            return
        self.breaks.remove((kind, address))
        self._tell_breaks()

    def _tell_watches(self) -> None:
        assert self.cpu is not None
        cpu = self.cpu.cpu
        for n, (kind, address, size) in enumerate(self.watches):
            cpu.watch_at[n], cpu.watch_size[n], cpu.watch_kind[n] = u64(address - DATA), u64(size), u64(WATCHES[kind])
        cpu.watches = u64(len(self.watches))
        cpu.fast_start = u64(NO_ADDRESS if self.watches else self.cpu.part.ram)

    def _tell_breaks(self) -> None:
        assert self.cpu is not None
        cpu = self.cpu.cpu
        places = sorted({a for _, a in self.breaks})
        for n, address in enumerate(places):
            cpu.break_at[n] = u64(address)
        cpu.breaks = u64(len(places))
        self.cpu.attend()

    def at_watch(self, number: int) -> None:
        """The instruction before the one at pc made an access that is watched."""
        kind, address, _ = self.watches[number]
        with self.changed:
            self.running = False
        if self.stopped_by is not None:
            self.stopped_by(0, kind, address)

    def at_break(self, pc: int) -> None:
        """The CPU stopped before the instruction at pc."""
        kind = next((k for k, a in self.breaks if a == pc), "")
        with self.changed:
            self.running = False
        if self.stopped_by is not None:
            self.stopped_by(0, kind, pc)

    def failed(self, reason: str) -> None:
        """Something that must not happen: the machine ends."""
        tell_failure(self.machine, reason)

    def close(self) -> None:
        """Stop for good and give the memory back."""
        if self.closed:
            return
        self.stop()
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join()
        if self.cpu is not None and self.machine is not None:
            self.machine.memory.unlisten(self)
            self.cpu.close()
