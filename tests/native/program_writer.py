"""Random functions of the subset, as source text that is valid Python and compiles."""

import random
from collections.abc import Callable
from typing import Any

from native_harness import WORDS, python

from tinamou.native import ops
from tinamou.native.types import Word

NAMES = {t.__name__: t for t in WORDS}
OPERATIONS = "clz ctz popcount bswap bitreverse rotl rotr quot rem outlined"
NAMES |= {n: getattr(ops, n) for n in OPERATIONS.split()}
COMMON = [t for t in WORDS if t.bits <= 64] * 3 + list(WORDS)


class Writer:
    """One function with helpers; `text` is its source, `run` the function."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.lines: list[str] = []
        self.helpers: list[tuple[str, list[type[Word]], type[Word]]] = []
        self.count = 0
        for k in range(self.r.randrange(3)):
            self.define(f"helper{k}", "@outlined\n" if self.r.random() < 0.4 else "", self.r.randint(1, 3), 3)
        self.define("run", "", self.r.randint(1, 3), 8)
        self.text = "\n".join(self.lines) + "\n"
        self.run: Callable[..., Any] = python(self.text, "run", **NAMES)

    def define(self, name: str, decorator: str, parameters: int, size: int) -> None:
        r = self.r
        kinds = [r.choice(COMMON) for _ in range(parameters)]
        result = r.choice(COMMON)
        self.names: dict[str, type[Word]] = {f"p{k}": t for k, t in enumerate(kinds)}
        self.loops = 0
        listed = ", ".join(f"p{k}: {t.__name__}" for k, t in enumerate(kinds))
        self.lines.append(f"{decorator}def {name}({listed}) -> {result.__name__}:")
        self.result = result
        for _ in range(2):
            self.declare("    ")
        self.block("    ", size, 0, False)
        self.lines.append(f"    return {self.expression(result, 2)}")
        self.helpers.append((name, kinds, result))

    def declare(self, indent: str) -> None:
        t = self.r.choice(COMMON)
        text = self.expression(t, 1)
        self.count += 1
        self.names[f"v{self.count}"] = t
        self.lines.append(f"{indent}v{self.count} = {text}")

    # -- statements

    def block(self, indent: str, size: int, depth: int, loop: bool) -> None:
        known = dict(self.names)
        for _ in range(self.r.randint(1, size)):
            self.statement(indent, depth, loop)
        self.names = {n: t for n, t in self.names.items() if n in known} if depth else self.names

    def statement(self, indent: str, depth: int, loop: bool) -> None:
        r = self.r
        kind = r.randrange(14 if depth < 3 else 6)
        put = self.lines.append
        inner = indent + "    "
        if kind < 3:
            name = r.choice(list(self.names))
            put(f"{indent}{name} = {self.expression(self.names[name], 3)}")
        elif kind == 3:
            name = r.choice(list(self.names))
            t = self.names[name]
            op = r.choice(("+", "-", "*", "&", "|", "^", "<<", ">>") if t.signed else ("+", "-", "*", "&", "|", "^", "<<", ">>", "//", "%"))
            value = self.expression(t, 2)
            if op in ("//", "%"):
                value = f"({value} | 1)"
            elif op in ("<<", ">>"):
                value = self.amount()
            put(f"{indent}{name} {op}= {value}")
        elif kind == 4:
            self.declare(indent)
        elif kind == 5:
            if loop and r.random() < 0.5:
                put(f"{indent}if {self.condition(1)}:")
                put(f"{inner}{r.choice(('break', 'continue'))}")
            elif r.random() < 0.4:
                put(f"{indent}if {self.condition(1)}:")
                put(f"{inner}return {self.expression(self.result, 1)}")
            else:
                put(f"{indent}pass")
        elif kind < 9:
            put(f"{indent}if {self.condition(2)}:")
            self.block(inner, 3, depth + 1, loop)
            if r.random() < 0.3:
                put(f"{indent}elif {self.condition(2)}:")
                self.block(inner, 3, depth + 1, loop)
            if r.random() < 0.6:
                put(f"{indent}else:")
                self.block(inner, 3, depth + 1, loop)
        elif kind == 9:
            self.count += 1
            n = f"n{self.count}"
            put(f"{indent}{n} = u8({r.randrange(6)})")
            put(f"{indent}while {n}{r.choice(('', ' != 0', ' > 0'))}{f' and {self.condition(1)}' if r.random() < 0.3 else ''}:")
            put(f"{inner}{n} -= 1")
            self.block(inner, 3, depth + 1, True)
        elif kind == 10:
            self.count += 1
            k = f"k{self.count}"
            put(f"{indent}for {k} in range({r.randrange(5)}):")
            put(f"{inner}{(name := r.choice(list(self.names)))} += {self.names[name].__name__}({k})")
            self.block(inner, 3, depth + 1, True)
        elif kind == 11:
            self.count += 1
            i, t = f"j{self.count}", r.choice([t for t in COMMON if not t.signed])
            step = f", {r.randint(1, 9)}" if r.random() < 0.3 else ""
            start = f"{r.randrange(4)}, " if step or r.random() < 0.5 else ""
            put(f"{indent}for {i} in range({start}{self.expression(t, 1)} & {r.randrange(8)}{step}):")
            put(f"{inner}{(name := r.choice(list(self.names)))} ^= {self.names[name].__name__}({i})")
            self.block(inner, 2, depth + 1, True)
        elif kind == 12:
            name = r.choice(list(self.names))
            mask = r.choice((3, 7))
            put(f"{indent}match {name} & {mask}:")
            for values in r.sample(["0", "1", "2 | 3", "5", "6 | 4"], r.randint(1, 3)):
                put(f"{inner}case {values}:")
                self.block(inner + "    ", 2, depth + 1, loop)
            if r.random() < 0.5:
                put(f"{inner}case _:")
                self.block(inner + "    ", 2, depth + 1, loop)
        else:
            a, b = r.choice(list(self.names)), r.choice(list(self.names))
            put(f"{indent}{a}, {b} = {self.expression(self.names[a], 1)}, {self.expression(self.names[b], 1)}")

    # -- expressions

    def amount(self) -> str:
        t = self.r.choice([t for t in COMMON if not t.signed])
        n = self.r.randrange(140)
        return self.r.choice((f"{n}", f"({self.expression(t, 0)} & {self.r.choice((7, 31, 63))})", self.expression(t, 0)))

    def constant(self, t: type[Word]) -> int:
        r = self.r
        power = 1 << r.randrange(t.bits)
        return int(t(r.choice((r.randrange(10), power, power - 1, r.getrandbits(t.bits), -r.randrange(1, 10)))))

    def expression(self, t: type[Word], depth: int) -> str:
        r, name = self.r, t.__name__
        if depth <= 0 or r.random() < 0.15:
            same = [n for n, k in self.names.items() if k is t]
            if same and r.random() < 0.6:
                return r.choice(same)
            if r.random() < 0.5:
                return f"{name}({r.choice(list(self.names))})"
            return f"{name}({self.constant(t)})"
        kind = r.randrange(13)
        a = self.expression(t, depth - 1)
        if kind < 5:
            b = self.expression(t, depth - 1) if r.random() < 0.7 else str(self.constant(t))
            return f"({a} {r.choice('+-*&|^')} {b})"
        if kind == 5:
            return f"({a} {r.choice(('<<', '>>'))} {self.amount()})"
        if kind == 6:
            b = self.expression(t, depth - 1)
            if t.signed:
                return f"{r.choice(('quot', 'rem'))}({a}, {b} | 1)"
            return f"({a} {r.choice(('//', '%'))} ({b} | 1))"
        if kind == 7:
            return f"({r.choice('-~+')}{a})"
        if kind == 8:
            other = r.choice(COMMON)
            return f"{name}({self.expression(other, depth - 1)})"
        if kind == 9:
            return f"{r.choice(('clz', 'ctz', 'popcount', 'bswap', 'bitreverse'))}({a})"
        if kind == 10:
            return f"({a} if {self.condition(depth - 1)} else {self.expression(t, depth - 1)})"
        if kind == 11:
            made = [h for h in self.helpers if h[2] is t]
            if made:
                f, kinds, _ = r.choice(made)
                return f"{f}({', '.join(self.expression(k, depth - 1) for k in kinds)})"
            return f"{name}({self.condition(depth - 1)})"
        return f"{r.choice(('min', 'max', 'rotl', 'rotr'))}({a}, {self.expression(t, depth - 1)})"

    def condition(self, depth: int) -> str:
        r = self.r
        if depth > 0 and r.random() < 0.4:
            return f"({self.condition(depth - 1)} {r.choice(('and', 'or'))} {self.condition(depth - 1)})"
        if r.random() < 0.1:
            return f"not {self.condition(depth - 1)}"
        t = r.choice(COMMON)
        a, b = self.expression(t, depth), self.expression(t, depth) if r.random() < 0.6 else str(self.constant(t))
        if r.random() < 0.1:
            return f"({a} {r.choice(('<', '<=', '=='))} {self.expression(t, 0)} {r.choice(('<', '!='))} {b})"
        return f"{a} {r.choice(('==', '!=', '<', '<=', '>', '>='))} {b}"
