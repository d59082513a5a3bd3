"""Timers, EL2 with and without VHE, stage 2, EL3, on the golden model and on the compiled engine."""

from __future__ import annotations

import pytest
from arm64_system_harness import DATA, END, RAM
from test_arm64_system import VECTORS, esr, kind, lower, new, program  # noqa: F401  (fixtures)
from test_arm64_translation import AF, MAIR, PAGE, tcr

pytestmark = pytest.mark.timeout(1500)

HCR = {"vm": 0, "fmo": 3, "imo": 4, "amo": 5, "vf": 6, "vi": 7, "dc": 12, "twi": 13, "tid3": 18, "tsc": 19, "tvm": 26, "tge": 27,
       "trvm": 30, "rw": 31, "e2h": 34, "apk": 40, "api": 41}  # fmt: skip


def hcr(*names):
    return sum(1 << HCR[n] for n in ("rw", "apk", "api", *names))


@pytest.fixture
def hyper(new):  # noqa: F811
    return new(has_el2=True)


def below(text, *bits, spsr=0x3C5, before=""):
    """`text` at EL1 (or what spsr says) under EL2; exceptions to EL1 end the program with x18 = 1, those to EL2 as everywhere."""
    own = ".balign 0x800\nel1: .rept 16\n.balign 0x80\nb end1\n.endr\nend1: mov x18, #1; mrs x20, esr_el1; mrs x21, elr_el1; " \
          "mrs x22, far_el1; mrs x23, spsr_el1; mrs x17, CurrentEL; hvc #0\n"
    set_up = f"adr x0, el1; msr vbar_el1, x0; ldr x0, ={hcr(*bits):#x}; msr hcr_el2, x0; msr cptr_el2, xzr; isb\n{before}"
    return lower(text, spsr, 2, set_up) + own


# -- timers


def test_timers_fire(new):  # noqa: F811
    for timer in ("cntv", "cntp"):
        guest = new()
        guest.cpu.connect(timer, guest.cpu.line("irq"))
        guest.run(program(f"mov x0, #1; msr {timer}_ctl_el0, x0; msr {timer}_cval_el0, xzr; mrs x2, {timer}_ctl_el0; msr daifclr, #2; b ."))
        assert (guest.x(2), guest.x(24)) == (5, 0x280)


def test_timers_wait(new):  # noqa: F811
    guest = new()
    guest.cpu.connect("cntv", guest.cpu.line("irq"))
    guest.run("ldr x0, =1000000; msr cntv_tval_el0, x0; mov x0, #1; msr cntv_ctl_el0, x0; mrs x3, cntv_tval_el0; mrs x4, cntv_ctl_el0; wfi")
    assert guest.x(4) == 1 and guest.x(3) <= 1_000_000
    assert not guest.cpu.line("irq").level
    guest.machine.time.advance(20_000_000)
    assert guest.cpu.line("irq").level


def test_a_masked_timer_is_silent(new):  # noqa: F811
    guest = new()
    guest.cpu.connect("cntv", guest.cpu.line("irq"))
    guest.run("mov x0, #3; msr cntv_ctl_el0, x0; msr cntv_cval_el0, xzr; mrs x4, cntv_ctl_el0; wfi")
    assert guest.x(4) == 7 and not guest.cpu.line("irq").level


def test_the_virtual_counter_has_an_offset(hyper):
    hyper.run("mov x0, #-1000; msr cntvoff_el2, x0; isb; mrs x1, cntpct_el0; mrs x2, cntvct_el0; sub x3, x2, x1; wfi")
    assert 1000 <= hyper.x(3) < 1000 + 62_500_000 * 10


# -- EL2


def test_reset_at_the_highest_level(new):  # noqa: F811
    for properties, level in (({"has_el2": True}, 2), ({"has_el3": True}, 3), ({"has_el2": True, "has_el3": True}, 3)):
        guest = new(**properties)
        guest.run("mrs x0, CurrentEL; mrs x1, id_aa64pfr0_el1; wfi")
        assert guest.x(0) == level << 2
        assert guest.x(1) & 0xFFFF == 0x11 | bool(properties.get("has_el2")) << 8 | bool(properties.get("has_el3")) << 12


