"""A hart, 1 MiB of RAM and nothing else: programs of the assembler run to a `wfi` that nothing ends.

The golden model and the compiled engine run them on the same machine.
"""

from __future__ import annotations

import functools
import threading

from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.engine.golden import Golden
from tinamou.engine.system import SystemEngine
from tinamou.isa.riscv import isa
from tinamou.isa.riscv.pseudo import assembler
from tinamou.isa.riscv.system import RV32_SYSTEM, RV64_SYSTEM
from tinamou.isa.riscv.vcpu import RiscvCpu
from tinamou.machine.machine import Machine, Settings
from tinamou.machine.memory import BusError
from tinamou.native.types import u64

RAM = 0x8000_0000
SIZE = 1 << 20
TABLES = RAM + 0x8_0000  # page tables, one page after the other


class GuestMemory:
    """What Golden runs on: the machine's memory through the hart's translation."""

    def __init__(self, hart, memory):
        self.hart, self.memory = hart, memory

    def _pieces(self, access, address, size):
        """Physical addresses by page."""
        first = min(size, 4096 - address % 4096)
        for at, n in ((address, first), (address + first, size - first)):
            if n:
                physical = self.hart.translate(access, u64(at))
                if self.hart.partial and n > 1 and access != EXECUTE:
                    self.hart.check_span(access, u64(at), physical, u64(n))
                yield int(physical), at, n

    def _load(self, access, address, size):
        out = b""
        for physical, at, n in list(self._pieces(access, address, size)):
            try:
                out += self.memory.load(physical, n)
            except BusError:
                self.hart.physical_fault(access, u64(at))
        return out

    def fetch(self, address, size):
        return self._load(EXECUTE, address, size)

    def read(self, address, size):
        return self._load(READ, address, size)

    def write(self, address, data):
        done = 0
        for physical, at, n in list(self._pieces(WRITE, address, len(data))):
            try:
                self.memory.store(physical, data[done : done + n])
            except BusError:
                self.hart.physical_fault(WRITE, u64(at))
            done += n


class Guest:
    """One machine for one program."""

    def __init__(self, engine: str, xlen: int, model: str = "", **properties):
        self.name, self.xlen = engine, xlen
        self.engine = SystemEngine(RV64_SYSTEM if xlen == 64 else RV32_SYSTEM, RiscvCpu)
        self.machine = Machine("test", Settings(), cpu_factory=self.engine.factory)
        self.machine.add_cpu(model or f"rv{xlen}", resetvec=RAM, **properties)
        self.ram = self.machine.ram(RAM, SIZE)
        self.cpu = self.engine.vcpus[0]
        self.hart = self.cpu.cpu
        if engine == "golden":
            self.hart.flush_tlb = self.cpu.flush  # the same, at once
        self.machine.reset("cold")
        self.cpu.set_time()

    def close(self):
        self.engine.close()

    def run(self, text, limit=20_000):
        """Assemble at RAM and run until the hart waits; gives the labels."""
        program = assembler(self.xlen).assemble(text, RAM)
        self.machine.memory.store(RAM, program.data)
        self.go(limit)
        return program.labels

    def go(self, limit=20_000):
        if self.name == "golden":
            self._golden(limit)
            return
        self.hart.halted = u64(0)
        alarm = threading.Timer(10, self.cpu.stop)
        alarm.start()
        self.cpu.run()
        alarm.cancel()
        assert self.cpu.halted, f"the program did not end: pc {self.cpu.pc:#x}"

    def _golden(self, limit):
        hart = self.hart
        golden = Golden(isa(self.xlen), hart, GuestMemory(hart, self.machine.memory), enabled=self.cpu.extensions, address_bits=self.xlen)
        hart.halted = u64(0)
        for _ in range(limit):
            hart.target = hart.pc
            hart.interrupt()
            hart.pc = hart.target
            hart.instructions += 1
            try:
                golden.step()
            except Trap as trap:
                hart.exception(u64(trap.cause), u64(trap.value))
                hart.pc = hart.target
            if hart.halted:
                return
        raise AssertionError(f"the program did not end: pc {int(hart.pc):#x}")

    def x(self, name):
        """A register by its name."""
        return int(self.hart.x[REGISTERS[name]])

    def word(self, address, size=8):
        return int.from_bytes(self.machine.memory.load(address, size), "little")

    def put(self, address, value, size=8):
        self.machine.memory.store(address, value.to_bytes(size, "little"))

    # -- page tables

    def map(self, mode, entries):
        """Make tables that map each (virtual, physical, flags, level), and give satp's value."""
        size, bits, levels = (4, 10, 2) if mode == 1 else (8, 9, mode - 5)
        used = 1
        tables = {(): TABLES}
        for virtual, physical, flags, level in entries:
            path = ()
            for depth in reversed(range(level, levels)):
                table = tables[path]
                index = virtual >> 12 + depth * bits & (1 << bits) - 1
                slot = table + index * size
                path = (*path, index)
                if depth == level:
                    self.put(slot, (physical >> 12) << 10 | flags, size)
                elif path not in tables:
                    tables[path] = TABLES + used * 4096
                    used += 1
                    self.put(slot, tables[path] >> 12 << 10 | 1, size)
        self.tables = tables
        return (mode << 31 if mode == 1 else mode << 60) | TABLES >> 12

    def entry(self, mode, virtual, level=0):
        """The page table entry of an address."""
        size, bits, levels = (4, 10, 2) if mode == 1 else (8, 9, mode - 5)
        path = tuple(virtual >> 12 + d * bits & (1 << bits) - 1 for d in reversed(range(level, levels)))
        return self.word(self.tables[path[:-1]] + path[-1] * size, size)


@functools.cache
def _registers():
    from tinamou.isa.riscv.operands import X_NAMES

    return {name: n for n, name in enumerate(X_NAMES)}


REGISTERS = _registers()
