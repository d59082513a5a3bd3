"""qcow2, versions 2 and 3 (specification: qcow2.txt of the QEMU documentation, chapters Header to Bitmaps).

This module opens images; `header` reads the header, `clustermap` the tables, `mapwriter` changes them, `layout` has the on-disk
structures, `refcounts` counts clusters, `check` repairs, `snapshots` and `bitmaps` are what their names say, `creation` makes new
images and changes options of existing ones.

Order of metadata writes, which keeps an image consistent whenever the writing stops: data, then refcounts of new clusters,
then L2 tables, then L1 entries, and only then the refcounts of clusters given up. Barriers (fdatasync) lie between them.
"""

from __future__ import annotations

from collections.abc import Iterable

from ... import options as opt
from ...node import (
    BlockError,
    CheckResult,
    Extent,
    Node,
    Options,
    Snapshot,
    zeroes,
)
from ...notation import TYPE_CHECKING, Any
from . import layout as q
from .layout import words_from
from .mapwriter import MapWriter
from .refcounts import Refcounts

if TYPE_CHECKING:
    from ...graph import Graph
    from ...node import Buffer
    from .bitmaps import Bitmap
    from .snapshots import StoredSnapshot


class Qcow2(MapWriter, name="qcow2"):
    child_names = ("file", "backing", "data-file")
    supports_backing = True
    supports_check = True
    compression = True
    reserves = True
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
        self._read_header()
        self._check_tables()
        header = self.header
        self.size = header.size
        self.alignment = 512
        self.l1 = words_from(self.file.read(header.l1_table_offset, header.l1_size * 8))
        self.l1_dirty: set[int] = set()
        self.l2_cache = {}
        self._size_caches()
        self.refs = Refcounts(self)
        self.packed_at = 0
        self.cipher = None
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
        self.data = self.children["data-file"] if external else self.file

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

    def decrypt(self, pos: int, offset: int, view: memoryview) -> None:
        self.cipher.decrypt(pos, offset, view)

    def encrypt(self, pos: int, offset: int, data: Buffer) -> Buffer:
        result: Buffer = self.cipher.encrypt(pos, offset, data)
        return result

    def flush(self) -> None:
        self.file.debug_event("flush_to_os")
        with self.lock:
            if self.external:
                self.data.flush()
            self.flush_metadata()
        self.file.flush()

    def close(self) -> None:
        if self.read_only or self.header.incompatible_features & q.CORRUPT:
            return
        self.file.debug_event("flush_to_os")
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

    # The rest lives in modules of its own

    def announce(self, event: str) -> None:
        self.file.debug_event(event)

    @property
    def vm_state_offset(self) -> int:
        """Where the state of a machine is kept: after the disk, at the next L2 table."""
        return -(-self.size // self.l2_reach) * self.l2_reach

    def read_vm_state(self, pos: int, view: memoryview) -> None:
        """Fill `view` from byte `pos` of the saved machine state; zeroes where nothing was saved."""
        room = len(self.l1) * self.l2_reach - self.vm_state_offset - pos
        n = max(0, min(len(view), room))
        self.file.debug_event("vmstate_load")
        if n:
            super().read_into(self.vm_state_offset + pos, view[:n])
        view[n:] = bytes(len(view) - n)

    def write_vm_state(self, pos: int, data: Buffer) -> None:
        from .creation import grow_l1

        start = self.vm_state_offset + pos
        self.file.debug_event("vmstate_save")
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

    @property
    def can_add_bitmaps(self) -> bool:
        return self.header.version >= 3

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
