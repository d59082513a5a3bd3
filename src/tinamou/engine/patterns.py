"""An instruction is a typed function, the manual's encoding row and the manual's assembly.

    X = Annotated[ux, Reg("x", names=ABI, zero=0)]
    Simm = Annotated[ux, Imm()]

    @rv("imm[11:0] rs1 000 rd 0010011", "addi {rd}, {rs1}, {imm}")
    def addi(rs1: X, imm: Simm) -> X:
        return rs1 + imm

An encoding row lists the instruction's bits from the most significant one down.  Its tokens are

    0110x      bits; x is any bit
    rd  imm    a field of the width the Isa declares
    imm[12|10:5]   those bits of a field
    rd'        a short register field (Isa(short=(3, 8)): 3 bits, numbers from 8)
    ; rd!=0,2 imm!=0   after the row: values with which the word is another instruction

A parameter named like a field receives its value: the register's content for a Reg, the number for an Imm.  A parameter that is no
field must be a Fixed register or the CPU (the only one without Annotated).  The annotated result is written to the field `rd`
(Isa(result=...)), or to the field that the annotation names: `Annotated[u64, Reg("x"), "Rt2"]`; a tuple writes several.

Functions may use type parameters that the architecture binds (`isa.bind(ux=u64, ix=i64, XLEN=64)`): they stand for a type or a
constant, and the same text then serves every width.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Annotated, Any, TypeVar, get_args, get_origin

from tinamou.native.types import Word, evaluated

F = TypeVar("F", bound=Callable[..., Any])


class EncodingError(TypeError):
    """An encoding row, or the function below it, contradicts itself or another row."""


@dataclass(frozen=True)
class Reg:
    """A field that numbers a register of the CPU's array `file`; register `zero` reads as 0 and ignores writes.

    The array has one element more than registers when there is a zero register: it swallows the writes.
    """

    file: str
    names: Sequence[str] = ()
    zero: int | None = None

    def name(self, number: int) -> str:
        return self.names[number] if self.names else f"{self.file}{number}"


@dataclass(frozen=True)
class Fixed(Reg):
    """A register that the instruction implies.  As a result the register `zero` is none."""

    number: int = 0


@dataclass(frozen=True)
class Imm:
    """A field that is a number: signed (two's complement of the field's width) or not."""

    signed: bool = True


@dataclass(frozen=True)
class Piece:
    """`width` bits of the instruction word from bit `source` are bits of the field from bit `target`."""

    source: int
    width: int
    target: int


@dataclass(frozen=True)
class Operand:
    """One parameter or result: which field, of what kind, as what type."""

    name: str  # of the parameter; of the field for results
    kind: Reg | Imm
    type: type[Word]


@dataclass
class Insn:
    """One encoding row with its function, bound to an architecture's type parameters."""

    name: str
    function: Callable[..., Any]
    asm: str
    width: int  # bits
    mask: int
    value: int
    fields: dict[str, list[Piece]]
    bases: dict[str, int]  # what is added to fields: short register numbers begin at it, displacements count from it
    unless: dict[str, tuple[int, ...]]
    over: tuple[str, ...]
    extension: str
    only: dict[str, Any]
    isa: Isa
    cost: int = 1  # what it takes from the budget: instructions, or cycles where the architecture counts those
    binding: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.width // 8

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The function's annotations as types."""
        space, given = self.function.__globals__, self.function.__annotations__
        return {name: evaluated(hint, space) for name, hint in given.items()}

    @cached_property
    def operands(self) -> list[Operand]:
        """What the function reads, in the order of its parameters (without the CPU)."""
        return [self._operand(n, h) for n, h in self.hints.items() if n != "return" and get_origin(h) is Annotated]

    @cached_property
    def results(self) -> list[Operand]:
        """What the function's result is written to."""
        hint = self.hints.get("return")
        if get_origin(hint) is tuple:
            return [self._result(h) for h in get_args(hint)]
        return [self._result(hint)] if get_origin(hint) is Annotated else []

    def _result(self, hint: Any) -> Operand:
        names = [a for a in get_args(hint)[2:] if isinstance(a, str)]
        implied = isinstance(get_args(hint)[1], Fixed) and self.isa.result in self.fields
        return self._operand(names[0] if names else "" if implied else self.isa.result, hint)

    def _operand(self, name: str, hint: Any) -> Operand:
        word, kind, *_ = get_args(hint)
        if not isinstance(kind, Fixed) and name not in self.fields:
            raise EncodingError(f"{self.name}: parameter {name} is no field of its encoding")
        return Operand(name, kind, self.binding.get(word.__name__, word))

    @cached_property
    def cpu(self) -> str | None:
        """The name of the parameter that is the CPU."""
        names = [n for n, h in self.hints.items() if n != "return" and get_origin(h) is not Annotated]
        if len(names) > 1:
            raise EncodingError(f"{self.name}: {', '.join(names)}: only the CPU goes without Annotated")
        return names[0] if names else None

    def bits(self, name: str) -> int:
        """Width of a field's value in bits, implied low zeros included."""
        return max(p.target + p.width for p in self.fields[name])

    def field(self, word: int, name: str) -> int:
        """A field's unsigned value in an instruction word; register numbers are complete."""
        value = sum((word >> p.source & (1 << p.width) - 1) << p.target for p in self.fields[name])
        return value + self.bases.get(name, 0)

    def matches(self, word: int) -> bool:
        return word & self.mask == self.value and all(self.field(word, n) not in v for n, v in self.unless.items())

    def number(self, word: int, operand: Operand) -> int:
        """The operand's register number, or its immediate as a (signed) integer."""
        if isinstance(operand.kind, Fixed):
            return operand.kind.number
        value, base = self.field(word, operand.name), self.bases.get(operand.name, 0)
        if isinstance(operand.kind, Imm) and operand.kind.signed:
            top = 1 << (self.bits(operand.name) - 1)
            return (value - base ^ top) - top + base
        return value

    @property
    def guard(self) -> Callable[[Any], None] | None:
        """What runs before the function: raises when the extension is switched off."""
        return self.isa.guards.get(self.extension)

    def execute(self, cpu: Any, word: int) -> None:
        """The golden model: run the function on the CPU's state, in CPython."""
        if self.guard:
            self.guard(cpu)
        values = []
        for op in self.operands:
            n = self.number(word, op)
            if isinstance(op.kind, Reg):
                n = getattr(cpu, op.kind.file)[n]
            values.append(op.type(n))
        result = self.function(cpu, *values) if self.cpu else self.function(*values)
        many = result if isinstance(result, tuple) else (result,)
        for op, value in zip(self.results, many, strict=False):
            assert isinstance(op.kind, Reg)
            array = getattr(cpu, op.kind.file)
            if self.number(word, op) != op.kind.zero:
                if type(value) is not op.type:
                    raise TypeError(f"{self.name} gives a {type(value).__name__}, not a {op.type.__name__}")
                array[self.number(word, op)] = type(array[0])(value)

    def disassemble(self, word: int, pc: int = 0) -> str:
        shown: dict[str, Any] = {}
        for op in self.operands + self.results:
            n = self.number(word, op)
            shown[op.name] = op.kind.name(n) if isinstance(op.kind, Reg) else _Shown(n, pc)
        for name in self.fields:
            shown.setdefault(name, _Shown(self.field(word, name), pc))
        return self.asm.format_map(shown)

    def encode(self, **values: int) -> int:
        """The instruction word with these field values (register numbers, immediates)."""
        word = self.value
        for name, pieces in self.fields.items():
            base = self.bases.get(name, 0)
            value = values.pop(name, base) - base
            for p in pieces:
                word |= (value >> p.target & (1 << p.width) - 1) << p.source
        if values:
            raise EncodingError(f"{self.name} has no field {', '.join(values)}")
        return word

    def __repr__(self) -> str:
        return f"<{self.name} {self.value:#x}/{self.mask:#x}>"


