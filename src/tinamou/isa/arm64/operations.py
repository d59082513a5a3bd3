"""System instructions (SYS): a table.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C5.3 to C5.5 and D12.2.

Those of EL0 (DC ZVA, DC CVAU ...) have rows of their own in `csr`.
"""

from __future__ import annotations

from dataclasses import dataclass


class Act:
    """What an operation does here: caches are coherent, and translations are remembered without ASID and VMID."""

    NOTHING = 0
    INVALIDATE = 1  # DC IVAC: the address is translated
    ADDRESS = 2  # forget one page
    EVERYTHING = 3
    TRANSLATE = 4  # AT
    CODE = 5  # IC IALLU


@dataclass(frozen=True)
class Operation:
    """`level` is the lowest exception level that may; `stage`, `unprivileged` and `write` say what AT looks up, and for which level."""

    name: str
    op1: int
    CRn: int
    CRm: int
    op2: int
    act: int
    level: int = 1
    shared: bool = False  # for the other processors too
    trap: int = 0  # bit of HCR_EL2 that sends it to EL2 from EL1
    unprivileged: bool = False
    write: bool = False
    both: bool = False  # AT: stages 1 and 2
    pan: bool = False  # AT: PSTATE.PAN counts
    extension: str = ""

    @property
    def number(self) -> int:
        """op1:CRn:CRm:op2, 14 bits."""
        return self.op1 << 11 | self.CRn << 7 | self.CRm << 3 | self.op2


TPCP, TSW, TPU, TTLB = 23, 22, 24, 25

CACHES = [
    Operation("ic ialluis", 0, 7, 1, 0, Act.CODE, trap=TPU),
    Operation("ic iallu", 0, 7, 5, 0, Act.CODE, trap=TPU),
    Operation("dc ivac", 0, 7, 6, 1, Act.INVALIDATE, trap=TPCP),
    Operation("dc isw", 0, 7, 6, 2, Act.NOTHING, trap=TSW),
    Operation("dc csw", 0, 7, 10, 2, Act.NOTHING, trap=TSW),
    Operation("dc cisw", 0, 7, 14, 2, Act.NOTHING, trap=TSW),
]
TRANSLATIONS = [
    Operation(f"at s{stage}e{level}{'w' if write else 'r'}{'p' if pan else ''}", op1, 7, 9 if pan else 8, op2 + write, Act.TRANSLATE,
              level=max(1, where), write=write, unprivileged=level == "0", both=stage == "12", pan=pan, extension="pan" if pan else "")
    for stage, level, op1, op2, where, pan in (
        ("1", "1", 0, 0, 1, False), ("1", "0", 0, 2, 1, False), ("1", "1", 0, 0, 1, True), ("1", "2", 4, 0, 2, False),
        ("12", "1", 4, 4, 2, False), ("12", "0", 4, 6, 2, False), ("1", "3", 6, 0, 3, False),
    )
    for write in (False, True)
]  # fmt: skip
SHAREABILITY = (("", 7), ("is", 3))
TLB = [
    *(Operation(f"tlbi {name}{suffix}", 0, 8, crm, op2, act, shared=bool(suffix), trap=TTLB)
      for suffix, crm in SHAREABILITY
      for name, op2, act in (("vmalle1", 0, Act.EVERYTHING), ("vae1", 1, Act.ADDRESS), ("aside1", 2, Act.EVERYTHING),
                             ("vaae1", 3, Act.ADDRESS), ("vale1", 5, Act.ADDRESS), ("vaale1", 7, Act.ADDRESS))),
    *(Operation(f"tlbi {name}{suffix}", 4, 8, crm, op2, act, level=2, shared=bool(suffix))
      for suffix, crm in SHAREABILITY
      for name, op2, act in (("alle2", 0, Act.EVERYTHING), ("vae2", 1, Act.ADDRESS), ("alle1", 4, Act.EVERYTHING),
                             ("vale2", 5, Act.ADDRESS), ("vmalls12e1", 6, Act.EVERYTHING))),
    *(Operation(f"tlbi {name}{suffix}", 4, 8, crm, op2, Act.EVERYTHING, level=2, shared=bool(suffix))
      for suffix, crm in (("", 4), ("is", 0))
      for name, op2 in (("ipas2e1", 1), ("ipas2le1", 5))),
    *(Operation(f"tlbi {name}{suffix}", 6, 8, crm, op2, act, level=3, shared=bool(suffix))
      for suffix, crm in SHAREABILITY
      for name, op2, act in (("alle3", 0, Act.EVERYTHING), ("vae3", 1, Act.ADDRESS), ("vale3", 5, Act.ADDRESS))),
]  # fmt: skip
OPERATIONS = (*CACHES, *TRANSLATIONS, *TLB)
NAMES = {o.number: o.name for o in OPERATIONS}
if len(NAMES) != len(OPERATIONS):
    raise ValueError("a system instruction is described twice")
ALONE = {o.name for o in OPERATIONS if o.act in (Act.EVERYTHING, Act.CODE) and "ipas2" not in o.name and "asid" not in o.name}
