"""System registers and system instructions as `sysregs` and `operations` describe them, with their access rules.

Arm Architecture Reference Manual, Arm ARM DDI 0487, D1.4.4 (traps), D17 (registers), C5.3 (instructions), D12.2.
"""

from __future__ import annotations

from tinamou.engine.cpu import READ, WRITE, Trap
from tinamou.engine.softmmu import TLB, TLBS, UNUSED, Mmu
from tinamou.native.memory import peek, poke
from tinamou.native.ops import outlined
from tinamou.native.types import u32, u64

from . import sysregs
from .mmu import FOR_EL0, PAN_COUNTS, probe
from .operations import OPERATIONS, Act, Operation
from .privileged import (
    APK,
    E2H,
    EL2_ALONE,
    EL3_REGIME,
    EL10,
    EL20,
    EXTENSIONS,
    FIQ,
    HAS_EL2,
    HAS_EL3,
    HAS_VHE,
    IRQ,
    MASKS,
    NS,
    PAN_BIT,
    SCR_APK,
    SERROR,
    TID3,
    TLB_GUARDED,
    UAO_BIT,
    UMA,
    VF,
    VFIQ,
    VI,
    VIRQ,
    VSE,
    PrivilegedCore,
)
from .sysregs import REGISTERS, Kind, Register
from .sysregs import Trap as By
from .traps import SYSTEM_TRAPPED, TO_EL2, TO_EL3, UNDEFINED

# -- descriptions as words: what compiled code knows of a register or an operation

KIND, READ_LEVEL, WRITE_LEVEL, INDEX, READ_TRAP, WRITE_TRAP, NEEDS, HOST, THERE = 16, 24, 27, 30, 34, 40, 46, 52, 53


def place(r: Register) -> int:
    """Where the CPU keeps it."""
    if not r.field:
        return 0
    field = PrivilegedCore.fields[r.field]
    item = getattr(field.layout, "item", None)
    return field.offset + (r.index * item.size if item is not None else 0)


def packed(r: Register) -> int:
    needs = EXTENSIONS[r.extension].bit_length() if r.extension in EXTENSIONS else 0
    return (place(r) | r.kind << KIND | r.read << READ_LEVEL | r.write << WRITE_LEVEL | r.index << INDEX | r.trap_read << READ_TRAP
            | r.trap_write << WRITE_TRAP | needs << NEEDS | r.host << HOST | 1 << THERE)  # fmt: skip


def packed_operation(o: Operation) -> int:
    needs = EXTENSIONS[o.extension].bit_length() if o.extension else 0
    return (o.act | o.level << 8 | o.trap << 16 | o.shared << 24 | o.unprivileged << 25 | o.write << 26 | o.both << 27 | o.pan << 28
            | needs << 32 | 1 << 40)  # fmt: skip


@outlined
def describe(number: u32) -> u64:
    for r in REGISTERS:
        if number == r.number:
            return u64(packed(r))
    return u64(0)


@outlined
def writable(number: u32) -> u64:
    """The bits that a write changes."""
    for r in REGISTERS:
        if number == r.number:
            return u64(r.mask)
    return u64(0)


@outlined
def describe_operation(number: u32) -> u64:
    for o in OPERATIONS:
        if number == o.number:
            return u64(packed_operation(o))
    return u64(0)


CPACR_EL1, CPTR_EL2 = sysregs.BY_NAME["cpacr_el1"].number, sysregs.BY_NAME["cptr_el2"].number
OP1 = 7 << 11


def is_there(h: PrivilegedCore, needs: u64) -> bool:
    return needs == 0 or h.features >> (needs - 1) & 1 != 0


@outlined
def resolve(h: PrivilegedCore, number: u32) -> u32:
    """The register that a name means here: of a host at EL2, and the names with _EL12 and _EL02 (D8.10, VHE)."""
    if number >> 14 != 0:
        if number & OP1 == 5 << 11:
            if h.features & HAS_VHE == 0 or h.el < 2 or h.hcr & E2H == 0:
                raise Trap(UNDEFINED)
            timer = number >> 7 & 15 == 14 and number >> 3 & 15 != 1
            own = number & ~OP1 | (u32(3 << 11) if timer else u32(0))
            if describe(own) >> HOST & 1 == 0:
                raise Trap(UNDEFINED)
            return own
        if h.el == 2 and h.hcr & E2H != 0 and describe(number) >> HOST & 1 != 0:
            if number == CPACR_EL1:
                return u32(CPTR_EL2)
            return number & ~OP1 | 4 << 11
        if h.el == 0 and h.host() and number >> 11 & 7 == 3 and describe(number) >> HOST & 1 != 0:
            return number & ~OP1 | 4 << 11  # timers of a host's EL0
    return number


