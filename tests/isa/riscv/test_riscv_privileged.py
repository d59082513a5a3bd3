"""Privileged architecture: modes, traps, CSRs, protection and translation, on the golden model and on the compiled engine."""

from __future__ import annotations

import ctypes

import pytest
from system_harness import RAM, Guest

from tinamou.engine.softmmu import RETIRED
from tinamou.isa.riscv import traps
from tinamou.machine.props import PropertyError

V, R, W, X, U, A, D = 1, 2, 4, 8, 16, 64, 128
ALL = V | R | W | X | A | D
DATA = RAM + 0x1_0000

# To `handler` on any trap; then the mode `MODE` at `start` with everything allowed by one PMP entry.
ENTER = """
    la t0, handler; csrw mtvec, t0
    li t0, -1; csrw pmpaddr0, t0; csrwi pmpcfg0, 0x1f
    la t0, start; csrw mepc, t0
    li t0, 0x1800; csrc mstatus, t0
    li t0, MODE << 11; csrs mstatus, t0
"""
HANDLER = "\n.balign 4\nhandler: csrw mie, zero; wfi; j handler\n"
RETURN = "mret\n.balign 4\nstart:\n"


@pytest.fixture(params=["golden", "softmmu", "regions"])
def kind(request):
    return request.param


@pytest.fixture(params=[32, 64])
def xlen(request):
    return request.param


@pytest.fixture
def new(kind):
    made = []

    def make(xlen=64, model="", **properties):
        made.append(Guest(kind, xlen, model, **properties))
        return made[-1]

    yield make
    for g in made:
        g.close()


@pytest.fixture
def guest(new, xlen):
    return new(xlen)


def in_mode(guest, mode, text, before="", limit=20_000):
    """Run `text` in a mode until its first trap; gives (mcause, mepc, mtval) with the interrupt bit as bit 31 of the cause."""
    labels = guest.run(f".equ MODE, {mode}\n{ENTER}{before}\n{RETURN}{text}\necall\n{HANDLER}", limit)
    h = guest.hart
    return int(h.mcause), int(h.mepc) - labels["start"], int(h.mtval)


def test_reset_state(guest):
    h = guest.hart
    assert (int(h.privilege), int(h.pc), int(h.mstatus), int(h.satp), int(h.mie)) == (3, RAM, 0, 0, 0)


def test_ecall_and_mret(guest):
    labels = guest.run("la t0, handler; csrw mtvec, t0; back: ecall; wfi; .balign 4; handler: csrr a0, mepc; csrr a1, mcause; "
                       "csrr a2, mstatus; addi t0, a0, 4; csrw mepc, t0; mret")  # fmt: skip
    assert (guest.x("a0"), guest.x("a1"), guest.x("a2") >> 11 & 3) == (labels["back"], traps.ECALL_FROM_M, 3)
    assert int(guest.hart.privilege) == 3


@pytest.mark.parametrize(("mode", "cause"), [(0, traps.ECALL_FROM_U), (1, traps.ECALL_FROM_S), (3, traps.ECALL_FROM_M)])
def test_ecall_says_the_mode(guest, mode, cause):
    assert in_mode(guest, mode, "nop") == (cause, 4, 0)
    assert int(guest.hart.mstatus) >> 11 & 3 == mode


ILLEGAL = {
    0: ["csrr a0, mstatus", "csrr a0, sstatus", "csrw sscratch, a0", "mret", "sret", "wfi", "sfence.vma zero, zero", "csrr a0, cycle",
        "sfence.vma a0, a1", "csrr a0, satp"],
    1: ["csrr a0, mstatus", "csrw mscratch, a0", "mret", "csrr a0, mhartid", "csrr a0, time"],
    3: ["csrw mhartid, a0", "csrr a0, 0x5c0", "csrw 0xc00, a0"],
}  # fmt: skip


@pytest.mark.parametrize(("mode", "text"), [(m, t) for m, texts in ILLEGAL.items() for t in texts])
def test_illegal_in_that_mode(guest, mode, text):
    assert in_mode(guest, mode, text)[:2] == (traps.ILLEGAL_INSTRUCTION, 0)


@pytest.mark.parametrize(("bit", "text"), [(20, "csrr a0, satp"), (20, "csrw satp, zero"), (20, "sfence.vma zero, zero"), (21, "wfi"),
                                           (22, "sret")])  # fmt: skip
