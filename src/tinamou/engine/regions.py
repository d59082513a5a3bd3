"""Tier 1: a region of hot code as one LLVM function.

Every row's function is lowered once, to a template of text with holes; an instruction is its template with the operands as constants.
Guest registers are variables of the LLVM function: loaded at its start, written back at its exits, in between wherever LLVM keeps them.

A region has the signature of a handler and stands in for the handlers of its entry points.  It leaves
    to another address          through that address's entry, like a far jump
    before an instruction whose access is not the common case: `h_retry` runs that instruction alone in tier 0
    at an exception             `h_trap`
    where cycles are counted, before the slice ends: `h_budget` (engine.checkpoints)
always with the registers written back, so every exception is precise.  It counts how often it is entered and how many instructions it
executes, and notes where it was left to, at COUNTS, for engine.jit to see whether it is of use.  It holds no addresses but guest ones:
the text of a region can be compiled in one process and run in another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from types import FunctionType
from typing import Any

from tinamou.native.lower import Const, Lower, Outlined, Unit, V, Value, literal, llvm
from tinamou.native.types import Field, Word, u32, u64

from . import flow
from .access import Access
from .architecture import Architecture
from .codecache import COUNTS
from .cpu import PAGE, Cpu
from .decoder import Form, Slot, form_of
from .discovery import Node, Region, blocks_of
from .handlers import CONVENTION, PARAMETERS, SIGNATURE, Builder, HandlerHooks, begin, item_of, largest, trapped
from .patterns import Fixed, Imm, Operand, Reg

# In each way out: else LLVM makes one of all, and puts what differs (the address) before every branch to it, on the hot path.
APART = '  call void asm sideeffect "", ""()'
X86 = os.uname().machine == "x86_64"


class RegionHooks(HandlerHooks):
    """In the instructions of a region: control leaves by labels that the region's text defines."""

    def __init__(self, builder: Builder, form: Form) -> None:
        super().__init__(builder, form)
        self.read: set[tuple[str, int]] = set()  # of Cpu.held, and of register files by constant numbers
        self.written: set[tuple[str, int]] = set()
        self.files: frozenset[str] = frozenset()
        self.arrays: dict[str, Field] = {}  # where register files lie -> the file
        self.indexed: set[str] = set()  # files in which the function finds a register by a number that is not constant
        self.slot = "%budget_now"
        self.exact = self.cuts = False  # the row looks at the budget; it may end the slice
        self.spent = 0  # at most, besides the row's cost
        get, set_ = self.intrinsics[flow.get_budget], self.intrinsics[flow.set_budget]
        self.intrinsics = self.intrinsics | {
            flow.get_budget: self.exactly(get), flow.set_budget: self.exactly(set_, cuts=True), Cpu.spend: self.spend,
        }  # fmt: skip
        if X86:
            self.intrinsics = self.intrinsics | {flow.guest_peek: self.peek, flow.guest_poke: self.poke}

    def exactly(self, function: Callable[..., Value], cuts: bool = False) -> Callable[..., Value]:
        def noted(g: Lower, *args: Value) -> Value:
            self.exact, self.cuts = True, self.cuts or cuts
            return function(g, *args)

        return noted

    def spend(self, g: Lower, cpu: Value, cost: Value) -> Value:
        assert isinstance(cost, Const) and self.form is not None
        if not self.form.forwards:  # else it follows from what is skipped
            self.spent += cost.value
            left = g.value(f"sub i64 {g.value(f'load i64, ptr {self.slot}')}, {cost.value}")
            g.emit(f"store i64 {left}, ptr {self.slot}")
        return Const(None)

    def forward(self, g: Lower, distance: Value) -> None:
        g.emit("store i1 true, ptr %@@jumped")

    def peek(self, g: Lower, kind: Value, address: Value) -> Value:
        assert isinstance(kind, Const)
        t: type[Word] = kind.value
        if t.bits > 64:
            return self.builder.intrinsics[flow.guest_peek](g, kind, address)
        name = self.mark(g, "load", g.cast(address, u64), f"{'i' if t.signed else 'u'}{t.bits}")
        if t.bits == 64:
            return V(t, name)
        word = g.value(f"trunc i64 {name} to {llvm(t)}")
        g.wide[word, t.signed] = name
        return V(t, word)

    def poke(self, g: Lower, kind: Value, address: Value, value: Value) -> Value:
        assert isinstance(kind, Const)
        t: type[Word] = kind.value
        if t.bits > 64:
            return self.builder.intrinsics[flow.guest_poke](g, kind, address, value)
        self.mark(g, "store", g.cast(address, u64), f"{llvm(t)} {g.ref(value, t)}")
        return Const(None)

    def mark(self, g: Lower, what: str, address: V, more: str) -> str:
        """A line that the region's text replaces by an access (see Access)."""
        base, offset = summands(g, address.ref)
        name = f"%@@a{len(g.lines)}"
        g.emit(f"!{what} {name} {address.ref} {base} {offset} {more}")
        return name

    def get_field(self, g: Lower, base: V, field: Field) -> Value | None:
        if base.ref != "%cpu":
            return None
        if field.name == "pc":
            return V(u64, "@PC@")
        if field.name in self.kept:
            return V(u64, self.kept[field.name])
        if field.name in self.files:  # (what is written to another array, outlined functions look for in the CPU)
            at = g.offset("%cpu", field.offset)
            self.arrays[at] = field
            return V(field.layout, at)
        if field.name in self.builder.arch.cpu.held:
            self.read.add((field.name, 0))
            word: type[Word] = field.layout.item  # type: ignore[assignment]
            return V(word, g.value(f"load {llvm(word)}, ptr %{field.name}0"))
        return None

    def set_field(self, g: Lower, base: V, field: Field, value: V) -> bool:
        if base.ref == "%cpu" and field.name in self.builder.arch.cpu.held:
            self.written.add((field.name, 0))
            assert isinstance(value.type, type)
            g.emit(f"store {llvm(value.type)} {value.ref}, ptr %{field.name}0")
            return True
        return super().set_field(g, base, field, value)

    def element(self, g: Lower, base: V, index: Value) -> str | None:
        field = self.arrays.get(base.ref)
        if field is None:
            return None
        if not isinstance(index, Const) or in_cpu(field.layout.item):  # type: ignore[arg-type]
            self.indexed.add(field.name)
            return None
        self.read.add((field.name, index.value))
        return f"%{field.name}{index.value}"

    def trap(self, g: Lower) -> None:
        g.branch("@@trap")

    def after_raising_call(self, g: Lower) -> None:
        ok = g.label()
        g.branch_if(trapped(g), "@@trap", ok)
        g.place(ok)

    def go_slow(self, g: Lower) -> None:
        g.branch("@@retry")

    def guest_pointer(self, g: Lower, address: V, data: str, guard: Callable[..., str]) -> tuple[str, str]:
        """An `!access` line, which the region's text replaces: pointers off one register share their check (see Access)."""
        base, offset = summands(g, address.ref)
        name = f"%@@a{len(g.lines)}"
        g.emit(f"!access {name} {address.ref} {base} {offset} {data or '- -'}")
        ok = g.label()
        g.stop(f"br i1 {name}n, label %{ok}x, label %{ok}, !prof !1, !make.implicit !2")
        g.place(f"{ok}x")
        g.emit('call void asm sideeffect "", ""()')
        self.go_slow(g)
        g.place(ok)
        return f"{name}p", f"{name}d" if data else ""

    def register(self, g: Lower, kind: Reg, slot: Slot | None, name: str) -> tuple[str, type[Word]]:
        return f"@{name}@", item_of(self.builder.arch, kind)

    def immediate(self, g: Lower, op: Operand, slot: Slot | None, name: str) -> V:
        assert self.form is not None
        return V(op.type, f"@{name}@", largest(self.form, op))

    def jump(self, g: Lower, target: Value) -> None:
        g.emit(f"store i64 {g.cast(target, u64).ref}, ptr %@@target")
        g.emit("store i1 true, ptr %@@jumped")


