"""AVR: the 8-bit RISC of Atmel and Microchip."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinamou.engine.patterns import BoundIsa


@functools.cache
def isa(core: str = "e", wide: bool = False) -> BoundIsa:
    """Every instruction of a core (operands.CORES): the rows of `base` and of all modules here named `ext_...`.

    `wide`: the program counter has 22 bits.
    """
    from .operands import avr

    for module in pkgutil.iter_modules(__path__):
        if module.name == "base" or module.name.startswith("ext_"):
            importlib.import_module(f"{__name__}.{module.name}")
    return avr.bind(CORE=core, WIDE=wide)
