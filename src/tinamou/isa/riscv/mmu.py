"""Address translation and protection.  The RISC-V Instruction Set Manual, Volume II, 20240411, 3.7 (PMP) and 10.3-10.5 (Sv32, Sv39, Sv48).

The bits A and D of page table entries are set by the hart.
"""

from __future__ import annotations

from tinamou.engine.cpu import EXECUTE, PAGE, READ, WRITE
from tinamou.engine.softmmu import host_address
from tinamou.native.memory import compare_exchange, peek, peek_acquire
from tinamou.native.ops import outlined
from tinamou.native.types import u16, u32, u64

from .privileged import MACHINE, MXR, SUM, SUPERVISOR, USER, PrivilegedHart

PTE_V, PTE_R, PTE_W, PTE_X, PTE_U, PTE_A, PTE_D = 1, 2, 4, 8, 16, 64, 128
SV39 = 8
LOCKED = 0x80


@outlined
def translate(h: PrivilegedHart, access: int, address: u64) -> u64:
    """The physical address; raises page faults and access faults."""
    privilege = h.privilege if access == EXECUTE else h.data_privilege()
    h.partial = u64(0)
    physical = address
    if privilege != MACHINE and (h.satp >> 31 if h.xlen == 32 else h.satp >> 60) != 0:
        physical = walk(h, access, address, privilege)
    if h.pmp_rules != 0:
        if not allowed(h, access, physical, privilege, u64(1)):
            h.physical_fault(access, address)
    return physical


@outlined
def check_span(h: PrivilegedHart, access: int, address: u64, physical: u64, size: u64) -> None:
    """An access inside a page with borders: all its bytes must be of one entry."""
    if not allowed(h, access, physical, h.data_privilege(), size):
        h.physical_fault(access, address)


@outlined
def instruction(h: PrivilegedHart, pc: u64) -> u64:
    """What stands at pc."""
    host = host_address(h, translate(h, EXECUTE, pc))
    if host == 0:
        return u64(0)
    low = u64(peek(u16, host))
    if low & 3 != 3:
        return low
    host = host_address(h, translate(h, EXECUTE, pc + 2))
    if host == 0:
        return u64(0)
    return low | u64(peek(u16, host)) << 16


@outlined
def allowed(h: PrivilegedHart, access: int, physical: u64, privilege: u64, size: u64) -> bool:
    """The first entry that has one of the bytes decides, and must have them all (3.7.1).

    Sets `partial` when there is a border inside the page.
    """
    page = physical & -PAGE
    n = u64(0)
    while n < h.pmp_rules:

        low, last = h.pmp_low[n & 15], h.pmp_last[n & 15]
        if low <= last and low <= page | PAGE - 1 and last >= page:
            if low > page or last < page | PAGE - 1:
                h.partial = u64(1)
            if physical + (size - 1) >= low and physical <= last:
                if physical < low or physical + (size - 1) > last:
                    return False
                config = h.pmp_cfg[n & 15]
                return config & access == access or (privilege == MACHINE and config & LOCKED == 0)
        n += 1
    return privilege == MACHINE


@outlined
def walk(h: PrivilegedHart, access: int, address: u64, privilege: u64) -> u64:
    """Volume II, 10.3.2."""
    if h.xlen == 32:
        return walk_tables(h, access, address, privilege, u32, u64(2), 10, (h.satp & 0x3F_FFFF) << 12)
    levels = (h.satp >> 60) - (SV39 - 3)
    shift = 64 - (levels * 9 + 12)
    sign = address << shift
    if (sign >> shift | (-(sign >> 63) << (64 - shift))) != address:
        h.fault(access, address)
    return walk_tables(h, access, address, privilege, u64, levels, 9, (h.satp & 0xFFF_FFFF_FFFF) << 12)


def walk_tables(
    h: PrivilegedHart, access: int, address: u64, privilege: u64, kind: type[u32] | type[u64], levels: u64, bits: int, root: u64
) -> u64:
    table = root
    level = levels - 1
    while True:
        index = address >> (level * bits + 12) & (1 << bits) - 1
        at = table + index * kind.size
        if h.pmp_rules != 0:
            if not allowed(h, READ, at, u64(SUPERVISOR), u64(kind.size)):
                h.physical_fault(access, address)
            h.partial = u64(0)
        host = host_address(h, at)
        if host == 0:
            h.physical_fault(access, address)
        entry = u64(peek_acquire(kind, host))
        if entry & PTE_V == 0 or entry & (PTE_R | PTE_W) == PTE_W or entry >> 54 != 0:
            h.fault(access, address)
        if entry & (PTE_R | PTE_X) == 0:
            if level == 0 or entry & (PTE_U | PTE_A | PTE_D) != 0:
                h.fault(access, address)
            table = entry >> 10 << 12
            level -= 1
            continue
        if privilege == USER:
            if entry & PTE_U == 0:
                h.fault(access, address)
        elif entry & PTE_U != 0:
            if access == EXECUTE:
                h.fault(access, address)
            elif h.mstatus & SUM == 0:
                h.fault(access, address)
        if access == READ:
            if entry & PTE_R == 0 and (h.mstatus & MXR == 0 or entry & PTE_X == 0):
                h.fault(access, address)
        elif access == WRITE:
            if entry & PTE_W == 0:
                h.fault(access, address)
        elif entry & PTE_X == 0:
            h.fault(access, address)
        mask = (u64(1) << (level * bits + 12)) - 1
        physical = entry >> 10 << 12
        if physical & mask != 0:
            h.fault(access, address)
        used = u64(PTE_A | PTE_D) if access == WRITE else u64(PTE_A)
        if entry & used != used:
            if h.pmp_rules != 0:
                if not allowed(h, WRITE, at, u64(SUPERVISOR), u64(kind.size)):
                    h.physical_fault(access, address)
                h.partial = u64(0)
            if u64(compare_exchange(kind, host, kind(entry), kind(entry | used))) != entry:
                continue
        if level != 0:
            h.note_large(address, mask)
        return physical | address & mask
