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
        from tinamou.native.llvm import compile_object, triple

        from .handlers import Builder

        builder = Builder(arch, importlib.import_module(f"tinamou.engine.{model}"))
        obj = compile_object(builder.text(triple()))
        builders.append(builder)
        return obj, {"extensions": builder.bits, "functions": builder.outlined_functions()}

    def finish(made: Image) -> None:
        from . import stencils
        from .traces import GLUE

        if builders[0].stencils:
            stencils.collect(made, builders[0].stencils, len(builders[0].handler_names) + len(GLUE))

    builders: list[Builder] = []
    return image.load(f"{arch.name}-{model}", ("native", "engine", *arch.sources), build, finish=finish)


RunFunction = Callable[[int], None]
InvalidateFunction = Callable[[int, int, int], None]


def functions(loaded: image.Loaded) -> tuple[RunFunction, RunFunction, InvalidateFunction]:
    """run(cpu address), step(...) and invalidate(pagemap, first page, last page); the interpreter lock is released while they run."""
    run = loaded.function("run", None, ctypes.c_uint64)
    step = loaded.function("step", None, ctypes.c_uint64)
    forget_pages = loaded.function("invalidate", None, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    return run, step, forget_pages  # type: ignore[return-value]
