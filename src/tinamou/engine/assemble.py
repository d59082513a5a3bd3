"""An assembler for tests, derived from the rows: what the disassembler prints, it reads.

Statements are separated by newlines or `;`, comments start with `#`.

    name:  1:            labels; `1b` and `1f` are the nearest 1: before and behind
    .equ name, value     a constant
    .byte .half .word .dword a, b       numbers of 1, 2, 4 and 8 bytes
    .ascii "text"  .asciz "text"  .zero n  .balign n
    addi a0, a0, end - start + 4        an instruction; `.` is its address

Values are Python's integer expressions over labels and constants.
"""

from __future__ import annotations

import ast
import operator
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .patterns import BoundIsa, Imm, Insn, Reg

Names = Sequence[str] | Mapping[int, str]
Evaluate = Callable[[str], int]
Pseudo = Callable[[list[str], Evaluate], Sequence[str]]
Unshow = Callable[[int, int], int]


class AssemblyError(ValueError):
    """A statement that cannot be assembled: its line and why."""

    def __init__(self, line: int, statement: str, reason: str) -> None:
        super().__init__(f"line {line}: {statement.strip()!r}: {reason}")


class _Unfit(Exception):
    """This row does not take these operands."""


@dataclass
class Program:
    """Assembled bytes for address `origin`, and where the labels are."""

    origin: int
    data: bytes
    labels: dict[str, int]


@dataclass
class Template:
    """A row's assembly as an expression that finds the operands again."""

    insn: Insn
    names: Mapping[str, Names]

    @cached_property
    def parts(self) -> list[tuple[str, str, str]]:
        """Text, the name of the field behind it, how that is shown."""
        return [(text, name or "", spec or "") for text, name, spec, _ in string.Formatter().parse(self.insn.asm)]

    @cached_property
    def specs(self) -> dict[str, str]:
        return {name: spec for _, name, spec in self.parts if name}

    @cached_property
    def registers(self) -> set[str]:
        return {o.name for o in self.insn.operands + self.insn.results if isinstance(o.kind, Reg)}

    @cached_property
    def regex(self) -> re.Pattern[str]:
        out = ""
        for text, name, _ in self.parts:
            out += re.escape(text)
            if name in self.names:
                out += f"(?P<{name}>{'|'.join(sorted(map(re.escape, _values(self.names[name])), key=len, reverse=True)) or '.+'}"
                out += "|.+)" if isinstance(self.names[name], Mapping) else ")"
            elif name:
                out += f"(?P<{name}>{r'[^,()]+' if name in self.registers else '.+?'})"
        return re.compile(out)


def _values(names: Names) -> list[str]:
    return list(names.values() if isinstance(names, Mapping) else names)


@dataclass
class _Item:
    """A statement behind pass 1: its address is known, its bytes may wait for labels."""

    line: int
    text: str
    address: int
    size: int
    numbers: dict[int, int] = field(default_factory=dict)  # how often each numeric label was seen


_TOKEN = re.compile(r"0[xX][\da-fA-F]+|0[bB][01]+(?!\w)|\d+[bf](?!\w)|\d+|'\\?.'|[A-Za-z_$.][\w$.]*")
_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[int], int]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}
_DATA = {".byte": 1, ".half": 2, ".word": 4, ".dword": 8}


def _compute(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int() as value):
            return value
        case ast.BinOp(left, op, right) if type(op) in _BINARY:
            a, b = _compute(left), _compute(right)
            if isinstance(op, ast.LShift) and b > 128:
                raise ValueError("shifted too far")
            return _BINARY[type(op)](a, b)
        case ast.UnaryOp(op, operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_compute(operand))
    raise ValueError("no integer expression")


