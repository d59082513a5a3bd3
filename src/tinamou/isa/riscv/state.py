"""State of a hart.  The RISC-V Instruction Set Manual, Volume I, 20240411, 2.1, 13.2 (reservations) and 20.1-20.2 (floating point)."""

from __future__ import annotations

import time
from typing import Annotated, ClassVar

from tinamou.engine.cpu import EXECUTE, READ, Trap
from tinamou.engine.softmmu import SystemCpu
from tinamou.native.ops import host_float_end, intrinsic
from tinamou.native.types import Array, u32, u64

from .traps import ILLEGAL_INSTRUCTION, INSTRUCTION_PAGE_FAULT, LOAD_PAGE_FAULT, STORE_PAGE_FAULT

MISA_F = 1 << 5
UNRESERVED = 0xFFFF_FFFF_FFFF_FFFF  # no LR address: those are aligned

X_NAMES = ("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
           "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()  # fmt: skip
F_NAMES = ("ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 "
           "fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11").split()  # fmt: skip


class Hart(SystemCpu):
    """One hardware thread.  RV32 keeps its registers zero-extended."""

    window: ClassVar[str] = "x"
    x: Annotated[Array[u64], 33]  # x[0] stays 0; x[32] swallows the writes to it
    misa: u64  # the extensions that this hart has, bit 0 for A
    f: Annotated[Array[u64], 32]  # FLEN is 64; narrower values are NaN-boxed
    fflags: u32  # NV DZ OF UF NX from bit 4 down
    frm: u32
    reservation: u64  # address of the last LR, or UNRESERVED
    reserved: u64  # what it read, sign-extended
    privilege: u64  # 0 user, 1 supervisor, 3 machine

    def __init__(self) -> None:
        super().__init__()
        self.reservation = u64(UNRESERVED)

    def settle_float(self) -> None:
        if self.host_float != 0:
            self.host_float = u64(0)
            self.fflags = self.fflags | host_float_end()

    @intrinsic
    def cycles(self) -> u64:
        """What the user counters cycle, time and instret show: nanoseconds of a clock that never goes back."""
        return u64(time.perf_counter_ns())

    def fault(self, access: int, address: u64) -> None:
        if access == EXECUTE:
            raise Trap(INSTRUCTION_PAGE_FAULT, address)
        if access == READ:
            raise Trap(LOAD_PAGE_FAULT, address)
        raise Trap(STORE_PAGE_FAULT, address)

    def undefined(self) -> None:
        raise Trap(ILLEGAL_INSTRUCTION)

    # -- what a hart of a whole machine does otherwise: a hart without privileged state has no others and is in user mode

    def read_privileged(self, csr: u32) -> u64:
        """A CSR that is none of the floating-point ones."""
        raise Trap(ILLEGAL_INSTRUCTION)

    def write_privileged(self, csr: u32, value: u64) -> bool:
        """Write a CSR that is none of the floating-point ones; the first write of the instruction.  True: the view of memory,
        privilege or interrupts changed."""
        raise Trap(ILLEGAL_INSTRUCTION)

    def written_back(self, csr: u32, old: u64) -> u64:
        """What a read-modify-write of a CSR that reads as `old` starts from."""
        return old

    def counter(self, csr: u32) -> u64:
        """The user-level counters cycle, time and instret, and on RV32 their upper halves."""
        return self.cycles() >> 32 if csr & 0x80 != 0 else self.cycles()

    def check_counter(self, csr: u32) -> None:
        """Raises when the counter may not be read in this mode."""

    def mret(self) -> u64:
        raise Trap(ILLEGAL_INSTRUCTION)

    def sret(self) -> u64:
        raise Trap(ILLEGAL_INSTRUCTION)

    def wait(self) -> None:
        raise Trap(ILLEGAL_INSTRUCTION)

    def fence_translations(self) -> None:
        raise Trap(ILLEGAL_INSTRUCTION)

    def fence_translation(self, address: u64) -> None:
        raise Trap(ILLEGAL_INSTRUCTION)
