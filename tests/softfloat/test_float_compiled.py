"""Every operation compiled gives what it gives in CPython."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from native.native_harness import Pack, argument_types, python
from softfloat.oracle import FORMATS, MODES, some_pattern
from tinamou.native.types import i32, i64, i128, u32, u64, u128
from tinamou.softfloat import arith, behaviour, compare, convert, rem
from tinamou.softfloat.behaviour import ARM, DEFAULT_NAN, DROP, FLUSH_INPUTS, FLUSH_OUTPUTS, M68K, X87, Behaviour
from tinamou.softfloat.fma import fma
from tinamou.softfloat.format import F16_ALT, F32, F80, F80_M68K, Format

COUNT = 60


def operations(f: Format, rules: Behaviour) -> list[Callable[..., Any]]:
    """Functions of words only: the format and the rules are in the text."""
    w = f.word.__name__
    made = []

    def add(name: str, function: Callable[..., Any], parameters: str, arguments: str, result: str, **names: Any) -> None:
        words = {t.__name__: t for t in (i32, i64, i128, u32, u64, u128, f.word, *(g.word for g in FORMATS))}
        text = f"def {name}({parameters}, control: u32) -> tuple[{result}]:\n    return call({arguments}, control)\n"
        made.append(python(text, name, **words, **names, call=function, f=f, rules=rules))

    for name in ("add", "sub", "mul", "div"):
        add(name, getattr(arith, name), f"a: {w}, b: {w}", "f, rules, a, b", f"{w}, u32")
    add("sqrt", arith.sqrt, f"a: {w}", "f, rules, a", f"{w}, u32")
    add("fma", fma, f"a: {w}, b: {w}, c: {w}, variant: u32", "f, rules, a, b, c, variant", f"{w}, u32")
    for name in ("rem", "mod"):
        add(name, getattr(rem, name), f"a: {w}, b: {w}", "f, rules, a, b", f"{w}, u32, u64")
    add("rem_step", rem.rem_step, f"a: {w}, b: {w}", "f, rules, True, a, b", f"{w}, u32, u64, u32")
    for signalling in (False, True):
        add("compare", compare.compare, f"a: {w}, b: {w}", f"f, rules, {signalling}, a, b", "u32, u32")
    for flavour in ("propagate", "number", "num", "second"):
        for maximum in (False, True):
            add("minmax", compare.minmax, f"a: {w}, b: {w}", f"f, rules, {flavour!r}, {maximum}, {maximum}, a, b", f"{w}, u32")
    add("round_to_integral", convert.round_to_integral, f"a: {w}", "f, rules, a", f"{w}, u32")
    add("scalbn", convert.scalbn, f"a: {w}, n: i32", "f, rules, a, n", f"{w}, u32")
    for t in ("i32", "u32", "i64", "u64", "i128", "u128"):
        add(f"to_{t}", convert.to_int, f"a: {w}", f"f, rules, {t}, a", f"{t}, u32")
        add(f"from_{t}", convert.from_fixed, f"a: {t}", f"f, rules, {t}, a, i32(3)", f"{w}, u32")
    for g in (*FORMATS, F16_ALT):
        add(f"to_{g.name}", convert.convert, f"a: {w}", "f, g, rules, a", f"{g.word.__name__}, u32", g=g)
    return made


def run(f: Format, pack: Pack) -> None:
    r = random.Random(f.name)
    for function in pack.functions:
        types = argument_types(function)
        for _ in range(COUNT):
            control = r.choice(MODES) | r.choice([0, 0, DEFAULT_NAN, FLUSH_INPUTS, FLUSH_INPUTS | FLUSH_OUTPUTS])
            if f.explicit:
                control |= r.choice([0, 11, 40]) << DROP
            values = [some_pattern(r, f) if t is f.word else r.getrandbits(r.randrange(1, t.bits + 1)) for t in types[:-1]]
            pack.check(function, *values, control)


@pytest.mark.parametrize("f", [*FORMATS, F16_ALT], ids=lambda f: f.name)
def test_formats(f):
    rules = {F80: X87, F80_M68K: M68K}.get(f, ARM)
    run(f, Pack(operations(f, rules)))


def test_behaviours():
    everybody = [rules for rules in vars(behaviour).values() if isinstance(rules, Behaviour)]
    assert len(everybody) > 10
    made = [o for rules in everybody for o in operations(F32, rules) if o.__name__ in ("add", "fma", "to_i32", "to_f64", "minmax")]
    run(F32, Pack(made))
