"""How rows become predecoded entries: where operands lie in an entry, and the decoder, generated as source in the subset."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinamou.native.lower import source_of
from tinamou.native.memory import poke
from tinamou.native.ops import outlined, plain
from tinamou.native.types import Word, i8, i16, i32, u8, u16, u32, u64

from .architecture import Architecture
from .cpu import PAGE
from .patterns import EncodingError, Fixed, Imm, Insn, Operand, Reg
from .predecode import ENTRY

LARGE = 1000  # rows: LLVM takes as long for the decoder of A64 as for everything else together

# -- operands in an entry


@dataclass(frozen=True)
class Slot:
    """Where an operand lies in the entry, and as what word."""

    offset: int
    type: type[Word]


@dataclass
class Form:
    """How one row is predecoded and run."""

    insn: Insn
    results: list[tuple[Operand, Slot | None]]
    operands: list[tuple[Operand, Slot | None]]
    relative: str | None  # the operand of its only jump, h.jump(ux(h.pc) + imm), if it has one
    jumps: bool
    switches: bool  # one of its jumps changes what memory or privilege the next instruction has
    ends: bool  # control never goes on to the next instruction
    forwards: bool = False  # it may skip what follows
    absolute: str | None = None  # the operand of its only jump, h.jump(imm)
    number: int = 0
    near: int = 0  # number of the form for targets in the same page


def form_of(insn: Insn, system: bool = True) -> Form:
    relative, absolute, jumps, switches, ends, forwards = _control(insn, system)
    wanted: list[tuple[int, str, Operand, type[Word]]] = []
    for role, ops in (("result", insn.results), ("operand", insn.operands)):
        for k, op in enumerate(ops):
            if not isinstance(op.kind, Fixed):
                t = i32 if op.name == relative else _slot_type(insn, op)
                wanted.append((-t.size, f"{role}{k}", op, t))
    placed, at = {}, ENTRY
    for _, key, _op, t in sorted(wanted, key=lambda w: w[:2]):
        at -= t.size
        at -= at % t.size
        placed[key] = Slot(at, t)
    if at < 8:
        raise EncodingError(f"{insn.name}: its operands need more than 8 bytes")
    return Form(
        insn,
        [(op, placed.get(f"result{k}")) for k, op in enumerate(insn.results)],
        [(op, placed.get(f"operand{k}")) for k, op in enumerate(insn.operands)],
        relative,
        jumps,
        switches,
        ends,
        forwards,
        absolute,
    )


def _slot_type(insn: Insn, op: Operand) -> type[Word]:
    if isinstance(op.kind, Reg):
        return u8
    bits, signed = insn.bits(op.name), isinstance(op.kind, Imm) and op.kind.signed
    for s, u in ((i8, u8), (i16, u16), (i32, u32)):
        if bits <= s.bits:
            return s if signed else u
    raise EncodingError(f"{insn.name}: {op.name} has more than 32 bits")


def _control(insn: Insn, system: bool) -> tuple[str | None, str | None, bool, bool, bool, bool]:
    """What the function's text says of its jumps: the relative or absolute operand, whether it jumps, whether it always leaves."""
    src = source_of(insn.function)
    names = ("jump", "forward", "switch") if system else ("jump", "forward")
    jumps = [n for n in ast.walk(src.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in names]
    switches, forwards = (any(isinstance(n.func, ast.Attribute) and n.func.attr == a for n in jumps) for a in ("switch", "forward"))
    relative = absolute = None
    if len(jumps) == 1 and not switches and not forwards:
        target = jumps[0].args[0]
        if isinstance(target, ast.Name) and any(op.name == target.id and isinstance(op.kind, Imm) for op in insn.operands):
            absolute = target.id
        if isinstance(target, ast.BinOp) and isinstance(target.op, ast.Add) and isinstance(target.right, ast.Name):
            name = target.right.id
            uses = sum(isinstance(n, ast.Name) and n.id == name for n in ast.walk(src.tree))
            is_pc = any(isinstance(n, ast.Attribute) and n.attr == "pc" for n in ast.walk(target.left))
            if is_pc and uses == 1 and any(op.name == name and isinstance(op.kind, Imm) for op in insn.operands):
                relative = name
    top = [s for s in src.tree.body if isinstance(s, (ast.Expr, ast.Raise))]
    ends = any(isinstance(s, ast.Raise) or (isinstance(s, ast.Expr) and s.value in jumps) for s in top)
    return relative, absolute, bool(jumps), switches, ends, forwards


# -- the decoder, generated as source in the subset


def forms(arch: Architecture) -> list[Form]:
    """The rows in the order of their handler numbers: 0 is an undefined instruction, relative jumps have a second number."""
    out = [form_of(i, arch.system) for i in arch.isa.insns]
    n = 1
    for f in out:
        f.number, n = n, n + 1
        if f.relative:
            f.near, n = n, n + 1
    return out


def extension_bits(arch: Architecture) -> dict[str, int]:
    return {name: k for k, name in enumerate(sorted({i.extension for i in arch.isa.insns}))}


def decoder_source(arch: Architecture, all_forms: list[Form]) -> str:
    """`decode(cpu, entry, w, offset, near) -> number`: write the operands of instruction word w into the entry."""
    by_insn = {id(f.insn): f for f in all_forms}
    lines = ["def decode(cpu: Cpu, entry: u64, w: u32, offset: u64, near: u64) -> u32:"]

    def leaf(insn: Insn, indent: str) -> None:
        f = by_insn[id(insn)]
        for op, slot in f.results + f.operands:
            if slot is None or op.name == f.relative:
                continue
            value = _field_text(insn, op)
            if isinstance(op.kind, Reg) and op.kind.zero is not None and (op, slot) in f.results:
                lines.append(f"{indent}n = {value}")
                count = len(getattr(arch.cpu(), op.kind.file))
                value = f"(n if n != {op.kind.zero} else u32({count - 1}))"
            lines.append(f"{indent}poke({slot.type.__name__}, entry + {slot.offset}, {slot.type.__name__}({value}))")
        if f.relative:
            op, slot = next((o, s) for o, s in f.operands if o.name == f.relative)
            assert slot is not None
            lines.append(f"{indent}d = {_field_text(insn, op)}")
            lines.append(f"{indent}if near != 0 and offset + u64(d) < {PAGE}:")
            lines.append(f"{indent}    poke(i32, entry + {slot.offset}, d << {arch.shift})")
            lines.append(f"{indent}    return u32({f.near})")
            lines.append(f"{indent}poke(i32, entry + {slot.offset}, d)")
        lines.append(f"{indent}return u32({f.number})")

    widths = sorted({i.width for i in arch.isa.insns})
    for width in widths:
        rows = [i for i in arch.isa.ordered if i.width == width]
        if len(widths) > 1:
            lines.append(f"    if length(w) == {width // 8}:")
            _tree(rows, 0, "        ", lines, leaf)
        else:
            _tree(rows, 0, "    ", lines, leaf)
    lines.append("    return u32(0)")
    return "\n".join(lines) + "\n"


def _field_text(insn: Insn, op: Operand) -> str:
    """Source text for a field's value: a u32, or an i32 when it is signed."""
    parts = []
    for p in insn.fields[op.name]:
        part = f"w >> {p.source} & {(1 << p.width) - 1:#x}"
        parts.append(f"({part}) << {p.target}" if p.target else part)
    text = " | ".join(f"({p})" for p in parts)
    base = f" + {insn.bases[op.name]}" if insn.bases.get(op.name) else ""
    if isinstance(op.kind, Imm) and op.kind.signed:
        spare = 32 - insn.bits(op.name)
        text = f"i32(({text}) << {spare}) >> {spare}" if spare else f"i32({text})"
    return f"(({text}){base})"


def _tree(rows: list[Insn], known: int, indent: str, lines: list[str], leaf: Callable[[Insn, str], None]) -> None:
    """Switch on bits that all rows fix; otherwise test the most special row and go on."""
    common = ~known & 0xFFFF_FFFF
    for r in rows:
        common &= r.mask
    if common and len(rows) > 1:
        low = (common & -common).bit_length() - 1
        n = 0
        while common >> (low + n) & 1 and n < 7:
            n += 1
        m = (1 << n) - 1
        groups: dict[int, list[Insn]] = {}
        for r in rows:
            groups.setdefault(r.value >> low & m, []).append(r)
        lines.append(f"{indent}match w >> {low} & {m:#x}:")
        for key in sorted(groups):
            lines.append(f"{indent}    case {key}:")
            _tree(groups[key], known | m << low, indent + "        ", lines, leaf)
        lines.append(f"{indent}    case _:")
        lines.append(f"{indent}        return u32(0)")
        return
    for r in rows:
        left = r.mask & ~known
        tests = [f"w & {left:#x} == {r.value & left:#x}"] if left else []
        for name, values in r.unless.items():
            text = _field_text(r, Operand(name, Imm(signed=False), u32))
            tests += [f"{text} != {v}" for v in values]
        tests.append(f"enabled(cpu, {r.extension!r})")
        lines.append(f"{indent}if {' and '.join(tests)}:")
        leaf(r, indent + "    ")
    lines.append(f"{indent}return u32(0)")


def decoder(arch: Architecture, all_forms: list[Form], enabled: Any) -> Callable[..., u32]:
    """The generated decoder as a function: it runs in CPython and compiles."""
    text = decoder_source(arch, all_forms)
    file = f"<decoder of {arch.name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {"Cpu": arch.cpu, "u8": u8, "u16": u16, "u32": u32, "u64": u64, "i8": i8, "i16": i16, "i32": i32}
    space |= {"poke": poke, "length": arch.length, "enabled": enabled, "__name__": __name__}
    exec(compile(text, file, "exec"), space)
    function: Callable[..., u32] = space["decode"]
    return plain(function) if len(all_forms) > LARGE else outlined(function)
