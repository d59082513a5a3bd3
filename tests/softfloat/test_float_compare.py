"""Comparison, minimum and maximum, classification."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softfloat.oracle import FORMATS, Value, decode, encode, infinity, patterns
from tinamou.native.types import u16, u32
from tinamou.softfloat import compare as c
from tinamou.softfloat.behaviour import ARM, INVALID, RISCV, X86
from tinamou.softfloat.format import F16, F80_M68K
from tinamou.softfloat.nan import default_nan

formats = pytest.mark.parametrize("f", FORMATS, ids=lambda f: f.name)


def key(v: Value):
    """Where a number or infinity stands."""
    return float("-inf" if v.negative else "inf") if v.kind == "inf" else v.number * (-1 if v.negative else 1)


def canonical(f, v: Value) -> int:
    return infinity(f, v.negative) if v.kind == "inf" else encode(f, v.negative, v.number, 0)[0]


def pairs(f):
    """Two operands, often equal or opposite."""
    return st.tuples(patterns(f), patterns(f)) | patterns(f).flatmap(
        lambda a: st.tuples(st.just(a), st.sampled_from([a, a ^ f.sign, a ^ 1, a ^ f.sign ^ 1]))
    )


@formats
def test_comparison(f):
    @settings(max_examples=120, deadline=None, database=None)
    @given(pairs(f))
    def check(p):
        a, b = p
        va, vb = decode(f, a), decode(f, b)
        quiet = INVALID if "snan" in (va.kind, vb.kind) else 0
        loud = 0
        x, y = f.word(a), f.word(b)
        order = c.UNORDERED
        if va.nan or vb.nan:
            loud = INVALID
        else:
            order = c.LESS if key(va) < key(vb) else c.GREATER if key(va) > key(vb) else c.EQUAL
        assert c.compare(f, RISCV, False, x, y, u32(0)) == (order, quiet)
        assert c.compare(f, RISCV, True, x, y, u32(0)) == (order, loud)
        assert c.eq(f, RISCV, x, y, u32(0)) == (order == c.EQUAL, quiet)
        assert c.lt(f, RISCV, x, y, u32(0)) == (order == c.LESS, loud)
        assert c.le(f, RISCV, x, y, u32(0)) == (order in (c.LESS, c.EQUAL), loud)
        assert c.unordered(f, RISCV, x, y, u32(0)) == (order == c.UNORDERED, quiet)

    check()


@formats
@pytest.mark.parametrize("flavour", ["propagate", "number", "num", "second"])
def test_minimum_and_maximum(f, flavour):
    @settings(max_examples=100, deadline=None, database=None)
    @given(pairs(f), st.booleans(), st.booleans())
    def check(p, maximum, by_magnitude):
        a, b = p
        va, vb = decode(f, a), decode(f, b)
        got = c.minmax(f, RISCV, flavour, maximum, by_magnitude, f.word(a), f.word(b), u32(0))
        flags = INVALID if "snan" in (va.kind, vb.kind) else 0
        nan = int(default_nan(f, RISCV))
        if va.nan or vb.nan:
            other = None if va.nan and vb.nan else vb if va.nan else va
            if flavour == "second":
                assert got[1] == INVALID and (vb.nan or decode(f, got[0]) == vb)
            elif other is None or flavour == "propagate" or (flavour == "num" and flags):
                assert got == (nan, flags)
            else:
                assert decode(f, got[0]) == other and got[1] == flags
            return
        ka, kb = key(va), key(vb)
        if by_magnitude and abs(ka) != abs(kb):
            ka, kb = abs(ka), abs(kb)
        if flavour == "second":
            want = va if (ka > kb if maximum else ka < kb) else vb
        else:
            ka, kb = (ka, not va.negative), (kb, not vb.negative)
            want = max((ka, 0, va), (kb, 1, vb), key=lambda t: t[0])[2] if maximum else min((ka, va), (kb, vb), key=lambda t: t[0])[1]
        assert decode(f, got[0]) == want and got[1] == 0

    check()


def test_flavours_differ_in_nan():
    one, quiet, signalling = u16(0x3C00), u16(0x7E01), u16(0x7C01)
    result = {
        flavour: [c.minmax(F16, ARM, flavour, False, False, one, nan, u32(0)) for nan in (quiet, signalling)]
        for flavour in ("propagate", "number", "num")
    }
    assert result == {
        "propagate": [(0x7E01, 0), (0x7E01, INVALID)],
        "number": [(0x3C00, 0), (0x3C00, INVALID)],
        "num": [(0x3C00, 0), (0x7E01, INVALID)],
    }
    assert c.minmax(F16, X86, "second", True, False, signalling, one, u32(0)) == (0x3C00, INVALID)
    assert c.minmax(F16, X86, "second", True, False, one, signalling, u32(0)) == (0x7C01, INVALID)


@formats
def test_classes(f):
    names = ["-inf", "-normal", "-subnormal", "-0", "+0", "+subnormal", "+normal", "+inf", "snan", "qnan"]

    @settings(max_examples=100, deadline=None, database=None)
    @given(patterns(f))
    def check(a):
        v = decode(f, a)
        if v.kind == "number" and f.explicit and a >> 63 & 1 != ((a >> 64 & 0x7FFF) != 0):
            return  # pseudo-denormals, unnormals
        sign = "-" if v.negative else "+"
        kind = v.kind
        if kind == "number":
            normal = Fraction(2) ** ((0 if f is F80_M68K else 1) - f.bias)
            kind = "0" if v.number == 0 else "normal" if v.number >= normal else "subnormal"
        want = kind if v.nan else sign + kind
        assert names[c.classify(f, RISCV, f.word(a))] == want

    check()
