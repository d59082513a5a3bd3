"""The extents a VMDK disk is put together from: flat files, zeroes, and sparse files with grain directories and tables.

VMware, "Virtual Disk Format 5.0", chapters "Hosted Sparse Extents", "ESX Server Sparse Extents" and "Stream-Optimized
Compressed Sparse Extents". All numbers are little endian, sectors have 512 bytes.
"""

from __future__ import annotations

import struct
import sys
from array import array

from ...layout import Bytes4, Struct, u8, u16, u32, u64
from ...node import BlockError, CheckResult, Extent, Node
from ...table import PagedTable

SECTOR = 512
MAGIC, ESX_MAGIC = b"KDMV", b"COWD"
FLAG_NEWLINES, FLAG_REDUNDANT, FLAG_ZERO_GRAIN, FLAG_COMPRESSED, FLAG_MARKERS = 1, 2, 4, 0x10000, 0x20000
GD_AT_END = (1 << 64) - 1
MARKER = struct.Struct("<QI")
"""Before compressed grains: the sector of the disk, the number of bytes that follow."""

MAX_GRAIN = 32768
"""Sectors; larger grains are refused, since writing one byte moves a whole grain."""

TABLES = 2048
"""Grain tables kept in memory, 2 KiB each."""


class SparseHeader(Struct, endian="<"):
    """Hosted sparse extents; offsets and sizes in sectors."""

    magic: Bytes4 = MAGIC
    version: u32 = 1
    flags: u32 = FLAG_NEWLINES | FLAG_REDUNDANT
    capacity: u64 = 0
    grain: u64 = 128
    descriptor_offset: u64 = 0
    descriptor_size: u64 = 0
    table_entries: u32 = 512
    redundant_directory: u64 = 0
    directory: u64 = 0
    overhead: u64 = 0
    unclean: u8 = 0
    newlines: Bytes4 = b"\n \r\n"
    compression: u16 = 0


class EsxHeader(Struct, endian="<"):
    """ESX server sparse extents."""

    magic: Bytes4 = ESX_MAGIC
    version: u32 = 1
    flags: u32 = 3
    sectors: u32 = 0
    grain: u32 = 1
    directory: u32 = 4
    directory_size: u32 = 0
    file_sectors: u32 = 0


def on_device(file: Node) -> bool:
    """Whether it lies on a block device, whose end says nothing about what is used."""
    while file.below is not None:
        file = file.below
    return bool(getattr(file, "device", False))


class Part:
    """One extent: bytes `start` to `start + length` of the disk in `file`, called `name`; `kind` as the descriptor calls it."""

    def __init__(self, start: int, length: int, file: Node | None, name: str, kind: str) -> None:
        self.start = start
        self.length = length
        self.file = file
        self.name = name
        self.kind = kind
        self.read_only = False

    grain = 0
    compressed = False

    def extent(self, pos: int, want: int) -> Extent:
        """As `Format.extent`, from byte `pos` of this extent on."""
        return Extent("zero", self.length - pos)

    def check(self, result: CheckResult) -> None:
        """Add what is wrong to `result`."""


class Flat(Part):
    def __init__(self, start: int, length: int, file: Node, name: str, kind: str, offset: int) -> None:
        super().__init__(start, length, file, name, kind)
        self.offset = offset

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("data", self.length - pos, self.offset + pos, writable=not self.read_only, file=self.file)

    def check(self, result: CheckResult) -> None:
        assert self.file is not None
        if self.offset + self.length > self.file.size:
            result.report(f"ERROR: extent '{self.name}' needs {self.offset + self.length} bytes, the file has {self.file.size}")


