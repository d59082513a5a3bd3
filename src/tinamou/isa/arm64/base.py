"""Data processing and branches.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.92-C4.1.95, C4.1.93 and C6.2."""

from __future__ import annotations

from typing import TypeVar

from tinamou.engine.cpu import Trap
from tinamou.native.ops import bitreverse, bswap, clz, quot
from tinamou.native.types import Word, i8, i16, i32, i64, i128, u8, u16, u32, u64, u128

from . import alu
from .alu import (
    add_flags,
    bitmask32,
    carry_flags,
    condition,
    holds,
    replicated,
    set_logical,
    set_nzcv,
    sub_flags,
)
from .disasm import CONDITIONS, Shown, bitmask, is_sp, width_of, zr
from .operands import BITS, WX, X30, Bits, R, Rflags, Rimm, Row, Rsp, Simm, Uimm, W, X, Xflags, Xsp, a64, cross, ix, rx
from .state import Core
from .traps import BREAKPOINT, UNDEFINED

base = a64.extension("base")
T_ = TypeVar("T_", bound=Word)


# What tables bind.
def op(a: T_, b: T_) -> T_:
    raise TypeError("a table binds it")


def shifted(t: type[T_], a: T_, n: u32) -> T_:
    raise TypeError("a table binds it")


T: type[Word] = Word
CC = ""
SIZE = 0
hw = 0  # the shift of a moved halfword

# -- PC-relative addressing


@base("0 imm[1:0] 10000 imm[20:2] Rd", "adr {Rd}, {imm:pc}")
def adr(h: Core, imm: Simm) -> X:
    return h.pc + imm


@base("1 imm[1:0] 10000 imm[20:2] Rd", "adrp {Rd}, {page}")
def adrp(h: Core, imm: Simm) -> X:
    return (h.pc & ~0xFFF) + (imm << 12)


# -- add/subtract (immediate)


def _mov_sp(s: Shown) -> str | None:
    return "mov {Rd}, {Rn}" if not s["imm"] and (is_sp(s["Rd"]) or is_sp(s["Rn"])) else None


def _cmn(s: Shown) -> str | None:
    return "cmn {Rn}, #{imm}" if zr(s["Rd"]) else None


def _cmp(s: Shown) -> str | None:
    return "cmp {Rn}, #{imm}" if zr(s["Rd"]) else None


def _cmn_high(s: Shown) -> str | None:
    return "cmn {Rn}, #{high}, lsl #12" if zr(s["Rd"]) else None


def _cmp_high(s: Shown) -> str | None:
    return "cmp {Rn}, #{high}, lsl #12" if zr(s["Rd"]) else None


@base("sf 00 100010 0 imm[11:0] Rn Rd", "add {Rd}, {Rn}, #{imm}", each=WX, alias=_mov_sp)
@base("sf 00 100010 1 imm[23:12] Rn Rd", "add {Rd}, {Rn}, #{high}, lsl #12", name="add_high", each=WX)
def add_imm(Rn: Rsp, imm: Rimm) -> Rsp:
    return Rn + imm


@base("sf 10 100010 0 imm[11:0] Rn Rd", "sub {Rd}, {Rn}, #{imm}", each=WX)
@base("sf 10 100010 1 imm[23:12] Rn Rd", "sub {Rd}, {Rn}, #{high}, lsl #12", name="sub_high", each=WX)
def sub_imm(Rn: Rsp, imm: Rimm) -> Rsp:
    return Rn - imm


@base("sf 01 100010 0 imm[11:0] Rn Rd", "adds {Rd}, {Rn}, #{imm}", each=WX, alias=_cmn)
@base("sf 01 100010 1 imm[23:12] Rn Rd", "adds {Rd}, {Rn}, #{high}, lsl #12", name="adds_high", each=WX, alias=_cmn_high)
def adds_imm(h: Core, Rn: Rsp, imm: Rimm) -> Rflags:
    return add_flags(h, rx, Rn, imm)


@base("sf 11 100010 0 imm[11:0] Rn Rd", "subs {Rd}, {Rn}, #{imm}", each=WX, alias=_cmp)
@base("sf 11 100010 1 imm[23:12] Rn Rd", "subs {Rd}, {Rn}, #{high}, lsl #12", name="subs_high", each=WX, alias=_cmp_high)
def subs_imm(h: Core, Rn: Rsp, imm: Rimm) -> Rflags:
    return sub_flags(h, rx, Rn, imm)


# -- logical (immediate): by the size of the repeated element, so that decoding it costs little


def _mov_bitmask(s: Shown) -> str | None:
    if not zr(s["Rn"]):
        return None
    width = width_of(s)
    value = bitmask(s["N"], s.get("immr", 0), s["imms"] | s["HIGH"], width)
    assert value is not None
    for v in (value, ~value & (1 << width) - 1):  # what MOVZ or MOVN can do is not written MOV here
        if any(not v & ~(0xFFFF << n) for n in range(0, width, 16)):
            return None
    return "mov {Rd}, #{signed_bitmask}"


def _tst_bitmask(s: Shown) -> str | None:
    return "tst {Rn}, #{bitmask}" if zr(s["Rd"]) else None


