"""Code that changes in the middle of a straight line that has run often: neither entries nor traces keep the old instruction."""

from __future__ import annotations

import pytest
from system_harness import Guest

PROGRAM = """
    li s0, 0; li a0, 0
    again: li t0, 2000
    loop: addi a0, a0, 1; addi a0, a0, 1; addi a0, a0, 1; addi a0, a0, 1
    {before}
    patched: addi a0, a0, 1; addi a0, a0, 1; addi t0, t0, -1; bnez t0, loop
    bnez s0, done
    li s0, 1; mv s1, a0; la t1, patched; la t2, other; lw t3, 0(t2); sw t3, 0(t1); fence.i; li a0, 0; j again
    done: wfi; j done
    .balign 4
    other: addi a0, a0, 100
"""


@pytest.mark.parametrize("distance", [0, 5, 40])
@pytest.mark.parametrize("xlen", [32, 64])
def test_an_instruction_inside_a_hot_line(xlen, distance):
    guest = Guest("compiled", xlen)
    try:
        guest.run(PROGRAM.format(before="addi a1, a1, 1; " * distance))
        assert (guest.x("s1"), guest.x("a0")) == (2000 * 6, 2000 * 105)
    finally:
        guest.close()
