"""Zero bytes in memory: to write from, to look for, to fill with."""

from __future__ import annotations

from .notation import TYPE_CHECKING

if TYPE_CHECKING:
    from .node import Buffer

LONGEST = 1 << 20
"""Of the views that `zeroes` gives, in bytes."""

_ZEROES = bytes(LONGEST)
_zero_arrays: dict[int, bytearray] = {}


def zeroes(length: int) -> memoryview:
    """`length` zero bytes to write from, at most 1 MiB, not copied."""
    return memoryview(_ZEROES)[:length]


def is_zero(data: Buffer) -> bool:
    """Whether all bytes are zero, by memory compare."""
    n = len(data)
    if n > 65536:
        view = memoryview(data)
        return all(is_zero(view[i : i + 65536]) for i in range(0, n, 65536))
    if n and data[n - 1]:
        return False
    same = _zero_arrays.get(n)
    if same is None:
        if len(_zero_arrays) > 64:
            _zero_arrays.clear()
        same = _zero_arrays[n] = bytearray(n)
    return same == data


def fill_zero(view: memoryview) -> None:
    """Set every byte of `view` to zero."""
    n = len(view)
    step = LONGEST
    if n <= step:
        view[:] = zeroes(n)
        return
    for at in range(0, n, step):
        view[at : at + step] = zeroes(min(step, n - at))
