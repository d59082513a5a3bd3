"""Statements of the subset."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ..types import Field, Layout, Word, i64
from .expressions import UNROLL, Expressions
from .values import LOST, Broken, Const, Loop, Lost, Names, Tuple, V, Value, Variable, is_word, literal, llvm, name_of, same

if TYPE_CHECKING:
    pass


class Statements(Expressions):
    """Control flow and assignment."""

    # -- statements

    def block(self, body: list[ast.stmt]) -> None:  # type: ignore[override]
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
        if not self.hooks.set_field(self.this, base, found, V(t, ref)):
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
            scope.returned.append(self.lasting(value, scope.slots.type))
            self.set(scope.slots, scope.returned[-1])
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
        self.hooks.raises(self.this, kind.value, args)
        if not self.ended:
            raise Broken("code goes on after raise")
