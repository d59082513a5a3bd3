"""Address translation.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D8; D17.2 (TCR_ELx, VTCR_EL2, MAIR_ELx, PAR_EL1).

Stage 1 of the regimes EL1&0, EL2, EL2&0 (VHE) and EL3, and stage 2, with granules of 4, 16 and 64 KiB, 48-bit addresses, hardware updates of
the access flag and dirty state (FEAT_HAFDBS), hierarchical permission disables, PAN, TTS2UXN (FEAT_XNX).  Descriptors are little-endian.

A walk gives the physical address and a fault: 0, or a fault status code with the bits below.
"""

from __future__ import annotations

from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.engine.softmmu import host_address
from tinamou.native.memory import compare_exchange, peek, peek_acquire
from tinamou.native.ops import outlined
from tinamou.native.types import u32, u64

from .privileged import (
    DC,
    EL10,
    EL20,
    HAS_16K,
    HAS_E0PD,
    HAS_HAFDBS,
    HAS_HPDS,
    HAS_SMALL_TABLES,
    HAS_XNX,
    PTW,
    TGE,
    VM,
    WXN,
    A,
    M,
    PrivilegedCore,
)
from .traps import (
    ACCESS_FLAG,
    ADDRESS_SIZE,
    ALIGNMENT,
    CM,
    DATA_ABORT_READ,
    EXTERNAL,
    EXTERNAL_ON_WALK,
    INSTRUCTION_ABORT,
    PERMISSION,
    S1PTW,
    STAGE2,
    TO_EL2,
    TRANSLATION,
    WNR,
)

FAULT = 1 << 16  # there is one: the code of an address size fault at level 0 is 0
OF_STAGE2, OF_WALK = 1 << 8, 1 << 9  # stage 2 refused; refused a descriptor of stage 1
# Kinds of access besides READ, WRITE, EXECUTE.
PLAIN_LOOK = 8  # nothing is updated: a debugger looks
PAN_COUNTS = 16
FOR_EL0 = 32
MAINTENANCE = 64  # an abort tells so (CM)

VALID, TABLE = 1, 2
AF, DBM, AP_EL0, AP_READ_ONLY = 1 << 10, 1 << 51, 1 << 6, 1 << 7
S2_READ, S2_WRITE = 1 << 6, 1 << 7
OUTPUT = 0x0000_FFFF_FFFF_F000
DEVICE, NORMAL = 0x00, 0xFF


@outlined
def translate(h: PrivilegedCore, access: u64, address: u64) -> u64:
    """The physical address for the present exception level; raises aborts."""
    h.partial = u64(0)
    h.guarded_page = u64(0)
    regime = h.translated_by
    kind = access
    if h.unprivileged != 0:
        kind |= FOR_EL0
    else:
        if h.el == 0:
            kind |= FOR_EL0
        if h.pan != 0:
            kind |= PAN_COUNTS
    physical, fault = walk(h, regime, kind, address)
    if fault != 0:
        abort(h, access, address, fault)
    return physical


def abort(h: PrivilegedCore, access: u64, address: u64, fault: u64) -> None:
    """Raise the exception for a fault.  HPFAR_EL2 is set."""
    cause = u64(INSTRUCTION_ABORT & ~63) if access & EXECUTE != 0 else u64(DATA_ABORT_READ & ~63)
    cause |= fault & 63
    if access & (READ | WRITE) == WRITE or access & MAINTENANCE != 0:  # what a read too would have raised is a read's
        cause |= WNR
    if access & MAINTENANCE != 0:
        cause |= CM
    if fault & OF_WALK != 0:
        cause |= S1PTW
    if fault & OF_STAGE2 != 0:
        cause |= TO_EL2 | STAGE2
    raise Trap(cause, address)


@outlined
def misaligned(h: PrivilegedCore, access: u64, address: u64) -> None:
    """An access that is no multiple of its size, and was translated: alignment is checked by SCTLR_ELx.A, and of devices."""
    if h.sctlr[h.controller() & 3] & A != 0 or h.attributes >> 4 == 0:
        raise Trap(u64(DATA_ABORT_READ & ~63 | ALIGNMENT) | u64(access & WRITE != 0) << 6, address)


@outlined
def physical_fault(h: PrivilegedCore, access: u64, address: u64) -> None:
    """Nothing answers at the physical address: a synchronous external abort."""
    abort(h, access, address, u64(FAULT | EXTERNAL))


@outlined
def instruction(h: PrivilegedCore, pc: u64) -> u64:
    """What stands at pc; 0 if it is not in RAM."""
    kind = u64(EXECUTE | FOR_EL0) if h.el == 0 else u64(EXECUTE)
    physical, fault = walk(h, h.translated_by, kind, pc)
    if fault != 0:
        return u64(0)
    host = host_address(h, physical)
    return u64(0) if host == 0 else u64(peek(u32, host))


