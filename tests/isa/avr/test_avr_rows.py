"""Every row on random states: golden model, compiled interpreter and simavr give the same registers, SREG, memory and cycles."""

from __future__ import annotations

import ctypes
import functools
import random

import pytest
from avr_engines import CompiledAvr, GoldenAvr, State, random_state, random_word

from support.simavr import Simavr
from tinamou.engine.check import check
from tinamou.engine.patterns import Insn
from tinamou.isa.avr import isa
from tinamou.isa.avr.architecture import architecture
from tinamou.isa.avr.models import FAMILIES, MODELS, Model

PARTS = ("ATmega168", "ATmega328P", "ATmega1280", "ATmega2560")
OTHERS = ("avr2", "avr25", "avr4", "avrtiny", "avrxmega2", "avrxmega3", "avrxmega6")
DEVICES = {"in", "out", "sbi", "cbi", "sbic", "sbis", "sleep", "wdr", "spm", "spm.z+", "break"}  # see test_avr_cpu.py
ROUNDS = 8


class SimavrPart:
    """simavr in place of an engine."""

    def __init__(self, part: Model, flash: bytearray) -> None:
        self.part, self.flash = part, flash
        self.simavr = Simavr({"ATmega328P": "ATmega328"}.get(part.name, part.name))
        self.t = self.simavr.t

    def run(self, state: State) -> State:
        t, part = self.t, self.part
        self.simavr.load(bytes(self.flash))
        at = ctypes.addressof(t.data.contents)
        ctypes.memmove(at, bytes(state.r), 32)
        ctypes.memmove(at + part.ram, state.sram, part.sram)
        t.sreg[:] = [state.sreg >> n & 1 for n in range(8)]
        t.data[0x5D], t.data[0x5E] = state.sp & 0xFF, state.sp >> 8
        if t.rampz:
            t.data[t.rampz] = state.rampz
        if t.eind:
            t.data[t.eind] = state.eind
        t.pc, before = state.pc, t.cycle
        self.simavr.one()
        sreg = sum(bool(t.sreg[n]) << n for n in range(8))
        sp, rampz = t.data[0x5D] | t.data[0x5E] << 8, t.data[t.rampz] if t.rampz else 0
        sram = ctypes.string_at(at + part.ram, part.sram)
        # simavr does not wrap the addresses of ret and jmp
        pc = t.pc & part.flash - 1
        return State(pc, t.data[:32], sreg, sp, rampz, t.data[t.eind] if t.eind else 0, sram, state.cycles + t.cycle - before)


@functools.cache
def engines(name: str) -> tuple[bytearray, GoldenAvr, CompiledAvr]:
    flash = bytearray(random.Random(name).randbytes(MODELS[name].flash))
    return flash, GoldenAvr(MODELS[name], flash), CompiledAvr(MODELS[name], flash)


@functools.cache
def oracle(name: str) -> SimavrPart:
    return SimavrPart(MODELS[name], engines(name)[0])


def defined(insn: Insn, word: int) -> bool:
    """The manual leaves the result of a load into its own pointer open, when that is changed too."""
    pointer = {"x": 26, "y": 28, "z": 30}.get(insn.name[-1] if "-" in insn.name else insn.name[-2:-1])
    if pointer is None or not insn.name.startswith(("ld.", "lpm", "elpm")) or ("+" not in insn.name and "-" not in insn.name):
        return True
    return insn.field(word, "d") not in (pointer, pointer + 1)


def cases(name: str, seed: int) -> list[tuple[Insn, int, State]]:
    part, r = MODELS[name], random.Random(seed)
    rows = isa(part.core, part.wide)
    out = []
    for insn in rows.insns:
        if insn.extension not in part.extensions or insn.name in DEVICES:
            continue
        for _ in range(ROUNDS):
            word = random_word(insn, rows, r)
            if insn.name in ("lds", "sts"):
                word = word & 0xFFFF | r.randrange(part.ram, part.ram + part.sram) << 16
            if defined(insn, word):
                out.append((insn, word, random_state(part, r)))
    return out


