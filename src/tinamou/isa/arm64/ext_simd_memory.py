"""Loads and stores of structures.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.94 (Advanced SIMD load/store), C7.2.

The base register and the post-index register are fields here, not operands: 31 is SP for one and "the size of what is accessed" for the
other.
"""

from __future__ import annotations

from typing import Any

from tinamou.native.ops import outlined
from tinamou.native.types import Word, u8, u16, u32, u64, u128

from .lanes import all_lanes, at, clip, lane, put, replaced
from .memory import check_store, checked, join, settled
from .operands import Bits, Row, a64, cross
from .state import Core

simd = a64.extension("simd")

# What tables bind.
T: type[Word] = Word
COUNT = 0
POST = False
BYTES = 0

MODES: tuple[Row, ...] = (
    {"name": "", "MODE": "0", "MM": "00000", "POST": False, "<post>": ""},
    {"name": "post", "MODE": "1", "MM": "Rm", "POST": True, "<post>": "{post}"},
)
SIZES: tuple[Row, ...] = tuple({"name": n, "size": f"{k:02b}", "T": t, "<e>": n} for k, (n, t) in enumerate([("b", u8), ("h", u16), ("s", u32), ("d", u64)]))


def base(h: Core, Rn: u32) -> u64:
    """The base register: Core.x has SP behind the zero of register 31."""
    return h.x[Rn + u32(Rn == 31)]


def step(h: Core, Rn: u32, Rm: u32, size: int) -> None:
    """Post-index: by a register, or by the size."""
    h.x[Rn + u32(Rn == 31)] = base(h, Rn) + (u64(size) if Rm == 31 else h.x[Rm])


def load16(h: Core, where: u64, whole: bool) -> u128:
    """16 bytes, or 8."""
    low = settled(h.load(u64, where))
    return join(low, settled(h.load(u64, where + 8))) if whole else u128(low)


def store16(h: Core, where: u64, whole: bool, v: u128) -> None:
    h.store(u64, where, u64(v))
    if whole:
        h.store(u64, where + 8, u64(v >> 64))


# -- LD1 and ST1 of one to four registers: elements in order, so that their size does not matter

ONES: tuple[Row, ...] = tuple(
    {"name": f"{k}.{16 if q else 8}", "COUNT": k, "OP": op, "QQ": str(q), "BYTES": 16 if q else 8, "STEP": 16 * k if q else 8 * k}
    for k, op in ((1, "0111"), (2, "1010"), (3, "0110"), (4, "0010"))
    for q in (0, 1)
)


@simd("0 QQ 001100 MODE 1 0 MM OP size[1:0] Rn[4:0] Rt[4:0]", "ld1 {list}, [{base}]<post>", each=cross(ONES, [MODES[1]]))
def ld1_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    where = checked(h, base(h, Rn), COUNT * BYTES, False)
    a = load16(h, where, BYTES == 16)
    b = load16(h, where + BYTES, BYTES == 16) if COUNT > 1 else a
    c = load16(h, where + 2 * BYTES, BYTES == 16) if COUNT > 2 else a
    d = load16(h, where + 3 * BYTES, BYTES == 16) if COUNT > 3 else a
    write_list(h, Rt, COUNT, a, b, c, d)
    step(h, Rn, Rm, COUNT * BYTES)


@simd("0 QQ 001100 MODE 1 0 MM OP size[1:0] Rn[4:0] Rt[4:0]", "ld1 {list}, [{base}]<post>", each=cross(ONES, [MODES[0]]))
def ld1(h: Core, Rn: Bits, Rt: Bits) -> None:
    where = checked(h, base(h, Rn), COUNT * BYTES, False)
    a = load16(h, where, BYTES == 16)
    b = load16(h, where + BYTES, BYTES == 16) if COUNT > 1 else a
    c = load16(h, where + 2 * BYTES, BYTES == 16) if COUNT > 2 else a
    d = load16(h, where + 3 * BYTES, BYTES == 16) if COUNT > 3 else a
    write_list(h, Rt, COUNT, a, b, c, d)


def write_list(h: Core, Rt: u32, count: int, a: u128, b: u128, c: u128, d: u128) -> None:
    h.q[Rt] = a
    if count > 1:
        h.q[(Rt + 1) & 31] = b
    if count > 2:
        h.q[(Rt + 2) & 31] = c
    if count > 3:
        h.q[(Rt + 3) & 31] = d


def store_list(h: Core, count: int, size: int, Rn: u32, Rt: u32) -> None:
    where = checked(h, base(h, Rn), count * size, True)
    check_store(h, where, count * size)
    for i in range(count):
        store16(h, where + i * size, size == 16, h.q[(Rt + i) & 31])


@simd("0 QQ 001100 MODE 0 0 MM OP size[1:0] Rn[4:0] Rt[4:0]", "st1 {list}, [{base}]<post>", each=cross(ONES, [MODES[0]]))
def st1(h: Core, Rn: Bits, Rt: Bits) -> None:
    store_list(h, COUNT, BYTES, Rn, Rt)


