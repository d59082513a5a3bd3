"""Every operation takes numbers apart, computes on (sign, exponent, significand) and ends in `round_pack`.

A finite number is (-1)^sign * significand * 2^exponent, the significand an integer in the format's `work` word.  `unpack` gives
significands whose leading one stands at bit `fraction` (0 for zero); results have it anywhere.  The lowest bit of a result is *sticky*: it
is also set if anything was lost below it.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.ops import clz, outlined
from tinamou.native.types import Word, i32, u32

from .behaviour import (
    DENORMAL,
    DOWN,
    DROP,
    FLUSH_INPUTS,
    FLUSH_OUTPUTS,
    FLUSHED,
    INEXACT,
    INVALID,
    MODE,
    NEAREST_AWAY,
    NEAREST_EVEN,
    OVERFLOW,
    ROUNDED_UP,
    TO_ODD,
    TOWARD_ZERO,
    UNDERFLOW,
    UP,
    Behaviour,
)
from .format import Format, exponent_of, is_subnormal

__all__ = ["narrow", "operand", "round_pack", "shift_round", "shift_sticky", "signed", "unpack"]

W = TypeVar("W", bound=Word)


def signed(f: Format[W], sign: u32, magnitude: W) -> W:
    return magnitude | f.word(sign) << f.sign_at


def operand(f: Format[W], rules: Behaviour, x: W, control: u32) -> tuple[W, u32]:
    """An operand in its canonical encoding, zero if subnormal inputs are flushed; DENORMAL or FLUSHED."""
    flags = u32(0)
    if rules.flushes or rules.reports & DENORMAL:
        if is_subnormal(f, x):
            flags = u32(DENORMAL)
            if rules.flushes and (control & FLUSH_INPUTS) != 0:
                x = x & f.sign
                flags = u32(FLUSHED)
    if f.explicit:
        e = exponent_of(f, x)
        if f.lowest:
            if e == 0 and (x & f.leading) != 0:  # pseudo-denormal: the same value as with exponent 1
                x = x + f.word(f.leading << 1)
        elif e != f.top and e != 0 and (x & f.leading) == 0:  # unnormal
            fraction = x & (f.leading - 1)
            n = i32(clz(fraction)) - (f.word.bits - f.precision)
            n = e if n > e else n
            x = (x & f.sign) | f.word(e - n) << f.exponent_at | fraction << n
            x = x & f.sign if fraction == 0 else x
    return x, flags & rules.reports


def unpack(f: Format[W], x: W) -> tuple[i32, Word]:
    """Exponent and normalised significand of a finite number in canonical encoding."""
    e = exponent_of(f, x)
    significand = f.work(x & ((1 << f.exponent_at) - 1))
    if e == 0:
        n = i32(clz(significand)) - (f.work.bits - f.precision)
        return i32(f.lowest - f.bias - f.fraction) - n, f.work(significand << n)
    else:
        return e - (f.bias + f.fraction), significand | f.leading


def shift_sticky(t: type[W], x: W, n: u32) -> W:
    """x >> n, the lowest bit set if a one was lost."""
    return (x >> n) | t((x & ~(t(-1) << n)) != 0)


def narrow(f: Format[W], t: type[Word], exponent: i32, x: Word) -> tuple[i32, Word]:
    """A number whose significand is a `t`, wider than the format's work word, in the work word."""
    n = clz(x)
    return exponent + (t.bits - f.work.bits) - i32(n), f.work(shift_sticky(t, x << n, u32(t.bits - f.work.bits)))


def shift_round(t: type[W], x: W, n: u32, sign: u32, mode: u32) -> tuple[W, u32]:
    """x / 2^n rounded to an integer; INEXACT and ROUNDED_UP.  x is less than half of 2^t.bits if n is t.bits or more."""
    q = x >> n
    mask = ~(t(-1) << n)
    rest = x & mask
    if rest == 0:
        return q, u32(0)
    half = mask - (mask >> 1)
    up = t(0)
    if mode == NEAREST_EVEN:
        up = t(rest + (q & 1) > half)
    elif mode == NEAREST_AWAY:
        up = t(rest >= half)
    elif mode == DOWN:
        up = t(sign)
    elif mode == UP:
        up = t(sign ^ 1)
    elif mode == TO_ODD:
        up = (q & 1) ^ 1
    return q + up, INEXACT | u32(up) * ROUNDED_UP


def overflow(f: Format[W], rules: Behaviour, sign: u32, mode: u32) -> tuple[W, u32]:
    """The result that is too large for the format: infinity, or the largest number where the mode rounds toward zero."""
    if not f.specials:
        return signed(f, sign, f.word(f.largest)), u32(INVALID)
    elif mode == TOWARD_ZERO or mode == TO_ODD or (mode == UP and sign == 1) or (mode == DOWN and sign == 0):
        return signed(f, sign, f.word(f.largest)), u32(OVERFLOW | INEXACT)
    else:
        return signed(f, sign, f.word(f.infinity)), u32(OVERFLOW | INEXACT | ROUNDED_UP & rules.reports)


def pack(f: Format[W], sign: u32, e: i32, significand: Word) -> W:
    """The encoding with exponent field `e`, lowest at least; a significand without its leading one makes a subnormal number."""
    if f.explicit:
        if f.lowest and (significand & f.leading) == 0:
            e = i32(0)
        return signed(f, sign, f.word(e) << f.exponent_at | f.word(significand))
    else:
        return signed(f, sign, (f.word(e - 1) << f.exponent_at) + f.word(significand))


@outlined
def round_pack(f: Format[W], rules: Behaviour, sign: u32, exponent: i32, significand: Word, control: u32) -> tuple[W, u32]:
    """The number of the format nearest to (-1)^sign * significand * 2^exponent by the rounding mode, and the flags."""
    if significand == 0:
        return signed(f, sign, f.word(0)), u32(0)
    mode = control & MODE
    bits = f.work.bits - f.precision  # to round off once the leading one stands at the top
    drop = u32(0)
    if f.explicit:
        drop = control >> DROP
    n = clz(significand)
    x = significand << n
    e = exponent - i32(n) + (f.work.bits - 1 + f.bias)  # exponent field
    flags = u32(0)  # UNDERFLOW if tiny, for what turns out inexact
    if e < f.lowest:
        # Tiny before rounding; after rounding it is not if the carry reaches the smallest normal number.
        tiny = u32(UNDERFLOW)
        if not rules.tiny_before and e == f.lowest - 1:
            q, _ = shift_round(f.work, x, drop + bits, sign, mode)
            if (q << drop) >> f.precision != 0:
                tiny = u32(0)
        if rules.flushes and (control & FLUSH_OUTPUTS) != 0 and tiny != 0:
            return signed(f, sign, f.word(0)), u32(rules.flush_flags)
        x = shift_sticky(f.work, x, u32(f.lowest - e))
        e = i32(f.lowest)
        flags = tiny
    q, inexact = shift_round(f.work, x, drop + bits, sign, mode)
    if inexact != 0:
        flags = (flags | inexact) & rules.reports
    else:
        flags = u32(0)
    q = f.work(q << drop)
    if q >> f.precision != 0:
        q = q >> 1
        e += 1
    if e >= f.top + (not f.specials):
        result, flags = overflow(f, rules, sign, mode)
        if f.explicit:
            result = result >> drop << drop
        return result, flags
    return pack(f, sign, e, q), flags
