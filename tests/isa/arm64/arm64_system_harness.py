"""A core, 4 MiB of RAM and nothing else: programs run to a `wfi` that nothing ends.

The golden model and the compiled engine run them on the same machine.
"""

from __future__ import annotations

import threading

from support.arm64_assembler import assembled
from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.engine.golden import Golden
from tinamou.engine.system import SystemEngine
from tinamou.isa.arm64 import system_isa
from tinamou.isa.arm64.state import SP
from tinamou.isa.arm64.system import A64_SYSTEM
from tinamou.isa.arm64.vcpu import Arm64Cpu
from tinamou.machine.machine import Machine, Settings
from tinamou.machine.memory import BusError, Io
from tinamou.native.types import u64

RAM = 0x4000_0000
SIZE = 4 << 20
TABLES = RAM + 0x10_0000  # translation tables, one behind the other
END = 0x900_0000  # a write here lowers all interrupt inputs: `wfi` ends the program then
DATA = RAM + 0x1_0000


class GuestMemory:
    """What Golden runs on: the machine's memory through the core's translation."""

    def __init__(self, core, memory):
        self.core, self.memory = core, memory

    def _pieces(self, access, address, size):
        """Physical addresses by page."""
        first = min(size, 4096 - address % 4096)
        for at, n in ((address, first), (address + first, size - first)):
            if n:
                yield int(self.core.translate(access, u64(at))), at, n

    def _checked(self, access, address, size):
        pieces = list(self._pieces(access, address, size))
        if access != EXECUTE and address % size:
            self.core.misaligned(access, u64(address))
        return pieces

    def _load(self, access, address, size):
        out = b""
        for physical, at, n in self._checked(access, address, size):
            try:
                out += self.memory.load(physical, n)
            except BusError:
                self.core.physical_fault(access, u64(at))
        return out

    def fetch(self, address, size):
        return self._load(EXECUTE, address, size)

    def read(self, address, size):
        return self._load(READ, address, size)

    def write(self, address, data):
        done = 0
        for physical, at, n in self._checked(WRITE, address, len(data)):
            try:
                self.memory.store(physical, data[done : done + n])
            except BusError:
                self.core.physical_fault(WRITE, u64(at))
            done += n


class Guest:
    """One machine for one program."""

    def __init__(self, engine: str, model: str = "max", **properties):
        self.name = engine
        self.engine = SystemEngine(A64_SYSTEM, Arm64Cpu)
        self.machine = Machine("test", Settings(), cpu_factory=self.engine.factory)
        self.machine.add_cpu(model, rvbar=RAM, **properties)
        self.ram = self.machine.ram(RAM, SIZE)
        self.machine.memory.root.add(END, Io("end", 0x1000, self))
        self.cpu = self.engine.vcpus[0]
        self.core = self.cpu.cpu
        if engine == "golden":
            self.core.flush_tlb = self.cpu.flush  # the same, at once
        self.clock = self.machine.clock(62_500_000)
        self.cpu.timebase(self.clock)
        self.machine.reset("cold")
        self.cpu.set_time()
        self.used = 0

    def read(self, offset, size):
        return 0

    def write(self, offset, value, size):
        for name in self.cpu.lines:
            self.cpu.line(name)(False)

    def close(self):
        self.engine.close()

    def run(self, text, limit=20_000):
        """Assemble at RAM and run until the core waits; gives the labels."""
        data, labels = assembled(text, RAM)
        self.machine.memory.store(RAM, data)
        self.go(limit)
        return labels

    def go(self, limit=20_000):
        if self.name == "golden":
            self._golden(limit)
            return
        self.core.halted = u64(0)
        alarm = threading.Timer(10, self.cpu.stop)
        alarm.start()
        self.cpu.run()
        alarm.cancel()
        assert self.cpu.halted, f"the program did not end: pc {self.cpu.pc:#x}"

    def _golden(self, limit):
        core = self.core
        golden = Golden(system_isa(), core, GuestMemory(core, self.machine.memory), enabled=self.cpu.extensions)
        core.halted = u64(0)
        for _ in range(limit):
            core.target = core.pc
            core.interrupt()
            core.pc = core.target
            core.instructions += 1
            try:
                golden.step()
            except Trap as trap:
                core.exception(u64(trap.cause), u64(trap.value))
                core.pc = core.target
            if core.halted:
                return
        raise AssertionError(f"the program did not end: pc {int(core.pc):#x}")

    def x(self, number):
        """A general register, or "sp"."""
        return int(self.core.x[SP if number == "sp" else number])

    def word(self, address, size=8):
        return int.from_bytes(self.machine.memory.load(address, size), "little")

    def put(self, address, value, size=8):
        self.machine.memory.store(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

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
