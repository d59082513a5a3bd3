"""Parsers and number code of the block layer on whatever comes: hypothesis."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.block.copy import zero_runs
from tinamou.block.errors import BlockError
from tinamou.block.formats.vmdk.descriptor import Descriptor, is_descriptor
from tinamou.block.formats.vpc import LARGEST_GEOMETRY, SECTOR, geometry, new_footer

BLOCKS = st.lists(st.sampled_from([b"\0" * 512, b"\0" * 511 + b"x", b"x" + b"\0" * 511, b"y" * 512, b"\0" * 256 + b"z" * 256]), max_size=24)


@given(BLOCKS, st.sampled_from([512, 1024, 4096]), st.integers(0, 8), st.binary(max_size=20))
def test_zero_runs(blocks: list[bytes], step: int, first: int, tail: bytes) -> None:
    """They cover everything in order, zero ones are zero, and no aligned block of zeroes is taken for data."""
    data = bytearray(b"".join(blocks) + tail)
    length, first = len(data), first * 512 % step
    if not length:
        return
    runs = zero_runs(data, length, step, first)
    assert [a for a, _, _ in runs] == [0, *(b for _, b, _ in runs[:-1])] and runs[-1][1] == length
    for start, end, nil in runs:
        assert start < end
        if nil:
            assert not any(data[start:end])
    for at in range(first, length - step + 1, step):
        if not any(data[at : at + step]):
            assert any(nil and start <= at and at + step <= end for start, end, nil in runs)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["# Disk DescriptorFile", "version=1", "CID=fffffffe", "CID=xyz", "parentCID=1", 'createType="vmfs"', "CID", "=", ""]
        ),
        st.tuples(
            st.sampled_from(["RW", "RDONLY", "NOACCESS", "rw"]),
            st.integers(-1, 1 << 70),
            st.sampled_from(["FLAT", "VMFS", "SPARSE", "ZERO", "X"]),
            st.text(max_size=9),
            st.one_of(st.none(), st.integers(-1, 1 << 70)),
        ).map(lambda t: f'{t[0]} {t[1]} {t[2]} "{t[3]}"' + ("" if t[4] is None else f" {t[4]}")),
        st.text(max_size=30),
    )
)


@given(LINES)
def test_vmdk_descriptors(lines: list[str]) -> None:
    text = "\n".join(lines)
    is_descriptor(text.encode("utf-8", "surrogatepass")[:2048])
    descriptor = Descriptor(text)
    with suppress(BlockError):
        for extent in descriptor.extents():
            assert 0 < extent.sectors < 10**19 and 0 <= extent.offset < 10**19 and '"' not in extent.name
    for key in ("CID", "parentCID"):
        with suppress(BlockError):
            assert 0 <= descriptor.content_id(key) < 1 << 32
            descriptor.set_content_id(key, 0x12345678)
            assert Descriptor(descriptor.text).content_id(key) == 0x12345678


@given(st.integers(0, 0xFF00_0000))
@settings(max_examples=300)
def test_vhd_geometry(sectors: int) -> None:
    """Fits its fields, does not exceed the disk; the footer's geometry has room for it and is the nearest that has."""
    cylinders, heads, per_track = geometry(sectors)
    assert cylinders < 1 << 16 and heads <= 16 and per_track <= 255
    assert cylinders * heads * per_track <= sectors
    footer = new_footer(sectors * SECTOR, False)
    total = footer.current_size // SECTOR
    assert total >= sectors
    if sectors <= LARGEST_GEOMETRY and footer.sectors_by_geometry() < LARGEST_GEOMETRY:
        assert total == footer.sectors_by_geometry() and total - sectors < 16 * 255