class Assembler:
    """`names` are the named values of fields, `unshow` reads what a format specification of the templates prints."""

    def __init__(
        self,
        isa: BoundIsa,
        *,
        names: Mapping[str, Names] | None = None,
        registers: Mapping[str, str] | None = None,
        pseudo: Mapping[str, Pseudo] | None = None,
        unshow: Mapping[str, Unshow] | None = None,
        order: Literal["little", "big"] = "little",
    ) -> None:
        self.isa, self.order = isa, order
        self.registers, self.pseudo = registers or {}, pseudo or {}
        self.unshow: dict[str, Unshow] = {"pc": lambda shown, pc: shown - pc, **(unshow or {})}
        self.fixed: dict[str, list[Template]] = {}  # by mnemonic
        self.loose: list[Template] = []  # a field is part of the mnemonic
        for insn in isa.ordered:
            mnemonic, template = insn.asm.split()[0], Template(insn, names or {})
            if "{" in mnemonic:
                self.loose.append(template)
            else:
                self.fixed.setdefault(mnemonic, []).append(template)

    def assemble(self, text: str, origin: int = 0) -> Program:
        labels: dict[str, int] = {}
        items: list[_Item] = []
        seen: dict[int, int] = {}
        at = origin
        for line, statement in _statements(text):
            while match := re.match(r"([\w$.]+)\s*:", statement):
                name, statement = match[1], statement[match.end() :].strip()
                if name.isdigit():
                    seen[int(name)] = seen.get(int(name), 0) + 1
                    name = f"{name}#{seen[int(name)]}"
                if name in labels:
                    raise AssemblyError(line, name, "defined twice")
                labels[name] = at
            for machine in self._expand(statement, line, labels, at):
                item = _Item(line, machine, at, self._size(machine, line, labels, at), dict(seen))
                items.append(item)
                at += item.size
        return Program(origin, b"".join(self._emit(i, labels) for i in items), labels)

    def word(self, statement: str, pc: int = 0) -> int:
        """One instruction as a word."""
        return int.from_bytes(self.assemble(statement, pc).data, self.order)

    def _expand(self, statement: str, line: int, labels: dict[str, int], at: int) -> Sequence[str]:
        """The machine's own statements for one statement."""
        mnemonic, _, rest = statement.partition(" ")
        if mnemonic == ".equ":
            name, value = _split(rest)
            labels[name] = self._evaluate(value, line, statement, labels, at, {})
            return ()
        if mnemonic in self.pseudo and not any(t.regex.fullmatch(_tight(statement)) for t in self._candidates(mnemonic)):
            try:
                return self.pseudo[mnemonic](_split(rest), lambda e: self._evaluate(e, line, statement, labels, at, {}))
            except (ValueError, TypeError, IndexError) as e:
                raise AssemblyError(line, statement, str(e)) from e
        return (statement,) if statement else ()

    def _candidates(self, mnemonic: str) -> list[Template]:
        return self.fixed.get(mnemonic) or self.loose

    def _templates(self, statement: str, line: int) -> list[tuple[Template, re.Match[str]]]:
        tight = _tight(statement)
        mnemonic = tight.split()[0]
        found = [(t, m) for t in self._candidates(mnemonic) if (m := t.regex.fullmatch(tight))]
        if not found:
            known = [t.insn.asm for t in self.fixed.get(mnemonic, [])]
            raise AssemblyError(line, statement, f"write {' or '.join(known)}" if known else "no such instruction")
        return found

    def _size(self, statement: str, line: int, labels: dict[str, int], at: int) -> int:
        mnemonic, _, rest = statement.partition(" ")
        if mnemonic in _DATA:
            return _DATA[mnemonic] * len(_split(rest))
        if mnemonic in (".ascii", ".asciz"):
            return len(_text(mnemonic, rest, line))
        if mnemonic in (".zero", ".balign"):
            n = self._evaluate(rest, line, statement, labels, at, {})
            if n < 0 or n > 1 << 24 or (mnemonic == ".balign" and n == 0):
                raise AssemblyError(line, statement, "out of range")
            return n if mnemonic == ".zero" else -at % n
        return self._templates(statement, line)[0][0].insn.size

    def _emit(self, item: _Item, labels: dict[str, int]) -> bytes:
        mnemonic, _, rest = item.text.partition(" ")
        if mnemonic in (".zero", ".balign"):
            return bytes(item.size)
        if mnemonic in (".ascii", ".asciz"):
            return _text(mnemonic, rest, item.line)

        def evaluate(expression: str) -> int:
            return self._evaluate(expression, item.line, item.text, labels, item.address, item.numbers)

        if mnemonic in _DATA:
            size = _DATA[mnemonic]
            return b"".join((evaluate(e) & (1 << 8 * size) - 1).to_bytes(size, self.order) for e in _split(rest))
        reason = ""
        for template, match in self._templates(item.text, item.line):
            try:
                return self._encode(template, match, item.address, evaluate).to_bytes(item.size, self.order)
            except _Unfit as e:
                reason = str(e)
        raise AssemblyError(item.line, item.text, reason)

    def _encode(self, template: Template, match: re.Match[str], pc: int, evaluate: Evaluate) -> int:
        insn = template.insn
        kinds = {o.name: o for o in insn.operands + insn.results}
        values: dict[str, int] = {}
        for name, text in match.groupdict().items():
            kind = kinds[name].kind if name in kinds else Imm(signed=False)
            if name in template.names:
                values[name] = _named(template.names[name], text, evaluate)
            elif isinstance(kind, Reg):
                values[name] = self._register(kind, text)
            else:
                shown = evaluate(text)
                unshow = self.unshow.get(template.specs[name])
                values[name] = unshow(shown, pc) if unshow else shown
        word = insn.encode(**values)
        for name, value in values.items():
            got = insn.number(word, kinds[name]) if name in kinds else insn.field(word, name)
            if got != value:
                raise _Unfit(f"{match[name]} does not fit {name} of {insn.asm}")
        if not insn.matches(word):
            raise _Unfit(f"not with these operands: {insn.asm}")
        return word

    def _register(self, kind: Reg, text: str) -> int:
        text = self.registers.get(text, text)
        if text in kind.names:
            return kind.names.index(text)
        if match := re.fullmatch(rf"{kind.file}(\d+)", text):
            return int(match[1])
        raise _Unfit(f"{text} is no register of {kind.file}")

    def _evaluate(self, text: str, line: int, statement: str, labels: dict[str, int], at: int, numbers: dict[int, int]) -> int:
        def replace(token: re.Match[str]) -> str:
            t = token[0]
            if t == ".":
                return f"({at})"
            if t[0] == "'":
                return str(ord(ast.literal_eval(t)))
            if match := re.fullmatch(r"(\d+)([bf])", t):
                t = f"{match[1]}#{numbers.get(int(match[1]), 0) + (match[2] == 'f')}"
            elif t[0].isdigit():
                return str(int(t, 0))
            if t not in labels:
                raise AssemblyError(line, statement, f"{t} is not defined")
            return f"({labels[t]})"

        try:
            return _compute(ast.parse(_TOKEN.sub(replace, text).strip(), mode="eval").body)
        except (SyntaxError, ValueError, ZeroDivisionError) as e:
            if isinstance(e, AssemblyError):
                raise
            raise AssemblyError(line, statement, f"{text} is no number") from e


def _named(names: Names, text: str, evaluate: Evaluate) -> int:
    for value, name in names.items() if isinstance(names, Mapping) else enumerate(names):
        if name == text:
            return value
    return evaluate(text)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for statement in re.findall(r"""(?:"(?:[^"\\]|\\.)*"|'\\?.'|[^;#])+|[;#]""", line):
            if statement == "#":
                break
            if statement.strip(" \t;"):
                yield number, re.sub(r"\s+", " ", statement.strip(), count=1)


def _tight(statement: str) -> str:
    """Without blanks around commas and parentheses."""
    mnemonic, _, rest = statement.partition(" ")
    return " ".join(filter(None, (mnemonic, re.sub(r"\s*([,()])\s*", r"\1", rest.strip()))))


def _split(operands: str) -> list[str]:
    return [o.strip() for o in operands.split(",")] if operands.strip() else []


def _text(mnemonic: str, operand: str, line: int) -> bytes:
    try:
        value: Any = ast.literal_eval(operand.strip())
        return bytes(value, "utf-8") + b"\0" * (mnemonic == ".asciz")
    except (SyntaxError, ValueError, TypeError) as e:
        raise AssemblyError(line, f"{mnemonic} {operand}", "write one string in double quotes") from e
