"""Tier 0: the threaded interpreter, generated from an architecture's rows.

Every row becomes a handler `insn.<name>(cpu, entry, memory, budget)`; its arguments stay in registers (LLVM's preserve_none convention) and
it ends in a tail call through the next entry.  A row with a relative jump has a second handler for targets in the same page, which are
entries already.  A row that touches memory has a clone `slow.<name>`: the fast handler jumps there on whatever is not the common case,
before it has changed anything, and the clone runs the instruction again with calls that do everything.

The budget counts down by one an instruction and is tested at taken jumps and at the ends of pages, so a slice overruns by at most one
straight line.  All handlers are in one object file, kept by native.image.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tinamou.native import (
    floatforms,  # noqa: F401  its import makes the operations known
    intrinsics,
    memory,
)
from tinamou.native.lower import Broken, Const, Hooks, Lower, Unit, V, Value, llvm, name_of, source_of
from tinamou.native.ops import exported
from tinamou.native.types import Field, Word, i64, u64

from . import cpu as cpu_module
from . import decoder, flow, predecode, specials, traces
from .architecture import Architecture
from .cpu import REACH, Cpu, Shared, Trap
from .decoder import Form, Slot
from .patterns import Fixed, Imm, Operand, Reg
from .predecode import ArenaFull, forget, warm

CONVENTION = "preserve_nonecc"
SIGNATURE = "ptr noalias %e, ptr noalias %middle, ptr %mem, i64 %budget, i64 %direct_limit"
PARAMETERS = "ptr, ptr, ptr, i64, i64"


def middle(cpu: type[Cpu]) -> int:
    """Offset of the place in the CPU that compiled code holds a pointer to, so that displacements of 8 bits reach all of the window."""
    return getattr(cpu, cpu.window).offset + 128 if cpu.window else 0  # type: ignore[no-any-return]


def begin(cpu: type[Cpu]) -> str:
    """The first line of a function with SIGNATURE."""
    return f"  %cpu = getelementptr inbounds i8, ptr %middle, i64 {-middle(cpu)}"


# -- meaning of the engine's intrinsics in the functions of one interpreter


class EngineHooks(Hooks):
    """In outlined functions: a raise records the exception in the CPU and returns; the caller looks."""

    def __init__(self, builder: Builder) -> None:
        super().__init__(builder.intrinsics)
        self.builder = builder

    def outlined(self) -> Hooks:
        return EngineHooks(self.builder)

    def trap(self, g: Lower) -> None:
        """Leave: an exception is recorded."""
        g.branch(g.scopes[0].result_label)

    def raises(self, g: Lower, exception: type, args: list[Value]) -> None:
        record(g, exception, args)
        self.trap(g)

    def after_raising_call(self, g: Lower) -> None:
        bad, ok = g.label(), g.label()
        g.branch_if(trapped(g), bad, ok)
        g.place(bad)
        self.trap(g)
        g.place(ok)


def cpu_of(g: Lower) -> V:
    """The CPU that the function at hand works on."""
    for scope in reversed(g.scopes):
        for v in scope.names.values():
            if isinstance(v, V) and isinstance(v.type, type) and issubclass(v.type, Cpu):
                return v
    raise Broken("an exception needs the CPU among the parameters")


def field_pointer(g: Lower, cpu: V, name: str) -> str:
    assert isinstance(cpu.type, type)
    return g.offset(cpu.ref, getattr(cpu.type, name).offset)


def record(g: Lower, exception: type, args: list[Value]) -> None:
    cpu = cpu_of(g)
    kind = {Trap: 1, ArenaFull: 2}.get(exception)
    if kind is None:
        raise Broken(f"compiled code raises Trap, not {exception.__name__}")
    for name, v in zip(("trapped", "cause", "value"), [Const(kind), *args, Const(0), Const(0)], strict=False):
        g.emit(f"store i64 {g.cast(v, u64).ref}, ptr {field_pointer(g, cpu, name)}")


def trapped(g: Lower) -> V:
    flag = g.value(f"load i64, ptr {field_pointer(g, cpu_of(g), 'trapped')}")
    return V(bool, g.value(f"icmp ne i64 {flag}, 0"), weight=-1)


class HandlerHooks(EngineHooks):
    """In handlers."""

    on_trap = "h_trap"  # the special that raises end in

    def __init__(self, builder: Builder, form: Form | None = None, near: bool = False, slow: bool = False) -> None:
        super().__init__(builder)
        self.form, self.near, self.slow = form, near, slow
        self.entry, self.budget, self.memory = "%e", "%budget", "%mem"
        self.slot = ""  # in specials the budget is a variable
        self.jumped = self.target = ""
        self.delta = ""
        self.passed, self.passed_at = "", 0  # an address that is below the limit on the way that ends with this line
        self.kept = {"direct_limit": "%direct_limit"}  # fields of the CPU that are in variables

    def tail(self, g: Lower, function: str, entry: str | None = None) -> None:
        if self.slot:
            self.budget = g.value(f"load i64, ptr {self.slot}")
        g.emit(f"musttail call {CONVENTION} void {function}({self.builder.arguments(entry or self.entry, self.memory, self.budget)})")
        g.stop("ret void")

    def dispatch(self, g: Lower, entry: str) -> None:
        self.tail(g, g.value(f"load ptr, ptr {entry}, align 8"), entry)

    def dispatch_counted(self, g: Lower, entry: str) -> None:
        """Dispatch after a taken jump: here the slice may end."""
        if self.slot:
            self.budget = g.value(f"load i64, ptr {self.slot}")
        over, go = g.label(), g.label()
        g.branch_if(V(bool, g.value(f"icmp slt i64 {self.budget}, 0"), weight=-1), over, go)
        g.place(over)
        self.tail(g, "@h_pause", entry)
        g.place(go)
        self.dispatch(g, entry)

    def pc(self, g: Lower, entry: str | None = None) -> str:
        at = g.value(f"ptrtoint ptr {entry or self.entry} to i64")
        at = g.value(f"lshr i64 {at}, {self.builder.arch.shift}")
        bias = g.value(f"load i64, ptr {field_pointer(g, self.cpu, 'bias')}")
        return g.value(f"add i64 {at}, {bias}")

    @property
    def cpu(self) -> V:
        return V(self.builder.arch.cpu, "%cpu")

    def trap(self, g: Lower) -> None:
        """The exception is recorded."""
        self.tail(g, f"@{self.on_trap}")

    def get_field(self, g: Lower, base: V, field: Field) -> Value | None:
        if self.form and field.name == "pc" and base.ref == "%cpu":
            return V(u64, self.pc(g))
        return None

    def set_field(self, g: Lower, base: V, field: Field, value: V) -> bool:
        if self.form and field.name == "pc":
            raise Broken("instructions change pc by jump()")
        return False

    def go_slow(self, g: Lower) -> None:
        if self.form is None or self.slow:
            raise Broken("there is no slower path from here")
        self.tail(g, f"@{symbol_name(self.form, 'slow.near' if self.near else 'slow')}")

    def guest_pointer(self, g: Lower, address: V, data: str, guard: Callable[..., str]) -> tuple[str, str]:
        """The host address of a guest address, to be dereferenced at once, and the `data` (type and value) that is to be stored there."""
        base, by = constant_sum(g, address.ref)
        if self.passed != base or by >= REACH or not straight(g, self.passed_at):
            limit = g.call_function(flow.direct_limit, [], {})
            bad, ok = g.label(), g.label()
            g.branch_if(V(bool, g.value(f"icmp uge i64 {address.ref}, {g.ref(limit, u64)}"), weight=-1), bad, ok)
            g.place(bad)
            self.go_slow(g)
            g.place(ok)
        at = g.value(f"getelementptr i8, ptr {self.memory}, i64 {address.ref}")
        pointer = guard(g, at, data, Const(flow.slow), ()), data.partition(" ")[2]
        if not by:
            self.passed = base
        self.passed_at = len(g.lines)
        return pointer

    def jumps(self, g: Lower) -> None:
        """The row may jump: note whether, and where to."""
        self.jumped, self.target = "%jumped", "%target"
        g.entry += ["  %jumped = alloca i8", "  store i8 0, ptr %jumped", "  %target = alloca i64"]

    def jump(self, g: Lower, target: Value) -> None:
        if self.near:
            g.emit(f"store i8 1, ptr {self.jumped}")
        else:
            g.emit(f"store i64 {g.cast(target, u64).ref}, ptr {self.target}")
            g.emit(f"store i8 2, ptr {self.jumped}")

    def switch(self, g: Lower, target: Value) -> None:
        if not self.builder.arch.system:
            return  # never reached
        g.emit(f"store i64 {g.cast(target, u64).ref}, ptr {field_pointer(g, self.cpu, 'target')}")
        g.emit(f"store i8 3, ptr {self.jumped}")

    def on(self, g: Lower, entry: str) -> None:
        """Go on with the next instruction."""
        if self.builder.model.exact:
            self.dispatch_counted(g, entry)
        else:
            self.dispatch(g, entry)

    def forward(self, g: Lower, distance: Value) -> None:
        g.emit(f"store i64 {g.cast(distance, u64).ref}, ptr {self.target}")
        g.emit(f"store i8 4, ptr {self.jumped}")

    def row(self, g: Lower, form: Form) -> None:
        """The row's guard and function, from operands to results."""
        if form.insn.guard:
            g.call_function(form.insn.guard, [self.cpu], {})
        src = source_of(form.insn.function)
        operands = iter(enumerate(form.operands))
        args: list[Value] = []
        for parameter in src.params:
            if parameter == form.insn.cpu:
                args.append(self.cpu)
                continue
            k, (op, slot) = next(operands)
            if isinstance(op.kind, Reg):
                at, item = self.register(g, op.kind, slot, f"o{k}")
                value = V(item, g.value(f"load {llvm(item)}, ptr {at}"))
            else:
                value = self.immediate(g, op, slot, f"o{k}")
            args.append(g.cast(value, op.type))
        result = g.expand(src, args)
        values = getattr(result, "items", [result])
        for k, ((op, slot), v) in enumerate(zip(form.results, values, strict=False)):
            assert isinstance(op.kind, Reg)
            if isinstance(op.kind, Fixed) and op.kind.number == op.kind.zero:
                continue
            at, item = self.register(g, op.kind, slot, f"r{k}")
            g.emit(f"store {llvm(item)} {g.cast(V(op.type, g.ref(v, op.type)), item).ref}, ptr {at}")

    def register(self, g: Lower, kind: Reg, slot: Slot | None, name: str) -> tuple[str, type[Word]]:
        """Address and word of the register operand `name` (o0, o1 ... r0, r1 ...)."""
        field: Field = getattr(self.builder.arch.cpu, kind.file)
        item = item_of(self.builder.arch, kind)
        if isinstance(kind, Fixed):
            return g.offset(g.offset("%cpu", field.offset), kind.number * item.size), item
        assert slot is not None
        return self.numbered(g, field, slot), item

    def numbered(self, g: Lower, field: Field, slot: Slot) -> str:
        """Address of the register whose number is in the entry; it comes from the decoder, so it is inside the array."""
        base = g.offset("%cpu", field.offset)
        number = g.value(f"load i8, ptr {g.offset('%e', slot.offset)}")
        index = g.value(f"zext i8 {number} to i64")
        return g.value(f"getelementptr inbounds [{field.layout.stride} x i8], ptr {base}, i64 {index}")

    def immediate(self, g: Lower, op: Operand, slot: Slot | None, name: str) -> V:
        """An operand that is no register."""
        assert slot is not None and self.form is not None
        raw = g.value(f"load {llvm(slot.type)}, ptr {g.offset('%e', slot.offset)}, align {slot.type.size}")
        value = V(slot.type, raw, largest(self.form, op))
        if self.near and op.name == self.form.relative:
            self.delta = g.cast(value, i64).ref
        return value

    def finish(self, g: Lower, form: Form) -> None:
        """After the row's function: go where it jumped, or on."""
        following = g.value(f"getelementptr inbounds i8, ptr %e, i64 {form.insn.size << self.builder.arch.shift}")
        if not form.jumps:
            self.on(g, following)
            return
        flag = g.value(f"load i8, ptr {self.jumped}")
        on, away = g.label(), g.label()
        g.branch_if(V(bool, g.value(f"icmp eq i8 {flag}, 0")), on, away)
        g.place(on)
        self.on(g, following)
        g.place(away)
        if form.forwards:  # as far as the sentinels reach
            far, other = g.label(), g.label()
            g.branch_if(V(bool, g.value(f"icmp eq i8 {flag}, 4")), far, other)
            g.place(far)
            distance = g.value(f"shl i64 {g.value(f'load i64, ptr {self.target}')}, {self.builder.arch.shift}")
            self.on(g, g.value(f"getelementptr inbounds i8, ptr %e, i64 {distance}"))
            g.place(other)
        if form.switches:
            near, self_other = g.label(), g.label()
            g.branch_if(V(bool, g.value(f"icmp eq i8 {flag}, 3")), near, self_other)
            g.place(near)
            self.tail(g, "@h_switch")
            g.place(self_other)
        if self.near and self.builder.model.exact:
            self.dispatch_counted(g, g.value(f"getelementptr inbounds i8, ptr %e, i64 {self.delta}"))
            return
        if self.near:
            # the distance may be that of another instruction, decoded meanwhile: an entry far away would be no entry
            now, again, go = g.value("load atomic i64, ptr %e acquire, align 8"), g.label(), g.label()
            own = g.value(f"ptrtoint ptr @{symbol_name(form, 'near')} to i64")
            g.branch_if(V(bool, g.value(f"icmp eq i64 {now}, {own}"), weight=1), go, again)
            g.place(again)
            counted, self.budget = self.budget, g.value(f"add i64 {self.budget}, 1")
            self.dispatch(g, "%e")
            self.budget = counted
            g.place(go)
            self.dispatch_counted(g, g.value(f"getelementptr inbounds i8, ptr %e, i64 {self.delta}"))
            return
        self.far(g, g.value(f"load i64, ptr {self.target}"))

    def far(self, g: Lower, target: str) -> None:
        """Go to an address (an i64) on any page."""
        found = g.call_function(self.builder.model.find, [self.cpu, V(u64, target)], {})
        assert isinstance(found, V)
        miss, hit = g.label(), g.label()
        g.branch_if(V(bool, g.value(f"icmp eq i64 {found.ref}, 0"), weight=-1), miss, hit)
        g.place(miss)
        g.emit(f"store i64 {target}, ptr {field_pointer(g, self.cpu, 'target')}")
        self.tail(g, "@h_jump")
        g.place(hit)
        self.dispatch_counted(g, self.turn(g, found.ref, target))

    def turn(self, g: Lower, entry: str, pc: str) -> str:
        """Make the page of this entry the current one; gives the entry as a pointer."""
        at = g.value(f"lshr i64 {entry}, {self.builder.arch.shift}")
        g.emit(f"store i64 {g.value(f'sub i64 {pc}, {at}')}, ptr {field_pointer(g, self.cpu, 'bias')}")
        return g.value(f"inttoptr i64 {entry} to ptr")


