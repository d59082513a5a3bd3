"""Advanced SIMD: across lanes, copies, permutations, modified immediates.  Arm ARM DDI 0487, C4.1.96 and C7.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.native.types import Word, u8, u16, u32, u64, u128

from . import lanes
from .ext_simd import LANES, LONGER, OF_BYTES, SIGNS, operation, simd, typed
from .lanes import (
    WIDER,
    all_lanes,
    at,
    clip,
    even,
    joined,
    lane,
    odd,
    put,
    replaced,
    spread,
    transposed,
    widen,
)
from .operands import Bits, D, Row, V, W, X
from .state import Core

# What tables bind.
T: type[Word] = Word
F = V
G = V
fx: type[Word] = Word
op: Callable[..., Any] = lanes.add
K = 0

# -- across lanes


def fold(h: Core, t: type[Any], op: Callable[..., Any], a: u128, count: int) -> Any:
    r = lane(t, a, 0)
    for i in range(1, count):
        r = op(h, t, r, lane(t, a, i))
    return r


_ACROSS = [{**r, "COND": "Q!=0" if r["size"] == "10" else ""} for r in LANES[:3]]
ACROSS = typed(
    (
        operation("smaxv", 0, 0b01010, lanes.maximum),
        operation("umaxv", 1, 0b01010, lanes.maximum),
        operation("sminv", 0, 0b11010, lanes.minimum),
        operation("uminv", 1, 0b11010, lanes.minimum),
        operation("addv", 0, 0b11011, lanes.add, signed=False),
    ),
    _ACROSS,
)
ADDLV = [{**r, "G": n["G"]} for r in typed(SIGNS, _ACROSS) for n in LONGER if n["size"] == r["size"]]


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


TABLES: tuple[Row, ...] = tuple({"name": str(k), "LEN": f"{k - 1:02b}", "K": k, **OF_BYTES} for k in range(1, 5))


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


@simd("0 Q 0 0111100000 imm8[7:5] 1110 0 1 imm8[4:0] Rd", "movi {Rd}.<T>, #{imm8}", each=[OF_BYTES])
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
