"""One CPU, RAM and nothing else: programs run to an instruction that waits for interrupts, and nothing ends the waiting.

The golden model and the compiled engine run them on the same machine; "regions" is the compiled engine in small slices, with a region
around each place where one ends.  Each architecture's harness says what its CPU is.
"""

from __future__ import annotations

import threading

from support.told import MachineJit
from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.engine.golden import Golden
from tinamou.engine.system import SystemEngine
from tinamou.machine.machine import Machine, Settings
from tinamou.machine.memory import BusError
from tinamou.native.types import u64

SLICE = 40  # instructions


class GuestMemory:
    """What Golden runs on: the machine's memory through the CPU's translation."""

    def __init__(self, cpu, memory):
        self.cpu, self.memory = cpu, memory

    def _pieces(self, access, address, size):
        """(physical address, virtual address, bytes) by page; the CPU raises for what is forbidden."""
        if self.cpu.triggers and access != EXECUTE:
            self.cpu.trigger(access, u64(address), u64(size))
        out = []
        first = min(size, 4096 - address % 4096)
        for at, n in ((address, first), (address + first, size - first)):
            if n:
                physical = self.cpu.translate(access, u64(at))
                if self.cpu.partial and n > 1 and access != EXECUTE:
                    self.cpu.check_span(access, u64(at), physical, u64(n))
                out.append((int(physical), at, n))
        if access != EXECUTE and address % size:
            self.cpu.misaligned(access, u64(address))
        return out

    def _load(self, access, address, size):
        out = b""
        for physical, at, n in self._pieces(access, address, size):
            try:
                out += self.memory.load(physical, n)
            except BusError:
                self.cpu.physical_fault(access, u64(at))
        return out

    def fetch(self, address, size):
        return self._load(EXECUTE, address, size)

    def read(self, address, size):
        return self._load(READ, address, size)

    def write(self, address, data):
        done = 0
        for physical, at, n in self._pieces(WRITE, address, len(data)):
            try:
                self.memory.store(physical, data[done : done + n])
            except BusError:
                self.cpu.physical_fault(WRITE, u64(at))
            done += n


def golden(cpu, machine):
    """The golden model on a machine's CPU."""
    arch = cpu.engine.arch
    return Golden(arch.isa, cpu.cpu, GuestMemory(cpu.cpu, machine.memory), enabled=cpu.extensions, address_bits=arch.bits)


def step(model):
    """One instruction of the golden model with its exception, behind the interrupt that is pending."""
    cpu = model.cpu
    cpu.target = cpu.pc
    cpu.interrupt()
    cpu.pc = cpu.target
    cpu.instructions += 1
    try:
        if cpu.triggers:
            cpu.trigger(EXECUTE, cpu.pc, u64(1))
        model.step()
    except Trap as trap:
        cpu.exception(u64(trap.cause), u64(trap.value))
        cpu.pc = cpu.target


class BareMachine:
    """One machine for one program; `state` is the first CPU's, `cpu` what the engine knows of it."""

    def __init__(self, engine, architecture, make_cpu, model, ram, size, cpus=1, **properties):
        self.name, self.base = engine, ram
        self.engine = SystemEngine(architecture, make_cpu, jit="traces")
        self.machine = Machine("test", Settings(), cpu_factory=self.engine.factory)
        for _ in range(cpus):
            self.machine.add_cpu(model, **properties)
        self.ram = self.machine.ram(ram, size)
        self.cpu = self.engine.vcpus[0]
        self.state = self.cpu.cpu
        if engine == "regions":
            self.engine.jit = MachineJit(self.engine.code)
        if engine == "golden":
            self.state.flush_tlb = self.cpu.flush  # the same, at once
        self.furnish()
        self.machine.reset("cold")
        self.cpu.set_time()

    def furnish(self):
        """Add what else the machine has."""

    def assemble(self, text):
        """(bytes, labels) of a program at the beginning of RAM."""
        raise NotImplementedError

    def close(self):
        self.engine.close()

    def run(self, text, limit=20_000):
        """Assemble and run until the CPU waits; gives the labels."""
        data, labels = self.assemble(text)
        self.machine.memory.store(self.base, data)
        self.go(limit)
        return labels

    def go(self, limit=20_000):
        self.state.halted = u64(0)
        if self.name == "golden":
            self._golden(limit)
            return
        alarm = threading.Timer(10, self.cpu.stop)
        alarm.start()
        if self.name == "regions":
            while not self.cpu.halted and alarm.is_alive():
                self.cpu.run_some(SLICE)
                self.engine.jit.at(self.cpu)
        else:
            self.cpu.run()
        alarm.cancel()
        assert self.cpu.halted, f"the program did not end: pc {self.cpu.pc:#x}"

    def _golden(self, limit):
        model = golden(self.cpu, self.machine)
        for _ in range(limit):
            step(model)
            if self.state.halted:
                return
        raise AssertionError(f"the program did not end: pc {self.cpu.pc:#x}")

    def word(self, address, size=8):
        return int.from_bytes(self.machine.memory.load(address, size), "little")

    def put(self, address, value, size=8):
        self.machine.memory.store(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))
