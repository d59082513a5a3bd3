"""What F and D have in common.  The RISC-V Instruction Set Manual, Volume I, 20240411, 20.2-20.7 and 21.2 (NaN boxing).

Every operation takes its operands as bit patterns of format `f` and adds the exceptions to `h.fflags`.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.engine.cpu import Trap
from tinamou.native.floats import (
    host_add,
    host_convert,
    host_div,
    host_equal,
    host_fma,
    host_from_int,
    host_less,
    host_less_equal_signalling,
    host_less_signalling,
    host_mul,
    host_ordered,
    host_sqrt,
    host_sub,
    host_to_int,
)
from tinamou.native.ops import host_float_begin, outlined
from tinamou.native.types import Word, i64, u32, u64
from tinamou.softfloat import arith, compare, convert, fast, fma
from tinamou.softfloat.behaviour import RISCV
from tinamou.softfloat.format import Format

from .state import Hart
from .traps import ILLEGAL_INSTRUCTION

W = TypeVar("W", bound=Word)
V = TypeVar("V", bound=Word)

DYNAMIC = 7
BOXED = 0xFFFF_FFFF  # upper half of a register that holds a single
NAN_S = 0x7FC0_0000

PLAIN = 0
NEGATE_PRODUCT = fma.NEGATE_PRODUCT
NEGATE_ADDEND = fma.NEGATE_ADDEND


def box(single: u32) -> u64:
    return u64(single) | BOXED << 32


def unbox(register: u64) -> u32:
    """What is no boxed single counts as the canonical NaN."""
    return u32(register) if register >> 32 == BOXED else u32(NAN_S)


def rounding(h: Hart, rm: u32) -> u32:
    """The rounding mode of an instruction; 5 and 6 are no instructions in `rm` and illegal in frm."""
    if rm != DYNAMIC:
        return rm
    if h.frm > 4:
        raise Trap(ILLEGAL_INSTRUCTION)
    return h.frm


@outlined
def accrue(h: Hart, flags: u32) -> None:
    """The flags of softfloat are numbered as fflags.  What comes next may be for the host, which knows the modes up to 3."""
    h.fflags = h.fflags | flags
    if h.host_float == 0 and h.frm < 4:
        h.host_float = u64(host_float_begin(h.frm))


def hosted(h: Hart, f: Format[W], rm: u32) -> bool:
    """The host computes this, as its rounding mode is."""
    return fast.hosted(f) and rm == DYNAMIC and h.host_float != 0


def add(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    if hosted(h, f, rm):
        result = host_add(a, b)
        if host_ordered(result):
            return result
    result, flags = arith.add(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def sub(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    if hosted(h, f, rm):
        result = host_sub(a, b)
        if host_ordered(result):
            return result
    result, flags = arith.sub(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def mul(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    if hosted(h, f, rm):
        result = host_mul(a, b)
        if host_ordered(result):
            return result
    result, flags = arith.mul(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def div(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    if hosted(h, f, rm):
        result = host_div(a, b)
        if host_ordered(result):
            return result
    result, flags = arith.div(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def sqrt(h: Hart, f: Format[W], a: W, rm: u32) -> W:
    if hosted(h, f, rm):
        result = host_sqrt(a)
        if host_ordered(result):
            return result
    result, flags = arith.sqrt(f, RISCV, a, rounding(h, rm))
    accrue(h, flags)
    return result


def muladd(h: Hart, f: Format[W], a: W, b: W, c: W, variant: int, rm: u32) -> W:
    """±(a * b) ± c, rounded once."""
    product_sign = f.word(f.sign if variant & NEGATE_PRODUCT else 0)
    addend_sign = f.word(f.sign if variant & NEGATE_ADDEND else 0)
    if hosted(h, f, rm):
        result = host_fma(a ^ product_sign, b, c ^ addend_sign)
        if host_ordered(result):
            return result
    result, flags = fma.fma(f, RISCV, a, b, c, u32(variant), rounding(h, rm))
    accrue(h, flags)
    return result


def minmax(h: Hart, f: Format[W], a: W, b: W, maximum: bool) -> W:
    """IEEE 754-2019 minimumNumber and maximumNumber."""
    if fast.is_number(f, a) and fast.is_number(f, b) and (a | b) & f.magnitude != 0:
        return a if host_less(b, a) == maximum else b
    result, flags = compare.minmax(f, RISCV, "number", maximum, False, a, b, u32(0))
    accrue(h, flags)
    return result


def eq(h: Hart, f: Format[W], a: W, b: W) -> u32:
    if fast.hosted(f) and h.host_float != 0:
        return u32(host_equal(a, b))
    result, flags = compare.eq(f, RISCV, a, b, u32(0))
    accrue(h, flags)
    return result


def lt(h: Hart, f: Format[W], a: W, b: W) -> u32:
    if fast.hosted(f) and h.host_float != 0:
        return u32(host_less_signalling(a, b))
    result, flags = compare.lt(f, RISCV, a, b, u32(0))
    accrue(h, flags)
    return result


def le(h: Hart, f: Format[W], a: W, b: W) -> u32:
    if fast.hosted(f) and h.host_float != 0:
        return u32(host_less_equal_signalling(a, b))
    result, flags = compare.le(f, RISCV, a, b, u32(0))
    accrue(h, flags)
    return result


def classify(f: Format[W], a: W) -> u32:
    """FCLASS: one bit of ten."""
    return u32(1) << compare.classify(f, RISCV, a)


def sign_injected(f: Format[W], a: W, sign: W) -> W:
    """`a` with the topmost bit of `sign`."""
    return (a & f.magnitude) | (sign & f.sign)


def to_int(h: Hart, f: Format[W], t: type[V], a: W, rm: u32) -> V:
    if rm == fast.TOWARD_ZERO and h.host_float != 0 and fast.fits(f, t, a):
        return t(host_to_int(i64, a))
    result, flags = convert.to_int(f, RISCV, t, a, rounding(h, rm))
    accrue(h, flags)
    return result


def from_int(h: Hart, f: Format[W], t: type[V], a: V, rm: u32) -> W:
    mode = rounding(h, rm)
    if fast.exact_integer(f, a) or hosted(h, f, rm):
        return host_from_int(f.word, a)
    result, flags = convert.from_int(f, RISCV, t, a, mode)
    accrue(h, flags)
    return result


def converted(h: Hart, f: Format[W], g: Format[V], a: W, rm: u32) -> V:
    """A number of format f in format g."""
    mode = rounding(h, rm)
    if fast.hosted(g) and (hosted(h, f, rm) or (g.fraction > f.fraction and fast.plain(f, a))):
        result = host_convert(g.word, a)
        if host_ordered(result):
            return result
    result, flags = convert.convert(f, g, RISCV, a, mode)
    accrue(h, flags)
    return result
