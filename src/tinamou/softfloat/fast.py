"""When the host's floating point gives what this package would.

For singles and doubles, while the host rounds as the guest wants it and its flags are the guest's (`Cpu.host_float`, native.floats): then
every result is right but NaNs, and so are the flags of architectures that detect tininess after rounding.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.floats import host_ordered
from tinamou.native.types import Word

from .behaviour import TOWARD_ZERO
from .format import F32, F64, Format

__all__ = ["TOWARD_ZERO", "early", "exact_integer", "fits", "hosted", "is_number", "plain"]

W = TypeVar("W", bound=Word)


def hosted(f: Format[W]) -> bool:
    """The host computes in this format."""
    return f is F32 or f is F64


def is_number(f: Format[W], x: W) -> bool:
    """Not a NaN, in a format that the host computes in."""
    if not hosted(f):
        return False
    return (x & f.magnitude) <= f.infinity


def plain(f: Format[W], x: W) -> bool:
    """Zero or normal."""
    m = x & f.magnitude
    return m == 0 or m - f.leading < f.infinity - f.leading


def early(f: Format[W], x: W) -> bool:
    """A result whose flags are right also where tininess is detected before rounding: not the smallest normal number, and no NaN."""
    return host_ordered(x) and (x & f.magnitude) != f.leading


def fits(f: Format[W], t: type[Word], x: W) -> bool:
    """A number's magnitude is below half the range of t (and it is not negative if t is unsigned)."""
    if not hosted(f):
        return False
    limit = f.bias + t.bits - 1 << f.exponent_at
    return (x & f.magnitude) < limit if t.signed else x < limit


def exact_integer(f: Format[W], x: Word) -> bool:
    """An integer has no more bits than a significand."""
    if not hosted(f):
        return False
    if x.bits <= f.fraction:
        return True
    if x.signed:
        return x + (1 << f.fraction) <= 1 << f.fraction + 1 and x + (1 << f.fraction) >= 0
    return x <= 1 << f.fraction
