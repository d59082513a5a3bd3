"""Room for code that is compiled while the guest runs: thousands of small images, placed one after the other.

The memory is mapped twice, for writing and for execution, so that no page is ever both.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable

from .image import MAP_NORESERVE, PROT_EXEC, PROT_READ, PROT_WRITE, libc
from .link import Image

MAP_SHARED, MAP_FIXED_NOREPLACE = 1, 0x100000
STEP = 16 << 20  # bytes between places that are tried


class Arena:
    """`size` bytes of address space for code; all of it and the address `near` are within `reach` bytes.

    Raises OSError when the host has no such room.
    """

    def __init__(self, size: int, near: int = 0, reach: int = 0) -> None:
        fd = os.memfd_create("tinamou-code", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            self.base = self._map(fd, size, PROT_READ | PROT_EXEC, near, reach)
            self.writable = self._map(fd, size, PROT_READ | PROT_WRITE)
        finally:
            os.close(fd)
        self.size, self.used = size, 0

    @staticmethod
    def _map(fd: int, size: int, protection: int, near: int = 0, reach: int = 0) -> int:
        hints = [near + k * STEP for n in range(1, (reach - size) // STEP) for k in (n, -n - size // STEP)] if near else [0]
        for hint in hints:
            flags = MAP_SHARED | MAP_NORESERVE | (MAP_FIXED_NOREPLACE if hint else 0)
            at = libc.mmap(hint & -4096 or None, size, protection, flags, fd, 0)
            if at in (None, ctypes.c_void_p(-1).value):
                if ctypes.get_errno() == errno.EEXIST:
                    continue
                raise OSError(ctypes.get_errno(), "the host refuses memory for compiled code")
            if not hint or max(near, int(at) + size) - min(near, int(at)) <= reach:
                return int(at)
            libc.munmap(at, size)
        raise OSError(errno.ENOMEM, "the host has no memory for compiled code near the interpreter")

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
        libc.munmap(self.base, self.size)