def output_bits(code: u64) -> u64:
    """Physical address sizes of TCR_ELx.IPS and ID_AA64MMFR0_EL1.PARange."""
    match code & 7:
        case 0:
            return u64(32)
        case 1:
            return u64(36)
        case 2:
            return u64(40)
        case 3:
            return u64(42)
        case 4:
            return u64(44)
    return u64(48)


def implemented_bits(h: PrivilegedCore) -> u64:
    return output_bits(h.id[0o70] & 15)


def smaller(a: u64, b: u64) -> u64:
    return a if a < b else b


def granule(h: PrivilegedCore, code: u64) -> u64:
    """log2 of the size of pages for TG0's encoding: 0 is 4, 1 is 64, 2 is 16 KiB.  Those that are not there are 4 KiB."""
    if code == 1:
        return u64(16)
    if code == 2 and h.features & HAS_16K != 0:
        return u64(14)
    return u64(12)


def upper_granule(code: u64) -> u64:
    """TG1's encoding as TG0 has it."""
    return u64(2) if code == 1 else u64(1) if code == 3 else u64(0)


@outlined
def walk(h: PrivilegedCore, regime: u64, access: u64, address: u64) -> tuple[u64, u64]:
    """Both stages."""
    virtual = regime == EL10 and h.has_el2() and h.hcr & (VM | DC) != 0
    intermediate, fault = stage1(h, regime, access, address)
    if fault != 0 or not virtual:
        return intermediate, fault
    attributes = h.attributes
    physical, fault = stage2(h, access, intermediate)
    if fault != 0:
        h.hpfar = intermediate >> 12 << 4
        return physical, fault | OF_STAGE2
    if h.attributes >> 4 != 0:
        h.attributes = attributes  # device memory of either stage is device memory
    return physical, fault


