"""Tables of 32-bit numbers in a file, read page by page, so that what a header claims costs no memory."""

from __future__ import annotations

import sys
from array import array

from .notation import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .node import Node

PAGE = 4096
"""Numbers on a page."""


class PagedTable:
    """`count` unsigned 32-bit numbers, `endian` "<" or ">", from byte `offset` of `file` on.

    Pages stay in memory until there are more than `limit` of them (16 KiB each). Changes reach the file with `write`, which the owner
    calls once what they refer to is on the disk; changed pages stay until then. Numbers that lie after the end of the file read as
    zero.
    """

    def __init__(self, file: Node, offset: int, count: int, endian: str = "<", limit: int = 256) -> None:
        self.file = file
        self.offset = offset
        self.count = count
        self.limit = limit
        self.swap = (sys.byteorder == "big") != (endian == ">")
        self.pages: dict[int, array[int]] = {}
        self.changed: dict[int, tuple[int, int]] = {}
        """Per page the range of numbers that are newer than in the file."""

    @property
    def full(self) -> bool:
        """Whether it is time to write: half of the pages are changed ones."""
        return 2 * len(self.changed) >= self.limit

    def page(self, number: int) -> array[int]:
        """The numbers from `number * PAGE` on."""
        found = self.pages.get(number)
        if found is not None:
            return found
        if len(self.pages) >= self.limit:
            for old in [number for number in self.pages if number not in self.changed][: self.limit // 8 + 1]:
                del self.pages[old]
        first = number * PAGE
        words = array("I", self.file.read(self.offset + 4 * first, 4 * min(PAGE, self.count - first)))
        if self.swap:
            words.byteswap()
        self.pages[number] = words
        return words

    def walk(self) -> Iterator[tuple[int, array[int]]]:
        """Every page with the index of its first number; pages read for this are not kept."""
        for number in range(-(-self.count // PAGE)):
            known = number in self.pages
            yield number * PAGE, self.page(number)
            if not known:
                self.pages.pop(number, None)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return self.page(index // PAGE)[index % PAGE]

    def run(self, index: int, end: int, step: int) -> int:
        """How many entries from `index` on, before `end`, continue it: each is `step` more than the one before it."""
        end = min(end, self.count)
        first = expect = self[index]
        at = index
        while at < end:
            words = self.page(at // PAGE)
            low, high = at % PAGE, min(len(words), at % PAGE + end - at)
            if not step and words[low:high] == array("I", [first]) * (high - low):
                at += high - low
                continue
            for word in words[low:high]:
                if word != expect:
                    return at - index
                expect += step
                at += 1
        return at - index

    def store(self, index: int, values: Sequence[int]) -> None:
        """Set the entries from `index` on, in memory."""
        done = 0
        while done < len(values):
            number, low = divmod(index + done, PAGE)
            n = min(PAGE - low, len(values) - done)
            self.page(number)[low : low + n] = array("I", values[done : done + n])
            before = self.changed.get(number, (low, low + n))
            self.changed[number] = min(before[0], low), max(before[1], low + n)
            done += n

    def write(self) -> None:
        """Write what was changed."""
        for number, (low, high) in sorted(self.changed.items()):
            words = self.pages[number][low:high]
            if self.swap:
                words.byteswap()
            self.file.write(self.offset + 4 * (number * PAGE + low), words.tobytes())
            del self.changed[number]
