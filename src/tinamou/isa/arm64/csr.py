"""System instructions and registers.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.93, C5 and D17."""

from __future__ import annotations

from tinamou.native.types import u8, u32, u64

from .alu import get_nzcv, set_nzcv, untagged
from .memory import settle, settled
from .operands import Bits, Row, X, Xt, a64
from .state import Core

base = a64.extension("base")

REG = ""

# FPSR's exceptions IOC DZC OFC UFC IXC IDC, from bit 0 up, 7 for the last; softfloat numbers them 16 8 4 2 1 and 64.


def read_fpsr(h: Core) -> u32:
    h.settle_float()
    e = h.exceptions
    return h.qc << 27 | (e & 64) << 1 | (e & 1) << 4 | (e & 2) << 2 | e & 4 | e >> 2 & 2 | e >> 4 & 1


def write_fpsr(h: Core, value: u32) -> None:
    h.settle_float()
    h.qc = value >> 27 & 1
    h.exceptions = value >> 1 & 64 | value >> 4 & 1 | value >> 2 & 2 | value & 4 | (value & 2) << 2 | (value & 1) << 4


FPCR = 0x07C8_0000  # AHP DN FZ RMode FZ16; exceptions are not trapped


# -- hints and barriers


@base("11010101000000110010 CRm op2 11111", "hint #{hint}")
@base("11010101000000110010 0000 000 11111", "nop", name="nop", over="hint")
@base("11010101000000110010 0000 001 11111", "yield", name="yield", over="hint")
@base("11010101000000110010 0000 010 11111", "wfe", name="wfe", over="hint")
@base("11010101000000110010 0000 011 11111", "wfi", name="wfi", over="hint")
@base("11010101000000110010 0000 100 11111", "sev", name="sev", over="hint")
@base("11010101000000110010 0000 101 11111", "sevl", name="sevl", over="hint")
@base("11010101000000110010 0000 110 11111", "dgh", name="dgh", over="hint")
@base("11010101000000110010 0010 000 11111", "esb", name="esb", over="hint")
@base("11010101000000110010 0010 001 11111", "psb csync", name="psb", over="hint")
@base("11010101000000110010 0010 010 11111", "tsb csync", name="tsb", over="hint")
@base("11010101000000110010 0010 100 11111", "csdb", name="csdb", over="hint")
def hint(h: Core) -> None:
    """Nothing that a program sees."""


@base("11010101000000110011 CRm 010 11111", "clrex", alias=lambda s: None if s["CRm"] == 15 else "clrex #{CRm}")
def clrex(h: Core) -> None:
    h.monitor = u64(0xFFFF_FFFF_FFFF_FFFF)


@base("11010101000000110011 CRm 100 11111", "dsb {barrier}", name="dsb", alias=lambda s: {0: "ssbb", 4: "pssbb"}.get(s["CRm"]))
@base("11010101000000110011 CRm 101 11111", "dmb {barrier}", name="dmb")
def dmb(h: Core) -> None:
    h.fence()


@base("11010101000000110011 CRm 110 11111", "isb", name="isb", alias=lambda s: None if s["CRm"] == 15 else "isb #{CRm}")
def isb(h: Core) -> None:
    """Instructions behind it are fetched anew: always so here, for changed code see IC IVAU."""


@a64.extension("sb")("11010101000000110011 0000 111 11111", "sb")
def sb(h: Core) -> None: ...


# -- system registers of EL0

REGISTERS: dict[str, str] = {
    "nzcv": "1 011 0100 0010 000",
    "fpcr": "1 011 0100 0100 000",
    "fpsr": "1 011 0100 0100 001",
    "tpidr_el0": "1 011 1101 0000 010",
    "tpidrro_el0": "1 011 1101 0000 011",
    "ctr_el0": "1 011 0000 0000 001",
    "dczid_el0": "1 011 0000 0000 111",
    "cntfrq_el0": "1 011 1110 0000 000",
    "cntpct_el0": "1 011 1110 0000 001",
    "cntvct_el0": "1 011 1110 0000 010",
    "dit": "1 011 0100 0010 101",
    "ssbs": "1 011 0100 0010 110",
    "tco": "1 011 0100 0010 111",
    "rndr": "1 011 0010 0100 000",
    "rndrrs": "1 011 0010 0100 001",
}
OF = {"dit": "dit", "ssbs": "ssbs", "tco": "mte", "rndr": "rng", "rndrrs": "rng"}
WRITABLE = ("nzcv", "fpcr", "fpsr", "tpidr_el0", "dit", "ssbs", "tco")
_LOWER: tuple[Row, ...] = tuple({"name": n, "SR": bits, "<reg>": n.upper(), "REG": n, "extension": OF.get(n, "base")} for n, bits in REGISTERS.items())


