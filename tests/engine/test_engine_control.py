"""Where control goes: branches near and far, pages crossed, code that changes."""

from __future__ import annotations

from typing import Any

import pytest
from engine_harness import BREAKPOINT, CODE, DATA, ECALL, ILLEGAL, LIMIT, NO_FETCH, PAGE, Stop, assembler

CONDITIONS = {
    "beq": lambda a, b: a == b,
    "bne": lambda a, b: a != b,
    "blt": lambda a, b: a < b,
    "bge": lambda a, b: a >= b,
    "bltu": lambda a, b: a % (1 << 64) < b % (1 << 64),
    "bgeu": lambda a, b: a % (1 << 64) >= b % (1 << 64),
}
DISTANCES = [12, -8, 2040, -2044, PAGE - 8, PAGE, PAGE + 4, -PAGE, 2 * PAGE - 8, -2 * PAGE - 4, 4094, -4096]


def ends(guest: Any, cause: int = ECALL) -> Stop:
    stop: Stop = guest.go()
    assert stop.cause == cause
    return stop


@pytest.mark.parametrize("at", [0, 4, 2048, PAGE - 4, PAGE - 2])
def test_branches(guest: Any, at: int) -> None:
    """Taken and not, forwards and backwards, in the page and to others, from everywhere in a page."""
    guest.map(CODE - 4 * PAGE, 8 * PAGE, "rx")
    for name, holds in CONDITIONS.items():
        for distance in DISTANCES:
            if distance % 2 or not -4096 <= distance < 4096:
                continue
            start = CODE + at
            guest.write(CODE - 4 * PAGE, bytes(8 * PAGE))
            guest.write(start, assembler(guest.xlen).assemble(f"{name} a0, a1, {start + distance}\naddi a2, zero, 7\necall", start).data)
            guest.write(start + distance, assembler(guest.xlen).assemble("addi a2, zero, 9; ecall", start + distance).data)
            for a, b in ((1, 2), (2, 1), (3, 3), (-1, 1), (1, -1)):
                guest.x[10], guest.x[11], guest.x[12] = a % (1 << guest.xlen), b % (1 << guest.xlen), 0
                guest.pc, before = start, guest.count
                ends(guest)
                taken = holds(a, b)
                assert guest.x[12] == (9 if taken else 7), (name, distance, a, b)
                assert guest.pc == (start + distance if taken else start + 4) + 4 and guest.count - before == 2


@pytest.mark.parametrize("distance", [8, -8, 3 * PAGE, -3 * PAGE - 6, 0xFFFFE, -0x100000, 0x80000])
def test_jumps_and_links(guest: Any, distance: int) -> None:
    start = CODE + 0x40_0000 + 0x20
    target = start + distance
    for page in {start & -PAGE, target & -PAGE}:
        guest.map(page, PAGE, "rx")
    asm = assembler(guest.xlen).assemble
    guest.write(start, asm(f"jal ra, {target}\necall", start).data)
    guest.write(target, asm("addi a0, a0, 1; jalr zero, 0(ra)", target).data)
    guest.pc = start
    ends(guest)
    assert guest.pc == start + 4 == guest.x[1] and guest.x[10] == 1 and guest.count == 3


def test_indirect_jumps(guest: Any) -> None:
    """Odd targets lose their lowest bit; the link is written after the target is read."""
    labels = guest.load("""
        la t0, there
        addi t0, t0, 1
        jalr t0, 0(t0)
        ebreak
    there: jalr t1, 8(t0)
        ebreak
        ebreak
        ecall
        .balign 8
    """)
    ends(guest, BREAKPOINT)
    assert guest.pc == CODE + 24
    assert (guest.x[5], guest.x[6]) == (CODE + 16, labels["there"] + 4)


def test_branch_to_itself(guest: Any) -> None:
    """Endless loops of one instruction end with the instructions that are asked for."""
    for text in ("1: j 1b", "1: c.j 1b", "1: beq zero, zero, 1b", "1: la t0, 1b\njr t0"):
        guest.load(text)
        before = guest.count
        assert guest.step(1000) == Stop(None) and guest.count - before == 1000
        if not text.startswith("1: la"):
            assert guest.pc == CODE


