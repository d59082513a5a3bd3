"""Images on block devices (loop devices) and qcow2 with external data files, against a flat array of bytes."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from block.test_formats_model import check_map, work
from support import originals
from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings
from tinamou.tools.img import main

SIZE = 24 << 20


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    backing = tmp_path / "device.img"
    backing.write_bytes(random.Random(1).randbytes(1 << 20) * (SIZE >> 20))
    done = subprocess.run(["losetup", "-f", "--show", str(backing)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    name = done.stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["losetup", "-d", name], check=True)


def test_raw_on_a_device(device: str) -> None:
    with Graph() as graph:
        model = bytearray(random.Random(1).randbytes(1 << 20) * (SIZE >> 20))
        node = graph.open(device, "raw", Settings(write=True, discard="unmap"))
        assert node.file.driver == "host_device" and node.size == SIZE  # type: ignore[attr-defined]
        work(node, model, random.Random(3), 60)
        assert node.read(0, SIZE) == bytes(model)
        with pytest.raises(BlockError, match="Cannot grow device files"):
            node.resize(SIZE + 512)
    with open(device, "rb") as file:
        assert file.read() == bytes(model)


def test_direct_io_on_a_device(device: str) -> None:
    with Graph() as graph:
        model = bytearray(random.Random(1).randbytes(1 << 20) * (SIZE >> 20))
        node = graph.open(device, "raw", Settings(write=True, direct=True))
        work(node, model, random.Random(4), 40)
        assert node.read(0, SIZE) == bytes(model)


@pytest.mark.parametrize("fmt", ["qcow2", "vdi", "vpc", "vmdk"])
def test_formats_on_a_device(fmt: str, device: str, tmp_path: Path) -> None:
    """The device is full of other data: nothing of it may show."""
    create(Graph(), device, fmt, create_class(fmt, device)({"size": 9 << 20}))
    rng = random.Random(fmt)
    model = bytearray()
    for _ in range(2):
        with Graph() as graph:
            node = graph.open(device, fmt, Settings(write=True))
            model.extend(bytes(node.size - len(model)))
            assert node.read(0, node.size) == bytes(model)
            work(node, model, rng, 30)
        with Graph() as graph:
            node = graph.open(device, fmt)
            assert node.read(0, node.size) == bytes(model)
            check_map(node, model)
    raw = tmp_path / "a.raw"
    raw.write_bytes(model)
    assert "identical" in originals.run("qemu-img", "compare", "-f", fmt, "-F", "raw", device, raw)


def test_a_device_that_is_too_small(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "-q", "-f", "raw", device, "1G"]) == 1
    assert f"'{device}' is too small" in capsys.readouterr().err


def test_convert_to_a_device(device: str, tmp_path: Path) -> None:
    data = os.urandom(3 << 20) + bytes(2 << 20) + os.urandom(1 << 20)
    (tmp_path / "a.raw").write_bytes(data)
    assert main(["convert", "-n", "-f", "raw", "-O", "raw", str(tmp_path / "a.raw"), device]) == 0
    with open(device, "rb") as file:
        assert file.read(len(data)) == data


@pytest.mark.parametrize("raw", ["on", "off"])
@pytest.mark.parametrize("cluster", [4096, 65536])
def test_external_data_file(raw: str, cluster: int, tmp_path: Path) -> None:
    image, data = tmp_path / "a.qcow2", tmp_path / "a.data"
    options: dict[str, Any] = {"size": 5 << 20, "cluster_size": cluster, "data_file": "a.data", "data_file_raw": raw}
    create(Graph(), str(image), "qcow2", create_class("qcow2", str(image))(options))
    rng = random.Random(f"{raw} {cluster}")
    model = bytearray(5 << 20)
    for round_ in range(4):
        with Graph() as graph:
            node: Any = graph.open(str(image), settings=Settings(write=True, discard="unmap"))
            assert node.read(0, node.size) == bytes(model)
            work(node, model, rng, 40)
            if round_ == 2:
                node.resize(7 << 20)
                model.extend(bytes(2 << 20))
            with pytest.raises(OSError):
                node.link_compressed(0, node.compress(bytes(cluster)), cluster)
        with Graph() as graph:
            node = graph.open(str(image))
            check_map(node, model)
        with Graph() as graph:
            result = graph.open(str(image), settings=Settings(for_check=True)).check(False, False)  # type: ignore[attr-defined]
            assert (result.corruptions, result.leaks) == (0, 0), result.messages[:5]
    if raw == "on":
        assert data.read_bytes() == bytes(model)
    (tmp_path / "a.raw").write_bytes(model)
    assert "No errors" in originals.run("qemu-img", "check", image, cwd=tmp_path)
    assert "identical" in originals.run("qemu-img", "compare", "-F", "raw", image, "a.raw", cwd=tmp_path)
