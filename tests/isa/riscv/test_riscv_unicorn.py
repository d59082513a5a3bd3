"""Every engine against Unicorn: random instructions on random states, registers, flags, memory and exceptions compared."""

from __future__ import annotations

import dataclasses
import random

import pytest
from riscv_harness import (
    DATA,
    PAGE,
    Engine,
    GoldenEngine,
    State,
    Unicorn,
    aim,
    expected,
    random_program,
    random_state,
    random_word,
    touches_memory,
    with_field,
)

from tinamou.engine.patterns import Insn
from tinamou.isa.riscv import isa
from tinamou.isa.riscv.models import extensions
from tinamou.isa.riscv.traps import ILLEGAL_INSTRUCTION, INSTRUCTION_PAGE_FAULT

GC = extensions("gc")  # what Unicorn implements


def random_case(r: random.Random, insn: Insn, xlen: int) -> tuple[int, State]:
    state = random_state(r, xlen)
    word = random_word(r, insn)
    if "csr" in insn.fields:
        word = with_field(insn, word, "csr", r.choice((1, 2, 3)))  # others depend on time or privilege
    if touches_memory(insn):
        aim(r, insn, word, state, xlen)
    return word, state


def privileged(insn: Insn) -> bool:
    """Unicorn runs everything in machine mode; these rows have tests of their own."""
    return insn.function.__module__.endswith("privileged")


def check(engine: Engine, oracle: Unicorn, extension: str, count: int, seed: object) -> None:
    r = random.Random(f"{extension} {engine.xlen} {seed}")
    for insn in isa(engine.xlen).insns:
        if insn.extension != extension or privileged(insn):
            continue
        for _ in range(count):
            word, state = random_case(r, insn, engine.xlen)
            ours, theirs = engine.run(state, word.to_bytes(insn.size, "little"), 1), expected(oracle, insn, word, state)
            text = f"{insn.disassemble(word, state.pc)} ({word:#x})"
            if theirs.cause is None and ours.cause == INSTRUCTION_PAGE_FAULT:
                ours.cause = None  # the jump was executed; an engine may look at its target at once
            assert (text, ours.cause) == (text, theirs.cause)
            assert (text, ours.state.differences(theirs.state)) == (text, {}), state


@pytest.mark.parametrize("extension", sorted({i.extension for x in (32, 64) for i in isa(x).insns} & GC))
def test_single_instructions(engine: Engine, oracle: Unicorn, extension: str) -> None:
    check(engine, oracle, extension, 20, "few")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("extension", sorted({i.extension for x in (32, 64) for i in isa(x).insns} & GC))
def test_a_million_single_instructions(engine: Engine, oracle: Unicorn, extension: str) -> None:
    check(engine, oracle, extension, 3000, "many")


# Rows whose corrections (riscv_harness.expected) are per instruction, so that programs would go different ways:
UNBOXED = frozenset({"f", "zcf"})  # Unicorn keeps singles without their box
OTHERWISE = (
    *("fcvt.s.d", "fcvt.d.s"),  # the same
    *("fmin.d", "fmax.d"),  # see minimum_number
    *("lr.d", "sc.d"),  # an SC of another width than its LR may succeed (13.2); Unicorn's stores, then says that it failed
)


def test_programs(engine: Engine, oracle: Unicorn) -> None:
    r = random.Random(f"programs {engine.xlen}")
    rows = [i for i in isa(engine.xlen).insns if i.extension in GC - UNBOXED and i.name not in OTHERWISE and not privileged(i)]
    for _ in range(60):
        state, code, count = random_program(r, rows, engine.xlen, 20)
        ours, theirs = engine.run(state, code, count), oracle.run(state, code, count)
        assert ours.cause == theirs.cause, code.hex()
        theirs.state.pc = ours.state.pc if ours.cause is not None else theirs.state.pc
        assert ours.state.differences(theirs.state) == {}, code.hex()


