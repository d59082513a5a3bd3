"""Reference counts of host clusters: a table of blocks, entries of 1 to 64 bits.

Increases reach the disk before anything that refers to the cluster; decreases are kept back (`free`) until what referred to
it has been written, so that a crash can only leave clusters counted that nobody uses.
"""

from __future__ import annotations

import errno
import sys
from array import array

from ...errors import BlockError, CorruptImage
from ...notation import TYPE_CHECKING
from .layout import MAX_REFTABLE_BYTES, REFTABLE_RESERVED, words_from, words_to

if TYPE_CHECKING:
    from . import Qcow2

CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}


def unpack_counts(data: bytes | bytearray | memoryview, bits: int) -> array[int]:
    """The counts of a refcount block; entries narrower than a byte start at its least significant bits."""
    if bits >= 8:
        counts = array(CODES[bits])
        counts.frombytes(data)
        if sys.byteorder == "little" and bits > 8:
            counts.byteswap()
        return counts
    per, mask = 8 // bits, (1 << bits) - 1
    table = [bytes((byte >> (bits * i)) & mask for i in range(per)) for byte in range(256)]
    return array("B", b"".join(map(table.__getitem__, bytes(data))))


def pack_counts(counts: array[int], bits: int) -> bytes:
    if bits >= 8:
        if sys.byteorder == "little" and bits > 8:
            counts = counts[:]
            counts.byteswap()
        return counts.tobytes()
    per = 8 // bits
    out = bytearray(len(counts) // per)
    for i in range(per):
        for at, count in enumerate(counts[i::per]):
            out[at] |= count << (bits * i)
    return bytes(out)


class Block:
    """A refcount block in memory; entries `low` to `high` are newer than on disk."""

    __slots__ = ("counts", "high", "low", "offset")

    def __init__(self, offset: int, counts: array[int]) -> None:
        self.offset = offset
        self.counts = counts
        self.low = self.high = 0

    def touch(self, low: int, high: int) -> None:
        if self.low == self.high:
            self.low, self.high = low, high
        else:
            self.low, self.high = min(self.low, low), max(self.high, high)


class Refcounts:
    def __init__(self, image: Qcow2) -> None:
        self.image = image
        self.bits = 1 << image.header.refcount_order
        self.maximum = (1 << self.bits) - 1
        self.per_block = image.cluster_size * 8 // self.bits
        self.blocks: dict[int, Block] = {}
        self.search_from = 0
        self.freed: list[tuple[int, int]] = []
        self.in_use: list[tuple[frozenset[object], list[tuple[int, int]]]] = []
        """What nothing on disk refers to any more, and the accesses that may still be there."""

        header = image.header
        length = header.refcount_table_clusters * image.cluster_size
        if length > MAX_REFTABLE_BYTES:
            raise BlockError("Image does not contain a reference count table" if not length else "Reference count table too large")
        image.file.debug_event("reftable_load")
        self.table = words_from(image.file.read(header.refcount_table_offset, length))

        self._offsets: set[int] | None = None

    @property
    def offsets(self) -> set[int]:
        """Where the blocks lie."""
        if self._offsets is None:
            self._offsets = set(filter(None, self.table))
        return self._offsets

    @property
    def dirty(self) -> bool:
        return any(block.low != block.high for block in self.blocks.values())

    def block(self, index: int) -> Block | None:
        """The block that counts clusters `index * per_block` on; None when there is none (all counts 0)."""
        found = self.blocks.get(index)
        if found is not None:
            return found
        if index >= len(self.table):
            return None
        offset = self.table[index] & ~REFTABLE_RESERVED
        if not offset:
            return None
        image = self.image
        if offset % image.cluster_size:
            image.mark_corrupt(f"Refblock offset {offset:#x} unaligned (reftable index: {index:#x})")
        if len(self.blocks) >= self.image.refcount_cache_blocks:
            self._evict()
        image.file.debug_event("refblock_load")
        found = Block(offset, unpack_counts(image.file.read(offset, image.cluster_size), self.bits))
        self.blocks[index] = found
        return found

    def _evict(self) -> None:
        for index, block in list(self.blocks.items()):
            if block.low == block.high:
                del self.blocks[index]
                if len(self.blocks) < self.image.refcount_cache_blocks:
                    return
        self.write()
        for index in list(self.blocks)[: len(self.blocks) // 2 + 1]:
            del self.blocks[index]

    def drop_clean(self) -> None:
        """Forget the blocks that are as on disk."""
        for index, block in list(self.blocks.items()):
            if block.low == block.high:
                del self.blocks[index]

    def get(self, cluster: int) -> int:
        block = self.block(cluster // self.per_block)
        return block.counts[cluster % self.per_block] if block else 0

    def add(self, first: int, number: int, delta: int) -> None:
        """Change the counts of `number` clusters. Raises `CorruptImage` below 0, `BlockError` above the maximum."""
        cluster, end = first, first + number
        while cluster < end:
            index, at = divmod(cluster, self.per_block)
            n = min(end - cluster, self.per_block - at)
            self.image.file.debug_event("refblock_alloc")
            block = self.block(index)
            if block is None:
                if delta < 0:
                    self.image.mark_corrupt(
                        f"Preventing invalid release of cluster at {cluster * self.image.cluster_size:#x}, which is not in use"
                    )
                block = self._make_block(index, end)
                continue
            counts = block.counts
            if delta > 0 and n > 1 and counts[at] == 0 and counts[at : at + n].count(0) == n:
                counts[at : at + n] = array(counts.typecode, [delta]) * n
            else:
                for i in range(at, at + n):
                    value = counts[i] + delta
                    if value < 0:
                        raise CorruptImage(f"Refcount of cluster {cluster + i - at} would become negative")
                    if value > self.maximum:
                        raise OSError(errno.EINVAL, "Refcount of a cluster would exceed its width")
                    counts[i] = value
            block.touch(at, at + n)
            if delta < 0:
                self.search_from = min(self.search_from, cluster)
            cluster += n

    def free(self, offset: int, number: int = 1) -> None:
        """Give up one reference to clusters from byte `offset`, once the metadata written so far is on disk."""
        self.image.file.debug_event("cluster_free")
        first = offset // self.image.cluster_size
        if self.freed and sum(self.freed[-1]) == first:
            self.freed[-1] = (self.freed[-1][0], self.freed[-1][1] + number)
        else:
            self.freed.append((first, number))

    @property
    def has_freed(self) -> bool:
        return bool(self.freed or self.in_use)

    def apply_freed(self) -> None:
        """Count what was given up as free, but for clusters that a thread may be reading or writing: those wait for the next time."""
        running = self.image.running
        if self.freed:
            self.in_use.append((frozenset(running), self.freed))
            self.freed = []
        while self.in_use and self.in_use[0][0].isdisjoint(running):
            for first, number in self.in_use.pop(0)[1]:
                self.add(first, number, -1)
                self.image.discard_freed(first, number)

    def allocate(self, number: int) -> int:
        """Find `number` contiguous free clusters and count them once; the first cluster's number."""
        while True:
            first = self.find(number)
            if (first + number) // self.per_block + 1 < len(self.table):
                break
            self._grow_table((first + number) // self.per_block + 2)
        for index in range(first // self.per_block, (first + number - 1) // self.per_block + 1):
            if self.block(index) is None:
                self._make_block(index, first + number)
        self.add(first, number, 1)
        return first

    def find(self, number: int) -> int:
        """The first of `number` contiguous free clusters; clusters without a block are free."""
        limit = 1 << (56 - self.image.cluster_bits)
        cluster = self.search_from
        run = 0
        while run < number:
            if cluster >= limit:
                raise OSError(errno.EFBIG, "File too large")
            index, at = divmod(cluster, self.per_block)
            block = self.block(index)
            if block is None:
                n = min(self.per_block - at, number - run)
                run += n
                cluster += n
                continue
            counts = block.counts
            need = number - run
            stop = min(self.per_block, at + need)
            piece = counts[at:stop]
            if piece.count(0) == stop - at:
                run += stop - at
                cluster += stop - at
                continue
            # the last used cluster of the piece ends the run
            for i in range(stop - at - 1, -1, -1):
                if piece[i]:
                    break
            run = stop - at - 1 - i
            cluster = index * self.per_block + stop
            if run == 0 and counts[stop - 1]:
                try:
                    nxt = counts.index(0, stop)
                    cluster = index * self.per_block + nxt
                except ValueError:
                    cluster = (index + 1) * self.per_block
        first = cluster - run
        self.search_from = first + number
        return first

    def allocate_at(self, first: int, number: int) -> int:
        """How many of the clusters from `first` on are free, at most `number`; those are taken."""
        n = 0
        while n < number:
            index, at = divmod(first + n, self.per_block)
            block = self.block(index)
            if block is None:
                break
            if block.counts[at]:
                break
            n += 1
        if n:
            self.add(first, n, 1)
        return n

    def _make_block(self, index: int, after: int) -> Block:
        """A new block for a range that has none. It lies at cluster `after` or behind, and what counts it is on disk first."""
        image = self.image
        if index >= len(self.table):
            self._grow_table(index + 1)
            found = self.block(index)
            if found is not None:
                return found
        cluster = after
        while True:
            home = cluster // self.per_block
            if home >= len(self.table):
                self._grow_table(home + 1)
            block = self.block(home)
            if block is None:
                made = self._write_block(home, cluster, True)
                if home == index:
                    return made
            elif not block.counts[cluster % self.per_block]:
                self.add(cluster, 1, 1)
                self.write()
                image.barrier()
                return self._write_block(index, cluster, False)
            cluster += 1

    def _write_block(self, index: int, cluster: int, counts_itself: bool) -> Block:
        image = self.image
        offset = cluster << image.cluster_bits
        counts = array(CODES.get(self.bits, "B"), [0]) * self.per_block
        if counts_itself:
            counts[cluster % self.per_block] = 1
        image.file.debug_event("refblock_alloc_write")
        image.file.write(offset, pack_counts(counts, self.bits))
        image.barrier()
        image.file.debug_event("refblock_alloc_hookup")
        self.table[index] = offset
        self.offsets.add(offset)
        image.file.write(image.header.refcount_table_offset + 8 * index, offset.to_bytes(8, "big"))
        if len(self.blocks) >= image.refcount_cache_blocks:
            self._evict()
        block = self.blocks[index] = Block(offset, counts)
        return block

    def _grow_table(self, blocks_needed: int) -> None:
        """A larger table at the end of everything counted so far, with the blocks that count the table itself."""
        image = self.image
        image.file.debug_event("reftable_grow")
        size = image.cluster_size
        old_offset, old_clusters = image.header.refcount_table_offset, image.header.refcount_table_clusters
        start = max(len(self.table) * self.per_block, -(-image.file.size // size))
        entries = max(blocks_needed, len(self.table) * 3 // 2)
        while True:
            table_clusters = -(-entries * 8 // size)
            first_block = start // self.per_block
            new_blocks = 1
            while True:
                last = (start + table_clusters + new_blocks - 1) // self.per_block
                if last - first_block + 1 <= new_blocks:
                    break
                new_blocks = last - first_block + 1
            if table_clusters * size // 8 > first_block + new_blocks:
                break
            entries = first_block + new_blocks + 1
        if table_clusters * size > MAX_REFTABLE_BYTES:
            raise OSError(errno.EFBIG, "File too large")
        table = self.table[:]
        table.extend([0] * (table_clusters * size // 8 - len(table)))
        used = table_clusters + new_blocks
        created: dict[int, Block] = {}
        image.file.debug_event("refblock_alloc_write_blocks")
        for i in range(new_blocks):
            index = first_block + i
            offset = (start + table_clusters + i) * size
            counts = array(CODES.get(self.bits, "B"), [0]) * self.per_block
            low = index * self.per_block
            for cluster in range(max(low, start), min(low + self.per_block, start + used)):
                counts[cluster - low] = 1
            created[index] = Block(offset, counts)
            table[index] = offset
            image.file.write(offset, pack_counts(counts, self.bits))
        image.file.debug_event("refblock_alloc_write_table")
        image.file.write(start * size, words_to(table))
        image.barrier()
        self.table = table
        self._offsets = None
        self.blocks.update(created)
        image.header.refcount_table_offset = start * size
        image.header.refcount_table_clusters = table_clusters
        image.file.debug_event("refblock_alloc_switch_table")
        image.write_header_fields("refcount_table_offset", "refcount_table_clusters")
        image.barrier()
        self.free(old_offset, old_clusters)

    def write(self) -> bool:
        """Write changed counts; whether there were any."""
        image = self.image
        wrote = False
        for block in self.blocks.values():
            if block.low == block.high:
                continue
            per = max(1, 8 // self.bits)
            low, high = block.low // per * per, -(-block.high // per) * per
            image.file.debug_event("refblock_update_part")
            image.file.write(block.offset + low * self.bits // 8, pack_counts(block.counts[low:high], self.bits))
            block.low = block.high = 0
            wrote = True
        return wrote
