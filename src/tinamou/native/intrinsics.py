"""The compiled forms of the operations in `ops` and `memory`."""

from __future__ import annotations

from typing import Any

from . import memory, ops
from .lower import Broken, Const, Lower, V, Value, is_word, llvm, lowering
from .types import Word, u64


def _word(v: Value) -> tuple[V, type[Word]]:
    if isinstance(v, V) and is_word(v.type):
        return v, v.type  # type: ignore[return-value]
    raise Broken("a word is needed: give the constant a width")


def _kind(v: Value) -> type[Word]:
    if isinstance(v, Const) and is_word(v.value) and v.value.bits:
        return v.value  # type: ignore[no-any-return]
    raise Broken("the first argument is a word type known at compile time")


def _call(g: Lower, name: str, t: type[Word], args: list[tuple[str, str]], result: str = "") -> str:
    """Call an LLVM intrinsic overloaded on i<bits>."""
    full = f"{name}.i{t.bits}"
    result = result or f"i{t.bits}"
    g.unit.declare(full, f"declare {result} @{full}({', '.join(k for k, _ in args)})")
    return g.value(f"call {result} @{full}({', '.join(f'{k} {r}' for k, r in args)})")


@lowering(ops.clz)
def _clz(g: Lower, x: Value) -> Value:
    v, t = _word(x)
    return V(t, _call(g, "llvm.ctlz", t, [(llvm(t), v.ref), ("i1", "false")]), t.bits)


@lowering(ops.ctz)
def _ctz(g: Lower, x: Value) -> Value:
    v, t = _word(x)
    return V(t, _call(g, "llvm.cttz", t, [(llvm(t), v.ref), ("i1", "false")]), t.bits)


@lowering(ops.popcount)
def _popcount(g: Lower, x: Value) -> Value:
    v, t = _word(x)
    return V(t, _call(g, "llvm.ctpop", t, [(llvm(t), v.ref)]), t.bits)


@lowering(ops.bswap)
def _bswap(g: Lower, x: Value) -> Value:
    v, t = _word(x)
    return v if t.bits == 8 else V(t, _call(g, "llvm.bswap", t, [(llvm(t), v.ref)]))


@lowering(ops.bitreverse)
def _bitreverse(g: Lower, x: Value) -> Value:
    v, t = _word(x)
    return V(t, _call(g, "llvm.bitreverse", t, [(llvm(t), v.ref)]))


def _rotate(g: Lower, name: str, x: Value, n: Value) -> Value:
    v, t = _word(x)
    amount = g.cast(n, t).ref
    return V(t, _call(g, name, t, [(llvm(t), v.ref), (llvm(t), v.ref), (llvm(t), amount)]))


@lowering(ops.rotl)
def _rotl(g: Lower, x: Value, n: Value) -> Value:
    return _rotate(g, "llvm.fshl", x, n)


@lowering(ops.rotr)
def _rotr(g: Lower, x: Value, n: Value) -> Value:
    return _rotate(g, "llvm.fshr", x, n)


def _divide(g: Lower, instruction: str, a: Value, b: Value) -> Value:
    t = _word(a if isinstance(a, V) else b)[1]
    g.inside(a, t)
    g.inside(b, t)
    x, y = g.ref(a, t), g.nonzero(b, g.ref(b, t), t)
    if not t.signed:
        return V(t, g.value(f"u{instruction} i{t.bits} {x}, {y}"))
    if t.bits > 128:
        return V(t, _divide_magnitudes(g, instruction, t.bits, x, y))
    if isinstance(b, Const) and b.value != -1:
        return V(t, g.value(f"s{instruction} i{t.bits} {x}, {y}"))
    # the most negative number by -1 traps on the host: negate instead
    minus = g.value(f"icmp eq i{t.bits} {y}, -1")
    safe = g.value(f"select i1 {minus}, i{t.bits} 1, i{t.bits} {y}")
    plain = g.value(f"s{instruction} i{t.bits} {x}, {safe}")
    special = g.value(f"sub i{t.bits} 0, {x}") if instruction == "div" else "0"
    return V(t, g.value(f"select i1 {minus}, i{t.bits} {special}, i{t.bits} {plain}"))


def _divide_magnitudes(g: Lower, instruction: str, bits: int, x: str, y: str) -> str:
    """Signed division by the unsigned one: LLVM 22 aborts on 256-bit signed division by a power of two."""
    k = f"i{bits}"
    low = [g.value(f"icmp slt {k} {v}, 0") for v in (x, y)]
    size = [g.value(f"select i1 {n}, {k} {g.value(f'sub {k} 0, {v}')}, {k} {v}") for n, v in zip(low, (x, y), strict=True)]
    plain = g.value(f"u{instruction} {k} {size[0]}, {size[1]}")
    negative = g.value(f"xor i1 {low[0]}, {low[1]}") if instruction == "div" else low[0]
    return g.value(f"select i1 {negative}, {k} {g.value(f'sub {k} 0, {plain}')}, {k} {plain}")


