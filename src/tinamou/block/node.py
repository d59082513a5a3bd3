"""Nodes of the block graph and the code all drivers share.

A node is a virtual disk: `size` bytes that can be read, written, zeroed, discarded. Three kinds of driver subclass `Node`:

`Protocol`  reaches storage (a file, a device, nothing at all); it implements the byte operations themselves.
`Format`    lays a disk out inside other nodes. It answers "where does this byte live?" (`extent`) and "make room for it"
            (`allocate`, `link`); reading, writing, copy-on-write, zeroing, backing chains, map, convert, compare, commit and
            rebase are shared code over these answers. Data moves as whole extents between files and buffers, never byte by
            byte through Python.
`Filter`    passes everything to its child and changes one thing on the way.

Drivers are found by file name: driver `copy-on-read` is `filters/copy_on_read.py`. Nothing else lists them.

All positions and lengths are bytes. A node may be used from several threads; `Format.lock` guards metadata.
"""

from __future__ import annotations

import time
from _thread import RLock

from . import options as opt
from .errors import BlockError, CorruptImage, Unsupported
from .extents import Extent, Status, status, walk
from .notation import TYPE_CHECKING, Any, ClassVar
from .options import Options
from .results import CheckResult, Snapshot
from .settings import Settings
from .zero import LONGEST, fill_zero, is_zero, zeroes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .graph import Graph

    Buffer = bytes | bytearray | memoryview


class Node:
    """A virtual disk. Subclasses say what they need in class attributes and override what differs."""

    driver: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    drivers: ClassVar[dict[str, type[Node]]] = {}
    child_names: ClassVar[tuple[str, ...]] = ()
    """Names of options that are child nodes (`file`, `backing`, `data-file`)."""
    abstract: ClassVar[bool] = True

    class Open(Options):
        """Options understood when opening, besides the generic ones."""

    class Create(Options):
        """Options understood by `create`; a driver that cannot create leaves `can_create` False."""

    can_create: ClassVar[bool] = False

    def __init_subclass__(cls, name: str = "") -> None:
        cls.driver = name
        cls.abstract = not name
        if name:
            Node.drivers[name] = cls

    def __init__(self, graph: Graph, options: Options, settings: Settings) -> None:
        self.graph = graph
        self.opts = options
        self.settings = settings
        self.name = ""
        self.filename = ""
        self.read_only = not settings.write
        self.size = 0
        self.children: dict[str, Node] = {}
        self.alignment = 1
        self.probed = False
        self.rules: dict[str, Any] = {}
        self.full_options: dict[str, Any] = {}

    @classmethod
    def split_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Take options that are not plain values out of `options`; `self.rules` has them when `open` is called."""
        return {}

    # What a driver implements

    def open(self) -> None:
        """Read headers and set `size`; children are there already. Raises `BlockError` for anything that is wrong."""

    def close(self) -> None:
        """Write what is cached and let go; called once, before the children are closed."""

    def extent(self, pos: int, want: int) -> Extent:
        """Where the bytes from `pos` on live; `want` says how far the caller cares (a hint)."""
        raise NotImplementedError

    def read_into(self, pos: int, view: memoryview) -> None:
        """Fill `view` from byte `pos`; the range is inside the disk. Raises `OSError`."""
        raise NotImplementedError

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        """Write the buffers one after the other from byte `pos` on. Raises `OSError`."""
        raise NotImplementedError

    def copy_range(self, pos: int, source: Node, source_pos: int, length: int) -> bool:
        """Copy from another node without moving the data through this process; False when that is not possible (part of the
        range may have been copied)."""
        return False

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        """Make the range read as zeroes; `unmap` allows giving the space back."""
        while length:
            n = min(length, LONGEST)
            self.writev(pos, [zeroes(n)])
            pos, length = pos + n, length - n

    def discard(self, pos: int, length: int) -> None:
        """The contents of the range are of no further use. Doing nothing is allowed."""

    def flush(self) -> None:
        """Everything written is on stable storage when this returns."""
        for child in self.children.values():
            child.flush()

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        """Change the disk's size in bytes; new space reads as zeroes."""
        raise Unsupported("Image format driver does not support resize")

    # What users call

    def read(self, pos: int, length: int) -> bytes:
        """`length` bytes from `pos`; bytes beyond the end of the disk read as zeroes."""
        data = bytearray(length)
        n = max(0, min(length, self.size - pos))
        if n:
            self.read_into(pos, memoryview(data)[:n])
        return bytes(data)

    def write(self, pos: int, data: Buffer) -> None:
        if len(data):
            self.writev(pos, [data])

    def sync_metadata(self) -> None:
        """Hand cached metadata to the file below without waiting for the disk."""

    main_child: ClassVar[str] = "file"

    @property
    def file(self) -> Node:
        """The main child."""
        return self.children[self.main_child]

    def debug_event(self, event: str) -> None:
        """Format drivers say what they are about to do ("l2_update"); only `blkdebug` listens."""

    @property
    def backing(self) -> Node | None:
        return self.children.get("backing")

    @property
    def below(self) -> Node | None:
        """The node whose disk this one shows: for filters the child, otherwise None."""
        return None

    def zeroes_when_new(self) -> bool:
        """Whether a freshly created disk of this driver reads as zeroes."""
        return False

    def allocated_bytes(self) -> int | None:
        """Host storage used, in bytes (`disk size`)."""
        total = None
        for name, child in self.children.items():
            n = child.allocated_bytes() if name != "backing" else None
            if n is not None:
                total = n + (total or 0)
        return total

    def info(self) -> dict[str, Any] | None:
        """The `format-specific` data of `info`: JSON keys and values in the order shown; None: nothing to say."""
        return None

    name_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of a `json:` name in their order; options among them, when given, cannot be left out of the node's name."""

    def exact_filename(self) -> str:
        """The name a user can type to get at this node, `json:{...}` when no plain name says it all."""
        if not any(key in self.full_options for key in self.name_keys if key != "driver"):
            return self.filename
        import json

        values = dict(self.full_options)
        if "file" in self.children:
            values["file"] = {"driver": self.file.driver, "filename": self.file.filename}
        return "json:" + json.dumps({key: values[key] for key in self.name_keys if values.get(key) is not None})

    def __repr__(self) -> str:
        return f"<{self.driver} {self.filename!r} size={self.size}>"