def summands(g: Lower, address: str) -> tuple[str, str]:
    """What an address is the sum of: a value, and text between plus signs."""
    base, offset = g.sums.get(address, (address, "0"))
    while base in g.sums:
        base, more = g.sums[base]
        offset = f"{more}+{offset}"
    return base, offset


@dataclass(frozen=True)
class Template:
    """A row's text: `@@` prefixes its names, `@PC@` is its address, `@o<k>@` and `@r<k>@` its operands and results."""

    form: Form
    allocas: str
    body: str
    retries: bool
    traps: bool
    accesses: bool
    direct: frozenset[str]  # register files that the function indexes itself, and words of Cpu.held: they must be in the CPU then
    read: frozenset[tuple[str, int]]  # words of Cpu.held (with 0), and registers by their file and number
    written: frozenset[tuple[str, int]]
    exact: bool  # looks at the budget
    cuts: bool  # may end the slice
    spent: int  # what it takes from the budget at most, besides the row's cost
    slow: Template | None = None  # the row with all slow paths, where they may be taken within the region


class Templates:
    """The templates of one architecture and memory model, made as they are needed.

    `extensions`: what the CPU has, a bit each.  `constants`: words of the CPU that never change.
    """

    def __init__(
        self, arch: Architecture, model: Any, known: dict[str, Any], extensions: int, constants: dict[str, int], checked: bool = False
    ) -> None:
        self.arch = arch
        self.builder = Builder(arch, model, checked)
        self.exact, self.placed = self.builder.model.exact, self.builder.model.placed
        self.enabled = frozenset(name for name, k in self.builder.bits.items() if extensions >> k & 1)
        self.looked = tuple(model.KEPT)  # words of the CPU that a region looks at once
        self.kept = {name: f"%{name}" for name in (*self.looked, "direct_limit")} | {name: literal(n, u64) for name, n in constants.items()}
        self.mask = constants.get("code_mask", (1 << arch.bits) - 1)
        self.unit: Unit = self.builder.unit
        self.known = known  # outlined functions of the interpreter's image, by symbol
        self.unit.external = self.external
        self.forms: dict[str, Form] = {}
        rows = arch.isa.insns
        self.files = frozenset(o.kind.file for i in rows for o in (*i.operands, *i.results) if isinstance(o.kind, Reg))
        self.made: dict[str, Template] = {}
        self.decoded: dict[int, tuple[Form, int] | None] = {}
        self.short: dict[int, tuple[Form, int]] = {}  # those of one unit, whatever is behind them
        self.repeating: dict[tuple[int, int | None], bool] = {}  # see engine.discovery
        self.unit_bits = (1 << 8 * arch.unit) - 1
        self.tail = self.make_tail()

    def external(self, symbol: str) -> Outlined | None:
        """A function that the interpreter's image has already."""
        found = self.known.get(symbol)
        if found is None:
            return None
        result, raises = found
        return Outlined(symbol, result, raises)

    def decode(self, word: int) -> tuple[Form, int] | None:
        """The form of the instruction that these bits start with, and its own bits."""
        found = self.short.get(word & self.unit_bits)
        if found is not None:
            return found
        if word not in self.decoded:
            insn = self.arch.isa.decode(word, self.enabled)
            if insn is None or insn.size != self.arch.length(u32(word)):
                self.decoded[word] = None
            else:
                if insn.name not in self.forms:
                    self.forms[insn.name] = form_of(insn, self.arch.system)
                found = self.decoded[word] = self.forms[insn.name], word & (1 << insn.width) - 1
                if insn.size == self.arch.unit:
                    self.short[found[1]] = found
        return self.decoded[word]

    def get(self, form: Form) -> Template:
        name = form.insn.name
        if name not in self.made:
            self.made[name] = self.make(form)
        return self.made[name]

    def make(self, form: Form, slow: bool = False) -> Template:
        hooks = RegionHooks(self.builder, form)
        hooks.kept, hooks.files, hooks.slow = self.kept, self.files, slow
        g = Lower(self.unit, hooks, form.insn.name)
        g.prefix = "@@"
        if form.jumps:
            g.entry += ["  %@@jumped = alloca i1", "  %@@target = alloca i64"]
            g.emit("store i1 false, ptr %@@jumped")
        hooks.row(g, form)
        g.place("@@next") if not g.ended else g.lines.append("@@next:")
        body = "\n".join(g.lines)
        constant = self.files & {f.name for f in hooks.arrays.values()} - hooks.indexed
        direct = direct_files(form.insn.function, self.files, self.arch.cpu, constant)
        if hooks.cuts and any(" call " in line and "@llvm." not in line for line in g.lines):  # the host may look, and change
            direct = self.files | {*self.arch.cpu.held}
        stores = " ".join(line for line in g.lines if line.startswith("  store "))
        stored = {(name, n) for name, n in hooks.read if f"ptr %{name}{n}," in stores}
        accesses = any(line.startswith("  !") for line in g.lines)
        retries, traps = accesses or "%@@retry" in body, "%@@trap" in body
        words = frozenset(hooks.read), frozenset(hooks.written | stored)
        made = Template(form, "\n".join(g.entry), body, retries, traps, accesses, direct, *words, hooks.exact, hooks.cuts, hooks.spent)
        return replace(made, slow=self.make(form, slow=True)) if self.exact and retries and not slow and not form.jumps else made

    def make_tail(self) -> str:
        """The end of every region: go on at %exit_pc."""
        hooks = HandlerHooks(self.builder)
        hooks.budget, hooks.kept = "%exit_budget", self.kept
        g = Lower(self.unit, hooks, "exit")
        g.prefix = "exit."
        hooks.far(g, "%exit_target")
        self.tail_allocas = "\n".join(g.entry)
        return "\n".join(g.lines)


