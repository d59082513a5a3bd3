"""Compiled regions against the golden model: random programs up to an exception, registers, flags, memory and exceptions compared."""

from __future__ import annotations

import functools
import random

import pytest
from riscv_harness import BASES, DATA, PAGE, GoldenEngine, RegionsEngine, random_program

from tinamou.isa.riscv import isa
from tinamou.isa.riscv.traps import BREAKPOINT, LOAD_PAGE_FAULT, STORE_PAGE_FAULT

EBREAK = (0x0010_0073).to_bytes(4, "little")


@functools.cache
def engines(xlen: int, checked: bool) -> tuple[RegionsEngine, GoldenEngine]:
    return RegionsEngine(xlen, checked), GoldenEngine(xlen)


def check(xlen: int, checked: bool, count: int, length: int, seed: object, edge: bool = False) -> None:
    r = random.Random(f"regions {xlen} {checked} {seed}")
    regions, golden = engines(xlen, checked)
    rows = [i for i in isa(xlen).insns if i.name not in ("fence.i", "ecall", "ebreak", "c.ebreak", "csrrw", "csrrs", "csrrc")]
    ended = set()
    for _ in range(count):
        state, code, _ = random_program(r, rows, xlen, length)
        if edge:  # about the end of memory: some accesses fault, at any instruction
            for register in BASES:
                state.x[register] = DATA + PAGE - r.randrange(700)
        code += EBREAK
        ours, theirs = regions.run(state, code), golden.run(state, code, 10 * length)
        assert ours.cause == theirs.cause, code.hex()
        assert ours.state.differences(theirs.state) == {}, code.hex()
        ended.add(ours.cause)
    assert BREAKPOINT in ended
    assert not edge or {LOAD_PAGE_FAULT, STORE_PAGE_FAULT} & ended


@pytest.mark.parametrize("checked", [False, True], ids=["fault maps", "checked"])
@pytest.mark.parametrize("xlen", [64, 32])
def test_programs(xlen: int, checked: bool) -> None:
    check(xlen, checked, 25, 30, "few")


@pytest.mark.parametrize("checked", [False, True], ids=["fault maps", "checked"])
@pytest.mark.parametrize("xlen", [64, 32])
def test_faults_are_precise(xlen: int, checked: bool) -> None:
    check(xlen, checked, 40, 25, "faults", edge=True)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("xlen", [64, 32])
def test_many_programs(xlen: int) -> None:
    check(xlen, False, 3000, 40, "many")
