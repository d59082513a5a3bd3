"""Advanced SIMD on floating-point numbers.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.96 and C7.2.

FEAT_FP16, FEAT_FHM, FEAT_FCMA and FEAT_FRINTTS included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tinamou.native.ops import outlined
from tinamou.native.types import Word, i16, i32, i64, u16, u32, u64, u128
from tinamou.softfloat import fast
from tinamou.softfloat.behaviour import DOWN, NEAREST_AWAY, NEAREST_EVEN, TO_ODD, TOWARD_ZERO, UP
from tinamou.softfloat.format import F16, F32, F64, Format

from . import fpu
from .fpu import BY_FPCR, converted, expand_immediate, from_int, to_int
from .lanes import (
    all_lanes,
    at,
    early_lanes,
    even,
    half,
    host_lanes2,
    host_lanes3,
    into_half,
    joined,
    lane,
    map1,
    odd,
    put,
)
from .operands import Bits, D, H, Row, S, V, a64, cross
from .state import Core

simd = a64.extension("simd")
fhm = a64.extension("fhm")
fcma = a64.extension("fcma")
W_ = TypeVar("W_", bound=Word)

# What tables bind.
F = D
G = D
f: Format[Any] = F32
g: Format[Any] = F32
fx: type[Word] = Word
T: type[Word] = Word
op: Callable[..., Any] = fpu.add
MODE = 0
K = 0
WHOLE = 0
SECOND = False
NEGATE = False

# By element size: what stands between `a` and Rm and behind Rm in three-register rows, and in two-register rows.
FLOATS: tuple[Row, ...] = (
    {"name": "s", "SZ": "0 1", "MID": "11", "SZ2": "0 10000", "F": S, "f": F32, "fx": u32, "I_": i32, "<T>": ("2s", "4s"), "<e>": "s", "COND": ""},
    {"name": "d", "SZ": "1 1", "MID": "11", "SZ2": "1 10000", "F": D, "f": F64, "fx": u64, "I_": i64, "<T>": ("1d", "2d"), "<e>": "d", "COND": "Q!=0"},
    {"name": "h", "SZ": "10", "MID": "00", "SZ2": "111100", "F": H, "f": F16, "fx": u16, "I_": i16, "<T>": ("4h", "8h"), "<e>": "h", "COND": "",
     "extension": "fp16"},
)  # fmt: skip


def _op(name: str, u: int, a: int, opcode: int, function: Callable[..., Any]) -> Row:
    return {"name": name, "<op>": name, "U": str(u), "A": str(a), "OP": f"{opcode:05b}", "OP3": f"{opcode & 7:03b}", "op": function}


# -- all lanes


@outlined
def apply1(h: Core, f: Format[W_], op: Callable[..., Any], a: W_) -> W_:
    return op(h, f, a)  # type: ignore[no-any-return]


@outlined
def apply2(h: Core, f: Format[W_], op: Callable[..., Any], a: W_, b: W_) -> W_:
    return op(h, f, a, b)  # type: ignore[no-any-return]


@outlined
def apply3(h: Core, f: Format[W_], op: Callable[..., Any], d: W_, a: W_, b: W_) -> W_:
    return op(h, f, d, a, b)  # type: ignore[no-any-return]


# The host's vector unit gives the same, if no lane is for the slow functions (see softfloat.fast).

HOST2: dict[Callable[..., Any], str] = {fpu.add: "add", fpu.sub: "sub", fpu.mul: "mul", fpu.div: "div"}
HOST3: dict[Callable[..., Any], str] = {fpu.muladd: "muladd", fpu.mulsub: "mulsub"}


def vector1(h: Core, f: Format[Any], op: Callable[..., Any], Q: u32, a: u128) -> u128:
    """The operation on each lane there is: those of the upper half only if Q is 1."""
    t = f.word
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(t, apply1(h, f, op, lane(t, a, i)), i)
    if Q != 0:
        for i in range(64 // t.bits, 128 // t.bits):
            r = r | put(t, apply1(h, f, op, lane(t, a, i)), i)
    return r


def vector2(h: Core, f: Format[Any], op: Callable[..., Any], Q: u32, a: u128, b: u128) -> u128:
    t = f.word
    if fast.hosted(f) and op in HOST2:
        if h.host_float != 0:
            quick = host_lanes2(f, HOST2[op], a if Q != 0 else joined(a, a), b if Q != 0 else joined(b, b))
            if early_lanes(f, quick):
                return quick if Q != 0 else u128(u64(quick))
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(t, apply2(h, f, op, lane(t, a, i), lane(t, b, i)), i)
    if Q != 0:
        for i in range(64 // t.bits, 128 // t.bits):
            r = r | put(t, apply2(h, f, op, lane(t, a, i), lane(t, b, i)), i)
    return r


def vector3(h: Core, f: Format[Any], op: Callable[..., Any], Q: u32, d: u128, a: u128, b: u128) -> u128:
    t = f.word
    if fast.hosted(f) and op in HOST3:
        if h.host_float != 0:
            x, y = a if Q != 0 else joined(a, a), b if Q != 0 else joined(b, b)
            quick = host_lanes3(f, HOST3[op], d if Q != 0 else joined(d, d), x, y)
            if early_lanes(f, quick):
                return quick if Q != 0 else u128(u64(quick))
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(t, apply3(h, f, op, lane(t, d, i), lane(t, a, i), lane(t, b, i)), i)
    if Q != 0:
        for i in range(64 // t.bits, 128 // t.bits):
            r = r | put(t, apply3(h, f, op, lane(t, d, i), lane(t, a, i), lane(t, b, i)), i)
    return r


# Comparisons as masks.


def _mask(f: Format[W_], c: bool) -> W_:
    return f.word(0) - f.word(c)


def eq(h: Core, f: Format[W_], a: W_, b: W_) -> W_:
    return _mask(f, fpu.cmeq(h, f, a, b))


def ge(h: Core, f: Format[W_], a: W_, b: W_) -> W_:
    return _mask(f, fpu.cmge(h, f, a, b))


def gt(h: Core, f: Format[W_], a: W_, b: W_) -> W_:
    return _mask(f, fpu.cmgt(h, f, a, b))


def age(h: Core, f: Format[W_], a: W_, b: W_) -> W_:
    return _mask(f, fpu.acge(h, f, a, b))


def agt(h: Core, f: Format[W_], a: W_, b: W_) -> W_:
    return _mask(f, fpu.acgt(h, f, a, b))


def eq0(h: Core, f: Format[W_], a: W_) -> W_:
    return eq(h, f, a, f.word(0))


def ge0(h: Core, f: Format[W_], a: W_) -> W_:
    return ge(h, f, a, f.word(0))


def gt0(h: Core, f: Format[W_], a: W_) -> W_:
    return gt(h, f, a, f.word(0))


def le0(h: Core, f: Format[W_], a: W_) -> W_:
    return ge(h, f, f.word(0), a)


def lt0(h: Core, f: Format[W_], a: W_) -> W_:
    return gt(h, f, f.word(0), a)


# -- three registers

SAME: tuple[Row, ...] = (
    _op("fmaxnm", 0, 0, 0b11000, fpu.maxnm),
    _op("fadd", 0, 0, 0b11010, fpu.add),
    _op("fmulx", 0, 0, 0b11011, fpu.mulx),
    _op("fcmeq", 0, 0, 0b11100, eq),
    _op("fmax", 0, 0, 0b11110, fpu.maximum),
    _op("frecps", 0, 0, 0b11111, fpu.recps),
    _op("fminnm", 0, 1, 0b11000, fpu.minnm),
    _op("fsub", 0, 1, 0b11010, fpu.sub),
    _op("fmin", 0, 1, 0b11110, fpu.minimum),
    _op("frsqrts", 0, 1, 0b11111, fpu.rsqrts),
    _op("fmul", 1, 0, 0b11011, fpu.mul),
    _op("fcmge", 1, 0, 0b11100, ge),
    _op("facge", 1, 0, 0b11101, age),
    _op("fdiv", 1, 0, 0b11111, fpu.div),
    _op("fabd", 1, 1, 0b11010, fpu.abd),
    _op("fcmgt", 1, 1, 0b11100, gt),
    _op("facgt", 1, 1, 0b11101, agt),
)
SCALAR_SAME = [r for r in SAME if r["name"] in ("fmulx", "fcmeq", "frecps", "frsqrts", "fcmge", "facge", "fabd", "fcmgt", "facgt")]


@simd("0 Q U 01110 A SZ Rm MID OP3 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=cross(SAME, FLOATS))
def fp_same(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return vector2(h, f, op, Q, Rn, Rm)


@simd("01 U 11110 A SZ Rm MID OP3 1 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=cross(SCALAR_SAME, FLOATS))
def fp_same_scalar(h: Core, Rn: F, Rm: F) -> F:
    return apply2(h, f, op, Rn, Rm)


ACCUMULATE: tuple[Row, ...] = (
    {**_op("fmla", 0, 0, 0b11001, fpu.muladd), "EOP": "0001"},
    {**_op("fmls", 0, 1, 0b11001, fpu.mulsub), "EOP": "0101"},
)


@simd("0 Q U 01110 A SZ Rm MID OP3 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=cross(ACCUMULATE, FLOATS))
def fp_accumulate(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return vector3(h, f, op, Q, Rd, Rn, Rm)


PAIRWISE: tuple[Row, ...] = (
    _op("fmaxnmp", 1, 0, 0b11000, fpu.maxnm),
    _op("faddp", 1, 0, 0b11010, fpu.add),
    _op("fmaxp", 1, 0, 0b11110, fpu.maximum),
    _op("fminnmp", 1, 1, 0b11000, fpu.minnm),
    _op("fminp", 1, 1, 0b11110, fpu.minimum),
)


@simd("0 Q U 01110 A SZ Rm MID OP3 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=cross(PAIRWISE, FLOATS))
def fp_pairwise(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    n = Rn if Q != 0 else joined(Rn, Rm)
    return vector2(h, f, op, Q, even(fx, n, Rm), odd(fx, n, Rm))


_PAIR_OP = {"fmaxnmp": "01100", "faddp": "01101", "fmaxp": "01111", "fminnmp": "01100", "fminp": "01111"}
PAIRWISE_SCALAR = [
    {**r, "OP": _PAIR_OP[r["<op>"]], "U": "0" if r["<e>"] == "h" else "1", "Z": "1" if r["<e>"] == "d" else "0"} for r in cross(PAIRWISE, FLOATS)
]


@simd("01 U 11110 A Z 11000 OP 10 Rn Rd", "<op> {Rd}, {Rn}.2<e>", each=PAIRWISE_SCALAR)
def fp_pair(h: Core, Rn: V) -> F:
    return apply2(h, f, op, lane(fx, Rn, 0), lane(fx, Rn, 1))


ACROSS: tuple[Row, ...] = tuple(
    {**r, "<op>": n, "name": f"{n}.{r['<e>']}", "OP": bits, "A": a, "op": function, "U": "0" if r["<e>"] == "h" else "1", "COND": "" if r["<e>"] == "h" else "Q!=0"}
    for n, bits, a, function in (
        ("fmaxnmv", "01100", "0", fpu.maxnm), ("fmaxv", "01111", "0", fpu.maximum), ("fminnmv", "01100", "1", fpu.minnm), ("fminv", "01111", "1", fpu.minimum)
    )
    for r in (FLOATS[0], FLOATS[2])
)  # fmt: skip


def tree(h: Core, f: Format[Any], op: Callable[..., Any], a: u128, first: int, count: int) -> Any:
    """Neighbours first (Reduce)."""
    if count == 1:
        return lane(f.word, a, first)
    else:
        return apply2(h, f, op, tree(h, f, op, a, first, count // 2), tree(h, f, op, a, first + count // 2, count // 2))


@simd("0 Q U 01110 A 0 11000 OP 10 Rn Rd; COND", "<op> {Rd}, {Rn}.<T>", each=ACROSS)
def fp_across(h: Core, Q: Bits, Rn: V) -> F:
    count = 64 // fx.bits
    low = tree(h, f, op, Rn, 0, count)
    if Q != 0:
        return apply2(h, f, op, low, tree(h, f, op, Rn, count, count))
    return low


# -- two registers

MISC: tuple[Row, ...] = (
    _op("frintn", 0, 0, 0b11000, fpu.rintn),
    _op("frintm", 0, 0, 0b11001, fpu.rintm),
    _op("fabs", 0, 1, 0b01111, fpu.absolute),
    _op("frintp", 0, 1, 0b11000, fpu.rintp),
    _op("frintz", 0, 1, 0b11001, fpu.rintz),
    _op("frecpe", 0, 1, 0b11101, fpu.recpe),
    _op("frinta", 1, 0, 0b11000, fpu.rinta),
    _op("frintx", 1, 0, 0b11001, fpu.rintx),
    _op("fneg", 1, 1, 0b01111, fpu.negated),
    _op("frinti", 1, 1, 0b11001, fpu.rinti),
    _op("frsqrte", 1, 1, 0b11101, fpu.rsqrte),
    _op("fsqrt", 1, 1, 0b11111, fpu.sqrt),
)
LIMITED: tuple[Row, ...] = tuple(
    {**r, "extension": "frintts"}
    for r in (
        _op("frint32z", 0, 0, 0b11110, fpu.rint32z),
        _op("frint64z", 0, 0, 0b11111, fpu.rint64z),
        _op("frint32x", 1, 0, 0b11110, fpu.rint32x),
        _op("frint64x", 1, 0, 0b11111, fpu.rint64x),
    )
)
ZERO: tuple[Row, ...] = (
    _op("fcmgt", 0, 1, 0b01100, gt0),
    _op("fcmeq", 0, 1, 0b01101, eq0),
    _op("fcmlt", 0, 1, 0b01110, lt0),
    _op("fcmge", 1, 1, 0b01100, ge0),
    _op("fcmle", 1, 1, 0b01101, le0),
)


@simd("0 Q U 01110 A SZ2 OP 10 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>", each=cross(MISC, FLOATS) + cross(FLOATS[:2], LIMITED))
@simd("0 Q U 01110 A SZ2 OP 10 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, #0.0", name="fp_zero", each=cross(ZERO, FLOATS))
def fp_misc(h: Core, Q: Bits, Rn: V) -> V:
    return vector1(h, f, op, Q, Rn)


SCALAR_MISC = [r for r in MISC if r["name"] in ("frecpe", "frsqrte")] + [_op("frecpx", 0, 1, 0b11111, fpu.recpx)]


@simd("01 U 11110 A SZ2 OP 10 Rn Rd", "<op> {Rd}, {Rn}", each=cross(SCALAR_MISC, FLOATS))
@simd("01 U 11110 A SZ2 OP 10 Rn Rd", "<op> {Rd}, {Rn}, #0.0", name="fp_zero_scalar", each=cross(ZERO, FLOATS))
def fp_misc_scalar(h: Core, Rn: F) -> F:
    return apply1(h, f, op, Rn)


def estimate(h: Core, t: type[Any], a: u32) -> u32:
    return fpu.urecpe(a)


def estimate_root(h: Core, t: type[Any], a: u32) -> u32:
    return fpu.ursqrte(a)


ESTIMATES: tuple[Row, ...] = (
    {"name": "urecpe", "<op>": "urecpe", "U": "0", "op": estimate, "<T>": ("2s", "4s")},
    {"name": "ursqrte", "<op>": "ursqrte", "U": "1", "op": estimate_root, "<T>": ("2s", "4s")},
)


@simd("0 Q U 01110 10 10000 11100 10 Rn Rd", "<op> {Rd}.<T>, {Rn}.<T>", each=ESTIMATES)
def estimated(h: Core, Q: Bits, Rn: V) -> V:
    r = map1(h, u32, op, Rn)
    return r if Q != 0 else u128(u64(r))


# -- integers and fixed point

SIGNS: tuple[Row, ...] = ({"name": "s", "<s>": "s", "U": "0", "SIGNED": True}, {"name": "u", "<s>": "u", "U": "1", "SIGNED": False})
MODES: tuple[Row, ...] = (
    {"name": "n", "A": "0", "OP": "11010", "<m>": "n", "MODE": NEAREST_EVEN},
    {"name": "m", "A": "0", "OP": "11011", "<m>": "m", "MODE": DOWN},
    {"name": "a", "A": "0", "OP": "11100", "<m>": "a", "MODE": NEAREST_AWAY},
    {"name": "p", "A": "1", "OP": "11010", "<m>": "p", "MODE": UP},
    {"name": "z", "A": "1", "OP": "11011", "<m>": "z", "MODE": TOWARD_ZERO},
)


def _integers(rows: Iterable[Row]) -> list[Row]:
    return [{**r, "T": r["I_"] if r["SIGNED"] else r["fx"]} for r in rows]


@outlined
def int_lane(h: Core, f: Format[W_], t: type[Any], a: W_, scale: i32, mode: int) -> W_:
    return f.word(to_int(h, f, t, a, scale, mode))


@outlined
def float_lane(h: Core, f: Format[W_], t: type[Any], a: W_, scale: i32) -> W_:
    return from_int(h, f, t, t(a), scale)


def to_ints(h: Core, f: Format[Any], t: type[Any], Q: u32, a: u128, scale: i32, mode: int) -> u128:
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(f.word, int_lane(h, f, t, lane(f.word, a, i), scale, mode), i)
    if Q != 0:
        for i in range(64 // t.bits, 128 // t.bits):
            r = r | put(f.word, int_lane(h, f, t, lane(f.word, a, i), scale, mode), i)
    return r


def to_floats(h: Core, f: Format[Any], t: type[Any], Q: u32, a: u128, scale: i32) -> u128:
    r = u128(0)
    for i in range(64 // t.bits):
        r = r | put(f.word, float_lane(h, f, t, lane(f.word, a, i), scale), i)
    if Q != 0:
        for i in range(64 // t.bits, 128 // t.bits):
            r = r | put(f.word, float_lane(h, f, t, lane(f.word, a, i), scale), i)
    return r


CVT_INT = _integers(cross(MODES, SIGNS, FLOATS))
CVT_FLOAT = _integers(cross(SIGNS, FLOATS))
_IMMS = {"h": "001 imm[3:0]", "s": "01 imm[4:0]", "d": "1 imm[5:0]"}
FIXED = [{**r, "IMM": _IMMS[r["<e>"]], "K": r["fx"].bits} for r in CVT_FLOAT]


@simd("0 Q U 01110 A SZ2 OP 10 Rn Rd; COND", "fcvt<m><s> {Rd}.<T>, {Rn}.<T>", each=CVT_INT)
def fcvt_ints(h: Core, Q: Bits, Rn: V) -> V:
    return to_ints(h, f, T, Q, Rn, i32(0), MODE)


@simd("01 U 11110 A SZ2 OP 10 Rn Rd", "fcvt<m><s> {Rd}, {Rn}", each=CVT_INT)
def fcvt_ints_scalar(h: Core, Rn: F) -> F:
    return int_lane(h, f, T, Rn, i32(0), MODE)


@simd("0 Q U 01110 0 SZ2 11101 10 Rn Rd; COND", "<s>cvtf {Rd}.<T>, {Rn}.<T>", each=CVT_FLOAT)
def cvtf_vector(h: Core, Q: Bits, Rn: V) -> V:
    return to_floats(h, f, T, Q, Rn, i32(0))


@simd("01 U 11110 0 SZ2 11101 10 Rn Rd", "<s>cvtf {Rd}, {Rn}", each=CVT_FLOAT)
def cvtf_scalar(h: Core, Rn: F) -> F:
    return float_lane(h, f, T, Rn, i32(0))


@simd("0 Q U 011110 IMM 11100 1 Rn Rd; COND", "<s>cvtf {Rd}.<T>, {Rn}.<T>, #{right}", each=FIXED)
def cvtf_vector_fixed(h: Core, Q: Bits, Rn: V, imm: Bits) -> V:
    return to_floats(h, f, T, Q, Rn, i32(K - imm))


@simd("0 Q U 011110 IMM 11111 1 Rn Rd; COND", "fcvtz<s> {Rd}.<T>, {Rn}.<T>, #{right}", each=FIXED)
def fcvtz_vector_fixed(h: Core, Q: Bits, Rn: V, imm: Bits) -> V:
    return to_ints(h, f, T, Q, Rn, i32(K - imm), TOWARD_ZERO)


@simd("01 U 111110 IMM 11100 1 Rn Rd", "<s>cvtf {Rd}, {Rn}, #{right}", each=FIXED)
def cvtf_scalar_fixed(h: Core, Rn: F, imm: Bits) -> F:
    return float_lane(h, f, T, Rn, i32(K - imm))


@simd("01 U 111110 IMM 11111 1 Rn Rd", "fcvtz<s> {Rd}, {Rn}, #{right}", each=FIXED)
def fcvtz_scalar_fixed(h: Core, Rn: F, imm: Bits) -> F:
    return int_lane(h, f, T, Rn, i32(K - imm), TOWARD_ZERO)


# -- other precisions

LONG: tuple[Row, ...] = (
    {"name": "h", "Z": "0", "f": F16, "g": F32, "<T>": ("4h", "8h"), "<Ta>": "4s", "<q>": ("", "2")},
    {"name": "s", "Z": "1", "f": F32, "g": F64, "<T>": ("2s", "4s"), "<Ta>": "2d", "<q>": ("", "2")},
)


@outlined
def convert_lane(h: Core, f: Format[Any], g: Format[W_], a: Word, mode: int) -> W_:
    return converted(h, f, g, a, mode)


@simd("0 Q 0 01110 0 Z 10000 10111 10 Rn Rd", "fcvtl<q> {Rd}.<Ta>, {Rn}.<T>", each=LONG)
def fcvtl(h: Core, Q: Bits, Rn: V) -> V:
    n = half(Q, Rn)
    r = u128(0)
    for i in range(64 // f.word.bits):
        r = r | put(g.word, convert_lane(h, f, g, lane(f.word, n, i), BY_FPCR), i)
    return r


@simd("0 Q 0 01110 0 Z 10000 10110 10 Rn Rd", "fcvtn<q> {Rd}.<T>, {Rn}.<Ta>", each=[{**r, "MODE": BY_FPCR} for r in LONG])
@simd("0 Q 1 01110 0 Z 10000 10110 10 Rn Rd", "fcvtxn<q> {Rd}.<T>, {Rn}.<Ta>", name="fcvtxn", each=[{**LONG[1], "MODE": TO_ODD}])
def fcvtn(h: Core, Q: Bits, Rd: V, Rn: V) -> V:
    r = u128(0)
    for i in range(64 // f.word.bits):
        r = r | put(f.word, convert_lane(h, g, f, lane(g.word, Rn, i), MODE), i)
    return into_half(Q, Rd, r)


@simd("01 1 11110 0 1 10000 10110 10 Rn Rd", "fcvtxn {Rd}, {Rn}")
def fcvtxn_scalar(h: Core, Rn: D) -> S:
    return convert_lane(h, F64, F32, Rn, TO_ODD)


# -- by element

_INDEXED: dict[str, Row] = {
    "s": {"INDEX": "10 index[0] Rm", "HIGH": "index[1]"},
    "d": {"INDEX": "11 0 Rm", "HIGH": "index[0]"},
    "h": {"INDEX": "00 index[1:0] Rm[3:0]", "HIGH": "index[2]"},
}


def _by_element(rows: Iterable[Row]) -> list[Row]:
    return [{**r, **_INDEXED[r["<e>"]]} for r in rows]


MULTIPLY: tuple[Row, ...] = ({**_op("fmul", 0, 0, 0, fpu.mul), "EOP": "1001"}, {**_op("fmulx", 1, 0, 0, fpu.mulx), "EOP": "1001"})


@simd("0 Q U 01111 INDEX EOP HIGH 0 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<e>[{index}]", each=_by_element(cross(MULTIPLY, FLOATS)))
def fp_by_element(h: Core, Q: Bits, Rn: V, Rm: V, index: Bits) -> V:
    return vector2(h, f, op, Q, Rn, all_lanes(fx, at(fx, Rm, index)))


@simd("0 Q U 01111 INDEX EOP HIGH 0 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<e>[{index}]", each=_by_element(cross(ACCUMULATE, FLOATS)))
def fp_by_element_into(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    return vector3(h, f, op, Q, Rd, Rn, all_lanes(fx, at(fx, Rm, index)))


@simd("01 U 11111 INDEX EOP HIGH 0 Rn Rd", "<op> {Rd}, {Rn}, {Rm_v}.<e>[{index}]", each=_by_element(cross(MULTIPLY, FLOATS)))
def fp_by_element_scalar(h: Core, Rn: F, Rm: V, index: Bits) -> F:
    return apply2(h, f, op, Rn, at(fx, Rm, index))


@simd("01 U 11111 INDEX EOP HIGH 0 Rn Rd", "<op> {Rd}, {Rn}, {Rm_v}.<e>[{index}]", each=_by_element(cross(ACCUMULATE, FLOATS)))
def fp_by_element_into_scalar(h: Core, Rd: F, Rn: F, Rm: V, index: Bits) -> F:
    return apply3(h, f, op, Rd, Rn, at(fx, Rm, index))


# -- FHM: half-precision products into single precision

FHM: tuple[Row, ...] = tuple(
    {"name": f"{n}{suffix}", "<op>": f"{n}{suffix}", "U": str(int(second)), "A": a, "OP": op3, "EOP": eop, "NEGATE": negate, "SECOND": second,
     "<T>": ("2s", "4s"), "<Tb>": ("2h", "4h")}
    for n, a, negate in (("fmlal", "0", False), ("fmlsl", "1", True))
    for suffix, second, op3 in (("", False, "11101"), ("2", True, "11001"))
    for eop in [("1" if second else "0") + ("1" if negate else "0") + "00"]
)  # fmt: skip


@outlined
def widening_muladd(h: Core, d: u32, a: u16, b: u16) -> u32:
    """FPMulAddH: a product of halves added to a single."""
    return fpu.muladd_half(h, d, a, b)


def products(h: Core, Q: u32, d: u128, a: u128, b: u128, second: bool, negate: bool) -> u128:
    if second:
        a = a >> 64 if Q != 0 else a >> 32
        b = b >> 64 if Q != 0 else b >> 32
    r = u128(0)
    sign = u16(0x8000 if negate else 0)
    for i in range(2):
        r = r | put(u32, widening_muladd(h, lane(u32, d, i), lane(u16, a, i) ^ sign, lane(u16, b, i)), i)
    if Q != 0:
        for i in range(2, 4):
            r = r | put(u32, widening_muladd(h, lane(u32, d, i), lane(u16, a, i) ^ sign, lane(u16, b, i)), i)
    return r


@fhm("0 Q U 01110 A 0 1 Rm OP 1 Rn Rd", "<op> {Rd}.<T>, {Rn}.<Tb>, {Rm}.<Tb>", each=FHM)
def fmlal(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return products(h, Q, Rd, Rn, Rm, SECOND, NEGATE)


@fhm("0 Q U 01111 10 index[1:0] Rm[3:0] EOP index[2] 0 Rn Rd", "<op> {Rd}.<T>, {Rn}.<Tb>, {Rm}.h[{index}]", each=FHM)
def fmlal_element(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    return products(h, Q, Rd, Rn, all_lanes(u16, at(u16, Rm, index)), SECOND, NEGATE)


# -- FCMA: complex numbers, real parts in even lanes

COMPLEX: tuple[Row, ...] = tuple({**r, "size": {"h": "01", "s": "10", "d": "11"}[r["<e>"]]} for r in FLOATS)
ROTATIONS: tuple[Row, ...] = tuple({"name": str(90 * k), "ROT": f"{k:02b}", "<rot>": str(90 * k), "K": k} for k in range(4))


def complex_add(h: Core, f: Format[Any], Q: u32, a: u128, b: u128, rotation: int) -> u128:
    """a + b rotated by 90 or 270 degrees."""
    t = f.word
    r = u128(0)
    for i in range(64 // t.bits if t.bits < 64 else 0):
        if i % 2 == 0:
            r = r | complex_add_pair(h, f, a, b, rotation, i)
    if Q != 0:
        for i in range(64 // t.bits if t.bits < 64 else 0, 128 // t.bits):
            if i % 2 == 0:
                r = r | complex_add_pair(h, f, a, b, rotation, i)
    return r


def complex_add_pair(h: Core, f: Format[Any], a: u128, b: u128, rotation: int, i: int) -> u128:
    t = f.word
    real, imaginary = lane(t, b, i + 1), lane(t, b, i)
    if rotation == 1:
        real = real ^ f.sign
    else:
        imaginary = imaginary ^ f.sign
    low = apply2(h, f, fpu.add, lane(t, a, i), real)
    return put(t, low, i) | put(t, apply2(h, f, fpu.add, lane(t, a, i + 1), imaginary), i + 1)


def complex_muladd(h: Core, f: Format[Any], Q: u32, d: u128, a: u128, b: u128, rotation: int) -> u128:
    t = f.word
    r = u128(0)
    for i in range(64 // t.bits if t.bits < 64 else 0):
        if i % 2 == 0:
            r = r | complex_muladd_pair(h, f, d, a, b, rotation, i)
    if Q != 0:
        for i in range(64 // t.bits if t.bits < 64 else 0, 128 // t.bits):
            if i % 2 == 0:
                r = r | complex_muladd_pair(h, f, d, a, b, rotation, i)
    return r


def complex_muladd_pair(h: Core, f: Format[Any], d: u128, a: u128, b: u128, rotation: int, i: int) -> u128:
    """d + part of a * b: its products with the real part of a (0, 180 degrees) or with the imaginary one (90, 270)."""
    t = f.word
    factor = lane(t, a, i + rotation % 2)
    real, imaginary = lane(t, b, i + rotation % 2), lane(t, b, i + 1 - rotation % 2)
    if rotation in (1, 2):
        real = real ^ f.sign
    if rotation in (2, 3):
        imaginary = imaginary ^ f.sign
    low = apply3(h, f, fpu.muladd, lane(t, d, i), factor, real)
    return put(t, low, i) | put(t, apply3(h, f, fpu.muladd, lane(t, d, i + 1), factor, imaginary), i + 1)


_COMPLEX_EXTENSION = {"extension": "fcma"}


@fcma("0 Q 1 01110 size 0 Rm 1 10 ROT 1 Rn Rd; COND", "fcmla {Rd}.<T>, {Rn}.<T>, {Rm}.<T>, #<rot>", each=cross(COMPLEX, ROTATIONS, [_COMPLEX_EXTENSION]))
def fcmla(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return complex_muladd(h, f, Q, Rd, Rn, Rm, K)


@fcma("0 Q 1 01110 size 0 Rm 1 11 BIT 0 1 Rn Rd; COND", "fcadd {Rd}.<T>, {Rn}.<T>, {Rm}.<T>, #<rot>",
      each=cross(COMPLEX, [{**ROTATIONS[1], "BIT": "0"}, {**ROTATIONS[3], "BIT": "1"}], [_COMPLEX_EXTENSION]))  # fmt: skip
def fcadd(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return complex_add(h, f, Q, Rn, Rm, K)


@fcma("0 0 1 01111 01 index[0] Rm 0 ROT 1 0 0 Rn Rd", "fcmla {Rd}.4h, {Rn}.4h, {Rm}.h[{index}], #<rot>", name="fcmla_element_4h", each=ROTATIONS)
@fcma("0 1 1 01111 01 index[0] Rm 0 ROT 1 index[1] 0 Rn Rd", "fcmla {Rd}.8h, {Rn}.8h, {Rm}.h[{index}], #<rot>", name="fcmla_element_8h",
      each=[{**r, "WHOLE": 1} for r in ROTATIONS])  # fmt: skip
def fcmla_element_h(h: Core, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    return complex_muladd(h, F16, u32(WHOLE), Rd, Rn, all_lanes(u32, at(u32, Rm, index)), K)


@fcma("0 1 1 01111 10 0 Rm 0 ROT 1 index[0] 0 Rn Rd", "fcmla {Rd}.4s, {Rn}.4s, {Rm}.s[{index}], #<rot>", each=ROTATIONS)
def fcmla_element_s(h: Core, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    return complex_muladd(h, F32, u32(1), Rd, Rn, all_lanes(u64, at(u64, Rm, index)), K)


# -- immediates


@simd("0 Q 0 0111100000 imm8[7:5] 1111 0 1 imm8[4:0] Rd", "fmov {Rd}.<T>, #{fp}", name="fmov_vector.s", each=[FLOATS[0] | {"name": ""}])
@simd("0 Q 1 0111100000 imm8[7:5] 1111 0 1 imm8[4:0] Rd; Q!=0", "fmov {Rd}.<T>, #{fp}", name="fmov_vector.d", each=[FLOATS[1] | {"name": ""}])
@simd("0 Q 0 0111100000 imm8[7:5] 1111 1 1 imm8[4:0] Rd", "fmov {Rd}.<T>, #{fp}", name="fmov_vector.h", each=[FLOATS[2] | {"name": ""}])
def fmov_vector(Q: Bits, imm8: Bits) -> V:
    r = all_lanes(fx, expand_immediate(f, imm8))
    return r if Q != 0 else u128(u64(r))