def straight(g: Lower, start: int) -> bool:
    """Control comes to the end of the text so far only through its line `start`."""
    labels = [line[:-1] for line in g.lines[start:] if line.endswith(":")]
    text = "\n".join([*g.lines, ""]).replace(",", "\n")
    return all(text.count(f"label %{label}\n") == 1 for label in labels)


def constant_sum(g: Lower, address: str) -> tuple[str, int]:
    """An address as a value and a constant that was added to it."""
    by = 0
    while address in g.sums and g.sums[address][1].isdigit():
        address, more = g.sums[address]
        by += int(more)
    return address, by


def item_of(arch: Architecture, kind: Reg) -> type[Word]:
    """The word of a register of this file."""
    found: Field = getattr(arch.cpu, kind.file)
    return found.layout.item  # type: ignore[return-value]


def largest(form: Form, op: Operand) -> int | None:
    """The largest value of an unsigned immediate."""
    assert isinstance(op.kind, Imm)
    return None if op.kind.signed else (1 << form.insn.bits(op.name)) - 1 + form.insn.bases.get(op.name, 0)


def symbol_name(form: Form, kind: str) -> str:
    """The symbol of a row's handler: KIND.NAME, where the kind is insn, near, slow or slow.near.

    Specials are called h_NAME, outlined functions MODULE.NAME.
    """
    return f"{kind}." + "".join(c if c.isalnum() or c in "._" else f"${ord(c):x}$" for c in form.insn.name)


