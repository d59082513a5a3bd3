"""Predecoded code: one 16-byte entry for each granule of a guest code page.

    offset 0   8 bytes   address of the handler
    offset 8   8 bytes   the operands, packed by `slots`: register numbers, immediates

The next instruction is the next entry, so there are no blocks and no program counter: pc = (address of the entry >> shift) + cpu.bias.
Entries not decoded yet point at the handler that decodes; behind a page's last entry stand entries that cross into the next page.

Several CPUs decode, undo and run the same entry at once without locks.  What the handler's address says:
    h_decode   nothing is decoded; who exchanges it for h_busy decodes
    h_busy     one CPU reads the code and writes the operands; others run the instruction from an entry of their own
    h_stale    the same, but the code has changed since: the CPU that decodes makes it h_decode again
    h_warm     the operands are valid; visits are counted until the entry gets a trace (engine.traces)
    otherwise  the operands are those of this handler, or it is a trace or a region
So operands are never written by two, and what was read before an undo() is not published after it.  A CPU that is just running an
instruction whose entry is undone and decoded again may read operands of the new one: handlers bear any register number, and a near
jump looks at the handler's address again before it goes.
"""

from __future__ import annotations

from tinamou.native.memory import compare_exchange, exchange, fence, peek, peek_acquire, poke, poke_release
from tinamou.native.ops import intrinsic, outlined, unlikely
from tinamou.native.types import i32, i64, u16, u32, u64

from .cpu import EXECUTE, PAGE, Cpu, Shared

ENTRY = 16
SENTINELS = 8  # entries behind a page that cross into the next one: an instruction has at most 8 granules
AHEAD = 32  # instructions decoded at once along a straight line
DECODE, BUSY, STALE, STRADDLE, CROSS, WARM = "h_decode", "h_busy", "h_stale", "h_straddle", "h_cross", "h_warm"


class ArenaFull(Exception):
    """No room for more predecoded pages."""


# -- what the engine supplies to the functions below


@intrinsic
def symbol(name: str) -> u64:
    """Address of a handler in the image."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def handler_of(number: u32) -> u64:
    """Address of the handler of a form."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def length_of(number: u32) -> u64:
    """Bytes of an instruction of this form; 0 for undefined ones."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def ends_of(number: u32) -> bool:
    """The instruction never goes on to the next one."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def distance_of(number: u32) -> u64:
    """Where the entry of a form that jumps inside the page has the distance (i32, in bytes of entries); 0 for other forms."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def decode(cpu: Cpu, entry: u64, word: u32, offset: u64, near: u64) -> u32:
    """The generated decoder."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def length(first: u32) -> u64:
    """Architecture.length."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def shift() -> int:
    """Architecture.shift."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def wrapped(address: u64) -> u64:
    """An address that was counted up, in an address space of Architecture.bits."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def page_end(cpu: Cpu) -> u64:
    """Offset behind the last code of a page: PAGE, or less where there is less code than that."""
    raise TypeError("the memory model supplies it")


@intrinsic
def entry_offset(address: u64) -> u64:
    """Offset of an address's entry from the first one of its page; whatever the address, it is that of an entry."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def find_slow(cpu: Cpu, target: u64) -> u64:
    """The entry of the instruction at target, whose page gets entries if it has none; raises the fetch fault."""
    raise TypeError("the memory model supplies it")


@intrinsic
def linked(cpu: Cpu, target: u64) -> u64:
    """The entry of the instruction at target, which is its entry for ever, or 0; only where the model has it."""
    raise TypeError("the memory model supplies it")


@intrinsic
def code_address(cpu: Cpu, pc: u64) -> u64:
    """Host address of the code at pc, whose page may be executed; raises the fetch fault otherwise."""
    raise TypeError("the memory model supplies it")


@intrinsic
def decoded(cpu: Cpu, pc: u64) -> None:
    """Entries of the page of pc were decoded just now."""
    raise TypeError("the memory model supplies it")


# -- pages of entries


def stride() -> int:
    """Bytes of the entries of one page, sentinels included."""
    return (PAGE << shift()) + SENTINELS * ENTRY


@outlined
def fresh_page(cpu: Cpu) -> u64:
    """Make the entries of a code page; gives their base address."""
    size = stride()
    base = exchange("add", u64, cpu.shared, u64(size))
    if unlikely(base + size > peek(u64, cpu.shared + 8)):
        raise ArenaFull()
    at = base
    while at < base + (PAGE << shift()):
        poke(u64, at, symbol(DECODE))
        at += ENTRY
    while at < base + size:
        poke(u64, at, symbol(CROSS))
        at += ENTRY
    return base