def direct_files(
    function: Callable[..., Any], files: frozenset[str], cpu: type[Cpu], constant: frozenset[str] = frozenset()
) -> frozenset[str]:
    """What a function uses in the CPU itself: register files that it, or one that it calls, names as attributes rather than by
    operands, and those of Cpu.held that an outlined function among them names.  What is expanded finds registers of the files
    `constant` by constant numbers alone."""
    found: set[str] = set()
    seen: set[Any] = set()
    work: list[tuple[Any, bool]] = [(function, False)]
    while work:
        f, outlined = work.pop()
        if not isinstance(f, FunctionType):
            continue
        outlined = outlined or getattr(f, "__native__", "") == "outlined"
        if (f.__code__, outlined) in seen:
            continue
        seen.add((f.__code__, outlined))
        for name in f.__code__.co_names:
            if name in f.__globals__:
                pass
            elif (name in files and (outlined or name not in constant)) or (outlined and name in cpu.held):
                found.add(name)
            work += [(f.__globals__.get(name), outlined), (getattr(cpu, name, None), outlined)]
    return frozenset(found)


def origin(templates: Templates, region: Region) -> int:
    """Where the addresses of a region's text count from, %page when it runs: where the model's code is at one address, from 0."""
    return 0 if templates.placed else min(region.nodes) & -PAGE


