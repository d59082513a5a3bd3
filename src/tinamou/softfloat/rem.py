"""Remainders: IEEE 754-2019, 5.3.1 (`rem`), C's fmod (`mod`) and x87's step by step (`rem_step`).  They are exact."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, i32, u32, u64

from .arith import digit, reciprocal
from .behaviour import BAD_CONVERSION, Behaviour
from .format import Format, is_infinite, is_nan, is_zero, sign_of
from .nan import invalid, nan2
from .round import operand, round_pack, unpack

__all__ = ["mod", "rem", "rem_step"]

W = TypeVar("W", bound=Word)


def _reduce(f: Format[W], x: Word, y: Word, n: i32) -> tuple[u64, Word]:
    """The low 64 bits of the quotient of x * 2^n / y, and the remainder.  x and y are normalised or x < y; n < 0 counts as 0."""
    x = x << max(32 - f.precision, 0)
    y = y << max(32 - f.precision, 0)
    inverse = reciprocal(u64(y >> max(f.precision - 32, 0)))
    q = u64(0)
    if x >= y:
        q = u64(1)
        x = x - y
    while n > 0:
        step = u32(n) if n < 29 else u32(29)
        d, x = digit(f, x, y, inverse, step)
        q = (q << step) | d
        n = n - i32(step)
    return q, x >> max(32 - f.precision, 0)


def _remainder(f: Format[W], rules: Behaviour, nearest: bool, step: bool, a: W, b: W, control: u32) -> tuple[W, u32, u64, u32]:
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    flags = flags_a | flags_b
    if is_nan(f, a) or is_nan(f, b):
        result, flags = nan2(f, rules, a, b, flags, control)
        return result, flags, u64(0), u32(0)
    if is_infinite(f, a) or is_zero(f, b):
        result, flags = invalid(f, rules, BAD_CONVERSION, flags)
        return result, flags, u64(0), u32(0)
    if is_infinite(f, b) or is_zero(f, a):
        return a, flags, u64(0), u32(0)
    exponent_a, x = unpack(f, a)
    exponent, y = unpack(f, b)
    n = exponent_a - exponent  # the quotient lies between 2^(n-1) and 2^(n+1)
    sign = sign_of(f, a)
    if n < -1 or (n < 0 and not nearest):
        return a, flags, u64(0), u32(0)
    if n < 0:
        exponent = exponent_a
        y = y << 1
    left = u32(0)
    if step and n > 63:
        exponent = exponent + (n & ~31) - 32
        n = (n & 31) + 32
        left = u32(1)
    q, x = _reduce(f, x, y, n)
    if nearest and left == 0 and (x << 1 > y or (x << 1 == y and (q & 1) != 0)):
        q = q + 1
        x = y - x
        sign = sign ^ 1
    result, rounding = round_pack(f, rules, sign, exponent, x, control & ~(0xFF << 8))
    return result, flags | rounding, q, left


@outlined
def rem(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[W, u32, u64]:
    """a - b * n, n the integer nearest to a / b (the even one of two), and the low 64 bits of the magnitude of n."""
    result, flags, q, _ = _remainder(f, rules, True, False, a, b, control)
    return result, flags, q


@outlined
def mod(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[W, u32, u64]:
    """a - b * n, n being a / b rounded toward zero, and the low 64 bits of the magnitude of n."""
    result, flags, q, _ = _remainder(f, rules, False, False, a, b, control)
    return result, flags, q


@outlined
def rem_step(f: Format[W], rules: Behaviour, nearest: bool, a: W, b: W, control: u32) -> tuple[W, u32, u64, u32]:
    """x87 FPREM and FPREM1: as `mod` or (nearest) `rem` if the exponents differ by less than 64; else 1 as the last result, and a reduced
    by a multiple of b that makes them differ by less."""
    return _remainder(f, rules, nearest, True, a, b, control)
