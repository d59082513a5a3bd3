"""The text of one LLVM function: instructions, blocks, variables, types and names."""

from __future__ import annotations

import ast
import builtins
import linecache
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from ..types import Word
from .unit import Hooks, Outlined, Unit
from .values import Broken, CompileError, Const, Loop, Lost, Names, Source, V, Value, Variable, bounded, is_word, literal, llvm, name_of

if TYPE_CHECKING:
    pass

_LABELS = re.compile(r"label %([^\s,]+)")


class Scope:
    """The names of one expanded function."""

    def __init__(self, src: Source, names: Names) -> None:
        self.src, self.names = src, names
        self.typevars: dict[Any, type] = {}
        self.slots: Variable | list[Variable] | None = None
        self.result: Value | None = None
        self.result_label = ""
        self.returned: list[str] = []  # results in the text, one for each `return`
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


class Writer:
    """Writes lines; knows nothing of syntax trees but the names in scope."""

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
        self.wide: dict[tuple[str, bool], str] = {}  # value and signedness -> the same extended to 64 bits

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
        if t.bits == 64 and (v.ref, s.signed) in self.wide:
            return V(t, self.wide[v.ref, s.signed], top)
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
