"""The host's own floating point on bit patterns: a u64 is a double, a u32 a single, rounding is to nearest even.

What NaN comes out, and which exception flags the host raises, is not defined: `tinamou.softfloat.fast` says when the result counts.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

from .lower import Broken, Const, Lower, V, Value, is_word, llvm, lowering
from .ops import intrinsic
from .types import Word, u32, u64

W = TypeVar("W", bound=Word)
N = TypeVar("N", bound=Word)

_CODE = {u32: ("<I", "<f", "float"), u64: ("<Q", "<d", "double")}


def _number(x: Word) -> float:
    word, real, _ = _CODE[type(x)]  # type: ignore[index]
    return float(struct.unpack(real, struct.pack(word, int(x)))[0])


def _bits(kind: type[W], value: float) -> W:
    word, real, _ = _CODE[kind]  # type: ignore[index]
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
    try:
        exact = Fraction(_number(a)) * Fraction(_number(b)) + Fraction(_number(c))
        value = float(exact)
        if type(a) is u32:
            value = _odd(exact, value)
        return _bits(type(a), value)
    except (OverflowError, ValueError):
        return _bits(type(a), math.nan)


def _odd(exact: Fraction, value: float) -> float:
    """The double next to `exact` whose last bit is odd if it is not exact: it rounds to the right single."""
    if Fraction(value) == exact or struct.unpack("<Q", struct.pack("<d", value))[0] & 1:
        return value
    return math.nextafter(value, math.inf if Fraction(value) < exact else -math.inf)


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
        return _bits(kind, _odd(Fraction(int(value)), float(int(value))))
    return _bits(kind, float(int(value)))


@intrinsic
def host_to_int(kind: type[N], a: Word) -> N:
    """A number cut to an integer; it fits."""
    return kind(int(_number(a)))


@intrinsic
def host_convert(kind: type[W], a: Word) -> W:
    """A double to a single or the other way."""
    return _bits(kind, _number(a))


# -- compiled forms


def _real(t: object) -> str:
    if t not in _CODE:
        raise Broken("host floating point is on u32 (single) and u64 (double)")
    return _CODE[t][2]  # type: ignore[index]


def _in(g: Lower, v: Value) -> tuple[str, str]:
    if not isinstance(v, V) or not is_word(v.type):
        raise Broken("host floating point is on words")
    real = _real(v.type)
    return real, g.value(f"bitcast {llvm(v.type)} {v.ref} to {real}")


def _out(g: Lower, t: type[Word], ref: str) -> V:
    return V(t, g.value(f"bitcast {_real(t)} {ref} to {llvm(t)}"))


def _binary(function: Callable[..., Word], instruction: str) -> None:
    @lowering(function)
    def lower(g: Lower, a: Value, b: Value) -> Value:
        (real, x), (_, y) = _in(g, a), _in(g, b)
        return _out(g, a.type, g.value(f"{instruction} {real} {x}, {y}"))  # type: ignore[union-attr,arg-type]


for _f, _name in ((host_add, "fadd"), (host_sub, "fsub"), (host_mul, "fmul"), (host_div, "fdiv")):
    _binary(_f, _name)


def _call(g: Lower, name: str, args: tuple[Value, ...]) -> Value:
    reals = [_in(g, a) for a in args]
    real = reals[0][0]
    full = f"{name}.{'f64' if real == 'double' else 'f32'}"
    g.unit.declare(full, f"declare {real} @{full}({', '.join(real for _ in args)})")
    result = g.value(f"call {real} @{full}({', '.join(f'{real} {x}' for _, x in reals)})")
    return _out(g, args[0].type, result)  # type: ignore[union-attr,arg-type]


@lowering(host_sqrt)
def _lower_sqrt(g: Lower, a: Value) -> Value:
    return _call(g, "llvm.sqrt", (a,))


@lowering(host_fma)
def _lower_fma(g: Lower, a: Value, b: Value, c: Value) -> Value:
    return _call(g, "llvm.fma", (a, b, c))


def _compare(function: Callable[..., bool], predicate: str) -> None:
    @lowering(function)
    def lower(g: Lower, a: Value, b: Value) -> Value:
        (real, x), (_, y) = _in(g, a), _in(g, b)
        return V(bool, g.value(f"fcmp {predicate} {real} {x}, {y}"))


_compare(host_less, "olt")
_compare(host_equal, "oeq")


def _kind(v: Value) -> type[Word]:
    if isinstance(v, Const) and is_word(v.value):
        return v.value  # type: ignore[no-any-return]
    raise Broken("the first argument is a word type known at compile time")


@lowering(host_from_int)
def _lower_from_int(g: Lower, kind: Value, value: Value) -> Value:
    t = _kind(kind)
    if not isinstance(value, V) or not is_word(value.type):
        raise Broken("a word is converted")
    how = "sitofp" if value.type.signed else "uitofp"  # type: ignore[union-attr]
    return _out(g, t, g.value(f"{how} {llvm(value.type)} {value.ref} to {_real(t)}"))


@lowering(host_to_int)
def _lower_to_int(g: Lower, kind: Value, a: Value) -> Value:
    t, (real, x) = _kind(kind), _in(g, a)
    return V(t, g.value(f"{'fptosi' if t.signed else 'fptoui'} {real} {x} to {llvm(t)}"))


@lowering(host_convert)
def _lower_convert(g: Lower, kind: Value, a: Value) -> Value:
    t, (real, x) = _kind(kind), _in(g, a)
    if _real(t) == real:
        return a
    return _out(g, t, g.value(f"{'fptrunc' if real == 'double' else 'fpext'} {real} {x} to {_real(t)}"))