def test_traps_that_machine_mode_asks_for(guest, bit, text):
    """TVM, TW and TSR."""
    before = f"li t0, 1 << {bit}; csrs mstatus, t0"
    assert in_mode(guest, 1, text, before)[0] == traps.ILLEGAL_INSTRUCTION


def test_delegation_and_sret(guest):
    before = "la t0, inner; csrw stvec, t0; li t0, 1 << 8; csrw medeleg, t0"
    text = "li a1, 7; ecall; ebreak\n.balign 4\n"
    text += "inner: csrr a2, scause; csrr a3, sstatus; csrr a4, sepc; addi a4, a4, 4; csrw sepc, a4; sret"
    assert in_mode(guest, 0, text, before)[0] == traps.BREAKPOINT
    assert (guest.x("a1"), guest.x("a2"), guest.x("a3") & 0x100) == (7, traps.ECALL_FROM_U, 0)
    assert int(guest.hart.mstatus) >> 11 & 3 == 0


def test_traps_of_machine_mode_are_not_delegated(guest):
    assert in_mode(guest, 3, "nop", "li t0, -1; csrw medeleg, t0")[0] == traps.ECALL_FROM_M


WRITABLE = {
    "mscratch": -1, "sscratch": -1, "mepc": -2, "sepc": -2, "mcause": -1, "mtval": -1, "stval": -1, "mtvec": ~2, "stvec": ~2,
    "medeleg": 0xB3FF, "mideleg": 0x222, "mie": 0xAAA, "mcounteren": 0xFFFF_FFFF, "misa": None, "mhpmcounter3": 0, "mhpmevent3": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITABLE)
def test_which_bits_can_be_written(guest, name):
    guest.run(f"csrr a2, {name}; li a0, -1; csrw {name}, a0; csrr a1, {name}; csrw mie, zero; wfi")
    mask = (1 << guest.xlen) - 1
    want = WRITABLE[name]
    assert guest.x("a1") == (guest.x("a2") if want is None else want & mask)


def test_status_fields(guest):
    guest.run("li a0, -1; csrw mstatus, a0; csrr a1, mstatus; csrr a2, sstatus; csrw mstatus, zero; wfi")
    top = 1 << guest.xlen - 1
    fixed = 0xA_0000_0000 if guest.xlen == 64 else 0
    assert guest.x("a1") == 0x7E_79AA | top | fixed
    assert guest.x("a2") == 0xC_6122 | top | fixed & 0x3_0000_0000


def test_a_reserved_previous_mode_is_not_taken(guest):
    guest.run("li a0, 0x1000; csrw mstatus, zero; csrs mstatus, a0; csrr a1, mstatus; wfi")
    assert guest.x("a1") & 0x1800 == 0


def test_harts_without_supervisor_mode(new):
    guest = new(32, "sifive-e31")
    assert in_mode(guest, 0, "nop")[0] == traps.ECALL_FROM_U
    for text in ("csrr a0, sstatus", "csrr a0, mideleg", "csrr a0, satp"):
        assert in_mode(new(32, "sifive-e31"), 3, text)[0] == traps.ILLEGAL_INSTRUCTION
    assert in_mode(new(32, "sifive-e31"), 3, "li t0, 0x800; csrw mstatus, t0; csrr a0, mstatus")[0] == traps.ECALL_FROM_M


# -- interrupts

INTERRUPT = "la t0, handler; csrw mtvec, t0; li t0, {mie}; csrw mie, t0; csrsi mstatus, 8; "
TAKEN = "\n.balign 4\nhandler: csrr a0, mcause; csrr a1, mepc; csrw mie, zero; wfi"


@pytest.mark.parametrize(("line", "number"), [("msip", 3), ("mtip", 7), ("meip", 11)])
def test_lines_interrupt(guest, line, number):
    guest.cpu.line(line)(True)
    guest.run(INTERRUPT.format(mie=1 << number) + "here: j here" + TAKEN)
    assert guest.x("a0") == 1 << guest.xlen - 1 | number


def test_priority_and_vectors(guest):
    for name in ("msip", "mtip", "meip"):
        guest.cpu.line(name)(True)
    text = INTERRUPT.format(mie="0x888") + "here: j here\n.balign 4\nhandler:" + "nop; " * 11 + TAKEN.replace("handler:", "")
    guest.run(text.replace("la t0, handler;", "la t0, handler; addi t0, t0, 1;"))
    assert guest.x("a0") == 1 << guest.xlen - 1 | 11


