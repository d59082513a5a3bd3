"""Scalar floating point.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.96 and C7.2; FEAT_FP16, FEAT_FRINTTS, FEAT_JSCVT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.native.types import Word, i32, u16, u32, u64, u128
from tinamou.softfloat.behaviour import DOWN, NEAREST_AWAY, NEAREST_EVEN, TOWARD_ZERO, UP
from tinamou.softfloat.format import F16, F32, F64, Format

from . import fpu
from .alu import condition, set_nzcv
from .fpu import BY_FPCR, compare_flags, converted, expand_immediate, from_int, muladd, to_int, to_js
from .operands import WX, Bits, D, H, R, Row, S, V, W, X, a64, cross, rx
from .state import Core

fp = a64.extension("fp")

# What tables bind.
F = R
f: Format[Any] = F32
g: Format[Any] = F32
G = R
fx: type[Word] = Word
T: type[Word] = Word
op: Callable[..., Any] = fpu.add
MODE = 0
SIGNALLING = False

FLOATS: tuple[Row, ...] = (
    {"name": "s", "FT": "00", "F": S, "f": F32, "fx": u32},
    {"name": "d", "FT": "01", "F": D, "f": F64, "fx": u64},
    {"name": "h", "FT": "11", "F": H, "f": F16, "fx": u16, "extension": "fp16"},
)

# -- one source

ONE: tuple[Row, ...] = tuple(
    {"name": n, "<op>": n, "OP": f"{bits:06b}", "op": function}
    for n, bits, function in (
        ("fmov", 0, fpu.same),
        ("fabs", 1, fpu.absolute),
        ("fneg", 2, fpu.negated),
        ("fsqrt", 3, fpu.sqrt),
        ("frintn", 8, fpu.rintn),
        ("frintp", 9, fpu.rintp),
        ("frintm", 10, fpu.rintm),
        ("frintz", 11, fpu.rintz),
        ("frinta", 12, fpu.rinta),
        ("frintx", 14, fpu.rintx),
        ("frinti", 15, fpu.rinti),
    )
)
FRINTTS: tuple[Row, ...] = tuple(
    {"name": n, "<op>": n, "OP": f"{bits:06b}", "op": function, "extension": "frintts"}
    for n, bits, function in (
        ("frint32z", 16, fpu.rint32z),
        ("frint32x", 17, fpu.rint32x),
        ("frint64z", 18, fpu.rint64z),
        ("frint64x", 19, fpu.rint64x),
    )
)


@fp("0 0 0 11110 FT 1 OP 10000 Rn Rd", "<op> {Rd}, {Rn}", each=cross(ONE, FLOATS) + cross(FLOATS[:2], FRINTTS))
def fp_one(h: Core, Rn: F) -> F:
    return op(h, f, Rn)


CONVERSIONS: tuple[Row, ...] = tuple(
    {"name": f"{a['name']}{b['name']}", "FT": a["FT"], "OPC": b["FT"], "F": a["F"], "G": b["F"], "f": a["f"], "g": b["f"]}
    for a in FLOATS
    for b in FLOATS
    if a is not b
)


@fp("0 0 0 11110 FT 1 0001 OPC 10000 Rn Rd", "fcvt {Rd}, {Rn}", each=CONVERSIONS)
def fcvt(h: Core, Rn: F) -> G:
    return converted(h, f, g, Rn, BY_FPCR)


# -- compare


@fp("0 0 0 11110 FT 1 Rm 00 1000 Rn 00000", "fcmp {Rn}, {Rm}", each=FLOATS)
def fcmp(h: Core, Rn: F, Rm: F) -> None:
    compare_flags(h, f, Rn, Rm, False)


@fp("0 0 0 11110 FT 1 Rm 00 1000 Rn 10000", "fcmpe {Rn}, {Rm}", each=FLOATS)
def fcmpe(h: Core, Rn: F, Rm: F) -> None:
    compare_flags(h, f, Rn, Rm, True)


@fp("0 0 0 11110 FT 1 xxxxx 00 1000 Rn 01000", "fcmp {Rn}, #0.0", each=FLOATS)
def fcmp_zero(h: Core, Rn: F) -> None:
    compare_flags(h, f, Rn, fx(0), False)


@fp("0 0 0 11110 FT 1 xxxxx 00 1000 Rn 11000", "fcmpe {Rn}, #0.0", each=FLOATS)
def fcmpe_zero(h: Core, Rn: F) -> None:
    compare_flags(h, f, Rn, fx(0), True)


@fp("0 0 0 11110 FT 1 Rm cond 01 Rn 0 nzcv", "fccmp {Rn}, {Rm}, #{nzcv}, {cc}", each=FLOATS)
def fccmp(h: Core, Rn: F, Rm: F, cond: Bits, nzcv: Bits) -> None:
    if condition(h, cond):
        compare_flags(h, f, Rn, Rm, False)
    else:
        set_nzcv(h, nzcv)


@fp("0 0 0 11110 FT 1 Rm cond 01 Rn 1 nzcv", "fccmpe {Rn}, {Rm}, #{nzcv}, {cc}", each=FLOATS)
def fccmpe(h: Core, Rn: F, Rm: F, cond: Bits, nzcv: Bits) -> None:
    if condition(h, cond):
        compare_flags(h, f, Rn, Rm, True)
    else:
        set_nzcv(h, nzcv)


@fp("0 0 0 11110 FT 1 Rm cond 11 Rn Rd", "fcsel {Rd}, {Rn}, {Rm}, {cc}", each=FLOATS)
def fcsel(h: Core, Rn: F, Rm: F, cond: Bits) -> F:
    return Rn if condition(h, cond) else Rm


@fp("0 0 0 11110 FT 1 imm8 100 00000 Rd", "fmov {Rd}, #{fp}", each=FLOATS)
def fmov_imm(imm8: Bits) -> F:
    return expand_immediate(f, imm8)


# -- two and three sources

TWO: tuple[Row, ...] = tuple(
    {"name": n, "<op>": n, "OP": f"{k:04b}", "op": function}
    for k, (n, function) in enumerate(
        [("fmul", fpu.mul), ("fdiv", fpu.div), ("fadd", fpu.add), ("fsub", fpu.sub), ("fmax", fpu.maximum), ("fmin", fpu.minimum),
         ("fmaxnm", fpu.maxnm), ("fminnm", fpu.minnm), ("fnmul", fpu.nmul)]
    )
)  # fmt: skip


@fp("0 0 0 11110 FT 1 Rm OP 10 Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=cross(TWO, FLOATS))
def fp_two(h: Core, Rn: F, Rm: F) -> F:
    return op(h, f, Rn, Rm)


@fp("0 0 0 11111 FT 0 Rm 0 Ra Rn Rd", "fmadd {Rd}, {Rn}, {Rm}, {Ra}", each=FLOATS)
def fmadd(h: Core, Rn: F, Rm: F, Ra: F) -> F:
    return muladd(h, f, Ra, Rn, Rm)


@fp("0 0 0 11111 FT 0 Rm 1 Ra Rn Rd", "fmsub {Rd}, {Rn}, {Rm}, {Ra}", each=FLOATS)
def fmsub(h: Core, Rn: F, Rm: F, Ra: F) -> F:
    return muladd(h, f, Ra, Rn ^ f.sign, Rm)


@fp("0 0 0 11111 FT 1 Rm 0 Ra Rn Rd", "fnmadd {Rd}, {Rn}, {Rm}, {Ra}", each=FLOATS)
def fnmadd(h: Core, Rn: F, Rm: F, Ra: F) -> F:
    return muladd(h, f, Ra ^ f.sign, Rn ^ f.sign, Rm)


@fp("0 0 0 11111 FT 1 Rm 1 Ra Rn Rd", "fnmsub {Rd}, {Rn}, {Rm}, {Ra}", each=FLOATS)
def fnmsub(h: Core, Rn: F, Rm: F, Ra: F) -> F:
    return muladd(h, f, Ra ^ f.sign, Rn, Rm)


# -- integers and fixed point

SIGNS: tuple[Row, ...] = ({"name": "s", "<s>": "s", "U": "0", "SIGNED": True}, {"name": "u", "<s>": "u", "U": "1", "SIGNED": False})
INTEGERS: tuple[Row, ...] = tuple({**r, "T": r["ix"] if r["SIGNED"] else r["rx"]} for r in cross(SIGNS, FLOATS, WX))
MODES: tuple[Row, ...] = (
    {"name": "n", "RM": "00", "OP": "00", "<m>": "n", "MODE": NEAREST_EVEN},
    {"name": "p", "RM": "01", "OP": "00", "<m>": "p", "MODE": UP},
    {"name": "m", "RM": "10", "OP": "00", "<m>": "m", "MODE": DOWN},
    {"name": "z", "RM": "11", "OP": "00", "<m>": "z", "MODE": TOWARD_ZERO},
    {"name": "a", "RM": "00", "OP": "10", "<m>": "a", "MODE": NEAREST_AWAY},
)
FIXED: tuple[Row, ...] = tuple({**r, "SCALE": "1 scale[4:0]" if r["sf"] == "0" else "scale"} for r in INTEGERS)


@fp("sf 0 0 11110 FT 1 RM OP U 000000 Rn Rd", "fcvt<m><s> {Rd}, {Rn}", each=cross(MODES, INTEGERS))
def fcvt_int(h: Core, Rn: F) -> R:
    return rx(to_int(h, f, T, Rn, i32(0), MODE))


@fp("sf 0 0 11110 FT 1 00 01 U 000000 Rn Rd", "<s>cvtf {Rd}, {Rn}", each=INTEGERS)
def cvtf(h: Core, Rn: R) -> F:
    return from_int(h, f, T, T(Rn), i32(0))


@fp("sf 0 0 11110 FT 0 11 00 U SCALE Rn Rd", "fcvtz<s> {Rd}, {Rn}, #{fbits}", each=FIXED)
def fcvtz_fixed(h: Core, Rn: F, scale: Bits) -> R:
    return rx(to_int(h, f, T, Rn, fraction_bits(rx.bits, scale), TOWARD_ZERO))


@fp("sf 0 0 11110 FT 0 00 01 U SCALE Rn Rd", "<s>cvtf {Rd}, {Rn}, #{fbits}", each=FIXED)
def cvtf_fixed(h: Core, Rn: R, scale: Bits) -> F:
    return from_int(h, f, T, T(Rn), fraction_bits(rx.bits, scale))


def fraction_bits(bits: int, scale: u32) -> i32:
    """`scale` lacks its topmost bit, a one, where integers have 32 bits."""
    return bits - i32(scale)


MOVES: tuple[Row, ...] = (
    {"name": "w.s", "sf": "0", "FT": "00", "R": W, "F": S, "rx": u32, "fx": u32},
    {"name": "x.d", "sf": "1", "FT": "01", "R": X, "F": D, "rx": u64, "fx": u64},
    {"name": "w.h", "sf": "0", "FT": "11", "R": W, "F": H, "rx": u32, "fx": u16, "extension": "fp16"},
    {"name": "x.h", "sf": "1", "FT": "11", "R": X, "F": H, "rx": u64, "fx": u16, "extension": "fp16"},
)


@fp("sf 0 0 11110 FT 1 00 110 000000 Rn Rd", "fmov {Rd}, {Rn}", each=MOVES)
def fmov_to(Rn: F) -> R:
    return rx(Rn)


@fp("sf 0 0 11110 FT 1 00 111 000000 Rn Rd", "fmov {Rd}, {Rn}", each=MOVES)
def fmov_from(Rn: R) -> F:
    return fx(Rn)


@fp("1 0 0 11110 10 1 01 110 000000 Rn Rd", "fmov {Rd}, {Rn}.d[1]")
def fmov_to_top(Rn: V) -> X:
    return u64(Rn >> 64)


@fp("1 0 0 11110 10 1 01 111 000000 Rn Rd", "fmov {Rd}.d[1], {Rn}")
def fmov_from_top(Rd: V, Rn: X) -> V:
    return u128(u64(Rd)) | u128(Rn) << 64


@a64.extension("jscvt")("0 0 0 11110 01 1 11 110 000000 Rn Rd", "fjcvtzs {Rd}, {Rn}")
def fjcvtzs(h: Core, Rn: D) -> W:
    return to_js(h, Rn)