LOGICAL: tuple[Row, ...] = (
    {"name": "and", "opc": "00", "<op>": "and", "op": alu.and_},
    {"name": "orr", "opc": "01", "<op>": "orr", "op": alu.orr},
    {"name": "eor", "opc": "10", "<op>": "eor", "op": alu.eor},
)
SMALL: tuple[Row, ...] = tuple(
    {"name": str(n), "IMMS": f"{prefix} imms[{k}:0]", "COND": f"imms!={n - 1}", "HIGH": high, "SIZE": n, "N": 0}
    for n, prefix, k, high in ((16, "10", 3, 32), (8, "110", 2, 48), (4, "1110", 1, 56), (2, "11110", 0, 60))
)
_N1 = {"N": 1, "HIGH": 0}
_N0 = {"N": 0, "HIGH": 0}


@base("1 opc 100100 1 immr imms Rn Rd; imms!=63", "<op> {Rd}, {Rn}, #{bitmask}",
      name="logical_64", each=cross(LOGICAL, [_N1]), alias=lambda s: _mov_bitmask(s) if s["opc"] == "01" else None)  # fmt: skip
def logical_64(Rn: X, immr: Bits, imms: Bits) -> Xsp:
    return op(Rn, alu.ror(u64, (u64(2) << imms) - 1, immr))


@base("sf opc 100100 0 immr 0 imms[4:0] Rn Rd; imms!=31", "<op> {Rd}, {Rn}, #{bitmask}",
      each=cross(LOGICAL, WX, [_N0]), alias=lambda s: _mov_bitmask(s) if s["opc"] == "01" else None)  # fmt: skip
def logical_32(Rn: R, immr: Bits, imms: Bits) -> Rsp:
    mask = u64(bitmask32(imms, immr))
    return op(Rn, rx(mask | mask << 32))


@base("sf opc 100100 0 immr IMMS Rn Rd; COND", "<op> {Rd}, {Rn}, #{bitmask}",
      each=cross(LOGICAL, WX, SMALL), alias=lambda s: _mov_bitmask(s) if s["opc"] == "01" else None)  # fmt: skip
def logical_small(Rn: R, immr: Bits, imms: Bits) -> Rsp:
    return op(Rn, replicated(rx, SIZE, imms, immr))


def lowest(t: type[T_], imms: u32) -> T_:
    """The mask when immr is 0; it is not all ones."""
    return (t(1) << (imms + 1 & t.bits - 1)) - 1


LOW: tuple[Row, ...] = (
    {**WX[0], **_N0, "NN": "0", "IMMS": "0 imms[4:0]", "SOME": "imms!=31"},
    {**WX[1], **_N1, "NN": "1", "IMMS": "imms", "SOME": "imms!=63"},
)


@base("sf opc 100100 NN 000000 IMMS Rn Rd; SOME Rd!=31", "<op> {Rd}, {Rn}, #{bitmask}", each=cross(LOGICAL, LOW),
      alias=lambda s: _mov_bitmask(s) if s["opc"] == "01" else None,
      over=tuple(f"logical_{n}" for r in LOGICAL for n in (f"32.{r['name']}.w", f"64.{r['name']}")))  # fmt: skip
def logical_low(Rn: R, imms: Bits) -> R:
    return op(Rn, lowest(rx, imms))


@base("sf 11 100100 NN 000000 IMMS Rn Rd; SOME", "ands {Rd}, {Rn}, #{bitmask}", each=LOW, alias=_tst_bitmask, over=("ands_32.w", "ands_64"))
def ands_low(h: Core, Rn: R, imms: Bits) -> Rflags:
    return set_logical(h, rx, Rn & lowest(rx, imms))


@base("1 11 100100 1 immr imms Rn Rd; imms!=63", "ands {Rd}, {Rn}, #{bitmask}", each=[_N1], alias=_tst_bitmask)
def ands_64(h: Core, Rn: X, immr: Bits, imms: Bits) -> Xflags:
    return set_logical(h, u64, Rn & alu.ror(u64, (u64(2) << imms) - 1, immr))


@base("sf 11 100100 0 immr 0 imms[4:0] Rn Rd; imms!=31", "ands {Rd}, {Rn}, #{bitmask}", each=cross(WX, [_N0]), alias=_tst_bitmask)
def ands_32(h: Core, Rn: R, immr: Bits, imms: Bits) -> Rflags:
    mask = u64(bitmask32(imms, immr))
    return set_logical(h, rx, Rn & rx(mask | mask << 32))


@base("sf 11 100100 0 immr IMMS Rn Rd; COND", "ands {Rd}, {Rn}, #{bitmask}", each=cross(WX, SMALL), alias=_tst_bitmask)
def ands_small(h: Core, Rn: R, immr: Bits, imms: Bits) -> R:
    return set_logical(h, rx, Rn & replicated(rx, SIZE, imms, immr))


# -- move wide (immediate)


def _movz(s: Shown) -> str | None:
    return "mov {Rd}, #{moved}" if s["imm16"] or not s["hw"] else None


def _movn(s: Shown) -> str | None:
    wide = width_of(s) == 64
    if (not s["imm16"] and s["hw"]) or (not wide and s["imm16"] == 0xFFFF):
        return None
    return "mov {Rd}, #{inverted}"


