"""FEAT_LSE, FEAT_LRCPC and FEAT_LRCPC2: atomic instructions.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C3.2.12 and C6.2."""

from __future__ import annotations

from tinamou.native.types import Word, i8, i16, i32, i64, u8, u16, u32, u64, u128

from .base_memory import SIZES
from .disasm import Shown, zr
from .memory import aligned, based, join, load, store
from .operands import Bits, R, Row, Simm, W, X, Xsp, a64, cross, in_field, rx
from .state import Core

lse = a64.extension("lse")
rcpc = a64.extension("rcpc")
rcpc2 = a64.extension("rcpc2")

# Acquire and release (A, R) say nothing new: every access here is ordered.

T: type[Word] = Word
I: type[Word] = Word
Rt1 = R
Rs1 = R
OP = ""

_signed = {u8: i8, u16: i16, u32: i32, u64: i64}
ATOMICS: tuple[Row, ...] = tuple(
    {"name": n, "<op>": n, "OPC": f"{k:03b}", "OP": op, "SIGNED": n in ("smax", "smin")}
    for k, (n, op) in enumerate(
        [("add", "add"), ("clr", "and"), ("eor", "xor"), ("set", "or"), ("smax", "max"), ("smin", "min"), ("umax", "max"), ("umin", "min")]
    )
)
LD: tuple[Row, ...] = tuple({**r, "I": _signed[r["T"]] if r["SIGNED"] else r["T"]} for r in cross(SIZES, ATOMICS))


def _st(s: Shown) -> str | None:
    return "st{<op>}{al}{<b>} {Rs}, [{Rn}]" if zr(s["Rt"]) and not s["A"] else None


@lse("size 111 0 00 A[0] R[0] 1 Rs 0 OPC 00 Rn Rt", "ld<op>{al}<b> {Rs}, {Rt}, [{Rn}]", each=LD, alias=_st)
def ld(h: Core, Rn: Xsp, Rs: R) -> Rt1:
    value = ~Rs if OPC == "001" else Rs
    return rx(T(h.atomic(OP, I, aligned(h, based(h, Rn), T.size, True), I(value))))


OPC = ""


@lse("size 111 0 00 A[0] R[0] 1 Rs 1 000 00 Rn Rt", "swp{al}<b> {Rs}, {Rt}, [{Rn}]", each=SIZES)
def swp(h: Core, Rn: Xsp, Rs: R) -> Rt1:
    return rx(h.atomic("swap", T, aligned(h, based(h, Rn), T.size, True), T(Rs)))


CAS: tuple[Row, ...] = tuple({**r, "Rs1": in_field(r["R"], "Rs")} for r in SIZES)


@lse("size 001000 1 A[0] 1 Rs R[0] 11111 Rn Rt", "cas{al}<b> {Rs}, {Rt}, [{Rn}]", each=CAS)
def cas(h: Core, Rn: Xsp, Rs: R, Rt: R) -> Rs1:
    return rx(h.compare_swap(T, aligned(h, based(h, Rn), T.size, True), T(Rs), T(Rt)))


# Pairs are an even register and the one behind it: the row names the first by its upper four bits.


def second(h: Core, n: u32) -> u64:
    return h.x[(n & 30) + 1]


def set_pair(h: Core, n: u32, low: u64, high: u64) -> None:
    h.x[n & 30] = low
    if n & 30 != 30:  # the register behind X30 is XZR
        h.x[(n & 30) + 1] = high


@lse("0 0 001000 0 A[0] 1 Rs[4:1] 0 R[0] 11111 Rn Rt[4:1] 0", "casp{al} {pair_s}, {pair_t}, [{Rn}]", name="casp.w", each=[{"pair": "w"}])
def casp_w(h: Core, Rn: Xsp, Rs: Bits, Rt: Bits) -> None:
    at = aligned(h, based(h, Rn), 8, True)
    expected = u64(u32(h.x[Rs & 30])) | second(h, Rs) << 32
    value = u64(u32(h.x[Rt & 30])) | second(h, Rt) << 32
    found = h.compare_swap(u64, at, expected, value)
    set_pair(h, Rs, u64(u32(found)), found >> 32)


@lse("0 1 001000 0 A[0] 1 Rs[4:1] 0 R[0] 11111 Rn Rt[4:1] 0", "casp{al} {pair_s}, {pair_t}, [{Rn}]", name="casp.x", each=[{"pair": "x"}])
def casp_x(h: Core, Rn: Xsp, Rs: Bits, Rt: Bits) -> None:
    at = aligned(h, based(h, Rn), 16, True)
    expected = join(h.x[Rs & 30], second(h, Rs))
    value = join(h.x[Rt & 30], second(h, Rt))
    found = h.compare_swap(u128, at, expected, value)
    set_pair(h, Rs, u64(found), u64(found >> 64))


@rcpc("size 111 0 00 1 0 1 11111 1 100 00 Rn Rt", "ldapr<b> {Rt}, [{Rn}]", each=SIZES)
def ldapr(h: Core, Rn: Xsp) -> Rt1:
    return rx(h.load(T, aligned(h, based(h, Rn), T.size, False)))


UNSCALED: tuple[Row, ...] = tuple(
    {"name": n, "<op>": op, "size": size, "OPC": opc, "R": kind, "Rt1": in_field(kind, "Rt"), "rx": word, "T": memory}
    for n, op, size, opc, kind, word, memory in (
        ("b", "ldapurb", "00", "01", W, u32, u8),
        ("sb.x", "ldapursb", "00", "10", X, u64, i8),
        ("sb.w", "ldapursb", "00", "11", W, u32, i8),
        ("h", "ldapurh", "01", "01", W, u32, u16),
        ("sh.x", "ldapursh", "01", "10", X, u64, i16),
        ("sh.w", "ldapursh", "01", "11", W, u32, i16),
        ("w", "ldapur", "10", "01", W, u32, u32),
        ("sw", "ldapursw", "10", "10", X, u64, i32),
        ("x", "ldapur", "11", "01", X, u64, u64),
    )
)


@rcpc2("size 011001 OPC 0 imm[8:0] 00 Rn Rt", "<op> {Rt}, [{Rn}{plus}]", each=UNSCALED)
def ldapur(h: Core, Rn: Xsp, imm: Simm) -> Rt1:
    return rx(load(h, T, based(h, Rn) + imm))


@rcpc2("size 011001 00 0 imm[8:0] 00 Rn Rt", "stlur<b> {Rt}, [{Rn}{plus}]", each=SIZES)
def stlur(h: Core, Rn: Xsp, imm: Simm, Rt: R) -> None:
    store(h, T, based(h, Rn) + imm, T(Rt))
    h.fence()
