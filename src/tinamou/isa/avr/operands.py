"""Operands and notation of AVR instructions.  AVR Instruction Set Manual, DS40002198B, chapters 1 and 5.

A row is written as the manual's opcode: a letter is a bit of the field of that name, most significant bit first, and the first word of
two comes first.  What a field's letters mean follows from their number:

    d r    5: R0 to R31    4: R16 to R31    3: R16 to R23    `pair`: the lower register of a pair (4: R0, R2 to R30; 2: R24, R26,
           R28, R30), and dh, rh are the higher one
    k      7, 12: words from the next instruction on    22: the word address of an instruction
    K A b q     numbers

`cycles` are those of the core AVRe with a 16-bit program counter, or one number for each of the CORES; `wide` more when the program
counter has 22 bits.  What a condition adds is in the function: `cpu.spend(1)`.

Families are one function with a table: each row of `each` binds names in the function and, in <>, in the encoding, assembly and names.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from tinamou.engine.patterns import _INIT, BoundIsa, Extension, F, Fixed, Imm, Insn, Isa, Reg
from tinamou.native.types import u8, u16, u32

from .state import FLAGS

CORES = ("e", "xm", "xt", "rc")  # classic and enhanced AVR, XMEGA, the newer tiny and mega, reduced tiny
R_NAMES = [f"r{n}" for n in range(32)]
F_NAMES = list(FLAGS.lower())

R = Annotated[u8, Reg("r", R_NAMES)]
Rr = Annotated[u8, Reg("r", R_NAMES), "r"]  # a result in the field r
Rh = Annotated[u8, Reg("r", R_NAMES), "dh"]  # one in the higher register of a pair
Number = Annotated[u8, Imm(signed=False)]
Address = Annotated[u16, Imm(signed=False)]
Code = Annotated[u32, Imm(signed=False)]
Relative = Annotated[u32, Imm()]


def _register(number: int) -> Any:
    return Annotated[u8, Fixed("r", R_NAMES, number=number)]


def _flag(number: int) -> Any:
    return Annotated[u8, Fixed("f", F_NAMES, number=number)]


R0 = Annotated[u8, Fixed("r", R_NAMES, number=0)]
R1 = Annotated[u8, Fixed("r", R_NAMES, number=1)]
Xl = Annotated[u8, Fixed("r", R_NAMES, number=26)]
Xh = Annotated[u8, Fixed("r", R_NAMES, number=27)]
Yl = Annotated[u8, Fixed("r", R_NAMES, number=28)]
Yh = Annotated[u8, Fixed("r", R_NAMES, number=29)]
Zl = Annotated[u8, Fixed("r", R_NAMES, number=30)]
Zh = Annotated[u8, Fixed("r", R_NAMES, number=31)]
FC = Annotated[u8, Fixed("f", F_NAMES, number=0)]
FZ = Annotated[u8, Fixed("f", F_NAMES, number=1)]
FN = Annotated[u8, Fixed("f", F_NAMES, number=2)]
FV = Annotated[u8, Fixed("f", F_NAMES, number=3)]
FH = Annotated[u8, Fixed("f", F_NAMES, number=5)]
FT = Annotated[u8, Fixed("f", F_NAMES, number=6)]
FI = Annotated[u8, Fixed("f", F_NAMES, number=7)]
ALL = {"FC": FC, "FZ": FZ, "FN": FN, "FV": FV, "FH": FH, "FT": FT, "FI": FI}

# What the function gives besides its result, in the order in which the arithmetic makes them.
Logic = tuple[R, FV, FN, FZ]
Shift = tuple[R, FV, FN, FZ, FC]
Sum = tuple[R, FH, FV, FN, FZ, FC]
Compare = tuple[FH, FV, FN, FZ, FC]

Row = Mapping[str, Any]


def _tokens(row: str, pair: bool) -> tuple[str, dict[str, int]]:
    """The row in the notation of engine.patterns, and what is added to its fields."""
    bits = row.replace(" ", "")
    counts = {c: bits.count(c) for c in bits if c not in "01"}
    shift, bases = dict.fromkeys(counts, 0), {}
    for c, n in counts.items():
        if c in "dr" and n < 5:
            shift[c] = int(pair)
            bases[c] = 0 if pair and n == 4 else 24 if pair else 16
        elif c == "k" and n in (7, 12, 22):
            shift[c] = 1
            bases[c] = 0 if n == 22 else 2
    left = dict(counts)
    done: dict[int, str] = {}
    for at in range(0, len(bits), 16):
        tokens = []
        for run in re.finditer(r"[01]+|([A-Za-z])\1*", bits[at : at + 16]):
            if c := run[1]:
                high = left[c] - 1 + shift[c]
                left[c] -= len(run[0])
                tokens.append(f"{c}[{high}:{high - len(run[0]) + 1}]")
            else:
                tokens.append(run[0])
        done[at] = " ".join(tokens)
    return " ".join(done[at] for at in sorted(done, reverse=True)), bases  # the first word has the lower address


class AvrExtension(Extension):
    def __call__(
        self,
        encoding: str,
        asm: str,
        *,
        name: str | None = None,
        over: str | tuple[str, ...] = (),
        cycles: int | tuple[int, int, int, int] = 1,
        wide: int = 0,
        pair: bool = False,
        each: Iterable[Row] = ({},),
    ) -> Callable[[F], F]:
        rows = list(each)

        def add(function: F) -> F:
            for row in rows:
                words = {k: v for k, v in row.items() if isinstance(v, str)}

                def fill(template: str, words: dict[str, str] = words) -> str:
                    return re.sub(r"<(\w+)>", lambda m: words[m[1]], template)

                text = fill(asm)
                tokens, bases = _tokens(fill(encoding), pair)
                kinds = (over,) if isinstance(over, str) else over
                insn = self._parse(fill(name or text.split()[0]), tokens, text, function, tuple(fill(k) for k in kinds))
                insn.bases = bases
                for c in "dr" if pair else "":
                    if c in insn.fields:
                        insn.fields[f"{c}h"], bases[f"{c}h"] = insn.fields[c], bases[c] + 1
                insn.binding = {"row": row, "cycles": cycles, "wide": wide}
                self.isa.insns.append(insn)
            return function

        return add


class AvrIsa(Isa):
    def extension(self, name: str, **only: Any) -> AvrExtension:
        return AvrExtension(self, name, only)

    def bind(self, **binding: Any) -> BoundIsa:
        """The rows of one core: CORE is one of CORES, WIDE whether the program counter has 22 bits."""
        core, wide = binding["CORE"], binding["WIDE"]
        out: list[Insn] = []
        for i in self.insns:
            if any(core not in v if k == "CORE" else binding.get(k) != v for k, v in i.only.items()):
                continue
            old, row = i.function, i.binding
            space = {**old.__globals__, **row["row"]} if row["row"] else old.__globals__
            new = types.FunctionType(old.__code__, space, old.__name__, old.__defaults__, old.__closure__)
            new.__annotations__, new.__doc__, new.__module__ = old.__annotations__, old.__doc__, old.__module__
            new.__dict__.update(old.__dict__)
            cycles = row["cycles"]
            cost = (cycles if isinstance(cycles, int) else cycles[CORES.index(core)]) + (row["wide"] if wide else 0)
            kept = {f: getattr(i, f) for f in _INIT}
            out.append(Insn(**{**kept, "function": new, "cost": cost}))
        return BoundIsa(self.name, out)


avr = AvrIsa("avr", result="d")
