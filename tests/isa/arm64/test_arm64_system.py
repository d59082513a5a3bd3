"""Exception levels: system registers, exceptions, interrupts, on the golden model and on the compiled engine."""

from __future__ import annotations

import pytest
from arm64_system_harness import DATA, END, RAM, Guest

from tinamou.isa.arm64 import sysregs

pytestmark = pytest.mark.timeout(1500)  # the first test on the compiled engine builds it

# Vectors at `vectors`: every exception ends the program, with x20 ESR, x21 ELR, x22 FAR, x23 SPSR, x24 the vector, if x18 is 0.
VECTORS = """
    .balign 0x800
vectors:
    .set n, 0
    .rept 16
    .balign 0x80
    mov x24, #n
    b handler
    .set n, n + 0x80
    .endr
handler:
    cbnz x18, finish
    mrs x20, esr_el{el}; mrs x21, elr_el{el}; mrs x22, far_el{el}; mrs x23, spsr_el{el}
finish:
    mov x19, #{end:#x}; str w19, [x19]
stop:
    wfi
    b stop
"""


def program(text, el=1):
    return f"adr x0, vectors; msr vbar_el{el}, x0; isb\n{text}\n{VECTORS.format(el=el, end=END)}"


def lower(text, spsr=0x3C0, el=1, before=""):
    """`text` at EL0 (or what spsr says), to its first exception."""
    return program(f"{before}\nldr x0, ={spsr:#x}; msr spsr_el{el}, x0; adr x0, start; msr elr_el{el}, x0; eret\nstart:\n{text}", el)


def esr(ec, iss=0, il=1):
    return ec << 26 | il << 25 | iss


@pytest.fixture(params=["golden", "softmmu", "regions"])
def kind(request):
    return request.param


@pytest.fixture
def new(kind):
    made = []

    def make(model="max", **properties):
        made.append(Guest(kind, model, **properties))
        return made[-1]

    yield make
    for g in made:
        g.close()


@pytest.fixture
def guest(new):
    return new()


# -- (a) registers


def test_reset_state(guest):
    core = guest.core
    assert (int(core.el), int(core.spsel), int(core.daif), int(core.pc)) == (1, 1, 0x3C0, RAM)
    assert int(core.sctlr[1]) & 1 == 0


def test_a_program_at_el1(guest):
    guest.run(f"mov x0, #{DATA:#x}; mov sp, x0; mov x1, #7; str x1, [sp, #8]; ldr x2, [x0, #8]; mrs x3, CurrentEL; mrs x4, daif; wfi")
    assert (guest.x(2), guest.x(3), guest.x(4)) == (7, 4, 0x3C0)


PLAIN = [r for r in sysregs.REGISTERS if r.op0 == 3 and r.read <= 1 and r.write <= 1 and r.kind == sysregs.Kind.PLAIN and not r.direct
         and r.extension in ("", "pauth", "lor") and r.op1 == 0]  # fmt: skip


def test_which_bits_can_be_written(guest):
    text = f"mov x0, #-1\nmov x10, #{DATA:#x}\n"
    for r in PLAIN:
        name = f"s3_{r.op1}_c{r.CRn}_c{r.CRm}_{r.op2}"
        text += f"mrs x2, {name}; msr {name}, x0; mrs x1, {name}; msr {name}, x2; str x1, [x10], #8\n"
    guest.run(text + "wfi")
    for n, r in enumerate(PLAIN):
        assert (r.name, guest.word(DATA + 8 * n)) == (r.name, r.mask)


def test_general_registers_survive_every_direct_register(guest):
    guest.run("mov x0, #3; msr tpidr_el0, x0; msr tpidrro_el0, x0; mrs x1, tpidrro_el0; mrs x2, ctr_el0; mrs x3, dczid_el0; wfi")
    assert (guest.x(1), guest.x(2), guest.x(3)) == (3, 0x8444_C004, 4)


def test_id_registers(new):
    guest = new("cortex-a72")
    guest.run("mrs x0, midr_el1; mrs x1, mpidr_el1; mrs x2, id_aa64pfr0_el1; mrs x3, id_aa64mmfr0_el1; mrs x4, id_aa64mmfr1_el1; "
              "mrs x5, id_aa64isar0_el1; mrs x6, s3_0_c0_c7_7; mrs x7, ctr_el0; wfi")  # fmt: skip
    assert guest.x(0) == 0x410F_D083
    assert guest.x(1) == 0x8000_0000
    assert (guest.x(2), guest.x(3), guest.x(4), guest.x(5), guest.x(6)) == (0x11, 0x1124, 0, 0x1_1120, 0)


