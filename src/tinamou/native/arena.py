"""Room for code that is compiled while the guest runs: thousands of small images, placed one after the other.

The memory is mapped twice, for writing and for execution, so that no page is ever both.  It belongs to no file: `perf` asks its map file
(user.perf) about such memory only.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

from .image import MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE, libc
from .link import Image

MAP_SHARED, MAP_FIXED, MREMAP_MAYMOVE = 1, 0x10, 1


class Arena:
    """`size` bytes of address space for code, at address `at` if that is not 0 (which is reserved for it, and is again afterwards).

    Raises OSError when the host has no such room.
    """

    def __init__(self, size: int, at: int = 0) -> None:
        place = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | (MAP_FIXED if at else 0)
        self.base = self._mapped(libc.mmap(at or None, size, PROT_READ | PROT_EXEC, place, -1, 0))
        self.size, self.used, self._reserved = size, 0, bool(at)
        try:
            self.writable = self._mapped(libc.mremap(self.base, 0, size, MREMAP_MAYMOVE))  # the same pages once more (mremap(2))
            self._mapped(libc.mprotect(self.writable, size, PROT_READ | PROT_WRITE))
        except OSError:
            self._leave()
            raise

    @staticmethod
    def _mapped(result: int | None) -> int:
        if result in (None, -1, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "the host refuses memory for compiled code")
        return int(result or 0)

    def place(self, image: Image, resolve: Callable[[str], int]) -> int | None:
        """Copy an image in; gives its address, or None when there is no room.  `resolve` gives the addresses of its imports."""
        start = (self.used + 63) & -64
        if start + len(image.content) > self.size:
            return None
        content = bytearray(image.content)
        at = self.base + start
        for slot, offset in image.bases:
            struct.pack_into("<Q", content, slot, at + offset)
        for slot, name in image.imports:
            struct.pack_into("<Q", content, slot, resolve(name))
        ctypes.memmove(self.writable + start, bytes(content), len(content))
        self.used = start + len(content)
        return at

    def holds(self, address: int) -> bool:
        return self.base <= address < self.base + self.size

    def close(self) -> None:
        libc.munmap(self.writable, self.size)
        self._leave()

    def _leave(self) -> None:
        """Give the executable room back."""
        if self._reserved:
            libc.mmap(self.base, self.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)
        else:
            libc.munmap(self.base, self.size)
