"""The privileged state of a core: exception levels, exceptions, interrupts.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D1 and D17.

Levels EL0 and EL1 are always there, EL2 and EL3 by the model; all of them AArch64 and little-endian.  There is one physical address space.
Registers of several levels are arrays by the level's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tinamou.engine.cpu import Trap
from tinamou.native.ops import outlined, unlikely
from tinamou.native.types import Array, u32, u64

from .alu import get_nzcv, set_nzcv
from .state import SP, UNMONITORED, Core
from .traps import (
    BEHIND,
    CM,
    EC_BRANCH_TARGET,
    EC_BRK,
    EC_DATA_ABORT,
    EC_INSTRUCTION_ABORT,
    EC_PC_ALIGNMENT,
    EC_SYSTEM,
    FLOAT_TRAPPED,
    HVC,
    ILLEGAL_STATE,
    PAUTH_TRAPPED,
    PC_ALIGNMENT,
    SMC,
    STAGE2,
    SVC,
    SYSTEM_TRAPPED,
    TO_EL2,
    TO_EL3,
    UNDEFINED,
    WFE_TRAPPED,
    WFI_TRAPPED,
)

# Features that are not rows of their own: bits of PrivilegedCore.features.
HAS_EL2, HAS_EL3, HAS_PAN, HAS_UAO, HAS_VHE, HAS_XNX, HAS_HAFDBS, HAS_HPDS, HAS_SMALL_TABLES, HAS_E0PD, HAS_16K, HAS_CORTEX, HAS_SSBS, HAS_MTE = (
    1 << n for n in range(14)
)
EXTENSIONS = {"pan": HAS_PAN, "uao": HAS_UAO, "vhe": HAS_VHE, "xnx": HAS_XNX, "hafdbs": HAS_HAFDBS, "hpds": HAS_HPDS,
              "ttst": HAS_SMALL_TABLES, "e0pd": HAS_E0PD, "cortex": HAS_CORTEX, "ssbs": HAS_SSBS, "mte": HAS_MTE}  # fmt: skip

# SCTLR_ELx
M, A, SA, SA0, UMA, I, DZE, UCT, NTWI, NTWE, WXN, SPAN, UCI = (1 << n for n in (0, 1, 3, 4, 9, 12, 14, 15, 16, 18, 19, 23, 26))
ENIA, ENIB, ENDA, ENDB, DSSBS = 1 << 31, 1 << 30, 1 << 27, 1 << 13, 1 << 44
# HCR_EL2
VM, PTW, FMO, IMO, AMO, VF, VI, VSE, DC, TWI, TWE, TID3, TSC, TGE, HCD, E2H, APK, API = (
    1 << n for n in (0, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 18, 19, 27, 29, 34, 40, 41)
)
# SCR_EL3
NS, SCR_IRQ, SCR_FIQ, SCR_EA, SMD, HCE, SCR_TWI, SCR_TWE, SCR_APK, SCR_API = (1 << n for n in (0, 1, 2, 3, 7, 8, 12, 13, 16, 17))
# PSTATE as SPSR_ELx has it
TCO_BIT, DIT_BIT, UAO_BIT, PAN_BIT, IL_BIT, SSBS_BIT = (1 << n for n in (25, 24, 23, 22, 20, 12))
MASK_F, MASK_I, MASK_A, MASKS = 1 << 6, 1 << 7, 1 << 8, 0x3C0

# Interrupt inputs: bits of `lines`.
IRQ, FIQ, VIRQ, VFIQ, SERROR = 1, 2, 4, 8, 16

# TLBs
TLB_EL0, TLB_EL1, TLB_EL1_PAN, TLB_EL2, TLB_EL2_PAN, TLB_HOST_EL0, TLB_EL3, TLB_GUARDED = range(8)
# Translation regimes
EL10, EL2_ALONE, EL3_REGIME, EL20 = 1, 2, 3, 4


class PrivilegedCore(Core):
    """A core of a whole machine."""

    el: u64  # the exception level
    powered_off: u64  # not 0: PSCI's CPU_OFF
    spsel: u64  # PSTATE.SP
    daif: u64  # PSTATE.DAIF, bits 9:6
    pan: u64
    uao: u64
    features: u64
    lines: u64  # interrupt inputs that are high: only the machine writes it
    resetvec: u64
    sp: Annotated[Array[u64], 4]  # SP_ELx but that in use
    spsr: Annotated[Array[u64], 4]
    elr: Annotated[Array[u64], 4]
    esr: Annotated[Array[u64], 4]
    far: Annotated[Array[u64], 4]
    afsr0: Annotated[Array[u64], 4]
    afsr1: Annotated[Array[u64], 4]
    vbar: Annotated[Array[u64], 4]
    sctlr: Annotated[Array[u64], 4]
    actlr: Annotated[Array[u64], 4]
    tcr: Annotated[Array[u64], 4]
    ttbr0: Annotated[Array[u64], 4]
    ttbr1: Annotated[Array[u64], 4]
    mair: Annotated[Array[u64], 4]
    amair: Annotated[Array[u64], 4]
    contextidr: Annotated[Array[u64], 4]
    tpidr_el: Annotated[Array[u64], 4]
    tfsr_el: Annotated[Array[u64], 4]
    cptr: Annotated[Array[u64], 4]
    mdcr: Annotated[Array[u64], 4]
    spsr_banked: Annotated[Array[u64], 4]
    cpacr: u64
    hcr: u64
    hstr: u64
    hacr: u64
    scr: u64
    sder32: u64
    dacr32: u64
    ifsr32: u64
    fpexc32: u64
    vpidr: u64
    vmpidr: u64
    vttbr: u64
    vtcr: u64
    hpfar: u64
    par: u64
    lorsa: u64
    lorea: u64
    lorn: u64
    lorc: u64
    csselr: u64
    clidr: u64
    caches: Annotated[Array[u64], 16]  # CCSIDR_EL1 by CSSELR_EL1
    cpuactlr: u64
    cpuectlr: u64
    cbar: u64
    l2actlr: u64
    l2ctlr: u64
    l2ectlr: u64
    timer_control: Annotated[Array[u64], 8]  # ENABLE, IMASK of CNTP, CNTV, CNTHP, CNTHV, CNTPS
    timer_compare: Annotated[Array[u64], 8]
    cntkctl: u64
    cnthctl: u64
    cntvoff: u64
    pmcr: u64
    pmcnten: u64
    pmovs: u64
    pmselr: u64
    cycle_offset: u64
    pmccfiltr: u64
    pmuserenr: u64
    pminten: u64
    mdscr: u64
    mdccint: u64
    dbgvcr32: u64
    oslock: u64  # 1: OSLSR_EL1.OSLK
    osdlr: u64
    dbgprcr: u64
    dbgclaim: u64
    dbgbvr: Annotated[Array[u64], 6]
    dbgbcr: Annotated[Array[u64], 6]
    dbgwvr: Annotated[Array[u64], 4]
    dbgwcr: Annotated[Array[u64], 4]
    # what follows from them, see `regime`
    float_trap: u64  # not 0: SIMD and floating point raise this
    pauth_trap: u64
    translated_by: u64  # the translation regime
    stack_mask: u64  # bits of SP that must be 0 in accesses by way of it
    # of the last walk
    unprivileged: u64  # not 0: it is for EL0
    attributes: u64  # MAIR's byte
    shareability: u64
    guarded_page: u64
    large_low: Annotated[Array[u64], 2]  # where translations by more than 4 KiB are remembered: lower and upper half
    large_high: Annotated[Array[u64], 2]
    # of the engine
    psci_conduit: u64  # of calls that the machine's firmware answers: 1 SMC, 2 HVC, 0 none
    firmware: u64  # host function (0, 0, 0, CPU's address) that answers them
    timer_changed: u64  # host function (timer, 0, 0, CPU's address) that hears of writes to timers, or 0

    # -- levels and regimes

    def has_el2(self) -> bool:
        """EL2 is there, and for the present security state."""
        return self.features & HAS_EL2 != 0 and (self.features & HAS_EL3 == 0 or self.scr & NS != 0)

    def hypervisor(self) -> u64:
        """HCR_EL2 as far as it is in effect."""
        return self.hcr if self.has_el2() else u64(0)

    def host(self) -> bool:
        """EL2 is a host with its own EL0 (E2H and TGE)."""
        return self.hypervisor() & (E2H | TGE) == E2H | TGE

    def supervised(self) -> bool:
        """This is EL1 or EL0 below a hypervisor."""
        return self.el < 2 and self.has_el2() and not self.host()

    def trapping(self, bit: int) -> bool:
        """A hypervisor wants to hear of this."""
        return self.supervised() and self.hcr & bit != 0

    def regime(self) -> None:
        """What follows from the exception level and the registers that control it."""
        el = self.el
        host = self.hypervisor() & (E2H | TGE)
        if el == 0:
            at_host = host == E2H | TGE
            self.translated_by = u64(EL20) if at_host else u64(EL10)
            self.use_tlb(u64(TLB_HOST_EL0) if at_host else u64(TLB_EL0))
        elif el == 1:
            self.translated_by = u64(EL10)
            self.use_tlb(TLB_EL1 + self.pan)
        elif el == 2:
            two = self.hcr & E2H != 0
            self.translated_by = u64(EL20) if two else u64(EL2_ALONE)
            self.use_tlb(TLB_EL2 + self.pan if two else u64(TLB_EL2))
        else:
            self.translated_by = u64(EL3_REGIME)
            self.use_tlb(u64(TLB_EL3))
        s = self.sctlr[self.controller() & 3]
        self.pac_enabled = u32(s >> 31 & 1 | s >> 29 & 2 | s >> 25 & 4 | s >> 10 & 8)
        self.stack_mask = u64(15) if s & (u64(SA) if el != 0 else u64(SA0)) != 0 else u64(0)
        self.float_trap = self.who_traps_float()
        self.pauth_trap = u64(0)
        if self.features & HAS_EL3 != 0 and el < 3 and self.scr & SCR_API == 0:
            self.pauth_trap = u64(PAUTH_TRAPPED | TO_EL3)
        if self.supervised() and self.hcr & API == 0:
            self.pauth_trap = u64(PAUTH_TRAPPED | TO_EL2)

    def controller(self) -> u64:
        """Which level's registers control the present regime."""
        if self.translated_by == EL20:
            return u64(2)
        return self.translated_by & 3

    def who_traps_float(self) -> u64:
        """CPACR_EL1.FPEN, CPTR_EL2 and CPTR_EL3 (D17.2.32): the exception, or 0."""
        el = self.el
        if el < 2 and not self.host():
            fpen = self.cpacr >> 20 & 3
            if fpen & 1 == 0 or (fpen == 1 and el == 0):
                return u64(FLOAT_TRAPPED)
        if el < 3 and self.has_el2():
            if self.hcr & E2H != 0:
                fpen = self.cptr[2] >> 20 & 3
                if fpen & 1 == 0 or (fpen == 1 and el == 0 and self.hcr & TGE != 0):
                    return u64(FLOAT_TRAPPED | TO_EL2)
            elif self.cptr[2] >> 10 & 1 != 0:
                return u64(FLOAT_TRAPPED | TO_EL2)
        if self.features & HAS_EL3 != 0 and self.cptr[3] >> 10 & 1 != 0:
            return u64(FLOAT_TRAPPED | TO_EL3)
        return u64(0)

    def use_float_unit(self) -> None:
        if unlikely(self.float_trap != 0):
            raise Trap(self.float_trap)

    # -- what TLBs remember

    def flush_everything(self) -> None:
        self.flush_tlb()
        for k in range(2):
            self.large_low[k] = u64(0xFFFF_FFFF_FFFF_FFFF)
            self.large_high[k] = u64(0)

    def note_large(self, address: u64, mask: u64) -> None:
        """A page larger than 4 KiB is going to be in the TLB by parts."""
        half = address >> 55 & 1
        if address & ~mask < self.large_low[half & 1]:
            self.large_low[half & 1] = address & ~mask
        if address | mask > self.large_high[half & 1]:
            self.large_high[half & 1] = address | mask

    # -- PSTATE

    def pstate(self) -> u64:
        """As SPSR_ELx has it."""
        s = u64(get_nzcv(self)) << 28 | self.daif | self.el << 2 | self.spsel | self.pan << 22 | self.uao << 23
        return s | u64(self.tco) << 25 | u64(self.dit) << 24 | u64(self.ssbs) << 12

    def select_stack(self, el: u64, spsel: u64) -> None:
        """Change PSTATE.EL and PSTATE.SP."""
        old = self.el if self.spsel != 0 else u64(0)
        new = el if spsel != 0 else u64(0)
        self.el, self.spsel = el, spsel
        if old != new:
            self.sp[old & 3] = self.x[SP]
            self.x[SP] = self.sp[new & 3]

    # -- exceptions

    def exception(self, cause: u64, value: u64) -> None:
        take_exception(self, cause, value)

    def instruction(self, pc: u64) -> u64:
        """The instruction there; 0 if it cannot be fetched."""
        return u64(0)

    def supervisor_call(self, number: u64) -> None:
        raise Trap(number | (SVC | BEHIND))

    def hypervisor_call(self, number: u64) -> None:
        if self.psci_conduit == 2 and self.el != 0:
            call_firmware(self)
            return
        enabled = self.hcr & HCD == 0
        if self.features & HAS_EL3 != 0:
            enabled = self.scr & HCE != 0
        if self.el == 0 or not self.has_el2() or not enabled:
            raise Trap(UNDEFINED)
        raise Trap(number | (HVC | BEHIND | TO_EL2))

    def monitor_call(self, number: u64) -> None:
        if self.el == 0:
            raise Trap(UNDEFINED)
        if self.trapping(TSC):
            raise Trap(number | (SMC | TO_EL2))
        if self.psci_conduit == 1:
            call_firmware(self)
            return
        if self.features & HAS_EL3 == 0 or self.scr & SMD != 0:
            raise Trap(UNDEFINED)
        raise Trap(number | (SMC | BEHIND | TO_EL3))

    def return_address(self) -> u64:
        if self.el == 0:
            raise Trap(UNDEFINED)
        return self.elr[self.el & 3]

    def exception_return(self, address: u64) -> u64:
        return leave_exception(self, address)

    # -- time

    def timer_count(self, timer: u64) -> u64:
        """What a timer compares with."""
        return u64(0)

    def timer_expired(self, timer: u64) -> bool:
        return False

    def cycle_count(self) -> u64:
        """Cycles of the processor, or instructions where time is counted in them."""
        return u64(0)

    # -- waiting

    def awake(self) -> bool:
        """There is an interrupt that ends WFI, masked or not."""
        if self.powered_off != 0:
            return False
        if self.lines & (IRQ | FIQ | SERROR) != 0:
            return True
        hcr = self.hypervisor()
        if self.el > 1 or hcr & TGE != 0:
            return False
        virtual = hcr & IMO != 0 and (self.lines & VIRQ != 0 or hcr & VI != 0)
        if hcr & FMO != 0 and (self.lines & VFIQ != 0 or hcr & VF != 0):
            virtual = True
        return virtual or (hcr & AMO != 0 and hcr & VSE != 0)

    def wait_for_interrupt(self) -> bool:
        if self.awake():
            return False
        self.check_waiting(NTWI, TWI, SCR_TWI, WFI_TRAPPED)
        self.halted = u64(1)
        return True

    def wait_for_event(self) -> None:
        self.check_waiting(NTWE, TWE, SCR_TWE, WFE_TRAPPED)

    def check_waiting(self, control: int, hypervisor: int, monitor: int, cause: int) -> None:
        if self.el == 0:
            if self.host():
                if self.sctlr[2] & control == 0:
                    raise Trap(u64(cause | TO_EL2))
            elif self.sctlr[1] & control == 0:
                raise Trap(cause)
        if self.trapping(hypervisor):
            raise Trap(cause | TO_EL2)
        if self.features & HAS_EL3 != 0 and self.el < 3 and self.scr & monitor != 0:
            raise Trap(cause | TO_EL3)

    # -- interrupts

    def interrupt(self) -> None:
        virtual = self.hypervisor() & (VI | VF | VSE)
        if self.lines | virtual != 0:
            take_interrupt(self)

    # -- what EL0 may

    def allow(self, what: str) -> None:
        if what == "ctr_el0":
            self.check_el0(UCT)
        elif what == "uci":
            self.check_el0(UCI)
        elif what == "dze":
            self.check_el0(DZE)
        elif what == "fpcr" or what == "fpsr":
            self.use_float_unit()
        elif what == "pauth":
            if unlikely(self.pauth_trap != 0):
                raise Trap(self.pauth_trap)
        elif what == "cntpct_el0":
            check_counter(self, 0)
        elif what == "cntvct_el0":
            check_counter(self, 1)
        elif what == "cntfrq_el0":
            if self.el == 0 and self.counter_control() & 3 == 0:
                raise Trap(SYSTEM_TRAPPED)

    def check_el0(self, bit: int) -> None:
        """SCTLR_ELx lets EL0 do this."""
        if self.el == 0:
            if self.host():
                if self.sctlr[2] & bit == 0:
                    raise Trap(SYSTEM_TRAPPED | TO_EL2)
            elif self.sctlr[1] & bit == 0:
                raise Trap(SYSTEM_TRAPPED)

    def counter_control(self) -> u64:
        """What of the timers EL0 may use: CNTKCTL_EL1, or CNTHCTL_EL2 of a host."""
        return self.cnthctl if self.host() else self.cntkctl

    # -- addresses

    def untagged(self, address: u64) -> u64:
        return address

    def branch_target(self, target: u64) -> u64:
        if unlikely(target & 3 != 0):
            raise Trap(PC_ALIGNMENT, target)
        if unlikely(target >> 55 != 0 and target >> 55 != 0x1FF):
            return without_tag(self, target)
        return target

    def pac_field(self, pointer: u64) -> u64:
        tcr = self.tcr[self.controller() & 3]
        upper = pointer >> 55 & 1
        if self.translated_by == EL10 or self.translated_by == EL20:
            size = 64 - (tcr >> 16 & 63 if upper != 0 else tcr & 63)
            ignored = tcr >> 38 & 1 if upper != 0 else tcr >> 37 & 1
        else:
            size = 64 - (tcr & 63)
            ignored = tcr >> 20 & 1
        field = (u64(1) << 55) - (u64(1) << size)
        return field if ignored != 0 else field | u64(0xFF00_0000_0000_0000)


