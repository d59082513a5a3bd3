"""vdi, vpc and vmdk against a flat array of bytes, and against the original's tools on the same files."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from support import originals
from tinamou.block.formats.vmdk import ParentChanged
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings, status

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vdi": ("vdi", {}),
    "vdi-static": ("vdi", {"static": "on"}),
    "vpc": ("vpc", {}),
    "vpc-forced": ("vpc", {"force_size": "on"}),
    "vpc-fixed": ("vpc", {"subformat": "fixed"}),
    "vmdk": ("vmdk", {}),
    "vmdk-zeroed": ("vmdk", {"zeroed_grain": "on"}),
    "vmdk-flat": ("vmdk", {"subformat": "monolithicFlat"}),
    "vmdk-split": ("vmdk", {"subformat": "twoGbMaxExtentSparse"}),
    "vmdk-split-flat": ("vmdk", {"subformat": "twoGbMaxExtentFlat"}),
}
SIZE = (9 << 20) + 512


def make(path: Path, fmt: str, size: int = SIZE, **options: Any) -> None:
    create(Graph(), str(path), fmt, create_class(fmt, str(path))({"size": size, **options}))


def work(node: Any, model: bytearray, rng: random.Random, steps: int) -> None:
    """Random things done to the disk and the model alike."""
    for _ in range(steps):
        length = min(rng.choice((1, 512, 4096, 5000, 65536, 200000, 3 << 20)), len(model))
        pos = rng.randrange(len(model) - length + 1)
        if rng.random() < 0.5:
            pos -= pos % 65536
        action = rng.random()
        if action < 0.55:
            data = bytes([rng.randrange(1, 256)]) * length
            node.write(pos, data)
            model[pos : pos + length] = data
        elif action < 0.75:
            node.write_zeroes(pos, length, rng.random() < 0.5)
            model[pos : pos + length] = bytes(length)
        elif action < 0.85:
            before = node.read(pos, length)
            node.discard(pos, length)
            after = node.read(pos, length)
            assert all(a in (b, 0) for a, b in zip(after[:: max(1, length // 999)], before[:: max(1, length // 999)], strict=True))
            model[pos : pos + length] = after
        else:
            node.flush()
        assert node.read(pos, length) == bytes(model[pos : pos + length])


def check_map(node: Any, model: bytearray) -> None:
    pos = 0
    while pos < node.size:
        found = status(node, pos, node.size - pos)
        assert found.length > 0
        if found.zero:
            assert not any(model[pos : pos + found.length])
        pos += found.length


@pytest.mark.parametrize("kind", KINDS)
def test_random_workload(kind: str, tmp_path: Path) -> None:
    fmt, options = KINDS[kind]
    rng = random.Random(kind)
    image, raw = tmp_path / f"a.{fmt}", tmp_path / "a.raw"
    make(image, fmt, **options)
    model = bytearray()
    for _ in range(3):
        with Graph() as graph:
            node = graph.open(str(image), fmt, Settings(write=True, discard="unmap"))
            model.extend(bytes(node.size - len(model)))
            assert node.size == len(model) and node.read(0, node.size) == bytes(model)
            work(node, model, rng, 40)
        with Graph() as graph:
            node = graph.open(str(image), fmt)
            check_map(node, model)
            if node.supports_check:  # type: ignore[attr-defined]
                assert node.check(False, False).corruptions == 0  # type: ignore[attr-defined]
    raw.write_bytes(model)
    if fmt != "vpc":
        assert "No errors" in originals.run("qemu-img", "check", "-f", fmt, image)
    assert "identical" in originals.run("qemu-img", "compare", "-f", fmt, "-F", "raw", image, raw)


@pytest.mark.parametrize("kind", [*KINDS, "vmdk-stream"])
def test_images_of_the_original(kind: str, tmp_path: Path) -> None:
    """Written by the original, read and changed by us, read by the original."""
    fmt, options = {**KINDS, "vmdk-stream": ("vmdk", {"subformat": "streamOptimized"})}[kind]
    rng = random.Random(kind)
    image, raw = tmp_path / f"a.{fmt}", tmp_path / "a.raw"
    model = bytearray(8 << 20)
    for _ in range(20):
        pos, length = rng.randrange(len(model) - 300000), rng.randrange(1, 300000)
        model[pos : pos + length] = rng.randbytes(length) if rng.random() < 0.5 else bytes([rng.randrange(256)]) * length
    raw.write_bytes(model)
    words = ",".join(f"{k}={v}" for k, v in options.items())
    originals.run("qemu-img", "convert", "-f", "raw", "-O", fmt, *(["-o", words] if words else []), raw, image)
    with Graph() as graph:
        node = graph.open(str(image), fmt)
        model.extend(bytes(node.size - len(model)))
        assert node.read(0, node.size) == bytes(model)
        check_map(node, model)
    if kind != "vmdk-stream":
        with Graph() as graph:
            node = graph.open(str(image), fmt, Settings(write=True))
            work(node, model, rng, 30)
    raw.write_bytes(model)
    assert "identical" in originals.run("qemu-img", "compare", "-f", fmt, "-F", "raw", image, raw)


def test_stream_is_written_once(tmp_path: Path) -> None:
    """Grains of a stream-optimised image are compressed as they come, whole ones only, each one once."""
    image, raw = tmp_path / "a.vmdk", tmp_path / "a.raw"
    make(image, "vmdk", (1 << 20) + 512, subformat="streamOptimized")
    model = bytearray((1 << 20) + 512)
    grain = 65536
    with Graph() as graph:
        node = graph.open(str(image), "vmdk", Settings(write=True))
        for index in (5, 3, 16, 9, 10):
            data = (bytes([index + 1]) * grain)[: len(model) - index * grain]
            node.write(index * grain, data)
            model[index * grain : index * grain + len(data)] = data
        with pytest.raises(OSError, match="Invalid argument"):
            node.write(0, b"x" * 512)
        with pytest.raises(OSError, match="Input/output error"):
            node.write(5 * grain, b"x" * grain)
        node.write_zeroes(0, grain)
        assert node.read(0, node.size) == bytes(model)
    raw.write_bytes(model)
    assert "No errors" in originals.run("qemu-img", "check", image)
    assert "identical" in originals.run("qemu-img", "compare", "-F", "raw", image, raw)


def test_vmdk_notices_a_changed_parent(tmp_path: Path) -> None:
    base, top = tmp_path / "base.vmdk", tmp_path / "top.vmdk"
    make(base, "vmdk", 1 << 20)
    with Graph() as graph:
        graph.open(str(base), settings=Settings(write=True)).write(0, b"a" * 4096)
    make(top, "vmdk", 2 << 20, backing_file="base.vmdk", backing_fmt="vmdk")
    with Graph() as graph:
        node = graph.open(str(top), settings=Settings(write=True))
        assert node.read(0, 4096) == b"a" * 4096
        node.write(1000, b"b" * 10)
        assert node.read(0, 4096) == b"a" * 1000 + b"b" * 10 + b"a" * 3086
    assert "Pattern verification" not in originals.run("qemu-io", "-c", "read -P 98 1000 10", top)
    with Graph() as graph:
        graph.open(str(base), settings=Settings(write=True)).write(500000, b"c" * 10)
    with Graph() as graph:
        node = graph.open(str(top))
        with pytest.raises(ParentChanged) as caught:
            node.read(500000, 512)
        assert "base.vmdk' was changed: its content ID is" in caught.value.message
        assert node.read(1000, 10) == b"b" * 10


def test_vmdk_commit_keeps_the_pair_usable(tmp_path: Path) -> None:
    """Committing changes the backing file's content ID; the image remembers the new one."""
    from tinamou.tools.img import main

    make(tmp_path / "base.vmdk", "vmdk", 1 << 20)
    make(tmp_path / "top.vmdk", "vmdk", 1 << 20, backing_file="base.vmdk", backing_fmt="vmdk")
    with Graph() as graph:
        graph.open(str(tmp_path / "top.vmdk"), settings=Settings(write=True)).write(70000, b"top" * 100)
    assert main(["commit", "-q", str(tmp_path / "top.vmdk")]) == 0
    for name in ("base.vmdk", "top.vmdk"):
        assert "failed" not in originals.run("qemu-io", "-r", "-c", "read -P 116 70000 1", "-c", "read -P 0 0 64k", name, cwd=tmp_path)


