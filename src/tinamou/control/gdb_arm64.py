"""AArch64 registers as debuggers number them: GDB manual, G.5.1 AArch64 Features; numbers as the original gives them."""

from __future__ import annotations

from tinamou.control.gdb import Description, Feature, Register

LANES = {"d": (2, 64, "ieee_double"), "s": (4, 32, "ieee_single"), "h": (8, 16, "ieee_half"), "b": (16, 8, ""), "q": (1, 128, "")}


def vector_types() -> str:
    """A vector register as gdb shows its own: v0.d.f, v0.b.u[3]; f floating point, u unsigned, s signed."""
    out = []
    for letter, (count, bits, real) in LANES.items():
        kinds = {"f": real, "u": f"uint{bits}", "s": f"int{bits}"}
        kinds = {k: t for k, t in kinds.items() if t}
        out += [f'  <vector id="{letter}{k}" type="{t}" count="{count}"/>' for k, t in kinds.items()]
        out += [f'  <union id="lanes_{letter}">', *(f'    <field name="{k}" type="{letter}{k}"/>' for k in kinds), "  </union>"]
    return "\n".join([*out, '  <union id="vector">', *(f'    <field name="{n}" type="lanes_{n}"/>' for n in LANES), "  </union>"])


def description() -> Description:
    """x0-x30 are 0-30, sp 31, pc 32, cpsr 33, v0-v31 34-65, fpsr 66, fpcr 67."""
    core = (
        *(Register(f"x{n}", 64) for n in range(31)),
        Register("sp", 64, "data_ptr"),
        Register("pc", 64, "code_ptr"),
        Register("cpsr", 32),
    )
    vectors = (*(Register(f"v{n}", 128, "vector") for n in range(32)), Register("fpsr", 32), Register("fpcr", 32))
    return Description(
        "aarch64",
        (
            Feature("org.gnu.gdb.aarch64.core", "aarch64-core.xml", core),
            Feature("org.gnu.gdb.aarch64.fpu", "aarch64-fpu.xml", vectors, vector_types()),
        ),
    )
