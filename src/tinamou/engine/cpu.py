"""What every CPU has, whatever its architecture: a program counter, memory, and a way to raise exceptions.

An architecture's state is a `Cpu` with its registers as further fields.  Under CPython (the golden model) memory is an object with
`read(address, size) -> bytes` and `write(address, data)`; in compiled code the same methods are the soft MMU of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from tinamou.native.ops import intrinsic
from tinamou.native.types import Struct, Word, u64

W = TypeVar("W", bound=Word)


class Trap(Exception):
    """A synchronous exception of the guest: `cause` as the architecture numbers it, and its value (an address, an instruction)."""

    def __init__(self, cause: int, value: int = 0) -> None:
        super().__init__(int(cause), int(value))
        self.cause, self.value = int(cause), int(value)

    def __str__(self) -> str:
        return f"exception {self.cause}, value {self.value:#x}"


class Cpu(Struct):
    """State of one virtual CPU, in memory that compiled code shares."""

    big_endian: ClassVar[bool] = False

    pc: u64  # address of the current instruction; while compiled code runs it lives in registers
    target: u64  # golden model: where the next instruction is; compiled code: where a jump wants to go
    _memory: Any

    def jump(self, target: Word) -> None:
        """Continue at `target` after this instruction."""
        _jump(self, target)

    @intrinsic
    def load(self, kind: type[W], address: Word) -> W:
        """Read guest memory; may raise a Trap before anything changed."""
        data = self._memory.read(int(address), kind.size)
        return kind(int.from_bytes(data, "big" if self.big_endian else "little"))

    @intrinsic
    def store(self, kind: type[W], address: Word, value: W) -> None:
        """Write guest memory; may raise a Trap before anything changed."""
        if type(value) is not kind:
            raise TypeError(f"a {type(value).__name__} is stored as {kind.__name__}")
        data = (int(value) & kind.mask).to_bytes(kind.size, "big" if self.big_endian else "little")
        self._memory.write(int(address), data)

    @intrinsic
    def atomic(self, operation: str, kind: type[W], address: Word, value: W) -> W:
        """Read-modify-write guest memory in one step; gives the old value.

        Operations: swap add and or xor min max (signedness by `kind`).  The address is a multiple of the size: check it before.
        """
        old = self.load(kind, address)
        self.store(kind, address, kind(ATOMIC[operation](old, value)))
        return old

    @intrinsic
    def compare_swap(self, kind: type[W], address: Word, expected: W, value: W) -> W:
        """Store `value` if memory holds `expected`, in one step; gives what memory held."""
        old = self.load(kind, address)
        if old == expected:
            self.store(kind, address, value)
        return old

    @intrinsic
    def fence(self) -> None:
        """Order all earlier memory accesses before all later ones, for other CPUs too."""


ATOMIC: dict[str, Callable[[Any, Any], Any]] = {
    "swap": lambda old, new: new,
    "add": lambda old, new: old + new,
    "and": lambda old, new: old & new,
    "or": lambda old, new: old | new,
    "xor": lambda old, new: old ^ new,
    "min": min,
    "max": max,
}


@intrinsic
def _jump(cpu: Cpu, target: Word) -> None:
    cpu.target = u64(int(target) & 0xFFFF_FFFF_FFFF_FFFF)
