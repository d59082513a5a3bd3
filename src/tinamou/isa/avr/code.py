"""What tier 1 must know of a microcontroller's code (engine.jit.Engine)."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from tinamou.engine.cpu import PAGE, Shared
from tinamou.native.image import ROOM

if TYPE_CHECKING:
    from tinamou.engine.architecture import Architecture
    from tinamou.engine.jit import Jit
    from tinamou.native.image import Loaded

    from .state import Avr

BACK = 64  # granules from a sample to the beginning of its piece of code, at most


class Code:
    """The flash of one CPU."""

    model = "harvard"
    faults = None  # nothing faults
    lasting = True
    first = 20_000
    jit: Jit | None = None

    def __init__(self, arch: Architecture, image: Loaded, shared: Shared, cpu: Avr, quantum: int) -> None:
        self.arch, self.image, self.shared, self.cpu, self.quantum = arch, image, shared, cpu, quantum
        self.decode_handler, self.pagemap = image["h_decode"], int(cpu.pagemap)
        self.extensions, self.limit = int(cpu.extensions), int(cpu.code_mask) + 1
        self.constants = {"code_mask": int(cpu.code_mask)}

    def entries(self, number: int) -> int:
        """Host address of the entries of a page, or 0."""
        return ctypes.c_uint64.from_address(self.pagemap + number * 8).value

    def compiled(self, number: int) -> None:
        """Who changes flash says so."""

    def code_page(self, number: int) -> bytes:
        """A page of flash; zeros where it is shorter than a page."""
        at = number << 12
        return ctypes.string_at(int(self.cpu.code) + at, min(PAGE, self.limit - at)).ljust(PAGE, b"\0")

    def place_of(self, sample: int) -> int:
        """A slice ends at any instruction: what counts is the trace or region that it is in."""
        base = self.entries(sample >> 12)
        traces = self.image.beyond
        for at in range(sample, max(sample - 2 * BACK, sample & -PAGE) - 1, -2) if base else ():
            handler = ctypes.c_uint64.from_address(base + ((at & PAGE - 1) << self.arch.shift)).value
            if traces <= handler < traces + ROOM or (self.jit is not None and self.jit.arena.holds(handler)):
                return at
        return sample
