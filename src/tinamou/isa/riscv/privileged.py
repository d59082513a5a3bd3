"""The privileged state of a hart: modes, CSRs, traps.  The RISC-V Instruction Set Manual, Volume II, 20240411 ("Volume II" below).

What exists is the privileged architecture 1.11 (or 1.10): M mode, optionally S and U, no hypervisor.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from tinamou.engine.cpu import Trap
from tinamou.native.types import Array, u8, u64

from .state import Hart
from .traps import ILLEGAL_INSTRUCTION

USER, SUPERVISOR, MACHINE = 0, 1, 3

# mstatus (3.1.6)
SIE, MIE, SPIE, MPIE, SPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8
MPP_SHIFT, MPP = 11, 3 << 11
FS = 3 << 13
MPRV, SUM, MXR, TVM, TW, TSR = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22

# mip and mie (3.1.9)
SSIP, MSIP, STIP, MTIP, SEIP, MEIP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 9, 1 << 11
SUPERVISOR_INTERRUPTS = SSIP | STIP | SEIP
PRIORITY = (11, 3, 7, 9, 1, 5)

MISA_S, MISA_U = 1 << 18, 1 << 20
PMP_ENTRIES = 16
FLAT, MPRV_USER, MPRV_SUPERVISOR = 3, 4, 5  # TLBs: 0 user, 1 and 2 supervisor without and with SUM, 5 and 6 the same by MPRV


class PrivilegedHart(Hart):
    """A hart of a whole machine.  CSRs are kept as the widest view of them: mstatus serves sstatus, mie serves sie."""

    xlen: ClassVar[int] = 64

    mstatus: u64
    medeleg: u64
    mideleg: u64
    mie: u64
    mtvec: u64
    mscratch: u64
    mepc: u64
    mcause: u64
    mtval: u64
    mcounteren: u64
    mcountinhibit: u64
    stvec: u64
    sscratch: u64
    sepc: u64
    scause: u64
    stval: u64
    scounteren: u64
    satp: u64
    lines: u64  # interrupt inputs that are high, numbered as mip: only the machine writes it
    soft: u64  # what mip holds besides: only the hart writes it
    hartid: u64
    modes: u64  # largest mode of satp, or 0: no S mode translation
    pmp_entries: u64  # how many this hart has, up to 16; if there is one, the CSRs of the others are there and stay 0
    vendor: u64
    architecture: u64
    implementation: u64
    pmp_cfg: Annotated[Array[u8], 16]
    pmp_addr: Annotated[Array[u64], 16]
    pmp_low: Annotated[Array[u64], 16]  # first byte of each entry
    pmp_last: Annotated[Array[u64], 16]  # last byte; below pmp_low when the entry is off
    privileged: u64  # version of the privileged architecture: 10 is 1.10
    trigger_count: u64
    tselect: u64
    mcontrol: Annotated[Array[u64], 2]  # tdata1 of each trigger, without its type
    maddress: Annotated[Array[u64], 2]  # tdata2
    pmp_rules: u64  # number of the last entry that is on, plus 1
    large_low: Annotated[Array[u64], 2]  # where translations by large pages are remembered: lower and upper half
    large_high: Annotated[Array[u64], 2]
    cycle_offset: u64
    instret_offset: u64

    def supervisor(self) -> bool:
        """S mode is there."""
        return self.misa & MISA_S != 0

    def data_privilege(self) -> u64:
        """The mode in which loads and stores are made (3.1.6.3)."""
        if self.mstatus & MPRV != 0 and self.privilege == MACHINE:
            return self.mstatus >> MPP_SHIFT & 3
        return self.privilege

    def regime(self) -> None:
        """Choose the TLB for the present mode, MPRV and SUM."""
        sum_ = self.mstatus >> 18 & 1
        if self.privilege == MACHINE:
            data = self.data_privilege()
            if data == MACHINE:
                self.use_tlb(u64(FLAT))
            elif data == USER:
                self.use_tlb(u64(MPRV_USER))
            else:
                self.use_tlb(MPRV_SUPERVISOR + sum_)
        elif self.privilege == USER:
            self.use_tlb(u64(0))
        else:
            self.use_tlb(1 + sum_)

    def flush_everything(self) -> None:
        """Forget all translations."""
        self.flush_tlb()
        for k in range(2):
            self.large_low[k] = u64(0xFFFF_FFFF_FFFF_FFFF)
            self.large_high[k] = u64(0)

    def flush_address(self, address: u64) -> None:
        """Forget the translation of one address."""
        if address >= self.large_low[address >> 63] and address <= self.large_high[address >> 63]:
            self.flush_everything()
        else:
            self.flush_tlb_page(address)

    def note_large(self, address: u64, mask: u64) -> None:
        """A page larger than 4 KiB is going to be in the TLB by parts."""
        if address & ~mask < self.large_low[address >> 63]:
            self.large_low[address >> 63] = address & ~mask
        if address | mask > self.large_high[address >> 63]:
            self.large_high[address >> 63] = address | mask

    # -- floating point

    def use_float_unit(self) -> None:
        if self.mstatus & FS == 0:
            raise Trap(ILLEGAL_INSTRUCTION)
        self.mstatus = self.mstatus | FS

    # -- traps

    def pending(self) -> u64:
        return self.lines | self.soft

    def exception(self, cause: u64, value: u64) -> None:
        self.target = self.pc  # if it cannot be fetched any more, that is told instead
        if cause == ILLEGAL_INSTRUCTION:
            self.enter(cause, self.instruction(self.pc), self.pc, self.medeleg, u64(0))
        else:
            self.enter(cause, value, self.pc, self.medeleg, u64(0))

    def instruction(self, pc: u64) -> u64:
        """The instruction there, of 16 or 32 bits."""
        return u64(0)

    def interrupt(self) -> None:
        ready = self.pending() & self.mie
        if ready == 0:
            return
        taken = u64(0)
        if self.privilege != MACHINE or self.mstatus & MIE != 0:
            taken = ready & ~self.mideleg
        if taken == 0 and (self.privilege == USER or (self.privilege == SUPERVISOR and self.mstatus & SIE != 0)):
            taken = ready & self.mideleg
        if taken == 0:
            return
        self.halted = u64(0)
        for cause in PRIORITY:
            if taken >> cause & 1 != 0:
                self.enter(u64(cause), u64(0), self.target, self.mideleg, u64(1))
                return

    def enter(self, cause: u64, value: u64, pc: u64, delegated: u64, interrupt: u64) -> None:
        """Begin a trap handler (3.1.6.1, 3.1.7)."""
        if self.log_trap != 0:
            self.call_out(self.log_trap, cause | interrupt << 63, pc, value)
        s = self.mstatus
        told = cause | interrupt << (self.xlen - 1)
        if self.privilege != MACHINE and delegated >> (cause & 63) & 1 != 0:
            self.scause, self.sepc, self.stval = told, pc, value
            s = s & ~(SPIE | SPP | SIE) | (s & SIE) << 4 | (self.privilege & 1) << 8
            self.privilege = u64(SUPERVISOR)
            vector = self.stvec
        else:
            self.mcause, self.mepc, self.mtval = told, pc, value
            s = s & ~(MPIE | MPP | MIE) | (s & MIE) << 4 | self.privilege << MPP_SHIFT
            self.privilege = u64(MACHINE)
            vector = self.mtvec
        self.mstatus = s
        self.target = (vector & ~3) + (cause << 2 if vector & 1 != 0 and interrupt != 0 else u64(0))
        self.regime()

    def mret(self) -> u64:
        if self.privilege != MACHINE:
            raise Trap(ILLEGAL_INSTRUCTION)
        s = self.mstatus
        self.privilege = s >> MPP_SHIFT & 3
        s = s & ~(MIE | MPP) | s >> 4 & MIE | MPIE
        if self.misa & MISA_U == 0:
            s |= MPP
        if self.privilege != MACHINE:
            s &= ~MPRV
        self.mstatus = s
        self.attention = u64(1)
        self.regime()
        return self.mepc

    def sret(self) -> u64:
        if self.privilege == USER or (self.privilege == SUPERVISOR and self.mstatus & TSR != 0):
            raise Trap(ILLEGAL_INSTRUCTION)
        s = self.mstatus
        self.privilege = s >> 8 & 1
        self.mstatus = s & ~(SIE | SPP | MPRV) | s >> 4 & SIE | SPIE
        self.attention = u64(1)
        self.regime()
        return self.sepc

    def wait(self) -> None:
        if self.privilege != MACHINE and (self.mstatus & TW != 0 or (self.privilege == USER and self.supervisor())):
            raise Trap(ILLEGAL_INSTRUCTION)
        if self.pending() & self.mie == 0:
            self.halted = u64(1)

    def check_fence(self) -> None:
        if self.privilege == USER or (self.privilege == SUPERVISOR and self.mstatus & TVM != 0):
            raise Trap(ILLEGAL_INSTRUCTION)

    def fence_translations(self) -> None:
        self.check_fence()
        self.flush_everything()

    def fence_translation(self, address: u64) -> None:
        self.check_fence()
        self.flush_address(address)

