"""Filters: throttle, copy-on-read, compress, blkdebug."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.node import Settings, status


@pytest.fixture
def graph() -> Any:
    with Graph() as graph:
        yield graph


def image(graph: Graph, path: Path, fmt: str = "qcow2", **options: Any) -> str:
    create(graph, str(path), fmt, create_class(fmt, str(path))({"size": "4M", **options}))
    return str(path)


def test_copy_on_read_copies_once(graph: Graph, tmp_path: Path) -> None:
    base = image(graph, tmp_path / "base.raw", "raw")
    Path(base).write_bytes(bytes([7]) * (4 << 20))
    top = image(graph, tmp_path / "top.qcow2", backing_file=base, backing_fmt="raw")
    node = graph.open_options({"driver": "copy-on-read", "file": {"driver": "qcow2", "file.filename": top}}, Settings(write=True))
    assert status(node.file, 0, 4 << 20).depth == 1
    assert node.read(100000, 5) == b"\7" * 5
    assert status(node.file, 65536, 1).depth == 0
    assert status(node.file, 0, 1).depth == 1


def test_copy_on_read_down_to_a_node(graph: Graph, tmp_path: Path) -> None:
    """With `bottom`, what lies below that node is read but not copied."""
    base = image(graph, tmp_path / "base.raw", "raw")
    Path(base).write_bytes(bytes([7]) * (4 << 20))
    middle = image(graph, tmp_path / "middle.qcow2", backing_file=base, backing_fmt="raw")
    with Graph() as other:
        other.open(middle, settings=Settings(write=True)).write(1 << 20, b"m" * 65536)
    top = image(graph, tmp_path / "top.qcow2", backing_file=middle, backing_fmt="qcow2")
    below = {"driver": "qcow2", "file.filename": top, "backing": {"driver": "qcow2", "node-name": "m", "file.filename": middle}}
    node = graph.open_options({"driver": "copy-on-read", "bottom": "m", "file": below}, Settings(write=True))
    assert node.read(0, 10) == b"\7" * 10 and node.read((1 << 20) + 5, 10) == b"m" * 10
    assert status(node.file, 0, 1).depth == 2
    assert status(node.file, 1 << 20, 1).depth == 0


def test_compress_stores_packed_clusters(graph: Graph, tmp_path: Path) -> None:
    name = image(graph, tmp_path / "a.qcow2")
    node = graph.open_options({"driver": "compress", "file": {"driver": "qcow2", "file.filename": name}}, Settings(write=True))
    node.write(0, b"abcd" * 65536)
    node.write(1 << 20, b"x" * 1000)
    assert status(node, 0, 65536).compressed
    assert not status(node, 1 << 20, 65536).compressed
    assert node.read(0, 4) == b"abcd" and node.read(1 << 20, 1000) == b"x" * 1000
    with pytest.raises(BlockError, match="Compression is not supported"):
        graph.open_options({"driver": "compress", "file": {"driver": "null-co"}}, Settings(write=True))


def test_throttle_needs_its_group(graph: Graph) -> None:
    with pytest.raises(BlockError, match="Throttle group 'g' does not exist"):
        graph.open_options({"driver": "throttle", "throttle-group": "g", "file": {"driver": "null-co"}})
    with pytest.raises(BlockError, match="specify a throttle group"):
        graph.open_options({"driver": "throttle", "file": {"driver": "null-co"}})


def test_throttle_slows_down(graph: Graph) -> None:
    graph.add_object({"qom-type": "throttle-group", "id": "g", "x-bps-total": "1000000"})
    node = graph.open_options({"driver": "throttle", "throttle-group": "g", "file": {"driver": "null-co"}}, Settings(write=True))
    began = time.monotonic()
    for _ in range(4):
        node.write(0, bytes(100000))
    assert time.monotonic() - began > 0.15


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"x-bps-total-max": "5"}, "require corresponding"),
        ({"x-bps-total": "5", "x-bps-read": "5"}, "cannot be used at the same time"),
        ({"foo": "5"}, "Parameter 'foo' is unexpected"),
        ({"x-bps-total": "abc"}, "expects a number"),
    ],
)
def test_throttle_group_errors(graph: Graph, properties: dict[str, str], message: str) -> None:
    with pytest.raises(BlockError, match=message):
        graph.add_object({"qom-type": "throttle-group", "id": "g", **properties})


def debug(name: str, **rules: Any) -> dict[str, Any]:
    return {"driver": "blkdebug", "image": {"driver": "file", "filename": name}, **rules}


def test_blkdebug_injects_by_event_and_once(graph: Graph, tmp_path: Path) -> None:
    name = image(graph, tmp_path / "a.qcow2")
    rules = {"inject-error": [{"event": "l2_update", "errno": errno.ENOSPC, "once": True}]}
    node = graph.open_options({"driver": "qcow2", "file": debug(name, **rules)}, Settings(write=True))
    node.write(0, b"x" * 65536)
    with pytest.raises(OSError) as caught:
        node.flush()
    assert caught.value.errno == errno.ENOSPC
    node.flush()


def test_blkdebug_sector_state_and_type(graph: Graph, tmp_path: Path) -> None:
    name = image(graph, tmp_path / "a.raw", "raw")
    config = tmp_path / "rules.conf"
    config.write_text(
        '# armed after the first write\n[set-state]\nstate = "1"\nevent = "write_aio"\nnew_state = "2"\n\n'
        '[inject-error]\nevent = "read_aio"\nstate = "2"\nsector = "8"\niotype = "read"\n'
    )
    node = graph.open_options({"driver": "raw", "file": debug(name, config=str(config))}, Settings(write=True))
    node.read(4096, 512)
    node.write(4096, b"x" * 512)
    node.read(0, 512)
    with pytest.raises(OSError):
        node.read(4096, 512)
    node.write(4096, b"x" * 512)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"inject-error": [{"event": "foo"}]}, 'Invalid event name "foo"'),
        ({"inject-error": [{"event": "read_aio", "iotype": "foo"}]}, "'foo' for 'iotype'"),
        ({"inject-error": [{"bar": "1"}]}, "Invalid parameter 'bar'"),
        ({"inject-error": "x"}, "lists of options"),
        ({"config": "/nonexistent"}, "Could not read blkdebug config file: No such file or directory"),
    ],
)
def test_blkdebug_rule_errors(graph: Graph, tmp_path: Path, rules: dict[str, Any], message: str) -> None:
    name = image(graph, tmp_path / "a.raw", "raw")
    with pytest.raises(BlockError, match=message):
        graph.open_options(debug(name, **rules))


def test_blkdebug_stops_and_resumes(graph: Graph, tmp_path: Path) -> None:
    name = image(graph, tmp_path / "a.raw", "raw")
    node: Any = graph.open_options({"driver": "raw", "file": debug(name)}, Settings(write=True))
    node.file.set_break("write_aio", "A")
    writer = threading.Thread(target=node.write, args=(0, b"x" * 512))
    writer.start()
    assert node.file.wait_break("A", 10)
    assert node.read(0, 1) == b"\0"
    assert node.file.resume("A") and not node.file.resume("A")
    writer.join()
    assert node.read(0, 1) == b"x"


def test_probed_raw_keeps_its_format(graph: Graph, tmp_path: Path) -> None:
    """A guest of a probed raw disk cannot make it look like another format; with the format given it can."""
    name = image(graph, tmp_path / "a.raw", "raw")
    node = graph.open(name, settings=Settings(write=True))
    with pytest.raises(OSError) as caught:
        node.write(0, b"QFI\xfb\0\0\0\3")
    assert caught.value.errno == errno.EPERM
    node.write(0, b"boot")
    graph.close_node(node)
    graph.open(name, "raw", Settings(write=True)).write(0, b"QFI\xfb\0\0\0\3")


@pytest.mark.parametrize("fmt", ["raw", "qcow2"])
def test_detect_zeroes(graph: Graph, tmp_path: Path, fmt: str) -> None:
    """Zeroes that a guest writes take no room."""
    name = image(graph, tmp_path / "a.img", fmt)
    options = {"driver": fmt, "file.filename": name, "detect-zeroes": "unmap", "discard": "unmap"}
    node = graph.open_options(options, Settings(write=True))
    node.write(0, b"x" * (1 << 20))
    node.write(0, bytes(1 << 20))
    assert status(node, 0, 1 << 20).zero
    with pytest.raises(BlockError, match="detect-zeroes to unmap is not allowed without"):
        graph.open_options({"driver": fmt, "file.filename": name, "detect-zeroes": "unmap"})


def test_threads_share_a_disk(graph: Graph, tmp_path: Path) -> None:
    """Writers in several threads, each in its own stripes: everything is there, the image is sound."""
    name = image(graph, tmp_path / "a.qcow2", cluster_size=4096)
    node: Any = graph.open(name, settings=Settings(write=True))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for block in range(number, 512, 4):
                node.write(block * 8192 + 1000, bytes([number + 1]) * 5000)
                assert node.read(block * 8192 + 1000, 5000) == bytes([number + 1]) * 5000
                if block % 50 == 0:
                    node.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for block in range(512):
        assert node.read(block * 8192 + 1000, 5000) == bytes([block % 4 + 1]) * 5000
    graph.close_node(node)
    checked: Any = graph.open(name, settings=Settings(for_check=True))
    result = checked.check(False, False)
    assert (result.corruptions, result.leaks) == (0, 0)
