"""Address translation: stages 1 and 2, granules, rights, faults, hardware updates, on the golden model and on the compiled engine."""

from __future__ import annotations

import pytest
from arm64_system_harness import DATA, RAM
from test_arm64_system import esr, kind, new, program  # noqa: F401  (fixtures)

pytestmark = pytest.mark.timeout(1500)

AF, DBM, NG = 1 << 10, 1 << 51, 1 << 11
USER, READ_ONLY = 1 << 6, 1 << 7
UXN, PXN = 1 << 54, 1 << 53
DEVICE = 1 << 2  # AttrIndx 1
MAIR = 0xFF | 0x04 << 8
FLAT = AF  # the program itself: read, write, executed at EL1
TRANSLATION, ACCESS, PERMISSION = 4, 8, 12
PAGE = 0x12_3456_7000  # a virtual page for DATA
ENABLE = 1

TG0 = {12: 0, 14: 2, 16: 1}
TG1 = {12: 2, 14: 1, 16: 3}


def tcr(granule=12, bits=48, **more):
    value = (64 - bits) | (64 - bits) << 16 | TG0[granule] << 14 | TG1[granule] << 30 | 5 << 32
    for name, on in more.items():
        value |= on << {"ha": 39, "hd": 40, "tbi0": 37, "tbi1": 38, "epd0": 7, "epd1": 23, "hpd0": 41, "e0pd0": 55, "ips": 32}[name]
    return value


def on(guest, root, text, granule=12, upper=0, sctlr=0, at_el0=False, before="", bits=48, **more):
    """A program that switches translation on; gives (ESR, FAR)."""
    value = tcr(granule, bits, **more)
    set_up = f"""
        ldr x0, ={root:#x}; msr ttbr0_el1, x0
        ldr x0, ={upper:#x}; msr ttbr1_el1, x0
        ldr x0, ={value:#x}; msr tcr_el1, x0
        ldr x0, ={MAIR:#x}; msr mair_el1, x0
        mrs x0, sctlr_el1; ldr x1, ={sctlr | ENABLE:#x}; orr x0, x0, x1; msr sctlr_el1, x0; isb
        ldr x9, ={PAGE:#x}
        {before}
    """
    if at_el0:
        set_up += "mov x0, #0x3c0; msr spsr_el1, x0; adr x0, start; msr elr_el1, x0; eret\nstart:\n"
    labels = guest.run(program(set_up + text).replace("str w19, [x19]", "nop"))
    return labels


def program_at(granule, first=1):
    """The pages of the program: a block of level 2."""
    size = {12: 21, 14: 25, 16: 29}[granule]
    return (RAM >> size << size, RAM >> size << size, FLAT, 2)


@pytest.fixture
def guest(new):  # noqa: F811
    return new()


@pytest.mark.parametrize("granule", [12, 14, 16])
@pytest.mark.parametrize("bits", [48, 42, 39, 32])
def test_pages(guest, granule, bits):
    virtual = PAGE & (1 << bits) - 1 & ~((1 << granule) - 1)
    root = guest.map([program_at(granule), (virtual, DATA, AF, 3)], granule, bits)
    guest.put(DATA + 0x18, 0x1122_3344)
    on(guest, root, "ldr w5, [x9, #0x18]; str x5, [x9, #0x20]; wfi", granule, bits=bits, before=f"ldr x9, ={virtual:#x}")
    assert (guest.x(5), guest.word(DATA + 0x20)) == (0x1122_3344, 0x1122_3344)


@pytest.mark.parametrize("granule", [12, 14, 16])
def test_the_upper_half(guest, granule):
    virtual = PAGE & ~((1 << granule) - 1)
    root = guest.map([program_at(granule)], granule)
    guest.known = {}
    upper = guest.map([(virtual, DATA, AF, 3)], granule)
    address = 0xFFFF_0000_0000_0000 | virtual
    on(guest, root, "mov x5, #77; str x5, [x9]; wfi", granule, upper=upper, before=f"ldr x9, ={address:#x}")
    assert guest.word(DATA) == 77


