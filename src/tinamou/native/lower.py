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
import re
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .types import Array, Field, Layout, Struct, Word, i64, u64

_LABELS = re.compile(r"label %([^\s,]+)")
Type = type[Word] | type[bool] | type[Struct] | Layout


class CompileError(SyntaxError):
    """Source outside the subset: file, line, place in the line and the rule, as Python shows its own errors."""


class Broken(Exception):
    """A rule is broken at the node being lowered; becomes a CompileError with its place."""

    node: ast.AST | None = None  # where, when it is not the statement at hand


@dataclass(frozen=True)
class V:
    """A value at run time: a word or bool in an SSA name, a structure or array by address.  `top` bounds a word from above."""

    type: Type
    ref: str
    top: int | None = None
    weight: int = 0  # of a bool: 1 likely, -1 unlikely
    counted: bool = False  # the variable of a loop over range(): an int in CPython


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
    counted: bool = False


@dataclass(frozen=True)
class Lost:
    """What a name is behind a place where paths meet that gave it different values."""


LOST = Lost()
Names = dict[str, "Value | Variable | Lost"]


@dataclass
class Loop:
    """Where `continue` and `break` go, and what the names were where they stand."""

    again: str
    end: str
    continues: list[Names] = field(default_factory=list)
    breaks: list[Names] = field(default_factory=list)


def same(a: object, b: object) -> bool:
    """The same value for code behind the place where both paths meet."""
    if isinstance(a, Const) and isinstance(b, Const):
        return a.value is b.value or (type(a.value) is type(b.value) and a.value == b.value)
    return a == b


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


def bounded(t: type[Word] | type[bool], top: int | None) -> int | None:
    """An upper bound of a word of this type, unless that may be a negative number."""
    return top if t is bool or top is None or top <= t.mask >> t.signed else None  # type: ignore[union-attr]


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
    indent: int
    hints: dict[str, Any]
    defaults: dict[str, Any]
    space: dict[str, Any]

    @property
    def params(self) -> list[str]:
        return [a.arg for a in self.tree.args.args]


_sources: dict[tuple[Any, int], Source] = {}
_trees: dict[types.CodeType, tuple[ast.FunctionDef, str, int, int]] = {}


