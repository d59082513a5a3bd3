"""The rules of x86 against the processor this runs on: results and every flag, in all modes, with flushing and precision control."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from softfloat import host
from softfloat.host import FEATURES, Sse
from softfloat.host import X87 as Fpu
from softfloat.oracle import some_pattern
from tinamou.native.types import i16, i32, i64, u16, u32
from tinamou.softfloat import arith, behaviour, convert
from tinamou.softfloat.behaviour import DENORMAL, DROP, FLUSH_INPUTS, FLUSH_OUTPUTS, ROUNDED_UP, X86, X87
from tinamou.softfloat.compare import EQUAL, LESS, UNORDERED, compare, minmax
from tinamou.softfloat.fma import NEGATE_ADDEND, NEGATE_PRODUCT, fma
from tinamou.softfloat.format import F16, F32, F64, F80, Format
from tinamou.softfloat.rem import rem_step

pytestmark = pytest.mark.skipif(not host.X86_64, reason="the oracle is an x86-64 processor")

ROUNDING = [0, 3, 1, 2]  # nearest, toward zero, down, up in the RC field
FLAGS = {
    behaviour.INVALID: host.INVALID,
    behaviour.DENORMAL: host.DENORMAL,
    behaviour.DIVBYZERO: host.DIVBYZERO,
    behaviour.OVERFLOW: host.OVERFLOW,
    behaviour.UNDERFLOW: host.UNDERFLOW,
    behaviour.INEXACT: host.INEXACT,
}
COUNT = 700


def exceptions(flags: int) -> int:
    return sum(bit for ours, bit in FLAGS.items() if flags & ours)


def against_sse(f: Format, code: Sse, soft: Callable[..., tuple[int, int]], operands: int, ignore: int = 0) -> None:
    r = random.Random(f.name)
    for _ in range(COUNT):
        xs = [some_pattern(r, f) for _ in range(operands)]
        mode, inputs, outputs = r.randrange(4), r.random() < 0.2, r.random() < 0.2
        mxcsr = inputs * host.DENORMALS_ARE_ZERO | outputs * host.FLUSH_TO_ZERO
        want, raised = code(*xs, rounding=ROUNDING[mode], mxcsr=mxcsr)
        got, flags = soft(*[f.word(x) for x in xs], u32(mode | inputs * FLUSH_INPUTS | outputs * FLUSH_OUTPUTS))
        assert (hex(got), exceptions(flags & ~ignore)) == (hex(want), raised), [*map(hex, xs), mode, mxcsr]


sse = pytest.mark.parametrize("f, p", [(F32, "f3"), (F64, "f2")], ids=["f32", "f64"])


@sse
@pytest.mark.parametrize("op, code", [("add", "58"), ("sub", "5c"), ("mul", "59"), ("div", "5e")])
def test_arithmetic(f, p, op, code):
    against_sse(f, Sse(f"{p}0f{code}c1", f.word.bits), lambda a, b, c: getattr(arith, op)(f, X86, a, b, c), 2)


@sse
def test_square_root(f, p):
    against_sse(f, Sse(f"{p}0f51c0", f.word.bits), lambda a, c: arith.sqrt(f, X86, a, c), 1)


@sse
@pytest.mark.parametrize("op, maximum", [("5d", False), ("5f", True)])
def test_minimum_and_maximum(f, p, op, maximum):
    against_sse(f, Sse(f"{p}0f{op}c1", f.word.bits), lambda a, b, c: minmax(f, X86, "second", maximum, False, a, b, c), 2)


@sse
@pytest.mark.parametrize("op, signalling", [("2f", True), ("2e", False)])
def test_comparison(f, p, op, signalling):
    prefix = "66" if f is F64 else ""

    def rflags(a, b, c):
        order, flags = compare(f, X86, signalling, a, b, c)
        return {EQUAL: 0x40, LESS: 0x01, UNORDERED: 0x45}.get(order, 0), flags

    # comis; setc, setz, setp put together as in EFLAGS
    code = f"{prefix}0f{op}c1 9c 58 83e045"
    against_sse(f, Sse(code, f.word.bits, out=0), rflags, 2)


@sse
@pytest.mark.skipif("fma" not in FEATURES, reason="no FMA3 on this processor")
@pytest.mark.parametrize("op, variant", [("a9", 0), ("ab", NEGATE_ADDEND), ("ad", NEGATE_PRODUCT), ("af", NEGATE_PRODUCT | NEGATE_ADDEND)])
def test_fused_multiply_add(f, p, op, variant):
    # vf(n)madd213 xmm0, xmm1, xmm2: the second operand times the first plus the third
    code = Sse(f"c4e2{'f1' if f is F64 else '71'}{op}c2", f.word.bits)
    against_sse(f, code, lambda a, b, c, control: fma(f, X86, b, a, c, u32(variant), control), 3)


@sse
def test_between_single_and_double(f, p):
    g = F64 if f is F32 else F32
    against_sse(f, Sse(f"{p}0f5ac0", f.word.bits, out=g.word.bits), lambda a, c: convert.convert(f, g, X86, a, c), 1)


@pytest.mark.skipif("f16c" not in FEATURES, reason="no F16C on this processor")
def test_half_precision():
    """VCVTPH2PS ignores DAZ and raises no DE; VCVTPS2PH ignores FTZ."""

    def to_half(a, c):
        return convert.convert(F32, F16, X86, a, u32(c & ~FLUSH_OUTPUTS))

    def from_half(a, c):
        return convert.convert(F16, F32, X86, u16(a), u32(c & ~FLUSH_INPUTS))

    against_sse(F32, Sse("c4e3791dc004", 32), to_half, 1)
    code = Sse("c4e27913c0", 32)
    for a in range(1 << 16):
        if a % 37 == 0 or a & 0x3FF < 2:
            got, flags = from_half(a, u32(0))
            assert (got, exceptions(flags & ~DENORMAL)) == code(a), hex(a)


@sse
@pytest.mark.parametrize("t", [i32, i64], ids=["i32", "i64"])
def test_integers(f, p, t):
    w = "48" if t is i64 else ""

    def to_int(a, c):
        value, flags = convert.to_int(f, X86, t, a, c)
        return int(value) & t.mask, flags

    against_sse(f, Sse(f"{p}{w}0f2dc0", f.word.bits, out=0), to_int, 1)
    code = Sse(f"{p}{w}0f2a07", 0, out=f.word.bits)
    r = random.Random(2)
    for _ in range(COUNT):
        n, mode = t(r.getrandbits(r.randrange(1, t.bits + 1)) * r.choice([1, -1])), r.randrange(4)
        got, flags = convert.from_int(f, X86, t, n, u32(mode))
        assert (got, exceptions(flags)) == code(int(n) & t.mask, rounding=ROUNDING[mode]), (n, mode)


@sse
@pytest.mark.skipif("sse4_1" not in FEATURES, reason="no SSE4.1 on this processor")
def test_round_to_integral(f, p):
    code = Sse(f"660f3a0{'b' if f is F64 else 'a'}c004", f.word.bits)
    against_sse(f, code, lambda a, c: convert.round_to_integral(f, X86, a, c), 1, ignore=DENORMAL)


# x87


def against_x87(code: Fpu, soft: Callable[..., tuple[int, int]], operands: Callable[..., tuple[int, int]], ignore: int = 0) -> None:
    """Exceptions and C1, which tells that the magnitude was rounded up."""
    r = random.Random(1)
    for _ in range(COUNT):
        a, b = operands(r)
        mode, (precision, drop) = r.randrange(4), r.choice([(3, 0), (2, 11), (0, 40)])
        want, status = code(a, b, rounding=ROUNDING[mode], precision=precision)
        got, flags = soft(a, b, u32(mode), u32(mode | drop << DROP))
        raised = exceptions(flags & ~ignore) | (bool(flags & ROUNDED_UP) << 9)
        assert (hex(got), raised) == (hex(want), status & 0x23F), (hex(a), hex(b), mode, precision)


def any_two(r: random.Random) -> tuple[int, int]:
    return F80.word(some_pattern(r, F80)), F80.word(some_pattern(r, F80))


@pytest.mark.parametrize("op, code", [("add", "dec1"), ("sub", "dee1"), ("mul", "dec9"), ("div", "def1")])
def test_x87_arithmetic(op, code):
    against_x87(Fpu(code), lambda a, b, _, c: getattr(arith, op)(F80, X87, a, b, c), any_two)


def test_x87_square_root():
    against_x87(Fpu("d9fa"), lambda a, b, _, c: arith.sqrt(F80, X87, a, c), any_two)


def test_x87_round_to_integral():
    against_x87(Fpu("d9fc"), lambda a, b, c, _: convert.round_to_integral(F80, X87, a, c), any_two)


@pytest.mark.parametrize("g, store", [(F32, "d919"), (F64, "dd19")], ids=["f32", "f64"])
def test_x87_stores(g, store):
    """They raise no DE."""
    code = Fpu("", store=store, status_of_store=True)
    against_x87(code, lambda a, b, c, _: convert.convert(F80, g, X87, a, c), any_two, ignore=DENORMAL)


@pytest.mark.parametrize("g, load", [(F32, "d907"), (F64, "dd07")], ids=["f32", "f64"])
def test_x87_loads(g, load):
    against_x87(Fpu("", load=load), lambda a, b, c, _: convert.convert(g, F80, X87, a, c), lambda r: (g.word(some_pattern(r, g)), 0))


@pytest.mark.parametrize("t, store", [(i16, "df19"), (i32, "db19"), (i64, "df39")], ids=["i16", "i32", "i64"])
def test_x87_integers(t, store):
    def operands(r):
        a = some_pattern(r, F80)
        if r.random() < 0.6:
            a = a & ~(0x7FFF << 64) | F80.bias + r.randrange(-3, 66) << 64 | 1 << 63
        return F80.word(a), 0

    def to_int(a, b, c, _):
        value, flags = convert.to_int(F80, X87, t, a, c)
        return int(value) & t.mask, flags

    against_x87(Fpu("", store=store, status_of_store=True), to_int, operands)


@pytest.mark.parametrize("nearest, code", [(False, "d9f8"), (True, "d9f5")], ids=["fprem", "fprem1"])
def test_x87_partial_remainder(nearest, code):
    """The processor chooses the same step, and shows the quotient's low bits in C1, C3, C0 and C2 if there is more to do."""
    fpu, r = Fpu(code), random.Random(3)
    for _ in range(COUNT):
        a, b = any_two(r)
        if r.random() < 0.7:
            e = min(max((b >> 64 & 0x7FFF) + r.randrange(-3, 150), 1), 0x7FFE)
            a = F80.word(int(a) & ~(0x7FFF << 64) | int(e) << 64 | 1 << 63)
        want, status = fpu(a, b)
        got, flags, q, left = rem_step(F80, X87, nearest, a, b, u32(0))
        assert (hex(got), exceptions(flags)) == (hex(want), status & 0x3F), (hex(a), hex(b))
        if not status & host.INVALID:
            bits = (0, 0, 0, 1) if left else (q & 1, q >> 1 & 1, q >> 2 & 1, 0)
            assert bits == tuple(status >> n & 1 for n in (9, 14, 8, 10)), (hex(a), hex(b))
