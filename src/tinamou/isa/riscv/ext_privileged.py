"""Privileged instructions.  The RISC-V Instruction Set Manual, Volume II, 20240411, 3.3 and 10.2; they are illegal in user mode."""

from __future__ import annotations

from tinamou.native.types import u64

from .operands import X, rv
from .state import Hart

rv_machine = rv.extension("i")
rv_supervisor = rv.extension("s")


@rv_machine("0011000 00010 00000 000 00000 1110011", "mret")
def mret(h: Hart) -> None:
    h.switch(h.mret())


@rv_supervisor("0001000 00010 00000 000 00000 1110011", "sret")
def sret(h: Hart) -> None:
    h.switch(h.sret())


@rv_machine("0001000 00101 00000 000 00000 1110011", "wfi")
def wfi(h: Hart) -> None:
    h.wait()
    h.switch(h.pc + 4)


# Translations carry no ASID, so the fence for one of them is the fence for all.


@rv_supervisor("0001001 rs2 00000 000 00000 1110011", "sfence.vma zero,{rs2}", name="sfence.vma.zero", over="sfence.vma")
def sfence_vma_zero(h: Hart, rs2: X) -> None:
    h.fence_translations()
    h.switch(h.pc + 4)


@rv_supervisor("0001001 rs2 rs1 000 00000 1110011", "sfence.vma {rs1},{rs2}")
def sfence_vma(h: Hart, rs1: X, rs2: X) -> None:
    h.fence_translation(u64(rs1))
    h.switch(h.pc + 4)
