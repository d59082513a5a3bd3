"""VirtualBox disk images, version 1.1: a map of 32-bit block numbers, blocks of 1 MiB.

The layout is that of VirtualBox's own header ("VDI file structure", forums.virtualbox.org topic 8046); all numbers are little
endian.
"""

from __future__ import annotations

import os
import sys
from array import array

from .. import options as opt
from ..layout import Bytes16, Struct, u32, u64
from ..node import BlockError, CheckResult, Extent, Format, Node, Unsupported, extend_zeroed
from ..notation import TYPE_CHECKING, Any
from ..table import PagedTable

if TYPE_CHECKING:
    from ..graph import Graph

SIGNATURE = 0xBEDA107F
BLOCK = 1 << 20
FREE, ZERO = 0xFFFF_FFFF, 0xFFFF_FFFE
"""Map entries from `ZERO` up are not block numbers: never written, and reads as zeroes."""

MAX_BLOCKS = 0x1FFF_FF80
"""So that a map, with 32-bit byte offsets, fits into 2 GiB."""

DYNAMIC, STATIC = 1, 2
NIL = bytes(16)


class Header(Struct, endian="<"):
    """From byte 0x40 on, after the text that says what the file is."""

    signature: u32 = SIGNATURE
    version: u32 = 0x0001_0001
    header_size: u32 = 0x180
    kind: u32 = DYNAMIC


class Places(Struct, endian="<"):
    """From byte 0x154 on."""

    map_offset: u32 = 0x200
    data_offset: u32 = 0
    cylinders: u32 = 0
    heads: u32 = 0
    sectors: u32 = 0
    sector_size: u32 = 512
    unused: u32 = 0
    disk_size: u64 = 0
    block_size: u32 = BLOCK
    block_extra: u32 = 0
    blocks: u32 = 0
    allocated: u32 = 0
    uuid_image: Bytes16 = NIL
    uuid_snapshot: Bytes16 = NIL
    uuid_link: Bytes16 = NIL
    uuid_parent: Bytes16 = NIL


HEADER_AT, PLACES_AT = 0x40, 0x154
TEXT = b"<<< QEMU VM Virtual Disk Image >>>\n"


