"""Virtual PC and Hyper-V disks (VHD): Microsoft, "Virtual Hard Disk Image Format Specification", October 2006.

A fixed disk is its contents and a footer of 512 bytes. A dynamic disk begins with a copy of the footer, a dynamic disk header and
a block allocation table of 32-bit sector numbers; each block is a sector bitmap and the data; the footer is the last sector.
All numbers are big endian.
"""

from __future__ import annotations

import errno
import os
import time

from .. import options as opt
from ..layout import Bytes4, Bytes8, Bytes16, Struct, u8, u16, u32, u64
from ..node import BlockError, Extent, Format, Node, extend_zeroed
from ..notation import TYPE_CHECKING, Any
from ..table import PagedTable

if TYPE_CHECKING:
    from ..graph import Graph

SECTOR = 512
UNUSED = 0xFFFF_FFFF
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
NO_OFFSET = (1 << 64) - 1
EPOCH = 946684800
"""2000-01-01, from which time stamps count."""

MOST_CYLINDERS, MOST_HEADS, MOST_SECTORS = 65535, 16, 255
LARGEST_GEOMETRY = MOST_CYLINDERS * MOST_HEADS * MOST_SECTORS
MAX_SECTORS = 0xFF00_0000
"""2040 GiB, so that sector numbers fit into the table."""

