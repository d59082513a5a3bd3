"""The write stream of a long random workload is cut after every single write: the image is never corrupt (clusters may leak),
flushed data is there, and nothing shows that was never written. Our check and the original's look at the images."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from block.memory_nodes import apply, new_image, open_memory, power_cut
from support import originals
from tinamou.block.graph import Graph
from tinamou.block.node import Settings

SIZE = 256 << 10
UNIT = 512
KINDS = {
    "smallest clusters": ({"cluster_size": 512}, 0),
    "wide counts": ({"cluster_size": 512, "refcount_bits": 64}, 0),
    "4k": ({"cluster_size": 4096}, 2),
    "subclusters": ({"cluster_size": 16384, "extended_l2": "on"}, 0),
    "version 2": ({"cluster_size": 1024, "compat": "0.10"}, 1),
}


def record(options: dict[str, Any], seed: str, snapshots: int, steps: int) -> tuple[bytes, list[tuple[Any, ...]], list[Any]]:
    """A start image, the log of changes, and per flush (log length, contents of every block at that time) and later writes."""
    rng = random.Random(seed)
    start = new_image(size=SIZE, **options)
    blocks: list[bytes] = [bytes(UNIT)] * (SIZE // UNIT)
    history: list[tuple[int, str, Any]] = []
    with Graph() as graph:
        node = open_memory(graph, start, Settings(write=True))
        memory = node.file
        for _ in range(snapshots):
            fill(node, blocks, rng)
            node.create_snapshot(f"s{len(blocks)}")
        node.flush()
        start = bytes(memory.data)
        memory.log.clear()
        history.append((0, "flush", list(blocks)))
        for _ in range(steps):
            n = rng.choice((1, 1, 2, 8, 30))
            first = rng.randrange(0, len(blocks) - n + 1)
            action = rng.random()
            if action < 0.60:
                value = bytes([rng.randrange(1, 256)]) * UNIT
                history.append((len(memory.log), "write", (first, n, value)))
                node.write(first * UNIT, value * n)
                blocks[first : first + n] = [value] * n
            elif action < 0.72:
                history.append((len(memory.log), "write", (first, n, bytes(UNIT))))
                node.write_zeroes(first * UNIT, n * UNIT, rng.random() < 0.5)
                blocks[first : first + n] = [bytes(UNIT)] * n
            elif action < 0.80:
                unit = node.cluster_size // UNIT
                first = first // unit * unit
                history.append((len(memory.log), "write", (first, unit, bytes(UNIT))))
                before = node.read(first * UNIT, unit * UNIT)
                node.discard(first * UNIT, unit * UNIT)
                after = node.read(first * UNIT, unit * UNIT)
                assert after in (before, bytes(unit * UNIT))
                blocks[first : first + unit] = [after[i : i + UNIT] for i in range(0, len(after), UNIT)]
            elif action < 0.90:
                unit = node.cluster_size // UNIT
                first = first // unit * unit
                value = bytes([rng.randrange(1, 256)]) * UNIT
                packed = node.compress(value * unit)
                if packed is not None:
                    history.append((len(memory.log), "write", (first, unit, value)))
                    node.link_compressed(first * UNIT, packed, node.cluster_size)
                    blocks[first : first + unit] = [value] * unit
            else:
                node.flush()
                history.append((len(memory.log), "flush", list(blocks)))
    return start, memory.log, history


def fill(node: Any, blocks: list[bytes], rng: random.Random) -> None:
    for _ in range(20):
        first = rng.randrange(0, len(blocks) - 8)
        value = bytes([rng.randrange(1, 256)]) * UNIT
        node.write(first * UNIT, value * 8)
        blocks[first : first + 8] = [value] * 8


def look(contents: bytes, allowed: list[set[bytes]]) -> None:
    """The image is not corrupt, and each block holds something it may hold."""
    with Graph() as graph:
        node = open_memory(graph, contents, Settings(for_check=True))
        result = node.check(False, False)
        assert (result.corruptions, result.errors) == (0, 0), result.messages[:5]
        data = node.read(0, SIZE)
    for i, values in enumerate(allowed):
        assert data[i * UNIT : (i + 1) * UNIT] in values, f"block {i}"


def cuts(start: bytes, log: list[tuple[Any, ...]], history: list[Any]) -> Iterator[tuple[int, bytearray, list[set[bytes]]]]:
    """Per number of changes that reached the disk: the image (the same object each time) and what each block may hold."""
    image = bytearray(start)
    allowed: list[set[bytes]] = [set() for _ in range(SIZE // UNIT)]
    at = 0
    for cut in range(len(log) + 1):
        while at < len(history) and history[at][0] <= cut:
            _, what, value = history[at]
            if what == "flush":
                allowed = [{block} for block in value]
            else:
                first, n, new = value
                for i in range(first, first + n):
                    allowed[i].add(new)
            at += 1
        if cut:
            apply(image, log[cut - 1])
        yield cut, image, allowed


def cut_everywhere(kind: str, steps: int, originals_every: int, folder: Path) -> int:
    options, snapshots = KINDS[kind]
    start, log, history = record(options, kind, snapshots, steps)
    for cut, image, allowed in cuts(start, log, history):
        if cut and log[cut - 1][0] == "flush":
            continue
        look(bytes(image), allowed)
        if cut % originals_every == 0:
            name = folder / "cut.qcow2"
            name.write_bytes(image)
            done = subprocess.run([*originals.tool("qemu-img"), "check", str(name)], capture_output=True, text=True)
            assert done.returncode in (0, 3), done.stderr[:500]
    return len(log)


@pytest.mark.parametrize("kind", KINDS)
def test_cut_after_every_write(kind: str, tmp_path: Path) -> None:
    assert cut_everywhere(kind, 60, 20, tmp_path) > 60


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_cut_after_every_write_of_a_long_workload(kind: str, tmp_path: Path) -> None:
    assert cut_everywhere(kind, 400, 1, tmp_path) > 400


def test_killed_writer(tmp_path: Path) -> None:
    """A process that is killed while it writes leaves an image without corruption."""
    import sys

    image = tmp_path / "k.qcow2"
    originals.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", image, "64M")
    program = (
        "import random, sys\n"
        "from tinamou.block.graph import Graph\n"
        "from tinamou.block.node import Settings\n"
        "node = Graph().open(sys.argv[1], settings=Settings(write=True))\n"
        "rng = random.Random(5)\n"
        "print('go', flush=True)\n"
        "while True:\n"
        "    node.write(rng.randrange(0, 63 << 20), b'x' * rng.randrange(1, 30000))\n"
        "    if rng.random() < 0.05: node.flush()\n"
    )
    for pause in (0.05, 0.15, 0.3):
        child = subprocess.Popen([sys.executable, "-c", program, str(image)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"go\n"
        try:
            child.wait(pause)
        except subprocess.TimeoutExpired:
            child.kill()
        child.wait()
        done = subprocess.run([*originals.tool("qemu-img"), "check", str(image)], capture_output=True, text=True)
        assert done.returncode in (0, 3), done.stderr[:500]


def repaired(contents: bytes) -> tuple[bytes, bytes]:
    """What opening for writing makes of an image that was not closed (repairs it), and the disk it shows."""
    with Graph() as graph:
        was_dirty = open_memory(graph, contents, Settings()).dirty
    with Graph() as graph:
        node = open_memory(graph, contents, Settings(write=True))
        data = node.read(0, SIZE)
        graph.close_node(node)
        fixed = bytes(node.file.data)
    with Graph() as graph:
        result = open_memory(graph, fixed, Settings(for_check=True)).check(False, False)
        assert (result.corruptions, result.errors) == (0, 0), result.messages[:5]
        assert not result.leaks or not was_dirty
    return fixed, data


def test_lazy_refcounts_are_repaired_by_the_next_writer(tmp_path: Path) -> None:
    start, log, history = record({"cluster_size": 512, "lazy_refcounts": "on"}, "lazy", 0, 60)
    for cut, image, allowed in cuts(start, log, history):
        if cut % 4:
            continue
        _, data = repaired(bytes(image))
        for i, values in enumerate(allowed):
            assert data[i * UNIT : (i + 1) * UNIT] in values, f"block {i} after {cut} changes"


@pytest.mark.parametrize("action", ["create", "delete", "apply"])
def test_snapshot_operations_cut_short(action: str, tmp_path: Path) -> None:
    """Half a snapshot operation: the next writer repairs the image, and the disk shows one of the two contents."""
    rng = random.Random(action)
    blocks: list[bytes] = [bytes(UNIT)] * (SIZE // UNIT)
    start = new_image(size=SIZE, cluster_size=1024)
    with Graph() as graph:
        node = open_memory(graph, start, Settings(write=True))
        fill(node, blocks, rng)
        node.create_snapshot("old")
        old = node.read(0, SIZE)
        fill(node, blocks, rng)
        node.flush()
        new = node.read(0, SIZE)
        start = bytes(node.file.data)
        node.file.log.clear()
        if action == "create":
            node.create_snapshot("more")
        elif action == "delete":
            node.delete_snapshot("old", "old", either=True)
        else:
            node.apply_snapshot("old", "old", either=True)
        log = list(node.file.log)
    image = bytearray(start)
    for cut in range(len(log) + 1):
        if cut:
            apply(image, log[cut - 1])
        fixed, data = repaired(bytes(image))
        assert data in ((old, new) if action == "apply" else (new,)), f"after {cut} changes"
        name = tmp_path / "cut.qcow2"
        name.write_bytes(fixed)
        assert subprocess.run([*originals.tool("qemu-img"), "check", "-q", str(name)]).returncode in (0, 3)


def cut_power(kind: str, steps: int, cuts: int, folder: Path) -> None:
    """At a power cut writes since the last flush have reached the disk in any order, in parts or not at all."""
    options, snapshots = KINDS[kind]
    start, log, history = record(options, f"{kind} power", snapshots, steps)
    rng = random.Random(kind)
    for number in range(cuts):
        cut = rng.randrange(len(log) + 1)
        allowed: list[set[bytes]] = [set() for _ in range(SIZE // UNIT)]
        for at, what, value in history:
            if at > cut:
                break
            if what == "flush":
                allowed = [{block} for block in value]
            else:
                for i in range(value[0], value[0] + value[1]):
                    allowed[i].add(value[2])
        image = bytes(power_cut(start, log[:cut], rng))
        with Graph() as graph:
            node = open_memory(graph, image, Settings(for_check=True))
            result = node.check(False, False)
            assert (result.corruptions, result.errors) == (0, 0), (cut, result.messages[:5])
            data = node.read(0, SIZE)
        for i, values in enumerate(allowed):
            if len(values) == 1:
                assert data[i * UNIT : (i + 1) * UNIT] in values, f"cut {cut}, block {i}"
        if number % 25 == 0:
            name = folder / "cut.qcow2"
            name.write_bytes(image)
            done = subprocess.run([*originals.tool("qemu-img"), "check", str(name)], capture_output=True, text=True)
            assert done.returncode in (0, 3), done.stderr[:500]


@pytest.mark.parametrize("kind", KINDS)
def test_power_cut(kind: str, tmp_path: Path) -> None:
    cut_power(kind, 60, 100, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_power_cut_of_a_long_workload(kind: str, tmp_path: Path) -> None:
    cut_power(kind, 400, 2000, tmp_path)
