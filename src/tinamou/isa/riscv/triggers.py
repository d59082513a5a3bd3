"""The trigger module: breakpoints and watchpoints that the guest sets for itself.  RISC-V External Debug Support, 0.13.2, chapter 5.

Every trigger is of type 2 (mcontrol, 5.2.9) and compares addresses: equal, at least, below.  It acts before the instruction, by a
breakpoint exception (action 0).  In M mode nothing fires while mstatus.MIE is 0 (5.1, the first of its ways), nor in S mode
while sstatus.SIE is 0 and S mode has the exception: so handlers are not interrupted by themselves.
"""

from __future__ import annotations

from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.native.ops import outlined
from tinamou.native.types import u64

from .privileged import MACHINE, MIE, MISA_U, SIE, SUPERVISOR, PrivilegedHart
from .traps import BREAKPOINT

TYPE = 2  # bits 3:0 of tdata1 from the top
MATCH, M, S, U, FETCHES, STORES, LOADS = 15 << 7, 1 << 6, 1 << 4, 1 << 3, 1 << 2, 1 << 1, 1 << 0
EQUAL, AT_LEAST, BELOW = 0, 2, 3


def read_control(h: PrivilegedHart) -> u64:
    return h.mcontrol[h.tselect & 1] | u64(TYPE) << (h.xlen - 4)


def write_control(h: PrivilegedHart, value: u64) -> None:
    """What is not supported reads as 0."""
    legal = u64(M | FETCHES | STORES | LOADS)
    if h.misa & MISA_U != 0:
        legal |= U
    if h.supervisor():
        legal |= S
    match = value >> 7 & 15
    if match == AT_LEAST or match == BELOW:
        legal |= MATCH
    h.mcontrol[h.tselect & 1] = value & legal if value >> (h.xlen - 4) & 15 == TYPE else u64(0)
    update(h)


def update(h: PrivilegedHart) -> None:
    """A trigger has changed: no translation leads past it."""
    look(h)
    h.flush_everything()


def look(h: PrivilegedHart) -> None:
    """Whether one is on."""
    on = u64(0)
    for k in range(2):
        control = h.mcontrol[k]
        if control & (M | S | U) != 0:
            on |= control & (FETCHES | STORES | LOADS)
    h.triggers = on


@outlined
def may_fire(h: PrivilegedHart, first: u64, last: u64) -> bool:
    """Some access to these addresses may fire a trigger."""
    for k in range(2):
        control = h.mcontrol[k]
        if control & (M | S | U) != 0 and control & (FETCHES | STORES | LOADS) != 0:
            if matches(control, h.maddress[k], first, last):
                return True
    return False


def matches(control: u64, address: u64, first: u64, last: u64) -> bool:
    """One of the addresses from first to last."""
    match = control >> 7 & 15
    if match == AT_LEAST:
        return last >= address
    if match == BELOW:
        return first < address
    return first <= address and last >= address


@outlined
def fire(h: PrivilegedHart, access: int, address: u64, size: u64) -> None:
    """The breakpoint exception, if this access hits a trigger that is on in the present mode."""
    if h.privilege == MACHINE and h.mstatus & MIE == 0:
        return
    if h.privilege == SUPERVISOR and h.mstatus & SIE == 0 and h.medeleg >> BREAKPOINT & 1 != 0:
        return
    wanted = u64(0)
    if access & EXECUTE != 0:
        wanted |= FETCHES
    if access & READ != 0:
        wanted |= LOADS
    if access & WRITE != 0:
        wanted |= STORES
    for k in range(2):
        control = h.mcontrol[k]
        if control & wanted != 0 and control >> (h.privilege + 3) & 1 != 0:
            if matches(control, h.maddress[k], address, address + (size - 1)):
                raise Trap(BREAKPOINT, address)
