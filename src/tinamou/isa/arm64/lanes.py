"""Vectors as lanes: how registers split into elements, and what is done to each.

Arm Architecture Reference Manual, Arm ARM DDI 0487, A1.4.1, C7.2 and J1 (SatQ, PolynomialMult).

A lane operation is `op(h, t, a, b, ...)` on words of type t, whose signedness is that of the elements.  `map1` to `map3` apply one to all
lanes of 128-bit vectors; of vectors of 64 bits the result's upper half is cut off by `clip`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinamou.native.floats import host_add, host_div, host_fma, host_mul, host_sub
from tinamou.native.ops import bitreverse, bswap, clz, intrinsic, outlined, popcount
from tinamou.native.types import Word, i8, i16, i32, i64, i128, u8, u16, u32, u64, u128
from tinamou.softfloat import fast
from tinamou.softfloat.format import Format

from .state import Core

W = TypeVar("W", bound=Word)
Op = Callable[..., Any]

WIDER: dict[type[Word], type[Word]] = {u8: u16, u16: u32, u32: u64, u64: u128, i8: i16, i16: i32, i32: i64, i64: i128}


def lane(t: type[W], v: u128, i: int) -> W:
    return t(v >> i * t.bits)


def at(t: type[W], v: u128, index: u32) -> W:
    """The lane that a field numbers."""
    return t(v >> (index * t.bits & 127))


def put(t: type[W], x: W, i: int) -> u128:
    """A vector with one lane, the others 0."""
    return u128(t.unsigned_type(x)) << i * t.bits


def replaced(t: type[W], v: u128, x: W, index: u32) -> u128:
    shift = index * t.bits & 127
    return v & ~(u128(t.mask) << shift) | u128(t.unsigned_type(x)) << shift


def all_lanes(t: type[W], x: W) -> u128:
    """The same in every lane."""
    v = u128(t.unsigned_type(x))
    for n in (8, 16, 32, 64):
        if n >= t.bits:
            v = v | v << n
    return v


def clip(Q: u32, v: u128) -> u128:
    """All of it, or the lower half."""
    return u128(u64(v)) | u128(u64(v >> 64) & (0 - u64(Q))) << 64


def whole(Q: u32, v: u128) -> u128:
    return v


def half(Q: u32, v: u128) -> u128:
    """The half that the second-part instructions (Q = 1) or the others take."""
    return u128(u64(v >> 64) if Q != 0 else u64(v))


def into_half(Q: u32, d: u128, narrow: u128) -> u128:
    """A narrow result in the lower half, or behind the lower half of d."""
    return u128(u64(d)) | narrow << 64 if Q != 0 else u128(u64(narrow))


def map1(h: Core, t: type[W], op: Op, a: u128) -> u128:
    r = u128(0)
    for i in range(128 // t.bits):
        r = r | put(t, op(h, t, lane(t, a, i)), i)
    return r


def map2(h: Core, t: type[W], op: Op, a: u128, b: u128) -> u128:
    r = u128(0)
    for i in range(128 // t.bits):
        r = r | put(t, op(h, t, lane(t, a, i), lane(t, b, i)), i)
    return r


def map3(h: Core, t: type[W], op: Op, d: u128, a: u128, b: u128) -> u128:
    r = u128(0)
    for i in range(128 // t.bits):
        r = r | put(t, op(h, t, lane(t, d, i), lane(t, a, i), lane(t, b, i)), i)
    return r


def shift1(h: Core, t: type[W], op: Op, a: u128, n: u32) -> u128:
    """An operation with a number that is the same for all lanes."""
    r = u128(0)
    for i in range(128 // t.bits):
        r = r | put(t, op(h, t, lane(t, a, i), n), i)
    return r


def shift2(h: Core, t: type[W], op: Op, d: u128, a: u128, n: u32) -> u128:
    r = u128(0)
    for i in range(128 // t.bits):
        r = r | put(t, op(h, t, lane(t, d, i), lane(t, a, i), n), i)
    return r


def widen(t: type[W], a: u128) -> u128:
    """The lanes of the lower half, extended."""
    w = WIDER[t]
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(w, w(lane(t, a, i)), i)
    return r


def narrow(h: Core, t: type[W], op: Op, a: u128, n: u32) -> u128:
    """The lanes of a, wider than t, each made a t by op(h, t, lane, n): a lower half."""
    w = WIDER[t]
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(t, op(h, t, lane(w, a, i), n), i)
    return r


def even(t: type[W], n: u128, m: u128) -> u128:
    """Lanes 0, 2, 4 ... of n, then of m (UZP1)."""
    r = u128(0)
    count = 128 // t.bits
    for i in range(count // 2):
        r = r | put(t, lane(t, n, 2 * i), i) | put(t, lane(t, m, 2 * i), i + count // 2)
    return r


def odd(t: type[W], n: u128, m: u128) -> u128:
    """Lanes 1, 3, 5 ... (UZP2)."""
    return even(t, n >> t.bits, m >> t.bits)


def joined(n: u128, m: u128) -> u128:
    """The lower halves of two vectors as one."""
    return u128(u64(n)) | m << 64


def spread(t: type[W], n: u128, m: u128) -> u128:
    """Lanes of the lower halves in turn (ZIP1)."""
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(t, lane(t, n, i), 2 * i) | put(t, lane(t, m, i), 2 * i + 1)
    return r


def transposed(t: type[W], n: u128, m: u128, first: int) -> u128:
    """Every other lane of two vectors in turn (TRN1, TRN2)."""
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(t, lane(t, n, 2 * i + first), 2 * i) | put(t, lane(t, m, 2 * i + first), 2 * i + 1)
    return r


def reversed_lanes(t: type[Word], n: type[Word], v: u128) -> u128:
    """The lanes of type n in reverse order within each t."""
    r = u128(0)
    for i in range(128 // t.bits):
        x = bswap(lane(t, v, i))
        for k in range(t.bits // n.bits):
            r = r | u128(bswap(n(x >> k * n.bits))) << (i * t.bits + k * n.bits)
    return r


# -- lane operations


def add(h: Core, t: type[W], a: W, b: W) -> W:
    return a + b


def sub(h: Core, t: type[W], a: W, b: W) -> W:
    return a - b


def mul(h: Core, t: type[W], a: W, b: W) -> W:
    return a * b


def mla(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    return d + a * b


def mls(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    return d - a * b


def maximum(h: Core, t: type[W], a: W, b: W) -> W:
    return a if a > b else b


def minimum(h: Core, t: type[W], a: W, b: W) -> W:
    return a if a < b else b


def abd(h: Core, t: type[W], a: W, b: W) -> W:
    return a - b if a > b else b - a


def aba(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    return d + abd(h, t, a, b)


def true(t: type[W], c: bool) -> W:
    """All ones or 0."""
    return t(0) - t(c)


def cmeq(h: Core, t: type[W], a: W, b: W) -> W:
    return true(t, a == b)


def cmge(h: Core, t: type[W], a: W, b: W) -> W:
    return true(t, a >= b)


def cmgt(h: Core, t: type[W], a: W, b: W) -> W:
    return true(t, a > b)


def cmtst(h: Core, t: type[W], a: W, b: W) -> W:
    return true(t, a & b != 0)


def cmeq0(h: Core, t: type[W], a: W) -> W:
    return true(t, a == 0)


def cmge0(h: Core, t: type[W], a: W) -> W:
    return true(t, a >= 0)


def cmgt0(h: Core, t: type[W], a: W) -> W:
    return true(t, a > 0)


def cmle0(h: Core, t: type[W], a: W) -> W:
    return true(t, a <= 0)


def cmlt0(h: Core, t: type[W], a: W) -> W:
    return true(t, a < 0)


def hadd(h: Core, t: type[W], a: W, b: W) -> W:
    """The mean, rounded down."""
    return (a & b) + ((a ^ b) >> 1)


def rhadd(h: Core, t: type[W], a: W, b: W) -> W:
    """The mean, rounded up."""
    return (a | b) - ((a ^ b) >> 1)


def hsub(h: Core, t: type[W], a: W, b: W) -> W:
    w = WIDER[t]
    return t(w(a) - w(b) >> 1)


def neg(h: Core, t: type[W], a: W) -> W:
    return -a


def absolute(h: Core, t: type[W], a: W) -> W:
    return -a if a < 0 else a


def cls(h: Core, t: type[W], a: W) -> W:
    return t(clz(t.unsigned_type(a ^ a >> t.bits - 1))) - 1


def count_zeros(h: Core, t: type[W], a: W) -> W:
    return clz(a)


def count_ones(h: Core, t: type[W], a: W) -> W:
    return popcount(a)


def reverse_bits(h: Core, t: type[W], a: W) -> W:
    return bitreverse(a)


# Saturation: QC is set when a result does not fit.


def saturated(h: Core, t: type[W], x: Word) -> W:
    """The nearest t to a wider signed number."""
    low = -(1 << t.bits - 1) if t.signed else 0
    high = (1 << t.bits - t.signed) - 1
    if x < low:
        h.qc = u32(1)
        return t(low)
    if x > high:
        h.qc = u32(1)
        return t(high)
    return t(x)


def signed_wide(t: type[Word]) -> type[Word]:
    """A signed type with room for sums of two t."""
    return WIDER[t].signed_type


@outlined
def qadd(h: Core, t: type[W], a: W, b: W) -> W:
    w = WIDER[t].signed_type
    return saturated(h, t, w(a) + w(b))


@outlined
def qsub(h: Core, t: type[W], a: W, b: W) -> W:
    w = WIDER[t].signed_type
    return saturated(h, t, w(a) - w(b))


@outlined
def suqadd(h: Core, t: type[W], d: W, a: W) -> W:
    """A number of the other signedness added: t is the accumulator's."""
    w = WIDER[t].signed_type
    other = t.unsigned_type if t.signed else t.signed_type
    return saturated(h, t, w(d) + w(other(a)))


