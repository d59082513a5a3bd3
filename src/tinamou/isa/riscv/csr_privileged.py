"""CSRs of M and S mode.  The RISC-V Instruction Set Manual, Volume II, 20240411, chapters 2, 3 and 10; those of architecture 1.11."""

from __future__ import annotations

from tinamou.engine.cpu import Trap
from tinamou.native.ops import outlined
from tinamou.native.types import u8, u32, u64

from . import csr, triggers
from .operands import NAMES
from .privileged import (
    FS,
    MACHINE,
    MIE,
    MISA_U,
    MPIE,
    MPP,
    MPP_SHIFT,
    MPRV,
    MXR,
    PMP_ENTRIES,
    SIE,
    SPIE,
    SPP,
    SSIP,
    SUM,
    SUPERVISOR,
    SUPERVISOR_INTERRUPTS,
    TSR,
    TVM,
    TW,
    PrivilegedHart,
)
from .state import MISA_F
from .traps import ILLEGAL_INSTRUCTION


class Number:
    """Addresses of the privileged CSRs."""

    SSTATUS, SIE, STVEC, SCOUNTEREN = 0x100, 0x104, 0x105, 0x106
    SSCRATCH, SEPC, SCAUSE, STVAL, SIP, SATP = 0x140, 0x141, 0x142, 0x143, 0x144, 0x180
    MSTATUS, MISA, MEDELEG, MIDELEG, MIE, MTVEC, MCOUNTEREN = 0x300, 0x301, 0x302, 0x303, 0x304, 0x305, 0x306
    MSTATUSH = 0x310  # of 1.12, but firmware expects it; RV32 has it
    MCOUNTINHIBIT = 0x320
    MSCRATCH, MEPC, MCAUSE, MTVAL, MIP = 0x340, 0x341, 0x342, 0x343, 0x344
    PMPCFG0, PMPCFG3, PMPADDR0, PMPADDR15 = 0x3A0, 0x3A3, 0x3B0, 0x3BF
    MCYCLE, MINSTRET, MHPMCOUNTER3, MHPMCOUNTER31 = 0xB00, 0xB02, 0xB03, 0xB1F
    MCYCLEH, MINSTRETH, MHPMCOUNTER3H, MHPMCOUNTER31H = 0xB80, 0xB82, 0xB83, 0xB9F
    MHPMEVENT3, MHPMEVENT31 = 0x323, 0x33F
    TSELECT, TDATA1, TDATA2, TDATA3, TINFO = 0x7A0, 0x7A1, 0x7A2, 0x7A3, 0x7A4
    MVENDORID, MARCHID, MIMPID, MHARTID = 0xF11, 0xF12, 0xF13, 0xF14


def _names() -> dict[int, str]:
    found = {value: name.lower() for name, value in vars(Number).items() if name.isupper()}
    found |= {Number.PMPCFG0 + n: f"pmpcfg{n}" for n in range(4)} | {Number.PMPADDR0 + n: f"pmpaddr{n}" for n in range(16)}
    for n in range(3, 32):
        found |= {0xB00 + n: f"mhpmcounter{n}", 0xB80 + n: f"mhpmcounter{n}h", 0x320 + n: f"mhpmevent{n}"}
    return found


USER_LEVEL = csr.Number  # that module has named its registers by now
NAMES["csr"] = {**dict(NAMES["csr"]), **_names()}  # type: ignore[arg-type]

SSTATUS = SIE | SPIE | SPP | FS | SUM | MXR
UXL = 3 << 32
EXCEPTIONS = 0xB3FF  # that may be delegated: not ECALL from M, nor what is reserved
INTERRUPTS = 0xAAA
READ_BIT, WRITE_BIT, EXECUTE_BIT = 1, 2, 4
OFF, TOR, NA4, NAPOT, LOCKED = 0, 1, 2, 3, 0x80


def check_mode(h: PrivilegedHart, csr: u32) -> None:
    """Bits 9:8 of the address are the lowest mode that may use it."""
    need = u64(csr >> 8 & 3)
    if need > h.privilege or (need == SUPERVISOR and not h.supervisor()):
        raise Trap(ILLEGAL_INSTRUCTION)


def visible_status(h: PrivilegedHart) -> u64:
    """mstatus with its read-only fields: SD, and XLEN of the lower modes."""
    s = h.mstatus
    if h.xlen == 64:
        if h.misa & MISA_U != 0:
            s |= 2 << 32
        if h.supervisor():
            s |= 2 << 34
    return s | u64(s & FS == FS) << (h.xlen - 1)


