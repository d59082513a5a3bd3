"""Fixed-width integers, structures and arrays: in CPython they wrap and are laid out as in machine code.

`u8 ... u256` and `i8 ... i256` are two's-complement integers; arithmetic wraps.  Two different widths never mix in one operation
(TypeError here, a compile error in compiled code): write the conversion, `u64(i32(x))` sign-extends from 32 to 64 bits.  A plain Python
`int` takes the type of the other operand.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin

__all__ = [
    "Array", "Struct", "Word", "align_up", "evaluated",
    "i8", "i16", "i32", "i64", "i128", "i256", "u8", "u16", "u32", "u64", "u128", "u256",
]  # fmt: skip


class Word(int):
    """An integer of `bits` bits that wraps.  Subclasses fix width and signedness."""

    bits: ClassVar[int] = 0
    signed: ClassVar[bool] = False
    size: ClassVar[int] = 0  # bytes
    mask: ClassVar[int] = 0
    unsigned_type: ClassVar[type[Word]]
    signed_type: ClassVar[type[Word]]

    def __init_subclass__(cls, bits: int = 0, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        if bits:
            cls.bits, cls.size, cls.mask = bits, bits // 8, (1 << bits) - 1
            cls.signed = cls.__name__.startswith("i")

    def __new__(cls, value: int = 0) -> Self:
        v = int(value) & cls.mask
        if cls.signed and v >> (cls.bits - 1):
            v -= 1 << cls.bits
        return int.__new__(cls, v)

    def _other(self, o: object) -> int:
        if isinstance(o, Word) and type(o) is not type(self):
            raise TypeError(f"{type(self).__name__} and {type(o).__name__} do not mix: convert one of them")
        return int(o)  # type: ignore[call-overload, no-any-return]

    def __add__(self, o: int) -> Self:
        return type(self)(int(self) + self._other(o))

    def __sub__(self, o: int) -> Self:
        return type(self)(int(self) - self._other(o))

    def __mul__(self, o: int) -> Self:
        return type(self)(int(self) * self._other(o))

    def __and__(self, o: int) -> Self:
        return type(self)(int(self) & self._other(o))

    def __or__(self, o: int) -> Self:
        return type(self)(int(self) | self._other(o))

    def __xor__(self, o: int) -> Self:
        return type(self)(int(self) ^ self._other(o))

    def __radd__(self, o: int) -> Self:
        return type(self)(o) + self

    def __rsub__(self, o: int) -> Self:
        return type(self)(o) - self

    def __rmul__(self, o: int) -> Self:
        return type(self)(o) * self

    def __rand__(self, o: int) -> Self:
        return type(self)(o) & self

    def __ror__(self, o: int) -> Self:
        return type(self)(o) | self

    def __rxor__(self, o: int) -> Self:
        return type(self)(o) ^ self

    def __lshift__(self, n: int) -> Self:
        """Shift left; the amount may be of any type and 0 to any size (bits shifted out are lost)."""
        return type(self)(int(self) << min(int(n), self.bits))

    def __rshift__(self, n: int) -> Self:
        """Shift right, arithmetic for signed types; amounts beyond the width give 0 or the sign."""
        return type(self)(int(self) >> min(int(n), self.bits))

    def __floordiv__(self, o: int) -> Self:
        """Unsigned division.  Signed types use ops.quot and ops.rem, which truncate."""
        if self.signed:
            raise TypeError("// rounds down: signed words divide by quot() and rem(), which truncate")
        return type(self)(int(self) // self._other(o))

    def __mod__(self, o: int) -> Self:
        if self.signed:
            raise TypeError("% follows //: signed words divide by quot() and rem(), which truncate")
        return type(self)(int(self) % self._other(o))

    def __rfloordiv__(self, o: int) -> Self:
        return type(self)(o) // self

    def __rmod__(self, o: int) -> Self:
        return type(self)(o) % self

    def __pos__(self) -> Self:
        return self

    def __neg__(self) -> Self:
        return type(self)(-int(self))

    def __invert__(self) -> Self:
        return type(self)(~int(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self):#x})"

    def __str__(self) -> str:
        return str(int(self))


class u8(Word, bits=8): ...


class u16(Word, bits=16): ...


class u32(Word, bits=32): ...


class u64(Word, bits=64): ...


class u128(Word, bits=128): ...


class u256(Word, bits=256): ...


class i8(Word, bits=8): ...


class i16(Word, bits=16): ...


class i32(Word, bits=32): ...


class i64(Word, bits=64): ...


class i128(Word, bits=128): ...


class i256(Word, bits=256): ...


for _u, _i in ((u8, i8), (u16, i16), (u32, i32), (u64, i64), (u128, i128), (u256, i256)):
    _u.unsigned_type = _i.unsigned_type = _u
    _u.signed_type = _i.signed_type = _i

T = TypeVar("T")


def align_up(value: int, to: int) -> int:
    """The next multiple of `to`, a power of two."""
    return (value + to - 1) & -to


class Layout:
    """What a field is made of: a word, a structure, or `count` of either in a row."""

    def __init__(self, item: type[Word] | type[Struct], count: int | None = None) -> None:
        self.item, self.count = item, count
        self.align: int = item.alignment if issubclass(item, Struct) else min(item.size, 16)
        self.stride: int = item.size
        self.size = self.stride * (1 if count is None else count)

    @classmethod
    def of(cls, hint: Any) -> Layout:
        if isinstance(hint, type) and issubclass(hint, (Word, Struct)):
            return cls(hint)
        if hasattr(hint, "__metadata__"):  # Annotated[Array[T], count]
            array, (count, *_) = hint.__origin__, hint.__metadata__
            if get_origin(array) is Array and isinstance(count, int):
                (item,) = get_args(array)
                return cls(item, count)
        raise TypeError(f"{hint} is no field: use a word, a Struct, or Annotated[Array[item], count]")


class Field:
    """Descriptor of one field of a Struct, at a fixed offset in bytes."""

    def __init__(self, name: str, layout: Layout, offset: int) -> None:
        self.name, self.layout, self.offset = name, layout, offset

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        at = instance._address + self.offset
        if self.layout.count is not None:
            return Array(instance, at, self.layout)
        return _read(instance, at, self.layout.item)

    def __set__(self, instance: Any, value: Any) -> None:
        if self.layout.count is not None or issubclass(self.layout.item, Struct):
            raise TypeError(f"{self.name} is not assigned as a whole")
        _write(instance._address + self.offset, self.layout.item, value)


def _read(owner: Struct, at: int, item: type[Any]) -> Any:
    if issubclass(item, Struct):
        return item._at(at, owner)
    return item(int.from_bytes(ctypes.string_at(at, item.size), "little"))


def _write(at: int, item: type[Word], value: Any) -> None:
    if isinstance(value, Word) and type(value) is not item:
        raise TypeError(f"a {type(value).__name__} is stored in a {item.__name__} field: convert it")
    ctypes.memmove(at, (int(value) & item.mask).to_bytes(item.size, "little"), item.size)


class Array(Generic[T]):
    """A fixed number of words or structures in a row; indices are checked in CPython."""

    def __init__(self, owner: Struct, address: int, layout: Layout) -> None:
        self._owner, self._address, self._layout = owner, address, layout

    def __len__(self) -> int:
        return self._layout.count or 0

    def _slot(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"index {int(index)} of {len(self)}")
        return self._address + int(index) * self._layout.stride

    def __getitem__(self, index: int) -> T:
        return _read(self._owner, self._slot(index), self._layout.item)  # type: ignore[no-any-return]

    def __setitem__(self, index: int, value: T) -> None:
        _write(self._slot(index), self._layout.item, value)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(len(self)))


@cache
def _compiled(annotation: str) -> CodeType:
    return compile(annotation, "<annotation>", "eval")


def evaluated(hint: Any, space: dict[str, Any]) -> Any:
    """An annotation, which may be text, in the names of its module.  (typing.get_type_hints compiles text again each time.)"""
    return eval(_compiled(hint), space) if isinstance(hint, str) else hint


class Struct:
    """Memory with named fields, little-endian, laid out as C would; the annotations are the layout.

    class Point(Struct):
        x: u32
        tags: Annotated[Array[u64], 4]

    `Point()` owns zeroed memory; `Point.at(address)` is a view of memory that somebody else owns.
    """

    fields: ClassVar[dict[str, Field]] = {}
    size: ClassVar[int] = 0
    alignment: ClassVar[int] = 1
    spare: ClassVar[int] = 0  # bytes of memory behind the structure
    _address: int
    _keep: object

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        cls.fields = dict(cls.fields)
        offset = max((f.offset + f.layout.size for f in cls.fields.values()), default=0)
        alignment = max((f.layout.align for f in cls.fields.values()), default=1)
        space = vars(sys.modules[cls.__module__])
        for name, hint in cls.__dict__.get("__annotations__", {}).items():
            if name.startswith("_"):
                continue
            hint = evaluated(hint, space)
            if get_origin(hint) is ClassVar:
                continue
            layout = Layout.of(hint)
            offset = align_up(offset, layout.align)
            alignment = max(alignment, layout.align)
            field = cls.fields[name] = Field(name, layout, offset)
            setattr(cls, name, field)
            offset += layout.size
        cls.size, cls.alignment = align_up(offset, alignment), alignment

    def __init__(self) -> None:
        room = ctypes.create_string_buffer(self.size + 64 + self.spare)
        self._keep = room
        self._address = align_up(ctypes.addressof(room), 64)

    @classmethod
    def at(cls, address: int) -> Self:
        return cls._at(address, None)

    @classmethod
    def _at(cls, address: int, keep: object) -> Self:
        self = object.__new__(cls)
        self._address, self._keep = int(address), keep
        return self

    @property
    def address(self) -> int:
        """Where the structure lies in host memory."""
        return self._address