def test_hypervisor_call(hyper):
    labels = hyper.run(below("mrs x5, CurrentEL; hvc #0x77\nafter:"))
    assert (hyper.x(5), hyper.x(20), hyper.x(21), hyper.x(23), hyper.x(24)) == (4, esr(0x16, 0x77), labels["after"], 0x3C5, 0x400)


def test_el1_handles_its_own(hyper):
    hyper.run(below("svc #3"))
    assert (hyper.x(18), hyper.x(20), hyper.x(17)) == (1, esr(0x15, 3), 4)


TRAPPED = [
    ("wfi", "twi", esr(1, 0x1E0_0000)),
    ("smc #3", "tsc", esr(0x17, 3)),
    ("msr ttbr0_el1, x3", "tvm", esr(0x18, 3 << 20 | 2 << 10 | 3 << 5)),
    ("mrs x3, sctlr_el1", "trvm", esr(0x18, 3 << 20 | 1 << 10 | 3 << 5 | 1)),
    ("mrs x3, id_aa64pfr0_el1", "tid3", esr(0x18, 3 << 20 | 3 << 5 | 4 << 1 | 1)),
]


@pytest.mark.parametrize(("text", "bit", "syndrome"), TRAPPED)
def test_what_el2_wants_to_hear_of(hyper, text, bit, syndrome):
    labels = hyper.run(below(text, bit))
    assert (hyper.x(18), hyper.x(20), hyper.x(21)) == (0, syndrome, labels["start"])


def test_pointer_authentication_below_a_hypervisor(new):  # noqa: F811
    key = esr(0x18, 3 << 20 | 2 << 10 | 3 << 5 | 1 << 1 | 1)
    for mask, text, syndrome in ((41, "pacga x1, x2, x3", esr(9)), (40, "mrs x3, apiakeylo_el1", key)):
        guest = new(has_el2=True)
        guest.run(below(text, before=f"ldr x0, ={hcr() & ~(1 << mask):#x}; msr hcr_el2, x0; isb\n"))
        assert guest.x(20) == syndrome


def test_virtual_identity(hyper):
    before = "mov x0, #0x55; msr vpidr_el2, x0; mov x0, #0x66; msr vmpidr_el2, x0\n"
    hyper.run(below("mrs x5, midr_el1; mrs x6, mpidr_el1; hvc #0", before=before))
    assert (hyper.x(5), hyper.x(6)) == (0x55, 0x66)


def test_tge_sends_el0_to_el2(hyper):
    hyper.run(below("svc #5", "tge", spsr=0x3C0))
    assert (hyper.x(18), hyper.x(20), hyper.x(24)) == (0, esr(0x15, 5), 0x400)


def test_el1_is_no_place_to_return_to_with_tge(hyper):
    hyper.run(below("nop", "tge"))
    assert (hyper.x(20), hyper.x(24)) == (esr(0x0E), 0x200)


def test_interrupts_for_el2_cannot_be_masked(hyper):
    hyper.cpu.line("irq")(True)
    hyper.run(below("b .", "imo"))
    assert (hyper.x(18), hyper.x(24)) == (0, 0x480)


@pytest.mark.parametrize("by", ["bit", "line"])
def test_virtual_interrupts(hyper, by):
    if by == "line":
        hyper.cpu.line("virq")(True)
    labels = hyper.run(below("mrs x5, isr_el1; msr daifclr, #2\nafter: b .", "imo", *(["vi"] if by == "bit" else [])))
    assert (hyper.x(18), hyper.x(5), hyper.x(21), hyper.x(23)) == (1, 1 << 7, labels["after"], 0x345)


# -- VHE


