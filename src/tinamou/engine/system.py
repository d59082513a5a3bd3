"""The compiled engine under a whole machine: one thread a CPU, memory by the soft MMU, devices by a call into the machine.

    engine = SystemEngine(RV64_SYSTEM, RiscvCpu)
    machine = find("virt").make(settings, cpu_factory=engine.factory)
    engine.start()                      # `control.vm.Vm` does it

CPU threads hold the interpreter lock only in device accesses and while they wait.  `Machine.lock` guards all that is said here.
"""

from __future__ import annotations

import ctypes
import struct
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine
from tinamou.machine.memory import BusError, Memory, MemoryListener, Ram
from tinamou.machine.props import PropertyError
from tinamou.native.image import allocate, libc, release
from tinamou.native.types import Array, i64, u64

from . import interpreter, softmmu
from .architecture import Architecture
from .counted import Icount, Turns
from .cpu import PAGE, READ, WRITE, Shared
from .machinecpu import MachineCpu, tell_failure
from .softmmu import RETIRED, TLB, TLBS, Mmu, SystemCpu
from .systemcode import SystemCode
from .traceroom import TraceRoom, regions_allowed

if TYPE_CHECKING:
    from .jit import Jit

ENTRIES = 36 * PAGE  # at least the bytes of one page's entries
ARENA_LIMIT = 1 << 38
QUANTUM = 20_000  # instructions between looks at interrupts
MOST_CPUS = 512
MANY_PAGES = 256  # from here on it is not worth while to look which of them have code
MAPS_KEPT = 64  # memory maps that a CPU may still be looking at

MmioFunction = HeardFunction = ctypes.CFUNCTYPE(*[ctypes.c_uint64] * 5)


class EngineError(RuntimeError):
    """The engine cannot go on: in words for the user."""


class Hit(NamedTuple):
    """A CPU came upon a breakpoint ("software", "hardware": before the instruction) or watchpoint ("write", "read", "access").

    Behind the access, or in front of it where the architecture's debuggers expect that (SystemVcpu.watch_before).
    """

    cpu: int
    kind: str
    address: int


class Watched(NamedTuple):
    kind: str
    address: int
    size: int


WATCH_KINDS = {"write": WRITE, "read": READ, "access": READ | WRITE}


