"""Operands and notation of A64 instructions.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C1.2 (assembly), C4.1 (encodings).

A row's fields are named as in the manual.  Families of encodings are one function with a table: `each` lists rows, and a row gives

    a token of the encoding    its bits ("sf": "1")
    "<...>" in the assembly     its text; a pair of texts is chosen by the field Q
    a name of the function      its type or constant (rx=u64)
    name                        what tells the row's name from those of its family
    extension                   another extension than the decorator's

Register 31 is zero to operands of kind X and W, and the stack pointer to Xsp and Wsp.  The rows of the latter are split in two, one of
them with SP implied: its accesses check that SP is aligned.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar, get_args, get_origin

from tinamou.engine.patterns import _INIT, BoundIsa, Extension, F, Fixed, Imm, Insn, Isa, Reg
from tinamou.native.types import Word, i32, i64, u8, u16, u32, u64, u128

from .disasm import X_NAMES, Asm, Shown
from .memory import based, stacked
from .state import SP, ZERO

Row = Mapping[str, Any]
W_ = TypeVar("W_", bound=Word)


@dataclass(frozen=True)
class StackReg(Reg):
    """A general register; number 31 is the stack pointer."""


@dataclass(frozen=True)
class FlagReg(Reg):
    """What an instruction that sets flags gives besides; for number 31 there are rows that give nothing."""


W_NAMES = [f"w{n}" for n in range(31)] + ["wzr", "wsp"]


def _names(letter: str) -> list[str]:
    return [f"{letter}{n}" for n in range(32)]


_x, _w = Reg("x", X_NAMES, ZERO), Reg("x", W_NAMES, ZERO)
_xsp, _wsp = StackReg("x", X_NAMES), StackReg("x", W_NAMES)
_b, _h, _s, _d, _q, _v = (Reg("q", _names(c)) for c in "bhsdqv")

X = Annotated[u64, _x]
W = Annotated[u32, _w]
Xsp = Annotated[u64, _xsp]
Wsp = Annotated[u32, _wsp]
Wflags = Annotated[u32, FlagReg("x", W_NAMES, ZERO)]
Xflags = Annotated[u64, FlagReg("x", X_NAMES, ZERO)]
# Floating-point registers: narrower results clear the rest of the register.
B = Annotated[u8, _b]
H = Annotated[u16, _h]
S = Annotated[u32, _s]
D = Annotated[u64, _d]
Q = Annotated[u128, _q]
V = Annotated[u128, _v]  # with an arrangement behind it
# Results in other fields than Rd.
Xn = Annotated[u64, _xsp, "Rn"]  # the base register, written back
Xt, Xt2, Xs = Annotated[u64, _x, "Rt"], Annotated[u64, _x, "Rt2"], Annotated[u64, _x, "Rs"]
Wt, Wt2, Ws = Annotated[u32, _w, "Rt"], Annotated[u32, _w, "Rt2"], Annotated[u32, _w, "Rs"]
Vt = Annotated[u128, _v, "Rt"]
X16 = Annotated[u64, Fixed("x", X_NAMES, number=16)]
X17 = Annotated[u64, Fixed("x", X_NAMES, number=17)]
X30 = Annotated[u64, Fixed("x", X_NAMES, number=30)]
Sp = Annotated[u64, Fixed("x", X_NAMES, number=SP)]
Uimm = Annotated[u64, Imm(signed=False)]
Simm = Annotated[u64, Imm()]
Bits = Annotated[u32, Imm(signed=False)]


def in_field(kind: Any, field: str) -> Any:
    """The kind as a result that is written to this field."""
    word, register, *_ = get_args(kind)
    return Annotated[word, register, field]


# What rows bind; nothing computes with them before.
class rx(Word):
    """A number as wide as the instruction's general registers."""


class ix(Word):
    """The same, signed."""


R = Annotated[rx, _x]
Rimm = Annotated[rx, Imm(signed=False)]
Rsp = Annotated[rx, _xsp]
Rflags = Annotated[rx, FlagReg("x", X_NAMES, ZERO)]
BITS = 0

WX: Sequence[Row] = (
    {"name": "w", "sf": "0", "R": W, "Rsp": Wsp, "Rflags": Wflags, "Rimm": Bits, "rx": u32, "ix": i32, "BITS": 32},
    {"name": "x", "sf": "1", "R": X, "Rsp": Xsp, "Rflags": Xflags, "Rimm": Uimm, "rx": u64, "ix": i64, "BITS": 64},
)


def cross(*tables: Iterable[Row]) -> list[Row]:
    """Every combination of the tables' rows; names are joined."""
    rows: list[dict[str, Any]] = [{}]
    for table in tables:
        rows = [
            {**a, **b, "name": ".".join(n for n in (a.get("name", ""), b.get("name", "")) if n)}
            for a in rows
            for b in table
        ]  # fmt: skip
    return list(rows)