@outlined
def check(h: PrivilegedCore, original: u32, info: u64, level: u64, by: u64) -> None:
    """Raise UNDEFINED, or the trap."""
    if info >> THERE & 1 == 0 or level == sysregs.NEVER or not is_there(h, info >> NEEDS & 63):
        raise Trap(UNDEFINED)
    op1 = original >> 11 & 7
    if h.el < level and not (h.el == 0 and level == 0):
        if h.el == 1 and level == 2 and op1 == 3 and original >> 14 != 0:
            return  # timers of a host's EL0, reached by resolve
        raise Trap(UNDEFINED)
    if op1 == 4 and original >> 14 != 0 and h.features & HAS_EL2 == 0 and h.el < 3:
        raise Trap(UNDEFINED)
    if by == By.NONE or h.el == 3:
        return
    watched = h.supervised()
    if by < 48:
        if by == By.APK:
            if watched and h.hcr & APK == 0:
                raise Trap(SYSTEM_TRAPPED | TO_EL2)
            if h.features & HAS_EL3 != 0 and h.scr & SCR_APK == 0:
                raise Trap(SYSTEM_TRAPPED | TO_EL3)
        elif watched and h.hcr >> by & 1 != 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL2)
    elif by == By.CPACR:
        if h.el < 2 and h.has_el2() and h.cptr[2] >> 31 & 1 != 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL2)
        if h.features & HAS_EL3 != 0 and h.cptr[3] >> 31 & 1 != 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL3)
    elif by == By.UMA:
        h.check_el0(UMA)
    elif by == By.DEBUG or by == By.DEBUG_OS:
        bit = u64(9) if by == By.DEBUG else u64(10)
        if h.el == 0 and h.mdscr >> 12 & 1 != 0:
            raise Trap(SYSTEM_TRAPPED)
        if watched and h.mdcr[2] & (u64(1) << bit | 1 << 8) != 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL2)
        if h.features & HAS_EL3 != 0 and h.mdcr[3] >> bit & 1 != 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL3)
    elif by == By.COUNTERS:
        if h.el == 0 and h.pmuserenr & 1 == 0:
            raise Trap(SYSTEM_TRAPPED)
        if watched and h.mdcr[2] >> 6 & 1 != 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL2)
    elif by == By.SECURE_TIMER:
        if h.features & HAS_EL3 == 0 or h.scr & NS != 0 or h.scr >> 11 & 1 == 0:
            raise Trap(UNDEFINED)
    else:
        check_timer(h, by, watched)


def check_timer(h: PrivilegedCore, by: u64, watched: bool) -> None:
    """CNTKCTL_EL1 and CNTHCTL_EL2 (D11.2)."""
    bit = u64(9) if by == By.PHYSICAL_TIMER else u64(8)
    if h.el == 0 and h.counter_control() >> bit & 1 == 0:
        raise Trap(SYSTEM_TRAPPED)
    if by == By.PHYSICAL_TIMER and watched:
        if h.cnthctl >> (u64(11) if h.hcr & E2H != 0 else u64(1)) & 1 == 0:
            raise Trap(SYSTEM_TRAPPED | TO_EL2)


# -- reading


@outlined
def read(h: PrivilegedCore, number: u32) -> u64:
    own = resolve(h, number)
    info = describe(own)
    check(h, number, info, info >> READ_LEVEL & 7 if own == number else u64(0), info >> READ_TRAP & 63)
    at = u64(h.address) + (info & 0xFFFF)
    index = info >> INDEX & 15
    match info >> KIND & 0xFF:
        case Kind.ZERO:
            return u64(0)
        case Kind.DAIF:
            return h.daif
        case Kind.CURRENT_EL:
            return h.el << 2
        case Kind.SPSEL:
            return h.spsel
        case Kind.PAN:
            return h.pan << 22
        case Kind.UAO:
            return h.uao << 23
        case Kind.SP:
            check_stack(h, index)
            return h.sp[index & 3]
        case Kind.TIMER_VALUE:
            return u64(u32(peek(u64, at + COMPARE) - h.timer_count(index)))
        case Kind.TIMER_CONTROL:
            control = peek(u64, at)
            return control | u64(control & 1 != 0 and h.timer_expired(index)) << 2
        case Kind.PENDING:
            return pending(h)
        case Kind.LOCK_STATUS:
            return h.oslock << 1 | 8
        case Kind.CACHE_SIZE:
            return h.caches[h.csselr & 15]
        case Kind.CYCLES:
            return h.cycle_count() + h.cycle_offset
        case Kind.TAGS:
            return u64(peek(u32, at))
    return peek(u64, at)