@outlined
def call_firmware(h: PrivilegedCore) -> None:
    """PSCI."""
    h.call_out(h.firmware, u64(0), u64(0), u64(0))


@outlined
def without_tag(h: PrivilegedCore, target: u64) -> u64:
    """AArch64.BranchAddr: where the top byte is ignored, pc gets the address without it."""
    tcr = h.tcr[h.controller() & 3]
    if h.translated_by == EL10 or h.translated_by == EL20:
        if target >> 55 & 1 != 0:
            ignored = tcr >> 38 & ~(tcr >> 52) & 1
        else:
            ignored = tcr >> 37 & ~(tcr >> 51) & 1
        if ignored != 0:
            return target | 0xFF00_0000_0000_0000 if target >> 55 & 1 != 0 else target & 0x00FF_FFFF_FFFF_FFFF
        return target
    if tcr >> 20 & ~(tcr >> 29) & 1 != 0:
        return target & 0x00FF_FFFF_FFFF_FFFF
    return target


@outlined
def check_counter(h: PrivilegedCore, virtual: int) -> None:
    """CNTKCTL_EL1.EL0PCTEN and EL0VCTEN, CNTHCTL_EL2.EL1PCTEN."""
    if h.el == 0 and h.counter_control() >> virtual & 1 == 0:
        raise Trap(SYSTEM_TRAPPED)
    if virtual == 0:
        if h.supervised():
            if h.cnthctl >> (u64(10) if h.hcr & E2H != 0 else u64(0)) & 1 == 0:
                raise Trap(SYSTEM_TRAPPED | TO_EL2)