def test_loop_over_pages(guest: Any) -> None:
    """A loop whose body is longer than two pages, so that straight lines cross them."""
    guest.load("li t0, 3\n1: addi t0, t0, -1\n" + "addi a0, a0, 1\n" * 2500 + "la t1, 1b\nbeqz t0, 2f\njr t1\n2: ecall")
    ends(guest)
    assert guest.x[10] == 7500


def test_mixed_lengths_over_pages(guest: Any) -> None:
    """Compressed instructions shift the others so that some begin two bytes before a page's end."""
    for start in (0, 2):
        guest.load("c.nop\n" * (start // 2) + ("addi a0, a0, 1\n" * 3 + "c.addi a0, 1\n") * 900 + "ecall")
        ends(guest)
        guest.x[10], found = 0, guest.x[10]
        assert found == 3600


@pytest.mark.parametrize("text", ["lw a0, 0(a1)", "beq zero, zero, .+4", "jal ra, .+8", "addi a0, a0, 5", "sw a0, 4(a1)", "ecall"])
def test_instruction_across_pages(guest: Any, text: str) -> None:
    at = CODE + PAGE - 2
    guest.map(DATA, PAGE, "rw")
    guest.x[11] = DATA
    data = assembler(guest.xlen).assemble(f"{text}\necall\necall", at).data
    guest.map(CODE, 2 * PAGE, "rx")
    guest.write(at, data)
    for _ in range(3):
        guest.pc = at
        ends(guest)
        assert guest.pc in (at, at + 4, at + 8)
    # without the second page: the fetch of its first byte fails, before anything happened
    before, registers = guest.count, guest.cell.registers()
    guest.map(CODE + PAGE, PAGE, "")
    guest.pc = at
    for _ in range(2):
        assert guest.go() == Stop(NO_FETCH, CODE + PAGE)
        assert guest.cell.registers() == {**registers, "pc": at} and guest.count == before
    # and again with another second page: other operands, another instruction
    guest.map(CODE + PAGE, PAGE, "rx")
    guest.write(CODE + PAGE, assembler(guest.xlen).assemble("ecall", at).data[2:])
    guest.write(at, assembler(guest.xlen).assemble("ecall", at).data)
    ends(guest)
    assert guest.pc == at


def test_second_page_changes(guest: Any) -> None:
    """What an instruction across pages is depends on both of them, each time."""
    at = CODE + PAGE - 2
    guest.map(CODE, 2 * PAGE, "rx")
    guest.write(at - 4, assembler(guest.xlen).assemble("addi a0, zero, 0", at).data)
    for n in (1, 2, -1, 100):
        guest.write(at, assembler(guest.xlen).assemble(f"addi a0, a0, {n}; ecall", at).data)
        guest.pc = at - 4
        ends(guest)
        assert guest.x[10] == n % (1 << guest.xlen)
    guest.write(at, b"\x01\x00" + b"\x01\x00" * 20)  # c.nop: not across the page any more
    guest.write(at + 10, assembler(guest.xlen).assemble("ecall", at).data)
    guest.pc = at
    ends(guest)
    assert guest.pc == at + 10


def test_straight_line_into_nothing(guest: Any) -> None:
    """From a page's last instruction to a page that is missing, or that must not be executed."""
    guest.load("addi a0, a0, 1\n" * (PAGE // 4))
    assert guest.go() == Stop(NO_FETCH, CODE + PAGE)
    assert guest.pc == CODE + PAGE and guest.x[10] == PAGE // 4 == guest.count
    guest.map(CODE + PAGE, PAGE, "rw")
    assert guest.go() == Stop(NO_FETCH, CODE + PAGE)
    guest.map(CODE + PAGE, PAGE, "rx")
    assert guest.go() == Stop(ILLEGAL) and guest.pc == CODE + PAGE


@pytest.mark.parametrize("target", [0, 2, 0x1000, DATA, DATA + 2046, LIMIT - 2, LIMIT - 4096, 0xFFFF_FFFE])
def test_jumps_to_nowhere(guest: Any, target: int) -> None:
    guest.map(DATA, PAGE, "rw")
    guest.load("jr t0\naddi a0, a0, 1")
    guest.x[5] = target
    assert guest.go() == Stop(NO_FETCH, target)
    assert guest.pc == target and guest.count == 1


@pytest.mark.parametrize("target", [1 << 32, (1 << 32) + CODE, 1 << 38, 1 << 63, (1 << 64) - 2, 0xFFFF_FFFF_0000_0000 + CODE])
def test_jumps_beyond_the_limit(target: int) -> None:
    from engine_harness import guests

    for kind in ("golden", "interpreter"):
        guest = guests(kind, 64)
        guest.load("jr t0\naddi a0, a0, 1")
        guest.x[5] = target
        assert guest.go() == Stop(NO_FETCH, target)
        assert guest.pc == target and guest.count == 1


def test_no_instruction(guest: Any) -> None:
    for word in (b"\0\0", b"\xff\xff\xff\xff", b"\x7f\0\0\0", b"\x1f" * 4, b"\x0b\0\0\0"):
        guest.load("addi a0, zero, 5\nebreak")
        guest.write(CODE + 4, word)
        before = guest.count
        assert guest.go() == Stop(ILLEGAL) and guest.pc == CODE + 4 and guest.x[10] == 5 and guest.count - before == 1
        for _ in range(2):  # and again from there
            assert guest.go() == Stop(ILLEGAL) and guest.pc == CODE + 4 and guest.count - before == 1
        assert guest.step(1) == Stop(ILLEGAL) and guest.count - before == 1


def test_trap_counts(guest: Any) -> None:
    """An instruction that raises is not counted, wherever a run begins."""
    guest.load("addi a0, a0, 1\n" * 10 + "ecall\naddi a0, a0, 1\necall")
    for pc, count in ((CODE, 10), (CODE + 36, 1), (CODE + 40, 0), (CODE + 44, 1), (CODE + 48, 0)):
        guest.pc, before = pc, guest.count
        assert guest.go() == Stop(ECALL) and guest.count - before == count


# -- code that changes


SELF = """
    la t0, patch
    la t1, new
    lw t1, 0(t1)
    sw t1, 0(t0)
    fence.i
patch: addi a0, a0, 1
    ecall
    .balign 4
new: addi a0, a0, 100
"""


def test_self_modifying(guest: Any) -> None:
    """A store to code, then fence.i: the new instruction runs, at the latest when the engine is told."""
    labels = guest.load(SELF, access="rwx")
    ends(guest)
    guest.changed(labels["patch"], 4)
    guest.pc, guest.x[10] = labels["patch"], 0
    ends(guest)
    assert guest.x[10] == 100


def test_self_modifying_loop(guest: Any) -> None:
    """Each round writes another instruction over one that has been executed."""
    guest.load("""
        li t2, 50
    1:  la t0, patch
        la t1, template
        lw t1, 0(t1)
        slli t3, t2, 20
        add t1, t1, t3
        sw t1, 0(t0)
        fence.i
    patch: addi a0, a0, 0
        addi t2, t2, -1
        bnez t2, 1b
        ecall
        .balign 4
    template: addi a0, a0, 0
    """, access="rwx")
    ends(guest)
    assert guest.x[10] == sum(range(1, 51))


def test_code_written_from_outside(guest: Any) -> None:
    guest.load("1: addi a0, a0, 1\naddi t0, t0, -1\nbnez t0, 1b\necall")
    for k in range(1, 20):
        guest.write(CODE, assembler(guest.xlen).assemble(f"addi a0, a0, {k}", CODE).data)
        guest.x[5], guest.x[10], guest.pc = 7, 0, CODE
        ends(guest)
        assert guest.x[10] == 7 * k


def test_page_replaced(guest: Any) -> None:
    """Code unmapped and other code mapped in its place."""
    for k in range(1, 6):
        guest.load(f"addi a0, zero, {k}\nla t0, 1f\njr t0\n.zero 5000\n1: addi a1, a0, {k}\necall")
        ends(guest)
        assert (guest.x[10], guest.x[11]) == (k, 2 * k)
        guest.map(CODE, 2 * PAGE, "")
        guest.pc = CODE
        assert guest.go() == Stop(NO_FETCH, CODE)


def test_rights_taken(guest: Any) -> None:
    """Code that was executed may not be any more."""
    labels = guest.load("addi a0, a0, 1\nj there\n.zero 8000\nthere: addi a0, a0, 10\nj back\n.zero 100\nback: ecall")
    ends(guest)
    page = labels["there"] & -PAGE
    guest.map(page, PAGE, "r")
    guest.pc, before = CODE, guest.count
    assert guest.go() == Stop(NO_FETCH, labels["there"]) and guest.pc == labels["there"] and guest.count - before == 2
    guest.map(page, PAGE, "rx")
    ends(guest)


def test_rights_taken_from_the_page_that_runs(guest: Any) -> None:
    guest.load("addi a0, a0, 1\nebreak\naddi a0, a0, 1\necall")
    ends(guest, BREAKPOINT)
    guest.map(CODE, PAGE, "rw")
    guest.pc, before = CODE + 8, guest.count
    assert guest.go() == Stop(NO_FETCH, CODE + 8) and guest.count == before
    assert guest.step() == Stop(NO_FETCH, CODE + 8) and guest.count == before


# -- the top of a 32-bit address space


def wrapping(kind: str) -> Any:
    from engine_harness import guests

    guest = guests(kind, 32)
    guest.map(LIMIT - PAGE, PAGE, "rx")
    guest.map(0, PAGE, "rx")
    return guest


@pytest.mark.parametrize("kind", ["golden", "interpreter"])
def test_branches_wrap(kind: str) -> None:
    """Targets are numbers of 32 bits: from the last page to the first one and back."""
    guest = wrapping(kind)
    asm = assembler(32).assemble
    guest.write(LIMIT - 64, asm("1: beq zero, zero, .+128", 0).data)
    guest.write(64, asm("addi a0, a0, 1\njal zero, .-132", 0).data)
    guest.write(LIMIT - 64 + 0, asm("beq zero, zero, .+128", 0).data)
    guest.write(LIMIT - 64, asm("beq a0, zero, .+128\necall", 0).data)
    guest.pc = LIMIT - 64
    assert guest.go() == Stop(ECALL) and guest.pc == LIMIT - 60 and guest.x[10] == 1 and guest.count == 4


@pytest.mark.parametrize("kind", ["golden", "interpreter"])
@pytest.mark.parametrize("at", [LIMIT - 4, LIMIT - 2])
def test_straight_line_wraps(kind: str, at: int) -> None:
    """Volume I, 1.4: the address space is circular."""
    guest = wrapping(kind)
    code = assembler(32).assemble("addi a0, a0, 1\naddi a0, a0, 1\necall", at).data
    guest.write(at, code[: LIMIT - at])
    guest.write(0, code[LIMIT - at :])
    guest.pc = at
    assert guest.go() == Stop(ECALL) and guest.x[10] == 2 and guest.pc == at + 8 - LIMIT


# -- when there is no room


def test_no_room_for_entries(native: Any) -> None:
    """The run ends in an error that says so; after a reset there is room again."""
    native.load("addi a0, a0, 1\n" * 4 * 1024 + "ecall")
    native.engine.reset()
    native.vcpu.attach()
    shared = native.engine.shared
    shared.arena_end = shared.arena_start + 2 * 34_000
    for _ in range(2):
        with pytest.raises(MemoryError, match="no room for more predecoded code"):
            native.go()
    native.engine.reset()
    native.vcpu.attach()
    native.pc, native.x[10] = CODE, 0
    ends(native)
    assert native.x[10] == 4096


def test_a_far_jump_that_was_linked_follows_its_page(guest: Any) -> None:
    """A function on another page, called until every engine knows the way; then it may not be executed, is other code, is back."""
    asm = assembler(guest.xlen)
    far = CODE + 4 * PAGE
    guest.load(f"li t0, 40\n1: jal ra, {far}\naddi t0, t0, -1\nbnez t0, 1b\necall")
    for round, rights in enumerate(("rx", "r", "rx", "", "rx")):
        guest.map(far, PAGE, "rw")
        guest.write(far, asm.assemble(f"addi a0, a0, {round + 1}\nret", far).data)
        guest.map(far, PAGE, rights)
        guest.changed(far, PAGE)
        guest.pc, guest.x[10] = CODE, 0
        stop = guest.go()
        if rights == "rx":
            assert stop == Stop(ECALL) and guest.x[10] == 40 * (round + 1)
        else:
            assert stop == Stop(NO_FETCH, far) and guest.pc == far and guest.x[10] == 0
