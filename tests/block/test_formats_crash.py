"""vdi, vpc and vmdk when the writing stops, after every single write or at a power cut: the image opens, flushed data is there."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from block.memory_nodes import apply, open_memory, power_cut
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


def record(kind: str, folder: Path, steps: int = 40) -> tuple[bytes, list[Any], list[list[set[int]]]]:
    """A new image, the changes that a random workload made to it, and per number of changes what each cell may hold after them."""
    fmt, options = KINDS[kind]
    name = str(folder / "a")
    create(Graph(), name, fmt, create_class(fmt, name)({"size": CELLS * CELL, **options}))
    contents = Path(name).read_bytes()
    rng = random.Random(kind)
    now = [0] * CELLS
    allowed = [{0} for _ in range(CELLS)]
    states: list[list[set[int]]] = []
    with Graph() as graph:
        node = open_memory(graph, contents, Settings(write=True), fmt)
        log = node.file.log
        cells = list(range(CELLS))
        rng.shuffle(cells)
        for value in range(1, steps):
            cell = cells[value] if kind == "vmdk-stream" else rng.randrange(CELLS)
            if rng.random() < 0.2 and kind != "vmdk-stream":
                value = 0
            allowed[cell] = allowed[cell] | {value}
            now[cell] = value
            if value:
                node.write(cell * CELL, bytes([value]) * CELL)
            else:
                node.write_zeroes(cell * CELL, CELL)
            states += [list(allowed)] * (len(log) - len(states))
            if rng.random() < 0.25:
                node.flush()
                states += [list(allowed)] * (len(log) - len(states))
                allowed = [{v} for v in now]
        log = list(log)
    return contents, log, states


def cells_of(data: bytes, fmt: str, **settings: bool) -> list[bytes]:
    with Graph() as graph:
        disk = open_memory(graph, data, Settings(**settings), fmt).read(0, CELLS * CELL)
    return [disk[at : at + CELL] for at in range(0, CELLS * CELL, CELL)]


@pytest.mark.parametrize("kind", KINDS)
def test_cut_after_every_write(kind: str, tmp_path: Path) -> None:
    contents, log, states = record(kind, tmp_path)
    data = bytearray(contents)
    for number, change in enumerate(log[: len(states)]):
        apply(data, change)
        for cell, piece in enumerate(cells_of(bytes(data), KINDS[kind][0])):
            assert piece == piece[:1] * CELL and piece[0] in states[number][cell], (number, cell, piece[0])


def cut_power(kind: str, folder: Path, cuts: int) -> None:
    """Writes since the last flush reach the disk in any order, in parts or not at all: the image opens, flushed cells are whole, the
    others hold pieces of what they may hold, and what is written then does not disturb them."""
    fmt = KINDS[kind][0]
    contents, log, states = record(kind, folder)
    rng = random.Random(kind)
    for number in [rng.randrange(len(states)) for _ in range(cuts)]:
        data = power_cut(contents, log[: number + 1], rng)
        before = cells_of(bytes(data), fmt)
        for cell, piece in enumerate(before):
            assert piece == piece[:1] * CELL or set(piece) <= states[number][cell] | {0}, (number, cell)
            assert piece[0] in states[number][cell] | {0}, (number, cell)
            if len(states[number][cell]) == 1:
                assert piece == bytes(states[number][cell]) * CELL, (number, cell)
        free = [cell for cell, piece in enumerate(before) if not any(piece)]
        with Graph() as graph:
            node = open_memory(graph, bytes(data), Settings(write=True), fmt)
            for cell in free[:3]:
                if kind != "vmdk-stream" or node.extent(cell * CELL, CELL).kind == "hole":
                    node.write(cell * CELL, b"\xee" * CELL)
                    before[cell] = b"\xee" * CELL
            graph.close_node(node)
            data = node.file.data
        assert cells_of(bytes(data), fmt) == before, number


@pytest.mark.parametrize("kind", KINDS)
def test_power_cut(kind: str, tmp_path: Path) -> None:
    cut_power(kind, tmp_path, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_power_cut_many_times(kind: str, tmp_path: Path) -> None:
    cut_power(kind, tmp_path, 1500)
