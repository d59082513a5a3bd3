"""Changing the map of a qcow2 image: clusters for what is written, L2 entries, and the order in which metadata is written."""

from __future__ import annotations

from array import array

from ...extents import Extent
from ...notation import TYPE_CHECKING
from . import layout as q
from .clustermap import ALL32, ClusterMap, L2Table
from .layout import COMPRESSED, COPIED, OFFSET_MASK, ZERO, words_to

if TYPE_CHECKING:
    from ...node import Buffer
    from .bitmaps import Bitmap


class MapWriter(ClusterMap):
    """`allocate`, `link`, `erase`, `link_compressed` and `flush_metadata`; the package's docstring has the order of writes."""

    data_raw: bool
    lazy: bool
    l1_dirty: set[int]
    packed_at: int
    tracked: list[Bitmap]

    @property
    def dirty(self) -> bool:
        return bool(self.header.incompatible_features & q.DIRTY)

    def track(self, pos: int, length: int) -> None:
        for bitmap in self.tracked:
            bitmap.mark(pos, length)

    def cluster_extent_size(self) -> int:
        return self.sub_size

    def write_unit(self, pos: int, extent: Extent) -> int:
        if self.extended:
            index = pos >> self.cluster_bits
            offset = self.l1[index >> self.l2_bits] & OFFSET_MASK
            if offset:
                entry = self.l2_table(offset).words[2 * (index & (self.l2_entries - 1))]
                if entry & COMPRESSED or (entry & OFFSET_MASK and not entry & COPIED):
                    return self.cluster_size
        return self.sub_size

    def l2_for_write(self, l1_index: int) -> L2Table:
        """The table of an L1 entry, in a cluster that only this entry uses."""
        entry = self.l1[l1_index]
        offset = entry & OFFSET_MASK
        if offset and entry & COPIED:
            return self.l2_table(offset)
        old = self.l2_table(offset).words if offset else None
        self._start_writing()
        self.file.debug_event("l2_alloc_write")
        new = self.allocate_clusters(1) << self.cluster_bits
        self._make_room()
        self._forget_slices(new)
        words = old[:] if old is not None else array("Q", bytes(self.cluster_size))
        try:
            # Takes the space now: a disk that is full fails the guest's write, not the flush of what was written before.
            self.file.write(new, words_to(words))
        except BaseException:
            self.refs.add(new >> self.cluster_bits, 1, -1)
            raise
        table = L2Table(new, words)
        table.touch(0, len(words))
        self.l2_cache[new] = table
        self.l1[l1_index] = new | COPIED
        self.l1_dirty.add(l1_index)
        if offset:
            self.refs.free(offset)
        return table

    def allocate_clusters(self, number: int) -> int:
        """Count `number` new contiguous clusters; the first one's number."""
        self.file.debug_event("cluster_alloc")
        first = self.refs.allocate(number)
        offset = first << self.cluster_bits
        self.guard_overlap(offset, number << self.cluster_bits)
        return first

    def guard_overlap(self, offset: int, length: int) -> None:
        """Refuse to use clusters that hold metadata although they are counted as free."""
        size = self.cluster_size
        end = offset + length
        header = self.header
        for name, start, n in (
            ("qcow2_header", 0, size),
            ("active L1 table", header.l1_table_offset, header.l1_size * 8),
            ("refcount table", header.refcount_table_offset, header.refcount_table_clusters * size),
            ("snapshot table", header.snapshots_offset, getattr(self, "snapshots_size", 0)),
        ):
            if n and offset < start + n and start < end:
                self.refs.add(offset // size, length // size, -1)
                self.mark_corrupt(f"Preventing invalid allocation: cluster at {offset:#x} overlaps with {name}")
        for at in range(offset, end, size):
            if at in self.l2_cache or at in self.slices or at in self.refs.offsets:
                self.refs.add(offset // size, length // size, -1)
                self.mark_corrupt(f"Preventing invalid allocation: cluster at {at:#x} holds metadata")

    def _start_writing(self) -> None:
        """Before the first change of the map: say that refcounts are postponed."""
        if self.lazy and not self.dirty:
            self.header.incompatible_features |= q.DIRTY
            self.write_header_fields("incompatible_features")
            self.barrier()

    def allocate(self, pos: int, length: int) -> Extent:
        self._start_writing()
        bits = self.cluster_bits
        size = self.cluster_size
        index = pos >> bits
        at = index & (self.l2_entries - 1)
        inside = pos & (size - 1)
        kind = "crypt" if self.cipher else "data"
        length = min(length, (self.l2_entries - at << bits) - inside)
        if self.external:
            return Extent(kind, length, pos, file=self.data)
        words = self.l2_for_write(index >> self.l2_bits).words
        step = self.entry_words
        entry = words[at * step]
        host = entry & OFFSET_MASK
        n = 1
        if host and entry & COPIED and not entry & COMPRESSED:
            # A preallocated zero cluster, or a partly used cluster with subclusters.
            if self.extended:
                return Extent(kind, min(length, size - inside), host + inside, file=self.data)
            while n << bits < length and words[at + n] == entry + (n << bits):
                n += 1
            return Extent(kind, min(length, n << bits), host, file=self.data)
        count = inside + length + size - 1 >> bits
        while n < count:
            entry = words[(at + n) * step]
            if entry & OFFSET_MASK and entry & COPIED and not entry & COMPRESSED:
                break
            n += 1
        length = min(length, (n << bits) - inside)
        count = inside + length + size - 1 >> bits
        first = self.allocate_clusters(count)
        return Extent(kind, length, (first << bits) + inside, size=1, file=self.data)

    def unlink_failed(self, pos: int, extent: Extent) -> None:
        if extent.size and not self.external:
            inside = extent.offset & (self.cluster_size - 1)
            count = inside + extent.length + self.cluster_size - 1 >> self.cluster_bits
            self.refs.add(extent.offset >> self.cluster_bits, count, -1)

    def link(self, pos: int, extent: Extent) -> None:
        bits, size = self.cluster_bits, self.cluster_size
        index = pos >> bits
        at = index & (self.l2_entries - 1)
        table = self.l2_for_write(index >> self.l2_bits)
        words = table.words
        inside = extent.offset & (size - 1)
        host = extent.offset - inside
        count = inside + extent.length + size - 1 >> bits
        if self.extended:
            self._link_extended(words, at, inside, host, extent.length, count)
            table.touch(2 * at, 2 * (at + count))
        else:
            for i in range(at, at + count):
                old = words[i]
                if old & ~(COPIED | ZERO) != host or old & COMPRESSED:
                    self._release(old)
                words[i] = host | COPIED
                host += size
            table.touch(at, at + count)
        self.track(pos, extent.length)

    def _link_extended(self, words: array[int], at: int, inside: int, host: int, length: int, count: int) -> None:
        size, sub = self.cluster_size, self.sub_size
        left = length
        for i in range(at, at + count):
            old, bitmap = words[2 * i], words[2 * i + 1]
            if old & COMPRESSED or old & OFFSET_MASK != host:
                self._release(old)
                if old & COMPRESSED or old & OFFSET_MASK:
                    bitmap = 0 if left >= size else bitmap
                    if old & COMPRESSED:
                        bitmap = 0
            n = min(size - inside, left)
            first = inside // sub
            mask = ((1 << -(-n // sub)) - 1) << first
            allocated = (bitmap & ALL32) | mask
            nil = (bitmap >> 32) & ~mask
            words[2 * i] = host | COPIED
            words[2 * i + 1] = nil << 32 | allocated
            left -= n
            inside = 0
            host += size

    def _release(self, entry: int) -> None:
        """Give up what an L2 entry refers to."""
        if self.external:
            return
        if entry & COMPRESSED:
            offset = entry & self.packed_mask
            sectors = ((entry & ~(COPIED | COMPRESSED)) >> self.packed_shift) + 1
            size = self.cluster_size
            first = offset // size
            last = (offset // 512 * 512 + sectors * 512 - 1) // size
            self.refs.free(first * size, last - first + 1)
        elif entry & OFFSET_MASK:
            self.refs.free(entry & OFFSET_MASK)

    def erase(self, pos: int, length: int, zero: bool, unmap: bool = True) -> bool:
        version3 = self.header.version >= 3
        backing = self.children.get("backing")
        if not version3 and (backing is not None and pos < backing.size):
            return False
        if self.data_raw:
            return False
        self._start_writing()
        end = pos + length
        while pos < end:
            index = pos >> self.cluster_bits
            l1_index = index >> self.l2_bits
            stop = min(end, (l1_index + 1) * self.l2_reach)
            offset = self.l1[l1_index] & OFFSET_MASK
            hides = backing is not None and pos < backing.size
            if not offset and not (zero and hides):
                pos = stop
                continue
            if self.extended:
                self._erase_extended(l1_index, pos, stop, zero, hides, unmap)
            else:
                self._erase_plain(l1_index, pos, stop, zero, hides, unmap)
            self.track(pos, stop - pos)
            pos = stop
        return True

    def _erase_plain(self, l1_index: int, pos: int, stop: int, zero: bool, hides: bool, unmap: bool) -> None:
        bits = self.cluster_bits
        mask = self.l2_entries - 1
        table = self.l2_for_write(l1_index)
        words = table.words
        low = pos >> bits & mask
        high = low + (stop - pos >> bits)
        nothing = ZERO if self.header.version >= 3 else 0
        for i in range(low, high):
            old = words[i]
            if not old:
                if zero and hides:
                    words[i] = nothing
                continue
            if old == nothing:
                continue
            if self.external and not zero:
                words[i] = nothing
                continue
            if self.external or (not unmap and nothing and not old & COMPRESSED):
                words[i] = (old & (OFFSET_MASK | COPIED)) | ZERO
                continue
            self._release(old)
            words[i] = nothing
        table.touch(low, high)

    def _erase_extended(self, l1_index: int, pos: int, stop: int, zero: bool, hides: bool, unmap: bool) -> None:
        bits, size, sub = self.cluster_bits, self.cluster_size, self.sub_size
        table = self.l2_for_write(l1_index)
        words = table.words
        while pos < stop:
            i = pos >> bits & (self.l2_entries - 1)
            inside = pos & (size - 1)
            n = min(size - inside, stop - pos)
            old, bitmap = words[2 * i], words[2 * i + 1]
            mask = ((1 << n // sub) - 1) << inside // sub
            if n == size and not unmap and old & OFFSET_MASK and not old & COMPRESSED:
                words[2 * i + 1] = ALL32 << 32
            elif n == size:
                if old or bitmap or (zero and hides):
                    self._release(old)
                    words[2 * i], words[2 * i + 1] = 0, ALL32 << 32
            elif old & COMPRESSED:
                data = memoryview(bytearray(size))[: min(size, self.size - (pos - inside))]
                self.read_into(pos - inside, data)
                self.writev(pos - inside, [data])
                table = self.l2_for_write(l1_index)
                words = table.words
                bitmap = words[2 * i + 1]
                words[2 * i + 1] = (bitmap & ALL32 & ~mask) | ((bitmap >> 32 | mask) << 32)
            elif zero or bitmap & mask:
                words[2 * i + 1] = (bitmap & ALL32 & ~mask) | ((bitmap >> 32 | mask) << 32)
            table.touch(2 * i, 2 * i + 2)
            pos += n

    def compress(self, data: Buffer) -> bytes | None:
        from ...compress import pack_deflate, pack_zstd

        packed = pack_zstd(data) if self.packed_kind == "zstd" else pack_deflate(data)
        return packed if len(packed) < self.cluster_size else None

    def link_compressed(self, pos: int, data: bytes, length: int) -> None:
        if self.external:
            raise OSError(95, "Operation not supported")
        with self.lock:
            self._start_writing()
            self._unpacked = None
            size = self.cluster_size
            index = pos >> self.cluster_bits
            at = index & (self.l2_entries - 1)
            table = self.l2_for_write(index >> self.l2_bits)
            offset = self._room_for_packed(len(data))
            self.file.debug_event("write_compressed")
            self.file.write(offset, data)
            self.file.debug_event("l2_update_compressed")
            sectors = (offset + len(data) - 1 >> 9) - (offset >> 9)
            step = self.entry_words
            self._release(table.words[at * step])
            table = self.l2_for_write(index >> self.l2_bits)
            table.words[at * step] = COMPRESSED | sectors << self.packed_shift | offset
            if self.extended:
                table.words[2 * at + 1] = 0
            table.touch(at * step, (at + 1) * step)
            self.track(pos, min(size, self.size - pos))

    def _room_for_packed(self, length: int) -> int:
        """A byte range of the file for compressed data; each cluster it touches is counted once more."""
        self.file.debug_event("cluster_alloc_bytes")
        size = self.cluster_size
        at = self.packed_at
        inside = at % size
        cluster = at // size
        if inside and 0 < self.refs.get(cluster) < self.refs.maximum:
            fits = length <= size - inside
            if not fits and self.refs.allocate_at(cluster + 1, 1):
                self.guard_overlap((cluster + 1) * size, size)
                fits = True
            if fits:
                self.refs.add(cluster, 1, 1)
                self.packed_at = at + length
                return at
        first = self.allocate_clusters(1)
        self.packed_at = first * size + length
        return first * size

    def finish_compressed(self) -> None:
        """The file ends at a cluster boundary, so that readers find the last sector whole."""
        end = -(-self.file.size // self.cluster_size) * self.cluster_size
        if end != self.file.size:
            self.file.resize(end)

    # Writing metadata

    def barrier(self) -> None:
        """What was written before reaches the disk before what is written after."""
        self.file.flush()

    def flush_metadata(self) -> None:
        if self.read_only:
            return
        with self.lock:
            self._flush_map()

    def _flush_map(self) -> None:
        tables = [t for t in self.l2_cache.values() if t.low != t.high]
        if not tables and not self.l1_dirty and not self.refs.has_freed:
            if not self.lazy:
                self.refs.write()
            return
        if not self.lazy and self.refs.write():
            self.barrier()
        if tables:
            for table in tables:
                self.file.debug_event("l2_update")
                self.file.write(table.offset + 8 * table.low, words_to(table.words[table.low : table.high]))
                table.low = table.high = 0
            if self.l1_dirty or self.refs.has_freed:
                self.barrier()
        if self.l1_dirty:
            self._write_l1()
            if self.refs.has_freed:
                self.barrier()
        if self.refs.has_freed:
            self.refs.apply_freed()

    def _write_l1(self) -> None:
        dirty = sorted(self.l1_dirty)
        self.l1_dirty.clear()
        run = [dirty[0], dirty[0] + 1]
        for i in [*dirty[1:], -1]:
            if i == run[1]:
                run[1] += 1
                continue
            self.file.debug_event("l1_update")
            self.file.write(self.header.l1_table_offset + 8 * run[0], words_to(self.l1[run[0] : run[1]]))
            run = [i, i + 1]

    def discard_freed(self, first: int, number: int) -> None:
        """The last reference to some of these clusters may have gone: forget them, give their space back to the host."""
        for cluster in range(first, first + number):
            if self.refs.get(cluster) == 0:
                self.forget_table(cluster << self.cluster_bits)
                if cluster == self.packed_at >> self.cluster_bits:
                    self.packed_at = 0
        wanted = self.opts.pass_discard_request
        if wanted is None:
            wanted = self.settings.discard == "unmap"
        if wanted:
            for cluster in range(first, first + number):
                if self.refs.get(cluster) == 0:
                    self.file.discard(cluster << self.cluster_bits, self.cluster_size)
