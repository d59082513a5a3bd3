"""Allocation tags of guest memory: a byte for each 16 bytes, where the architecture tags memory at all.

Documentation/arch/arm64/memory-tagging-extension.rst of the kernel: tags are 0 in a new mapping, move with mremap, are copied by fork, and
are lost with the page (munmap, MADV_DONTNEED).  Tags of shared mappings are not shared with other processes here.
"""

from __future__ import annotations

import ctypes
import mmap

GRANULE = 16
PAGE = 4096 // GRANULE  # bytes of tags for a page of guest memory
DROP = 64 * 4096  # bytes of tags from which clearing drops host pages rather than writing zeroes
MADV_DONTNEED = 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE


class Tags:
    """Tags of guest memory from 0 up to `limit`; `base` is the host address of address 0's."""

    def __init__(self, limit: int) -> None:
        """Raises OSError when the host has no room for them."""
        self.limit = limit
        base = _libc.mmap(None, limit // GRANULE, mmap.PROT_READ | mmap.PROT_WRITE, FLAGS, -1, 0)
        if base == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "no room for memory tags")
        self.base: int = base

    def clear(self, start: int, end: int) -> None:
        """Make the tags of a range of pages 0."""
        first, last = self.base + start // GRANULE, self.base + end // GRANULE
        if last - first >= DROP:
            low, high = (first + 4095) & -4096, last & -4096
            _libc.madvise(low, high - low, MADV_DONTNEED)
            ctypes.memset(first, 0, low - first)
            ctypes.memset(high, 0, last - high)
        else:
            ctypes.memset(first, 0, last - first)

    def move(self, old: int, new: int, size: int) -> None:
        """The tags of pages that moved; their old place has none."""
        ctypes.memmove(self.base + new // GRANULE, self.base + old // GRANULE, size // GRANULE)
        self.clear(old, old + size)

    def match(self, address: int, length: int, tag: int) -> bool:
        """Whether all granules of that range have this tag."""
        first, last = address // GRANULE, (address + max(length, 1) - 1) // GRANULE
        return not ctypes.string_at(self.base + first, last - first + 1).strip(bytes([tag]))