def narrow(h: PrivilegedHart, value: u64) -> u64:
    return value & 0xFFFF_FFFF if h.xlen == 32 else value


@outlined
def read(h: PrivilegedHart, csr: u32) -> u64:
    check_mode(h, csr)
    match csr:
        case Number.SSTATUS:
            return visible_status(h) & (SSTATUS | UXL | u64(1) << (h.xlen - 1))
        case Number.SIE:
            return h.mie & h.mideleg
        case Number.STVEC:
            return h.stvec
        case Number.SCOUNTEREN:
            return h.scounteren
        case Number.SSCRATCH:
            return h.sscratch
        case Number.SEPC:
            return h.sepc
        case Number.SCAUSE:
            return h.scause
        case Number.STVAL:
            return h.stval
        case Number.SIP:
            return h.pending() & h.mideleg
        case Number.SATP:
            check_satp(h)
            return h.satp
        case Number.MSTATUS:
            return visible_status(h)
        case Number.MISA:
            return h.misa
        case Number.MEDELEG:
            check_delegation(h)
            return h.medeleg
        case Number.MIDELEG:
            check_delegation(h)
            return h.mideleg
        case Number.MIE:
            return h.mie
        case Number.MTVEC:
            return h.mtvec
        case Number.MCOUNTEREN:
            check_user(h)
            return h.mcounteren
        case Number.MCOUNTINHIBIT:
            check_version(h, u64(11))
            return h.mcountinhibit
        case Number.MSCRATCH:
            return h.mscratch
        case Number.MEPC:
            return h.mepc
        case Number.MCAUSE:
            return h.mcause
        case Number.MTVAL:
            return h.mtval
        case Number.MIP:
            return h.pending()
        case Number.MCYCLE:
            return narrow(h, h.cycles() + h.cycle_offset)
        case Number.MINSTRET:
            return narrow(h, h.retired() + h.instret_offset)
        case Number.MVENDORID:
            return h.vendor
        case Number.MARCHID:
            return h.architecture
        case Number.MIMPID:
            return h.implementation
        case Number.MHARTID:
            return h.hartid
    if csr >= Number.MHPMCOUNTER3 and csr <= Number.MHPMCOUNTER31:
        return u64(0)
    if csr >= Number.MHPMEVENT3 and csr <= Number.MHPMEVENT31:
        return u64(0)
    if h.xlen == 32:
        if csr == Number.MSTATUSH:
            return u64(0)
        if csr == Number.MCYCLEH:
            return h.cycles() + h.cycle_offset >> 32
        if csr == Number.MINSTRETH:
            return h.retired() + h.instret_offset >> 32
        if csr >= Number.MHPMCOUNTER3H and csr <= Number.MHPMCOUNTER31H:
            return u64(0)
    if h.pmp_entries != 0:
        if csr >= Number.PMPADDR0 and csr <= Number.PMPADDR15:
            return h.pmp_addr[csr & 15]
        if csr >= Number.PMPCFG0 and csr <= Number.PMPCFG3:
            return read_pmp_config(h, csr)
    if h.trigger_count != 0:
        match csr:
            case Number.TSELECT:
                return h.tselect
            case Number.TDATA1:
                return triggers.read_control(h)
            case Number.TDATA2:
                return h.maddress[h.tselect & 1]
            case Number.TDATA3:
                return u64(0)
            case Number.TINFO:
                return u64(1 << triggers.TYPE)
    raise Trap(ILLEGAL_INSTRUCTION)