class Vdi(Format, name="vdi"):
    child_names = ("file",)
    can_create = True
    supports_check = True

    class Create(Format.Create):
        static = opt.flag("VDI static (pre-allocated) image", False)

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        return 100 if len(head) >= 0x200 and Header.unpack(head, HEADER_AT).signature == SIGNATURE else 0

    def open(self) -> None:
        head = self.file.read(0, 0x200)
        header = Header.unpack(head, HEADER_AT)
        self.places = places = Places.unpack(head, PLACES_AT)
        places.disk_size = -(-places.disk_size // 512) * 512 if places.disk_size <= MAX_BLOCKS * BLOCK else places.disk_size
        check_header(header, places)
        self.size = places.disk_size
        self.cluster_size = BLOCK
        self.alignment = 512
        self.static = header.kind == STATIC
        if places.map_offset + 4 * places.blocks > self.file.size:
            raise BlockError(f"The map of {places.blocks} blocks ends after the end of the file ({self.file.size} bytes)")
        self.map = PagedTable(self.file, places.map_offset, places.blocks)
        self.next_block = -1

    @property
    def look_below(self) -> bool:  # type: ignore[override]
        """A static image's blocks may be holes of the file."""
        return self.static

    def extent(self, pos: int, want: int) -> Extent:
        index, skip = divmod(pos, BLOCK)
        block = self.map[index]
        end = index + -(-(skip + want) // BLOCK)
        if block >= ZERO:
            return Extent("zero", self.map.run(index, end, 0) * BLOCK - skip)
        length = self.map.run(index, end, 1) * BLOCK - skip
        return Extent("data", length, self.places.data_offset + block * BLOCK + skip)

    def _first_unused(self) -> int:
        """The block after the last one that the map refers to; entries that no valid map has do not count."""
        blocks = self.places.blocks
        last = -1
        for _, words in self.map.walk():
            if words.count(FREE) < len(words):
                last = max(last, max((word for word in words if word < blocks), default=-1))
        return last + 1

    def allocate(self, pos: int, length: int) -> Extent:
        if self.next_block < 0:
            self.next_block = self._first_unused()
        first = self.next_block
        index = pos // BLOCK
        n = 1
        while n * BLOCK < length and self.map[index + n] >= ZERO:
            n += 1
        self.next_block += n
        return Extent("data", n * BLOCK, self.places.data_offset + first * BLOCK)

    def link(self, pos: int, extent: Extent) -> None:
        first = (extent.offset - self.places.data_offset) // BLOCK
        n = extent.length // BLOCK
        self.map.store(pos // BLOCK, range(first, first + n))
        self.places.allocated += n
        if self.map.full:
            self.flush_metadata()

    def flush_metadata(self) -> None:
        """The map refers only to blocks that are on the disk."""
        if self.map.changed:
            self.file.flush()
            self.map.write()
            at = Places.offsets["allocated"]
            self.file.write(PLACES_AT + at, self.places.pack()[at : at + 4])

    def unlink_failed(self, pos: int, extent: Extent) -> None:
        first = (extent.offset - self.places.data_offset) // BLOCK
        if first + extent.length // BLOCK == self.next_block:
            self.next_block = first
            if self.file.size > extent.offset:
                self.file.resize(extent.offset)

    def check(self, fix_leaks: bool, fix_errors: bool) -> CheckResult:
        if fix_leaks or fix_errors:
            raise Unsupported("This image format does not support checks")
        result = CheckResult()
        users: set[int] = set()
        allocated = 0
        for first, words in self.map.walk():
            if words.count(FREE) == len(words):
                continue
            for index, block in enumerate(words, first):
                if block >= ZERO:
                    continue
                if block >= self.places.blocks:
                    result.report(f"ERROR: block index {index} too large, is {block}")
                    continue
                allocated += 1
                if block in users:
                    result.report(f"ERROR: block index {block} also used by {block}")
                users.add(block)
        if allocated != self.places.allocated:
            result.report(f"ERROR: allocated blocks mismatch, is {allocated}, should be {self.places.allocated}")
        return result

    @classmethod
    def create(cls, graph: Graph, file: Node, options: Any) -> None:
        size = options.size
        if size > MAX_BLOCKS * BLOCK:
            raise BlockError(f"Unsupported VDI image size (size is {size:#x}, max supported is {MAX_BLOCKS * BLOCK:#x})")
        blocks = -(-size // BLOCK)
        map_size = -(-4 * blocks // 512) * 512
        header = Header(kind=STATIC if options.static else DYNAMIC)
        places = Places(
            data_offset=0x200 + map_size,
            disk_size=-(-size // 512) * 512,
            blocks=blocks,
            allocated=blocks if options.static else 0,
            uuid_image=os.urandom(16),
            uuid_snapshot=os.urandom(16),
        )
        head = bytearray(0x200)
        head[: len(TEXT)] = TEXT
        head[HEADER_AT : HEADER_AT + Header.packed_size] = header.pack()
        head[PLACES_AT : PLACES_AT + Places.packed_size] = places.pack()
        if options.static:
            preallocation = getattr(options, "preallocation", None) or "off"
            extend_zeroed(file, places.data_offset + blocks * BLOCK, preallocation)
        write_map(file, blocks, map_size, options.static)
        file.write(0, head)


def write_map(file: Node, blocks: int, size: int, static: bool) -> None:
    """The map of a new image, `size` bytes with its padding."""
    step = 1 << 18
    for first in range(0, blocks, step):
        n = min(step, blocks - first)
        words = array("I", range(first, first + n) if static else [FREE]) * (1 if static else n)
        if sys.byteorder == "big":
            words.byteswap()
        file.write(0x200 + 4 * first, words.tobytes())
    if size > 4 * blocks:
        file.write(0x200 + 4 * blocks, bytes(size - 4 * blocks))


def check_header(header: Header, places: Places) -> None:
    """Refuse what cannot be handled; the sentences are what users know."""

    def refuse(what: str) -> BlockError:
        return BlockError(f"unsupported VDI image ({what})")

    if places.disk_size > MAX_BLOCKS * BLOCK:
        raise BlockError(f"Unsupported VDI image size (size is {places.disk_size:#x}, max supported is {MAX_BLOCKS * BLOCK:#x})")
    if header.signature != SIGNATURE:
        raise BlockError(f"Image not in VDI format (bad signature {header.signature:08x})")
    if header.version != 0x0001_0001:
        raise refuse(f"version {header.version >> 16}.{header.version & 0xFFFF}")
    if places.map_offset % 512:
        raise refuse(f"unaligned block map offset {places.map_offset:#x}")
    if places.data_offset % 512:
        raise refuse(f"unaligned data offset {places.data_offset:#x}")
    if places.sector_size != 512:
        raise refuse(f"sector size {places.sector_size} is not 512")
    if places.block_size != BLOCK:
        raise refuse(f"block size {places.block_size} is not {BLOCK}")
    if places.blocks > MAX_BLOCKS:
        raise refuse(f"too many blocks {places.blocks}, max is {MAX_BLOCKS}")
    room = places.blocks * BLOCK
    if places.disk_size > room:
        raise refuse(f"disk size {places.disk_size}, image bitmap has room for {room}")
    if places.uuid_link != NIL:
        raise refuse("non-NULL link UUID")
    if places.uuid_parent != NIL:
        raise refuse("non-NULL parent UUID")
