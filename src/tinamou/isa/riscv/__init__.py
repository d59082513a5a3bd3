"""RISC-V, RV32 and RV64 from one description."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinamou.engine.patterns import BoundIsa


@functools.cache
def isa(xlen: int) -> BoundIsa:
    """Every instruction of RV32 or RV64: the rows of `base` and of all modules here named `ext_...` or `csr...`."""
    from tinamou.native.types import i32, i64, u32, u64

    from .operands import rv

    for module in pkgutil.iter_modules(__path__):
        if module.name == "base" or module.name.startswith(("ext_", "csr")):
            importlib.import_module(f"{__name__}.{module.name}")
    return rv.bind(ux=u64, ix=i64, XLEN=64) if xlen == 64 else rv.bind(ux=u32, ix=i32, XLEN=32)
