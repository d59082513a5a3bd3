"""AVR as the engine runs it: a Harvard architecture whose budget is cycles."""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

from tinamou.engine.architecture import Architecture
from tinamou.native.types import u32, u64

from . import isa
from .state import STATES


def length(first: u32) -> u64:
    """jmp, call, lds and sts have two words."""
    return u64(4) if first & 0xFE0C == 0x940C or first & 0xFC0F == 0x9000 else u64(2)


def _intrinsics() -> dict[Any, Any]:
    from tinamou.engine.harvard import INTRINSICS

    return dict(INTRINSICS)


@functools.cache
def architecture(core: str = "e", wide: bool = False) -> Architecture:
    """A core (operands.CORES) with a program counter of 16 or 22 bits."""
    name = "avr" + ("" if core == "e" else core) + ("-wide" if wide else "")
    rows, calls = partial(isa, core, wide), frozenset(("rcall", "call", "icall", "eicall"))
    return Architecture(name, rows, STATES[core, wide], 2, 2, length, ("isa/avr",), calls=calls, intrinsics=_intrinsics, bits=32)


AVR, AVR_WIDE = architecture(), architecture("e", True)
