"""Finding and repairing contradictions: every cluster must be counted as often as it is referred to."""

from __future__ import annotations

from array import array

from ...node import BlockError, CheckResult, CorruptImage
from ...notation import TYPE_CHECKING
from . import layout as q
from .layout import COMPRESSED, COPIED, OFFSET_MASK, ZERO, words_from, words_to
from .refcounts import CODES, Refcounts, pack_counts
from .snapshots import snapshot_l1

if TYPE_CHECKING:
    from . import Qcow2

MAX_COUNTED = 1 << 28
"""Clusters beyond this number are not counted one by one: no host file is that large."""


class Walk:
    """Counts references to clusters: `counts` is an array over the file's clusters and one more."""

    def __init__(self, image: Qcow2, result: CheckResult) -> None:
        self.image = image
        self.result = result
        self.clusters = min(-(-image.file.size // image.cluster_size), MAX_COUNTED)
        self.counts = array("I", bytes(4 * (self.clusters + 1)))

    def say(self, line: str) -> None:
        """One more line for the user; what comes after the first 10,000 is only counted: L1 entries can all name one bad table."""
        if len(self.result.messages) < 10_000:
            self.result.messages.append(line)

    def corrupt(self, line: str) -> None:
        self.result.corruptions += 1
        self.say(line)

    def use(self, offset: int, length: int) -> None:
        """Bytes from `offset` are referred to once."""
        if length <= 0:
            return
        bits = self.image.cluster_bits
        first, last = offset >> bits, offset + length - 1 >> bits
        if last > self.clusters:
            self.corrupt(
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                f"offset {offset:#x} size {length:#x}"
            )
            return
        counts = self.counts
        for c in range(first, last + 1):
            counts[c] += 1

    def table(self, l1: array[int], offset: int, active: bool) -> list[tuple[int, int]]:
        """Count an L1 table and all below it. Returns the L2 tables as (L1 index, offset)."""
        image = self.image
        size = image.cluster_size
        self.use(offset, len(l1) * 8)
        tables: list[tuple[int, int]] = []
        self.next_data = 0
        for index, entry in enumerate(l1):
            if not entry:
                continue
            if entry & q.L1_RESERVED:
                self.corrupt(f"ERROR found L1 entry with reserved bits set: {entry:x}")
            l2 = entry & OFFSET_MASK
            if not l2:
                continue
            if l2 & (size - 1):
                self.corrupt(f"ERROR l2_offset={l2:x}: Table is not cluster aligned; L1 entry corrupted")
                self.use(l2, size)
                continue
            self.use(l2, size)
            if l2 >= image.file.size:
                continue
            words = words_from(image.file.read(l2, size))
            tables.append((index, l2))
            self.next_data = 0  # whether tables follow one another does not count as fragmentation
            if image.extended:
                self.extended(words, l2, active)
            else:
                self.plain(words, l2, active)
        return tables

    def plain(self, words: array[int], l2: int, active: bool) -> None:
        """All entries of one L2 table: a quick pass over whole tables of plain data, a careful one otherwise."""
        image = self.image
        bits = image.cluster_bits
        counts = self.counts
        used = [w for w in words if w]
        if not used:
            return
        odd = q.L2_RESERVED | COMPRESSED | ZERO | (image.cluster_size - 1)
        union = 0
        for w in used:
            union |= w
        if union & odd or image.external:
            self.careful(words, l2, active)
            return
        hosts = [(w & OFFSET_MASK) >> bits for w in used]
        limit = self.clusters
        if max(hosts) < limit and min(hosts) > 0:
            for c in hosts:
                counts[c] += 1
        else:
            self.careful(words, l2, active)
            return
        if active:
            self.result.allocated_clusters += len(hosts)
            expect = 0
            fragmented = 0
            for c in hosts:
                if c != expect and expect:
                    fragmented += 1
                expect = c + 1
            self.result.fragmented_clusters += fragmented

    def careful(self, words: array[int], l2: int, active: bool) -> None:
        image = self.image
        size = image.cluster_size
        result = self.result
        for word in words:
            if not word:
                continue
            if word & COMPRESSED:
                self.packed(word, active)
                continue
            host = word & OFFSET_MASK
            nil = word & ZERO and image.header.version >= 3
            if word & q.L2_RESERVED or (word & ZERO and image.header.version < 3):
                self.corrupt(f"ERROR found l2 entry with reserved bits set: {word:x}")
            if not host and not (image.external and word & COPIED):
                continue
            if host & (size - 1):
                what = "Preallocated" if nil else "Data"
                self.corrupt(f"ERROR offset={host:x}: {what} cluster is not properly aligned; L2 entry corrupted.")
            if active:
                result.allocated_clusters += 1
                if self.next_data and host != self.next_data:
                    result.fragmented_clusters += 1
                self.next_data = host + size
            if not image.external:
                self.use(host, size)

    def packed(self, word: int, active: bool) -> None:
        image = self.image
        start = word & image.packed_mask
        sectors = ((word & ~(COPIED | COMPRESSED)) >> image.packed_shift) + 1
        if word & COPIED:
            self.corrupt(f"ERROR: coffset={start:#x}: copied flag must never be set for compressed clusters")
        if image.external:
            self.corrupt(f"ERROR compressed cluster {start:#x} in image with external data file")
            return
        self.use(start // 512 * 512, sectors * 512)
        if active:
            self.result.allocated_clusters += 1
            self.result.compressed_clusters += 1
            self.result.fragmented_clusters += 1

    def extended(self, words: array[int], l2: int, active: bool) -> None:
        image = self.image
        size = image.cluster_size
        for at in range(0, len(words), 2):
            word, bitmap = words[at], words[at + 1]
            if not word and not bitmap:
                continue
            if word & COMPRESSED:
                if bitmap:
                    self.corrupt(f"ERROR compressed cluster {at // 2} with non-zero subcluster allocation bitmap, entry={word:#x}")
                self.packed(word, active)
                continue
            host = word & OFFSET_MASK
            if (bitmap & 0xFFFF_FFFF) & (bitmap >> 32):
                self.corrupt(f"ERROR offset={host:x}: Allocated cluster has corrupted subcluster allocation bitmap")
            if not host and bitmap & 0xFFFF_FFFF and not image.external:
                self.corrupt("ERROR: Unallocated cluster has non-zero subcluster allocation map")
            if not host and not (image.external and word & COPIED):
                continue
            if host & (size - 1):
                self.corrupt(f"ERROR offset={host:x}: Data cluster is not properly aligned; L2 entry corrupted.")
            if active:
                self.result.allocated_clusters += 1
                if self.next_data and host != self.next_data:
                    self.result.fragmented_clusters += 1
                self.next_data = host + size
            if not image.external:
                self.use(host, size)


def walk_image(image: Qcow2, result: CheckResult, without_refcounts: bool = False) -> Walk:
    """Count every reference the image's metadata makes."""
    header = image.header
    size = image.cluster_size
    walk = Walk(image, result)
    walk.use(0, size)
    for s in image.snapshots():
        offset, length = s.l1_offset, s.l1_size  # type: ignore[attr-defined]
        if offset % size:
            walk.corrupt(
                f"ERROR snapshot {s.id} ({s.name}) l1_offset={offset:#x}: L1 table is not cluster aligned; snapshot table entry corrupted"
            )
            continue
        if length * 8 > q.MAX_L1_BYTES:
            walk.corrupt(f"ERROR snapshot {s.id} ({s.name}) l1_size={length:#x}: L1 table is too large; snapshot table entry corrupted")
            continue
        walk.table(snapshot_l1(image, s), offset, False)  # type: ignore[arg-type]
    walk.table(image.l1, header.l1_table_offset, True)
    walk.use(header.snapshots_offset, getattr(image, "snapshots_size", 0))
    if image.encryption_header:
        walk.use(*image.encryption_header)
    _use_bitmaps(image, walk)
    if without_refcounts:
        return walk
    walk.use(header.refcount_table_offset, header.refcount_table_clusters * size)
    for index, entry in enumerate(image.refs.table):
        if not entry:
            continue
        offset = entry & ~q.REFTABLE_RESERVED
        if entry & q.REFTABLE_RESERVED:
            walk.corrupt(f"ERROR refcount table entry {index} has reserved bits set")
        if offset % size:
            walk.corrupt(f"ERROR refcount block {index} is not cluster aligned; refcount table entry corrupted")
            continue
        if offset >= image.file.size:
            walk.corrupt(f"ERROR refcount block {index} is outside image")
            continue
        walk.use(offset, size)
        cluster = offset // size
        if cluster < walk.clusters and walk.counts[cluster] != 1:
            walk.corrupt(f"ERROR refcount block {index} refcount={walk.counts[cluster]}")
    return walk


def _use_bitmaps(image: Qcow2, walk: Walk) -> None:
    ext = image.bitmaps_extension
    if ext is None:
        return
    walk.use(ext.directory_offset, ext.directory_size)
    try:
        bitmaps = image.bitmaps()
    except BlockError as error:
        walk.corrupt(f"ERROR bitmap directory: {error.message}")
        return
    for bitmap in bitmaps:
        walk.use(bitmap.table_offset, bitmap.table_size * 8)
        try:
            words = bitmap.table() if bitmap.table_size else []
        except BlockError as error:
            walk.corrupt(f"ERROR {error.message}")
            continue
        for word in words:
            if word & q.OFFSET_MASK:
                walk.use(word & q.OFFSET_MASK, image.cluster_size)


def count_references(image: Qcow2, without_refcounts: bool = False) -> dict[int, int]:
    """{cluster: references}"""
    walk = walk_image(image, CheckResult(), without_refcounts)
    return {c: n for c, n in enumerate(walk.counts) if n}


def check_image(image: Qcow2, fix_leaks: bool, fix_errors: bool) -> CheckResult:
    result = CheckResult()
    size = image.cluster_size
    result.total_clusters = -(-image.size // size)
    image.refs.blocks.clear()
    image.forget_tables()
    walk = walk_image(image, result)
    rebuild = any("refcount block" in m for m in result.messages)
    try:
        if compare(image, walk, result, fix_leaks, fix_errors):
            rebuild = True
    except CorruptImage as error:
        if not fix_errors:
            raise
        result.messages.append(f"ERROR {error.message}")
        result.corruptions += 1
        rebuild = True
    if rebuild and fix_errors:
        result.messages.append("Rebuilding refcount structure")
        rebuild_refcounts(image, result)
    check_flags(image, result, fix_errors or (fix_leaks and not result.corruptions))
    if fix_errors or fix_leaks:
        image.flush_metadata()
        image.refs.write()
        image.file.flush()
    finish_flags(image, result, fix_errors)
    return result


def compare(image: Qcow2, walk: Walk, result: CheckResult, fix_leaks: bool, fix_errors: bool) -> bool:
    """Counts as they are against counts as they should be; sets the image's end. Clusters in use that are counted as free
    need new refcount structures: True."""
    refs = image.refs
    per = refs.per_block
    counts = walk.counts
    highest = 0
    rebuild = False
    for index in range(-(-len(counts) // per)):
        low = index * per
        want = counts[low : low + per]
        block = refs.block(index)
        have = array("I", bytes(4 * len(want))) if block is None else block.counts[: len(want)]
        if have.typecode == "Q":
            want = array("Q", want)
        elif have.typecode != "I":
            have = array("I", have)
        if have != want:
            for i in range(len(want)):
                a, b = have[i], want[i]
                if a == b or (low + i >= walk.clusters and b == 0):
                    continue
                cluster = low + i
                rebuild = rebuild or a == 0
                fix = fix_leaks if a > b else fix_errors and a > 0
                kind = "Repairing" if fix else ("ERROR" if a < b else "Leaked")
                result.messages.append(f"{kind} cluster {cluster} refcount={a} reference={b}")
                if fix:
                    refs.add(cluster, 1, b - a)
                    if a > b:
                        result.leaks_fixed += 1
                    else:
                        result.corruptions_fixed += 1
                    have[i] = b
                elif a > b:
                    result.leaks += 1
                else:
                    result.corruptions += 1
        top = min(len(want), walk.clusters - low)
        while top > 0 and not have[top - 1] and not want[top - 1]:
            top -= 1
        if top > 0:
            highest = low + top
    result.image_end = highest * image.cluster_size
    return rebuild


def check_flags(image: Qcow2, result: CheckResult, fix: bool) -> None:
    """COPIED must be set exactly where the count is 1 (active tables)."""
    refs = image.refs
    bits = image.cluster_bits
    step = image.entry_words
    kind = "Repairing" if fix else "ERROR"

    def count(cluster: int) -> int:
        return refs.get(cluster)

    for index, entry in enumerate(image.l1):
        offset = entry & OFFSET_MASK
        if not offset or offset & (image.cluster_size - 1) or offset >= image.file.size:
            continue
        n = count(offset >> bits)
        if (n == 1) != bool(entry & COPIED):
            result.messages.append(f"{kind} OFLAG_COPIED L2 cluster: l1_index={index} l1_entry={entry:x} refcount={n}")
            if fix:
                image.l1[index] = entry ^ COPIED
                image.l1_dirty.add(index)
                result.corruptions_fixed += 1
            else:
                result.corruptions += 1
        if image.external:
            continue
        words = words_from(image.file.read(offset, image.cluster_size))
        if step == 1:
            used = [w for w in words if w]
            if not used:
                continue
            if _all_private(image, used):
                continue
        changed = False
        for at in range(0, len(words), step):
            word = words[at]
            host = word & OFFSET_MASK
            if not host or word & COMPRESSED or host & (image.cluster_size - 1):
                continue
            n = count(host >> bits)
            if (n == 1) != bool(word & COPIED):
                result.messages.append(f"{kind} OFLAG_COPIED data cluster: l2_entry={word:x} refcount={n}")
                if fix:
                    words[at] = word ^ COPIED
                    changed = True
                    result.corruptions_fixed += 1
                else:
                    result.corruptions += 1
        if changed:
            image.file.write(offset, words_to(words))
            image.forget_table(offset)


def _all_private(image: Qcow2, used: list[int]) -> bool:
    """Whether all entries are plain data with COPIED set and counted once (the usual case, decided quickly)."""
    refs = image.refs
    per = refs.per_block
    bits = image.cluster_bits
    last_index = -1
    counts: array[int] | None = None
    for w in used:
        if w >> 56 != 0x80 or w & 1:
            return False
        index, at = divmod((w & OFFSET_MASK) >> bits, per)
        if index != last_index:
            block = refs.block(index)
            if block is None:
                return False
            counts, last_index = block.counts, index
        if counts is None or counts[at] != 1:
            return False
    return True


def rebuild_refcounts(image: Qcow2, result: CheckResult) -> None:
    """The refcount structure itself is broken: make a new one at the end of the file from what is referred to."""
    counts = count_references(image, without_refcounts=True)
    bits = image.refs.bits
    size = image.cluster_size
    per = image.refs.per_block
    start = max([-(-image.file.size // size), *(c + 1 for c in counts)])
    used = 0
    while True:
        blocks = -(-(start + used) // per)
        table = -(-blocks * 8 // size)
        if blocks + table == used:
            break
        used = blocks + table
    for i in range(used):
        counts[start + i] = 1
    offsets = array("Q", [0]) * (table * size // 8)
    for index in range(blocks):
        low = index * per
        values = [min(counts.get(low + i, 0), image.refs.maximum) for i in range(per)]
        offsets[index] = (start + table + index) * size
        image.file.write(offsets[index], pack_counts(array(CODES.get(bits, "B"), values), bits))
    image.file.write(start * size, words_to(offsets))
    image.barrier()
    image.header.refcount_table_offset = start * size
    image.header.refcount_table_clusters = table
    image.write_header_fields("refcount_table_offset", "refcount_table_clusters")
    image.barrier()
    image.refs = Refcounts(image)
    result.corruptions_fixed += result.corruptions
    result.corruptions = 0


def finish_flags(image: Qcow2, result: CheckResult, fix_errors: bool) -> None:
    """A clean or repaired image loses its dirty and corrupt bits."""
    header = image.header
    if image.read_only or header.version < 3:
        return
    if result.corruptions == 0 and result.errors == 0:
        gone = header.incompatible_features & (q.DIRTY | (q.CORRUPT if fix_errors else 0))
        if gone and (fix_errors or not header.incompatible_features & q.CORRUPT):
            header.incompatible_features &= ~gone
            image.write_header_fields("incompatible_features")
            image.file.flush()
