"""VMware disks (VMware, "Virtual Disk Format 5.0"): a descriptor, in a file of its own or inside a sparse extent, and extents.

`descriptor` has the text, `extents` the layouts of flat and sparse extents, `creation` makes new images.
"""

from __future__ import annotations

import errno
import os
import zlib
from bisect import bisect_right
from collections.abc import Sequence

from ... import options as opt
from ...node import BlockError, CheckResult, CorruptImage, Extent, Format, Node
from ...notation import TYPE_CHECKING, Any
from .descriptor import CREATE_TYPES, FLAT_KINDS, MAX_TEXT, NO_PARENT, Descriptor, is_descriptor
from .extents import ESX_MAGIC, MAGIC, MARKER, SECTOR, Flat, Part, Sparse, SparseHeader

if TYPE_CHECKING:
    from ...graph import Graph
    from ...node import Buffer, Protocol


class ParentChanged(BlockError, OSError):
    """The backing file has been written to since this image was made; also an `OSError` with EINVAL."""

    def __init__(self, message: str) -> None:
        BlockError.__init__(self, message)
        self.errno = errno.EINVAL
        self.strerror = os.strerror(errno.EINVAL)


class Vmdk(Format, name="vmdk"):
    supports_backing = True
    supports_check = True
    can_create = True
    compression = True

    class Create(Format.Create):
        adapter_type = opt.text("Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX")
        backing_file = opt.text("File name of a base image")
        backing_fmt = opt.text("Must be 'vmdk' if present")
        compat6 = opt.flag("VMDK version 6 image", False)
        hwversion = opt.text("VMDK hardware version", "undefined")
        toolsversion = opt.text("VMware guest tools version")
        subformat = opt.text(
            "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | "
            "twoGbMaxExtentFlat | streamOptimized} "
        )
        zeroed_grain = opt.flag("Enable efficient zero writes using the zeroed-grain GTE feature")

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        return 100 if head[:4] in (MAGIC, ESX_MAGIC) or is_descriptor(head) else 0

    # Opening

    def open(self) -> None:
        self.parts: list[Part] = []
        self.descriptor_at: tuple[int, int] | None = None
        magic = self.file.read(0, 4)
        if magic == MAGIC:
            self._open_hosted()
        elif magic == ESX_MAGIC:
            self.descriptor = Descriptor('CID=fffffffe\nparentCID=ffffffff\ncreateType="vmfsSparse"\n')
            self._add(Sparse(0, self.file, os.path.basename(self.filename), ""))
        else:
            self._open_text(self.file.read(0, min(self.file.size, MAX_TEXT)))
        self.starts = [part.start for part in self.parts]
        self.size = self.parts[-1].start + self.parts[-1].length if self.parts else 0
        if self.size >= 1 << 63:
            raise BlockError(f"A disk of {self.size} bytes is too large")
        self.alignment = SECTOR
        self.cid = self.descriptor.content_id("CID")
        self.parent_cid = self.descriptor.content_id("parentCID") if "parentCID" in self.descriptor.values else NO_PARENT
        self.backing_file = self.descriptor.parent
        self.backing_format = "vmdk" if self.backing_file else None
        sparse = [part.grain for part in self.parts if part.grain]
        self.cluster_size = max(sparse, default=0)
        self.compressed_only = any(part.compressed for part in self.parts)
        self.parent_checked = self.changed = False
        if not self.read_only:
            self._check_writable()

    def _open_hosted(self) -> None:
        header = SparseHeader.unpack(self.file.read(0, SparseHeader.packed_size))
        offset, size = header.descriptor_offset * SECTOR, header.descriptor_size * SECTOR
        data = b""
        if offset:
            if size > MAX_TEXT:
                raise BlockError(f"The descriptor of {header.descriptor_size} sectors is too large")
            data = self.file.read(offset, size)
            self.descriptor_at = offset, size
        self.descriptor = Descriptor.decode(data)
        if not header.capacity and self.descriptor.create_type not in ("monolithicSparse", "streamOptimized", ""):
            self._open_text(data)
            return
        self._add(Sparse(0, self.file, os.path.basename(self.filename), ""))

    def _open_text(self, data: bytes) -> None:
        self.descriptor = descriptor = Descriptor.decode(data)
        if not is_descriptor(data):
            raise BlockError("invalid VMDK image descriptor")
        kind = descriptor.create_type
        if not kind:
            raise BlockError("invalid VMDK image descriptor")
        if kind not in CREATE_TYPES or kind in ("monolithicSparse", "streamOptimized"):
            raise BlockError(f"Unsupported image type '{kind}'")
        start = 0
        for line in descriptor.extents():
            length = line.sectors * SECTOR
            if line.access == "NOACCESS":
                raise BlockError(f"The extent '{line.name}' may not be accessed")
            if line.kind == "ZERO":
                self._add(Part(start, length, None, line.name, "ZERO"))
            else:
                file = self._open_extent(line.name, line.access == "RDONLY")
                if line.kind in FLAT_KINDS:
                    part: Part = Flat(start, length, file, line.name, "FLAT", line.offset * SECTOR)
                else:
                    part = Sparse(start, file, line.name, line.kind)
                    part.length = min(part.length, length)
                part.read_only = line.access == "RDONLY"
                self._add(part)
                if part.length < length:
                    raise BlockError(f"The extent '{line.name}' has {part.length // SECTOR} sectors, the descriptor says {line.sectors}")
            start += length
            if start >= 1 << 63:
                raise BlockError(f"The extents make a disk of {start} bytes, which is too large")
        if not self.parts and not self.settings.for_check:
            raise BlockError("The descriptor names no extents")

    def _open_extent(self, name: str, read_only: bool) -> Node:
        from ...graph import combine, has_protocol

        if has_protocol(name):
            raise BlockError(f"The extent's name '{name}' is not the path of a file")
        path = combine(self.filename, name)
        for part in self.parts:
            if part.file is not None and (part.file.filename, part.read_only) == (path, read_only):
                return part.file
        settings = self.settings.replace(write=self.settings.write and not read_only)
        node = self.graph.open_options({}, settings, path, as_file=True)
        self.children[f"extents.{len(self.parts)}"] = node
        node.lock(True, True)  # type: ignore[attr-defined]
        return node

    def _add(self, part: Part) -> None:
        self.parts.append(part)

    def _check_writable(self) -> None:
        for part in self.parts:
            if isinstance(part, Sparse):
                if part.version == 3 and not part.compressed:
                    raise BlockError("VMDK version 3 must be read only")
                aligned = part.start % self.cluster_size == 0 and part.grain == self.cluster_size
                if not aligned or (part is not self.parts[-1] and part.length % part.grain):
                    raise BlockError(
                        f"The grains of extent '{part.name}' do not lie at multiples of {self.cluster_size}: it can only be read"
                    )
                if part.compressed and len(self.parts) > 1:
                    raise BlockError("A compressed extent among others can only be read")

    # Reading

    def part_at(self, pos: int) -> Part:
        return self.parts[bisect_right(self.starts, pos) - 1]

    @property
    def look_below(self) -> bool:  # type: ignore[override]
        """The files of flat extents may have holes."""
        return all(not part.grain for part in self.parts)

    def extent(self, pos: int, want: int) -> Extent:
        part = self.parts[0] if len(self.parts) == 1 else self.part_at(pos)
        return part.extent(pos - part.start, want)

    def unpacked_length(self, pos: int) -> int:
        return self.part_at(pos).grain

    def read_packed(self, extent: Extent, length: int) -> bytes:
        file = extent.file or self.file
        part = next(p for p in self.parts if p.file is file)
        offset, size = extent.offset, 2 * length
        if isinstance(part, Sparse) and part.markers:
            _, size = MARKER.unpack(file.read(offset, MARKER.size))
            offset += MARKER.size
            if size > 2 * length + 1024:
                raise CorruptImage(f"The compressed grain at byte {extent.offset} of '{part.name}' claims {size} bytes")
        size = max(0, min(size, file.size - offset))
        return super().read_packed(extent._replace(offset=offset, size=size), length)

    def unpack(self, kind: str, data: Buffer, length: int) -> bytes:
        """A grain at the end of the disk may be shorter."""
        try:
            out = zlib.decompressobj(15).decompress(data, length)
        except zlib.error as error:
            raise CorruptImage(f"Compressed grain cannot be unpacked: {error}") from None
        if not out:
            raise CorruptImage("Compressed grain is empty")
        return out.ljust(length, b"\0")

    def read_backing(self, pos: int, view: memoryview) -> None:
        if not self.parent_checked:
            self._check_parent()
        super().read_backing(pos, view)

    def _check_parent(self) -> None:
        """The parent must be the one, and in the state, that this image was made for."""
        backing = self.backing
        self.parent_checked = True
        if isinstance(backing, Vmdk) and not backing.changed and backing.cid != self.parent_cid:
            self.parent_checked = False
            raise ParentChanged(
                f"the backing file '{backing.filename}' was changed: its content ID is {backing.cid:08x}, not {self.parent_cid:08x}"
            )

    # Writing

    def cluster_extent_size(self) -> int:
        return self.cluster_size or SECTOR

    def note_change(self) -> None:
        """The first write gives the disk a new content ID, so that images based on it notice."""
        if self.changed:
            return
        with self.lock:
            if not self.changed:
                new = int.from_bytes(os.urandom(4), "little") & 0x7FFF_FFFF
                self._write_ids(CID=new)
                self.cid = new
                self.changed = True

    def _write_ids(self, **ids: int) -> None:
        if not self.descriptor.text:
            return
        for key, value in ids.items():
            self.descriptor.set_content_id(key, value)
        data = self.descriptor.encode()
        if self.descriptor_at is not None:
            offset, size = self.descriptor_at
            if len(data) <= size:
                self.file.write(offset, data.ljust(size, b"\0"))
        elif self.file.read(0, 4) != ESX_MAGIC:
            self.file.write(0, data)
            if self.file.size > len(data):
                self.file.resize(len(data))

    def backing_committed(self) -> None:
        """The backing file now has this image's contents: remember its new content ID."""
        if isinstance(self.backing, Vmdk):
            self.parent_cid = self.backing.cid
            self._write_ids(parentCID=self.parent_cid)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        self.note_change()
        if self.compressed_only:
            self._write_compressed(pos, memoryview(b"".join(buffers)))
        else:
            super().writev(pos, buffers)

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        self.note_change()
        super().write_zeroes(pos, length, unmap)

    def copy_range(self, pos: int, source: Node, source_pos: int, length: int) -> bool:
        if self.compressed_only:
            return False
        self.note_change()
        return super().copy_range(pos, source, source_pos, length)

    def _writable(self, pos: int) -> Sparse:
        part = self.part_at(pos)
        if not isinstance(part, Sparse) or part.read_only or part.directory_at_end:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return part

    def allocate(self, pos: int, length: int) -> Extent:
        part = self._writable(pos)
        grain = part.grain
        number, at = divmod((pos - part.start) // grain, part.entries)
        n = part.room(number, at, min(length, -(-(part.length - (pos - part.start)) // grain) * grain) // grain)
        if part.table(number) is None:
            part.store(number * part.entries, [0])
        return Extent("data", n * grain, part.new_space(n * grain, grain), file=part.file)

    def link(self, pos: int, extent: Extent) -> None:
        part = self._writable(pos)
        first, step = extent.offset // SECTOR, part.grain // SECTOR
        part.store((pos - part.start) // part.grain, [first + i * step for i in range(extent.length // part.grain)])

    def flush_metadata(self) -> None:
        for part in self.parts:
            if isinstance(part, Sparse):
                part.flush()

    def unlink_failed(self, pos: int, extent: Extent) -> None:
        part = self._writable(pos)
        part.give_back(extent.offset, -(-extent.length // part.grain) * part.grain)

    def erase(self, pos: int, length: int, zero: bool, unmap: bool = True) -> bool:
        """With the header's zeroed-grain flag, zero grains cost an entry only; discards change nothing."""
        if not zero:
            return False
        end = pos + length
        at = pos
        while at < end:
            part = self.part_at(min(at, self.size - 1))
            if not isinstance(part, Sparse) or not part.zero_grain or part.compressed or part.read_only:
                return False
            at = part.start + -(-part.length // part.grain) * part.grain
        backing = self.backing
        while pos < end:
            part = self._writable(pos)
            index = (pos - part.start) // part.grain
            stop = min(end, part.start + (index // part.entries + 1) * part.reach)
            stop = min(stop, part.start + -(-part.length // part.grain) * part.grain)
            if part.table(index // part.entries) is not None or (backing is not None and pos < backing.size):
                part.store(index, [1] * ((stop - pos) // part.grain))
            pos = stop
        return True

    # Compressed extents are written once

    def _write_compressed(self, pos: int, view: memoryview) -> None:
        grain = self.cluster_size
        if pos % grain or (len(view) % grain and pos + len(view) != self.size):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        for at in range(0, len(view), grain):
            piece = bytes(view[at : at + grain]).ljust(grain, b"\0")
            self.link_compressed(pos + at, self.compress(piece), grain)

    def compress(self, data: Buffer) -> bytes:
        from ...compress import pack_deflate

        return pack_deflate(data, window=15)

    def link_compressed(self, pos: int, data: bytes, length: int) -> None:
        self.note_change()
        with self.lock:
            part = self._writable(pos)
            if part.extent(pos - part.start, 1).kind not in ("hole", "zero"):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            size = -(-(MARKER.size + len(data)) // SECTOR) * SECTOR
            offset = part.new_space(size, SECTOR)
            try:
                part.file.write(offset, (MARKER.pack((pos - part.start) // SECTOR, len(data)) + data).ljust(size, b"\0"))
            except BaseException:
                part.give_back(offset, size)
                raise
            part.store((pos - part.start) // part.grain, [offset // SECTOR])

    # The rest

    def check(self, fix_leaks: bool, fix_errors: bool) -> CheckResult:
        if fix_leaks or fix_errors:
            from ...node import Unsupported

            raise Unsupported("This image format does not support checks")
        result = CheckResult()
        for part in self.parts:
            part.check(result)
        return result

    def info(self) -> dict[str, Any]:
        extents = []
        for part in self.parts:
            about: dict[str, Any] = {}
            if part.compressed:
                about["compressed"] = True
            about["virtual-size"] = part.length
            about["filename"] = part.file.filename if part.file is not None else part.name
            if part.grain:
                about["cluster-size"] = part.grain
            about["format"] = part.kind
            extents.append(about)
        return {"cid": self.cid, "parent-cid": self.parent_cid, "create-type": self.descriptor.create_type, "extents": extents}

    @classmethod
    def create_image(cls, graph: Graph, filename: str, protocol: type[Protocol], options: Any) -> None:
        from .creation import create_image

        create_image(graph, filename, protocol, options)
