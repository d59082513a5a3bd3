"""Harts of whole machines: what the engine asks of them, and the architectures that have them."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from tinamou.engine.architecture import Architecture
from tinamou.engine.cpu import EXECUTE, READ, Trap
from tinamou.engine.softmmu import SystemCpu, note_budget, now
from tinamou.native.memory import cycle_counter
from tinamou.native.types import u32, u64

from . import csr_privileged, isa, mmu, triggers
from .architecture import REFETCH, computed, length, pair_target
from .privileged import SEIP, PrivilegedHart
from .state import Hart
from .traps import INSTRUCTION_ACCESS_FAULT, LOAD_ACCESS_FAULT, STORE_ACCESS_FAULT


class SystemHart(PrivilegedHart):
    """A hart with M mode and, by its model, S and U."""

    def translate(self, access: int, address: u64) -> u64:
        return mmu.translate(self, access, address)

    def physical_fault(self, access: int, address: u64) -> None:
        if access == EXECUTE:
            raise Trap(INSTRUCTION_ACCESS_FAULT, address)
        if access == READ:
            raise Trap(LOAD_ACCESS_FAULT, address)
        raise Trap(STORE_ACCESS_FAULT, address)

    def check_span(self, access: int, address: u64, physical: u64, size: u64) -> None:
        mmu.check_span(self, access, address, physical, size)

    def triggered(self, first: u64, last: u64) -> bool:
        return triggers.may_fire(self, first, last)

    def trigger(self, access: int, address: u64, size: u64) -> None:
        triggers.fire(self, access, address, size)

    def instruction(self, pc: u64) -> u64:
        return mmu.instruction(self, pc)

    def read_privileged(self, csr: u32) -> u64:
        self.note_budget()
        return csr_privileged.read(self, csr)

    def write_privileged(self, csr: u32, value: u64) -> bool:
        self.note_budget()
        return csr_privileged.write(self, csr, value)

    def written_back(self, csr: u32, old: u64) -> u64:
        """mip's SEIP reads as set while the input is high, but that is not written back (Volume II, 3.1.9)."""
        if csr == csr_privileged.Number.MIP:
            return old & ~SEIP | self.soft & SEIP
        return old

    def check_counter(self, csr: u32) -> None:
        csr_privileged.check_counter(self, csr)

    def counter(self, csr: u32) -> u64:
        self.note_budget()
        value = self.cycles() + self.cycle_offset
        if csr & 0x1F == 1:
            value = now(self)
        elif csr & 0x1F == 2:
            value = self.retired() + self.instret_offset
        if self.xlen == 32:
            return value >> 32 if csr & 0x80 != 0 else value & 0xFFFF_FFFF
        return value


class SystemHart32(SystemHart):
    xlen: ClassVar[int] = 32


def cycles(h: PrivilegedHart) -> u64:
    """Of the host, or with -icount one an instruction."""
    if h.counted != 0:
        return h.retired()
    return cycle_counter()


def _intrinsics() -> dict[Any, Any]:
    return {Hart.cycles: cycles, SystemCpu.note_budget: note_budget}


def _architecture(xlen: int, cpu: type[SystemHart]) -> Architecture:
    sources, rows = ("isa/riscv", "softfloat"), partial(isa, xlen)
    return Architecture(
        f"riscv{xlen}", rows, cpu, 2, 2, length, sources, pair_target, computed, _intrinsics, xlen, system=True, refetch=REFETCH
    )


RV32_SYSTEM, RV64_SYSTEM = _architecture(32, SystemHart32), _architecture(64, SystemHart)