def new_page(cpu: Cpu, slot: u64) -> u64:
    """Make the entries of a code page and publish them in the pagemap slot; gives their base address."""
    base = fresh_page(cpu)
    first = compare_exchange(u64, slot, u64(0), base)
    return base if first == 0 else first


@outlined
def predecode(cpu: Cpu, entry: u64, pc: u64) -> None:
    """Decode the straight line from pc on, as far as it is not decoded yet."""
    host = code_address(cpu, pc)
    offset, end = pc & (PAGE - 1), page_end(cpu)
    n = u32(0)
    start, targets = entry, u64(1)  # a bit for each of the next 64 entries: something jumps there
    s = Shared.at(cpu.shared)
    tracing = s.stencils != 0
    while n < AHEAD and offset < PAGE:
        if compare_exchange(u64, entry, symbol(DECODE), symbol(BUSY)) != symbol(DECODE):
            return
        if offset >= end:
            publish(entry, symbol(CROSS))
            return
        word = u32(peek(u16, host)) if offset > end - 4 else peek(u32, host)
        size = length(word)
        if offset + size > end:
            publish(entry, symbol(STRADDLE))
            return
        number = decode(cpu, entry, word, offset, u64(1))
        if tracing and number != 0:
            to = jumps_to(entry, number)
            if to != 0:
                if to - start < ENTRY * 64:
                    targets |= u64(1) << (to - start >> 4)
                warm(s, to)
        known = entry - start < ENTRY * 64 and targets >> (entry - start >> 4 & 63) & 1 != 0
        publish(entry, symbol(WARM) if tracing and number != 0 and known else handler_of(number))
        if number == 0 or ends_of(number):
            return
        entry += size << shift()
        offset += size
        host += size
        n += 1


def jumps_to(entry: u64, number: u32) -> u64:
    """The entry to which an instruction that has just been decoded jumps in its page, or 0."""
    distance = distance_of(number)
    return entry + u64(i64(peek(i32, entry + distance))) if distance != 0 else u64(0)


def plain(s: Shared, handler: u64) -> bool:
    """This is the handler of an instruction, not a special one, a trace or a region."""
    if handler - s.image >= s.image_size:
        return False
    if handler == symbol(DECODE) or handler == symbol(BUSY) or handler == symbol(STALE):
        return False
    if handler == symbol(STRADDLE) or handler == symbol(CROSS) or handler == symbol(WARM):
        return False
    return handler != symbol("h_undefined")


def warm(s: Shared, entry: u64) -> None:
    """Count the visits of this entry from now on, if it is decoded."""
    now = peek_acquire(u64, entry)
    if plain(s, now):
        compare_exchange(u64, entry, now, symbol(WARM))


def publish(entry: u64, handler: u64) -> None:
    """The operands are written."""
    if compare_exchange(u64, entry, symbol(BUSY), handler) == symbol(STALE):
        poke_release(u64, entry, symbol(DECODE))


def undo(entry: u64) -> None:
    """The code has changed (and the change is visible: after a fence): what was read of it before does not count."""
    while True:
        now = peek_acquire(u64, entry)
        if now == symbol(DECODE) or now == symbol(STALE):
            return
        if compare_exchange(u64, entry, now, symbol(STALE) if now == symbol(BUSY) else symbol(DECODE)) == now:
            return


@outlined
def undo_page(entries: u64) -> None:
    at = entries
    while at < entries + (PAGE << shift()):
        undo(at)
        at += ENTRY


@outlined
def decode_straddling(cpu: Cpu, entry: u64, pc: u64) -> u64:
    """Decode the instruction that begins at the end of a page and goes on in the next; gives its handler."""
    low = peek(u16, code_address(cpu, pc))
    high = peek(u16, code_address(cpu, wrapped(pc + 2)))
    return handler_of(decode(cpu, entry, u32(low) | u32(high) << 16, pc & (PAGE - 1), u64(0)))


@outlined
def forget_all(cpu: Cpu) -> None:
    """Undo everything that was decoded."""
    exchange("add", u64, cpu.shared + Shared.fields["fences"].offset, u64(1))
    base = peek(u64, cpu.shared + 16)
    end = peek_acquire(u64, cpu.shared)
    while base < end:
        undo_page(base)
        base += stride()


def forget(pagemap: u64, first: u64, last: u64) -> None:
    """Undo what was decoded in the pages from `first` to `last` (page numbers, last one excluded)."""
    fence()
    page = first
    while page < last:
        base = peek_acquire(u64, pagemap + (page << 3)) & -ENTRY  # a memory model may keep flags in the low bits, and change them now
        if base != 0:
            undo_page(base)
        page += 1


__all__ = ["EXECUTE", "Shared"]
