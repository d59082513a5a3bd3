"""Accesses to memory.  Arm Architecture Reference Manual, Arm ARM DDI 0487, B2.2, B2.5 (alignment), D8.8 (address tagging), D10 (tags).

Little-endian.  An access that faults has written nothing.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.engine.cpu import Trap
from tinamou.engine.flow import direct, slow
from tinamou.native.memory import peek
from tinamou.native.ops import intrinsic, outlined, unlikely
from tinamou.native.types import Word, u8, u32, u64, u128

from .state import TAGGED_PAGE, Core
from .traps import ALIGNMENT_READ, ALIGNMENT_WRITE, SP_ALIGNMENT, TAG_CHECK_READ, TAG_CHECK_WRITE

W = TypeVar("W", bound=Word)
PAGE = 4096


# -- tags (FEAT_MTE2)


def tag_of(address: u64) -> u32:
    """AllocationTagFromAddress."""
    return u32(address >> 56) & 15


def tag_slot(h: Core, address: u64) -> u64:
    """Host address of the tag of an untagged address; 0 if its page has none."""
    if h.tags == 0 or address >= h.limit or peek(u8, h.page_flags + (address >> 12)) & TAGGED_PAGE == 0:
        return u64(0)
    return h.tags + (address >> 4)


@outlined
def check_tags(h: Core, address: u64, size: u64, write: bool) -> None:
    """The tag check of an access; failing raises, or is noted when checks are asynchronous."""
    if h.tco != 0:
        return
    at = h.untagged(address) & ~15
    end = h.untagged(address) + size
    while at < end:
        slot = tag_slot(h, at)
        if slot != 0 and u32(peek(u8, slot)) & 15 != tag_of(address):
            if h.tcf == 1 or (h.tcf == 3 and not write):
                raise Trap(TAG_CHECK_WRITE if write else TAG_CHECK_READ, address if at <= h.untagged(address) else at)
            h.tfsr = h.tfsr | 1
        at = at + 16


def based(h: Core, base: u64) -> u64:
    """The base register of an access.  Rows whose base is SP have `stacked` in its place."""
    return base


def stacked(h: Core, sp: u64) -> u64:
    """CheckSPAlignment, before anything else of an access."""
    if unlikely(h.stack_misaligned(sp)):
        if direct():
            slow()
        raise Trap(SP_ALIGNMENT)
    return sp


def checked(h: Core, address: u64, size: int, write: bool) -> u64:
    """The untagged address of an access, its tag checked.

    In direct forms there is nothing to do: tagged addresses, and all while tags are checked, are beyond `direct_limit`.
    """
    return address if direct() else checked_tag(h, address, size, write)


def checked_tag(h: Core, address: u64, size: int, write: bool) -> u64:
    if unlikely(h.tcf != 0):
        check_tags(h, address, u64(size), write)
    return h.untagged(address)


@intrinsic
def settled(x: W) -> W:
    """What was read, read before anything that follows: the first of several reads must not move behind the check of the next."""
    return x


@intrinsic
def settle() -> None:
    """What was written stays before anything that follows: one of several writes must be the first thing behind its check."""


def load(h: Core, t: type[W], address: u64) -> W:
    if t.bits == 128:
        return load_wide(h, t, checked(h, address, 16, False))
    return h.load(t, checked(h, address, t.size, False))


def load_wide(h: Core, t: type[W], at: u64) -> W:
    low = settled(h.load(u64, at))
    return t(join(low, settled(h.load(u64, at + 8))))


def load_pair(h: Core, t: type[W], address: u64) -> tuple[W, W]:
    first = load(h, t, address) if t.bits == 128 else settled(load(h, t, address))
    return first, load(h, t, address + t.size)


def store(h: Core, t: type[W], address: u64, value: W) -> None:
    if t.bits == 128:
        at = checked(h, address, 16, True)
        check_store(h, at, 16)
        store_words(h, at, u64(value), u64(value >> 64))
    else:
        h.store(t, checked(h, address, t.size, True), value)


def store_words(h: Core, at: u64, low: u64, high: u64) -> None:
    """16 bytes whose write was checked."""
    a, b = settled(low), settled(high)
    h.store(u64, at, a)
    settle()
    h.store(u64, at + 8, b)
    settle()


def check_store(h: Core, at: u64, size: int) -> None:
    """Raise the fault of writing `size` bytes in several pieces before the first is written."""
    if unlikely((at & PAGE - 1) > PAGE - size):
        if direct():
            slow()
        h.atomic("or", u8, at, u8(0))
        h.atomic("or", u8, at + (size - 1), u8(0))


def store_pair(h: Core, t: type[W], address: u64, first: W, second: W) -> None:
    at = checked(h, address, 2 * t.size, True)
    if t.bits == 32:
        h.store(u64, at, u64(first) | u64(second) << 32)
    else:
        check_store(h, at, 2 * t.size)
        if t.bits == 64:
            store_words(h, at, u64(first), u64(second))
        else:
            store_words(h, at, u64(first), u64(first >> 64))
            store_words(h, at + 16, u64(second), u64(second >> 64))


def aligned(h: Core, address: u64, size: int, write: bool) -> u64:
    """The untagged address of an access that must be aligned; that comes before its tag."""
    if unlikely(address & (size - 1) != 0):
        raise Trap(ALIGNMENT_WRITE if write else ALIGNMENT_READ, h.untagged(address))
    return checked(h, address, size, write)


def join(low: u64, high: u64) -> u128:
    return u128(low) | u128(high) << 64
