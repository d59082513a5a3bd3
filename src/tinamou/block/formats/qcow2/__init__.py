"""qcow2, versions 2 and 3 (specification: qcow2.txt of the QEMU documentation, chapters Header to Bitmaps).

This module opens images and maps the disk; `layout` has the on-disk structures, `refcounts` counts clusters, `check` repairs,
`snapshots` and `bitmaps` are what their names say, `creation` makes new images and changes options of existing ones.

Order of metadata writes, which keeps an image consistent whenever the writing stops: data, then refcounts of new clusters,
then L2 tables, then L1 entries, and only then the refcounts of clusters given up. Barriers (fdatasync) lie between them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from ... import options as opt
from ...node import (
    BlockError,
    CheckResult,
    CorruptImage,
    Extent,
    Format,
    Node,
    Options,
    Snapshot,
    zeroes,
)
from . import layout as q
from .layout import COMPRESSED, COPIED, OFFSET_MASK, ZERO, Header, words_from, words_to
from .refcounts import Refcounts

if TYPE_CHECKING:
    from ...graph import Graph
    from ...node import Buffer
    from .bitmaps import Bitmap
    from .snapshots import StoredSnapshot

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


class Qcow2(Format, name="qcow2"):
    child_names = ("file", "backing", "data-file")
    supports_backing = True
    supports_check = True
    compression = True
    can_create = True
    name_keys = ("encrypt.format", "encrypt.key-secret", "driver", "file")

    class Open(Options):
        lazy_refcounts = opt.flag("Postpone refcount updates", key="lazy-refcounts")
        pass_discard_request = opt.flag("Pass guest discard requests to the layer below", key="pass-discard-request")
        pass_discard_snapshot = opt.flag("Discard clusters of deleted snapshots", key="pass-discard-snapshot")
        pass_discard_other = opt.flag("Discard whenever a cluster is given up", key="pass-discard-other")
        discard_no_unref = opt.flag("Do not unreference discarded clusters", key="discard-no-unref")
        overlap_check = opt.text("none, constant, cached or all", key="overlap-check")
        overlap_template = opt.text("none, constant, cached or all", key="overlap-check.template")
        cache_size = opt.size("Maximum combined metadata cache size", key="cache-size")
        l2_cache_size = opt.size("Maximum L2 table cache size", key="l2-cache-size")
        l2_cache_entry_size = opt.size("Size of each entry in the L2 cache", key="l2-cache-entry-size")
        refcount_cache_size = opt.size("Maximum refcount block cache size", key="refcount-cache-size")
        cache_clean_interval = opt.number("Seconds after which unused cache entries are dropped", key="cache-clean-interval")
        encrypt_format = opt.text("aes or luks", key="encrypt.format")
        encrypt_key_secret = opt.text("ID of secret providing qcow2 AES key or LUKS passphrase", key="encrypt.key-secret")

    class Create(Options):
        encryption = opt.flag("Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)")
        encrypt_format = opt.text("Encrypt the image, format choices: 'aes', 'luks'", key="encrypt.format")
        encrypt_key_secret = opt.text("ID of secret providing qcow AES key or LUKS passphrase", key="encrypt.key-secret")
        encrypt_cipher_alg = opt.text("Name of encryption cipher algorithm", key="encrypt.cipher-alg")
        encrypt_cipher_mode = opt.text("Name of encryption cipher mode", key="encrypt.cipher-mode")
        encrypt_ivgen_alg = opt.text("Name of IV generator algorithm", key="encrypt.ivgen-alg")
        encrypt_ivgen_hash_alg = opt.text("Name of IV generator hash algorithm", key="encrypt.ivgen-hash-alg")
        encrypt_hash_alg = opt.text("Name of encryption hash algorithm", key="encrypt.hash-alg")
        encrypt_iter_time = opt.number("Time to spend in PBKDF in milliseconds", key="encrypt.iter-time")
        cluster_size = opt.size("qcow2 cluster size", 65536)
        extended_l2 = opt.flag("Extended L2 tables", False)
        preallocation = opt.choice(
            "Preallocation mode (allowed values: off, metadata, falloc, full)", ("off", "metadata", "falloc", "full")
        )
        compression_type = opt.choice("Compression method used for image cluster compression", ("zlib", "zstd"), "zlib")
        size = opt.size("Virtual disk size")
        compat = opt.text("Compatibility level (v2 [0.10] or v3 [1.1])")
        backing_file = opt.text("File name of a base image")
        backing_fmt = opt.text("Image format of the base image")
        data_file = opt.text("File name of an external data file")
        data_file_raw = opt.flag("The external data file must stay valid as a raw image")
        lazy_refcounts = opt.flag("Postpone refcount updates", False)
        refcount_bits = opt.number("Width of a reference count entry in bits", 16)

    class Amend(Options):
        """What `amend -o` can change."""

        compat = opt.text("Compatibility level (v2 [0.10] or v3 [1.1])")
        backing_file = opt.text("File name of a base image")
        backing_fmt = opt.text("Image format of the base image")
        data_file = opt.text("File name of an external data file")
        data_file_raw = opt.flag("The external data file must stay valid as a raw image")
        lazy_refcounts = opt.flag("Postpone refcount updates")
        refcount_bits = opt.number("Width of a reference count entry in bits")
        size = opt.size("Virtual disk size")
        encrypt_state = opt.text("Select new state of affected keyslots (active/inactive)", key="encrypt.state")
        encrypt_new_secret = opt.text("New secret to set in the matching keyslots. Empty string to erase", key="encrypt.new-secret")
        encrypt_old_secret = opt.text("Select all keyslots that match this password", key="encrypt.old-secret")
        encrypt_keyslot = opt.number("Select a single keyslot to modify explicitly", key="encrypt.keyslot")
        encrypt_iter_time = opt.number("Time to spend in PBKDF in milliseconds", key="encrypt.iter-time")

    opts: Open

    # Opening

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        return 100 if head[:4] == b"QFI\xfb" and int.from_bytes(head[4:8], "big") >= 2 else 0

    def open(self) -> None:
        self.corrupt_reported = False
        self._read_header()
        self._check_tables()
        header = self.header
        self.size = header.size
        self.alignment = 512
        self.l1 = words_from(self.file.read(header.l1_table_offset, header.l1_size * 8))
        self.l1_dirty: set[int] = set()
        self.l2_cache: dict[int, L2Table] = {}
        self._size_caches()
        self.refs = Refcounts(self)
        self.packed_at = 0
        self.cipher: Any = None
        self._data_file()
        self._load_encryption()
        self._snapshots: list[StoredSnapshot] | None = None
        self._bitmaps: list[Bitmap] | None = None
        self.tracked: list[Bitmap] = []
        self._sparse: bool | None = None
        self.snapshots()
        lazy = bool(header.compatible_features & q.LAZY_REFCOUNTS)
        self.lazy = (lazy if self.opts.lazy_refcounts is None else self.opts.lazy_refcounts) and header.version >= 3
        if self.opts.lazy_refcounts and header.version < 3:
            raise BlockError("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
        if self.dirty and not self.read_only and not self.settings.for_check:
            self._repair_dirty()
        if not self.read_only and not self.settings.for_check:
            self._open_for_writing()

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

    def _data_file(self) -> None:
        header = self.header
        external = bool(header.incompatible_features & q.DATA_FILE)
        given = self.children.get("data-file")
        if given is not None and not external:
            raise BlockError("'data-file' can only be set for images with an external data file")
        if external and given is None:
            if self.data_file_name is None:
                raise BlockError("'data-file' is required for this image")
            from ...graph import combine

            try:
                self.children["data-file"] = self.graph.open_options(
                    {}, self.settings, combine(self.filename, self.data_file_name), as_file=True
                )
            except BlockError as error:
                raise error from None
            self.children["data-file"].lock(True, True)  # type: ignore[attr-defined]
        self.external = external
        self.data_raw = external and bool(header.autoclear_features & q.DATA_FILE_RAW)
        self.data: Node = self.children["data-file"] if external else self.file

    def _load_encryption(self) -> None:
        method = self.header.crypt_method
        if method != 2 and self.encryption_header is not None:
            raise BlockError("CRYPTO header extension only expected with LUKS encryption method")
        if not method:
            if self.opts.encrypt_format:
                raise BlockError(f"No encryption in image header, but options specified format '{self.opts.encrypt_format}'")
            return
        wanted = {1: "aes", 2: "luks"}[method]
        if self.opts.encrypt_format not in (None, wanted):
            raise BlockError(f"Header reported '{wanted}' encryption format but options specify '{self.opts.encrypt_format}'")
        from .encryption import open_cipher

        self.cipher = open_cipher(self, wanted)

    @property
    def encrypted(self) -> bool:
        return self.header.crypt_method != 0

    def zeroes_when_new(self) -> bool:
        return not self.encrypted or not any(self.l1)

    @property
    def dirty(self) -> bool:
        return bool(self.header.incompatible_features & q.DIRTY)

    def _repair_dirty(self) -> None:
        """The image was not closed: its refcounts cannot be trusted (lazy refcounts)."""
        from .check import check_image

        result = check_image(self, fix_leaks=True, fix_errors=True)
        if result.errors:
            raise BlockError("Could not repair dirty image")

    def _open_for_writing(self) -> None:
        header = self.header
        known = header.autoclear_features & (q.BITMAPS | q.DATA_FILE_RAW)
        if known != header.autoclear_features:
            header.autoclear_features = known
            self.write_header_fields("autoclear_features")
        if self.bitmaps_extension is not None and not self.settings.no_io:
            from .bitmaps import start_tracking

            start_tracking(self)

    # Reading the map

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

    def unpacked_length(self, pos: int) -> int:
        return self.cluster_size

    def decrypt(self, pos: int, offset: int, view: memoryview) -> None:
        self.cipher.decrypt(pos, offset, view)

    def encrypt(self, pos: int, offset: int, data: Buffer) -> Buffer:
        result: Buffer = self.cipher.encrypt(pos, offset, data)
        return result

    # Changing the map

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

    def erase(self, pos: int, length: int, zero: bool) -> bool:
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
                self._erase_extended(l1_index, pos, stop, zero, hides)
            else:
                self._erase_plain(l1_index, pos, stop, zero, hides)
            self.track(pos, stop - pos)
            pos = stop
        return True

    def _erase_plain(self, l1_index: int, pos: int, stop: int, zero: bool, hides: bool) -> None:
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
            if self.external:
                if zero:
                    words[i] = (old & (OFFSET_MASK | COPIED)) | ZERO
                else:
                    words[i] = nothing
                continue
            self._release(old)
            words[i] = nothing
        table.touch(low, high)

    def _erase_extended(self, l1_index: int, pos: int, stop: int, zero: bool, hides: bool) -> None:
        bits, size, sub = self.cluster_bits, self.cluster_size, self.sub_size
        table = self.l2_for_write(l1_index)
        words = table.words
        while pos < stop:
            i = pos >> bits & (self.l2_entries - 1)
            inside = pos & (size - 1)
            n = min(size - inside, stop - pos)
            old, bitmap = words[2 * i], words[2 * i + 1]
            mask = ((1 << n // sub) - 1) << inside // sub
            if n == size:
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
            self.file.write(offset, data)
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
        self.file.debug_event("flush_to_disk")
        self.file.flush()

    def write_header_fields(self, *names: str) -> None:
        """Write single header fields in place."""
        for name in names:
            at = Header.offsets[name]
            data = self.header.pack()
            length = next((o for o in sorted(Header.offsets.values()) if o > at), Header.packed_size) - at
            self.file.write(at, data[at : at + length])

    def flush_metadata(self) -> None:
        if self.read_only:
            return
        with self.lock:
            self._flush_bits()
            self._flush_map()

    def _flush_bits(self) -> None:
        """Nothing cached besides the map; bitmaps are stored on close."""

    def _flush_map(self) -> None:
        tables = [t for t in self.l2_cache.values() if t.low != t.high]
        if not tables and not self.l1_dirty and not self.refs.freed:
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
            if self.l1_dirty or self.refs.freed:
                self.barrier()
        if self.l1_dirty:
            self._write_l1()
            if self.refs.freed:
                self.barrier()
        if self.refs.freed:
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

    def flush(self) -> None:
        with self.lock:
            if self.external:
                self.data.flush()
            self.flush_metadata()
        self.file.flush()

    def close(self) -> None:
        if self.read_only or self.header.incompatible_features & q.CORRUPT:
            return
        with self.lock:
            if self.tracked:
                from .bitmaps import store_tracked

                store_tracked(self)
            self.flush_metadata()
            self.refs.write()
            if self.dirty and not self.settings.for_check:
                self.barrier()
                self.header.incompatible_features &= ~q.DIRTY
                self.write_header_fields("incompatible_features")

    def abandon(self) -> None:
        """Opening failed half way: nothing to write."""

    # The rest lives in modules of its own

    def track(self, pos: int, length: int) -> None:
        for bitmap in self.tracked:
            bitmap.mark(pos, length)

    def read_into(self, pos: int, view: memoryview) -> None:
        self.file.debug_event("read_aio")
        super().read_into(pos, view)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        self.file.debug_event("write_aio")
        super().writev(pos, buffers)

    @property
    def vm_state_offset(self) -> int:
        """Where the state of a machine is kept: after the disk, at the next L2 table."""
        return -(-self.size // self.l2_reach) * self.l2_reach

    def read_vm_state(self, pos: int, view: memoryview) -> None:
        """Fill `view` from byte `pos` of the saved machine state; zeroes where nothing was saved."""
        room = len(self.l1) * self.l2_reach - self.vm_state_offset - pos
        n = max(0, min(len(view), room))
        if n:
            super().read_into(self.vm_state_offset + pos, view[:n])
        view[n:] = bytes(len(view) - n)

    def write_vm_state(self, pos: int, data: Buffer) -> None:
        from .creation import grow_l1

        start = self.vm_state_offset + pos
        with self.lock:
            grow_l1(self, -(-(start + len(data)) // self.l2_reach))
        super().writev(start, [data])

    def _write_extent(self, pos: int, extent: Extent, data: memoryview) -> None:
        super()._write_extent(pos, extent, data)
        if self.tracked:
            with self.lock:
                self.track(pos, len(data))

    def info(self) -> dict[str, Any]:
        header = self.header
        out: dict[str, Any] = {"compat": "1.1" if header.version >= 3 else "0.10"}
        out["compression-type"] = self.packed_kind
        if header.version >= 3:
            out["lazy-refcounts"] = bool(header.compatible_features & q.LAZY_REFCOUNTS)
        if self.bitmaps_extension is not None:
            out["bitmaps"] = [bitmap.describe() for bitmap in self.bitmaps()]
        out["refcount-bits"] = 1 << header.refcount_order
        if header.crypt_method:
            from .encryption import describe

            out["encrypt"] = describe(self)
        if self.external:
            if self.data_file_name is not None:
                out["data-file"] = self.data_file_name
            out["data-file-raw"] = self.data_raw
        if header.version >= 3:
            out["corrupt"] = bool(header.incompatible_features & q.CORRUPT)
            out["extended-l2"] = self.extended
        return out

    def check(self, fix_leaks: bool, fix_errors: bool) -> CheckResult:
        from .check import check_image

        return check_image(self, fix_leaks, fix_errors)

    @classmethod
    def create(cls, graph: Graph, file: Node, options: Any) -> None:
        from .creation import create_image

        create_image(graph, file, options)

    @classmethod
    def check_measure_options(cls, graph: Graph, options: Any) -> None:
        if any(key.startswith("encrypt") for key in options.given):
            from .encryption import check_measure_options

            check_measure_options(graph, options)

    @classmethod
    def measure(cls, options: Any, disk_size: int, ranges: Iterable[tuple[int, int]]) -> tuple[int, int]:
        from .creation import measure

        return measure(options, disk_size, ranges)

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        from .creation import resize

        resize(self, size, preallocation)

    def change_backing(self, name: str | None, fmt: str | None) -> None:
        """Record another backing file in the header."""
        from .creation import change_backing

        change_backing(self, name, fmt)

    def snapshots(self) -> list[Snapshot]:
        from .snapshots import read_snapshots

        if self._snapshots is None:
            self._snapshots = read_snapshots(self)
        return list(self._snapshots)

    def load_snapshot(self, ident: str | None, name: str | None, either: bool = False) -> None:
        """Show the disk as it was at an internal snapshot, without changing the image."""
        from .snapshots import load

        load(self, ident, name, either)

    def create_snapshot(self, name: str) -> None:
        from .snapshots import create

        create(self, name)

    def delete_snapshot(self, ident: str | None, name: str | None, either: bool = False) -> None:
        from .snapshots import delete

        delete(self, ident, name, either)

    def apply_snapshot(self, ident: str | None, name: str | None, either: bool = False) -> None:
        from .snapshots import apply

        apply(self, ident, name, either)

    def amend(self, options: Any, force: bool, progress: Any) -> None:
        """Change options of the image; see `creation.amend`."""
        from .creation import amend

        amend(self, options, options.given, force, progress)

    def make_empty(self) -> None:
        """Forget all of the disk's contents, so that the backing file shows everywhere."""
        from .creation import drop

        with self.lock:
            end = -(-self.size // self.cluster_size) * self.cluster_size
            drop(self, 0, end)
            self.flush_metadata()

    def add_bitmap(self, name: str, granularity: int | None = None, enabled: bool = True) -> None:
        from .bitmaps import add

        with self.lock:
            add(self, name, granularity, enabled)

    def remove_bitmap(self, name: str) -> None:
        from .bitmaps import remove

        with self.lock:
            remove(self, name)

    def change_bitmap(self, name: str, action: str) -> None:
        """`clear`, `enable` or `disable` a bitmap."""
        from .bitmaps import change

        with self.lock:
            change(self, name, action)

    def merge_bitmap(self, name: str, source: Node, source_name: str) -> None:
        """Add to bitmap `name` what the bitmap `source_name` of another image (or this one) has marked."""
        from .bitmaps import merge_into

        with self.lock:
            merge_into(self, name, source, source_name)

    def copy_bitmap(self, bitmap: Bitmap, source: Node) -> None:
        """The same bitmap in this image, not enabled."""
        from .bitmaps import add, save

        with self.lock:
            new = add(self, bitmap.name, 1 << bitmap.granularity_bits, bitmap.enabled)
            new.merge(bitmap)
            save(self, new)

    @classmethod
    def measure_bitmaps(cls, options: Any, source: Any) -> int | None:
        """Bytes the bitmaps of `source` will take; None when the new image cannot have any."""
        from .bitmaps import measure
        from .creation import parse_version

        return measure(options, source) if parse_version(options.compat) >= 3 else None

    @property
    def look_below(self) -> bool:  # type: ignore[override]
        """Whether the host file has fewer blocks than the clusters counted: space is preallocated by metadata only."""
        if self._sparse is None:
            used = (self.file.allocated_bytes() or 0) // self.cluster_size
            limit = max(used * 10 // 9, used + 2)
            counted = 0
            end = -(-self.file.size // self.cluster_size)
            for index in range(-(-end // self.refs.per_block)):
                block = self.refs.block(index)
                if block is not None:
                    counted += len(block.counts) - block.counts.count(0)
                if counted >= limit:
                    break
            self._sparse = counted >= limit
        return self._sparse

    def bitmaps(self) -> list[Bitmap]:
        from .bitmaps import read_bitmaps

        if self._bitmaps is None:
            self._bitmaps = read_bitmaps(self)
        return self._bitmaps


__all__ = ["Qcow2", "zeroes"]