def test_an_interrupt_waits_until_it_is_enabled(guest):
    guest.cpu.line("mtip")(True)
    enable = "la t0, handler; csrw mtvec, t0; li t0, 0x80; csrw mie, t0; li a5, 1; csrr a4, mip; csrsi mstatus, 8; after: nop"
    labels = guest.run(enable + TAKEN)
    assert (guest.x("a5"), guest.x("a4"), guest.x("a1")) == (1, 0x80, labels["after"])


def test_delegated_software_interrupt(guest):
    before = "la t0, inner; csrw stvec, t0; csrwi mideleg, 2; csrwi mie, 2; csrwi mip, 2"
    text = "csrsi sstatus, 2; nop; nop\n.balign 4\ninner: csrr a0, scause; csrr a1, sip; csrci sip, 2; csrr a2, sip"
    assert in_mode(guest, 1, text, before)[0] == traps.ECALL_FROM_S
    assert (guest.x("a0"), guest.x("a1"), guest.x("a2")) == (1 << guest.xlen - 1 | 1, 2, 0)


def test_interrupts_for_a_higher_mode_need_no_enable(guest):
    guest.cpu.line("mtip")(True)
    cause, at, _ = in_mode(guest, 1, "nop", "li t0, 0x80; csrw mie, t0")
    assert (cause, at) == (1 << guest.xlen - 1 | 7, 0)


def test_the_external_line_is_not_written_back(guest):
    guest.cpu.line("seip")(True)
    guest.run("csrsi mip, 2; csrr a0, mip; csrw mie, zero; wfi")
    guest.cpu.line("seip")(False)
    assert guest.x("a0") == 0x202 and int(guest.hart.pending()) == 2


def test_waiting_ends_with_an_enabled_interrupt_even_when_it_is_not_taken(guest):
    guest.cpu.line("mtip")(True)
    guest.run("li t0, 0x80; csrw mie, t0; wfi; li a0, 5; csrw mie, zero; wfi")
    assert guest.x("a0") == 5


# -- counters


@pytest.mark.parametrize(("csr", "bit"), [("cycle", 0), ("time", 1), ("instret", 2), ("hpmcounter3", 3)])
def test_counters_are_enabled_mode_by_mode(new, xlen, csr, bit):
    for machine, supervisor, mode, allowed in [(0, 0, 1, False), (1, 0, 1, True), (1, 0, 0, False), (1, 1, 0, True), (0, 1, 0, False)]:
        before = f"li t0, {machine << bit}; csrw mcounteren, t0; li t0, {supervisor << bit}; csrw scounteren, t0"
        cause = in_mode(new(xlen), mode, f"csrr a0, {csr}", before)[0]
        assert (cause != traps.ILLEGAL_INSTRUCTION) == allowed


def test_cycle_counter_can_be_set(guest):
    guest.run("li a0, 1000; csrw mcycle, a0; csrr a1, mcycle; csrw minstret, zero; csrr a2, minstret; nop; li a4, 3; "
              "loop: addi a4, a4, -1; bnez a4, loop; csrr a3, minstret; csrr a5, instret; wfi")
    assert 1000 <= guest.x("a1") < 1 << 31 and (guest.x("a2"), guest.x("a3"), guest.x("a5")) == (0, 9, 10)


# -- floating point


def test_the_float_unit_can_be_off(new, xlen):
    assert in_mode(new(xlen), 3, "fadd.s fa0, fa0, fa0")[0] == traps.ILLEGAL_INSTRUCTION
    assert in_mode(new(xlen), 3, "csrr a0, fcsr")[0] == traps.ILLEGAL_INSTRUCTION
    guest = new(xlen)
    assert in_mode(guest, 3, "fadd.s fa0, fa0, fa0; csrr a0, mstatus", "li t0, 1 << 13; csrs mstatus, t0")[0] == traps.ECALL_FROM_M
    assert guest.x("a0") >> 13 & 3 == 3 and guest.x("a0") >> xlen - 1 == 1


# -- physical memory protection


def protect(entries):
    """pmpaddr and pmpcfg of (kind and rights, address) from entry 0 on."""
    text = ""
    for n, (_, address) in enumerate(entries):
        text += f"li t0, {address}; csrw pmpaddr{n}, t0; "
    config = sum(c << 8 * n for n, (c, _) in enumerate(entries[:4]))
    return text + f"li t0, {config}; csrw pmpcfg0, t0"


EVERYTHING = (0x1F, -1)
NAPOT_PAGE = DATA >> 2 | 0x1FF