@outlined
def write(h: PrivilegedHart, csr: u32, value: u64) -> bool:
    check_mode(h, csr)
    match csr:
        case Number.SSTATUS:
            return write_status(h, value, u64(SSTATUS))
        case Number.SIE:
            h.mie = h.mie & ~h.mideleg | value & h.mideleg
            h.attention = u64(1)
            return True
        case Number.STVEC:
            h.stvec = value & ~2
            return False
        case Number.SCOUNTEREN:
            h.scounteren = value & 0xFFFF_FFFF
            return False
        case Number.SSCRATCH:
            h.sscratch = value
            return False
        case Number.SEPC:
            h.sepc = value & ~1
            return False
        case Number.SCAUSE:
            h.scause = value
            return False
        case Number.STVAL:
            h.stval = value
            return False
        case Number.SIP:
            mask = h.mideleg & SSIP
            h.soft = h.soft & ~mask | value & mask
            h.attention = u64(1)
            return True
        case Number.SATP:
            return write_satp(h, value)
        case Number.MSTATUS:
            mask = u64(MIE | MPIE)
            if h.misa & MISA_U != 0:
                mask |= MPRV | MPP | TW
            if h.misa & MISA_F != 0:
                mask |= FS
            if h.supervisor():
                mask |= SSTATUS | TVM | TSR
            return write_status(h, value, mask)
        case Number.MISA:
            return False
        case Number.MEDELEG:
            check_delegation(h)
            h.medeleg = value & EXCEPTIONS
            return False
        case Number.MIDELEG:
            check_delegation(h)
            h.mideleg = value & SUPERVISOR_INTERRUPTS
            h.attention = u64(1)
            return True
        case Number.MIE:
            mask = u64(INTERRUPTS) if h.supervisor() else u64(INTERRUPTS & ~SUPERVISOR_INTERRUPTS)
            h.mie = value & mask
            h.attention = u64(1)
            return True
        case Number.MTVEC:
            h.mtvec = value & ~2
            return False
        case Number.MCOUNTEREN:
            check_user(h)
            h.mcounteren = value & 0xFFFF_FFFF
            return False
        case Number.MCOUNTINHIBIT:
            check_version(h, u64(11))
            h.mcountinhibit = value & 0xFFFF_FFFD
            return False
        case Number.MSCRATCH:
            h.mscratch = value
            return False
        case Number.MEPC:
            h.mepc = value & ~1
            return False
        case Number.MCAUSE:
            h.mcause = value
            return False
        case Number.MTVAL:
            h.mtval = value
            return False
        case Number.MIP:
            if h.supervisor():
                mask = u64(SUPERVISOR_INTERRUPTS)
                h.soft = h.soft & ~mask | value & mask
                h.attention = u64(1)
            return True
        case Number.MCYCLE:
            h.cycle_offset = written_counter(h, h.cycles(), h.cycle_offset, value)
            return False
        case Number.MINSTRET:
            h.instret_offset = written_counter(h, h.retired() + 1, h.instret_offset, value)
            return False
    if csr >= Number.MHPMCOUNTER3 and csr <= Number.MHPMCOUNTER31:
        return False
    if csr >= Number.MHPMEVENT3 and csr <= Number.MHPMEVENT31:
        return False
    if h.xlen == 32:
        if csr == Number.MSTATUSH:
            return False
        if csr == Number.MCYCLEH:
            h.cycle_offset = written_upper(h.cycles(), h.cycle_offset, value)
            return False
        if csr == Number.MINSTRETH:
            h.instret_offset = written_upper(h.retired() + 1, h.instret_offset - 1, value)  # this instruction does not count
            return False
        if csr >= Number.MHPMCOUNTER3H and csr <= Number.MHPMCOUNTER31H:
            return False
    if h.pmp_entries != 0:
        if csr >= Number.PMPADDR0 and csr <= Number.PMPADDR15:
            tor_above = csr & 15 != 15 and h.pmp_cfg[csr + 1 & 15] & (LOCKED | 0x18) == LOCKED | TOR << 3
            if u64(csr & 15) < h.pmp_entries and h.pmp_cfg[csr & 15] & LOCKED == 0 and not tor_above:
                h.pmp_addr[csr & 15] = value & 0x3F_FFFF_FFFF_FFFF if h.xlen == 64 else value & 0xFFFF_FFFF
                update_pmp(h)
            return True
        if csr >= Number.PMPCFG0 and csr <= Number.PMPCFG3:
            write_pmp_config(h, csr, value)
            return True
    if h.trigger_count != 0:
        match csr:
            case Number.TSELECT:
                if value < h.trigger_count:
                    h.tselect = value
                return False
            case Number.TDATA1:
                triggers.write_control(h, value)
                return True
            case Number.TDATA2:
                h.maddress[h.tselect & 1] = value
                triggers.update(h)
                return True
            case Number.TDATA3:
                return False
            case Number.TINFO:
                return False
    raise Trap(ILLEGAL_INSTRUCTION)


def check_satp(h: PrivilegedHart) -> None:
    if h.privilege == SUPERVISOR and h.mstatus & TVM != 0:
        raise Trap(ILLEGAL_INSTRUCTION)


