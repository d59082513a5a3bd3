"""A process that opens mutated images of every format: `python -m block.fuzz_formats KIND ROUNDS`.

It may use 64 MiB more memory than it has after the first rounds (RLIMIT_AS), and 1 s of processor time for each image. Exit code 0,
or a traceback that names the mutation.
"""

from __future__ import annotations

import os
import random
import resource
import struct
import sys
import tempfile
import time
from typing import Any

import block.memory_nodes as memory
from block.memory_nodes import Memory, open_memory
from tinamou.block.errors import BlockError
from tinamou.block.formats import vpc
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings, status

ROOM = 64 << 20
INTERESTING = (0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF)
WORDS = (0, 1, 2, 511, 512, 513, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
WHOLE = (0, 1 << 30)
"""Anywhere in the file."""

KINDS: dict[str, tuple[str, dict[str, Any], list[tuple[int, int]]]] = {
    # the format, how it is created, where headers and tables are
    "vdi": ("vdi", {}, [(0x40, 0x1C8), (0x200, 0x220)]),
    "vdi-static": ("vdi", {"static": "on"}, [(0x40, 0x1C8), (0x200, 0x220)]),
    "vpc": ("vpc", {}, [(0, 0x58), (0x200, 0x228), (0x600, 0x640)]),
    "vpc-fixed": ("vpc", {"subformat": "fixed"}, [(-512, -424)]),
    "vmdk": ("vmdk", {}, [(0, 80), (0x200, 0x360), (21 * 512, 22 * 512), (26 * 512, 27 * 512), (27 * 512, 27 * 512 + 64)]),
    "vmdk-zeroed": ("vmdk", {"zeroed_grain": "on"}, [(0, 80), (26 * 512, 27 * 512 + 128)]),
    "vmdk-stream": ("vmdk", {"subformat": "streamOptimized"}, [(0, 80), (26 * 512, 27 * 512 + 128), (65536, 65560), (66048, 66100)]),
    "qcow2": ("qcow2", {"cluster_size": 4096}, [(0, 112), (112, 600), (4096, 4128), (8192, 8256), (12288, 12320), (16384, 24576), WHOLE]),
    "qcow2-sub": ("qcow2", {"cluster_size": 16384, "extended_l2": "on"}, [(0, 112), (16384, 16400), (49152, 49168), (65536, 66560), WHOLE]),
    "vmdk-text": ("vmdk", {"subformat": "monolithicFlat"}, [(0, 330)]),
}


def new_image(kind: str) -> bytes:
    fmt, options, _ = KINDS[kind]
    name = f"image.{fmt}"
    create(Graph(), name, fmt, create_class(fmt, name)({"size": 3 << 20, **options}))
    with Graph() as graph:
        node = graph.open(name, fmt, Settings(write=True))
        for index in range(4):
            node.write(index * 3 * 65536, (b"%d line of a text" % index) * 4096)
        node.write_zeroes(1 << 20, 65536)
        if fmt == "qcow2":
            node.create_snapshot("one")
            node.write(5000, b"b" * 9000)
            node.link_compressed(2 << 20, node.compress(b"c" * node.cluster_size), node.cluster_size)
            node.add_bitmap("dirty")
    with open(name, "rb") as file:
        return file.read()


def mutate(contents: bytes, rng: random.Random, places: list[tuple[int, int]]) -> bytearray:
    data = bytearray(contents)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        low, high = rng.choice(places)
        at = rng.randrange(low, min(high, len(data)))
        at = at + len(data) if low < 0 else at
        how = rng.random()
        if how < 0.3:
            data[at] = rng.choice(INTERESTING)
        elif how < 0.5:
            data[at] ^= 1 << rng.randrange(8)
        elif how < 0.9:
            at = max(0, min(at // 4 * 4, len(data) - 4))
            value = rng.choice(WORDS) if rng.random() < 0.7 else rng.randrange(1 << 32)
            data[at : at + 4] = struct.pack(rng.choice("<>") + "I", value)
        else:
            at = max(0, min(at // 4 * 4, len(data) - 8))
            data[at : at + 8] = struct.pack(rng.choice("<>") + "Q", rng.randrange(1 << rng.randrange(1, 65)))
    if rng.random() < 0.05:
        del data[rng.randrange(len(data)) :]
    return data


def repair_checksum(data: bytearray, at: int) -> None:
    """So that mutations of a VHD footer are looked at."""
    field = vpc.Footer.offsets["checksum"]
    part = bytes(data[at : at + 512] if at >= 0 else data[at:])
    at = at if at >= 0 else len(data) + at
    data[at + field : at + field + 4] = vpc.checksum(part, field).to_bytes(4, "big")


def exercise(fmt: str, contents: bytes, writing: bool, for_check: bool = False) -> None:
    """Open, look, read, then write or check: whatever comes must be a `BlockError` or an `OSError`."""
    graph = Graph()
    try:
        node = open_memory(graph, contents, Settings(write=writing, for_check=for_check, backing=False), fmt)
        node.info()
        node.snapshots()
        for pos in (0, 5000, 70000, 100 << 10, 3 * 65536, 512 << 10, (1 << 20) - 10, node.size - 4096):
            if 0 <= pos < node.size:
                status(node, pos, min(4 << 20, node.size - pos))
                node.read(pos, 4096)
        if writing and node.size >= 1 << 20:
            node.write(66000, b"x" * 4000)
            node.write(900000, b"x" * 4000)
            node.write_zeroes(1 << 19, 65536)
            node.flush()
        elif node.supports_check:
            node.check(False, False)
    except (BlockError, OSError):
        pass
    finally:
        try:
            graph.close()
        except (BlockError, OSError):
            pass


def memory_in_use() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def main(kind: str, rounds: int) -> None:
    memory.LIMIT = 8 << 20
    fmt, _, places = KINDS[kind]
    rng = random.Random(kind)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        contents = new_image(kind)
        for number in range(rounds):
            if number == 20:
                limit = memory_in_use() + ROOM
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            broken = mutate(contents, rng, places)
            if fmt == "vpc" and len(broken) > 1024 and rng.random() < 0.95:
                repair_checksum(broken, 0 if kind == "vpc" else -512)
            began = time.process_time()
            try:
                exercise(fmt, bytes(broken), number % 3 == 0)
            except Exception as error:
                raise AssertionError(f"{kind}, mutation {number}: {error!r}") from error
            if time.process_time() - began > 1:
                raise AssertionError(f"{kind}, mutation {number} took {time.process_time() - began:.1f} s of processor time")
        os.chdir("/")
    assert Memory.contents


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
