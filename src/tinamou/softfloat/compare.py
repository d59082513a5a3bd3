"""Comparison, minimum and maximum, classification (IEEE 754-2019, 5.6, 5.7, 9.6)."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, u32

from .behaviour import BAD_COMPARISON, INVALID, Behaviour
from .format import Format, is_infinite, is_nan, is_subnormal, is_zero, sign_of
from .nan import is_signalling, nan2
from .round import operand

__all__ = ["EQUAL", "GREATER", "LESS", "UNORDERED", "classify", "compare", "eq", "le", "lt", "minmax", "unordered"]

W = TypeVar("W", bound=Word)

EQUAL, LESS, GREATER, UNORDERED = 1, 2, 4, 8


def _order(f: Format[W], a: W, b: W) -> u32:
    """LESS, EQUAL or GREATER of two canonical numbers."""
    sign = sign_of(f, a)
    if a == b or ((a | b) & f.magnitude) == 0:
        return u32(EQUAL)
    elif sign != sign_of(f, b):
        return u32(LESS) if sign == 1 else u32(GREATER)
    else:
        return u32(LESS) if u32(a < b) != sign else u32(GREATER)


@outlined
def compare(f: Format[W], rules: Behaviour, signalling: bool, a: W, b: W, control: u32) -> tuple[u32, u32]:
    """LESS, EQUAL, GREATER or UNORDERED.  Signalling comparisons are invalid for every NaN, quiet ones for signalling NaNs."""
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    flags = flags_a | flags_b
    if is_nan(f, a) or is_nan(f, b):
        _, flags = nan2(f, rules, a, b, flags, control)
        if signalling:
            flags = flags | (INVALID | BAD_COMPARISON & rules.reports)
        return u32(UNORDERED), flags
    return _order(f, a, b), flags


def eq(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[u32, u32]:
    """1 if a = b, quiet."""
    order, flags = compare(f, rules, False, a, b, control)
    return u32(order == EQUAL), flags


def lt(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[u32, u32]:
    """1 if a < b, signalling."""
    order, flags = compare(f, rules, True, a, b, control)
    return u32(order == LESS), flags


def le(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[u32, u32]:
    """1 if a <= b, signalling."""
    order, flags = compare(f, rules, True, a, b, control)
    return u32((order & (LESS | EQUAL)) != 0), flags


def unordered(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[u32, u32]:
    """1 if either is a NaN, quiet."""
    order, flags = compare(f, rules, False, a, b, control)
    return u32(order == UNORDERED), flags


@outlined
def minmax(f: Format[W], rules: Behaviour, flavour: str, maximum: bool, by_magnitude: bool, a: W, b: W, control: u32) -> tuple[W, u32]:
    """The smaller or larger of two numbers; -0 is smaller than +0.  By flavour, of NaN operands:

    "propagate": the result is a NaN (IEEE 754-2019 minimum; Arm FMIN)
    "number": the other operand, signalling NaNs being invalid (2019 minimumNumber; RISC-V 2.2)
    "num": the same, but a signalling operand makes the result a NaN (2008 minNum; Arm FMINNM)
    "second": b, as of two zeros, and any NaN is invalid (x86 MINSS)
    """
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    flags = flags_a | flags_b
    if is_nan(f, a) or is_nan(f, b):
        result, flags = nan2(f, rules, a, b, flags, control)
        if flavour == "second":
            return b, flags | INVALID
        if flavour == "number" or (flavour == "num" and (flags & INVALID) == 0):
            if not is_nan(f, a):
                return a, flags
            if not is_nan(f, b):
                return b, flags
        return result, flags
    first = u32(0)
    if by_magnitude:
        first = _order(f, a & f.magnitude, b & f.magnitude)
    if first == 0 or first == EQUAL:
        first = _order(f, a, b)
    if first == EQUAL:
        if flavour == "second":
            return b, flags
        return (a & b if maximum else a | b), flags
    return (a if first == (GREATER if maximum else LESS) else b), flags


def classify(f: Format[W], rules: Behaviour, a: W) -> u32:
    """-infinity 0, negative normal 1, subnormal 2, -0 3, +0 4, positive subnormal 5, normal 6, +infinity 7, signalling NaN 8, quiet 9 (the
    bit numbers of RISC-V's FCLASS)."""
    if is_nan(f, a):
        return u32(8) if is_signalling(f, rules, a) else u32(9)
    kind = u32(1)
    if is_infinite(f, a):
        kind = u32(0)
    elif is_zero(f, a):
        kind = u32(3)
    elif is_subnormal(f, a):
        kind = u32(2)
    return kind if sign_of(f, a) == 1 else 7 - kind
