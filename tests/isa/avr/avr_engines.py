"""One instruction, or a few, on the golden model, on the compiled interpreter and on simavr, from the same state."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from tinamou.engine.golden import Golden
from tinamou.engine.patterns import BoundIsa, Insn
from tinamou.isa.avr import isa
from tinamou.isa.avr.architecture import architecture
from tinamou.isa.avr.models import MODELS, Model
from tinamou.isa.avr.runner import AvrEngine
from tinamou.isa.avr.state import DATA, Avr
from tinamou.isa.avr.vcpu import AvrVcpu
from tinamou.machine.machine import Machine, Settings
from tinamou.native.types import i64, u8, u64


@dataclass
class State:
    """What an instruction sees; `pc` in bytes, `flash` by address."""

    pc: int = 0x100
    r: list[int] = field(default_factory=lambda: [0] * 32)
    sreg: int = 0
    sp: int = 0x300
    rampz: int = 0
    eind: int = 0
    sram: bytes = b""
    cycles: int = 0

    def registers(self) -> tuple[object, ...]:
        return self.pc, self.r, self.sreg, self.sp, self.rampz, self.eind, self.cycles


class Space:
    """Flash and data space of the golden model, without devices: where nothing is, loads give 0."""

    def __init__(self, cpu: Avr, flash: bytearray, part: Model) -> None:
        self.cpu, self.flash, self.part = cpu, flash, part
        self.data = bytearray(65536)
        self.told: list[tuple[int, int, int]] = []

    def fetch(self, address: int, size: int) -> bytes:
        return bytes(self.flash[(address + k) % len(self.flash)] for k in range(size))

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._read(address + k & 0xFFFF) for k in range(size))

    def _read(self, address: int) -> int:
        return int(self.cpu.own_load(u64(address))) if self.cpu.is_own(u64(address)) else self.data[address]

    def is_ram(self, address: int) -> bool:
        return self.part.ram <= address < self.part.ram + self.part.sram

    def write(self, address: int, data: bytes) -> None:
        for k, value in enumerate(data):
            at = address + k & 0xFFFF
            if self.cpu.is_own(u64(at)):
                self.cpu.own_store(u64(at), u8(value))
            elif self.is_ram(at):
                self.data[at] = value

    def tell(self, what: int, address: int, value: int) -> int:
        self.told.append((what, address, value))
        return 0


class GoldenAvr:
    name = "golden"

    def __init__(self, part: Model, flash: bytearray) -> None:
        self.part = part
        self.arch = architecture(part.core, part.wide)
        cpu = self.arch.cpu()
        assert isinstance(cpu, Avr)
        self.cpu = cpu
        cpu.own, cpu.code_mask = u64(part.own), u64(part.flash - 1)
        self.space = Space(cpu, flash, part)
        self.golden = Golden(isa(part.core, part.wide), cpu, self.space, enabled=part.extensions)

    def run(self, state: State, count: int = 1) -> State:
        cpu, part = self.cpu, self.part
        cpu.pc, cpu.budget = u64(state.pc), i64(0)
        write_registers(cpu, state)
        self.space.data[part.ram : part.ram + part.sram] = state.sram
        self.golden.step(count)
        sram = bytes(self.space.data[part.ram : part.ram + part.sram])
        return read_state(cpu, sram, state.cycles + count - int(cpu.budget))


class CompiledAvr:
    name = "compiled"

    def __init__(self, part: Model, flash: bytearray) -> None:
        self.part = part
        self.engine, self.machine, self.cpu = bare_machine(part.name)
        self.source, self.flash = flash, self.machine.rams["flash"]
        self.sram = self.machine.rams["sram"]
        self.flash.buffer[:] = flash

    def run(self, state: State, count: int = 1) -> State:
        self.put(state)
        before = self.cpu.cycles
        self.cpu.prepare()
        for _ in range(count):
            self.cpu.step()
        return read_state(self.cpu.cpu, bytes(self.sram.buffer), state.cycles + self.cpu.cycles - before)

    def run_cycles(self, state: State, cycles: int) -> State:
        self.put(state)
        passed = self.engine.run_cycles(cycles)
        return read_state(self.cpu.cpu, bytes(self.sram.buffer), state.cycles + passed)

    def put(self, state: State) -> None:
        cpu = self.cpu.cpu
        self.flash.buffer[:] = self.source
        self.cpu.forget()
        cpu.pc = u64(state.pc)
        write_registers(cpu, state)
        self.sram.buffer[:] = state.sram


def bare_machine(model: str) -> tuple[AvrEngine, Machine, AvrVcpu]:
    """A CPU with its memories and no devices."""
    engine, part = AvrEngine(), MODELS[model]
    machine = Machine("bare", Settings(), cpu_factory=engine.factory)
    machine.rom(0, part.flash, "flash")
    machine.ram(DATA + part.ram, part.sram, "sram")
    cpu = machine.add_cpu(model)
    assert isinstance(cpu, AvrVcpu)
    machine.reset("cold")
    return engine, machine, cpu


def write_registers(cpu: Avr, state: State) -> None:
    for n, value in enumerate(state.r):
        cpu.r[n] = u8(value)
    cpu.set_status(u8(state.sreg))
    cpu.sp = type(cpu.sp)(state.sp)
    cpu.ramp[3], cpu.eind = u8(state.rampz), u8(state.eind)


def read_state(cpu: Avr, sram: bytes, cycles: int) -> State:
    r = [int(v) for v in cpu.r]
    return State(int(cpu.pc), r, int(cpu.status()), int(cpu.sp), int(cpu.ramp[3]), int(cpu.eind), sram, cycles)


# -- random instructions


def random_word(insn: Insn, rows: BoundIsa, r: random.Random) -> int:
    """An instruction of this row, and of no more special one."""
    while True:
        word = r.getrandbits(insn.width) & ~insn.mask | insn.value
        if insn.matches(word) and rows.decode(word) is insn:
            return word


def random_state(part: Model, r: random.Random) -> State:
    """Registers with corner values among them; pointers into SRAM, the stack inside of it."""
    corners = (0, 1, 0x0F, 0x10, 0x7F, 0x80, 0x81, 0xFE, 0xFF)
    registers = [r.choice(corners) if r.random() < 0.4 else r.getrandbits(8) for _ in range(32)]
    margin = min(64, part.sram // 4)
    for low in (26, 28, 30):
        pointer = r.randrange(part.ram + margin, part.ram + part.sram - margin)
        registers[low], registers[low + 1] = pointer & 0xFF, pointer >> 8
    sp = r.randrange(part.ram + margin, part.ram + part.sram - margin)
    rampz = r.randrange(part.flash >> 16) if "elpm" in part.extensions else 0
    eind = r.randrange(part.flash >> 17) if part.wide else 0
    pc = r.randrange(0x80, part.flash // 2 - 0x80) * 2
    return State(pc, registers, r.getrandbits(8) & 0x7F, sp, rampz, eind, r.randbytes(part.sram))


def equal(a: State, b: State, **but: int) -> bool:
    """The same state; `but` names fields that do not count."""
    blank = dict.fromkeys(but, 0)
    return replace(a, **blank) == replace(b, **blank)  # type: ignore[arg-type]
