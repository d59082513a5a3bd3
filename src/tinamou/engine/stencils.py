"""Stencils: the code of each instruction as a piece that can be copied behind another one, with holes for its operands.

For every row whose function is simple enough the interpreter's object file has a function `stencil.<number>` in a section of its own.  It
does what the row's handler does, but where the handler reads its operands out of the entry the stencil has an external symbol, whose name
says what is to be patched in:

    hole.reg.<slot>.<shift>.<base>  offset in the CPU of the register whose number is at `slot` of the entry
    hole.imm.<slot>.<type>          the immediate at `slot` of the entry, a word of that type
    hole.delta hole.jump            this instruction's entry, that of the jump's target, in bytes from the trace's first one
    hole.credit                     what was taken too much from the budget when the trace is left here
    hole.to                         the handler to go on with
    hole.pc                         this instruction's address, where entries have one for ever (predecode.linked)
    hole.entry hole.bias            the entry of the jump's target on another page, and Cpu.bias of that page
    hole.next hole.cold hole.taken hole.trap    where control goes

`collect` makes tables out of the relocations to these symbols; `engine.traces` copies and patches.  This is the copy-and-patch of Xu and
Kjolstad (OOPSLA 2021); as the copies replace the handlers of an interpreter, they are also the dynamic superinstructions of Piumarta and
Riccardi (PLDI 1998).  Only x86-64 hosts have stencils so far.
"""

from __future__ import annotations

import re
import struct
from itertools import product
from typing import TYPE_CHECKING, Any

from tinamou.native.link import Image, LinkError, Piece
from tinamou.native.lower import Const, Lower, V, Value
from tinamou.native.types import Field, i32, u64

from . import flow
from .compact import COMPACT, PLACEHOLDER, STENCIL
from .cpu import Cpu
from .decoder import Form, Slot
from .handlers import CONVENTION, PARAMETERS, SIGNATURE, HandlerHooks, field_pointer, largest
from .patterns import Operand
from .traces import (
    BIAS,
    COLD,
    CREDIT,
    DELTA,
    ENTRY,
    FAULT,
    GLUE,
    IMAGE,
    IMMEDIATE,
    INLINE,
    LINKED,
    NARROW,
    NEXT,
    PC,
    SKIPS,
    TAKEN,
    TO,
    TRAP,
    WIDE,
    Stencil,
)

if TYPE_CHECKING:
    from .handlers import Builder

SECTION = ".stencil"
LARGEST = 512  # bytes: longer code is not worth a copy
RANGES = {"register": "!5", "signed": "!6"}
METADATA = ["!5 = !{i64 0, i64 2147483648}", "!6 = !{i64 -2147483648, i64 2147483648}"]
PLACES = {"next": NEXT, "cold": COLD, "taken": TAKEN, "trap": TRAP, "delta": DELTA, "jump": DELTA, "credit": CREDIT, "to": TO,
          "pc": PC, "entry": ENTRY, "bias": BIAS}  # fmt: skip
RARE = "!prof !1"  # the branch weights of `unlikely`


class Unfit(Exception):
    """This row's function cannot be a stencil."""


def refuse(*_: object) -> Value:
    """What follows in the trace would be what was there before; the count is that of the whole trace."""
    raise Unfit


