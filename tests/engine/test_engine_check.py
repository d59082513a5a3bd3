"""No instruction changes state before its last possible exception; and the check finds those that do."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from tinamou import isa as isa_package
from tinamou.engine.architecture import Architecture
from tinamou.engine.check import Checker, check
from tinamou.engine.cpu import Cpu, Trap
from tinamou.engine.patterns import Imm, Isa, Reg
from tinamou.native.ops import outlined
from tinamou.native.types import Array, u32, u64

# Architectures whose changes before exceptions (sticky bits, scratch fields, stores that were probed) do not say so yet.
UNEXCUSED = {"riscv32 system", "riscv64 system", "aarch64", "aarch64 system"}


def architectures() -> dict[str, Architecture]:
    """Every Architecture in a module `architecture` or `system` of a folder of tinamou.isa."""
    found = {}
    for folder in pkgutil.iter_modules(isa_package.__path__):
        package = importlib.import_module(f"tinamou.isa.{folder.name}")
        for module in pkgutil.iter_modules(package.__path__):
            if module.name in ("architecture", "system"):
                for value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).values():
                    if isinstance(value, Architecture):
                        found[value.name + (" system" if value.system else "")] = value
    return found


ALL = architectures()


def test_all_are_found() -> None:
    assert {"riscv32", "riscv64"} <= set(ALL)


LATER = pytest.mark.xfail(strict=True, reason="changes that do no harm are not marked")


@pytest.mark.parametrize("name", [pytest.param(n, marks=LATER if n in UNEXCUSED else ()) for n in ALL])
def test_rows(name: str) -> None:
    findings = {(f.file, f.line): f for f in check(ALL[name])}
    assert not findings, "\n".join(map(str, findings.values()))


# -- an architecture whose instructions do all sorts of things


class Core(Cpu):
    r: Annotated[Array[u64], 16]
    flags: u32
    scratch_word: u64


R = Annotated[u64, Reg("r")]
N = Annotated[u64, Imm(signed=False)]
toy = Isa("toy", rd=4, ra=4, rb=4, n=4).extension("all")
GOOD: list[str] = []
BAD: dict[str, str] = {}  # name -> what is found
_codes = iter(range(256))


def row(found: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(f: Callable[..., Any]) -> Callable[..., Any]:
        if found:
            BAD[f.__name__] = found
        else:
            GOOD.append(f.__name__)
        code = format(next(_codes), "08b")
        fields = {"ra": "ra", "rb": "rb", "n": "n"}
        names = " ".join(fields[p] if p in fields else "0000" for p in (*inspect.signature(f).parameters, "h", "h", "h", "h")[1:4])
        result = "rd" if inspect.signature(f).return_annotation not in ("None", None) else "0000"
        return toy(f"{code} {names} {result} 00000000", f.__name__)(f)

    return add


def changes(h: Core) -> None:
    h.flags = u32(1)


def sometimes_changes(h: Core, x: u64) -> None:
    if x == 3:
        h.flags = u32(1)


def refuses(x: u64) -> None:
    if x > 5:
        raise Trap(2, x)


@outlined
def refuses_apart(h: Core, x: u64) -> u64:
    if x > 5:
        raise Trap(2, x)
    return x


def always_raises(cause: u64) -> None:
    raise Trap(cause)


@row()
def reads(h: Core, ra: R) -> R:
    return h.load(u64, ra)


@row()
def reads_then_changes(h: Core, ra: R) -> R:
    value = h.load(u64, ra) + h.load(u64, ra + 8)
    h.flags = u32(value)
    return value


@row("h.load(u64, ra)")
def changes_then_reads(h: Core, ra: R) -> R:
    h.flags = u32(1)
    return h.load(u64, ra)


@row("h.store(u64, ra, rb)")
def counts_then_writes(h: Core, ra: R, rb: R) -> None:
    h.r[3] += 1
    h.store(u64, ra, rb)


@row("h.store(u64, ra + 8, rb)")
def writes_twice(h: Core, ra: R, rb: R) -> None:
    h.store(u64, ra, rb)
    h.store(u64, ra + 8, rb)


@row("h.load(u64, ra)")
def writes_then_reads(h: Core, ra: R, rb: R) -> R:
    h.store(u64, ra + 8, rb)
    return h.load(u64, ra)


@row("h.load(u64, rb)")
def swaps_then_reads(h: Core, ra: R, rb: R) -> R:
    return h.atomic("swap", u64, ra, rb) + h.load(u64, rb)


@row()
def probes_then_writes(h: Core, ra: R, rb: R) -> None:
    h.atomic("or", u64, ra, u64(0))
    h.store(u64, ra, rb)


@row("raise Trap(7)")
def changes_then_raises(h: Core, ra: R) -> None:
    h.flags = u32(1)
    if ra == 0:
        raise Trap(7)


@row()
def raises_then_changes(h: Core, ra: R) -> None:
    if ra == 0:
        raise Trap(7)
    h.flags = u32(1)


@row("refuses(ra)")
def changes_then_calls(h: Core, ra: R) -> None:
    changes(h)
    refuses(ra)


@row("refuses_apart(h, rb)")
def may_change_then_calls(h: Core, ra: R, rb: R) -> R:
    sometimes_changes(h, ra)
    return refuses_apart(h, rb)


@row()
def calls_in_order(h: Core, ra: R, rb: R) -> R:
    x = refuses_apart(h, rb)
    refuses(ra)
    changes(h)
    sometimes_changes(h, ra)
    return x


@row()
def other_paths(h: Core, ra: R) -> R:
    """What changes returns; what raises has not changed anything."""
    if ra == 1:
        h.flags = u32(1)
        return ra
    elif ra == 2:
        raise Trap(1)
    return h.load(u64, ra)


@row("h.load(u64, ra)")
def one_path(h: Core, ra: R) -> R:
    match ra:
        case 1:
            h.flags = u32(1)
        case 2:
            return ra
    return h.load(u64, ra)


@row("h.load(u64, ra + u64(k))")
def in_a_loop(h: Core, ra: R) -> None:
    for k in range(4):
        h.r[k] = h.load(u64, ra + u64(k))


@row()
def after_a_loop(h: Core, ra: R) -> None:
    n = u64(0)
    while n < 4:
        n += h.load(u64, ra)
        if n == 3:
            break
    h.flags = u32(n)


@row("h.load(u64, ra)")
def after_break(h: Core, ra: R) -> R:
    n = ra
    while True:
        n -= 1
        if n == 3:
            h.flags = u32(1)
            break
        if n == 0:
            return n
    return h.load(u64, ra)


@row("h.load(u64, ra)")
def in_arguments(h: Core, ra: R) -> R:
    """Arguments are evaluated before the call, from left to right."""
    return twice(h, h.atomic("add", u64, ra, u64(1)), h.load(u64, ra))


@row()
def argument_before(h: Core, ra: R) -> R:
    return twice(h, h.load(u64, ra), u64(1))


def twice(h: Core, x: u64, y: u64) -> u64:
    h.flags = u32(1)
    return x * y


@row("refuses_apart(h, ra)")
def in_a_condition(h: Core, ra: R) -> R:
    sometimes_changes(h, ra)
    return ra if ra == 3 or refuses_apart(h, ra) == 1 else ra + 1


@row()
def constant_condition(h: Core, ra: R) -> R:
    if Core.size > 0:
        return h.load(u64, ra)
    h.flags = u32(1)
    return h.load(u64, ra)


@row("always_raises(u64(3))")
def calls_what_raises(h: Core, ra: R) -> None:
    h.flags = u32(1)
    always_raises(u64(3))


@row("self.undefined()")
def through_a_method(h: Core, ra: R) -> None:
    h.flags = u32(1)
    leave(h)


def leave(self: Core) -> None:
    self.flags = u32(2)
    self.undefined()


@row()
def jumps(h: Core, ra: R) -> R:
    """A jump takes effect at the end, like the results."""
    h.jump(ra)
    return h.load(u64, ra)


@row()
def excused(h: Core, ra: R) -> R:
    h.scratch_word = ra  # restarts: nobody reads it after an exception
    return h.load(u64, ra)


@row()
def excused_access(h: Core, ra: R, rb: R) -> None:
    h.store(u64, ra, rb)
    h.store(u64, ra + 8, rb)  # restarts: in the same 16 bytes


@row("h.load(u64, ra)")
def no_excuse(h: Core, ra: R) -> R:
    h.scratch_word = ra  # restarts:
    return h.load(u64, ra)


def length(first: u32) -> u64:
    return u64(4)


TOY = Architecture("toy", lambda: toy.isa.bind(), Core, 4, 4, length, ())


@pytest.mark.parametrize("name", GOOD)
def test_nothing_found(name: str) -> None:
    assert Checker(TOY).insn(TOY.isa.by_name[name]) == []


@pytest.mark.parametrize("name", list(BAD))
def test_found(name: str) -> None:
    """The finding names the row, and the line that may raise, which is behind the one that changes."""
    findings = Checker(TOY).insn(TOY.isa.by_name[name])
    assert BAD[name] in [f.text for f in findings]
    for f in findings:
        lines, first = inspect.getsourcelines(inspect.getmodule(globals()[name]) or globals()[name])
        assert f.insn == name and f.file == __file__ and f.text.split("(")[0] in lines[f.line - 1]
        assert 0 < f.written <= f.line or name == "in_a_loop"
        assert str(f) == f"{__file__}:{f.line}: {name}: {f.text} may raise after the state was changed in line {f.written}"
        assert first == 0


def test_whole_architecture() -> None:
    assert {f.insn for f in check(TOY)} == set(BAD)
