"""The compiled forms of the operations in `floats`: LLVM's constrained intrinsics, and MXCSR."""

from __future__ import annotations

import os
from collections.abc import Callable

from .floats import (
    CODE,
    host_add,
    host_convert,
    host_div,
    host_equal,
    host_fma,
    host_from_int,
    host_less,
    host_less_equal_signalling,
    host_less_signalling,
    host_mul,
    host_ordered,
    host_sqrt,
    host_sub,
    host_to_int,
)
from .lower import Broken, Const, Lower, V, Value, is_word, llvm, lowering
from .ops import host_float_begin, host_float_end
from .types import Word, u32

MANGLED = {"float": "f32", "double": "f64", "<4 x float>": "v4f32", "<2 x double>": "v2f64"}
STRICT = 'metadata !"fpexcept.strict"'
ROUNDED = f'metadata !"round.dynamic", {STRICT}'

def _real(t: object) -> str:
    if t not in CODE:
        raise Broken("host floating point is on u32 (single) and u64 (double)")
    return CODE[t][2]  # type: ignore[index]


def _in(g: Lower, v: Value) -> tuple[str, str]:
    if not isinstance(v, V) or not is_word(v.type):
        raise Broken("host floating point is on words")
    real = _real(v.type)
    return real, g.value(f"bitcast {llvm(v.type)} {v.ref} to {real}")


def _out(g: Lower, t: type[Word], ref: str) -> V:
    return V(t, g.value(f"bitcast {_real(t)} {ref} to {llvm(t)}"))


def constrained(g: Lower, name: str, result: str, args: list[tuple[str, str]], more: str) -> str:
    """Call one of LLVM's constrained intrinsics; `args` are (type, value)."""
    kinds = [kind for kind, _ in args]
    overloaded = [result, kinds[0]] if result not in (kinds[0], "i1") else kinds[:1]
    full = ".".join(["llvm.experimental.constrained", name, *(MANGLED.get(k, k) for k in overloaded)])
    g.unit.declare(full, f"declare {result} @{full}({', '.join(kinds + ['metadata'] * more.count('metadata'))})")
    return g.value(f"call {result} @{full}({', '.join(f'{k} {x}' for k, x in args)}, {more}) strictfp")


def _operation(function: Callable[..., Word], name: str) -> None:
    @lowering(function)
    def lower(g: Lower, *args: Value) -> Value:
        reals = [_in(g, a) for a in args]
        return _out(g, args[0].type, constrained(g, name, reals[0][0], reals, ROUNDED))  # type: ignore[union-attr,arg-type]


for _f, _name in (
    (host_add, "fadd"), (host_sub, "fsub"), (host_mul, "fmul"), (host_div, "fdiv"), (host_sqrt, "sqrt"), (host_fma, "fma"),
):  # fmt: skip
    _operation(_f, _name)


def _compare(function: Callable[..., bool], name: str, predicate: str) -> None:
    @lowering(function)
    def lower(g: Lower, a: Value, b: Value | None = None) -> Value:
        x = _in(g, a)
        y = x if b is None else _in(g, b)
        return V(bool, constrained(g, name, "i1", [x, y], f'metadata !"{predicate}", {STRICT}'))


_compare(host_less, "fcmp", "olt")
_compare(host_equal, "fcmp", "oeq")
_compare(host_ordered, "fcmp", "ord")
_compare(host_less_signalling, "fcmps", "olt")
_compare(host_less_equal_signalling, "fcmps", "ole")


def _kind(v: Value) -> type[Word]:
    if isinstance(v, Const) and is_word(v.value):
        return v.value  # type: ignore[no-any-return]
    raise Broken("the first argument is a word type known at compile time")


@lowering(host_from_int)
def _lower_from_int(g: Lower, kind: Value, value: Value) -> Value:
    t = _kind(kind)
    if not isinstance(value, V) or not is_word(value.type):
        raise Broken("a word is converted")
    how = "sitofp" if value.type.signed else "uitofp"  # type: ignore[union-attr]
    return _out(g, t, constrained(g, how, _real(t), [(llvm(value.type), value.ref)], ROUNDED))


@lowering(host_to_int)
def _lower_to_int(g: Lower, kind: Value, a: Value) -> Value:
    t, (real, x) = _kind(kind), _in(g, a)
    return V(t, constrained(g, "fptosi" if t.signed else "fptoui", llvm(t), [(real, x)], STRICT))


@lowering(host_convert)
def _lower_convert(g: Lower, kind: Value, a: Value) -> Value:
    t, (real, x) = _kind(kind), _in(g, a)
    if _real(t) == real:
        return a
    narrow = real == "double"
    return _out(g, t, constrained(g, "fptrunc" if narrow else "fpext", _real(t), [(real, x)], ROUNDED if narrow else STRICT))


# -- the host's control and status register: MXCSR of x86-64

X86 = os.uname().machine == "x86_64"
MASKED = 0x1F80  # no exception traps
RC_AT = 13
RC = 0x9C  # two bits for each mode: to nearest, toward zero, down, up are 0 3 1 2


@lowering(host_float_begin)
def _lower_begin(g: Lower, mode: Value) -> Value:
    if not X86:
        return Const(False)
    twice = g.value(f"shl i32 {g.cast(mode, u32).ref}, 1")
    rc = g.value(f"and i32 {g.value(f'lshr i32 {RC}, {twice}')}, 3")
    _load_mxcsr(g, g.value(f"or i32 {g.value(f'shl i32 {rc}, {RC_AT}')}, {MASKED}"))
    return Const(True)


@lowering(host_float_end)
def _lower_end(g: Lower) -> Value:
    if not X86:
        return Const(0)
    g.unit.declare("llvm.x86.sse.stmxcsr", "declare void @llvm.x86.sse.stmxcsr(ptr)")
    room = g.variable(u32).slot
    g.emit(f"call void @llvm.x86.sse.stmxcsr(ptr {room})")
    found = g.value(f"load i32, ptr {room}")
    _load_mxcsr(g, str(MASKED))
    # IE . ZE OE UE PE from bit 0 up are NV DZ OF UF NX from bit 4 down
    flags = "0"
    for source, target in ((0, 4), (2, 3), (3, 2), (4, 1), (5, 0)):
        bit = g.value(f"and i32 {g.value(f'lshr i32 {found}, {source}')}, 1")
        flags = g.value(f"or i32 {flags}, {g.value(f'shl i32 {bit}, {target}')}")
    return V(u32, flags, 31)


def _load_mxcsr(g: Lower, value: str) -> None:
    g.unit.declare("llvm.x86.sse.ldmxcsr", "declare void @llvm.x86.sse.ldmxcsr(ptr)")
    room = g.variable(u32).slot
    g.emit(f"store i32 {value}, ptr {room}")
    g.emit(f"call void @llvm.x86.sse.ldmxcsr(ptr {room})")
