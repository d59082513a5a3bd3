"""Run functions of the subset in CPython and compiled, and compare.

    pack = Pack([f, g])
    pack.check(f, 3, 250)       # both give the same value of the same type

Arguments and results are words or bools, and tuples of them.  A wrapper for each function takes its arguments from memory and leaves its
result there, so that every width goes the same way.
"""

import ctypes
import linecache
import struct
import typing
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

from tinamou.native import intrinsics
from tinamou.native.image import Loaded
from tinamou.native.link import link
from tinamou.native.llvm import compile_object, triple
from tinamou.native.lower import CompileError, Hooks, Unit
from tinamou.native.memory import peek, poke
from tinamou.native.types import Word, i8, i16, i32, i64, i128, i256, u8, u16, u32, u64, u128, u256

assert intrinsics  # its import makes the operations known to the compiler

UNSIGNED = (u8, u16, u32, u64, u128, u256)
SIGNED = (i8, i16, i32, i64, i128, i256)
WORDS = UNSIGNED + SIGNED
SLOT = 32  # bytes of an argument or result in memory


def python(text: str, name: str, **names: Any) -> Callable[..., Any]:
    """A function from source text that tracebacks and the compiler can read."""
    number = next(_numbers)
    file = f"<{name} {number}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space = {**names, "__name__": f"generated_{number}"}
    exec(compile(text, file, "exec"), space)
    made: Callable[..., Any] = space[name]
    return made


_numbers = iter(range(1_000_000))


def result_types(f: Callable[..., Any]) -> tuple[type, ...]:
    hint = typing.get_type_hints(f)["return"]
    return typing.get_args(hint) if typing.get_origin(hint) is tuple else (hint,)


def argument_types(f: Callable[..., Any]) -> list[type]:
    return [t for n, t in typing.get_type_hints(f).items() if n != "return"]


def wrapper(f: Callable[..., Any]) -> Callable[..., Any]:
    """`run(arguments, results)`: f on words in memory."""
    arguments, results = argument_types(f), result_types(f)
    names: dict[str, Any] = {"f": f, "peek": peek, "poke": poke, "u8": u8, "u64": u64}
    given = []
    for k, t in enumerate(arguments):
        names[f"A{k}"] = t
        given.append(f"peek(u8, i + {k * SLOT}) != 0" if t is bool else f"peek(A{k}, i + {k * SLOT})")
    lines = ["def run(i: u64, o: u64) -> None:", f"    {', '.join(f'r{k}' for k in range(len(results)))} = f({', '.join(given)})"]
    for k, t in enumerate(results):
        names[f"R{k}"] = t
        lines.append(f"    poke(u8, o + {k * SLOT}, u8(r{k}))" if t is bool else f"    poke(R{k}, o + {k * SLOT}, r{k})")
    return python("\n".join(lines) + "\n", "run", **names)


def load(unit: Unit, opt: int = 2) -> Loaded:
    return Loaded(link(compile_object(unit.text(triple()), opt)))


class Pack:
    """Functions compiled into one image."""

    def __init__(self, functions: Iterable[Callable[..., Any]], opt: int = 2) -> None:
        self.functions = list(functions)
        unit = Unit(Hooks())
        symbols = [unit.export(wrapper(f), f"run_{k}_{f.__name__}") for k, f in enumerate(self.functions)]
        self.image = load(unit, opt)
        self._compiled = {
            f: (self.image.function(s, None, ctypes.c_uint64, ctypes.c_uint64), argument_types(f), result_types(f))
            for f, s in zip(self.functions, symbols, strict=True)
        }
        self._in, self._out = ctypes.create_string_buffer(16 * SLOT), ctypes.create_string_buffer(16 * SLOT)

    def compiled(self, f: Callable[..., Any], *values: int) -> tuple[Any, ...]:
        """What the compiled function gives."""
        run, arguments, results = self._compiled[f]
        at = ctypes.addressof(self._in)
        for k, (t, v) in enumerate(zip(arguments, values, strict=True)):
            n, size = (int(v), 1) if t is bool else (int(t(v)) & t.mask, t.size)
            ctypes.memmove(at + k * SLOT, n.to_bytes(size, "little"), size)
        out = ctypes.addressof(self._out)
        run(at, out)
        return tuple(read(t, ctypes.string_at(out + k * SLOT, SLOT)) for k, t in enumerate(results))

    def check(self, f: Callable[..., Any], *values: int) -> None:
        """CPython and the compiled code agree; what has no result in CPython (division by 0) must do no harm."""
        _, arguments, results = self._compiled[f]
        given = [t(v) for t, v in zip(arguments, values, strict=True)]
        compiled = self.compiled(f, *values)
        try:
            expected = f(*given)
        except (ZeroDivisionError, UnboundLocalError):
            return
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert tuple(map(type, expected)) == results, f"{f.__name__}{given} gives {expected} in CPython"
        assert expected == compiled, f"{f.__name__}{given}: CPython {expected}, compiled {compiled}"


