"""Advanced SIMD on integers.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.96 and C7.2; FEAT_RDM, FEAT_DotProd."""

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
    replaced,
    reversed_lanes,
    shift1,
    shift2,
    spread,
    transposed,
    widen,
)
from .operands import B, Bits, D, H, Row, S, V, W, X, a64, cross
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


def _op(name: str, u: int, opcode: int, function: Callable[..., Any], sizes: tuple[str, ...] = ALL_SIZES, signed: bool | None = None) -> Row:
    return {"name": name, "<op>": name, "U": str(u), "OP": f"{opcode:05b}", "op": function, "SIZES": sizes, "SIGNED": not u if signed is None else signed}


# -- three registers of the same type

BOTH_SIGNS: tuple[Row, ...] = tuple(
    _op(f"{'us'[1 - u]}{n}", u, opcode, function, sizes)
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
    _op("cmgt", 0, 0b00110, lanes.cmgt),
    _op("cmhi", 1, 0b00110, lanes.cmgt),
    _op("cmge", 0, 0b00111, lanes.cmge),
    _op("cmhs", 1, 0b00111, lanes.cmge),
    _op("add", 0, 0b10000, lanes.add, signed=False),
    _op("sub", 1, 0b10000, lanes.sub),
    _op("cmtst", 0, 0b10001, lanes.cmtst),
    _op("cmeq", 1, 0b10001, lanes.cmeq),
    _op("mul", 0, 0b10011, lanes.mul, BHS, signed=False),
    _op("pmul", 1, 0b10011, lanes.pmul, BYTES),
    _op("sqdmulh", 0, 0b10110, lanes.qdmulh, HS),
    _op("sqrdmulh", 1, 0b10110, lanes.qrdmulh, HS, signed=True),
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
    _op("saba", 0, 0b01111, lanes.aba, BHS),
    _op("uaba", 1, 0b01111, lanes.aba, BHS),
    _op("mla", 0, 0b10010, lanes.mla, BHS, signed=False),
    _op("mls", 1, 0b10010, lanes.mls, BHS),
)


