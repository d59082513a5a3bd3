"""Advanced SIMD on integers: registers of one type.  Arm ARM DDI 0487, C4.1.96 and C7.2; FEAT_RDM, FEAT_DotProd."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinamou.native.types import Word, i8, i16, i32, i64, u8, u16, u32, u64, u128

from . import lanes
from .disasm import Shown
from .lanes import (
    WIDER,
    all_lanes,
    at,
    clip,
    even,
    half,
    into_half,
    joined,
    lane,
    map1,
    map2,
    map3,
    narrow,
    odd,
    put,
    reversed_lanes,
    shift1,
    widen,
)
from .operands import B, Bits, D, H, Row, S, V, a64, cross
from .state import Core

simd = a64.extension("simd")

# What tables bind.
T: type[Word] = Word
N: type[Word] = Word
F = V
G = V
fx: type[Word] = Word
op: Callable[..., Any] = lanes.add
taken: Callable[..., Any] = lanes.whole  # what an operation sees of its operands: it must not saturate where there is no lane
K = 0

LANES: tuple[Row, ...] = (
    {"name": "b", "size": "00", "<T>": ("8b", "16b"), "COND": "", "U_": u8, "S_": i8, "F": B},
    {"name": "h", "size": "01", "<T>": ("4h", "8h"), "COND": "", "U_": u16, "S_": i16, "F": H},
    {"name": "s", "size": "10", "<T>": ("2s", "4s"), "COND": "", "U_": u32, "S_": i32, "F": S},
    {"name": "d", "size": "11", "<T>": ("1d", "2d"), "COND": "Q!=0", "U_": u64, "S_": i64, "F": D},
)


def typed(ops: Iterable[Row], sizes: Iterable[Row] = LANES) -> list[Row]:
    """Operations with the lanes they exist for: those in an operation's own list if it has one."""
    out = []
    for r in cross(ops, sizes):
        if r["size"] in r.get("SIZES", (r["size"],)):
            t = r["S_"] if r["SIGNED"] else r["U_"]
            saturates = r.get("<op>", "").startswith(("sq", "uq", "suq", "usq"))
            out.append({**r, "T": t, "N": t, "taken": clip if saturates else lanes.whole})
    return out


BHS, HS, BYTES, HSD, ALL_SIZES = ("00", "01", "10"), ("01", "10"), ("00",), ("01", "10", "11"), ("00", "01", "10", "11")


def operation(name: str, u: int, opcode: int, function: Callable[..., Any], sizes: tuple[str, ...] = ALL_SIZES, signed: bool | None = None) -> Row:
    return {"name": name, "<op>": name, "U": str(u), "OP": f"{opcode:05b}", "op": function, "SIZES": sizes, "SIGNED": not u if signed is None else signed}


# -- three registers of the same type

BOTH_SIGNS: tuple[Row, ...] = tuple(
    operation(f"{'us'[1 - u]}{n}", u, opcode, function, sizes)
    for n, opcode, function, sizes in (
        ("hadd", 0b00000, lanes.hadd, BHS),
        ("qadd", 0b00001, lanes.qadd, ALL_SIZES),
        ("rhadd", 0b00010, lanes.rhadd, BHS),
        ("hsub", 0b00100, lanes.hsub, BHS),
        ("qsub", 0b00101, lanes.qsub, ALL_SIZES),
        ("shl", 0b01000, lanes.shl, ALL_SIZES),
        ("qshl", 0b01001, lanes.qshl, ALL_SIZES),
        ("rshl", 0b01010, lanes.rshl, ALL_SIZES),
        ("qrshl", 0b01011, lanes.qrshl, ALL_SIZES),
        ("max", 0b01100, lanes.maximum, BHS),
        ("min", 0b01101, lanes.minimum, BHS),
        ("abd", 0b01110, lanes.abd, BHS),
    )
    for u in (0, 1)
)
SAME: tuple[Row, ...] = (
    *BOTH_SIGNS,
    operation("cmgt", 0, 0b00110, lanes.cmgt),
    operation("cmhi", 1, 0b00110, lanes.cmgt),
    operation("cmge", 0, 0b00111, lanes.cmge),
    operation("cmhs", 1, 0b00111, lanes.cmge),
    operation("add", 0, 0b10000, lanes.add, signed=False),
    operation("sub", 1, 0b10000, lanes.sub),
    operation("cmtst", 0, 0b10001, lanes.cmtst),
    operation("cmeq", 1, 0b10001, lanes.cmeq),
    operation("mul", 0, 0b10011, lanes.mul, BHS, signed=False),
    operation("pmul", 1, 0b10011, lanes.pmul, BYTES),
    operation("sqdmulh", 0, 0b10110, lanes.qdmulh, HS),
    operation("sqrdmulh", 1, 0b10110, lanes.qrdmulh, HS, signed=True),
)
SCALAR_SAME: tuple[Row, ...] = tuple(
    {**r, "SIZES": sizes}
    for r in SAME
    for sizes in [
        ALL_SIZES if r["OP"] in ("00001", "00101", "01001", "01011")
        else HS if r["OP"] == "10110"
        else ("11",) if r["OP"] in ("00110", "00111", "01000", "01010", "10000", "10001")
        else ()
    ]
)  # fmt: skip