@pytest.mark.parametrize(
    ("rights", "text", "cause"),
    [
        (0x18, "lw a0, 0(a5)", traps.LOAD_ACCESS_FAULT), (0x18, "sw a0, 0(a5)", traps.STORE_ACCESS_FAULT),
        (0x19, "lw a0, 0(a5)", traps.ECALL_FROM_U), (0x19, "sw a0, 0(a5)", traps.STORE_ACCESS_FAULT),
        (0x1B, "sw a0, 0(a5)", traps.ECALL_FROM_U), (0x1B, "jr a5", traps.INSTRUCTION_ACCESS_FAULT),
        (0x18, "lw a0, 4(a4)", traps.ECALL_FROM_U), (0x19, "amoadd.w a0, a0, (a5)", traps.STORE_ACCESS_FAULT),
    ],
)  # fmt: skip
def test_protection_of_a_page(guest, rights, text, cause):
    before = protect([(rights, NAPOT_PAGE), EVERYTHING]) + f"; li a5, {DATA}; li a4, {DATA + 0x1000}"
    got, at, value = in_mode(guest, 0, text, before)
    assert got == cause
    if cause == traps.INSTRUCTION_ACCESS_FAULT:
        assert value == DATA
    elif cause != traps.ECALL_FROM_U:
        assert (at, value) == (0, DATA)


@pytest.mark.parametrize(
    ("entries", "last"),
    [
        ([(0x10, DATA + 8 >> 2), (0x11, DATA + 12 >> 2)], "sw a0, 12(a5)"),
        ([(0x00, DATA + 8 >> 2), (0x09, DATA + 16 >> 2)], "sw a0, 12(a5)"),
        ([(0x19, DATA + 8 >> 2)], "sb a0, 12(a5)"),
    ],
    ids=["NA4", "TOR", "NAPOT"],
)
def test_borders_inside_a_page(guest, entries, last):
    before = protect([*entries, EVERYTHING]) + f"; li a5, {DATA}"
    text = f"lw a0, 16(a5); sw a0, 24(a5); lw a0, 12(a5); lw a0, 20(a5); sw a0, 0(a5); {last}"
    assert in_mode(guest, 0, text, before)[0::2] == (traps.STORE_ACCESS_FAULT, DATA + 12)


def test_machine_mode_obeys_locked_entries_only(new, xlen):
    page = f"li a5, {DATA}"
    assert in_mode(new(xlen), 3, "lw a0, 0(a5)", protect([(0x18, NAPOT_PAGE)]) + ";" + page)[0] == traps.ECALL_FROM_M
    assert in_mode(new(xlen), 3, "lw a0, 0(a5)", protect([(0x98, NAPOT_PAGE)]) + ";" + page)[0] == traps.LOAD_ACCESS_FAULT
    guest = new(xlen)
    in_mode(guest, 3, "csrw pmpcfg0, zero; csrw pmpaddr0, zero; csrr a0, pmpcfg0; csrr a1, pmpaddr0", protect([(0x98, NAPOT_PAGE)]))
    assert (guest.x("a0"), guest.x("a1")) == (0x98, NAPOT_PAGE)


def test_lower_modes_need_a_matching_entry_once_there_are_entries(guest):
    assert in_mode(guest, 0, "nop", protect([(0x1F, NAPOT_PAGE)]))[0] == traps.INSTRUCTION_ACCESS_FAULT


# -- translation

MODES = [(32, 1), (64, 8), (64, 9)]
VIRTUAL = 0x4000_0000


def translated(new, xlen, mode, flags, text, *, privilege=1, status=0, virtual=VIRTUAL, level=0, physical=DATA, others=(), code_flags=ALL):
    """Run `text` (a5 = virtual) with the code mapped at its own addresses and one page of data at `virtual`."""
    guest = new(xlen)
    code = code_flags | (U if privilege == 0 else 0)
    satp = guest.map(mode, [(RAM + k * 4096, RAM + k * 4096, code, 0) for k in range(2)] + [(virtual, physical, flags, level), *others])
    mask = (1 << xlen) - 1
    before = f"li t0, {satp}; csrw satp, t0; li t0, {status}; csrs mstatus, t0; li a5, {virtual & mask}"
    return guest, in_mode(guest, privilege, text, before)


@pytest.fixture(params=MODES, ids=["sv32", "sv39", "sv48"])
def paging(request):
    return request.param


