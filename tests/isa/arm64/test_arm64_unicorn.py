"""Every engine against Unicorn: random instructions on random states, registers, flags, memory and exceptions compared."""

from __future__ import annotations

import random

import pytest
from arm64_harness import Engine, Unicorn, aim, place, random_data, random_state, random_word, skipped, touches_memory, verdict

from tinamou.isa.arm64 import isa

LACKING = {"mte", "bti", "rng", "pauth"}  # Unicorn traps these, or has no means to set them up
EXTENSIONS = sorted({i.extension for i in isa().insns} - LACKING)


def check(engine: Engine, oracle: Unicorn, extension: str, count: int, seed: object) -> None:
    r = random.Random(f"{extension} {seed}")
    for insn in isa().insns:
        if insn.extension != extension or skipped(insn):
            continue
        for _ in range(count):
            word, state = random_word(r, insn), random_state(r, random_data(r.randrange(4)))
            if touches_memory(insn):
                word = aim(r, insn, word, state)
                if not insn.matches(word):
                    continue
            place(state, word.to_bytes(4, "little"))
            ours, theirs = engine.run(state), oracle.run(state)
            text = f"{insn.name}: {insn.disassemble(word, state.pc)} ({word:#x})"
            assert (text, verdict(insn, word, state, ours, theirs)) == (text, {})


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_single_instructions(engine: Engine, oracle: Unicorn, extension: str) -> None:
    check(engine, oracle, extension, 2, "few")


@pytest.mark.slow
@pytest.mark.timeout(20_000)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_many_instructions(engine: Engine, oracle: Unicorn, extension: str, seed: int) -> None:
    """Two million cases in all on compiled handlers."""
    check(engine, oracle, extension, 5 if engine.name == "golden" else 200, f"many {seed}")
