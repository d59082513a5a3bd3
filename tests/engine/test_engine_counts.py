"""Instruction counts are exact, and runs can be cut anywhere."""

from __future__ import annotations

import random
from typing import Any

import pytest
from engine_harness import CODE, DATA, ECALL, NO_FETCH, PAGE, Stop, guests

from tinamou.engine.vcpu import QUANTUM
from tinamou.native.types import i64

LOOP = """
    li a0, 0
    li t0, 100
1:  addi a0, a0, 3
    c.addi a0, 1
    andi t1, a0, 8
    beqz t1, 2f
    jal ra, f
2:  addi t0, t0, -1
    bnez t0, 1b
    ecall
    .zero 5000
f:  xori a1, a1, 5
    lw a2, 0(s0)
    ret
"""


def loop(guest: Any) -> None:
    guest.map(DATA, PAGE, "rw")
    guest.load(LOOP)
    guest.x[8] = DATA


def test_steps_of_any_size(pair: Any) -> None:
    """The state after n instructions is that of the golden model, for each n, reached at once or in parts."""
    golden, native = pair
    for guest in pair:
        loop(guest)
    states = [golden.cell.registers()]
    while golden.step(1) == Stop(None):
        states.append(golden.cell.registers())
    total = golden.count
    assert len(states) == total + 1 and golden.pc == states[-1]["pc"]
    r = random.Random(1)
    for n in [*range(40), *r.sample(range(total), 40), total - 1, total]:
        native.clear()
        loop(native)
        assert native.step(n) == Stop(None) and native.count == n
        assert native.cell.registers() == states[n], n
    for _ in range(5):
        native.clear()
        loop(native)
        done = 0
        while done < total:
            n = min(r.choice((1, 1, 2, 3, 7, 50, 300)), total - done)
            assert native.step(n) == Stop(None)
            done += n
            assert native.count == done and native.cell.registers() == states[done]
        assert native.step(r.choice((1, 10, 5000))) == Stop(ECALL) and native.count == total


@pytest.mark.parametrize("size", [1, 2, 2000, 4095, 4096, 4097, 5000, 10_000, 65_537, 200_001])
def test_long_steps(native: Any, size: int) -> None:
    """Steps that are longer than a page go through slices and are exact all the same."""
    native.load("1: addi a0, a0, 1\naddi a1, a1, 2\nj 1b")
    for k in range(1, 4):
        assert native.step(size) == Stop(None) and native.count == k * size
        full, rest = divmod(k * size, 3)
        assert (native.x[10], native.x[11]) == (full + (rest > 0), 2 * (full + (rest > 1)))


def test_long_steps_over_pages(native: Any) -> None:
    """Straight lines of many pages: slices end at page ends at the latest."""
    pages = 12
    native.load("addi a0, a0, 1\n" * (pages * 1024 - 2) + f"li t0, {CODE}\njr t0")
    body = native.xlen and pages * 1024
    r = random.Random(2)
    done = 0
    for _ in range(60):
        n = r.choice((1, 1023, 1024, 4096, 4097, 8191, 12_289, 20_000))
        assert native.step(n) == Stop(None)
        done += n
        assert native.count == done and native.pc == CODE + done % body * 4


@pytest.mark.parametrize("quantum", [0, 1, 2, 5, 100, 4999])
def test_slices_do_not_show(native: Any, quantum: int) -> None:
    """However short slices are, the result and the count are the same."""
    loop(native)
    assert native.go() == Stop(ECALL)
    count, registers = native.count, native.cell.registers()
    native.clear()
    loop(native)
    native.vcpu.cpu.quantum = i64(quantum)
    try:
        assert native.go() == Stop(ECALL)
    finally:
        native.vcpu.cpu.quantum = i64(QUANTUM)
    assert native.count == count and native.cell.registers() == registers


def test_step_zero(native: Any) -> None:
    loop(native)
    assert native.step(0) == Stop(None) and native.count == 0 and native.pc == CODE


def test_step_onto_an_exception(guest: Any) -> None:
    """The instructions before it are counted; the one that raises is not, and raises again."""
    guest.load("addi a0, a0, 1\naddi a0, a0, 1\nlw a1, 0(zero)\naddi a0, a0, 1")
    assert guest.step(2) == Stop(None) and guest.count == 2
    for n in (1, 2, 1000, 10_000):
        assert guest.step(n).cause == 13 and guest.count == 2 and guest.pc == CODE + 8
    guest.map(0, PAGE, "r")
    assert guest.step(2) == Stop(None) and guest.count == 4 and guest.x[10] == 3


@pytest.mark.parametrize("text", ["jr t0", "beq t0, t0, .+4094", "j .+8192", "c.jr t0"])
def test_step_over_a_jump_to_nowhere(guest: Any, text: str) -> None:
    """The jump is an instruction that is done; what cannot be fetched is the next one."""
    guest.load(f"addi a0, a0, 1\n{text}")
    target = {"b": CODE + 4 + 4094, "j .": CODE + 4 + 8192}.get(text[:1] if text[0] == "b" else text[:3], 0x5000)
    guest.x[5] = 0x5000
    assert guest.step(2) == Stop(None)
    assert guest.count == 2 and guest.pc == target
    assert guest.step(1) == Stop(NO_FETCH, target) and guest.count == 2


def test_step_to_the_end_of_a_page(guest: Any) -> None:
    guest.load("addi a0, a0, 1\n" * 4, at=CODE + PAGE - 16)
    assert guest.step(4) == Stop(None) and guest.pc == CODE + PAGE and guest.count == 4
    assert guest.step(1) == Stop(NO_FETCH, CODE + PAGE) and guest.count == 4


def test_interpreter_counts_like_the_golden_model(xlen: int) -> None:
    """Runs up to exceptions of all sorts, from everywhere."""
    program = """
        li t0, 5
    1:  addi t0, t0, -1
        lw a0, 0(s0)
        bnez t0, 1b
        c.nop
        la t1, 3f
        jalr ra, 0(t1)
        ebreak
        .word 0
    3:  amoadd.w a0, t0, (s1)
        c.jr ra
    """
    for place in (DATA, 0x9_0000):
        counts = []
        for kind in ("golden", "interpreter"):
            guest = guests(kind, xlen)
            guest.map(DATA, PAGE, "rw")
            guest.load(program)
            guest.x[8], guest.x[9] = DATA, place
            seen = []
            for _ in range(6):
                stop = guest.go()
                seen.append((stop, guest.count, guest.pc))
                guest.pc += 4
            counts.append(seen)
        assert counts[0] == counts[1]
