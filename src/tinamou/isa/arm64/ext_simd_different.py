"""Advanced SIMD on integers: three registers of different types, and by element.  Arm ARM DDI 0487, C4.1.96 and C7.2."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinamou.native.types import Word, u8, u16, u32

from . import lanes
from .ext_simd import LONGER, SIGNS, operation, simd, typed
from .lanes import (
    WIDER,
    all_lanes,
    at,
    clip,
    half,
    into_half,
    map2,
    map3,
    narrow,
    widen,
)
from .operands import Bits, Row, V, cross
from .state import Core

# What tables bind.
T: type[Word] = Word
F = V
G = V
op: Callable[..., Any] = lanes.add
taken: Callable[..., Any] = lanes.whole

# -- three registers of different types

def _different(*ops: tuple[str, str, Callable[..., Any]]) -> list[Row]:
    return [{**r, "<op>": r["<s>"] + r["<op>"]} for r in typed(cross(SIGNS, [{"name": n, "<op>": n, "OP": o, "op": f} for n, o, f in ops]), LONGER)]


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
            {**operation("addhn", 0, 0, lanes.add, signed=False), "OP": "0100", "PICK": highest},
            {**operation("raddhn", 1, 0, lanes.add), "OP": "0100", "PICK": highest_rounded},
            {**operation("subhn", 0, 0, lanes.sub, signed=False), "OP": "0110", "PICK": highest},
            {**operation("rsubhn", 1, 0, lanes.sub), "OP": "0110", "PICK": highest_rounded},
        ),
        LONGER,
    )
)
PICK: Callable[..., Any] = highest


@simd("0 Q U 01110 size 1 Rm OP 00 Rn Rd", "<op><q> {Rd}.<Tb>, {Rn}.<Ta>, {Rm}.<Ta>", each=HIGH)
def high_narrow(h: Core, Q: Bits, Rd: V, Rn: V, Rm: V) -> V:
    return into_half(Q, Rd, narrow(h, T, PICK, map2(h, WIDER[T], op, Rn, Rm), u32(0)))


DOUBLING: tuple[Row, ...] = tuple(
    typed(
        (
            {**operation("sqdmlal", 0, 0, lanes.qdmlal), "OP": "1001", "EOP": "0011"},
            {**operation("sqdmlsl", 0, 0, lanes.qdmlsl), "OP": "1011", "EOP": "0111"},
        ),
        LONGER[1:],
    )
)
SQDMULL: tuple[Row, ...] = tuple(typed(({**operation("sqdmull", 0, 0, lanes.qdmull), "OP": "1101", "EOP": "1011"},), LONGER[1:]))


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
            {**operation("mul", 0, 0, lanes.mul, signed=False), "OP": "1000"},
            {**operation("sqdmulh", 0, 0, lanes.qdmulh), "OP": "1100"},
            {**operation("sqrdmulh", 0, 0, lanes.qrdmulh), "OP": "1101"},
        )
    )
)
ELEMENT_INTO = _by_element(
    typed(
        (
            {**operation("mla", 1, 0, lanes.mla), "OP": "0000"},
            {**operation("mls", 1, 0, lanes.mls), "OP": "0100"},
            {**operation("sqrdmlah", 1, 0, lanes.qrdmlah, signed=True), "OP": "1101", "extension": "rdm"},
            {**operation("sqrdmlsh", 1, 0, lanes.qrdmlsh, signed=True), "OP": "1111", "extension": "rdm"},
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