@pytest.mark.parametrize(
    ("flags", "privilege", "status", "text", "cause"),
    [
        (V | R | W | A | D, 1, 0, "sw a5, 0(a5); lw a0, 0(a5)", traps.ECALL_FROM_S),
        (V | R | W | A | D, 0, 0, "lw a0, 0(a5)", traps.LOAD_PAGE_FAULT),
        (V | R | W | U | A | D, 0, 0, "lw a0, 0(a5)", traps.ECALL_FROM_U),
        (V | R | W | U | A | D, 1, 0, "lw a0, 0(a5)", traps.LOAD_PAGE_FAULT),
        (V | R | W | U | A | D, 1, 1 << 18, "lw a0, 0(a5)", traps.ECALL_FROM_S),
        (V | R | X | U | A | D, 1, 1 << 18, "jr a5", traps.INSTRUCTION_PAGE_FAULT),
        (V | R | A, 1, 0, "sw a0, 0(a5)", traps.STORE_PAGE_FAULT),
        (V | R | A, 1, 0, "amoadd.w a0, a0, (a5)", traps.STORE_PAGE_FAULT),
        (V | X | A, 1, 0, "lw a0, 0(a5)", traps.LOAD_PAGE_FAULT),
        (V | X | A, 1, 1 << 19, "lw a0, 0(a5)", traps.ECALL_FROM_S),
        (V | R | W | A | D, 1, 0, "jr a5", traps.INSTRUCTION_PAGE_FAULT),
        (V | W | A | D, 1, 0, "lw a0, 0(a5)", traps.LOAD_PAGE_FAULT),
        (R | W | A | D, 1, 0, "lw a0, 0(a5)", traps.LOAD_PAGE_FAULT),
        (V, 1, 0, "lw a0, 0(a5)", traps.LOAD_PAGE_FAULT),
    ],
)
def test_rights_of_a_page(new, paging, flags, privilege, status, text, cause):
    _, (got, _, value) = translated(new, *paging, flags, text, privilege=privilege, status=status)
    assert got == cause
    if cause not in (traps.ECALL_FROM_S, traps.ECALL_FROM_U):
        assert value == VIRTUAL


def test_accessed_and_dirty_are_set(new, paging):
    guest, _ = translated(new, *paging, V | R | W, "lw a0, 0(a5)")
    assert guest.entry(paging[1], VIRTUAL) & (A | D) == A
    guest, _ = translated(new, *paging, V | R | W, "lw a0, 0(a5); sw a5, 8(a5)")
    assert guest.entry(paging[1], VIRTUAL) & (A | D) == A | D
    assert guest.word(DATA + 8, 4) == VIRTUAL


def test_large_pages(new, paging):
    xlen, mode = paging
    size = 1 << (22 if xlen == 32 else 21)
    guest, (cause, _, _) = translated(new, xlen, mode, V | R | W | A | D, "li t0, 0x10000; add a5, a5, t0; sw a5, 4(a5)", level=1,
                                      physical=RAM, virtual=VIRTUAL + size)  # fmt: skip
    assert cause == traps.ECALL_FROM_S and guest.word(DATA + 4, 4) == VIRTUAL + size + 0x1_0000
    _, (cause, _, value) = translated(new, xlen, mode, V | R | W | A | D, "lw a0, 0(a5)", level=1, physical=RAM + 0x1000)
    assert (cause, value) == (traps.LOAD_PAGE_FAULT, VIRTUAL)


def test_addresses_are_sign_extended(new):
    for mode, bits in ((8, 39), (9, 48)):
        high = (1 << 64) - (1 << bits - 1)
        _, (cause, _, _) = translated(new, 64, mode, V | R | W | A | D, "sw a5, 0(a5)", virtual=high)
        assert cause == traps.ECALL_FROM_S
        _, (cause, _, value) = translated(new, 64, mode, V | R | W | A | D, f"li a5, {1 << bits - 1}; lw a0, 0(a5)")
        assert (cause, value) == (traps.LOAD_PAGE_FAULT, 1 << bits - 1)


def test_an_access_across_two_pages(new, paging):
    xlen, mode = paging
    second = (VIRTUAL + 0x1000, DATA + 0x5000, V | R | W | A | D, 0)
    text = "li a0, 0x12345678; li t0, 4094; add a5, a5, t0; sw a0, 0(a5); lw a1, 0(a5)"
    guest, (cause, _, _) = translated(new, xlen, mode, V | R | W | A | D, text, others=[second])
    assert cause == traps.ECALL_FROM_S and guest.x("a1") == 0x1234_5678
    assert (guest.word(DATA + 4094, 2), guest.word(DATA + 0x5000, 2)) == (0x5678, 0x1234)
    guest, (cause, _, value) = translated(new, xlen, mode, V | R | W | A | D, "li t0, 4094; add a5, a5, t0; sw a5, 0(a5)")
    assert (cause, value, guest.word(DATA + 4094, 2)) == (traps.STORE_PAGE_FAULT, VIRTUAL + 0x1000, 0)