class Sparse(Part):
    """A sparse extent: a directory of grain tables, tables of sector numbers. 0: nothing there, 1: reads as zeroes (where the
    header says so). Both directories, where there are two, refer to tables of their own, which are kept equal."""

    file: Node

    def __init__(self, start: int, file: Node, name: str, kind: str) -> None:
        super().__init__(start, 0, file, name, kind)
        magic = file.read(0, 4)
        if magic == MAGIC:
            self._open_hosted()
        elif magic == ESX_MAGIC:
            self._open_esx()
        else:
            raise BlockError("Image not in VMDK format")
        self.reach = self.entries * self.grain
        self.tables: dict[int, array[int]] = {}
        self.changed: dict[int, tuple[int, int]] = {}
        """Per table the range of entries that are newer than in the file."""

        self.end = -1

    def _open_hosted(self) -> None:
        file = self.file
        header = self.header = SparseHeader.unpack(file.read(0, SparseHeader.packed_size))
        self.directory_at_end = header.directory == GD_AT_END
        if self.directory_at_end:
            header = SparseHeader.unpack(file.read(max(0, file.size - 2 * SECTOR), SparseHeader.packed_size))
            if header.magic != MAGIC or header.directory == GD_AT_END:
                raise BlockError("Invalid footer")
        self.version = header.version
        if header.version > 3:
            raise BlockError(f"Unsupported VMDK version {header.version}")
        if header.table_entries > 512:
            raise BlockError("L2 table size too big")
        if not header.grain or not header.table_entries or header.grain >= 1 << 40:
            raise BlockError("L1 entry size is invalid")
        if header.grain > MAX_GRAIN:
            raise BlockError("Invalid granularity, image may be corrupt")
        if file.size < header.overhead * SECTOR:
            raise BlockError(f"File truncated, expecting at least {header.overhead * SECTOR} bytes")
        if header.capacity >= 1 << 54:
            raise BlockError(f"Could not refresh total sector count: a capacity of {header.capacity} sectors is too large")
        self.compressed = bool(header.flags & FLAG_COMPRESSED)
        self.markers = bool(header.flags & FLAG_MARKERS)
        self.zero_grain = bool(header.flags & FLAG_ZERO_GRAIN)
        self.entries = header.table_entries
        self.grain = header.grain * SECTOR
        self.length = header.capacity * SECTOR
        self.directory = self._directory(header.directory, "grain directory")
        self.redundant: PagedTable | None = None
        if header.flags & FLAG_REDUNDANT and header.redundant_directory and not self.directory_at_end:
            self.redundant = self._directory(header.redundant_directory, "redundant grain directory")

    def _open_esx(self) -> None:
        header = EsxHeader.unpack(self.file.read(0, EsxHeader.packed_size))
        if header.version != 1:
            raise BlockError(f"Unsupported VMDK version {header.version}")
        if not header.grain:
            raise BlockError("L1 entry size is invalid")
        if header.grain > MAX_GRAIN:
            raise BlockError("Invalid granularity, image may be corrupt")
        self.header = SparseHeader(overhead=header.directory)
        self.version = 1
        self.directory_at_end = self.compressed = self.markers = self.zero_grain = False
        self.entries = 4096
        self.grain = header.grain * SECTOR
        self.length = header.sectors * SECTOR
        self.directory = self._directory(header.directory, "grain directory")
        self.redundant = None

    def _directory(self, sector: int, what: str) -> PagedTable:
        count = -(-self.length // (self.grain * self.entries))
        offset = sector * SECTOR
        if offset + 4 * count > self.file.size and count:
            raise BlockError(f"The {what} of {count} entries at sector {sector} ends after the end of the file ({self.file.size} bytes)")
        return PagedTable(self.file, offset, count, "<", 64)

    def table(self, index: int) -> array[int] | None:
        """The grain table number `index`; None where there is none."""
        found = self.tables.get(index)
        if found is not None:
            return found
        sector = self.directory[index]
        if not sector:
            return None
        if len(self.tables) >= TABLES:
            for old in [number for number in self.tables if number not in self.changed][: TABLES // 8]:
                del self.tables[old]
        words = array("I", self.file.read(sector * SECTOR, 4 * self.entries))
        if sys.byteorder == "big":
            words.byteswap()
        self.tables[index] = words
        return words

    def extent(self, pos: int, want: int) -> Extent:
        grain = self.grain
        index, skip = divmod(pos, grain)
        number, at = divmod(index, self.entries)
        words = self.table(number)
        if words is None:
            left = (number + 1) * self.reach - pos
            number += 1
            while left < want and number < len(self.directory) and not self.directory[number]:
                left += self.reach
                number += 1
            return Extent("hole", min(left, self.length - pos))
        first = words[at]
        end = min(len(words), at + -(-(skip + want) // grain))
        n = at + 1
        if not first or (first == 1 and self.zero_grain):
            while n < end and words[n] == first:
                n += 1
            return Extent("zero" if first else "hole", min((n - at) * grain - skip, self.length - pos))
        if self.compressed:
            return Extent("grain", min(grain - skip, self.length - pos), first * SECTOR, 0, skip, False, self.file)
        step = grain // SECTOR
        while n < end and words[n] == first + (n - at) * step:
            n += 1
        length = min((n - at) * grain - skip, self.length - pos)
        return Extent("data", length, first * SECTOR + skip, writable=not self.read_only, file=self.file)

    def room(self, number: int, at: int, count: int) -> int:
        """How many grains from entry `at` of table `number` on can be allocated together: at most `count`."""
        words = self.table(number)
        n = 1
        limit = min(count, self.entries - at)
        while n < limit and (words is None or words[at + n] <= (1 if self.zero_grain else 0)):
            n += 1
        return min(n, limit)

    def new_space(self, length: int, align: int) -> int:
        """The byte at which `length` bytes can be appended."""
        if self.end < 0:
            self.end = self._used_end() if on_device(self.file) else self.file.size
        offset = -(-self.end // align) * align
        if (offset + length) // SECTOR >= 1 << 32:
            raise OSError(27, "File too large")
        self.end = offset + length
        return offset

    def _used_end(self) -> int:
        """The byte after everything that the header and the tables refer to."""
        size = -(-4 * self.entries // SECTOR) * SECTOR
        end = self.header.overhead * SECTOR
        for directory in (self.redundant, self.directory):
            if directory is None:
                continue
            end = max(end, directory.offset + 4 * directory.count)
            for first, sectors in directory.walk():
                end = max(end, max(sectors) * SECTOR + size)
                if directory is self.directory:
                    for number in range(first, first + len(sectors)):
                        words = self.table(number)
                        if words is not None:
                            end = max(end, max(words) * SECTOR + self.grain)
        return end

    def give_back(self, offset: int, length: int) -> None:
        """What was appended last is not used."""
        if self.end == offset + length:
            self.end = offset
            if self.file.size > offset:
                self.file.resize(offset)

    def store(self, index: int, values: list[int]) -> None:
        """Set the entries of grains `index` .. (of one table)."""
        number, low = divmod(index, self.entries)
        words = self.table(number)
        if words is None:
            words = self._new_table(number)
        high = low + len(values)
        words[low:high] = array("I", values)
        before = self.changed.get(number, (low, high))
        self.changed[number] = min(before[0], low), max(before[1], high)
        if 2 * len(self.changed) >= TABLES or self.directory.full:
            self.flush()

    def flush(self) -> None:
        """Write changed tables and directories, which refer only to grains and tables that are on the disk."""
        if not self.changed:
            return
        self.file.flush()
        for number, (low, high) in sorted(self.changed.items()):
            words = self.tables[number][low:high]
            if sys.byteorder == "big":
                words.byteswap()
            data = words.tobytes()
            if self.redundant is not None and self.redundant[number]:
                self.file.write(self.redundant[number] * SECTOR + 4 * low, data)
            self.file.write(self.directory[number] * SECTOR + 4 * low, data)
            del self.changed[number]
        for directory in (self.redundant, self.directory):
            if directory is not None:
                directory.write()

    def _new_table(self, number: int) -> array[int]:
        size = -(-4 * self.entries // SECTOR) * SECTOR
        for directory in (self.redundant, self.directory):
            if directory is not None and not directory[number]:
                offset = self.new_space(size, SECTOR)
                self.file.write(offset, bytes(size))
                directory.store(number, [offset // SECTOR])
        words = self.tables[number] = array("I", bytes(4 * self.entries))
        return words

    def check(self, result: CheckResult) -> None:
        """Tables and grains must lie inside the file, each in one place. A table is looked at once, so that the time this takes
        depends on the size of the file alone."""
        tables: set[int] = set()
        grains: set[int] = set()
        last = -(-self.length // self.grain)
        limit = self.file.size
        for first, sectors in self.directory.walk():
            if sectors.count(0) == len(sectors):
                continue
            for number, sector in enumerate(sectors, first):
                if not sector:
                    continue
                if sector * SECTOR >= limit:
                    result.report(f"ERROR: grain table {number} of '{self.name}' points after EOF")
                elif sector in tables:
                    result.report(f"ERROR: grain table {number} of '{self.name}' is used more than once")
                else:
                    tables.add(sector)
                    self._check_table(number, last, grains, result)

    def _check_table(self, number: int, last: int, grains: set[int], result: CheckResult) -> None:
        words = self.table(number)
        if words is None or words.count(0) == len(words):
            return
        first = number * self.entries
        for index, sector in enumerate(words[: last - first], first):
            if not sector or (sector == 1 and self.zero_grain):
                continue
            place = (self.start + index * self.grain) // SECTOR
            if sector * SECTOR >= self.file.size:
                result.report(f"ERROR: cluster offset for sector {place} points after EOF")
            elif sector in grains:
                result.report(f"ERROR: cluster at sector {sector} of '{self.name}' is used more than once, by sector {place} too")
            grains.add(sector)