@cache
def _token(token: str) -> tuple[str, str, tuple[tuple[int, int], ...]] | None:
    """A field of an encoding row: its name, the prime, and (high, low) of its pieces."""
    match = re.fullmatch(r"([A-Za-z]\w*)('?)(?:\[([\d:|]+)\])?", token)
    if not match:
        return None
    pieces = [part.partition(":") for part in (match[3] or "").split("|") if part]
    return match[1], match[2], tuple((int(hi), int(lo or hi)) for hi, _, lo in pieces)


class _Shown(int):
    """An immediate that {imm:pc} prints as an address."""

    pc: int

    def __new__(cls, value: int, pc: int) -> _Shown:
        self = int.__new__(cls, value)
        self.pc = pc
        return self

    def __format__(self, spec: str) -> str:
        return f"{self.pc + self:#x}" if spec == "pc" else format(int(self), spec)


class Isa:
    """The rows of one architecture; `fields` gives the widths of fields written without brackets."""

    def __init__(self, name: str, *, result: str = "rd", short: tuple[int, int] = (3, 8), **fields: int) -> None:
        self.name, self.result, self.short, self.widths = name, result, short, fields
        self.insns: list[Insn] = []
        self.guards: dict[str, Callable[[Any], None]] = {}  # extension -> what runs before each of its rows

    def extension(self, name: str, **only: Any) -> Extension:
        """A group of rows that a CPU model has or lacks; `only` restricts them to some bindings (XLEN=64)."""
        return Extension(self, name, only)

    def bind(self, **binding: Any) -> BoundIsa:
        """The architecture with its type parameters bound; rows for other bindings are left out."""
        merged: dict[int, dict[str, Any]] = {}
        out = []
        for i in self.insns:
            if any(binding.get(k) != v for k, v in i.only.items()):
                continue
            old = i.function
            space = merged.setdefault(id(old.__globals__), {**old.__globals__, **binding})
            new = types.FunctionType(old.__code__, space, old.__name__, old.__defaults__, old.__closure__)
            new.__annotations__, new.__doc__, new.__module__ = old.__annotations__, old.__doc__, old.__module__
            new.__dict__.update(old.__dict__)
            out.append(Insn(**{**{f: getattr(i, f) for f in _INIT}, "function": new, "binding": binding}))
        return BoundIsa(self.name, out)


