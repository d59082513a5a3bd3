"""IEEE 754 in exact rational arithmetic, written from the standard and sharing no code with tinamou.softfloat but the format's numbers.

Numbers are `Fraction`s beside their sign; infinities and NaNs are kinds.  Flags are sets of names.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from hypothesis import strategies as st

from tinamou.softfloat.behaviour import (
    DIVBYZERO,
    DOWN,
    INEXACT,
    INVALID,
    NEAREST_AWAY,
    NEAREST_EVEN,
    OVERFLOW,
    TO_ODD,
    TOWARD_ZERO,
    UNDERFLOW,
    UP,
)
from tinamou.softfloat.format import BF16, F16, F32, F64, F80, F80_M68K, F128, Format

FORMATS = [F16, BF16, F32, F64, F80, F80_M68K, F128]
MODES = [NEAREST_EVEN, TOWARD_ZERO, DOWN, UP, NEAREST_AWAY, TO_ODD]
FLAG = {"inexact": INEXACT, "underflow": UNDERFLOW, "overflow": OVERFLOW, "divbyzero": DIVBYZERO, "invalid": INVALID}


@dataclass(frozen=True)
class Value:
    kind: str  # number, inf, qnan, snan
    negative: bool
    number: Fraction = Fraction(0)

    @property
    def nan(self) -> bool:
        return self.kind.endswith("nan")


def decode(f: Format, x: int, legacy: bool = False) -> Value:
    """What an encoding means."""
    x = int(x)
    stored = f.fraction + (1 if f.explicit else 0)
    significand = x & ((1 << stored) - 1)
    field = x >> stored & ((1 << f.exponent) - 1)
    negative = bool(x >> stored + f.exponent)
    fraction = significand & ((1 << f.fraction) - 1)
    bias = (1 << f.exponent - 1) - 1
    if f is F80 and field and not significand >> 63:
        return Value("snan", negative)  # an invalid encoding
    if f.specials and field == (1 << f.exponent) - 1:
        if fraction == 0:
            return Value("inf", negative)
        top = fraction >> f.fraction - 1
        return Value("qnan" if top != legacy else "snan", negative)
    if not f.explicit and field:
        significand |= 1 << f.fraction
    scale = (max(field, 1) if f is not F80_M68K else field) - bias - f.fraction
    return Value("number", negative, Fraction(significand) * Fraction(2) ** scale)


def infinity(f: Format, negative: bool) -> int:
    magnitude = {F80: 0x7FFF_8000_0000_0000_0000, F80_M68K: 0x7FFF_0000_0000_0000_0000}.get(f)
    if magnitude is None:
        magnitude = ((1 << f.exponent) - 1) << f.fraction
    return magnitude | negative << f.exponent + f.fraction + f.explicit


def round_integer(magnitude: Fraction, negative: bool, mode: int) -> int:
    q, rest = divmod(magnitude.numerator, magnitude.denominator)
    twice = 2 * rest - magnitude.denominator
    if rest == 0:
        return q
    if mode == NEAREST_EVEN:
        return q + (twice > 0 or (twice == 0 and q % 2 == 1))
    if mode == NEAREST_AWAY:
        return q + (twice >= 0)
    if mode == TO_ODD:
        return q if q % 2 else q + 1
    return q + (mode == (DOWN if negative else UP))


def log2(x: Fraction) -> int:
    """The exponent of the leading one."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if x >= Fraction(2) ** e else e - 1


