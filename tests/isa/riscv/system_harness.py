"""A hart, 1 MiB of RAM and nothing else: programs of the assembler run to a `wfi` that nothing ends."""

from __future__ import annotations

import functools

from support.bare_machine import BareMachine
from tinamou.isa.riscv.pseudo import assembler
from tinamou.isa.riscv.system import RV32_SYSTEM, RV64_SYSTEM
from tinamou.isa.riscv.vcpu import RiscvCpu

RAM = 0x8000_0000
SIZE = 1 << 20
TABLES = RAM + 0x8_0000  # page tables, one page after the other


class Guest(BareMachine):
    """One machine for one program."""

    def __init__(self, engine: str, xlen: int, model: str = "", **properties):
        self.xlen = xlen
        architecture = RV64_SYSTEM if xlen == 64 else RV32_SYSTEM
        super().__init__(engine, architecture, RiscvCpu, model or f"rv{xlen}", RAM, SIZE, resetvec=RAM, **properties)
        self.hart = self.state

    def assemble(self, text):
        program = assembler(self.xlen).assemble(text, RAM)
        return program.data, program.labels

    def x(self, name):
        """A register by its name."""
        return int(self.hart.x[REGISTERS[name]])

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
