"""Code that changes: in the middle of a straight line that has run often, and by a store that was under way when it became code."""

from __future__ import annotations

import ctypes

import pytest
from system_harness import RAM, Guest

from tinamou.isa.riscv.pseudo import assembler
from tinamou.native.types import u64

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


CODE = RAM + 0x4000
PATCHED = CODE + 4  # what is jumped to is decoded at each visit until it gets a trace
NEW = 0x06450513  # addi a0, a0, 100


class Harts(Guest):
    """Two harts; this thread runs the first one, and does to memory and to the other's state what the other would."""

    def __init__(self):
        super().__init__("compiled", 64, cpus=2)
        self.other = self.engine.vcpus[1].cpu

    def call(self, before="nop"):
        """What the code at CODE adds to a0, behind the instructions `before`."""
        self.hart.pc, self.hart.x[10] = u64(RAM), u64(0)
        self.run(f"li t1, {CODE}; {before}; jalr ra, 0(t1); wfi")
        return self.x("a0")

    def load(self):
        self.machine.memory.store(CODE, assembler(64).assemble("nop; addi a0, a0, 1; ret", CODE).data)

    def land(self, instruction):
        """The last step of a store that has found the page in the write table."""
        host = int(self.engine.maps[-1].regions[0].host) + PATCHED - RAM
        ctypes.memmove(host, instruction.to_bytes(4, "little"), 4)


@pytest.fixture
def harts():
    guest = Harts()
    yield guest
    guest.close()


def test_a_store_that_was_under_way_when_its_page_became_code(harts):
    harts.load()
    assert harts.call() == 1
    harts.land(NEW)
    assert harts.call() == 1  # nothing says that this must be seen
    assert harts.call("fence.i") == 100


def test_fences_before_the_store_lands(harts):
    harts.load()
    for _ in range(3):
        assert harts.call("fence.i") == 1
    harts.land(NEW)
    assert harts.call("fence.i") == 100


def test_code_is_kept_when_no_store_can_be_under_way(harts):
    harts.load()
    harts.call()
    for _ in range(2):  # generations
        harts.other.slices = u64(harts.other.slices + 1)
        assert harts.call("fence.i") == 1
    harts.land(NEW)
    assert harts.call("fence.i") == 1


def test_a_hart_that_waits_has_no_store_under_way(harts):
    harts.load()
    harts.call()
    harts.other.halted = u64(1)
    for _ in range(2):
        harts.call("fence.i")
    harts.land(NEW)
    assert harts.call("fence.i") == 1


def test_an_atomic_operation_on_old_code(harts):
    """It undoes what was decoded, then writes; in between the other hart decodes again."""
    test_code_is_kept_when_no_store_can_be_under_way(harts)
    harts.load()
    assert harts.call("amoor.w zero, zero, (t1)") == 1
    harts.land(NEW)
    assert harts.call() == 1
    assert harts.call("fence.i") == 100
