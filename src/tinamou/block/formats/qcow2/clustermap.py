"""The map of a qcow2 image: L1 and L2 tables, their caches, and where a byte of the disk lives."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from time import monotonic

from ...node import BlockError, Extent, Node
from ...notation import TYPE_CHECKING, Any
from . import layout as q
from .header import ImageHeader
from .layout import COMPRESSED, COPIED, OFFSET_MASK, ZERO, words_from

if TYPE_CHECKING:
    from .refcounts import Refcounts

ALL32 = 0xFFFF_FFFF
_HOLES = array("Q", bytes(8 * 512))


class L2Table:
    """One L2 table in memory; entries `low` to `high` (64-bit words) are newer than on disk."""

    __slots__ = ("high", "low", "offset", "used", "words")

    def __init__(self, offset: int, words: array[int]) -> None:
        self.offset = offset
        self.words = words
        self.low = self.high = 0
        self.used = True

    def touch(self, low: int, high: int) -> None:
        if self.low == self.high:
            self.low, self.high = low, high
        else:
            self.low, self.high = min(self.low, low), max(self.high, high)


def drop_unused(tables: dict[int, L2Table], count: int = 0) -> int:
    """Drop tables that nobody used since the last time, oldest first, and never changed ones; with `count`, at least so many of the
    unchanged ones. How many were dropped."""
    dropped = 0
    for place in [place for place, table in tables.items() if table.low == table.high]:
        if count and dropped >= count:
            return dropped
        if tables[place].used:
            tables[place].used = False
            tables[place] = tables.pop(place)
        else:
            del tables[place]
            dropped += 1
    if dropped < count:
        for place in [place for place, table in tables.items() if table.low == table.high][: count - dropped]:
            del tables[place]
            dropped += 1
    return dropped


class ClusterMap(ImageHeader):
    """Answers `extent`; `Qcow2` changes the map."""

    opts: Any
    l1: array[int]
    l2_cache: dict[int, L2Table]
    refs: Refcounts
    cipher: Any
    external: bool
    data: Node

    def _size_caches(self) -> None:
        """Defaults: L2 tables 32 MiB or what the disk needs, read in pieces of at most 64 KiB; refcount blocks 8 MiB and at least 4
        clusters; what was not used for 600 s is dropped.

        Readers keep pieces ("slices") of L2 tables, which share `l2-cache-size` with the whole tables that writers keep."""
        options = self.opts
        need = max(self.header.l1_size, 1) * self.cluster_size
        combined, l2, refs = options.cache_size, options.l2_cache_size, options.refcount_cache_size
        smallest = 4 * self.cluster_size
        if combined is not None:
            if l2 is not None and refs is not None:
                raise BlockError("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
            if l2 is not None and l2 > combined:
                raise BlockError("l2-cache-size may not exceed cache-size")
            if refs is not None and refs > combined:
                raise BlockError("refcount-cache-size may not exceed cache-size")
            if l2 is None:
                l2 = max(0, combined - (refs if refs is not None else smallest))
            if refs is None:
                refs = max(0, combined - l2)
        entry = options.l2_cache_entry_size
        if entry is not None and (entry < 512 or entry > self.cluster_size or entry & (entry - 1)):
            raise BlockError(f"L2 cache entry size must be a power of two between 512 and the cluster size ({self.cluster_size})")
        if (l2 or 0) >= 1 << 40 or (refs or 0) >= 1 << 40:
            raise BlockError("L2 cache size too big" if (l2 or 0) >= 1 << 40 else "Refcount cache size too big")
        l2 = min(need, 32 << 20) if l2 is None else l2
        self.l2_cache_tables = max(2, l2 // self.cluster_size)
        self.slice_size = min(entry or 65536, self.cluster_size)
        self.slice_limit = max(2, l2 // self.slice_size)
        self.slices: dict[int, L2Table] = {}
        self.refcount_cache_blocks = max(4, (max(smallest, 8 << 20) if refs is None else refs) // self.cluster_size)
        interval = options.cache_clean_interval
        if interval is not None and interval >= 1 << 32:
            raise BlockError("Cache clean interval too big")
        self.clean_interval = 600 if interval is None else interval
        self.next_clean = monotonic() + self.clean_interval

    def l2_table(self, offset: int) -> L2Table:
        table = self.l2_cache.get(offset)
        if table is not None:
            table.used = True
            return table
        if offset % self.cluster_size:
            self.mark_corrupt(f"L2 table offset {offset:#x} unaligned (L1 index: {self._l1_index_of(offset):#x})")
        self._make_room()
        self.file.debug_event("l2_load")
        table = L2Table(offset, words_from(self.file.read(offset, self.cluster_size)))
        self._forget_slices(offset)
        self.l2_cache[offset] = table
        return table

    def _l2_slice(self, offset: int, at: int) -> array[int]:
        """The entries of the table at `offset` in which entry `at` lies, for reading; not for tables in `l2_cache`."""
        place = offset + at * 8 * self.entry_words // self.slice_size * self.slice_size
        found = self.slices.get(place)
        if found is None:
            if offset % self.cluster_size:
                self.mark_corrupt(f"L2 table offset {offset:#x} unaligned (L1 index: {self._l1_index_of(offset):#x})")
            self._clean_caches()
            if len(self.slices) >= self.slice_limit:
                drop_unused(self.slices, len(self.slices) // 8 + 1)
            self.file.debug_event("l2_load")
            found = self.slices[place] = L2Table(place, words_from(self.file.read(place, self.slice_size)))
        found.used = True
        return found.words

    def _forget_slices(self, offset: int) -> None:
        if self.slices:
            for place in range(offset, offset + self.cluster_size, self.slice_size):
                self.slices.pop(place, None)

    def forget_table(self, offset: int) -> None:
        """The cluster at `offset` is no L2 table any more, or was changed in the file."""
        self.l2_cache.pop(offset, None)
        self._forget_slices(offset)

    def forget_tables(self) -> None:
        self.l2_cache.clear()
        self.slices.clear()

    def _clean_caches(self) -> None:
        """Drop what was not used since the last time, `cache-clean-interval` seconds ago (0: never)."""
        if not self.clean_interval:
            return
        now = monotonic()
        if now < self.next_clean:
            return
        self.next_clean = now + self.clean_interval
        drop_unused(self.slices)
        drop_unused(self.l2_cache)
        self.refs.drop_clean()

    def _l1_index_of(self, offset: int) -> int:
        return next((i for i, e in enumerate(self.l1) if e & OFFSET_MASK == offset), 0)

    def _make_room(self) -> None:
        """For one more table in `l2_cache`."""
        self._clean_caches()
        if len(self.l2_cache) < self.l2_cache_tables:
            return
        count = len(self.l2_cache) // 8 + 1
        if not drop_unused(self.l2_cache, count):
            self.flush_metadata()
            drop_unused(self.l2_cache, count)

    def extent(self, pos: int, want: int) -> Extent:
        bits = self.cluster_bits
        index = pos >> bits
        skip = pos & (self.cluster_size - 1)
        l1_index = index >> self.l2_bits
        offset = self.l1[l1_index] & OFFSET_MASK
        at = index & (self.l2_entries - 1)
        if not offset:
            left = ((l1_index + 1) << (bits + self.l2_bits)) - pos
            limit = pos + want
            i = l1_index + 1
            while pos + left < limit and i < len(self.l1) and not self.l1[i] & OFFSET_MASK:
                left += self.l2_reach
                i += 1
            return Extent("hole", left)
        table = self.l2_cache.get(offset)
        if table is not None:
            table.used = True
            words = table.words
        else:
            words = self._l2_slice(offset, at)
            at &= len(words) // self.entry_words - 1
        if self.extended:
            return self._extended_extent(words, at, skip, pos, want)
        entry = words[at]
        end = min(len(words), at + (skip + want + self.cluster_size - 1 >> bits))
        if not entry:
            n = at + 1
            while n < end and not words[n]:
                if words[n : n + 512] == _HOLES:
                    n += 512
                else:
                    n += 1
            return Extent("hole", (min(n, len(words)) - at << bits) - skip)
        if entry & COMPRESSED:
            return self._packed_extent(entry, skip)
        host = entry & OFFSET_MASK
        if entry & ZERO and self.header.version >= 3:
            n = at + 1
            if host:
                step = self.cluster_size
                while n < end and words[n] & ~COPIED == (host + (n - at) * step) | ZERO:
                    n += 1
                return Extent("zero", (n - at << bits) - skip, host + skip, writable=bool(entry & COPIED), file=self.data)
            while n < end and words[n] == entry:
                n += 1
            return Extent("zero", (n - at << bits) - skip)
        if not host and not self.external:
            return Extent("hole", self.cluster_size - skip)
        if host & (self.cluster_size - 1):
            self.mark_corrupt(f"Cluster allocation offset {host:#x} unaligned (L2 offset: {offset:#x}, L2 index: {at:#x})")
        step = self.cluster_size
        n = at + 1
        expect = entry + step
        while n < end and words[n] == expect:
            n += 1
            expect += step
        return Extent(
            "crypt" if self.cipher else "data",
            (n - at << bits) - skip,
            host + skip,
            writable=bool(entry & COPIED),
            file=self.data,
        )

    def plain_runs(self, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
        size = self.cluster_size
        if self.extended or self.cipher or self.external or pos % size:
            return
        odd = q.L2_RESERVED | COMPRESSED | ZERO | (size - 1)
        reach = self.l2_reach
        while pos < end:
            offset = self.l1[pos // reach] & OFFSET_MASK
            if not offset:
                return
            words = self.l2_table(offset).words
            start = host = expect = -1
            low = pos // size % self.l2_entries
            base = pos - low * size
            high = min(self.l2_entries, low + -(-(end - pos) // size))
            pos = base + low * size
            for word in words[low:high]:
                if word & odd or not word:
                    if start >= 0:
                        yield start, pos - start, host
                    return
                at = word & OFFSET_MASK
                if at != expect:
                    if start >= 0:
                        yield start, pos - start, host
                    start, host = pos, at
                expect = at + size
                pos += size
            yield start, min(pos, self.size) - start, host

    def _packed_extent(self, entry: int, skip: int) -> Extent:
        offset = entry & self.packed_mask
        sectors = ((entry & ~(COPIED | COMPRESSED)) >> self.packed_shift) + 1
        size = sectors * 512 - (offset & 511)
        return Extent(self.packed_kind, self.cluster_size - skip, offset, size, skip, False)

    def _extended_extent(self, words: array[int], at: int, skip: int, pos: int, want: int) -> Extent:
        """As `extent`, subclusters of 1/32 cluster: bits 0-31 of the second word "allocated", 32-63 "reads as zero"."""
        sub_size = self.sub_size
        kind, length, offset, writable = "", 0, -1, True
        while True:
            entry, bitmap = words[2 * at], words[2 * at + 1]
            if entry & COMPRESSED:
                if kind:
                    break
                return self._packed_extent(entry, skip)
            host = entry & OFFSET_MASK
            if host & (self.cluster_size - 1):
                self.mark_corrupt(f"Cluster allocation offset {host:#x} unaligned (L2 index: {at:#x})")
            allocated, nil = bitmap & ALL32, bitmap >> 32
            if allocated & nil:
                self.mark_corrupt(f"Invalid subcluster bitmap {bitmap:#x} (L2 index: {at:#x})")
            if allocated and not host and not self.external:
                self.mark_corrupt(f"Subclusters allocated without a host cluster (L2 index: {at:#x})")
            sub = skip // sub_size
            first = "data" if allocated >> sub & 1 else "zero" if nil >> sub & 1 else "hole"
            place = host + skip if host or (self.external and first == "data") else -1
            if kind and (
                first != kind
                or (kind == "data" and (place != offset + length or writable != bool(entry & COPIED)))
                or (kind != "data" and (place < 0) != (offset < 0))
                or (kind != "data" and place >= 0 and place != offset + length)
            ):
                break
            if not kind:
                kind, offset, writable = first, place, bool(entry & COPIED)
            mask = allocated if first == "data" else nil if first == "zero" else ~(allocated | nil) & ALL32
            n = sub
            while n < 32 and mask >> n & 1:
                n += 1
            length += n * sub_size - skip
            skip = 0
            at += 1
            if n < 32 or 2 * at >= len(words) or length >= want:
                break
        if kind == "data" and self.cipher:
            kind = "crypt"
        return Extent(kind, length, offset, writable=writable, file=self.data)