@pytest.mark.parametrize("level", [1, 2])
def test_blocks(guest, level):
    size = 1 << {1: 30, 2: 21}[level]
    virtual = 0x7F_C000_0000
    root = guest.map([program_at(12), (virtual, RAM & -size, AF, level)])
    on(guest, root, "mov x5, #5; str x5, [x9]; wfi", before=f"ldr x9, ={virtual + DATA - RAM:#x}")
    assert guest.word(DATA) == 5


# rights: descriptor, (load, store, execute) at EL1 and at EL0
RIGHTS = [
    (0, "rwx", "--x"),
    (USER, "rw-", "rwx"),
    (READ_ONLY, "r-x", "--x"),
    (READ_ONLY | USER, "r-x", "r-x"),
    (PXN, "rw-", "--x"),
    (UXN, "rwx", "---"),
    (PXN | UXN | USER, "rw-", "rw-"),
    (READ_ONLY | USER | PXN, "r--", "r-x"),
    (READ_ONLY | USER | UXN, "r-x", "r--"),
]


@pytest.mark.parametrize(("rights", "el1", "el0"), RIGHTS)
@pytest.mark.parametrize("at_el0", [False, True])
@pytest.mark.parametrize("access", "rwx")
def test_rights(guest, rights, el1, el0, at_el0, access):
    root = guest.map([program_at(12), (PAGE, DATA, AF | rights, 3)])
    guest.put(DATA, 0xD400_0021, 4)  # svc #1
    text = {"r": "ldr x0, [x9]; svc #1", "w": "str x0, [x9]; svc #1", "x": "br x9"}[access]
    on(guest, root, text, at_el0=at_el0)
    lower = 0 if at_el0 else 1
    if access in (el0 if at_el0 else el1):
        assert guest.x(20) == esr(0x15, 1)
    elif access == "x":
        assert (guest.x(20), guest.x(22)) == (esr(0x20 + lower, PERMISSION | 3), PAGE)
    else:
        assert (guest.x(20), guest.x(22)) == (esr(0x24 + lower, PERMISSION | 3 | (access == "w") << 6), PAGE)


def test_unprivileged_accesses(new):  # noqa: F811
    for rights, allowed in ((USER, True), (0, False), (USER | READ_ONLY, False)):
        for op in ("sttr", "ldtr"):
            guest = new()
            root = guest.map([program_at(12), (PAGE, DATA, AF | rights, 3)])
            on(guest, root, f"{op} x5, [x9]; {op} x5, [x9]; ldr x6, [x9]; svc #1")
            if allowed or (op == "ldtr" and rights & USER):
                assert guest.x(20) == esr(0x15, 1)
            else:
                assert (guest.x(20), guest.x(22)) == (esr(0x25, PERMISSION | 3 | (op == "sttr") << 6), PAGE)
            assert int(guest.core.unprivileged) == 0


def test_uao_makes_them_privileged(guest):
    root = guest.map([program_at(12), (PAGE, DATA, AF, 3)])
    on(guest, root, "msr uao, #1; mov x5, #3; sttr x5, [x9]; mrs x6, uao; svc #1")
    assert (guest.x(20), guest.word(DATA), guest.x(6), guest.x(23) >> 23 & 1) == (esr(0x15, 1), 3, 1 << 23, 1)


def test_pan(new):  # noqa: F811
    for text, faults in (("ldr x0, [x9]", True), ("ldtr x0, [x9]", False)):
        guest = new()
        root = guest.map([program_at(12), (PAGE, DATA, AF | USER, 3)])
        on(guest, root, f"ldr x0, [x9]; msr pan, #1; mrs x6, pan; {text}; svc #1")
        assert guest.x(6) == 1 << 22
        assert guest.x(20) == (esr(0x25, PERMISSION | 3) if faults else esr(0x15, 1))
        assert guest.x(23) >> 22 & 1 == 1


def test_exceptions_set_pan(new):  # noqa: F811
    for span in (0, 1):
        guest = new()
        change = f"bic x0, x0, #{1 << 23}; mov x1, #{span << 23:#x}; orr x0, x0, x1"
        guest.run(program(f"mrs x0, sctlr_el1; {change}; msr sctlr_el1, x0; svc #0"))
        assert int(guest.core.pan) == 1 - span


