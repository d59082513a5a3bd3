"""The host's own floating point on bit patterns: a u64 is a double, a u32 a single.

Between `host_float_begin` and `host_float_end` the host rounds as it was told and its exception flags are the guest's, exact: nothing is
computed ahead, dropped or folded.  Outside, rounding is to nearest even.  What NaN comes out is not defined.  Under CPython (the golden
model) there is only the outside.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .ops import intrinsic
from .types import Word, u32, u64

if TYPE_CHECKING:
    from fractions import Fraction

W = TypeVar("W", bound=Word)
N = TypeVar("N", bound=Word)

CODE = {u32: ("<I", "<f", "float"), u64: ("<Q", "<d", "double")}


def _number(x: Word) -> float:
    word, real, _ = CODE[type(x)]  # type: ignore[index]
    return float(struct.unpack(real, struct.pack(word, int(x)))[0])


def _bits(kind: type[W], value: float) -> W:
    word, real, _ = CODE[kind]  # type: ignore[index]
    try:
        return kind(struct.unpack(word, struct.pack(real, value))[0])
    except OverflowError:  # a double too large for a single
        return kind(struct.unpack(word, struct.pack(real, math.copysign(math.inf, value)))[0])


def _arithmetic(a: W, b: W, f: Callable[[float, float], float]) -> W:
    try:
        return _bits(type(a), f(_number(a), _number(b)))  # rounding a double result to a single is exact for + - * / and square root
    except (ZeroDivisionError, OverflowError, ValueError):
        return _bits(type(a), math.nan)


@intrinsic
def host_add(a: W, b: W) -> W:
    return _arithmetic(a, b, operator.add)


@intrinsic
def host_sub(a: W, b: W) -> W:
    return _arithmetic(a, b, operator.sub)


@intrinsic
def host_mul(a: W, b: W) -> W:
    return _arithmetic(a, b, operator.mul)


@intrinsic
def host_div(a: W, b: W) -> W:
    return _arithmetic(a, b, operator.truediv)


@intrinsic
def host_sqrt(a: W) -> W:
    return _arithmetic(a, a, lambda x, _: math.sqrt(x))


@intrinsic
def host_fma(a: W, b: W, c: W) -> W:
    """a * b + c, rounded once."""
    from fractions import Fraction  # (loading it takes 5 ms)

    try:
        exact = Fraction(_number(a)) * Fraction(_number(b)) + Fraction(_number(c))
        value = float(exact)
        if type(a) is u32:
            value = _odd(exact, value)
        return _bits(type(a), value)
    except (OverflowError, ValueError):
        return _bits(type(a), math.nan)


def _odd(exact: Fraction | int, value: float) -> float:
    """The double next to `exact` whose last bit is odd if it is not exact: it rounds to the right single."""
    if exact == value or struct.unpack("<Q", struct.pack("<d", value))[0] & 1:
        return value
    return math.nextafter(value, math.inf if exact > value else -math.inf)


@intrinsic
def host_less(a: W, b: W) -> bool:
    """a < b; neither is a NaN."""
    return _number(a) < _number(b)


@intrinsic
def host_equal(a: W, b: W) -> bool:
    """a == b; neither is a NaN."""
    return _number(a) == _number(b)


@intrinsic
def host_from_int(kind: type[W], value: Word) -> W:
    """An integer rounded to a double or single."""
    if kind is u32:
        return _bits(kind, _odd(int(value), float(int(value))))
    return _bits(kind, float(int(value)))


@intrinsic
def host_to_int(kind: type[N], a: Word) -> N:
    """A number cut to an integer; it fits."""
    return kind(int(_number(a)))


@intrinsic
def host_convert(kind: type[W], a: Word) -> W:
    """A double to a single or the other way."""
    return _bits(kind, _number(a))


@intrinsic
def host_ordered(a: W) -> bool:
    """No NaN."""
    return not math.isnan(_number(a))


@intrinsic
def host_less_signalling(a: W, b: W) -> bool:
    """a < b; a NaN is an invalid operation, and not less."""
    return _number(a) < _number(b)


@intrinsic
def host_less_equal_signalling(a: W, b: W) -> bool:
    """a <= b; a NaN is an invalid operation, and not less or equal."""
    return _number(a) <= _number(b)