COMPARE = PrivilegedCore.fields["timer_compare"].offset - PrivilegedCore.fields["timer_control"].offset


def check_stack(h: PrivilegedCore, index: u64) -> None:
    """SP_EL0 has no other name while it is in use."""
    if index == 0 and h.spsel == 0:
        raise Trap(UNDEFINED)


def pending(h: PrivilegedCore) -> u64:
    """ISR_EL1: at EL1 the virtual ones when they are routed there."""
    virtual = h.hypervisor()
    lines = h.lines
    f, i, a = lines & FIQ != 0, lines & IRQ != 0, lines & SERROR != 0
    if h.el == 1:
        if virtual >> 3 & 1 != 0:
            f = lines & VFIQ != 0 or virtual & VF != 0
        if virtual >> 4 & 1 != 0:
            i = lines & VIRQ != 0 or virtual & VI != 0
        if virtual >> 5 & 1 != 0:
            a = virtual & VSE != 0
    return u64(f) << 6 | u64(i) << 7 | u64(a) << 8


@outlined
def identification(h: PrivilegedCore, number: u32) -> u64:
    if h.el == 0:
        raise Trap(UNDEFINED)
    if number >> 3 != 0:
        if h.trapping(TID3):
            raise Trap(SYSTEM_TRAPPED | TO_EL2)
    elif h.supervised():
        if number == 0:
            return h.vpidr
        if number == 5:
            return h.vmpidr
        if h.trapping(1 << By.TID1):
            raise Trap(SYSTEM_TRAPPED | TO_EL2)
    return h.id[number & 63]


# -- writing


@outlined
def write(h: PrivilegedCore, number: u32, value: u64) -> bool:
    own = resolve(h, number)
    info = describe(own)
    check(h, number, info, info >> WRITE_LEVEL & 7 if own == number else u64(0), info >> WRITE_TRAP & 63)
    at = u64(h.address) + (info & 0xFFFF)
    index = info >> INDEX & 15
    mask = writable(own)
    kind = info >> KIND & 0xFF
    match kind:
        case Kind.ZERO | Kind.LOCK_STATUS:
            return False
        case Kind.DAIF:
            h.daif = value & MASKS
            h.attention = u64(1)
            return True
        case Kind.SPSEL:
            h.select_stack(h.el, value & 1)
            return False
        case Kind.PAN:
            h.pan = u64(value & PAN_BIT != 0)
            h.regime()
            return True
        case Kind.UAO:
            h.uao = u64(value & UAO_BIT != 0)
            return False
        case Kind.SP:
            check_stack(h, index)
            h.sp[index & 3] = value
            return False
        case Kind.TIMER_VALUE:
            poke(u64, at + COMPARE, h.timer_count(index) + (value & 0xFFFF_FFFF | -(value >> 31 & 1) << 32))
            timer_changed(h, index)
            return True
        case Kind.TIMER_CONTROL:
            poke(u64, at, value & 3)
            timer_changed(h, index)
            return True
        case Kind.TIMER_COMPARE:
            poke(u64, at, value)
            timer_changed(h, index)
            return True
        case Kind.LOCK:
            h.oslock = value & 1
            return False
        case Kind.CYCLES:
            h.cycle_offset = value - h.cycle_count()
            return False
        case Kind.SET:
            poke(u64, at, peek(u64, at) | value & mask)
            return False
        case Kind.CLEAR:
            poke(u64, at, peek(u64, at) & ~(value & mask))
            return False
        case Kind.TAGS:
            poke(u32, at, u32(value & mask))
            return False
    old = peek(u64, at)
    new = old & ~mask | value & mask
    poke(u64, at, new)
    if old == new:
        return False
    match kind:
        case Kind.TRANSLATION:
            h.flush_everything()
            h.regime()
            return True
        case Kind.ROUTING:
            h.flush_everything()
            h.regime()
            h.attention = u64(1)
            retime(h)
            return True
        case Kind.LOWER:
            flush_half(h, u64(0))
            return True
        case Kind.UPPER:
            if (old ^ new) << 16 != 0:
                h.flush_everything()
            else:
                flush_half(h, u64(0))
            return True
        case Kind.RIGHTS:
            h.regime()
            return True
    return False


def timer_changed(h: PrivilegedCore, index: u64) -> None:
    if h.timer_changed != 0:
        h.call_out(h.timer_changed, index, u64(0), u64(0))
    h.attention = u64(1)


def retime(h: PrivilegedCore) -> None:
    """What timers count from may have changed."""
    if h.timer_changed != 0:
        h.call_out(h.timer_changed, u64(1), u64(0), u64(0))


