"""Young pages: what fences of the guest must undo on machines of several CPUs.

A store that has looked at the write table before a page became code may still be under way to it; so may an atomic operation, which
undoes entries before it writes.  What is decoded meanwhile nobody undoes but a fence: it undoes all that is decoded from the pages of
this generation and the one before.  A generation ends with a fence that finds that every CPU has come to the end of a slice since it began,
or waits.
"""

from __future__ import annotations

from tinamou.native.memory import compare_exchange, exchange, fence, peek, poke, poke_release
from tinamou.native.ops import outlined
from tinamou.native.types import u64

from .cpu import PAGE, Cpu, Shared
from .predecode import shift, undo_page


class PacedCpu(Cpu):
    """A CPU that counts the ends of its slices."""

    halted: u64  # not 0: waits for an interrupt
    slices: u64  # that have ended: stores before are done
    slices_then: u64  # the same, when this generation began


def pass_on(cpu: Cpu) -> None:
    """A slice ends."""
    exchange("add", u64, u64(cpu.address) + PacedCpu.fields["slices"].offset, u64(1))


def lock(cpu: Cpu) -> None:
    """Nobody decodes from a page that has become code before this is unlocked."""
    at = cpu.shared + Shared.fields["young_lock"].offset
    while compare_exchange(u64, at, u64(0), u64(1)) != 0:
        pass


def unlock(cpu: Cpu) -> None:
    poke_release(u64, cpu.shared + Shared.fields["young_lock"].offset, u64(0))


def link_of(entries: u64) -> u64:
    """In a page's second and third sentinel: the next young page | 1, or 0 if it is not young; the generation in which it was added."""
    return entries + ((PAGE << shift()) + 24)


def add(cpu: Cpu, entries: u64) -> None:
    """These entries of a page are used from now on, and it is missing in the write tables."""
    s = Shared.at(cpu.shared)
    fence()
    link = link_of(entries)
    poke(u64, link + 16, s.generation)
    if peek(u64, link) == 0:
        poke(u64, link, s.young | 1)
        s.young = entries


def again(cpu: Cpu, entries: u64) -> None:
    """The page is going to be written."""
    if Shared.at(cpu.shared).cpus > 1:
        lock(cpu)
        add(cpu, entries)
        unlock(cpu)


def undo(cpu: Cpu) -> None:
    if Shared.at(cpu.shared).cpus > 1:
        undo_all(cpu)


@outlined
def undo_all(cpu: Cpu) -> None:
    lock(cpu)
    s = Shared.at(cpu.shared)
    fence()
    over = generation_over(cpu, s)
    before = u64(0)
    page = s.young
    while page != 0:
        undo_page(page)
        link = link_of(page)
        after = peek(u64, link) & ~1
        if over and peek(u64, link + 16) < s.generation:
            poke(u64, link, u64(0))
            if before == 0:
                s.young = after
            else:
                poke(u64, before, after | 1)
        else:
            before = link
        page = after
    if over:
        s.generation += 1
    unlock(cpu)


def generation_over(cpu: Cpu, s: Shared) -> bool:
    """Every other CPU waits, or has come to the end of a slice since the last time that this was so; this one is between two stores."""
    end = s.states + (s.cpus << 3)
    at = s.states
    while at < end:
        c = PacedCpu.at(peek(u64, at))
        if c.slices == c.slices_then and c.halted == 0 and peek(u64, at) != u64(cpu.address):
            return False
        at += 8
    at = s.states
    while at < end:
        c = PacedCpu.at(peek(u64, at))
        c.slices_then = c.slices
        at += 8
    return True
