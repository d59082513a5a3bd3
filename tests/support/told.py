"""Tier 1 that compiles when it is told to."""

from __future__ import annotations

from collections.abc import Callable

from tinamou.engine.jit import Jit
from tinamou.engine.regions import Region, discover


class ToldJit(Jit):
    """Without a thread, whatever it costs; `compile(pc)` makes the region around pc, with a loop or not."""

    def start(self) -> None:
        """No thread."""

    def choose(self, pc: int, fetch: Callable[[int], int | None]) -> Region | None:
        return discover(self.makers[0](), pc, fetch, self.executed)


class EagerJit(ToldJit):
    """The same of code that need not have been executed: what lies in `code`."""

    code = range(0)

    def executed(self, pc: int) -> bool:
        return pc in self.code
