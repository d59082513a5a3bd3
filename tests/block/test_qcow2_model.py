"""qcow2 against a flat array of bytes: random writes, zeroes, discards, compression, snapshots, resizes, reopening."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from block.memory_nodes import apply, new_image, open_memory, zeroes_as_told
from support import originals
from tinamou.block.formats.qcow2.snapshots import TooNarrow
from tinamou.block.graph import Graph
from tinamou.block.node import Settings

KINDS = {
    "default": {"cluster_size": 65536},
    "smallest clusters": {"cluster_size": 512},
    "largest clusters": {"cluster_size": 2 << 20},
    "one-bit counts": {"cluster_size": 4096, "refcount_bits": 1},
    "64-bit counts": {"cluster_size": 512, "refcount_bits": 64},
    "lazy": {"cluster_size": 4096, "lazy_refcounts": "on"},
    "version 2": {"cluster_size": 4096, "compat": "0.10"},
    "subclusters": {"cluster_size": 16384, "extended_l2": "on"},
    "zstd": {"cluster_size": 4096, "compression_type": "zstd"},
    "preallocated": {"cluster_size": 4096, "preallocation": "metadata"},
}
SIZE = 3 << 20


def workload(node: Any, model: bytearray, rng: random.Random, steps: int, snapshots: bool, tick: Any = None) -> bytearray:
    """Do random things to the disk and the model alike; the model."""
    saved: dict[str, bytes] = {}
    for step in range(steps):
        size = len(model)
        length = min(rng.choice((512, 1024, 4096, 5000, 20000, 100000)), size)
        pos = rng.randrange(0, size - length + 1)
        if rng.random() < 0.7:
            pos, length = pos // 512 * 512, max(512, length // 512 * 512)
        action = rng.random()
        if action < 0.5:
            data = bytes([rng.randrange(1, 256)]) * length
            node.write(pos, data)
            model[pos : pos + length] = data
        elif action < 0.62:
            node.write_zeroes(pos, length, rng.random() < 0.5)
            model[pos : pos + length] = bytes(length)
        elif action < 0.72:
            unit = node.cluster_size
            at = pos // unit * unit
            if at + unit <= size:
                before = node.read(at, unit)
                node.discard(at, unit)
                after = node.read(at, unit)
                assert after in (before, bytes(unit))
                model[at : at + unit] = after
        elif action < 0.84:
            unit = node.cluster_size
            at = pos // unit * unit
            data = (bytes([rng.randrange(256)]) * 64 * (unit // 64))[: max(0, min(unit, size - at))]
            packed = node.compress(data.ljust(unit, b"\0"))
            if packed is not None and at + unit <= size:
                node.link_compressed(at, packed, unit)
                model[at : at + len(data)] = data
        elif action < 0.90:
            node.flush()
        elif action < 0.93 and not snapshots:
            new = max(65536, (size + rng.randrange(-300000, 600000)) // 512 * 512)
            node.resize(new)
            del model[new:]
            model.extend(bytes(new - len(model)))
        elif snapshots and action < 0.97:
            name = f"s{step}.{rng.getrandbits(32)}"  # earlier workloads on the same image left theirs
            if len(saved) < 3:
                with contextlib.suppress(TooNarrow):
                    node.create_snapshot(name)
                    saved[name] = bytes(model)
            else:
                name = rng.choice(list(saved))
                if rng.random() < 0.5:
                    with contextlib.suppress(TooNarrow):
                        node.apply_snapshot(name, name, either=True)
                        model[:] = saved[name]
                else:
                    node.delete_snapshot(name, name, either=True)
                    del saved[name]
        assert node.read(pos, min(length, len(model) - pos)) == bytes(model[pos : pos + length])
        if tick is not None:
            tick()
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snapshots", [False, True], ids=["plain", "snapshots"])
def test_random_workload(kind: str, snapshots: bool, tmp_path: Path) -> None:
    options = KINDS[kind]
    if snapshots and options.get("refcount_bits") == 1:
        options = {**options, "refcount_bits": 4}
    rng = random.Random(f"{kind} {snapshots}")
    contents = new_image(size=SIZE, **options)
    model = bytearray(SIZE)
    for _ in range(3):
        with Graph() as graph:
            node = open_memory(graph, contents, Settings(write=True))
            assert node.size == len(model)
            assert node.read(0, node.size) == bytes(model)
            workload(node, model, rng, 60, snapshots)
            memory = node.file
        contents = bytes(memory.data)
        with Graph() as graph:
            node = open_memory(graph, contents, Settings(for_check=True))
            result = node.check(False, False)
            assert (result.corruptions, result.leaks, result.errors) == (0, 0, 0), result.messages[:5]
            zeroes_as_told(node, model)
    image, raw = tmp_path / "a.qcow2", tmp_path / "a.raw"
    image.write_bytes(contents)
    raw.write_bytes(model)
    assert "No errors" in originals.run("qemu-img", "check", image)
    assert "identical" in originals.run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, raw)


def test_log_rebuilds_the_image() -> None:
    contents = new_image(size=SIZE)
    with Graph() as graph:
        node = open_memory(graph, contents, Settings(write=True))
        workload(node, bytearray(SIZE), random.Random(1), 20, False)
        memory = node.file
    copy = bytearray(contents)
    for change in memory.log:
        apply(copy, change)
    assert copy == memory.data
