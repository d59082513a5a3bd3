"""Predecoded code: one 16-byte entry for each granule of a guest code page.

    offset 0   8 bytes   address of the handler
    offset 8   8 bytes   the operands, packed by `slots`: register numbers, immediates

The next instruction is the next entry, so there are no blocks and no program counter: pc = (address of the entry >> shift) + cpu.bias.
Entries not decoded yet point at the handler that decodes; behind a page's last entry stand entries that cross into the next page.
Several CPUs decode the same entry at once without locks: they write the same operands, and the handler's address last.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinamou.native.lower import source_of
from tinamou.native.memory import compare_exchange, exchange, peek, peek_acquire, poke, poke_release
from tinamou.native.ops import intrinsic, outlined, unlikely
from tinamou.native.types import Word, i8, i16, i32, u8, u16, u32, u64

from .architecture import Architecture
from .cpu import EXECUTE, PAGE, Cpu, Shared
from .patterns import EncodingError, Fixed, Imm, Insn, Operand, Reg

ENTRY = 16
SENTINELS = 8  # entries behind a page that cross into the next one: an instruction has at most 8 granules
AHEAD = 32  # instructions decoded at once along a straight line
DECODE, STRADDLE, CROSS, UNDEFINED = "h_decode", "h_straddle", "h_cross", "h_undefined"


class ArenaFull(Exception):
    """No room for more predecoded pages."""


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
    number: int = 0
    near: int = 0  # number of the form for targets in the same page


def form_of(insn: Insn, system: bool = True) -> Form:
    relative, jumps, switches, ends = _control(insn, system)
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
    )


def _slot_type(insn: Insn, op: Operand) -> type[Word]:
    if isinstance(op.kind, Reg):
        return u8
    bits, signed = insn.bits(op.name), isinstance(op.kind, Imm) and op.kind.signed
    for s, u in ((i8, u8), (i16, u16), (i32, u32)):
        if bits <= s.bits:
            return s if signed else u
    raise EncodingError(f"{insn.name}: {op.name} has more than 32 bits")


def _control(insn: Insn, system: bool) -> tuple[str | None, bool, bool, bool]:
    """What the function's text says of its jumps: the relative operand, whether it jumps, whether it always leaves."""
    src = source_of(insn.function)
    names = ("jump", "switch") if system else ("jump",)
    jumps = [n for n in ast.walk(src.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute) and n.func.attr in names]
    switches = any(isinstance(n.func, ast.Attribute) and n.func.attr == "switch" for n in jumps)
    relative = None
    if len(jumps) == 1 and not switches:
        target = jumps[0].args[0]
        if isinstance(target, ast.BinOp) and isinstance(target.op, ast.Add) and isinstance(target.right, ast.Name):
            name = target.right.id
            uses = sum(isinstance(n, ast.Name) and n.id == name for n in ast.walk(src.tree))
            is_pc = any(isinstance(n, ast.Attribute) and n.attr == "pc" for n in ast.walk(target.left))
            if is_pc and uses == 1 and any(op.name == name and isinstance(op.kind, Imm) for op in insn.operands):
                relative = name
    top = [s for s in src.tree.body if isinstance(s, (ast.Expr, ast.Raise))]
    ends = any(isinstance(s, ast.Raise) or (isinstance(s, ast.Expr) and s.value in jumps) for s in top)
    return relative, bool(jumps), switches, ends


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
    if op.name in insn.short:
        text = f"({text}) + {insn.isa.short[1]}"
    if isinstance(op.kind, Imm) and op.kind.signed:
        spare = 32 - insn.bits(op.name)
        return f"i32(({text}) << {spare}) >> {spare}" if spare else f"i32({text})"
    return f"({text})"


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
    return outlined(function)


# -- what the engine supplies to the functions below


