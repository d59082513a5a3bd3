"""AArch64: the A64 instruction set."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinamou.engine.patterns import BoundIsa


@functools.cache
def isa() -> BoundIsa:
    """Every A64 instruction: the rows of the modules here named `base...`, `csr...` or `ext_...`."""
    from .operands import a64

    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith(("base", "csr", "ext_")):
            importlib.import_module(f"{__name__}.{module.name}")
    return a64.bind()


@functools.cache
def system_isa() -> BoundIsa:
    """The same for whole machines, where instructions of SIMD and floating point may be trapped."""
    import copy

    from tinamou.engine.softmmu import float_unit

    from .operands import a64
    from .system import FLOAT

    isa()
    rows = a64.bind()
    guarded = copy.copy(a64)
    guarded.guards = dict.fromkeys(FLOAT, float_unit)
    for row in rows.insns:
        row.isa = guarded
    return rows