_INIT = ("name", "asm", "width", "mask", "value", "fields", "bases", "unless", "over", "extension", "only", "isa", "cost")


@dataclass
class Extension:
    """Decorator factory for the rows of one extension."""

    isa: Isa
    name: str
    only: dict[str, Any]

    def __call__(self, encoding: str, asm: str, *, name: str | None = None, over: str | tuple[str, ...] = ()) -> Callable[[F], F]:
        """`over` names the rows of which this one is a special case on purpose."""

        def add(function: F) -> F:
            mnemonic = name or asm.split()[0]
            self.isa.insns.append(self._parse(mnemonic, encoding, asm, function, (over,) if isinstance(over, str) else over))
            return function

        return add

    def _parse(self, name: str, encoding: str, asm: str, function: Callable[..., Any], over: tuple[str, ...]) -> Insn:
        row, _, conditions = encoding.partition(";")
        mask = value = width = 0
        slices: list[tuple[str, int, int]] = []  # field, width, target; most significant first; "" for bits
        bases: dict[str, int] = {}
        for token in row.split():
            if not token.strip("01x"):
                mask = mask << len(token) | int(token.replace("0", "1").replace("x", "0"), 2)
                value = value << len(token) | int(token.replace("x", "0"), 2)
                slices.append(("", len(token), 0))
                continue
            found = _token(token)
            if not found:
                raise EncodingError(f"{name}: {token!r} is no token of an encoding row")
            field_name, prime, parts = found
            if prime:
                bases[field_name] = self.isa.short[1]
                parts = ((self.isa.short[0] - 1, 0),)
            elif not parts:
                if field_name not in self.isa.widths:
                    raise EncodingError(f"{name}: the width of {field_name} is not known: write {field_name}[hi:lo]")
                parts = ((self.isa.widths[field_name] - 1, 0),)
            for hi, lo in parts:
                size = hi - lo + 1
                slices.append((field_name, size, lo))
                mask, value = mask << size, value << size
        fields: dict[str, list[Piece]] = {}
        width = pos = sum(size for _, size, _ in slices)
        for field_name, size, target in slices:
            pos -= size
            if field_name:
                fields.setdefault(field_name, []).append(Piece(pos, size, target))
        if width % 8:
            raise EncodingError(f"{name}: {width} bits are no whole number of bytes")
        unless = {}
        for condition in conditions.split():
            match = re.fullmatch(r"(\w+)!=([\dx,a-f]+)", condition)
            if not match or match[1] not in fields:
                raise EncodingError(f"{name}: {condition!r} is no condition on a field of the row")
            unless[match[1]] = tuple(int(v, 0) for v in match[2].split(","))
        return Insn(name, function, asm, width, mask, value, fields, bases, unless, over, self.name, self.only, self.isa)