def test_write_permission_implies_no_execution(new):  # noqa: F811
    for rights, at_el0, fails in ((0, False, True), (READ_ONLY, False, False), (USER, True, True)):
        guest = new()
        guest.put(DATA, 0xD400_0021, 4)
        block = program_at(12)
        root = guest.map([(block[0], block[1], AF | READ_ONLY, 2), (PAGE, DATA, AF | rights, 3)])
        on(guest, root, "br x9", sctlr=1 << 19, at_el0=at_el0)
        assert guest.x(20) == (esr(0x20 if at_el0 else 0x21, PERMISSION | 3) if fails else esr(0x15, 1))


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_translation_faults_by_level(guest, level):
    entries = [program_at(12)]
    if level:
        shift = (3 - level) * 9 + 12
        entries.append((PAGE ^ 1 << shift, RAM if level == 2 else DATA, AF, level) if level > 1 else (PAGE ^ 1 << 30, RAM, AF, 1))
    root = guest.map(entries)
    page = PAGE if level else PAGE | 1 << 45
    on(guest, root, f"ldr x9, ={page:#x}; ldr x0, [x9, #8]")
    assert (guest.x(20), guest.x(22)) == (esr(0x25, TRANSLATION | level), page + 8)


def test_access_flag(new):  # noqa: F811
    for ha in (0, 1):
        guest = new()
        root = guest.map([program_at(12), (PAGE, DATA, 0, 3)])
        on(guest, root, "ldr x0, [x9]; svc #1", ha=ha)
        assert guest.x(20) == (esr(0x15, 1) if ha else esr(0x25, ACCESS | 3))
        assert guest.entry(PAGE) >> 10 & 1 == ha


def test_dirty_state(new):  # noqa: F811
    for hd in (0, 1):
        guest = new()
        root = guest.map([program_at(12), (PAGE, DATA, AF | DBM | READ_ONLY, 3)])
        on(guest, root, "ldr x0, [x9]; nop\nstr x0, [x9]; svc #1", ha=1, hd=hd)
        assert guest.x(20) == (esr(0x15, 1) if hd else esr(0x25, PERMISSION | 3 | 1 << 6))
        assert guest.entry(PAGE) >> 7 & 1 == 1 - hd


def test_a_read_does_not_make_dirty(guest):
    root = guest.map([program_at(12), (PAGE, DATA, AF | DBM | READ_ONLY, 3)])
    on(guest, root, "ldr x0, [x9]; svc #1", ha=1, hd=1)
    assert guest.entry(PAGE) >> 7 & 1 == 1


def test_models_without_hardware_updates(new):  # noqa: F811
    guest = new("cortex-a72")
    root = guest.map([program_at(12), (PAGE, DATA, 0, 3)])
    on(guest, root, "ldr x0, [x9]; svc #1", ha=1)
    assert guest.x(20) == esr(0x25, ACCESS | 3)


def test_tagged_addresses(new):  # noqa: F811
    for tbi0 in (0, 1):
        guest = new()
        root = guest.map([program_at(12), (PAGE, DATA, AF, 3)])
        address = PAGE | 0x5A << 56
        on(guest, root, f"ldr x9, ={address:#x}; mov x5, #9; str x5, [x9]; ldr x6, [x9]; svc #1", tbi0=tbi0)
        if tbi0:
            assert (guest.x(20), guest.x(6), guest.word(DATA)) == (esr(0x15, 1), 9, 9)
        else:
            assert guest.x(20) == esr(0x25, TRANSLATION | 1 << 6)


def test_branches_drop_tags(guest):
    root = guest.map([program_at(12)])
    labels = on(guest, root, "adr x1, here; orr x1, x1, #0x7f00000000000000; br x1\nhere: svc #1\nbehind:", tbi0=1)
    assert (guest.x(20), guest.x(21)) == (esr(0x15, 1), labels["behind"])


@pytest.mark.parametrize("address", [0x0001_0000_0000_0000, 0xFFFE_FFFF_FFFF_F000])
def test_addresses_of_no_half(guest, address):
    on(guest, guest.map([program_at(12)]), f"ldr x9, ={address:#x}; ldr x0, [x9]")
    assert (guest.x(20), guest.x(22)) == (esr(0x25, TRANSLATION), address)


