"""Arithmetic and conditions that instructions share.

Arm Architecture Reference Manual, Arm ARM DDI 0487, J1 (shared pseudocode): AddWithCarry, ConditionHolds, DecodeBitMasks.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import rotr
from tinamou.native.types import Word, i64, u32, u64

from .state import Core

W = TypeVar("W", bound=Word)

SIGN = 1 << 63


def extended(t: type[W], x: W) -> u64:
    """Sign-extended."""
    return u64(i64(t.signed_type(x)))


def set_logical(h: Core, t: type[W], x: W) -> W:
    """Flags of a logical operation's result."""
    h.nz, h.c, h.less = extended(t, x), u64(0), u64(t.signed_type(x) < 0)
    return x


def add_flags(h: Core, t: type[W], a: W, b: W) -> W:
    r = t(a + b)
    h.nz, h.c, h.less = extended(t, r), u64(r < a), sum_below_zero(t, a, b, r)
    return r


def sum_below_zero(t: type[W], a: W, b: W, r: W) -> u64:
    """N xor V of the sum r."""
    return u64(t.signed_type(r ^ (a ^ r) & (b ^ r)) < 0)


def sub_flags(h: Core, t: type[W], a: W, b: W) -> W:
    r = t(a - b)
    h.nz, h.c, h.less = extended(t, r), u64(a >= b), u64(t.signed_type(a) < t.signed_type(b))
    return r


def carry_flags(h: Core, t: type[W], a: W, b: W) -> W:
    """a + b + C with flags."""
    part = t(a + b)
    r = t(part + t(h.c))
    h.nz, h.c, h.less = extended(t, r), u64(part < a) | u64(r < part), sum_below_zero(t, a, b, r)
    return r


def get_nzcv(h: Core) -> u32:
    """Bits 3:0."""
    return u32(negative(h)) << 3 | u32(h.nz == 0) << 2 | u32(h.c) << 1 | overflowed(h)


def negative(h: Core) -> bool:
    """N."""
    return (i64(h.nz) < 0) | (h.less > 1)


def overflowed(h: Core) -> u32:
    """V."""
    return u32(negative(h)) ^ u32(h.less) & 1


def set_nzcv(h: Core, nzcv: u32) -> None:
    """Bits 3:0."""
    h.nz = u64(~nzcv >> 2 & 1) << (nzcv >> 3) * 63
    h.c = u64(nzcv >> 1 & 1)
    h.less = u64((nzcv >> 3 ^ nzcv) & 1 | nzcv >> 2 & nzcv >> 1 & 2)


def holds(h: Core, cc: str) -> bool:
    if cc == "eq":
        return h.nz == 0
    elif cc == "ne":
        return h.nz != 0
    elif cc == "hs":
        return h.c != 0
    elif cc == "lo":
        return h.c == 0
    elif cc == "mi":
        return negative(h)
    elif cc == "pl":
        return not negative(h)
    elif cc == "vs":
        return overflowed(h) != 0
    elif cc == "vc":
        return overflowed(h) == 0
    elif cc == "hi":
        return (h.c != 0) & (h.nz != 0)
    elif cc == "ls":
        return (h.c == 0) | (h.nz == 0)
    elif cc == "ge":
        return h.less & 1 == 0
    elif cc == "lt":
        return h.less & 1 != 0
    elif cc == "gt":
        return (h.nz != 0) & (h.less & 1 == 0)
    elif cc == "le":
        return (h.nz == 0) | (h.less & 1 != 0)
    else:
        return True


def condition(h: Core, cond: u32) -> bool:
    """The same for a field."""
    match cond >> 1:
        case 0:
            result = h.nz == 0
        case 1:
            result = h.c != 0
        case 2:
            result = negative(h)
        case 3:
            result = overflowed(h) != 0
        case 4:
            result = (h.c != 0) & (h.nz != 0)
        case 5:
            result = h.less & 1 == 0
        case 6:
            result = (h.nz != 0) & (h.less & 1 == 0)
        case _:
            return True
    return result != (cond & 1 != 0)


def bitmask32(imms: u32, immr: u32) -> u32:
    """A logical immediate of 32 bits."""
    return rotr((u32(2) << imms) - 1, immr)


def replicated(t: type[W], size: int, imms: u32, immr: u32) -> W:
    """A logical immediate whose elements have 2 to 16 bits."""
    ones = (u32(2) << imms) - 1
    n = immr & (size - 1)
    element = (ones >> n | ones << (size - n)) & ((1 << size) - 1)
    return t(element) * (t.mask // ((1 << size) - 1))


# Operations that tables name.


def and_(a: W, b: W) -> W:
    return a & b


def orr(a: W, b: W) -> W:
    return a | b


def eor(a: W, b: W) -> W:
    return a ^ b


def bic(a: W, b: W) -> W:
    return a & ~b


def orn(a: W, b: W) -> W:
    return a | ~b


def eon(a: W, b: W) -> W:
    return a ^ ~b


def lsl(t: type[W], a: W, n: u32) -> W:
    return a << n


def lsr(t: type[W], a: W, n: u32) -> W:
    return a >> n


def asr(t: type[W], a: W, n: u32) -> W:
    return t(t.signed_type(a) >> n)


def ror(t: type[W], a: W, n: u32) -> W:
    return rotr(a, n)