class StencilHooks(HandlerHooks):
    """In stencils: operands are holes; every way out leaves the four arguments as they came."""

    def __init__(self, builder: Builder, form: Form | None = None, near: bool = False) -> None:
        super().__init__(builder, form, near)
        self.intrinsics = self.intrinsics | {
            Cpu.fence_code: refuse, flow.get_budget: refuse, flow.set_budget: refuse, Cpu.spend: self.spend,
        }  # fmt: skip
        self.cold = 0  # ways to `cold` in the text
        self.guards = 0
        operands = form.operands if form and form.ends and not near and builder.model.linked else []
        self.linked = any(s and o.name == form.relative and s.type is i32 for o, s in operands) if form else False
        self.spent = 0  # what a jump takes from the budget besides the row's cost

    def hole(self, name: str, kind: str = "register") -> str:
        """A hole's value, as an i64; `kind` is its range."""
        self.builder.unit.declarations.setdefault(
            f"hole.{name}", f'@"hole.{name}" = external global i8, !absolute_symbol {RANGES[kind]}'
        )
        return f'ptrtoint (ptr @"hole.{name}" to i64)'

    def wide(self, g: Lower, name: str) -> str:
        """A hole's value that may be any i64: LLVM would take an address for one near the code."""
        return g.value(f'call i64 asm "movabsq $$hole.{name}, $0", "=r"()')

    def go(self, g: Lower, place: str) -> None:
        self.cold += place == "cold"
        declare(self.builder, place)
        g.emit(f'musttail call {CONVENTION} void @"hole.{place}"({self.builder.arguments()})')
        g.stop("ret void")

    def pc(self, g: Lower, entry: str | None = None) -> str:
        if entry is None and self.builder.model.linked:
            return self.wide(g, "pc")
        return super().pc(g, entry or g.value(f"getelementptr i8, ptr %e, i64 {self.hole('delta')}"))

    def spend(self, g: Lower, cpu: Value, cost: Value) -> Value:
        """The way `taken` gives so much less back; what a skip spends follows from what is skipped."""
        if self.form is None or not (self.near or self.form.forwards) or not isinstance(cost, Const):
            raise Unfit
        if not self.form.forwards:
            self.spent += cost.value
        return Const(None)

    def trap(self, g: Lower) -> None:
        self.go(g, "trap")

    def go_slow(self, g: Lower) -> None:
        self.go(g, "cold")

    def switch(self, g: Lower, target: Value) -> None:
        raise Unfit

    def finish(self, g: Lower, form: Form) -> None:
        if not form.jumps:
            self.go(g, "next")
            return
        if self.near and form.ends:
            self.go(g, "taken")
            return
        flag = g.value(f"load i8, ptr {self.jumped}")
        if form.forwards or (form.relative and not form.ends):
            on, away = g.label(), g.label()
            g.branch_if(V(bool, g.value(f"icmp eq i8 {flag}, 0"), weight=1), on, away)
            g.place(on)
            self.go(g, "next")
            g.place(away)
            self.go(g, "taken" if self.near or form.forwards else "cold")
            return
        if not form.ends:
            raise Unfit
        if self.builder.model.exact:  # where instructions skip others, this need not be the trace's last one
            self.budget = g.value(f"add i64 %budget, {self.hole('credit', 'signed')}")
        if self.linked:
            g.emit(f"store i64 {self.wide(g, 'bias')}, ptr {field_pointer(g, self.cpu, 'bias')}")
            self.dispatch_counted(g, g.value(f"inttoptr i64 {self.wide(g, 'entry')} to ptr"))
            return
        self.far(g, g.value(f"load i64, ptr {self.target}"))

    def numbered(self, g: Lower, field: Field, slot: Slot) -> str:
        hole = self.hole(f"reg.{slot.offset}.{field.layout.stride.bit_length() - 1}.{field.offset}", "signed")
        return g.value(f"getelementptr i8, ptr %middle, i64 {hole}")

    def immediate(self, g: Lower, op: Operand, slot: Slot | None, name: str) -> V:
        assert slot is not None and self.form is not None
        word = V(u64, self.hole(f"imm.{slot.offset}.{slot.type.__name__}", "signed" if slot.type.signed else "register"))
        return V(op.type, word.ref if op.type.bits == 64 else g.cast(word, op.type).ref, largest(self.form, op))


def write(builder: Builder, form: Form, near: bool) -> None:
    """The stencil of a row, if it can have one."""
    number = form.near if near else form.number
    if form.switches or (form.ends and not form.jumps):
        return
    hooks = StencilHooks(builder, form, near)
    name = f"stencil.{number}"
    g = builder.function(hooks, name)
    if form.jumps:
        hooks.jumps(g)
    try:
        hooks.row(g, form)
        hooks.finish(g, form)
    except Unfit:
        return
    hooks.guards = sum("!make.implicit" in line for line in g.lines)
    relative = next((s.offset for o, s in form.operands if s and o.name == form.relative), 0) if near or hooks.linked else 0
    builder.stencils[name] = {"cold": hooks.cold, "guards": hooks.guards, "relative": relative, "ends": form.ends, "linked": hooks.linked,
                              "cost": form.insn.cost, "spent": SKIPS if form.forwards else hooks.spent}  # fmt: skip
    emit(builder, g, name)