class SystemVcpu(MachineCpu):
    """A CPU of a machine (`machine.cpu.Cpu`).  Each architecture's subclass knows its registers, lines and reset state."""

    cpu: SystemCpu
    lines: dict[str, int] = {}  # interrupt inputs by name: bit of the hart's field `lines`
    kept: tuple[str, ...] = ()  # fields that a reset leaves as they are
    frequency = 10_000_000  # of the time counter, in Hz, when no clock drives it
    watch_before = False  # debuggers expect that a watchpoint stops before the access

    def __init__(self, engine: SystemEngine, cpu: SystemCpu, model: str, index: int) -> None:
        self.engine, self.cpu, self.model, self.index = engine, cpu, model, index
        self.wake = threading.Event()
        self.still = True
        self.held = False  # stands still while others run
        self.running = False  # perhaps in compiled code
        self.thread = None
        self.clock: Any = None
        self.tlbs = allocate(TLBS * TLB)
        self._kick, self._attention, self._halted, self._bus_error, self._reason, self._lines, self._stale, self._mmu = (
            self.word(n) for n in ("kick", "attention", "halted", "bus_error", "reason", "lines", "stale", "mmu")
        )
        self._cut, self._slice, self._budget, self._counted, self._stepping = (
            self.word(n) for n in ("cut", "slice", "budget", "instructions", "stepping")
        )
        self._masked, self._report, self._watched, self._watched_at = (
            self.word(n) for n in ("masked", "report", "watched", "watched_at")
        )
        cpu.tlbs = u64(self.tlbs)
        cpu.mmio, cpu.shared, cpu.quantum = u64(engine.mmio_address), u64(engine.shared.address), i64(engine.code.quantum)
        self.flush()
        self._heard_trap, self._heard_code = HeardFunction(self._trap), HeardFunction(self._code_in_range)
        self.pins = {name: Pin(self._input(bit), name, bit, self) for name, bit in self.lines.items()}

    def flush(self) -> None:
        """Forget all translations."""
        ctypes.memset(self.tlbs, 0xFF, TLBS * TLB)

    def close(self) -> None:
        release(self.tlbs, TLBS * TLB)

    # -- what boards ask (machine.cpu.Cpu)

    def attend(self) -> None:
        """Make the CPU look at its inputs soon, also when it waits."""
        self._attention.value = self._cut.value = 1
        self.wake.set()

    def timebase(self, clock: Any) -> None:
        self.clock = clock
        clock.on_change(self.set_time)

    def reset(self, vector: int | None = None) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        """Set all fields to 0 but the engine's and those that a reset leaves as they are."""
        for name in type(self.cpu).fields:
            if name in SystemCpu.fields or name in self.kept:
                continue
            value = getattr(self.cpu, name)
            if isinstance(value, Array):
                for k in range(len(value)):
                    value[k] = type(value[0])(0)
            else:
                setattr(self.cpu, name, type(value)(0))

    def facts(self) -> dict[str, Any]:
        raise NotImplementedError

    def awake(self) -> bool:
        """There is an interrupt that ends waiting."""
        raise NotImplementedError

    def set_time(self) -> None:
        """The machine's time begins to run."""
        cpu = self.cpu
        function, offset = self.engine.clock_source()
        cpu.clock, cpu.clock_offset = u64(function), u64(offset)
        cpu.counted = u64(self.engine.turns is not None)
        cpu.clock_hz = u64(self.clock.hz if self.clock is not None else self.frequency)
        cpu.clock_ticks = u64((self.clock.skew if self.clock is not None else 0) & (1 << 64) - 1)

    # -- logging

    def logging(self) -> None:
        """Look again at which items are logged (`machine.log`)."""
        assert self.engine.machine is not None
        items = self.engine.machine.log.items
        self.cpu.log_trap = u64((ctypes.cast(self._heard_trap, ctypes.c_void_p).value or 0) if "int" in items else 0)
        self.cpu.log_code = u64((ctypes.cast(self._heard_code, ctypes.c_void_p).value or 0) if "in_asm" in items else 0)

    def _trap(self, cause: int, pc: int, value: int, cpu: int) -> int:
        """`-d int`: an exception was taken.  Gives 0."""
        raise NotImplementedError

    def _code_in_range(self, pc: int, a: int, b: int, cpu: int) -> int:
        assert self.engine.machine is not None
        return self._code(pc, a, b, cpu) if self.engine.machine.log.wants(pc) else 0

    def _code(self, pc: int, _: int, __: int, cpu: int) -> int:
        """`-d in_asm`: the code at pc was decoded.  Gives 0."""
        raise NotImplementedError

    def _log(self, item: str, text: str) -> None:
        machine = self.engine.machine
        assert machine is not None
        with machine.lock:
            machine.log.trace(item, text)

    # -- debuggers and monitors

    def translate(self, address: int) -> int | None:
        """The physical address of a virtual one, or None; changes no guest state."""
        raise NotImplementedError

    def read_virtual(self, address: int, size: int) -> bytes:
        """RAM at a virtual address of the guest.  Raises BusError when there is none."""
        physical = self.translate(address)
        if physical is None:
            raise BusError(address, size, False)
        assert self.engine.memory is not None
        return self.engine.memory.load(physical, size)

    # -- snapshots

    def save(self) -> dict[str, Any]:
        """The whole state but what belongs to the engine."""
        own = SystemCpu.fields
        out: dict[str, Any] = {"pc": int(self.cpu.pc), "halted": self._halted.value}
        for name in type(self.cpu).fields:
            if name not in own:
                value = getattr(self.cpu, name)
                out[name] = int(value) if isinstance(value, int) else [int(v) for v in value]
        return out

    def load(self, saved: dict[str, Any]) -> None:
        for name, value in saved.items():
            if isinstance(value, list):
                array = getattr(self.cpu, name)
                for k, v in enumerate(value):
                    array[k] = type(array[0])(v)
            else:
                setattr(self.cpu, name, type(getattr(self.cpu, name))(value))
        self.loaded()
        self.flush()
        self._attention.value = 1

    def loaded(self) -> None:
        """`load` has set the fields."""

    # -- running

    def run(self) -> Hit | None:
        """Run guest code until somebody kicks, the CPU waits for an interrupt, or there is a breakpoint or watchpoint."""
        self.running = True
        self.engine.run_native(self.cpu.address)
        self.running = False
        self._kick.value = 0
        match self._reason.value:
            case interpreter.KICK:
                return None
            case softmmu.BREAK:
                return Hit(self.index, self.engine.breaks.get(self.pc, "software"), self.pc)
            case softmmu.WATCH:
                return self.watch_hit() if self.watch_before else self.step()
        raise EngineError("no room for more predecoded code")

    def run_some(self, instructions: int) -> Hit | None:
        """Run about so many instructions: to the first taken jump behind them."""
        self.cpu.quantum = i64(max(1, instructions))
        self._stepping.value = 1
        hit = self.run()
        self._stepping.value = self._budget.value = 0
        return hit

    def step(self, interrupts: bool = True) -> Hit | None:
        """One instruction, or the entry into one exception's or interrupt's handler.  A CPU that waits goes on."""
        self._halted.value = 0
        self._masked.value, self._report.value, self._watched.value = not interrupts, 1, 0
        self.engine.step_native(self.cpu.address)
        self._masked.value = self._report.value = self._kick.value = 0
        if self._reason.value != interpreter.KICK:
            raise EngineError("no room for more predecoded code")
        return self.watch_hit() if self._watched.value else None

    def watch_hit(self) -> Hit:
        watch = self.engine.watches[self._watched.value - 1]
        return Hit(self.index, watch.kind, max(watch.address, self._watched_at.value))

    def stop(self) -> None:
        """Make `run` return soon."""
        self._kick.value = 1
        self.wake.set()

    def work(self) -> None:
        """The CPU's thread."""
        engine = self.engine
        cond = engine.changed
        while True:
            with cond:
                if not engine.running or self.held:
                    self.still = True
                    cond.notify_all()
                    while (not engine.running or self.held) and not engine.closed:
                        cond.wait()
                if engine.closed:
                    self.still = True
                    cond.notify_all()
                    return
                self.still = False
            if self._halted.value:
                self.wake.clear()
                if not self.awake():
                    if engine.running:
                        self.wake.wait()
                    continue
                self._halted.value = 0
                self._attention.value = 1
            try:
                hit = self.run()
            except EngineError as e:
                engine.failed(str(e))
                return
            if hit is not None:
                engine.hit(hit)


