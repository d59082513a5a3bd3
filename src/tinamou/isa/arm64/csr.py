"""System instructions and registers.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C4.1.93, C5 and D17."""

from __future__ import annotations

from tinamou.native.types import u8, u32, u64

from .alu import get_nzcv, set_nzcv
from .memory import settle, settled
from .operands import Bits, Row, X, Xt, a64
from .state import FPCR, Core, read_fpsr, write_fpsr
from .sysregs import BY_NAME, REGISTERS

base = a64.extension("base")

REG = ""

# -- hints and barriers


@base("11010101000000110010 CRm op2 11111", "hint #{hint}")
@base("11010101000000110010 0000 000 11111", "nop", name="nop", over="hint")
@base("11010101000000110010 0000 001 11111", "yield", name="yield", over="hint")
@base("11010101000000110010 0000 100 11111", "sev", name="sev", over="hint")
@base("11010101000000110010 0000 101 11111", "sevl", name="sevl", over="hint")
@base("11010101000000110010 0000 110 11111", "dgh", name="dgh", over="hint")
@base("11010101000000110010 0010 000 11111", "esb", name="esb", over="hint")
@base("11010101000000110010 0010 001 11111", "psb csync", name="psb", over="hint")
@base("11010101000000110010 0010 010 11111", "tsb csync", name="tsb", over="hint")
@base("11010101000000110010 0010 100 11111", "csdb", name="csdb", over="hint")
def hint(h: Core) -> None:
    """Nothing that a program sees."""


@base("11010101000000110010 0000 010 11111", "wfe", over="hint")
def wfe(h: Core) -> None:
    h.wait_for_event()


@base("11010101000000110010 0000 011 11111", "wfi", over="hint")
def wfi(h: Core) -> None:
    if h.wait_for_interrupt():
        h.switch(h.pc + 4)


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


# -- system registers.  Those that programs use have rows; the rest are one row.

_LOWER: tuple[Row, ...] = tuple(
    {"name": r.name, "SR": r.bits, "<reg>": r.name.upper(), "REG": r.name, "extension": r.extension or "base"} for r in REGISTERS if r.direct
)
_WRITABLE = [r for r in _LOWER if BY_NAME[r["name"]].write == 0]
OTHER = ("mrs.other", "msr.other")


@base("1101010100 1 1 SR Rt", "mrs {Rt}, <reg>", each=_LOWER, over=OTHER)
def mrs(h: Core) -> Xt:
    h.allow(REG)
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
    elif REG == "cntpct_el0":
        return h.physical_count()
    elif REG == "cntvct_el0":
        return h.virtual_count()
    else:
        set_nzcv(h, u32(0))  # Z would say that there is no random number yet
        return h.random()


@base("1101010100 0 1 SR Rt", "msr <reg>, {Rt}", each=_WRITABLE, over=OTHER)
def msr(h: Core, Rt: X) -> None:
    h.allow(REG)
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


# ID registers (op0 3, op1 0, CRn 0): CRm 0 are MIDR_EL1, MPIDR_EL1 and REVIDR_EL1, CRm 1-7 the features.  Linux lets programs read them.


@base("1101010100 1 1 1 000 0000 0 ID[5:0] Rt", "mrs {Rt}, {id_register}", name="mrs.id", over="mrs.other")
def mrs_id(h: Core, ID: Bits) -> Xt:
    return h.identification(ID)


@base("1101010100 1 1 SR[14:0] Rt", "mrs {Rt}, {register}", name="mrs.other")
def mrs_other(h: Core, SR: Bits) -> Xt:
    return h.read_register(SR)


@base("1101010100 0 1 SR[14:0] Rt", "msr {register}, {Rt}", name="msr.other")
def msr_other(h: Core, SR: Bits, Rt: X) -> None:
    if h.write_register(SR, Rt):
        h.switch(h.pc + 4)


# MSR (immediate): fields of PSTATE.

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


STATE_FIELDS: tuple[Row, ...] = tuple(
    {"name": n, "OP1": f"{op1:03b}", "OP2": f"{op2:03b}", "<field>": n.upper(), "FIELD": op1 << 3 | op2, "extension": extension}
    for n, op1, op2, extension in (
        ("uao", 0, 3, "uao"), ("pan", 0, 4, "pan"), ("spsel", 0, 5, "base"), ("daifset", 3, 6, "base"), ("daifclr", 3, 7, "base"),
    )
)  # fmt: skip
FIELD = 0


@base("1101010100000 OP1 0100 CRm OP2 11111", "msr <field>, #{CRm}", name="msr_state", each=STATE_FIELDS)
def msr_state(h: Core, CRm: Bits) -> None:
    if h.write_state(u32(FIELD), CRm):
        h.switch(h.pc + 4)


@base("1101010100 0 01 SR[13:0] Rt", "{operation}", name="sys")
def sys_(h: Core, SR: Bits, Rt: X) -> None:
    """Caches, translations and what remembers them."""
    if h.operate(SR, Rt):
        h.switch(h.pc + 4)


# -- caches


@base("1101010100001 011 0111 CRM OP2 Rt", "<op>, {Rt}", name="dc", over="sys", each=(
    {"name": "cvac", "CRM": "1010", "OP2": "001", "<op>": "dc cvac"},
    {"name": "cvau", "CRM": "1011", "OP2": "001", "<op>": "dc cvau"},
    {"name": "civac", "CRM": "1110", "OP2": "001", "<op>": "dc civac"},
    {"name": "cvap", "CRM": "1100", "OP2": "001", "<op>": "dc cvap", "extension": "dpb"},
    {"name": "cvadp", "CRM": "1101", "OP2": "001", "<op>": "dc cvadp", "extension": "dpb2"},
))  # fmt: skip
def dc_clean(h: Core, Rt: X) -> None:
    """Caches are coherent; the address must be readable."""
    h.allow("uci")
    settled(h.load(u8, h.untagged(Rt)))


@base("1101010100001 011 0111 0101 001 Rt", "ic ivau, {Rt}", over="sys")
def ic_ivau(h: Core, Rt: X) -> None:
    h.allow("uci")
    h.fence()
    h.fence_code()


ZVA = 64


@base("1101010100001 011 0111 0100 001 Rt", "dc zva, {Rt}", over="sys")
def dc_zva(h: Core, Rt: X) -> None:
    h.allow("dze")
    at = h.untagged(Rt) & ~(ZVA - 1)
    for i in range(0, ZVA, 8):
        h.store(u64, at + i, u64(0))
        settle()