@pytest.mark.parametrize("name", PARTS + OTHERS)
def test_rows(name: str) -> None:
    part = MODELS[name]
    flash, golden, compiled = engines(name)
    simavr = oracle(name) if name in PARTS else None
    for insn, word, state in cases(name, 1):
        saved = bytes(flash[state.pc : state.pc + 4])
        flash[state.pc : state.pc + insn.size] = word.to_bytes(insn.size, "little")
        expected = golden.run(state)
        text = f"{isa(part.core, part.wide).disassemble(word, state.pc)} at {state.pc:#x}"
        assert compiled.run(state) == expected, text
        if simavr is not None:
            assert simavr.run(state) == expected, text
        flash[state.pc : state.pc + 4] = saved


@pytest.mark.parametrize("family", FAMILIES)
def test_instructions_can_be_restarted(family: str) -> None:
    core, extensions = FAMILIES[family]
    assert list(check(architecture(core, "eijmp" in extensions))) == []


# Cycles of the four cores: AVR Instruction Set Manual, DS40002198B, the tables "Cycles" of chapter 5.
CYCLES = {
    "add": (1, 1, 1, 1), "adiw": (2, 2, 2, None), "rjmp": (2, 2, 2, 2), "jmp": (3, 3, 3, None), "rcall": (3, 2, 2, 3),
    "call": (4, 3, 3, None), "ret": (4, 4, 4, 6), "reti": (4, 4, 4, 6), "lpm.z": (3, 3, 3, None), "push": (2, 1, 1, 1),
    "sbi": (2, 1, 1, 1), "cbi": (2, 1, 1, 1), "mul": (2, 2, 2, None), "ldd.y": (2, 3, 2, None), "std.y": (2, 2, 1, None),
    "st.x": (2, 1, 1, 1), "lds": (2, 3, 3, None), "sts": (2, 2, 2, None), "nop": (1, 1, 1, 1),
}  # fmt: skip


def test_cycles_of_the_cores() -> None:
    for n, core in enumerate(("e", "xm", "xt", "rc")):
        rows = isa(core).by_name
        enabled = frozenset().union(*(extensions for c, extensions in FAMILIES.values() if c == core))
        for name, cycles in CYCLES.items():
            if cycles[n] is None:
                assert name not in rows or rows[name].extension not in enabled, (core, name)
            else:
                assert rows[name].cost == cycles[n], (core, name)
    wide = isa("e", True).by_name
    assert [wide[name].cost for name in ("rcall", "icall", "call", "ret", "reti", "eicall")] == [4, 4, 5, 5, 5, 4]


@pytest.mark.parametrize("name", ["ATmega168", "ATmega2560"])
def test_random_programs(name: str) -> None:
    """Some hundred instructions in one slice end where the golden model ends, in the same state and cycle."""
    part = MODELS[name]
    rows = isa(part.core, part.wide)
    without = DEVICES | {"in", "out", "reti", "sei", "out.sreg", "out.spl", "out.sph"}
    insns = [i for i in rows.insns if i.extension in part.extensions and i.name not in without]
    flash = bytearray(part.flash)
    golden, compiled = GoldenAvr(part, flash), CompiledAvr(part, flash)
    r = random.Random(7)
    at = 0
    while at < part.flash - 4:
        insn = r.choice(insns)
        word = random_word(insn, rows, r)
        if insn.name in ("lds", "sts"):
            word = word & 0xFFFF | r.randrange(part.ram, part.ram + part.sram) << 16
        flash[at : at + insn.size] = word.to_bytes(insn.size, "little")
        at += insn.size
    for _ in range(6):
        state = random_state(part, r)
        expected = golden.run(state, 300)
        assert compiled.run_cycles(state, expected.cycles) == expected
