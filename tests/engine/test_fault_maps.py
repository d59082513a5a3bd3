"""Every guest access that may fault on the host has a line in the image's fault map: none is left to an explicit null check."""

from __future__ import annotations

import pytest

from tinamou.engine import flat
from tinamou.engine.architecture import Architecture
from tinamou.engine.handlers import Builder
from tinamou.isa.riscv.architecture import RV32, RV64
from tinamou.native.link import link
from tinamou.native.llvm import compile_object, triple


@pytest.mark.parametrize("arch", [RV64, RV32], ids=lambda a: a.name)
def test_every_guard_is_in_the_map(arch: Architecture) -> None:
    text = Builder(arch, flat).text(triple())
    image = link(compile_object(text))
    guards = text.count("!make.implicit")
    assert guards > 40
    assert len(image.faults) == guards
    assert all(0 < at < image.code_size and 0 < to < image.code_size for at, to in image.faults)
