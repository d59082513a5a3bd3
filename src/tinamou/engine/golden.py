"""The golden model: run any architecture in CPython, one instruction after the other, straight from its rows.

    ram = Ram(0x8000_0000, 1 << 20, fetch_fault=1, load_fault=5, store_fault=7)
    golden = Golden(isa(64), hart, ram, illegal=2)
    golden.step(100)

An exception of the guest leaves `step` as a Trap with everything but `target` as it was before the instruction: `pc` is its address.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from .cpu import Cpu, Trap
from .patterns import BoundIsa, Insn


class Memory(Protocol):
    """What the golden model runs on: physical memory, or an MMU.  Accesses raise Traps."""

    def fetch(self, address: int, size: int) -> bytes: ...
    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Ram:
    """`size` bytes from address `base`.  An access to anything else is a Trap of the given cause whose value is the first bad address."""

    def __init__(self, base: int, size: int, *, fetch_fault: int, load_fault: int, store_fault: int) -> None:
        self.base, self.data = base, bytearray(size)
        self.fetch_fault, self.load_fault, self.store_fault = fetch_fault, load_fault, store_fault

    def _at(self, address: int, size: int, cause: int) -> int:
        at = address - self.base
        if at < 0 or at + size > len(self.data):
            raise Trap(cause, max(address, self.base + len(self.data)) if at >= 0 else address)
        return at

    def fetch(self, address: int, size: int) -> bytes:
        at = self._at(address, size, self.fetch_fault)
        return bytes(self.data[at : at + size])

    def read(self, address: int, size: int) -> bytes:
        at = self._at(address, size, self.load_fault)
        return bytes(self.data[at : at + size])

    def write(self, address: int, data: bytes) -> None:
        at = self._at(address, len(data), self.store_fault)
        self.data[at : at + len(data)] = data


class Golden:
    """One CPU, its memory and the rows that it knows (`enabled`: names of extensions; None: all).

    `illegal` is the cause of the Trap for words that are no instruction; the Trap's value is the word.
    """

    def __init__(
        self, isa: BoundIsa, cpu: Cpu, memory: Memory, *, illegal: int, enabled: frozenset[str] | None = None, address_bits: int = 64
    ) -> None:
        self.isa, self.cpu, self.memory = isa, cpu, memory
        self.illegal, self.enabled = illegal, enabled
        self.address_mask = (1 << address_bits) - 1
        self.executed = 0
        self._decoded: dict[tuple[int, int], Insn | None] = {}
        cpu._memory = memory

    @cached_property
    def _widths(self) -> list[int]:
        return sorted({i.width for i in self.isa.insns})

    def _decode(self, word: int, width: int) -> Insn | None:
        key = word, width
        if key not in self._decoded:
            rows = (i for i in self.isa.ordered if i.width == width and (self.enabled is None or i.extension in self.enabled))
            self._decoded[key] = next((i for i in rows if i.matches(word)), None)
        return self._decoded[key]

    def _goes_on(self, word: int, width: int) -> bool:
        """Whether some longer instruction starts with these bits."""
        for i in self.isa.insns:
            skip = i.width - width if self.cpu.big_endian else 0
            if i.width > width and not (i.value >> skip ^ word) & i.mask >> skip & (1 << width) - 1:
                return True
        return False

    def fetch(self) -> tuple[Insn, int]:
        """The instruction at `pc` and its word.  No byte behind it is read."""
        order = "big" if self.cpu.big_endian else "little"
        pc = int(self.cpu.pc)
        data = b""
        for width in self._widths:
            data += self.memory.fetch(pc + len(data) & self.address_mask, width // 8 - len(data))
            word = int.from_bytes(data, order)  # type: ignore[arg-type]
            if found := self._decode(word, width):
                return found, word
            if not self._goes_on(word, width):
                break
        raise Trap(self.illegal, word)

    def step(self, count: int = 1) -> None:
        """Execute `count` instructions; Trap of the first that raises one."""
        cpu = self.cpu
        for _ in range(count):
            insn, word = self.fetch()
            cpu.target = type(cpu.pc)(int(cpu.pc) + insn.size & self.address_mask)
            insn.execute(cpu, word)
            cpu.pc = cpu.target
            self.executed += 1
