"""One LLVM module: its functions, and what the host program means by things the compiler does not know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..types import Field
from .values import Broken, Type, V, Value, llvm, source_of

if TYPE_CHECKING:
    from . import Lower


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

    def element(self, g: Lower, base: V, index: Value) -> str | None:
        """Where the element of an array is that is not in memory, or None."""
        return None

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
    metadata: list[str] = field(default_factory=list)
    linkage: str = "internal"  # of outlined functions
    external: Callable[[str], Outlined | None] = lambda symbol: None  # functions that another image has

    def declare(self, name: str, text: str) -> None:
        self.declarations.setdefault(name, text)

    def add(self, text: str) -> None:
        self.parts.append(text)

    def export(self, function: Callable[..., Any], name: str | None = None) -> str:
        """Compile a function under its own name, with the C calling convention; gives the symbol."""
        from . import outline

        src = source_of(function)
        symbol = name or function.__name__
        self.exports.append(symbol)
        self.names.add(symbol)
        outline(self, src, [None] * len(src.params), symbol, "", self.hooks.outlined())
        return symbol

    def text(self, triple: str) -> str:
        defined = [d for n, d in self.declarations.items() if n not in self.names]
        weights = '!0 = !{!"branch_weights", i32 2000, i32 1}\n!1 = !{!"branch_weights", i32 1, i32 2000}\n!2 = !{}\n'
        return "\n".join([f'target triple = "{triple}"', *self.globals, *defined, *self.parts, weights, *self.metadata])


def result_text(done: Outlined) -> str:
    if isinstance(done.result, tuple):
        return f"{{ {', '.join(llvm(t) for t in done.result)} }}"
    return "void" if done.result is None else llvm(done.result)


def quoted(symbol: str) -> str:
    return symbol if symbol.replace("_", "a").replace(".", "a").isalnum() else f'"{symbol}"'


Lowering = Callable[..., Value]
INTRINSICS: dict[Any, Lowering] = {}


def lowering(function: Any) -> Callable[[Lowering], Lowering]:
    """Decorator: the compiled form of an intrinsic, called as f(lower, *argument values)."""

    def add(f: Lowering) -> Lowering:
        INTRINSICS[function] = f
        return f

    return add