def test_a_host_has_el1_names(hyper):
    hyper.run(f"ldr x0, ={hcr('e2h', 'tge'):#x}; msr hcr_el2, x0; isb; mov x1, #0x1000; msr vbar_el1, x1; mrs x2, vbar_el2; "
              "mov x3, #0x2000; msr s3_5_c12_c0_0, x3; mrs x4, vbar_el1; mrs x5, s3_5_c12_c0_0; "
              "mov x6, #0x300000; msr cpacr_el1, x6; mrs x7, cptr_el2; msr s3_5_c1_c0_2, x6; mov x8, #17; "
              "msr cntv_cval_el0, x8; mrs x9, s3_4_c14_c3_2; mrs x10, s3_5_c14_c3_2; wfi")  # fmt: skip
    assert [hyper.x(n) for n in (2, 4, 5, 7, 9, 10)] == [0x1000, 0x1000, 0x2000, 0x30_0000, 17, 0]
    assert (int(hyper.core.vbar[1]), int(hyper.core.vbar[2])) == (0x2000, 0x1000)


def test_other_names_of_el1_need_a_host(hyper):
    hyper.run(program("mrs x0, s3_5_c12_c0_0", 2))
    assert hyper.x(20) == esr(0)


def host_tables(guest):
    root = guest.map([(RAM, RAM, AF, 2), (PAGE, DATA, AF, 3), (PAGE + 0x1000, DATA, AF | 1 << 6, 3)])
    guest.known = {}
    upper = guest.map([(PAGE, DATA + 0x1000, AF, 3)])
    return f"""
        ldr x0, ={root:#x}; msr ttbr0_el2, x0; ldr x0, ={upper:#x}; msr s3_4_c2_c0_1, x0
        ldr x0, ={tcr():#x}; msr tcr_el2, x0; ldr x0, ={MAIR:#x}; msr mair_el2, x0
        mrs x0, sctlr_el2; orr x0, x0, #1; msr sctlr_el2, x0; isb\n ldr x9, ={PAGE:#x}; ldr x10, ={0xFFFF_0000_0000_0000 | PAGE:#x}
    """


def quiet(text):
    return text.replace("str w19, [x19]", "nop")


def test_a_host_translates_both_halves(hyper):
    text = f"ldr x0, ={hcr('e2h', 'tge'):#x}; msr hcr_el2, x0; isb\n" + host_tables(hyper)
    hyper.run(quiet(program(text + "mov x5, #1; str x5, [x9]; mov x6, #2; str x6, [x10]; mov x5, #3; sttr x5, [x9, #8]", 2)))
    assert (hyper.word(DATA), hyper.word(DATA + 0x1000)) == (1, 2)
    assert (hyper.x(20), hyper.x(22)) == (esr(0x25, 0xC | 3 | 1 << 6), PAGE + 8)


def test_el0_of_a_host(hyper):
    text = f"ldr x0, ={hcr('e2h', 'tge'):#x}; msr hcr_el2, x0; isb\n" + host_tables(hyper)
    hyper.run(quiet(lower("ldr x5, [x9]", el=2, before=text)))
    assert (hyper.x(20), hyper.x(22), hyper.x(24)) == (esr(0x24, 0xC | 3), PAGE, 0x400)


def test_el2_alone(hyper):
    root = hyper.map([(RAM, RAM, AF | 1 << 6, 2), (PAGE, DATA, AF | 1 << 6 | 1 << 54, 3)])
    text = f"""ldr x0, ={root:#x}; msr ttbr0_el2, x0; ldr x0, ={16 | 5 << 16:#x}; msr tcr_el2, x0; ldr x0, ={MAIR:#x}; msr mair_el2, x0
        mrs x0, sctlr_el2; orr x0, x0, #1; msr sctlr_el2, x0; isb\n ldr x9, ={PAGE:#x}; mov x5, #6; str x5, [x9]; br x9"""
    hyper.run(quiet(program(text, 2)))
    assert hyper.word(DATA) == 6
    assert (hyper.x(20), hyper.x(22)) == (esr(0x21, 0xC | 3), PAGE)


# -- stage 2

