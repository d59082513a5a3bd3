"""Zifencei: instruction-fetch fence.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapter 6."""

from __future__ import annotations

from .operands import rv
from .state import Hart

rv_zifencei = rv.extension("zifencei")


@rv_zifencei("imm[11:0] rs1 001 rd 0001111", "fence.i")
def fence_i(h: Hart) -> None:
    h.fence()
    h.fence_code()
