"""Host memory for system calls made on behalf of a guest whose structures the host does not lay out so."""

from __future__ import annotations

import ctypes
from typing import Any, Generic, TypeVar, overload

from .host import HOST
from .layout import layout_of

__all__ = ["Room"]

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
