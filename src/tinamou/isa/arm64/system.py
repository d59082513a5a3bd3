"""Cores of whole machines: what the engine asks of them, and the architecture that has them."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from tinamou.engine.architecture import Architecture
from tinamou.engine.cpu import EXECUTE, READ, WRITE
from tinamou.engine.softmmu import READS, TLB, WRITES, SystemCpu, load_outlined, note_budget, now, pair, store_outlined
from tinamou.native.memory import cycle_counter, peek, poke
from tinamou.native.ops import outlined
from tinamou.native.types import Word, u32, u64

from . import csr_privileged, mmu, system_isa
from .architecture import REFETCH, computed, length, random
from .privileged import EL20, TLB_EL0, TLB_GUARDED, TLB_HOST_EL0, A, M, PrivilegedCore
from .state import Core

W = TypeVar("W", bound=Word)
FLOAT = "fp simd fp16 rdm dotprod fhm fcma jscvt frintts aes pmull sha1 sha2 sha3 sha512 sm3 sm4".split()  # use V registers


class SystemCore(PrivilegedCore):
    """A core with EL1 and, by its model, EL2 and EL3."""

    anywhere: ClassVar[bool] = False

    def bears_misaligned(self) -> bool:
        """Unless SCTLR_ELx.A is set, and with translation: without, memory is Device."""
        return self.sctlr[self.controller() & 3] & (M | A) == M

    def remembered(self) -> bool:
        """Device memory that is RAM would forbid them."""
        return self.attributes >> 4 != 0 or self.sctlr[self.controller() & 3] & M == 0

    def translate(self, access: int, address: u64) -> u64:
        return mmu.translate(self, u64(access), address)

    def translate_update(self, address: u64) -> u64:
        mmu.translate(self, u64(READ), address)
        return mmu.translate(self, u64(WRITE), address)

    def physical_fault(self, access: int, address: u64) -> None:
        mmu.physical_fault(self, u64(access), address)

    def misaligned(self, access: int, address: u64) -> None:
        mmu.misaligned(self, u64(access), address)

    def fault(self, access: int, address: u64) -> None:
        mmu.physical_fault(self, u64(access), address)

    def stack_misaligned(self, sp: u64) -> bool:
        return sp & self.stack_mask != 0

    def instruction(self, pc: u64) -> u64:
        return mmu.instruction(self, pc)

    def is_guarded(self, address: u64) -> bool:
        return guarded(self, address)

    # -- registers

    def identification(self, number: u32) -> u64:
        return csr_privileged.identification(self, number)

    def read_register(self, number: u32) -> u64:
        self.note_budget()
        return csr_privileged.read(self, number)

    def write_register(self, number: u32, value: u64) -> bool:
        self.note_budget()
        return csr_privileged.write(self, number, value)

    def write_state(self, field: u32, value: u32) -> bool:
        return csr_privileged.write_state(self, field, value)

    def operate(self, number: u32, value: u64) -> bool:
        return csr_privileged.operate(self, number, value)

    # -- time

    def physical_count(self) -> u64:
        self.note_budget()
        return now(self)

    def virtual_count(self) -> u64:
        self.note_budget()
        return now(self) - self.virtual_offset()

    def virtual_offset(self) -> u64:
        return u64(0) if self.host() else self.cntvoff

    def timer_count(self, timer: u64) -> u64:
        """What a timer compares with: CNTV counts from CNTVOFF_EL2."""
        return now(self) - self.cntvoff if timer == 1 else now(self)

    def timer_expired(self, timer: u64) -> bool:
        return self.timer_count(timer) >= self.timer_compare[timer & 7]

    def cycle_count(self) -> u64:
        return self.retired() if self.counted != 0 else cycle_counter()

    # -- LDTR and STTR

    def load_unprivileged(self, kind: type[W], address: u64) -> W:
        if self.el == 0 or self.uao != 0 or not self.below():
            return self.load(kind, address)
        self.note_budget()
        return load_as_el0(self, kind, address)

    def store_unprivileged(self, kind: type[W], address: u64, value: W) -> None:
        if self.el == 0 or self.uao != 0 or not self.below():
            self.store(kind, address, value)
            return
        self.note_budget()
        store_as_el0(self, kind, address, value)

    def below(self) -> bool:
        """There is an EL0 in this level's regime: at EL1, and at EL2 of a host."""
        return self.el == 1 or (self.el == 2 and self.host())


@outlined
def guarded(h: PrivilegedCore, address: u64) -> bool:
    """GP of the page's descriptor.  What was found is remembered where a TLB is that no level uses."""
    at = pair(h.tlbs + TLB_GUARDED * TLB, address)
    tag = address & -4096 | h.translated_by
    if peek(u64, at) == tag:
        return peek(u64, at + 8) != 0
    kind = u64(EXECUTE | mmu.FOR_EL0) if h.el == 0 else u64(EXECUTE)
    h.guarded_page = u64(0)
    _, fault = mmu.walk(h, h.translated_by, kind, address)
    if fault != 0:
        return False
    poke(u64, at + 8, h.guarded_page)
    poke(u64, at, tag)
    return h.guarded_page != 0


# The TLB and the rights of EL0, at a higher level.  An exception sets both right again: `regime`.


def el0_table(h: PrivilegedCore) -> u64:
    return h.tlbs + (u64(TLB_HOST_EL0 * TLB) if h.translated_by == EL20 else u64(TLB_EL0 * TLB))


@outlined
def load_as_el0(h: PrivilegedCore, kind: type[W], address: u64) -> W:
    table = el0_table(h)
    at = pair(table, address)
    if peek(u64, at + READS) == address & (-4096 | (kind.size - 1)):
        return peek(kind, address + peek(u64, at + (READS + 8)))
    own = h.memory
    h.memory, h.unprivileged = table, u64(1)  # restarts: an exception sets them
    value = load_outlined(h, kind, address)
    h.memory, h.unprivileged = own, u64(0)
    return value


@outlined
def store_as_el0(h: PrivilegedCore, kind: type[W], address: u64, value: W) -> None:
    table = el0_table(h)
    at = pair(table, address)
    if peek(u64, at + WRITES) == address & (-4096 | (kind.size - 1)):
        poke(kind, address + peek(u64, at + (WRITES + 8)), value)
        return
    own = h.memory
    h.memory, h.unprivileged = table, u64(1)  # restarts: an exception sets them
    store_outlined(h, kind, address, value)
    h.memory, h.unprivileged = own, u64(0)


def _intrinsics() -> dict[Any, Any]:
    from . import compiled  # noqa: F401  (it registers them)

    return {Core.random: random, SystemCpu.note_budget: note_budget}


_SOURCES = ("isa/arm64", "softfloat")
A64_SYSTEM = Architecture(
    "aarch64", system_isa, SystemCore, 4, 4, length, _SOURCES, computed=computed, intrinsics=_intrinsics, system=True, refetch=REFETCH
)
