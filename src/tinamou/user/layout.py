"""Structures that cross the system call boundary, declared once and laid out per ABI.

class Timespec(Struct):
    tv_sec: time_t
    tv_nsec: time_t

Fields are named as in the kernel's headers and take natural C alignment; word size, byte order, the alignment of 64-bit fields, packed
structures and whole replacements (`struct stat` differs on nearly every architecture) come from the `Abi`.  `wide` is the layout of the
64-bit-time calls of 32-bit architectures (`clock_gettime64`, `fcntl64`): `time_t` and `off_t` have 8 bytes there.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, cast, get_args

if TYPE_CHECKING:
    from .abi import Abi

__all__ = [
    "Layout", "Struct", "i8", "i16", "i32", "i64", "layout_of", "long", "nsec_t", "off_t", "pointer", "sigset", "time_t",
    "u8", "u16", "u32", "u64", "ulong",
]  # fmt: skip

# A field's kind is the second half of Annotated: a code of the struct module, or one of these names, perhaps with a count before it.
i8 = Annotated[int, "b"]
u8 = Annotated[int, "B"]
i16 = Annotated[int, "h"]
u16 = Annotated[int, "H"]
i32 = Annotated[int, "i"]
u32 = Annotated[int, "I"]
i64 = Annotated[int, "q"]
u64 = Annotated[int, "Q"]
long = Annotated[int, "long"]
ulong = Annotated[int, "ulong"]
pointer = Annotated[int, "ulong"]  # a guest address
time_t = Annotated[int, "time_t"]  # long, 64 bits in wide layouts
off_t = Annotated[int, "time_t"]
nsec_t = Annotated[int, "nsec"]  # as time_t, but the kernel does not look at the upper half of what 32-bit programs give
sigset = Annotated[int, "sigset"]  # 64 signals, bit n-1 = signal n; an array of unsigned longs in memory

S = TypeVar("S")


class _Fields:
    """Kind by name of a structure's fields, its bases' first; annotations are looked at when somebody asks."""

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        found: dict[str, Any] | None = owner.__dict__.get("_fields")
        if found is None:
            module = vars(sys.modules[owner.__module__])
            found = {} if owner.__base__ is object else dict(getattr(owner.__base__, "fields", {}))
            for name, kind in owner.__dict__.get("__annotations__", {}).items():
                if isinstance(kind, str):
                    if kind.startswith("ClassVar"):
                        continue
                    kind = module[kind] if kind in module else eval(kind, module)
                found[name] = kind
            owner._fields = found  # type: ignore[attr-defined]
        return found


class Struct:
    """A C structure.  Fields not given at construction are zero (or empty)."""

    fields: ClassVar[Any] = _Fields()

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - self.fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        """What was not given: zero, b"" for bytes, an empty structure for a nested one."""
        kind = type(self).fields.get(name)
        if kind is None:
            raise AttributeError(name)
        value: Any = 0
        if isinstance(kind, type) and issubclass(kind, Struct):
            value = kind()
        elif get_args(kind)[0] is bytes:
            value = b""
        elif get_args(kind)[0] is not int:
            value = ()
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        return "{" + ",".join(f"{name} = {getattr(self, name)!r}" for name in self.fields) + "}"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, n) == getattr(other, n) for n in self.fields)

    __hash__ = None  # type: ignore[assignment]


class Layout(Generic[S]):
    """A structure or scalar as bytes of one ABI: `size` and `align` in bytes, `offsets` of the fields, `load` and `dump`."""

    def __init__(self, size: int, align: int, code: str, load: Callable[[bytes], S], dump: Callable[[S], bytes]) -> None:
        self.size, self.align, self.code, self.load, self.dump = size, align, code, load, dump
        self.offsets: dict[str, int] = {}
        self.padded = False  # some bits do not count: the bytes are not to be given to a host that would look at them


def layout_of(kind: Any, abi: Abi, wide: bool = False) -> Layout[Any]:
    """The layout of a Struct or scalar kind; remembered."""
    key = (kind, wide)
    found = abi.layouts.get(key)
    if found is None:
        make = _struct if isinstance(kind, type) and issubclass(kind, Struct) else _scalar
        found = abi.layouts[key] = make(kind, abi, wide)
    return found


def _scalar(kind: Any, abi: Abi, wide: bool) -> Layout[Any]:
    code: str = kind.__metadata__[0]
    digits = len(code) - len(code.lstrip("0123456789"))
    count, code = code[:digits], code[digits:]
    word = "q" if abi.bits == 64 else "i"
    order = abi.order
    if code == "sigset":
        words = struct.Struct(f"{order}{64 // abi.bits}{word.upper()}")
        bits = abi.bits

        def load_set(data: bytes) -> int:
            return sum(w << (bits * i) for i, w in enumerate(words.unpack(data)))

        def dump_set(value: int) -> bytes:
            return words.pack(*[value >> (bits * i) & ((1 << bits) - 1) for i in range(64 // bits)])

        return Layout(8, abi.align(abi.bits // 8), words.format, load_set, dump_set)
    half = code == "nsec" and wide and abi.bits == 32
    code = {"long": word, "ulong": word.upper(), "time_t": "q" if wide else word, "nsec": "q" if wide else word}.get(code, code)
    codec = struct.Struct(order + count + code)
    align = abi.align(struct.calcsize(order + code)) if code != "s" else 1
    if code == "s":
        size = codec.size

        def dump_bytes(value: bytes) -> bytes:
            return value[:size].ljust(size, b"\0")

        return Layout(size, 1, codec.format, bytes, dump_bytes)
    if count:

        def dump_many(values: tuple[int, ...]) -> bytes:
            return codec.pack(*values) if values else bytes(codec.size)

        return Layout(codec.size, align, codec.format, codec.unpack, dump_many)
    mask = (1 << codec.size * 8) - 1
    unsigned = struct.Struct(order + code.upper())  # a value too large for the field is cut, as a C assignment would

    def load_one(data: bytes) -> int:
        return cast(int, codec.unpack(data)[0])

    def load_half(data: bytes) -> int:
        value = load_one(data) & 0xFFFF_FFFF
        return value - (value >> 31 << 32)

    def dump_one(value: int) -> bytes:
        return unsigned.pack(value & mask)

    made = Layout(codec.size, align, codec.format, load_half if half else load_one, dump_one)
    made.padded = half
    return made


def _struct(kind: type[Struct], abi: Abi, wide: bool) -> Layout[Any]:
    actual = abi.structs.get(kind.__name__, kind)
    packed = kind.__name__ in abi.packed
    at, align = 0, 1
    parts: list[tuple[str, int, Layout[Any]]] = []
    for name, field in actual.fields.items():
        part = layout_of(field, abi, wide)
        if not packed:
            at = -(-at // part.align) * part.align
            align = max(align, part.align)
        parts.append((name, at, part))
        at += part.size
    size = -(-at // align) * align
    plan = [(name, begin, begin + part.size, part.load, part.dump) for name, begin, part in parts]

    def load(data: bytes) -> Any:
        new = actual.__new__(actual)
        values = new.__dict__
        for name, begin, end, get, _ in plan:
            values[name] = get(data[begin:end])
        return new

    def dump(value: Any) -> bytes:
        out = bytearray(size)
        given = type(value).fields
        for name, begin, end, _, put in plan:
            if name in given:
                out[begin:end] = put(getattr(value, name))
        return bytes(out)

    made = Layout(size, align, "+".join(f"{name}@{begin}:{part.code}" for name, begin, part in parts), load, dump)
    made.offsets = {name: begin for name, begin, _ in parts}
    made.padded = any(part.padded for _, _, part in parts)
    return made