def test_a_changed_entry_is_seen_after_the_fence(new, paging):
    xlen, mode = paging
    guest = new(xlen)
    entries = [(RAM, RAM, ALL, 0), (VIRTUAL, DATA, V | R | W | A | D, 0)]
    satp = guest.map(mode, entries)
    path = guest.tables
    size, bits = (4, 10) if mode == 1 else (8, 9)
    levels = 2 if mode == 1 else mode - 5
    parent = tuple(VIRTUAL >> 12 + d * bits & (1 << bits) - 1 for d in reversed(range(1, levels)))
    slot = path[parent] + (VIRTUAL >> 12 & (1 << bits) - 1) * size
    guest.put(DATA + 0x1000, 77, 4)
    table = (0x5000_0000, slot & ~4095, V | R | W | A | D, 0)
    guest.map(mode, [*entries, table])
    store = "sw" if size == 4 else "sd"
    before = f"li t0, {satp}; csrw satp, t0; li a5, {VIRTUAL}; li a4, {0x5000_0000 + slot % 4096}"
    before += f"; li a3, {DATA + 0x1000 >> 12 << 10 | V | R | A}"
    cause, _, _ = in_mode(guest, 1, f"lw a0, 0(a5); {store} a3, 0(a4); sfence.vma a5, zero; lw a1, 0(a5)", before)
    assert (cause, guest.x("a0"), guest.x("a1")) == (traps.ECALL_FROM_S, 0, 77)


def test_loads_of_machine_mode_as_another_mode(new, paging):
    """MPRV."""
    xlen, mode = paging
    guest = new(xlen)
    satp = guest.map(mode, [(VIRTUAL, DATA, V | R | A, 0)])
    guest.put(DATA, 1234, 4)
    text = f"li t0, {satp}; csrw satp, t0; li a5, {VIRTUAL}; li t0, 0x20800; csrs mstatus, t0; lw a0, 0(a5); csrc mstatus, t0"
    guest.run(text + "; wfi")
    assert guest.x("a0") == 1234


def test_a_mode_that_does_not_exist_is_not_written(new):
    guest = new(64)
    guest.run("li a0, 5 << 60 | 1; csrw satp, a0; csrr a1, satp; li a0, 10 << 60; csrw satp, a0; csrr a2, satp; wfi")
    assert (guest.x("a1"), guest.x("a2")) == (0, 0)
    guest = new(64, mmu="off")
    guest.run("li a0, 8 << 60 | 1; csrw satp, a0; csrr a1, satp; wfi")
    assert guest.x("a1") == 0


def test_page_tables_outside_of_memory(new, paging):
    xlen, mode = paging
    guest = new(xlen)
    satp = (mode << 31 if mode == 1 else mode << 60) | 0x10
    cause, _, _ = in_mode(guest, 1, "nop", f"li t0, {satp}; csrw satp, t0")
    assert cause == traps.INSTRUCTION_ACCESS_FAULT


# -- memory


def test_nothing_there(guest):
    assert in_mode(guest, 1, "li a5, 0x1000; lw a0, 0(a5)")[0::2] == (traps.LOAD_ACCESS_FAULT, 0x1000)
    guest.cpu.reset()
    assert in_mode(guest, 1, "li a5, 0x1000; sw a0, 0(a5)")[0::2] == (traps.STORE_ACCESS_FAULT, 0x1000)
    guest.cpu.reset()
    assert in_mode(guest, 1, "li a5, 0x1000; jr a5")[0::2] == (traps.INSTRUCTION_ACCESS_FAULT, 0x1000)
    assert int(guest.hart.mepc) == 0x1000


def test_code_that_changes_itself(guest):
    """A store to an instruction that ran already."""
    start = "li a0, 0; li a1, 0; la a2, patch; lw a3, 0(a2); la a4, other; lw a4, 0(a4)"
    loop = "again: patch: addi a0, a0, 1; bnez a1, out; addi a1, a1, 1; sw a4, 0(a2); fence.i; j again; out: wfi"
    guest.run(f"{start}\n{loop}\nother: addi a0, a0, 16")
    assert guest.x("a0") == 17