BLOCK = 2 << 20
TABLE_OFFSET = 1536
SIZE_FROM_FOOTER = (b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS")
"""Programs that do not round the size to the geometry."""


class Footer(Struct, endian=">"):
    creator: Bytes8 = b"conectix"
    features: u32 = 2
    version: u32 = 0x0001_0000
    data_offset: u64 = NO_OFFSET
    timestamp: u32 = 0
    creator_app: Bytes4 = b"qemu"
    creator_version: u32 = 0x0005_0003
    creator_os: Bytes4 = b"Wi2k"
    original_size: u64 = 0
    current_size: u64 = 0
    cylinders: u16 = 0
    heads: u8 = 0
    sectors: u8 = 0
    kind: u32 = DYNAMIC
    checksum: u32 = 0
    uuid: Bytes16 = bytes(16)
    in_saved_state: u8 = 0

    def sectors_by_geometry(self) -> int:
        return self.cylinders * self.heads * self.sectors


class DynamicHeader(Struct, endian=">"):
    magic: Bytes8 = b"cxsparse"
    data_offset: u64 = NO_OFFSET
    table_offset: u64 = TABLE_OFFSET
    version: u32 = 0x0001_0000
    entries: u32 = 0
    block_size: u32 = BLOCK
    checksum: u32 = 0


HEADER_SIZE = 1024


class Vpc(Format, name="vpc"):
    child_names = ("file",)
    can_create = True

    class Open(Format.Open):
        force_size_calc = opt.text("Force disk size calculation to use either CHS geometry (chs), or the current size (current_size)")

    class Create(Format.Create):
        subformat = opt.choice("Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ", ("dynamic", "fixed"))
        force_size = opt.flag(
            "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation"
        )

    opts: Open

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        return 100 if head[:8] == Footer.creator else 0

    def open(self) -> None:
        if self.opts.force_size_calc not in (None, "chs", "current_size"):
            raise BlockError(f"Invalid size calculation mode: '{self.opts.force_size_calc}'")
        self.alignment = SECTOR
        self.raw_footer = self.file.read(0, SECTOR)
        self.dynamic = self.raw_footer[:8] == Footer.creator
        if not self.dynamic:
            if self.file.size < SECTOR:
                raise BlockError("File too small for a VHD header")
            self.raw_footer = self.file.read(self.file.size - SECTOR, SECTOR)
        self.footer = footer = Footer.unpack(self.raw_footer)
        if footer.creator != Footer.creator or (not self.dynamic and footer.kind != FIXED):
            raise BlockError("invalid VPC image")
        if checksum(self.raw_footer, Footer.offsets["checksum"]) != footer.checksum:
            raise BlockError("Incorrect header checksum")
        if footer.kind == DIFFERENCING:
            raise BlockError("Differencing VHD images, which have a parent, are not supported")
        self.size = self._disk_size()
        if self.dynamic:
            self._open_dynamic()
        elif self.size > self.file.size - SECTOR:
            self.size = (self.file.size - SECTOR) // SECTOR * SECTOR

    def _disk_size(self) -> int:
        """By the geometry or by the footer's size: programs differ in which of the two they mean."""
        footer = self.footer
        chs = footer.sectors_by_geometry()
        mode = self.opts.force_size_calc
        from_footer = footer.creator_app in SIZE_FROM_FOOTER or chs == LARGEST_GEOMETRY
        if mode is not None:
            from_footer = mode == "current_size" or chs == LARGEST_GEOMETRY
        sectors = footer.current_size // SECTOR if from_footer else chs
        if sectors > MAX_SECTORS:
            raise BlockError(f"A disk of {footer.current_size} bytes is too large for a VHD image (2040 GiB)")
        return sectors * SECTOR

    def _open_dynamic(self) -> None:
        at = self.footer.data_offset
        if at + HEADER_SIZE > self.file.size:
            raise BlockError("Error reading dynamic VHD header")
        header = self.header = DynamicHeader.unpack(self.file.read(at, HEADER_SIZE))
        if header.magic != DynamicHeader.magic:
            raise BlockError("Invalid header magic")
        block = header.block_size
        if block < SECTOR or block & (block - 1):
            raise BlockError(f"Invalid block size {block}")
        self.cluster_size = block
        self.bitmap_size = -(-block // SECTOR // 8 // SECTOR) * SECTOR
        if header.entries > 0x7FFF_FFFF // 4:
            raise BlockError(f"Max Table Entries too large ({header.entries})")
        if header.entries * block < self.size:
            raise BlockError("Page table too small")
        if header.table_offset + 4 * header.entries > self.file.size:
            raise BlockError(
                f"The block allocation table of {header.entries} entries ends after the end of the file ({self.file.size} bytes)"
            )
        self.table = PagedTable(self.file, header.table_offset, header.entries, ">")
        self.end = -1
        if not self.read_only or header.entries <= 1 << 20:
            self._find_end()

    def _find_end(self) -> None:
        """The byte after the last block, where the footer is and the next block goes."""
        header = self.header
        end = -(-(header.table_offset + 4 * header.entries) // SECTOR) * SECTOR
        size = self.bitmap_size + self.cluster_size
        for _, words in self.table.walk():
            if words.count(UNUSED) < len(words):
                end = max(end, max(word for word in words if word != UNUSED) * SECTOR + size)
        if end > self.file.size:
            raise BlockError("block-vpc: free_data_block_offset points after the end of file. The image has been truncated.")
        self.end = end

    def extent(self, pos: int, want: int) -> Extent:
        if not self.dynamic:
            return Extent("data", self.size - pos, pos)
        block = self.cluster_size
        index, skip = divmod(pos, block)
        sector = self.table[index]
        if sector == UNUSED:
            return Extent("zero", self.table.run(index, index + -(-(skip + want) // block), 0) * block - skip)
        return Extent("data", block - skip, sector * SECTOR + self.bitmap_size + skip)

    @property
    def look_below(self) -> bool:  # type: ignore[override]
        """A fixed disk's file may have holes."""
        return not self.dynamic

    def allocate(self, pos: int, length: int) -> Extent:
        """One block, after the footer. Nothing is overwritten until the data is there."""
        if (self.end + self.bitmap_size + self.cluster_size) // SECTOR >= UNUSED:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return Extent("data", self.cluster_size, self.end + self.bitmap_size)

    def link(self, pos: int, extent: Extent) -> None:
        """The footer moves to the new end (a reader that finds none there uses the copy at the start), then the bitmap takes its
        place and says that every sector is there. The table refers to the block when all that is on the disk (`flush_metadata`)."""
        offset = extent.offset - self.bitmap_size
        after = extent.offset + self.cluster_size
        try:
            self.file.write(after, self.raw_footer)
        except OSError:
            self.unlink_failed(pos, extent)
            raise
        self.file.write(offset, b"\xff" * self.bitmap_size)
        self.table.store(pos // self.cluster_size, [offset // SECTOR])
        self.end = after
        if self.table.full:
            self.flush_metadata()

    def flush_metadata(self) -> None:
        """The table refers only to blocks that are on the disk: programs do not open an image whose blocks lie behind its end."""
        if self.dynamic and self.table.changed:
            self.file.flush()
            self.table.write()

    def unlink_failed(self, pos: int, extent: Extent) -> None:
        self.file.resize(self.end + SECTOR)

    @classmethod
    def create(cls, graph: Graph, file: Node, options: Any) -> None:
        footer = new_footer(options.size, bool(options.force_size))
        if (options.subformat or "dynamic") == "fixed":
            footer.kind = FIXED
            extend_zeroed(file, footer.current_size, getattr(options, "preallocation", None) or "off")
            file.write(footer.current_size, sealed(footer))
            return
        footer.data_offset = SECTOR
        entries = -(-footer.current_size // BLOCK)
        header = DynamicHeader(entries=entries)
        data = bytearray(header.pack().ljust(HEADER_SIZE, b"\0"))
        at = DynamicHeader.offsets["checksum"]
        data[at : at + 4] = checksum(bytes(data), at).to_bytes(4, "big")
        table = -(-4 * entries // SECTOR) * SECTOR
        file.write(SECTOR, data)
        for pos in range(0, table, 1 << 20):
            file.write(TABLE_OFFSET + pos, b"\xff" * min(1 << 20, table - pos))
        file.write(TABLE_OFFSET + table, sealed(footer))
        file.write(0, sealed(footer))


def checksum(data: bytes, at: int) -> int:
    """The complement of the sum of all bytes but the four of the checksum itself."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFF_FFFF


def sealed(footer: Footer) -> bytes:
    """The sector with its checksum."""
    footer.checksum = 0
    data = footer.pack().ljust(SECTOR, b"\0")
    footer.checksum = checksum(data, Footer.offsets["checksum"])
    return footer.pack().ljust(SECTOR, b"\0")


def new_footer(size: int, force_size: bool) -> Footer:
    """The footer of a new disk of at least `size` bytes: the next size that cylinders, heads and sectors can express, unless
    the size is forced or beyond what they can."""
    wanted = -(-size // SECTOR)
    footer = Footer(timestamp=int(time.time()) - EPOCH & 0xFFFF_FFFF, uuid=os.urandom(16))
    if force_size:
        footer.creator_app = b"qem2"
        footer.cylinders, footer.heads, footer.sectors = MOST_CYLINDERS, MOST_HEADS, MOST_SECTORS
        total = wanted
    else:
        total, attempt = 0 if not wanted else -1, wanted
        while total < wanted:
            footer.cylinders, footer.heads, footer.sectors = geometry(attempt)
            total = footer.sectors_by_geometry()
            if total == LARGEST_GEOMETRY:
                total = wanted
            attempt += max(1, wanted - total)
    if total > MAX_SECTORS:
        raise BlockError("The image size is too large for file format 'vpc'")
    footer.original_size = footer.current_size = total * SECTOR
    return footer


def geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track of a disk, as the specification's appendix "CHS Calculation" has it."""
    sectors = min(sectors, LARGEST_GEOMETRY)
    if sectors >= 65535 * 16 * 63:
        per_track, heads = 255, 16
        return sectors // per_track // heads, heads, per_track
    per_track = 17
    tracks = sectors // per_track
    heads = max((tracks + 1023) // 1024, 4)
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        tracks = sectors // per_track
    if tracks >= heads * 1024:
        per_track, heads = 63, 16
        tracks = sectors // per_track
    return tracks // heads, heads, per_track
