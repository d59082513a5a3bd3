"""Loading the interpreter of an architecture: compiled by `engine.handlers`, kept by `native.image`.

When the cache has it, neither the rows of the architecture nor the compiler are imported.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinamou.native import image

from .architecture import Architecture

if TYPE_CHECKING:
    from tinamou.native.link import Image

    from .handlers import Builder

# why run() returned (Cpu.reason)
TRAP, KICK = 1, 2


def load(arch: Architecture, model: str) -> image.Loaded:
    """The interpreter for a memory model (a module of this package: "flat"), from the cache or freshly built."""

    def build() -> tuple[bytes, dict[str, object]]:
        from tinamou.native.llvm import assemble, compile_assembly, triple

        from .compact import shorter
        from .handlers import Builder, middle

        builder = Builder(arch, importlib.import_module(f"tinamou.engine.{model}"))
        text, reaches = shorter(compile_assembly(builder.text(triple())), middle(arch.cpu))
        obj = assemble(text)
        builders.append((builder, reaches))
        return obj, {"extensions": builder.bits, "functions": builder.outlined_functions()}

    def finish(made: Image) -> None:
        from . import stencils
        from .handlers import middle
        from .traces import GLUE

        ((builder, reaches),) = builders
        if builder.stencils:
            stencils.collect(made, builder.stencils, len(builder.handler_names) + len(GLUE), middle(arch.cpu), reaches)

    builders: list[tuple[Builder, dict[str, tuple[int, int]]]] = []
    return image.load(f"{arch.name}-{model}", ("native", "engine", *arch.sources), build, finish=finish)


RunFunction = Callable[[int], None]
InvalidateFunction = Callable[[int, int, int], None]


def functions(loaded: image.Loaded) -> tuple[RunFunction, RunFunction, InvalidateFunction]:
    """run(cpu address), step(...) and invalidate(pagemap, first page, last page); the interpreter lock is released while they run."""
    run = loaded.function("run", None, ctypes.c_uint64)
    step = loaded.function("step", None, ctypes.c_uint64)
    forget_pages = loaded.function("invalidate", None, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    return run, step, forget_pages  # type: ignore[return-value]
