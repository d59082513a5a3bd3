"""Ciphers that work on many blocks at once: what Serpent and Twofish share.

A block is four little-endian 32-bit words. Word i of all blocks of a chunk is one big integer with a 32-bit lane per block, so that
one operation works on all of them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from typing import Generic, TypeVar

from .ciphers import Data

CHUNK = 4096
"""Blocks worked on together: four words of 16 KiB, which the processor's first caches hold."""

SIZES_KEPT = 4
LITTLE = sys.byteorder == "little"

L = TypeVar("L")
"""Constants for a number of lanes."""

K = TypeVar("K")
"""Round keys, each repeated in every lane."""


def rotate(value: int, n: int) -> int:
    """A 32-bit word rotated left."""
    return (value << n | value >> 32 - n) & 0xFFFF_FFFF


class LaneCipher(Generic[L, K]):
    """`encrypt` and `decrypt` take any number of 16-byte blocks."""

    block_size = 16

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[L, K]] = {}

    def _prepare(self, count: int) -> tuple[L, K]:
        """Constants and round keys for `count` lanes."""
        raise NotImplementedError

    def _encrypt(self, x: list[int], lanes: L, keys: K) -> list[int]:
        """The four words of all blocks, encrypted."""
        raise NotImplementedError

    def _decrypt(self, x: list[int], lanes: L, keys: K) -> list[int]:
        raise NotImplementedError

    def encrypt(self, data: Data) -> bytes:
        return self._chunks(data, self._encrypt)

    def decrypt(self, data: Data) -> bytes:
        return self._chunks(data, self._decrypt)

    def _sized(self, count: int) -> tuple[L, K]:
        """What `_prepare` makes; the last few sizes are kept."""
        found = self._sizes.get(count)
        if found is None:
            if len(self._sizes) >= SIZES_KEPT:
                self._sizes.pop(next(iter(self._sizes)), None)
            found = self._sizes[count] = self._prepare(count)
        return found

    def _chunks(self, data: Data, work: Callable[[list[int], L, K], list[int]]) -> bytes:
        view = memoryview(data)
        size = 16 * CHUNK
        return b"".join(self._words(view[at : at + size], work) for at in range(0, len(view), size))

    def _words(self, view: memoryview, work: Callable[[list[int], L, K], list[int]]) -> bytes:
        words = array("I", view.tobytes())
        if not LITTLE:
            words.byteswap()
        count = len(words) // 4
        x = work([int.from_bytes(words[i::4].tobytes(), sys.byteorder) for i in range(4)], *self._sized(count))
        for i in range(4):
            words[i::4] = array("I", x[i].to_bytes(4 * count, sys.byteorder))
        if not LITTLE:
            words.byteswap()
        return words.tobytes()