@outlined
def take_exception(h: PrivilegedCore, cause: u64, value: u64) -> None:
    """AArch64.TakeException: what h.pc raised."""
    syndrome = cause & 0xFFFF_FFFF
    ec = syndrome >> 26
    back = h.pc + 4 if cause & BEHIND != 0 else h.pc
    kind = u64(0)
    target = h.el if h.el != 0 else u64(1)
    if cause & TO_EL3 != 0:
        target = u64(3)
    elif cause & TO_EL2 != 0:
        target = u64(2)
    elif h.el == 0 and h.hypervisor() & TGE != 0:
        target = u64(2)
    elif ec == EC_BRK and h.el < 2 and h.has_el2() and h.mdcr[2] >> 8 & 1 != 0:  # TDE
        target = u64(2)
    if ec == EC_SYSTEM:
        word = h.instruction(h.pc)
        iss = (word >> 19 & 3) << 20 | (word >> 5 & 7) << 17 | (word >> 16 & 7) << 14 | (word >> 12 & 15) << 10
        syndrome |= iss | (word & 31) << 5 | (word >> 8 & 15) << 1 | word >> 21 & 1
    elif ec == EC_PC_ALIGNMENT:
        back = value
        h.far[target & 3] = value
    elif ec == EC_BRANCH_TARGET:
        back = value
        kind = (syndrome & 3) << 10  # SPSR's BTYPE
    elif ec == EC_INSTRUCTION_ABORT or ec == EC_DATA_ABORT:
        h.far[target & 3] = value
        if cause & STAGE2 != 0 and ec == EC_DATA_ABORT and syndrome & (CM | 1 << 7) == 0:
            syndrome |= transfer(h.instruction(h.pc))
        if target == h.el:
            syndrome |= 1 << 26
    if h.log_trap != 0:
        h.call_out(h.log_trap, syndrome | target << 56, back, value)
    h.esr[target & 3] = syndrome
    enter(h, target, u64(0), back, kind)


