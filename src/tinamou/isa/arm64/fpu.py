"""Floating point as FPCR says, on bit patterns.  Arm Architecture Reference Manual, Arm ARM DDI 0487, A1.5 and J1 (FP... pseudocode).

Every operation adds its exceptions to `h.exceptions`, which are numbered as softfloat does.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.floats import (
    host_add,
    host_convert,
    host_div,
    host_equal,
    host_fma,
    host_from_int,
    host_less,
    host_mul,
    host_sqrt,
    host_sub,
    host_to_int,
)
from tinamou.native.ops import host_float_begin, outlined
from tinamou.native.types import Word, i32, i64, u16, u32, u64
from tinamou.softfloat import arith, compare, convert, fast, fma
from tinamou.softfloat.behaviour import (
    ARM,
    DOWN,
    FLUSH_INPUTS,
    FLUSHED,
    INEXACT,
    INVALID,
    NEAREST_AWAY,
    NEAREST_EVEN,
    TOWARD_ZERO,
    UP,
)
from tinamou.softfloat.format import F16, F16_ALT, F32, F64, Format, is_infinite, is_nan, is_zero
from tinamou.softfloat.nan import nan1, nan2
from tinamou.softfloat.round import operand

from .state import Core

W = TypeVar("W", bound=Word)
V = TypeVar("V", bound=Word)

FZ16, FZ, DN, AHP = 1 << 19, 1 << 24, 1 << 25, 1 << 26
FLUSH = 0x30  # softfloat's FLUSH_INPUTS and FLUSH_OUTPUTS
BY_FPCR = 7  # a rounding mode of instructions: what FPCR says


def mode(h: Core) -> u32:
    """FPCR.RMode (0 to nearest, 1 up, 2 down, 3 toward zero) as softfloat numbers it."""
    return 0 - (h.fpcr >> 22) & 3


def control(h: Core, f: Format[W]) -> u32:
    flush = h.fpcr >> (19 if f is F16 else 24) & 1
    return mode(h) | h.fpcr >> 22 & 8 | flush * FLUSH


def control_with(h: Core, f: Format[W], rounding: int) -> u32:
    """The same with a rounding mode that the instruction names."""
    if rounding == BY_FPCR:
        return control(h, f)
    else:
        return control(h, f) & ~7 | rounding


def accrue(h: Core, f: Format[W], flags: u32) -> None:
    """Half-precision operands that FZ16 flushes are not reported."""
    accrued(h, flags & 31 if f is F16 else flags & (31 | FLUSHED))


@outlined
def accrued(h: Core, flags: u32) -> None:
    """What comes next may be for the host, which flushes nothing."""
    h.exceptions = h.exceptions | flags
    if h.host_float == 0 and h.fpcr & FZ == 0:
        h.host_float = u64(host_float_begin(mode(h)))


def add(h: Core, f: Format[W], a: W, b: W) -> W:
    if fast.hosted(f) and h.host_float != 0:
        quick = host_add(a, b)
        if fast.early(f, quick):
            return quick
    result, flags = arith.add(f, ARM, a, b, control(h, f))
    accrue(h, f, flags)
    return result


def sub(h: Core, f: Format[W], a: W, b: W) -> W:
    if fast.hosted(f) and h.host_float != 0:
        quick = host_sub(a, b)
        if fast.early(f, quick):
            return quick
    result, flags = arith.sub(f, ARM, a, b, control(h, f))
    accrue(h, f, flags)
    return result


def mul(h: Core, f: Format[W], a: W, b: W) -> W:
    if fast.hosted(f) and h.host_float != 0:
        quick = host_mul(a, b)
        if fast.early(f, quick):
            return quick
    result, flags = arith.mul(f, ARM, a, b, control(h, f))
    accrue(h, f, flags)
    return result


def nmul(h: Core, f: Format[W], a: W, b: W) -> W:
    return mul(h, f, a, b) ^ f.sign


def div(h: Core, f: Format[W], a: W, b: W) -> W:
    if fast.hosted(f) and h.host_float != 0:
        quick = host_div(a, b)
        if fast.early(f, quick):
            return quick
    result, flags = arith.div(f, ARM, a, b, control(h, f))
    accrue(h, f, flags)
    return result


def sqrt(h: Core, f: Format[W], a: W) -> W:
    if fast.hosted(f) and h.host_float != 0:
        quick = host_sqrt(a)
        if fast.early(f, quick):
            return quick
    result, flags = arith.sqrt(f, ARM, a, control(h, f))
    accrue(h, f, flags)
    return result


def muladd(h: Core, f: Format[W], c: W, a: W, b: W) -> W:
    """c + a * b, rounded once.  Negated operands come with their signs inverted, NaNs too."""
    if fast.hosted(f) and h.host_float != 0:
        quick = host_fma(a, b, c)
        if fast.early(f, quick):
            return quick
    result, flags = fma.fma(f, ARM, a, b, c, u32(0), control(h, f))
    accrue(h, f, flags)
    return result


def mulsub(h: Core, f: Format[W], c: W, a: W, b: W) -> W:
    """c - a * b."""
    return muladd(h, f, c, a ^ f.sign, b)


def maximum(h: Core, f: Format[W], a: W, b: W) -> W:
    return _minmax(h, f, a, b, "propagate", True)


def minimum(h: Core, f: Format[W], a: W, b: W) -> W:
    return _minmax(h, f, a, b, "propagate", False)


def maxnm(h: Core, f: Format[W], a: W, b: W) -> W:
    return _minmax(h, f, a, b, "num", True)


def minnm(h: Core, f: Format[W], a: W, b: W) -> W:
    return _minmax(h, f, a, b, "num", False)


def _minmax(h: Core, f: Format[W], a: W, b: W, flavour: str, most: bool) -> W:
    if fast.hosted(f) and fast.plain(f, a) and fast.plain(f, b) and (a | b) & f.magnitude != 0:
        return a if host_less(b, a) == most else b
    result, flags = compare.minmax(f, ARM, flavour, most, False, a, b, control(h, f))
    accrue(h, f, flags)
    return result


def compare_flags(h: Core, f: Format[W], a: W, b: W, signalling: bool) -> None:
    """FPCompare: N for less, Z C for equal, C for greater, C V for unordered."""
    if fast.hosted(f) and fast.plain(f, a) and fast.plain(f, b):
        less, equal = host_less(a, b), host_equal(a, b)
        h.nz, h.c, h.less = u64(less) << 63 | u64(not equal), u64(not less), u64(less)
    else:
        order, flags = compare.compare(f, ARM, signalling, a, b, control(h, f))
        accrue(h, f, flags)
        h.nz = u64(order == compare.LESS) << 63 | u64(order != compare.EQUAL)
        h.c = u64(order != compare.LESS)
        h.less = u64(order == compare.LESS or order == compare.UNORDERED)


def relation(h: Core, f: Format[W], a: W, b: W, wanted: int, signalling: bool) -> bool:
    """a and b stand in one of the wanted relations."""
    order, flags = compare.compare(f, ARM, signalling, a, b, control(h, f))
    accrue(h, f, flags)
    return order & wanted != 0


def cmeq(h: Core, f: Format[W], a: W, b: W) -> bool:
    return relation(h, f, a, b, compare.EQUAL, False)


def cmge(h: Core, f: Format[W], a: W, b: W) -> bool:
    return relation(h, f, a, b, compare.GREATER | compare.EQUAL, True)


def cmgt(h: Core, f: Format[W], a: W, b: W) -> bool:
    return relation(h, f, a, b, compare.GREATER, True)


def cmle(h: Core, f: Format[W], a: W, b: W) -> bool:
    return relation(h, f, a, b, compare.LESS | compare.EQUAL, True)


def cmlt(h: Core, f: Format[W], a: W, b: W) -> bool:
    return relation(h, f, a, b, compare.LESS, True)


def acge(h: Core, f: Format[W], a: W, b: W) -> bool:
    return cmge(h, f, a & f.magnitude, b & f.magnitude)


def acgt(h: Core, f: Format[W], a: W, b: W) -> bool:
    return cmgt(h, f, a & f.magnitude, b & f.magnitude)


def absolute(h: Core, f: Format[W], a: W) -> W:
    return a & f.magnitude


def negated(h: Core, f: Format[W], a: W) -> W:
    return a ^ f.sign


def same(h: Core, f: Format[W], a: W) -> W:
    return a


def abd(h: Core, f: Format[W], a: W, b: W) -> W:
    return sub(h, f, a, b) & f.magnitude


def mulx(h: Core, f: Format[W], a: W, b: W) -> W:
    """FPMulX: 0 * infinity is 2."""
    c = control(h, f)
    x, flags_a = operand(f, ARM, a, c)
    y, flags_b = operand(f, ARM, b, c)
    if (is_infinite(f, x) and is_zero(f, y)) or (is_zero(f, x) and is_infinite(f, y)):
        accrue(h, f, flags_a | flags_b)
        return (a ^ b) & f.sign | f.word(f.bias + 1) << f.fraction
    return mul(h, f, a, b)


# -- rounding and conversion


def round_exact(h: Core, f: Format[W], a: W, rounding: int) -> W:
    """FRINT without the inexact exception."""
    result, flags = convert.round_to_integral(f, ARM, a, control_with(h, f, rounding))
    accrue(h, f, flags & ~INEXACT)
    return result


def round_inexact(h: Core, f: Format[W], a: W, rounding: int) -> W:
    result, flags = convert.round_to_integral(f, ARM, a, control_with(h, f, rounding))
    accrue(h, f, flags)
    return result


def rintn(h: Core, f: Format[W], a: W) -> W:
    return round_exact(h, f, a, NEAREST_EVEN)


def rintp(h: Core, f: Format[W], a: W) -> W:
    return round_exact(h, f, a, UP)


def rintm(h: Core, f: Format[W], a: W) -> W:
    return round_exact(h, f, a, DOWN)


def rintz(h: Core, f: Format[W], a: W) -> W:
    return round_exact(h, f, a, TOWARD_ZERO)


def rinta(h: Core, f: Format[W], a: W) -> W:
    return round_exact(h, f, a, NEAREST_AWAY)


def rinti(h: Core, f: Format[W], a: W) -> W:
    return round_exact(h, f, a, BY_FPCR)


def rintx(h: Core, f: Format[W], a: W) -> W:
    return round_inexact(h, f, a, BY_FPCR)


def _limited(h: Core, f: Format[W], a: W, rounding: int, bits: int) -> W:
    """FPRoundIntN: what does not fit `bits` becomes the most negative number that does."""
    least = f.word(1 << f.sign_at | f.bias + bits - 1 << f.fraction)
    result, flags = convert.round_to_integral(f, ARM, a, control_with(h, f, rounding))
    beyond = result & f.magnitude >= least & f.magnitude and result != least
    if beyond or is_nan(f, a):
        accrue(h, f, u32(INVALID) | flags & FLUSHED)
        return least
    accrue(h, f, flags)
    return result


def rint32z(h: Core, f: Format[W], a: W) -> W:
    return _limited(h, f, a, TOWARD_ZERO, 32)


def rint32x(h: Core, f: Format[W], a: W) -> W:
    return _limited(h, f, a, BY_FPCR, 32)


def rint64z(h: Core, f: Format[W], a: W) -> W:
    return _limited(h, f, a, TOWARD_ZERO, 64)


def rint64x(h: Core, f: Format[W], a: W) -> W:
    return _limited(h, f, a, BY_FPCR, 64)


def to_int(h: Core, f: Format[W], t: type[V], a: W, scale: i32, rounding: int) -> V:
    """a * 2^scale as an integer."""
    if fast.hosted(f) and h.host_float != 0 and rounding == TOWARD_ZERO and scale == 0:
        if fast.fits(f, t, a):
            return t(host_to_int(i64, a))
    result, flags = convert.to_fixed(f, ARM, t, a, scale, control_with(h, f, rounding))
    accrue(h, f, flags)
    return result


def from_int(h: Core, f: Format[W], t: type[V], a: V, scale: i32) -> W:
    """a / 2^scale as a number."""
    if fast.hosted(f) and scale == 0 and (fast.exact_integer(f, a) or h.host_float != 0):
        return host_from_int(f.word, a)
    result, flags = convert.from_fixed(f, ARM, t, a, scale, control(h, f))
    accrue(h, f, flags)
    return result


def converted(h: Core, f: Format[W], g: Format[V], a: W, rounding: int) -> V:
    """A number of format f in format g.  Half precision is the alternative one if FPCR.AHP says so, and is not flushed."""
    c = mode(h) | h.fpcr >> 22 & 8 if rounding == BY_FPCR else u32(rounding) | h.fpcr >> 22 & 8
    if f is not F16:
        c = c | (h.fpcr >> 24 & 1) * (FLUSH_INPUTS if g is F16 else FLUSH)
    if (f is F32 and g is F64) or (f is F64 and g is F32 and rounding == BY_FPCR):
        if h.host_float != 0 or (g is F64 and fast.plain(f, a)):
            quick = host_convert(g.word, a)
            if fast.early(g, quick):
                return quick
    if g is F16 and h.fpcr & AHP != 0:
        result, flags = convert.convert(f, F16_ALT, ARM, a, c)
        accrue(h, F32, flags)
        return result
    if f is F16 and h.fpcr & AHP != 0:
        wide, flags = convert.convert(F16_ALT, g, ARM, a, c)
        accrue(h, F32, flags & ~FLUSHED)
        return wide
    plain, flags = convert.convert(f, g, ARM, a, c)
    accrue(h, f, flags)
    return plain


@outlined
def to_js(h: Core, a: u64) -> u32:
    """FPToFixedJS: a double toward zero, modulo 2^32; Z tells that this lost nothing."""
    c = control(h, F64)
    x, flags = operand(F64, ARM, a, c)
    wide, inexact = convert.to_fixed(F64, ARM, i64, x, i32(0), c & ~7 | TOWARD_ZERO)
    exponent = i32(x >> 52 & 0x7FF) - 1075
    result = u32(wide)
    if is_nan(F64, x) or is_infinite(F64, x):
        result = u32(0)
    elif inexact & INVALID != 0:  # 2^63 at least
        result = u32(((x & (1 << 52) - 1) | 1 << 52) << exponent) if exponent < 32 else u32(0)
        if x >> 63 != 0:
            result = -result
    exact = u64(0)
    if inexact & INVALID != 0 or i64(i32(wide)) != wide:
        flags = flags & FLUSHED | INVALID
    else:
        flags = flags & FLUSHED | inexact & INEXACT
        exact = u64(inexact & INEXACT == 0 and (wide != 0 or a == 0))
    accrue(h, F64, flags)
    h.nz, h.c, h.less = 1 - exact, u64(0), u64(0)
    return result


# -- estimates




def recip_estimate(a: u64) -> u64:
    """RecipEstimate, for a from 256 to 511: 256 to 511."""
    return u64(1 << 19) // (a * 2 + 1) + 1 >> 1


def rsqrt_estimate(a: u64) -> u64:
    """RecipSqrtEstimate, for a from 128 to 511: 256 to 511."""
    x = a * 2 + 1 if a < 256 else (a >> 1 << 1) + 1
    x = x if a < 256 else x * 2
    b = u64(0)
    for k in range(9, -1, -1):  # the largest b with x * b^2 < 2^28
        more = b + (1 << k)
        b = more if x * more * more < 1 << 28 else b
    return b + 1 >> 1


@outlined
def recpe(h: Core, f: Format[W], a: W) -> W:
    """FPRecipEstimate."""
    c = control(h, f)
    x, flags = operand(f, ARM, a, c)
    if is_nan(f, x):
        nan, flags = nan1(f, ARM, x, flags, c)
        accrue(h, f, flags)
        return nan
    sign = x & f.sign
    if is_infinite(f, x):
        return sign
    if is_zero(f, x):
        accrue(h, f, flags | 8)
        return sign | f.infinity
    exponent = i32(x >> f.fraction & f.top)
    fraction = u64(x & f.leading - 1) << (52 - f.fraction)
    tiny = f.word(f.leading >> 2)
    if exponent == 0 and x & f.magnitude < tiny:  # the result overflows
        accrue(h, f, flags | 5)
        m = c & 7
        away = m == NEAREST_EVEN or (m == UP and sign == 0) or (m == DOWN and sign != 0)
        return sign | f.word(f.infinity) if away else sign | f.word(f.largest)
    top = 2 * f.bias - 1  # 253, 2045 or 29
    if exponent >= top and c & 0x20 != 0:  # the result would be subnormal
        accrue(h, f, flags | 2)
        return sign
    if exponent == 0:
        if fraction >> 51 & 1 == 0:
            exponent = i32(-1)
            fraction = fraction << 2 & (1 << 52) - 1
        else:
            fraction = fraction << 1 & (1 << 52) - 1
    estimate = recip_estimate(u64(0x100) | fraction >> 44)
    result = top - exponent
    fraction = (estimate & 0xFF) << 44
    if result == 0:
        fraction = u64(1 << 51) | fraction >> 1
    elif result == -1:
        fraction = u64(1 << 50) | fraction >> 2
        result = i32(0)
    accrue(h, f, flags)
    return sign | f.word(result) << f.fraction | f.word(fraction >> (52 - f.fraction))


@outlined
def rsqrte(h: Core, f: Format[W], a: W) -> W:
    """FPRSqrtEstimate."""
    c = control(h, f)
    x, flags = operand(f, ARM, a, c)
    if is_nan(f, x):
        nan, flags = nan1(f, ARM, x, flags, c)
        accrue(h, f, flags)
        return nan
    sign = x & f.sign
    if is_zero(f, x):
        accrue(h, f, flags | 8)
        return sign | f.infinity
    if sign != 0:
        accrue(h, f, flags & FLUSHED | INVALID)
        return f.word(f.infinity | f.quiet)
    if is_infinite(f, x):
        return f.word(0)
    exponent = i32(x >> f.fraction & f.top)
    fraction = u64(x & f.leading - 1) << (52 - f.fraction)
    if exponent == 0:
        while fraction >> 51 & 1 == 0:
            fraction = fraction << 1
            exponent = exponent - 1
        fraction = fraction << 1 & (1 << 52) - 1
    scaled = u64(0x100) | fraction >> 44 if exponent & 1 == 0 else u64(0x80) | fraction >> 45
    result = (3 * f.bias - 1) - exponent >> 1
    estimate = rsqrt_estimate(scaled)
    accrue(h, f, flags)
    return f.word(result) << f.fraction | f.word((estimate & 0xFF) << 44 >> (52 - f.fraction))


@outlined
def recpx(h: Core, f: Format[W], a: W) -> W:
    """FPRecpX: the exponent inverted."""
    c = control(h, f)
    x, flags = operand(f, ARM, a, c)
    if is_nan(f, x):
        nan, flags = nan1(f, ARM, x, flags, c)
        accrue(h, f, flags)
        return nan
    accrue(h, f, flags)
    exponent = x >> f.fraction & f.top
    if exponent == 0:
        return x & f.sign | f.word(f.top - 1) << f.fraction
    return x & f.sign | (~exponent & f.top) << f.fraction


def _step(h: Core, f: Format[W], a: W, b: W, constant: int, halve: bool) -> W:
    """(constant - a * b), halved or not; 0 * infinity counts as 0."""
    c = control(h, f)
    a = a ^ f.sign
    x, flags_a = operand(f, ARM, a, c)
    y, flags_b = operand(f, ARM, b, c)
    flags = flags_a | flags_b
    if is_nan(f, x) or is_nan(f, y):
        nan, flags = nan2(f, ARM, x, y, flags, c)
        accrue(h, f, flags)
        return nan
    base = f.word(f.bias + 1) << f.fraction | f.word(f.leading >> 1 if constant == 3 else 0)
    if (is_infinite(f, x) and is_zero(f, y)) or (is_zero(f, x) and is_infinite(f, y)):
        accrue(h, f, flags)
        return base - f.leading if halve else base
    result, flags = fma.fma(f, ARM, a, b, base, u32(fma.HALVE if halve else 0), c)
    accrue(h, f, flags)
    return result


@outlined
def recps(h: Core, f: Format[W], a: W, b: W) -> W:
    """FPRecipStepFused: 2 - a * b."""
    return _step(h, f, a, b, 2, False)


@outlined
def rsqrts(h: Core, f: Format[W], a: W, b: W) -> W:
    """FPRSqrtStepFused: (3 - a * b) / 2."""
    return _step(h, f, a, b, 3, True)


def urecpe(a: u32) -> u32:
    """UnsignedRecipEstimate."""
    if a >> 31 == 0:
        return u32(0xFFFF_FFFF)
    return u32(recip_estimate(u64(a >> 23))) << 23


def ursqrte(a: u32) -> u32:
    """UnsignedRSqrtEstimate."""
    if a >> 30 == 0:
        return u32(0xFFFF_FFFF)
    return u32(rsqrt_estimate(u64(a >> 23))) << 23


def expand_immediate(f: Format[W], imm8: u32) -> W:
    """VFPExpandImm."""
    x = f.word(imm8)
    exponent = (x >> 4 & 3) + (1 << f.exponent - 1) - (x >> 6 & 1) * 4
    return (x >> 7) << f.sign_at | exponent << f.fraction | (x & 15) << (f.fraction - 4)



# -- products of halves added to singles (FHM)


def muladd_half(h: Core, c: u32, a: u16, b: u16) -> u32:
    """FPMulAddH: c + a * b with a and b in half precision, rounded once.  FZ16 flushes the halves, FZ the single and the result."""
    rules = control(h, F32)
    flush_halves = h.fpcr & FZ16 != 0
    x = a & 0x8000 if flush_halves and a & 0x7C00 == 0 else a
    y = b & 0x8000 if flush_halves and b & 0x7C00 == 0 else b
    result, flags = fma.fma(F32, ARM, widened(x), widened(y), c, u32(0), rules)
    accrue(h, F32, flags)
    return result


def widened(a: u16) -> u32:
    """A half as a single, NaNs with their fraction and unchanged kind."""
    if is_nan(F16, a):
        return u32(a & 0x8000) << 16 | 0x7F80_0000 | u32(a & 0x3FF) << 13
    wide, _ = convert.convert(F16, F32, ARM, a, u32(0))
    return wide