@base("1101010100 1 1 SR Rt", "mrs {Rt}, <reg>", each=_LOWER)
def mrs(h: Core) -> Xt:
    if REG == "nzcv":
        return u64(get_nzcv(h)) << 28
    elif REG == "fpcr":
        return u64(h.fpcr)
    elif REG == "fpsr":
        return u64(read_fpsr(h))
    elif REG == "tpidr_el0":
        return h.tpidr
    elif REG == "tpidrro_el0":
        return h.tpidrro
    elif REG == "ctr_el0":
        return h.ctr
    elif REG == "dczid_el0":
        return h.dczid
    elif REG == "cntfrq_el0":
        return h.frequency
    elif REG == "dit":
        return u64(h.dit) << 24
    elif REG == "ssbs":
        return u64(h.ssbs) << 12
    elif REG == "tco":
        return u64(h.tco) << 25
    elif REG == "rndr" or REG == "rndrrs":
        set_nzcv(h, u32(0))  # Z would say that there is no random number yet
        return h.random()
    else:
        return h.counter()


@base("1101010100 0 1 SR Rt", "msr <reg>, {Rt}", each=[r for r in _LOWER if r["name"] in WRITABLE])
def msr(h: Core, Rt: X) -> None:
    if REG == "nzcv":
        set_nzcv(h, u32(Rt) >> 28)
    elif REG == "fpcr":
        h.settle_float()
        h.fpcr = u32(Rt) & FPCR
    elif REG == "fpsr":
        write_fpsr(h, u32(Rt))
    elif REG == "tpidr_el0":
        h.tpidr = Rt
    elif REG == "dit":
        h.dit = u32(Rt >> 24 & 1)
    elif REG == "ssbs":
        h.ssbs = u32(Rt >> 12 & 1)
    else:
        h.tco = u32(Rt >> 25 & 1)


# What Linux lets EL0 read: op0 3, op1 0, CRn 0.  CRm 0 are MIDR_EL1, MPIDR_EL1 and REVIDR_EL1, CRm 1-7 the features.


@base("1101010100 1 1 1 000 0000 0 ID[5:0] Rt", "mrs {Rt}, {id_register}", name="mrs.id")
def mrs_id(h: Core, ID: Bits) -> Xt:
    return h.id[ID]


# MSR (immediate) of the fields that EL0 may change.

FLAG_FIELDS: tuple[Row, ...] = (
    {"name": "dit", "FIELD": "011 0100", "OP2": "010", "<field>": "DIT", "REG": "dit", "extension": "dit"},
    {"name": "ssbs", "FIELD": "011 0100", "OP2": "001", "<field>": "SSBS", "REG": "ssbs", "extension": "ssbs"},
    {"name": "tco", "FIELD": "011 0100", "OP2": "100", "<field>": "TCO", "REG": "tco", "extension": "mte"},
)


@base("1101010100000 FIELD CRm OP2 11111", "msr <field>, #{CRm}", each=FLAG_FIELDS)
def msr_imm(h: Core, CRm: Bits) -> None:
    if REG == "dit":
        h.dit = CRm & 1
    elif REG == "ssbs":
        h.ssbs = CRm & 1
    else:
        h.tco = CRm & 1


# -- caches


@base("1101010100001 011 0111 CRM OP2 Rt", "<op>, {Rt}", name="dc", each=(
    {"name": "cvac", "CRM": "1010", "OP2": "001", "<op>": "dc cvac"},
    {"name": "cvau", "CRM": "1011", "OP2": "001", "<op>": "dc cvau"},
    {"name": "civac", "CRM": "1110", "OP2": "001", "<op>": "dc civac"},
    {"name": "cvap", "CRM": "1100", "OP2": "001", "<op>": "dc cvap", "extension": "dpb"},
    {"name": "cvadp", "CRM": "1101", "OP2": "001", "<op>": "dc cvadp", "extension": "dpb2"},
))  # fmt: skip
def dc_clean(h: Core, Rt: X) -> None:
    """Caches are coherent; the address must be readable."""
    settled(h.load(u8, untagged(Rt)))


@base("1101010100001 011 0111 0101 001 Rt", "ic ivau, {Rt}")
def ic_ivau(h: Core, Rt: X) -> None:
    h.fence()
    h.fence_code()


ZVA = 64


@base("1101010100001 011 0111 0100 001 Rt", "dc zva, {Rt}")
def dc_zva(h: Core, Rt: X) -> None:
    at = untagged(Rt) & ~(ZVA - 1)
    for i in range(0, ZVA, 8):
        h.store(u64, at + i, u64(0))
        settle()