class Protocol(Node):
    """Reaches storage. Implements `open`, `read_into`, `writev`, `flush`, usually `extent`, `write_zeroes`, `discard`,
    `resize`; and `create_file` when it can create."""

    kind = "protocol"
    prefixes: ClassVar[tuple[str, ...]] = ()
    """File name prefixes this driver claims: `("nbd",)` claims `nbd:...`."""

    @classmethod
    def parse_filename(cls, filename: str) -> dict[str, Any]:
        """Open options said by a file name with one of the prefixes (or, for `file`, any name)."""
        return {"filename": filename}

    def lock(self, resize: bool, exclusive: bool) -> None:
        """Take the host locks for the parent: `resize` the file may change size, `exclusive` nobody else may write."""

    @classmethod
    def claims(cls, filename: str) -> bool:
        """Whether a name without prefix belongs here (`host_device` claims /dev/sda)."""
        return False

    @classmethod
    def create_file(cls, graph: Graph, filename: str, options: Options) -> None:
        """Create storage named `filename`, empty or of `options.size` bytes; existing contents are lost."""
        raise BlockError(f"Protocol driver '{cls.driver}' does not support image creation")

    @classmethod
    def delete_file(cls, filename: str) -> None:
        """Remove what `create_file` made."""

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("data", self.size - pos, pos, file=self)