def test_stack_pointers(guest):
    guest.run("mov x0, #0x1000; mov sp, x0; msr spsel, #0; mov x0, #0x2000; mov sp, x0; msr spsel, #1; mov x1, sp; mrs x2, sp_el0; "
              "mov x3, #0x3000; msr sp_el0, x3; msr spsel, #0; mov x4, sp; mrs x5, spsel; wfi")  # fmt: skip
    assert [guest.x(n) for n in (1, 2, 4, 5)] == [0x1000, 0x2000, 0x3000, 0]


UNDEFINED_AT_EL1 = ["mrs x0, scr_el3", "mrs x0, hcr_el2", "msr vbar_el2, x0", "mrs x0, sp_el1", "mrs x0, elr_el3", "msr s3_0_c0_c0_0, x0",
                    "mrs x0, s3_0_c15_c0_0", "hvc #1", "smc #1", "mrs x0, sctlr_el12", "tlbi alle2", "at s1e2r, x0", "udf #5",
                    "mrs x0, ttbr1_el2", "msr spsel, #0; mrs x0, sp_el0"]  # fmt: skip


@pytest.mark.parametrize("text", UNDEFINED_AT_EL1)
def test_undefined_at_el1(guest, text):
    guest.run(program(text))
    assert (guest.x(20), guest.x(24) & 0x1FF) == (esr(0), 0)


UNDEFINED_AT_EL0 = ["mrs x0, sctlr_el1", "msr ttbr0_el1, x0", "mrs x0, midr_el1", "mrs x0, CurrentEL", "eret", "msr spsel, #1",
                    "tlbi vmalle1", "at s1e1r, x0", "dc isw, x0", "hvc #0", "smc #0", "mrs x0, esr_el1", "mrs x0, id_aa64isar0_el1",
                    "msr pan, #1", "ic iallu", "msr tpidrro_el0, x0", "msr cntfrq_el0, x0"]  # fmt: skip


@pytest.mark.parametrize("text", UNDEFINED_AT_EL0)
def test_undefined_at_el0(guest, text):
    labels = guest.run(lower(text))
    assert (guest.x(20), guest.x(21), guest.x(24), guest.x(23)) == (esr(0), labels["start"], 0x400, 0x3C0)


# what EL0 may, by SCTLR_EL1 and others: (text, register, bit, op0 op1 CRn CRm op2 read)
ALLOWED = [
    ("mrs x3, ctr_el0", "sctlr_el1", 15, (3, 3, 0, 0, 1, 1)),
    ("mrs x3, daif", "sctlr_el1", 9, (3, 3, 4, 2, 1, 1)),
    ("msr daifset, #3", "sctlr_el1", 9, (0, 3, 4, 3, 6, 0)),
    ("dc cvau, x9", "sctlr_el1", 26, (1, 3, 7, 11, 1, 0)),
    ("ic ivau, x9", "sctlr_el1", 26, (1, 3, 7, 5, 1, 0)),
    ("dc zva, x9", "sctlr_el1", 14, (1, 3, 7, 4, 1, 0)),
    ("mrs x3, cntvct_el0", "cntkctl_el1", 1, (3, 3, 14, 0, 2, 1)),
    ("mrs x3, cntpct_el0", "cntkctl_el1", 0, (3, 3, 14, 0, 1, 1)),
    ("mrs x3, cntv_ctl_el0", "cntkctl_el1", 8, (3, 3, 14, 3, 1, 1)),
    ("msr cntp_cval_el0, x3", "cntkctl_el1", 9, (3, 3, 14, 2, 2, 0)),
    ("mrs x3, pmccntr_el0", "pmuserenr_el0", 0, (3, 3, 9, 13, 0, 1)),
]


@pytest.mark.parametrize(("text", "register", "bit", "encoding"), ALLOWED)
def test_what_el0_may(new, text, register, bit, encoding):
    for on in (0, 1):
        guest = new()
        before = f"mov x9, #{DATA:#x}; mrs x1, {register}; mov x2, #1; lsl x2, x2, #{bit}; {'orr x1, x1, x2' if on else 'bic x1, x1, x2'}; "
        guest.run(lower(f"{text}\nsvc #9", before=before + f"msr {register}, x1; isb"))
        if on:
            assert guest.x(20) == esr(0x15, 9)
        else:
            op0, op1, crn, crm, op2, read = encoding
            rt = 31 if "daifset" in text else 9 if "x9" in text else 3
            assert guest.x(20) == esr(0x18, op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | read)


# -- (b) exceptions

