"""Advanced SIMD: shifts by an immediate.  Arm ARM DDI 0487, C4.1.96 and C7.2."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinamou.native.types import Word

from . import lanes
from .disasm import Shown
from .ext_simd import LANES, NARROW, operation, simd, typed
from .lanes import (
    WIDER,
    clip,
    half,
    into_half,
    narrow,
    shift1,
    shift2,
    widen,
)
from .operands import Bits, Row, V
from .state import Core

# What tables bind.
T: type[Word] = Word
F = V
G = V
op: Callable[..., Any] = lanes.add
taken: Callable[..., Any] = lanes.whole
K = 0

# -- shift by immediate

_IMM: tuple[Row, ...] = tuple({**r, "IMM": imm} for r, imm in zip(LANES, ("0001 imm[2:0]", "001 imm[3:0]", "01 imm[4:0]", "1 imm[5:0]"), strict=True))


def _shifts(*ops: Row, sizes: Iterable[Row] = _IMM) -> list[Row]:
    return [{**r, "K": r["T"].bits} for r in typed(ops, sizes)]


RIGHT = _shifts(
    operation("sshr", 0, 0b00000, lanes.shr_n),
    operation("ushr", 1, 0b00000, lanes.shr_n),
    operation("srshr", 0, 0b00100, lanes.rshr_n),
    operation("urshr", 1, 0b00100, lanes.rshr_n),
)
RIGHT_INTO = _shifts(
    operation("ssra", 0, 0b00010, lanes.sra_n),
    operation("usra", 1, 0b00010, lanes.sra_n),
    operation("srsra", 0, 0b00110, lanes.rsra_n),
    operation("ursra", 1, 0b00110, lanes.rsra_n),
    operation("sri", 1, 0b01000, lanes.sri_n),
)
LEFT = _shifts(
    operation("shl", 0, 0b01010, lanes.shl_n, signed=False),
    operation("sqshlu", 1, 0b01100, lanes.qshlu_n, signed=True),
    operation("sqshl", 0, 0b01110, lanes.qshl_n),
    operation("uqshl", 1, 0b01110, lanes.qshl_n),
)
LEFT_INTO = _shifts(operation("sli", 1, 0b01010, lanes.sli_n))


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
    operation("shrn", 0, 0b10000, lanes.shrn, signed=False),
    operation("rshrn", 0, 0b10001, lanes.rshrn, signed=False),
    operation("sqshrun", 1, 0b10000, lanes.qshrun, signed=True),
    operation("sqrshrun", 1, 0b10001, lanes.qrshrun, signed=True),
    operation("sqshrn", 0, 0b10010, lanes.qshrn),
    operation("sqrshrn", 0, 0b10011, lanes.qrshrn),
    operation("uqshrn", 1, 0b10010, lanes.qshrn),
    operation("uqrshrn", 1, 0b10011, lanes.qrshrn),
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
    {**operation("sshll", 0, 0b10100, lanes.shl_n), "<s>": "s"}, {**operation("ushll", 1, 0b10100, lanes.shl_n), "<s>": "u"}, sizes=_NARROW_IMM
)


@simd("0 Q U 011110 IMM OP 1 Rn Rd", "<op><q> {Rd}.<Ta>, {Rn}.<Tb>, #{imm}", each=SHIFT_LONG, alias=_sxtl)
def shift_long(h: Core, Q: Bits, Rn: V, imm: Bits) -> V:
    return shift1(h, WIDER[T], lanes.shl_n, widen(T, half(Q, Rn)), imm)