@outlined
def qabs(h: Core, t: type[W], a: W) -> W:
    w = WIDER[t]
    return saturated(h, t, -w(a) if a < 0 else w(a))


@outlined
def qneg(h: Core, t: type[W], a: W) -> W:
    w = WIDER[t]
    return saturated(h, t, -w(a))


@outlined
def qdmulh(h: Core, t: type[W], a: W, b: W) -> W:
    """The upper half of twice the product."""
    w = WIDER[t]
    return saturated(h, t, w(a) * w(b) >> t.bits - 1)


@outlined
def qrdmulh(h: Core, t: type[W], a: W, b: W) -> W:
    w = WIDER[t]
    return saturated(h, t, (w(a) * w(b) >> t.bits - 2) + 1 >> 1)


@outlined
def qrdmlah(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    w = WIDER[WIDER[t]]
    return saturated(h, t, (w(d) << t.bits) + (w(a) * w(b) << 1) + (1 << t.bits - 1) >> t.bits)


@outlined
def qrdmlsh(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    w = WIDER[WIDER[t]]
    return saturated(h, t, (w(d) << t.bits) - (w(a) * w(b) << 1) + (1 << t.bits - 1) >> t.bits)


@outlined
def qdmull(h: Core, t: type[W], a: W, b: W) -> W:
    """Twice the product of numbers half as wide as t."""
    w = WIDER[t]
    return saturated(h, t, w(a) * w(b) << 1)


@outlined
def qdmlal(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    return qadd(h, t, d, qdmull(h, t, a, b))


@outlined
def qdmlsl(h: Core, t: type[W], d: W, a: W, b: W) -> W:
    return qsub(h, t, d, qdmull(h, t, a, b))


# Shifts by a signed number in the lowest byte of the second operand; to the right if negative.


def shift_by(h: Core, t: type[W], a: W, b: W, rounding: bool, saturating: bool) -> W:
    n = i32(i8(b))
    if n < 0:
        m = u32(-n)
        if rounding:
            w = WIDER[t]
            return t((w(a) + (w(1) << m - 1)) >> m) if m <= t.bits else t(0)
        return a >> m
    m = u32(n)
    r = a << m
    if saturating and (r >> m != a or m >= t.bits) and a != 0:
        h.qc = u32(1)
        if a < 0:
            return t(1) << t.bits - 1
        return t((1 << t.bits - t.signed) - 1)
    return r


@outlined
def shl(h: Core, t: type[W], a: W, b: W) -> W:
    return shift_by(h, t, a, b, False, False)


@outlined
def rshl(h: Core, t: type[W], a: W, b: W) -> W:
    return shift_by(h, t, a, b, True, False)


@outlined
def qshl(h: Core, t: type[W], a: W, b: W) -> W:
    return shift_by(h, t, a, b, False, True)


@outlined
def qrshl(h: Core, t: type[W], a: W, b: W) -> W:
    return shift_by(h, t, a, b, True, True)


# Shifts by a number from the encoding.


def shl_n(h: Core, t: type[W], a: W, n: u32) -> W:
    return a << n


def shr_n(h: Core, t: type[W], a: W, n: u32) -> W:
    return a >> n


def rounded(t: type[W], a: W, n: u32) -> W:
    """a / 2^n to nearest, halves up; n from 1 to the width."""
    return (a >> n) + (a >> n - 1 & 1)


def rshr_n(h: Core, t: type[W], a: W, n: u32) -> W:
    return rounded(t, a, n)


def sra_n(h: Core, t: type[W], d: W, a: W, n: u32) -> W:
    return d + (a >> n)


def rsra_n(h: Core, t: type[W], d: W, a: W, n: u32) -> W:
    return d + rounded(t, a, n)


def sri_n(h: Core, t: type[W], d: W, a: W, n: u32) -> W:
    keep = ~(t(t.mask) >> n)
    return d & keep | a >> n


def sli_n(h: Core, t: type[W], d: W, a: W, n: u32) -> W:
    return d & ~(t(t.mask) << n) | a << n


@outlined
def qshl_n(h: Core, t: type[W], a: W, n: u32) -> W:
    return shift_by(h, t, a, t(n), False, True)


@outlined
def qshlu_n(h: Core, t: type[W], a: W, n: u32) -> W:
    """Signed, saturated to unsigned."""
    u = t.unsigned_type
    if a < 0:
        h.qc = u32(1)
        return t(0)
    return t(shift_by(h, u, u(a), u(n), False, True))


# Narrowing: op(h, narrow type, wide lane, n).


def xtn(h: Core, t: type[W], a: Word, n: u32) -> W:
    return t(a)


def shrn(h: Core, t: type[W], a: Word, n: u32) -> W:
    return t(a >> n)


def rshrn(h: Core, t: type[W], a: Word, n: u32) -> W:
    return t((a >> n) + (a >> n - 1 & 1))


@outlined
def qxtn(h: Core, t: type[W], a: Word, n: u32) -> W:
    """Signed to signed, or unsigned to unsigned."""
    return _fit(h, t, a)


def _fit(h: Core, t: type[W], a: Word) -> W:
    if t.signed:
        return saturated(h, t, a)
    elif a > t.mask:
        h.qc = u32(1)
        return t(t.mask)
    else:
        return t(a)


@outlined
def qxtun(h: Core, t: type[W], a: Word, n: u32) -> W:
    """Signed to unsigned; t is signed as the operand is."""
    return t(saturated(h, t.unsigned_type, a))


@outlined
def qshrn(h: Core, t: type[W], a: Word, n: u32) -> W:
    return _fit(h, t, a >> n)


@outlined
def qrshrn(h: Core, t: type[W], a: Word, n: u32) -> W:
    w = WIDER[t]
    return _fit(h, t, rounded(w, w(a), n))


@outlined
def qshrun(h: Core, t: type[W], a: Word, n: u32) -> W:
    return t(saturated(h, t.unsigned_type, a >> n))


@outlined
def qrshrun(h: Core, t: type[W], a: Word, n: u32) -> W:
    w = WIDER[t]
    return t(saturated(h, t.unsigned_type, rounded(w, w(a), n)))


# Polynomials over {0, 1}.


def pmul(h: Core, t: type[W], a: W, b: W) -> W:
    r = t(0)
    for i in range(t.bits):
        r = r ^ (a << i & (t(0) - (b >> i & 1)))
    return r


# -- the host's floating point on all lanes


@intrinsic
def early_lanes(f: Format[Any], v: u128) -> bool:
    """softfloat.fast.early of every lane."""
    return all(fast.early(f, lane(f.word, v, i)) for i in range(128 // f.word.bits))


@intrinsic
def host_lanes2(f: Format[Any], operation: str, a: u128, b: u128) -> u128:
    """add, sub, mul or div of each lane."""
    t, r = f.word, u128(0)
    op = {"add": host_add, "sub": host_sub, "mul": host_mul, "div": host_div}[operation]
    for i in range(128 // t.bits):
        r = r | put(t, op(lane(t, a, i), lane(t, b, i)), i)
    return r


@intrinsic
def host_lanes3(f: Format[Any], operation: str, d: u128, a: u128, b: u128) -> u128:
    """d + a * b (muladd) or d - a * b (mulsub) of each lane, rounded once."""
    t, r = f.word, u128(0)
    for i in range(128 // t.bits):
        x = lane(t, a, i) ^ (f.sign if operation == "mulsub" else 0)
        r = r | put(t, host_fma(x, lane(t, b, i), lane(t, d, i)), i)
    return r
