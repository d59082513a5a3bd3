"""New qcow2 images, and changes of what their header says: size, backing file, compatibility level, refcount width."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

from ...node import Alone, BlockError, Node, Settings
from ...notation import TYPE_CHECKING, Any
from . import layout as q
from .layout import COMPRESSED, COPIED, OFFSET_MASK, ZERO, Header, words_to
from .refcounts import CODES, Refcounts, pack_counts

if TYPE_CHECKING:
    from ...graph import Graph
    from . import Qcow2

VERSIONS = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}


def parse_version(compat: str | None) -> int:
    if compat is None:
        return 3
    if compat not in VERSIONS:
        raise BlockError(f"Parameter 'version' does not accept value '{compat}'")
    return VERSIONS[compat]


def check_options(options: Any) -> None:
    """What does not go together; the sentences are what users know."""
    version = parse_version(options.compat)
    cluster = options.cluster_size
    if cluster & (cluster - 1) or not 512 <= cluster <= 2 << 20:
        raise BlockError("Cluster size must be a power of two between 512 and 2048k")
    if options.extended_l2:
        if cluster < 16384:
            raise BlockError("Extended L2 entries are only supported with cluster sizes of at least 16384 bytes")
        if version < 3:
            raise BlockError("Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)")
    mode = options.preallocation or "off"
    if options.backing_file and mode != "off" and not options.extended_l2:
        raise BlockError("Backing file and preallocation can only be used at the same time if extended_l2 is on")
    if options.backing_fmt and not options.backing_file:
        raise BlockError("Backing format cannot be used without backing file")
    if options.lazy_refcounts and version < 3:
        raise BlockError("Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)")
    bits = options.refcount_bits
    if bits == 0 or bits > 64 or bits & (bits - 1):
        raise BlockError("Refcount width must be a power of two and may not exceed 64 bits")
    if version < 3 and bits != 16:
        raise BlockError("Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)")
    if options.data_file_raw and not options.data_file:
        raise BlockError("data-file-raw requires data-file")
    if options.data_file_raw and options.backing_file:
        raise BlockError("Backing file and data-file-raw cannot be used at the same time")
    if options.data_file and version < 3:
        raise BlockError("External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)")
    if options.compression_type not in q.COMPRESSION_NAMES:
        raise BlockError(f"Parameter 'compression-type' does not accept value '{options.compression_type}'")
    if options.compression_type != "zlib" and version < 3:
        raise BlockError("Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)")
    if options.size % 512:
        options.size = -(-options.size // 512) * 512
    if options.backing_file and len(options.backing_file.encode()) > 1023:
        raise BlockError("Backing file name too long")
    l2_reach = cluster * (cluster // (16 if options.extended_l2 else 8))
    if -(-options.size // l2_reach) * 8 > q.MAX_L1_BYTES:
        raise BlockError("Image size too large for file format")


def create_image(graph: Graph, file: Node, options: Any) -> None:
    check_options(options)
    cluster = options.cluster_size
    header = Header(version=parse_version(options.compat), cluster_bits=cluster.bit_length() - 1)
    header.refcount_order = options.refcount_bits.bit_length() - 1
    header.refcount_table_offset, header.refcount_table_clusters = cluster, 1
    if options.lazy_refcounts:
        header.compatible_features |= q.LAZY_REFCOUNTS
    if options.extended_l2:
        header.incompatible_features |= q.EXTENDED_L2
    header.compression_type = q.COMPRESSION_NAMES.index(options.compression_type)
    if header.compression_type:
        header.incompatible_features |= q.COMPRESSION
    if options.data_file:
        header.incompatible_features |= q.DATA_FILE
        if options.data_file_raw:
            header.autoclear_features |= q.DATA_FILE_RAW
    if header.version == 2:
        header.header_length = q.V2_LENGTH

    bits = options.refcount_bits
    counts = array(CODES.get(bits, "B"), [0]) * (cluster * 8 // bits)
    counts[0] = counts[1] = counts[2] = 1
    file.write(0, header_bytes(header, cluster, [], None, None, None, None, False))
    file.write(cluster, words_to(array("Q", [2 * cluster])).ljust(cluster, b"\0"))
    file.write(2 * cluster, pack_counts(counts, bits))

    image = open_new(graph, file, data_file=None)
    try:
        if options.data_file:
            make_data_file(graph, file, image, options)
        image.backing_file, image.backing_format = options.backing_file, options.backing_fmt
        image.data_file_name = options.data_file
        image.feature_table = header.version >= 3
        if any(key.startswith("encrypt") for key in options.given):
            from .encryption import create_encryption

            create_encryption(image, options)
        rewrite_header(image)
        resize(image, options.size, options.preallocation or "off", new=True)
        image.flush_metadata()
        image.refs.write()
        file.flush()
    finally:
        image.close()
        graph.nodes.pop(image.name, None)
        data_file = image.children.get("data-file")
        if data_file is not None:
            graph.close_node(data_file)


def open_new(graph: Graph, file: Node, data_file: Node | None) -> Qcow2:
    """The image in `file` before it is complete: not through the graph, nothing locked."""
    from . import Qcow2

    image = Qcow2(graph, Qcow2.Open(), Settings(write=True, discard="unmap"))
    image.name = f"#new-{id(image)}"
    image.filename = file.filename
    image.children["file"] = file
    data = file.read(0, Header.packed_size)
    header = Header.unpack(data)
    if header.incompatible_features & q.DATA_FILE:
        image.children["data-file"] = data_file or file
    image.open()
    if data_file is None:
        image.children.pop("data-file", None)
        image.data = file
    return image


def make_data_file(graph: Graph, file: Node, image: Qcow2, options: Any) -> None:
    """Create (or empty) the external data file."""
    from ...graph import combine, protocol_of

    name = combine(file.filename, options.data_file)
    protocol, _ = protocol_of(name)
    protocol.create_file(graph, name, protocol.Create())
    node = graph.open_options({}, Settings(write=True, discard="unmap"), name, as_file=True)
    image.children["data-file"] = node
    image.data = node


def header_bytes(
    header: Header,
    cluster: int,
    unknown: list[tuple[int, bytes]],
    backing_file: str | None,
    backing_format: str | None,
    data_file: str | None,
    bitmaps: q.BitmapsExtension | None,
    feature_table: bool,
    extra: bytes = b"",
) -> bytes:
    """The header, its extensions and the backing file's name, as they lie at the start of the file."""
    extensions: list[tuple[int, bytes]] = []
    if backing_format:
        extensions.append((q.EXT_BACKING_FORMAT, backing_format.encode()))
    if data_file:
        extensions.append((q.EXT_DATA_FILE, data_file.encode("utf-8", "surrogateescape")))
    extensions += [e for e in unknown if e[0] == q.EXT_ENCRYPTION]
    if feature_table:
        table = b"".join(bytes((t, b)) + n.encode().ljust(46, b"\0") for t, b, n in q.FEATURES)
        extensions.append((q.EXT_FEATURES, table))
    if bitmaps is not None:
        extensions.append((q.EXT_BITMAPS, bitmaps.pack()))
    extensions += [e for e in unknown if e[0] != q.EXT_ENCRYPTION]
    name = backing_file.encode("utf-8", "surrogateescape") if backing_file else b""
    length = header.header_length
    while True:
        body = b"".join(
            kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data + bytes(-len(data) % 8) for kind, data in extensions
        ) + bytes(8)
        end = length + len(body)
        if end + len(name) <= cluster:
            break
        if not any(kind == q.EXT_FEATURES for kind, _ in extensions):
            raise BlockError("The header does not fit into a cluster: use a larger cluster_size or shorter names")
        extensions = [e for e in extensions if e[0] != q.EXT_FEATURES]
    header.backing_file_offset = end if name else 0
    header.backing_file_size = len(name)
    head = header.pack()
    head = (head + extra)[:length].ljust(length, b"\0")
    return head + body + name


