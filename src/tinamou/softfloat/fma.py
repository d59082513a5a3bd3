"""Fused multiply-add (IEEE 754-2019, 5.4.1), negated and halved as architectures do."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, i32, u32

from .arith import add_numbers
from .behaviour import INF_MINUS_INF, INF_TIMES_ZERO, Behaviour
from .format import Format, is_infinite, is_nan, is_zero, sign_of
from .nan import invalid, is_signalling, nan3
from .round import narrow, operand, round_pack, signed, unpack

__all__ = ["HALVE", "NEGATE_ADDEND", "NEGATE_PRODUCT", "NEGATE_RESULT", "fma"]

W = TypeVar("W", bound=Word)

# Variants, after NaN operands are dealt with:
NEGATE_PRODUCT = 1
NEGATE_ADDEND = 2
NEGATE_RESULT = 4  # after rounding
HALVE = 8  # before rounding (Arm FRSQRTS)


@outlined
def fma(f: Format[W], rules: Behaviour, a: W, b: W, c: W, variant: u32, control: u32) -> tuple[W, u32]:
    """a * b + c, rounded once."""
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    c, flags_c = operand(f, rules, c, control)
    flags = flags_a | flags_b | flags_c
    product_invalid = (is_infinite(f, a) and is_zero(f, b)) or (is_zero(f, a) and is_infinite(f, b))
    if is_nan(f, a) or is_nan(f, b) or is_nan(f, c):
        if product_invalid and rules.zero_times_infinity != "silence":
            if rules.zero_times_infinity == "default" and not is_signalling(f, rules, c):
                return invalid(f, rules, INF_TIMES_ZERO, flags)
            result, flags = nan3(f, rules, a, b, c, flags, control)
            _, why = invalid(f, rules, INF_TIMES_ZERO, u32(0))
            return result, flags | why
        return nan3(f, rules, a, b, c, flags, control)
    if product_invalid:
        return invalid(f, rules, INF_TIMES_ZERO, flags)
    sign_p = sign_of(f, a) ^ sign_of(f, b) ^ u32((variant & NEGATE_PRODUCT) != 0)
    sign_c = sign_of(f, c) ^ u32((variant & NEGATE_ADDEND) != 0)
    negate = u32((variant & NEGATE_RESULT) != 0)
    if is_infinite(f, a) or is_infinite(f, b):
        if is_infinite(f, c) and sign_p != sign_c:
            return invalid(f, rules, INF_MINUS_INF, flags)
        return signed(f, sign_p ^ negate, f.word(f.infinity)), flags
    if is_infinite(f, c):
        return signed(f, sign_c ^ negate, f.word(f.infinity)), flags
    exponent_a, x = unpack(f, a)
    exponent_b, y = unpack(f, b)
    exponent_c, z = unpack(f, c)
    room_p = f.sum.bits - 1 - 2 * f.precision
    room_c = f.sum.bits - 1 - f.precision
    product = f.sum(f.product(x) * f.product(y))
    exponent_p = exponent_a + exponent_b - room_p
    exponent_c = exponent_c - room_c
    if product == 0:
        exponent_p = exponent_c
    sign, exponent, total = add_numbers(f.sum, sign_p, exponent_p, product << room_p, sign_c, exponent_c, f.sum(z) << room_c, control)
    exponent, significand = narrow(f, f.sum, exponent, total)
    exponent = exponent - i32((variant & HALVE) != 0)
    result, rounding = round_pack(f, rules, sign, exponent, significand, control)
    return result ^ f.word(negate) << f.sign_at, flags | rounding
