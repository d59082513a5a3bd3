"""On-disk structures, declared once: annotations are the layout, defaults the values of a new image.

class Header(Struct, endian=">"):
    magic: u32 = 0x514649FB
    version: u32 = 3
    uuid: Bytes16 = bytes(16)

header = Header.unpack(file.read(0, Header.packed_size))
file.write(0, header.pack())
"""

from __future__ import annotations

import struct
import sys

from .notation import Annotated, Any, ClassVar, TypeVar, dataclass_transform

u8 = Annotated[int, "B"]
u16 = Annotated[int, "H"]
u32 = Annotated[int, "I"]
u64 = Annotated[int, "Q"]
i32 = Annotated[int, "i"]
i64 = Annotated[int, "q"]
Bytes4 = Annotated[bytes, "4s"]
Bytes8 = Annotated[bytes, "8s"]
Bytes16 = Annotated[bytes, "16s"]

S = TypeVar("S", bound="Struct")


@dataclass_transform(kw_only_default=True)
class Struct:
    """A packed structure of integers and byte strings, little (`<`) or big (`>`) endian, without padding.

    A field's type is `Annotated[int or bytes, code]` with a code of the `struct` module (`Annotated[bytes, "64s"]`). The
    class knows its `packed_size` in bytes and the byte offset of each field (`offsets`).
    """

    packed_size: ClassVar[int] = 0
    offsets: ClassVar[dict[str, int]] = {}
    _code: ClassVar[struct.Struct] = struct.Struct("")
    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, endian: str = "<") -> None:
        module = vars(sys.modules[cls.__module__])
        codes: list[str] = []
        names: list[str] = []
        offsets: dict[str, int] = {}
        for name, kind in cls.__dict__.get("__annotations__", {}).items():
            if isinstance(kind, str):
                if kind.startswith("ClassVar"):
                    continue
                kind = eval(kind, module)
            offsets[name] = struct.calcsize(endian + "".join(codes))
            codes.append(kind.__metadata__[0])
            names.append(name)
        cls._code = struct.Struct(endian + "".join(codes))
        cls._names = tuple(names)
        cls.offsets = offsets
        cls.packed_size = cls._code.size

    def __init__(self, **values: Any) -> None:
        for name in self._names:
            setattr(self, name, values.pop(name) if name in values else getattr(type(self), name))
        if values:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(values)}")

    @classmethod
    def unpack(cls: type[S], data: bytes | bytearray | memoryview, at: int = 0) -> S:
        """Read the structure at byte `at`; data that ends too early reads as zeroes."""
        piece = bytes(data[at : at + cls.packed_size])
        self = cls.__new__(cls)
        self.__dict__.update(zip(cls._names, cls._code.unpack(piece.ljust(cls.packed_size, b"\0")), strict=True))
        return self

    def pack(self) -> bytes:
        return self._code.pack(*[getattr(self, name) for name in self._names])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self._names)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.pack() == self.pack()

    __hash__ = None  # type: ignore[assignment]