S2 = AF | 0xF << 2 | 3 << 6  # normal memory, read and write


def stage2(guest, entries, bits=40, first=1):
    root = guest.map([(RAM, RAM, S2, 2), *entries], bits=bits, first=first, root=guest.tables(2 if bits == 40 else 1))
    control = (64 - bits) | 1 << 6 | 2 << 16
    return f"ldr x0, ={root:#x}; msr vttbr_el2, x0; ldr x0, ={control:#x}; msr vtcr_el2, x0; isb; ldr x9, ={IPA:#x}\n"


IPA = 0x80_1234_5000


def test_stage2_alone(hyper):
    before = stage2(hyper, [(IPA, DATA, S2, 3)])
    hyper.run(quiet(below("mov x5, #8; str x5, [x9, #16]; hvc #0", "vm", before=before)))
    assert (hyper.word(DATA + 16), hyper.x(20)) == (8, esr(0x16))


ISS = [  # text, write, ISV and what follows
    ("ldr w5, [x9, #8]", 0, 1 << 24 | 2 << 22 | 5 << 16),
    ("str x5, [x9, #8]", 1, 1 << 24 | 3 << 22 | 5 << 16 | 1 << 15),
    ("ldrsb x7, [x9, #8]", 0, 1 << 24 | 1 << 21 | 7 << 16 | 1 << 15),
    ("ldrsh w7, [x9, #8]", 0, 1 << 24 | 1 << 22 | 1 << 21 | 7 << 16),
    ("strb wzr, [x9, #8]", 1, 1 << 24 | 31 << 16),
    ("ldp x5, x6, [x9, #8]", 0, 0),
    ("ldr x5, [x9, #8]!", 0, 0),
]


@pytest.mark.parametrize(("text", "write", "iss"), ISS)
def test_stage2_faults(hyper, text, write, iss):
    before = stage2(hyper, [(IPA + 0x1000, DATA, S2, 3)])
    labels = hyper.run(quiet(below(text, "vm", before=before)).replace("wfi\n", "mrs x25, hpfar_el2; wfi\n"))
    assert (hyper.x(18), hyper.x(20), hyper.x(21), hyper.x(22)) == (0, esr(0x24, iss | 7 | write << 6), labels["start"], IPA + 8)
    assert hyper.x(25) == IPA >> 12 << 4


# XN[1:0] (TTS2UXN): both, EL0 only, none, EL1 only; without FEAT_XNX bit 1 forbids both.
XN = [("max", 0, True, True), ("max", 1, False, True), ("max", 2, False, False), ("max", 3, True, False), ("cortex-a72", 1, True, True),
      ("cortex-a72", 2, False, False), ("cortex-a72", 3, False, False)]  # fmt: skip


@pytest.mark.parametrize(("model", "xn", "el1", "el0"), XN)
def test_stage2_execution(new, model, xn, el1, el0):  # noqa: F811
    for spsr, allowed in ((0x3C5, el1), (0x3C0, el0)):
        guest = new(model, has_el2=True)
        guest.put(DATA, 0xD400_0021, 4)  # svc #1
        before = stage2(guest, [(IPA, DATA, S2 | xn << 53, 3)])
        guest.run(quiet(below("br x9", "vm", before=before, spsr=spsr)))
        if allowed:
            assert (guest.x(18), guest.x(20)) == (1, esr(0x15, 1))
        else:
            assert (guest.x(18), guest.x(20), guest.x(22)) == (0, esr(0x20, 0xC | 3), IPA)


@pytest.mark.parametrize(("rights", "read", "write"), [(3, True, True), (1, True, False), (2, False, True), (0, False, False)])
def test_stage2_rights(new, rights, read, write):  # noqa: F811
    for text, allowed, wnr in (("ldp x5, x6, [x9]", read, 0), ("stp x5, x6, [x9]", write, 1)):
        guest = new(has_el2=True)
        before = stage2(guest, [(IPA, DATA, S2 & ~(3 << 6) | rights << 6, 3)])
        guest.run(quiet(below(text + "; hvc #0", "vm", before=before)))
        assert guest.x(20) == (esr(0x16) if allowed else esr(0x24, 0xC | 3 | wnr << 6))


