"""The system registers: a table.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D17 (descriptions), D12.3 (encodings), D1.4 (traps).

`csr` makes rows of the registers that programs use (`direct`); all the others are read and written through the description that
`csr_privileged` compiles of this table.  ID registers are a row of `csr` and not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

NEVER = 4  # no exception level
ALL = (1 << 64) - 1
WORD = (1 << 32) - 1


class Kind:
    """What a register is besides the field in which it is kept."""

    PLAIN = 0
    ZERO = 1  # reads as 0, writes do nothing
    ROWS = 2  # known to its rows only
    DAIF = 3
    CURRENT_EL = 4
    SPSEL = 5
    PAN = 6
    UAO = 7
    SP = 8  # of the level `index`, unless it is in use
    TIMER_VALUE = 9  # TVAL: `index` is the timer
    TIMER_CONTROL = 10
    TIMER_COMPARE = 11
    PENDING = 13  # ISR_EL1
    LOCK = 14  # OSLAR_EL1
    LOCK_STATUS = 15  # OSLSR_EL1
    CACHE_SIZE = 16  # CCSIDR_EL1
    CYCLES = 19  # PMCCNTR_EL0
    SET = 20  # a write sets bits of the field
    CLEAR = 21  # a write clears bits of the field
    TAGS = 22  # of MTE: fields of 32 bits
    TRANSLATION = 23  # a write changes what addresses mean: nothing that is remembered holds
    ROUTING = 24  # the same, and which interrupts are taken where
    LOWER = 25  # TTBR0_EL1: a write changes the lower half
    UPPER = 26  # TTBR1_EL1
    RIGHTS = 27  # a write changes what may be used
    KEY = 28  # half of a key of pointer authentication


class Trap:
    """Who may refuse an access beyond what the exception level says (bits of HCR_EL2 are their numbers)."""

    NONE = 0
    TID1 = 16
    TID2 = 17
    TACR = 21
    TVM = 26  # writes
    TRVM = 30  # reads
    TLOR = 35
    APK = 40  # traps when the bit is 0
    CPACR = 50  # CPTR_EL2.TCPAC
    DEBUG = 51  # MDCR_EL2.TDA
    DEBUG_OS = 52  # MDCR_EL2.TDOSA
    COUNTERS = 53  # PMUSERENR_EL0.EN, MDCR_EL2.TPM
    PHYSICAL_TIMER = 54  # CNTKCTL_EL1.EL0PTEN, CNTHCTL_EL2.EL1PCEN
    VIRTUAL_TIMER = 55  # CNTKCTL_EL1.EL0VTEN
    PHYSICAL_COUNT = 56  # CNTKCTL_EL1.EL0PCTEN, CNTHCTL_EL2.EL1PCTEN
    SECURE_TIMER = 57  # SCR_EL3.ST
    UMA = 58  # SCTLR_EL1.UMA


@dataclass(frozen=True)
class Register:
    """One register.  `read` and `write` are the lowest exception levels that may; it is kept in `field` (an array's element `index`)."""

    name: str
    op0: int
    op1: int
    CRn: int
    CRm: int
    op2: int
    read: int
    write: int
    field: str = ""
    index: int = 0
    kind: int = Kind.PLAIN
    mask: int = ALL  # bits that a write changes
    reset: int = 0
    trap_read: int = Trap.NONE
    trap_write: int = Trap.NONE
    extension: str = ""  # what a CPU must have for it to be there
    host: bool = False  # EL2 with HCR_EL2.E2H reaches its EL2 counterpart by this name, and this one by that with _EL12
    direct: bool = False  # has rows of its own

    @property
    def number(self) -> int:
        """o0:op1:CRn:CRm:op2, 15 bits."""
        return (self.op0 & 1) << 14 | self.op1 << 11 | self.CRn << 7 | self.CRm << 3 | self.op2

    @property
    def bits(self) -> str:
        """The same as tokens of a row."""
        return f"{self.op0 & 1} {self.op1:03b} {self.CRn:04b} {self.CRm:04b} {self.op2:03b}"


def R(name: str, encoding: str, access: str, field: str = "", kind: int = Kind.PLAIN, trap: str = "", **more: Any) -> Register:
    """`encoding` is "op0 op1 CRn CRm op2"; `access` is "1rw", "0r 1w", "2w"...: the lowest level that may read or write; `field` "name"
    or "name[index]"; `trap` a name for reads and writes, or "one/other"."""
    op0, op1, crn, crm, op2 = map(int, encoding.split())
    level = {letter: int(part[0]) for part in access.split() for letter in part[1:]}
    where, _, index = field.partition("[")
    reading, _, writing = trap.partition("/")
    kept = {"index": int(index[:-1])} if index else {}
    return Register(name, op0, op1, crn, crm, op2, level.get("r", NEVER), level.get("w", NEVER), where, kind=kind,
                    trap_read=getattr(Trap, reading or "NONE"), trap_write=getattr(Trap, writing or reading or "NONE"), **kept, **more)


def levels(name: str, place: str, field: str, kind: int = Kind.PLAIN, trap: str = "", which: str = "123", **more: Any) -> list[Register]:
    """NAME_EL1, NAME_EL2, NAME_EL3 at "CRn CRm op2", kept in an array by exception level."""
    op1 = {"1": 0, "2": 4, "3": 6}
    return [R(f"{name}_el{n}", f"3 {op1[n]} {place}", f"{n}rw", f"{field}[{n}]", kind, trap if n == "1" else "", host=n == "1", **more)
            for n in which]  # fmt: skip


K = Kind
VM = "TRVM/TVM"

PROGRAMS = [  # what programs may use
    R("nzcv", "3 3 4 2 0", "0rw", kind=K.ROWS, direct=True),
    R("fpcr", "3 3 4 4 0", "0rw", kind=K.ROWS, direct=True),
    R("fpsr", "3 3 4 4 1", "0rw", kind=K.ROWS, direct=True),
    R("tpidr_el0", "3 3 13 0 2", "0rw", "tpidr", direct=True),
    R("tpidrro_el0", "3 3 13 0 3", "0r 1w", "tpidrro", direct=True),
    R("ctr_el0", "3 3 0 0 1", "0r", "ctr", direct=True),
    R("dczid_el0", "3 3 0 0 7", "0r", "dczid", direct=True),
    R("cntfrq_el0", "3 3 14 0 0", "0r 1w", "frequency", direct=True, mask=WORD),
    R("cntpct_el0", "3 3 14 0 1", "0r", kind=K.ROWS, direct=True),
    R("cntvct_el0", "3 3 14 0 2", "0r", kind=K.ROWS, direct=True),
    R("dit", "3 3 4 2 5", "0rw", kind=K.ROWS, extension="dit", direct=True),
    R("ssbs", "3 3 4 2 6", "0rw", kind=K.ROWS, extension="ssbs", direct=True),
    R("tco", "3 3 4 2 7", "0rw", kind=K.ROWS, extension="mte", direct=True),
    R("rndr", "3 3 2 4 0", "0r", kind=K.ROWS, extension="rng", direct=True),
    R("rndrrs", "3 3 2 4 1", "0r", kind=K.ROWS, extension="rng", direct=True),
]

STATE = [  # PSTATE, stack pointers, exceptions
    R("daif", "3 3 4 2 1", "0rw", kind=K.DAIF, trap="UMA"),
    R("spsel", "3 0 4 2 0", "1rw", kind=K.SPSEL),
    R("currentel", "3 0 4 2 2", "1r", kind=K.CURRENT_EL),
    R("pan", "3 0 4 2 3", "1rw", kind=K.PAN, extension="pan"),
    R("uao", "3 0 4 2 4", "1rw", kind=K.UAO, extension="uao"),
    R("sp_el0", "3 0 4 1 0", "1rw", "sp[0]", K.SP),
    R("sp_el1", "3 4 4 1 0", "2rw", "sp[1]", K.SP),
    R("sp_el2", "3 6 4 1 0", "3rw", "sp[2]", K.SP),
    *levels("spsr", "4 0 0", "spsr", mask=WORD),
    *levels("elr", "4 0 1", "elr"),
    *levels("esr", "5 2 0", "esr", trap=VM),
    *levels("far", "6 0 0", "far", trap=VM),
    *levels("afsr0", "5 1 0", "afsr0", trap=VM),
    *levels("afsr1", "5 1 1", "afsr1", trap=VM),
    *levels("vbar", "12 0 0", "vbar", mask=ALL & ~0x7FF),
    R("isr_el1", "3 0 12 1 0", "1r", kind=K.PENDING),
    R("par_el1", "3 0 7 4 0", "1rw", "par"),
    R("hpfar_el2", "3 4 6 0 4", "2rw", "hpfar"),
    *(R(f"spsr_{m}", f"3 4 4 3 {n}", "2rw", f"spsr_banked[{n}]", mask=WORD) for n, m in enumerate(("irq", "abt", "und", "fiq"))),
]

CONTROL = [
    *levels("sctlr", "1 0 0", "sctlr", K.TRANSLATION, VM),
    *levels("actlr", "1 0 1", "actlr", trap="TACR"),
    R("cpacr_el1", "3 0 1 0 2", "1rw", "cpacr", K.RIGHTS, "CPACR", mask=0x1030_0000, host=True),
    R("cptr_el2", "3 4 1 1 2", "2rw", "cptr[2]", K.RIGHTS),
    R("cptr_el3", "3 6 1 1 2", "3rw", "cptr[3]", K.RIGHTS),
    R("hcr_el2", "3 4 1 1 0", "2rw", "hcr", K.ROUTING),
    R("hstr_el2", "3 4 1 1 3", "2rw", "hstr"),
    R("hacr_el2", "3 4 1 1 7", "2rw", "hacr"),
    R("mdcr_el2", "3 4 1 1 1", "2rw", "mdcr[2]"),
    R("mdcr_el3", "3 6 1 3 1", "3rw", "mdcr[3]"),
    R("scr_el3", "3 6 1 1 0", "3rw", "scr", K.ROUTING, mask=0x3_FFFF),
    R("sder32_el3", "3 6 1 1 1", "3rw", "sder32"),
    R("vpidr_el2", "3 4 0 0 0", "2rw", "vpidr"),
    R("vmpidr_el2", "3 4 0 0 5", "2rw", "vmpidr"),
    *(R(f"rvbar_el{n}", f"3 {op1} 12 0 1", f"{n}r", "resetvec") for n, op1 in ((1, 0), (2, 4), (3, 6))),
    *(R(f"rmr_el{n}", f"3 {op1} 12 0 2", f"{n}rw", kind=K.ZERO) for n, op1 in ((1, 0), (2, 4), (3, 6))),
    *levels("tpidr", "13 0 2", "tpidr_el", which="23"),
    R("tpidr_el1", "3 0 13 0 4", "1rw", "tpidr_el[1]"),
    R("dacr32_el2", "3 4 3 0 0", "2rw", "dacr32", mask=WORD),
    R("ifsr32_el2", "3 4 5 0 1", "2rw", "ifsr32", mask=WORD),
    R("fpexc32_el2", "3 4 5 3 0", "2rw", "fpexc32", mask=WORD),
]

TRANSLATION = [
    R("ttbr0_el1", "3 0 2 0 0", "1rw", "ttbr0[1]", K.LOWER, VM, host=True),
    R("ttbr0_el2", "3 4 2 0 0", "2rw", "ttbr0[2]", K.TRANSLATION),
    R("ttbr0_el3", "3 6 2 0 0", "3rw", "ttbr0[3]", K.TRANSLATION),
    R("ttbr1_el1", "3 0 2 0 1", "1rw", "ttbr1[1]", K.UPPER, VM, host=True),
    R("ttbr1_el2", "3 4 2 0 1", "2rw", "ttbr1[2]", K.TRANSLATION, extension="vhe"),
    *levels("tcr", "2 0 2", "tcr", K.TRANSLATION, VM),
    *levels("mair", "10 2 0", "mair", K.TRANSLATION, VM),
    *levels("amair", "10 3 0", "amair", trap=VM),
    R("contextidr_el1", "3 0 13 0 1", "1rw", "contextidr[1]", trap=VM, mask=WORD, host=True),
    R("contextidr_el2", "3 4 13 0 1", "2rw", "contextidr[2]", mask=WORD, extension="vhe"),
    R("vttbr_el2", "3 4 2 1 0", "2rw", "vttbr", K.TRANSLATION),
    R("vtcr_el2", "3 4 2 1 2", "2rw", "vtcr", K.TRANSLATION),
    *(R(f"{n}_el1", f"3 0 10 4 {op2}", "1rw", n, trap="TLOR", extension="lor")
      for op2, n in enumerate(("lorsa", "lorea", "lorn", "lorc"))),
    R("lorid_el1", "3 0 10 4 7", "1r", kind=K.ZERO, trap="TLOR", extension="lor"),
]  # fmt: skip

CACHES = [
    R("csselr_el1", "3 2 0 0 0", "1rw", "csselr", trap="TID2", mask=15),
    R("ccsidr_el1", "3 1 0 0 0", "1r", kind=K.CACHE_SIZE, trap="TID2"),
    R("clidr_el1", "3 1 0 0 1", "1r", "clidr", trap="TID2"),
    R("aidr_el1", "3 1 0 0 7", "1r", kind=K.ZERO, trap="TID1"),
    # of Cortex-A53, A57 and A72, whose firmware and kernels write them
    R("cpuactlr_el1", "3 1 15 2 0", "1rw", "cpuactlr", extension="cortex"),
    R("cpuectlr_el1", "3 1 15 2 1", "1rw", "cpuectlr", extension="cortex"),
    R("cpumerrsr_el1", "3 1 15 2 2", "1rw", kind=K.ZERO, extension="cortex"),
    R("l2merrsr_el1", "3 1 15 2 3", "1rw", kind=K.ZERO, extension="cortex"),
    R("cbar_el1", "3 1 15 3 0", "1r", "cbar", extension="cortex"),
    R("l2actlr_el1", "3 1 15 0 0", "1rw", "l2actlr", extension="cortex"),
    R("l2ctlr_el1", "3 1 11 0 2", "1rw", "l2ctlr", extension="cortex"),
    R("l2ectlr_el1", "3 1 11 0 3", "1rw", "l2ectlr", extension="cortex"),
]

KEYS = [
    R(f"ap{key}key{half}_el1", f"3 0 2 {1 + n // 2} {n % 2 * 2 + k}", "1rw", f"keys[{2 * n + k}]", K.KEY, "APK", extension="pauth")
    for n, key in enumerate(("ia", "ib", "da", "db", "ga"))
    for k, half in enumerate(("lo", "hi"))
]

TAGS = [
    R("rgsr_el1", "3 0 1 0 5", "1rw", "rgsr", K.TAGS, mask=0xFF_FF0F, extension="mte"),
    R("gcr_el1", "3 0 1 0 6", "1rw", "gcr", K.TAGS, mask=0x1_FFFF, extension="mte"),
    *levels("tfsr", "5 6 0", "tfsr_el", mask=3, extension="mte"),
    R("tfsre0_el1", "3 0 5 6 1", "1rw", "tfsr", K.TAGS, mask=3, extension="mte"),
]

# Timers: 0 CNTP, 1 CNTV, 2 CNTHP, 3 CNTHV, 4 CNTPS.
TIMERS = [
    R(f"{name}_{register}_{el}", f"3 {op1} 14 {crm} {op2}", access, f"timer_{'compare' if op2 == 2 else 'control'}[{n}]", kind, trap,
      extension=extension, host=n < 2)
    for n, (name, op1, crm, el, access, trap, extension) in enumerate((
        ("cntp", 3, 2, "el0", "0rw", "PHYSICAL_TIMER", ""),
        ("cntv", 3, 3, "el0", "0rw", "VIRTUAL_TIMER", ""),
        ("cnthp", 4, 2, "el2", "2rw", "", ""),
        ("cnthv", 4, 3, "el2", "2rw", "", "vhe"),
        ("cntps", 7, 2, "el1", "1rw", "SECURE_TIMER", ""),
    ))
    for op2, (register, kind) in enumerate((("tval", K.TIMER_VALUE), ("ctl", K.TIMER_CONTROL), ("cval", K.TIMER_COMPARE)))
] + [
    R("cntkctl_el1", "3 0 14 1 0", "1rw", "cntkctl", mask=0x2_03FF, host=True),
    R("cnthctl_el2", "3 4 14 1 0", "2rw", "cnthctl"),
    R("cntvoff_el2", "3 4 14 0 3", "2rw", "cntvoff", K.ROUTING),
]  # fmt: skip

# The counters of events are not there (PMCR_EL0.N is 0); the cycle counter is.
COUNTERS = [
    R("pmcr_el0", "3 3 9 12 0", "0rw", "pmcr", trap="COUNTERS", mask=0xE9),
    R("pmcntenset_el0", "3 3 9 12 1", "0rw", "pmcnten", K.SET, "COUNTERS", mask=1 << 31),
    R("pmcntenclr_el0", "3 3 9 12 2", "0rw", "pmcnten", K.CLEAR, "COUNTERS", mask=1 << 31),
    R("pmovsclr_el0", "3 3 9 12 3", "0rw", "pmovs", K.CLEAR, "COUNTERS", mask=1 << 31),
    R("pmswinc_el0", "3 3 9 12 4", "0w", kind=K.ZERO, trap="COUNTERS"),
    R("pmselr_el0", "3 3 9 12 5", "0rw", "pmselr", trap="COUNTERS", mask=31),
    R("pmceid0_el0", "3 3 9 12 6", "0r", kind=K.ZERO, trap="COUNTERS"),
    R("pmceid1_el0", "3 3 9 12 7", "0r", kind=K.ZERO, trap="COUNTERS"),
    R("pmccntr_el0", "3 3 9 13 0", "0rw", "cycle_offset", K.CYCLES, "COUNTERS"),
    R("pmxevtyper_el0", "3 3 9 13 1", "0rw", "pmccfiltr", trap="COUNTERS", mask=0xF800_0000),
    R("pmxevcntr_el0", "3 3 9 13 2", "0rw", kind=K.ZERO, trap="COUNTERS"),
    R("pmuserenr_el0", "3 3 9 14 0", "0r 1w", "pmuserenr", mask=15),
    R("pmintenset_el1", "3 0 9 14 1", "1rw", "pminten", K.SET, "COUNTERS", mask=1 << 31),
    R("pmintenclr_el1", "3 0 9 14 2", "1rw", "pminten", K.CLEAR, "COUNTERS", mask=1 << 31),
    R("pmovsset_el0", "3 3 9 14 3", "0rw", "pmovs", K.SET, "COUNTERS", mask=1 << 31),
    R("pmccfiltr_el0", "3 3 14 15 7", "0rw", "pmccfiltr", trap="COUNTERS", mask=0xF800_0000),
]

# Debug registers are kept; nothing stops at them.
DEBUG = [
    R("mdscr_el1", "2 0 0 2 2", "1rw", "mdscr", trap="DEBUG"),
    R("mdccint_el1", "2 0 0 2 0", "1rw", "mdccint", trap="DEBUG"),
    R("mdccsr_el0", "2 3 0 1 0", "0r", kind=K.ZERO, trap="DEBUG"),
    R("dbgdtr_el0", "2 3 0 4 0", "0rw", kind=K.ZERO, trap="DEBUG"),
    R("dbgdtrrx_el0", "2 3 0 5 0", "0rw", kind=K.ZERO, trap="DEBUG"),
    R("osdtrrx_el1", "2 0 0 0 2", "1rw", kind=K.ZERO, trap="DEBUG"),
    R("osdtrtx_el1", "2 0 0 3 2", "1rw", kind=K.ZERO, trap="DEBUG"),
    R("oseccr_el1", "2 0 0 6 2", "1rw", kind=K.ZERO, trap="DEBUG"),
    R("dbgvcr32_el2", "2 4 0 7 0", "2rw", "dbgvcr32", mask=WORD),
    R("mdrar_el1", "2 0 1 0 0", "1r", kind=K.ZERO, trap="DEBUG"),
    R("oslar_el1", "2 0 1 0 4", "1w", "oslock", K.LOCK, "DEBUG_OS"),
    R("oslsr_el1", "2 0 1 1 4", "1r", "oslock", K.LOCK_STATUS, "DEBUG_OS"),
    R("osdlr_el1", "2 0 1 3 4", "1rw", "osdlr", trap="DEBUG_OS", mask=1),
    R("dbgprcr_el1", "2 0 1 4 4", "1rw", "dbgprcr", trap="DEBUG_OS", mask=1),
    R("dbgclaimset_el1", "2 0 7 8 6", "1rw", "dbgclaim", K.SET, "DEBUG", mask=0xFF),
    R("dbgclaimclr_el1", "2 0 7 9 6", "1rw", "dbgclaim", K.CLEAR, "DEBUG", mask=0xFF),
    R("dbgauthstatus_el1", "2 0 7 14 6", "1r", kind=K.ZERO, trap="DEBUG"),
    *(R(f"dbgbvr{n}_el1", f"2 0 0 {n} 4", "1rw", f"dbgbvr[{n}]", trap="DEBUG") for n in range(6)),
    *(R(f"dbgbcr{n}_el1", f"2 0 0 {n} 5", "1rw", f"dbgbcr[{n}]", trap="DEBUG", mask=WORD) for n in range(6)),
    *(R(f"dbgwvr{n}_el1", f"2 0 0 {n} 6", "1rw", f"dbgwvr[{n}]", trap="DEBUG") for n in range(4)),
    *(R(f"dbgwcr{n}_el1", f"2 0 0 {n} 7", "1rw", f"dbgwcr[{n}]", trap="DEBUG", mask=WORD) for n in range(4)),
]

REGISTERS = (*PROGRAMS, *STATE, *CONTROL, *TRANSLATION, *CACHES, *KEYS, *TAGS, *TIMERS, *COUNTERS, *DEBUG)
BY_NAME = {r.name: r for r in REGISTERS}
BY_NUMBER = {r.number: r for r in REGISTERS}
if len(BY_NAME) != len(REGISTERS) or len(BY_NUMBER) != len(REGISTERS):
    raise ValueError("a system register is described twice")


def name_of(number: int) -> str:
    """The register's name, or the generic one with its encoding."""
    found = BY_NUMBER.get(number)
    return found.name if found else f"s{2 + (number >> 14)}_{number >> 11 & 7}_c{number >> 7 & 15}_c{number >> 3 & 15}_{number & 7}"
