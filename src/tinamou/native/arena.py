"""Room for code that is compiled while the guest runs: thousands of small images, placed one after the other.

The memory is mapped twice, for writing and for execution, so that no page is ever both.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable

from .image import MAP_NORESERVE, PROT_EXEC, PROT_READ, PROT_WRITE, libc
from .link import Image

MAP_SHARED = 1


class Arena:
    """`size` bytes of address space for code."""

    def __init__(self, size: int) -> None:
        fd = os.memfd_create("tinamou-code", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            self._write = self._map(fd, size, PROT_READ | PROT_WRITE)
            self.base = self._map(fd, size, PROT_READ | PROT_EXEC)
        finally:
            os.close(fd)
        self.size, self.used = size, 0

    @staticmethod
    def _map(fd: int, size: int, protection: int) -> int:
        at = libc.mmap(None, size, protection, MAP_SHARED | MAP_NORESERVE, fd, 0)
        if at in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "the host refuses memory for compiled code")
        return int(at)

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
        ctypes.memmove(self._write + start, bytes(content), len(content))
        self.used = start + len(content)
        return at

    def holds(self, address: int) -> bool:
        return self.base <= address < self.base + self.size

    def close(self) -> None:
        libc.munmap(self._write, self.size)
        libc.munmap(self.base, self.size)
