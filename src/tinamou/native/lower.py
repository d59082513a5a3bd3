"""From the subset's syntax trees to LLVM IR text.

One `Unit` collects the functions of one object file; one `Lower` writes one LLVM function, expanding the Python functions it calls in
place.  What is not a word, a bool, a structure or a tuple at run time is a constant and is evaluated here (see docs/native.md).

The host program of a unit (the engine) gives meaning to `raise`, to intrinsics and to fields that are not in memory through `Hooks`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import operator
import textwrap
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .types import Array, Field, Layout, Struct, Word, i64, u64

Type = type[Word] | type[bool] | type[Struct] | Layout


class CompileError(Exception):
    """Source outside the subset: names the file, the line and the rule."""

    def __init__(self, rule: str, file: str, line: int, text: str = "", through: tuple[str, ...] = ()) -> None:
        via = "".join(f"\n  expanded from {t}" for t in through)
        super().__init__(f"{file}:{line}: {rule}\n    {text.strip()}{via}")
        self.rule, self.file, self.line = rule, file, line


class Broken(Exception):
    """A rule is broken at the node being lowered; becomes a CompileError with its place."""


@dataclass(frozen=True)
class V:
    """A value at run time: a word or bool in an SSA name, a structure or array by address.  `top` bounds a word from above."""

    type: Type
    ref: str
    top: int | None = None
    weight: int = 0  # of a bool: 1 likely, -1 unlikely


@dataclass(frozen=True)
class Const:
    """A value at compile time: any Python object."""

    value: Any


@dataclass(frozen=True)
class Tuple:
    items: tuple[Value, ...]


@dataclass(frozen=True)
class Method:
    function: Callable[..., Any]
    self: V


Value = V | Const | Tuple | Method


@dataclass
class Variable:
    """A local word or bool, in a stack slot until LLVM promotes it."""

    type: type[Word] | type[bool]
    slot: str


def llvm(t: Type) -> str:
    if isinstance(t, Layout) or issubclass(t, Struct):
        return "ptr"
    return "i1" if t is bool else f"i{t.bits}"  # type: ignore[union-attr]


def literal(value: int, t: type[Word] | type[bool]) -> str:
    """A constant as LLVM wants it: signed, of its width."""
    if t is bool:
        return "true" if value else "false"
    v = int(value) & t.mask  # type: ignore[union-attr]
    return str(v - (1 << t.bits) if v >> (t.bits - 1) else v)  # type: ignore[union-attr]


def is_word(t: object) -> bool:
    """A word of a known width."""
    return isinstance(t, type) and issubclass(t, Word) and t.bits > 0


@dataclass
class Source:
    """One Python function, parsed."""

    function: Callable[..., Any]
    tree: ast.FunctionDef
    file: str
    first: int
    hints: dict[str, Any]
    defaults: dict[str, Any]
    space: dict[str, Any]

    @property
    def params(self) -> list[str]:
        return [a.arg for a in self.tree.args.args]


_sources: dict[tuple[Any, int], Source] = {}
_trees: dict[types.CodeType, tuple[ast.FunctionDef, str, int]] = {}


def source_of(function: Callable[..., Any]) -> Source:
    key = (function, id(function))
    if key not in _sources:
        code = function.__code__
        if code not in _trees:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
            (node,) = (n for n in tree.body if isinstance(n, ast.FunctionDef))
            _trees[code] = (node, code.co_filename, first)
        node, file, first = _trees[code]
        names = [a.arg for a in node.args.args]
        given = function.__defaults__ or ()
        defaults = dict(zip(names[len(names) - len(given) :], given, strict=True))
        space: dict[str, Any] = function.__globals__
        if function.__closure__:
            cells = zip(code.co_freevars, function.__closure__, strict=True)
            space = {**space, **{n: c.cell_contents for n, c in cells}}
        _sources[key] = Source(function, node, file, first, get_type_hints(function, localns=None), defaults, space)
    return _sources[key]


class Hooks:
    """What the host program means by things the compiler does not know.  The base class refuses them."""

    def __init__(self, intrinsics: dict[Any, Callable[..., Value]] | None = None) -> None:
        self.intrinsics: dict[Any, Callable[..., Value]] = intrinsics or {}

    def raises(self, g: Lower, exception: type, args: list[Value]) -> None:
        """Code for a `raise`; must end the block."""
        raise Broken("nothing here defines what raise means")

    def after_raising_call(self, g: Lower) -> None:
        """Code after a call of an outlined function that may have raised."""
        raise Broken("nothing here defines what raise means")

    def get_field(self, g: Lower, base: V, field: Field) -> Value | None:
        """The value of a field that is not in memory, or None."""
        return None

    def set_field(self, g: Lower, base: V, field: Field, value: V) -> bool:
        """Set a field that is not in memory; False when it is an ordinary one."""
        return False

    def outlined(self) -> Hooks:
        """The hooks inside functions of their own that are called from here."""
        return self


@dataclass
class Outlined:
    name: str
    result: Type | tuple[Type, ...] | None
    raises: bool


@dataclass
class Unit:
    """The text of one LLVM module."""

    hooks: Hooks
    convention: str = "fastcc"
    parts: list[str] = field(default_factory=list)
    declarations: dict[str, str] = field(default_factory=dict)
    globals: list[str] = field(default_factory=list)
    exports: list[str] = field(default_factory=list)
    done: dict[Any, Outlined] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    linkage: str = "internal"  # of outlined functions
    external: Callable[[str], Outlined | None] = lambda symbol: None  # functions that another image has

    def declare(self, name: str, text: str) -> None:
        self.declarations.setdefault(name, text)

    def add(self, text: str) -> None:
        self.parts.append(text)

    def export(self, function: Callable[..., Any], name: str | None = None) -> str:
        """Compile a function under its own name, with the C calling convention; gives the symbol."""
        src = source_of(function)
        symbol = name or function.__name__
        self.exports.append(symbol)
        self.names.add(symbol)
        outline(self, src, [None] * len(src.params), symbol, "", self.hooks.outlined())
        return symbol

    def text(self, triple: str) -> str:
        defined = [d for n, d in self.declarations.items() if n not in self.names]
        weights = '!0 = !{!"branch_weights", i32 2000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 2000}\n!2 = !{}\n'
        return "\n".join([f'target triple = "{triple}"', *self.globals, *defined, *self.parts, weights])


def outline(unit: Unit, src: Source, args: list[Value | None], symbol: str, convention: str, hooks: Hooks) -> Outlined:
    """Write `src` as an LLVM function of its own, specialised for constant arguments."""
    g = Lower(unit, hooks, symbol)
    scope = Scope(src, {})
    decl = []
    for name, arg in zip(src.params, args, strict=True):
        hint = src.hints.get(name)
        t: Any = arg.type if isinstance(arg, V) else hint
        if isinstance(arg, Const) and not is_word(hint):
            scope.names[name] = arg
            g.bind_typevar(scope, hint, arg)
            continue
        if is_word(hint):
            t = hint
        if not (isinstance(t, Layout) or (isinstance(t, type) and issubclass(t, (Word, bool, Struct)))):
            raise CompileError(f"parameter {name} has no type for compiled code", src.file, src.first)
        ext = ""
        if convention == "" and isinstance(t, type) and issubclass(t, Word) and t.bits < 32:
            ext = " signext" if t.signed else " zeroext"
        decl.append(f"{llvm(t)}{ext} %p.{name}")
        scope.names[name] = V(t, f"%p.{name}")
        g.bind_typevar(scope, hint, scope.names[name])
    done = Outlined(symbol, None, False)
    g.outlined = done
    scope.result_label = "ret"
    g.scopes.append(scope)
    g.own_parameters(scope)
    g.result_type(scope)
    g.block(src.tree.body)
    g.place("ret")
    if isinstance(scope.slots, list):
        done.result = tuple(s.type for s in scope.slots)
        kinds = [llvm(t) for t in done.result]
        agg = "undef"
        for k, s in enumerate(scope.slots):
            agg = g.value(f"insertvalue {{ {', '.join(kinds)} }} {agg}, {kinds[k]} {g.load(s)}, {k}")
        ret, tail = f"{{ {', '.join(kinds)} }}", f"ret {{ {', '.join(kinds)} }} {agg}"
    elif scope.slots is not None:
        done.result = scope.slots.type
        ret = llvm(done.result)
        tail = f"ret {ret} {g.load(scope.slots)}"
    else:
        ret, tail = "void", "ret void"
    g.emit(tail)
    linkage = f"{unit.linkage} {convention}" if convention else "dso_local"
    unit.add(g.function(f"define {linkage} {ret} @{quoted(symbol)}({', '.join(decl)}) {g.attributes}"))
    return done


def result_text(done: Outlined) -> str:
    if isinstance(done.result, tuple):
        return f"{{ {', '.join(llvm(t) for t in done.result)} }}"
    return "void" if done.result is None else llvm(done.result)


def quoted(symbol: str) -> str:
    return symbol if symbol.replace("_", "a").replace(".", "a").isalnum() else f'"{symbol}"'


class Scope:
    """The names of one expanded function."""

    def __init__(self, src: Source, names: dict[str, Value | Variable]) -> None:
        self.src, self.names = src, names
        self.typevars: dict[Any, type] = {}
        self.slots: Variable | list[Variable] | None = None
        self.result: Value | None = None
        self.result_label = ""
        self.loops: list[tuple[str, str]] = []
        self.line = 0


BINARY: dict[type[ast.operator], tuple[Callable[[Any, Any], Any], str]] = {
    ast.Add: (operator.add, "add"), ast.Sub: (operator.sub, "sub"), ast.Mult: (operator.mul, "mul"),
    ast.BitAnd: (operator.and_, "and"), ast.BitOr: (operator.or_, "or"), ast.BitXor: (operator.xor, "xor"),
    ast.LShift: (operator.lshift, "shl"), ast.RShift: (operator.rshift, ""), ast.FloorDiv: (operator.floordiv, "udiv"),
    ast.Mod: (operator.mod, "urem"),
}  # fmt: skip
COMPARE: dict[type[ast.cmpop], tuple[Callable[[Any, Any], Any], str, str]] = {
    ast.Eq: (operator.eq, "eq", "eq"), ast.NotEq: (operator.ne, "ne", "ne"),
    ast.Lt: (operator.lt, "ult", "slt"), ast.LtE: (operator.le, "ule", "sle"),
    ast.Gt: (operator.gt, "ugt", "sgt"), ast.GtE: (operator.ge, "uge", "sge"),
    ast.Is: (operator.is_, "", ""), ast.IsNot: (operator.is_not, "", ""),
    ast.In: (lambda a, b: a in b, "", ""), ast.NotIn: (lambda a, b: a not in b, "", ""),
}  # fmt: skip
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.Invert: operator.invert, ast.Not: operator.not_, ast.UAdd: operator.pos,
}  # fmt: skip
UNROLL = 64  # a for loop over constants of at most this many rounds is unrolled


class Lower:
    """Writes one LLVM function."""

    attributes = "nounwind noinline"
    prefix = ""  # of all names in the text

    def __init__(self, unit: Unit, hooks: Hooks, name: str) -> None:
        self.unit, self.hooks, self.name = unit, hooks, name
        self.entry: list[str] = []
        self.lines: list[str] = []
        self.count = 0
        self.ended = False
        self.scopes: list[Scope] = []
        self.outlined: Outlined | None = None

    # -- text

    def emit(self, text: str) -> None:
        if not self.ended:
            self.lines.append("  " + text)

    def value(self, text: str) -> str:
        self.count += 1
        name = f"%{self.prefix}t{self.count}"
        self.emit(f"{name} = {text}")
        return name

    def label(self) -> str:
        self.count += 1
        return f"{self.prefix}L{self.count}"

    def place(self, label: str) -> None:
        if not self.ended:
            self.lines.append(f"  br label %{label}")
        self.lines.append(f"{label}:")
        self.ended = False

    def branch(self, label: str) -> None:
        self.emit(f"br label %{label}")
        self.ended = True

    def branch_if(self, condition: V, yes: str, no: str) -> None:
        prof = "" if not condition.weight else f", !prof !{0 if condition.weight > 0 else 1}"
        self.emit(f"br i1 {condition.ref}, label %{yes}, label %{no}{prof}")
        self.ended = True

    def stop(self, text: str) -> None:
        self.emit(text)
        self.ended = True

    def variable(self, t: type[Word] | type[bool]) -> Variable:
        self.count += 1
        slot = f"%{self.prefix}v{self.count}"
        self.entry.append(f"  {slot} = alloca {llvm(t)}")
        return Variable(t, slot)

    def load(self, v: Variable) -> str:
        return self.value(f"load {llvm(v.type)}, ptr {v.slot}")

    def set(self, v: Variable, ref: str) -> None:
        self.emit(f"store {llvm(v.type)} {ref}, ptr {v.slot}")

    def function(self, header: str) -> str:
        return "\n".join([f"{header} {{", "entry:", *self.entry, *self.lines, "}", ""])

    # -- types

    def ref(self, v: Value, t: type[Word] | type[bool]) -> str:
        """The value as an operand of type t; constants take the type."""
        if isinstance(v, Const):
            if isinstance(v.value, (bool, int)) and not (t is bool and not isinstance(v.value, bool)):
                return literal(v.value, t)
            raise Broken(f"{v.value!r} is no {t.__name__}")
        if not isinstance(v, V):
            raise Broken(f"a {type(v).__name__.lower()} is no {t.__name__}")
        if v.type is not t:
            raise Broken(f"a {name_of(v.type)} where a {t.__name__} is needed: convert it")
        return v.ref

    def cast(self, v: Value, t: type[Word]) -> V:
        if isinstance(v, Const):
            return V(t, literal(int(v.value), t), int(v.value) & t.mask)
        if not isinstance(v, V) or not (v.type is bool or is_word(v.type)):
            raise Broken(f"{t.__name__}() converts words, bools and integer constants")
        if v.type is bool:
            return V(t, self.value(f"zext i1 {v.ref} to i{t.bits}"), 1)
        s: type[Word] = v.type  # type: ignore[assignment]
        top = v.top if v.top is not None and v.top <= t.mask else (s.mask if not s.signed and s.bits <= t.bits else None)
        if s.bits == t.bits:
            return V(t, v.ref, top)
        if s.bits > t.bits:
            return V(t, self.value(f"trunc i{s.bits} {v.ref} to i{t.bits}"), top)
        how = "sext" if s.signed else "zext"
        return V(t, self.value(f"{how} i{s.bits} {v.ref} to i{t.bits}"), top)

    def truth(self, v: Value) -> V | Const:
        if isinstance(v, Const):
            return Const(bool(v.value))
        if isinstance(v, V) and v.type is bool:
            return v
        if isinstance(v, V) and is_word(v.type):
            return V(bool, self.value(f"icmp ne {llvm(v.type)} {v.ref}, 0"))
        raise Broken("only words, bools and constants are true or false")

    def bind_typevar(self, scope: Scope, hint: Any, v: Value | Variable) -> None:
        if get_origin(hint) is type and isinstance(v, Const):
            (hint,) = get_args(hint)
            if isinstance(hint, TypeVar):
                scope.typevars[hint] = v.value
        elif isinstance(hint, TypeVar) and isinstance(v, V) and isinstance(v.type, type):
            scope.typevars.setdefault(hint, v.type)

    def result_type(self, scope: Scope) -> None:
        """Make slots for the result if the annotation tells its type."""
        hint = scope.src.hints.get("return")
        hint = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
        if get_origin(hint) is tuple:
            kinds = [scope.typevars.get(h, h) for h in get_args(hint)]
            if all(k is bool or is_word(k) for k in kinds):
                scope.slots = [self.variable(k) for k in kinds]
            return
        result: Any = scope.typevars.get(hint, hint)
        if result is bool or is_word(result):
            scope.slots = self.variable(result)

    # -- names

    @property
    def scope(self) -> Scope:
        return self.scopes[-1]

    def lookup(self, name: str) -> Value | Variable:
        if name in self.scope.names:
            return self.scope.names[name]
        if name in self.scope.src.space:
            return self.wrap(self.scope.src.space[name])
        if hasattr(builtins, name):
            return Const(getattr(builtins, name))
        raise Broken(f"{name} has no value here")

    def wrap(self, value: Any) -> Value:
        if isinstance(value, Word):
            return V(type(value), literal(value, type(value)), int(value) & value.mask)
        return Const(value)

    # -- expressions

    def expr(self, node: ast.expr) -> Value:
        method: Callable[[Any], Value] | None = getattr(self, "expr_" + type(node).__name__, None)
        if method is None:
            raise Broken(f"{type(node).__name__} is outside the subset")
        self.scope.line = getattr(node, "lineno", self.scope.line)
        return method(node)

    def expr_Constant(self, node: ast.Constant) -> Value:
        return Const(node.value)

    def expr_Name(self, node: ast.Name) -> Value:
        v = self.lookup(node.id)
        return V(v.type, self.load(v)) if isinstance(v, Variable) else v

    def expr_Tuple(self, node: ast.Tuple) -> Value:
        items = tuple(self.expr(e) for e in node.elts)
        if all(isinstance(i, Const) for i in items):
            return Const(tuple(i.value for i in items))  # type: ignore[union-attr]
        return Tuple(items)

    def expr_Attribute(self, node: ast.Attribute) -> Value:
        base = self.expr(node.value)
        if isinstance(base, Const):
            if not hasattr(base.value, node.attr):
                raise Broken(f"{base.value!r} has no {node.attr}")
            return self.wrap(getattr(base.value, node.attr))
        if not isinstance(base, V) or not isinstance(base.type, type):
            raise Broken(f"no attribute {node.attr} of this value")
        if issubclass(base.type, Word):
            if node.attr in ("bits", "size", "mask", "signed"):
                return Const(getattr(base.type, node.attr))
            raise Broken(f"a word has no {node.attr} in compiled code")
        found = getattr(base.type, node.attr, None)
        if isinstance(found, Field):
            special = self.hooks.get_field(self, base, found)
            return special if special is not None else self.fetch(found.layout, self.offset(base.ref, found.offset))
        if node.attr == "address":
            return V(u64, self.value(f"ptrtoint ptr {base.ref} to i64"))
        if isinstance(found, types.FunctionType):
            return Method(found, base)
        if found is None:
            raise Broken(f"{base.type.__name__} has no {node.attr}")
        return self.wrap(found)

    def offset(self, ref: str, by: int) -> str:
        return ref if not by else self.value(f"getelementptr inbounds i8, ptr {ref}, i64 {by}")

    def fetch(self, layout: Layout, at: str) -> V:
        if layout.count is not None:
            return V(layout, at)
        if issubclass(layout.item, Struct):
            return V(layout.item, at)
        return V(layout.item, self.value(f"load {llvm(layout.item)}, ptr {at}, align {layout.align}"))

    def element(self, base: V, index: Value) -> tuple[Layout, str]:
        """Address of an array's element; the index must be provably inside."""
        layout = base.type
        if not isinstance(layout, Layout) or layout.count is None:
            raise Broken("only arrays and constants are indexed")
        i = self.cast(index, u64)
        if i.top is None or i.top >= layout.count:
            raise Broken(f"the index is not provably below {layout.count}: mask it")
        item = Layout(layout.item)
        return item, self.value(f"getelementptr inbounds [{layout.stride} x i8], ptr {base.ref}, i64 {i.ref}")

    def expr_Subscript(self, node: ast.Subscript) -> Value:
        base, index = self.expr(node.value), self.expr(node.slice)
        if isinstance(base, Const) and isinstance(index, Const):
            return self.wrap(base.value[index.value])
        if isinstance(base, Tuple) and isinstance(index, Const):
            part: Value = base.items[index.value]
            return part
        if isinstance(base, V):
            return self.fetch(*self.element(base, index))
        raise Broken("constants are indexed by constants")

    def expr_BinOp(self, node: ast.BinOp) -> Value:
        return self.binary(type(node.op), self.expr(node.left), self.expr(node.right))

    def binary(self, op: type[ast.operator], a: Value, b: Value) -> Value:
        if op not in BINARY:
            raise Broken(f"{op.__name__} is outside the subset")
        python, instruction = BINARY[op]
        if isinstance(a, Const) and isinstance(b, Const):
            return self.wrap(python(a.value, b.value))
        if op in (ast.LShift, ast.RShift):
            return self.shift(op, a, b)
        t = a.type if isinstance(a, V) else b.type if isinstance(b, V) else None
        if t is bool and op in (ast.BitAnd, ast.BitOr, ast.BitXor):
            return V(bool, self.value(f"{instruction} i1 {self.ref(a, bool)}, {self.ref(b, bool)}"))
        if not (isinstance(t, type) and issubclass(t, Word)):
            raise Broken("arithmetic is on words and constants")
        x, y = self.ref(a, t), self.ref(b, t)
        if op in (ast.FloorDiv, ast.Mod):
            if t.signed:
                raise Broken("signed words divide by quot() and rem()")
            y = self.nonzero(b, y, t)
        tops = [int(v.value) & t.mask if isinstance(v, Const) else v.top for v in (a, b) if isinstance(v, (Const, V))]
        top = None
        if op is ast.BitAnd and not t.signed:
            top = min((k for k in tops if k is not None), default=None)
        elif op is ast.BitAnd:
            top = min((k for k in tops if k is not None and k < 1 << t.bits - 1), default=None)
        elif op is ast.BitOr and None not in tops:
            top = (1 << max(tops).bit_length()) - 1  # type: ignore[type-var,union-attr]
        elif op in (ast.Add, ast.Mult) and None not in tops and python(*tops) <= t.mask >> t.signed:
            top = python(*tops)
        elif op is ast.Mod and tops[1]:
            top = tops[1] - 1
        elif op is ast.FloorDiv:
            top = tops[0]
        return V(t, self.value(f"{instruction} i{t.bits} {x}, {y}"), top)

    def nonzero(self, b: Value, ref: str, t: type[Word]) -> str:
        """A divisor that is not zero: the host would trap."""
        if isinstance(b, Const) and b.value:
            return ref
        zero = self.value(f"icmp eq i{t.bits} {ref}, 0")
        return self.value(f"select i1 {zero}, i{t.bits} 1, i{t.bits} {ref}")

    def shift(self, op: type[ast.operator], a: Value, b: Value) -> V:
        if not isinstance(a, V) or not is_word(a.type):
            raise Broken("a constant is shifted by a constant, or give it a width")
        t: type[Word] = a.type  # type: ignore[assignment]
        instruction = "shl" if op is ast.LShift else "ashr" if t.signed else "lshr"
        if isinstance(b, Const):
            n = int(b.value)
            if n < 0:
                raise Broken("shift by a negative amount")
            top = None
            if op is ast.RShift and not t.signed:
                top = (a.top if a.top is not None else t.mask) >> n
            elif op is ast.LShift and a.top is not None and a.top << n <= t.mask >> t.signed:
                top = a.top << n
            if n >= t.bits:
                if instruction != "ashr":
                    return V(t, "0", 0)
                n = t.bits - 1
            return V(t, self.value(f"{instruction} i{t.bits} {a.ref}, {n}"), top)
        if not isinstance(b, V) or not is_word(b.type):
            raise Broken("shift amounts are words or integers")
        wide = b.type.bits > t.bits  # type: ignore[union-attr]
        top = a.top if op is ast.RShift and not t.signed else None
        if b.top is not None and b.top < t.bits:
            n = self.cast(b, t).ref  # type: ignore[assignment]
            return V(t, self.value(f"{instruction} i{t.bits} {a.ref}, {n}"), top)
        bits = b.type.bits  # type: ignore[union-attr]
        over = self.value(f"icmp ugt i{bits} {b.ref}, {t.bits - 1}")
        amount = self.cast(b, t).ref if not wide else self.value(f"trunc i{bits} {b.ref} to i{t.bits}")
        if instruction == "ashr":
            amount = self.value(f"select i1 {over}, i{t.bits} {t.bits - 1}, i{t.bits} {amount}")
            return V(t, self.value(f"ashr i{t.bits} {a.ref}, {amount}"))
        safe = self.value(f"select i1 {over}, i{t.bits} 0, i{t.bits} {amount}")
        shifted = self.value(f"{instruction} i{t.bits} {a.ref}, {safe}")
        return V(t, self.value(f"select i1 {over}, i{t.bits} 0, i{t.bits} {shifted}"), top)

    def expr_UnaryOp(self, node: ast.UnaryOp) -> Value:
        v = self.expr(node.operand)
        if isinstance(v, Const):
            return self.wrap(UNARY[type(node.op)](v.value))
        if isinstance(node.op, ast.Not):
            c = self.truth(v)
            assert isinstance(c, V)
            return V(bool, self.value(f"xor i1 {c.ref}, true"), weight=-c.weight)
        if not isinstance(v, V) or not is_word(v.type):
            raise Broken("arithmetic is on words and constants")
        if isinstance(node.op, ast.USub):
            return V(v.type, self.value(f"sub {llvm(v.type)} 0, {v.ref}"))
        if isinstance(node.op, ast.Invert):
            return V(v.type, self.value(f"xor {llvm(v.type)} {v.ref}, -1"))
        return v

    def expr_Compare(self, node: ast.Compare) -> Value:
        left, result = self.expr(node.left), None
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.expr(right_node)
            one = self.compare(type(op), left, right)
            result = one if result is None else self.both(result, one)
            left = right
        assert result is not None
        return result

    def both(self, a: V | Const, b: V | Const) -> V | Const:
        if isinstance(a, Const):
            return b if a.value else a
        if isinstance(b, Const):
            return a if b.value else b
        return V(bool, self.value(f"and i1 {a.ref}, {b.ref}"))

    def compare(self, op: type[ast.cmpop], a: Value, b: Value) -> V | Const:
        python, unsigned, signed = COMPARE[op]
        if isinstance(a, Const) and isinstance(b, Const):
            return Const(python(a.value, b.value))
        if not unsigned:
            if op in (ast.In, ast.NotIn) and isinstance(b, Const) and isinstance(a, V):
                any_of: V | Const = Const(False)
                for item in b.value:
                    hit = self.compare(ast.Eq, a, Const(item))
                    assert isinstance(hit, V)
                    any_of = hit if isinstance(any_of, Const) else V(bool, self.value(f"or i1 {any_of.ref}, {hit.ref}"))
                if op is ast.In or isinstance(any_of, Const):
                    return any_of if op is ast.In else Const(True)
                return V(bool, self.value(f"xor i1 {any_of.ref}, true"))
            raise Broken("is and in compare constants")
        t = a.type if isinstance(a, V) else b.type if isinstance(b, V) else None
        if not (isinstance(t, type) and issubclass(t, (Word, bool))):
            raise Broken("comparisons are between words")
        for v in (a, b):
            if isinstance(v, Const) and t is not bool and int(t(v.value)) != int(v.value):
                raise Broken(f"{v.value} is outside {t.__name__}")
        pred = signed if t is not bool and t.signed else unsigned  # type: ignore[union-attr]
        return V(bool, self.value(f"icmp {pred} {llvm(t)} {self.ref(a, t)}, {self.ref(b, t)}"))

    def expr_BoolOp(self, node: ast.BoolOp) -> Value:
        is_and = isinstance(node.op, ast.And)
        slot: Variable | None = None
        end = self.label()
        weight = 0
        for k, operand in enumerate(node.values):
            v = self.truth(self.expr(operand))
            if isinstance(v, Const):
                if v.value != is_and:  # decides: the rest is not evaluated
                    if slot is None:
                        return v
                    self.set(slot, literal(v.value, bool))
                    break
                if slot is None and k == len(node.values) - 1:
                    return v
                if k == len(node.values) - 1 and slot is not None:
                    self.set(slot, literal(v.value, bool))
                continue
            if slot is None and k == len(node.values) - 1:
                return v
            weight = v.weight
            slot = slot or self.variable(bool)
            self.set(slot, v.ref)
            if k < len(node.values) - 1:
                more = self.label()
                self.branch_if(v, more if is_and else end, end if is_and else more)
                self.place(more)
        self.place(end)
        assert slot is not None
        return V(bool, self.load(slot), weight=weight)

    def expr_IfExp(self, node: ast.IfExp) -> Value:
        c = self.truth(self.expr(node.test))
        if isinstance(c, Const):
            return self.expr(node.body if c.value else node.orelse)
        yes, no, end = self.label(), self.label(), self.label()
        self.branch_if(c, yes, no)
        self.place(yes)
        a = self.expr(node.body)
        hole = len(self.lines)
        self.branch(end)
        self.place(no)
        b = self.expr(node.orelse)
        t = a.type if isinstance(a, V) else b.type if isinstance(b, V) else None
        if t is None and isinstance(a, Const) and isinstance(b, Const) and isinstance(a.value, bool) and isinstance(b.value, bool):
            t = bool
        if not (isinstance(t, type) and issubclass(t, (Word, bool))):
            raise Broken("one side of a conditional expression must be a word: give the constant a width")
        slot = self.variable(t)
        self.lines.insert(hole, f"  store {llvm(t)} {self.ref(a, t)}, ptr {slot.slot}")
        self.set(slot, self.ref(b, t))
        self.place(end)
        tops = [int(v.value) & (1 if t is bool else t.mask) if isinstance(v, Const) else v.top for v in (a, b)]  # type: ignore[union-attr]
        return V(t, self.load(slot), max(tops) if None not in tops else None)  # type: ignore[type-var]

    def expr_JoinedStr(self, node: ast.JoinedStr) -> Value:
        return Const("")  # only messages of assertions and errors

    # -- calls

    def expr_Call(self, node: ast.Call) -> Value:
        callee = self.expr(node.func)
        args = [self.expr(a) for a in node.args]
        named = {k.arg: self.expr(k.value) for k in node.keywords if k.arg}
        if len(named) != len(node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            raise Broken("* and ** in calls are outside the subset")
        return self.call(callee, args, named)

    def call(self, callee: Value, args: list[Value], named: dict[str, Value] | None = None) -> Value:
        named = named or {}
        if isinstance(callee, Method):
            return self.call_function(callee.function, [callee.self, *args], named)
        if not isinstance(callee, Const):
            raise Broken("only functions are called")
        f = callee.value
        if isinstance(f, type) and issubclass(f, Word):
            if not f.bits:
                raise Broken(f"{f.__name__} is not bound to a type")
            return self.cast(args[0], f) if args else V(f, "0", 0)
        if f is bool:
            return self.truth(args[0])
        at = getattr(f, "__self__", None)
        if isinstance(at, type) and issubclass(at, Struct) and f.__name__ == "at":
            return V(at, self.value(f"inttoptr i64 {self.cast(args[0], u64).ref} to ptr"))
        if f in (min, max) and any(isinstance(a, V) for a in args):
            return self.extreme(f, args)
        if f is len and isinstance(args[0], V) and isinstance(args[0].type, Layout):
            return Const(args[0].type.count)
        return self.call_function(f, args, named)

    def extreme(self, f: Any, args: list[Value]) -> Value:
        best = args[0]
        for other in args[1:]:
            t = next(v.type for v in (best, other) if isinstance(v, V))
            assert isinstance(t, type)
            c = self.compare(ast.Lt if f is min else ast.Gt, other, best)
            assert isinstance(c, V)
            refs = self.ref(other, t), self.ref(best, t)  # type: ignore[arg-type]
            best = V(t, self.value(f"select i1 {c.ref}, {llvm(t)} {refs[0]}, {llvm(t)} {refs[1]}"))
        return best

    def call_function(self, f: Any, args: list[Value], named: dict[str, Value]) -> Value:
        lowering = self.hooks.intrinsics.get(f) or INTRINSICS.get(f)
        if lowering:
            return lowering(self, *args, **named)
        kind = getattr(f, "__native__", "inline")
        if kind == "intrinsic":
            raise Broken(f"{f.__name__}() has no compiled form here")
        constant = all(isinstance(a, Const) for a in [*args, *named.values()])
        if not isinstance(f, types.FunctionType) or (constant and (args or named) and kind == "inline"):
            if not constant:
                raise Broken(f"{getattr(f, '__name__', f)}() is called with a value known only at run time")
            result = f(*(a.value for a in args), **{k: a.value for k, a in named.items()})  # type: ignore[union-attr]
            return Tuple(tuple(self.wrap(r) for r in result)) if isinstance(result, tuple) else self.wrap(result)
        src = source_of(f)
        full = self.arguments(src, args, named)
        return self.call_outlined(src, full) if kind in ("outlined", "exported") else self.expand(src, full)

    def arguments(self, src: Source, args: list[Value], named: dict[str, Value]) -> list[Value]:
        if len(args) > len(src.params):
            raise Broken(f"{src.tree.name}() takes {len(src.params)} arguments")
        full = list(args)
        for name in src.params[len(args) :]:
            if name in named:
                full.append(named.pop(name))
            elif name in src.defaults:
                full.append(self.wrap(src.defaults[name]))
            else:
                raise Broken(f"{src.tree.name}() lacks the argument {name}")
        if named:
            raise Broken(f"{src.tree.name}() has no parameter {', '.join(named)}")
        for k, (name, v) in enumerate(zip(src.params, full, strict=True)):
            hint = src.hints.get(name)
            hint = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
            if is_word(hint):
                if isinstance(v, Const):
                    full[k] = self.cast(v, hint)  # type: ignore[arg-type]
                else:
                    self.ref(v, hint)  # type: ignore[arg-type]
            elif hint is bool and isinstance(v, V):
                self.ref(v, bool)
        return full

    def expand(self, src: Source, args: list[Value]) -> Value:
        if len(self.scopes) > 40:
            raise Broken(f"{src.tree.name}() expands into itself")
        names: dict[str, Value | Variable] = dict(zip(src.params, args, strict=True))
        scope = Scope(src, names)
        for name, v in zip(src.params, args, strict=True):
            self.bind_typevar(scope, src.hints.get(name), v)
        self.own_parameters(scope)
        scope.result_label = self.label()
        self.result_type(scope)
        self.scopes.append(scope)
        self.block(src.tree.body)
        self.place(scope.result_label)
        self.scopes.pop()
        if isinstance(scope.slots, list):
            return Tuple(tuple(V(s.type, self.load(s)) for s in scope.slots))
        if scope.slots is not None:
            return V(scope.slots.type, self.load(scope.slots))
        return scope.result if scope.result is not None else Const(None)

    def own_parameters(self, scope: Scope) -> None:
        """Parameters that the function assigns become variables."""
        changed = {n.id for n in ast.walk(scope.src.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for name in sorted(changed & set(scope.src.params)):
            v = scope.names[name]
            if isinstance(v, V) and (v.type is bool or is_word(v.type)):
                slot = self.variable(v.type)  # type: ignore[arg-type]
                self.set(slot, v.ref)
                scope.names[name] = slot

    def call_outlined(self, src: Source, args: list[Value]) -> Value:
        static = tuple(
            a.value if isinstance(a, Const) and not is_word(src.hints.get(n)) else None for n, a in zip(src.params, args, strict=True)
        )
        kinds = tuple(a.type if isinstance(a, V) else None for a in args)
        key = (src.function, static, kinds)
        done = self.unit.done.get(key)
        if done is None:
            module = src.function.__module__.rpartition(".")[2]
            label = ".".join([module, src.tree.name, *(tag(s) for s in static if s is not None)])
            label += ".".join(["", *(name_of(k) for k in kinds if k is not None and not isinstance(k, Layout))])
            done = self.unit.external(label)
            if done is None:
                if label in self.unit.names:
                    raise Broken(f"two functions are called {label}")
                self.unit.names.add(label)
                done = outline(self.unit, src, list(args), label, self.unit.convention, self.hooks.outlined())
            self.unit.done[key] = done
        operands = []
        for name, a in zip(src.params, args, strict=True):
            hint = src.hints.get(name)
            if isinstance(a, V):
                operands.append(f"{llvm(a.type)} {a.ref}")
            elif is_word(hint):
                operands.append(f"{llvm(hint)} {self.ref(a, hint)}")  # type: ignore[arg-type]
        call = f"call {self.unit.convention} {{}} @{quoted(done.name)}({', '.join(operands)})"
        if done.name not in self.unit.names:
            kinds_of = ", ".join(o.split(" ")[0] for o in operands)
            self.unit.declare(done.name, f"declare {self.unit.convention} {result_text(done)} @{quoted(done.name)}({kinds_of})")
        result: Value = Const(None)
        if isinstance(done.result, tuple):
            kinds_text = f"{{ {', '.join(llvm(t) for t in done.result)} }}"
            whole = self.value(call.format(kinds_text))
            parts = [V(t, self.value(f"extractvalue {kinds_text} {whole}, {k}")) for k, t in enumerate(done.result)]
            result = Tuple(tuple(parts))
        elif done.result is not None:
            result = V(done.result, self.value(call.format(llvm(done.result))))
        else:
            self.emit(call.format("void"))
        if done.raises:
            if self.outlined:
                self.outlined.raises = True
            self.hooks.after_raising_call(self)
        return result

    # -- statements

    def block(self, body: list[ast.stmt]) -> None:
        for node in body:
            if self.ended:
                return
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        method = getattr(self, "stmt_" + type(node).__name__, None)
        self.scope.line = node.lineno
        depth = len(self.scopes)
        try:
            if method is None:
                raise Broken(f"{type(node).__name__} is outside the subset")
            method(node)
        except Broken as broken:
            scope = self.scope
            line = scope.src.first + scope.line - 1
            text = linecache.getline(scope.src.file, line)
            via = tuple(f"{s.src.file}:{s.src.first + s.line - 1} in {s.src.tree.name}" for s in reversed(self.scopes[:-1]))
            raise CompileError(str(broken), scope.src.file, line, text, via) from None
        finally:
            del self.scopes[depth:]

    def stmt_Pass(self, node: ast.Pass) -> None: ...

    def stmt_Assert(self, node: ast.Assert) -> None: ...

    def stmt_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.expr(node.value)

    def stmt_Assign(self, node: ast.Assign) -> None:
        value = self.expr(node.value)
        for target in node.targets:
            self.assign(target, value)

    def stmt_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is None:
            raise Broken("a declaration without a value is outside the subset")
        hint = self.expr(node.annotation)
        value = self.expr(node.value)
        if isinstance(hint, Const) and is_word(hint.value) and isinstance(value, Const):
            value = self.cast(value, hint.value)
        self.assign(node.target, value)

    def stmt_AugAssign(self, node: ast.AugAssign) -> None:
        read = ast.copy_location(ast.Name(node.target.id, ast.Load()), node) if isinstance(node.target, ast.Name) else node.target
        self.assign(node.target, self.binary(type(node.op), self.expr(read), self.expr(node.value)))

    def assign(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Tuple):
            items: Any = value.items if isinstance(value, Tuple) else None
            if isinstance(value, Const) and isinstance(value.value, tuple):
                items = [self.wrap(v) for v in value.value]
            if items is None or len(items) != len(target.elts):
                raise Broken(f"{len(target.elts)} values are unpacked from something else")
            for one, v in zip(target.elts, items, strict=True):
                self.assign(one, v)
        elif isinstance(target, ast.Name):
            self.assign_name(target.id, value)
        elif isinstance(target, ast.Attribute):
            base = self.expr(target.value)
            if not isinstance(base, V) or not isinstance(base.type, type):
                raise Broken("only fields of structures are assigned")
            found = getattr(base.type, target.attr, None)
            if not isinstance(found, Field) or found.layout.count is not None or not is_word(found.layout.item):
                raise Broken(f"{target.attr} is no word of {name_of(base.type)}")
            t = found.layout.item
            ref = self.ref(value, t)  # type: ignore[arg-type]
            if not self.hooks.set_field(self, base, found, V(t, ref)):
                self.emit(f"store {llvm(t)} {ref}, ptr {self.offset(base.ref, found.offset)}, align {found.layout.align}")
        elif isinstance(target, ast.Subscript):
            base = self.expr(target.value)
            if not isinstance(base, V):
                raise Broken("constants are not changed")
            layout, at = self.element(base, self.expr(target.slice))
            if not is_word(layout.item):
                raise Broken("structures are not assigned as a whole")
            self.emit(f"store {llvm(layout.item)} {self.ref(value, layout.item)}, ptr {at}, align {layout.align}")  # type: ignore[arg-type]
        else:
            raise Broken(f"{type(target).__name__} is not assigned in the subset")

    def assign_name(self, name: str, value: Value) -> None:
        old = self.scope.names.get(name)
        if isinstance(old, Variable):
            self.set(old, self.ref(value, old.type))
        elif isinstance(value, V) and (value.type is bool or is_word(value.type)):
            slot = self.scope.names[name] = self.variable(value.type)  # type: ignore[arg-type]
            self.set(slot, value.ref)
        elif self.conditional and old is not None and old != value:
            raise Broken(f"{name} changes at run time but is a constant: give it a width at its first assignment")
        else:
            self.scope.names[name] = value

    conditional = 0  # depth of run-time control flow

    @contextmanager
    def branching(self) -> Iterator[None]:
        self.conditional += 1
        try:
            yield
        finally:
            self.conditional -= 1

    def stmt_If(self, node: ast.If) -> None:
        c = self.truth(self.expr(node.test))
        if isinstance(c, Const):
            self.block(node.body if c.value else node.orelse)
            return
        if isinstance(node.body[-1], ast.Raise):
            c = V(bool, c.ref, weight=-1)
        elif node.orelse and isinstance(node.orelse[-1], ast.Raise):
            c = V(bool, c.ref, weight=1)
        yes, no, end = self.label(), self.label(), self.label()
        self.branch_if(c, yes, no if node.orelse else end)
        with self.branching():
            self.place(yes)
            before = dict(self.scope.names)
            self.block(node.body)
            open_end = not self.ended
            if open_end:
                self.branch(end)
            if node.orelse:
                self.scope.names = {**before, **{n: v for n, v in self.scope.names.items() if isinstance(v, Variable)}}
                self.place(no)
                self.block(node.orelse)
                open_end |= not self.ended
                if not self.ended:
                    self.branch(end)
            else:
                open_end = True
        if open_end:
            self.place(end)

    def stmt_While(self, node: ast.While) -> None:
        if node.orelse:
            raise Broken("else after a loop is outside the subset")
        top, body, end = self.label(), self.label(), self.label()
        self.branch(top)
        with self.branching():
            self.place(top)
            c = self.truth(self.expr(node.test))
            if isinstance(c, Const):
                self.branch(body if c.value else end)
            else:
                self.branch_if(c, body, end)
            self.place(body)
            self.scope.loops.append((top, end))
            self.block(node.body)
            self.scope.loops.pop()
            if not self.ended:
                self.branch(top)
        self.place(end)

    def stmt_For(self, node: ast.For) -> None:
        if node.orelse or not isinstance(node.target, ast.Name):
            raise Broken("for loops count one name, without else")
        if isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "range":
            bounds = [self.expr(a) for a in node.iter.args]
            if not all(isinstance(b, Const) for b in bounds):
                self.count_loop(node, bounds)
                return
            rounds: Any = range(*(b.value for b in bounds))  # type: ignore[union-attr]
            if len(rounds) > UNROLL:
                self.count_loop(node, bounds)
                return
        else:
            over = self.expr(node.iter)
            if not isinstance(over, Const):
                raise Broken("for goes over range() or a constant")
            rounds = over.value
        end = self.label()
        for item in rounds:
            again = self.label()
            self.scope.names[node.target.id] = self.wrap(item)
            self.scope.loops.append((again, end))
            self.block(node.body)
            self.scope.loops.pop()
            self.place(again)
        self.place(end)

    def count_loop(self, node: ast.For, bounds: list[Value]) -> None:
        start, stop, step = bounds[0] if len(bounds) > 1 else Const(0), bounds[min(1, len(bounds) - 1)], Const(1)
        if len(bounds) == 3:
            if not isinstance(bounds[2], Const) or bounds[2].value <= 0:
                raise Broken("the step of a run-time range is a positive constant")
            step = bounds[2]
        t = next((b.type for b in (stop, start) if isinstance(b, V)), i64)
        if not is_word(t):
            raise Broken("range() counts words")
        assert isinstance(node.target, ast.Name)
        with self.branching():
            i = self.variable(t)  # type: ignore[arg-type]
            self.set(i, self.ref(start, i.type))
            limit = self.ref(stop, i.type)
            top, body, again, end = self.label(), self.label(), self.label(), self.label()
            self.place(top)
            now = self.load(i)
            c = self.compare(ast.Lt, V(i.type, now), V(i.type, limit))
            assert isinstance(c, V)
            self.branch_if(c, body, end)
            self.place(body)
            self.scope.names[node.target.id] = V(i.type, now)
            self.scope.loops.append((again, end))
            self.block(node.body)
            self.scope.loops.pop()
            self.place(again)
            self.set(i, self.value(f"add {llvm(i.type)} {now}, {self.ref(step, i.type)}"))
            self.branch(top)
            self.place(end)

    def stmt_Break(self, node: ast.Break) -> None:
        self.branch(self.scope.loops[-1][1])

    def stmt_Continue(self, node: ast.Continue) -> None:
        self.branch(self.scope.loops[-1][0])

    def stmt_Match(self, node: ast.Match) -> None:
        subject = self.expr(node.subject)
        cases: list[tuple[list[Any], ast.match_case]] = []
        for case in node.cases:
            if case.guard:
                raise Broken("guards are outside the subset")
            cases.append((self.patterns(case.pattern), case))
        if isinstance(subject, Const):
            for values, case in cases:
                if values == [Ellipsis] or subject.value in values:
                    self.block(case.body)
                    return
            return
        if not isinstance(subject, V) or not is_word(subject.type):
            raise Broken("match is on words and constants")
        t: type[Word] = subject.type  # type: ignore[assignment]
        end, default = self.label(), self.label()
        arms, labels = [], []
        for values, _case in cases:
            label = default if values == [Ellipsis] else self.label()
            labels.append(label)
            if label is not default:
                arms += [f"i{t.bits} {literal(v, t)}, label %{label}" for v in values]
        self.stop(f"switch i{t.bits} {subject.ref}, label %{default} [ {' '.join(arms)} ]")
        seen_default = False
        with self.branching():
            for label, (_values, case) in zip(labels, cases, strict=True):
                self.place(label)
                seen_default |= label == default
                self.block(case.body)
                if not self.ended:
                    self.branch(end)
            if not seen_default:
                self.place(default)
                self.branch(end)
        self.place(end)

    def patterns(self, p: ast.pattern) -> list[Any]:
        """The constants of a case; [...] for the default."""
        if isinstance(p, ast.MatchAs) and p.pattern is None and p.name is None:
            return [Ellipsis]
        if isinstance(p, ast.MatchOr):
            return [v for q in p.patterns for v in self.patterns(q)]
        if isinstance(p, ast.MatchValue):
            v = self.expr(p.value)
            if isinstance(v, Const):
                return [v.value]
            if isinstance(v, V) and v.top is not None:
                return [v.top]
        raise Broken("cases are constants or _")

    def stmt_Return(self, node: ast.Return) -> None:
        scope = self.scope
        value = self.expr(node.value) if node.value else Const(None)
        if isinstance(value, Const) and isinstance(value.value, tuple):
            value = Tuple(tuple(self.wrap(v) for v in value.value))
        if scope.slots is None and scope.result is None:
            if isinstance(value, V) and (value.type is bool or is_word(value.type)):
                scope.slots = self.variable(value.type)  # type: ignore[arg-type]
            elif isinstance(value, Tuple):
                if not all(isinstance(i, V) for i in value.items):
                    raise Broken("the function's result needs an annotation: tuple[u64, ...]")
                scope.slots = [self.variable(i.type) for i in value.items]  # type: ignore[union-attr,arg-type]
        if isinstance(scope.slots, list):
            if not isinstance(value, Tuple) or len(value.items) != len(scope.slots):
                raise Broken(f"{len(scope.slots)} results are promised")
            for slot, item in zip(scope.slots, value.items, strict=True):
                self.set(slot, self.ref(item, slot.type))
        elif scope.slots is not None:
            self.set(scope.slots, self.ref(value, scope.slots.type))
        elif not (isinstance(value, Const) and value.value is None):
            if scope.result is not None and scope.result != value:
                raise Broken("different constants are returned on different paths: annotate the result with a word")
            scope.result = value
        self.branch(scope.result_label)

    def stmt_Raise(self, node: ast.Raise) -> None:
        if not isinstance(node.exc, (ast.Call, ast.Name, ast.Attribute)) or node.cause:
            raise Broken("raise names an exception and its arguments")
        call = node.exc if isinstance(node.exc, ast.Call) else None
        kind = self.expr(call.func if call else node.exc)
        if not isinstance(kind, Const) or not (isinstance(kind.value, type) and issubclass(kind.value, BaseException)):
            raise Broken("raise names an exception class")
        args = [self.expr(a) for a in call.args] if call else []
        if self.outlined:
            self.outlined.raises = True
        self.hooks.raises(self, kind.value, args)
        if not self.ended:
            raise Broken("code goes on after raise")


def name_of(t: Type) -> str:
    return f"array of {t.item.__name__}" if isinstance(t, Layout) else t.__name__


def tag(value: Any) -> str:
    """A readable part of a symbol for a constant argument."""
    text = getattr(value, "__name__", None) or getattr(value, "name", None) or str(value)
    return "".join(c if c.isalnum() else "_" for c in str(text))[:24]


Lowering = Callable[..., Value]
INTRINSICS: dict[Any, Lowering] = {}


def lowering(function: Any) -> Callable[[Lowering], Lowering]:
    """Decorator: the compiled form of an intrinsic, called as f(lower, *argument values)."""

    def add(f: Lowering) -> Lowering:
        INTRINSICS[function] = f
        return f

    return add


__all__ = ["INTRINSICS", "Array", "Broken", "CompileError", "Const", "Hooks", "Lower", "Tuple", "Unit", "V", "Value", "lowering"]
