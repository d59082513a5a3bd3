"""Host memory by address: what the soft MMU, predecoded code and caches are made of.  Never reachable by guest code directly."""

from __future__ import annotations

import ctypes
from typing import TypeVar

from .ops import intrinsic
from .types import Word, u64

W = TypeVar("W", bound=Word)


@intrinsic
def peek(kind: type[W], address: u64) -> W:
    """Read a word, little-endian, at any alignment."""
    return kind(int.from_bytes(ctypes.string_at(int(address), kind.size), "little"))


@intrinsic
def poke(kind: type[W], address: u64, value: W) -> None:
    """Write a word, little-endian, at any alignment."""
    ctypes.memmove(int(address), (int(value) & kind.mask).to_bytes(kind.size, "little"), kind.size)


@intrinsic
def peek_acquire(kind: type[W], address: u64) -> W:
    """Read an aligned word in one piece; what was published before it was written is seen."""
    return peek(kind, address)


@intrinsic
def poke_release(kind: type[W], address: u64, value: W) -> None:
    """Write an aligned word in one piece, after all writes before it."""
    poke(kind, address, value)


@intrinsic
def exchange(operation: str, kind: type[W], address: u64, value: W) -> W:
    """Read-modify-write an aligned word atomically (swap add and or xor min max), sequentially consistent; gives the old value."""
    old = peek(kind, address)
    new = {"swap": value, "add": old + value, "and": old & value, "or": old | value, "xor": old ^ value}.get(operation)
    poke(kind, address, kind({"min": min, "max": max}[operation](old, value)) if new is None else new)
    return old


@intrinsic
def compare_exchange(kind: type[W], address: u64, expected: W, value: W) -> W:
    """Write `value` if the aligned word is `expected`, atomically; gives what it was."""
    old = peek(kind, address)
    if old == expected:
        poke(kind, address, value)
    return old


@intrinsic
def fence() -> None:
    """Order memory accesses before and after, sequentially consistent."""


@intrinsic
def cycle_counter() -> u64:
    """The host's cycle or time-stamp counter."""
    import time

    return u64(time.perf_counter_ns())


@intrinsic
def call_host(function: u64, a: u64, b: u64, c: u64, d: u64) -> u64:
    """Call a host function `uint64_t f(uint64_t, uint64_t, uint64_t, uint64_t)`, for example a Python callback."""
    kind = ctypes.CFUNCTYPE(*[ctypes.c_uint64] * 5)
    return u64(kind(int(function))(int(a), int(b), int(c), int(d)))