def handler_hooks(g: Lower) -> HandlerHooks:
    if not isinstance(g.hooks, HandlerHooks):
        raise Broken("only handlers do this")
    return g.hooks


@exported
def invalidate(pagemap: u64, first: u64, last: u64) -> None:
    forget(pagemap, first, last)


@exported
def mark_warm(shared: u64, entry: u64) -> None:
    warm(Shared.at(shared), entry)


class Functions:
    """The memory model's functions by role."""

    def __init__(self, module: ModuleType, checked: bool, aligned: bool) -> None:
        kind = "_checked" if checked else "_aligned" if aligned else ""
        self.load, self.store = getattr(module, f"load{kind}"), getattr(module, f"store{kind}")
        self.load_slow, self.store_slow = module.load_slow, module.store_slow
        self.writable, self.writable_slow = module.writable, module.writable_slow
        self.find, self.find_code = module.find, module.find_code
        self.linked = getattr(module, "linked", None)
        self.wrap: Callable[..., u64] | None = getattr(module, "wrap", None)  # where code addresses end before Architecture.bits
        self.page_end: Callable[..., u64] | None = getattr(module, "page_end", None)  # where a code page may end before PAGE
        self.code_address, self.decoded, self.fence_code = module.code_address, module.decoded, module.fence_code
        self.specials: list[tuple[Callable[..., None], str]] = [*specials.COMMON, *module.SPECIALS]
        self.step: str = getattr(module, "STEP", "h_step")  # the special that a single step begins with
        self.direct: bool = getattr(module, "DIRECT", False)
        self.placed: bool = getattr(module, "PLACED", True)  # a region's code is at one address
        self.exact: bool = getattr(module, "EXACT", False)  # the budget is looked at after every instruction


