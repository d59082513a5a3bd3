"""Accesses to memory.  Arm Architecture Reference Manual, Arm ARM DDI 0487, B2.2, B2.5 (alignment), D8.8 (address tagging).

Little-endian.  An access that faults has written nothing.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.engine.cpu import Trap
from tinamou.native.ops import unlikely
from tinamou.native.types import Word, u8, u64, u128

from .alu import untagged
from .state import Core
from .traps import ALIGNMENT_READ, ALIGNMENT_WRITE

W = TypeVar("W", bound=Word)
PAGE = 4096


def load(h: Core, t: type[W], address: u64) -> W:
    at = untagged(address)
    if t.bits == 128:
        low = h.load(u64, at)
        return t(low) | t(h.load(u64, at + 8)) << 64
    else:
        return h.load(t, at)


def store(h: Core, t: type[W], address: u64, value: W) -> None:
    at = untagged(address)
    if t.bits == 128:
        check_store(h, at, 16)
        h.store(u64, at, u64(value))
        h.store(u64, at + 8, u64(value >> 64))
    else:
        h.store(t, at, value)


def check_store(h: Core, at: u64, size: int) -> None:
    """Raise the fault of writing `size` bytes in several pieces before the first is written."""
    if unlikely((at & PAGE - 1) > PAGE - size):
        h.atomic("or", u8, at, u8(0))
        h.atomic("or", u8, at + (size - 1), u8(0))


def store_pair(h: Core, t: type[W], address: u64, first: W, second: W) -> None:
    at = untagged(address)
    if t.bits == 32:
        h.store(u64, at, u64(first) | u64(second) << 32)
    else:
        check_store(h, at, 2 * t.size)
        if t.bits == 64:
            h.store(t, at, first)
            h.store(t, at + 8, second)
        else:
            h.store(u64, at, u64(first))
            h.store(u64, at + 8, u64(first >> 64))
            h.store(u64, at + 16, u64(second))
            h.store(u64, at + 24, u64(second >> 64))


def aligned(address: u64, size: int, write: bool) -> u64:
    """The untagged address of an access that must be aligned."""
    at = untagged(address)
    if unlikely(at & (size - 1) != 0):
        raise Trap(ALIGNMENT_WRITE if write else ALIGNMENT_READ, at)
    return at


def join(low: u64, high: u64) -> u128:
    return u128(low) | u128(high) << 64
