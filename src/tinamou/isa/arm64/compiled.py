"""The compiled forms of this architecture's own intrinsics, and of lane operations for which LLVM has vector instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinamou.native.floatforms import ROUNDED, constrained
from tinamou.native.lower import Broken, Const, Lower, V, Value, is_word, llvm, lowering, source_of
from tinamou.native.types import Word, u64, u128
from tinamou.softfloat.format import F32

from . import lanes
from .memory import join, settle, settled


@lowering(settled)
def _settled(g: Lower, x: Value) -> Value:
    if not isinstance(x, V) or not is_word(x.type):
        raise Broken("what memory held is a word")
    k = llvm(x.type)
    return V(x.type, g.value(f'call {k} asm sideeffect "", "=r,0,~{{memory}}"({k} {x.ref})'), x.top)


@lowering(settle)
def _settle(g: Lower) -> Value:
    g.emit('call void asm sideeffect "", "~{memory}"()')
    return Const(None)


# -- vectors


class Vector:
    """The lanes of a 128-bit word as an LLVM vector; its methods write instructions."""

    def __init__(self, g: Lower, t: type[Word]) -> None:
        self.g, self.t = g, t
        self.count = 128 // t.bits
        self.kind = f"<{self.count} x i{t.bits}>"

    def of(self, v: Value) -> str:
        return self.g.value(f"bitcast i128 {self.g.ref(v, u128)} to {self.kind}")

    def word(self, ref: str) -> V:
        return V(u128, self.g.value(f"bitcast {self.kind} {ref} to i128"))

    def op(self, instruction: str, a: str, b: str) -> str:
        return self.g.value(f"{instruction} {self.kind} {a}, {b}")

    def call(self, name: str, *args: str, more: str = "", more_kinds: str = "") -> str:
        full = f"llvm.{name}.v{self.count}i{self.t.bits}"
        kinds = ", ".join([self.kind] * len(args)) + more_kinds
        self.g.unit.declare(full, f"declare {self.kind} @{full}({kinds})")
        return self.g.value(f"call {self.kind} @{full}({', '.join(f'{self.kind} {a}' for a in args)}{more})")

    def splat(self, scalar: str) -> str:
        one = self.g.value(f"insertelement {self.kind} poison, i{self.t.bits} {scalar}, i64 0")
        return self.g.value(f"shufflevector {self.kind} {one}, {self.kind} poison, <{self.count} x i32> zeroinitializer")

    def constant(self, n: int) -> str:
        return f"<{', '.join([f'i{self.t.bits} {n}'] * self.count)}>"

    def mask(self, predicate: str, a: str, b: str) -> str:
        """Lanes of all ones where the comparison holds."""
        c = self.g.value(f"icmp {predicate} {self.kind} {a}, {b}")
        return self.g.value(f"sext <{self.count} x i1> {c} to {self.kind}")

    def sign(self, signed: str, unsigned: str) -> str:
        return signed if self.t.signed else unsigned

    def shuffled(self, a: str, b: str, order: list[int]) -> str:
        indices = ", ".join(f"i32 {n}" for n in order)
        return self.g.value(f"shufflevector {self.kind} {a}, {self.kind} {b}, <{len(order)} x i32> <{indices}>")

    def any_differs(self, a: str, b: str) -> str:
        """1 if some lane does."""
        c = self.g.value(f"icmp ne {self.kind} {a}, {b}")
        packed = self.g.value(f"bitcast <{self.count} x i1> {c} to i{self.count}")
        return self.g.value(f"zext i1 {self.g.value(f'icmp ne i{self.count} {packed}, 0')} to i32")


def saturating(name: str) -> Callable[..., str]:
    """Saturated and wrapped results differ where a lane saturates."""

    def write(x: Vector, h: Value, a: str, b: str) -> str:
        result = x.call(x.sign("s", "u") + name + ".sat", a, b)
        g = x.g
        assert isinstance(h, V) and isinstance(h.type, type)
        at = g.offset(h.ref, getattr(h.type, "qc").offset)  # noqa: B009
        old = g.value(f"load i32, ptr {at}")
        g.emit(f"store i32 {g.value(f'or i32 {old}, {x.any_differs(result, x.op(name, a, b))}')}, ptr {at}")
        return result

    return write


def plain(write: Callable[..., str]) -> Callable[..., str]:
    return lambda x, h, *operands: write(x, *operands)


def compared(predicate: str, unsigned: str) -> Callable[..., str]:
    return plain(lambda x, a, b: x.mask(x.sign(predicate, unsigned), a, b))


def against_zero(predicate: str) -> Callable[..., str]:
    return plain(lambda x, a: x.mask(predicate, a, "zeroinitializer"))


def _halved(x: Vector, a: str, b: str, base: str, last: str) -> str:
    half = x.op(x.sign("ashr", "lshr"), x.op("xor", a, b), x.constant(1))
    return x.op(last, x.op(base, a, b), half)


MAP1: dict[Any, Callable[..., str]] = {
    lanes.neg: plain(lambda x, a: x.op("sub", "zeroinitializer", a)),
    lanes.absolute: plain(lambda x, a: x.call("smax", a, x.op("sub", "zeroinitializer", a))),
    lanes.count_ones: plain(lambda x, a: x.call("ctpop", a)),
    lanes.count_zeros: plain(lambda x, a: x.call("ctlz", a, more=", i1 false", more_kinds=", i1")),
    lanes.reverse_bits: plain(lambda x, a: x.call("bitreverse", a)),
    lanes.cmeq0: against_zero("eq"),
    lanes.cmge0: against_zero("sge"),
    lanes.cmgt0: against_zero("sgt"),
    lanes.cmle0: against_zero("sle"),
    lanes.cmlt0: against_zero("slt"),
}
MAP2: dict[Any, Callable[..., str]] = {
    lanes.add: plain(lambda x, a, b: x.op("add", a, b)),
    lanes.sub: plain(lambda x, a, b: x.op("sub", a, b)),
    lanes.mul: plain(lambda x, a, b: x.op("mul", a, b)),
    lanes.maximum: plain(lambda x, a, b: x.call(x.sign("smax", "umax"), a, b)),
    lanes.minimum: plain(lambda x, a, b: x.call(x.sign("smin", "umin"), a, b)),
    lanes.abd: plain(lambda x, a, b: x.op("sub", x.call(x.sign("smax", "umax"), a, b), x.call(x.sign("smin", "umin"), a, b))),
    lanes.cmeq: compared("eq", "eq"),
    lanes.cmge: compared("sge", "uge"),
    lanes.cmgt: compared("sgt", "ugt"),
    lanes.cmtst: plain(lambda x, a, b: x.mask("ne", x.op("and", a, b), "zeroinitializer")),
    lanes.hadd: plain(lambda x, a, b: _halved(x, a, b, "and", "add")),
    lanes.rhadd: plain(lambda x, a, b: _halved(x, a, b, "or", "sub")),
    lanes.qadd: saturating("add"),
    lanes.qsub: saturating("sub"),
}
MAP3: dict[Any, Callable[..., str]] = {
    lanes.mla: plain(lambda x, d, a, b: x.op("add", d, x.op("mul", a, b))),
    lanes.mls: plain(lambda x, d, a, b: x.op("sub", d, x.op("mul", a, b))),
    lanes.aba: plain(
        lambda x, d, a, b: x.op("add", d, x.op("sub", x.call(x.sign("smax", "umax"), a, b), x.call(x.sign("smin", "umin"), a, b)))
    ),
}


def _mapped(function: Any, table: dict[Any, Callable[..., str]]) -> None:
    @lowering(function)
    def lower(g: Lower, h: Value, t: Value, op: Value, *operands: Value) -> Value:
        write = table.get(op.value) if isinstance(op, Const) else None
        if write is None or not isinstance(t, Const) or t.value.bits > 64:
            return g.expand(source_of(function), [h, t, op, *operands])
        x = Vector(g, t.value)
        return x.word(write(x, h, *(x.of(v) for v in operands)))


_mapped(lanes.map1, MAP1)
_mapped(lanes.map2, MAP2)
_mapped(lanes.map3, MAP3)


def _shift(x: Vector, a: str, n: Value, left: bool) -> str:
    """By a number from 0 to the width."""
    g, bits = x.g, x.t.bits
    amount = g.cast(n, u64).ref
    over = g.value(f"icmp ugt i64 {amount}, {bits - 1}")
    low = g.value(f"select i1 {over}, i64 {bits - 1}, i64 {amount}")
    narrow = low if bits == 64 else g.value(f"trunc i64 {low} to i{bits}")
    shifted = x.op("shl" if left else x.sign("ashr", "lshr"), a, x.splat(narrow))
    if not left and x.t.signed:
        return shifted
    return g.value(f"select i1 {over}, {x.kind} zeroinitializer, {x.kind} {shifted}")


@lowering(lanes.shift1)
def _shift1(g: Lower, h: Value, t: Value, op: Value, a: Value, n: Value) -> Value:
    assert isinstance(t, Const) and isinstance(op, Const)
    if op.value not in (lanes.shl_n, lanes.shr_n):
        return g.expand(source_of(lanes.shift1), [h, t, op, a, n])
    x = Vector(g, t.value)
    return x.word(_shift(x, x.of(a), n, op.value is lanes.shl_n))


@lowering(lanes.shift2)
def _shift2(g: Lower, h: Value, t: Value, op: Value, d: Value, a: Value, n: Value) -> Value:
    assert isinstance(t, Const) and isinstance(op, Const)
    if op.value is not lanes.sra_n:
        return g.expand(source_of(lanes.shift2), [h, t, op, d, a, n])
    x = Vector(g, t.value)
    return x.word(x.op("add", x.of(d), _shift(x, x.of(a), n, False)))


@lowering(lanes.all_lanes)
def _all_lanes(g: Lower, t: Value, v: Value) -> Value:
    assert isinstance(t, Const)
    x = Vector(g, t.value)
    return x.word(x.splat(g.ref(v, t.value)))


def _permutation(function: Any, order: Callable[[int], list[int]]) -> None:
    @lowering(function)
    def lower(g: Lower, t: Value, n: Value, m: Value) -> Value:
        assert isinstance(t, Const)
        x = Vector(g, t.value)
        return x.word(x.shuffled(x.of(n), x.of(m), order(x.count)))


_permutation(lanes.even, lambda count: [2 * i for i in range(count)])
_permutation(lanes.odd, lambda count: [2 * i + 1 for i in range(count)])
_permutation(lanes.spread, lambda count: [i // 2 + count * (i % 2) for i in range(count)])


@lowering(lanes.transposed)
def _transposed(g: Lower, t: Value, n: Value, m: Value, first: Value) -> Value:
    assert isinstance(t, Const) and isinstance(first, Const)
    x = Vector(g, t.value)
    order = [i - i % 2 + first.value + x.count * (i % 2) for i in range(x.count)]
    return x.word(x.shuffled(x.of(n), x.of(m), order))


@lowering(lanes.reversed_lanes)
def _reversed(g: Lower, t: Value, n: Value, v: Value) -> Value:
    assert isinstance(t, Const) and isinstance(n, Const)
    x = Vector(g, n.value)
    group = t.value.bits // n.value.bits
    a = x.of(v)
    return x.word(x.shuffled(a, a, [i // group * group + group - 1 - i % group for i in range(x.count)]))


@lowering(lanes.widen)
def _widen(g: Lower, t: Value, v: Value) -> Value:
    assert isinstance(t, Const)
    x, wide = Vector(g, t.value), Vector(g, lanes.WIDER[t.value]) if t.value.bits < 64 else None
    if wide is None:
        return g.expand(source_of(lanes.widen), [t, v])
    a = x.of(v)
    low = x.shuffled(a, a, list(range(wide.count)))
    how = "sext" if t.value.signed else "zext"
    return wide.word(g.value(f"{how} <{wide.count} x i{t.value.bits}> {low} to {wide.kind}"))


@lowering(lanes.narrow)
def _narrow(g: Lower, h: Value, t: Value, op: Value, a: Value, n: Value) -> Value:
    assert isinstance(t, Const) and isinstance(op, Const)
    if op.value not in (lanes.xtn, lanes.shrn):
        return g.expand(source_of(lanes.narrow), [h, t, op, a, n])
    x = Vector(g, lanes.WIDER[t.value])
    lanes_in = x.of(a)
    if op.value is lanes.shrn:
        lanes_in = _shift(x, lanes_in, n, False)
    cut = g.value(f"trunc {x.kind} {lanes_in} to <{x.count} x i{t.value.bits}>")
    low = g.value(f"bitcast <{x.count} x i{t.value.bits}> {cut} to i64")
    return V(u128, g.value(f"zext i64 {low} to i128"))


# -- halves.  As vectors, so that registers are written in one piece: a read of 16 bytes waits for two writes of 8.

PAIR = "<2 x i64>"


def _pair(g: Lower, v: Value) -> str:
    return g.value(f"bitcast i128 {g.ref(v, u128)} to {PAIR}")


def _word(g: Lower, ref: str) -> V:
    return V(u128, g.value(f"bitcast {PAIR} {ref} to i128"))


@lowering(lanes.clip)
def _clip(g: Lower, q: Value, v: Value) -> Value:
    minus = g.value(f"sub i64 0, {g.cast(q, u64).ref}")
    mask = g.value(f"insertelement {PAIR} <i64 -1, i64 0>, i64 {minus}, i64 1")
    return _word(g, g.value(f"and {PAIR} {_pair(g, v)}, {mask}"))


@lowering(lanes.joined)
def _joined(g: Lower, n: Value, m: Value) -> Value:
    return _word(g, g.value(f"shufflevector {PAIR} {_pair(g, n)}, {PAIR} {_pair(g, m)}, <2 x i32> <i32 0, i32 2>"))


def _second(g: Lower, q: Value) -> str:
    return g.value(f"icmp ne i64 {g.cast(q, u64).ref}, 0")


@lowering(lanes.half)
def _half(g: Lower, q: Value, v: Value) -> Value:
    pair = _pair(g, v)
    upper = g.value(f"shufflevector {PAIR} {pair}, {PAIR} zeroinitializer, <2 x i32> <i32 1, i32 2>")
    lower = g.value(f"shufflevector {PAIR} {pair}, {PAIR} zeroinitializer, <2 x i32> <i32 0, i32 2>")
    return _word(g, g.value(f"select i1 {_second(g, q)}, {PAIR} {upper}, {PAIR} {lower}"))


@lowering(lanes.into_half)
def _into_half(g: Lower, q: Value, d: Value, narrow: Value) -> Value:
    low = _pair(g, narrow)
    behind = g.value(f"shufflevector {PAIR} {_pair(g, d)}, {PAIR} {low}, <2 x i32> <i32 0, i32 2>")
    alone = g.value(f"shufflevector {PAIR} {low}, {PAIR} zeroinitializer, <2 x i32> <i32 0, i32 2>")
    return _word(g, g.value(f"select i1 {_second(g, q)}, {PAIR} {behind}, {PAIR} {alone}"))


@lowering(join)
def _join(g: Lower, low: Value, high: Value) -> Value:
    one = g.value(f"insertelement {PAIR} poison, i64 {g.ref(low, u64)}, i64 0")
    return _word(g, g.value(f"insertelement {PAIR} {one}, i64 {g.ref(high, u64)}, i64 1"))


# -- floating point


def _format(f: Value) -> Any:
    assert isinstance(f, Const)
    return f.value


def _all(g: Lower, count: int, c: str) -> V:
    """Every bit of a vector of bools."""
    packed = g.value(f"bitcast <{count} x i1> {c} to i{count}")
    return V(bool, g.value(f"icmp eq i{count} {packed}, -1"), weight=1)


@lowering(lanes.early_lanes)
def _early_lanes(g: Lower, fmt: Value, v: Value) -> Value:
    f = _format(fmt)
    x = Vector(g, f.word)
    m = x.op("and", x.of(v), x.constant(f.magnitude))
    number = g.value(f"icmp ule {x.kind} {m}, {x.constant(f.infinity)}")
    other = g.value(f"icmp ne {x.kind} {m}, {x.constant(f.leading)}")
    return _all(g, x.count, g.value(f"and <{x.count} x i1> {number}, {other}"))


def _floats(g: Lower, f: Any, v: Value) -> tuple[str, str]:
    count = 128 // f.word.bits
    kind = f"<{count} x {'float' if f is F32 else 'double'}>"
    return kind, g.value(f"bitcast i128 {g.ref(v, u128)} to {kind}")


@lowering(lanes.host_lanes2)
def _host_lanes2(g: Lower, fmt: Value, operation: Value, a: Value, b: Value) -> Value:
    assert isinstance(operation, Const)
    kind, x = _floats(g, _format(fmt), a)
    _, y = _floats(g, _format(fmt), b)
    result = constrained(g, f"f{operation.value}", kind, [(kind, x), (kind, y)], ROUNDED)
    return V(u128, g.value(f"bitcast {kind} {result} to i128"))


@lowering(lanes.host_lanes3)
def _host_lanes3(g: Lower, fmt: Value, operation: Value, d: Value, a: Value, b: Value) -> Value:
    assert isinstance(operation, Const)
    f = _format(fmt)
    kind, z = _floats(g, f, d)
    _, x = _floats(g, f, a)
    _, y = _floats(g, f, b)
    if operation.value == "mulsub":
        x = g.value(f"fneg {kind} {x}")
    result = constrained(g, "fma", kind, [(kind, x), (kind, y), (kind, z)], ROUNDED)
    return V(u128, g.value(f"bitcast {kind} {result} to i128"))