def declare(builder: Builder, place: str) -> None:
    builder.unit.declare(f"hole.{place}", f'declare {CONVENTION} void @"hole.{place}"({PARAMETERS})')


def emit(builder: Builder, g: Lower, name: str) -> None:
    builder.unit.names.add(name)
    builder.unit.add(g.function(f'define {CONVENTION} void @{name}({SIGNATURE}) nounwind "no-jump-tables"="true" section "{SECTION}"'))


def write_glue(builder: Builder) -> None:
    """The pieces that are no instructions: see traces.GLUE."""
    for k, name in enumerate(GLUE):
        hooks = StencilHooks(builder)
        g = builder.function(hooks, name)
        if name == "begin":
            hooks.budget = g.value(f"sub i64 %budget, {hooks.hole('credit', 'signed')}")
            if builder.model.exact:  # the slice may end in the trace: then the interpreter goes on
                over, go = g.label(), g.label()
                g.branch_if(V(bool, g.value(f"icmp slt i64 {hooks.budget}, 0"), weight=-1), over, go)
                g.place(over)
                hooks.tail(g, '@"hole.cold"')
                declare(builder, "cold")
                g.place(go)
            declare(builder, "next")
            hooks.tail(g, '@"hole.next"')
        else:
            distance = hooks.hole("jump", "signed") if name == "taken" else hooks.hole("delta")
            entry = g.value(f"getelementptr i8, ptr %e, i64 {distance}")
            if name != "end":
                hooks.budget = g.value(f"add i64 %budget, {hooks.hole('credit', 'signed')}")
            if name in ("exit", "hop"):
                declare(builder, "to")
                hooks.tail(g, '@"hole.to"', entry if name == "exit" else "%e")
            elif name == "taken":
                hooks.dispatch_counted(g, entry)
            else:
                hooks.dispatch(g, entry)
        name = f"stencil.{len(builder.handler_names) + k}"
        builder.stencils[name] = {"cold": 0, "guards": 0, "relative": 0, "ends": False, "linked": False, "cost": 0, "spent": 0}
        emit(builder, g, name)


# -- tables out of relocations

Holes = list[tuple[int, int, int, int]]  # (place, kind, slot, value)
PLT32, PC32 = 4, 2
WIDTHS = {1: WIDE, 10: 0, 11: 0, 14: NARROW}  # R_X86_64_64, _32, _32S, _8
TYPES = {name: k for k, name in enumerate(("i8", "u8", "i16", "u16", "i32", "u32"))}


def collect(image: Image, facts: dict[str, dict[str, Any]], count: int, origin: int, reaches: dict[str, tuple[int, int]]) -> None:
    """Append the tables (engine.traces.Stencil, Patch) to the image's data, as the symbol `stencils`: first all stencils, then all compact
    ones.

    The code reaches the CPU by a pointer to the offset `origin` in it; of `reaches` see engine.compact.
    """
    faults: dict[int, int] = dict(image.faults)
    code, patches = bytearray(), bytearray()
    records: list[tuple[int, ...]] = []
    for copy, k in product((STENCIL, COMPACT), range(count)):
        number = str(k)
        found = image.pieces.get(copy + number)
        fact = facts.get(STENCIL + number, {})
        made = found and stencil(image, fact, found, faults, origin)
        if not made:
            if copy == COMPACT and number in reaches and records[k][0] >= 0:
                raise LinkError(f"the compact copy of stencil {number} cannot be read")
            records.append((-1, *[0] * 9))
            continue
        text, holes, stubs, relative = made
        reach = reaches.get(number, (0, 0))
        records.append((len(code), len(patches), len(text), len(holes), stubs, relative, fact["cost"], fact["spent"], *reach))
        code += text
        for at, kind, slot, value in holes:
            patches += struct.pack("<HBBi", at, kind, slot, value)
    inside = [(f.start, f.end) for f in image.pieces.values()]
    image.faults = [(a, b) for a, b in image.faults if not any(s <= a < e for s, e in inside)]
    tail = bytearray(bytes(-len(image.content) % 16))
    table = len(image.content) + len(tail)
    first = table + len(records) * Stencil.size
    for at, patch, *more in records:
        tail += struct.pack("<IIHHBBBBBBxx", at + first if at >= 0 else 0, patch + first + len(code), *more)
    tail += code + patches
    tail += bytes(16 + -(len(image.content) + len(tail) + 16) % 4096)
    image.content += bytes(tail)
    image.symbols["stencils"] = table


