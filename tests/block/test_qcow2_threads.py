"""A thread reads or writes where it found a cluster while another one gives the cluster up and uses it for something else."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from block.memory_nodes import new_image, open_memory
from tinamou.block.graph import Graph
from tinamou.block.node import Settings

CLUSTER = 4096
OLD, NEW, OTHER = b"a" * CLUSTER, b"b" * CLUSTER, b"c" * CLUSTER


@pytest.fixture
def node() -> Iterator[Any]:
    with Graph() as graph:
        yield open_memory(graph, new_image(size=1 << 20, cluster_size=CLUSTER), Settings(write=True))


def meanwhile(node: Any, method: str, action: Callable[[], None]) -> None:
    """Do `action` in the middle of the next access of that kind to the file, after its place was looked up."""
    original = getattr(node.file, method)

    def wrapped(*args: Any) -> Any:
        setattr(node.file, method, original)
        action()
        return original(*args)

    setattr(node.file, method, wrapped)


def packed(node: Any, pos: int, data: bytes) -> None:
    node.link_compressed(pos, node.compress(data), CLUSTER)


def reuse(node: Any) -> None:
    """Whatever was given up is used for other parts of the disk."""
    node.flush()
    for pos in range(16 * CLUSTER, 80 * CLUSTER, CLUSTER):
        node.write(pos, OTHER)
        packed(node, pos + 100 * CLUSTER, OTHER)
    node.flush()


def sound(node: Any) -> None:
    node.flush()
    node.flush()  # writes the counts of what the first one found to be free
    result = node.check(False, False)
    assert (result.corruptions, result.leaks, result.errors) == (0, 0, 0), result.messages


GIVE_UP = {
    "packed again": lambda node: packed(node, 0, NEW),
    "written": lambda node: node.write(0, NEW),
    "discarded": lambda node: node.discard(0, CLUSTER),
    "zeroed": lambda node: node.write_zeroes(0, CLUSTER),
}


@pytest.mark.parametrize("how", GIVE_UP)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "packed"])
def test_reader_of_a_cluster_that_is_given_up(node: Any, how: str, compressed: bool) -> None:
    """It sees the old contents or the new ones, and so does the next reader."""
    packed(node, 0, OLD) if compressed else node.write(0, OLD)
    node.flush()
    node._unpacked = None

    def action() -> None:
        GIVE_UP[how](node)
        reuse(node)

    meanwhile(node, "read_into", action)
    new = NEW if how in ("packed again", "written") else bytes(CLUSTER)
    assert node.read(0, CLUSTER) in (OLD, new)
    assert node.read(0, CLUSTER) == new
    assert node.read(16 * CLUSTER, CLUSTER) == node.read(116 * CLUSTER, CLUSTER) == OTHER
    sound(node)


@pytest.mark.parametrize("how", ["discarded", "zeroed", "packed again"])
def test_writer_in_place_of_a_cluster_that_is_given_up(node: Any, how: str) -> None:
    """What it writes does not turn up in other parts of the disk."""
    node.write(0, OLD)
    node.flush()

    def action() -> None:
        GIVE_UP[how](node)
        reuse(node)

    meanwhile(node, "writev", action)
    node.write(0, b"late" * (CLUSTER // 4))
    for pos in range(16 * CLUSTER, 80 * CLUSTER, CLUSTER):
        assert node.read(pos, CLUSTER) == node.read(pos + 100 * CLUSTER, CLUSTER) == OTHER
    sound(node)


def test_snapshot_waits_for_a_write_under_way(node: Any) -> None:
    """A write that found its cluster before the snapshot was made must not change the snapshot afterwards."""
    node.write(0, OLD)
    node.flush()
    made = threading.Event()

    def snapshot() -> None:
        node.create_snapshot("one")
        made.set()

    def action() -> None:
        thread.start()
        assert not made.wait(0.2)

    thread = threading.Thread(target=snapshot)
    meanwhile(node, "writev", action)
    node.write(0, NEW)
    thread.join()
    assert made.is_set()
    node.write(0, OTHER)
    node.apply_snapshot("one", "one", either=True)
    assert node.read(0, CLUSTER) == NEW
    sound(node)


def test_readers_beside_writers(node: Any) -> None:
    """Threads that switch often: every cluster shows something that was written to it."""
    clusters = 48
    wrong: list[object] = []
    stop = threading.Event()

    def read(seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            i = rng.randrange(clusters)
            try:
                data = node.read(i * CLUSTER, CLUSTER)
            except Exception as error:
                wrong.append(error)
                return
            if data != data[:1] * CLUSTER or (data[0] and data[0] % clusters != i):
                wrong.append((i, data[:4]))

    def write(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(800):
                i = rng.randrange(1, clusters)
                data = bytes([rng.choice((i, i + clusters, i + 2 * clusters))]) * CLUSTER
                what = rng.random()
                if what < 0.5:
                    packed(node, i * CLUSTER, data)
                elif what < 0.6:
                    node.write(i * CLUSTER, data)
                elif what < 0.8:
                    node.discard(i * CLUSTER, CLUSTER)
                else:
                    node.flush()
        except Exception as error:
            wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        readers = [threading.Thread(target=read, args=(seed,)) for seed in range(2)]
        writers = [threading.Thread(target=write, args=(seed,)) for seed in range(10, 12)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in readers:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong, wrong[:3]
    sound(node)
