"""Conversions between formats, to and from integers, to integral values; scaling by powers of two (IEEE 754-2019, 5.3, 5.4)."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, i32, u32

from .behaviour import BAD_CONVERSION, DEFAULT_NAN, FLUSHED, INVALID, MODE, SIGNALLING, Behaviour
from .format import Format, exponent_of, is_infinite, is_nan, is_zero, sign_of
from .nan import default_nan, is_signalling, nan1, quieted
from .round import narrow, operand, round_pack, shift_round, shift_sticky, signed, unpack

__all__ = ["convert", "from_fixed", "from_int", "round_to_integral", "scalbn", "to_fixed", "to_int"]

W = TypeVar("W", bound=Word)
V = TypeVar("V", bound=Word)


def _convert_nan(f: Format[W], g: Format[V], rules: Behaviour, a: W, control: u32) -> V:
    """The NaN of another format: sign and leading fraction bits kept, quiet."""
    if rules.nan == "default":
        return default_nan(g, rules)
    if (control & DEFAULT_NAN) != 0 or (rules.signalling_bit and is_signalling(f, rules, a)):
        return default_nan(g, rules)
    a = quieted(f, rules, a)
    fraction = f.work(a & (f.leading - 1))
    if f.fraction > g.fraction:
        narrower = g.word(fraction >> (f.fraction - g.fraction))
    else:
        narrower = g.word(fraction) << (g.fraction - f.fraction)
    if rules.signalling_bit and narrower == 0:  # the quiet bit is 0: what is left would be an infinity
        return default_nan(g, rules)
    return signed(g, sign_of(f, a), narrower | (g.top << g.exponent_at | (g.leading if g.explicit else 0)))


@outlined
def convert(f: Format[W], g: Format[V], rules: Behaviour, a: W, control: u32) -> tuple[V, u32]:
    """A number of format f in format g."""
    a, flags = operand(f, rules, a, control)
    sign = sign_of(f, a)
    if is_nan(f, a):
        if not g.specials:
            return signed(g, sign, g.word(0)), (flags & FLUSHED) | INVALID
        flags = flags & FLUSHED
        if is_signalling(f, rules, a):
            flags = flags | (INVALID | SIGNALLING & rules.reports)
        return _convert_nan(f, g, rules, a, control), flags
    if is_infinite(f, a):
        if not g.specials:
            return signed(g, sign, g.word(g.largest)), flags | INVALID
        return signed(g, sign, g.word(g.infinity)), flags
    exponent, x = unpack(f, a)
    excess = max(0, f.precision - g.work.bits)
    y = g.work(shift_sticky(f.work, x, u32(excess)))
    result, rounding = round_pack(g, rules, sign, exponent + excess, y, control)
    return result, flags | rounding


def from_int(f: Format[W], rules: Behaviour, t: type[V], a: V, control: u32) -> tuple[W, u32]:
    """An integer as a number."""
    return from_fixed(f, rules, t, a, i32(0), control)


@outlined
def from_fixed(f: Format[W], rules: Behaviour, t: type[V], a: V, scale: i32, control: u32) -> tuple[W, u32]:
    """a / 2^scale as a number."""
    u = t.unsigned_type
    sign = u32(0)
    if t.signed:
        sign = u32(a < 0)
    magnitude = u(-a) if sign == 1 else u(a)
    if t.bits <= f.work.bits:
        return round_pack(f, rules, sign, -scale, f.work(magnitude), control)
    else:
        exponent, x = narrow(f, u, -scale, magnitude)
        return round_pack(f, rules, sign, exponent, x, control)


def _out_of_range(rules: Behaviour, t: type[V], toward: str, sign: u32) -> V:
    least = -(1 << (t.bits - 1)) if t.signed else 0
    most = (1 << (t.bits - t.signed)) - 1
    if toward == "zero":
        return t(0)
    elif toward == "max":
        return t(most)
    elif toward == "min":  # of unsigned integers as AVX-512: all ones
        return t(least if t.signed else most)
    else:
        return t(least) if sign == 1 else t(most)


def to_int(f: Format[W], rules: Behaviour, t: type[V], a: W, control: u32) -> tuple[V, u32]:
    """A number rounded to an integer.  INVALID tells that it is out of range or a NaN."""
    return to_fixed(f, rules, t, a, i32(0), control)


@outlined
def to_fixed(f: Format[W], rules: Behaviour, t: type[V], a: W, scale: i32, control: u32) -> tuple[V, u32]:
    """a * 2^scale rounded to an integer."""
    a, flags = operand(f, rules, a, control)
    flags = flags & FLUSHED
    sign = sign_of(f, a)
    if is_nan(f, a):
        if is_signalling(f, rules, a):
            flags = flags | SIGNALLING & rules.reports
        return _out_of_range(rules, t, rules.int_nan, sign), flags | (INVALID | BAD_CONVERSION & rules.reports)
    u = t.unsigned_type
    big = u if t.bits > f.work.bits else f.work
    magnitude = big(0)
    inexact = u32(0)
    fits = u32(not is_infinite(f, a))
    if fits != 0:
        exponent, x = unpack(f, a)
        exponent = exponent + scale
        if exponent < 0:
            rounded, inexact = shift_round(f.work, x, u32(-exponent), sign, control & MODE)
            magnitude = big(rounded)
        elif exponent <= t.bits - f.precision:
            magnitude = big(big(x) << u32(exponent))
        elif x != 0:
            fits = u32(0)
            if rules.int_overflow == "wrap":
                magnitude = big(big(x) << u32(exponent))
        most = (1 << (t.bits - t.signed)) - 1
        if t.signed:
            if magnitude > most and (sign == 0 or magnitude > most + 1):
                fits = u32(0)
        elif magnitude > most or (sign == 1 and magnitude != 0):
            fits = u32(0)
    if fits == 0:
        flags = flags | (INVALID | BAD_CONVERSION & rules.reports)
        if rules.int_overflow != "wrap":
            return _out_of_range(rules, t, rules.int_overflow, sign), flags
    result = u(magnitude)
    return t(u(0) - result if sign == 1 else result), flags | inexact & rules.reports


@outlined
def round_to_integral(f: Format[W], rules: Behaviour, a: W, control: u32) -> tuple[W, u32]:
    """A number rounded to an integer of the same format.  Operations that must not signal inexact drop the flag."""
    a, flags = operand(f, rules, a, control)
    if is_nan(f, a):
        return nan1(f, rules, a, flags, control)
    if exponent_of(f, a) >= f.bias + f.fraction or is_zero(f, a):
        return a, flags
    exponent, x = unpack(f, a)
    sign = sign_of(f, a)
    y, inexact = shift_round(f.work, x, u32(-exponent), sign, control & MODE)
    result, _ = round_pack(f, rules, sign, i32(0), y, control & MODE)
    return result, flags | inexact & rules.reports


@outlined
def scalbn(f: Format[W], rules: Behaviour, a: W, n: i32, control: u32) -> tuple[W, u32]:
    """a * 2^n."""
    a, flags = operand(f, rules, a, control)
    if is_nan(f, a):
        return nan1(f, rules, a, flags, control)
    if is_infinite(f, a):
        return a, flags
    exponent, x = unpack(f, a)
    far = 4 << f.exponent
    n = n if n < far else i32(far)
    n = n if n > -far else i32(-far)
    result, rounding = round_pack(f, rules, sign_of(f, a), exponent + n, x, control)
    return result, flags | rounding