def rewrite_header(image: Qcow2) -> None:
    """Write the whole header with one write."""
    header = image.header
    if header.version >= 3 and header.header_length < Header.packed_size:
        header.header_length = Header.packed_size
    if header.version == 2:
        header.header_length = q.V2_LENGTH
    data = header_bytes(
        header,
        image.cluster_size,
        image.unknown_extensions,
        image.backing_file,
        image.backing_format,
        image.data_file_name,
        image.bitmaps_extension,
        image.feature_table and header.version >= 3,
        image.unknown_header,
    )
    image.file.write(0, data)


def grow_l1(image: Qcow2, entries: int) -> None:
    """A larger L1 table: written, then referred to by one header write, then the old one is given up."""
    header = image.header
    size = image.cluster_size
    if entries <= len(image.l1):
        return
    if entries * 8 > q.MAX_L1_BYTES:
        raise BlockError("Failed to grow the L1 table: File too large")
    image.flush_metadata()
    l1 = image.l1[:]
    l1.extend([0] * (entries - len(l1)))
    clusters = -(-entries * 8 // size)
    image.file.debug_event("l1_grow_alloc_table")
    offset = image.allocate_clusters(clusters) << image.cluster_bits
    image.refs.write()
    image.barrier()
    image.file.debug_event("l1_grow_write_table")
    image.file.write(offset, words_to(l1))
    image.barrier()
    old_offset, old_size = header.l1_table_offset, header.l1_size
    header.l1_size, header.l1_table_offset = entries, offset
    at = Header.offsets["l1_size"]
    image.file.debug_event("l1_grow_activate_table")
    image.file.write(at, header.pack()[at : at + 12])
    image.barrier()
    image.l1 = l1
    if old_size:
        image.refs.free(old_offset, -(-old_size * 8 // size))
    image.flush_metadata()


def resize(image: Qcow2, size: int, preallocation: str = "off", new: bool = False) -> None:
    header = image.header
    old = image.size if not new else 0
    if size % 512:
        raise BlockError("The new size must be a multiple of 512")
    if image.read_only:
        raise BlockError("Image is read-only")
    with Alone(image):
        if not new:
            if image.header.nb_snapshots and header.version < 3:
                raise BlockError("Can't resize a v2 image which has snapshots")
            if image.bitmaps_extension is not None and any(b.inconsistent and b not in image.tracked for b in image.bitmaps()):
                raise BlockError("Cannot resize qcow2 node with inconsistent bitmaps")
        if size < old:
            if preallocation != "off":
                raise BlockError("Preallocation can't be used for shrinking an image")
            shrink(image, size)
            return
        grow_l1(image, -(-size // image.l2_reach))
        image.size = header.size = size
        if not new:
            clear_growth(image, old, size)
        image.flush_metadata()
        image.write_header_fields("size")
        if preallocation != "off":
            preallocate(image, old, size, preallocation)
        if image.external and image.data is not image.file and image.data.size < size:
            image.data.resize(size, preallocation if preallocation in ("falloc", "full") else "off")
        if image.data_raw and preallocation == "off":
            preallocate(image, old, size, "metadata")


def clear_growth(image: Qcow2, old: int, size: int) -> None:
    """New space reads as zeroes: neither the rest of the old last cluster nor a longer backing file shows."""
    end = min(size, -(-old // image.cluster_size) * image.cluster_size)
    if image.backing is not None:
        end = max(end, min(size, image.backing.size))
    if (end > old and image.l1[old // image.l2_reach] & OFFSET_MASK) or (image.backing is not None and end > old):
        image.write_zeroes(old, end - old)


def shrink(image: Qcow2, size: int) -> None:
    header = image.header
    cluster = image.cluster_size
    end = -(-image.size // cluster) * cluster
    start = -(-size // cluster) * cluster
    if start < end:
        drop(image, start, end)
    image.flush_metadata()
    image.size = header.size = size
    image.write_header_fields("size")
    keep = -(-size // image.l2_reach)
    for i in range(keep, len(image.l1)):
        offset = image.l1[i] & OFFSET_MASK
        if offset:
            image.refs.free(offset)
            image.l1[i] = 0
            image.l1_dirty.add(i)
    image.flush_metadata()
    image.refs.write()
    image.barrier()
    last = last_used_cluster(image)
    if (last + 1) * cluster < image.file.size:
        image.file.resize((last + 1) * cluster)
    if image.external and image.data_raw:
        image.data.resize(size)


def drop(image: Qcow2, start: int, end: int) -> None:
    """Forget clusters altogether: entries become 0."""
    pos = start
    while pos < end:
        l1_index = pos // image.l2_reach
        stop = min(end, (l1_index + 1) * image.l2_reach)
        if l1_index < len(image.l1) and image.l1[l1_index] & OFFSET_MASK:
            table = image.l2_for_write(l1_index)
            low = pos // image.cluster_size % image.l2_entries * image.entry_words
            high = low + (stop - pos) // image.cluster_size * image.entry_words
            for i in range(low, high, image.entry_words):
                image._release(table.words[i])
            for i in range(low, high):
                table.words[i] = 0
            table.touch(low, high)
        pos = stop


def last_used_cluster(image: Qcow2) -> int:
    refs = image.refs
    for index in range(len(refs.table) - 1, -1, -1):
        block = refs.block(index)
        if block is None:
            continue
        for i in range(len(block.counts) - 1, -1, -1):
            if block.counts[i]:
                return index * refs.per_block + i
    return 0


def preallocate(image: Qcow2, start: int, end: int, mode: str) -> None:
    """Clusters for the range from `start` to `end`: mapped ("metadata"), with space ("falloc"), or written ("full")."""
    cluster = image.cluster_size
    pos = -(-start // cluster) * cluster
    stop = -(-end // cluster) * cluster
    while pos < stop:
        extent = image.allocate(pos, min(stop - pos, 256 << 20))
        if image.extended:
            _link_empty(image, pos, extent)
        else:
            image.link(pos, extent)
        file = extent.file or image.file
        last = extent.offset + extent.length
        if mode == "full":
            from ...node import zeroes

            at = extent.offset
            while at < last:
                n = min(last - at, 1 << 20)
                file.write(at, zeroes(n))
                at += n
        elif file.size < last:
            file.resize(last, "falloc" if mode == "falloc" else "off")
        pos += extent.length
    image.flush_metadata()


def _link_empty(image: Qcow2, pos: int, extent: Any) -> None:
    """Give clusters a place, with no subcluster allocated yet."""
    table = image.l2_for_write(pos // image.l2_reach)
    at = pos // image.cluster_size % image.l2_entries
    count = extent.length // image.cluster_size
    for i in range(count):
        table.words[2 * (at + i)] = (extent.offset + i * image.cluster_size) | COPIED
        if image.backing_file is None:
            table.words[2 * (at + i) + 1] = 0xFFFF_FFFF
    table.touch(2 * at, 2 * (at + count))


def change_backing(image: Qcow2, name: str | None, fmt: str | None) -> None:
    if image.data_raw and name:
        raise BlockError("Backing file and data-file-raw cannot be used at the same time")
    if name and len(name.encode()) > 1023:
        raise BlockError("Backing file name too long")
    image.flush_metadata()
    image.backing_file, image.backing_format = name or None, fmt if name else None
    rewrite_header(image)
    image.file.flush()


def measure(options: Any, disk_size: int, ranges: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Bytes needed for the clusters that `ranges` touch, and for all; encryption headers included."""
    options.size = disk_size
    check_options(options)
    cluster = options.cluster_size
    used = 0
    last = -1
    if options.backing_file:
        ranges = [(0, disk_size)]  # zeroes have to hide what is there
    for start, length in ranges:
        first, end = start // cluster, -(-(start + length) // cluster)
        first = max(first, last)
        if end > first:
            used += end - first
            last = end
    clusters = -(-disk_size // cluster)
    entry = 16 if options.extended_l2 else 8
    l2_entries = -(-clusters // (cluster // entry)) * (cluster // entry)
    l1_entries = -(-(l2_entries * entry // cluster) // (cluster // 8)) * (cluster // 8)
    meta = cluster + l2_entries * entry + l1_entries * 8
    extra = 0
    if any(key.startswith("encrypt") for key in options.given):
        from .encryption import overhead

        extra = -(-overhead(options) // cluster) * cluster
    meta += refcount_bytes((meta + clusters * cluster) // cluster, cluster, options.refcount_bits)
    if (options.preallocation or "off") in ("falloc", "full", "metadata"):
        used = clusters if options.preallocation != "metadata" else used
    return meta + extra + used * cluster, meta + extra + clusters * cluster


def refcount_bytes(clusters: int, cluster: int, bits: int) -> int:
    """Refcount blocks and table for that many clusters and themselves."""
    per_block = cluster * 8 // bits
    per_table = cluster // 8
    blocks = table = total = 0
    while True:
        last = total
        blocks = -(-(clusters + table + blocks) // per_block)
        table = -(-blocks // per_table)
        total = clusters + blocks + table
        if total == last:
            return (blocks + table) * cluster


# amend


def amend(image: Qcow2, options: Any, given: set[str], force: bool, progress: Callable[[int, int], None]) -> None:
    """Change options of an existing image; `given` are the keys the user wrote."""
    header = image.header
    version = parse_version(options.compat) if "compat" in given else header.version
    refcount_bits = options.refcount_bits if "refcount_bits" in given else 1 << header.refcount_order
    if any(key.startswith("encrypt") for key in given):
        from .encryption import amend_encryption

        amend_encryption(image, options, given, force)
    if refcount_bits == 0 or refcount_bits > 64 or refcount_bits & (refcount_bits - 1):
        raise BlockError("Refcount width must be a power of two and may not exceed 64 bits")
    if "data_file" in given:
        if not image.external:
            raise BlockError("data-file can only be set for images that use an external data file")
        image.data_file_name = options.data_file
    if "data_file_raw" in given and options.data_file_raw != image.data_raw:
        if options.data_file_raw:
            raise BlockError("data-file-raw cannot be set on existing images")
        header.autoclear_features &= ~q.DATA_FILE_RAW
        image.data_raw = False
    if version > header.version:
        header.version = 3
        header.header_length = Header.packed_size
        image.feature_table = True
        rewrite_header(image)
    if refcount_bits != 1 << header.refcount_order:
        if version < 3:
            raise BlockError("Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)")
        change_refcount_width(image, refcount_bits, progress)
    if "lazy_refcounts" in given:
        if options.lazy_refcounts and version < 3:
            raise BlockError("Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)")
        if options.lazy_refcounts:
            header.compatible_features |= q.LAZY_REFCOUNTS
        else:
            image.flush_metadata()
            image.refs.write()
            header.compatible_features &= ~q.LAZY_REFCOUNTS
            header.incompatible_features &= ~q.DIRTY
            image.lazy = False
    if "backing_file" in given or "backing_fmt" in given:
        name: str | None = options.backing_file if "backing_file" in given else image.backing_file
        fmt = options.backing_fmt if "backing_fmt" in given else image.backing_format
        if (name, fmt) != (image.backing_file, image.backing_format):
            raise BlockError("Cannot amend the backing file", "You can use 'qemu-img rebase' instead.")
    if "size" in given and options.size != image.size:
        resize(image, options.size)
    rewrite_header(image)
    if version < header.version:
        downgrade(image, progress)
    image.file.flush()


def downgrade(image: Qcow2, progress: Callable[[int, int], None]) -> None:
    """From version 3 to 2: no zero clusters, no features."""
    from .snapshots import StoredSnapshot, snapshot_l1

    header = image.header
    if header.refcount_order != 4:
        raise BlockError("compat=0.10 requires refcount_bits=16")
    if header.incompatible_features & q.DATA_FILE:
        raise BlockError("Cannot downgrade an image with a data file")
    tables = [image.l1, *(snapshot_l1(image, s) for s in image.snapshots() if isinstance(s, StoredSnapshot))]
    if header.compression_type and any(word & COMPRESSED for l1 in tables for words in l2_words(image, l1) for word in words):
        raise BlockError("Cannot downgrade an image with zstd compression type and existing compressed clusters")
    if header.incompatible_features & ~(q.DIRTY | q.COMPRESSION):
        raise BlockError(f"Cannot downgrade an image with incompatible features {header.incompatible_features:#x} set")
    if image.bitmaps_extension is not None:
        raise BlockError("Cannot downgrade an image with persistent bitmaps", "Remove them with 'bitmap --remove' first.")
    if any(s.vm_state_size >= 1 << 32 or s.disk_size != image.size for s in image.snapshots()):
        raise BlockError("Internal snapshots prevent downgrade of image")
    expand_zeroes(image, tables, progress)
    image.flush_metadata()
    image.refs.write()
    header.incompatible_features = header.compatible_features = header.autoclear_features = 0
    header.compression_type = 0
    image.packed_kind = "zlib"
    header.version = 2
    header.header_length = q.V2_LENGTH
    image.lazy = False
    image.unknown_header = b""
    rewrite_header(image)


def l2_words(image: Qcow2, l1: array[int]) -> Iterator[array[int]]:
    """The L2 tables that an L1 table refers to."""
    for entry in l1:
        if entry & OFFSET_MASK:
            yield image.l2_table(entry & OFFSET_MASK).words


def expand_zeroes(image: Qcow2, tables: list[array[int]], progress: Callable[[int, int], None]) -> None:
    """Zero clusters become holes, or clusters full of zeroes where a backing file would show through. An L2 table that snapshots
    share is changed where it is: it reads the same as before."""
    offsets = list(dict.fromkeys(entry & OFFSET_MASK for l1 in tables for entry in l1 if entry & OFFSET_MASK))
    for done, offset in enumerate(offsets):
        progress(done, len(offsets))
        users = image.refs.get(offset >> image.cluster_bits)
        for at in range(image.l2_entries):
            table = image.l2_table(offset)
            word = table.words[at]
            if word & COMPRESSED or not word & ZERO:
                continue
            host = word & OFFSET_MASK
            if host and (image.backing_file is None or users > 1 or not word & COPIED):
                for _ in range(users):
                    image.refs.free(host)
                host = 0
            if image.backing_file is not None and not host:
                host = image.allocate_clusters(1) << image.cluster_bits
                if users > 1:
                    image.refs.add(host >> image.cluster_bits, 1, users - 1)
                table = image.l2_table(offset)
            if host and image.cipher:
                pos = guest_position(image, tables, offset, at)
                image.file.write(host, image.encrypt(pos, host, bytes(image.cluster_size)))
            elif host:
                image.file.write_zeroes(host, image.cluster_size)
            table.words[at] = host | (COPIED if host and users == 1 else 0)
            table.touch(at, at + 1)
    progress(1, 1)


def guest_position(image: Qcow2, tables: list[array[int]], offset: int, at: int) -> int:
    """The byte of the disk that entry `at` of the L2 table at `offset` describes."""
    index = next(i for l1 in tables for i, entry in enumerate(l1) if entry & OFFSET_MASK == offset)
    return (index * image.l2_entries + at) * image.cluster_size


def change_refcount_width(image: Qcow2, bits: int, progress: Callable[[int, int], None]) -> None:
    """Count everything anew in entries of `bits` bits, in a new table at the end of the file, then switch the header."""
    from .check import count_references

    image.flush_metadata()
    image.refs.write()
    header = image.header
    size = image.cluster_size
    per = size * 8 // bits
    highest = (1 << bits) - 1
    counts = count_references(image, without_refcounts=True)
    if counts and max(counts.values()) > highest:
        raise BlockError(
            f"Cannot decrease refcount entry width to {bits} bits: Cluster with a refcount of {max(counts.values())} would not fit"
        )
    start = -(-image.file.size // size)
    used = 0
    while True:
        blocks = -(-(start + used) // per)
        table = -(-blocks * 8 // size)
        if blocks + table == used:
            break
        used = blocks + table
    table_offset = start * size
    for i in range(used):
        counts[start + i] = 1
    offsets = array("Q", [0]) * (table * size // 8)
    for index in range(blocks):
        low = index * per
        values = [counts.get(low + i, 0) for i in range(per)]
        offset = (start + table + index) * size
        offsets[index] = offset
        progress(index + 1, blocks)
        image.file.write(offset, pack_counts(array(CODES.get(bits, "B"), values), bits))
    image.file.write(table_offset, words_to(offsets))
    image.barrier()
    header.refcount_table_offset, header.refcount_table_clusters = table_offset, table
    header.refcount_order = bits.bit_length() - 1
    rewrite_header(image)
    image.barrier()
    image.refs = Refcounts(image)
