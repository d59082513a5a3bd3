"""A core, 4 MiB of RAM and nothing else: programs run to a `wfi` that nothing ends."""

from __future__ import annotations

from support.arm64_assembler import assembled
from support.bare_machine import BareMachine
from tinamou.isa.arm64.state import SP
from tinamou.isa.arm64.system import A64_SYSTEM
from tinamou.isa.arm64.vcpu import Arm64Cpu
from tinamou.machine.memory import Io

RAM = 0x4000_0000
SIZE = 4 << 20
TABLES = RAM + 0x10_0000  # translation tables, one behind the other
END = 0x900_0000  # a write here lowers all interrupt inputs: `wfi` ends the program then
DATA = RAM + 0x1_0000


class Guest(BareMachine):
    """One machine for one program."""

    def __init__(self, engine: str, model: str = "max", **properties):
        super().__init__(engine, A64_SYSTEM, Arm64Cpu, model, RAM, SIZE, rvbar=RAM, **properties)
        self.core = self.state
        self.used = 0

    def furnish(self):
        self.machine.memory.root.add(END, Io("end", 0x1000, self))
        self.clock = self.machine.clock(62_500_000)
        self.cpu.timebase(self.clock)

    def assemble(self, text):
        return assembled(text, RAM)

    def read(self, offset, size):
        return 0

    def write(self, offset, value, size):
        for name in self.cpu.lines:
            self.cpu.line(name)(False)

    def x(self, number):
        """A general register, or "sp"."""
        return int(self.core.x[SP if number == "sp" else number])

    # -- translation tables

    def tables(self, size=1, granule=12):
        """Room for so many empty tables."""
        align = size << granule
        at = (TABLES + self.used * 0x1000 + align - 1) // align * align
        self.used = (at - TABLES + (size << granule)) // 0x1000
        self.machine.memory.store(at, bytes(size << granule))
        return at

    def map(self, entries, granule=12, bits=48, root=None, first=None):
        """Tables that map each (virtual, physical, attributes, level) of addresses of so many bits; gives the address of the first.

        `attributes` are the descriptor but for the address and bits 1:0.
        """
        stride = granule - 3
        start = 4 - -(-(bits - granule) // stride) if first is None else first
        if root is None:
            root = self.tables(granule=granule)
        known = self.__dict__.setdefault("known", {})
        for virtual, physical, attributes, level in entries:
            table, path = root, (root,)
            for depth in range(start, level + 1):
                shift = (3 - depth) * stride + granule
                low = virtual & (1 << bits) - 1
                index = low >> shift if depth == start else low >> shift & (1 << stride) - 1
                slot = table + index * 8
                path = (*path, index)
                if depth == level:
                    self.put(slot, physical | attributes | (3 if level == 3 else 1))
                    self.slots = {**getattr(self, "slots", {}), virtual: slot}
                elif path not in known:
                    known[path] = self.tables(granule=granule)
                    self.put(slot, known[path] | 3)
                if depth < level:
                    table = known[path]
        return root

    def entry(self, virtual):
        """The last descriptor that `map` wrote for an address, as it is now."""
        return self.word(self.slots[virtual])
