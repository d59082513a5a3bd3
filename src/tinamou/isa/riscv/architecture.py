"""RISC-V as the engine runs it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from tinamou.engine.architecture import Architecture
from tinamou.native.memory import cycle_counter
from tinamou.native.types import u32, u64

from . import isa
from .state import Hart

if TYPE_CHECKING:
    from tinamou.engine.patterns import Insn


def length(first: u32) -> u64:
    """Volume I, 1.5: instructions whose two lowest bits are not 11 are compressed."""
    return u64(4) if first & 3 == 3 else u64(2)


def cycles(hart: Hart) -> u64:
    return cycle_counter()


def pair_target(pc: int, first: Insn, word: int, second: Insn, next_word: int) -> int | None:
    """The target of auipc rd; jalr rd: how calls to anywhere are written."""
    if first.name != "auipc" or second.name != "jalr" or first.field(word, "rd") != second.field(next_word, "rs1"):
        return None
    upper = next(first.number(word, op) for op in first.operands)
    offset = next(second.number(next_word, op) for op in second.operands if op.name == "imm")
    mask = (1 << first.operands[0].type.bits) - 1
    return pc + upper + offset & mask & ~1


def computed(insn: Insn, word: int) -> bool:
    """Volume I, 2.5.1: x1 and x5 are link registers."""
    return insn.name in ("jalr", "c.jr") and insn.field(word, "rs1") not in (1, 5) and (insn.name == "c.jr" or insn.field(word, "rd") == 0)


def _intrinsics() -> dict[Any, Any]:
    return {Hart.cycles: cycles}


REFETCH = frozenset({"fence.i"})


def _architecture(xlen: int) -> Architecture:
    sources, rows = ("isa/riscv", "softfloat"), partial(isa, xlen)
    return Architecture(f"riscv{xlen}", rows, Hart, 2, 2, length, sources, pair_target, computed, _intrinsics, xlen, refetch=REFETCH)


RV32, RV64 = _architecture(32), _architecture(64)