class Filter(Node):
    """Shows its child `file`, changed. Everything not overridden goes to the child."""

    kind = "filter"
    child_names = ("file",)
    prefixes: ClassVar[tuple[str, ...]] = ()
    """File name prefixes that put this filter over a file; `parse_filename` says the options."""

    @classmethod
    def parse_filename(cls, filename: str) -> dict[str, Any]:
        raise NotImplementedError

    def open(self) -> None:
        self.size = self.file.size
        self.alignment = self.file.alignment

    @property
    def below(self) -> Node | None:
        return self.children.get(self.main_child)

    def debug_event(self, event: str) -> None:
        self.file.debug_event(event)

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("data", self.size - pos, pos)

    def read_into(self, pos: int, view: memoryview) -> None:
        self.file.read_into(pos, view)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        self.file.writev(pos, buffers)
        self.size = self.file.size

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        self.file.write_zeroes(pos, length, unmap)
        self.size = self.file.size

    def discard(self, pos: int, length: int) -> None:
        self.file.discard(pos, length)

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        self.file.resize(size, preallocation, exact)
        self.size = self.file.size

    def zeroes_when_new(self) -> bool:
        return self.file.zeroes_when_new()


class Alone:
    """`with Alone(node):` holds the lock of a format while no other thread reads or writes where it found an extent before: for
    changes that make a place belong to somebody else, or to a snapshot as well. Not for a thread that has the lock already."""

    def __init__(self, node: Format) -> None:
        self.node = node

    def __enter__(self) -> None:
        node = self.node
        while True:
            node.lock.acquire()
            if not node.running:
                return
            node.lock.release()
            time.sleep(0.0002)

    def __exit__(self, *exc: object) -> None:
        self.node.lock.release()


