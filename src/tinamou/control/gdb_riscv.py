"""RISC-V registers as debuggers number them: GDB manual, G.5.11 RISC-V Features; numbers as the original gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tinamou.control.gdb import Description, Feature, Register

X_NAMES = ("zero ra sp gp tp t0 t1 t2 fp s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()
F_NAMES = ("ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 "
           "fs10 fs11 ft8 ft9 ft10 ft11").split()
_DOUBLE = ('  <union id="riscv_double">\n    <field name="float" type="ieee_single"/>\n'
           '    <field name="double" type="ieee_double"/>\n  </union>')


def description(xlen: int, flen: int, csrs: Iterable[tuple[int, str]] = (), privileged: bool = False) -> Description:
    """Numbers: x0-x31 0-31, pc 32, f0-f31 33-64, the given CSRs (number, name) in order from 65 on.

    With `privileged`: `priv` is 65, CSRs are 66 and their number.
    """
    features = [Feature("org.gnu.gdb.riscv.cpu", f"riscv-{xlen}bit-cpu.xml", (
        *(Register(n, xlen, "data_ptr" if n in ("sp", "gp", "tp", "fp") else "code_ptr" if n == "ra" else "int")
          for n in X_NAMES), Register("pc", xlen, "code_ptr")))]
    if flen:
        kind = "riscv_double" if flen == 64 else "ieee_single"
        features.append(Feature("org.gnu.gdb.riscv.fpu", f"riscv-{flen}bit-fpu.xml", tuple(
            Register(n, flen, kind, number=33 if i == 0 else None) for i, n in enumerate(F_NAMES)),
            _DOUBLE if flen == 64 else ""))
    listed = list(csrs)
    if privileged:
        features.append(Feature("org.gnu.gdb.riscv.virtual", f"riscv-{xlen}bit-virtual.xml", (Register("priv", xlen, number=65),)))
    if listed:
        features.append(Feature("org.gnu.gdb.riscv.csr", "riscv-csr.xml", tuple(
            Register(name, xlen, "int", number=66 + number if privileged else 65 + i) for i, (number, name) in enumerate(listed))))
    return Description(f"riscv:rv{xlen}", tuple(features))


def of_machine(cpu: Any) -> Description:
    """The registers of a hart of a whole machine."""
    facts = cpu.facts()
    flen = 64 if "d" in facts["isa"] else 32 if "f" in facts["isa"] else 0
    csrs = [(n, name) for n, name in ((1, "fflags"), (2, "frm"), (3, "fcsr")) if flen] + cpu.csrs()
    return description(facts["xlen"], flen, csrs, privileged=True)
