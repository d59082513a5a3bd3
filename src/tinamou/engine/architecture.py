"""What the engine must know of an architecture besides its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tinamou.native.types import u32, u64

from .cpu import Cpu

if TYPE_CHECKING:
    from .patterns import BoundIsa, Insn


@dataclass(frozen=True)
class Architecture:
    """One instruction set as the engine runs it; each architecture's folder has its instances in `architecture.py`."""

    name: str  # for people and file names: "riscv64"
    rows: Callable[[], BoundIsa]  # called when something must be compiled or disassembled
    cpu: type[Cpu]
    granule: int  # bytes: instructions start at multiples of it
    unit: int  # bytes: the smallest instruction
    length: Callable[[u32], u64]  # subset function: bytes of the instruction that starts with these bits
    sources: tuple[str, ...]  # packages below tinamou whose text the compiled interpreter depends on
    pair_target: Callable[[int, Insn, int, Insn, int], int | None] = lambda pc, first, word, second, next_word: None
    """Where the second of two instructions in a row jumps, if the first one says so: (pc, first, its word, second, its word)."""
    computed: Callable[[Insn, int], bool] = lambda insn, word: False
    """An indirect jump to where a table, or a pointer to a label, says: neither a return nor a call."""
    intrinsics: Callable[[], dict[Any, Any]] = dict  # the architecture's own intrinsics -> subset functions
    bits: int = 64  # of an address: pc wraps
    system: bool = False  # whole machines: instructions may `switch`; user programs never do
    calls: frozenset[str] = frozenset()  # names of rows that are calls, where no register takes the return address
    refetch: frozenset[str] = frozenset()  # names of rows behind which code counts as it is then

    @cached_property
    def isa(self) -> BoundIsa:
        return self.rows()

    @property
    def shift(self) -> int:
        """Entries are 16 bytes, one a granule: address of an entry = base + (offset in the page << shift)."""
        return 5 - self.granule.bit_length()
