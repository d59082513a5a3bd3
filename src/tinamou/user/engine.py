"""Virtual CPUs for guest threads: compiled, or the golden model (`Options.engine`)."""

from __future__ import annotations

import ctypes
import warnings
from typing import TYPE_CHECKING, Any

from .errors import GuestFault
from .memory import EXEC

if TYPE_CHECKING:
    from tinamou.engine.architecture import Architecture
    from tinamou.engine.cpu import Cpu

    from .memory import AddressSpace
    from .process import Process

__all__ = ["Exit", "GoldenEngine", "GoldenVcpu", "Watched", "new_vcpu"]

QUANTUM = 1000  # instructions of the golden model between looks at kick


def new_vcpu(process: Process, arch: Architecture, cpu: Cpu, extensions: frozenset[str]) -> Any:
    """A virtual CPU with that state on the process's memory, with everything around it that the options ask for."""
    vcpu = _plain_vcpu(process, arch, cpu, extensions)
    if process.wraps:
        return process.wraps(process, arch, vcpu)
    return vcpu


def _plain_vcpu(process: Process, arch: Architecture, cpu: Cpu, extensions: frozenset[str]) -> Any:
    if process.options.engine == "golden":
        if process.engine is None:
            process.engine = GoldenEngine()
        return GoldenVcpu(process.engine, arch, cpu, extensions, process.memory, process.abi.bits)
    if process.engine is None:
        from tinamou.engine.traceroom import regions_allowed
        from tinamou.engine.vcpu import Engine
        from tinamou.native import host

        host.prepare()
        memory = process.memory
        process.engine = Engine(arch, memory.base, memory.limit, memory.flags, extensions, jit=regions_allowed())
        if process.options.perf_map or "jit" in process.options.log_items:
            from .perf import watch

            watch(process)
        if process.engine.jit:
            # Python warns of signals 32 and 33 in masks, which libc keeps to itself and guests block like any other.
            warnings.filterwarnings("ignore", "invalid signal number")
        process.open_code_cache()
    return process.engine.vcpu(cpu)


class _Memory:
    """Guest memory as the golden model asks for it."""

    def __init__(self, space: AddressSpace) -> None:
        from tinamou.engine.cpu import EXECUTE, READ, WRITE
        from tinamou.engine.golden import Fault

        self.space, self.fault = space, Fault
        self.read_access, self.write_access, self.execute_access = READ, WRITE, EXECUTE

    def fetch(self, address: int, size: int) -> bytes:
        region = self.space.find(address)
        if region is None or not region.prot & EXEC:
            raise self.fault(self.execute_access, address)
        return self._read(address, size, self.execute_access)

    def read(self, address: int, size: int) -> bytes:
        return self._read(address, size, self.read_access)

    def _read(self, address: int, size: int, access: int) -> bytes:
        try:
            return self.space.read(address, size)
        except GuestFault as fault:
            raise self.fault(access, fault.address) from None

    def write(self, address: int, data: bytes) -> None:
        try:
            self.space.write(address, data)
        except GuestFault as fault:
            raise self.fault(self.write_access, fault.address) from None


class Exit:
    """Why run() returned, as engine.vcpu.Exit says it."""

    def __init__(self, trap: bool, cause: int = 0, value: int = 0) -> None:
        self.trap, self.cause, self.value = trap, cause, value


class GoldenEngine:
    """What the compiled engine has of interest to others: no native code, no faults in it, no regions."""

    jit = None

    def __init__(self) -> None:
        from tinamou.native.host import FaultMap

        self.faults = FaultMap()

    def after_fork(self) -> None:
        """Nothing is shared with the parent."""

    def invalidate(self, address: int, length: int) -> None:
        """The golden model decodes what is in memory, each time."""


class GoldenVcpu:
    """A virtual CPU on the golden model: some 10,000 instructions a second."""

    def __init__(
        self, engine: GoldenEngine, arch: Architecture, cpu: Cpu, extensions: frozenset[str], space: AddressSpace, bits: int
    ) -> None:
        from tinamou.engine.golden import Golden
        from tinamou.native.types import u64

        self.engine, self.cpu = engine, cpu
        cpu.limit, cpu.page_flags = u64(space.limit), u64(space.flags)  # instructions may look at what pages are
        self._golden = Golden(arch.isa, cpu, _Memory(space), enabled=extensions, address_bits=bits)
        self._kick = ctypes.c_uint64(0)
        self.kick_address = ctypes.addressof(self._kick)

    def run(self) -> Exit:
        from tinamou.engine.cpu import Trap

        try:
            for _ in range(QUANTUM):
                if self._kick.value:
                    break
                self._golden.step(1)
        except Trap as trap:
            return Exit(True, trap.cause, trap.value)
        self._kick.value = 0
        return Exit(False)

    def step(self, count: int = 1) -> Exit:
        """Run exactly `count` instructions, or up to one that raises; a kick waits."""
        from tinamou.engine.cpu import Trap

        try:
            self._golden.step(count)
        except Trap as trap:
            return Exit(True, trap.cause, trap.value)
        return Exit(False)

    @property
    def instructions(self) -> int:
        """Executed so far."""
        return self._golden.executed

    def kick(self) -> None:
        self._kick.value = 1

    def close(self) -> None:
        """The CPU is not used any more."""


class Watched:
    """The interface of a virtual CPU, round one that does the work: subclasses define run()."""

    def __init__(self, vcpu: Any) -> None:
        self.vcpu, self.cpu, self.engine = vcpu, vcpu.cpu, vcpu.engine
        self.kick_address = vcpu.kick_address
        self._kick = ctypes.c_uint64.from_address(self.kick_address)

    def attach(self) -> None:
        self.vcpu.attach()

    def kick(self) -> None:
        self.vcpu.kick()

    def step(self, count: int = 1) -> Any:
        return self.vcpu.step(count)

    def close(self) -> None:
        self.vcpu.close()
