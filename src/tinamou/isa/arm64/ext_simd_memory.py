"""Loads and stores of structures.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.94 (Advanced SIMD load/store), C7.2.

The base register and the post-index register are fields here, not operands: 31 is SP for one and "the size of what is accessed" for the
other.
"""

from __future__ import annotations

from typing import Any

from tinamou.native.ops import outlined, unlikely
from tinamou.native.types import Word, u8, u16, u32, u64, u128

from .lanes import all_lanes, at, clip, lane, put, replaced
from .memory import check_store, checked, checked_tag, join, settle, settled, stacked
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


def address(h: Core, Rn: u32) -> u64:
    """Of an access."""
    at = base(h, Rn)
    if unlikely(Rn == 31):
        stacked(h, at)
    return at


def step(h: Core, Rn: u32, Rm: u32, size: int) -> None:
    """Post-index: by a register, or by the size."""
    h.x[Rn + u32(Rn == 31)] = base(h, Rn) + (u64(size) if Rm == 31 else h.x[Rm])


# What is accessed goes through Core.staging: all of it is read before a register is written.


def fetch(h: Core, where: u64, size: int) -> None:
    """Bytes to Core.staging."""
    for i in range(size // 8):
        h.staging[i] = h.load(u64, where + 8 * i)
        settle()


def flush(h: Core, where: u64, size: int) -> None:
    """Bytes from Core.staging."""
    check_store(h, where, size)
    for i in range(size // 8):
        h.store(u64, where + 8 * i, settled(h.staging[i]))
        settle()


# -- LD1 and ST1 of one to four registers: elements in order, so that their size does not matter

ONES: tuple[Row, ...] = tuple(
    {"name": f"{k}.{16 if q else 8}", "COUNT": k, "OP": op, "QQ": str(q), "BYTES": 16 if q else 8, "STEP": 16 * k if q else 8 * k}
    for k, op in ((1, "0111"), (2, "1010"), (3, "0110"), (4, "0010"))
    for q in (0, 1)
)


def load_list(h: Core, count: int, size: int, Rn: u32, Rt: u32) -> None:
    fetch(h, checked(h, address(h, Rn), count * size, False), count * size)
    for i in range(count):
        v = join(h.staging[2 * i], h.staging[2 * i + 1]) if size == 16 else u128(h.staging[i])
        h.q[(Rt + i) & 31] = v


def store_list(h: Core, count: int, size: int, Rn: u32, Rt: u32) -> None:
    for i in range(count):
        v = h.q[(Rt + i) & 31]
        if size == 16:
            h.staging[2 * i] = u64(v)
            h.staging[2 * i + 1] = u64(v >> 64)
        else:
            h.staging[i] = u64(v)
    flush(h, checked(h, address(h, Rn), count * size, True), count * size)


@simd("0 QQ 001100 MODE 1 0 MM OP size[1:0] Rn[4:0] Rt[4:0]", "ld1 {list}, [{base}]<post>", each=cross(ONES, [MODES[0]]))
def ld1(h: Core, Rn: Bits, Rt: Bits) -> None:
    load_list(h, COUNT, BYTES, Rn, Rt)


@simd("0 QQ 001100 MODE 1 0 MM OP size[1:0] Rn[4:0] Rt[4:0]", "ld1 {list}, [{base}]<post>", each=cross(ONES, [MODES[1]]))
def ld1_post(h: Core, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    load_list(h, COUNT, BYTES, Rn, Rt)
    step(h, Rn, Rm, COUNT * BYTES)


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
def from_structures(h: Core, t: type[Any], count: int, whole: bool, Rt: u32) -> None:
    """Registers from interleaved elements: every count-th is the same register's."""
    per_word = 64 // t.bits
    for first in range(count):
        r = u128(0)
        for i in range(128 // t.bits if whole else per_word):
            k = i * count + first
            r = r | put(t, t(h.staging[k // per_word] >> k % per_word * t.bits), i)
        h.q[(Rt + first) & 31] = r


@outlined
def to_structures(h: Core, t: type[Any], count: int, whole: bool, Rt: u32) -> None:
    per_word = 64 // t.bits
    for n in range(count * 2 if whole else count):
        word = u64(0)
        for i in range(per_word):
            k = n * per_word + i
            word = word | u64(lane(t, h.q[(Rt + k % count) & 31], k // count)) << i * t.bits
        h.staging[n] = word


def load_structures(h: Core, t: type[Any], count: int, size: int, Rn: u32, Rt: u32) -> None:
    # Not direct: the call of check_tags makes LLVM save registers before the loads; it must not do so between a load and its check.
    fetch(h, checked_tag(h, address(h, Rn), count * size, False), count * size)
    from_structures(h, t, count, size == 16, Rt)


def store_structures(h: Core, t: type[Any], count: int, size: int, Rn: u32, Rt: u32) -> None:
    to_structures(h, t, count, size == 16, Rt)
    flush(h, checked(h, address(h, Rn), count * size, True), count * size)


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


def fetch_elements(h: Core, t: type[Any], count: int, Rn: u32) -> None:
    where = checked_tag(h, address(h, Rn), count * t.size, False)  # not direct: see load_structures
    for i in range(count):
        h.staging[i] = u64(h.load(t, where + i * t.size))
        settle()


def load_lane(h: Core, t: type[Any], count: int, Rn: u32, Rt: u32, index: u32) -> None:
    fetch_elements(h, t, count, Rn)
    for i in range(count):
        h.q[(Rt + i) & 31] = replaced(t, h.q[(Rt + i) & 31], t(h.staging[i]), index)


def store_lane(h: Core, t: type[Any], count: int, Rn: u32, Rt: u32, index: u32) -> None:
    for i in range(count):
        h.staging[i] = u64(at(t, h.q[(Rt + i) & 31], index))
    where = checked(h, address(h, Rn), count * t.size, True)
    if count > 1:
        check_store(h, where, count * t.size)
    for i in range(count):
        h.store(t, where + i * t.size, t(settled(h.staging[i])))
        settle()


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
    fetch_elements(h, t, count, Rn)
    for i in range(count):
        h.q[(Rt + i) & 31] = clip(Q, all_lanes(t, t(h.staging[i])))


@simd("0 Q 001101 MODE 1 RR MM 11 O 0 size Rn[4:0] Rt[4:0]", "ld<n>r {list}, [{base}]<post>", each=cross(REPLICATE, [MODES[0]]))
def ld_all(h: Core, Q: Bits, Rn: Bits, Rt: Bits) -> None:
    load_all(h, T, COUNT, Q, Rn, Rt)


@simd("0 Q 001101 MODE 1 RR MM 11 O 0 size Rn[4:0] Rt[4:0]", "ld<n>r {list}, [{base}]<post>", each=cross(REPLICATE, [MODES[1]]))
def ld_all_post(h: Core, Q: Bits, Rn: Bits, Rm: Bits, Rt: Bits) -> None:
    load_all(h, T, COUNT, Q, Rn, Rt)
    step(h, Rn, Rm, COUNT * T.size)