def test_disabled_walks(guest):
    on(guest, guest.map([program_at(12)]), "mov x9, #-8; ldr x0, [x9]", epd1=1)
    assert guest.x(20) == esr(0x25, TRANSLATION)


def test_hierarchical_rights(new):  # noqa: F811
    for hpd0 in (0, 1):
        guest = new()
        root = guest.map([program_at(12), (PAGE, DATA, AF, 3)])
        slot = root + (PAGE >> 39 & 511) * 8
        guest.put(slot, guest.word(slot) | 1 << 62)  # APTable: read-only
        # the program's own pages share that entry: it writes nothing else
        on(guest, root, "str x0, [x9]; svc #1", hpd0=hpd0)
        assert guest.x(20) == (esr(0x15, 1) if hpd0 else esr(0x25, PERMISSION | 3 | 1 << 6))


def test_output_address_size(guest):
    root = guest.map([program_at(12), (PAGE, 1 << 40, AF, 3)])
    value = tcr() & ~(7 << 32)  # 32 bits
    on(guest, root, f"ldr x0, ={value:#x}; msr tcr_el1, x0; isb; ldr x0, [x9]")
    assert guest.x(20) == esr(0x25, 3)


def test_walks_outside_memory(guest):
    root = guest.map([program_at(12)])
    guest.put(root + (PAGE >> 39 & 511) * 8 + 8, 0x1000 | 3)
    on(guest, root, f"ldr x9, ={PAGE + (1 << 39):#x}; ldr x0, [x9]")
    assert guest.x(20) == esr(0x25, 0x14 | 1)


def test_device_memory_must_be_aligned(guest):
    root = guest.map([program_at(12), (PAGE, DATA, AF, 3), (PAGE + 0x1000, DATA, AF | DEVICE, 3)])
    on(guest, root, "ldr x0, [x9, #1]; add x9, x9, #0xfff; ldr w0, [x9, #4]")
    assert (guest.x(20), guest.x(22)) == (esr(0x25, 0x21), PAGE + 0x1003)


def test_alignment_checks(guest):
    root = guest.map([program_at(12), (PAGE, DATA, AF, 3)])
    on(guest, root, "ldr x0, [x9, #8]; ldr w0, [x9, #4]; str w0, [x9, #2]", sctlr=2)
    assert (guest.x(20), guest.x(22)) == (esr(0x25, 0x21 | 1 << 6), PAGE + 2)


def test_device_memory_that_has_been_accessed_must_be_aligned(guest):
    root = guest.map([program_at(12), (PAGE, DATA, AF | DEVICE, 3)])
    on(guest, root, "ldr x0, [x9]; str x0, [x9]; ldr x0, [x9, #8]; ldr w0, [x9, #6]")
    assert (guest.x(20), guest.x(22)) == (esr(0x25, 0x21), PAGE + 6)


def test_alignment_checks_that_are_switched_on_later(guest):
    """Misaligned accesses to a page that is known are quick, and what they may do is looked at each time."""
    root = guest.map([program_at(12), (PAGE, DATA, AF, 3)])
    guest.put(DATA, 0x1122_3344_5566_7788)
    guest.put(DATA + 8, 0x99AA_BBCC_DDEE_FF00)
    text = "ldr x3, [x9, #3]; ldr x4, [x9, #3]; str w4, [x9, #17]; str w4, [x9, #21]; ldr x5, [x9, #17]\n"
    on(guest, root, f"{text}mrs x0, sctlr_el1; orr x0, x0, #2; msr sctlr_el1, x0; isb; ldr x6, [x9, #8]; ldr x7, [x9, #3]")
    assert guest.x(3) == guest.x(4) == 0xEE_FF00_1122_3344_55 & (1 << 64) - 1
    assert (guest.x(5), guest.x(6)) == ((guest.x(4) & 0xFFFF_FFFF) * 0x1_0000_0001, 0x99AA_BBCC_DDEE_FF00)
    assert (guest.x(20), guest.x(22)) == (esr(0x25, 0x21), PAGE + 3)


INVALIDATIONS = ["tlbi vmalle1", "tlbi vae1, x6", "tlbi vaae1is, x6", "tlbi vale1, x6", "tlbi aside1, xzr", "tlbi vmalle1is",
                 "tlbi vaale1is, x6"]  # fmt: skip


