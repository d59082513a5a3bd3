"""Loads and stores.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.94 and C6.2; of SIMD&FP registers, C7.2."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.types import Word, i8, i16, i32, u8, u16, u32, u64, u128

from .memory import aligned, based, checked, load, load_pair, settled, store, store_pair
from .operands import B, Bits, D, H, Q, Row, S, Simm, Uimm, Ws, X, Xn, Xsp, a64, cross, in_field, rx
from .operands import R as Rs_
from .operands import W as W32
from .state import UNMONITORED, Core

base = a64.extension("base")
lor = a64.extension("lor")
T_ = TypeVar("T_", bound=Word)

# What tables bind.
T: type[Word] = Word  # what memory holds
I: type[Word] = Word  # a register's offset
R = Rs_
Rt1 = Rs_
Rt2_ = Rs_
SCALE = 0

Access = tuple[str, str, str, str, str, object, type[Word], type[Word], int]


def _row(name: str, op: str, size: str, v: str, opc: str, register: object, word: type[Word], memory: type[Word], scale: int) -> Row:
    return {
        "name": name, "<ldr>": op, "<ldur>": op[:2] + "u" + op[2:], "<ldtr>": op[:2] + "t" + op[2:], "size": size, "V": v, "opc": opc, "R": register,
        "Rt1": in_field(register, "Rt"), "rx": word, "T": memory, "SCALE": scale, "IMM": f"imm[{11 + scale}:{scale}]",
        "extension": "fp" if v == "1" else "base",
    }  # fmt: skip


LOADS: tuple[Row, ...] = tuple(
    _row(*r)
    for r in (
        ("b", "ldrb", "00", "0", "01", W32, u32, u8, 0),
        ("h", "ldrh", "01", "0", "01", W32, u32, u16, 1),
        ("w", "ldr", "10", "0", "01", W32, u32, u32, 2),
        ("x", "ldr", "11", "0", "01", X, u64, u64, 3),
        ("sb.x", "ldrsb", "00", "0", "10", X, u64, i8, 0),
        ("sb.w", "ldrsb", "00", "0", "11", W32, u32, i8, 0),
        ("sh.x", "ldrsh", "01", "0", "10", X, u64, i16, 1),
        ("sh.w", "ldrsh", "01", "0", "11", W32, u32, i16, 1),
        ("sw", "ldrsw", "10", "0", "10", X, u64, i32, 2),
    )
)
FP_LOADS: tuple[Row, ...] = tuple(
    _row(*r)
    for r in (
        ("fb", "ldr", "00", "1", "01", B, u8, u8, 0),
        ("fh", "ldr", "01", "1", "01", H, u16, u16, 1),
        ("fs", "ldr", "10", "1", "01", S, u32, u32, 2),
        ("fd", "ldr", "11", "1", "01", D, u64, u64, 3),
        ("fq", "ldr", "00", "1", "11", Q, u128, u128, 4),
    )
)
STORES: tuple[Row, ...] = tuple(
    _row(*r)
    for r in (
        ("b", "strb", "00", "0", "00", W32, u32, u8, 0),
        ("h", "strh", "01", "0", "00", W32, u32, u16, 1),
        ("w", "str", "10", "0", "00", W32, u32, u32, 2),
        ("x", "str", "11", "0", "00", X, u64, u64, 3),
    )
)
FP_STORES: tuple[Row, ...] = tuple(
    _row(*r)
    for r in (
        ("fb", "str", "00", "1", "00", B, u8, u8, 0),
        ("fh", "str", "01", "1", "00", H, u16, u16, 1),
        ("fs", "str", "10", "1", "00", S, u32, u32, 2),
        ("fd", "str", "11", "1", "00", D, u64, u64, 3),
        ("fq", "str", "00", "1", "10", Q, u128, u128, 4),
    )
)

# -- one register


@base("size 111 V 01 opc IMM Rn Rt", "<ldr> {Rt}, [{Rn}{plus}]", each=LOADS + FP_LOADS)
def ldr(h: Core, Rn: Xsp, imm: Uimm) -> Rt1:
    return rx(load(h, T, based(h, Rn) + imm))


@base("size 111 V 01 opc IMM Rn Rt", "<ldr> {Rt}, [{Rn}{plus}]", each=STORES + FP_STORES)
def str_(h: Core, Rn: Xsp, imm: Uimm, Rt: R) -> None:
    store(h, T, based(h, Rn) + imm, T(Rt))


@base("size 111 V 00 opc 0 imm[8:0] 00 Rn Rt", "<ldur> {Rt}, [{Rn}{plus}]", each=LOADS + FP_LOADS)
def ldur(h: Core, Rn: Xsp, imm: Simm) -> Rt1:
    return rx(load(h, T, based(h, Rn) + imm))


@base("size 111 V 00 opc 0 imm[8:0] 10 Rn Rt", "<ldtr> {Rt}, [{Rn}{plus}]", name="ldtr", each=LOADS)
def ldtr(h: Core, Rn: Xsp, imm: Simm) -> Rt1:
    return rx(h.load_unprivileged(T, checked(h, based(h, Rn) + imm, T.size, False)))


@base("size 111 V 00 opc 0 imm[8:0] 00 Rn Rt", "<ldur> {Rt}, [{Rn}{plus}]", each=STORES + FP_STORES)
def stur(h: Core, Rn: Xsp, imm: Simm, Rt: R) -> None:
    store(h, T, based(h, Rn) + imm, T(Rt))


@base("size 111 V 00 opc 0 imm[8:0] 10 Rn Rt", "<ldtr> {Rt}, [{Rn}{plus}]", name="sttr", each=STORES)
def sttr(h: Core, Rn: Xsp, imm: Simm, Rt: R) -> None:
    h.store_unprivileged(T, checked(h, based(h, Rn) + imm, T.size, True), T(Rt))


@base("size 111 V 00 opc 0 imm[8:0] 01 Rn Rt", "<ldr> {Rt}, [{Rn}], #{imm}", each=LOADS + FP_LOADS)
def ldr_post(h: Core, Rn: Xsp, imm: Simm) -> tuple[Xn, Rt1]:
    return Rn + imm, rx(load(h, T, based(h, Rn)))


@base("size 111 V 00 opc 0 imm[8:0] 01 Rn Rt", "<ldr> {Rt}, [{Rn}], #{imm}", each=STORES + FP_STORES)
def str_post(h: Core, Rn: Xsp, imm: Simm, Rt: R) -> Xn:
    after = settled(Rn + imm)
    store(h, T, based(h, Rn), T(Rt))
    return after


@base("size 111 V 00 opc 0 imm[8:0] 11 Rn Rt", "<ldr> {Rt}, [{Rn}, #{imm}]!", each=LOADS + FP_LOADS)
def ldr_pre(h: Core, Rn: Xsp, imm: Simm) -> tuple[Xn, Rt1]:
    return Rn + imm, rx(load(h, T, based(h, Rn) + imm))


@base("size 111 V 00 opc 0 imm[8:0] 11 Rn Rt", "<ldr> {Rt}, [{Rn}, #{imm}]!", each=STORES + FP_STORES)
def str_pre(h: Core, Rn: Xsp, imm: Simm, Rt: R) -> Xn:
    store(h, T, based(h, Rn) + imm, T(Rt))
    return Rn + imm


INDEX: tuple[Row, ...] = (
    {"name": "uxtw", "OPTION": "010", "<ext>": "uxtw", "I": u32},
    {"name": "lsl", "OPTION": "sx[0] 11", "<ext>": "lsl", "I": u64},  # SXTX extends nothing either
    {"name": "sxtw", "OPTION": "110", "<ext>": "sxtw", "I": i32},
)


@base("size 111 V 00 opc 1 Rm OPTION S 10 Rn Rt", "<ldr> {Rt}, [{Rn}, {index}]", each=cross(LOADS + FP_LOADS, INDEX))
def ldr_index(h: Core, Rn: Xsp, Rm: X, S: Bits) -> Rt1:
    return rx(load(h, T, based(h, Rn) + (u64(I(Rm)) << S * SCALE)))


@base("size 111 V 00 opc 1 Rm OPTION S 10 Rn Rt", "<ldr> {Rt}, [{Rn}, {index}]", each=cross(STORES + FP_STORES, INDEX))
def str_index(h: Core, Rn: Xsp, Rm: X, S: Bits, Rt: R) -> None:
    store(h, T, based(h, Rn) + (u64(I(Rm)) << S * SCALE), T(Rt))


LITERALS: tuple[Row, ...] = tuple(
    {**_row(name, op, "", v, opc, kind, word, memory, 0)}
    for name, op, v, opc, kind, word, memory in (
        ("w", "ldr", "0", "00", W32, u32, u32),
        ("x", "ldr", "0", "01", X, u64, u64),
        ("sw", "ldrsw", "0", "10", X, u64, i32),
        ("fs", "ldr", "1", "00", S, u32, u32),
        ("fd", "ldr", "1", "01", D, u64, u64),
        ("fq", "ldr", "1", "10", Q, u128, u128),
    )
)


@base("opc 011 V 00 imm[20:2] Rt", "<ldr> {Rt}, {imm:pc}", each=LITERALS)
def ldr_literal(h: Core, imm: Simm) -> Rt1:
    return rx(load(h, T, h.pc + imm))


@base("11 111 0 01 10 imm[14:3] Rn prfop[4:0]", "prfm {prefetch}, [{Rn}{plus}]", name="prfm")
def prfm(Rn: Xsp) -> None:
    """Prefetching changes nothing that a program sees."""


@base("11 111 0 00 10 0 imm[8:0] 00 Rn prfop[4:0]", "prfum {prefetch}, [{Rn}{plus}]", name="prfum")
def prfum(Rn: Xsp, imm: Simm) -> None: ...


@base("11 111 0 00 10 1 Rm OPTION S 10 Rn prfop[4:0]", "prfm {prefetch}, [{Rn}, {index}]", name="prfm_index", each=cross([{"SCALE": 3}], INDEX))
def prfm_index(Rn: Xsp, Rm: X) -> None: ...


@base("11 011 0 00 imm[20:2] prfop[4:0]", "prfm {prefetch}, {imm:pc}", name="prfm_literal")
def prfm_literal(imm: Simm) -> None: ...


# -- pairs


def _pair(name: str, op: str, opc: str, v: str, register: object, word: type[Word], memory: type[Word], scale: int) -> Row:
    return {
        "name": name, "<ldp>": op, "<ldnp>": op[:2] + "n" + op[2:], "opc": opc, "V": v, "R": register, "Rt1": in_field(register, "Rt"),
        "Rt2_": in_field(register, "Rt2"), "rx": word, "T": memory, "IMM": f"imm[{6 + scale}:{scale}]",
        "extension": "fp" if v == "1" else "base",
    }  # fmt: skip


_PAIRS = (
    ("w", "00", "0", W32, u32, u32, 2),
    ("x", "10", "0", X, u64, u64, 3),
    ("fs", "00", "1", S, u32, u32, 2),
    ("fd", "01", "1", D, u64, u64, 3),
    ("fq", "10", "1", Q, u128, u128, 4),
)
LOAD_PAIRS: tuple[Row, ...] = tuple(_pair(n, "ldp", *rest) for n, *rest in _PAIRS)
STORE_PAIRS: tuple[Row, ...] = tuple(_pair(n, "stp", *rest) for n, *rest in _PAIRS)
LDPSW: tuple[Row, ...] = (_pair("sw", "ldpsw", "01", "0", X, u64, i32, 2),)


@base("opc 101 V 000 1 IMM Rt2 Rn Rt", "<ldnp> {Rt}, {Rt2}, [{Rn}{plus}]", name="ldnp", each=LOAD_PAIRS)
@base("opc 101 V 010 1 IMM Rt2 Rn Rt", "<ldp> {Rt}, {Rt2}, [{Rn}{plus}]", each=LOAD_PAIRS + LDPSW)
def ldp(h: Core, Rn: Xsp, imm: Simm) -> tuple[Rt1, Rt2_]:
    first, second = load_pair(h, T, based(h, Rn) + imm)
    return rx(first), rx(second)


@base("opc 101 V 001 1 IMM Rt2 Rn Rt", "<ldp> {Rt}, {Rt2}, [{Rn}], #{imm}", each=LOAD_PAIRS + LDPSW)
def ldp_post(h: Core, Rn: Xsp, imm: Simm) -> tuple[Xn, Rt1, Rt2_]:
    first, second = load_pair(h, T, based(h, Rn))
    return Rn + imm, rx(first), rx(second)


@base("opc 101 V 011 1 IMM Rt2 Rn Rt", "<ldp> {Rt}, {Rt2}, [{Rn}, #{imm}]!", each=LOAD_PAIRS + LDPSW)
def ldp_pre(h: Core, Rn: Xsp, imm: Simm) -> tuple[Xn, Rt1, Rt2_]:
    first, second = load_pair(h, T, based(h, Rn) + imm)
    return Rn + imm, rx(first), rx(second)


@base("opc 101 V 000 0 IMM Rt2 Rn Rt", "<ldnp> {Rt}, {Rt2}, [{Rn}{plus}]", name="stnp", each=STORE_PAIRS)
@base("opc 101 V 010 0 IMM Rt2 Rn Rt", "<ldp> {Rt}, {Rt2}, [{Rn}{plus}]", each=STORE_PAIRS)
def stp(h: Core, Rn: Xsp, imm: Simm, Rt: R, Rt2: R) -> None:
    store_pair(h, T, based(h, Rn) + imm, T(Rt), T(Rt2))


@base("opc 101 V 001 0 IMM Rt2 Rn Rt", "<ldp> {Rt}, {Rt2}, [{Rn}], #{imm}", each=STORE_PAIRS)
def stp_post(h: Core, Rn: Xsp, imm: Simm, Rt: R, Rt2: R) -> Xn:
    after = settled(Rn + imm)
    store_pair(h, T, based(h, Rn), T(Rt), T(Rt2))
    return after


@base("opc 101 V 011 0 IMM Rt2 Rn Rt", "<ldp> {Rt}, {Rt2}, [{Rn}, #{imm}]!", each=STORE_PAIRS)
def stp_pre(h: Core, Rn: Xsp, imm: Simm, Rt: R, Rt2: R) -> Xn:
    store_pair(h, T, based(h, Rn) + imm, T(Rt), T(Rt2))
    return Rn + imm


# -- ordered and exclusive.  Every access here is ordered as if it were an acquire and a release.
#
# A store-exclusive succeeds when it is to the address of the last load-exclusive, of its size, and memory still holds what that read.

SIZES: tuple[Row, ...] = tuple(
    {"name": n, "size": f"{k:02b}", "<b>": suffix, "R": kind, "Rt1": in_field(kind, "Rt"), "rx": word, "T": memory}
    for k, (n, suffix, kind, word, memory) in enumerate(
        [("b", "b", W32, u32, u8), ("h", "h", W32, u32, u16), ("w", "", W32, u32, u32), ("x", "", X, u64, u64)]
    )
)
WORDS = SIZES[2:]
_PAIR_W: tuple[Row, ...] = ({"Rt1": in_field(W32, "Rt"), "Rt2_": in_field(W32, "Rt2")},)
_PAIR_X: tuple[Row, ...] = ({"Rt1": in_field(X, "Rt"), "Rt2_": in_field(X, "Rt2")},)

@base("size 001000 1 1 0 xxxxx 1 xxxxx Rn Rt", "ldar<b> {Rt}, [{Rn}]", each=SIZES)
@lor("size 001000 1 1 0 xxxxx 0 xxxxx Rn Rt", "ldlar<b> {Rt}, [{Rn}]", name="ldlar", each=SIZES)
def ldar(h: Core, Rn: Xsp) -> Rt1:
    return rx(h.load(T, aligned(h, based(h, Rn), T.size, False)))


@base("size 001000 1 0 0 xxxxx 1 xxxxx Rn Rt", "stlr<b> {Rt}, [{Rn}]", each=SIZES)
@lor("size 001000 1 0 0 xxxxx 0 xxxxx Rn Rt", "stllr<b> {Rt}, [{Rn}]", name="stllr", each=SIZES)
def stlr(h: Core, Rn: Xsp, Rt: R) -> None:
    h.store(T, aligned(h, based(h, Rn), T.size, True), T(Rt))
    h.fence()


@base("size 001000 0 1 0 xxxxx o0[0] xxxxx Rn Rt", "ld{a}xr<b> {Rt}, [{Rn}]", each=SIZES)
def ldxr(h: Core, Rn: Xsp) -> Rt1:
    at = aligned(h, based(h, Rn), T.size, False)
    value = h.load(T, at)
    h.monitor, h.monitor_size, h.monitor_low = at, u64(T.size), u64(value)
    return rx(value)


@base("size 001000 0 0 0 Rs o0[0] xxxxx Rn Rt", "st{l}xr<b> {Rs}, {Rt}, [{Rn}]", each=SIZES)
def stxr(h: Core, Rn: Xsp, Rt: R) -> Ws:
    at = aligned(h, based(h, Rn), T.size, True)
    if h.monitor != at or h.monitor_size != T.size:
        h.monitor = u64(UNMONITORED)
        return u32(1)
    expected = T(h.monitor_low)
    found = h.compare_swap(T, at, expected, T(Rt))
    h.monitor = u64(UNMONITORED)
    return u32(found != expected)


@base("10 001000 0 1 1 xxxxx o0[0] Rt2 Rn Rt", "ld{a}xp {Rt}, {Rt2}, [{Rn}]", name="ldxp.w", each=_PAIR_W)
def ldxp_w(h: Core, Rn: Xsp) -> tuple[Rt1, Rt2_]:
    at = aligned(h, based(h, Rn), 8, False)
    value = h.load(u64, at)
    h.monitor, h.monitor_size, h.monitor_low = at, u64(8), value
    return u32(value), u32(value >> 32)


@base("11 001000 0 1 1 xxxxx o0[0] Rt2 Rn Rt", "ld{a}xp {Rt}, {Rt2}, [{Rn}]", name="ldxp.x", each=_PAIR_X)
def ldxp_x(h: Core, Rn: Xsp) -> tuple[Rt1, Rt2_]:
    at = aligned(h, based(h, Rn), 16, False)
    low, high = settled(h.load(u64, at)), h.load(u64, at + 8)
    h.monitor, h.monitor_size, h.monitor_low, h.monitor_high = at, u64(16), low, high
    return low, high


@base("10 001000 0 0 1 Rs o0[0] Rt2 Rn Rt", "st{l}xp {Rs}, {Rt}, {Rt2}, [{Rn}]", name="stxp.w")
def stxp_w(h: Core, Rn: Xsp, Rt: W32, Rt2: W32) -> Ws:
    at = aligned(h, based(h, Rn), 8, True)
    if h.monitor != at or h.monitor_size != 8:
        h.monitor = u64(UNMONITORED)
        return u32(1)
    expected = h.monitor_low
    found = h.compare_swap(u64, at, expected, u64(Rt) | u64(Rt2) << 32)
    h.monitor = u64(UNMONITORED)
    return u32(found != expected)


@base("11 001000 0 0 1 Rs o0[0] Rt2 Rn Rt", "st{l}xp {Rs}, {Rt}, {Rt2}, [{Rn}]", name="stxp.x")
def stxp_x(h: Core, Rn: Xsp, Rt: X, Rt2: X) -> Ws:
    at = aligned(h, based(h, Rn), 16, True)
    if h.monitor != at or h.monitor_size != 16:
        h.monitor = u64(UNMONITORED)
        return u32(1)
    expected = u128(h.monitor_low) | u128(h.monitor_high) << 64
    found = h.compare_swap(u128, at, expected, u128(Rt) | u128(Rt2) << 64)
    h.monitor = u64(UNMONITORED)
    return u32(found != expected)

