"""Images made to hurt: mutated headers and tables, absurd sizes, loops. One clear error, no crash, no hang, no huge memory."""

from __future__ import annotations

import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from block.fuzz_formats import exercise
from block.memory_nodes import Memory, new_image, open_memory
from tinamou.block.errors import BlockError
from tinamou.block.formats.qcow2.layout import Header
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def rich_image(**options: Any) -> bytes:
    """A small image with data, snapshots, a bitmap, compressed and zero clusters."""
    contents = new_image(size=1 << 20, **options)
    with Graph() as graph:
        node = open_memory(graph, contents, Settings(write=True))
        node.write(0, b"a" * 70000)
        node.create_snapshot("one")
        node.write(5000, b"b" * 9000)
        node.write_zeroes(100 << 10, 64 << 10)
        packed = node.compress(b"c" * node.cluster_size)
        node.link_compressed(512 << 10, packed, node.cluster_size)
        node.add_bitmap("dirty")
        graph.close_node(node)
        return bytes(node.file.data)


IMAGES = {
    "4k": {"cluster_size": 4096},
    "512": {"cluster_size": 512, "refcount_bits": 1 << 6},
    "subclusters": {"cluster_size": 16384, "extended_l2": "on"},
}


def mutate(contents: bytes, rng: random.Random, cluster: int) -> bytes:
    """Change some bytes, mostly in the header and in clusters that look like tables, sometimes cut the file."""
    data = bytearray(contents)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        where = rng.random()
        if where < 0.5:
            at = rng.randrange(0, 112)
        elif where < 0.6:
            at = rng.randrange(112, 600)
        else:
            at = rng.randrange(0, len(data) // 8) * 8 + rng.choice((0, 0, 1, 2, 5, 6, 7))
        at = min(at, len(data) - 1)
        how = rng.random()
        if how < 0.4:
            data[at] = rng.choice(INTERESTING)
        elif how < 0.7:
            data[at] ^= 1 << rng.randrange(8)
        else:
            end = min(at + rng.choice((4, 8)), len(data))
            data[at:end] = rng.randrange(1 << 64).to_bytes(8, "big")[: end - at]
    if rng.random() < 0.05:
        del data[rng.randrange(0, len(data)) :]
    return bytes(data)


def fuzz(kind: str, rounds: int) -> None:
    contents = rich_image(**IMAGES[kind])
    rng = random.Random(kind)
    for number in range(rounds):
        broken = mutate(contents, rng, IMAGES[kind]["cluster_size"])  # type: ignore[arg-type]
        began = time.process_time()
        try:
            exercise("qcow2", broken, number % 3 == 0, for_check=number % 3 != 0)
        except Exception as error:
            raise AssertionError(f"mutation {number}: {error!r}") from error
        if time.process_time() - began > 1:
            raise AssertionError(f"mutation {number} took {time.process_time() - began:.1f} s of processor time")


@pytest.mark.parametrize("kind", IMAGES)
def test_mutated_images(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    fuzz(kind, 1500)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", IMAGES)
def test_many_mutated_images(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    fuzz(kind, 70000)


FIELDS = [
    ("version", 4, "Unsupported qcow2 version 4"),
    ("version", 1, "not in qcow2 format|Unsupported qcow2 version 1"),
    ("cluster_bits", 8, "Unsupported cluster size"),
    ("cluster_bits", 31, "Unsupported cluster size"),
    ("size", (1 << 63) - 512, "too big|L1 table is too small"),
    ("size", 1 << 63, "too big"),
    ("l1_size", 0xFFFFFFFF, "Active L1 table too large"),
    ("l1_size", 0x400000, "after the end of the file"),
    ("l1_table_offset", 0x7FFFFFFFFFFFF000, "Active L1 table offset invalid"),
    ("l1_table_offset", 7, "Active L1 table offset invalid"),
    ("refcount_table_offset", 3, "Reference count table offset invalid"),
    ("refcount_table_clusters", 0xFFFFFFFF, "Reference count table too large"),
    ("refcount_table_clusters", 0, "does not contain a reference count table"),
    ("nb_snapshots", 0xFFFFFFFF, "Snapshot table too large"),
    ("snapshots_offset", 0x7FFFFFFFFFFFF123, "Snapshot table offset invalid"),
    ("incompatible_features", 1 << 40, "Unsupported qcow2 feature"),
    ("refcount_order", 7, "entry width too large"),
    ("header_length", 100, "header too short"),
    ("header_length", 0x10000, "header exceeds cluster size"),
    ("compression_type", 9, "unknown compression type"),
    ("crypt_method", 3, "Unsupported encryption method"),
    ("backing_file_offset", 0x100000, "Invalid backing file offset"),
    ("backing_file_size", 5000, "|Backing file name too long"),
]


@pytest.mark.parametrize(("field", "value", "message"), FIELDS)
def test_absurd_header_fields(field: str, value: int, message: str) -> None:
    contents = bytearray(new_image(size=1 << 20, cluster_size=4096))
    header = Header.unpack(contents)
    setattr(header, field, value)
    contents[: Header.packed_size] = header.pack()
    tracemalloc.start()
    try:
        with Graph() as graph:
            if message.startswith("|"):
                open_memory(graph, bytes(contents), Settings())
                return
            with pytest.raises(BlockError, match=message):
                open_memory(graph, bytes(contents), Settings())
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_empty_and_tiny_files(tmp_path: Path) -> None:
    for length in (0, 1, 4, 7, 72, 103, 511):
        name = tmp_path / f"{length}.qcow2"
        name.write_bytes((b"QFI\xfb\0\0\0\3" + bytes(600))[:length])
        with Graph() as graph, pytest.raises(BlockError):
            graph.open(str(name), "qcow2")


def make(name: Path, backing: str | None = None) -> None:
    graph = Graph()
    options: dict[str, Any] = {"size": 1 << 20}
    if backing is not None:
        options |= {"backing_file": backing, "backing_fmt": "qcow2"}
    create(graph, str(name), "qcow2", create_class("qcow2", str(name))(options))


def test_backing_loop_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a.qcow2", "b.qcow2")
    make(tmp_path / "b.qcow2", "a.qcow2")
    with Graph() as graph, pytest.raises(BlockError, match="creates an infinite loop"):
        graph.open(str(tmp_path / "a.qcow2"))
    make(tmp_path / "self.qcow2", "self.qcow2")
    with Graph() as graph, pytest.raises(BlockError, match="creates an infinite loop"):
        graph.open(str(tmp_path / "self.qcow2"))


def test_loop_through_a_link_ends(tmp_path: Path) -> None:
    """Each level has another name for the same file."""
    (tmp_path / "d").symlink_to(tmp_path)
    make(tmp_path / "a.qcow2", "d/a.qcow2")
    with Graph() as graph, pytest.raises(BlockError, match=r"infinite loop|deeper than"):
        graph.open(str(tmp_path / "a.qcow2"))


def test_deep_chain(tmp_path: Path) -> None:
    make(tmp_path / "0.qcow2")
    for i in range(1, 100):
        os.link(tmp_path / "0.qcow2", tmp_path / "x") if i == 1 else None
        make(tmp_path / f"{i}.qcow2", f"{i - 1}.qcow2")
    with Graph() as graph:
        node = graph.open(str(tmp_path / "99.qcow2"))
        assert node.read(0, 4096) == bytes(4096)
    for i in range(100, 230):
        make(tmp_path / f"{i}.qcow2", f"{i - 1}.qcow2")
    with Graph() as graph, pytest.raises(BlockError, match="deeper than 200"):
        graph.open(str(tmp_path / "229.qcow2"))


def test_missing_backing_file_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a.qcow2", "gone.qcow2")
    with Graph() as graph, pytest.raises(BlockError, match=r"Could not open backing file: Could not open '.*gone.qcow2'"):
        graph.open(str(tmp_path / "a.qcow2"))


def test_corrupt_image_is_marked_and_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """An entry that points into nowhere: EIO, the corrupt bit, no further writing."""
    contents = bytearray(new_image(size=1 << 20, cluster_size=4096))
    header = Header.unpack(contents)
    contents[header.l1_table_offset : header.l1_table_offset + 8] = (0x8000_0000_0000_0E00).to_bytes(8, "big")
    with Graph() as graph:
        node = open_memory(graph, bytes(contents), Settings(write=True))
        with pytest.raises(OSError):
            node.read(0, 512)
        marked = bytes(node.file.data)
    assert "Marking image as corrupt: L2 table offset 0xe00 unaligned" in capfd.readouterr().err
    assert Header.unpack(marked).incompatible_features & 2
    with Graph() as graph:
        with pytest.raises(BlockError, match="Image is corrupt; cannot be opened read/write"):
            open_memory(graph, marked, Settings(write=True))
        open_memory(graph, marked, Settings())
    assert Memory.contents
