"""Copying one disk into another: `convert`, `dd`, `rebase`, `commit` and later the mirror and backup jobs.

The main thread asks where data is; a thread pool reads, looks for zeroes, compresses and writes. Places in the target are given out in
order unless the caller allows otherwise or the order does not show. Where a format cannot say the place beforehand, the main thread writes.
"""

from __future__ import annotations

import os
import time
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable, Iterator

from .errors import BlockError
from .node import Extent, Format, Node, fill_zero, is_zero, status
from .notation import Any
from .pool import Job, Pool

CHUNK = 2 << 20
PACK_GROUP = 512 << 10
"""Bytes that one job of the thread pool packs."""

GROUP = 128 << 20
"""How far the map is asked at once."""


class Section:
    """A range of the target that comes from one place."""

    __slots__ = ("before", "kind", "length", "node", "placed", "pos", "source_pos")

    def __init__(self, kind: str, pos: int, length: int, node: Node, source_pos: int) -> None:
        self.kind = kind
        self.pos = pos
        self.length = length
        self.node = node
        self.source_pos = source_pos
        self.before: LockType | None = None
        """Free when the section before this one has its place in the target."""
        self.placed: LockType | None = None


class Copy:
    """A copy in progress. `sources` are put one after the other.

    sparse            bytes of zeroes that are worth not writing; 0 writes everything
    compressed        store compressed clusters
    target_zero       the target reads as zeroes already
    base              a node of the source's chain that the target shares: what only it has is not copied
    skip_unallocated  what the source's chain above `base` does not hold is not copied
    threads           requests in flight
    salvage           unreadable sectors become zeroes
    rate              bytes per second, 0: no limit
    """

    def __init__(
        self,
        sources: list[Node],
        target: Node,
        *,
        sparse: int = 4096,
        compressed: bool = False,
        target_zero: bool = False,
        base: Node | None = None,
        skip_unallocated: bool = False,
        threads: int = 8,
        out_of_order: bool = False,
        offload: bool = False,
        salvage: bool = False,
        rate: int = 0,
    ) -> None:
        self.sources = sources
        self.target = target
        self.sparse = sparse
        self.compressed = compressed
        self.target_zero = target_zero
        self.base = base
        self.skip_unallocated = skip_unallocated
        self.threads = threads
        self.out_of_order = out_of_order
        self.offload = offload
        self.salvage = salvage
        self.rate = rate
        self.chunk = CHUNK
        self.on_progress: Callable[[int], None] = lambda n: None
        self.on_read_error: Callable[[int, OSError], None] = lambda pos, error: None

    def total(self) -> int:
        return sum(source.size for source in self.sources)

    def work(self) -> int:
        """Bytes that will be counted as progress."""
        sections = self._clusters(self._unit()) if self.compressed else self.sections()
        return sum(s.length for s in sections if self._counts(s))

    def _counts(self, section: Section) -> bool:
        return section.kind == "data" or (section.kind == "zero" and not self.target_zero)

    def sections(self) -> Iterator[Section]:
        """What to do, in order of position: "data" to read and write, "zero", or "skip"."""
        start = 0
        for source in self.sources:
            pos = 0
            pending: Section | None = None
            while pos < source.size:
                try:
                    found = status(source, pos, min(GROUP, source.size - pos), until=self.base)
                except OSError:
                    if not self.salvage:
                        raise
                    found = None
                if found is None:
                    kind, n = "data", min(CHUNK, source.size - pos)
                elif self.skip_unallocated and not found.present and not found.zero:
                    kind, n = "skip", found.length
                elif self.skip_unallocated and not found.present and self.base is None:
                    kind, n = "skip", found.length
                elif found.zero and self.sparse:
                    kind, n = "zero", found.length
                else:
                    kind, n = "data", found.length
                if pending is not None and pending.kind == kind:
                    pending.length += n
                else:
                    if pending is not None:
                        yield pending
                    pending = Section(kind, start + pos, n, source, pos)
                pos += n
            if pending is not None:
                yield pending
            start += source.size

    def run(self) -> None:
        """Do it; raises `BlockError` naming the byte for read and write errors."""
        self.began = time.monotonic()
        self.moved = 0
        unit = self._unit()
        job: Callable[[Section], Any] = self._read
        if self.compressed:
            job = self._read_compress_write
        elif self.out_of_order or not self._target_cluster():
            job = self._read_write
        elif isinstance(self.target, Format) and self.target.reserves:
            job = self._read_place_write
        waiting: deque[tuple[Section, Job | None]] = deque()
        self.buffers: list[bytearray] = []
        before = None
        processors = os.cpu_count() or 1
        ahead = self.threads if job == self._read else 4 * self.threads  # only what `_read` gives takes memory while it waits
        if self.rate:
            ahead = 1
        with Pool(min(self.threads, 2 * processors if self.compressed else processors + 1)) as pool:
            for section in self._pieces(unit):
                if section.kind == "data" and self.offload and not waiting and self._offload(section):
                    self.on_progress(section.length)
                    self._throttle(section.length)
                elif section.kind == "data":
                    section.before, section.placed = before, allocate_lock()
                    section.placed.acquire()
                    before = section.placed
                    waiting.append((section, pool.submit(job, section)))
                elif section.kind == "zero" and not self.target_zero:
                    waiting.append((section, None))
                while len(waiting) >= ahead:
                    self._finish(*waiting.popleft())
            while waiting:
                self._finish(*waiting.popleft())

    def _unit(self) -> int:
        return (self._target_cluster() or 65536) if self.compressed else self.chunk

    def _target_cluster(self) -> int:
        """Bytes that the target allocates together; 0: every byte has its place, and writing order does not matter."""
        return self.target.cluster_size if isinstance(self.target, Format) else 0

    def _pieces(self, unit: int) -> Iterator[Section]:
        """Sections cut at multiples of `unit`; for a compressed target, whole clusters that may mix data and zeroes."""
        if self.compressed:
            yield from self._clusters(unit)
            return
        cluster = self._target_cluster() or 512
        for section in self.sections():
            if section.kind != "data":
                yield section
                continue
            done = 0
            while done < section.length:
                pos = section.pos + done
                n = min(section.length - done, unit - pos % cluster)
                yield Section("data", pos, n, section.node, section.source_pos + done)
                done += n

    def _clusters(self, unit: int) -> Iterator[Section]:
        end = 0
        for section in self.sections():
            if section.kind == "skip":
                continue
            stop = section.pos + section.length
            if section.kind == "zero":
                first, last = -(-section.pos // unit) * unit, stop // unit * unit
                if stop == self.total():
                    last = stop
                if last > max(first, end):
                    yield Section("zero", max(first, end), last - max(first, end), section.node, 0)
                continue
            pos = max(end, section.pos // unit * unit)
            while pos < stop:
                n = min(max(unit, PACK_GROUP // unit * unit), -(-(stop - pos) // unit) * unit, self.total() - pos)
                yield Section("data", pos, n, section.node, pos)
                pos += n
            end = pos

    def _offload(self, section: Section) -> bool:
        """Let the kernel copy where the source is plain data in a file; False: read and write."""
        pos, end = section.source_pos, section.source_pos + section.length
        while pos < end:
            found = status(section.node, pos, end - pos)
            if found.file is None or found.offset < 0 or not found.data or found.compressed:
                return False
            at = section.pos + pos - section.source_pos
            try:
                if not self.target.copy_range(at, found.file, found.offset, found.length):
                    return False
            except OSError as error:
                raise self._failed("writing", at, error, self.target) from error
            pos += found.length
        return True

    # Jobs of the pool

    def _fill(self, section: Section, view: memoryview) -> None:
        """Read a section; the compressed form reads by target position, across sources."""
        if self.compressed:
            pos, at = section.pos, 0
            start = 0
            for source in self.sources:
                if start <= pos < start + source.size and at < section.length:
                    n = min(section.length - at, start + source.size - pos)
                    self._read_piece(source, pos - start, view[at : at + n], pos)
                    pos += n
                    at += n
                start += source.size
        else:
            self._read_piece(section.node, section.source_pos, view[: section.length], section.pos)

    def _read_piece(self, node: Node, pos: int, view: memoryview, target_pos: int) -> None:
        try:
            node.read_into(pos, view)
        except OSError as error:
            if not self.salvage:
                raise self._failed("reading", target_pos, error, node) from error
            step = 512
            for at in range(0, len(view), step):
                part = view[at : at + step]
                try:
                    node.read_into(pos + at, part)
                except OSError as inner:
                    self.on_read_error(target_pos + at, inner)
                    fill_zero(part)

    def _take(self, length: int) -> bytearray:
        try:
            buffer = self.buffers.pop()
        except IndexError:
            return bytearray(max(length, self.chunk))
        return buffer if len(buffer) >= length else bytearray(length)

    def _read(self, section: Section) -> tuple[bytearray, list[tuple[int, int, bool]]]:
        buffer = self._take(section.length)
        view = memoryview(buffer)[: section.length]
        self._fill(section, view)
        return buffer, self._runs(buffer, section.length, section.pos)

    def _read_write(self, section: Section) -> None:
        buffer, runs = self._read(section)
        self._write(section, buffer, runs)
        self.buffers.append(buffer)

    def _read_place_write(self, section: Section) -> None:
        """Room in the target is taken in order of position, so that it looks the same each time; the data is written without a lock."""
        target = self.target
        assert isinstance(target, Format) and section.placed is not None
        places: list[tuple[int, Extent]] = []
        try:
            buffer, runs = self._read(section)
            if section.before is not None:
                section.before.acquire()
            for run in runs:
                places += self._place(target, section, buffer, run)
        finally:
            section.placed.release()
        view = memoryview(buffer)
        while places:
            at, extent = places.pop()
            pos = section.pos + at
            try:
                target.write_reserved(pos, extent, view[at : at + extent.length])
            except OSError as error:
                for at, extent in places:
                    target.give_back(section.pos + at, extent)
                raise self._failed("writing", pos, error, target) from error
        self.buffers.append(buffer)

    def _place(self, target: Format, section: Section, buffer: bytearray, run: tuple[int, int, bool]) -> Iterator[tuple[int, Extent]]:
        """Room for the whole clusters of a run: (start in `buffer`, where); what cannot be had that way is written at once."""
        start, end, nil = run
        unit = target.cluster_size
        if nil or (section.pos + start) % unit:
            self._write(section, buffer, [run])
            return
        whole = end - (end - start) % unit
        while start < whole:
            try:
                extent = target.reserve(section.pos + start, whole - start)
            except OSError as error:
                raise self._failed("writing", section.pos + start, error, target) from error
            if extent is None:
                break
            yield start, extent
            start += extent.length
        if start < end:
            self._write(section, buffer, [(start, end, False)])

    def _read_compress_write(self, section: Section) -> None:
        """Pack the section's clusters, then store them when it is their turn."""
        target = self.target
        assert isinstance(target, Format) and section.placed is not None
        unit = target.cluster_size or 65536
        try:
            buffer = bytearray(-(-section.length // unit) * unit)
            view = memoryview(buffer)
            self._fill(section, view[: section.length])
            packed: list[bytes | None] = []
            for at in range(0, len(buffer), unit):
                cluster = view[at : at + unit]
                packed.append(b"" if self.sparse and is_zero(cluster) else target.compress(cluster))
            if section.before is not None:
                section.before.acquire()
            self._write_compressed(section, buffer, packed)
        finally:
            section.placed.release()

    def _runs(self, buffer: bytearray, length: int, pos: int) -> list[tuple[int, int, bool]]:
        """[(start, end, is zero)] of a chunk that begins at `pos`, cut at multiples of `sparse` and, for data, widened to
        the target's clusters."""
        step = self.sparse
        if not step:
            return [(0, length, False)]
        runs = zero_runs(buffer, length, step, -pos % step)
        unit = self._target_cluster()
        if unit > step and len(runs) > 1:
            runs = _widen(runs, pos, unit, length)
        return runs

    # The main thread

    def _finish(self, section: Section, job: Job | None) -> None:
        """Do, in order of position, what is left to do; without a job the section is zeroes."""
        if job is None:
            self._zero(section.pos, section.length)
            self.on_progress(section.length)
            return
        result = job.result()
        if result is not None:
            buffer, runs = result
            self._write(section, buffer, runs)
            self.buffers.append(buffer)
        self.on_progress(section.length)
        self._throttle(section.length)

    def _write(self, section: Section, buffer: bytearray, runs: list[tuple[int, int, bool]]) -> None:
        view = memoryview(buffer)
        for start, end, nil in runs:
            if nil:
                self._zero(section.pos + start, end - start)
                continue
            try:
                self.target.writev(section.pos + start, [view[start:end]])
            except OSError as error:
                raise self._failed("writing", section.pos + start, error, self.target) from error

    def _write_compressed(self, section: Section, buffer: bytearray, clusters: list[bytes | None]) -> None:
        """`clusters`: the packed form of each (None: does not shrink, empty: zeroes)."""
        target = self.target
        assert isinstance(target, Format)
        unit = len(buffer) // len(clusters)
        for i, packed in enumerate(clusters):
            pos = section.pos + i * unit
            length = min(unit, section.length - i * unit)
            try:
                if packed is None:
                    target.writev(pos, [memoryview(buffer)[i * unit : i * unit + length]])
                elif packed:
                    target.link_compressed(pos, packed, unit)
                else:
                    self._zero(pos, length)
            except OSError as error:
                raise self._failed("writing", pos, error, self.target) from error

    def _zero(self, pos: int, length: int) -> None:
        if self.target_zero:
            return
        try:
            self.target.write_zeroes(pos, length)
        except OSError as error:
            raise self._failed("writing", pos, error, self.target) from error

    @staticmethod
    def _failed(doing: str, pos: int, error: OSError, node: Node) -> BlockError:
        """The original's sentence; a line of its own names the file."""
        return BlockError(f"error while {doing} at byte {pos}: {_text(error)}", f"The file is '{node.filename}'.")

    def _throttle(self, length: int) -> None:
        self.moved += length
        if self.rate:
            early = self.began + self.moved / self.rate - time.monotonic()
            if early > 0:
                time.sleep(early)


def zero_runs(buffer: bytearray, length: int, step: int, first: int) -> list[tuple[int, int, bool]]:
    """[(start, end, is zero)] covering the first `length` bytes; zero runs are whole blocks of `step` bytes, the first block
    beginning at `first` (what lies before and after whole blocks counts as data unless it is zero, too).

    Blocks of zeroes are found by a string search, which is quick where there are none."""
    view = memoryview(buffer)
    if not first and not step % 8 and not length % 8:
        # The first word of each block: mostly enough to see that no block is zero.
        words = view[:length].cast("Q")[:: step // 8]
        if 0 not in words.tolist():
            return [(0, length, False)]
    nil = bytes(step)
    runs: list[tuple[int, int, bool]] = []
    start = 0
    at = 0
    while at < length:
        found = buffer.find(nil, at, length)
        block = -1 if found < 0 else found - (found - first) % step + (step if (found - first) % step else 0)
        if found >= 0 and block + step <= length and buffer.startswith(nil, block):
            end = block + step
            while end + step <= length and buffer.startswith(nil, end):
                end += step
            if block > start:
                runs.append((start, block, False))
            runs.append((block, end, True))
            start = at = end
        elif found < 0 or block + step > length:
            break
        else:
            at = block + 1
    if start < length:
        runs.append((start, length, is_zero(view[start:length])))
    if runs and runs[0][1] <= first and not runs[0][2] and is_zero(view[: runs[0][1]]):
        runs[0] = (0, runs[0][1], True)
    return runs


def _widen(runs: list[tuple[int, int, bool]], pos: int, unit: int, length: int) -> list[tuple[int, int, bool]]:
    """Data runs grown to whole clusters, zero runs what is left."""
    data: list[tuple[int, int]] = []
    for start, end, nil in runs:
        if nil:
            continue
        a = max(0, (pos + start) // unit * unit - pos)
        b = min(length, -(-(pos + end) // unit) * unit - pos)
        if data and a <= data[-1][1]:
            data[-1] = (data[-1][0], b)
        else:
            data.append((a, b))
    out: list[tuple[int, int, bool]] = []
    at = 0
    for a, b in data:
        if a > at:
            out.append((at, a, True))
        out.append((a, b, False))
        at = b
    if at < length:
        out.append((at, length, True))
    return out


def _text(error: OSError) -> str:
    if isinstance(error, BlockError):
        return error.message
    return os.strerror(error.errno) if error.errno else str(error)
