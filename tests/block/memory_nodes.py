"""A disk in memory that keeps its write stream, for tests of formats."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from typing import Any

from tinamou.block.graph import Graph
from tinamou.block.node import Extent, Node, Protocol, Settings, status

LIMIT = 256 << 20


class Memory(Protocol, name="test-memory"):
    """`data` is the contents; `log` has every change and flush in order, as (position, bytes) / ("size", n) / ("flush",)."""

    contents: bytes = b""

    def open(self) -> None:
        self.data = bytearray(type(self).contents)
        self.size = len(self.data)
        self.log: list[tuple[Any, ...]] = []
        self.filename = "memory"

    def read_into(self, pos: int, view: memoryview) -> None:
        part = self.data[pos : pos + len(view)]
        view[: len(part)] = part
        if len(part) < len(view):
            view[len(part) :] = bytes(len(view) - len(part))

    def writev(self, pos: int, buffers: Sequence[Any]) -> None:
        change = (pos, b"".join(buffers))
        apply(self.data, change)
        self.log.append(change)
        self.size = len(self.data)

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        guard(pos + length)
        self.writev(pos, [bytes(length)])

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        self.log.append(("size", size))
        apply(self.data, self.log[-1])
        self.size = size

    def flush(self) -> None:
        self.log.append(("flush",))

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("data", self.size - pos, pos, file=self)

    def allocated_bytes(self) -> int:
        return self.size


def apply(data: bytearray, change: tuple[Any, ...]) -> None:
    """One entry of the log."""
    if change[0] == "flush":
        return
    if change[0] == "size":
        guard(change[1])
        del data[change[1] :]
        data.extend(bytes(change[1] - len(data)))
        return
    pos, new = change
    guard(pos + len(new))
    if pos > len(data):
        data.extend(bytes(pos - len(data)))
    data[pos : pos + len(new)] = new


def guard(size: int) -> None:
    """As a file system with a largest file size."""
    if size > LIMIT:
        raise OSError(errno.EFBIG, "File too large")


def power_cut(contents: bytes, log: list[tuple[Any, ...]], rng: random.Random) -> bytearray:
    """What may be on the disk when the power fails after `log`: everything before the last flush, and of what came later any part,
    whole changes or some of their sectors, since a disk writes in the order it likes."""
    flushes = [i for i, change in enumerate(log) if change[0] == "flush"]
    sure = flushes[-1] if flushes else 0
    data = bytearray(contents)
    for change in log[:sure]:
        apply(data, change)
    share = rng.choice((0.1, 0.5, 0.9))
    for change in log[sure:]:
        if change[0] == "flush" or rng.random() > share:
            continue
        if change[0] == "size" or rng.random() < 0.7:
            apply(data, change)
            continue
        pos, new = change
        for at in range(0, len(new), 512):
            if rng.random() < 0.5:
                apply(data, (pos + at, new[at : at + 512]))
    return data


def open_memory(graph: Graph, contents: bytes, settings: Settings, driver: str = "qcow2", **options: Any) -> Any:
    """A node over a copy of `contents`."""
    Memory.contents = contents
    return graph.open_options({"driver": driver, "file": {"driver": "test-memory"}, **options}, settings)


def new_image(**options: Any) -> bytes:
    """The bytes of a new qcow2 image."""
    from tinamou.block.formats.qcow2 import Qcow2

    with Graph() as graph:
        Memory.contents = b""
        file: Any = graph.open_options({"driver": "test-memory"}, Settings(write=True))
        Qcow2.create(graph, file, Qcow2.Create(options))
        return bytes(file.data)


def zeroes_as_told(node: Node, model: bytes | bytearray) -> None:
    """What the map calls zero is zero in `model`, all along the disk."""
    pos = 0
    while pos < node.size:
        found = status(node, pos, node.size - pos)
        if found.zero:
            assert not any(model[pos : pos + found.length])
        pos += found.length