class A64Extension(Extension):
    def __call__(
        self,
        encoding: str,
        asm: str,
        *,
        name: str | None = None,
        over: str | tuple[str, ...] = (),
        each: Iterable[Row] = ({},),
        alias: Callable[[Shown], str | None] | None = None,
    ) -> Callable[[F], F]:
        rows = list(each)

        def add(function: F) -> F:
            stem = name or function.__name__.strip("_")
            for row in rows:
                self._add(function, stem, encoding, asm, row, (over,) if isinstance(over, str) else over, alias)
            return function

        return add

    def _add(self, function: Callable[..., Any], stem: str, encoding: str, asm: str, row: Row, over: tuple[str, ...], alias: Any) -> None:
        tokens, semicolon, conditions = encoding.partition(";")
        bits, conditions = (" ".join(row[t] if isinstance(row.get(t), str) else t for t in part.split()) for part in (tokens, conditions))
        text = Asm.of(asm, row, alias)
        suffix = row.get("name", "")
        full = f"{stem}.{suffix}" if suffix else stem
        insn = self._parse(full, bits + semicolon + conditions, text, function, over)
        if "extension" in row:
            insn = replace(insn, extension=row["extension"])
        insn.binding = row  # type: ignore[assignment]
        self.isa.insns.append(insn)


class A64Isa(Isa):
    def extension(self, name: str, **only: Any) -> A64Extension:
        return A64Extension(self, name, only)

    def bind(self, **binding: Any) -> BoundIsa:
        """The rows with their tables' types and constants in place of the names in their functions."""
        spaces: dict[tuple[int, int], dict[str, Any]] = {}
        out: list[Insn] = []
        for i in self.insns:
            old, row = i.function, i.binding
            space = spaces.get((id(old.__globals__), id(row)))
            if space is None:
                names = {k: v for k, v in row.items() if k.isidentifier() and k not in ("name", "extension")}
                space = {**old.__globals__, **names} if names else old.__globals__
                spaces[id(old.__globals__), id(row)] = space
            out += _split(Insn(**{**{f: getattr(i, f) for f in _INIT}, "function": _function(old, space)}))
        return BoundIsa(self.name, out)


def _function(old: Callable[..., Any], space: dict[str, Any]) -> Callable[..., Any]:
    """The same with other globals."""
    new = types.FunctionType(old.__code__, space, old.__name__, old.__defaults__, old.__closure__)
    new.__annotations__, new.__doc__, new.__module__ = old.__annotations__, old.__doc__, old.__module__
    return new


def _split(insn: Insn) -> list[Insn]:
    """Rows for register 31 apart from the others, for each field where it is another kind of register."""
    out = [insn]
    for kind, number, suffix in ((StackReg, SP, "sp"), (FlagReg, ZERO, "zr")):
        for name in sorted({o.name for o in insn.operands + insn.results if isinstance(o.kind, kind)}):
            out = [variant for i in out for variant in (_without(i, name), _with(i, name, kind, number, suffix))]
    return out


def _without(insn: Insn, name: str) -> Insn:
    out = replace(insn, unless={**insn.unless, name: (31,)})
    out.__dict__["hints"] = insn.__dict__["hints"]
    return out


def _with(insn: Insn, name: str, kind: type[Reg], number: int, suffix: str) -> Insn:
    """The rows for register 31, which is `number`."""
    (piece,) = insn.fields[name]
    bits = (1 << piece.width) - 1 << piece.source
    over = (*insn.over, *(f"{o}.{name}{suffix}" for o in insn.over))
    out = replace(insn, name=f"{insn.name}.{name}{suffix}", over=over, mask=insn.mask | bits, value=insn.value | bits, unless=dict(insn.unless))
    out.fields = {k: v for k, v in insn.fields.items() if k != name}
    if number == SP and name == "Rn" and based.__name__ in insn.function.__code__.co_names:
        out.function = _function(insn.function, {**insn.function.__globals__, based.__name__: stacked})

    def implied(hint: Any) -> Any:
        if get_origin(hint) is tuple:
            return tuple[tuple(implied(h) for h in get_args(hint))]  # type: ignore[misc]
        if get_origin(hint) is Annotated and isinstance(get_args(hint)[1], kind) and name in get_args(hint)[2:]:
            return _fixed(hint)
        return hint

    def _fixed(hint: Any) -> Any:
        word, register, *rest = get_args(hint)
        return Annotated[word, Fixed(register.file, register.names, register.zero, number), *rest]  # type: ignore[valid-type]

    hints = {}
    for k, hint in insn.__dict__["hints"].items():
        if k == name or (k == "return" and get_origin(hint) is Annotated and isinstance(get_args(hint)[1], kind)
                         and (get_args(hint)[2:] or (insn.isa.result,))[0] == name):  # fmt: skip
            hints[k] = _fixed(hint)
        else:
            hints[k] = implied(hint) if k == "return" else hint
    out.__dict__["hints"] = hints
    return out


a64 = A64Isa(
    "arm64", result="Rd", Rd=5, Rn=5, Rm=5, Ra=5, Rt=5, Rt2=5, Rs=5, imm12=12, imm16=16, imm9=9, imm8=8, imm7=7, imm6=6, imm5=5, imm4=4,
    imm3=3, immr=6, imms=6, immb=3, immh=4, hw=2, nzcv=4, cond=4, CRm=4, CRn=4, op1=3, op2=3, sh=1, S=1, Q=1, L=1, o3=1, o0=1,
    shift=2, option=3, scale=6, simm7=7, mask=4, size=2, M=1,
)  # fmt: skip