class BoundIsa:
    """The rows of one architecture for one binding of its type parameters, checked against each other."""

    def __init__(self, name: str, insns: list[Insn]) -> None:
        self.name, self.insns = name, insns
        self.by_name: dict[str, Insn] = {}
        self._rows: dict[int, list[Insn]] = {}
        for i in insns:
            if i.name in self.by_name:
                raise EncodingError(f"{i.name} is described twice")
            self.by_name[i.name] = i
        for a, b in self._overlaps():
            raise EncodingError(f"{a.name} ({a.value:#x}/{a.mask:#x}) and {b.name} ({b.value:#x}/{b.mask:#x}) overlap: "
                                "give one a condition (; rd!=0) or over=")  # fmt: skip

    def _overlaps(self) -> Iterator[tuple[Insn, Insn]]:
        buckets: dict[int, list[Insn]] = {}
        for i in self.insns:
            buckets.setdefault(i.width, []).append(i)
        for same in buckets.values():
            for a, b in _meeting(same, same[0].width - 1):
                if b.name not in a.over and a.name not in b.over and not (_excludes(a, b) or _excludes(b, a)):
                    yield a, b

    @cached_property
    def ordered(self) -> list[Insn]:
        """Special cases before what they are special cases of."""
        return sorted(self.insns, key=lambda i: (not i.over, -i.mask.bit_count()))

    @cached_property
    def _telling(self) -> int:
        """The ten bits that most rows fix: `decode` looks only at the rows that have the word's."""
        some = self.insns[::8]
        bits = range(max((i.width for i in some), default=0))
        return sum(1 << b for b in sorted(bits, key=lambda b: sum(i.mask >> b & 1 for i in some))[-10:])

    def decode(self, word: int, enabled: frozenset[str] | None = None) -> Insn | None:
        """The row that a word of at least its width matches (the word's low bits are the instruction)."""
        key = word & self._telling
        rows = self._rows.get(key)
        if rows is None:
            rows = self._rows[key] = [i for i in self.ordered if not (i.value ^ key) & i.mask & self._telling]
        for i in rows:
            if i.matches(word & (1 << i.width) - 1) and (enabled is None or i.extension in enabled):
                return i
        return None

    def disassemble(self, word: int, pc: int = 0) -> str:
        found = self.decode(word)
        return found.disassemble(word & (1 << found.width) - 1, pc) if found else f".word {word:#x}"


def _meeting(rows: list[Insn], bit: int) -> Iterator[tuple[Insn, Insn]]:
    """The pairs of rows that no bit tells apart: the rows are divided by those bits, from `bit` down, that most of them fix."""
    while len(rows) > 12 and bit >= 0:
        free = [i for i in rows if not i.mask >> bit & 1]
        if 4 * len(free) < len(rows):
            ones = [i for i in rows if i.value >> bit & 1]
            zeros = [i for i in rows if i.mask >> bit & 1 and not i.value >> bit & 1]
            yield from _meeting(free + ones, bit - 1)
            yield from _meeting(free + zeros, bit - 1)
            return
        bit -= 1
    for k, a in enumerate(rows):
        for b in rows[:k]:
            if not ((a.value ^ b.value) & a.mask & b.mask):
                yield a, b


def _excludes(a: Insn, b: Insn) -> bool:
    """A condition of a rules out every word that b fixes."""
    for name, values in a.unless.items():
        pieces = a.fields[name]
        bits = sum(((1 << p.width) - 1) << p.source for p in pieces)
        if bits & ~b.mask:
            continue
        value = sum((b.value >> p.source & (1 << p.width) - 1) << p.target for p in pieces)
        if value + a.bases.get(name, 0) in values:
            return True
    return False
