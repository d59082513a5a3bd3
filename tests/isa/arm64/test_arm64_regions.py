"""Compiled regions against the interpreter: random code, run to its end or to an exception, from the same states."""

from __future__ import annotations

import random

import pytest
from arm64_harness import (
    CODE,
    EXECUTE,
    MEMORY,
    READ,
    SIZE,
    WRITE,
    Outcome,
    State,
    aim,
    get,
    put,
    random_data,
    random_state,
    random_word,
    touches_memory,
)

from support.flat_guest import FlatGuest
from support.told import EagerJit
from tinamou.engine.patterns import Insn
from tinamou.engine.regions import direct_files
from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.architecture import ARM64
from tinamou.isa.arm64.state import Core

BREAK = isa().by_name["brk"].encode(imm16=0)
FILES = frozenset({"x", "q"})


class Regions(EagerJit):
    code = range(CODE, CODE + 4096)


class Engines:
    """The interpreter, and a region made of the code."""

    def __init__(self) -> None:
        self.guest = FlatGuest(ARM64, limit=1 << 34)
        self.guest.map(MEMORY, SIZE, READ | WRITE | EXECUTE)
        self.guest.engine.jit = self.jit = Regions(self.guest.engine)
        self.vcpu = self.guest.vcpu()
        self.record = self.guest.thread(self.vcpu)

    def once(self, state: State) -> tuple[Outcome, int]:
        put(self.vcpu.cpu, state)
        end = self.vcpu.run()
        assert end.trap
        return Outcome(get(self.vcpu.cpu, self.guest.read(MEMORY, SIZE)), end.cause), end.value

    def both(self, state: State, code: bytes) -> tuple[tuple[Outcome, int], tuple[Outcome, int]]:
        at = CODE - MEMORY
        state.data = state.data[:at] + code + state.data[at + len(code) :]
        self.guest.write(MEMORY, state.data)
        plain = self.once(state)
        self.guest.write(MEMORY, state.data)
        if not self.jit.compile(CODE):  # it begins with an instruction that is in no region
            return plain, plain
        assert self.jit.compiled(CODE)
        return plain, self.once(state)


@pytest.fixture(scope="module")
def engines() -> Engines:
    return Engines()


def usable(insn: Insn) -> bool:
    return not insn.name.startswith(("mrs", "rndr", "wfe", "wfi", "irg", "ic_ivau")) and insn.extension != "mte"


def check(engines: Engines, middle: list[Insn], seed: object, length: int) -> None:
    r = random.Random(seed)
    rows = [i for i in isa().insns if usable(i) and i.extension not in ("bti",)]
    for insn in middle:
        state = random_state(r, random_data(r.randrange(4)))
        words = []
        for _ in range(length):
            other = r.choice(rows)
            words.append(random_word(r, other))
        word = random_word(r, insn)
        if touches_memory(insn):
            word = aim(r, insn, word, state)
        words.insert(r.randrange(length + 1), word)
        code = b"".join(w.to_bytes(4, "little") for w in [*words, BREAK])
        text = [isa().disassemble(w, CODE) for w in words]
        (plain, value), (region, other_value) = engines.both(state, code)
        found = plain.state.differences(region.state)
        assert (text, found, plain.exception, value) == (text, {}, region.exception, other_value)


@pytest.mark.timeout(1500)
def test_instructions_that_index_registers_themselves(engines: Engines) -> None:
    direct = [i for i in isa().insns if usable(i) and direct_files(i.function, FILES, Core, frozenset())]
    assert {"casp_x.x", "tbl.2", "ld1.2.16"} & {i.name for i in direct}
    check(engines, direct, "direct", 3)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_every_instruction(engines: Engines) -> None:
    check(engines, [i for i in isa().insns if usable(i)], "all", 4)