@outlined
def stage1(h: PrivilegedCore, regime: u64, access: u64, address: u64) -> tuple[u64, u64]:
    """Volume D8.2 to D8.4."""
    n = u64(2) if regime == EL20 else regime & 3
    tcr = h.tcr[n & 3]
    two = regime == EL10 or regime == EL20
    upper = address >> 55 & 1 if two else u64(0)
    implemented = implemented_bits(h)
    ignored = tcr >> 20 & 1
    if two:
        ignored = tcr >> 38 & 1 if upper != 0 else tcr >> 37 & 1
    off = h.sctlr[n & 3] & M == 0
    if regime == EL10 and h.hypervisor() & (DC | TGE) != 0:
        off = True
    if off:
        flat = address & 0x00FF_FFFF_FFFF_FFFF if ignored != 0 else address
        h.attributes = u64(NORMAL) if regime == EL10 and h.hypervisor() & DC != 0 else u64(DEVICE)
        h.shareability = u64(2)
        if access & EXECUTE != 0:
            h.attributes = u64(NORMAL)
        if flat >> implemented != 0:
            return address, u64(FAULT | ADDRESS_SIZE)
        return flat, u64(0)
    if two:
        field = tcr >> 16 & 63 if upper != 0 else tcr & 63
        shift = granule(h, upper_granule(tcr >> 30 & 3) if upper != 0 else tcr >> 14 & 3)
        disabled = tcr >> 23 & 1 if upper != 0 else tcr >> 7 & 1
        if h.features & HAS_E0PD != 0 and access & FOR_EL0 != 0:
            disabled |= tcr >> 56 & 1 if upper != 0 else tcr >> 55 & 1
        plain = tcr >> 42 & 1 if upper != 0 else tcr >> 41 & 1
        sizes = tcr >> 32 & 7
        updates = tcr >> 39 & 3
    else:
        field, disabled, plain, sizes, updates = tcr & 63, u64(0), tcr >> 24 & 1, tcr >> 16 & 7, tcr >> 21 & 3
        shift = granule(h, tcr >> 14 & 3)
    if h.features & HAS_HAFDBS == 0 or access & PLAIN_LOOK != 0:
        updates = u64(0)
    if h.features & HAS_HPDS == 0:
        plain = u64(0)
    most = u64(39)
    if h.features & HAS_SMALL_TABLES != 0:
        most = u64(47) if shift == 16 else u64(48)
    if field < 16 or field > most or disabled != 0:
        return address, u64(FAULT | TRANSLATION)
    size = 64 - field
    above = address << 8 >> (size + 8) if ignored != 0 else address >> size
    if above != (u64(0) if upper == 0 else (u64(1) << ((u64(56) if ignored != 0 else u64(64)) - size)) - 1):
        return address, u64(FAULT | TRANSLATION)
    limit = smaller(implemented, output_bits(sizes))
    base = h.ttbr1[n & 3] if upper != 0 else h.ttbr0[n & 3]
    stride = shift - 3
    left = (size - shift + stride - 1) // stride  # levels
    level = 4 - left
    low = address & (u64(1) << size) - 1
    position = (left - 1) * stride + shift  # of the index in the address
    first = size - position + 3
    table = base & 0x0000_FFFF_FFFF_FFFE & ~((u64(1) << first) - 1)
    if table >> limit != 0:
        return address, u64(FAULT | ADDRESS_SIZE)
    no_el0, read_only, no_user_code, no_code = u64(0), u64(0), u64(0), u64(0)
    virtual = regime == EL10 and h.has_el2() and h.hcr & VM != 0
    mask = (u64(1) << (size - position)) - 1
    while True:
        at = table | (low >> position & mask) << 3
        if virtual:
            intermediate = at
            at, fault = stage2(h, u64(READ) | access & PLAIN_LOOK, intermediate)
            if fault == 0 and h.hcr & PTW != 0 and h.attributes >> 4 == 0:
                fault = FAULT | PERMISSION | level
            if fault != 0:
                h.hpfar = intermediate >> 12 << 4
                return address, fault | (OF_STAGE2 | OF_WALK)
        host, entry, fault = descriptor(h, at, level, position, shift, limit)
        if fault != 0:
            return address, fault
        if points(entry, level):
            table = output(entry, shift)
            if plain == 0:
                no_el0 |= entry >> 61 & 1
                read_only |= entry >> 62 & 1
                no_user_code |= entry >> 60 & 1
                no_code |= entry >> 59 & 1
            position -= stride
            mask = (u64(1) << stride) - 1
            level += 1
            continue
        new, fault = accessed(entry, level, updates, access)
        if fault != 0:
            return address, fault
        clean = entry & (AP_READ_ONLY | DBM) == AP_READ_ONLY | DBM and updates == 3 and read_only == 0
        writable = (entry & AP_READ_ONLY == 0 or clean) and read_only == 0
        at_el0 = two and entry & AP_EL0 != 0 and no_el0 == 0
        strict = h.sctlr[n & 3] & WXN != 0
        never = entry >> 54 & 1 != 0 or no_user_code != 0  # UXN, or XN where there is no EL0
        if access & FOR_EL0 != 0:
            fine = at_el0
            if access & EXECUTE != 0:
                fine = not never and not (strict and writable and at_el0)
            elif access & WRITE != 0:
                fine = at_el0 and writable
        elif access & EXECUTE != 0:
            if two:
                never = entry >> 53 & 1 != 0 or no_code != 0 or (writable and at_el0)
            fine = not never and not (strict and writable)
        else:
            fine = access & WRITE == 0 or writable
            if access & PAN_COUNTS != 0 and at_el0:
                fine = False
        if not fine and access & PLAIN_LOOK == 0:
            return address, FAULT | PERMISSION | level
        if access & WRITE != 0 and clean:
            new &= ~u64(AP_READ_ONLY)
        if new != entry:
            if virtual:
                at, fault = stage2(h, u64(WRITE), intermediate)
                if fault != 0:
                    h.hpfar = intermediate >> 12 << 4
                    return address, fault | (OF_STAGE2 | OF_WALK)
            if compare_exchange(u64, host, entry, new) != entry:
                continue
        inside = (u64(1) << position) - 1
        if position > 12:
            h.note_large(address, inside)
        h.attributes = h.mair[n & 3] >> ((entry >> 2 & 7) << 3) & 0xFF
        h.shareability = entry >> 8 & 3
        h.guarded_page = entry >> 50 & 1
        return output(entry, position) | low & inside, u64(0)


def points(entry: u64, level: u64) -> bool:
    """This valid descriptor is a table's."""
    return level < 3 and entry & TABLE != 0


def output(entry: u64, bits: u64) -> u64:
    """The output address of a descriptor, of so many bits less."""
    return entry & OUTPUT & ~((u64(1) << bits) - 1)


def descriptor(h: PrivilegedCore, at: u64, level: u64, position: u64, shift: u64, limit: u64) -> tuple[u64, u64, u64]:
    """The descriptor at a physical address: its host address, itself, and the fault when it is none or points beyond `limit` bits."""
    host = host_address(h, at)
    if host == 0:
        return host, u64(0), FAULT | EXTERNAL_ON_WALK | level
    entry = peek_acquire(u64, host)
    if entry & VALID == 0 or not (points(entry, level) or leaf(entry, level, shift)):
        return host, entry, FAULT | TRANSLATION | level
    if output(entry, shift if points(entry, level) else position) >> limit != 0:
        return host, entry, FAULT | ADDRESS_SIZE | level
    return host, entry, u64(0)