@lowering(ops.quot)
def _quot(g: Lower, a: Value, b: Value) -> Value:
    return _divide(g, "div", a, b)


@lowering(ops.rem)
def _rem(g: Lower, a: Value, b: Value) -> Value:
    return _divide(g, "rem", a, b)


def _weighted(g: Lower, c: Value, weight: int) -> Value:
    v = g.truth(c)
    return v if isinstance(v, Const) else V(bool, v.ref, weight=weight)


@lowering(ops.likely)
def _likely(g: Lower, c: Value) -> Value:
    return _weighted(g, c, 1)


@lowering(ops.unlikely)
def _unlikely(g: Lower, c: Value) -> Value:
    return _weighted(g, c, -1)


@lowering(ops.assume)
def _assume(g: Lower, condition: Value) -> Value:
    g.unit.declare("llvm.assume", "declare void @llvm.assume(i1)")
    g.emit(f"call void @llvm.assume(i1 {g.ref(condition, bool)})")
    return Const(None)


@lowering(ops.static_assert)
def _static_assert(g: Lower, condition: Value, message: Value) -> Value:
    if not isinstance(condition, Const) or not isinstance(message, Const):
        raise Broken("static_assert() is of constants")
    if not condition.value:
        raise Broken(str(message.value))
    return Const(None)


def pointer(g: Lower, address: Value) -> str:
    return g.value(f"inttoptr i64 {g.cast(address, u64).ref} to ptr")


@lowering(memory.peek)
def _peek(g: Lower, kind: Value, address: Value) -> Value:
    t = _kind(kind)
    return V(t, g.value(f"load {llvm(t)}, ptr {pointer(g, address)}, align 1"))


@lowering(memory.poke)
def _poke(g: Lower, kind: Value, address: Value, value: Value) -> Value:
    t = _kind(kind)
    g.emit(f"store {llvm(t)} {g.ref(value, t)}, ptr {pointer(g, address)}, align 1")
    return Const(None)


@lowering(memory.peek_acquire)
def _peek_acquire(g: Lower, kind: Value, address: Value) -> Value:
    t = _kind(kind)
    return V(t, g.value(f"load atomic {llvm(t)}, ptr {pointer(g, address)} acquire, align {t.size}"))


@lowering(memory.poke_release)
def _poke_release(g: Lower, kind: Value, address: Value, value: Value) -> Value:
    t = _kind(kind)
    g.emit(f"store atomic {llvm(t)} {g.ref(value, t)}, ptr {pointer(g, address)} release, align {t.size}")
    return Const(None)


def atomic_operation(operation: Value, t: type[Word]) -> str:
    name = operation.value if isinstance(operation, Const) else None
    known = {"swap": "xchg", "add": "add", "and": "and", "or": "or", "xor": "xor"}
    known |= {"min": "min" if t.signed else "umin", "max": "max" if t.signed else "umax"}
    if name not in known:
        raise Broken(f"atomic operations are {', '.join(known)}")
    return known[name]


@lowering(memory.exchange)
def _exchange(g: Lower, operation: Value, kind: Value, address: Value, value: Value) -> Value:
    t = _kind(kind)
    op = atomic_operation(operation, t)
    return V(t, g.value(f"atomicrmw {op} ptr {pointer(g, address)}, {llvm(t)} {g.ref(value, t)} seq_cst, align {t.size}"))


def compare_exchange(g: Lower, t: type[Word], at: str, expected: Value, value: Value) -> V:
    k = llvm(t)
    pair = g.value(f"cmpxchg ptr {at}, {k} {g.ref(expected, t)}, {k} {g.ref(value, t)} seq_cst seq_cst, align {t.size}")
    return V(t, g.value(f"extractvalue {{ {k}, i1 }} {pair}, 0"))


@lowering(memory.compare_exchange)
def _compare_exchange(g: Lower, kind: Value, address: Value, expected: Value, value: Value) -> Value:
    return compare_exchange(g, _kind(kind), pointer(g, address), expected, value)


@lowering(memory.fence)
def _fence(g: Lower) -> Value:
    g.emit("fence seq_cst")
    return Const(None)


@lowering(memory.cycle_counter)
def _cycle_counter(g: Lower) -> Value:
    g.unit.declare("llvm.readcyclecounter", "declare i64 @llvm.readcyclecounter()")
    return V(u64, g.value("call i64 @llvm.readcyclecounter()"))


@lowering(memory.call_host)
def _call_host(g: Lower, function: Value, *args: Any) -> Value:
    refs = ", ".join(f"i64 {g.cast(a, u64).ref}" for a in args)
    return V(u64, g.value(f"call i64 {pointer(g, function)}({refs})"))
