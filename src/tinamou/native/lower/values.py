"""What a value is while it is lowered: at run time, at compile time, and where it came from; and the source of a function."""

from __future__ import annotations

import ast
import inspect
import linecache
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from ..types import Layout, Struct, Word

Type = type[Word] | type[bool] | type[Struct] | Layout


class CompileError(SyntaxError):
    """Source outside the subset: file, line, place in the line and the rule, as Python shows its own errors."""

    __module__ = "tinamou.native.lower"


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


def parsed(function: Callable[..., Any]) -> tuple[ast.Module, str, int]:
    """A function's tree, its lines and the number of the first.

    Lines behind the last that has code (a closing bracket) are looked for only where it does not parse without them: that takes longer.
    """
    code = function.__code__
    last = max(line for _, line, _, _ in code.co_positions() if line)
    text = "".join(linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : last])
    try:
        tree = ast.parse(textwrap.dedent(text))
        if tree.body:
            return tree, text, code.co_firstlineno
    except SyntaxError:
        pass
    try:
        lines, first = inspect.getsourcelines(function)
    except OSError:
        raise Broken(f"{function.__qualname__}() has no source text") from None
    text = "".join(lines)
    return ast.parse(textwrap.dedent(text)), text, first


def source_of(function: Callable[..., Any]) -> Source:
    key = (function, id(function))
    if key not in _sources:
        code = function.__code__
        if code not in _trees:
            tree, text, first = parsed(function)
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


def name_of(t: Type) -> str:
    return f"array of {t.item.__name__}" if isinstance(t, Layout) else t.__name__


def tag(value: Any) -> str:
    """A readable part of a symbol for a constant argument."""
    text = getattr(value, "__name__", None) or getattr(value, "name", None) or str(value)
    return "".join(c if c.isalnum() else "_" for c in str(text))[:24]
