"""Addition, subtraction, multiplication, division and square root (IEEE 754-2019, 5.4.1).

Every operation is (format, rules, operands, control word) -> (result, flags).
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, i32, u32, u64

from .behaviour import (
    DIVBYZERO,
    DOWN,
    FLUSHED,
    INF_MINUS_INF,
    INF_OVER_INF,
    INF_TIMES_ZERO,
    MODE,
    NEGATIVE_ROOT,
    ZERO_OVER_ZERO,
    Behaviour,
)
from .format import Format, is_infinite, is_nan, is_zero, sign_of
from .nan import invalid, nan1, nan2
from .round import operand, round_pack, shift_sticky, signed, unpack

__all__ = ["add", "add_numbers", "digit", "div", "mul", "reciprocal", "sqrt", "sub"]

W = TypeVar("W", bound=Word)


def add_numbers(t: type[W], sign_a: u32, exponent_a: i32, a: W, sign_b: u32, exponent_b: i32, b: W, control: u32) -> tuple[u32, i32, W]:
    """The sum of two numbers whose leading ones stand next to each other two bits from the top at most; sticky."""
    exponent = exponent_a if exponent_a > exponent_b else exponent_b
    a = shift_sticky(t, a, u32(exponent - exponent_a))
    b = shift_sticky(t, b, u32(exponent - exponent_b))
    if sign_a == sign_b:
        return sign_a, exponent, a + b
    elif a > b:
        return sign_a, exponent, a - b
    elif a < b:
        return sign_b, exponent, b - a
    else:  # an exact zero is negative only when rounding down
        return u32((control & MODE) == DOWN), exponent, t(0)


def _sum(f: Format[W], rules: Behaviour, a: W, b: W, flip: u32, control: u32) -> tuple[W, u32]:
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    flags = flags_a | flags_b
    if is_nan(f, a) or is_nan(f, b):
        return nan2(f, rules, a, b, flags, control)
    sign_a = sign_of(f, a)
    sign_b = sign_of(f, b) ^ flip
    if is_infinite(f, a):
        if is_infinite(f, b) and sign_a != sign_b:
            return invalid(f, rules, INF_MINUS_INF, flags)
        return signed(f, sign_a, f.word(f.infinity)), flags
    if is_infinite(f, b):
        return signed(f, sign_b, f.word(f.infinity)), flags
    exponent_a, x = unpack(f, a)
    exponent_b, y = unpack(f, b)
    room = f.work.bits - 1 - f.precision
    sign, exponent, z = add_numbers(f.work, sign_a, exponent_a, x << room, sign_b, exponent_b, y << room, control)
    result, rounding = round_pack(f, rules, sign, exponent - room, z, control)
    return result, flags | rounding


@outlined
def add(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[W, u32]:
    """a + b."""
    return _sum(f, rules, a, b, u32(0), control)


@outlined
def sub(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[W, u32]:
    """a - b."""
    return _sum(f, rules, a, b, u32(1), control)


@outlined
def mul(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[W, u32]:
    """a * b."""
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    flags = flags_a | flags_b
    if is_nan(f, a) or is_nan(f, b):
        return nan2(f, rules, a, b, flags, control)
    sign = sign_of(f, a) ^ sign_of(f, b)
    if is_infinite(f, a) or is_infinite(f, b):
        if is_zero(f, a) or is_zero(f, b):
            return invalid(f, rules, INF_TIMES_ZERO, flags)
        return signed(f, sign, f.word(f.infinity)), flags
    exponent_a, x = unpack(f, a)
    exponent_b, y = unpack(f, b)
    excess = max(0, 2 * f.precision - f.work.bits)
    z = f.work(shift_sticky(f.product, f.product(x) * f.product(y), u32(excess)))
    result, rounding = round_pack(f, rules, sign, exponent_a + exponent_b + excess, z, control)
    return result, flags | rounding


# Division and remainder make 29 bits of the quotient at a time, each digit estimated from the leading 32 bits of remainder and divisor;
# square roots likewise.  Estimates are never too large: reciprocals are of the divisor's head + 1 (which for roots outweighs the digit's
# square); too small by one at most, in roots by two.


def reciprocal(x: u64) -> u64:
    """2^63 / (x + 1) for x from 2^31 to 2^32 - 1: 32 bits."""
    return u64((1 << 63) - 1) // (x + 1)


def digit(f: Format[W], rest: Word, divisor: Word, inverse: u64, n: u32) -> tuple[u64, Word]:
    """Quotient and remainder of rest * 2^n / divisor for rest < divisor and n <= 29.  The divisor's leading one stands at bit
    max(precision, 32) - 1; `inverse` is the reciprocal of its leading 32 bits."""
    q = (u64(rest >> max(f.precision - 32, 0)) * inverse) >> (63 - n)
    rest = (rest << n) - divisor * f.work(q)  # modulo 2^bits; the true value fits
    if rest >= divisor:
        return q + 1, rest - divisor
    else:
        return q, rest


@outlined
def div(f: Format[W], rules: Behaviour, a: W, b: W, control: u32) -> tuple[W, u32]:
    """a / b."""
    a, flags_a = operand(f, rules, a, control)
    b, flags_b = operand(f, rules, b, control)
    flags = flags_a | flags_b
    if is_nan(f, a) or is_nan(f, b):
        return nan2(f, rules, a, b, flags, control)
    sign = sign_of(f, a) ^ sign_of(f, b)
    if is_infinite(f, a):
        if is_infinite(f, b):
            return invalid(f, rules, INF_OVER_INF, flags)
        return signed(f, sign, f.word(f.infinity)), flags
    if is_infinite(f, b):
        return signed(f, sign, f.word(0)), flags
    if is_zero(f, b):
        if is_zero(f, a):
            return invalid(f, rules, ZERO_OVER_ZERO, flags)
        return signed(f, sign, f.word(f.infinity)), (flags & FLUSHED) | DIVBYZERO
    exponent_a, x = unpack(f, a)
    exponent_b, y = unpack(f, b)
    x = x << max(32 - f.precision, 0)
    y = y << max(32 - f.precision, 0)
    inverse = reciprocal(u64(y >> max(f.precision - 32, 0)))
    q = f.work(0)
    if x >= y:
        q = f.work(1)
        x = x - y
    for _ in range((f.precision + 2 + 28) // 29):
        d, x = digit(f, x, y, inverse, u32(29))
        q = (q << 29) | f.work(d)
    q = q | f.work(x != 0)
    result, rounding = round_pack(f, rules, sign, exponent_a - exponent_b - (f.precision + 2 + 28) // 29 * 29, q, control)
    return result, flags | rounding


def root(n: u64) -> u64:
    """The integer square root of 2^62 or more: a line within 4 percent, then Heron's steps, which square the error and end at or just
    above the root."""
    x = (n >> 31) // 3 + 0x5AAAAAAA
    for _ in range(3):
        x = (x + n // x) >> 1
    if x >> 32 != 0 or x * x > n:
        x = x - 1
    return x


@outlined
def sqrt(f: Format[W], rules: Behaviour, a: W, control: u32) -> tuple[W, u32]:
    """The square root."""
    a, flags = operand(f, rules, a, control)
    if is_nan(f, a):
        return nan1(f, rules, a, flags, control)
    if is_zero(f, a):
        return a, flags
    if sign_of(f, a) == 1:
        return invalid(f, rules, NEGATIVE_ROOT, flags)
    if is_infinite(f, a):
        return f.word(f.infinity), flags
    exponent, x = unpack(f, a)
    # The radicand: 64 bits whose root is known at once, `below` more; an even exponent.
    below = 58 if f.work.bits > 64 else 0
    shift = below + 64 - f.precision
    odd = u32(exponent - shift) & 1
    x = f.work(x << (u32(shift) - odd))
    head = root(u64(x >> below))
    inverse = reciprocal(head)
    q = f.work(head)
    rest = x - (q * q << below)  # radicand - q^2, `below` bits of it fraction
    digits = max(0, (f.precision + 2 - 32 + 28) // 29)
    for i in range(digits):
        d = u64(rest >> ((below if i == 0 else 29 * i) + 1)) * inverse >> 34
        y = f.work(d)
        rest = (rest << (58 - below if i == 0 else 58)) - y * ((q << 30) + y)
        q = (q << 29) + y
        while rest > q << 1:
            rest = rest - (q << 1) - 1
            q = q + 1
    q = q | f.work(rest != 0)
    half = (exponent - shift + i32(odd) >> 1) + (below // 2 - 29 * digits)
    result, rounding = round_pack(f, rules, u32(0), half, q, control)
    return result, flags | rounding
