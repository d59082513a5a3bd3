"""Tier 1 that compiles when it is told to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from tinamou.engine.discovery import Region, discover
from tinamou.engine.jit import Jit
from tinamou.engine.systemcode import PIECE


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


class SharingJit(ToldJit):
    """With one compiler, and templates made once for all CPUs of a kind."""

    templates: dict[str, Any] = {}

    def prepare(self) -> None:
        e = self.engine
        key = f"{e.model} {e.arch.name} {e.extensions} {e.constants}"
        self.makers = self.templates.get(key, [])
        super().prepare()
        self.templates[key] = self.makers

    @functools.cached_property
    def compiler(self) -> Any:
        return _compiler()


class MachineJit(SharingJit):
    """Of a whole machine; `at(cpu)` makes the region around where a CPU stands still."""

    def at(self, cpu: Any) -> None:
        physical = cpu.translate(cpu.pc)
        if physical is None:
            return
        for r in cpu.engine.memory.ram_regions():
            if r.base <= physical < r.base + r.size:
                piece = [*cpu.engine.pagemaps].index(id(r.ram)) + 1
                pc = (piece << PIECE) + r.offset + physical - r.base
                if self.executed(pc) and not self.compiled(pc):
                    self.compile(pc)


class AvrJit(EagerJit, SharingJit):
    """Of a microcontroller: the region around wherever a slice begins; `told` makes CPUs have it."""

    limit = 60  # instructions of a region
    quantum = 100  # cycles of a slice

    def __init__(self, engine: Any, mode: str = "") -> None:
        super().__init__(engine, mode)
        self.code = range(engine.limit)
        engine.quantum = self.quantum

    def choose(self, pc: int, fetch: Callable[[int], int | None]) -> Region | None:
        return discover(self.makers[0](), pc, fetch, self.executed, limit=self.limit)

    @classmethod
    def told(cls, monkeypatch: pytest.MonkeyPatch, quantum: int = 100) -> None:
        """CPUs of AVR machines made from now on run in regions, slice by slice; within these are many checkpoints."""
        from tinamou.isa.avr.vcpu import AvrVcpu

        run = AvrVcpu.run

        def slice_(self: AvrVcpu) -> None:
            if self._soon is not None:
                self._soon.join()
            jit, pc = self.jit, int(self.cpu.pc)
            if isinstance(jit, AvrJit):
                if jit.entry(pc) and not jit.compiled(pc):
                    jit.compile(pc)
                self._kick.value = not self.halted
            run(self)

        monkeypatch.setattr(cls, "quantum", quantum)
        monkeypatch.setenv("TINAMOU_JIT", "on")
        monkeypatch.setenv("TINAMOU_CODE_CACHE", "off")
        monkeypatch.setattr("tinamou.engine.jit.Jit", cls)
        monkeypatch.setattr("tinamou.engine.checkpoints.LONGEST", 10)
        monkeypatch.setattr("tinamou.isa.avr.vcpu.DELAY", 0)
        monkeypatch.setattr(AvrVcpu, "run", slice_)


@functools.cache
def _compiler() -> Any:
    from tinamou.native.llvm import SmallCompiler

    return SmallCompiler()
