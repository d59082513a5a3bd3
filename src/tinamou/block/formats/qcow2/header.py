"""Reading and checking the header of a qcow2 image and its extensions."""

from __future__ import annotations

import sys

from ...node import BlockError, CorruptImage, Format
from . import layout as q
from .layout import Header


class ImageHeader(Format):
    """What the header says, as attributes; every number is checked before anything uses it."""

    corrupt_reported = False

    def _read_header(self) -> None:
        file = self.file
        head = file.read(0, Header.packed_size)
        header = self.header = Header.unpack(head)
        if file.size < 8 or header.magic != q.MAGIC:
            raise BlockError("Image is not in qcow2 format")
        if header.version not in (2, 3):
            raise BlockError(f"Unsupported qcow2 version {header.version}")
        if header.version == 2:
            header.incompatible_features = header.compatible_features = header.autoclear_features = 0
            header.refcount_order, header.header_length = 4, q.V2_LENGTH
            header.compression_type = 0
        elif header.header_length < q.V3_LENGTH:
            raise BlockError("qcow2 header too short")
        elif header.header_length < 105:
            header.compression_type = 0
        if not 9 <= header.cluster_bits <= 21:
            raise BlockError(f"Unsupported cluster size: 2^{header.cluster_bits}")
        self.cluster_bits = header.cluster_bits
        self.cluster_size = 1 << header.cluster_bits
        if header.header_length > self.cluster_size:
            raise BlockError("qcow2 header exceeds cluster size")
        if header.backing_file_offset > self.cluster_size:
            raise BlockError("Invalid backing file offset")
        self.features: list[tuple[int, int, str]] = []
        self.unknown_extensions: list[tuple[int, bytes]] = []
        self.data_file_name: str | None = None
        self.bitmaps_extension: q.BitmapsExtension | None = None
        self.encryption_header: tuple[int, int] | None = None
        self.feature_table = False
        end = header.backing_file_offset or self.cluster_size
        self.unknown_header = file.read(Header.packed_size, max(0, header.header_length - Header.packed_size))
        self._read_extensions(header.header_length, end)
        unknown = header.incompatible_features & ~0x1F
        if unknown:
            names = [
                next((n for t, b, n in self.features if (t, b) == (0, bit)), f"Unknown incompatible feature: {1 << bit:x}")
                for bit in range(64)
                if unknown >> bit & 1
            ]
            raise BlockError(f"Unsupported qcow2 feature(s): {', '.join(names)}")
        if header.incompatible_features & q.CORRUPT and not self.read_only and not self.settings.for_check:
            raise BlockError("qcow2: Image is corrupt; cannot be opened read/write")
        if header.refcount_order > 6:
            raise BlockError("Reference count entry width too large; may not exceed 64 bits")
        self._check_compression()
        if header.crypt_method > 2:
            raise BlockError(f"Unsupported encryption method {header.crypt_method}")
        if header.backing_file_offset:
            n = header.backing_file_size
            if n > min(1023, self.cluster_size - header.backing_file_offset):
                raise BlockError("Backing file name too long")
            self.backing_file = file.read(header.backing_file_offset, n).decode("utf-8", "surrogateescape") or None
        self.extended = bool(header.incompatible_features & q.EXTENDED_L2)
        self.sub_size = self.cluster_size // 32 if self.extended else self.cluster_size
        if self.extended and self.sub_size < 512:
            raise BlockError(f"Extended L2 entries are only supported with cluster sizes of at least {512 * 32} bytes")
        self.entry_words = 2 if self.extended else 1
        self.l2_bits = header.cluster_bits - (4 if self.extended else 3)
        self.l2_entries = 1 << self.l2_bits
        self.l2_reach = self.l2_entries << self.cluster_bits
        self.packed_shift = 62 - (header.cluster_bits - 8)
        self.packed_mask = (1 << self.packed_shift) - 1

    def _check_compression(self) -> None:
        header = self.header
        flagged = bool(header.incompatible_features & q.COMPRESSION)
        if header.compression_type >= len(q.COMPRESSION_NAMES):
            raise BlockError(f"qcow2: unknown compression type: {header.compression_type}")
        if flagged and not header.compression_type:
            raise BlockError("qcow2: Compression type incompatible feature bit must not be set")
        if not flagged and header.compression_type:
            raise BlockError("qcow2: Compression type incompatible feature bit must be set")
        self.packed_kind = q.COMPRESSION_NAMES[header.compression_type]

    def _read_extensions(self, at: int, end: int) -> None:
        data = self.file.read(0, self.cluster_size)
        while at + 8 <= end:
            kind = int.from_bytes(data[at : at + 4], "big")
            length = int.from_bytes(data[at + 4 : at + 8], "big")
            at += 8
            if kind == q.EXT_END:
                return
            if length > end - at:
                raise BlockError("Header extension too large")
            body = data[at : at + length]
            if kind == q.EXT_BACKING_FORMAT:
                if length >= 64:
                    raise BlockError(f"ERROR: ext_backing_format: len={length} too large (>=64)")
                self.backing_format = body.decode("utf-8", "replace")
            elif kind == q.EXT_FEATURES:
                self.feature_table = True
                for i in range(0, length - 47, 48):
                    name = body[i + 2 : i + 48].split(b"\0")[0].decode("ascii", "replace")
                    self.features.append((body[i], body[i + 1], name))
            elif kind == q.EXT_DATA_FILE:
                self.data_file_name = body.decode("utf-8", "surrogateescape")
            elif kind == q.EXT_BITMAPS:
                if length != q.BitmapsExtension.packed_size:
                    raise BlockError("bitmaps_ext: Invalid extension length")
                if self.header.autoclear_features & q.BITMAPS:
                    self.bitmaps_extension = q.BitmapsExtension.unpack(body)
                    self._check_bitmaps_extension()
            elif kind == q.EXT_ENCRYPTION:
                if length != 16:
                    raise BlockError(f"CRYPTO header extension size {length}, but expected size 16")
                self.encryption_header = (int.from_bytes(body[:8], "big"), int.from_bytes(body[8:], "big"))
                self.unknown_extensions.append((kind, body))
            else:
                self.unknown_extensions.append((kind, body))
            at += -(-length // 8) * 8

    def _check_bitmaps_extension(self) -> None:
        ext = self.bitmaps_extension
        assert ext is not None
        if ext.reserved:
            raise BlockError("bitmaps_ext: Reserved field is not zero")
        if ext.nb_bitmaps > q.MAX_BITMAPS:
            raise BlockError(f"bitmaps_ext: image has {ext.nb_bitmaps} bitmaps, exceeding the QEMU supported maximum of {q.MAX_BITMAPS}")
        if ext.nb_bitmaps == 0:
            raise BlockError("found bitmaps extension with zero bitmaps")
        if ext.directory_offset % self.cluster_size:
            raise BlockError("bitmaps_ext: invalid bitmap directory offset")
        if ext.directory_size > q.MAX_BITMAP_DIRECTORY:
            raise BlockError(
                f"bitmaps_ext: bitmap directory size ({ext.directory_size}) exceeds the maximum supported size ({q.MAX_BITMAP_DIRECTORY})"
            )

    def _check_tables(self) -> None:
        header = self.header
        size = self.cluster_size
        if header.size >= 1 << 63:
            raise BlockError("Image is too big")
        if header.refcount_table_clusters == 0 and not self.settings.for_check:
            raise BlockError("Image does not contain a reference count table")
        self._table_fits("Reference count table", header.refcount_table_offset, header.refcount_table_clusters * size, q.MAX_REFTABLE_BYTES)
        if header.nb_snapshots > q.MAX_SNAPSHOTS:
            raise BlockError("Snapshot table too large")
        self._table_fits(
            "Snapshot table", header.snapshots_offset, header.nb_snapshots * q.SnapshotHeader.packed_size, q.MAX_SNAPSHOT_BYTES
        )
        self._table_fits("Active L1 table", header.l1_table_offset, header.l1_size * 8, q.MAX_L1_BYTES)
        needed = -(-header.size // self.l2_reach)
        if needed > q.MAX_L1_BYTES // 8:
            raise BlockError("Image is too big")
        if header.l1_size < needed:
            raise BlockError("L1 table is too small")
        for name, offset, length in (
            ("Active L1 table", header.l1_table_offset, header.l1_size * 8),
            ("Reference count table", header.refcount_table_offset, header.refcount_table_clusters * size),
        ):
            if length and offset >= self.file.size and not (self.settings.for_check and name.startswith("Ref")):
                raise BlockError(f"{name} offset invalid: {offset} lies after the end of the file ({self.file.size})")
            if length > 1 << 20 and offset + length > self.file.size + (1 << 20):
                raise BlockError(f"{name} ends at byte {offset + length}, after the end of the file ({self.file.size})")

    def _table_fits(self, name: str, offset: int, length: int, limit: int) -> None:
        if length > limit:
            raise BlockError(f"{name} too large")
        if offset + length >= 1 << 63 or offset % self.cluster_size:
            raise BlockError(f"{name} offset invalid")

    def write_header_fields(self, *names: str) -> None:
        """Write single header fields in place."""
        for name in names:
            at = Header.offsets[name]
            data = self.header.pack()
            length = next((o for o in sorted(Header.offsets.values()) if o > at), Header.packed_size) - at
            self.file.write(at, data[at : at + length])

    def mark_corrupt(self, message: str) -> None:
        """Remember in the image that it is corrupt, say so once, and fail with EIO."""
        if not self.corrupt_reported:
            self.corrupt_reported = True
            if self.read_only or self.settings.for_check:
                print(
                    f"qcow2: Image is corrupt: {message}; further non-fatal corruption events will be suppressed",
                    file=sys.stderr,
                )
            else:
                print(
                    f"qcow2: Marking image as corrupt: {message}; further corruption events will be suppressed",
                    file=sys.stderr,
                )
        if not self.read_only and self.header.version >= 3 and not self.header.incompatible_features & q.CORRUPT:
            self.header.incompatible_features |= q.CORRUPT
            self.write_header_fields("incompatible_features")
            self.file.flush()
        raise CorruptImage(message)
