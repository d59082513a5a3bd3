"""Named CPUs: the extensions that each has.  ISA strings as in The RISC-V Instruction Set Manual, Volume I, 20240411, chapter 36.

Identities and memory protection: SiFive E31 Core Complex Manual v2p0, 3.8 (8 regions of at least 4 bytes; pmpcfg2 and pmpcfg3 are zero)
for the cores of the series 3 and 5, which descend from Rocket (marchid 1 in marchid.md of the ISA manual) and follow the privileged
architecture 1.10; two triggers as in "Debug" of Microchip's manual of the U54 cores; mimpid 0 is "not implemented".  Ibex reference guide,
"Identification CSRs" (marchid 22) and "Physical Memory Protection" (PMPGranularity 0 is 4 bytes), 16 regions as OpenTitan configures it;
its triggers belong to a debugger, not to the guest.  The original's 7.2 tells other numbers: its own version in marchid and mimpid of
every CPU, 16 regions and two triggers for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .state import Hart

LETTERS = "imafdcsu"
NAMED = ("zicsr", "zifencei", "zba", "zbb", "zbs")


SV39 = 8


def extensions(isa: str) -> frozenset[str]:
    """The extensions of an ISA string without its width: letters (g is imafd), then names behind `_`.

    Zicsr and Zifencei are always there: the letter I included them until 2019.  ValueError names what is not known.
    """
    letters, *names = isa.lower().split("_")
    letters = letters.replace("g", "imafd")
    for unknown in [c for c in letters if c not in LETTERS] + [n for n in names if n not in NAMED]:
        raise ValueError(f"RISC-V extension {unknown!r} is not known; known are {', '.join((*LETTERS, *NAMED))}")
    if not letters.startswith("i"):
        raise ValueError(f"RISC-V ISA {isa!r}: starts with i or g")
    if "d" in letters and "f" not in letters:
        raise ValueError(f"RISC-V ISA {isa!r}: d needs f")
    found = {*letters, *names, "zicsr", "zifencei"}
    if "c" in found:
        found |= {"zc" + letter for letter in "fd" if letter in found}
    return frozenset(found)


@dataclass(frozen=True)
class Model:
    """A CPU by name: its width and ISA string.  s and u are the privilege modes that it has besides M."""

    name: str
    xlen: int
    isa: str
    vendor: int = 0  # mvendorid: JEDEC's number of the manufacturer
    architecture: int = 0  # marchid: by the list of open-source cores (marchid.md of the ISA manual)
    implementation: int = 0  # mimpid
    pmp: int = 16  # entries of physical memory protection; all have a granularity of 4 bytes
    privileged: int = 11  # version of the privileged architecture: 10 is 1.10
    triggers: int = 2  # of the trigger module
    translation: int | None = None  # largest mode of satp; None: Sv32 or Sv48

    @cached_property
    def extensions(self) -> frozenset[str]:
        return extensions(self.isa)

    @property
    def misa(self) -> int:
        """Volume II, 3.1.1: MXL in the topmost two bits, a bit for each letter."""
        return (self.xlen // 32) << (self.xlen - 2) | sum(1 << ord(e) - ord("a") for e in self.extensions if len(e) == 1)

    def hart(self) -> Hart:
        """A hart in its reset state."""
        hart = Hart()
        hart.misa = type(hart.misa)(self.misa)
        return hart


def _models() -> list[Model]:
    everything = "imafdcsu_zba_zbb_zbs"
    sifive: Any = {"vendor": 0x489, "architecture": 1, "pmp": 8, "privileged": 10}
    return [
        Model("any", 32, everything),
        Model("max", 32, everything),
        Model("rv32", 32, "imafdcsu"),
        Model("lowrisc-ibex", 32, "imcu", architecture=22, triggers=0),
        Model("sifive-e31", 32, "imacu", **sifive),
        Model("sifive-e34", 32, "imafcu", **sifive),
        Model("sifive-u34", 32, "imafdcsu", **sifive),
        Model("any", 64, everything),
        Model("max", 64, everything),
        Model("rv64", 64, "imafdcsu"),
        Model("sifive-e51", 64, "imacu", **sifive),
        Model("sifive-u54", 64, "imafdcsu", translation=SV39, **sifive),
    ]


MODELS = {(m.xlen, m.name): m for m in _models()}
