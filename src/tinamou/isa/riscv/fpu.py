"""What F and D have in common.  The RISC-V Instruction Set Manual, Volume I, 20240411, 20.2-20.7 and 21.2 (NaN boxing).

Every operation takes its operands as bit patterns of format `f` and adds the exceptions to `h.fflags`.
"""

from __future__ import annotations

from typing import TypeVar

from tinamou.engine.cpu import Trap
from tinamou.native.types import Word, u32, u64
from tinamou.softfloat import arith, compare, convert, fma
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


def accrue(h: Hart, flags: u32) -> None:
    """The flags of softfloat are numbered as fflags."""
    h.fflags = h.fflags | flags


def add(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    result, flags = arith.add(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def sub(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    result, flags = arith.sub(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def mul(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    result, flags = arith.mul(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def div(h: Hart, f: Format[W], a: W, b: W, rm: u32) -> W:
    result, flags = arith.div(f, RISCV, a, b, rounding(h, rm))
    accrue(h, flags)
    return result


def sqrt(h: Hart, f: Format[W], a: W, rm: u32) -> W:
    result, flags = arith.sqrt(f, RISCV, a, rounding(h, rm))
    accrue(h, flags)
    return result


def muladd(h: Hart, f: Format[W], a: W, b: W, c: W, variant: int, rm: u32) -> W:
    """±(a * b) ± c, rounded once."""
    result, flags = fma.fma(f, RISCV, a, b, c, u32(variant), rounding(h, rm))
    accrue(h, flags)
    return result


def minmax(h: Hart, f: Format[W], a: W, b: W, maximum: bool) -> W:
    """IEEE 754-2019 minimumNumber and maximumNumber."""
    result, flags = compare.minmax(f, RISCV, "number", maximum, False, a, b, u32(0))
    accrue(h, flags)
    return result


def eq(h: Hart, f: Format[W], a: W, b: W) -> u32:
    result, flags = compare.eq(f, RISCV, a, b, u32(0))
    accrue(h, flags)
    return result


def lt(h: Hart, f: Format[W], a: W, b: W) -> u32:
    result, flags = compare.lt(f, RISCV, a, b, u32(0))
    accrue(h, flags)
    return result


def le(h: Hart, f: Format[W], a: W, b: W) -> u32:
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
    result, flags = convert.to_int(f, RISCV, t, a, rounding(h, rm))
    accrue(h, flags)
    return result


def from_int(h: Hart, f: Format[W], t: type[V], a: V, rm: u32) -> W:
    result, flags = convert.from_int(f, RISCV, t, a, rounding(h, rm))
    accrue(h, flags)
    return result


def converted(h: Hart, f: Format[W], g: Format[V], a: W, rm: u32) -> V:
    """A number of format f in format g."""
    result, flags = convert.convert(f, g, RISCV, a, rounding(h, rm))
    accrue(h, flags)
    return result