@outlined
def flush_half(h: PrivilegedCore, upper: u64) -> None:
    """Forget the translations of one half of the address space, of EL0 and EL1."""
    forget_in(h, h.tlbs, 3, upper)
    forget_in(h, h.tlbs + TLB_GUARDED * TLB, 1, upper)


def forget_in(h: PrivilegedCore, tables: u64, count: int, upper: u64) -> None:
    at = tables
    end = tables + count * TLB
    while at < end:
        if peek(u64, at) >> 55 & 1 == upper:
            poke(u64, at, u64(UNUSED))
        at += 16


@outlined
def write_state(h: PrivilegedCore, field: u32, value: u32) -> bool:
    """MSR (immediate), by op1:op2."""
    match field:
        case 0o03:
            if h.el == 0:
                raise Trap(UNDEFINED)
            h.uao = u64(value & 1)
            return False
        case 0o04:
            if h.el == 0:
                raise Trap(UNDEFINED)
            h.pan = u64(value & 1)
            h.regime()
            return True
        case 0o05:
            if h.el == 0:
                raise Trap(UNDEFINED)
            h.select_stack(h.el, u64(value & 1))
            return False
        case 0o36:
            h.check_el0(UMA)
            h.daif = h.daif | u64(value & 15) << 6
            return False
        case 0o37:
            h.check_el0(UMA)
            h.daif = h.daif & ~(u64(value & 15) << 6)
            if h.lines == 0 and h.hypervisor() & (VI | VF | VSE) == 0:
                return False
            h.attention = u64(1)
            return True
    raise Trap(UNDEFINED)


# -- system instructions


@outlined
def operate(h: PrivilegedCore, number: u32, value: u64) -> bool:
    info = describe_operation(number)
    if info >> 40 & 1 == 0 or h.el < (info >> 8 & 3) or not is_there(h, info >> 32 & 63):
        raise Trap(UNDEFINED)
    if number >> 11 == 4 and h.features & HAS_EL2 == 0:
        raise Trap(UNDEFINED)
    by = info >> 16 & 63
    if by != 0 and h.supervised() and h.hcr >> by & 1 != 0:
        raise Trap(SYSTEM_TRAPPED | TO_EL2)
    match info & 0xFF:
        case Act.INVALIDATE:
            h.translate(READ, value)  # permission to write would be needed too: caches hold nothing that memory lacks
            return False
        case Act.CODE:
            h.fence()
            h.fence_code()
            return False
        case Act.TRANSLATE:
            look_up(h, number >> 11, info, value)
            return False
        case Act.ADDRESS:
            forget(h, sign_extended(value << 12))
            if info >> 24 & 1 != 0:
                others_forget(h)
            return True
        case Act.EVERYTHING:
            h.flush_everything()
            if info >> 24 & 1 != 0:
                others_forget(h)
            return True
    return False


def sign_extended(address: u64) -> u64:
    """Bits 55:0 with bit 55 above them."""
    return address & 0x00FF_FFFF_FFFF_FFFF | -(address >> 55 & 1) << 56


def forget(h: PrivilegedCore, address: u64) -> None:
    half = address >> 55 & 1
    if address >= h.large_low[half & 1] and address <= h.large_high[half & 1]:
        h.flush_everything()
    else:
        h.flush_tlb_page(address)


def others_forget(h: PrivilegedCore) -> None:
    """The other CPUs of the machine: their TLBs at once, and once more before their next slice."""
    mmu = Mmu.at(h.mmu)
    tables = u64(mmu.address) + Mmu.fields["tlbs"].offset
    n = u64(0)
    while n < mmu.cpus:
        at = peek(u64, tables + (n << 3))
        if at != h.tlbs:
            end = at + TLBS * TLB
            while at < end:
                poke(u64, at, u64(UNUSED))
                at += 16
        n += 1


@outlined
def look_up(h: PrivilegedCore, op1: u32, info: u64, address: u64) -> None:
    """AT."""
    regime = u64(EL10)
    if op1 == 6:
        regime = u64(EL3_REGIME)
    elif op1 == 4 and info >> 27 & 1 == 0:
        regime = u64(EL20) if h.hcr & E2H != 0 else u64(EL2_ALONE)
    elif h.host() and h.el == 2:
        regime = u64(EL20) if info >> 27 & 1 == 0 else u64(EL10)
    access = u64(WRITE) if info >> 26 & 1 != 0 else u64(READ)
    if info >> 25 & 1 != 0:
        access |= FOR_EL0
    if info >> 28 & 1 != 0 and h.pan != 0:
        access |= PAN_COUNTS
    probe(h, regime, access, address, info >> 27 & 1)
