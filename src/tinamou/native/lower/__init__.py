"""From the subset's syntax trees to LLVM IR text.

One `Unit` collects the functions of one object file; one `Lower` writes one LLVM function, expanding the Python functions it calls in
place.  What is not a word, a bool, a structure or a tuple at run time is a constant and is evaluated here (see docs/native.md).

The host program of a unit (the engine) gives meaning to `raise`, to intrinsics and to fields that are not in memory through `Hooks`.
"""

from __future__ import annotations

from typing import Any

from ..types import Array, Layout, Struct, Word
from .statements import Statements
from .unit import INTRINSICS, Hooks, Outlined, Unit, lowering, quoted
from .values import Broken, CompileError, Const, Source, Tuple, Type, V, Value, is_word, literal, llvm, name_of, source_of, tag
from .writer import Scope


class Lower(Statements):
    """Writes one LLVM function."""


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
    attributes = f"{g.attributes} {getattr(src.function, '__attributes__', '')}".rstrip()
    linkage = f"{unit.linkage} {convention}" if convention else "dso_local"
    unit.add(g.function(f"define {linkage} {ret} @{quoted(symbol)}({', '.join(decl)}) {attributes}"))
    return done


__all__ = ["INTRINSICS", "Array", "Broken", "CompileError", "Const", "Hooks", "Lower", "Outlined", "Tuple", "Type", "Unit", "V", "Value",
    "is_word", "literal", "llvm", "lowering", "name_of", "outline", "quoted", "source_of", "tag"]  # fmt: skip
