"""Host memory behind guest RAM: anonymous or shareable pages with a stable address, copied and restored by whole pages."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from typing import Any

PAGE = mmap.PAGESIZE
_MAP_FIXED = 0x10
_MAP_NORESERVE = 0x4000
_CHUNK = 1 << 20
_PRESENT_OR_SWAPPED = 0xC0


@functools.cache
def _libc() -> Any:
    lib = ctypes.CDLL(None, use_errno=True)
    lib.mmap.restype = ctypes.c_void_p
    lib.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    lib.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return lib


class HostMemory:
    """`size` bytes of zeroed memory at host `address`, seen from Python as the writable memoryview `buffer`.

    With `fd` the pages are a shared mapping of that file, so that another process may map the same guest RAM.
    Raises MemoryError when the host refuses.
    """

    def __init__(self, size: int, fd: int | None = None) -> None:
        if size <= 0:
            raise ValueError(f"memory size must be positive, not {size}")
        self.size = size
        self.fd = fd
        self._under: int | None = None  # the file that `restore` has mapped
        self._length = -(-size // PAGE) * PAGE
        self.address = self._map(None, mmap.MAP_SHARED if fd is not None else mmap.MAP_PRIVATE, fd)
        array = (ctypes.c_char * size).from_address(self.address)
        self.buffer = memoryview(array).cast("B")

    def _map(self, at: int | None, flags: int, fd: int | None) -> int:
        flags |= _MAP_NORESERVE | (0 if fd is not None else mmap.MAP_ANONYMOUS) | (_MAP_FIXED if at else 0)
        got = _libc().mmap(at, self._length, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1 if fd is None else fd, 0)
        if got is None or got == ctypes.c_void_p(-1).value:
            raise MemoryError(f"cannot allocate {self.size} bytes of guest memory: {os.strerror(ctypes.get_errno())}")
        return int(got)

    def close(self) -> None:
        """Give the pages back. Nothing may use `address` or `buffer` afterwards."""
        if self.address:
            self.buffer.release()
            _libc().munmap(self.address, self._length)
            self._over(None)
            self.address = 0

    def clear(self) -> None:
        """Make every byte zero again without touching the pages."""
        if self.fd is None:
            self._map(self.address, mmap.MAP_PRIVATE, None)
            self._over(None)
        else:
            self.buffer[:] = bytes(self.size)

    def used_chunks(self) -> list[tuple[int, int]]:
        """(offset, length) of the pieces that hold anything but zeros, in 1 MiB granules."""
        out = []
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            for at in range(0, self.size, _CHUNK):
                n = min(_CHUNK, self.size - at)
                pagemap.seek((self.address + at) // PAGE * 8)
                entries = pagemap.read(-(-n // PAGE) * 8)
                if self.fd is None and not any(e & _PRESENT_OR_SWAPPED for e in entries[7::8]) and not self._restored(at, n):
                    continue
                start = self.address + at
                zero = self.buffer[at] == 0 and not (n > 1 and _libc().memcmp(start, start + 1, n - 1))
                if not zero:
                    out.append((at, n))
        return out

    def _restored(self, at: int, size: int) -> bool:
        """The file that was restored from has something there: pages of it that nobody has touched are not in the page table."""
        if self._under is None:
            return False
        try:
            return os.lseek(self._under, at, os.SEEK_DATA) < at + size
        except OSError:  # nothing up to its end
            return False

    def _over(self, fd: int | None) -> None:
        """The pages are now those of this file, or zeros."""
        if self._under is not None:
            os.close(self._under)
        self._under = None if fd is None else os.dup(fd)

    def save(self) -> int:
        """A sparse memory file holding the present content; the caller owns the descriptor."""
        fd = os.memfd_create("guest-ram", os.MFD_CLOEXEC)
        os.ftruncate(fd, self._length)
        for at, n in self.used_chunks():
            os.pwrite(fd, self.buffer[at : at + n], at)
        return fd

    def restore(self, fd: int) -> None:
        """Take over the content of a file made by `save`, by mapping it copy-on-write: no byte is copied now."""
        if self.fd is None:
            self._map(self.address, mmap.MAP_PRIVATE, fd)
            self._over(fd)
        else:
            os.preadv(fd, [self.buffer], 0)
