"""Copying disks with several threads: the target is the same each time, errors leave a consistent image."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinamou.block import copy
from tinamou.block.copy import Copy
from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings
from tinamou.block.protocols.file import File

MIB = 1 << 20


def source_file(path: Path, mib: int, seed: int = 1) -> bytes:
    """Random data, zero runs and a last part of a cluster."""
    rng = random.Random(seed)
    data = bytearray(rng.randbytes(mib * MIB + 5 * 512))
    for _ in range(40):
        at = rng.randrange(len(data)) & ~4095
        n = min(rng.choice((4096, 65536, 3 * 65536, MIB)), len(data) - at)
        data[at : at + n] = bytes(n)
    path.write_bytes(data)
    return bytes(data)


def copy_to_qcow2(
    source: Path,
    target: Path,
    size: int,
    values: dict[str, Any] | None = None,
    progress: Callable[[int], None] = lambda n: None,
    **how: Any,
) -> None:
    graph = Graph()
    create(graph, str(target), "qcow2", create_class("qcow2", str(target))({"size": size, **(values or {})}))
    node = graph.open(str(target), "qcow2", Settings(write=True, no_flush=True))
    try:
        job = Copy([graph.open(str(source), "raw")], node, target_zero=True, **how)
        job.on_progress = progress
        job.run()
    finally:
        graph.close()


def checked(target: Path, size: int) -> bytes:
    with Graph() as graph:
        node: Any = graph.open(str(target), "qcow2", Settings(for_check=True))
        result = node.check(False, False)
        assert (result.corruptions, result.leaks, result.errors) == (0, 0, 0), result.messages
        data: bytes = node.read(0, size)
        return data


@pytest.mark.parametrize("values", [{}, {"cluster_size": 4096}, {"extended_l2": "on"}], ids=str)
def test_threads_give_the_same_target(tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "CHUNK", MIB // 2)
    data = source_file(tmp_path / "a.raw", 8)
    for name, threads in (("one", 1), ("many", 8), ("again", 8)):
        copy_to_qcow2(tmp_path / "a.raw", tmp_path / name, len(data), values, threads=threads)
        assert checked(tmp_path / name, len(data)) == data
    one, many, again = ((tmp_path / name).read_bytes() for name in ("one", "many", "again"))
    assert one == many == again


def fail_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Write `number` of more than a cluster finds no space."""
    original = File.writev
    lock = threading.Lock()
    count = 0

    def writev(self: File, pos: int, buffers: Any) -> None:
        nonlocal count
        if sum(map(len, buffers)) > 65536:
            with lock:
                count += 1
                if count == number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(self, pos, buffers)

    monkeypatch.setattr(File, "writev", writev)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_failed_write_leaves_a_consistent_target(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaks either: what was reserved and not written is given back."""
    monkeypatch.setattr(copy, "CHUNK", MIB)
    data = source_file(tmp_path / "a.raw", 8)
    fail_write(monkeypatch, number)
    with pytest.raises(BlockError, match=r"error while writing at byte [0-9]+: No space left"):
        copy_to_qcow2(tmp_path / "a.raw", tmp_path / "b", len(data))
    monkeypatch.undo()
    checked(tmp_path / "b", len(data))


def slow_write(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None], fail: bool = False) -> None:
    """In the middle of the next write something else happens; then the write fails or succeeds."""
    original = os.pwritev

    def pwritev(fd: int, buffers: Any, pos: int) -> int:
        monkeypatch.setattr(os, "pwritev", original)
        meanwhile()
        if fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(fd, buffers, pos)

    monkeypatch.setattr(os, "pwritev", pwritev)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "f"
    path.write_bytes(bytes(MIB))
    with Graph() as graph:
        yield graph.open(str(path), "file", Settings(write=True))


def test_file_that_two_threads_make_longer(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeroing in front of a write that is under way does not cut the file."""
    slow_write(monkeypatch, lambda: file.write_zeroes(MIB, 4096))
    file.write(2 * MIB, b"far")
    assert file.size == 2 * MIB + 3 and file.read(2 * MIB, 3) == b"far"
    slow_write(monkeypatch, lambda: file.write(5 * MIB, b"farther"))
    file.write(3 * MIB, b"far")
    assert file.size == 5 * MIB + 7 and file.read(3 * MIB, 3) == b"far"


def test_size_of_a_file_after_a_write_that_failed(file: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_write(monkeypatch, lambda: None, fail=True)
    with pytest.raises(OSError, match="Input/output"):
        file.write(2 * MIB, b"lost")
    assert file.size == MIB
    slow_write(monkeypatch, lambda: file.write(2 * MIB, b"kept"), fail=True)
    with pytest.raises(OSError, match="Input/output"):
        file.write(3 * MIB, b"lost")
    assert file.size == 2 * MIB + 4


def test_rate(tmp_path: Path) -> None:
    """What is copied keeps to the rate from the beginning."""
    data = source_file(tmp_path / "a.raw", 8)
    seen: list[tuple[float, int]] = []
    began = time.monotonic()

    def moved(n: int) -> None:
        seen.append((time.monotonic() - began, n))

    copy_to_qcow2(tmp_path / "a.raw", tmp_path / "b", len(data), rate=16 * MIB, progress=moved)
    done = 0
    for when, n in seen:
        assert done <= 16 * MIB * when + 2 * copy.CHUNK
        done += n
    assert checked(tmp_path / "b", len(data)) == data


def test_packed_clusters_are_stored_in_order(tmp_path: Path) -> None:
    data = source_file(tmp_path / "a.raw", 8)
    for name, threads in (("one", 1), ("many", 8)):
        copy_to_qcow2(tmp_path / "a.raw", tmp_path / name, len(data), threads=threads, compressed=True)
        assert checked(tmp_path / name, len(data)) == data
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
