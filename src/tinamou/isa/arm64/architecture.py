"""AArch64 as the engine runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinamou.engine.architecture import Architecture
from tinamou.native.memory import call_host, cycle_counter
from tinamou.native.types import u32, u64

from . import isa
from .state import Core

if TYPE_CHECKING:
    from tinamou.engine.patterns import Insn


def length(first: u32) -> u64:
    """Every A64 instruction has four bytes."""
    return u64(4)


def counter(core: Core) -> u64:
    return cycle_counter()


NOISE = Core.fields["noise"].offset


def random(core: Core) -> u64:
    call_host(core.getrandom, core.address + NOISE, u64(8), u64(0), u64(0))
    return core.noise


def _intrinsics() -> dict[Any, Any]:
    from . import compiled  # noqa: F401  (it registers them)

    return {Core.counter: counter, Core.random: random}


def computed(insn: Insn, word: int) -> bool:
    """BR.  Procedure linkage tables jump by it, too; but those have no loops."""
    return insn.name in ("br", "bti.br", "bti.br.x16", "bti.br.x17")


REFETCH = frozenset({"isb"})
_SOURCES = ("isa/arm64", "softfloat")
ARM64 = Architecture("aarch64", isa, Core, 4, 4, length, _SOURCES, computed=computed, intrinsics=_intrinsics, refetch=REFETCH)
