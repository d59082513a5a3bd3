"""Operands of RISC-V instructions.  The RISC-V Instruction Set Manual, Volume I, 20240411, 2.2-2.3; register names of the psABI, 1.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from tinamou.engine.patterns import Extension, F, Fixed, Imm, Isa, Reg
from tinamou.native.types import Word, u32, u64

from .state import F_NAMES, X_NAMES


# What `rv.bind(ux=u64, ix=i64, XLEN=64)` binds; nothing computes with them before.
class ux(Word):
    """A number as wide as the x registers."""


class ix(Word):
    """The same bits, signed."""


XLEN = 0

X = Annotated[ux, Reg("x", names=X_NAMES, zero=0)]
Ra = Annotated[ux, Fixed("x", names=X_NAMES, zero=0, number=1)]
Sp = Annotated[ux, Fixed("x", names=X_NAMES, zero=0, number=2)]
Fp = Annotated[u64, Reg("f", names=F_NAMES)]
Simm = Annotated[ux, Imm()]
Uimm = Annotated[ux, Imm(signed=False)]
Shamt = Annotated[u32, Imm(signed=False)]
Csr = Annotated[u32, Imm(signed=False)]
Rm = Annotated[u32, Imm(signed=False)]

# How the assembly writes these fields.
NAMES: dict[str, Sequence[str] | Mapping[int, str]] = {
    "aqrl": ("", ".rl", ".aq", ".aqrl"),
    "rm": (",rne", ",rtz", ",rdn", ",rup", ",rmm", ",unknown", ",unknown", ""),
    "pred": tuple("".join(c for bit, c in zip((8, 4, 2, 1), "iorw", strict=True) if n & bit) or "unknown" for n in range(16)),
    "csr": {},  # csr.py fills in its registers
}
NAMES["succ"] = NAMES["pred"]


def field_name(field: str, value: int) -> str:
    """How a field with named values is written."""
    names = NAMES[field]
    if isinstance(names, Mapping):
        return names.get(value) or f"{value:#x}"
    return names[value]


class _Number(int):
    """An immediate of which {imm:upper} shows bits 31:12, as lui and auipc are written."""

    value: int

    def __format__(self, spec: str) -> str:
        return f"{self >> 12 & 0xFFFFF:#x}" if spec == "upper" else format(self.value, spec)


class Asm(str):
    """An assembly template in the notation of the GNU tools."""

    def format_map(self, shown: Any, /) -> str:
        out: dict[str, Any] = {}
        for name, value in shown.items():
            if name in NAMES:
                out[name] = field_name(name, value)
            elif isinstance(value, int):
                out[name] = number = _Number(value)
                number.value = value
            else:
                out[name] = value
        return super().format_map(out)


class RvExtension(Extension):
    def __call__(self, encoding: str, asm: str, *, name: str | None = None, over: str | tuple[str, ...] = ()) -> Callable[[F], F]:
        return super().__call__(encoding, Asm(asm), name=name or asm.split()[0].partition("{")[0], over=over)


class RvIsa(Isa):
    def extension(self, name: str, **only: Any) -> RvExtension:
        return RvExtension(self, name, only)


rv = RvIsa("riscv", rd=5, rs1=5, rs2=5, rs3=5, aqrl=2, rm=3, csr=12, fm=4, pred=4, succ=4, uimm=5)