def test_vpc_size_by_geometry_or_footer(tmp_path: Path) -> None:
    """The original agrees on every size, forced or rounded up to what the geometry can express."""
    rng = random.Random(5)
    for size in (0, 1, 512, 1 << 20, 127 << 30, 136899993600, 128 << 30, *(rng.randrange(1 << 40) for _ in range(10))):
        for force in ("on", "off"):
            make(tmp_path / "a.vpc", "vpc", size, force_size=force)
            originals.run("qemu-img", "create", "-q", "-f", "vpc", "-o", f"force_size={force}", "b.vpc", str(size), cwd=tmp_path)
            with Graph() as graph:
                sizes = [graph.open(str(tmp_path / name), "vpc").size for name in ("a.vpc", "b.vpc")]
                assert sizes[0] == sizes[1], size
            a, b = ((tmp_path / name).read_bytes()[:1536] for name in ("a.vpc", "b.vpc"))
            assert (a[:24], a[28:64], a[84:]) == (b[:24], b[28:64], b[84:])


DESCRIPTOR = '# Disk DescriptorFile\nversion=1\nCID=ffff\nparentCID=ffffffff\ncreateType="{kind}"\n{lines}'


def describe(path: Path, lines: str, kind: str = "twoGbMaxExtentFlat") -> None:
    path.write_text(DESCRIPTOR.format(kind=kind, lines=lines))


