"""The flat memory model: a guest address is an offset from one host address.

For user mode.  The host's page protection is the guest's, so an access costs a comparison with `cpu.direct_limit` and an addition.  When it
faults, the host's signal handler continues at the place that `guarded_peek` and `guarded_poke` name (LLVM's fault maps, native.fault):
the slow path, which finds out why from the page flags and raises the guest's exception.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.memory import peek, peek_acquire, poke
from tinamou.native.ops import assume, outlined, unlikely
from tinamou.native.types import Word, i64, u8, u64

from .cpu import EXECUTE, READ, WRITE, Cpu
from .flow import (
    direct_limit,
    enter,
    guarded_peek,
    guarded_poke,
    guest_peek,
    guest_poke,
    leave,
    limit,
    memory_base,
    pc_of,
    probe,
    resume,
    slow,
)
from .interpreter import KICK, TRAP
from .predecode import entry_offset, find_slow, forget_all, new_page
from .specials import begin_slice, end_slice, sample

W = TypeVar("W", bound=Word)

KEPT = ("limit",)  # words of the CPU that a region looks at once


def may(cpu: Cpu, access: int, address: u64) -> bool:
    """The page at `address` is mapped and allows the access."""
    return address < cpu.limit and peek(u8, cpu.page_flags + (address >> 12)) & access != 0


# -- fast paths, expanded in the handlers


def load(cpu: Cpu, kind: type[W], address: u64) -> W:
    return guest_peek(kind, address)


def store(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    guest_poke(kind, address, value)


def writable(cpu: Cpu, address: u64) -> u64:
    """Host address of an aligned word for an atomic operation."""
    if unlikely(address >= direct_limit() or not may(cpu, WRITE, address)):
        slow()
    probe(memory_base() + address, slow)  # a file may end before its pages do
    return memory_base() + address


def load_checked(cpu: Cpu, kind: type[W], address: u64) -> W:
    """For regions in which LLVM leaves no room for fault maps."""
    if unlikely(address >= direct_limit() or not may(cpu, READ, address) or not may(cpu, READ, address + (kind.size - 1))):
        slow()
    return peek(kind, memory_base() + address)


def store_checked(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    if unlikely(address >= direct_limit() or not may(cpu, WRITE, address) or not may(cpu, WRITE, address + (kind.size - 1))):
        slow()
    poke(kind, memory_base() + address, value)


def find(cpu: Cpu, target: u64) -> u64:
    """The entry of a jump's target, or 0 when its page has none yet."""
    if unlikely(target >= limit()):
        return u64(0)
    base = peek_acquire(u64, cpu.pagemap + (target >> 12 << 3))
    if base == 0:
        return u64(0)
    entry = base + entry_offset(target)
    assume(entry != 0)
    return entry


# -- slow paths: the same accesses again, with every check


def refuse(cpu: Cpu, access: int, address: u64) -> None:
    cpu.fault(access, address)


@outlined
def load_slow(cpu: Cpu, kind: type[W], address: u64) -> W:
    if not may(cpu, READ, address):
        cpu.fault(READ, address)
    last = address + (kind.size - 1)
    if not may(cpu, READ, last):
        cpu.fault(READ, last & ~4095)
    return guarded_peek(kind, cpu.memory + address, refuse, cpu, READ, address)


@outlined
def store_slow(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    if not may(cpu, WRITE, address):
        cpu.fault(WRITE, address)
    last = address + (kind.size - 1)
    if not may(cpu, WRITE, last):
        cpu.fault(WRITE, last & ~4095)
    guarded_poke(kind, cpu.memory + address, value, refuse, cpu, WRITE, address)


@outlined
def writable_slow(cpu: Cpu, address: u64) -> u64:
    if not may(cpu, WRITE, address):
        cpu.fault(WRITE, address)
    probe(cpu.memory + address, refuse, cpu, WRITE, address)
    return cpu.memory + address


@outlined
def find_code(cpu: Cpu, target: u64) -> u64:
    """The entry of a jump's target; makes its page's entries."""
    if not may(cpu, EXECUTE, target):
        cpu.fault(EXECUTE, target)
    slot = cpu.pagemap + (target >> 12 << 3)
    base = peek_acquire(u64, slot)
    if base == 0:
        base = new_page(cpu, slot)
    return base + (entry_offset(target))


def linked(cpu: Cpu, target: u64) -> u64:
    """See predecode.linked: entries stay where they are as long as the guest's memory does."""
    if target >= cpu.limit:
        return u64(0)
    base = peek_acquire(u64, cpu.pagemap + (target >> 12 << 3))
    return base + (entry_offset(target)) if base != 0 else u64(0)


def code_address(cpu: Cpu, pc: u64) -> u64:
    if not may(cpu, EXECUTE, pc):
        cpu.fault(EXECUTE, pc)
    return cpu.memory + pc


def decoded(cpu: Cpu, pc: u64) -> None:
    """Stores are not watched."""


def fence_code(cpu: Cpu) -> None:
    """Stores are not watched: nothing decoded is valid any more."""
    forget_all(cpu)


# -- the ends of slices: exceptions are for the caller of run()


def h_pause(cpu: Cpu, entry: u64) -> None:
    """The slice is used up: begin another, or return when somebody wants it."""
    end_slice(cpu, i64(0))
    if cpu.kick | cpu.single | cpu.stepping != 0:
        leave(KICK, pc_of(entry))
    sample(cpu, pc_of(entry))
    begin_slice(cpu)
    resume(entry)


def h_trap(cpu: Cpu, entry: u64) -> None:
    end_slice(cpu, i64(1))
    leave(TRAP, pc_of(entry))


def h_trap_here(cpu: Cpu, entry: u64) -> None:
    end_slice(cpu, i64(0))
    leave(TRAP, pc_of(entry))


def h_trap_fetch(cpu: Cpu, entry: u64) -> None:
    end_slice(cpu, i64(0))
    leave(TRAP, cpu.target)


def h_switch(cpu: Cpu, entry: u64) -> None:
    """Nothing but memory protection depends on the CPU's state in user mode: an ordinary jump."""
    enter(find_slow(cpu, cpu.target), cpu.target)


def h_begin(cpu: Cpu, entry: u64) -> None:
    """run() begins here."""
    enter(find_slow(cpu, cpu.target), cpu.target)


DIRECT = True  # handlers compare addresses with flow.direct_limit()
SPECIALS = [(h_begin, "h_trap_fetch"), (h_pause, ""), (h_trap, ""), (h_trap_here, ""), (h_trap_fetch, ""), (h_switch, "h_trap_fetch")]
