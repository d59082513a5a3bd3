"""When the host's floating point gives what this package would, flags included.

For singles and doubles.  The operands are zero or normal, so nothing is invalid or flushed; rounding is to nearest even; and INEXACT is
set already, so that it does not matter whether this operation is exact.  A result that is normal has then neither overflowed nor
underflowed (it must exceed the smallest normal number: that one may have been rounded up to).  Everything else is for the slow functions.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.floats import host_from_int, host_to_int
from tinamou.native.types import Word, i64, u32

from .behaviour import INEXACT, NEAREST_EVEN, TOWARD_ZERO
from .format import F32, F64, Format

__all__ = ["INEXACT", "TOWARD_ZERO", "cut_exactly", "exact_integer", "fits", "hosted", "is_number", "may_round", "normal", "plain"]

W = TypeVar("W", bound=Word)


def hosted(f: Format[W]) -> bool:
    """The host computes in this format."""
    return f is F32 or f is F64


def may_round(f: Format[W], mode: u32, flags: u32) -> bool:
    """Results may be rounded by the host; `flags` are those already accrued."""
    if not hosted(f):
        return False
    return mode == NEAREST_EVEN and (flags & INEXACT) != 0


def is_number(f: Format[W], x: W) -> bool:
    """Not a NaN, in a format that the host computes in."""
    if not hosted(f):
        return False
    return (x & f.magnitude) <= f.infinity


def plain(f: Format[W], x: W) -> bool:
    """Zero or normal."""
    m = x & f.magnitude
    return m == 0 or m - f.leading < f.infinity - f.leading


def normal(f: Format[W], x: W) -> bool:
    """Normal, and not the smallest one."""
    return (x & f.magnitude) - (f.leading + 1) < f.infinity - (f.leading + 1)


def fits(f: Format[W], t: type[Word], x: W) -> bool:
    """A number's magnitude is below half the range of t (and it is not negative if t is unsigned)."""
    if not hosted(f):
        return False
    limit = f.bias + t.bits - 1 << f.exponent_at
    return (x & f.magnitude) < limit if t.signed else x < limit


def cut_exactly(f: Format[W], x: W) -> bool:
    """A number that fits an i64 is an integer."""
    return host_from_int(f.word, host_to_int(i64, x)) == x


def exact_integer(f: Format[W], x: Word) -> bool:
    """An integer has no more bits than a significand."""
    if not hosted(f):
        return False
    if x.bits <= f.fraction:
        return True
    if x.signed:
        return x + (1 << f.fraction) <= 1 << f.fraction + 1 and x + (1 << f.fraction) >= 0
    return x <= 1 << f.fraction