def accessed(entry: u64, level: u64, updates: u64, access: u64) -> tuple[u64, u64]:
    """The leaf with its access flag set if hardware does that, and the fault when it is neither set nor to be."""
    if entry & AF != 0 or (updates & 1 == 0 and access & PLAIN_LOOK != 0):
        return entry, u64(0)
    if updates & 1 == 0:
        return entry, FAULT | ACCESS_FLAG | level
    return entry | AF, u64(0)


def leaf(entry: u64, level: u64, shift: u64) -> bool:
    """A page at level 3; blocks of 1 GiB (4 KiB granule) and of level 2."""
    if level == 3:
        return entry & TABLE != 0
    return entry & TABLE == 0 and (level == 2 or (level == 1 and shift == 12))


@outlined
def stage2(h: PrivilegedCore, access: u64, address: u64) -> tuple[u64, u64]:
    """D8.2.5 and D8.4: VTCR_EL2, VTTBR_EL2."""
    if h.hcr & (VM | DC) == 0:
        return address, u64(0)
    tcr = h.vtcr
    field = tcr & 63
    shift = granule(h, tcr >> 14 & 3)
    start = tcr >> 6 & 3
    level = 3 - start
    if shift == 12:
        level = u64(3) if start == 3 else 2 - start
    stride = shift - 3
    size = 64 - field
    position = (3 - level) * stride + shift
    most = u64(39)
    if h.features & HAS_SMALL_TABLES != 0:
        most = u64(47) if shift == 16 else u64(48)
    implemented = implemented_bits(h)
    if field < 16 or field > most or size <= position or size > position + stride + 4 or (start == 3 and shift != 12):
        return address, u64(FAULT | TRANSLATION)
    if address >> size != 0:
        return address, u64(FAULT | TRANSLATION)
    limit = smaller(implemented, output_bits(tcr >> 16 & 7))
    updates = tcr >> 21 & 3
    if h.features & HAS_HAFDBS == 0 or access & PLAIN_LOOK != 0:
        updates = u64(0)
    mask = (u64(1) << (size - position)) - 1  # tables of the first level may be concatenated
    table = h.vttbr & 0x0000_FFFF_FFFF_FFFE & ~((u64(1) << (size - position + 3)) - 1)
    if table >> limit != 0:
        return address, u64(FAULT | ADDRESS_SIZE)
    while True:
        at = table | (address >> position & mask) << 3
        host, entry, fault = descriptor(h, at, level, position, shift, limit)
        if fault != 0:
            return address, fault
        if points(entry, level):
            table = output(entry, shift)
            position -= stride
            mask = (u64(1) << stride) - 1
            level += 1
            continue
        new, fault = accessed(entry, level, updates, access)
        if fault != 0:
            return address, fault
        clean = entry & (S2_WRITE | DBM) == DBM and updates == 3
        fine = entry & S2_READ != 0
        if access & EXECUTE != 0:
            fine = executable(h, entry >> 53 & 3, access)
        elif access & WRITE != 0:
            fine = entry & S2_WRITE != 0 or clean
        if not fine and access & PLAIN_LOOK == 0:
            return address, FAULT | PERMISSION | level
        if access & WRITE != 0 and clean:
            new |= S2_WRITE
        if new != entry:
            if compare_exchange(u64, host, entry, new) != entry:
                continue
        h.attributes = entry >> 2 & 15 if entry >> 4 & 3 == 0 else u64(NORMAL)
        return output(entry, position) | address & (u64(1) << position) - 1, u64(0)


def executable(h: PrivilegedCore, xn: u64, access: u64) -> bool:
    """XN[1:0]: 0 both, 1 EL0 only, 2 none, 3 EL1 only (FEAT_XNX); else bit 1 is XN."""
    if h.features & HAS_XNX == 0 or xn & 1 == 0:
        return xn < 2
    return (access & FOR_EL0 != 0) == (xn == 1)


@outlined
def probe(h: PrivilegedCore, regime: u64, access: u64, address: u64, both: u64) -> None:
    """AT: set PAR_EL1."""
    if both != 0:
        physical, fault = walk(h, regime, access, address)
    else:
        physical, fault = stage1(h, regime, access, address)
        if fault & OF_STAGE2 != 0 and h.el == 1:
            abort(h, access | MAINTENANCE, address, fault)
    if fault == 0:
        h.par = physical & OUTPUT | h.attributes << 56 | h.shareability << 7 | 1 << 11 | 1 << 9
    else:
        h.par = 1 | (fault & 63) << 1 | u64(fault & OF_WALK != 0) << 8 | u64(fault & OF_STAGE2 != 0) << 9 | 1 << 11