@intrinsic
def symbol(name: str) -> u64:
    """Address of a handler in the image."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def handler_of(number: u32) -> u64:
    """Address of the handler of a form."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def length_of(number: u32) -> u64:
    """Bytes of an instruction of this form; 0 for undefined ones."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def ends_of(number: u32) -> bool:
    """The instruction never goes on to the next one."""
    raise TypeError("only compiled code has handlers")


@intrinsic
def decode(cpu: Cpu, entry: u64, word: u32, offset: u64, near: u64) -> u32:
    """The generated decoder."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def length(first: u32) -> u64:
    """Architecture.length."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def shift() -> int:
    """Architecture.shift."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def entry_offset(address: u64) -> u64:
    """Offset of an address's entry from the first one of its page; whatever the address, it is that of an entry."""
    raise TypeError("only compiled code has a decoder")


@intrinsic
def find_slow(cpu: Cpu, target: u64) -> u64:
    """The entry of the instruction at target, whose page gets entries if it has none; raises the fetch fault."""
    raise TypeError("the memory model supplies it")


@intrinsic
def code_address(cpu: Cpu, pc: u64) -> u64:
    """Host address of the code at pc, whose page may be executed; raises the fetch fault otherwise."""
    raise TypeError("the memory model supplies it")


# -- pages of entries


def stride() -> int:
    """Bytes of the entries of one page, sentinels included."""
    return (PAGE << shift()) + SENTINELS * ENTRY


@outlined
def new_page(cpu: Cpu, slot: u64) -> u64:
    """Make the entries of a code page and publish them in the pagemap slot; gives their base address."""
    size = stride()
    base = exchange("add", u64, cpu.shared, u64(size))
    if unlikely(base + size > peek(u64, cpu.shared + 8)):
        raise ArenaFull()
    at = base
    while at < base + (PAGE << shift()):
        poke(u64, at, symbol(DECODE))
        at += ENTRY
    while at < base + size:
        poke(u64, at, symbol(CROSS))
        at += ENTRY
    first = compare_exchange(u64, slot, u64(0), base)
    return base if first == 0 else first


@outlined
def predecode(cpu: Cpu, entry: u64, pc: u64) -> None:
    """Decode the straight line from pc on, as far as it is not decoded yet."""
    host = code_address(cpu, pc)
    offset = pc & (PAGE - 1)
    n = u32(0)
    while n < AHEAD and offset < PAGE:
        if n != 0 and peek_acquire(u64, entry) != symbol(DECODE):
            return
        word = u32(peek(u16, host)) if offset > PAGE - 4 else peek(u32, host)
        size = length(word)
        if offset + size > PAGE:
            poke_release(u64, entry, symbol(STRADDLE))
            return
        number = decode(cpu, entry, word, offset, u64(1))
        poke_release(u64, entry, handler_of(number))
        if number == 0 or ends_of(number):
            return
        entry += size << shift()
        offset += size
        host += size
        n += 1


@outlined
def decode_straddling(cpu: Cpu, entry: u64, pc: u64) -> u64:
    """Decode the instruction that begins at the end of a page and goes on in the next; gives its handler."""
    low = peek(u16, code_address(cpu, pc))
    high = peek(u16, code_address(cpu, pc + 2))
    return handler_of(decode(cpu, entry, u32(low) | u32(high) << 16, pc & (PAGE - 1), u64(0)))


@outlined
def forget_all(cpu: Cpu) -> None:
    """Undo everything that was decoded."""
    exchange("add", u64, cpu.shared + Shared.fields["fences"].offset, u64(1))
    base = peek(u64, cpu.shared + 16)
    end = peek_acquire(u64, cpu.shared)
    while base < end:
        at = base
        while at < base + (PAGE << shift()):
            poke_release(u64, at, symbol(DECODE))
            at += ENTRY
        base += stride()


def forget(pagemap: u64, first: u64, last: u64) -> None:
    """Undo what was decoded in the pages from `first` to `last` (page numbers, last one excluded)."""
    page = first
    while page < last:
        base = peek_acquire(u64, pagemap + (page << 3))
        if base != 0:
            at = base
            while at < base + (PAGE << shift()):
                poke_release(u64, at, symbol(DECODE))
                at += ENTRY
        page += 1


__all__ = ["EXECUTE", "Form", "Shared", "Slot", "decoder", "forms"]
