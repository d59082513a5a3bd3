"""The golden model: run any architecture in CPython, one instruction after the other, straight from its rows.

    golden = Golden(isa(64), hart, Ram(0x8000_0000, 1 << 20))
    golden.step(100)

An exception of the guest leaves `step` as a Trap with everything but `target` as it was before the instruction: `pc` is its address.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from tinamou.native.types import u64

from .cpu import EXECUTE, READ, WRITE, Cpu, Trap
from .patterns import BoundIsa, Insn

_ATOMIC = {"atomic", "compare_swap"}  # they are refused as stores, though they load first


class Fault(Exception):
    """Memory refuses an access (READ, WRITE or EXECUTE); `address` is the first byte refused."""

    def __init__(self, access: int, address: int) -> None:
        super().__init__(access, address)
        self.access, self.address = access, address


class Memory(Protocol):
    """What the golden model runs on.  Accesses raise Faults, before anything changed."""

    def fetch(self, address: int, size: int) -> bytes: ...
    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class Ram:
    """`size` bytes from address `base`; every other address is refused."""

    def __init__(self, base: int, size: int) -> None:
        self.base, self.data = base, bytearray(size)

    def _at(self, access: int, address: int, size: int) -> int:
        at, end = address - self.base, len(self.data)
        if not 0 <= at < end:
            raise Fault(access, address)
        if at + size > end:
            raise Fault(access, self.base + end)
        return at

    def fetch(self, address: int, size: int) -> bytes:
        at = self._at(EXECUTE, address, size)
        return bytes(self.data[at : at + size])

    def read(self, address: int, size: int) -> bytes:
        at = self._at(READ, address, size)
        return bytes(self.data[at : at + size])

    def write(self, address: int, data: bytes) -> None:
        at = self._at(WRITE, address, len(data))
        self.data[at : at + len(data)] = data


class Golden:
    """One CPU, its memory and the rows that it knows (`enabled`: names of extensions; None: all)."""

    def __init__(self, isa: BoundIsa, cpu: Cpu, memory: Memory, *, enabled: frozenset[str] | None = None, address_bits: int = 64) -> None:
        self.isa, self.cpu, self.memory, self.enabled = isa, cpu, memory, enabled
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

    def _fetch(self) -> tuple[Insn | None, int]:
        pc = int(self.cpu.pc)
        data = b""
        for width in self._widths:
            data += self.memory.fetch(pc + len(data) & self.address_mask, width // 8 - len(data))
            word = int.from_bytes(data, "big" if self.cpu.big_endian else "little")
            found = self._decode(word, width)
            if found or not self._goes_on(word, width):
                break
        return found, word

    def step(self, count: int = 1) -> None:
        """Execute `count` instructions.  Trap of the first that raises one."""
        cpu = self.cpu
        for _ in range(count):
            insn: Insn | None = None
            try:
                insn, word = self._fetch()
                if insn is None:
                    cpu.undefined()
                    raise Trap(0)
                cpu.target = u64(int(cpu.pc) + insn.size & self.address_mask)
                insn.execute(cpu, word)
                if insn.cost != 1:
                    cpu.spend(insn.cost - 1)
            except Fault as fault:
                refused = WRITE if insn and _ATOMIC & set(insn.function.__code__.co_names) else fault.access
                cpu.fault(refused, u64(fault.address))
                raise
            cpu.pc = cpu.target
            self.executed += 1
