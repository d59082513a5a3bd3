"""FEAT_FlagM and FEAT_FlagM2: the condition flags as data.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C6.2."""

from __future__ import annotations

from tinamou.native.types import Word, i8, i16, i64, u32, u64

from .alu import get_nzcv, overflowed, set_nzcv
from .operands import Bits, Row, W, X, a64
from .state import Core

flagm = a64.extension("flagm")
flagm2 = a64.extension("flagm2")

T: type[Word] = Word
K = 0


@flagm("1101010100000 000 0100 0000 000 11111", "cfinv")
def cfinv(h: Core) -> None:
    h.c = h.c ^ 1


@flagm("1 01 11010000 imm6 00001 Rn 0 mask", "rmif {Rn}, #{imm6}, #{mask}")
def rmif(h: Core, Rn: X, imm6: Bits, mask: Bits) -> None:
    """NZCV where the mask has ones: bits 3:0 of Rn rotated right."""
    low = u32(Rn >> imm6 | Rn << 1 << 63 - imm6)
    set_nzcv(h, get_nzcv(h) & ~mask & 15 | low & mask & 15)


SETF: tuple[Row, ...] = ({"name": "8", "SZ": "0", "<n>": "8", "T": i8, "K": 8}, {"name": "16", "SZ": "1", "<n>": "16", "T": i16, "K": 16})


@flagm("0 01 11010000 00000 0 SZ 0010 Rn 0 1101", "setf<n> {Rn}", each=SETF)
def setf(h: Core, Rn: W) -> None:
    """N, Z and V as of a narrow addition whose result Rn is; C stays."""
    h.nz = u64(i64(T(Rn)))
    h.less = u64(Rn >> K & 1)  # N is bit K - 1, and V whether those two differ


@flagm2("1101010100000 000 0100 0000 001 11111", "xaflag")
def xaflag(h: Core) -> None:
    """From the external format of floating-point comparisons to Arm's."""
    c, z = h.c, u64(h.nz == 0)
    h.nz = u64(1 - c & 1 - z) << 63 | u64(1 - (z & c))  # N and Z are never both set, nor are N and V
    h.c = c | z
    h.less = 1 - c


@flagm2("1101010100000 000 0100 0000 010 11111", "axflag")
def axflag(h: Core) -> None:
    v = u64(overflowed(h))
    h.nz = u64(h.nz != 0 and v == 0)
    h.c = h.c & 1 - v
    h.less = u64(0)