def region_text(templates: Templates, region: Region, triple: str) -> str:
    """LLVM IR of a region: one function `region`."""
    arch = templates.arch
    known, needs_ = region.nodes, region.needs
    returns = sorted(n.following for n in known.values() if n.call and n.following in known)

    used: dict[tuple[str, int], type[Word]] = {}
    dirty: set[tuple[str, int]] = set()

    def register(kind: Reg, number: int, write: bool) -> str:
        if write and kind.zero == number:
            if isinstance(kind, Fixed):
                return ""  # nothing is written
            number = array_length(arch, kind) - 1
        key = (kind.file, number)
        used[key] = item_of(arch, kind)
        if in_cpu(used[key]):
            return f"%{kind.file}{number}p"
        if write:
            dirty.add(key)
        return f"%{kind.file}{number}"

    def hold(key: tuple[str, int], write: bool) -> None:
        used[key] = getattr(arch.cpu, key[0]).layout.item
        if write:
            dirty.add(key)

    names = count()
    allocas: list[str] = []
    body: list[str] = []
    cold: list[str] = []  # the exits, after everything else

    first = origin(templates, region)

    def address(pc: int, name: str) -> list[str]:
        """Give an address this name."""
        return [f"  {name} = add i64 %page, {literal(pc - first, u64)}"]

    def leave(pc: int | str, kind: int) -> list[str]:
        out = []
        if isinstance(pc, int):
            named = f"%away{next(names)}"
            out, pc = address(pc, named), named
        return [*out, f"  store i64 {pc}, ptr %exit_pc", f"  store i8 {kind}, ptr %exit_kind", "  br label %leave"]

    def credit(n: int, name: str) -> list[str]:
        if not n:
            return []
        return [f"  {name} = load i64, ptr %budget_now", f"  {name}s = add i64 {name}, {n}", f"  store i64 {name}s, ptr %budget_now"]

    def test(what: str, otherwise: list[str], then: str) -> list[str]:
        """`otherwise` when the budget is smaller, else go to `then`."""
        k = f"%test{len(cold)}"
        cold.extend([f"{k[1:]}o:", APART, *otherwise])
        out = [f"  {k} = load i64, ptr %budget_now", f"  {k}x = icmp slt i64 {k}, {what}"]
        return [*out, f"  br i1 {k}x, label {k}o, label %{then}, !prof !1"]

    def goto(target: int, source: int, cut: bool = False) -> list[str]:
        """Go on at `target`; `cut`: the slice may have ended with the instruction at `source`."""
        away = leave(target, JUMP)
        if target not in known:
            return away
        if target in needs_:
            return test(str(needs_[target] - 1), leave(target, BUDGET), f"P{target:x}")
        if cut or (target <= source and not needs_):
            return test("0", away, f"P{target:x}")
        return [f"  br label %P{target:x}"]

    def fill(t: Template, n: Node, prefix: str) -> tuple[str, list[str]]:
        """The text of an instruction, and the variables of its results."""
        text = t.body.replace("@@", prefix)
        if "@PC@" in text:
            text = "\n".join([*address(n.pc, f"%{prefix}pc"), text.replace("@PC@", f"%{prefix}pc")])
        for m, (op, _) in enumerate(n.form.operands):
            number = n.form.insn.number(n.word, op)
            hole = register(op.kind, number, False) if isinstance(op.kind, Reg) else literal(number, op.type)
            text = text.replace(f"@o{m}@", hole)
        for key in t.read | t.written:
            hold(key, key in t.written)
        results = [register(op.kind, n.form.insn.number(n.word, op), True) for op, _ in n.form.results if isinstance(op.kind, Reg)]
        for m, name in enumerate(results):
            text = text.replace(f"@r{m}@", name)
        if t.allocas:
            allocas.append(t.allocas.replace("@@", prefix))
        return text, results

    def detour(t: Template, n: Node, prefix: str, rest: int) -> None:
        """The slow path, from its own label back to the instruction's end; the budget is exact there."""
        slow = f"{prefix}slow_"
        back = test("0", leave(n.following, JUMP), f"{prefix}back")
        cold.extend([f"{prefix}retry:", *credit(rest, f"%{prefix}early"), *visible(t, *fill(t, n, slow), slow), *back])
        cold.extend([f"{prefix}back:", *credit(-rest, f"%{prefix}late"), f"  br label %{prefix}done"])
        cold.extend([f"{slow}retry:", APART, *credit(n.form.insn.cost, f"%{prefix}retried"), *leave(n.pc, RETRY)])

    def visible(t: Template, text: str, results: list[str], prefix: str) -> list[str]:
        """The text between lines that have in the CPU what it uses there."""
        if not t.direct:
            return [text]
        files, given = " ".join(sorted(t.direct)), [*results, *(f"%{file}{n}" for file, n in t.written)]
        return [f"!flush {prefix} - {files}", text, f"!reload {prefix} {','.join(['-', *given])} {files}"]

    doors = {e: f"P{e:x}" for e in region.entries}
    if needs_:
        for e in region.entries:
            doors[e] = f"E{e:x}"
            body += [f"E{e:x}:", *goto(e, -1)]
    k = 0
    for block in blocks_of(templates, region):
        body.append(f"P{block[0].pc:x}:")
        memory = Access()
        body += [f"  %left{k} = load i64, ptr %budget_now", f"  %left{k}s = sub i64 %left{k}, {cost(block)}"]
        body.append(f"  store i64 %left{k}s, ptr %budget_now")
        for j, n in enumerate(block):
            k += 1
            t = templates.get(n.form)
            prefix = f"i{k}_"
            text, results = fill(t, n, prefix)
            if t.accesses:
                text = memory.lower(text, prefix)
            for name in results:
                memory.wrote(name)
            body += visible(t, text, results, prefix)
            if t.direct:
                memory = Access()
            if t.slow is not None:
                body += [f"  br label %{prefix}done", f"{prefix}done:"]
            if n.form.jumps:
                if n.falls:
                    body += [f"  %{prefix}j = load i1, ptr %{prefix}jumped"]
                    body += [f"  br i1 %{prefix}j, label %{prefix}taken, label %{prefix}on", f"{prefix}on:"]
                    body += goto(n.following, n.pc, t.cuts)
                    body.append(f"{prefix}taken:")
                if n.skipped:
                    body += credit(-(n.skipped // arch.unit), f"%{prefix}skipped")
                if n.known:
                    body += goto(n.targets[0], n.pc, t.cuts)
                else:
                    body.append(f"  %{prefix}to = load i64, ptr %{prefix}target")
                    if n.computed and region.landings:
                        body += [f"  store i64 %{prefix}to, ptr %exit_pc", "  br label %land"]
                    else:
                        if returns and not n.call and not t.cuts:
                            cases = " ".join(f"i64 {literal(r - first, u64)}, label %{prefix}r{r:x}" for r in returns)
                            body.append(f"  %{prefix}by = sub i64 %{prefix}to, %page")
                            body.append(f"  switch i64 %{prefix}by, label %{prefix}away [ {cases} ]")
                            for r in returns:
                                body += [f"{prefix}r{r:x}:", *goto(r, -1)]
                            body.append(f"{prefix}away:")
                        body += leave(f"%{prefix}to", JUMP)
            elif n is block[-1]:
                body += goto(n.following, n.pc, t.cuts)
            if t.slow is not None:
                detour(t.slow, n, prefix, cost(block[j + 1 :]))
            elif t.retries:
                cold += [f"{prefix}retry:", APART]
                cold += credit(cost(block[j:]), f"%{prefix}retried")
                cold += leave(n.pc, RETRY)
            if t.traps:
                cold += [f"{prefix}trap:", APART]
                cold += credit(cost(block[j + 1 :]), f"%{prefix}trapped")
                cold += leave(n.pc, TRAP)
    tables: list[str] = []
    if region.landings:
        tables, more = land(region, arch.granule, address(region.landings[0], "%land.first"))
        body += more
    return assemble(templates, region, triple, used, dirty, allocas, body + cold, doors, tables)


def cost(nodes: Iterable[Node]) -> int:
    """What these instructions take from the budget, conditions apart."""
    return sum(n.form.insn.cost for n in nodes)


def land(region: Region, granule: int, lines: list[str]) -> tuple[list[str], list[str]]:
    """The way of all computed jumps: to %exit_pc, if it is one of the landings; a table of bytes (the first result) numbers them.

    `lines` call the first of them %land.first.
    """
    places = [at - region.landings[0] >> granule.bit_length() - 1 for at in region.landings]
    table = bytearray(places[-1] + 1)
    for k, at in enumerate(places):
        table[at] = k + 1
    cases = " ".join(f"i8 {k + 1}, label %P{at:x}" for k, at in enumerate(region.landings))
    text = "".join(f"\\{b:02x}" for b in table)
    return [f'@landings = internal constant [{len(table)} x i8] c"{text}"'], [
        "land:", "  %land.left = load i64, ptr %budget_now", "  %land.over = icmp slt i64 %land.left, 0",
        "  br i1 %land.over, label %land.away, label %land.on, !prof !1",
        "land.on:", *lines, "  %land.to = load i64, ptr %exit_pc", "  %land.by = sub i64 %land.to, %land.first",
        f"  %land.at = lshr i64 %land.by, {granule.bit_length() - 1}", f"  %land.in = icmp ult i64 %land.at, {len(table)}",
        "  br i1 %land.in, label %land.look, label %land.away, !prof !0",
        "land.look:", "  %land.p = getelementptr inbounds i8, ptr @landings, i64 %land.at", "  %land.k = load i8, ptr %land.p",
        f"  switch i8 %land.k, label %land.away [ {cases} ]",
        "land.away:", f"  store i8 {JUMP}, ptr %exit_kind", "  br label %leave",
    ]  # fmt: skip


def in_cpu(item: type[Word]) -> bool:
    """Registers of this word stay in the CPU: a vector would be two registers of the host, or two words on the stack."""
    return item.bits > 64


JUMP, RETRY, TRAP, BUDGET = range(4)


def assemble(
    templates: Templates,
    region: Region,
    triple: str,
    used: dict[tuple[str, int], type[Word]],
    dirty: Iterable[tuple[str, int]],
    allocas: list[str],
    body: list[str],
    doors: dict[int, str],
    tables: list[str],
) -> str:
    cpu, shift = templates.arch.cpu, templates.arch.shift

    def place(name: str, number: int = 0) -> int:
        found: Field = getattr(cpu, name)
        return found.offset + number * found.layout.stride

    out = [f"define {CONVENTION} void @region({SIGNATURE}) nounwind {{", "entry:", begin(cpu)]
    out += ["  %exit_pc = alloca i64", "  %exit_kind = alloca i8", "  %budget_now = alloca i64", templates.tail_allocas, *allocas]
    held = [(f"{file}{n}", f"i{item.bits}") for (file, n), item in sorted(used.items(), key=lambda u: u[0]) if not in_cpu(item)]
    for file, n in sorted(used):
        out.append(f"  %{file}{n}p = getelementptr inbounds i8, ptr %cpu, i64 {place(file, n)}")
    out += [f"  %{name} = alloca {type_}" for name, type_ in held]
    # volatile: LLVM would move these loads between null checks and the accesses that they guard
    for name in templates.looked:
        out += [f"  %{name}p = getelementptr inbounds i8, ptr %cpu, i64 {place(name)}", f"  %{name} = load volatile i64, ptr %{name}p"]
    out += [f"  %biasp = getelementptr inbounds i8, ptr %cpu, i64 {place('bias')}", "  %bias = load i64, ptr %biasp"]
    out += [f"  %targetp = getelementptr inbounds i8, ptr %cpu, i64 {place('target')}"]
    out += [f"  %entered = load i64, ptr @{COUNTS}", "  %entereds = add i64 %entered, 1", f"  store i64 %entereds, ptr @{COUNTS}"]
    out += ["  store i64 %budget, ptr %budget_now", "  %ei = ptrtoint ptr %e to i64", f"  %es = lshr i64 %ei, {shift}"]
    out += ["  %pc = add i64 %es, %bias", "  %page = add i64 0, 0" if templates.placed else f"  %page = and i64 %pc, {-PAGE}"]
    first = origin(templates, region)
    cases = " ".join(f"i64 {literal(e - first, u64)}, label %D{e:x}" for e in region.entries)
    out += ["  %door = sub i64 %pc, %page", f"  switch i64 %door, label %unreachable [ {cases} ]"]
    out += ["unreachable:", "  unreachable"]
    for e in region.entries:
        out.append(f"D{e:x}:")
        for name, type_ in held:
            value = f"%D{e:x}{name}"
            out += [f"  {value} = load volatile {type_}, ptr %{name}p", f"  store {type_} {value}, ptr %{name}"]
        out.append(f"  br label %{doors[e]}")
    for line in body:
        if line.startswith(("!flush", "!reload")):
            out += moved(line, used, set(dirty))
        else:
            out.append(line)
    out += ["leave:"]
    for file, n in sorted(dirty):
        item = used[file, n]
        out += [f"  %{file}{n}w = load i{item.bits}, ptr %{file}{n}", f"  store i{item.bits} %{file}{n}w, ptr %{file}{n}p"]
    out += ["  %exit_target = load i64, ptr %exit_pc", "  %exit_budget = load i64, ptr %budget_now", "  %kind = load i8, ptr %exit_kind"]
    out += ["  %spent = sub i64 %budget, %exit_budget", f"  %executedp = getelementptr inbounds i8, ptr @{COUNTS}, i64 8"]
    out += ["  %executed = load i64, ptr %executedp", "  %executeds = add i64 %executed, %spent", "  store i64 %executeds, ptr %executedp"]
    rest = f" i8 {BUDGET}, label %rest" if region.needs else ""
    out += [f"  switch i8 %kind, label %go [ i8 {RETRY}, label %again i8 {TRAP}, label %raise{rest} ]", "go:"]
    out += [f"  %leftp = getelementptr inbounds i8, ptr @{COUNTS}, i64 16", "  store i64 %exit_target, ptr %leftp", templates.tail]
    out += ["again:", "  store i64 %exit_target, ptr %targetp"]
    behind = templates.builder.arguments(budget="%exit_budget")
    out += [f"  musttail call {CONVENTION} void @h_retry({behind})", "  ret void"]
    if rest:
        out += ["rest:", "  store i64 %exit_target, ptr %targetp"]
        out += [f"  musttail call {CONVENTION} void @h_budget({behind})", "  ret void"]
    out += ["raise:", "  %nb = sub i64 %exit_target, %es", "  store i64 %nb, ptr %biasp"]
    out += [f"  musttail call {CONVENTION} void @h_trap({behind})", "  ret void", "}"]
    text = "\n".join(out)
    declared = [f"declare {CONVENTION} void @{h}({PARAMETERS})" for h in ("h_jump", "h_retry", "h_trap", "h_pause", "h_budget")]
    unit = templates.unit
    declared += [d for n, d in unit.declarations.items() if f"@{n}(" in text]
    weights = '!0 = !{!"branch_weights", i32 2000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 2000}\n!2 = !{}\n'
    return "\n".join([f'target triple = "{triple}"', *declared, f"@{COUNTS} = external global i64", *tables, text, weights])


def moved(line: str, used: dict[tuple[str, int], type[Word]], dirty: set[tuple[str, int]]) -> list[str]:
    """Around an instruction that indexes register files itself: what changed goes to the CPU before, and all but its results come back."""
    what, prefix, results, *files = line.split()
    out = []
    for file, n in sorted(key for key in used if key[0] in files):
        bits, name = used[file, n].bits, f"%{prefix}{file}{n}"
        if f"%{file}{n}" in results.split(",") or in_cpu(used[file, n]):
            continue
        if what == "!reload":
            out += [f"  {name}r = load volatile i{bits}, ptr %{file}{n}p", f"  store i{bits} {name}r, ptr %{file}{n}"]
        elif (file, n) in dirty:
            out += [f"  {name}f = load i{bits}, ptr %{file}{n}", f"  store volatile i{bits} {name}f, ptr %{file}{n}p"]
    return out


def array_length(arch: Architecture, kind: Reg) -> int:
    found: Field = getattr(arch.cpu, kind.file)
    return found.layout.count or 0


__all__ = ["PAGE", "Const", "Fixed", "Imm", "Template", "Templates", "region_text"]