@outlined
def transfer(word: u64) -> u64:
    """The ISS of a stage 2 data abort: which register a single load or store without write-back transfers; 0 for other instructions."""
    if word >> 27 & 7 != 7 or word >> 26 & 1 != 0:
        return u64(0)
    unsigned = word >> 24 & 3 == 1
    unscaled = word >> 24 & 3 == 0 and word >> 21 & 1 == 0 and (word >> 10 & 3 == 0 or word >> 10 & 3 == 2)
    indexed = word >> 24 & 3 == 0 and word >> 21 & 1 == 1 and word >> 10 & 3 == 2
    if not unsigned and not unscaled and not indexed:
        return u64(0)
    size, opc = word >> 30, word >> 22 & 3
    if size == 3 and opc == 2:  # PRFM
        return u64(0)
    signed = u64(opc >= 2)
    wide = u64(size == 3) if opc < 2 else u64(opc == 2)
    return 1 << 24 | size << 22 | signed << 21 | (word & 31) << 16 | wide << 15


def enter(h: PrivilegedCore, target: u64, vector: u64, back: u64, kind: u64) -> None:
    """Begin a handler: `vector` is 0 for synchronous exceptions, 0x80 IRQ, 0x100 FIQ, 0x180 SError."""
    if target > h.el:
        vector += 0x400
    elif h.spsel != 0:
        vector += 0x200
    h.spsr[target & 3] = h.pstate() | kind
    h.elr[target & 3] = back
    h.select_stack(target, u64(1))
    h.daif = u64(MASKS)
    s = h.sctlr[target & 3]
    if h.features & HAS_PAN != 0 and s & SPAN == 0 and (target == 1 or (target == 2 and h.host())):
        h.pan = u64(1)
    h.uao = u64(0)
    if h.features & HAS_MTE != 0:
        h.tco = u32(1)
    if h.features & HAS_SSBS != 0:
        h.ssbs = u32(s >> 44 & 1)
    h.monitor = u64(UNMONITORED)
    h.unprivileged = u64(0)
    h.target = h.vbar[target & 3] + vector
    h.regime()