def stencil(
    image: Image, facts: dict[str, Any], piece: Piece, faults: dict[int, int], origin: int
) -> tuple[bytes, Holes, int, int] | None:
    """A stencil's code, its patches, the stubs it needs and where the relative operand lies."""
    text = image.content[piece.start : piece.end]
    holes: Holes = []
    jumps: dict[int, str] = {}  # where a jump of five bytes begins -> its hole
    for at, kind, name, target, addend in piece.relocations:
        at -= piece.start
        m = re.fullmatch(r"hole\.(\w+)(?:\.(\d+)\.(\w+)(?:\.(\d+))?)?", name)
        if m is None:
            if kind not in (PLT32, PC32):
                return None
            holes.append((at, IMAGE, 0, target + addend))
        elif m[1] in ("next", "cold", "taken", "trap", "to"):
            if kind not in (PLT32, PC32) or addend != -4:
                return None
            if text[at - 1] == 0xE9:
                jumps[at - 1] = m[1]
            holes.append((at, PLACES[m[1]], 0, 0))
        elif kind not in WIDTHS:
            return None
        else:
            wide = WIDTHS[kind]
            if m[1] == "reg" and wide == NARROW and (text[at] != PLACEHOLDER or text[at - 1] & 0xC7 != 0x45):  # d8(%r13)
                raise LinkError(f"the displacement of {name} is somewhere else")
            if m[1] == "reg":
                holes.append((at, int(m[3]) | wide, int(m[2]), int(m[4]) - origin + addend))
            elif m[1] == "imm":
                holes.append((at, IMMEDIATE + TYPES[m[3]] | wide, int(m[2]), addend))
            else:
                holes.append((at, PLACES[m[1]] | wide, 0, addend))
    mine = [(a - piece.start, b - piece.start) for a, b in faults.items() if piece.start <= a < piece.end]
    final = "taken" if facts["ends"] and facts["relative"] and not facts["linked"] else "next"
    stubs = LINKED if facts["linked"] else 0
    ways = sum(kind == COLD for _, kind, _, _ in holes)
    cut = next((at for at, where in jumps.items() if where == final), None)
    trailing = set(jumps) - {cut} if cut is not None else set()
    behind = [at for at in trailing if cut is not None and at > cut]
    simple = (
        cut is not None
        and all(jumps[at] == "cold" for at in behind)
        and len(text) == cut + 5 + 5 * len(behind)
        and ways == facts["cold"]
        and len(mine) == facts["guards"]
        and {b for _, b in mine} >= set(behind)
    )
    if simple and cut is not None:
        text = text[:cut]
        holes = [h for h in holes if h[0] < cut]
        if final == "taken":
            stubs |= INLINE
        holes += [(a, FAULT, 0, -1) for a, _ in mine]
    else:
        holes += [(a, FAULT, 0, b) for a, b in mine]
    for _, kind, _, value in holes:
        if kind == COLD or (kind == FAULT and value < 0):
            stubs |= 1
        elif kind == TAKEN:
            stubs |= 2
        elif kind == TRAP:
            stubs |= 4
    if len(text) > LARGEST:
        return None
    return bytes(text), holes, stubs, facts["relative"]
