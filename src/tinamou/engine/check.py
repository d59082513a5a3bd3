"""Does any instruction change state before its last possible exception?  Such an instruction could not be restarted.

    for finding in check(RV64): print(finding)

Looks at the text of the rows' functions and of the functions that they call.  State changes by an assignment to a field or element and
by a store; an exception is possible at `raise` and at every access to guest memory.  What the function returns is written to registers
after its end and cannot be too early.  Both ways of a condition count as possible unless it is made of constants; a loop may go round.

Some changes do no harm: a sticky bit that is set again, a scratch field, the second store of a pair that was probed before.  A line that
says why, in a comment `# restarts: the reason`, does not count, neither as a change nor as what may raise.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tinamou.native.lower import source_of
from tinamou.native.types import Struct

from . import cpu as cpu_module
from .architecture import Architecture
from .cpu import Cpu
from .patterns import Insn

EXCUSED = re.compile(r"#\s*restarts:\s*\S")
ACCESSES = {Cpu.load: False, Cpu.store: True, Cpu.atomic: True, Cpu.compare_swap: True}  # intrinsic -> it changes memory
UNKNOWN = object()

States = frozenset[int]  # on the paths that lead here: the line of the last change, or 0
CLEAN: States = frozenset({0})


@dataclass(frozen=True, order=True)
class Finding:
    """An exception that is possible after a change."""

    insn: str
    file: str
    line: int  # of what may raise
    text: str
    written: int  # line of the change, in the function that `file` and `line` are in

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.insn}: {self.text} may raise after the state was changed in line {self.written}"


@dataclass
class Summary:
    """What a function does to whom calls it."""

    raises: bool = False
    ends: States = CLEAN  # at its end, if nothing was changed before it
    findings: list[tuple[str, int, str, int]] = field(default_factory=list)


@dataclass
class _Loop:
    """The states in which a loop is left or begun again by break and continue."""

    breaks: States = frozenset()
    continues: States = frozenset()


class Checker:
    """Looks at functions of one architecture."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.supplied = arch.intrinsics()
        self.summaries: dict[Any, Summary] = {}

    def insn(self, insn: Insn) -> list[Finding]:
        found = self.summary(insn.function).findings
        return sorted({Finding(insn.name, *f) for f in found})

    def summary(self, function: Callable[..., Any]) -> Summary:
        key = function.__code__, id(function.__globals__), function.__closure__
        if key not in self.summaries:
            self.summaries[key] = Summary()  # what calls itself adds nothing
            self.summaries[key] = _Function(self, source_of(function)).run()
        return self.summaries[key]


