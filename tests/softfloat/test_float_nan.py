"""What architectures make of NaNs and subnormal numbers."""

from __future__ import annotations

import pytest

from tinamou.native.types import u16, u32, u64, u128
from tinamou.softfloat import behaviour as b
from tinamou.softfloat.arith import add, div, mul
from tinamou.softfloat.behaviour import DEFAULT_NAN, FLUSH_INPUTS, FLUSH_OUTPUTS, INEXACT, INVALID, UNDERFLOW, Behaviour
from tinamou.softfloat.fma import fma
from tinamou.softfloat.format import F16, F32, F64, F80, F80_M68K
from tinamou.softfloat.nan import default_nan

# Quiet and signalling NaNs: the number tells which.
Q1, Q2, Q3, S1, S2, S3 = 0x7FC00001, 0x7FC00002, 0x7FC00003, 0x7F800001, 0x7F800002, 0x7F800003
L1, L2, L3, T1, T2, T3 = S1, S2, S3, Q1, Q2, Q3  # with the meaning of the quiet bit turned round
ONE, ZERO, INF = 0x3F800000, 0, 0x7F800000


@pytest.mark.parametrize(
    "rules, single, double",
    [
        (b.RISCV, 0x7FC00000, 0x7FF8000000000000),
        (b.ARM, 0x7FC00000, 0x7FF8000000000000),
        (b.X86, 0xFFC00000, 0xFFF8000000000000),
        (b.MIPS, 0x7FC00000, 0x7FF8000000000000),
        (b.MIPS_LEGACY, 0x7FBFFFFF, 0x7FF7FFFFFFFFFFFF),
        (b.POWER, 0x7FC00000, 0x7FF8000000000000),
        (b.SPARC, 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF),
        (b.S390, 0x7FC00000, 0x7FF8000000000000),
        (b.HPPA, 0x7FA00000, 0x7FF4000000000000),
        (b.M68K, 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF),
        (b.SH4, 0x7FBFFFFF, 0x7FF7FFFFFFFFFFFF),
        (b.ALPHA, 0xFFC00000, 0xFFF8000000000000),
        (b.LOONGARCH, 0x7FC00000, 0x7FF8000000000000),
    ],
    ids=lambda p: p.name if isinstance(p, Behaviour) else "",
)
def test_default_nan(rules, single, double):
    assert div(F32, rules, u32(0), u32(0), u32(0)) == (single, INVALID) or rules is b.POWER
    assert div(F64, rules, u64(0), u64(0), u32(0))[0] == double


def test_default_nan_of_extended_formats():
    assert default_nan(F80, b.X87) == 0xFFFF_C000_0000_0000_0000
    assert default_nan(F80_M68K, b.M68K) == 0x7FFF_FFFF_FFFF_FFFF_FFFF


def after(rules: Behaviour, x: int, y: int) -> tuple[int, int]:
    """The number of the NaN that the sum has, and whether it was invalid."""
    result, flags = add(F32, rules, u32(x), u32(y), u32(0))
    return int(result) & 0xFF, bool(flags & INVALID)


def test_which_operand():
    """Rows: rules; columns: QQ, QS, SQ, SS, 1Q, 1S."""
    pairs = [(Q1, Q2), (Q1, S2), (S1, Q2), (S1, S2), (ONE, Q2), (ONE, S2)]
    table = {
        b.RISCV: [0, 0, 0, 0, 0, 0],
        b.ARM: [1, 2, 1, 1, 2, 2],
        b.X86: [1, 1, 1, 1, 2, 2],
        b.X87: [2, 1, 2, 2, 2, 2],
        b.MIPS: [1, 2, 1, 1, 2, 2],
        b.POWER: [1, 1, 1, 1, 2, 2],
        b.SPARC: [2, 2, 1, 2, 2, 2],
        b.S390: [1, 2, 1, 1, 2, 2],
        b.M68K: [1, 1, 1, 1, 2, 2],
        b.ALPHA: [2, 2, 2, 2, 2, 2],
        b.LOONGARCH: [1, 2, 1, 1, 2, 2],
    }
    for rules, row in table.items():
        assert [after(rules, *p) for p in pairs] == list(zip(row, [False, True, True, True, False, True], strict=True)), rules.name


def test_inverted_quiet_bit():
    pairs = [(L1, L2), (L1, T2), (T1, L2), (ONE, L2), (ONE, T2)]
    invalid = [False, True, True, False, True]
    for rules, row in (
        (b.MIPS_LEGACY, [L1, 0x7FBFFFFF, 0x7FBFFFFF, L2, 0x7FBFFFFF]),
        (b.HPPA, [L1, L1, 0x7FA00001, L2, 0x7FA00002]),
    ):
        for (x, y), want, flag in zip(pairs, row, invalid, strict=True):
            assert add(F32, rules, u32(x), u32(y), u32(0)) == (want, INVALID * flag), (rules.name, hex(x), hex(y))