@simd("0 QQ 001100 MODE 0 0 MM OP size[1:0] Rn[4:0] Rt[4:0]", "st1 {list}, [{base}]<post>", each=cross(ONES, [MODES[1]]))
def st1_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    store_list(h, COUNT, BYTES, Rn, Rt)
    step(h, Rn, Rm, COUNT * BYTES)


# -- LD2 to LD4, ST2 to ST4: interleaved elements

STRUCTURES: tuple[Row, ...] = tuple(
    {**s, "name": f"{k}.{s['name']}.{16 if q else 8}", "<n>": str(k), "COUNT": k, "OP": op, "QQ": str(q), "BYTES": 16 if q else 8,
     "STEP": 16 * k if q else 8 * k}
    for k, op in ((2, "1000"), (3, "0100"), (4, "0000"))
    for s in SIZES
    for q in (0, 1)
    if q or s["name"] != "d"
)  # fmt: skip


@outlined
def gather(t: type[Any], count: int, first: int, a: u128, b: u128, c: u128, d: u128) -> u128:
    """Every `count`-th element of up to 64 bytes, from `first` on."""
    r = u128(0)
    for i in range(128 // t.bits):
        k = i * count + first
        piece = k * t.bits // 128
        r = r | put(t, lane(t, a if piece == 0 else b if piece == 1 else c if piece == 2 else d, k % (128 // t.bits)), i)
    return r


@outlined
def scatter(t: type[Any], count: int, piece: int, a: u128, b: u128, c: u128, d: u128) -> u128:
    """16 bytes of the interleaved elements of `count` registers, from byte 16 * piece on."""
    r = u128(0)
    for i in range(128 // t.bits):
        k = piece * (128 // t.bits) + i
        which = k % count
        if k // count < 128 // t.bits:
            r = r | put(t, lane(t, a if which == 0 else b if which == 1 else c if which == 2 else d, k // count), i)
    return r


def load_structures(h: Core, t: type[Any], count: int, size: int, Rn: u32, Rt: u32) -> None:
    where = checked(h, base(h, Rn), count * size, False)
    total = count * size
    a = load16(h, where, True)
    b = load16(h, where + 16, total >= 32) if total > 16 else u128(0)
    c = load16(h, where + 32, total >= 48) if total > 32 else u128(0)
    d = load16(h, where + 48, True) if total > 48 else u128(0)
    Q = u32(size >> 4)
    v0, v1 = clip(Q, gather(t, count, 0, a, b, c, d)), clip(Q, gather(t, count, 1, a, b, c, d))
    v2 = clip(Q, gather(t, count, 2, a, b, c, d)) if count > 2 else v0
    v3 = clip(Q, gather(t, count, 3, a, b, c, d)) if count > 3 else v0
    write_list(h, Rt, count, v0, v1, v2, v3)


def store_structures(h: Core, t: type[Any], count: int, size: int, Rn: u32, Rt: u32) -> None:
    where = checked(h, base(h, Rn), count * size, True)
    total = count * size
    a, b = h.q[Rt], h.q[(Rt + 1) & 31]
    c, d = h.q[(Rt + 2) & 31], h.q[(Rt + 3) & 31]
    check_store(h, where, total)
    for i in range((total + 15) // 16):
        store16(h, where + 16 * i, total >= 16 * i + 16, scatter(t, count, i, a, b, c, d))


@simd("0 QQ 001100 MODE 1 0 MM OP size Rn[4:0] Rt[4:0]", "ld<n> {list}, [{base}]<post>", name="ld_structures", each=cross(STRUCTURES, [MODES[0]]))
def ld_structures(h: Core, Rn: Bits, Rt: Bits) -> None:
    load_structures(h, T, COUNT, BYTES, Rn, Rt)


@simd("0 QQ 001100 MODE 1 0 MM OP size Rn[4:0] Rt[4:0]", "ld<n> {list}, [{base}]<post>", each=cross(STRUCTURES, [MODES[1]]))
def ld_structures_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    load_structures(h, T, COUNT, BYTES, Rn, Rt)
    step(h, Rn, Rm, COUNT * BYTES)


@simd("0 QQ 001100 MODE 0 0 MM OP size Rn[4:0] Rt[4:0]", "st<n> {list}, [{base}]<post>", each=cross(STRUCTURES, [MODES[0]]))
def st_structures(h: Core, Rn: Bits, Rt: Bits) -> None:
    store_structures(h, T, COUNT, BYTES, Rn, Rt)


@simd("0 QQ 001100 MODE 0 0 MM OP size Rn[4:0] Rt[4:0]", "st<n> {list}, [{base}]<post>", each=cross(STRUCTURES, [MODES[1]]))
def st_structures_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    store_structures(h, T, COUNT, BYTES, Rn, Rt)
    step(h, Rn, Rm, COUNT * BYTES)


# -- one lane of one to four registers

_COUNTS: tuple[Row, ...] = tuple({"name": str(k), "<n>": str(k), "COUNT": k, "RR": r, "O": o} for k, r, o in ((1, "0", "0"), (2, "1", "0"), (3, "0", "1"), (4, "1", "1")))
_LANES: tuple[Row, ...] = tuple(
    {**s, "QQ": q, "WHERE": where}
    for s, q, where in zip(
        SIZES,
        ("index[3]", "index[2]", "index[1]", "index[0]"),
        ("00 O index[2:0]", "01 O index[1:0] 0", "10 O index[0] 00", "10 O 0 01"),
        strict=True,
    )
)
SINGLE: tuple[Row, ...] = tuple(
    {**r, "WHERE": r["WHERE"].replace("O", r["O"]), "STEP": r["COUNT"] * r["T"].size} for r in cross(_COUNTS, _LANES)
)


def load_lane(h: Core, t: type[Any], count: int, Rn: u32, Rt: u32, index: u32) -> None:
    where = checked(h, base(h, Rn), count * t.size, False)
    a = settled(h.load(t, where))
    b = settled(h.load(t, where + t.size)) if count > 1 else a
    c = settled(h.load(t, where + 2 * t.size)) if count > 2 else a
    d = settled(h.load(t, where + 3 * t.size)) if count > 3 else a
    h.q[Rt] = replaced(t, h.q[Rt], a, index)
    if count > 1:
        h.q[(Rt + 1) & 31] = replaced(t, h.q[(Rt + 1) & 31], b, index)
    if count > 2:
        h.q[(Rt + 2) & 31] = replaced(t, h.q[(Rt + 2) & 31], c, index)
    if count > 3:
        h.q[(Rt + 3) & 31] = replaced(t, h.q[(Rt + 3) & 31], d, index)


def store_lane(h: Core, t: type[Any], count: int, Rn: u32, Rt: u32, index: u32) -> None:
    where = checked(h, base(h, Rn), count * t.size, True)
    if count > 1:
        check_store(h, where, count * t.size)
    for i in range(count):
        h.store(t, where + i * t.size, at(t, h.q[(Rt + i) & 31], index))


@simd("0 QQ 001101 MODE 1 RR MM WHERE Rn[4:0] Rt[4:0]", "ld<n> {lane_list}[{index}], [{base}]<post>", each=cross(SINGLE, [MODES[0]]))
def ld_lane(h: Core, Rn: Bits, Rt: Bits, index: Bits) -> None:
    load_lane(h, T, COUNT, Rn, Rt, index)


@simd("0 QQ 001101 MODE 1 RR MM WHERE Rn[4:0] Rt[4:0]", "ld<n> {lane_list}[{index}], [{base}]<post>", each=cross(SINGLE, [MODES[1]]))
def ld_lane_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits, index: Bits) -> None:
    load_lane(h, T, COUNT, Rn, Rt, index)
    step(h, Rn, Rm, COUNT * T.size)


@simd("0 QQ 001101 MODE 0 RR MM WHERE Rn[4:0] Rt[4:0]", "st<n> {lane_list}[{index}], [{base}]<post>", each=cross(SINGLE, [MODES[0]]))
def st_lane(h: Core, Rn: Bits, Rt: Bits, index: Bits) -> None:
    store_lane(h, T, COUNT, Rn, Rt, index)


@simd("0 QQ 001101 MODE 0 RR MM WHERE Rn[4:0] Rt[4:0]", "st<n> {lane_list}[{index}], [{base}]<post>", each=cross(SINGLE, [MODES[1]]))
def st_lane_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits, index: Bits) -> None:
    store_lane(h, T, COUNT, Rn, Rt, index)
    step(h, Rn, Rm, COUNT * T.size)


# -- one element to all lanes of one to four registers

REPLICATE: tuple[Row, ...] = tuple({**r, "STEP": r["COUNT"] * r["T"].size} for r in cross(_COUNTS, SIZES))


def load_all(h: Core, t: type[Any], count: int, Q: u32, Rn: u32, Rt: u32) -> None:
    where = checked(h, base(h, Rn), count * t.size, False)
    a = settled(h.load(t, where))
    b = settled(h.load(t, where + t.size)) if count > 1 else a
    c = settled(h.load(t, where + 2 * t.size)) if count > 2 else a
    d = settled(h.load(t, where + 3 * t.size)) if count > 3 else a
    va, vb = clip(Q, all_lanes(t, a)), clip(Q, all_lanes(t, b))
    write_list(h, Rt, count, va, vb, clip(Q, all_lanes(t, c)), clip(Q, all_lanes(t, d)))


@simd("0 Q 001101 MODE 1 RR MM 11 O 0 size Rn[4:0] Rt[4:0]", "ld<n>r {list}, [{base}]<post>", each=cross(REPLICATE, [MODES[0]]))
def ld_all(h: Core, Q: Bits, Rn: Bits, Rt: Bits) -> None:
    load_all(h, T, COUNT, Q, Rn, Rt)


@simd("0 Q 001101 MODE 1 RR MM 11 O 0 size Rn[4:0] Rt[4:0]", "ld<n>r {list}, [{base}]<post>", each=cross(REPLICATE, [MODES[1]]))
def ld_all_post(h: Core, Q: Bits, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    load_all(h, T, COUNT, Q, Rn, Rt)
    step(h, Rn, Rm, COUNT * T.size)