def check_delegation(h: PrivilegedHart) -> None:
    if not h.supervisor():
        raise Trap(ILLEGAL_INSTRUCTION)


def check_version(h: PrivilegedHart, version: u64) -> None:
    """CSRs that an older privileged architecture does not have."""
    if h.privileged < version:
        raise Trap(ILLEGAL_INSTRUCTION)


def check_user(h: PrivilegedHart) -> None:
    if h.misa & MISA_U == 0:
        raise Trap(ILLEGAL_INSTRUCTION)


def check_counter(h: PrivilegedHart, csr: u32) -> None:
    """mcounteren and scounteren (3.1.11, 10.1.5)."""
    bit = csr & 31
    if h.privilege != MACHINE and h.mcounteren >> bit & 1 == 0:
        raise Trap(ILLEGAL_INSTRUCTION)
    if h.privilege == 0 and h.supervisor() and h.scounteren >> bit & 1 == 0:
        raise Trap(ILLEGAL_INSTRUCTION)


def written_counter(h: PrivilegedHart, clock: u64, offset: u64, value: u64) -> u64:
    if h.xlen == 32:
        return (clock + offset & 0xFFFF_FFFF_0000_0000 | value) - clock
    return value - clock


def written_upper(clock: u64, offset: u64, value: u64) -> u64:
    return (clock + offset & 0xFFFF_FFFF | value << 32) - clock


def write_status(h: PrivilegedHart, value: u64, mask: u64) -> bool:
    old = h.mstatus
    new = old & ~mask | value & mask
    mode = new >> MPP_SHIFT & 3
    if mode == 2 or (mode == SUPERVISOR and not h.supervisor()):
        new = new & ~MPP | old & MPP
    h.mstatus = new
    if (old ^ new) & MXR != 0:
        h.flush_everything()
    if (old ^ new) & (MPRV | MPP | SUM | MXR | MIE | SIE) == 0:
        return False
    h.regime()
    h.attention = u64(1)
    return True


def write_satp(h: PrivilegedHart, value: u64) -> bool:
    """A mode that does not exist: the write has no effect (10.1.11)."""
    check_satp(h)
    if h.xlen == 32:
        if h.modes == 0 and value >> 31 != 0:
            return False
    else:
        mode = value >> 60
        if mode != 0 and (mode < 8 or mode > h.modes):
            return False
    if h.satp == value:
        return False
    h.satp = value
    h.flush_everything()
    return True


# -- physical memory protection (3.7)


def read_pmp_config(h: PrivilegedHart, csr: u32) -> u64:
    if h.xlen == 64:
        if csr & 1 != 0:
            raise Trap(ILLEGAL_INSTRUCTION)
    value = u64(0)
    for k in range(h.xlen // 8):
        value |= u64(h.pmp_cfg[((csr & 3) << 2) + k & 15]) << (8 * k)
    return value


def write_pmp_config(h: PrivilegedHart, csr: u32, value: u64) -> None:
    if h.xlen == 64:
        if csr & 1 != 0:
            raise Trap(ILLEGAL_INSTRUCTION)
    for k in range(h.xlen // 8):
        n = u64((csr & 3) << 2) + k & 15
        if n < h.pmp_entries and h.pmp_cfg[n & 15] & LOCKED == 0:
            h.pmp_cfg[((csr & 3) << 2) + k & 15] = u8(value >> (8 * k)) & 0x9F
    update_pmp(h)


@outlined
def update_pmp(h: PrivilegedHart) -> None:
    """Where each entry begins and ends."""
    rules = u64(0)
    before = u64(0)
    n = u64(0)
    while n < PMP_ENTRIES:

        kind = h.pmp_cfg[n & 15] >> 3 & 3
        address = h.pmp_addr[n & 15]
        low, last = u64(1), u64(0)
        if kind == TOR:
            if address > before:
                low, last = before << 2, (address << 2) - 1
        elif kind == NA4:
            low, last = address << 2, (address << 2) | 3
        elif kind == NAPOT:
            ones = address ^ address + 1
            low, last = (address & ~ones) << 2, (address | ones) << 2 | 3
        h.pmp_low[n & 15], h.pmp_last[n & 15] = low, last
        if kind != OFF:
            rules = n + 1
        before = address
        n += 1
    h.pmp_rules = rules
    h.flush_everything()