@simd("0 Q U 01110 size 1 Rm OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=typed(SAME))
def same(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, map2(h, T, op, taken(Q, Rn), taken(Q, Rm)))


@simd("01 U 11110 size 1 Rm OP 1 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=typed(SCALAR_SAME))
def same_scalar(h: Core, Rn: F, Rm: F) -> F:
    return T.unsigned_type(op(h, T, T(Rn), T(Rm)))


ACCUMULATE: tuple[Row, ...] = (
    operation("saba", 0, 0b01111, lanes.aba, BHS),
    operation("uaba", 1, 0b01111, lanes.aba, BHS),
    operation("mla", 0, 0b10010, lanes.mla, BHS, signed=False),
    operation("mls", 1, 0b10010, lanes.mls, BHS),
)


@simd("0 Q U 01110 size 1 Rm OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=typed(ACCUMULATE))
def accumulate(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, map3(h, T, op, Rd, taken(Q, Rn), Rm))


PAIRWISE: tuple[Row, ...] = (
    operation("smaxp", 0, 0b10100, lanes.maximum, BHS),
    operation("umaxp", 1, 0b10100, lanes.maximum, BHS),
    operation("sminp", 0, 0b10101, lanes.minimum, BHS),
    operation("uminp", 1, 0b10101, lanes.minimum, BHS),
    operation("addp", 0, 0b10111, lanes.add, signed=False),
)


@simd("0 Q U 01110 size 1 Rm OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=typed(PAIRWISE))
def pairwise(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    n = Rn if Q != 0 else joined(Rn, Rm)
    return clip(Q, map2(h, T, op, even(T, n, Rm), odd(T, n, Rm)))


@simd("01 0 11110 11 11000 11011 10 Rn Rd", "addp {Rd}, {Rn}.2d")
def addp_scalar(Rn: V) -> D:
    return u64(Rn) + u64(Rn >> 64)


def _mov_vector(s: Shown) -> str | None:
    return "mov {Rd}.<T>, {Rn}.<T>".replace("<T>", s["<T>"][s["Q"]]) if s["Rn"] == s["Rm"] else None


OF_BYTES = {"<T>": ("8b", "16b")}


@simd("0 Q 0 01110 00 1 Rm 00011 1 Rn Rd", "and {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", name="and_vector", each=[OF_BYTES])
def and_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn & Rm)


@simd("0 Q 0 01110 01 1 Rm 00011 1 Rn Rd", "bic {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES])
def bic_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn & ~Rm)


@simd("0 Q 0 01110 10 1 Rm 00011 1 Rn Rd", "orr {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES], alias=_mov_vector)
def orr_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn | Rm)


@simd("0 Q 0 01110 11 1 Rm 00011 1 Rn Rd", "orn {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES])
def orn_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn | ~Rm)


@simd("0 Q 1 01110 00 1 Rm 00011 1 Rn Rd", "eor {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES])
def eor_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn ^ Rm)


@simd("0 Q 1 01110 01 1 Rm 00011 1 Rn Rd", "bsl {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES])
def bsl(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, Rm ^ ((Rm ^ Rn) & Rd))


@simd("0 Q 1 01110 10 1 Rm 00011 1 Rn Rd", "bit {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES])
def bit(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, Rd ^ ((Rd ^ Rn) & Rm))


@simd("0 Q 1 01110 11 1 Rm 00011 1 Rn Rd", "bif {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[OF_BYTES])
def bif(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, Rd ^ ((Rd ^ Rn) & ~Rm))


# -- three registers, extra: RDM and dot products

RDM: tuple[Row, ...] = (
    {**operation("sqrdmlah", 1, 0, lanes.qrdmlah, HS, signed=True), "OP": "0000", "extension": "rdm"},
    {**operation("sqrdmlsh", 1, 1, lanes.qrdmlsh, HS, signed=True), "OP": "0001", "extension": "rdm"},
)


@simd("0 Q U 01110 size 0 Rm 1 OP 1 Rn Rd", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=typed(RDM))
def rdm(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, map3(h, T, op, Rd, taken(Q, Rn), Rm))


@simd("01 U 11110 size 0 Rm 1 OP 1 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=typed(RDM))
def rdm_scalar(h: Core, Rd: F, Rn: F, Rm: F) -> F:
    return T.unsigned_type(op(h, T, T(Rd), T(Rn), T(Rm)))


DOT: tuple[Row, ...] = (
    {"name": "s", "<s>": "s", "U": "0", "N": i8, "T": i32, "<T>": ("2s", "4s"), "<Tb>": ("8b", "16b"), "extension": "dotprod"},
    {"name": "u", "<s>": "u", "U": "1", "N": u8, "T": u32, "<T>": ("2s", "4s"), "<Tb>": ("8b", "16b"), "extension": "dotprod"},
)


def dot(t: type[Any], n: type[Any], d: u128, a: u128, b: u128) -> u128:
    r = u128(0)
    for i in range(4):
        total = lane(t, d, i)
        for k in range(4):
            total = total + t(lane(n, a, 4 * i + k)) * t(lane(n, b, 4 * i + k))
        r = r | put(t, total, i)
    return r


@simd("0 Q U 01110 10 0 Rm 1 0010 1 Rn Rd", "<s>dot {Rd}.<T>, {Rn}.<Tb>, {Rm}.<Tb>", name="dot", each=DOT)
def dot_vector(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, dot(T, N, Rd, Rn, Rm))


@simd("0 Q U 01111 10 index[0] Rm 1110 index[1] 0 Rn Rd", "<s>dot {Rd}.<T>, {Rn}.<Tb>, {Rm}.4b[{index}]", each=DOT)
def dot_element(Q: Bits, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    return clip(Q, dot(T, N, Rd, Rn, all_lanes(u32, at(u32, Rm, index))))


# -- two registers

MISC: tuple[Row, ...] = (
    operation("cls", 0, 0b00100, lanes.cls, BHS),
    operation("clz", 1, 0b00100, lanes.count_zeros, BHS),
    operation("cnt", 0, 0b00101, lanes.count_ones, BYTES, signed=False),
    operation("sqabs", 0, 0b00111, lanes.qabs),
    operation("sqneg", 1, 0b00111, lanes.qneg, signed=True),
    operation("abs", 0, 0b01011, lanes.absolute),
    operation("neg", 1, 0b01011, lanes.neg, signed=False),
)
ZERO: tuple[Row, ...] = (
    operation("cmgt", 0, 0b01000, lanes.cmgt0),
    operation("cmge", 1, 0b01000, lanes.cmge0, signed=True),
    operation("cmeq", 0, 0b01001, lanes.cmeq0),
    operation("cmle", 1, 0b01001, lanes.cmle0, signed=True),
    operation("cmlt", 0, 0b01010, lanes.cmlt0),
)


@simd("0 Q U 01110 size 10000 OP 10 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>", each=typed(MISC))
@simd("0 Q U 01110 size 10000 OP 10 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, #0", name="zero", each=typed(ZERO))
def misc(h: Core, Q: Bits, Rn: V) -> V:
    return clip(Q, map1(h, T, op, taken(Q, Rn)))


SCALAR_MISC = [r for r in MISC if r["name"] in ("sqabs", "sqneg")] + [{**r, "SIZES": ("11",)} for r in MISC if r["name"] in ("abs", "neg")]


@simd("01 U 11110 size 10000 OP 10 Rn Rd", "<op> {Rd}, {Rn}", each=typed(SCALAR_MISC))
@simd("01 U 11110 size 10000 OP 10 Rn Rd", "<op> {Rd}, {Rn}, #0", name="zero_scalar", each=typed([{**r, "SIZES": ("11",)} for r in ZERO]))
def misc_scalar(h: Core, Rn: F) -> F:
    return T.unsigned_type(op(h, T, T(Rn)))


UPWARDS: tuple[Row, ...] = (
    operation("suqadd", 0, 0b00011, lanes.suqadd),
    operation("usqadd", 1, 0b00011, lanes.suqadd),
)


@simd("0 Q U 01110 size 10000 OP 10 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>", each=typed(UPWARDS))
def upwards(h: Core, Q: Bits, Rd: V, Rn: V) -> V:
    return clip(Q, map2(h, T, op, taken(Q, Rd), taken(Q, Rn)))


@simd("01 U 11110 size 10000 OP 10 Rn Rd", "<op> {Rd}, {Rn}", each=typed(UPWARDS))
def upwards_scalar(h: Core, Rd: F, Rn: F) -> F:
    return T.unsigned_type(op(h, T, T(Rd), T(Rn)))


@simd("0 Q 1 01110 00 10000 00101 10 Rn Rd", "mvn {Rd}.<T>, {Rn}.<T>", each=[OF_BYTES])
def not_(Q: Bits, Rn: V) -> V:
    return clip(Q, ~Rn)


@simd("0 Q 1 01110 01 10000 00101 10 Rn Rd", "rbit {Rd}.<T>, {Rn}.<T>", each=[OF_BYTES])
def rbit_vector(h: Core, Q: Bits, Rn: V) -> V:
    return clip(Q, map1(h, u8, lanes.reverse_bits, Rn))


REVERSE: tuple[Row, ...] = tuple(
    {"name": f"{n}.{r['name']}", "<op>": f"rev{n}", "U": u, "OP": opc, "size": r["size"], "<T>": r["<T>"], "T": t, "N": r["U_"]}
    for n, u, opc, t, count in ((64, "0", "00000", u64, 3), (32, "1", "00000", u32, 2), (16, "0", "00001", u16, 1))
    for r in LANES[:count]
)


@simd("0 Q U 01110 size 10000 OP 10 Rn Rd", "<op> {Rd}.<T>, {Rn}.<T>", each=REVERSE)
def rev(Q: Bits, Rn: V) -> V:
    return clip(Q, reversed_lanes(T, N, Rn))


# -- pairs of lanes added to lanes twice as wide

LONG: tuple[Row, ...] = tuple(
    {**r, "<Ta>": wide, "<w>": wide[0], "T": WIDER[r["T"]]}
    for r in typed(({"name": "s", "<s>": "s", "U": "0", "SIGNED": True}, {"name": "u", "<s>": "u", "U": "1", "SIGNED": False}), LANES[:3])
    for wide in [{"00": ("4h", "8h"), "01": ("2s", "4s"), "10": ("1d", "2d")}[r["size"]]]
)


def pair_sums(t: type[Any], n: type[Any], a: u128) -> u128:
    r = u128(0)
    for i in range(128 // t.bits):
        r = r | put(t, t(lane(n, a, 2 * i)) + t(lane(n, a, 2 * i + 1)), i)
    return r


@simd("0 Q U 01110 size 10000 00010 10 Rn Rd", "<s>addlp {Rd}.<Ta>, {Rn}.<T>", each=LONG)
def addlp(Q: Bits, Rn: V) -> V:
    return clip(Q, pair_sums(T, N, Rn))


@simd("0 Q U 01110 size 10000 00110 10 Rn Rd", "<s>adalp {Rd}.<Ta>, {Rn}.<T>", each=LONG)
def adalp(h: Core, Q: Bits, Rd: V, Rn: V) -> V:
    return clip(Q, map2(h, T, lanes.add, Rd, pair_sums(T, N, Rn)))


# -- narrowing

NARROW: tuple[Row, ...] = tuple(
    {**r, "<Ta>": {"00": "8h", "01": "4s", "10": "2d"}[r["size"]], "<Tb>": r["<T>"], "<q>": ("", "2"), "G": {"00": H, "01": S, "10": D}[r["size"]]}
    for r in typed(
        (
            operation("xtn", 0, 0b10010, lanes.xtn, signed=False),
            operation("sqxtun", 1, 0b10010, lanes.qxtun, signed=True),
            operation("sqxtn", 0, 0b10100, lanes.qxtn),
            operation("uqxtn", 1, 0b10100, lanes.qxtn),
        ),
        LANES[:3],
    )
)


@simd("0 Q U 01110 size 10000 OP 10 Rn Rd", "<op><q> {Rd}.<Tb>, {Rn}.<Ta>", each=NARROW)
def narrowed(h: Core, Q: Bits, Rd: V, Rn: V) -> V:
    return into_half(Q, Rd, narrow(h, T, op, Rn, u32(0)))


@simd("01 U 11110 size 10000 OP 10 Rn Rd", "<op> {Rd}, {Rn}", each=[r for r in NARROW if r["<op>"] != "xtn"])
def narrowed_scalar(h: Core, Rn: G) -> F:
    return T.unsigned_type(op(h, T, WIDER[T](Rn), u32(0)))


@simd("0 Q 1 01110 size 10000 10011 10 Rn Rd", "shll<q> {Rd}.<Ta>, {Rn}.<Tb>, #{K}", each=[{**r, "K": 8 << int(r["size"], 2)} for r in NARROW[:3]])
def shll(h: Core, Q: Bits, Rn: V) -> V:
    return shift1(h, WIDER[T], lanes.shl_n, widen(T, half(Q, Rn)), u32(K))


# -- what `ext_simd_...` share

SIGNS = ({"name": "s", "<s>": "s", "U": "0", "SIGNED": True}, {"name": "u", "<s>": "u", "U": "1", "SIGNED": False})
LONGER = tuple({**r, "<Ta>": n["<Ta>"], "<Tb>": r["<T>"], "<q>": ("", "2"), "G": n["G"]} for r, n in zip(LANES, NARROW[:3], strict=False))
