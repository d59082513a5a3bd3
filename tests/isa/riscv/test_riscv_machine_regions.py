"""Compiled regions on whole machines: pages of RAM, wherever they are mapped."""

from __future__ import annotations

import pytest
from system_harness import RAM, Guest
from test_riscv_patched_code import PROGRAM
from test_riscv_privileged import ALL, DATA, ENTER, HANDLER, RETURN

from tinamou.engine.system import SystemEngine
from tinamou.isa.riscv.system import RV32_SYSTEM
from tinamou.isa.riscv.vcpu import RiscvCpu
from tinamou.native.types import u64

LOOP = f"""
    li t0, 1000; li a0, 0; li s0, {DATA}; li s1, 0
    loop: ld t1, 0(s0); add a0, a0, t1; sd a0, 8(s0); addi s1, s1, 3; lw t2, 8(s0); xor a0, a0, t2; sb a0, 17(s0); lhu t3, 17(s0)
    add a0, a0, t3; andi t3, t0, 7; beqz t3, skip; addi a0, a0, 5
    skip: addi t0, t0, -1; bnez t0, loop
    wfi
"""


@pytest.fixture
def both():
    """The golden model, and the machine with regions."""
    guests = Guest("golden", 64), Guest("regions", 64)
    yield guests
    for g in guests:
        g.close()


def regions(guest):
    return {id(made): made for page in guest.engine.jit.by_page.values() for made in page}.values()


def entered(guest):
    return sum(made.counts[0] for made in regions(guest))


def executed(guest):
    return sum(made.counts[1] for made in regions(guest))


def again(guest, text):
    """Another program in place of the first."""
    guest.hart.pc = u64(RAM)
    guest.run(text)


def same(both, text, limit=200_000):
    for guest in both:
        guest.put(DATA, 0x1234_5678_9ABC)
        guest.run(text, limit)
    golden, compiled = both
    assert [int(r) for r in golden.hart.x] == [int(r) for r in compiled.hart.x]
    assert golden.hart.instructions == compiled.hart.instructions
    assert executed(compiled) > golden.hart.instructions // 2
    return compiled


def test_loads_and_stores(both):
    compiled = same(both, LOOP)
    assert compiled.hart.retries <= 2  # the first of each table of the TLB


def test_pages_that_are_not_in_the_tlb(both):
    """Each access is left to the interpreter, which goes on in the region at the loop's head."""
    compiled = same(both, f"li t0, 40; li s0, {RAM + 0x4_0000}\nloop: sd t0, 0(s0); addi s0, s0, 2047; addi s0, s0, 2047; addi s0, s0, 2\n"
                          "addi t0, t0, -1; bnez t0, loop; wfi")  # fmt: skip
    assert compiled.hart.retries >= 35


@pytest.mark.parametrize("distance", [0, 5, 40])
def test_code_that_changes_inside_its_own_page(distance):
    guest = Guest("regions", 64)
    try:
        guest.run(PROGRAM.format(before="addi a1, a1, 1; " * distance))
        assert (guest.x("s1"), guest.x("a0")) == (2000 * 6, 2000 * 105)
    finally:
        guest.close()


def test_a_store_far_from_a_region_in_its_page():
    """It undoes the page: nobody knows what a region contains."""
    guest = Guest("regions", 64)
    try:
        guest.run("li t0, 500\nloop: addi t0, t0, -1; bnez t0, loop; wfi\n.balign 2048\n.dword 0")
        entries = [slot for made in regions(guest) for slot in made.entries]
        assert entries and entered(guest)
        again(guest, f"li t0, {RAM + 2048}; li t1, 7; sd t1, 0(t0); wfi")
        assert not any(guest.engine.jit.arena.holds(guest.engine.jit.handler(pc)) for made in regions(guest) for pc in made.kept.entries)
    finally:
        guest.close()


def test_a_page_that_is_mapped_twice_has_one_region(both):
    """It is executed at both addresses, and what depends on its own address is right at each."""
    one, other, code = 0x4000_0000, 0x3F_FFFF_F000, RAM + 0x2000
    function = """
    .balign 8192
    function: li t0, 400; li a1, 0
    1: auipc a2, 0; add a1, a1, a2; jal t2, 2f
    2: add a1, a1, t2; addi t0, t0, -1; bnez t0, 1b
    ret
    """
    for guest in both:
        satp = guest.map(8, [(RAM, RAM, ALL, 2), (one, code, ALL, 0), (other, code, ALL, 0)])
        calls = "".join(f"li t3, {at}; jalr ra, 0(t3); mv s{n}, a1\n" for n, at in enumerate((one, other, one, other)))
        text = f"li t0, {satp}; csrw satp, t0; sfence.vma zero, zero\n{calls}\necall\n"
        guest.run(f".equ MODE, 1\n{ENTER}\n{RETURN}{text}{HANDLER}{function}", 200_000)
    golden, compiled = both
    names = ["s0", "s1", "s2", "s3", "a1"]
    assert [golden.x(n) for n in names] == [compiled.x(n) for n in names] and golden.x("s0") != golden.x("s1")
    assert golden.hart.instructions == compiled.hart.instructions and executed(compiled) > 3000


def test_a_page_fault_in_a_region_is_precise(both):
    for guest in both:
        satp = guest.map(8, [(RAM, RAM, ALL, 2), *((0x4000_0000 + 4096 * n, DATA, ALL, 0) for n in range(3))])
        text = f"""li t0, {satp}; csrw satp, t0; sfence.vma zero, zero; li s0, 0x40000000; li a0, 0
        loop: ld t1, 0(s0); addi a0, a0, 1; addi s0, s0, 8; j loop
        """
        guest.run(f".equ MODE, 1\n{ENTER}\n{RETURN}{text}{HANDLER}", 100_000)
        assert (guest.x("a0"), guest.x("s0")) == (3 * 512, 0x4000_3000)
        assert (int(guest.hart.mcause), int(guest.hart.mtval)) == (13, 0x4000_3000)
    assert executed(both[1]) > 3000


def test_what_a_device_writes_undoes_regions(both):
    _, guest = both
    guest.run("li t0, 500\nloop: addi t0, t0, -1; bnez t0, loop; li a0, 1; wfi")
    assert entered(guest)
    again(guest, "li t0, 500\nloop: addi t0, t0, -2; bnez t0, loop; li a0, 2; wfi")  # the loader writes over it
    assert guest.x("a0") == 2 and guest.x("t0") == 0


def test_thirty_two_bits_have_no_regions():
    """Code addresses would not fit."""
    engine = SystemEngine(RV32_SYSTEM, RiscvCpu, jit="on")
    assert engine.jit is None
    engine.close()


def test_info_jit(both):
    compiled = same(both, LOOP)
    lines = compiled.engine.describe().splitlines()
    assert next(line for line in lines if line.startswith("region count")).endswith(", 0 given up")
