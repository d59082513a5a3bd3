"""A virtual CPU as the rest of the program sees it, on the compiled engine with flat memory.

engine = Engine(RV64, memory=base, limit=limit, page_flags=flags)
vcpu = engine.vcpu()
vcpu.cpu.pc = u64(entry)
exit = vcpu.run()          # in as many threads at once as there are vcpus
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinamou.native.host import FaultMap
from tinamou.native.image import allocate, allocate_most, libc, release
from tinamou.native.types import i64, u64

from . import interpreter
from .architecture import Architecture
from .cpu import EXECUTE, PAGE, Cpu, Shared
from .traceroom import TraceRoom

if TYPE_CHECKING:
    from .jit import Jit

ARENA = 16 << 30  # bytes of address space for predecoded code; not memory before it is used
QUANTUM = 20_000  # instructions between looks at Cpu.kick: some 50 us


def read_page(address: int) -> bytes:
    """A page of this process, or nothing if it has just gone away: a CPU may unmap it at any moment."""
    room = ctypes.create_string_buffer(PAGE)
    local, remote = (ctypes.c_uint64 * 2)(ctypes.addressof(room), PAGE), (ctypes.c_uint64 * 2)(address, PAGE)
    n = libc.process_vm_readv(
        os.getpid(), ctypes.byref(local), ctypes.c_ulong(1), ctypes.byref(remote), ctypes.c_ulong(1), ctypes.c_ulong(0)
    )
    return room.raw if n == PAGE else b""


@dataclass(frozen=True)
class Exit:
    """Why run() returned.  `trap`: the instruction at pc raised exception `cause` with `value`; else kick() was called."""

    trap: bool
    cause: int = 0
    value: int = 0


class Engine:
    """What the CPUs of one guest share: its memory's place, compiled handlers, predecoded code.

    `memory` is the host address of guest address 0.  The pages before it and behind `limit` must fault.  `page_flags` has a byte for each
    guest page (READ, WRITE, EXECUTE, 8: mapped).
    """

    model = "flat"
    lasting = True
    first = 12_000  # loading LLVM and the region compiler takes 0.15 s; regions save half of a sample's 7 us
    constants: dict[str, int] = {}

    def __init__(
        self,
        arch: Architecture,
        memory: int,
        limit: int,
        page_flags: int,
        extensions: frozenset[str] | None = None,
        jit: bool = False,
    ) -> None:
        self.arch, self.memory, self.limit, self.page_flags = arch, memory, limit, page_flags
        self.image = interpreter.load(arch, self.model)
        self.faults = FaultMap(self.image)
        self.decode_handler = self.image["h_decode"]
        self.jit: Jit | None = None
        self.quantum = QUANTUM
        self.run_native, self.step_native, self.forget_native = interpreter.functions(self.image)
        bits: dict[str, int] = self.image.notes["extensions"]
        self.extensions = sum(1 << k for name, k in bits.items() if extensions is None or name in extensions)
        self.shared = Shared()
        self.pagemap = self.arena = self.arena_size = 0
        self.room: TraceRoom | None = None
        self.reset()
        if jit:
            from .jit import Jit

            self.jit = Jit(self)

    def reset(self) -> None:
        """Forget all predecoded and compiled code.  No CPU may be running."""
        self.close()
        if self.jit:
            self.jit.forget_all()
        self.pagemap = allocate((self.limit >> 12) * 8)
        self.arena, self.arena_size = allocate_most(ARENA)
        self.shared.arena, self.shared.arena_end = u64(self.arena), u64(self.arena + self.arena_size)
        self.shared.arena_start = u64(self.arena)
        self.faults.clear()
        self.room = TraceRoom(self.image, self.shared, self.faults.traces)

    def close(self) -> None:
        if self.pagemap:
            release(self.pagemap, (self.limit >> 12) * 8)
            release(self.arena, self.arena_size)
            self.pagemap = self.arena = 0
        if self.room is not None:
            self.room.close()
            self.room = None

    def after_fork(self) -> None:
        """In the child of a fork."""
        if self.room is not None:
            self.room.after_fork()
        if self.jit:
            self.jit.after_fork()

    def entries(self, number: int) -> int:
        """Host address of the entries of a page, or 0 (engine.jit)."""
        return ctypes.c_uint64.from_address(self.pagemap + number * 8).value if self.pagemap else 0

    def code_page(self, number: int) -> bytes:
        """A page of guest code, or nothing if it may not be executed (engine.jit)."""
        flags = ctypes.c_uint8.from_address(self.page_flags + number).value
        return read_page(self.memory + (number << 12)) if flags & EXECUTE else b""

    def place_of(self, sample: int) -> int:
        """Slices end where a piece of code begins (engine.jit)."""
        return sample

    def compiled(self, number: int) -> None:
        """Who changes code says so."""

    def vcpu(self, cpu: Cpu | None = None) -> Vcpu:
        """A CPU on this memory, in its reset state if none is given."""
        return Vcpu(self, cpu or self.arch.cpu())

    def invalidate(self, address: int, length: int) -> None:
        """Code in this range changed, or may not be executed any more.  CPUs may be running."""
        first, last = address >> 12, (min(address + length, self.limit) + 4095) >> 12
        if first < last:
            first = max(first - 1, 0)  # an instruction may begin on the page before
            if self.jit:
                self.jit.invalidate(first, last)
            self.forget_native(self.pagemap, first, last)


class Vcpu:
    """One CPU; run() is called by one thread at a time."""

    def __init__(self, engine: Engine, cpu: Cpu) -> None:
        self.engine, self.cpu = engine, cpu
        self._run: Callable[[int], Any] = engine.run_native
        names = ("kick", "reason", "trapped", "cause", "value")
        views = [ctypes.c_uint64.from_address(cpu.address + type(cpu).fields[n].offset) for n in names]
        self._kick, self._reason, self._trapped, self._cause, self._value = views
        self._known = False  # to the JIT
        self.running = False  # perhaps in compiled code
        self.attach()

    def close(self) -> None:
        """The CPU is not used any more."""
        if self.engine.jit:
            self.engine.jit.remove(self)
            self._known = False

    def attach(self) -> None:
        """Point the CPU at the engine's memory and code (again, after Engine.reset)."""
        cpu, engine = self.cpu, self.engine
        cpu.memory, cpu.page_flags = u64(engine.memory), u64(engine.page_flags)
        cpu.limit = cpu.direct_limit = u64(engine.limit)
        cpu.pagemap, cpu.shared = u64(engine.pagemap), u64(engine.shared.address)
        cpu.extensions, cpu.quantum = u64(engine.extensions), i64(engine.quantum)

    def run(self) -> Exit:
        """Run guest code, with the interpreter lock released, until an instruction raises or somebody kicks."""
        if self._kick.value:
            self._kick.value = 0
            return Exit(False)
        if self.engine.jit and not self._known:
            self.engine.jit.add(self)
            self._known = True
        self.running = True
        self._run(self.cpu.address)
        self.running = False
        if self._reason.value == interpreter.KICK:
            self._kick.value = 0
            return Exit(False)
        if self._trapped.value == 2:
            raise MemoryError("no room for more predecoded code")
        return Exit(True, self._cause.value, self._value.value)

    def step(self, count: int = 1) -> Exit:
        """Run exactly `count` instructions, or up to one that raises."""
        cpu, run, step = self.cpu, self._run, self.engine.step_native
        end = int(cpu.instructions) + count
        while (left := end - int(cpu.instructions)) > 0:
            if left > PAGE:
                cpu.quantum = i64(left - PAGE)  # a slice overruns by less than a page
                cpu.stepping = u64(1)
                self.running = True
                run(cpu.address)
                self.running = False
                cpu.stepping = u64(0)
                cpu.quantum = i64(self.engine.quantum)
            else:
                step(cpu.address)
            if self._reason.value != interpreter.KICK:
                return Exit(True, self._cause.value, self._value.value)
        return Exit(False)

    def kick(self) -> None:
        """Make run() return soon: from any thread, and from signal handlers by writing to kick_address."""
        self._kick.value = 1

    @property
    def kick_address(self) -> int:
        """Host address of the 8-byte word that kick() sets."""
        return self.cpu.address + type(self.cpu).fields["kick"].offset

    @property
    def instructions(self) -> int:
        """Executed so far; exact while not running."""
        return int(self.cpu.instructions)


__all__ = ["Engine", "Exit", "Vcpu"]