def test_larger_significand_and_sign():
    """x87: of NaNs equal but for the sign the positive one; encodings without meaning give the default NaN."""
    quiet, negative = u128(0x7FFF_C000_0000_0000_0001), u128(0xFFFF_C000_0000_0000_0001)
    assert add(F80, b.X87, negative, quiet, u32(0)) == (quiet, 0)
    assert add(F80, b.X87, quiet, negative, u32(0)) == (quiet, 0)
    assert add(F80, b.X87, quiet, u128(0x3FFF_0000_0000_0000_0000), u32(0)) == (0xFFFF_C000_0000_0000_0000, INVALID)


def of_three(rules: Behaviour, *operands: int) -> int:
    x, y, z = map(u32, operands)
    return int(fma(F32, rules, x, y, z, u32(0), u32(0))[0]) & 0xFF


def test_which_operand_of_three():
    for rules, quiet, signalling in (
        (b.ARM, 3, 3),
        (b.X86, 1, 1),
        (b.POWER, 1, 1),
        (b.MIPS, 3, 3),
        (b.S390, 1, 1),
        (b.SPARC, 3, 3),
    ):
        assert of_three(rules, Q1, Q2, Q3) == quiet, rules.name
        assert of_three(rules, S1, S2, S3) == signalling, rules.name
    assert of_three(b.POWER, ONE, Q2, Q3) == 3  # frA, frB (the addend), frC
    assert of_three(b.ARM, Q1, S2, Q3) == 2
    assert of_three(b.X86, Q1, S2, Q3) == 1


def test_infinity_times_zero_plus_nan():
    def result(rules: Behaviour, c: int) -> tuple[int, int]:
        bits, flags = fma(F32, rules, u32(INF), u32(ZERO), u32(c), u32(0), u32(0))
        return int(bits), int(flags) & b.IEEE

    assert result(b.RISCV, Q3) == (0x7FC00000, INVALID)
    assert result(b.ARM, Q3) == (0x7FC00000, INVALID)
    assert result(b.ARM, S3) == (Q3, INVALID)
    assert result(b.X86, Q3) == (Q3, 0)
    assert result(b.X86, S3) == (Q3, INVALID)
    assert result(b.POWER, Q3) == (Q3, INVALID)
    assert result(b.S390, Q3) == (0x7FC00000, INVALID)


def test_default_nan_mode():
    assert add(F32, b.ARM, u32(S1), u32(Q2), u32(DEFAULT_NAN)) == (0x7FC00000, INVALID)
    assert fma(F32, b.ARM, u32(ONE), u32(Q2), u32(ONE), u32(0), u32(DEFAULT_NAN)) == (0x7FC00000, 0)


SUBNORMAL, LEAST_NORMAL, HALF = 0x00000003, 0x00800000, 0x3F000000


def test_flushing():
    """Arm raises IDC for operands and only UFC for results; x86 nothing for operands (DAZ), PE too for results (FTZ)."""
    both = u32(FLUSH_INPUTS | FLUSH_OUTPUTS)
    minus = u32(SUBNORMAL | 1 << 31)
    assert mul(F32, b.ARM, minus, u32(ONE), both) == (1 << 31, b.FLUSHED)
    assert mul(F32, b.ARM, minus, u32(S1), both) == (Q1, INVALID | b.FLUSHED)
    assert mul(F32, b.X86, minus, u32(ONE), both) == (1 << 31, 0)
    assert mul(F32, b.X86, minus, u32(ONE), u32(0)) == (minus, b.DENORMAL)
    assert mul(F32, b.X86, minus, u32(S1), u32(0)) == (Q1, INVALID)
    assert mul(F32, b.ARM, u32(LEAST_NORMAL), u32(HALF), both) == (0, UNDERFLOW)  # exact, flushed all the same
    assert mul(F32, b.X86, u32(LEAST_NORMAL), u32(HALF), both) == (0, UNDERFLOW | INEXACT)
    assert mul(F32, b.X86, u32(LEAST_NORMAL), u32(HALF), u32(0)) == (LEAST_NORMAL >> 1, 0)
    assert mul(F32, b.RISCV, u32(LEAST_NORMAL), u32(HALF), both) == (LEAST_NORMAL >> 1, 0)  # has no such modes
    assert mul(F16, b.ARM, u16(0x0400), u16(0x3800), u32(FLUSH_OUTPUTS)) == (0, UNDERFLOW)


def test_tininess():
    """(1 - 2^-46) * 2^-126 is tiny before rounding to 24 bits, not after; (1 - 2^-24) * 2^-126 is both."""
    x = u32(0x00FFFFFF)
    assert mul(F32, b.ARM, x, u32(HALF), u32(0)) == (LEAST_NORMAL, UNDERFLOW | INEXACT)
    assert mul(F32, b.RISCV, x, u32(HALF), u32(0)) == (LEAST_NORMAL, UNDERFLOW | INEXACT)  # with any exponent it needs no rounding
    assert mul(F32, b.ARM, u32(0x3F7FFFFE), u32(0x00800001), u32(0)) == (LEAST_NORMAL, UNDERFLOW | INEXACT)
    assert mul(F32, b.RISCV, u32(0x3F7FFFFE), u32(0x00800001), u32(0)) == (LEAST_NORMAL, INEXACT)
