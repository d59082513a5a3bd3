"""Conversions, remainders and scaling against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softfloat.oracle import FORMATS, MODES, decode, encode, infinity, patterns, round_integer
from tinamou.native.types import i8, i16, i32, i64, i128, u8, u16, u32, u64, u128
from tinamou.softfloat import convert as c
from tinamou.softfloat.behaviour import ALPHA, ARM, INEXACT, INVALID, MIPS_LEGACY, POWER, RISCV, SPARC, X86
from tinamou.softfloat.format import F16, F16_ALT, F32, F64, F80, F128
from tinamou.softfloat.nan import default_nan
from tinamou.softfloat.rem import mod, rem, rem_step

formats = pytest.mark.parametrize("f", FORMATS, ids=lambda f: f.name)
INTEGERS = [i8, u8, i16, u16, i32, u32, i64, u64, i128, u128]


def same(got: tuple[int, int], want: tuple[int, int]) -> None:
    assert (hex(got[0]), int(got[1])) == (hex(want[0]), want[1])


def few(n: int = 100) -> settings:
    return settings(max_examples=n, deadline=None, database=None)


@formats
@pytest.mark.parametrize("g", [*FORMATS, F16_ALT], ids=lambda g: g.name)
def test_between_formats(f, g):
    @few(30)
    @given(patterns(f), st.sampled_from(MODES))
    def check(a, mode):
        v = decode(f, a)
        got = c.convert(f, g, RISCV, f.word(a), u32(mode))
        if v.nan and not g.specials:
            want = v.negative << 15, INVALID
        elif v.nan:
            want = int(default_nan(g, RISCV)), INVALID if v.kind == "snan" else 0
        elif v.kind == "inf":
            want = (infinity(g, v.negative), 0) if g.specials else (v.negative << 15 | 0x7FFF, INVALID)
        else:
            want = encode(g, v.negative, v.number, mode)
        same(got, want)

    check()


def test_widening_alternative_half():
    """The largest exponent is one more binade."""
    for a in range(0, 1 << 16, 7):
        v = decode(F16_ALT, a)
        same(c.convert(F16_ALT, F32, RISCV, u16(a), u32(0)), encode(F32, v.negative, v.number, 0))
    assert decode(F16_ALT, 0x7FFF).number == 131008


def test_nan_payloads():
    """Kept from the top, quiet; RISC-V keeps none; before NAN2008 signalling ones become the default NaN."""
    assert c.convert(F32, F64, ARM, u32(0xFF812345), u32(0)) == (0xFFF82468A0000000, INVALID)
    assert c.convert(F64, F32, ARM, u64(0x7FF8000000000001), u32(0)) == (0x7FC00000, 0)
    assert c.convert(F64, F32, ARM, u64(0x7FFA468ACF13579B), u32(0)) == (0x7FD23456, 0)
    assert c.convert(F64, F80, X86, u64(0x7FF4000000000000), u32(0)) == (0x7FFF_E000_0000_0000_0000, INVALID)
    assert c.convert(F64, F32, RISCV, u64(0xFFFA468ACF13579B), u32(0)) == (0x7FC00000, 0)
    assert c.convert(F64, F32, MIPS_LEGACY, u64(0x7FF0000000000001), u32(0)) == (0x7FBFFFFF, 0)
    assert c.convert(F32, F64, MIPS_LEGACY, u32(0x7FC12345), u32(0)) == (0x7FF7FFFFFFFFFFFF, INVALID)
    assert c.convert(F32, F64, MIPS_LEGACY, u32(0x7FA12345), u32(0)) == (0x7FF42468A0000000, 0)


@formats
@pytest.mark.parametrize("t", INTEGERS, ids=lambda t: t.__name__)
def test_from_integers(f, t):
    @few(25)
    @given(st.integers(0, 64), st.integers(-2, 2), st.integers(), st.integers(-3, 70), st.sampled_from(MODES))
    def check(k, near, any_, scale, mode):
        for a in (t((1 << k * 2) + near), t(any_), t(-(1 << k)), t(1 << t.bits - 1)):
            same(c.from_int(f, RISCV, t, a, u32(mode)), encode(f, a < 0, Fraction(abs(int(a))), mode))
            want = encode(f, a < 0, abs(int(a)) / Fraction(2) ** scale, mode)
            same(c.from_fixed(f, RISCV, t, a, i32(scale), u32(mode)), want)

    check()


def limits(t) -> tuple[int, int]:
    return (-(1 << t.bits - 1), (1 << t.bits - 1) - 1) if t.signed else (0, (1 << t.bits) - 1)


def near_integers(f):
    """Numbers at the edges of the integer types and halfway between integers."""
    return st.builds(
        lambda k, ulps, s: (encode(f, False, Fraction(2) ** k, 1)[0] + ulps) & f.magnitude | s << f.sign_at,
        st.integers(-2, 130),
        st.integers(-3, 3),
        st.booleans(),
    )


@formats
@pytest.mark.parametrize("t", INTEGERS, ids=lambda t: t.__name__)
def test_to_integers(f, t):
    least, most = limits(t)

    @few(25)
    @given(patterns(f) | near_integers(f), st.integers(0, 64), st.sampled_from(MODES))
    def check(a, scale, mode):
        v = decode(f, a)
        for s in (0, scale):
            got = c.to_fixed(f, RISCV, t, f.word(a), i32(s), u32(mode))
            if v.nan:
                want = most, INVALID
            elif v.kind == "inf":
                want = least if v.negative else most, INVALID
            else:
                x = v.number * 2**s
                n = round_integer(x, v.negative, mode) * (-1 if v.negative else 1)
                want = (n, 0 if abs(n) == x else INEXACT) if least <= n <= most else (least if v.negative else most, INVALID)
            same(got, want)

    check()


def test_what_integers_nan_and_too_large_become():
    nan, minus_nan, large, minus = u64(0x7FF8 << 48), u64(0xFFF8 << 48), u64(0x4480 << 48), u64(0xC480 << 48)
    for rules, want in (
        (RISCV, (0x7FFFFFFF, 0x7FFFFFFF, 0x7FFFFFFF, -0x80000000)),
        (ARM, (0, 0, 0x7FFFFFFF, -0x80000000)),
        (X86, (-0x80000000,) * 4),
        (POWER, (-0x80000000, -0x80000000, 0x7FFFFFFF, -0x80000000)),
        (SPARC, (0x7FFFFFFF, -0x80000000, 0x7FFFFFFF, -0x80000000)),
        (MIPS_LEGACY, (0x7FFFFFFF,) * 4),
        (ALPHA, (0, 0, 0, 0)),
    ):
        nans = (nan ^ 0x8000000000001 << 0, minus_nan ^ 0x8000000000001) if rules is MIPS_LEGACY else (nan, minus_nan)
        got = [c.to_int(F64, rules, i32, x, u32(1)) for x in (*nans, large, minus)]
        assert tuple(int(v) for v, _ in got) == want, rules.name
        assert all(flags & INVALID for _, flags in got)
    assert c.to_int(F64, ALPHA, i64, u64(0x43F0_0000_0000_0001), u32(1)) == (4096, INVALID)  # bits of the exact integer
    assert c.to_int(F64, X86, u32, minus, u32(1)) == (0xFFFFFFFF, INVALID)
    assert c.to_int(F64, RISCV, u32, minus, u32(1)) == (0, INVALID)


@formats
def test_round_to_integral(f):
    @few(100)
    @given(patterns(f) | near_integers(f), st.sampled_from(MODES))
    def check(a, mode):
        v = decode(f, a)
        got = c.round_to_integral(f, RISCV, f.word(a), u32(mode))
        if v.nan:
            want = int(default_nan(f, RISCV)), INVALID if v.kind == "snan" else 0
        elif v.kind == "inf":
            want = a if f.lowest else infinity(f, v.negative) | a & f.leading, 0
        else:
            n = round_integer(v.number, v.negative, mode)
            bits, flags = encode(f, v.negative, Fraction(n), 0)
            assert flags == 0
            want = bits, 0 if n == v.number else INEXACT
        same(got, want)

    check()


@formats
def test_scale(f):
    @few(100)
    @given(patterns(f), st.integers(-200, 200) | st.sampled_from([-(2**31), 2**31 - 1]), st.sampled_from(MODES))
    def check(a, n, mode):
        v = decode(f, a)
        if v.kind == "number":
            bounded = max(min(n, 4 << f.exponent), -4 << f.exponent)
            want = encode(f, v.negative, v.number * Fraction(2) ** bounded, mode)
            same(c.scalbn(f, RISCV, f.word(a), i32(n), u32(mode)), want)

    check()


@formats
def test_remainders(f):
    @few(100)
    @given(patterns(f), patterns(f), st.none() | st.integers(-3, 3) | st.integers(4, 100))
    def check(a, b, apart):
        if apart is not None and not f.explicit:  # exponents near each other
            field = max(0, min((b >> f.exponent_at & f.top) + apart, f.top - 1))
            a = a & ~(f.top << f.exponent_at) | field << f.exponent_at
        va, vb = decode(f, a), decode(f, b)
        for nearest, function in ((True, rem), (False, mod)):
            bits, flags, q = function(f, RISCV, f.word(a), f.word(b), u32(0))
            if va.nan or vb.nan:
                want, wq = (int(default_nan(f, RISCV)), INVALID if "snan" in (va.kind, vb.kind) else 0), 0
            elif va.kind == "inf" or (vb.kind == "number" and vb.number == 0):
                want, wq = (int(default_nan(f, RISCV)), INVALID), 0
            elif vb.kind == "inf":
                want, wq = encode(f, va.negative, va.number, 0), 0
            else:
                n = round_integer(va.number / vb.number, False, 0 if nearest else 1)
                rest = va.number - n * vb.number
                want, wq = encode(f, va.negative != (rest < 0), abs(rest), 0), n
            same((bits, flags), want)
            assert q == wq % 2**64

    check()


def test_remainder_step_by_step():
    """Each step leaves a number congruent to the last; the end is the remainder."""

    @few(100)
    @given(patterns(F80), patterns(F80), st.booleans())
    def check(a, b, nearest):
        a, b = u128(a), u128(b)
        want = (rem if nearest else mod)(F80, X86, a, b, u32(0))[0]
        x, steps = a, 0
        while True:
            x, _, _, left = rem_step(F80, X86, nearest, x, b, u32(0))
            if not left:
                break
            steps += 1
        assert steps <= 1 + (1 << 15) // 32
        assert x == want

    check()


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_f16(mode):
    for a in range(1 << 16):
        v = decode(F16, a)
        if v.kind != "number":
            continue
        for g in (F32, F128):
            same(c.convert(F16, g, RISCV, u16(a), u32(mode)), encode(g, v.negative, v.number, mode))
        n = round_integer(v.number, v.negative, mode)
        inexact = 0 if n == v.number else INEXACT
        same(c.to_int(F16, RISCV, i32, u16(a), u32(mode)), (-n if v.negative else n, inexact))
        same(c.round_to_integral(F16, RISCV, u16(a), u32(mode)), (encode(F16, v.negative, Fraction(n), 0)[0], inexact))