FLOATING = ["fadd d0, d1, d2", "add v0.16b, v1.16b, v2.16b", "ldr q0, [x9]", "stp d0, d1, [x9]", "mrs x0, fpcr", "msr fpsr, x0",
            "aese v0.16b, v1.16b",
            "ld1 {v0.16b}, [x9]", "fmov x0, d0", "ldur s0, [x9]", "fcvt h0, s1", "sha256h q0, q1, v2.4s",
            "fcmla v0.4s, v1.4s, v2.4s, #90"]  # fmt: skip


@pytest.mark.parametrize("text", FLOATING)
def test_floating_point_is_trapped(new, text):
    for fpen, at_el1, at_el0 in ((0, True, True), (1, False, True), (3, False, False)):
        before = f"mov x9, #{DATA:#x}; mov x0, #{fpen << 20:#x}; msr cpacr_el1, x0; isb\n"
        guest = new()
        guest.run(program(before + text + "\nsvc #1"))
        assert guest.x(20) == (esr(7, 0x1E0_0000) if at_el1 else esr(0x15, 1))
        guest = new()
        guest.run(lower(text + "\nsvc #1", before=before))
        assert guest.x(20) == (esr(7, 0x1E0_0000) if at_el0 else esr(0x15, 1))


@pytest.mark.parametrize(("spsr", "vector"), [(0x3C0, 0x400), (0x3C4, 0x000), (0x3C5, 0x200), (0x9000_03C0, 0x400)])
def test_svc_from_each_level(guest, spsr, vector):
    labels = guest.run(lower("svc #0x1234\nafter:", spsr))
    assert (guest.x(20), guest.x(21), guest.x(23), guest.x(24)) == (esr(0x15, 0x1234), labels["after"], spsr, vector)
    assert (int(guest.core.el), int(guest.core.spsel), int(guest.core.daif)) == (1, 1, 0x3C0)


def test_brk(guest):
    labels = guest.run(program("here: brk #0x4321"))
    assert (guest.x(20), guest.x(21), guest.x(24)) == (esr(0x3C, 0x4321), labels["here"], 0x200)


def test_eret_restores_the_state(guest):
    text = "mov x5, #0x1000; mov sp, x5; mov x5, #0x2000; msr sp_el0, x5"
    guest.run(lower("mov x6, sp; svc #0", 0x6000_03C0, before=text))
    assert (guest.x(6), guest.x(23), guest.x("sp")) == (0x2000, 0x6000_03C0, 0x1000)


@pytest.mark.parametrize("spsr", [0x3C1, 0x3C9, 0x3CD, 0x3D0, 0x3C6])
def test_illegal_returns(guest, spsr):
    labels = guest.run(lower("svc #0", spsr | 0x8000_0000))
    assert (guest.x(20), guest.x(21), guest.x(24)) == (esr(0x0E), labels["start"], 0x200)
    assert guest.x(23) == 0x8010_03C5


def test_misaligned_targets(guest):
    guest.run(program("adr x1, handler; add x1, x1, #2; br x1"))
    at = guest.x(1)
    assert (guest.x(20), guest.x(21), guest.x(22)) == (esr(0x22), at, at)


def test_return_to_a_misaligned_address(guest):
    labels = guest.run(program("mov x0, #0x3c0; msr spsr_el1, x0; adr x0, handler; add x0, x0, #1; msr elr_el1, x0; eret"))
    at = labels["handler"] + 1
    assert (guest.x(20), guest.x(21), guest.x(22), guest.x(24)) == (esr(0x22), at, at, 0x400)


@pytest.mark.parametrize(("text", "write"), [("ldr x0, [x9]", 0), ("str x0, [x9]", 1), ("ldtr x0, [x9]", 0), ("swp x0, x1, [x9]", 0)])
def test_nothing_answers(guest, text, write):
    labels = guest.run(program(f"mov x9, #0x1000\nhere: {text}"))
    assert (guest.x(20), guest.x(21), guest.x(22)) == (esr(0x25, 0x10 | write << 6), labels["here"], 0x1000)


def test_fetch_from_nowhere(guest):
    guest.run(program("mov x9, #0x1000; br x9"))
    assert (guest.x(20), guest.x(21), guest.x(22)) == (esr(0x21, 0x10), 0x1000, 0x1000)


@pytest.mark.parametrize(("text", "write"), [("ldr x0, [x9]", 0), ("str w0, [x9]", 1), ("ldrh w0, [x9]", 0)])
def test_alignment_without_translation(guest, text, write):
    """All data accesses are to Device memory then."""
    guest.run(program(f"ldr x9, ={DATA + 1:#x}\nhere: {text}"))
    assert (guest.x(20), guest.x(22)) == (esr(0x25, 0x21 | write << 6), DATA + 1)


