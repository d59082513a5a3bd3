"""RISC-V as the engine runs it."""

from __future__ import annotations

from tinamou.engine.architecture import Architecture
from tinamou.native.memory import cycle_counter
from tinamou.native.types import i32, i64, u32, u64

from . import base, csr, ext_a, ext_b, ext_c, ext_fd, ext_m, ext_zifencei
from .operands import rv
from .state import Hart

ROWS = (base, csr, ext_a, ext_b, ext_c, ext_fd, ext_m, ext_zifencei)  # importing them described them


def length(first: u32) -> u64:
    """Volume I, 1.5: instructions whose two lowest bits are not 11 are compressed."""
    return u64(4) if first & 3 == 3 else u64(2)


def cycles(hart: Hart) -> u64:
    return cycle_counter()


def _architecture(xlen: int) -> Architecture:
    types = (u64, i64) if xlen == 64 else (u32, i32)
    return Architecture(
        name=f"riscv{xlen}",
        isa=rv.bind(ux=types[0], ix=types[1], XLEN=xlen),
        cpu=Hart,
        granule=2,
        unit=2,
        length=length,
        sources=("isa/riscv", "softfloat"),
        intrinsics={Hart.cycles: cycles},
    )


RV32, RV64 = _architecture(32), _architecture(64)