class Builder:
    """The text of one interpreter."""

    def __init__(self, arch: Architecture, model: ModuleType, checked: bool = False) -> None:
        self.arch, self.model = arch, Functions(model, checked, not getattr(arch.cpu, "anywhere", True))
        self.bits = decoder.extension_bits(arch)
        self.intrinsics = self.make_intrinsics()
        self.unit = Unit(EngineHooks(self), linkage="dso_local")
        self.handler_names: list[str] = []  # by number
        self.stencils: dict[str, dict[str, Any]] = {}  # what engine.stencils must know of each besides its code

    enabled_intrinsic = staticmethod(lambda cpu, extension: True)

    @functools.cached_property
    def forms(self) -> list[Form]:
        return decoder.forms(self.arch)

    @functools.cached_property
    def decode(self) -> Callable[..., Any]:
        return decoder.decoder(self.arch, self.forms, self.enabled_intrinsic)

    def outlined_functions(self) -> dict[str, tuple[list[str] | str | None, bool]]:
        """What regions call in the interpreter's image: symbol -> (types of the result, whether it raises)."""
        found: dict[str, tuple[list[str] | str | None, bool]] = {}
        for done in self.unit.done.values():
            r = done.result
            found[done.name] = ([name_of(t) for t in r] if isinstance(r, tuple) else name_of(r) if r else None, done.raises)
        return found

    # -- text

    def text(self, triple: str) -> str:
        u = self.unit
        names = self.handler_names = ["h_undefined"]
        for f in self.forms:
            names.append(self.handler(f, near=False, slow=False))
            if f.relative:
                names.append(self.handler(f, near=True, slow=False))
        for special, on_trap in self.model.specials:
            self.special(special, on_trap)
        sizes, distances = [0], [0]
        for f in self.forms:
            info = f.insn.size | (0x80 if f.ends else 0)
            sizes += [info, info] if f.relative else [info]
            distances += [0, next(s.offset for o, s in f.operands if s and o.name == f.relative)] if f.relative else [0]
        if triple.startswith("x86_64"):
            from . import stencils

            for f in self.forms:
                stencils.write(self, f, near=False)
                if f.relative:
                    stencils.write(self, f, near=True)
            stencils.write_glue(self)
            u.metadata += stencils.METADATA
        u.globals.append(f"@handlers = internal constant [{len(names)} x ptr] [{', '.join(f'ptr @{n}' for n in names)}]")
        u.globals.append(f"@distances = internal constant [{len(distances)} x i8] [{', '.join(f'i8 {d}' for d in distances)}]")
        u.globals.append(f"@forms = internal constant [{len(sizes)} x i8] [{', '.join(f'i8 {s - 256 if s > 127 else s}' for s in sizes)}]")
        self.run()
        u.export(invalidate)
        u.export(mark_warm)
        return u.text(triple)

    def arguments(self, entry: str = "%e", memory: str = "%mem", budget: str = "%budget", direct: str = "%direct_limit") -> str:
        return f"ptr {entry}, ptr %middle, ptr {memory}, i64 {budget}, i64 {direct if self.model.direct else 'poison'}"

    def function(self, hooks: HandlerHooks, name: str) -> Lower:
        """The beginning of a function with SIGNATURE."""
        g = Lower(self.unit, hooks, name)
        g.entry.append(begin(self.arch.cpu))
        return g

    def handler(self, form: Form, near: bool, slow: bool) -> str:
        name = symbol_name(form, ("slow.near" if near else "slow") if slow else "near" if near else "insn")
        if name in self.unit.names:
            return name
        self.unit.names.add(name)
        hooks = HandlerHooks(self, form, near, slow)
        g = self.function(hooks, name)
        if not slow:
            hooks.budget = g.value(f"sub i64 %budget, {form.insn.cost}")
        if self.model.exact or slow:  # in a slow clone the memory model may end the slice
            hooks.slot = "%slot"
            g.entry.append("  %slot = alloca i64")
            g.emit(f"store i64 {hooks.budget}, ptr %slot")
        if form.jumps:
            hooks.jumps(g)
        hooks.row(g, form)
        hooks.finish(g, form)
        attributes = "nounwind noinline cold" if slow else "nounwind"
        self.unit.add(g.function(f"define internal {CONVENTION} void @{name}({SIGNATURE}) {attributes}"))
        if not slow and any(f"@{symbol_name(form, 'slow.near' if near else 'slow')}(" in line for line in g.lines):
            self.handler(form, near=near, slow=True)
        return name

    def special(self, function: Callable[..., None], on_trap: str) -> None:
        name = function.__name__
        hooks = HandlerHooks(self)
        hooks.on_trap = on_trap
        self.unit.names.add(name)
        g = self.function(hooks, name)
        hooks.slot = "%slot"
        g.entry += ["  %slot = alloca i64", "  store i64 %budget, ptr %slot"]
        entry = V(u64, g.value("ptrtoint ptr %e to i64"))
        g.expand(source_of(function), [hooks.cpu, entry])
        g.emit("unreachable")
        self.unit.add(g.function(f"define dso_local {CONVENTION} void @{name}({SIGNATURE}) nounwind noinline cold"))

    def run(self) -> None:
        """`run(cpu)`: from cpu.pc until something needs the caller; `step(cpu)`: one instruction."""
        self.entry_point("run", "h_begin", single=0)
        self.entry_point("step", self.model.step, single=1)

    def entry_point(self, name: str, special: str, single: int) -> None:
        cpu = self.arch.cpu
        at = {n: getattr(cpu, n).offset for n in ("pc", "target", "memory", "quantum", "slice", "trapped", "single", "direct_limit")}
        self.unit.names.add(name)
        self.unit.add(f"""define dso_local void @{name}(ptr %cpu) nounwind noinline {{
  %pcp = getelementptr inbounds i8, ptr %cpu, i64 {at["pc"]}
  %pc = load i64, ptr %pcp
  %tp = getelementptr inbounds i8, ptr %cpu, i64 {at["target"]}
  store i64 %pc, ptr %tp
  %mp = getelementptr inbounds i8, ptr %cpu, i64 {at["memory"]}
  %m = load ptr, ptr %mp
  %dp = getelementptr inbounds i8, ptr %cpu, i64 {at["direct_limit"]}
  %d = load i64, ptr %dp
  %qp = getelementptr inbounds i8, ptr %cpu, i64 {at["quantum"]}
  %q0 = load i64, ptr %qp
  %q = select i1 {"true" if single else "false"}, i64 0, i64 %q0
  %op = getelementptr inbounds i8, ptr %cpu, i64 {at["single"]}
  store i64 {single}, ptr %op
  %sp = getelementptr inbounds i8, ptr %cpu, i64 {at["slice"]}
  store i64 %q, ptr %sp
  %xp = getelementptr inbounds i8, ptr %cpu, i64 {at["trapped"]}
  store i64 0, ptr %xp
  %middle = getelementptr inbounds i8, ptr %cpu, i64 {middle(cpu)}
  call {CONVENTION} void @{special}({self.arguments("null", "%m", "%q", "%d")})
  ret void
}}
""")

    # -- intrinsics

    def make_intrinsics(self) -> dict[Any, Callable[..., Value]]:
        arch, model = self.arch, self.model

        def as_function(f: Any) -> Callable[..., Value]:
            return lambda g, *args: g.call_function(f, list(args), {})

        def pick(fast: Any, slow: Any) -> Any:
            return lambda g: slow if handler_hooks(g).slow else fast

        loads, stores, writables = pick(model.load, model.load_slow), pick(model.store, model.store_slow), None
        writables = pick(model.writable, model.writable_slow)

        def swap(g: Lower, kind: Value, v: Value) -> Value:
            t = kind.value  # type: ignore[union-attr]
            if not arch.cpu.big_endian or t.size == 1:
                return v
            from tinamou.native import ops

            return g.call_function(ops.bswap, [v], {})

        def do_load(g: Lower, cpu: Value, kind: Value, address: Value) -> Value:
            return swap(g, kind, g.call_function(loads(g), [cpu, kind, g.cast(address, u64)], {}))

        def do_store(g: Lower, cpu: Value, kind: Value, address: Value, value: Value) -> Value:
            t: type[Word] = kind.value  # type: ignore[union-attr]
            value = swap(g, kind, V(t, g.ref(value, t)))
            return g.call_function(stores(g), [cpu, kind, g.cast(address, u64), value], {})

        def host(g: Lower, cpu: Value, address: Value) -> Value:
            return g.call_function(writables(g), [cpu, g.cast(address, u64)], {})

        def do_atomic(g: Lower, cpu: Value, operation: Value, kind: Value, address: Value, value: Value) -> Value:
            if arch.cpu.big_endian:
                raise Broken("atomic arithmetic of big-endian guests has no compiled form yet")
            return g.call_function(memory.exchange, [operation, kind, host(g, cpu, address), value], {})

        def do_compare_swap(g: Lower, cpu: Value, kind: Value, address: Value, expected: Value, value: Value) -> Value:
            at = host(g, cpu, address)
            t: type[Word] = kind.value  # type: ignore[union-attr]
            pair = [swap(g, kind, V(t, g.ref(v, t))) for v in (expected, value)]
            return swap(g, kind, g.call_function(memory.compare_exchange, [kind, at, *pair], {}))

        def do_jump(g: Lower, cpu: Value, target: Value) -> Value:
            handler_hooks(g).jump(g, target)
            return Const(None)

        def do_forward(g: Lower, cpu: Value, distance: Value) -> Value:
            handler_hooks(g).forward(g, distance)
            return Const(None)

        def do_spend(g: Lower, cpu: Value, cost: Value) -> Value:
            h = handler_hooks(g)
            left = g.value(f"sub i64 {g.value(f'load i64, ptr {h.slot}')}, {g.cast(cost, i64).ref}")
            g.emit(f"store i64 {left}, ptr {h.slot}")
            return Const(None)

        def do_switch(g: Lower, cpu: Value, target: Value) -> Value:
            handler_hooks(g).switch(g, target)
            return Const(None)

        def reload(g: Lower) -> Value:
            h = handler_hooks(g)
            h.memory = g.value(f"load ptr, ptr {field_pointer(g, h.cpu, 'memory')}")
            return Const(None)

        def address_of(g: Lower, name: Value) -> Value:
            assert isinstance(name, Const)
            return V(u64, g.value(f"ptrtoint ptr @{name.value} to i64"))

        def table(g: Lower, number: Value, name: str, item: str) -> str:
            index = g.cast(number, u64).ref
            return g.value(f"load {item}, ptr {g.value(f'getelementptr inbounds {item}, ptr @{name}, i64 {index}')}")

        def handler_of(g: Lower, number: Value) -> Value:
            return V(u64, g.value(f"ptrtoint ptr {table(g, number, 'handlers', 'ptr')} to i64"))

        def length_of(g: Lower, number: Value) -> Value:
            size = g.value(f"and i8 {table(g, number, 'forms', 'i8')}, 127")
            return V(u64, g.value(f"zext i8 {size} to i64"), 127)

        def ends_of(g: Lower, number: Value) -> Value:
            return V(bool, g.value(f"icmp slt i8 {table(g, number, 'forms', 'i8')}, 0"))

        def distance_of(g: Lower, number: Value) -> Value:
            return V(u64, g.value(f"zext i8 {table(g, number, 'distances', 'i8')} to i64"), 255)

        def glue(g: Lower, kind: Value) -> Value:
            return V(u64, str(len(self.handler_names) + kind.value))  # type: ignore[union-attr]

        def wrapped(g: Lower, address: Value) -> Value:
            if model.wrap is not None:
                return g.call_function(model.wrap, [cpu_of(g), g.cast(address, u64)], {})
            return g.binary(ast.BitAnd, g.cast(address, u64), Const((1 << arch.bits) - 1))

        def page_end(g: Lower, cpu: Value) -> Value:
            return Const(4096) if model.page_end is None else g.call_function(model.page_end, [cpu], {})

        def entry_offset(g: Lower, address: Value) -> Value:
            low = g.value(f"and i64 {g.cast(address, u64).ref}, {4096 - arch.granule}")
            return V(u64, g.value(f"shl i64 {low}, {arch.shift}"))

        def enabled(g: Lower, cpu: Value, extension: Value) -> Value:
            features = g.value(f"load i64, ptr {field_pointer(g, cpu_of(g), 'extensions')}")
            bit = 1 << self.bits[extension.value]  # type: ignore[union-attr]
            return V(bool, g.value(f"icmp ne i64 {g.value(f'and i64 {features}, {bit}')}, 0"))

        def slow(g: Lower) -> Value:
            handler_hooks(g).go_slow(g)
            return Const(None)

        def guard(g: Lower, at: str, data: str, otherwise: Value, args: tuple[Value, ...]) -> str:
            """A pointer whose dereference, as the next instruction, may fault; LLVM turns the null check into a fault map.

            The empty assembly keeps LLVM from merging the test with the addition before it, and computes the data first.
            """
            more = f", {data}" if data else ""
            constraint = "=r,0,r" if data else "=r,0"
            pointer = g.value(f'call ptr asm "", "{constraint}"(ptr {at}{more})')
            null = g.value(f"icmp eq ptr {pointer}, null")
            bad, ok = g.label(), g.label()
            g.stop(f"br i1 {null}, label %{bad}, label %{ok}, !prof !1, !make.implicit !2")
            g.place(bad)
            g.emit('call void asm sideeffect "", ""()')  # else LLVM makes a conditional tail call of the test
            g.call(otherwise, list(args))
            if not g.ended:
                g.stop("unreachable")
            g.place(ok)
            return pointer

        def guarded_peek(g: Lower, kind: Value, address: Value, otherwise: Value, *args: Value) -> Value:
            t: type[Word] = kind.value  # type: ignore[union-attr]
            p = guard(g, intrinsics.pointer(g, address), "", otherwise, args)
            return V(t, g.value(f"load {llvm(t)}, ptr {p}, align 1"))

        def probe(g: Lower, address: Value, otherwise: Value, *args: Value) -> Value:
            p = guard(g, intrinsics.pointer(g, address), "", otherwise, args)
            found = g.value(f"load i8, ptr {p}, align 1")
            g.emit(f'call void asm sideeffect "", "r"(i8 {found})')  # else LLVM drops the load
            return Const(None)

        def guarded_poke(g: Lower, kind: Value, address: Value, value: Value, otherwise: Value, *args: Value) -> Value:
            t: type[Word] = kind.value  # type: ignore[union-attr]
            data = g.ref(value, t)
            p = guard(g, intrinsics.pointer(g, address), f"{llvm(t)} {data}", otherwise, args)
            g.emit(f"store {llvm(t)} {data}, ptr {p}, align 1")
            return Const(None)

        def guest_peek(g: Lower, kind: Value, address: Value) -> Value:
            t: type[Word] = kind.value  # type: ignore[union-attr]
            p, _ = handler_hooks(g).guest_pointer(g, g.cast(address, u64), "", guard)
            return V(t, g.value(f"load {llvm(t)}, ptr {p}, align 1"))

        def guest_poke(g: Lower, kind: Value, address: Value, value: Value) -> Value:
            t: type[Word] = kind.value  # type: ignore[union-attr]
            p, data = handler_hooks(g).guest_pointer(g, g.cast(address, u64), f"{llvm(t)} {g.ref(value, t)}", guard)
            g.emit(f"store {llvm(t)} {data}, ptr {p}, align 1")
            return Const(None)

        def memory_base(g: Lower) -> Value:
            return V(u64, g.value(f"ptrtoint ptr {handler_hooks(g).memory} to i64"))

        def constant(name: str) -> Callable[[Lower], Value]:
            def get(g: Lower) -> Value:
                h = handler_hooks(g)
                return V(u64, h.kept.get(name) or g.value(f"load i64, ptr {field_pointer(g, h.cpu, name)}"))

            return get

        def direct(g: Lower) -> Value:
            return Const(isinstance(g.hooks, HandlerHooks) and g.hooks.form is not None and not g.hooks.slow)

        def pc_of(g: Lower, entry: Value) -> Value:
            h = handler_hooks(g)
            return V(u64, h.pc(g, g.value(f"inttoptr i64 {g.cast(entry, u64).ref} to ptr")))

        def enter(g: Lower, entry: Value, pc: Value) -> Value:
            h = handler_hooks(g)
            h.dispatch_counted(g, h.turn(g, g.cast(entry, u64).ref, g.cast(pc, u64).ref))
            return Const(None)

        def resume(g: Lower, entry: Value) -> Value:
            handler_hooks(g).dispatch(g, intrinsics.pointer(g, entry))
            return Const(None)

        def perform(g: Lower, handler: Value, entry: Value) -> Value:
            handler_hooks(g).tail(g, intrinsics.pointer(g, handler), intrinsics.pointer(g, entry))
            return Const(None)

        def leave(g: Lower, reason: Value, pc: Value) -> Value:
            h = handler_hooks(g)
            g.call_function(arch.cpu.settle_float, [h.cpu], {})
            g.emit(f"store i64 {g.cast(reason, u64).ref}, ptr {field_pointer(g, h.cpu, 'reason')}")
            g.emit(f"store i64 {g.cast(pc, u64).ref}, ptr {field_pointer(g, h.cpu, 'pc')}")
            g.stop("ret void")
            return Const(None)

        def get_budget(g: Lower) -> Value:
            h = handler_hooks(g)
            return V(i64, g.value(f"load i64, ptr {h.slot}") if h.slot else h.budget)

        def linked(g: Lower, cpu: Value, target: Value) -> Value:
            return g.call_function(model.linked, [cpu, target], {}) if model.linked else V(u64, "0")

        def set_budget(g: Lower, budget: Value) -> Value:
            g.emit(f"store i64 {g.ref(budget, i64)}, ptr {handler_hooks(g).slot}")
            return Const(None)

        table_of: dict[Any, Callable[..., Value]] = {
            Cpu.load: do_load, Cpu.store: do_store, Cpu.atomic: do_atomic, Cpu.compare_swap: do_compare_swap,
            Cpu.fence_code: as_function(model.fence_code), Cpu.fence: lambda g, cpu: g.call_function(memory.fence, [], {}),
            cpu_module._jump: do_jump, Cpu.switch: do_switch, Cpu.forward: do_forward, Cpu.spend: do_spend,
            flow.reload: reload, predecode.find_slow: as_function(model.find_code), predecode.linked: linked,
            predecode.symbol: address_of, predecode.handler_of: handler_of, predecode.length_of: length_of,
            predecode.ends_of: ends_of, predecode.distance_of: distance_of, traces.glue: glue,
            predecode.decode: lambda g, *args: g.call_function(self.decode, list(args), {}), predecode.length: as_function(arch.length),
            predecode.shift: lambda g: Const(arch.shift), predecode.entry_offset: entry_offset,
            predecode.wrapped: wrapped, predecode.page_end: page_end,
            predecode.decoded: as_function(model.decoded),
            predecode.code_address: as_function(model.code_address), self.enabled_intrinsic: enabled,
            flow.slow: slow, flow.guarded_peek: guarded_peek,
            flow.probe: probe, flow.guarded_poke: guarded_poke, flow.memory_base: memory_base,
            flow.limit: constant("limit"), flow.direct_limit: constant("direct_limit"), flow.direct: direct,
            flow.guest_peek: guest_peek, flow.guest_poke: guest_poke,
            flow.pc_of: pc_of, flow.enter: enter, flow.resume: resume, flow.perform: perform, flow.leave: leave,
            flow.get_budget: get_budget, flow.set_budget: set_budget,
        }  # fmt: skip
        for intrinsic, function in arch.intrinsics().items():
            if isinstance(function, tuple):  # as in the memory model: one for handlers, one for their slow clones
                choose = pick(*function)
                table_of[intrinsic] = lambda g, *args, choose=choose: g.call_function(choose(g), list(args), {})
            else:
                table_of[intrinsic] = as_function(function)
        return table_of


__all__ = ["Builder"]