@simd("0 Q U 01110 size 1 Rm OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=typed(ACCUMULATE))
def accumulate(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, map3(h, T, op, Rd, taken(Q, Rn), Rm))


PAIRWISE: tuple[Row, ...] = (
    _op("smaxp", 0, 0b10100, lanes.maximum, BHS),
    _op("umaxp", 1, 0b10100, lanes.maximum, BHS),
    _op("sminp", 0, 0b10101, lanes.minimum, BHS),
    _op("uminp", 1, 0b10101, lanes.minimum, BHS),
    _op("addp", 0, 0b10111, lanes.add, signed=False),
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


_BYTES = {"<T>": ("8b", "16b")}


@simd("0 Q 0 01110 00 1 Rm 00011 1 Rn Rd", "and {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", name="and_vector", each=[_BYTES])
def and_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn & Rm)


@simd("0 Q 0 01110 01 1 Rm 00011 1 Rn Rd", "bic {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES])
def bic_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn & ~Rm)


@simd("0 Q 0 01110 10 1 Rm 00011 1 Rn Rd", "orr {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES], alias=_mov_vector)
def orr_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn | Rm)


@simd("0 Q 0 01110 11 1 Rm 00011 1 Rn Rd", "orn {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES])
def orn_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn | ~Rm)


@simd("0 Q 1 01110 00 1 Rm 00011 1 Rn Rd", "eor {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES])
def eor_vector(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, Rn ^ Rm)


@simd("0 Q 1 01110 01 1 Rm 00011 1 Rn Rd", "bsl {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES])
def bsl(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, Rm ^ ((Rm ^ Rn) & Rd))


@simd("0 Q 1 01110 10 1 Rm 00011 1 Rn Rd", "bit {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES])
def bit(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, Rd ^ ((Rd ^ Rn) & Rm))


@simd("0 Q 1 01110 11 1 Rm 00011 1 Rn Rd", "bif {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=[_BYTES])
def bif(Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return clip(Q, Rd ^ ((Rd ^ Rn) & ~Rm))


# -- three registers, extra: RDM and dot products

RDM: tuple[Row, ...] = (
    {**_op("sqrdmlah", 1, 0, lanes.qrdmlah, HS, signed=True), "OP": "0000", "extension": "rdm"},
    {**_op("sqrdmlsh", 1, 1, lanes.qrdmlsh, HS, signed=True), "OP": "0001", "extension": "rdm"},
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
    _op("cls", 0, 0b00100, lanes.cls, BHS),
    _op("clz", 1, 0b00100, lanes.count_zeros, BHS),
    _op("cnt", 0, 0b00101, lanes.count_ones, BYTES, signed=False),
    _op("sqabs", 0, 0b00111, lanes.qabs),
    _op("sqneg", 1, 0b00111, lanes.qneg, signed=True),
    _op("abs", 0, 0b01011, lanes.absolute),
    _op("neg", 1, 0b01011, lanes.neg, signed=False),
)
ZERO: tuple[Row, ...] = (
    _op("cmgt", 0, 0b01000, lanes.cmgt0),
    _op("cmge", 1, 0b01000, lanes.cmge0, signed=True),
    _op("cmeq", 0, 0b01001, lanes.cmeq0),
    _op("cmle", 1, 0b01001, lanes.cmle0, signed=True),
    _op("cmlt", 0, 0b01010, lanes.cmlt0),
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
    _op("suqadd", 0, 0b00011, lanes.suqadd),
    _op("usqadd", 1, 0b00011, lanes.suqadd),
)


@simd("0 Q U 01110 size 10000 OP 10 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>", each=typed(UPWARDS))
def upwards(h: Core, Q: Bits, Rd: V, Rn: V) -> V:
    return clip(Q, map2(h, T, op, taken(Q, Rd), taken(Q, Rn)))


@simd("01 U 11110 size 10000 OP 10 Rn Rd", "<op> {Rd}, {Rn}", each=typed(UPWARDS))
def upwards_scalar(h: Core, Rd: F, Rn: F) -> F:
    return T.unsigned_type(op(h, T, T(Rd), T(Rn)))


@simd("0 Q 1 01110 00 10000 00101 10 Rn Rd", "mvn {Rd}.<T>, {Rn}.<T>", each=[_BYTES])
def not_(Q: Bits, Rn: V) -> V:
    return clip(Q, ~Rn)


@simd("0 Q 1 01110 01 10000 00101 10 Rn Rd", "rbit {Rd}.<T>, {Rn}.<T>", each=[_BYTES])
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
            _op("xtn", 0, 0b10010, lanes.xtn, signed=False),
            _op("sqxtun", 1, 0b10010, lanes.qxtun, signed=True),
            _op("sqxtn", 0, 0b10100, lanes.qxtn),
            _op("uqxtn", 1, 0b10100, lanes.qxtn),
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


# -- shift by immediate

_IMM: tuple[Row, ...] = tuple({**r, "IMM": imm} for r, imm in zip(LANES, ("0001 imm[2:0]", "001 imm[3:0]", "01 imm[4:0]", "1 imm[5:0]"), strict=True))


def _shifts(*ops: Row, sizes: Iterable[Row] = _IMM) -> list[Row]:
    return [{**r, "K": r["T"].bits} for r in typed(ops, sizes)]


RIGHT = _shifts(
    _op("sshr", 0, 0b00000, lanes.shr_n),
    _op("ushr", 1, 0b00000, lanes.shr_n),
    _op("srshr", 0, 0b00100, lanes.rshr_n),
    _op("urshr", 1, 0b00100, lanes.rshr_n),
)
RIGHT_INTO = _shifts(
    _op("ssra", 0, 0b00010, lanes.sra_n),
    _op("usra", 1, 0b00010, lanes.sra_n),
    _op("srsra", 0, 0b00110, lanes.rsra_n),
    _op("ursra", 1, 0b00110, lanes.rsra_n),
    _op("sri", 1, 0b01000, lanes.sri_n),
)
LEFT = _shifts(
    _op("shl", 0, 0b01010, lanes.shl_n, signed=False),
    _op("sqshlu", 1, 0b01100, lanes.qshlu_n, signed=True),
    _op("sqshl", 0, 0b01110, lanes.qshl_n),
    _op("uqshl", 1, 0b01110, lanes.qshl_n),
)
LEFT_INTO = _shifts(_op("sli", 1, 0b01010, lanes.sli_n))


def _only_d(rows: Iterable[Row]) -> list[Row]:
    return [r for r in rows if r["size"] == "11" or r["<op>"] in ("sqshlu", "sqshl", "uqshl")]


@simd("0 Q U 011110 IMM OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, #{right}", each=RIGHT)
def shift_right(h: Core, Q: Bits, Rn: V, imm: Bits) -> V:
    return clip(Q, shift1(h, T, op, Rn, K - imm))


@simd("01 U 111110 IMM OP 1 Rn Rd", "<op> {Rd}, {Rn}, #{right}", each=_only_d(RIGHT))
def shift_right_scalar(h: Core, Rn: F, imm: Bits) -> F:
    return T.unsigned_type(op(h, T, T(Rn), K - imm))


@simd("0 Q U 011110 IMM OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, #{right}", each=RIGHT_INTO)
def shift_right_into(h: Core, Q: Bits, Rd: V, Rn: V, imm: Bits) -> V:
    return clip(Q, shift2(h, T, op, Rd, Rn, K - imm))


@simd("01 U 111110 IMM OP 1 Rn Rd", "<op> {Rd}, {Rn}, #{right}", each=_only_d(RIGHT_INTO))
def shift_right_into_scalar(h: Core, Rd: F, Rn: F, imm: Bits) -> F:
    return T.unsigned_type(op(h, T, T(Rd), T(Rn), K - imm))


@simd("0 Q U 011110 IMM OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, #{imm}", each=LEFT)
def shift_left(h: Core, Q: Bits, Rn: V, imm: Bits) -> V:
    return clip(Q, shift1(h, T, op, taken(Q, Rn), imm))


@simd("01 U 111110 IMM OP 1 Rn Rd", "<op> {Rd}, {Rn}, #{imm}", each=_only_d(LEFT))
def shift_left_scalar(h: Core, Rn: F, imm: Bits) -> F:
    return T.unsigned_type(op(h, T, T(Rn), imm))


@simd("0 Q U 011110 IMM OP 1 Rn Rd; COND", "<op> {Rd}.<T>, {Rn}.<T>, #{imm}", each=LEFT_INTO)
def shift_left_into(h: Core, Q: Bits, Rd: V, Rn: V, imm: Bits) -> V:
    return clip(Q, shift2(h, T, op, Rd, Rn, imm))


@simd("01 U 111110 IMM OP 1 Rn Rd", "<op> {Rd}, {Rn}, #{imm}", each=_only_d(LEFT_INTO))
def shift_left_into_scalar(h: Core, Rd: F, Rn: F, imm: Bits) -> F:
    return T.unsigned_type(op(h, T, T(Rd), T(Rn), imm))


_NARROW_IMM = tuple({**r, **{k: n[k] for k in ("<Ta>", "<Tb>", "<q>", "G")}} for r, n in zip(_IMM, NARROW[:3], strict=False))
SHIFT_NARROW = _shifts(
    _op("shrn", 0, 0b10000, lanes.shrn, signed=False),
    _op("rshrn", 0, 0b10001, lanes.rshrn, signed=False),
    _op("sqshrun", 1, 0b10000, lanes.qshrun, signed=True),
    _op("sqrshrun", 1, 0b10001, lanes.qrshrun, signed=True),
    _op("sqshrn", 0, 0b10010, lanes.qshrn),
    _op("sqrshrn", 0, 0b10011, lanes.qrshrn),
    _op("uqshrn", 1, 0b10010, lanes.qshrn),
    _op("uqrshrn", 1, 0b10011, lanes.qrshrn),
    sizes=_NARROW_IMM,
)


@simd("0 Q U 011110 IMM OP 1 Rn Rd", "<op><q> {Rd}.<Tb>, {Rn}.<Ta>, #{right}", each=SHIFT_NARROW)
def shift_narrow(h: Core, Q: Bits, Rd: V, Rn: V, imm: Bits) -> V:
    return into_half(Q, Rd, narrow(h, T, op, Rn, K - imm))


@simd("01 U 111110 IMM OP 1 Rn Rd", "<op> {Rd}, {Rn}, #{right}", each=[r for r in SHIFT_NARROW if r["<op>"] not in ("shrn", "rshrn")])
def shift_narrow_scalar(h: Core, Rn: G, imm: Bits) -> F:
    return T.unsigned_type(op(h, T, WIDER[T](Rn), K - imm))


def _sxtl(s: Shown) -> str | None:
    q = s["Q"]
    return f"<s>xtl<q> {{Rd}}.{s['<Ta>']}, {{Rn}}.{s['<Tb>'][q]}".replace("<s>", s["<s>"]).replace("<q>", s["<q>"][q]) if not s["imm"] else None


SHIFT_LONG = _shifts(
    {**_op("sshll", 0, 0b10100, lanes.shl_n), "<s>": "s"}, {**_op("ushll", 1, 0b10100, lanes.shl_n), "<s>": "u"}, sizes=_NARROW_IMM
)


@simd("0 Q U 011110 IMM OP 1 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, #{imm}", each=SHIFT_LONG, alias=_sxtl)
def shift_long(h: Core, Q: Bits, Rn: V, imm: Bits) -> V:
    return shift1(h, WIDER[T], lanes.shl_n, widen(T, half(Q, Rn)), imm)


# -- three registers of different types

_SIGNS = ({"name": "s", "<s>": "s", "U": "0", "SIGNED": True}, {"name": "u", "<s>": "u", "U": "1", "SIGNED": False})
_LONGER = tuple({**r, "<Ta>": n["<Ta>"], "<Tb>": r["<T>"], "<q>": ("", "2"), "G": n["G"]} for r, n in zip(LANES, NARROW[:3], strict=False))


def _different(*ops: tuple[str, str, Callable[..., Any]]) -> list[Row]:
    return [{**r, "<op>": r["<s>"] + r["<op>"]} for r in typed(cross(_SIGNS, [{"name": n, "<op>": n, "OP": o, "op": f} for n, o, f in ops]), _LONGER)]


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, {Rm}.<Tb>",
      each=_different(("addl", "0000", lanes.add), ("subl", "0010", lanes.sub), ("abdl", "0111", lanes.abd), ("mull", "1100", lanes.mul)))  # fmt: skip
def long(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return map2(h, WIDER[T], op, widen(T, half(Q, Rn)), widen(T, half(Q, Rm)))


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Ta>, {Rm}.<Tb>",
      each=_different(("addw", "0001", lanes.add), ("subw", "0011", lanes.sub)))  # fmt: skip
def wide(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return map2(h, WIDER[T], op, Rn, widen(T, half(Q, Rm)))


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, {Rm}.<Tb>",
      each=_different(("abal", "0101", lanes.aba), ("mlal", "1000", lanes.mla), ("mlsl", "1010", lanes.mls)))  # fmt: skip
def long_into(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return map3(h, WIDER[T], op, Rd, widen(T, half(Q, Rn)), widen(T, half(Q, Rm)))


def highest(h: Core, t: type[Any], a: Word, n: u32) -> Any:
    return t(a >> t.bits)


def highest_rounded(h: Core, t: type[Any], a: Word, n: u32) -> Any:
    return t(a + (1 << t.bits - 1) >> t.bits)


HIGH: tuple[Row, ...] = tuple(
    typed(
        (
            {**_op("addhn", 0, 0, lanes.add, signed=False), "OP": "0100", "PICK": highest},
            {**_op("raddhn", 1, 0, lanes.add), "OP": "0100", "PICK": highest_rounded},
            {**_op("subhn", 0, 0, lanes.sub, signed=False), "OP": "0110", "PICK": highest},
            {**_op("rsubhn", 1, 0, lanes.sub), "OP": "0110", "PICK": highest_rounded},
        ),
        _LONGER,
    )
)
PICK: Callable[..., Any] = highest


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Tb>, {Rn}.<Ta>, {Rm}.<Ta>", each=HIGH)
def high_narrow(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return into_half(Q, Rd, narrow(h, T, PICK, map2(h, WIDER[T], op, Rn, Rm), u32(0)))


DOUBLING: tuple[Row, ...] = tuple(
    typed(
        (
            {**_op("sqdmlal", 0, 0, lanes.qdmlal), "OP": "1001", "EOP": "0011"},
            {**_op("sqdmlsl", 0, 0, lanes.qdmlsl), "OP": "1011", "EOP": "0111"},
        ),
        _LONGER[1:],
    )
)
SQDMULL: tuple[Row, ...] = tuple(typed(({**_op("sqdmull", 0, 0, lanes.qdmull), "OP": "1101", "EOP": "1011"},), _LONGER[1:]))


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, {Rm}.<Tb>", each=DOUBLING)
def doubling_into(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return map3(h, WIDER[T], op, Rd, widen(T, half(Q, Rn)), widen(T, half(Q, Rm)))


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, {Rm}.<Tb>", each=SQDMULL)
def doubling(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return map2(h, WIDER[T], op, widen(T, half(Q, Rn)), widen(T, half(Q, Rm)))


@simd("01 U 11110 size 1 Rm OP 00 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=DOUBLING)
def doubling_into_scalar(h: Core, Rd: G, Rn: F, Rm: F) -> G:
    w = WIDER[T]
    return w.unsigned_type(op(h, w, w(Rd), w(T(Rn)), w(T(Rm))))


@simd("01 U 11110 size 1 Rm OP 00 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=SQDMULL)
def doubling_scalar(h: Core, Rn: F, Rm: F) -> G:
    w = WIDER[T]
    return w.unsigned_type(op(h, w, w(T(Rn)), w(T(Rm))))


@simd("0 Q 0 01110 00 1 Rm 1110 00 Rn Rd", "pmull<q> {Rd}.8h, {Rn}.<Tb>, {Rm}.<Tb>", each=[{"<q>": ("", "2"), "<Tb>": ("8b", "16b")}])
def pmull(h: Core, Q: Bits, Rn: V, Rm: V) -> V:
    return map2(h, u16, lanes.pmul, widen(u8, half(Q, Rn)), widen(u8, half(Q, Rm)))


# -- by element

_ELEMENT: dict[str, Row] = {
    "01": {"INDEX": "index[1:0] Rm[3:0]", "HIGH": "index[2]"},
    "10": {"INDEX": "index[0] Rm", "HIGH": "index[1]"},
}


def _by_element(rows: Iterable[Row]) -> list[Row]:
    return [{**r, **_ELEMENT[r["size"]], "<e>": r["name"][-1]} for r in rows if r["size"] in _ELEMENT]


ELEMENT = _by_element(
    typed(
        (
            {**_op("mul", 0, 0, lanes.mul, signed=False), "OP": "1000"},
            {**_op("sqdmulh", 0, 0, lanes.qdmulh), "OP": "1100"},
            {**_op("sqrdmulh", 0, 0, lanes.qrdmulh), "OP": "1101"},
        )
    )
)
ELEMENT_INTO = _by_element(
    typed(
        (
            {**_op("mla", 1, 0, lanes.mla), "OP": "0000"},
            {**_op("mls", 1, 0, lanes.mls), "OP": "0100"},
            {**_op("sqrdmlah", 1, 0, lanes.qrdmlah, signed=True), "OP": "1101", "extension": "rdm"},
            {**_op("sqrdmlsh", 1, 0, lanes.qrdmlsh, signed=True), "OP": "1111", "extension": "rdm"},
        )
    )
)


@simd("0 Q U 01111 size INDEX OP HIGH 0 Rn Rd", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<e>[{index}]", each=ELEMENT)
def by_element(h: Core, Q: Bits, Rn: V, Rm: V, index: Bits) -> V:
    return clip(Q, map2(h, T, op, taken(Q, Rn), all_lanes(T, at(T, Rm, index))))


@simd("0 Q U 01111 size INDEX OP HIGH 0 Rn Rd", "<op> {Rd}.<T>, {Rn}.<T>, {Rm}.<e>[{index}]", each=ELEMENT_INTO)
def by_element_into(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    return clip(Q, map3(h, T, op, Rd, taken(Q, Rn), all_lanes(T, at(T, Rm, index))))


@simd("01 U 11111 size INDEX OP HIGH 0 Rn Rd", "<op> {Rd}, {Rn}, {Rm_v}.<e>[{index}]", each=[r for r in ELEMENT if r["<op>"] != "mul"])
def by_element_scalar(h: Core, Rn: F, Rm: V, index: Bits) -> F:
    return T.unsigned_type(op(h, T, T(Rn), at(T, Rm, index)))


@simd("01 U 11111 size INDEX OP HIGH 0 Rn Rd", "<op> {Rd}, {Rn}, {Rm_v}.<e>[{index}]", each=[r for r in ELEMENT_INTO if "extension" in r])
def by_element_into_scalar(h: Core, Rd: F, Rn: F, Rm: V, index: Bits) -> F:
    return T.unsigned_type(op(h, T, T(Rd), T(Rn), at(T, Rm, index)))


_mull = [{**r, "name": r["name"]} for r in _different(("mull", "1010", lanes.mul))]
_mlal = _different(("mlal", "0010", lanes.mla), ("mlsl", "0110", lanes.mls))


@simd("0 Q U 01111 size INDEX OP HIGH 0 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, {Rm}.<e>[{index}]",
      each=_by_element([*_mull, *({**r, "OP": r["EOP"]} for r in SQDMULL)]))  # fmt: skip
def by_element_long(h: Core, Q: Bits, Rn: V, Rm: V, index: Bits) -> V:
    w = WIDER[T]
    return map2(h, w, op, widen(T, half(Q, Rn)), all_lanes(w, w(at(T, Rm, index))))


@simd("0 Q U 01111 size INDEX OP HIGH 0 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, {Rm}.<e>[{index}]",
      each=_by_element([*_mlal, *({**r, "OP": r["EOP"]} for r in DOUBLING)]))  # fmt: skip
def by_element_long_into(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V, index: Bits) -> V:
    w = WIDER[T]
    return map3(h, w, op, Rd, widen(T, half(Q, Rn)), all_lanes(w, w(at(T, Rm, index))))


@simd("01 U 11111 size INDEX EOP HIGH 0 Rn Rd", "<op> {Rd}, {Rn}, {Rm_v}.<e>[{index}]", each=_by_element(SQDMULL))
def by_element_doubling_scalar(h: Core, Rn: F, Rm: V, index: Bits) -> G:
    w = WIDER[T]
    return w.unsigned_type(op(h, w, w(T(Rn)), w(at(T, Rm, index))))


@simd("01 U 11111 size INDEX EOP HIGH 0 Rn Rd", "<op> {Rd}, {Rn}, {Rm_v}.<e>[{index}]", each=_by_element(DOUBLING))
def by_element_doubling_into_scalar(h: Core, Rd: G, Rn: F, Rm: V, index: Bits) -> G:
    w = WIDER[T]
    return w.unsigned_type(op(h, w, w(Rd), w(T(Rn)), w(at(T, Rm, index))))


# -- across lanes


def fold(h: Core, t: type[Any], op: Callable[..., Any], a: u128, count: int) -> Any:
    r = lane(t, a, 0)
    for i in range(1, count):
        r = op(h, t, r, lane(t, a, i))
    return r


_ACROSS = [{**r, "COND": "Q!=0" if r["size"] == "10" else ""} for r in LANES[:3]]
ACROSS = typed(
    (
        _op("smaxv", 0, 0b01010, lanes.maximum),
        _op("umaxv", 1, 0b01010, lanes.maximum),
        _op("sminv", 0, 0b11010, lanes.minimum),
        _op("uminv", 1, 0b11010, lanes.minimum),
        _op("addv", 0, 0b11011, lanes.add, signed=False),
    ),
    _ACROSS,
)
ADDLV = [{**r, "G": n["G"]} for r in typed(_SIGNS, _ACROSS) for n in _LONGER if n["size"] == r["size"]]


@simd("0 Q U 01110 size 11000 OP 10 Rn Rd; COND", "<op> {Rd}, {Rn}.<T>", each=ACROSS)
def across(h: Core, Q: Bits, Rn: V) -> F:
    count = 64 // T.bits
    r = fold(h, T, op, Rn, count)
    if Q != 0:
        r = op(h, T, r, fold(h, T, op, Rn >> 64, count))
    return T.unsigned_type(r)


@simd("0 Q U 01110 size 11000 00011 10 Rn Rd; COND", "<s>addlv {Rd}, {Rn}.<T>", each=ADDLV)
def addlv(h: Core, Q: Bits, Rn: V) -> G:
    w = WIDER[T]
    total = fold(h, w, lanes.add, widen(T, Rn), 64 // T.bits)
    if Q != 0:
        total = total + fold(h, w, lanes.add, widen(T, Rn >> 64), 64 // T.bits)
    return w.unsigned_type(total)


# -- copies

_COPY: tuple[Row, ...] = tuple(
    {**r, "IMM": imm, "IMM4": imm4, "<e>": r["name"], "T": r["U_"], "N": r["S_"]}
    for r, imm, imm4 in zip(
        LANES,
        ("index[3:0] 1", "index[2:0] 10", "index[1:0] 100", "index[0] 1000"),
        ("from[3:0]", "from[2:0] x", "from[1:0] xx", "from[0] xxx"),
        strict=True,
    )
)


@simd("0 Q 0 01110000 IMM 0 0000 1 Rn Rd; COND", "dup {Rd}.<T>, {Rn}.<e>[{index}]", each=_COPY)
def dup_element(Q: Bits, Rn: V, index: Bits) -> V:
    return clip(Q, all_lanes(T, at(T, Rn, index)))


@simd("01 0 11110000 IMM 0 0000 1 Rn Rd", "mov {Rd}, {Rn}.<e>[{index}]", each=_COPY)
def dup_scalar(Rn: V, index: Bits) -> F:
    return at(T, Rn, index)


_FROM = tuple({**r, "R": X if r["name"] == "d" else W, "IMM5": {"b": "xxxx1", "h": "xxx10", "s": "xx100", "d": "x1000"}[r["name"]]} for r in _COPY)
R = W


@simd("0 Q 0 01110000 IMM5 0 0001 1 Rn Rd; COND", "dup {Rd}.<T>, {Rn}", each=_FROM)
def dup_general(Q: Bits, Rn: R) -> V:
    return clip(Q, all_lanes(T, T(Rn)))


@simd("0 1 0 01110000 IMM 0 0011 1 Rn Rd", "mov {Rd}.<e>[{index}], {Rn}", each=_FROM)
def ins_general(Rd: V, Rn: R, index: Bits) -> V:
    return replaced(T, Rd, T(Rn), index)


@simd("0 1 1 01110000 IMM 0 IMM4 1 Rn Rd", "mov {Rd}.<e>[{index}], {Rn}.<e>[{from}]".replace("{from}", "{source}"),
      each=[{**r, "IMM4": r["IMM4"].replace("from", "source")} for r in _COPY])  # fmt: skip
def ins_element(Rd: V, Rn: V, index: Bits, source: Bits) -> V:
    return replaced(T, Rd, at(T, Rn, source), index)


MOVES_OUT: tuple[Row, ...] = tuple(
    {**r, "name": f"{r['name']}.{n}", "<op>": o, "OP": bits, "QQ": q, "R": kind, "fx": word, "T": r["S_"] if bits == "0101" else r["U_"]}
    for n, bits, q, kind, word, names in (
        ("s.w", "0101", "0", W, u32, "bh"),
        ("s.x", "0101", "1", X, u64, "bhs"),
        ("u.w", "0111", "0", W, u32, "bhs"),
        ("u.x", "0111", "1", X, u64, "d"),
    )
    for r in _COPY
    if r["name"] in names
    for o in ["smov" if bits == "0101" else "mov" if r["name"] in "sd" else "umov"]
)


@simd("0 QQ 0 01110000 IMM 0 OP 1 Rn Rd", "<op> {Rd}, {Rn}.<e>[{index}]", each=MOVES_OUT)
def mov_out(Rn: V, index: Bits) -> R:
    return fx(at(T, Rn, index))


# -- permutations


def zip2(t: type[Any], n: u128, m: u128) -> u128:
    return spread(t, n >> 64, m >> 64)


_PERMUTE = [{**r, "T": r["U_"]} for r in LANES]


@simd("0 Q 0 01110 size 0 Rm 0 001 10 Rn Rd; COND", "uzp1 {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=_PERMUTE)
def uzp1(Q: Bits, Rn: V, Rm: V) -> V:
    n = Rn if Q != 0 else joined(Rn, Rm)
    return clip(Q, even(T, n, Rm))


@simd("0 Q 0 01110 size 0 Rm 0 101 10 Rn Rd; COND", "uzp2 {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=_PERMUTE)
def uzp2(Q: Bits, Rn: V, Rm: V) -> V:
    n = Rn if Q != 0 else joined(Rn, Rm)
    return clip(Q, odd(T, n, Rm))


@simd("0 Q 0 01110 size 0 Rm 0 010 10 Rn Rd; COND", "trn1 {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=_PERMUTE)
def trn1(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, transposed(T, Rn, Rm, 0))


@simd("0 Q 0 01110 size 0 Rm 0 110 10 Rn Rd; COND", "trn2 {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=_PERMUTE)
def trn2(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, transposed(T, Rn, Rm, 1))


@simd("0 Q 0 01110 size 0 Rm 0 011 10 Rn Rd; COND", "zip1 {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", each=_PERMUTE)
def zip1(Q: Bits, Rn: V, Rm: V) -> V:
    return clip(Q, spread(T, Rn, Rm))


@simd("0 Q 0 01110 size 0 Rm 0 111 10 Rn Rd; COND", "zip2 {Rd}.<T>, {Rn}.<T>, {Rm}.<T>", name="zip2", each=_PERMUTE)
def zip2_vector(Q: Bits, Rn: V, Rm: V) -> V:
    shift = 32 + (Q << 5)  # half of the vector
    return clip(Q, spread(T, Rn >> shift, Rm >> shift))


@simd("0 1 1 01110 00 0 Rm 0 imm4 0 Rn Rd", "ext {Rd}.16b, {Rn}.16b, {Rm}.16b, #{imm4}", name="ext.16b")
def ext_16b(Rn: V, Rm: V, imm4: Bits) -> V:
    return Rn >> imm4 * 8 | Rm << 128 - imm4 * 8


@simd("0 0 1 01110 00 0 Rm 0 0 imm3 0 Rn Rd", "ext {Rd}.8b, {Rn}.8b, {Rm}.8b, #{imm3}", name="ext.8b")
def ext_8b(Rn: V, Rm: V, imm3: Bits) -> V:
    return u128(u64(joined(Rn, Rm) >> imm3 * 8))


TABLES: tuple[Row, ...] = tuple({"name": str(k), "LEN": f"{k - 1:02b}", "K": k, **_BYTES} for k in range(1, 5))


def look_up(h: Core, first: u32, count: int, indices: u128, otherwise: u128) -> u128:
    """TBL: bytes of `count` registers from `first` on, by number; numbers beyond them leave `otherwise`."""
    r = u128(0)
    for i in range(16):
        n = u32(lane(u8, indices, i))
        x = lane(u8, otherwise, i)
        if n < 16 * count:
            x = u8(h.q[(first + (n >> 4)) & 31] >> (n & 15) * 8)
        r = r | put(u8, x, i)
    return r


@simd("0 Q 0 01110 00 0 Rm 0 LEN 0 00 Rn[4:0] Rd", "tbl {Rd}.<T>, {table}, {Rm}.<T>", each=TABLES)
def tbl(h: Core, Q: Bits, Rn: Bits, Rm: V) -> V:
    return clip(Q, look_up(h, Rn, K, Rm, u128(0)))


@simd("0 Q 0 01110 00 0 Rm 0 LEN 1 00 Rn[4:0] Rd", "tbx {Rd}.<T>, {table}, {Rm}.<T>", each=TABLES)
def tbx(h: Core, Q: Bits, Rd: V, Rn: Bits, Rm: V) -> V:
    return clip(Q, look_up(h, Rn, K, Rm, Rd))


# -- immediates

_I8 = "imm8[7:5]"
_SHIFTED = tuple(
    {**r, "name": f"{r['name']}.{op}", "OPX": o, "<op>": op}
    for r in (
        {"name": "s", "CMODE": "0 amount[4:3] 0", "T": u32, "<T>": ("2s", "4s")},
        {"name": "h", "CMODE": "10 amount[3] 0", "T": u16, "<T>": ("4h", "8h")},
    )
    for o, op in (("0", "movi"), ("1", "mvni"))
)
_MERGED = tuple(
    {**r, "name": f"{r['name'][0]}.{op}", "<op>": op, "CMODE": r["CMODE"][:-1] + "1"} for r in _SHIFTED for op in [{"0": "orr", "1": "bic"}[r["OPX"]]]
)
INVERT = False


@simd("0 Q OPX 0111100000 imm8[7:5] CMODE 0 1 imm8[4:0] Rd", "<op> {Rd}.<T>, #{imm8}{lsl_amount}", each=[{**r, "INVERT": r["OPX"] == "1"} for r in _SHIFTED])
def movi_shifted(Q: Bits, imm8: Bits, amount: Bits) -> V:
    x = T(T(imm8) << amount)
    return clip(Q, all_lanes(T, ~x if INVERT else x))


@simd("0 Q OPX 0111100000 imm8[7:5] CMODE 0 1 imm8[4:0] Rd", "<op> {Rd}.<T>, #{imm8}{lsl_amount}", each=[{**r, "INVERT": r["OPX"] == "1"} for r in _MERGED])
def merge_shifted(Q: Bits, Rd: V, imm8: Bits, amount: Bits) -> V:
    x = all_lanes(T, T(T(imm8) << amount))
    return clip(Q, Rd & ~x if INVERT else Rd | x)


_ONES = tuple({"name": op, "<op>": op, "OPX": o, "INVERT": o == "1", "<T>": ("2s", "4s")} for o, op in (("0", "movi"), ("1", "mvni")))


@simd("0 Q OPX 0111100000 imm8[7:5] 110 amount[3] 0 1 imm8[4:0] Rd", "<op> {Rd}.<T>, #{imm8}, msl #{msl}", each=_ONES)
def movi_ones(Q: Bits, imm8: Bits, amount: Bits) -> V:
    n = amount + 8
    x = imm8 << n | (u32(1) << n) - 1
    return clip(Q, all_lanes(u32, ~x if INVERT else x))


@simd("0 Q 0 0111100000 imm8[7:5] 1110 0 1 imm8[4:0] Rd", "movi {Rd}.<T>, #{imm8}", each=[_BYTES])
def movi_bytes(Q: Bits, imm8: Bits) -> V:
    return clip(Q, all_lanes(u8, u8(imm8)))


def byte_mask(imm8: u32) -> u64:
    """Each bit makes a byte."""
    x = u64(imm8)
    x = (x | x << 28) & 0x0000_000F_0000_000F
    x = (x | x << 14) & 0x0003_0003_0003_0003
    x = (x | x << 7) & 0x0101_0101_0101_0101
    return x * 255


@simd("0 0 1 0111100000 imm8[7:5] 1110 0 1 imm8[4:0] Rd", "movi {Rd}, #{bytemask}")
def movi_d(imm8: Bits) -> D:
    return byte_mask(imm8)


@simd("0 1 1 0111100000 imm8[7:5] 1110 0 1 imm8[4:0] Rd", "movi {Rd}.2d, #{bytemask}")
def movi_2d(imm8: Bits) -> V:
    return all_lanes(u64, byte_mask(imm8))