class _Function:
    """One walk through a function's text, in the order of execution."""

    def __init__(self, checker: Checker, src: Any) -> None:
        self.checker, self.src = checker, src
        self.result = Summary()
        self.state: States = CLEAN
        self.returned: States = frozenset()
        self.loops: list[_Loop] = []
        self.locals = {n.id for n in ast.walk(src.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | set(src.params)

    def run(self) -> Summary:
        self.block(self.src.tree.body)
        self.result.ends = self.returned | self.state
        return self.result

    # -- events

    def excused(self, node: ast.AST) -> bool:
        return bool(EXCUSED.search(linecache.getline(self.src.file, self.line(node))))

    def write(self, node: ast.AST) -> None:
        if self.state and not self.excused(node):
            self.state = frozenset({self.line(node)})

    def may_raise(self, node: ast.AST) -> None:
        if not self.state or self.excused(node):
            return
        self.result.raises = True
        if any(self.state):
            self.result.findings.append((self.src.file, self.line(node), ast.unparse(node).splitlines()[0], max(self.state)))

    def line(self, node: Any) -> int:
        return int(self.src.first + node.lineno - 1)

    # -- statements

    def block(self, body: list[ast.stmt]) -> None:
        for node in body:
            if self.state:
                self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Return(value):
                self.expression(value)
                self.returned, self.state = self.returned | self.state, frozenset()
            case ast.Raise(exception):
                if isinstance(exception, ast.Call):
                    for a in exception.args:
                        self.expression(a)
                self.may_raise(node)
                self.state = frozenset()
            case ast.If(test, body, other):
                self.branches(test, [body, other])
            case ast.While(test, body):
                self.loop(test, body)
            case ast.For(_, over, body):
                self.expression(over)
                self.loop(None, body)
            case ast.Match(subject, cases):
                self.expression(subject)
                default = any(isinstance(c.pattern, ast.MatchAs) and c.pattern.pattern is None for c in cases)
                self.paths([c.body for c in cases] + ([] if default else [[]]))
            case ast.Break():
                self.loops[-1].breaks |= self.state
                self.state = frozenset()
            case ast.Continue():
                self.loops[-1].continues |= self.state
                self.state = frozenset()
            case ast.Assign(targets, value):
                self.expression(value)
                for t in targets:
                    self.target(t)
            case ast.AugAssign(target, _, value):
                self.expression(value)
                self.target(target)
            case ast.AnnAssign(target, _, value) if value:
                self.expression(value)
                self.target(target)
            case ast.Expr(value):
                self.expression(value)

    def target(self, node: ast.expr) -> None:
        match node:
            case ast.Tuple(parts):
                for p in parts:
                    self.target(p)
            case ast.Attribute(base) | ast.Subscript(base):
                self.expression(base)
                if isinstance(node, ast.Subscript):
                    self.expression(node.slice)
                self.write(node)

    def branches(self, test: ast.expr, bodies: list[list[ast.stmt]]) -> None:
        self.expression(test)
        known = self.constant(test)
        self.paths(bodies if known is UNKNOWN else [bodies[0] if known else bodies[1]])

    def paths(self, bodies: list[list[ast.stmt]]) -> None:
        before, after = self.state, frozenset[int]()
        for body in bodies:
            self.state = before
            self.block(body)
            after |= self.state
        self.state = after

    def loop(self, test: ast.expr | None, body: list[ast.stmt]) -> None:
        loop = _Loop()
        self.loops.append(loop)
        endless = test is not None and self.constant(test) is not UNKNOWN and bool(self.constant(test))
        left: States = frozenset()
        for _ in range(2):  # what the first round writes, the second one may raise after
            self.expression(test)
            left |= frozenset() if endless else self.state
            self.block(body)
            self.state |= loop.continues
        left |= frozenset() if endless else self.state
        self.loops.pop()
        self.state = left | loop.breaks

    # -- expressions, in the order in which Python evaluates them

    def expression(self, node: ast.AST | None) -> None:
        match node:
            case None | ast.Constant() | ast.Name() | ast.Lambda() | ast.JoinedStr():
                pass
            case ast.Call():
                self.call(node)
            case ast.IfExp(test, body, other):
                self.expression(test)
                known = self.constant(test)
                for way in [body, other] if known is UNKNOWN else [body if known else other]:
                    self.maybe(way, known is UNKNOWN)
            case ast.BoolOp(_, values):
                self.expression(values[0])
                for v in values[1:]:
                    self.maybe(v, True)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.expression(child)

    def maybe(self, node: ast.expr, unsure: bool) -> None:
        before = self.state
        self.expression(node)
        if unsure:
            self.state |= before

    def call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute):
            self.expression(node.func.value)
        for a in [*node.args, *(k.value for k in node.keywords)]:
            self.expression(a)
        f = self.callee(node.func)
        if f is UNKNOWN or not self.state:
            return
        f = self.checker.supplied.get(f, f)
        if f in ACCESSES:
            self.may_raise(node)
            if ACCESSES[f] and not self.changes_nothing(node):
                self.write(node)
            return
        if not isinstance(f, types.FunctionType) or getattr(f, "__native__", "") == "intrinsic" or f is cpu_module._jump:
            return
        if all(self.constant(a) is not UNKNOWN for a in node.args) and node.args and "__native__" not in vars(f) and not _raises(f):
            return  # evaluated by the compiler
        inner = self.checker.summary(f)
        self.result.findings += inner.findings
        if inner.raises:
            self.may_raise(node)
        before = self.state
        if any(inner.ends):
            self.write(node)
        if 0 in inner.ends:
            self.state |= before

    def changes_nothing(self, node: ast.Call) -> bool:
        """An atomic operation that leaves memory as it is: whether it may be written is all that it finds out."""
        given = [self.constant(a) for a in node.args]
        return len(given) == 4 and given[0] in ("add", "or", "xor") and given[3] is not UNKNOWN and not given[3]

    # -- what a name means

    def callee(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute):
            kind = self.type_of(node.value)
            if kind is not None:
                return getattr(kind, node.attr, UNKNOWN)
        return self.constant(node)

    def type_of(self, node: ast.expr) -> type[Struct] | None:
        """The structure that an expression is, if it is one that is known."""
        if isinstance(node, ast.Name) and node.id in self.src.params:
            hint = self.src.hints.get(node.id)
            if isinstance(hint, type) and issubclass(hint, Struct):
                arch = self.checker.arch.cpu
                return arch if issubclass(arch, hint) else hint
        if isinstance(node, ast.Call):
            f = self.callee(node.func)
            owner = getattr(f, "__self__", None)
            if isinstance(owner, type) and issubclass(owner, Struct):  # Struct.at(address)
                return owner
            if isinstance(f, types.FunctionType):
                hint = f.__annotations__.get("return")
                found = f.__globals__.get(hint) if isinstance(hint, str) else hint
                if isinstance(found, type) and issubclass(found, Struct):
                    return found
        return None

    def constant(self, node: ast.expr) -> Any:
        """The value of an expression made of constants."""
        if any(isinstance(n, ast.Name) and n.id in self.locals for n in ast.walk(node)):
            return UNKNOWN
        try:
            return eval(compile(ast.Expression(node), self.src.file, "eval"), {**vars(builtins), **self.src.space})
        except Exception:
            return UNKNOWN


def _raises(function: Callable[..., Any]) -> bool:
    return any(isinstance(n, ast.Raise) for n in ast.walk(source_of(function).tree))


def check(arch: Architecture) -> Iterator[Finding]:
    """All findings in an architecture's rows."""
    checker = Checker(arch)
    for insn in arch.isa.insns:
        yield from checker.insn(insn)