@pytest.mark.parametrize("text", INVALIDATIONS)
def test_invalidation(guest, text):
    root = guest.map([program_at(12), (PAGE, DATA, AF, 3), (PAGE + 0x1000, RAM + 0x10_0000, AF, 3)])
    slot = guest.slots[PAGE]
    table = 0x7000_0000
    guest.map([(table, slot & ~0xFFF, AF, 3)], root=root)
    other = DATA + 0x1000
    guest.put(DATA, 1)
    guest.put(other, 2)
    on(guest, root, f"ldr x1, [x9]; ldr x7, ={table + (slot & 0xFFF):#x}; ldr x8, ={other | AF | 3:#x}; str x8, [x7]; dsb sy; "
                    f"lsr x6, x9, #12; {text}; dsb sy; isb; ldr x2, [x9]; wfi")  # fmt: skip
    assert (guest.x(1), guest.x(2)) == (1, 2)


def test_another_address_space(guest):
    first = guest.map([program_at(12), (PAGE, DATA, AF | NG, 3)])
    second = guest.map([program_at(12), (PAGE, DATA + 0x1000, AF | NG, 3)])
    guest.put(DATA, 1)
    guest.put(DATA + 0x1000, 2)
    on(guest, first, f"ldr x1, [x9]; ldr x0, ={second | 1 << 48:#x}; msr ttbr0_el1, x0; isb; ldr x2, [x9]; wfi")
    assert (guest.x(1), guest.x(2)) == (1, 2)


ATS = [("s1e1r", 0, 0), ("s1e1w", READ_ONLY, 0xD << 1 | 2 << 1), ("s1e0r", 0, (PERMISSION | 3) << 1), ("s1e0r", USER, 0),
       ("s1e1rp", USER, (PERMISSION | 3) << 1), ("s1e0w", USER | READ_ONLY, (PERMISSION | 3) << 1)]  # fmt: skip


@pytest.mark.parametrize(("op", "rights", "fault"), ATS)
def test_address_translation_instructions(guest, op, rights, fault):
    root = guest.map([program_at(12), (PAGE, DATA, AF | rights | 3 << 8, 3)])
    on(guest, root, f"msr pan, #1; at {op}, x9; mrs x5, par_el1; wfi")
    if fault:
        assert guest.x(5) == (PERMISSION | 3) << 1 | 1 | 1 << 11
    else:
        assert guest.x(5) == DATA | 0xFF << 56 | 3 << 7 | 1 << 11 | 1 << 9


def test_code_in_another_page(guest):
    root = guest.map([program_at(12), (PAGE, DATA, AF, 3), (PAGE + 0x1000, DATA + 0x1000, AF, 3)])
    for n in range(0x400):
        guest.put(DATA + 4 * n, 0xD503_201F, 4)
    guest.put(DATA + 0x1000, 0xD400_0021, 4)
    on(guest, root, "br x9")
    assert (guest.x(20), guest.x(21)) == (esr(0x15, 1), PAGE + 0x1004)


@pytest.mark.parametrize(("word", "call", "jump"), [(0xD503_245F, 0, 3), (0xD503_201F, 2, 3), (0xD503_249F, 2, 0), (0xD503_24DF, 0, 0),
                                                    (0xD503_233F, 0, 3)])  # fmt: skip
def test_guarded_pages(new, word, call, jump):  # noqa: F811
    """BTI c, NOP, BTI j, BTI jc, PACIASP: BTYPE of the exception, or 0.  A jump from a guarded page."""
    for text, btype in (("blr x9", call), ("add x3, x9, #8; br x3", jump)):
        guest = new()
        root = guest.map([program_at(12), (PAGE, DATA, AF | 1 << 50, 3)])
        for n, code in enumerate((word, 0xD400_0021, 0xD503_24DF, 0xD61F_0120)):  # .., svc #1, bti jc, br x9
            guest.put(DATA + 4 * n, code, 4)
        on(guest, root, text)
        assert guest.x(20) == (esr(0x0D, btype) if btype else esr(0x15, 1))
        if btype:
            assert (guest.x(21), guest.x(23) >> 10 & 3) == (PAGE, btype)