def test_vmdk_of_mixed_extents(tmp_path: Path) -> None:
    """Flat with an offset, read-only, zeroes, sparse: one disk."""
    (tmp_path / "x.bin").write_bytes(bytes(range(256)) * 16)
    (tmp_path / "y.bin").write_bytes(bytes(range(256)) * 2)
    make(tmp_path / "s.vmdk", "vmdk", 65536)
    with Graph() as graph:
        graph.open(str(tmp_path / "s.vmdk"), settings=Settings(write=True)).write(100, b"sparse")
    lines = 'RW 1 FLAT "x.bin" 2\nRW 1 FLAT "x.bin" 5\nRW 125 ZERO\nRDONLY 1 FLAT "y.bin" 0\nRW 128 SPARSE "s.vmdk"\n'
    describe(tmp_path / "a.vmdk", lines)
    with Graph() as graph:
        node = graph.open(str(tmp_path / "a.vmdk"))
        assert node.driver == "vmdk" and node.size == 256 * 512
        assert node.read(0, 512) == bytes(range(256)) * 2
        assert node.read(127 * 512, 512) == bytes(range(256)) * 2
        assert node.read(512, 126 * 512) == bytes(range(256)) * 2 + bytes(125 * 512)
        assert node.read(65536 + 100, 6) == b"sparse"
    with Graph() as graph:
        node = graph.open(str(tmp_path / "a.vmdk"), settings=Settings(write=True))
        node.write(0, b"first")
        node.write(65536, b"again")
        with pytest.raises(OSError, match="Permission denied"):
            node.write(127 * 512, b"no")
    assert (tmp_path / "x.bin").read_bytes()[1024:1029] == b"first"


BAD_DESCRIPTORS = [
    ("RW 1 FLAT", "Invalid extent line: RW 1 FLAT"),
    ('RW 1 FLAT "x.bin"', "Invalid extent line"),
    ('RW 1 FLAT "x.bin" -1', "Invalid extent line"),
    ('RW -1 FLAT "x.bin" 0', "Invalid extent line"),
    ('RW 0 FLAT "x.bin" 0', "Extent of no sectors"),
    ('RW 1 SESPARSE "x.bin"', "Unsupported extent type 'SESPARSE'"),
    ('RW 9999999999999999999 FLAT "x.bin" 0', "too large"),
    ('RW 1 FLAT "gone.bin" 0', "Could not open '.*gone.bin'"),
    ('RW 1 FLAT "json:{}" 0', "is not the path of a file"),
    ('RW 1 SPARSE "x.bin"', "Image not in VMDK format"),
    ('NOACCESS 1 FLAT "x.bin" 0', "may not be accessed"),
    ("", "names no extents"),
]


@pytest.mark.parametrize(("lines", "message"), BAD_DESCRIPTORS)
def test_bad_vmdk_descriptors(lines: str, message: str, tmp_path: Path) -> None:
    from tinamou.block.errors import BlockError

    (tmp_path / "x.bin").write_bytes(bytes(512))
    describe(tmp_path / "a.vmdk", lines + "\n")
    with Graph() as graph, pytest.raises(BlockError, match=message):
        graph.open(str(tmp_path / "a.vmdk"))


def test_esx_sparse_extent(tmp_path: Path) -> None:
    """A COWD extent made by hand: 4096 entries per table, grains of one sector; the original reads what we write."""
    import struct

    sectors = 6000
    head = struct.pack("<4sIIIIIII", b"COWD", 1, 3, sectors, 1, 4, 2, 5).ljust(2048, b"\0") + bytes(512)
    (tmp_path / "e-delta.vmdk").write_bytes(head)
    describe(tmp_path / "e.vmdk", f'RW {sectors} VMFSSPARSE "e-delta.vmdk"\n', "vmfsSparse")
    model = bytearray(sectors * 512)
    rng = random.Random(2)
    with Graph() as graph:
        node = graph.open(str(tmp_path / "e.vmdk"), settings=Settings(write=True))
        assert node.size == sectors * 512 and node.cluster_size == 512  # type: ignore[attr-defined]
        for _ in range(60):
            length = rng.choice((1, 512, 700, 5000))
            pos = rng.randrange(len(model) - length)
            data = rng.randbytes(length)
            node.write(pos, data)
            model[pos : pos + length] = data
        assert node.read(0, node.size) == bytes(model)
    (tmp_path / "e.raw").write_bytes(model)
    assert "identical" in originals.run("qemu-img", "compare", "-F", "raw", "e.vmdk", "e.raw", cwd=tmp_path)


@pytest.mark.parametrize(("name", "options"), [('a".vmdk', {}), ("a.vmdk", {"hwversion": 'x"'}), ("a.vmdk", {"toolsversion": "1\nRW"})])
def test_vmdk_texts_that_do_not_fit(name: str, options: dict[str, str], tmp_path: Path) -> None:
    """What would end the descriptor's quotes is refused before anything is written."""
    from tinamou.block.errors import BlockError

    with pytest.raises(BlockError, match="may not contain quotation marks"):
        make(tmp_path / name, "vmdk", 1 << 20, **options)
    assert not list(tmp_path.iterdir())
