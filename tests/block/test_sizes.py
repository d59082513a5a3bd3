"""Block sizes up to 2 MiB as device properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinamou.block.errors import BlockError
from tinamou.block.sizes import BlockSizes, parse_block_size


@pytest.mark.parametrize(("text", "value"), [("512", 512), ("4k", 4096), ("2M", 2 << 20), (0, 0), (65536, 65536)])
def test_accepted(text: int | str, value: int) -> None:
    assert parse_block_size("logical_block_size", text) == value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (4 << 20, r"Property .logical_block_size doesn't take value 4194304 \(minimum: 512, maximum: 2097152\)"),
        (256, r"doesn't take value 256 \(minimum: 512"),
        (1536, "it's not a power of 2"),
        ("1q", "expects a size"),
    ],
)
def test_refused(value: int | str, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        parse_block_size("logical_block_size", value)


@given(st.integers(9, 21), st.integers(9, 21))
def test_pairs(a: int, b: int) -> None:
    if a > b:
        with pytest.raises(BlockError, match="logical_block_size > physical_block_size not supported"):
            BlockSizes(1 << a, 1 << b)
        return
    sizes = BlockSizes(1 << a, 1 << b)
    assert sizes.logical << sizes.physical_exponent == sizes.physical
    sizes.check_disk(5 << a)
    with pytest.raises(BlockError, match="not a multiple"):
        sizes.check_disk((5 << a) + 256)