def encode(f: Format, negative: bool, x: Fraction, mode: int, tiny_before: bool = False, drop: int = 0) -> tuple[int, int]:
    """The encoding of |x| with a sign, rounded; flags."""
    stored = f.fraction + (1 if f.explicit else 0)
    sign = negative << stored + f.exponent
    if x == 0:
        return sign, 0
    bias = (1 << f.exponent - 1) - 1
    least = (0 if f is F80_M68K else 1) - bias  # the exponent of the smallest normal number
    most = (1 << f.exponent) - (2 if f.specials else 1) - bias
    digits = f.fraction - drop  # below the leading one
    e = max(log2(x), least)
    unit = Fraction(2) ** (e - digits)
    q = round_integer(x / unit, negative, mode)
    flags = 0 if q * unit == x else INEXACT
    if q * unit >= Fraction(2) ** (most + 1):
        if not f.specials:
            return sign | ((1 << stored + f.exponent) - 1), INVALID
        toward = mode in (TOWARD_ZERO, TO_ODD) or mode == (UP if negative else DOWN)
        return infinity(f, negative) - (0 if not toward else _one_below(f)), OVERFLOW | INEXACT
    tiny = x < Fraction(2) ** least
    if tiny and not tiny_before:
        unbounded = Fraction(2) ** (log2(x) - digits)
        tiny = round_integer(x / unbounded, negative, mode) * unbounded < Fraction(2) ** least
    if flags and tiny:
        flags |= UNDERFLOW
    y = q * unit
    e = max(log2(y), least) if y else least
    significand = int(y / Fraction(2) ** (e - f.fraction))
    field = e + bias if significand >> f.fraction or f is F80_M68K else 0
    if not f.explicit:
        significand &= (1 << f.fraction) - 1
    return sign | field << stored | significand, flags


def _one_below(f: Format) -> int:
    """The distance of the encodings of infinity and the largest number."""
    return {F80: (1 << 63) + 1, F80_M68K: 1}.get(f, 1)


def square_root(x: Fraction) -> Fraction:
    """The square root, or a number between it and its neighbours with 300 digits if irrational."""
    shift = 600 + 2 * abs(log2(x)) if x else 0
    n = (x.numerator << 2 * shift) // x.denominator
    exact = Fraction(n, 1 << 2 * shift) == x
    r = isqrt(n)
    return Fraction(r, 1 << shift) if exact and r * r == n else Fraction(2 * r + 1, 1 << shift + 1)


def patterns(f: Format) -> st.SearchStrategy[int]:
    """Encodings with a liking for what is special: exponents at the ends and in the middle, significands of few runs of ones."""
    stored = f.fraction + (1 if f.explicit else 0)
    top = (1 << f.exponent) - 1
    bias = top >> 1
    fields = st.one_of(
        st.sampled_from([0, 0, 1, 2, top, top, top - 1, top - 2, bias, bias - 1, bias + 1, bias + f.fraction, bias - f.fraction]),
        st.integers(bias - f.fraction - 3, bias + f.fraction + 3).map(lambda e: min(max(e, 0), top)),
        st.integers(0, top),
    )
    ones = (1 << f.fraction) - 1
    runs = st.tuples(st.integers(0, f.fraction), st.integers(0, f.fraction)).map(lambda t: ((1 << t[0]) - 1) << t[1] & ones)
    fractions = st.one_of(st.sampled_from([0, 0, 1, 2, ones, ones - 1, 1 << f.fraction - 1, ones >> 1]), runs, st.integers(0, ones))

    def build(sign: bool, field: int, fraction: int, odd: int) -> int:
        leading = 0
        if f.explicit:
            leading = (field != 0) ^ (odd == 0)  # now and then an unnormal or a pseudo-denormal
        return sign << stored + f.exponent | field << stored | leading << f.fraction | fraction

    return st.builds(build, st.booleans(), fields, fractions, st.integers(0, 15))


def some_pattern(r: random.Random, f: Format) -> int:
    """An encoding, likely a special one."""
    middle = f.bias + r.randrange(-f.fraction - 3, f.fraction + 3)
    e = min(max(r.choice([0, 0, 1, f.top, f.top, f.top - 1, f.bias, middle, r.randrange(f.top + 1)]), 0), f.top)
    run = ((1 << r.randrange(f.fraction)) - 1) << r.randrange(f.fraction) & f.leading - 1
    fraction = r.choice([0, 0, 1, f.leading - 1, f.quiet, r.getrandbits(f.fraction), r.getrandbits(f.fraction), run])
    leading = f.leading * ((e != 0) ^ (r.random() < 0.05)) if f.explicit else 0
    return r.getrandbits(1) << f.sign_at | e << f.exponent_at | leading | fraction