WIDE: tuple[Row, ...] = tuple({**r, "name": f"{r['name']}.{n}", "HW": f"{n:02b}", "hw": 16 * n} for r in WX for n in range(r["BITS"] // 16))


@base("sf 00 100101 HW imm16 Rd", "movn {Rd}, #{imm16}{hw_shift}", each=WIDE, alias=_movn)
def movn(imm16: Rimm) -> R:
    return ~(imm16 << hw)


@base("sf 10 100101 HW imm16 Rd", "movz {Rd}, #{imm16}{hw_shift}", each=WIDE, alias=_movz)
def movz(imm16: Rimm) -> R:
    return imm16 << hw


@base("sf 11 100101 HW imm16 Rd", "movk {Rd}, #{imm16}{hw_shift}", each=WIDE)
def movk(Rd: R, imm16: Rimm) -> R:
    return (Rd & ~(rx(0xFFFF) << hw)) | imm16 << hw


# -- bitfield


def _sbfm(s: Shown) -> str | None:
    width = width_of(s)
    r, n = int(s["immr"]), int(s["imms"])
    if n < r:
        return f"sbfiz {{Rd}}, {{Rn}}, #{width - r}, #{n + 1}"
    return f"sbfx {{Rd}}, {{Rn}}, #{r}, #{n - r + 1}"


def _ubfm(s: Shown) -> str | None:
    width = width_of(s)
    r, n = int(s["immr"]), int(s["imms"])
    if n + 1 == r:
        return f"lsl {{Rd}}, {{Rn}}, #{width - r}"
    if n < r:
        return f"ubfiz {{Rd}}, {{Rn}}, #{width - r}, #{n + 1}"
    return f"ubfx {{Rd}}, {{Rn}}, #{r}, #{n - r + 1}"


def _bfm(s: Shown) -> str | None:
    width = width_of(s)
    r, n = int(s["immr"]), int(s["imms"])
    if n < r:
        return f"bfc {{Rd}}, #{width - r}, #{n + 1}" if zr(s["Rn"]) else f"bfi {{Rd}}, {{Rn}}, #{width - r}, #{n + 1}"
    return f"bfxil {{Rd}}, {{Rn}}, #{r}, #{n - r + 1}"


FIELDS: tuple[Row, ...] = (
    {**WX[0], "N": "0", "IMMR": "0 immr[4:0]", "IMMS": "0 imms[4:0]", "ALL": "011111"},
    {**WX[1], "N": "1", "IMMR": "immr", "IMMS": "imms", "ALL": "111111"},
)


def ones(t: type[T_], n: u32) -> T_:
    """The lowest n + 1 bits."""
    return (t(2) << (n & (t.bits - 1))) - 1


@base("sf 00 100110 N IMMR IMMS Rn Rd", "sbfm {Rd}, {Rn}, #{immr}, #{imms}", each=FIELDS, alias=_sbfm)
def sbfm(Rn: R, immr: Bits, imms: Bits) -> R:
    return rx(ix(Rn << (~imms & BITS - 1)) >> (immr + ~imms & BITS - 1))


@base("sf 00 100110 N IMMR ALL Rn Rd", "asr {Rd}, {Rn}, #{immr}", name="asr_imm", each=FIELDS, over=("sbfm.w", "sbfm.x"))
def asr_imm(Rn: R, immr: Bits) -> R:
    return rx(ix(Rn) >> immr)


EXTENSIONS: tuple[Row, ...] = tuple(
    {**wx, "<op>": f"sxt{n}", "name": f"{n}.{wx['name']}", "N": wx["sf"], "IMMS": imms, "T": t}
    for wx in WX
    for n, imms, t in (("b", "000111", i8), ("h", "001111", i16), ("w", "011111", i32))
    if (n, wx["name"]) != ("w", "w")
)


@base("sf 00 100110 N 000000 IMMS Rn Rd", "<op> {Rd}, {Rn_w}", each=EXTENSIONS, over=("sbfm.w", "sbfm.x"))
def sign_extend(Rn: R) -> R:
    return rx(ix(T(Rn)))


@base("sf 01 100110 N IMMR IMMS Rn Rd", "bfm {Rd}, {Rn}, #{immr}, #{imms}", each=FIELDS, alias=_bfm)
def bfm(Rd: R, Rn: R, immr: Bits, imms: Bits) -> R:
    where = alu.ror(rx, ones(rx, imms), immr) & ones(rx, imms - immr)
    return Rd & ~where | alu.ror(rx, Rn, immr) & where


@base("sf 10 100110 N IMMR IMMS Rn Rd", "ubfm {Rd}, {Rn}, #{immr}, #{imms}", each=FIELDS, alias=_ubfm)
def ubfm(Rn: R, immr: Bits, imms: Bits) -> R:
    return Rn << (~imms & BITS - 1) >> (immr + ~imms & BITS - 1)


@base("sf 10 100110 N IMMR ALL Rn Rd", "lsr {Rd}, {Rn}, #{immr}", name="lsr_imm", each=FIELDS, over=("ubfm.w", "ubfm.x"))
def lsr_imm(Rn: R, immr: Bits) -> R:
    return Rn >> immr


@base("0 10 100110 0 000000 000111 Rn Rd", "uxtb {Rd}, {Rn}", name="uxtb", over="ubfm.w")
def uxtb(Rn: W) -> W:
    return Rn & 0xFF


@base("0 10 100110 0 000000 001111 Rn Rd", "uxth {Rd}, {Rn}", name="uxth", over="ubfm.w")
def uxth(Rn: W) -> W:
    return Rn & 0xFFFF


def _ror(s: Shown) -> str | None:
    return "ror {Rd}, {Rn}, #{imms}" if s["Rn"] == s["Rm"] else None


@base("sf 00 100111 N 0 Rm IMMS Rn Rd", "extr {Rd}, {Rn}, {Rm}, #{imms}", each=FIELDS, alias=_ror)
def extr(Rn: R, Rm: R, imms: Bits) -> R:
    return Rm >> imms | Rn << 1 << (BITS - 1 - imms & BITS - 1)


# -- logical and add/subtract (shifted register)

SHIFTED: tuple[Row, ...] = tuple(
    {"name": n, "SHIFT": f"{k:02b}", "<sh>": n, "shifted": f} for k, (n, f) in enumerate([("lsl", alu.lsl), ("lsr", alu.lsr), ("asr", alu.asr), ("ror", alu.ror)])
)  # fmt: skip
AMOUNT: tuple[Row, ...] = ({**WX[0], "IMM6": "0 imm6[4:0]"}, {**WX[1], "IMM6": "imm6"})
LOGICAL_REG: tuple[Row, ...] = (
    {"name": "and", "opc": "00", "N": "0", "<op>": "and", "op": alu.and_},
    {"name": "bic", "opc": "00", "N": "1", "<op>": "bic", "op": alu.bic},
    {"name": "orr", "opc": "01", "N": "0", "<op>": "orr", "op": alu.orr},
    {"name": "orn", "opc": "01", "N": "1", "<op>": "orn", "op": alu.orn},
    {"name": "eor", "opc": "10", "N": "0", "<op>": "eor", "op": alu.eor},
    {"name": "eon", "opc": "10", "N": "1", "<op>": "eon", "op": alu.eon},
)
LOGICAL_FLAGS: tuple[Row, ...] = (
    {"name": "ands", "opc": "11", "N": "0", "<op>": "ands", "op": alu.and_},
    {"name": "bics", "opc": "11", "N": "1", "<op>": "bics", "op": alu.bic},
)


def _mvn(s: Shown) -> str | None:
    return "mvn {Rd}, {Rm}{shift_of}" if zr(s["Rn"]) and s["<op>"] == "orn" else None


def _tst_reg(s: Shown) -> str | None:
    return "tst {Rn}, {Rm}{shift_of}" if zr(s["Rd"]) and s["N"] == "0" else None


@base("sf opc 01010 SHIFT N Rm IMM6 Rn Rd", "<op> {Rd}, {Rn}, {Rm}{shift_of}", each=cross(LOGICAL_REG, SHIFTED, AMOUNT), alias=_mvn)
def logical_reg(Rn: R, Rm: R, imm6: Bits) -> R:
    return op(Rn, shifted(rx, Rm, imm6))


@base("sf opc 01010 00 N Rm 000000 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=cross(LOGICAL_REG, WX),
      alias=lambda s: "mvn {Rd}, {Rm}" if zr(s["Rn"]) and s["<op>"] == "orn" else None,
      over=tuple(f"logical_reg.{r['name']}" for r in cross(LOGICAL_REG, SHIFTED[:1], WX)))  # fmt: skip
def logical_plain(Rn: R, Rm: R) -> R:
    return op(Rn, Rm)


@base("sf 01 01010 00 0 Rm 000000 11111 Rd", "mov {Rd}, {Rm}", each=WX,
      over=tuple(f"logical_{k}.{n}" for n in "wx" for k in ("plain.orr", "reg.orr.lsl")))  # fmt: skip
def mov_reg(Rm: R) -> R:
    return Rm


@base("sf opc 01010 SHIFT N Rm IMM6 Rn Rd", "<op> {Rd}, {Rn}, {Rm}{shift_of}", each=cross(LOGICAL_FLAGS, SHIFTED, AMOUNT), alias=_tst_reg)
def logical_flags(h: Core, Rn: R, Rm: R, imm6: Bits) -> R:
    return set_logical(h, rx, op(Rn, shifted(rx, Rm, imm6)))


@base("sf opc 01010 00 N Rm 000000 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=cross(LOGICAL_FLAGS, WX),
      alias=lambda s: "tst {Rn}, {Rm}" if zr(s["Rd"]) and s["N"] == "0" else None,
      over=tuple(f"logical_flags.{r['name']}" for r in cross(LOGICAL_FLAGS, SHIFTED[:1], WX)))  # fmt: skip
def logical_flags_plain(h: Core, Rn: R, Rm: R) -> Rflags:
    return set_logical(h, rx, op(Rn, Rm))


def _neg(s: Shown) -> str | None:
    return "neg {Rd}, {Rm}{shift_of}" if zr(s["Rn"]) else None


def _negs(s: Shown) -> str | None:
    if zr(s["Rd"]):
        return "cmp {Rn}, {Rm}{shift_of}"
    return "negs {Rd}, {Rm}{shift_of}" if zr(s["Rn"]) else None


def _cmn_reg(s: Shown) -> str | None:
    return "cmn {Rn}, {Rm}{shift_of}" if zr(s["Rd"]) else None


@base("sf 00 01011 SHIFT 0 Rm IMM6 Rn Rd", "add {Rd}, {Rn}, {Rm}{shift_of}", each=cross(SHIFTED[:3], AMOUNT))
def add_shifted(Rn: R, Rm: R, imm6: Bits) -> R:
    return Rn + shifted(rx, Rm, imm6)


@base("sf 10 01011 SHIFT 0 Rm IMM6 Rn Rd", "sub {Rd}, {Rn}, {Rm}{shift_of}", each=cross(SHIFTED[:3], AMOUNT), alias=_neg)
def sub_shifted(Rn: R, Rm: R, imm6: Bits) -> R:
    return Rn - shifted(rx, Rm, imm6)


@base("sf 01 01011 SHIFT 0 Rm IMM6 Rn Rd", "adds {Rd}, {Rn}, {Rm}{shift_of}", each=cross(SHIFTED[:3], AMOUNT), alias=_cmn_reg)
def adds_shifted(h: Core, Rn: R, Rm: R, imm6: Bits) -> R:
    return add_flags(h, rx, Rn, shifted(rx, Rm, imm6))


@base("sf 11 01011 SHIFT 0 Rm IMM6 Rn Rd", "subs {Rd}, {Rn}, {Rm}{shift_of}", each=cross(SHIFTED[:3], AMOUNT), alias=_negs)
def subs_shifted(h: Core, Rn: R, Rm: R, imm6: Bits) -> R:
    return sub_flags(h, rx, Rn, shifted(rx, Rm, imm6))


_PLAIN = tuple(f"{stem}_shifted.lsl.{n}" for stem in ("add", "sub", "adds", "subs") for n in "wx")


@base("sf 00 01011 00 0 Rm 000000 Rn Rd", "add {Rd}, {Rn}, {Rm}", each=WX, over=_PLAIN)
def add_plain(Rn: R, Rm: R) -> R:
    return Rn + Rm


@base("sf 10 01011 00 0 Rm 000000 Rn Rd", "sub {Rd}, {Rn}, {Rm}", each=WX, over=_PLAIN, alias=lambda s: "neg {Rd}, {Rm}" if zr(s["Rn"]) else None)
def sub_plain(Rn: R, Rm: R) -> R:
    return Rn - Rm


@base("sf 11 01011 00 0 Rm 000000 Rn Rd", "subs {Rd}, {Rn}, {Rm}", each=WX, over=_PLAIN,
      alias=lambda s: "cmp {Rn}, {Rm}" if zr(s["Rd"]) else "negs {Rd}, {Rm}" if zr(s["Rn"]) else None)  # fmt: skip
def subs_plain(h: Core, Rn: R, Rm: R) -> Rflags:
    return sub_flags(h, rx, Rn, Rm)


# -- add/subtract (extended register)

EXTEND: tuple[Row, ...] = tuple(
    {"name": n, "OPTION": f"{k:03b}", "<ext>": n, "T": t}
    for k, (n, t) in enumerate([("uxtb", u8), ("uxth", u16), ("uxtw", u32), ("uxtx", u64), ("sxtb", i8), ("sxth", i16), ("sxtw", i32), ("sxtx", i64)])
)  # fmt: skip


def extend(t: type[T_], narrow: type[Word], x: T_) -> T_:
    """The lowest bits, extended by the signedness of `narrow`."""
    return t(narrow(x)) if narrow.bits < t.bits else x


@base("sf 00 01011 00 1 Rm OPTION imm3 Rn Rd; imm3!=5,6,7", "add {Rd}, {Rn}, {Rm_ext}{extend_of}", each=cross(EXTEND, WX))
def add_extended(Rn: Rsp, Rm: R, imm3: Bits) -> Rsp:
    return Rn + (extend(rx, T, Rm) << imm3)


@base("sf 10 01011 00 1 Rm OPTION imm3 Rn Rd; imm3!=5,6,7", "sub {Rd}, {Rn}, {Rm_ext}{extend_of}", each=cross(EXTEND, WX))
def sub_extended(Rn: Rsp, Rm: R, imm3: Bits) -> Rsp:
    return Rn - (extend(rx, T, Rm) << imm3)


@base("sf 01 01011 00 1 Rm OPTION imm3 Rn Rd; imm3!=5,6,7", "adds {Rd}, {Rn}, {Rm_ext}{extend_of}", each=cross(EXTEND, WX),
      alias=lambda s: "cmn {Rn}, {Rm_ext}{extend_of}" if zr(s["Rd"]) else None)  # fmt: skip
def adds_extended(h: Core, Rn: Rsp, Rm: R, imm3: Bits) -> R:
    return add_flags(h, rx, Rn, extend(rx, T, Rm) << imm3)


@base("sf 11 01011 00 1 Rm OPTION imm3 Rn Rd; imm3!=5,6,7", "subs {Rd}, {Rn}, {Rm_ext}{extend_of}", each=cross(EXTEND, WX),
      alias=lambda s: "cmp {Rn}, {Rm_ext}{extend_of}" if zr(s["Rd"]) else None)  # fmt: skip
def subs_extended(h: Core, Rn: Rsp, Rm: R, imm3: Bits) -> R:
    return sub_flags(h, rx, Rn, extend(rx, T, Rm) << imm3)


# -- add/subtract (with carry)


@base("sf 00 11010000 Rm 000000 Rn Rd", "adc {Rd}, {Rn}, {Rm}", each=WX)
def adc(h: Core, Rn: R, Rm: R) -> R:
    return Rn + Rm + rx(h.c)


@base("sf 01 11010000 Rm 000000 Rn Rd", "adcs {Rd}, {Rn}, {Rm}", each=WX)
def adcs(h: Core, Rn: R, Rm: R) -> R:
    return carry_flags(h, rx, Rn, Rm)


@base("sf 10 11010000 Rm 000000 Rn Rd", "sbc {Rd}, {Rn}, {Rm}", each=WX, alias=lambda s: "ngc {Rd}, {Rm}" if zr(s["Rn"]) else None)
def sbc(h: Core, Rn: R, Rm: R) -> R:
    return Rn + ~Rm + rx(h.c)


@base("sf 11 11010000 Rm 000000 Rn Rd", "sbcs {Rd}, {Rn}, {Rm}", each=WX, alias=lambda s: "ngcs {Rd}, {Rm}" if zr(s["Rn"]) else None)
def sbcs(h: Core, Rn: R, Rm: R) -> R:
    return carry_flags(h, rx, Rn, ~Rm)


# -- conditional compare

COND: tuple[Row, ...] = tuple({"name": cc, "COND": f"{k:04b}", "<cc>": cc, "CC": cc, "INVERSE": CONDITIONS[k ^ 1]} for k, cc in enumerate(CONDITIONS))


@base("sf 01 11010010 Rm cond 0 0 Rn 0 nzcv", "ccmn {Rn}, {Rm}, #{nzcv}, {cc}", each=WX)
def ccmn_reg(h: Core, Rn: R, Rm: R, cond: Bits, nzcv: Bits) -> None:
    if condition(h, cond):
        add_flags(h, rx, Rn, Rm)
    else:
        set_nzcv(h, nzcv)


@base("sf 11 11010010 Rm COND 0 0 Rn 0 nzcv", "ccmp {Rn}, {Rm}, #{nzcv}, <cc>", each=cross(COND, WX))
def ccmp_reg(h: Core, Rn: R, Rm: R, nzcv: Bits) -> None:
    if holds(h, CC):
        sub_flags(h, rx, Rn, Rm)
    else:
        set_nzcv(h, nzcv)


@base("sf 01 11010010 imm5 cond 1 0 Rn 0 nzcv", "ccmn {Rn}, #{imm5}, #{nzcv}, {cc}", each=WX)
def ccmn_imm(h: Core, Rn: R, imm5: Rimm, cond: Bits, nzcv: Bits) -> None:
    if condition(h, cond):
        add_flags(h, rx, Rn, imm5)
    else:
        set_nzcv(h, nzcv)


@base("sf 11 11010010 imm5 COND 1 0 Rn 0 nzcv", "ccmp {Rn}, #{imm5}, #{nzcv}, <cc>", each=cross(COND, WX))
def ccmp_imm(h: Core, Rn: R, imm5: Rimm, nzcv: Bits) -> None:
    if holds(h, CC):
        sub_flags(h, rx, Rn, imm5)
    else:
        set_nzcv(h, nzcv)


# -- conditional select


def _cinc(s: Shown) -> str | None:
    return "cinc {Rd}, {Rn}, {INVERSE}" if s["CC"] not in ("al", "nv") and s["Rn"] == s["Rm"] else None


def _csetm(s: Shown) -> str | None:
    if s["CC"] in ("al", "nv") or s["Rn"] != s["Rm"]:
        return None
    return "csetm {Rd}, {INVERSE}" if zr(s["Rn"]) else "cinv {Rd}, {Rn}, {INVERSE}"


def _cneg(s: Shown) -> str | None:
    return "cneg {Rd}, {Rn}, {INVERSE}" if s["CC"] not in ("al", "nv") and s["Rn"] == s["Rm"] else None


@base("sf 00 11010100 Rm COND 0 0 Rn Rd", "csel {Rd}, {Rn}, {Rm}, <cc>", each=cross(COND, WX))
def csel(h: Core, Rn: R, Rm: R) -> R:
    return Rn if holds(h, CC) else Rm


@base("sf 00 11010100 Rm COND 0 1 Rn Rd", "csinc {Rd}, {Rn}, {Rm}, <cc>", each=cross(COND, WX), alias=_cinc)
def csinc(h: Core, Rn: R, Rm: R) -> R:
    return (Rn if holds(h, CC) else Rm) + rx(not holds(h, CC))


@base("sf 00 11010100 11111 COND 0 1 11111 Rd", "cset {Rd}, {INVERSE}", each=cross(COND[:14], WX),
      over=tuple(f"csinc.{r['name']}" for r in cross(COND[:14], WX)))  # fmt: skip
def cset(h: Core) -> R:
    return rx(not holds(h, CC))


@base("sf 10 11010100 Rm COND 0 0 Rn Rd", "csinv {Rd}, {Rn}, {Rm}, <cc>", each=cross(COND, WX), alias=_csetm)
def csinv(h: Core, Rn: R, Rm: R) -> R:
    return (Rn if holds(h, CC) else Rm) ^ -rx(not holds(h, CC))


@base("sf 10 11010100 Rm COND 0 1 Rn Rd", "csneg {Rd}, {Rn}, {Rm}, <cc>", each=cross(COND, WX), alias=_cneg)
def csneg(h: Core, Rn: R, Rm: R) -> R:
    inverse = rx(not holds(h, CC))
    return ((Rn if inverse == 0 else Rm) ^ -inverse) + inverse


# -- data processing, one and two sources


@base("sf 10 11010110 00000 000000 Rn Rd", "rbit {Rd}, {Rn}", each=WX)
def rbit(Rn: R) -> R:
    return bitreverse(Rn)


HALVES = 0x00FF_00FF_00FF_00FF


@base("sf 10 11010110 00000 000001 Rn Rd", "rev16 {Rd}, {Rn}", each=WX)
def rev16(Rn: R) -> R:
    low = rx(u64(HALVES))
    return Rn >> 8 & low | (Rn & low) << 8


@base("0 10 11010110 00000 000010 Rn Rd", "rev {Rd}, {Rn}", name="rev.w")
def rev_w(Rn: W) -> W:
    return bswap(Rn)


@base("1 10 11010110 00000 000010 Rn Rd", "rev32 {Rd}, {Rn}")
def rev32(Rn: X) -> X:
    return u64(bswap(u32(Rn))) | u64(bswap(u32(Rn >> 32))) << 32


@base("1 10 11010110 00000 000011 Rn Rd", "rev {Rd}, {Rn}", name="rev.x")
def rev_x(Rn: X) -> X:
    return bswap(Rn)


@base("sf 10 11010110 00000 000100 Rn Rd", "clz {Rd}, {Rn}", each=WX)
def clz_(Rn: R) -> R:
    return clz(Rn)


@base("sf 10 11010110 00000 000101 Rn Rd", "cls {Rd}, {Rn}", each=WX)
def cls(Rn: R) -> R:
    return clz(rx(Rn ^ rx(ix(Rn) >> 1))) - 1


@base("sf 00 11010110 Rm 000010 Rn Rd", "udiv {Rd}, {Rn}, {Rm}", each=WX)
def udiv(Rn: R, Rm: R) -> R:
    return Rn // Rm if Rm != 0 else rx(0)


@base("sf 00 11010110 Rm 000011 Rn Rd", "sdiv {Rd}, {Rn}, {Rm}", each=WX)
def sdiv(Rn: R, Rm: R) -> R:
    return rx(quot(ix(Rn), ix(Rm))) if Rm != 0 else rx(0)


@base("sf 00 11010110 Rm 001000 Rn Rd", "lsl {Rd}, {Rn}, {Rm}", each=WX)
def lslv(Rn: R, Rm: R) -> R:
    return Rn << (Rm & BITS - 1)


@base("sf 00 11010110 Rm 001001 Rn Rd", "lsr {Rd}, {Rn}, {Rm}", each=WX)
def lsrv(Rn: R, Rm: R) -> R:
    return Rn >> (Rm & BITS - 1)


@base("sf 00 11010110 Rm 001010 Rn Rd", "asr {Rd}, {Rn}, {Rm}", each=WX)
def asrv(Rn: R, Rm: R) -> R:
    return rx(ix(Rn) >> (Rm & BITS - 1))


@base("sf 00 11010110 Rm 001011 Rn Rd", "ror {Rd}, {Rn}, {Rm}", each=WX)
def rorv(Rn: R, Rm: R) -> R:
    return alu.ror(rx, Rn, u32(Rm))


# -- data processing, three sources


def _mneg(s: Shown) -> str | None:
    return "mneg {Rd}, {Rn}, {Rm}" if zr(s["Ra"]) else None


@base("sf 00 11011 000 Rm 0 Ra Rn Rd", "madd {Rd}, {Rn}, {Rm}, {Ra}", each=WX)
def madd(Rn: R, Rm: R, Ra: R) -> R:
    return Ra + Rn * Rm


@base("sf 00 11011 000 Rm 0 11111 Rn Rd", "mul {Rd}, {Rn}, {Rm}", each=WX, over=("madd.w", "madd.x"))
def mul(Rn: R, Rm: R) -> R:
    return Rn * Rm


@base("sf 00 11011 000 Rm 1 Ra Rn Rd", "msub {Rd}, {Rn}, {Rm}, {Ra}", each=WX, alias=_mneg)
def msub(Rn: R, Rm: R, Ra: R) -> R:
    return Ra - Rn * Rm


@base("1 00 11011 001 Rm 0 Ra Rn Rd", "smaddl {Rd}, {Rn}, {Rm}, {Ra}", alias=lambda s: "smull {Rd}, {Rn}, {Rm}" if zr(s["Ra"]) else None)
def smaddl(Rn: W, Rm: W, Ra: X) -> X:
    return Ra + u64(i64(i32(Rn)) * i64(i32(Rm)))


@base("1 00 11011 001 Rm 1 Ra Rn Rd", "smsubl {Rd}, {Rn}, {Rm}, {Ra}", alias=lambda s: "smnegl {Rd}, {Rn}, {Rm}" if zr(s["Ra"]) else None)
def smsubl(Rn: W, Rm: W, Ra: X) -> X:
    return Ra - u64(i64(i32(Rn)) * i64(i32(Rm)))


@base("1 00 11011 101 Rm 0 Ra Rn Rd", "umaddl {Rd}, {Rn}, {Rm}, {Ra}", alias=lambda s: "umull {Rd}, {Rn}, {Rm}" if zr(s["Ra"]) else None)
def umaddl(Rn: W, Rm: W, Ra: X) -> X:
    return Ra + u64(Rn) * u64(Rm)


@base("1 00 11011 101 Rm 1 Ra Rn Rd", "umsubl {Rd}, {Rn}, {Rm}, {Ra}", alias=lambda s: "umnegl {Rd}, {Rn}, {Rm}" if zr(s["Ra"]) else None)
def umsubl(Rn: W, Rm: W, Ra: X) -> X:
    return Ra - u64(Rn) * u64(Rm)


@base("1 00 11011 010 Rm 0 xxxxx Rn Rd", "smulh {Rd}, {Rn}, {Rm}")
def smulh(Rn: X, Rm: X) -> X:
    return u64(i128(i64(Rn)) * i128(i64(Rm)) >> 64)


@base("1 00 11011 110 Rm 0 xxxxx Rn Rd", "umulh {Rd}, {Rn}, {Rm}")
def umulh(Rn: X, Rm: X) -> X:
    return u64(u128(Rn) * u128(Rm) >> 64)


# -- branches


@base("01010100 imm[20:2] 0 COND", "b.<cc> {imm:pc}", each=COND)
def b_cond(h: Core, imm: Simm) -> None:
    if holds(h, CC):
        h.jump(h.pc + imm)


@base("sf 011010 0 imm[20:2] Rt", "cbz {Rt}, {imm:pc}", each=WX)
def cbz(h: Core, Rt: R, imm: Simm) -> None:
    if Rt == 0:
        h.jump(h.pc + imm)


@base("sf 011010 1 imm[20:2] Rt", "cbnz {Rt}, {imm:pc}", each=WX)
def cbnz(h: Core, Rt: R, imm: Simm) -> None:
    if Rt != 0:
        h.jump(h.pc + imm)


@base("bit[5] 011011 0 bit[4:0] imm[15:2] Rt", "tbz {Rt_bit}, #{bit}, {imm:pc}")
def tbz(h: Core, Rt: X, bit: Bits, imm: Simm) -> None:
    if Rt >> bit & 1 == 0:
        h.jump(h.pc + imm)


@base("bit[5] 011011 1 bit[4:0] imm[15:2] Rt", "tbnz {Rt_bit}, #{bit}, {imm:pc}")
def tbnz(h: Core, Rt: X, bit: Bits, imm: Simm) -> None:
    if Rt >> bit & 1 != 0:
        h.jump(h.pc + imm)


@base("000101 imm[27:2]", "b {imm:pc}")
def b(h: Core, imm: Simm) -> None:
    h.jump(h.pc + imm)


@base("100101 imm[27:2]", "bl {imm:pc}")
def bl(h: Core, imm: Simm) -> X30:
    h.jump(h.pc + imm)
    return h.pc + 4


@base("1101011 0000 11111 000000 Rn 00000", "br {Rn}")
def br(h: Core, Rn: X) -> None:
    h.jump(h.branch_target(Rn))


@base("1101011 0001 11111 000000 Rn 00000", "blr {Rn}")
def blr(h: Core, Rn: X) -> X30:
    h.jump(h.branch_target(Rn))
    return h.pc + 4


@base("1101011 0010 11111 000000 Rn 00000", "ret {Rn}", alias=lambda s: "ret" if s["Rn"] == "x30" else None)
def ret(h: Core, Rn: X) -> None:
    h.jump(h.branch_target(Rn))


# -- exceptions


@base("11010100 000 imm16 00001", "svc #{imm16:#x}")
def svc(h: Core, imm16: Uimm) -> None:
    h.supervisor_call(imm16)


@base("11010100 000 imm16 00010", "hvc #{imm16:#x}")
def hvc(h: Core, imm16: Uimm) -> None:
    h.hypervisor_call(imm16)
    h.switch(h.pc + 4)


@base("11010100 000 imm16 00011", "smc #{imm16:#x}")
def smc(h: Core, imm16: Uimm) -> None:
    h.monitor_call(imm16)
    h.switch(h.pc + 4)


@base("11010100 001 imm16 00000", "brk #{imm16:#x}")
def brk(h: Core, imm16: Uimm) -> None:
    raise Trap(imm16 | BREAKPOINT)


@base("0000000000000000 imm16", "udf #{imm16}")
@base("11010100 010 imm16 00000", "hlt #{imm16:#x}", name="hlt")
@base("11010100 101 imm16 00001", "dcps1 #{imm16:#x}", name="dcps1", alias=lambda s: None if s["imm16"] else "dcps1")
@base("11010100 101 imm16 00010", "dcps2 #{imm16:#x}", name="dcps2", alias=lambda s: None if s["imm16"] else "dcps2")
@base("11010100 101 imm16 00011", "dcps3 #{imm16:#x}", name="dcps3", alias=lambda s: None if s["imm16"] else "dcps3")
@base("1101011 0101 11111 000000 11111 00000", "drps", name="drps")
def udf(h: Core) -> None:
    """Undefined, but for halting debuggers."""
    raise Trap(UNDEFINED)


@base("1101011 0100 11111 000000 11111 00000", "eret")
def eret(h: Core) -> None:
    h.switch(h.exception_return(h.return_address()))
