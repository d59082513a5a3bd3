"""Traces against the golden model: random programs up to an exception, registers, flags, memory and exceptions compared."""

from __future__ import annotations

import functools
import random

import pytest
from riscv_harness import BASES, DATA, PAGE, GoldenEngine, TracesEngine, random_program

from tinamou.isa.riscv import isa
from tinamou.isa.riscv.traps import BREAKPOINT, LOAD_PAGE_FAULT, STORE_PAGE_FAULT

EBREAK = (0x0010_0073).to_bytes(4, "little")
BEGIN = (0x0000_0013).to_bytes(4, "little") * 2  # two instructions that every trace can begin with


@functools.cache
def engines(xlen: int) -> tuple[TracesEngine, GoldenEngine]:
    return TracesEngine(xlen), GoldenEngine(xlen)


def check(xlen: int, count: int, length: int, seed: object, edge: bool = False) -> None:
    r = random.Random(f"traces {xlen} {seed}")
    traces, golden = engines(xlen)
    rows = [i for i in isa(xlen).insns if i.name not in ("fence.i", "ecall", "ebreak", "c.ebreak", "csrrw", "csrrs", "csrrc")]
    ended = set()
    for _ in range(count):
        state, code, _ = random_program(r, rows, xlen, length)
        if edge:  # about the end of memory: some accesses fault, at any instruction
            for register in BASES:
                state.x[register] = DATA + PAGE - r.randrange(700)
        code = BEGIN + code + EBREAK
        ours, theirs = traces.run(state, code), golden.run(state, code, 10 * length)
        assert ours.cause == theirs.cause, code.hex()
        assert ours.state.differences(theirs.state) == {}, code.hex()
        ended.add(ours.cause)
    assert BREAKPOINT in ended
    assert not edge or {LOAD_PAGE_FAULT, STORE_PAGE_FAULT} & ended


@pytest.mark.parametrize("xlen", [64, 32])
def test_programs(xlen: int) -> None:
    check(xlen, 150, 40, "few")


@pytest.mark.parametrize("xlen", [64, 32])
def test_faults_are_precise(xlen: int) -> None:
    check(xlen, 200, 30, "faults", edge=True)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("xlen", [64, 32])
def test_many_programs(xlen: int) -> None:
    check(xlen, 10000, 60, "many")