def test_data_beside_code_is_written_often(guest):
    """Code that shares its page with data is undone and decoded again, and right all the time."""
    loop = "loop: sw a0, 0(a1); lw a3, 0(a1); addi a0, a3, 1; bne a0, a2, loop; wfi"
    guest.run(f"li a0, 0; la a1, data; li a2, 200\n{loop}\n.balign 4\ndata: .word 0")
    assert guest.x("a0") == 200 and guest.x("a3") == 199


def test_memory_that_devices_write_is_decoded_again(guest):
    guest.run("addi a0, a0, 1; wfi; j back; back: wfi")
    assert guest.x("a0") == 1
    guest.hart.pc = type(guest.hart.pc)(RAM)
    guest.run("addi a0, a0, 5; wfi")
    assert guest.x("a0") == 6


@pytest.mark.parametrize("kind", ["softmmu"])
def test_a_retired_page_is_written_by_a_device(guest):
    """The store of a CPU that retires a page may come between a device's look at it and its undoing."""
    guest.run("addi a0, a0, 1; wfi")
    (pages, _), engine = guest.engine.pagemaps[id(guest.ram)], guest.engine
    word = ctypes.c_uint64.from_address(pages)
    entries, word.value = word.value, word.value | RETIRED
    assert entries
    engine.forget_native(pages, 0, 1)
    handlers = (ctypes.c_uint64 * 8).from_address(entries)
    assert set(handlers[::2]) == {engine.image["h_decode"]}
    guest.hart.pc = type(guest.hart.pc)(RAM)
    guest.go()
    assert guest.x("a0") == 2


# -- what CPUs say of themselves

MODELS = [  # name, width, misa, vendor, architecture, PMP entries, largest mode of satp
    ("rv64", 64, "acdfimsu", 0, 0, 16, 9), ("sifive-e51", 64, "acimu", 0x489, 1, 8, 0), ("sifive-u54", 64, "acdfimsu", 0x489, 1, 8, 8),
    ("rv32", 32, "acdfimsu", 0, 0, 16, 1), ("sifive-e31", 32, "acimu", 0x489, 1, 8, 0), ("sifive-e34", 32, "acfimu", 0x489, 1, 8, 0),
    ("sifive-u34", 32, "acdfimsu", 0x489, 1, 8, 1), ("lowrisc-ibex", 32, "cimu", 0, 22, 16, 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "xlen", "letters", "vendor", "architecture", "entries", "mode"), MODELS)
def test_named_cpus(new, name, xlen, letters, vendor, architecture, entries, mode):
    guest = new(xlen, name)
    counted = "".join(f"csrw pmpaddr{n}, t0; csrr t1, pmpaddr{n}; snez t1, t1; add s1, s1, t1; " for n in range(16))
    guest.run(f"csrr a0, misa; csrr a1, mvendorid; csrr a2, marchid; csrr a3, mimpid; li t0, -1; li s1, 0; {counted}; "
              "csrw pmpcfg2, t0; csrr a4, pmpcfg2; wfi")  # fmt: skip
    assert guest.x("a0") == (xlen // 32) << (xlen - 2) | sum(1 << ord(c) - 97 for c in letters)
    assert (guest.x("a1"), guest.x("a2"), guest.x("a3"), guest.x("s1")) == (vendor, architecture, 0, entries)
    assert (guest.x("a4") != 0) == (entries == 16)
    assert int(guest.hart.modes) == mode


BAD = [(".word 0xffffffff", 0xFFFFFFFF), (".half 0", 0), ("csrr a0, 0x7ff", 0x7FF02573), ("csrw mhartid, a0", 0xF1451073),
       (".half 0x9c41", 0x9C41)]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), BAD, ids=[t for t, _ in BAD])
def test_mtval_of_illegal_instructions(new, xlen, text, value):
    guest = new(64)
    assert in_mode(guest, 3, f"nop; {text}") == (traps.ILLEGAL_INSTRUCTION, 4, value)


def test_mtval_of_an_illegal_instruction_across_pages(new):
    guest = new(64)
    guest.run("la t0, handler; csrw mtvec, t0; li t0, RAM2; li t1, 0xffff; sh t1, 0(t0); sh t1, 2(t0); jr t0\n"
              ".balign 4\nhandler: csrw mie, zero; wfi; j handler".replace("RAM2", hex(RAM + 0x2FFE)))  # fmt: skip
    assert (int(guest.hart.mcause), int(guest.hart.mepc), int(guest.hart.mtval)) == (2, RAM + 0x2FFE, 0xFFFFFFFF)