@dataclass(frozen=True)
class Interrupt:
    """One kind: its inputs, vector, and bits of PSTATE, HCR_EL2 and SCR_EL3."""

    line: int
    virtual_line: int
    vector: int
    mask: int
    routed: int
    virtual: int
    secure: int


INTERRUPTS = (  # by priority
    Interrupt(SERROR, 0, 0x180, MASK_A, AMO, VSE, SCR_EA),
    Interrupt(FIQ, VFIQ, 0x100, MASK_F, FMO, VF, SCR_FIQ),
    Interrupt(IRQ, VIRQ, 0x80, MASK_I, IMO, VI, SCR_IRQ),
)


@outlined
def take_interrupt(h: PrivilegedCore) -> None:
    """The pending interrupt of the highest priority that is not masked (D1.3.6), if there is one."""
    hcr = h.hypervisor()
    for i in INTERRUPTS:
        if h.lines & i.line != 0:
            target = u64(1)
            if h.features & HAS_EL3 != 0 and h.scr & i.secure != 0:
                target = u64(3)
            elif hcr & (i.routed | TGE) != 0:
                target = u64(2)
            free = h.daif & i.mask == 0
            if target > h.el and target > 1 and not (target == 2 and h.host()):
                free = True
            if target >= h.el and free:
                h.halted = u64(0)
                begin(h, target, u64(i.vector))
                return
    if h.el < 2 and hcr & TGE == 0:
        for i in INTERRUPTS:
            if hcr & i.routed != 0 and (h.lines & i.virtual_line | hcr & i.virtual) != 0 and h.daif & i.mask == 0:
                h.halted = u64(0)
                if i.virtual == VSE:
                    h.hcr = h.hcr & ~VSE
                begin(h, u64(1), u64(i.vector))
                return


