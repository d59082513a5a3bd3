"""The metadata caches of qcow2: their options bound what is kept, and small caches change nothing else."""

from __future__ import annotations

import random
from typing import Any

import pytest

from block.memory_nodes import new_image, open_memory
from block.test_qcow2_model import workload
from tinamou.block.errors import BlockError
from tinamou.block.formats.qcow2 import clustermap
from tinamou.block.graph import Graph
from tinamou.block.node import Settings

TINY = {"l2-cache-size": 1024, "l2-cache-entry-size": 512, "refcount-cache-size": 1024}


def filled(**options: Any) -> bytes:
    """16 MiB with data everywhere, clusters of 4 KiB: 8 L2 tables of 2 MiB each."""
    with Graph() as graph:
        node = open_memory(graph, new_image(size=16 << 20, cluster_size=4096, **options), Settings(write=True))
        for pos in range(0, 16 << 20, 1 << 20):
            node.write(pos, bytes([pos >> 20]) * 4096)
        graph.close_node(node)
        return bytes(node.file.data)


def spy(node: Any) -> list[tuple[int, int]]:
    """(position, length) of everything read from the file."""
    reads: list[tuple[int, int]] = []
    inner = node.file.read_into

    def read_into(pos: int, view: memoryview) -> None:
        reads.append((pos, len(view)))
        inner(pos, view)

    node.file.read_into = read_into
    return reads


def test_cache_size_bounds_what_is_kept() -> None:
    with Graph() as graph:
        node = open_memory(graph, filled(), Settings(), **{"l2-cache-size": 8192})
        assert node.slice_size == 4096
        for pos in range(0, 16 << 20, 1 << 20):
            assert node.read(pos, 1) == bytes([pos >> 20])
            assert len(node.slices) <= 2
    with Graph() as graph:
        node = open_memory(graph, filled(), Settings())
        reads = spy(node)
        for _ in range(2):
            for pos in range(0, 16 << 20, 1 << 20):
                node.read(pos, 4096)
        tables = [read for read in reads if read[0] in {entry & clustermap.OFFSET_MASK for entry in node.l1}]
        assert len(tables) == 8  # each read once: the default holds all of them


def test_entry_size_is_what_a_miss_reads() -> None:
    with Graph() as graph:
        node = open_memory(graph, filled(), Settings(), **{"l2-cache-entry-size": 512})
        reads = spy(node)
        node.read(1 << 20, 512)
        assert [length for _, length in reads] == [512, 512]
        node.read((1 << 20) + 4096, 512)
        assert len(reads) == 2  # not allocated, and the same slice


def test_large_clusters_are_mapped_in_slices() -> None:
    with Graph() as graph:
        node = open_memory(graph, new_image(size=64 << 20, cluster_size=2 << 20), Settings(write=True))
        node.write(5 << 20, b"x")
        contents = bytes(node.file.data)
        graph.close_node(node)
        contents = bytes(node.file.data)
    with Graph() as graph:
        node = open_memory(graph, contents, Settings())
        reads = spy(node)
        assert node.read(5 << 20, 1) == b"x"
        assert max(length for _, length in reads) == 65536


def test_unused_entries_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(clustermap, "monotonic", lambda: now)
    with Graph() as graph:
        node = open_memory(graph, filled(), Settings(), **{"cache-clean-interval": 10})
        for table in range(6):
            node.read(table * (2 << 20), 1)
        now += 11
        node.read(6 * (2 << 20), 1)  # the first look: all of them were used since the image was opened
        assert len(node.slices) == 7
        node.read(0, 1)
        now += 11
        node.read(7 * (2 << 20), 1)
        assert set(node.slices) == {node.l1[i] & clustermap.OFFSET_MASK for i in (0, 6, 7)}


def test_refcount_cache_size() -> None:
    with Graph() as graph:
        node = open_memory(graph, filled(refcount_bits=64), Settings(write=True), **{"refcount-cache-size": 16384})
        assert node.refcount_cache_blocks == 4
        for cluster in range(0, 4000, 100):
            node.refs.get(cluster)
        assert len(node.refs.blocks) <= 4


@pytest.mark.parametrize("kind", [{"cluster_size": 512}, {"cluster_size": 4096}, {"cluster_size": 16384, "extended_l2": "on"}])
def test_random_workload_with_tiny_caches(kind: dict[str, Any]) -> None:
    contents = new_image(size=3 << 20, **kind)
    model = bytearray(3 << 20)
    rng = random.Random(str(kind))
    for snapshots in (False, True):
        with Graph() as graph:
            node = open_memory(graph, contents, Settings(write=True), **TINY)
            workload(node, model, rng, 80, snapshots)
            graph.close_node(node)
            contents = bytes(node.file.data)
        with Graph() as graph:
            result = open_memory(graph, contents, Settings(for_check=True)).check(False, False)
            assert (result.corruptions, result.leaks) == (0, 0), result.messages[:5]
        with Graph() as graph:
            node = open_memory(graph, contents, Settings(), **TINY)
            assert node.read(0, node.size) == bytes(model)


BAD = [
    ({"l2-cache-entry-size": 256}, "L2 cache entry size must be a power of two between 512 and the cluster size"),
    ({"l2-cache-entry-size": 131072}, "L2 cache entry size must be a power of two between 512 and the cluster size"),
    ({"cache-size": 4096, "l2-cache-size": 8192}, "l2-cache-size may not exceed cache-size"),
    ({"cache-size": 4096, "refcount-cache-size": 8192}, "refcount-cache-size may not exceed cache-size"),
    ({"cache-size": 4096, "l2-cache-size": 1, "refcount-cache-size": 1}, "may not be set at the same time"),
    ({"l2-cache-size": 1 << 62}, "L2 cache size too big"),
    ({"cache-clean-interval": 1 << 40}, "Cache clean interval too big"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_options_that_cannot_be(options: dict[str, int], message: str) -> None:
    contents = new_image(size=1 << 20)
    with Graph() as graph, pytest.raises(BlockError, match=message):
        open_memory(graph, contents, Settings(), **options)