def both_stages(guest, first, second):
    """EL1's tables map PAGE to `first`, EL2's that to `second`."""
    root = guest.map([(RAM, RAM, AF, 2), (PAGE, first, AF, 3)])
    guest.known = {}
    before = stage2(guest, second)
    text = f"""ldr x0, ={root:#x}; msr ttbr0_el1, x0; ldr x0, ={tcr():#x}; msr tcr_el1, x0; ldr x0, ={MAIR:#x}; msr mair_el1, x0
        mrs x0, sctlr_el1; orr x0, x0, #1; msr sctlr_el1, x0; isb\n ldr x9, ={PAGE:#x}\n"""
    return before, text


def test_both_stages(hyper):
    before, text = both_stages(hyper, IPA, [(IPA, DATA, S2, 3)])
    hyper.run(quiet(below(text + "mov x5, #4; str x5, [x9]; ldr x9, [x9, #0x10]; at s1e1r, x9; hvc #0", "vm", before=before)))
    assert (hyper.word(DATA), hyper.x(20)) == (4, esr(0x16))


def test_stage2_faults_behind_stage1(hyper):
    before, text = both_stages(hyper, IPA, [(IPA + 0x1000, DATA, S2, 3)])
    hyper.run(quiet(below(text + "ldp x5, x6, [x9, #8]", "vm", before=before)).replace("wfi\n", "mrs x25, hpfar_el2; wfi\n"))
    assert (hyper.x(20), hyper.x(22), hyper.x(25)) == (esr(0x24, 7), PAGE + 8, IPA >> 12 << 4)


def test_stage2_refuses_a_walk(hyper):
    before, text = both_stages(hyper, DATA, [])
    text = text.replace("mrs x0, sctlr_el1", f"ldr x0, ={IPA:#x}; msr ttbr0_el1, x0; mrs x0, sctlr_el1")
    hyper.run(quiet(below(text, "vm", before=before)).replace("wfi\n", "mrs x25, hpfar_el2; wfi\n"))
    assert hyper.x(20) == esr(0x20, 5 | 1 << 7)
    assert hyper.x(25) == IPA >> 12 << 4


# -- EL3


def test_monitor_call(new):  # noqa: F811
    guest = new(has_el2=True, has_el3=True)
    before = "mov x0, #0x501; msr scr_el3, x0; isb\n"
    labels = guest.run(lower("smc #0x11\nafter:", 0x3C5, 3, before))
    assert (guest.x(20), guest.x(21), guest.x(23), guest.x(24)) == (esr(0x17, 0x11), labels["after"], 0x3C5, 0x400)


def test_a_disabled_monitor_call(new):  # noqa: F811
    guest = new(has_el3=True)
    text = lower("smc #1", 0x3C5, 3, "mov x0, #0x581; msr scr_el3, x0; adr x0, own; msr vbar_el1, x0; isb\n")
    guest.run(text + f".balign 0x800\nown: .skip 0x200\n mrs x20, esr_el1; mov x19, #{END:#x}; wfi")
    assert (guest.x(20), int(guest.core.el)) == (esr(0), 1)


def test_interrupts_of_el3(new):  # noqa: F811
    guest = new(has_el3=True)
    guest.cpu.line("fiq")(True)
    guest.run(lower("b .", 0x3C5, 3, "mov x0, #0x505; msr scr_el3, x0; isb\n"))
    assert (guest.x(24), int(guest.core.el)) == (0x500, 3)


def test_el2_is_not_there_in_secure_state(new):  # noqa: F811
    guest = new(has_el2=True, has_el3=True)
    guest.run(lower("nop", 0x3C9, 3, "mov x0, #0x500; msr scr_el3, x0; isb\n"))
    assert guest.x(20) == esr(0x0E)


__all__ = ["VECTORS"]
