"""Host memory for system calls made on behalf of a guest whose structures the host does not lay out so."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from .host import HOST
from .layout import Struct, layout_of

if TYPE_CHECKING:
    from .abi import Abi

__all__ = ["Room", "recode"]

S = TypeVar("S")


class Room(Generic[S]):
    """`count` structures or scalars of one kind in host layout; those not given are zero.

    `memory` is what Thread.host takes as the pointer.
    """

    @overload
    def __init__(self, kind: type[S], *values: S, count: int = 1) -> None: ...
    @overload
    def __init__(self: Room[Any], kind: Any, *values: Any, count: int = 1) -> None: ...
    def __init__(self, kind: Any, *values: Any, count: int = 1) -> None:
        self.layout = layout_of(kind, HOST)
        data = b"".join(self.layout.dump(value) for value in values)
        self.memory = ctypes.create_string_buffer(data, max(len(data), count * self.layout.size, 1))

    def __getitem__(self, index: int) -> S:
        size = self.layout.size
        value: S = self.layout.load(bytes(memoryview(self.memory)[index * size : (index + 1) * size]))
        return value

    @property
    def value(self) -> S:
        """The first one."""
        return self[0]


def _flat(kind: Any, abi: Abi, prefix: str = "", base: int = 0) -> list[tuple[str, int, str]]:
    """Name, offset and struct code of every scalar of a structure, arrays as many."""
    layout, found = layout_of(kind, abi), []
    for name, field in abi.structs.get(kind.__name__, kind).fields.items():
        at, part = base + layout.offsets[name], layout_of(field, abi)
        if isinstance(field, type) and issubclass(field, Struct):
            found += _flat(field, abi, f"{prefix}{name}.", at)
            continue
        code, count = part.code[-1], part.code[1:-1]
        if code == "s":
            found.append((prefix + name, at, count + code))
        else:
            size = struct.calcsize("=" + code)
            found += [(f"{prefix}{name}{i}", at + i * size, code) for i in range(int(count or 1))]
    return found


def _codec(abi: Abi, fields: list[tuple[str, int, str]], size: int) -> struct.Struct:
    text, at = abi.order, 0
    for _, begin, code in fields:
        text += f"{begin - at}x" * (begin > at) + code
        at = begin + struct.calcsize("=" + code)
    return struct.Struct(text + f"{size - at}x" * (size > at))


@functools.cache
def recode(kind: Any, source: Abi, target: Abi, other: Any = None) -> Callable[[bytes], bytes]:
    """A function from the bytes of a structure of one ABI to those of another, of the structure `other` if it has its own name there.

    It does what the loads and dumps of the two layouts do, several times as fast: fields are matched by name, those the source lacks are
    0, those too large are cut.
    """
    theirs = other or kind
    given, wanted = _flat(kind, source), _flat(theirs, target)
    index = {name: i for i, (name, _, _) in enumerate(given)}
    sizes = {name: struct.calcsize("=" + code) for name, _, code in given}
    same = all(sizes.get(name, 0) in (0, struct.calcsize("=" + code)) for name, _, code in wanted)

    def unsigned(fields: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
        return [(name, at, code if code[-1] == "s" else code.upper()) for name, at, code in fields]

    load = _codec(source, unsigned(given) if same else given, layout_of(kind, source).size).unpack
    dump = _codec(target, unsigned(wanted), layout_of(theirs, target).size).pack
    nothing = len(given)
    picks = [index.get(name, nothing if code[-1] != "s" else nothing + 1) for name, _, code in wanted]
    pick = itemgetter(*picks) if len(picks) > 1 else lambda values: (values[picks[0]],)
    if same:
        return lambda data: dump(*pick((*load(data), 0, b"")))
    masks = [None if code[-1] == "s" else (1 << 8 * struct.calcsize("=" + code)) - 1 for _, _, code in wanted]
    return lambda data: dump(*[v if m is None else v & m for v, m in zip(pick((*load(data), 0, b"")), masks, strict=True)])
