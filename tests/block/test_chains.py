"""Backing chains against flat arrays: writes in every layer, then commit, rebase, convert -B, compare, map."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from block.memory_nodes import zeroes_as_told
from support import originals
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings
from tinamou.tools.img import main

SIZE = 2 << 20


def make(path: Path, size: int, backing: Path | None = None, **options: Any) -> None:
    values: dict[str, Any] = {"size": size, **options}
    if backing is not None:
        values |= {"backing_file": backing.name, "backing_fmt": "qcow2"}
    create(Graph(), str(path), "qcow2", create_class("qcow2", str(path))(values))


def scribble(path: Path, model: bytearray, rng: random.Random) -> None:
    with Graph() as graph:
        node = graph.open(str(path), settings=Settings(write=True))
        for _ in range(25):
            length = rng.choice((512, 3000, 40000, 200000))
            pos = rng.randrange(0, max(1, len(model) - length))
            length = min(length, len(model) - pos)
            if rng.random() < 0.75:
                data = bytes([rng.randrange(1, 256)]) * length
                node.write(pos, data)
            else:
                data = bytes(length)
                node.write_zeroes(pos, length, rng.random() < 0.5)
            model[pos : pos + length] = data
        assert node.read(0, node.size) == bytes(model)


def contents(path: Path) -> bytes:
    with Graph() as graph:
        node = graph.open(str(path))
        return node.read(0, node.size)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], list[bytearray]]:
    """Four layers of different cluster sizes, the second shorter than the others, and what each shows."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(str(tmp_path.name)[:12])
    paths, models = [], []
    below: Path | None = None
    for i, (size, options) in enumerate(
        (
            (SIZE, {"cluster_size": 65536}),
            (SIZE - 300000 // 512 * 512, {"cluster_size": 4096}),
            (SIZE, {"cluster_size": 16384, "extended_l2": "on"}),
            (SIZE + 65536, {"cluster_size": 512}),
        )
    ):
        path = tmp_path / f"{i}.qcow2"
        make(path, size, below, **options)
        model = bytearray((models[-1] if models else b"")[:size].ljust(size, b"\0"))
        scribble(path, model, rng)
        paths.append(path)
        models.append(model)
        below = path
    return paths, models


def sound(*paths: Path) -> None:
    for path in paths:
        originals.run("qemu-img", "check", "-q", path)


def test_every_layer_reads_as_written(chain: Any, tmp_path: Path) -> None:
    paths, models = chain
    for path, model in zip(paths, models, strict=True):
        assert contents(path) == bytes(model)
        raw = tmp_path / "flat.raw"
        raw.write_bytes(model)
        assert "identical" in originals.run("qemu-img", "compare", "-F", "raw", path, raw)
        with Graph() as graph:
            node = graph.open(str(path))
            zeroes_as_told(node, model)
    sound(*paths)


def test_commit(chain: Any) -> None:
    paths, models = chain
    assert main(["commit", "-q", "3.qcow2"]) == 0
    assert contents(paths[2]) == bytes(models[3]) == contents(paths[3])
    assert main(["commit", "-q", "-b", "0.qcow2", "3.qcow2"]) == 0
    assert contents(paths[0]) == bytes(models[3])
    sound(*paths)


def test_rebase(chain: Any) -> None:
    paths, models = chain
    for arguments in (["-b", "0.qcow2", "-F", "qcow2"], ["-b", "1.qcow2", "-F", "qcow2"], ["-b", ""]):
        assert main(["rebase", *arguments, "3.qcow2"]) == 0
        assert contents(paths[3]) == bytes(models[3])
        sound(paths[3])


def test_convert_on_a_shared_base(chain: Any, tmp_path: Path) -> None:
    _, models = chain
    for base in (0, 1, 2):
        arguments = ["convert", "-O", "qcow2", "-B", f"{base}.qcow2", "-F", "qcow2", "3.qcow2", "n.qcow2"]
        assert main(arguments) == 0
        assert contents(tmp_path / "n.qcow2") == bytes(models[3])
        sound(tmp_path / "n.qcow2")
    for options in ([], ["-c"], ["-W"], ["-C"], ["-o", "extended_l2=on"], ["-m", "1"]):
        assert main(["convert", "-O", "qcow2", *options, "3.qcow2", "n.qcow2"]) == 0
        assert contents(tmp_path / "n.qcow2") == bytes(models[3])
        sound(tmp_path / "n.qcow2")


def test_grow_over_a_longer_backing_file(chain: Any, tmp_path: Path) -> None:
    """Space that a resize adds is zero, whatever the backing file has there."""
    paths, models = chain
    make(tmp_path / "short.qcow2", 1 << 20, paths[3], cluster_size=65536)
    assert main(["resize", "-q", "short.qcow2", str(SIZE)]) == 0
    assert contents(tmp_path / "short.qcow2") == bytes(models[3][: 1 << 20]).ljust(SIZE, b"\0")
    sound(tmp_path / "short.qcow2")
