"""State of a processing element in AArch64.  Arm Architecture Reference Manual, Arm ARM DDI 0487, B1.2 and D1.6."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Annotated, ClassVar, TypeVar

from tinamou.engine.cpu import EXECUTE, READ, Trap
from tinamou.engine.softmmu import SystemCpu
from tinamou.native.memory import peek
from tinamou.native.ops import host_float_end, intrinsic, unlikely
from tinamou.native.types import Array, Word, u8, u32, u64, u128

from .traps import DATA_ABORT_READ, DATA_ABORT_WRITE, INSTRUCTION_ABORT, PC_ALIGNMENT, SVC, UNDEFINED

W = TypeVar("W", bound=Word)
ZERO = 31  # slots of Core.x
SP = 32
GUARDED_PAGE, TAGGED_PAGE = 16, 32  # page flags beside the engine's: PROT_BTI, PROT_MTE
ADDRESS = 0x00FF_FFFF_FFFF_FFFF  # without the topmost byte
PAC_FIELD = 0x007F_0000_0000_0000  # bits 54:48
UNMONITORED = 0xFFFF_FFFF_FFFF_FFFF  # no address of an exclusive load: those are aligned


def _getrandom() -> int:
    return ctypes.cast(ctypes.CDLL(None).getrandom, ctypes.c_void_p).value or 0


class Core(SystemCpu):
    """One processing element.

    The condition flags are kept as what makes them: see nz, c, less.  FPSR's exceptions are kept as softfloat numbers them.
    """

    window: ClassVar[str] = "nz"  # the flags and X0 to X28
    held: ClassVar[tuple[str, ...]] = ("nz", "c", "less")
    nz: u64  # N is bit 63, Z is set when this is 0
    c: u64  # 0 or 1
    less: u64  # bit 0: N is not V, so after a comparison the first number is the smaller one as signed ones; bit 1: N is set as Z is
    x: Annotated[Array[u64], 34]  # X0 to X30; [31] stays 0, [32] is SP, [33] swallows writes to XZR
    q: Annotated[Array[u128], 32]  # V0 to V31
    staging: Annotated[Array[u64], 8]  # of structures on their way between registers and memory
    fpcr: u32
    exceptions: u32  # cumulative: softfloat's flags
    qc: u32  # 0 or 1: FPSR.QC
    guarded: u32  # not 0: there may be guarded pages
    tco: u32  # PSTATE.TCO
    dit: u32
    ssbs: u32
    tpidr: u64  # TPIDR_EL0
    tpidrro: u64  # TPIDRRO_EL0
    monitor: u64  # address of the last exclusive load, or UNMONITORED
    monitor_size: u64  # its bytes
    monitor_low: u64  # what it read
    monitor_high: u64
    keys: Annotated[Array[u64], 10]  # APIA, APIB, APDA, APDB, APGA: low half, high half
    pac_enabled: u32  # SCTLR_EL1: bit 0 EnIA, 1 EnIB, 2 EnDA, 3 EnDB
    gcr: u32  # GCR_EL1: bits 15:0 excluded tags, 16 RRND
    rgsr: u32  # RGSR_EL1: tag 3:0, seed 23:8
    tcf: u32  # SCTLR_EL1.TCF0: 0 tags are not checked, 1 synchronously, 2 asynchronously, 3 reads synchronously
    tfsr: u32  # TFSRE0_EL1: bit 0, an asynchronous tag check failed
    tags: u64  # host address of the tags, a byte for each 16 of memory; 0: no memory is tagged
    id: Annotated[Array[u64], 64]  # ID registers (op0 3, op1 0, CRn 0) by CRm<2:0>:op2
    ctr: u64  # CTR_EL0
    dczid: u64  # DCZID_EL0
    frequency: u64  # CNTFRQ_EL0
    getrandom: u64  # host address of the system's getrandom()
    noise: u64  # what it gave

    def __init__(self) -> None:
        super().__init__()
        self.nz = u64(1)
        self.monitor = u64(UNMONITORED)
        self.ctr = u64(0x8444_C004)  # 64-byte lines, as Cortex-A57 and later
        self.dczid = u64(4)  # blocks of 64 bytes
        self.frequency = u64(1_000_000_000)
        self.pac_enabled = u32(15)
        self.getrandom = u64(_getrandom())

    def settle_float(self) -> None:
        if self.host_float != 0:
            self.host_float = u64(0)
            self.exceptions = self.exceptions | host_float_end()

    @intrinsic
    def counter(self) -> u64:
        """CNTVCT_EL0: counts at `frequency`."""
        return u64(time.perf_counter_ns())

    @intrinsic
    def random(self) -> u64:
        """64 bits from the host's generator."""
        return u64(int.from_bytes(os.urandom(8), "little"))

    def fault(self, access: int, address: u64) -> None:
        if access == EXECUTE:
            raise Trap(INSTRUCTION_ABORT, address)
        if access == READ:
            raise Trap(DATA_ABORT_READ, address)
        raise Trap(DATA_ABORT_WRITE, address)

    def undefined(self) -> None:
        raise Trap(UNDEFINED)

    def check_access_tags(self, how: int) -> None:
        """Set TCF0."""
        self.tcf = u32(how)
        self.direct_limit = u64(0) if how else self.limit

    # -- what a core of a whole machine does otherwise.  Without privileged state it is at EL0: 48-bit addresses, whose top byte is ignored

    def untagged(self, address: u64) -> u64:
        """The address of a data access without what TBI ignores.  A machine's translation looks after that."""
        return address & ADDRESS

    def stack_misaligned(self, sp: u64) -> bool:
        """An access by way of SP is refused: Linux sets SCTLR_EL1.SA0."""
        return sp & 15 != 0

    def branch_target(self, target: u64) -> u64:
        """Where a branch goes.  A misaligned target raises."""
        if unlikely(target & 3 != 0):
            raise Trap(PC_ALIGNMENT, target)
        return target & ADDRESS

    def pac_field(self, pointer: u64) -> u64:
        """The bits of a pointer in which its authentication code is; bit 55 is never among them."""
        return u64(PAC_FIELD)

    def is_guarded(self, address: u64) -> bool:
        """There is code on a page whose branch targets are marked (FEAT_BTI)."""
        return address < self.limit and peek(u8, self.page_flags + (address >> 12)) & GUARDED_PAGE != 0

    def allow(self, what: str) -> None:
        """Before a register or an operation that EL0 may be refused: raises the trap."""

    def identification(self, number: u32) -> u64:
        """An ID register (op0 3, op1 0, CRn 0) by CRm<2:0>:op2."""
        return self.id[number & 63]

    def virtual_count(self) -> u64:
        """CNTVCT_EL0."""
        return self.counter()

    def physical_count(self) -> u64:
        """CNTPCT_EL0."""
        return self.counter()

    def read_register(self, number: u32) -> u64:
        """A system register that has no row of its own, by o0:op1:CRn:CRm:op2."""
        raise Trap(UNDEFINED)

    def write_register(self, number: u32, value: u64) -> bool:
        """True: the view of memory, the exception level or what interrupts has changed."""
        raise Trap(UNDEFINED)

    def write_state(self, field: u32, value: u32) -> bool:
        """MSR (immediate) of the fields of PSTATE (op1:op2) that have no row of their own."""
        raise Trap(UNDEFINED)

    def operate(self, number: u32, value: u64) -> bool:
        """A system instruction (SYS) that has no row of its own, by op1:CRn:CRm:op2."""
        raise Trap(UNDEFINED)

    def supervisor_call(self, number: u64) -> None:
        raise Trap(number | SVC)

    def hypervisor_call(self, number: u64) -> None:
        raise Trap(UNDEFINED)

    def monitor_call(self, number: u64) -> None:
        raise Trap(UNDEFINED)

    def exception_return(self, address: u64) -> u64:
        """ERET to ELR_ELx, or ERETAA to what authenticating it gave; gives the next instruction."""
        raise Trap(UNDEFINED)

    def return_address(self) -> u64:
        """ELR_ELx."""
        raise Trap(UNDEFINED)

    def wait_for_interrupt(self) -> bool:
        """True: nothing goes on before one comes."""
        return False

    def wait_for_event(self) -> None:
        """May go on at any time."""

    def load_unprivileged(self, kind: type[W], address: u64) -> W:
        """A load with the rights of EL0 (LDTR)."""
        return self.load(kind, address)

    def store_unprivileged(self, kind: type[W], address: u64, value: W) -> None:
        self.store(kind, address, value)


FPCR = 0x07C8_0000  # AHP DN FZ RMode FZ16; exceptions are not trapped

# FPSR's exceptions IOC DZC OFC UFC IXC IDC, from bit 0 up, 7 for the last; softfloat numbers them 16 8 4 2 1 and 64.


def read_fpsr(h: Core) -> u32:
    h.settle_float()
    e = h.exceptions
    return h.qc << 27 | (e & 64) << 1 | (e & 1) << 4 | (e & 2) << 2 | e & 4 | e >> 2 & 2 | e >> 4 & 1


def write_fpsr(h: Core, value: u32) -> None:
    h.settle_float()
    h.qc = value >> 27 & 1
    h.exceptions = value >> 1 & 64 | value >> 4 & 1 | value >> 2 & 2 | value & 4 | (value & 2) << 2 | (value & 1) << 4
