"""Internal snapshots: a copy of the L1 table each; the clusters below are shared and counted.

Crash order: counts go up before a snapshot refers to anything and down only after nothing does. While flags and counts
disagree the image carries the dirty bit, so that the next writer repairs it.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter

from ...node import Alone, BlockError, Snapshot
from ...notation import TYPE_CHECKING
from . import layout as q
from .layout import COMPRESSED, COPIED, OFFSET_MASK, SnapshotExtra, SnapshotHeader, words_from, words_to

if TYPE_CHECKING:
    from . import Qcow2


class TooNarrow(BlockError):
    """The image's reference counts have too few bits for what is asked."""


class StoredSnapshot(Snapshot):
    """A snapshot with what the table says about its L1 table and unknown extra data."""

    l1_offset = 0
    l1_size = 0
    extra: bytes = b""


def read_snapshots(image: Qcow2) -> list[StoredSnapshot]:
    header = image.header
    found: list[StoredSnapshot] = []
    at = start = header.snapshots_offset
    file = image.file
    for i in range(header.nb_snapshots):
        if at >= file.size:
            raise BlockError(f"Snapshot table entry {i} lies after the end of the file")
        head = SnapshotHeader.unpack(file.read(at, SnapshotHeader.packed_size))
        if head.extra_size > q.MAX_SNAPSHOT_EXTRA:
            if not image.settings.for_check:
                raise BlockError(
                    f"Too much extra metadata in snapshot table entry {i}",
                    "You can force-remove this extra metadata by updating the image via qemu-img check -r all",
                )
        at += SnapshotHeader.packed_size
        body = file.read(at, min(head.extra_size, q.MAX_SNAPSHOT_EXTRA))
        extra = SnapshotExtra.unpack(body)
        at += head.extra_size
        names = file.read(at, head.id_size + head.name_size)
        at += head.id_size + head.name_size
        at = -(-at // 8) * 8
        if at - start > q.MAX_SNAPSHOT_BYTES:
            raise BlockError("Snapshot table too large")
        s = StoredSnapshot(
            id=names[: head.id_size].decode("utf-8", "replace"),
            name=names[head.id_size :].decode("utf-8", "replace"),
            vm_state_size=extra.vm_state_size_large if len(body) >= 8 else head.vm_state_size,
            date_sec=head.date_sec,
            date_nsec=head.date_nsec,
            vm_clock_nsec=head.vm_clock_nsec,
            icount=extra.icount if len(body) >= 24 and extra.icount != 2**64 - 1 else None,
            disk_size=extra.disk_size if len(body) >= 16 else header.size,
        )
        s.l1_offset, s.l1_size, s.extra = head.l1_table_offset, head.l1_size, bytes(body[24:])
        found.append(s)
    image.snapshots_size = at - start  # type: ignore[attr-defined]
    return found


def pack_snapshots(snapshots: list[StoredSnapshot]) -> bytes:
    out = bytearray()
    for s in snapshots:
        extra = (
            SnapshotExtra(
                vm_state_size_large=s.vm_state_size,
                disk_size=s.disk_size,
                icount=2**64 - 1 if s.icount is None else s.icount,
            ).pack()
            + s.extra
        )
        name, ident = s.name.encode("utf-8", "replace"), s.id.encode("utf-8", "replace")
        out += SnapshotHeader(
            l1_table_offset=s.l1_offset,
            l1_size=s.l1_size,
            id_size=len(ident),
            name_size=len(name),
            date_sec=s.date_sec,
            date_nsec=s.date_nsec,
            vm_clock_nsec=s.vm_clock_nsec,
            vm_state_size=min(s.vm_state_size, 0xFFFF_FFFF),
            extra_size=len(extra),
        ).pack()
        out += extra + ident + name
        out += bytes(-len(out) % 8)
    return bytes(out)


def write_snapshots(image: Qcow2, snapshots: list[StoredSnapshot]) -> None:
    """A new table, then the header that points to it, then the old one is given up."""
    header = image.header
    data = pack_snapshots(snapshots)
    if len(data) > q.MAX_SNAPSHOT_BYTES or len(snapshots) > q.MAX_SNAPSHOTS:
        raise BlockError("Too many snapshots")
    old, old_size = header.snapshots_offset, image.snapshots_size  # type: ignore[attr-defined]
    size = image.cluster_size
    offset = 0
    if data:
        offset = image.allocate_clusters(-(-len(data) // size)) << image.cluster_bits
        image.file.write(offset, data)
    image.flush_metadata()
    image.refs.write()
    image.barrier()
    header.nb_snapshots, header.snapshots_offset = len(snapshots), offset
    packed = header.pack()
    at = q.Header.offsets["nb_snapshots"]
    image.file.write(at, packed[at : at + 12])
    image.barrier()
    image._snapshots = snapshots
    image.snapshots_size = len(data)  # type: ignore[attr-defined]
    if old:
        image.refs.free(old, -(-old_size // size))
        image.flush_metadata()


def find(image: Qcow2, ident: str | None, name: str | None, either: bool = False) -> StoredSnapshot:
    """By id and name, or (`either`) by id first, then name; raises `BlockError`."""
    all_of = [s for s in image.snapshots() if isinstance(s, StoredSnapshot)]
    if either:
        for s in all_of:
            if s.id == ident:
                return s
        for s in all_of:
            if s.name == name:
                return s
    else:
        for s in all_of:
            if (ident is None or s.id == ident) and (name is None or s.name == name):
                return s
    raise BlockError("Can't find snapshot")


def change_counts(image: Qcow2, l1: array[int], delta: int) -> None:
    """Add `delta` to the counts of everything an L1 table refers to (tables and data), and, for the active table, make the
    COPIED flags say whether the counts are 1."""
    active = l1 is image.l1
    refs = image.refs
    step = image.entry_words
    size = image.cluster_size
    for l1_index, entry in enumerate(l1):
        offset = entry & OFFSET_MASK
        if not offset:
            continue
        table = image.l2_table(offset)
        words = table.words
        for i in range(0, len(words), step):
            word = words[i]
            if not word or image.external:
                continue
            if word & COMPRESSED:
                if delta:
                    start = word & image.packed_mask
                    sectors = ((word & ~(COPIED | COMPRESSED)) >> image.packed_shift) + 1
                    first = start // size
                    last = (start // 512 * 512 + sectors * 512 - 1) // size
                    _count(image, first, last - first + 1, delta)
                continue
            host = word & OFFSET_MASK
            if not host:
                continue
            if host % size:
                image.mark_corrupt(f"Cluster {host:#x} unaligned (L2 offset: {offset:#x}, L2 index: {i // step:#x})")
            if delta:
                _count(image, host // size, 1, delta)
            if active:
                flagged = host_flags(word, refs.get(host // size))
                if flagged != word:
                    words[i] = flagged
                    table.touch(i, i + 1)
        if delta:
            _count(image, offset // size, 1, delta)
        if active:
            flagged = host_flags(entry, refs.get(offset // size))
            if flagged != entry:
                l1[l1_index] = flagged
                image.l1_dirty.add(l1_index)


def check_room(image: Qcow2, l1: array[int]) -> None:
    """Counting everything below `l1` once more must not exceed the width of the counts; raises `TooNarrow`."""
    if image.refs.maximum >= 1 << 31:
        return
    more: Counter[int] = Counter()
    size = image.cluster_size
    for entry in l1:
        offset = entry & OFFSET_MASK
        if not offset:
            continue
        more[offset // size] += 1
        for word in image.l2_table(offset).words[:: image.entry_words]:
            if word & COMPRESSED:
                start = word & image.packed_mask
                sectors = ((word & ~(COPIED | COMPRESSED)) >> image.packed_shift) + 1
                for cluster in range(start // size, (start // 512 * 512 + sectors * 512 - 1) // size + 1):
                    more[cluster] += 1
            elif word & OFFSET_MASK and not image.external:
                more[(word & OFFSET_MASK) // size] += 1
    for cluster, n in more.items():
        if image.refs.get(cluster) + n > image.refs.maximum:
            raise TooNarrow(
                "-22 (Invalid argument)",
                f"Reference counts of {1 << image.header.refcount_order} bits are too narrow for another snapshot "
                "(change them with amend -o refcount_bits=...).",
            )


def host_flags(entry: int, count: int) -> int:
    return entry | COPIED if count == 1 else entry & ~COPIED


def _count(image: Qcow2, first: int, number: int, delta: int) -> None:
    if delta > 0:
        image.refs.add(first, number, delta)
    else:
        image.refs.free(first * image.cluster_size, number)


def _begin(image: Qcow2) -> bool:
    """Set the dirty bit for the time in which flags and counts disagree; whether it has to be cleared again."""
    if image.header.version < 3 or image.dirty:
        return False
    image.header.incompatible_features |= q.DIRTY
    image.write_header_fields("incompatible_features")
    image.barrier()
    return True


def _end(image: Qcow2, marked: bool) -> None:
    image.flush_metadata()
    image.refs.write()
    image.barrier()
    if marked and not image.lazy:
        image.header.incompatible_features &= ~q.DIRTY
        image.write_header_fields("incompatible_features")
        image.barrier()


def create(image: Qcow2, name: str, vm_state_size: int = 0, vm_clock_nsec: int = 0, icount: int | None = 0) -> StoredSnapshot:
    """Keep the disk's present contents under `name`."""
    if image.external:
        raise BlockError("Cannot take a snapshot of an image with an external data file")
    with Alone(image):
        image.flush_metadata()
        all_of = [s for s in image.snapshots() if isinstance(s, StoredSnapshot)]
        if len(all_of) >= q.MAX_SNAPSHOTS:
            raise BlockError("Too many snapshots")
        check_room(image, image.l1)
        now = time.time_ns()
        ident = 1 + max((int(s.id) for s in all_of if s.id.isdigit() and len(s.id) < 20), default=0)
        new = StoredSnapshot(
            id=str(ident),
            name=name,
            vm_state_size=vm_state_size,
            date_sec=now // 10**9,
            date_nsec=now % 10**9 // 1000 * 1000,
            vm_clock_nsec=vm_clock_nsec,
            icount=icount,
            disk_size=image.size,
        )
        marked = _begin(image)
        length = max(1, len(image.l1)) * 8
        clusters = -(-length // image.cluster_size)
        new.l1_offset = image.allocate_clusters(clusters) << image.cluster_bits
        new.l1_size = len(image.l1)
        change_counts(image, image.l1, 1)
        image.file.write(new.l1_offset, words_to(image.l1).ljust(8, b"\0"))
        image.flush_metadata()
        write_snapshots(image, [*all_of, new])
        _end(image, marked)
        return new


def snapshot_l1(image: Qcow2, s: StoredSnapshot) -> array[int]:
    if s.l1_size * 8 > q.MAX_L1_BYTES:
        raise BlockError(f"Snapshot '{s.name}': L1 table too large")
    if s.l1_offset % image.cluster_size or s.l1_offset + s.l1_size * 8 > image.file.size + image.cluster_size:
        raise BlockError(f"Snapshot '{s.name}': L1 table offset invalid")
    return words_from(image.file.read(s.l1_offset, s.l1_size * 8))


def load(image: Qcow2, ident: str | None, name: str | None, either: bool = False) -> None:
    """Show the disk as it was (read only, in memory)."""
    s = find(image, ident, name, either)
    image.l1 = snapshot_l1(image, s)
    if s.disk_size and s.disk_size != image.size:
        image.size = s.disk_size
    need = -(-image.size // image.l2_reach)
    if len(image.l1) < need:
        image.l1.extend([0] * (need - len(image.l1)))


def delete(image: Qcow2, ident: str | None, name: str | None, either: bool = False) -> None:
    with Alone(image):
        image.flush_metadata()
        s = find(image, ident, name, either)
        l1 = snapshot_l1(image, s)
        marked = _begin(image)
        rest = [x for x in image.snapshots() if x is not s and isinstance(x, StoredSnapshot)]
        write_snapshots(image, rest)
        change_counts(image, l1, -1)
        image.refs.free(s.l1_offset, -(-max(1, s.l1_size) * 8 // image.cluster_size))
        image.flush_metadata()
        image.refs.apply_freed()
        change_counts(image, image.l1, 0)
        _end(image, marked)


def apply(image: Qcow2, ident: str | None, name: str | None, either: bool = False) -> None:
    """The disk's contents become those of the snapshot. Bitmaps would not know what changes: with any there, it is refused."""
    if image.bitmaps_extension is not None and image.bitmaps():
        raise BlockError("Device has active dirty bitmaps")
    with Alone(image):
        image.flush_metadata()
        s = find(image, ident, name, either)
        new = snapshot_l1(image, s)
        if s.disk_size and s.disk_size != image.size:
            image.resize(s.disk_size)
        if s.l1_size > len(image.l1):
            from .creation import grow_l1

            grow_l1(image, s.l1_size)
        check_room(image, new)
        marked = _begin(image)
        new.extend([0] * (len(image.l1) - len(new)))
        old = image.l1[:]
        change_counts(image, new, 1)
        image.refs.write()
        image.barrier()
        for i in range(len(image.l1)):
            image.l1[i] = new[i] & ~COPIED
            image.l1_dirty.add(i)
        image.flush_metadata()
        image.barrier()
        change_counts(image, old, -1)
        image.flush_metadata()
        image.refs.apply_freed()
        change_counts(image, image.l1, 0)
        _end(image, marked)
