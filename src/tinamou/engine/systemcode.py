"""What tier 1 must know of a whole machine's code (engine.jit.Engine).

Regions are made for pages of RAM, wherever and by whomever they are mapped: a code address here is the number of a piece of RAM and the
offset in it.  A region has no code beyond its page, and takes the page's virtual address from the CPU that enters it.
"""

from __future__ import annotations

import ctypes
from functools import reduce
from typing import TYPE_CHECKING

from .cpu import PAGE
from .predecode import ENTRY, SENTINELS
from .softmmu import COMPILED, RETIRED, SLOT

if TYPE_CHECKING:
    from .system import SystemEngine

PIECE = 44  # bits of an offset


class SystemCode:
    """The RAM of one machine."""

    model = "softmmu"
    faults = None  # nothing faults
    lasting = False  # accesses that miss the TLB leave regions, and what is in it depends on where pages are
    first = 200_000  # a second and a half: the start of an operating system is spread over much code, and over soon
    constants: dict[str, int] = {}
    limit = 1 << 63

    def __init__(self, engine: SystemEngine, quantum: int) -> None:
        self.engine, self.quantum = engine, quantum
        self.arch, self.image, self.shared = engine.arch, engine.image, engine.shared
        self.decode_handler = self.image["h_decode"]
        self.room = PAGE << self.arch.shift  # bytes of a page's entries, without what is behind them
        self.stride = self.room + SENTINELS * ENTRY

    @property
    def extensions(self) -> int:
        """What all CPUs have."""
        return reduce(int.__and__, (int(v.cpu.extensions) for v in self.engine.vcpus))

    def piece(self, number: int) -> tuple[int, int, int]:
        """Of a page: the RAM's host address and pagemap, and the number of the page in it; zeros if there is no such page."""
        pieces = [*self.engine.pagemaps.values()]
        which, number = (number >> PIECE - 12) - 1, number & (1 << PIECE - 12) - 1
        if not 0 <= which < len(pieces):
            return 0, 0, 0
        pagemap, ram = pieces[which]
        return (ram.address, pagemap, number) if number < ram.size >> 12 else (0, 0, 0)

    def entries(self, number: int) -> int:
        """Host address of the entries of a page; 0 when it has none, or code on it does not count."""
        _, pagemap, n = self.piece(number)
        word = ctypes.c_uint64.from_address(pagemap + n * 8).value if pagemap else 0
        return 0 if word & RETIRED else word

    def code_page(self, number: int) -> bytes:
        """A page of RAM."""
        host, _, n = self.piece(number)
        return ctypes.string_at(host + n * PAGE, PAGE) if self.entries(number) else b""

    def compiled(self, number: int) -> None:
        """Stores to the page undo all of it from now on."""
        if entries := self.entries(number):
            ctypes.c_uint64.from_address(entries + self.room + COMPILED).value = 1

    def place_of(self, sample: int) -> int:
        """Samples are host addresses of entries."""
        start = int(self.shared.arena_start)
        if not start <= sample < int(self.shared.arena):
            return 0
        page, offset = divmod(sample - start, self.stride)
        slot = ctypes.c_uint64.from_address(start + page * self.stride + self.room + SLOT).value
        for which, (pagemap, ram) in enumerate(self.engine.pagemaps.values()):
            if 0 <= slot - pagemap < (ram.size >> 12) * 8 and offset < self.room:
                return (which + 1 << PIECE) + (slot - pagemap << 9) + (offset >> self.arch.shift)
        return 0