def begin(h: PrivilegedCore, target: u64, vector: u64) -> None:
    if h.log_trap != 0:
        h.call_out(h.log_trap, u64(1) << 63 | target << 56 | vector, h.target, u64(0))
    if vector == 0x180:
        h.esr[target & 3] = u64(0xBE00_0000)
    enter(h, target, vector, h.target, u64(0))


@outlined
def leave_exception(h: PrivilegedCore, address: u64) -> u64:
    """AArch64.ExceptionReturn: restore PSTATE from SPSR_ELx."""
    s = h.spsr[h.el & 3]
    el, spsel = s >> 2 & 3, s & 1
    legal = s >> 4 & 1 == 0 and s >> 1 & 1 == 0 and el <= h.el and (el != 0 or spsel == 0)
    if el == 2 and not h.has_el2():
        legal = False
    if el == 1 and h.hypervisor() & TGE != 0:
        legal = False
    if el < h.el and h.el == 3 and el == 2 and h.features & HAS_EL2 == 0:
        legal = False
    set_nzcv(h, u32(s >> 28 & 15))
    h.daif = s & MASKS
    if h.features & HAS_PAN != 0:
        h.pan = s >> 22 & 1
    if h.features & HAS_UAO != 0:
        h.uao = s >> 23 & 1
    h.dit = u32(s >> 24 & 1)
    h.tco = u32(s >> 25 & 1)
    h.ssbs = u32(s >> 12 & 1)
    h.monitor = u64(UNMONITORED)
    h.attention = u64(1)
    if not legal:
        h.esr[h.el & 3] = u64(ILLEGAL_STATE)
        enter(h, h.el, u64(0), address, u64(IL_BIT))
        return h.target
    h.select_stack(el, spsel)
    h.regime()
    if s & IL_BIT != 0 or address & 3 != 0:
        to = el if el != 0 else u64(2) if h.hypervisor() & TGE != 0 else u64(1)
        if s & IL_BIT != 0:
            h.esr[to & 3] = u64(ILLEGAL_STATE)
            enter(h, to, u64(0), address, u64(IL_BIT))
        else:
            h.esr[to & 3] = u64(PC_ALIGNMENT)
            h.far[to & 3] = address
            enter(h, to, u64(0), address, u64(0))
        return h.target
    if address >> 55 != 0 and address >> 55 != 0x1FF:
        return without_tag(h, address)
    return address
