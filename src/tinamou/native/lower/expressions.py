"""Expressions and calls of the subset."""

from __future__ import annotations

import ast
import operator
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ..types import Field, Layout, Struct, Word, u64
from .unit import INTRINSICS, quoted, result_text
from .values import (
    Broken,
    Const,
    Method,
    Names,
    Source,
    Tuple,
    V,
    Value,
    Variable,
    bounded,
    is_word,
    literal,
    llvm,
    name_of,
    same,
    source_of,
    tag,
)
from .writer import Scope, Writer

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    from . import Lower


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


class Expressions(Writer):
    """Values out of syntax trees."""

    block: Callable[[list[ast.stmt]], None]  # of Statements

    @property
    def this(self) -> Lower:
        return cast("Lower", self)

    def test(self, node: ast.expr) -> V | Const:
        """An expression of which only the truth matters."""
        return self.truth(self.logic(node, False) if isinstance(node, ast.BoolOp) else self.expr(node))

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
            special = self.hooks.get_field(self.this, base, found)
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
        special = self.hooks.element(self.this, base, index)
        if special is not None:
            return item, special
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
            return lowering(self.this, *args, **named)
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
            return V(scope.slots.type, scope.returned[0] if len(scope.returned) == 1 else self.load(scope.slots))
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
                from . import outline

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
            self.hooks.after_raising_call(self.this)
        return result