def source_of(function: Callable[..., Any]) -> Source:
    key = (function, id(function))
    if key not in _sources:
        code = function.__code__
        if code not in _trees:
            try:
                lines, first = inspect.getsourcelines(function)
            except OSError:
                raise Broken(f"{function.__qualname__}() has no source text") from None
            text = "".join(lines)
            tree = ast.parse(textwrap.dedent(text))
            found = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
            if len(found) != 1:
                raise Broken(f"{function.__qualname__} is no function made by def")
            a = found[0].args
            if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs:
                raise Broken(f"{found[0].name}() has parameters other than plain ones")
            _trees[code] = (found[0], code.co_filename, first, len(text) - len(text.lstrip()))
        node, file, first, indent = _trees[code]
        names = [a.arg for a in node.args.args]
        given = function.__defaults__ or ()
        defaults = dict(zip(names[len(names) - len(given) :], given, strict=True))
        space: dict[str, Any] = function.__globals__
        if function.__closure__:
            cells = zip(code.co_freevars, function.__closure__, strict=True)
            space = {**space, **{n: c.cell_contents for n, c in cells}}
        try:
            hints = get_type_hints(function, localns=None)
        except NameError as error:
            raise Broken(f"an annotation of {node.name}(): {error}") from None
        _sources[key] = Source(function, node, file, first, indent, hints, defaults, space)
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
    doing: set[Any] = field(default_factory=set)  # outlined functions on the way
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
            scope.node = next(a for a in src.tree.args.args if a.arg == name)
            raise scope.error(Broken(f"parameter {name} has no type for compiled code"))
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
    g.ends(scope)
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

    def __init__(self, src: Source, names: Names) -> None:
        self.src, self.names = src, names
        self.typevars: dict[Any, type] = {}
        self.slots: Variable | list[Variable] | None = None
        self.result: Value | None = None
        self.result_label = ""
        self.loops: list[Loop] = []
        self.assigned: dict[str, ast.AST] = {}  # where a name was last assigned
        self.node: Any = src.tree  # the statement at hand

    def error(self, broken: Broken, *through: Scope) -> CompileError:
        src = self.src
        at: Any = broken.node or self.node
        line = src.first + at.lineno - 1
        last = src.first + (at.end_lineno or at.lineno) - 1
        if isinstance(at, (ast.FunctionDef, ast.If, ast.While, ast.For, ast.Match)):  # not the whole block
            last, end = line, 0
        else:
            end = src.indent + at.end_col_offset + 1
        text = linecache.getline(src.file, line)
        place: Any = src.file, line, src.indent + at.col_offset + 1, text, last, end
        error = CompileError(str(broken), place)
        for s in through:
            error.add_note(f'  expanded from File "{s.src.file}", line {s.src.first + s.node.lineno - 1}, in {s.src.tree.name}')
        return error


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
        self.used: set[str] = set()  # labels that something branches to
        self.entry: list[str] = []
        self.lines: list[str] = []
        self.count = 0
        self.ended = False
        self.scopes: list[Scope] = []
        self.outlined: Outlined | None = None
        self.sums: dict[str, tuple[str, str]] = {}  # results of additions -> operands

    # -- text

    def emit(self, text: str) -> None:
        if not self.ended:
            self.lines.append("  " + text)
            if "label %" in text:
                self.used.update(_LABELS.findall(text))

    def value(self, text: str) -> str:
        self.count += 1
        name = f"%{self.prefix}t{self.count}"
        self.emit(f"{name} = {text}")
        return name

    def label(self) -> str:
        self.count += 1
        return f"{self.prefix}L{self.count}"

    def place(self, label: str) -> None:
        """Begin a block.  What nothing branches to is left out: code stays ended."""
        if self.ended and label not in self.used:
            return
        self.emit(f"br label %{label}")
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

    def variable(self, t: type[Word] | type[bool], counted: bool = False) -> Variable:
        self.count += 1
        slot = f"%{self.prefix}v{self.count}"
        self.entry.append(f"  {slot} = alloca {llvm(t)}")
        return Variable(t, slot, counted)

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

    def lasting(self, v: Value, t: type[Word] | type[bool]) -> str:
        """The value where CPython would keep an int: as an operand of type t, which it must have already."""
        if isinstance(v, V) and v.counted:
            raise Broken(f"the variable of a loop is an int in CPython: write {t.__name__}(...)")
        if isinstance(v, Const) and isinstance(v.value, int) and not (t is bool and isinstance(v.value, bool)):
            raise Broken(f"{v.value!r} stays an int in CPython: write {t.__name__}({v.value!r})")
        return self.ref(v, t)

    def inside(self, v: Value, t: type[Word]) -> None:
        """A constant operand must be a number of the other operand's type, where wrapping it would change the result."""
        if isinstance(v, Const) and isinstance(v.value, int) and int(t(v.value)) != int(v.value):
            raise Broken(f"{v.value} is outside {t.__name__}")

    def evaluate(self, f: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Python's own result for constants."""
        try:
            return f(*args, **named)
        except Exception as error:
            raise Broken(f"{type(error).__name__}: {error}") from error

    def cast(self, v: Value, t: type[Word]) -> V:
        if isinstance(v, Const):
            n: int = self.evaluate(lambda: int(t(v.value)))
            return V(t, literal(n, t), bounded(t, n & t.mask))
        if not isinstance(v, V) or not (v.type is bool or is_word(v.type)):
            raise Broken(f"{t.__name__}() converts words, bools and integer constants")
        if v.type is bool:
            return V(t, self.value(f"zext i1 {v.ref} to i{t.bits}"), 1)
        s: type[Word] = v.type  # type: ignore[assignment]
        top = bounded(t, v.top if v.top is not None else None if s.signed else s.mask)
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

    def test(self, node: ast.expr) -> V | Const:
        """An expression of which only the truth matters."""
        return self.truth(self.logic(node, False) if isinstance(node, ast.BoolOp) else self.expr(node))

    def bind_typevar(self, scope: Scope, hint: Any, v: Any) -> None:
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
            found = self.scope.names[name]
            if isinstance(found, Lost):
                raise Broken(f"{name} depends on the way that leads here: give it a width at its first assignment")
            return found
        if name in self.scope.src.space:
            return self.wrap(self.scope.src.space[name])
        if hasattr(builtins, name):
            return Const(getattr(builtins, name))
        raise Broken(f"{name} has no value here")

    def wrap(self, value: Any) -> Value:
        if isinstance(value, Word):
            return V(type(value), literal(value, type(value)), bounded(type(value), int(value) & value.mask))
        return Const(value)

    # -- expressions

    def expr(self, node: ast.expr) -> Value:
        method: Callable[[Any], Value] | None = getattr(self, "expr_" + type(node).__name__, None)
        try:
            if method is None:
                raise Broken(f"{type(node).__name__} is outside the subset")
            return method(node)
        except Broken as broken:
            broken.node = broken.node or node
            raise

    def expr_Constant(self, node: ast.Constant) -> Value:
        return Const(node.value)

    def expr_Name(self, node: ast.Name) -> Value:
        v = self.lookup(node.id)
        return V(v.type, self.load(v), counted=v.counted) if isinstance(v, Variable) else v

    def expr_Tuple(self, node: ast.Tuple) -> Value:
        items = tuple(self.expr(e) for e in node.elts)
        if all(isinstance(i, Const) for i in items):
            return Const(tuple(i.value for i in items))  # type: ignore[union-attr]
        return Tuple(items)

    def expr_Attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.expr(node.value), node.attr)

    def attribute(self, base: Value, name: str) -> Value:
        if isinstance(base, Const):
            return self.wrap(self.evaluate(getattr, base.value, name))
        if not isinstance(base, V) or not isinstance(base.type, type):
            raise Broken(f"no attribute {name} of this value")
        if issubclass(base.type, Word):
            if name in ("bits", "size", "mask", "signed"):
                return Const(getattr(base.type, name))
            raise Broken(f"a word has no {name} in compiled code")
        found = getattr(base.type, name, None)
        if isinstance(found, Field):
            special = self.hooks.get_field(self, base, found)
            return special if special is not None else self.fetch(found.layout, self.offset(base.ref, found.offset))
        if name == "address":
            return V(u64, self.value(f"ptrtoint ptr {base.ref} to i64"))
        if isinstance(found, types.FunctionType):
            return Method(found, base)
        if found is None:
            raise Broken(f"{base.type.__name__} has no {name}")
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
            return self.wrap(self.evaluate(operator.getitem, base.value, index.value))
        if isinstance(base, Tuple) and isinstance(index, Const):
            part: Value = self.evaluate(operator.getitem, base.items, index.value)
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
            return self.wrap(self.evaluate(python, a.value, b.value))
        if all(isinstance(v, Const) or (isinstance(v, V) and v.counted) for v in (a, b)):
            raise Broken("the variable of a loop is an int in CPython: give it a width, u64(i), before computing with it")
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
            self.inside(a, t)
            self.inside(b, t)
            y = self.nonzero(b, y, t)
        tops = [int(v.value) & t.mask if isinstance(v, Const) else v.top for v in (a, b) if isinstance(v, (Const, V))]
        top = None
        if op is ast.BitAnd and not t.signed:
            top = min((k for k in tops if k is not None), default=None)
        elif op is ast.BitAnd:
            top = min((k for k in tops if k is not None and k < 1 << t.bits - 1), default=None)
        elif op is ast.BitOr and None not in tops:
            top = bounded(t, (1 << max(tops).bit_length()) - 1)  # type: ignore[type-var,union-attr]
        elif op in (ast.Add, ast.Mult) and None not in tops and python(*tops) <= t.mask >> t.signed:
            top = python(*tops)
        elif op is ast.Mod and tops[1]:
            top = tops[1] - 1
        elif op is ast.FloorDiv:
            top = tops[0]
        result = V(t, self.value(f"{instruction} i{t.bits} {x}, {y}"), top)
        if op is ast.Add:
            self.sums[result.ref] = x, y
        return result

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
            if not isinstance(b.value, int) or b.value < 0:
                raise Broken(f"shift by {b.value!r}")
            n = int(b.value)
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
        if isinstance(node.op, ast.Not):
            c = self.test(node.operand)
            if isinstance(c, Const):
                return Const(not c.value)
            return V(bool, self.value(f"xor i1 {c.ref}, true"), weight=-c.weight)
        v = self.expr(node.operand)
        if isinstance(v, Const):
            return self.wrap(self.evaluate(UNARY[type(node.op)], v.value))
        if not isinstance(v, V) or not is_word(v.type):
            raise Broken("arithmetic is on words and constants")
        if v.counted:
            raise Broken("the variable of a loop is an int in CPython: give it a width, u64(i), before computing with it")
        if isinstance(node.op, ast.USub):
            return V(v.type, self.value(f"sub {llvm(v.type)} 0, {v.ref}"))
        if isinstance(node.op, ast.Invert):
            return V(v.type, self.value(f"xor {llvm(v.type)} {v.ref}, -1"))
        return v

    def expr_Compare(self, node: ast.Compare) -> Value:
        """One after the other, up to the first that fails, as Python does."""
        left, slot, end = self.expr(node.left), None, self.label()
        result: V | Const = Const(True)
        for k, (op, right_node) in enumerate(zip(node.ops, node.comparators, strict=True)):
            right = self.expr(right_node)
            result, left = self.compare(type(op), left, right), right
            if isinstance(result, Const):
                if not result.value or k == len(node.ops) - 1:
                    break
                continue
            if k < len(node.ops) - 1:
                slot, more = slot or self.variable(bool), self.label()
                self.set(slot, result.ref)
                self.branch_if(result, more, end)
                self.place(more)
        if slot is None:
            return result
        self.set(slot, self.ref(result, bool))
        self.place(end)
        return V(bool, self.load(slot))

    def compare(self, op: type[ast.cmpop], a: Value, b: Value) -> V | Const:
        python, unsigned, signed = COMPARE[op]
        if isinstance(a, Const) and isinstance(b, Const):
            return Const(self.evaluate(python, a.value, b.value))
        if not unsigned:
            if op in (ast.In, ast.NotIn) and isinstance(b, Const) and isinstance(a, V):
                any_of: V | Const = Const(False)
                for item in self.evaluate(list, b.value):
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
        if t is not bool:
            self.inside(a, t)  # type: ignore[arg-type]
            self.inside(b, t)  # type: ignore[arg-type]
        pred = signed if t is not bool and t.signed else unsigned  # type: ignore[union-attr]
        return V(bool, self.value(f"icmp {pred} {llvm(t)} {self.ref(a, t)}, {self.ref(b, t)}"))

    def expr_BoolOp(self, node: ast.BoolOp) -> Value:
        return self.logic(node, True)

    def logic(self, node: ast.BoolOp, value: bool) -> Value:
        """`and`, `or`: with `value`, what Python gives, which is one of the operands; else only its truth."""
        is_and = isinstance(node.op, ast.And)
        slot: Variable | None = None
        end = self.label()
        weight = 0
        for k, operand in enumerate(node.values):
            last = k == len(node.values) - 1
            v = self.expr(operand) if value else self.test(operand)
            if slot is None and (last or (isinstance(v, Const) and bool(v.value) != is_and)):
                return v  # constants before it did not decide; it does, or it is the last
            if slot is None and isinstance(v, Const):
                continue
            if value and not (isinstance(v, Const) and isinstance(v.value, bool)) and not (isinstance(v, V) and v.type is bool):
                raise Broken("this and/or gives a word or number in CPython, not a bool: compare it with 0")
            c = self.truth(v)
            if isinstance(c, Const):
                if slot is not None and (last or c.value != is_and):
                    self.set(slot, literal(c.value, bool))
                    break
                continue
            weight = c.weight
            slot = slot or self.variable(bool)
            self.set(slot, c.ref)
            if not last:
                more = self.label()
                self.branch_if(c, more if is_and else end, end if is_and else more)
                self.place(more)
        self.place(end)
        assert slot is not None
        return V(bool, self.load(slot), weight=weight)

    def expr_IfExp(self, node: ast.IfExp) -> Value:
        c = self.test(node.test)
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
        self.lines.insert(hole, f"  store {llvm(t)} {self.lasting(a, t)}, ptr {slot.slot}")
        self.set(slot, self.lasting(b, t))
        self.place(end)
        tops = [v.top if isinstance(v, V) else None for v in (a, b)]
        return V(t, self.load(slot), max(tops) if None not in tops else None)  # type: ignore[type-var]

    def expr_JoinedStr(self, node: ast.JoinedStr) -> Value:
        parts = [self.expr(p) for p in node.values]
        if not all(isinstance(p, Const) for p in parts):
            raise Broken("only constants are put into strings")
        return Const("".join(p.value for p in parts))  # type: ignore[union-attr]

    def expr_FormattedValue(self, node: ast.FormattedValue) -> Value:
        v, spec = self.expr(node.value), self.expr(node.format_spec) if node.format_spec else Const("")
        if not isinstance(v, Const) or not isinstance(spec, Const):
            raise Broken("only constants are put into strings")
        turn: Any = {-1: lambda x: x, 115: str, 114: repr, 97: ascii}[node.conversion]
        return Const(self.evaluate(lambda: format(turn(v.value), spec.value)))

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
            if len(args) > 1 or named:
                raise Broken(f"{f.__name__}() takes one value")
            return self.cast(args[0], f) if args else V(f, "0", 0)
        if f is bool and len(args) == 1 and not named:
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
            t = next((v.type for v in args if isinstance(v, V)), None)
            if not is_word(t):
                raise Broken(f"{f.__name__}() is of words")
            c = self.compare(ast.Lt if f is min else ast.Gt, other, best)
            refs = self.lasting(other, t), self.lasting(best, t)  # type: ignore[arg-type]
            best = V(t, self.value(f"select i1 {c.ref}, {llvm(t)} {refs[0]}, {llvm(t)} {refs[1]}"))  # type: ignore[arg-type,union-attr]
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
            try:
                result = self.evaluate(f, *(a.value for a in args), **{k: a.value for k, a in named.items()})  # type: ignore[union-attr]
                return Tuple(tuple(self.wrap(r) for r in result)) if isinstance(result, tuple) else self.wrap(result)
            except Broken:
                if not isinstance(f, types.FunctionType):
                    raise  # else it raises, and does so at run time
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
        for name, v in zip(src.params, full, strict=True):
            hint = src.hints.get(name)
            hint = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
            if is_word(hint):
                try:
                    self.lasting(v, hint)  # type: ignore[arg-type]
                except Broken as broken:
                    raise Broken(f"{src.tree.name}(), {name}: {broken}") from None
            elif hint is bool and isinstance(v, V):
                self.ref(v, bool)
        return full

    def expand(self, src: Source, args: list[Value]) -> Value:
        if len(self.scopes) > 40:
            raise Broken(f"{src.tree.name}() expands into itself")
        names: Names = dict(zip(src.params, args, strict=True))
        scope = Scope(src, names)
        for name, v in zip(src.params, args, strict=True):
            self.bind_typevar(scope, src.hints.get(name), v)
        self.own_parameters(scope)
        scope.result_label = self.label()
        self.result_type(scope)
        self.scopes.append(scope)
        self.block(src.tree.body)
        self.ends(scope)
        self.place(scope.result_label)
        self.scopes.pop()
        if isinstance(scope.slots, list):
            return Tuple(tuple(V(s.type, self.load(s)) for s in scope.slots))
        if scope.slots is not None:
            return V(scope.slots.type, self.load(scope.slots))
        return scope.result if scope.result is not None else Const(None)

    def ends(self, scope: Scope) -> None:
        """The end of a function's text: who gets here returns None."""
        if self.ended or (scope.slots is None and (scope.result is None or same(scope.result, Const(None)))):
            return
        scope.node = scope.src.tree
        raise scope.error(Broken(f"{scope.src.tree.name}() can end without a result"), *reversed(self.scopes[:-1]))

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
        key = (src.function, static, tuple(map(type, static)), kinds)
        try:
            done = self.unit.done.get(key)
        except TypeError:
            raise Broken(f"{src.tree.name}() is specialised for its constant arguments, which must be hashable") from None
        if key in self.unit.doing:
            raise Broken(f"{src.tree.name}() calls itself")
        if done is None:
            self.unit.doing.add(key)
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
            self.unit.doing.remove(key)
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
        scope = self.scope
        scope.node = node
        depth = len(self.scopes)
        try:
            if method is None:
                raise Broken(f"{type(node).__name__} is outside the subset")
            method(node)
        except Broken as broken:
            raise scope.error(broken, *reversed(self.scopes[: depth - 1])) from broken.__cause__
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
        if isinstance(hint, Const) and (is_word(hint.value) or hint.value is bool):
            self.lasting(value, hint.value)
        self.assign(node.target, value)

    def stmt_AugAssign(self, node: ast.AugAssign) -> None:
        target, op = node.target, type(node.op)
        if isinstance(target, ast.Name):
            read = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            self.assign(target, self.binary(op, self.expr(read), self.expr(node.value)))
        elif isinstance(target, ast.Attribute):
            base = self.expr(target.value)
            old = self.attribute(base, target.attr)
            self.set_attribute(base, target.attr, self.binary(op, old, self.expr(node.value)))
        else:
            layout, at = self.changed_element(target)
            old = self.fetch(layout, at)
            self.set_element(layout, at, self.binary(op, old, self.expr(node.value)))

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
            self.set_attribute(self.expr(target.value), target.attr, value)
        elif isinstance(target, ast.Subscript):
            self.set_element(*self.changed_element(target), value)
        else:
            raise Broken(f"{type(target).__name__} is not assigned in the subset")

    def set_attribute(self, base: Value, name: str, value: Value) -> None:
        if not isinstance(base, V) or not isinstance(base.type, type):
            raise Broken("only fields of structures are assigned")
        found = getattr(base.type, name, None)
        if not isinstance(found, Field) or found.layout.count is not None or not is_word(found.layout.item):
            raise Broken(f"{name} is no word of {name_of(base.type)}")
        t = found.layout.item
        ref = self.ref(value, t)  # type: ignore[arg-type]
        if not self.hooks.set_field(self, base, found, V(t, ref)):
            self.emit(f"store {llvm(t)} {ref}, ptr {self.offset(base.ref, found.offset)}, align {found.layout.align}")

    def changed_element(self, target: ast.Subscript) -> tuple[Layout, str]:
        base = self.expr(target.value)
        if not isinstance(base, V):
            raise Broken("constants are not changed")
        layout, at = self.element(base, self.expr(target.slice))
        if not is_word(layout.item):
            raise Broken("structures are not assigned as a whole")
        return layout, at

    def set_element(self, layout: Layout, at: str, value: Value) -> None:
        t = layout.item
        self.emit(f"store {llvm(t)} {self.ref(value, t)}, ptr {at}, align {layout.align}")  # type: ignore[arg-type]

    def assign_name(self, name: str, value: Value) -> None:
        old = self.scope.names.get(name)
        self.scope.assigned[name] = self.scope.node
        if isinstance(old, Variable) and not old.counted:
            self.set(old, self.lasting(value, old.type))
        elif isinstance(value, V) and (value.type is bool or is_word(value.type)):
            slot = self.scope.names[name] = self.variable(value.type, value.counted)  # type: ignore[arg-type]
            self.set(slot, value.ref)
        else:
            self.scope.names[name] = value

    # Names at run-time control flow.  Words are in memory, so every path may change them; what is constant, a structure or a tuple
    # must be the same on all paths that meet.

    def branches(self, before: Names) -> Names:
        """The names where another branch begins: those before, and words that only earlier branches made."""
        new = {n: v for n, v in self.scope.names.items() if n not in before and isinstance(v, Variable)}
        return {**before, **new}

    def join(self, ends: list[Names]) -> None:
        """Go on where these paths meet."""
        names: Names = {}
        for name in dict.fromkeys(n for e in ends for n in e):
            found = [e[name] for e in ends if name in e]
            agree = all(same(v, found[0]) for v in found) and (len(found) == len(ends) or isinstance(found[0], Variable))
            names[name] = found[0] if agree else LOST
        if ends:
            self.scope.names = names

    def at_loop(self, node: ast.stmt) -> Names:
        """The names where a loop begins; constants that loops inside it count through are not known there."""
        for n in ast.walk(node):
            if n is not node and isinstance(n, ast.For) and isinstance(n.target, ast.Name):
                if isinstance(self.scope.names.get(n.target.id), (Const, V)):
                    self.scope.names[n.target.id] = LOST
        return dict(self.scope.names)

    def goes_round(self, before: Names, *ends: Names) -> None:
        """What was constant when the loop's text was begun must still be so when it begins again."""
        for name, value in before.items():
            if not isinstance(value, Lost) and not all(same(value, e[name]) for e in ends):
                broken = Broken(f"{name} changes at run time but is a constant: give it a width at its first assignment")
                broken.node = self.scope.assigned.get(name)
                raise broken

    def stmt_If(self, node: ast.If) -> None:
        c = self.test(node.test)
        if isinstance(c, Const):
            self.block(node.body if c.value else node.orelse)
            return
        if isinstance(node.body[-1], ast.Raise):
            c = V(bool, c.ref, weight=-1)
        elif node.orelse and isinstance(node.orelse[-1], ast.Raise):
            c = V(bool, c.ref, weight=1)
        yes, no, end = self.label(), self.label(), self.label()
        before, ends = dict(self.scope.names), []
        self.branch_if(c, yes, no)
        for label, body in ((yes, node.body), (no, node.orelse)):
            self.place(label)
            self.scope.names = self.branches(before)
            self.block(body)
            if not self.ended:
                ends.append(self.scope.names)
                self.branch(end)
        self.place(end)
        self.join(ends)

    def stmt_While(self, node: ast.While) -> None:
        if node.orelse:
            raise Broken("else after a loop is outside the subset")
        top, body, end = self.label(), self.label(), self.label()
        before, ends = self.at_loop(node), []
        self.place(top)
        c = self.test(node.test)
        if isinstance(c, Const) and not c.value:
            return
        if isinstance(c, V):
            self.branch_if(c, body, end)
        self.place(body)
        loop = Loop(top, end)
        self.scope.loops.append(loop)
        self.block(node.body)
        self.scope.loops.pop()
        self.goes_round(before, *loop.continues, *([] if self.ended else [self.scope.names]))
        if isinstance(c, V):
            ends.append(self.branches(before))
        if not self.ended:
            self.branch(top)
        self.place(end)
        self.join(ends + loop.breaks)

    def stmt_For(self, node: ast.For) -> None:
        if node.orelse or not isinstance(node.target, ast.Name):
            raise Broken("for loops count one name, without else")
        if isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "range":
            bounds = [self.expr(a) for a in node.iter.args]
            if not all(isinstance(b, Const) for b in bounds):
                self.count_loop(node, bounds)
                return
            rounds: Any = self.evaluate(range, *(b.value for b in bounds))  # type: ignore[union-attr]
            if len(rounds) > UNROLL:
                self.count_loop(node, bounds)
                return
        else:
            over = self.expr(node.iter)
            if not isinstance(over, Const):
                raise Broken("for goes over range() or a constant")
            rounds = self.evaluate(list, over.value)
        end = self.label()
        ends: list[Names] = []
        for item in rounds:
            loop = Loop(self.label(), end, breaks=ends)
            self.scope.names[node.target.id] = self.wrap(item)
            self.scope.loops.append(loop)
            self.block(node.body)
            self.scope.loops.pop()
            if not self.ended:
                loop.continues.append(self.scope.names)
            self.place(loop.again)
            if self.ended:
                break
            self.join(loop.continues)
        if not self.ended:
            ends.append(self.scope.names)
        self.place(end)
        self.join(ends)

    def count_loop(self, node: ast.For, bounds: list[Value]) -> None:
        start, stop, step = bounds[0] if len(bounds) > 1 else Const(0), bounds[min(1, len(bounds) - 1)], Const(1)
        if len(bounds) == 3:
            if not isinstance(bounds[2], Const) or not isinstance(bounds[2].value, int) or bounds[2].value <= 0:
                raise Broken("the step of a run-time range is a positive constant")
            step = bounds[2]
        t: Any = next((b.type for b in (stop, start) if isinstance(b, V)), i64)
        if not is_word(t):
            raise Broken("range() counts words")
        for bound in (start, stop, step):
            self.inside(bound, t)
        assert isinstance(node.target, ast.Name)
        count = self.variable(t)
        self.set(count, self.ref(start, t))
        limit = self.ref(stop, t)
        top, body, again, end = self.label(), self.label(), self.label(), self.label()
        before = self.at_loop(node)
        old = before.pop(node.target.id, None)
        self.place(top)
        now = V(t, self.load(count))
        c = self.compare(ast.Lt, now, V(t, limit))
        assert isinstance(c, V)
        self.branch_if(c, body, end)
        self.place(body)
        again_same = isinstance(old, Variable) and old.counted and old.type is t
        i = old if again_same else self.variable(t, counted=True)
        assert isinstance(i, Variable)
        self.scope.names[node.target.id] = i
        self.set(i, now.ref)
        loop = Loop(again, end)
        self.scope.loops.append(loop)
        self.block(node.body)
        self.scope.loops.pop()
        if not self.ended:
            loop.continues.append(self.scope.names)
        self.goes_round(before, *loop.continues)
        ends = [self.branches(before)]
        if old is not None and not again_same:  # what it is after no round at all
            ends[0][node.target.id] = LOST
        self.place(again)
        more, by = self.label(), self.ref(step, t)
        if step.value > 1:  # the next number may lie behind the type's last one
            left = V(t.unsigned_type, self.value(f"sub {llvm(t)} {limit}, {now.ref}"))
            c = self.compare(ast.Gt, left, V(left.type, by))
            assert isinstance(c, V)
            self.branch_if(c, more, end)
        self.place(more)
        self.set(count, self.value(f"add {llvm(t)} {now.ref}, {by}"))
        self.branch(top)
        self.place(end)
        self.join(ends + loop.breaks)

    def stmt_Break(self, node: ast.Break) -> None:
        self.scope.loops[-1].breaks.append(dict(self.scope.names))
        self.branch(self.scope.loops[-1].end)

    def stmt_Continue(self, node: ast.Continue) -> None:
        self.scope.loops[-1].continues.append(dict(self.scope.names))
        self.branch(self.scope.loops[-1].again)

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
        arms: dict[str, str] = {}
        labels = []
        for values, case in cases:
            label = default if values == [Ellipsis] else self.label()
            labels.append(label)
            for v in values if label is not default else ():
                if not isinstance(v, int) or int(t(v)) != v:
                    broken = Broken(f"{v!r} is no {t.__name__}")
                    broken.node = case.pattern
                    raise broken
                arms.setdefault(literal(v, t), label)  # the first of equal cases counts
        self.stop(f"switch i{t.bits} {subject.ref}, label %{default} [ {' '.join(f'i{t.bits} {v}, label %{l}' for v, l in arms.items())} ]")
        before, ends = dict(self.scope.names), []
        paths = [(label, case.body) for label, case in zip(labels, node.cases, strict=True)]
        for label, body in paths if default in labels else [*paths, (default, [])]:
            self.place(label)
            self.scope.names = self.branches(before)
            self.block(body)
            if not self.ended:
                ends.append(self.scope.names)
                self.branch(end)
        self.place(end)
        self.join(ends)

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
            if isinstance(v, V) and v.ref.lstrip("-").isdigit():  # a word that is a constant
                word: Any = v.type
                return [int(word(int(v.ref)))]
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
                self.set(slot, self.lasting(item, slot.type))
        elif scope.slots is not None:
            self.set(scope.slots, self.lasting(value, scope.slots.type))
        elif scope.result is not None and not same(scope.result, value):
            raise Broken("different constants are returned on different paths: give the result a width")
        else:
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
