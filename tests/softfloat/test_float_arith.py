"""Arithmetic of every format in every mode against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softfloat.oracle import FORMATS, MODES, Value, decode, encode, infinity, patterns, square_root
from tinamou.native.types import u32
from tinamou.softfloat import arith
from tinamou.softfloat.behaviour import DIVBYZERO, DOWN, DROP, INVALID, POWER, RISCV, Behaviour
from tinamou.softfloat.fma import HALVE, NEGATE_ADDEND, NEGATE_PRODUCT, NEGATE_RESULT, fma
from tinamou.softfloat.format import F16, F80, Format, is_nan
from tinamou.softfloat.nan import default_nan
from tinamou.softfloat.round import operand

TINY_AFTER, TINY_BEFORE = RISCV, Behaviour("default NaN, tiny before", nan="default", tiny_before=True)
formats = pytest.mark.parametrize("f", FORMATS, ids=lambda f: f.name)


def number(f: Format, rules: Behaviour, negative: bool, x: Fraction, mode: int, drop: int = 0) -> tuple[int, int]:
    return encode(f, negative, x, mode, rules.tiny_before, drop)


def expected(f: Format, rules: Behaviour, op: str, a: Value, b: Value, mode: int, drop: int = 0) -> tuple[int, int]:
    """IEEE 754-2019, 6 and 7: the result of an operation on two operands, NaNs canonical."""
    nan = int(default_nan(f, rules))
    if a.nan or b.nan:
        return nan, INVALID if "snan" in (a.kind, b.kind) else 0
    if op == "sub":
        op, b = "add", Value(b.kind, not b.negative, b.number)
    negative = a.negative != b.negative
    x, y = a.number * (-1 if a.negative else 1), b.number * (-1 if b.negative else 1)
    infinite = [v for v in (a, b) if v.kind == "inf"]
    if op == "add":
        if infinite:
            return (nan, INVALID) if len(infinite) == 2 and negative else (infinity(f, infinite[0].negative), 0)
        if x + y == 0:
            zero = a.negative if x == 0 and not negative else mode == DOWN
            return number(f, rules, zero, Fraction(0), mode)
        return number(f, rules, x + y < 0, abs(x + y), mode, drop)
    if op == "mul":
        if infinite:
            invalid = any(v.kind == "number" and v.number == 0 for v in (a, b))
            return (nan, INVALID) if invalid else (infinity(f, negative), 0)
        return number(f, rules, negative, abs(x * y), mode, drop)
    if a.kind == "inf":
        return (nan, INVALID) if b.kind == "inf" else (infinity(f, negative), 0)
    if b.kind == "inf":
        return number(f, rules, negative, Fraction(0), mode)
    if y == 0:
        return (nan, INVALID) if x == 0 else (infinity(f, negative), DIVBYZERO)
    return number(f, rules, negative, abs(x / y), mode, drop)


def same(got: tuple[int, int], want: tuple[int, int]) -> None:
    assert (hex(got[0]), int(got[1])) == (hex(want[0]), want[1])


@formats
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
def test_two_operands(f, op):
    function = getattr(arith, op)

    @settings(max_examples=100, deadline=None, database=None)
    @given(patterns(f), patterns(f), st.sampled_from(MODES), st.sampled_from([TINY_AFTER, TINY_BEFORE]))
    def check(a, b, mode, rules):
        got = function(f, rules, f.word(a), f.word(b), u32(mode))
        same(got, expected(f, rules, op, decode(f, a), decode(f, b), mode))

    check()


@formats
def test_near_cancellation(f):
    """Operands whose sum or difference loses leading bits or lies near a tie."""

    @settings(max_examples=120, deadline=None, database=None)
    @given(patterns(f), st.integers(-3, 3), st.integers(-2, f.fraction + 3), st.sampled_from(MODES), st.booleans())
    def check(a, ulps, apart, mode, negative):
        stored = f.exponent_at
        b = (a + ulps & f.magnitude) - (apart << stored)
        b = b if 0 <= b else a & f.magnitude
        b |= negative << f.sign_at
        for op in ("add", "sub"):
            got = getattr(arith, op)(f, RISCV, f.word(a), f.word(b), u32(mode))
            same(got, expected(f, RISCV, op, decode(f, a), decode(f, b), mode))

    check()


def expected_root(f: Format, rules: Behaviour, a: Value, mode: int, drop: int = 0) -> tuple[int, int]:
    if a.nan:
        return int(default_nan(f, rules)), INVALID if a.kind == "snan" else 0
    if a.kind == "number" and a.number == 0:
        return number(f, rules, a.negative, Fraction(0), mode)
    if a.negative:
        return int(default_nan(f, rules)), INVALID
    if a.kind == "inf":
        return infinity(f, False), 0
    return number(f, rules, False, square_root(a.number), mode, drop)


@formats
def test_square_root(f):
    @settings(max_examples=100, deadline=None, database=None)
    @given(patterns(f), st.sampled_from(MODES))
    def check(a, mode):
        same(arith.sqrt(f, RISCV, f.word(a), u32(mode)), expected_root(f, RISCV, decode(f, a), mode))

    check()


@formats
def test_square_root_of_squares(f):
    """Exact roots, and their neighbours."""

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.integers(1, (1 << (f.precision // 2)) - 1), st.integers(-1, 1), st.sampled_from(MODES))
    def check(n, ulps, mode):
        a = encode(f, False, Fraction(n * n), 0)[0] + ulps
        same(arith.sqrt(f, RISCV, f.word(a), u32(mode)), expected_root(f, RISCV, decode(f, a), mode))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_square_root_of_every_f16(mode):
    for a in range(1 << 16):
        same(arith.sqrt(F16, RISCV, F16.word(a), u32(mode)), expected_root(F16, RISCV, decode(F16, a), mode))


def expected_fma(f: Format, rules: Behaviour, a: Value, b: Value, c: Value, variant: int, mode: int) -> tuple[int, int]:
    nan = int(default_nan(f, rules))
    zero_inf = {a.kind, b.kind} == {"inf", "number"} and any(v.kind == "number" and v.number == 0 for v in (a, b))
    if a.nan or b.nan or c.nan:
        return nan, INVALID if "snan" in (a.kind, b.kind, c.kind) or zero_inf else 0
    if zero_inf:
        return nan, INVALID
    product = (a.negative != b.negative) != bool(variant & NEGATE_PRODUCT)
    addend = c.negative != bool(variant & NEGATE_ADDEND)
    result = bool(variant & NEGATE_RESULT)
    if "inf" in (a.kind, b.kind):
        if c.kind == "inf" and product != addend:
            return nan, INVALID
        return infinity(f, product != result), 0
    if c.kind == "inf":
        return infinity(f, addend != result), 0
    x = a.number * b.number * (-1 if product else 1)
    y = c.number * (-1 if addend else 1)
    exact = (x + y) / (2 if variant & HALVE else 1)
    negative = exact < 0
    if exact == 0:
        negative = product if product == addend else mode == DOWN
    bits, flags = number(f, rules, negative, abs(exact), mode)
    return bits ^ result << f.sign_at, flags


@formats
def test_fused_multiply_add(f):
    @settings(max_examples=120, deadline=None, database=None)
    @given(patterns(f), patterns(f), patterns(f), st.integers(0, 15), st.sampled_from(MODES), st.sampled_from([TINY_AFTER, TINY_BEFORE]))
    def check(a, b, c, variant, mode, rules):
        got = fma(f, rules, f.word(a), f.word(b), f.word(c), u32(variant), u32(mode))
        same(got, expected_fma(f, rules, decode(f, a), decode(f, b), decode(f, c), variant, mode))

    check()


@formats
def test_fused_multiply_add_near_cancellation(f):
    """The addend is the rounded product, a few ulps off, or many places away."""

    @settings(max_examples=100, deadline=None, database=None)
    @given(patterns(f), patterns(f), st.integers(-2, 2), st.integers(-2, 2) | st.integers(-130, 130), st.booleans(), st.sampled_from(MODES))
    def check(a, b, ulps, apart, negative, mode):
        va, vb = decode(f, a), decode(f, b)
        if va.kind != "number" or vb.kind != "number":
            return
        c = encode(f, negative, va.number * vb.number * Fraction(2) ** apart, mode)[0]
        c += ulps if (c + ulps) >> f.sign_at == c >> f.sign_at and c + ulps >= 0 else 0
        got = fma(f, RISCV, f.word(a), f.word(b), f.word(c), u32(0), u32(mode))
        same(got, expected_fma(f, RISCV, va, vb, decode(f, c), 0, mode))

    check()


@pytest.mark.parametrize("drop", [11, 40])
def test_x87_precision_control(drop):
    """The significand is rounded to 53 or 24 bits, the exponent keeps its range."""

    @settings(max_examples=100, deadline=None, database=None)
    @given(patterns(F80), patterns(F80), st.sampled_from(MODES), st.sampled_from([TINY_AFTER, TINY_BEFORE]))
    def check(a, b, mode, rules):
        va, vb = decode(F80, a), decode(F80, b)
        control = u32(mode | drop << DROP)
        for op in ("add", "sub", "mul", "div"):
            got = getattr(arith, op)(F80, rules, F80.word(a), F80.word(b), control)
            want = expected(F80, rules, op, va, vb, mode, drop)
            if want[0] & F80.magnitude == F80.largest:
                continue
            same(got, want)
        same(arith.sqrt(F80, rules, F80.word(a), control), expected_root(F80, rules, va, mode, drop))

    check()


def test_reasons_of_invalid_operations():
    """PowerPC tells them apart."""
    from tinamou.softfloat import behaviour as b

    inf, zero, one, minus, snan = 0x7C00, 0, 0x3C00, 0xBC00, 0x7C01
    w, c = F16.word, u32(0)
    for op, x, y, why in (
        ("sub", inf, inf, b.INF_MINUS_INF),
        ("mul", inf, zero, b.INF_TIMES_ZERO),
        ("div", inf, inf, b.INF_OVER_INF),
        ("div", zero, zero, b.ZERO_OVER_ZERO),
        ("add", one, snan, b.SIGNALLING),
    ):
        assert getattr(arith, op)(F16, POWER, w(x), w(y), c)[1] == INVALID | why
        assert getattr(arith, op)(F16, RISCV, w(x), w(y), c)[1] == INVALID
    assert arith.sqrt(F16, POWER, w(minus), c)[1] == INVALID | b.NEGATIVE_ROOT
    assert fma(F16, POWER, w(inf), w(zero), w(snan), u32(0), c)[1] == INVALID | b.SIGNALLING | b.INF_TIMES_ZERO


@formats
def test_operand_is_canonical(f):
    @settings(max_examples=100, deadline=None, database=None)
    @given(patterns(f))
    def check(a):
        if not is_nan(f, f.word(a)):
            b, _ = operand(f, RISCV, f.word(a), u32(0))
            assert decode(f, b) == decode(f, a)
            assert decode(f, a).kind != "number" or b == encode(f, decode(f, a).negative, decode(f, a).number, 0)[0]

    check()