def read(t: type, data: bytes) -> Any:
    """A word or bool from the first bytes of some memory."""
    if t is bool:
        return {0: False, 1: True}[data[0]]
    return t(int.from_bytes(data[: t.size], "little"))


def edges(t: type[Word]) -> list[int]:
    """Numbers where widths and signs go wrong."""
    top = 1 << t.bits - 1
    found = {0, 1, 2, 3, 7, 8, 63, 64, 100, t.bits - 1, t.bits, t.bits + 1, top - 1, top, top + 1, t.mask - 1, t.mask}
    return sorted({int(t(n)) for n in (*found, 0x55 * (t.mask // 255))})


def values(t: type) -> st.SearchStrategy[int]:
    if t is bool:
        return st.booleans()
    near_power = st.builds(lambda k, d: (1 << k) + d, st.integers(0, t.bits - 1), st.integers(-2, 2))
    return st.one_of(st.sampled_from(edges(t)), st.integers(0, t.mask), near_power, st.integers(0, 300)).map(lambda n: int(t(n)))


def arguments(f: Callable[..., Any]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*map(values, argument_types(f)))


def compile_error(f: Callable[..., Any], hooks: Hooks | None = None) -> CompileError:
    """The error that compiling f gives."""
    try:
        Unit(hooks or Hooks()).export(f)
    except CompileError as error:
        return error
    raise AssertionError(f"{f.__name__} compiles")


def elf_object(
    machine: int,
    sections: dict[str, tuple[int, int, bytes]],
    symbols: list[tuple[str, str | int, int]],
    relocations: list[tuple[str, int, int, str, int]],
) -> bytes:
    """A relocatable ELF64 object.

    `sections`: name -> (flags, alignment, content); `symbols`: (name, section or number of a special one, value), all global;
    `relocations`: (section, offset, type, symbol, addend).
    """
    names = b"\0"
    places: dict[str, int] = {}

    def text(name: str) -> int:
        nonlocal names
        if name not in places:
            places[name] = len(names)
            names += name.encode() + b"\0"
        return places[name]

    order = list(sections)
    heads = [struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    body = b""

    def add(name: str, kind: int, flags: int, content: bytes, link: int, info: int, align: int, entry: int) -> None:
        nonlocal body
        body += bytes(-(64 + len(body)) % 16)
        heads.append(struct.pack("<IIQQQQIIQQ", text(name), kind, flags, 0, 64 + len(body), len(content), link, info, align, entry))
        body += content

    for name in order:
        flags, align, content = sections[name]
        add(name, 1, flags, content, 0, 0, align, 0)
    table = bytes(24)
    for name, section, value in symbols:
        index = order.index(section) + 1 if isinstance(section, str) else section
        table += struct.pack("<IBBHQQ", text(name), 0x10, 0, index, value, 0)
    numbers = {s[0]: k + 1 for k, s in enumerate(symbols)}
    strings_at = len(order) + 2
    add(".symtab", 2, 0, table, strings_at, 1, 8, 24)
    for name in [*order, ".rela", ".strtab"]:
        text(name)
    kept = names
    add(".strtab", 3, 0, kept, 0, 0, 1, 0)
    for name in order:
        own = [r for r in relocations if r[0] == name]
        if own:
            data = b"".join(struct.pack("<QQq", offset, numbers[symbol] << 32 | kind, addend) for _, offset, kind, symbol, addend in own)
            add(".rela", 4, 0, data, len(order) + 1, order.index(name) + 1, 8, 24)
    start = 64 + len(body)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 1, machine, 1, 0, 0, start, 0, 64, 0, 0, 64, len(heads), strings_at)
    return head + body + b"".join(heads)