class SystemEngine(MemoryListener):
    """What executes the CPUs of one machine (`machine.cpu.Runner`).

    With `icount` the machine's time is the number of instructions executed (see engine.counted), and the CPUs take turns in one thread.
    `jit`: off, traces, on or eager (engine.traceroom, engine.jit); "" leaves it to the environment.
    """

    name = "tcg"

    def __init__(
        self,
        arch: Architecture,
        cpu: Callable[[SystemEngine, str, int, dict[str, Any]], SystemVcpu],
        icount: Icount | None = None,
        jit: str = "",
    ) -> None:
        self.arch, self.make_cpu, self.icount = arch, cpu, icount
        self.turns: Turns | None = None
        self.image = interpreter.load(arch, "softmmu")
        self.run_native, self.step_native, self.forget_native = interpreter.functions(self.image)
        self.bits: dict[str, int] = self.image.notes["extensions"]
        self.machine: Machine | None = None
        self.memory: Memory | None = None
        self.vcpus: list[SystemVcpu] = []
        self.by_address: dict[int, SystemVcpu] = {}
        self.shared = Shared()
        self.states = (ctypes.c_uint64 * MOST_CPUS)()
        self.shared.states = u64(ctypes.addressof(self.states))
        self.room = TraceRoom(self.image, self.shared, jit=jit)
        self.code = SystemCode(self, QUANTUM)
        self.jit: Jit | None = None
        # Where time is counted in instructions, it must not depend on what is compiled when.
        if icount is None and arch.bits == 64 and regions_allowed(jit):
            from .jit import Jit

            self.jit = Jit(self.code, jit)
        self.arena = self.arena_size = 0
        self.pagemaps: dict[int, tuple[int, Ram]] = {}
        self.maps: list[Mmu] = []
        self.breaks: dict[int, str] = {}  # virtual address -> kind
        self.watches: list[Watched] = []
        self.guard = 0
        self.unsaid: list[Hit] = []  # watchpoints that were hit while something else was told
        self.stepping = False
        self.stopped_by: Callable[[int, str, int], object] = lambda cpu, kind, address: None
        self.running = self.closed = False
        self.changed = threading.Condition(threading.RLock())
        self._mmio = MmioFunction(self.access)
        self._clock = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)(self._tell_time)
        self.mmio_address = ctypes.cast(self._mmio, ctypes.c_void_p).value or 0
        self.host_clock = ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value or 0

    # -- building

    def factory(self, machine: Machine, model: str, index: int, properties: dict[str, Any]) -> Any:
        """`machine.cpu.CpuFactory`.  Raises PropertyError."""
        if self.machine is None:
            self.machine, self.memory = machine, machine.memory
            self.changed = threading.Condition(machine.lock)
            machine.memory.listen(self)
            if self.icount is not None:
                self.turns = Turns(self, machine, self.icount)
        vcpu = self.make_cpu(self, model, index, properties)
        self.states[len(self.vcpus)] = vcpu.cpu.address
        self.vcpus.append(vcpu)
        self.shared.cpus = u64(len(self.vcpus))
        self.by_address[vcpu.cpu.address] = vcpu
        self.map_changed(machine.memory)
        return vcpu

    def extensions(self, names: frozenset[str]) -> int:
        """Cpu.extensions for a CPU that has these."""
        return sum(1 << k for name, k in self.bits.items() if name in names)

    # -- the memory map (MemoryListener)

    def map_changed(self, memory: Memory) -> None:
        mmu = Mmu()
        ranges = [r for r in memory.ram_regions() if not (r.base ^ r.offset) & (PAGE - 1)]
        if len(ranges) > len(mmu.regions):
            raise PropertyError(f"the machine has {len(ranges)} pieces of memory, more than {len(mmu.regions)}")
        for n, r in enumerate(sorted(ranges, key=lambda r: -r.size)):
            region = mmu.regions[n]
            region.base, region.length, region.host = u64(r.base), u64(r.size), u64(r.address)
            region.readonly = u64(not r.writable)
            region.pagemap = u64(self.pagemap(r.ram) + (r.offset >> 12 << 3))
        mmu.count = u64(len(ranges))
        for n, v in enumerate(self.vcpus):
            mmu.tlbs[n] = u64(v.tlbs)
        mmu.cpus = u64(len(self.vcpus))
        mmu.guard, mmu.breaks = u64(self.guards()), u64(len(self.breaks))
        for n, address in enumerate(self.breaks):
            mmu.break_at[n] = u64(address)
        mmu.watches = u64(len(self.watches))
        for n, w in enumerate(self.watches):
            watch = mmu.watch[n]
            watch.first, watch.last, watch.access = u64(w.address), u64(w.address + w.size - 1), u64(WATCH_KINDS[w.kind])
        self.maps = [*self.maps[-MAPS_KEPT:], mmu]
        for v in self.vcpus:
            v._mmu.value = mmu.address
            v.flush()
            v._stale.value = 1
            v.attend()

    def pagemap(self, ram: Ram) -> int:
        """The pagemap of a piece of RAM; made at its first appearance."""
        found = self.pagemaps.get(id(ram))
        if found is None:
            found = self.pagemaps[id(ram)] = allocate(((ram.size >> 12) + 2) * 8), ram
            self.make_arena()
        return found[0]

    def make_arena(self) -> None:
        """Address space for the entries of all pages; none of it is memory before it is used."""
        need = min(sum((ram.size >> 12) + 2 for _, ram in self.pagemaps.values()) * ENTRIES, ARENA_LIMIT)
        if self.arena_size >= need:
            return
        if self.arena and int(self.shared.arena) != self.arena:
            return  # it has entries: what is left must do
        if self.arena:
            release(self.arena, self.arena_size)
        self.arena, self.arena_size = allocate(need), need
        self.shared.arena = self.shared.arena_start = u64(self.arena)
        self.shared.arena_end = u64(self.arena + need)

    def ram_written(self, ram: Ram, offset: int, size: int) -> None:
        found = self.pagemaps.get(id(ram))
        if found is None or size <= 0:
            return
        first, last = offset >> 12, (offset + size - 1 >> 12) + 1
        if last - first > MANY_PAGES:
            self.forget_native(found[0], first, last)
            return
        words = (ctypes.c_uint64 * (last - first)).from_address(found[0] + first * 8)
        for n, entries in enumerate(words):
            if entries and not entries & RETIRED:
                self.forget_native(found[0], first + n, first + n + 1)

    # -- devices

    def access(self, address: int, kind: int, value: int, cpu: int) -> int:
        """A load or store of a CPU that is not RAM."""
        size = kind & 0xFF
        assert self.memory is not None
        try:
            if kind & 0x100:
                self.memory.write(address, value & (1 << size * 8) - 1, size)
                return 0
            return self.memory.read(address, size)
        except BusError:
            self.by_address[cpu]._bus_error.value = 1
        except Exception:
            traceback.print_exc()
            self.failed(f"a device failed at {address:#x}")
        return 0

    def failed(self, reason: str) -> None:
        """Something that must not happen: the machine ends."""
        tell_failure(self.machine, reason)

    # -- time

    def _tell_time(self, _which: int, at: int) -> int:
        """In place of clock_gettime: the machine's time does not follow the host's."""
        now = self.machine.time.now if self.machine else 0
        ctypes.c_uint64.from_address(at).value = now // 1_000_000_000
        ctypes.c_uint64.from_address(at + 8).value = now % 1_000_000_000
        return 0

    def clock_source(self) -> tuple[int, int]:
        """Host function that reads a clock, and what to add for the machine's time, in nanoseconds."""
        assert self.machine is not None
        virtual = self.machine.time
        if virtual._running and virtual._source is time.monotonic_ns:
            return self.host_clock, virtual._base - virtual._origin
        return ctypes.cast(self._clock, ctypes.c_void_p).value or 0, 0

    # -- running (machine.cpu.Runner)

    def start(self, only: Sequence[int] | None = None) -> None:
        """Let the CPUs run, or only those of these indices."""
        with self.changed:
            if self.running:
                return
            if self.unsaid and not self.stepping:
                self.stopped_by(*self.unsaid.pop(0))
                return
            self.running = True
            for v in self.vcpus:
                v.held = only is not None and v.index not in only
                v.set_time()
                v.logging()
                if self.jit is not None:
                    self.jit.add(v)
                if v.thread is None and self.turns is None:
                    v.thread = threading.Thread(target=v.work, name=f"CPU {v.index}", daemon=True)
                    v.thread.start()
            if self.turns is not None:
                self.turns.start()
            self.changed.notify_all()

    def stop(self) -> None:
        """Returns when all CPUs stand still, if it is no CPU that calls."""
        with self.changed:
            self.running = False
            for v in self.vcpus:
                v.stop()
            current = threading.current_thread()
            if any(v.thread is current for v in self.vcpus):
                return
            while any(v.thread is not None and not v.still and v.thread.is_alive() for v in self.vcpus):
                self.changed.wait(1.0)

    def step(self, index: int, flags: int, others: Sequence[int] = ()) -> Hit | None:
        """One instruction of a CPU that stands still.  Flags: 2 no interrupts, 4 time does not pass.  `others` run meanwhile."""
        v = self.vcpus[index]
        v.set_time()
        beside = [n for n in others if n != index]
        if not beside:
            return v.step(interrupts=not flags & 2)
        self.stepping = True
        self.start(beside)
        try:
            hit = v.step(interrupts=not flags & 2)
        finally:
            self.stop()
            self.stepping = False
        return hit or (self.unsaid.pop(0) if self.unsaid else None)

    def hit(self, hit: Hit) -> None:
        """A CPU stopped by itself: so do all."""
        with self.changed:
            if self.running and not self.stepping:
                self.stopped_by(*hit)
            elif self.stepping or hit.kind in WATCH_KINDS:  # breakpoints are hit again
                self.unsaid.append(hit)
            self.running = False
            for v in self.vcpus:
                v.stop()

    def set_break(self, kind: str, address: int, size: int) -> None:
        """A breakpoint or watchpoint at a virtual address, of all CPUs; they stand still.  EngineError when there are too many."""
        address &= (1 << 64) - 1
        if kind in WATCH_KINDS:
            if len(self.watches) >= softmmu.WATCHES:
                raise EngineError(f"there are {softmmu.WATCHES} watchpoints already")
            self.watches.append(Watched(kind, address, max(size, 1)))
        else:
            if len(self.breaks) >= softmmu.BREAKS:
                raise EngineError(f"there are {softmmu.BREAKS} breakpoints already")
            self.breaks[address] = kind
        self.new_map()

    def clear_break(self, kind: str, address: int, size: int) -> None:
        address &= (1 << 64) - 1
        if kind in WATCH_KINDS:
            if (given := Watched(kind, address, max(size, 1))) in self.watches:
                self.watches.remove(given)
        else:
            self.breaks.pop(address, None)
        self.new_map()

    def new_map(self) -> None:
        if self.memory is not None:
            self.map_changed(self.memory)

    def guards(self) -> int:
        """A page of entries that are all h_guard."""
        if not self.guard:
            self.guard = allocate(ENTRIES)
            entry = struct.pack("<QQ", self.image["h_guard"], 0)
            ctypes.memmove(self.guard, entry * (ENTRIES // len(entry)), ENTRIES)
        return self.guard

    def describe(self) -> str:
        """The text of `info jit`: exact while the CPUs stand still."""
        s = self.shared
        used, room = self.room.space()
        traces, traced = int(s.traces), int(s.traced)
        return (
            "Translation buffer state:\n"
            f"gen code size       {used}/{room}\n"
            f"trace count         {traces}\n"
            f"trace avg length    {traced / (traces or 1):.1f} instructions\n"
            f"trace avg host size {used // (traces or 1)} bytes\n"
            f"decoded code size   {int(s.arena - s.arena_start)}/{self.arena_size}\n"
            f"{self.jit.describe() if self.jit is not None else ''}"
            f"\nStatistics:\ndecoded flush count {int(s.fences)}\n"
        )

    def close(self) -> None:
        """Stop for good and give the memory back."""
        if self.closed:
            return
        self.stop()
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for v in self.vcpus:
            if v.thread is not None:
                v.thread.join()
        if self.memory is not None:
            self.memory.unlisten(self)
        if self.jit is not None:
            self.jit.close()
        for v in self.vcpus:
            v.close()
        self.room.close()
        for address, ram in self.pagemaps.values():
            release(address, ((ram.size >> 12) + 2) * 8)
        if self.arena:
            release(self.arena, self.arena_size)
        if self.guard:
            release(self.guard, ENTRIES)
        self.pagemaps.clear()
        self.arena = self.guard = 0