SA, SA0 = 1 << 3, 1 << 4
BY_STACK = ["ldr x0, [sp, #8]", "strb w0, [sp], #1", "stp x0, x1, [sp, #-16]!", "ldr q0, [sp]", "ldxr x0, [sp]", "ld1 {v0.4s}, [sp]"]


@pytest.mark.parametrize("text", BY_STACK)
def test_stack_alignment(guest, text):
    float_on = "mov x0, #0x300000; msr cpacr_el1, x0; isb"
    labels = guest.run(program(f"{float_on}; ldr x9, ={DATA + 8:#x}; mov sp, x9\nhere: {text}"))
    assert (guest.x(20), guest.x(21), guest.x("sp")) == (esr(0x26), labels["here"], DATA + 8)


@pytest.mark.parametrize(("off", "el", "faults"), [(SA0, 1, True), (SA, 1, False), (SA0, 0, False), (SA, 0, True)])
def test_whose_stack_alignment_is_checked(guest, off, el, faults):
    """SCTLR_EL1.SA is for EL1, SA0 for EL0; prefetches are never checked."""
    before = f"mrs x0, sctlr_el1; bic x0, x0, #{off}; msr sctlr_el1, x0; isb; ldr x9, ={DATA + 8:#x}; msr sp_el0, x9"
    text = "mov x5, #1; prfm pldl1keep, [sp]; mov x5, #2; ldr x0, [sp]; mov x5, #3; svc #0"
    guest.run(program(f"{before}; mov sp, x9; {text}") if el else lower(text, before=before))
    assert (guest.x(5), guest.x(20)) == ((2, esr(0x26)) if faults else (3, esr(0x15)))


def test_exclusive_monitor_is_cleared(guest):
    text = f"mov x9, #{DATA:#x}; ldxr x1, [x9]; svc #0\n"
    guest.run(f"adr x0, v; msr vbar_el1, x0; {text} stxr w2, x1, [x9]; wfi; .balign 0x800; v: .skip 0x200; eret")
    assert guest.x(2) == 1


# -- interrupts

ROUTED = [("irq", 0x80, 7), ("fiq", 0x100, 6), ("serror", 0x180, 8)]


@pytest.mark.parametrize(("line", "vector", "bit"), ROUTED)
def test_interrupts(guest, line, vector, bit):
    guest.cpu.line(line)(True)
    labels = guest.run(program(f"mrs x5, isr_el1; mov x6, #1; msr daifclr, #{1 << bit - 6}\nafter: b ."))
    assert (guest.x(5), guest.x(6), guest.x(21), guest.x(24)) == (1 << bit, 1, labels["after"], 0x200 + vector)
    assert guest.x(23) == 0x3C5 & ~(1 << bit)


@pytest.mark.parametrize(("line", "vector", "bit"), ROUTED)
def test_masks_at_el0(guest, line, vector, bit):
    guest.cpu.line(line)(True)
    guest.run(lower("svc #1"))
    assert guest.x(24) == 0x400
    guest.machine.reset("warm")
    guest.cpu.line(line)(True)
    guest.run(lower("b .", 0x3C0 & ~(1 << bit)))
    assert guest.x(24) == 0x400 + vector


def test_wfi_ends_with_a_masked_interrupt(guest):
    guest.cpu.line("irq")(True)
    guest.run(program("wfi; mov x5, #7; svc #0"))
    assert (guest.x(5), guest.x(24)) == (7, 0x200)


def test_wfi_and_wfe_of_el0_are_trapped(new):
    for bit, text, ti in ((16, "wfi", 0), (18, "wfe", 1)):
        guest = new()
        guest.run(lower(text, before=f"mrs x1, sctlr_el1; bic x1, x1, #{1 << bit}; msr sctlr_el1, x1"))
        assert guest.x(20) == esr(1, 0x1E0_0000 | ti)


def test_the_highest_priority_first(guest):
    for line in ("irq", "fiq"):
        guest.cpu.line(line)(True)
    guest.run(program("msr daifclr, #3; b ."))
    assert guest.x(24) == 0x300


def test_os_lock(guest):
    guest.run("mrs x0, oslsr_el1; msr oslar_el1, xzr; mrs x1, oslsr_el1; mov x2, #1; msr mdscr_el1, x2; mrs x3, mdscr_el1; "
              "mov x4, #5; msr dbgbvr0_el1, x4; mrs x5, dbgbvr0_el1; wfi")  # fmt: skip
    assert (guest.x(0), guest.x(1), guest.x(3), guest.x(5)) == (10, 8, 1, 5)
