"""On-disk structures of qcow2 versions 2 and 3; all integers big endian (specification: qcow2.txt of the QEMU documentation)."""

from __future__ import annotations

import sys
from array import array

from ...layout import Struct, u8, u16, u32, u64
from ...notation import Annotated

MAGIC = 0x514649FB
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1
OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
L1_RESERVED = 0x7F00_0000_0000_01FF
L2_RESERVED = 0x3F00_0000_0000_01FE
REFTABLE_RESERVED = 0x1FF

DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = 1, 2, 4, 8, 16
LAZY_REFCOUNTS = 1
BITMAPS, DATA_FILE_RAW = 1, 2

EXT_END = 0
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_ENCRYPTION = 0x0537BE77
EXT_DATA_FILE = 0x44415441

MAX_L1_BYTES = 32 << 20
MAX_REFTABLE_BYTES = 8 << 20
MAX_SNAPSHOTS = 65536
MAX_SNAPSHOT_BYTES = 1024 * MAX_SNAPSHOTS
MAX_SNAPSHOT_EXTRA = 1024
MAX_BITMAPS = 65535
MAX_BITMAP_DIRECTORY = 1024 * MAX_BITMAPS

COMPRESSION_NAMES = ("zlib", "zstd")

FEATURES = (
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
)


class Header(Struct, endian=">"):
    """72 bytes in version 2, at least 104 in version 3."""

    magic: u32 = MAGIC
    version: u32 = 3
    backing_file_offset: u64 = 0
    backing_file_size: u32 = 0
    cluster_bits: u32 = 16
    size: u64 = 0
    crypt_method: u32 = 0
    l1_size: u32 = 0
    l1_table_offset: u64 = 0
    refcount_table_offset: u64 = 0
    refcount_table_clusters: u32 = 0
    nb_snapshots: u32 = 0
    snapshots_offset: u64 = 0
    incompatible_features: u64 = 0
    compatible_features: u64 = 0
    autoclear_features: u64 = 0
    refcount_order: u32 = 4
    header_length: u32 = 112
    compression_type: u8 = 0
    padding: Annotated[bytes, "7s"] = bytes(7)


V2_LENGTH = 72
V3_LENGTH = 104


class SnapshotHeader(Struct, endian=">"):
    """Followed by extra data, the id, the name, and padding to 8 bytes."""

    l1_table_offset: u64 = 0
    l1_size: u32 = 0
    id_size: u16 = 0
    name_size: u16 = 0
    date_sec: u32 = 0
    date_nsec: u32 = 0
    vm_clock_nsec: u64 = 0
    vm_state_size: u32 = 0
    extra_size: u32 = 0


class SnapshotExtra(Struct, endian=">"):
    vm_state_size_large: u64 = 0
    disk_size: u64 = 0
    icount: u64 = 0xFFFF_FFFF_FFFF_FFFF


class BitmapsExtension(Struct, endian=">"):
    nb_bitmaps: u32 = 0
    reserved: u32 = 0
    directory_size: u64 = 0
    directory_offset: u64 = 0


class BitmapEntry(Struct, endian=">"):
    """Followed by extra data, the name, and padding to 8 bytes."""

    table_offset: u64 = 0
    table_size: u32 = 0
    flags: u32 = 0
    type: u8 = 1
    granularity_bits: u8 = 16
    name_size: u16 = 0
    extra_size: u32 = 0


BITMAP_IN_USE, BITMAP_AUTO = 1, 2


def words_from(data: bytes | bytearray | memoryview) -> array[int]:
    """64-bit big-endian numbers."""
    words = array("Q")
    words.frombytes(data)
    if sys.byteorder == "little":
        words.byteswap()
    return words


def words_to(words: array[int]) -> bytes:
    if sys.byteorder == "little":
        words = words[:]
        words.byteswap()
    return words.tobytes()
