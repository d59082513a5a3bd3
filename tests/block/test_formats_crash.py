"""vdi, vpc and vmdk when the writing stops: after every single write the image opens, flushed data is there, and what was written
since is either there or not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from block.memory_nodes import apply, open_memory
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings

CELL = 65536
CELLS = 48
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vdi": ("vdi", {}),
    "vpc": ("vpc", {}),
    "vmdk": ("vmdk", {}),
    "vmdk-zeroed": ("vmdk", {"zeroed_grain": "on"}),
    "vmdk-stream": ("vmdk", {"subformat": "streamOptimized"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_cut_after_every_write(kind: str, tmp_path: Path) -> None:
    fmt, options = KINDS[kind]
    name = str(tmp_path / "a")
    create(Graph(), name, fmt, create_class(fmt, name)({"size": CELLS * CELL, **options}))
    contents = Path(name).read_bytes()
    rng = random.Random(kind)
    now = [0] * CELLS
    # per length of the log: what each cell may hold if the writing stops there
    allowed = [[{0}] for _ in range(CELLS)]
    states: list[list[set[int]]] = []
    with Graph() as graph:
        node = open_memory(graph, contents, Settings(write=True), fmt)
        log = node.file.log
        cells = list(range(CELLS))
        rng.shuffle(cells)
        for value in range(1, 40):
            cell = cells[value] if kind == "vmdk-stream" else rng.randrange(CELLS)
            if rng.random() < 0.2 and kind != "vmdk-stream":
                node.write_zeroes(cell * CELL, CELL)
                value = 0
            else:
                node.write(cell * CELL, bytes([value]) * CELL)
            now[cell] = value
            allowed[cell][0] = allowed[cell][0] | {value}
            states += [[set(a[0]) for a in allowed]] * (len(log) - len(states))
            if rng.random() < 0.25:
                node.flush()
                for a, v in zip(allowed, now, strict=True):
                    a[0] = {v}
                states += [[set(a[0]) for a in allowed]] * (len(log) - len(states))
        log = list(log)
    data = bytearray(contents)
    for number, change in enumerate(log[: len(states)]):
        apply(data, change)
        with Graph() as graph:
            node = open_memory(graph, bytes(data), Settings(), fmt)
            disk = node.read(0, CELLS * CELL)
        for cell in range(CELLS):
            piece = disk[cell * CELL : (cell + 1) * CELL]
            assert piece == piece[:1] * CELL and piece[0] in states[number][cell], (number, cell, piece[0])