def test_load_reserved_store_conditional(engine: Engine, oracle: Unicorn) -> None:
    r = random.Random(f"reservations {engine.xlen}")
    rows = isa(engine.xlen).by_name
    for suffix in "wd" if engine.xlen == 64 else "w":
        succeeded = 0
        for _ in range(150):
            state, code, count = random_program(r, [rows[f"lr.{suffix}"], rows[f"sc.{suffix}"], rows["sb"]], engine.xlen, 6)
            ours, theirs = engine.run(state, code, count), oracle.run(state, code, count)
            assert ours.state.differences(theirs.state) == {}, code.hex()
            succeeded += any(ours.state.x[n] == 0 != state.x[n] for n in range(1, 32))
        assert succeeded > 10


def test_programs_like_the_golden_model(engine: Engine) -> None:
    r = random.Random(f"golden {engine.xlen}")
    golden = GoldenEngine(engine.xlen)
    rows = isa(engine.xlen).insns
    for _ in range(30):
        state, code, count = random_program(r, rows, engine.xlen, 40)
        ours, theirs = engine.run(state, code, count), golden.run(state, code, count)
        assert ours.cause == theirs.cause, code.hex()
        assert ours.state.differences(theirs.state) == {}, code.hex()


# Which words are instructions.


def legality_state(xlen: int) -> State:
    state = random_state(random.Random(xlen), xlen)
    return dataclasses.replace(state, x=[0] + [DATA + PAGE // 2] * 31, frm=0)


def reserved(word: int, xlen: int) -> bool:
    """Compressed encodings that chapter 26 reserves (or leaves to custom extensions) and Unicorn executes."""
    quadrant, function = word & 3, word >> 13
    arithmetic = quadrant == 1 and function == 0b100
    return (
        (quadrant == 0 and function == 0b100)
        or (arithmetic and word >> 10 & 7 == 0b111 and (bool(word & 1 << 6) or xlen == 32))  # no C.SUBW or C.ADDW
        or (xlen == 32 and arithmetic and word >> 10 & 7 in (0b100, 0b101))  # C.SRLI, C.SRAI with shamt[5]
        or (xlen == 32 and quadrant == 2 and function == 0 and bool(word & 1 << 12))  # C.SLLI with shamt[5]
    )


def check_compressed(engine: Engine, oracle: Unicorn, words: list[int]) -> None:
    state = legality_state(engine.xlen)
    for word in words:
        code = word.to_bytes(2, "little")
        theirs = oracle.run(state, code, 1).cause == ILLEGAL_INSTRUCTION or reserved(word, engine.xlen)
        assert (hex(word), engine.run(state, code, 1).cause == ILLEGAL_INSTRUCTION) == (hex(word), theirs)


COMPRESSED = [w for w in range(1 << 16) if w & 3 != 3]


def test_some_compressed_words(engine: Engine, oracle: Unicorn) -> None:
    check_compressed(engine, oracle, random.Random(1).sample(COMPRESSED, 800))


@pytest.mark.slow
def test_all_compressed_words(engine: Engine, oracle: Unicorn) -> None:
    check_compressed(engine, oracle, COMPRESSED)


def check_words(engine: Engine, oracle: Unicorn, count: int) -> None:
    """Words of all major opcodes, with the fields that select instructions often 0."""
    r = random.Random(f"words {engine.xlen}")
    state = legality_state(engine.xlen)
    rows = isa(engine.xlen)
    for opcode in range(3, 128, 4):
        for _ in range(count):
            word = r.getrandbits(25) << 7 | opcode
            for mask in (7 << 12, 31 << 20, 0xFE << 24, 0xDE << 24):
                if r.randrange(3) == 0:
                    word &= ~mask
            found = rows.decode(word)
            if opcode == 0x73 or (found and found.extension not in GC):
                continue
            code = word.to_bytes(4, "little")
            theirs = oracle.run(state, code, 1).cause == ILLEGAL_INSTRUCTION
            assert (hex(word), engine.run(state, code, 1).cause == ILLEGAL_INSTRUCTION) == (hex(word), theirs)


def test_some_words(engine: Engine, oracle: Unicorn) -> None:
    check_words(engine, oracle, 40)


@pytest.mark.slow
def test_many_words(engine: Engine, oracle: Unicorn) -> None:
    check_words(engine, oracle, 5000)