# PMP entry 0 allows all but stores below BORDER, entry 1 everything from there on.
HALVES = """
    la t0, handler; csrw mtvec, t0
    li t0, BORDER >> 2; csrw pmpaddr0, t0; li t0, -1; csrw pmpaddr1, t0; li t0, 0x1f0d; csrw pmpcfg0, t0
    la t0, start; csrw mepc, t0; li t0, 0x1800; csrc mstatus, t0; li a0, BORDER; mret
    .balign 4
start: TEXT; ecall
    .balign 4
handler: csrw mie, zero; wfi; j handler
"""
SPANS = [("lw a1, -4(a0)", 0), ("lw a1, -2(a0)", traps.LOAD_ACCESS_FAULT), ("lw a1, 0(a0)", 0), ("sw a1, 0(a0)", 0), ("sh a1, -2(a0)", 7),
         ("sw a1, -3(a0)", traps.STORE_ACCESS_FAULT), ("lh a1, -1(a0)", traps.LOAD_ACCESS_FAULT), ("lb a1, -1(a0)", 0)]  # fmt: skip


@pytest.mark.parametrize(("text", "cause"), SPANS, ids=[t for t, _ in SPANS])
def test_pmp_of_accesses_across_a_border(new, xlen, text, cause):
    guest = new(xlen)
    guest.run(HALVES.replace("BORDER", hex(DATA + 0x100)).replace("TEXT", text))
    assert int(guest.hart.mcause) == (cause or traps.ECALL_FROM_U)
    if cause:
        assert int(guest.hart.mtval) == DATA + 0x100 + int(text.split(",")[1].split("(")[0])


def test_pmp_ends_code_inside_a_page(new):
    """Straight-line code runs into an entry without X."""
    guest = new(64)
    text = "nop; nop; nop; nop; nop; nop"
    program = HALVES.replace("0x1f0d", "0x1b0d").replace("TEXT", "la t1, code; jr t1; .balign 64; code: " + text)
    border = guest.run(program.replace("BORDER", hex(RAM + 0x800)))["code"] + 12
    guest.machine.reset("cold")
    guest.cpu.set_time()
    guest.run(program.replace("BORDER", hex(border)))
    assert (int(guest.hart.mcause), int(guest.hart.mepc), int(guest.hart.mtval)) == (traps.INSTRUCTION_ACCESS_FAULT, border, border)


@pytest.mark.parametrize(
    ("xlen", "model", "vendor", "architecture", "regions", "inhibit"),
    [
        (32, "sifive-e31", 0x489, 1, 8, False),
        (32, "sifive-e34", 0x489, 1, 8, False),
        (64, "sifive-e51", 0x489, 1, 8, False),
        (64, "sifive-u54", 0x489, 1, 8, False),
        (32, "lowrisc-ibex", 0, 22, 16, True),
        (64, "rv64", 0, 0, 16, True),
    ],
)
def test_what_a_model_says_of_itself(xlen, model, vendor, architecture, regions, inhibit):
    guest = Guest("compiled", xlen, model)
    try:
        guest.run(
            "la t0, trap; csrw mtvec, t0; csrr a0, mvendorid; csrr a1, marchid; csrr a2, mimpid; li t1, -1;"
            "csrw pmpaddr7, t1; csrw pmpaddr8, t1; csrr a3, pmpaddr7; csrr a4, pmpaddr8; li s0, 0; csrw mcountinhibit, zero; wfi;"
            ".balign 4; trap: li s0, 1; csrr t2, mepc; addi t2, t2, 4; csrw mepc, t2; mret"
        )
        assert (guest.x("a0"), guest.x("a1"), guest.x("a2")) == (vendor, architecture, 0)
        assert (guest.x("a3") != 0, guest.x("a4") != 0) == (True, regions > 8)
        assert guest.x("s0") == (not inhibit)
    finally:
        guest.close()


def test_properties_of_the_identity():
    guest = Guest("compiled", 64, mvendorid=5, marchid="0x8000000000000007", mimpid=9, priv_spec="v1.10.0")
    try:
        assert [guest.cpu.csr(n) for n in (0xF11, 0xF12, 0xF13)] == [5, 0x8000_0000_0000_0007, 9]
    finally:
        guest.close()
    with pytest.raises(PropertyError, match="Unsupported privilege spec version"):
        Guest("compiled", 64, priv_spec="v1.9")
