"""The graph, the file protocol and raw: what every format stands on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinamou.block import options as opt
from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, create, create_class
from tinamou.block.layout import Struct, u16, u64
from tinamou.block.node import Settings, is_zero, status


class Sample(Struct, endian=">"):
    magic: u16 = 0x1234
    size_in_bytes: u64


def test_struct_packs_declared_layout() -> None:
    sample = Sample(size_in_bytes=5)
    assert sample.pack() == b"\x12\x34" + (5).to_bytes(8, "big")
    assert Sample.unpack(sample.pack()) == sample
    assert (Sample.packed_size, Sample.offsets["size_in_bytes"]) == (10, 2)
    assert Sample.unpack(b"\x12").magic == 0x1200


@given(st.integers(0, 2**64 - 1))
def test_sizes_read_back(value: int) -> None:
    assert opt.parse_size(str(value)) == value
    assert opt.parse_size(hex(value)) == value


@pytest.mark.parametrize(
    ("text", "value"), [("1k", 1024), ("1.5G", 3 << 29), ("64M", 64 << 20), ("2T", 2 << 40), ("1E", 1 << 60), ("0", 0)]
)
def test_size_suffixes(text: str, value: int) -> None:
    assert opt.parse_size(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1q", "1.5", "k", "1..2k", "0xzz", "٣"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(ValueError):
        opt.parse_size(text)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(max_size=5), max_size=4))
def test_option_text_reads_back(values: dict[str, str]) -> None:
    text = ",".join(f"{k}={v.replace(',', ',,')}" for k, v in values.items())
    assert opt.parse_opts(text) == values


def test_dotted_keys_nest() -> None:
    assert opt.nest({"file.driver": "file", "file": {"filename": "x"}, "server.0.host": "a"}) == {
        "file": {"driver": "file", "filename": "x"},
        "server": [{"host": "a"}],
    }
    with pytest.raises(BlockError, match="mix scalar"):
        opt.nest({"file": "x", "file.driver": "y"})


def test_is_zero() -> None:
    for n in (0, 1, 511, 4096, 70000, 200000):
        data = bytearray(n)
        assert is_zero(data) and is_zero(memoryview(data))
        for at in {0, n // 2, n - 1} if n else ():
            data[at] = 1
            assert not is_zero(data)
            data[at] = 0


@pytest.fixture
def image(tmp_path: Path) -> str:
    name = str(tmp_path / "a.raw")
    graph = Graph()
    create(graph, name, "raw", create_class("raw", name)({"size": "1M"}))
    return name


def test_raw_reads_back_and_knows_holes(image: str) -> None:
    with Graph() as graph:
        node = graph.open(image, settings=Settings(write=True, exclusive=True))
        assert node.size == 1 << 20
        assert status(node, 0, node.size)[:3] == (1 << 20, False, True)
        node.write(300000, b"abc")
        assert node.read(299999, 5) == b"\0abc\0"
        assert status(node, 300000, 1).data
        node.write_zeroes(0, 1 << 20)
        assert node.read(300000, 3) == b"\0\0\0"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": 2 << 20}, "Offset \\(2097152\\) cannot be greater than size of the containing file \\(1048576\\)"),
        ({"offset": 512, "size": 1 << 20}, "The sum of offset \\(512\\) and size \\(1048576\\)"),
        ({"size": 1000}, "not multiple of 512"),
        ({"foo": 1}, "Block format 'raw' does not support the option 'foo'"),
    ],
)
def test_raw_window_errors(image: str, options: dict[str, Any], message: str) -> None:
    with Graph() as graph, pytest.raises(BlockError, match=message):
        graph.open_options({"driver": "raw", "file.filename": image, **options})


def test_raw_window(image: str) -> None:
    Path(image).write_bytes(bytes(range(256)) * 4096)
    with Graph() as graph:
        node = graph.open_options({"driver": "raw", "offset": 1024 + 5, "size": 512, "file.filename": image})
        assert node.size == 512 and node.read(0, 3) == b"\x05\x06\x07"


def test_second_writer_is_refused_and_named(image: str) -> None:
    with Graph() as graph:
        graph.open(image, settings=Settings(write=True, exclusive=True))
        with pytest.raises(BlockError, match='Failed to get "write" lock') as caught:
            graph.open(image, settings=Settings(write=True, exclusive=True))
        assert caught.value.hints[0] == f"Is another process using the image [{image}]?"
        assert f"process {os.getpid()} (" in caught.value.hints[1]
        graph.open(image, settings=Settings(force_share=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nofile", "Could not open 'nofile': No such file or directory"),
        ("foo:x", "Unknown protocol 'foo'"),
        ("json:{", "JSON parse error, premature EOI"),
        ("json:[]", "Invalid JSON object given"),
        ('json:{"driver":"qcow3"}', "Unknown driver 'qcow3'"),
        ('json:{"driver":"raw"}', 'A block device must be specified for "file"'),
        ('json:{"driver":"raw","file":"x"}', "Cannot find device='x' nor node-name='x'"),
        ("json:" + '{"file":' * 5000, "JSON parse error"),
    ],
)
def test_names_that_cannot_be_opened(name: str, message: str) -> None:
    with Graph() as graph, pytest.raises(BlockError, match=message):
        graph.open(name)


def test_null_co() -> None:
    with Graph() as graph:
        node = graph.open_options({"driver": "null-co", "size": 4096, "read-zeroes": True})
        node.write(0, b"x" * 4096)
        assert node.read(0, 4096) == bytes(4096)