class Format(Node):
    """Lays a disk out inside `file`. A format is one module in `formats/`; see docs/how-to/add-an-image-format.md.

    It must have: `probe`, `open` (sets `size`, and `cluster_size` if it allocates in units), `extent`.
    To be written to: `allocate` and `link`. To be created: `class Create(Options)` and `create`.
    It may have: `erase` (zero or discard whole clusters by metadata alone), `resize`, `check`, `info`, `flush_metadata`,
    `snapshots`, `compress`/`link_compressed`, `encrypt`/`decrypt`, `measure`, `backing_file`.
    """

    kind = "format"
    child_names: ClassVar[tuple[str, ...]] = ("file", "backing")
    supports_backing: ClassVar[bool] = False
    owns_file: ClassVar[bool] = True
    """Whether others may not write to or resize the host file while it is open (raw: they may)."""
    supports_check: ClassVar[bool] = False
    look_below: bool = False
    """Whether `status` also asks the file below about data extents (raw does: a hole of the file reads as zeroes)."""
    present_when_zero: bool = False
    compression: ClassVar[bool] = False
    """Whether `convert -c` works: the class has `compress` and `link_compressed`."""

    class Create(Options):
        size = opt.size("Virtual disk size")

    def __init__(self, graph: Graph, options: Options, settings: Settings) -> None:
        super().__init__(graph, options, settings)
        self.lock = RLock()
        self.cluster_size = 0
        self.backing_file: str | None = None
        self.backing_format: str | None = None
        self._unpacked: tuple[tuple[Node, int, int], bytes] | None = None
        self.running: set[object] = set()
        """One object per access that has found an extent and now, without the lock, reads or writes there. What a disk no longer
        uses may be given to others once the accesses that ran at that time are done. Objects are added under the lock."""

    # The format itself

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        """How sure it is that a file is of this format, 0 to 100, from its first bytes (2048 at most)."""
        return 0

    @classmethod
    def create(cls, graph: Graph, file: Node, options: Any) -> None:
        """Write a new, empty image of `options.size` bytes into the empty `file`."""
        raise BlockError(f"Format driver '{cls.driver}' does not support image creation")

    @classmethod
    def create_image(cls, graph: Graph, filename: str, protocol: type[Protocol], options: Any) -> None:
        """Make the file, open it, call `create`; a failure removes the file again."""
        lower = protocol.Create()
        for option in lower.declared():
            if option.key in options.given and option.attribute != "size":
                setattr(lower, option.attribute, getattr(options, option.attribute))
        protocol.create_file(graph, filename, lower)
        file = None
        try:
            file = graph.open_options({}, Settings(write=True, discard="unmap"), filename, as_file=True)
            cls.create(graph, file, options)
        except BaseException:
            protocol.delete_file(filename)
            raise
        finally:
            if file is not None:
                graph.close_node(file)

    def allocate(self, pos: int, length: int) -> Extent:
        """Reserve room for the whole clusters `pos` .. `pos + length` (multiples of `cluster_size`; the last cluster may
        reach beyond the disk's end).

        Returns a "data" (or "crypt") extent of at least one cluster, at most `length` bytes, contiguous in its file. The
        contents there are undefined; nothing of it may be visible to readers, on disk or in memory, before `link`.
        `offset` < 0 is not allowed; raise `OSError(ENOSPC)` when there is no room.
        """
        raise BlockError(f"Image format driver '{self.driver}' cannot be written to")

    def link(self, pos: int, extent: Extent) -> None:
        """The clusters from `pos` on now live in `extent`, whose data has been written: record it. What they lived in
        before is released."""
        raise NotImplementedError

    def erase(self, pos: int, length: int, zero: bool, unmap: bool = True) -> bool:
        """Make the whole clusters read as zeroes (`zero`), or forget them (what a discard may do), by metadata alone. `unmap`: their
        space may be given up. False: this format cannot, and the shared code writes zeroes (or does nothing)."""
        return False

    reserves: ClassVar[bool] = False
    """Whether `allocate` may be called again before `link` or `unlink_failed`, and then has other room to give."""

    def unlink_failed(self, pos: int, extent: Extent) -> None:
        """Writing to `extent` failed before `link`: release the reservation."""

    def flush_metadata(self) -> None:
        """Write cached metadata to `file`, in an order that leaves the image consistent at each step."""

    def decrypt(self, pos: int, offset: int, view: memoryview) -> None:
        """Decrypt `view` in place; it is byte `pos` of the disk and byte `offset` of the file, both sector aligned."""
        raise NotImplementedError

    def encrypt(self, pos: int, offset: int, data: Buffer) -> Buffer:
        """The ciphertext of `data` (a new buffer)."""
        raise NotImplementedError

    def unpack(self, kind: str, data: Buffer, length: int) -> bytes:
        """Decompress one cluster of `length` bytes; raises `CorruptImage`."""
        from .compress import unpack

        return unpack(kind, data, length)

    def compress(self, data: Buffer) -> bytes | None:
        """Pack one cluster; None when it does not become smaller. Called from several threads at once."""
        raise NotImplementedError

    def link_compressed(self, pos: int, data: bytes, length: int) -> None:
        """Store a packed cluster as the cluster at `pos`, `length` bytes unpacked."""
        raise Unsupported("Compression not supported for this file format")

    def check(self, fix_leaks: bool, fix_errors: bool) -> CheckResult:
        """Look for contradictions, repair them if asked."""
        raise Unsupported("This image format does not support checks")

    @classmethod
    def measure(cls, options: Any, disk_size: int, ranges: Iterable[tuple[int, int]]) -> tuple[int, int]:
        """File size needed for a disk with data in `ranges` [(start, length)], and for a fully allocated one."""
        raise Unsupported(f"Block driver '{cls.driver}' does not support size measurement")

    def snapshots(self) -> list[Snapshot]:
        """The internal snapshots, oldest first."""
        return []

    def plain_runs(self, pos: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Quickly walk over plain data: (position, length, offset in `file`) from `pos` on, stopping before anything that is
        not data in `file` as it is. Nothing is a right answer; large fragmented images are mapped faster with it."""
        return iter(())

    # Shared code

    def announce(self, event: str) -> None:
        """What will be done next to the file, by the names that `blkdebug` knows. Only qcow2 says it."""

    @property
    def encrypted(self) -> bool:
        return False

    def cluster_extent_size(self) -> int:
        return self.cluster_size or 512

    def write_unit(self, pos: int, extent: Extent) -> int:
        """Bytes that must be written together where `extent` is now: the cluster, or less."""
        return self.cluster_extent_size()

    def unpacked_length(self, pos: int) -> int:
        """Bytes of the unpacked cluster at `pos`."""
        return self.cluster_size

    def read_into(self, pos: int, view: memoryview) -> None:
        access = object()
        try:
            self._read_extents(access, pos, view, "read_aio")
        finally:
            self.running.discard(access)

    def _read_extents(self, access: object, pos: int, view: memoryview, event: str) -> None:
        end = pos + len(view)
        at = 0
        while pos < end:
            want = end - pos
            with self.lock:
                extent = self.extent(pos, want)
                self.running.add(access)
            n = extent.length if extent.length < want else want
            part = view[at : at + n]
            kind = extent.kind
            if kind == "data":
                self.announce(event)
                self._read_file(extent.file or self.children["file"], extent.offset, part)
            elif kind == "hole":
                self.read_backing(pos, part)
            elif kind == "zero":
                fill_zero(part)
            elif kind == "crypt":
                self.announce(event)
                self._read_crypt(pos, extent, part)
            else:
                cluster = self.read_packed(extent, self.unpacked_length(pos))
                part[:] = cluster[extent.skip : extent.skip + n]
            pos += n
            at += n

    def read_backing(self, pos: int, view: memoryview) -> None:
        """Fill `view` from the backing node; bytes beyond its end are zero."""
        backing = self.children.get("backing")
        n = 0
        if backing is not None:
            n = max(0, min(len(view), backing.size - pos))
            if n:
                self.announce("read_backing_aio")
                backing.read_into(pos, view[:n])
        if n < len(view):
            fill_zero(view[n:])

    @staticmethod
    def _read_file(file: Node, offset: int, view: memoryview) -> None:
        n = max(0, min(len(view), file.size - offset))
        if n:
            file.read_into(offset, view[:n])
        if n < len(view):
            fill_zero(view[n:])

    def _read_crypt(self, pos: int, extent: Extent, view: memoryview) -> None:
        sector = 512
        head = pos % sector
        n = (head + len(view) + sector - 1) // sector * sector
        data = view if not head and n == len(view) else memoryview(bytearray(n))
        self._read_file(extent.file or self.children["file"], extent.offset - head, data)
        self.decrypt(pos - head, extent.offset - head, data)
        if data is not view:
            view[:] = data[head : head + len(view)]

    def read_packed(self, extent: Extent, length: int) -> bytes:
        """The unpacked cluster of a compressed extent; the last one is remembered."""
        file = extent.file or self.children["file"]
        key = (file, extent.offset, extent.size)
        last = self._unpacked
        if last is not None and last[0] == key:
            return last[1]
        data = bytearray(extent.size)
        self.announce("read_compressed")
        self._read_file(file, extent.offset, memoryview(data))
        cluster = self.unpack(extent.kind, data, length)
        self._unpacked = (key, cluster)
        return cluster

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        if len(buffers) == 1:
            view = memoryview(buffers[0]).cast("B")
        else:
            view = memoryview(b"".join(buffers))
        if self.settings.detect_zeroes != "off" and is_zero(view):
            self.write_zeroes(pos, len(view), self.settings.detect_zeroes == "unmap")
            return
        end = pos + len(view)
        at = 0
        while pos < end:
            want = end - pos
            with self.lock:
                extent = self.extent(pos, want)
                in_place = extent.writable and extent.kind in ("data", "crypt")
                if in_place:
                    access = object()
                    self.running.add(access)
                else:
                    n = self._write_new(pos, view[at:], extent)
            if in_place:
                n = min(want, extent.length)
                try:
                    self._write_extent(pos, extent, view[at : at + n])
                finally:
                    self.running.discard(access)
            pos += n
            at += n

    def reserve(self, pos: int, length: int) -> Extent | None:
        """Room for new data of some of the whole clusters from `pos` on, which the caller then hands to `write_reserved`; None where
        `writev` has to do it. Nobody else may write to these clusters meanwhile."""
        if not self.reserves or self.settings.detect_zeroes != "off":
            return None
        with self.lock:
            old = self.extent(pos, length)
            return None if old.writable and old.kind in ("data", "crypt") else self.allocate(pos, length)

    def write_reserved(self, pos: int, new: Extent, data: Buffer) -> None:
        """Write to what `reserve` gave; only taking it into the map needs the lock."""
        try:
            file = new.file or self.children["file"]
            self.announce("write_aio")
            file.writev(new.offset, [self.encrypt(pos, new.offset, data) if new.kind == "crypt" else data])
        except BaseException:
            self.give_back(pos, new)
            raise
        with self.lock:
            self.link(pos, new)

    def give_back(self, pos: int, new: Extent) -> None:
        """What `reserve` gave will not be written."""
        with self.lock:
            self.unlink_failed(pos, new)

    def copy_range(self, pos: int, source: Node, source_pos: int, length: int) -> bool:
        end = pos + length
        while pos < end:
            with self.lock:
                extent = self.extent(pos, end - pos)
                n = min(extent.length, end - pos)
                if extent.kind == "crypt":
                    return False
                if extent.kind == "data" and extent.writable:
                    file = extent.file or self.file
                    if not file.copy_range(extent.offset, source, source_pos, n):
                        return False
                else:
                    n = self._copy_new(pos, source, source_pos, end - pos, extent)
                    if not n:
                        return False
            pos += n
            source_pos += n
        return True

    def _copy_new(self, pos: int, source: Node, source_pos: int, length: int, old: Extent) -> int:
        """As `_write_new`, whole clusters only; the bytes copied, 0: not possible."""
        unit = self.write_unit(pos, old)
        n = min(length, max(old.length, unit))
        if pos % unit or (n % unit and pos + n != self.size):
            n = n // unit * unit
        if pos % unit or not n:
            return 0
        new = self.allocate(pos, -(-n // unit) * unit)
        n = min(n, new.length)
        new = new._replace(length=-(-n // unit) * unit)
        done = False
        try:
            file = new.file or self.file
            done = new.kind == "data" and file.copy_range(new.offset, source, source_pos, n)
            if done and n < new.length:
                file.write_zeroes(new.offset + n, new.length - n)
        finally:
            if not done:
                self.unlink_failed(pos, new)
        if done:
            self.link(pos, new)
        return n if done else 0

    def _write_extent(self, pos: int, extent: Extent, data: memoryview) -> None:
        file = extent.file or self.children["file"]
        self.announce("write_aio")
        if extent.kind == "data":
            file.writev(extent.offset, [data])
            return
        head = pos % 512
        tail = -(head + len(data)) % 512
        if head or tail:
            with self.lock:
                whole = bytearray(head + len(data) + tail)
                view = memoryview(whole)
                self._read_crypt(pos - head, extent._replace(offset=extent.offset - head), view)
                view[head : head + len(data)] = data
                file.writev(extent.offset - head, [self.encrypt(pos - head, extent.offset - head, view)])
        else:
            file.writev(extent.offset, [self.encrypt(pos, extent.offset, data)])

    def _write_new(self, pos: int, data: memoryview, old: Extent) -> int:
        """Write the first bytes of `data` to new clusters, with what surrounds them in their clusters; bytes taken."""
        unit = self.write_unit(pos, old)
        start = pos // unit * unit
        n = min(len(data), max(old.length, unit - (pos - start)))
        if old.kind not in ("hole", "zero", "data", "crypt"):
            n = min(n, unit - (pos - start))
        new = self.allocate(start, -(-(pos + n) // unit) * unit - start)
        try:
            n = min(n, start + new.length - pos)
            stop = pos + n
            end = -(-stop // unit) * unit
            new = new._replace(length=end - start)
            file = new.file or self.children["file"]
            if new.kind == "data" and new.offset >= file.size and self._was_zero(start, end, old):
                # What the file has not had yet reads as zeroes.
                if n < new.length:
                    self.announce("cluster_alloc_space")
                self.announce("write_aio")
                file.writev(new.offset + pos - start, [data[:n]])
                if file.size < new.offset + new.length:
                    file.write_zeroes(file.size, new.offset + new.length - file.size)
            else:
                pieces: list[Buffer] = []
                if end - start > n:
                    self.announce("cow_read")
                if pos > start:
                    pieces.append(self._old_bytes(start, pos))
                pieces.append(data[:n])
                if end > stop:
                    pieces.append(self._old_bytes(stop, end))
                if new.kind == "crypt":
                    pieces = [self.encrypt(start, new.offset, b"".join(pieces))]
                if end - start > n:
                    self.announce("cow_write")
                self.announce("write_aio")
                file.writev(new.offset, pieces)
        except BaseException:
            self.unlink_failed(start, new)
            raise
        self.link(start, new)
        return n

    def _was_zero(self, start: int, end: int, old: Extent) -> bool:
        """Whether the clusters from `start` to `end`, which hold `old`, are known to read as zeroes."""
        if self.cluster_extent_size() != self.cluster_size:
            return False
        backing = self.children.get("backing")
        if old.kind != "hole":
            return old.kind == "zero"
        if backing is None or start >= backing.size:
            return True
        end = min(end, backing.size)
        found = status(backing, start, end - start)
        return found.zero and found.length >= end - start

    def _old_bytes(self, start: int, end: int) -> Buffer:
        """The disk's present contents, zeroes beyond its end."""
        data = bytearray(end - start)
        n = min(end, self.size) - start
        access = object()
        if n > 0:
            try:
                self._read_extents(access, start, memoryview(data)[:n], "cow_read")
            finally:
                self.running.discard(access)
        return data

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        self._whole_clusters(pos, length, True, unmap)

    def discard(self, pos: int, length: int) -> None:
        self._whole_clusters(pos, length, False, True)

    def _whole_clusters(self, pos: int, length: int, zero: bool, unmap: bool) -> None:
        end = pos + length
        unit = self.cluster_extent_size()
        start = -(-pos // unit) * unit
        stop = end if end == self.size else end // unit * unit
        if self.cluster_size and start < stop:
            whole = -(-stop // unit) * unit
            with self.lock:
                done = self.erase(start, whole - start, zero, unmap)
        else:
            done = False
        if not zero:
            return
        for a, b in ((pos, start), (stop, end)) if done else ((pos, end),):
            while a < b:
                n = min(b - a, LONGEST)
                with self.lock:
                    extent = self.extent(a, n)
                n = min(n, extent.length)
                backing = self.children.get("backing")
                if extent.kind == "data" and extent.writable:
                    (extent.file or self.file).write_zeroes(extent.offset, n, unmap)
                elif extent.kind == "zero" or (extent.kind == "hole" and (backing is None or a >= backing.size)):
                    pass
                else:
                    self.writev(a, [zeroes(n)])
                a += n

    def flush(self) -> None:
        with self.lock:
            self.flush_metadata()
        for name, child in self.children.items():
            if name != "backing":
                child.flush()

    def close(self) -> None:
        if not self.read_only:
            self.flush_metadata()

    def zeroes_when_new(self) -> bool:
        return True


def extend_zeroed(file: Node, size: int, preallocation: str = "off") -> None:
    """Make a new file `size` bytes long, all zero; a device, which is as long as it is, is written."""
    if file.zeroes_when_new():
        file.resize(size, preallocation)
    else:
        file.write_zeroes(0, size, preallocation == "off")


__all__ = [
    "Alone",
    "BlockError",
    "CheckResult",
    "CorruptImage",
    "Extent",
    "Filter",
    "Format",
    "Node",
    "Options",
    "Protocol",
    "Settings",
    "Snapshot",
    "Status",
    "Unsupported",
    "extend_zeroed",
    "fill_zero",
    "is_zero",
    "status",
    "walk",
    "zeroes",
]
