"""FEAT_BTI: branch targets.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D8.4.5 (guarded pages) and C6.2 (BTI).

PSTATE.BTYPE lives from a branch to the next instruction only, so the branch looks at the instruction that it leads to, if that is on a
guarded page.  The exception is that instruction's: its address is the Trap's value.
"""

from __future__ import annotations

from tinamou.engine.cpu import Trap
from tinamou.native.ops import unlikely
from tinamou.native.types import u32, u64

from .operands import X16, X17, X30, Row, X, a64
from .state import Core
from .traps import BRANCH_TARGET

bti = a64.extension("bti")

HINTS: tuple[Row, ...] = tuple({"name": n, "OP": f"{k:02b}0", "<to>": f" {n}" if n else ""} for k, n in enumerate(("", "c", "j", "jc")))


@bti("11010101000000110010 0100 OP 11111", "bti<to>", name="bti", each=HINTS, over="hint")
def bti_(h: Core) -> None:
    """A place to branch to."""


# Instructions that a branch of a type may lead to.
ANY_BTI, BTI_C, BTI_J, BTI_JC = 0xD503_241F, 0xD503_245F, 0xD503_249F, 0xD503_24DF
PACIASP, PACIBSP = 0xD503_233F, 0xD503_237F
BRK, HLT = 0xD420_0000, 0xD440_0000
CALL, JUMP, LONG_CALL = 2, 3, 1  # BTYPE of BLR; of BR; of BR through X16 and X17


def land(h: Core, target: u64, btype: u32) -> None:
    if not h.is_guarded(target):
        return
    insn = h.load(u32, target)
    fine = insn == BTI_JC or insn & 0xFFE0_001F == BRK or insn & 0xFFE0_001F == HLT
    if btype != JUMP:
        fine = fine or insn == BTI_C or insn == PACIASP or insn == PACIBSP
    if btype != CALL:
        fine = fine or insn == BTI_J
    if not fine:
        raise Trap(u64(btype) | BRANCH_TARGET, target)


def landing(h: Core, target: u64, btype: int) -> u64:
    at = h.branch_target(target)
    if unlikely(h.guarded != 0):
        land(h, at, u32(btype))
    return at


@bti("1101011 0000 11111 000000 Rn 00000", "br {Rn}", name="bti.br", over="br")
def br(h: Core, Rn: X) -> None:
    """From a guarded page a jump; else like a call."""
    at = h.branch_target(Rn)
    if unlikely(h.guarded != 0):
        land(h, at, u32(JUMP) if h.is_guarded(h.pc) else u32(LONG_CALL))  # once: a longer handler has no stencil
    h.jump(at)


@bti("1101011 0000 11111 000000 10000 00000", "br {x16}", name="bti.br.x16", over=("br", "bti.br"))
def br_x16(h: Core, x16: X16) -> None:
    """X16 and X17 are for linkers: like a call from everywhere."""
    h.jump(landing(h, x16, LONG_CALL))


@bti("1101011 0000 11111 000000 10001 00000", "br {x17}", name="bti.br.x17", over=("br", "bti.br"))
def br_x17(h: Core, x17: X17) -> None:
    h.jump(landing(h, x17, LONG_CALL))


@bti("1101011 0001 11111 000000 Rn 00000", "blr {Rn}", name="bti.blr", over="blr")
def blr(h: Core, Rn: X) -> X30:
    h.jump(landing(h, Rn, CALL))
    return h.pc + 4
