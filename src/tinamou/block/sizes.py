"""Logical and physical block sizes of disks, as device properties: powers of two from 512 bytes to 2 MiB."""

from __future__ import annotations

from .errors import BlockError
from .options import parse_size

MINIMUM, MAXIMUM = 512, 2 << 20


def parse_block_size(name: str, value: int | str) -> int:
    """The value of a property such as `logical_block_size`: bytes, with suffix; 0 means "as the image says".

    Raises `BlockError` for anything but 0 or a power of two from 512 to 2097152."""
    if isinstance(value, str):
        try:
            value = parse_size(value)
        except (ValueError, OverflowError):
            raise BlockError(f"Parameter '{name}' expects a size") from None
    if value and not MINIMUM <= value <= MAXIMUM:
        raise BlockError(f"Property .{name} doesn't take value {value} (minimum: {MINIMUM}, maximum: {MAXIMUM})")
    if value & (value - 1):
        raise BlockError(f"Property .{name} doesn't take value '{value}', it's not a power of 2")
    return value


class BlockSizes:
    """What a disk tells its guest: bytes per logical and physical block, and the exponent between them."""

    def __init__(self, logical: int | str = 0, physical: int | str = 0, minimum_io: int | str = 0) -> None:
        self.logical = parse_block_size("logical_block_size", logical) or MINIMUM
        self.physical = parse_block_size("physical_block_size", physical) or self.logical
        if self.logical > self.physical:
            raise BlockError("logical_block_size > physical_block_size not supported")
        self.minimum_io = parse_size(minimum_io) if isinstance(minimum_io, str) else minimum_io
        if self.minimum_io % self.logical:
            raise BlockError("min_io_size must be a multiple of logical_block_size")

    @property
    def physical_exponent(self) -> int:
        """Logical blocks per physical block, as a power of two."""
        return (self.physical // self.logical).bit_length() - 1

    def check_disk(self, size: int, what: str = "disk") -> None:
        """A disk's size must be whole logical blocks; raises `BlockError`."""
        if size % self.logical:
            raise BlockError(f"The {what}'s size of {size} bytes is not a multiple of its logical block size {self.logical}")
