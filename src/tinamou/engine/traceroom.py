"""Memory for traces (engine.traces): executable room within reach of the interpreter's image, and what their maker needs.

TINAMOU_TRACES=off does without, TINAMOU_TRACES=eager makes a trace at the first visit; if it is not set, TINAMOU_JIT says so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tinamou.native.arena import Arena
from tinamou.native.image import ROOM, Loaded, address_space_left, allocate, release
from tinamou.native.types import u64

if TYPE_CHECKING:
    from .cpu import Shared

SIZE = 128 << 20  # bytes of address space: a part of the room behind the image
STEPS = 1 << 14
HEAT = 1 << 16
PATIENCE = 5  # visits of an entry before it gets a trace: they cost half as much as making it

LLVM = 1 << 30  # bytes of address space without which there are no regions (ulimit -v)


def regions_allowed(jit: str = "") -> bool:
    """Tier 1 is wanted and possible.  `jit`: off, traces, on or eager; "" leaves it to the environment."""
    return (jit or os.environ.get("TINAMOU_JIT")) not in ("off", "traces") and address_space_left() >= LLVM


class TraceRoom:
    """The room of one engine; `shared` is made to point at it.

    `faults`: host address of an empty fault map for it, or 0.  `jit`: off, traces, on or eager; "" leaves it to the environment.
    """

    def __init__(self, image: Loaded, shared: Shared, faults: int = 0, jit: str = "") -> None:
        self.image, self.shared, self.jit = image, shared, jit
        self.arenas: list[Arena] = []
        self.steps = 0
        self.own_faults = 0 if faults else allocate(1 << 12)
        shared.image, shared.image_size = u64(image.base), u64(image.size)
        shared.trace_faults = u64(faults or self.own_faults)
        self.make()

    def make(self) -> None:
        """Fresh room: nothing of the old one is in use."""
        s = self.shared
        wanted = self.jit or os.environ.get("TINAMOU_TRACES") or os.environ.get("TINAMOU_JIT", "")
        if "stencils" not in self.image.offsets or wanted == "off":
            return
        if not self.more():
            return  # the interpreter alone is slower, but works
        self.steps = allocate(STEPS + HEAT)
        s.trace_steps, s.heat = u64(self.steps), u64(self.steps + STEPS)
        s.patience = u64(1 if wanted == "eager" else PATIENCE)
        s.stencils = u64(self.image["stencils"])

    def more(self) -> bool:
        """Let traces be made in the next part of the room; False when there is none."""
        s = self.shared
        s.trace_lock = s.trace_at = s.trace_end = u64(0)
        at = self.image.beyond + len(self.arenas) * SIZE
        try:
            if not self.image.beyond or at + SIZE > self.image.beyond + ROOM:
                return False
            arena = Arena(SIZE, at)
        except OSError:
            return False
        self.arenas.append(arena)
        s.trace_write = u64(arena.writable - arena.base & (1 << 64) - 1)
        s.trace_at, s.trace_end = u64(arena.base), u64(arena.base + SIZE)
        return True

    def space(self) -> tuple[int, int]:
        """(bytes of traces, bytes of all rooms)."""
        rooms = len(self.arenas) * SIZE
        return rooms - int(self.shared.trace_end - self.shared.trace_at), rooms

    def after_fork(self) -> None:
        """In the child of a fork, which shares the old room with its parent: what is there stays, new traces go elsewhere."""
        if self.arenas:
            self.more()

    def close(self) -> None:
        s = self.shared
        s.stencils = s.trace_at = s.trace_end = u64(0)
        while self.arenas:
            self.arenas.pop().close()
        if self.steps:
            release(self.steps, STEPS + HEAT)
            self.steps = 0
        if self.own_faults:
            release(self.own_faults, 1 << 12)
            self.own_faults = 0
