"""RISC-V as the engine runs it."""

from __future__ import annotations

from functools import partial
from typing import Any

from tinamou.engine.architecture import Architecture
from tinamou.native.memory import cycle_counter
from tinamou.native.types import u32, u64

from . import isa
from .state import Hart


def length(first: u32) -> u64:
    """Volume I, 1.5: instructions whose two lowest bits are not 11 are compressed."""
    return u64(4) if first & 3 == 3 else u64(2)


def cycles(hart: Hart) -> u64:
    return cycle_counter()


def _intrinsics() -> dict[Any, Any]:
    return {Hart.cycles: cycles}


def _architecture(xlen: int) -> Architecture:
    return Architecture(f"riscv{xlen}", partial(isa, xlen), Hart, 2, 2, length, ("isa/riscv", "softfloat"), _intrinsics)


RV32, RV64 = _architecture(32), _architecture(64)
