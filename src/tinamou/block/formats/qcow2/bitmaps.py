"""Persistent dirty bitmaps: which parts of the disk changed since a backup (qcow2.txt, chapter Bitmaps)."""

from __future__ import annotations

from collections.abc import Iterator

from ...node import BlockError
from ...notation import TYPE_CHECKING, Any
from . import layout as q
from .layout import BITMAP_AUTO, BITMAP_IN_USE, BitmapEntry, BitmapsExtension, words_from, words_to

if TYPE_CHECKING:
    from . import Qcow2

MAX_NAME = 1023
MIN_GRANULARITY, MAX_GRANULARITY = 9, 31
TABLE_RESERVED = 0xFF00_0000_0000_01FE
ALL_ONES = 1


class Bitmap:
    """One bit per `granularity` bytes of the disk, least significant bit first. `bits` is None until loaded."""

    def __init__(self, image: Qcow2, name: str, granularity_bits: int, flags: int = BITMAP_AUTO) -> None:
        self.image = image
        self.name = name
        self.granularity_bits = granularity_bits
        self.flags = flags
        self.table_offset = 0
        self.table_size = 0
        self.extra = b""
        self.kind = 1
        self._bits: bytearray | None = None

    @property
    def inconsistent(self) -> bool:
        return bool(self.flags & BITMAP_IN_USE)

    @property
    def enabled(self) -> bool:
        return bool(self.flags & BITMAP_AUTO)

    def describe(self) -> dict[str, Any]:
        names = [n for bit, n in ((BITMAP_IN_USE, "in-use"), (BITMAP_AUTO, "auto")) if self.flags & bit]
        return {"flags": names, "name": self.name, "granularity": 1 << self.granularity_bits}

    @property
    def length(self) -> int:
        """Bits."""
        return -(-self.image.size // (1 << self.granularity_bits))

    @property
    def bits(self) -> bytearray:
        if self._bits is None:
            self._bits = self._load()
        return self._bits

    def table(self) -> Any:
        size = self.table_size * 8
        if self.table_offset % self.image.cluster_size or self.table_offset + size > self.image.file.size + (1 << 21):
            raise BlockError(f"Bitmap '{self.name}' has an invalid bitmap table")
        return words_from(self.image.file.read(self.table_offset, size))

    def _load(self) -> bytearray:
        want = -(-self.length // 8)
        if want > 1 << 29:
            raise BlockError(f"Bitmap '{self.name}' is too large")
        bits = bytearray(want)
        if not self.table_size:
            return bits
        step = self.image.cluster_size
        for i, word in enumerate(self.table()):
            at = i * step
            n = min(step, want - at)
            if n <= 0:
                break
            if word & TABLE_RESERVED:
                raise BlockError(f"Bitmap '{self.name}' doesn't satisfy the constraints")
            offset = word & q.OFFSET_MASK
            if offset:
                bits[at : at + n] = self.image.file.read(offset, n)
            elif word & ALL_ONES:
                bits[at : at + n] = b"\xff" * n
        return bits

    def mark(self, pos: int, length: int) -> None:
        """Set the bits of a range of bytes."""
        if length <= 0:
            return
        bits = self.bits
        first = pos >> self.granularity_bits
        last = min(pos + length - 1 >> self.granularity_bits, self.length - 1)
        a, b = first >> 3, last >> 3
        if a == b:
            bits[a] |= (0xFF << (first & 7)) & (0xFF >> (7 - (last & 7)))
            return
        bits[a] |= 0xFF << (first & 7) & 0xFF
        bits[b] |= 0xFF >> (7 - (last & 7))
        if b - a > 1:
            bits[a + 1 : b] = b"\xff" * (b - a - 1)

    def clear(self) -> None:
        self._bits = bytearray(-(-self.length // 8))

    def ranges(self) -> Iterator[tuple[int, int]]:
        """[(start, length)] in bytes of what is marked."""
        start = -1
        unit = 1 << self.granularity_bits
        n = self.length
        for at, byte in enumerate(self.bits):
            if byte == 0 and start < 0:
                continue
            if byte == 0xFF and start >= 0 and (at + 1) * 8 <= n:
                continue
            for bit in range(8):
                i = at * 8 + bit
                if i >= n:
                    break
                if byte >> bit & 1:
                    if start < 0:
                        start = i
                elif start >= 0:
                    yield start * unit, min((i - start) * unit, self.image.size - start * unit)
                    start = -1
        if start >= 0:
            yield start * unit, self.image.size - start * unit

    def merge(self, other: Bitmap) -> None:
        if other.granularity_bits == self.granularity_bits and len(other.bits) == len(self.bits):
            n = len(self.bits)
            joined = int.from_bytes(self.bits, "little") | int.from_bytes(other.bits, "little")
            self._bits = bytearray(joined.to_bytes(n, "little"))
            return
        for start, length in other.ranges():
            if start < self.image.size:
                self.mark(start, min(length, self.image.size - start))


def read_bitmaps(image: Qcow2) -> list[Bitmap]:
    ext = image.bitmaps_extension
    if ext is None:
        return []
    file = image.file
    if ext.directory_offset + ext.directory_size > file.size + image.cluster_size:
        raise BlockError("bitmaps_ext: the bitmap directory lies after the end of the file")
    data = file.read(ext.directory_offset, ext.directory_size)
    found: list[Bitmap] = []
    at = 0
    while at < len(data):
        entry = BitmapEntry.unpack(data, at)
        end = at + -(-(BitmapEntry.packed_size + entry.extra_size + entry.name_size) // 8) * 8
        if end > len(data) or len(found) >= ext.nb_bitmaps:
            raise BlockError("Broken bitmap directory")
        at_name = at + BitmapEntry.packed_size + entry.extra_size
        name = data[at_name : at_name + entry.name_size].decode("utf-8", "replace")
        if (
            not entry.name_size
            or entry.name_size > MAX_NAME
            or entry.type != 1
            or not MIN_GRANULARITY <= entry.granularity_bits <= MAX_GRANULARITY
            or entry.table_offset % image.cluster_size
            or entry.table_size > (1 << 27)
            or entry.flags & ~7
        ):
            raise BlockError(f"Bitmap '{name}' doesn't satisfy the constraints")
        bitmap = Bitmap(image, name, entry.granularity_bits, entry.flags)
        bitmap.table_offset, bitmap.table_size = entry.table_offset, entry.table_size
        bitmap.extra = bytes(data[at + BitmapEntry.packed_size : at_name])
        found.append(bitmap)
        at = end
    if len(found) != ext.nb_bitmaps:
        raise BlockError("Broken bitmap directory")
    return found


def pack_directory(bitmaps: list[Bitmap]) -> bytes:
    out = bytearray()
    for b in bitmaps:
        name = b.name.encode()
        out += BitmapEntry(
            table_offset=b.table_offset,
            table_size=b.table_size,
            flags=b.flags,
            granularity_bits=b.granularity_bits,
            name_size=len(name),
            extra_size=len(b.extra),
        ).pack()
        out += b.extra + name
        out += bytes(-len(out) % 8)
    return bytes(out)


def write_directory(image: Qcow2, bitmaps: list[Bitmap]) -> None:
    """A new directory, then the header that points to it, then the old one is given up."""
    from .creation import rewrite_header

    old = image.bitmaps_extension
    header = image.header
    if bitmaps:
        data = pack_directory(bitmaps)
        offset = image.allocate_clusters(-(-len(data) // image.cluster_size)) << image.cluster_bits
        image.file.write(offset, data)
        image.refs.write()
        image.barrier()
        image.bitmaps_extension = BitmapsExtension(nb_bitmaps=len(bitmaps), directory_size=len(data), directory_offset=offset)
        header.autoclear_features |= q.BITMAPS
    else:
        image.bitmaps_extension = None
        header.autoclear_features &= ~q.BITMAPS
    rewrite_header(image)
    image.barrier()
    if old is not None:
        image.refs.free(old.directory_offset, -(-old.directory_size // image.cluster_size))
    image.flush_metadata()
    image.refs.write()


def free_data(image: Qcow2, bitmap: Bitmap) -> None:
    if bitmap.table_offset:
        for word in bitmap.table():
            if word & q.OFFSET_MASK:
                image.refs.free(word & q.OFFSET_MASK)
        image.refs.free(bitmap.table_offset, -(-bitmap.table_size * 8 // image.cluster_size))
    bitmap.table_offset = bitmap.table_size = 0


def store(image: Qcow2, bitmap: Bitmap) -> None:
    """Write the bits to new clusters; the directory must be written afterwards."""
    bits = bitmap.bits
    free_data(image, bitmap)
    step = image.cluster_size
    count = -(-len(bits) // step)
    words = words_from(bytes(8 * count))
    for i in range(count):
        piece = bytes(bits[i * step : (i + 1) * step])
        if not any(piece):
            continue
        if piece.count(b"\xff") == len(piece) == step:
            words[i] = ALL_ONES
            continue
        words[i] = image.allocate_clusters(1) << image.cluster_bits
        image.file.write(words[i], piece.ljust(step, b"\0"))
    if count:
        bitmap.table_offset = image.allocate_clusters(-(-count * 8 // step)) << image.cluster_bits
        image.file.write(bitmap.table_offset, words_to(words))
    bitmap.table_size = count


def start_tracking(image: Qcow2) -> None:
    """Bitmaps that are enabled follow all writes; until they are stored again they are marked as in use on disk."""
    active = [b for b in image.bitmaps() if b.enabled and not b.inconsistent]
    if not active:
        return
    for b in active:
        _ = b.bits
        b.flags |= BITMAP_IN_USE
    _rewrite_flags(image)
    image.tracked = active


def _rewrite_flags(image: Qcow2) -> None:
    """Update the directory in place: its size does not change."""
    ext = image.bitmaps_extension
    assert ext is not None
    image.file.write(ext.directory_offset, pack_directory(image.bitmaps()))
    image.barrier()


def store_tracked(image: Qcow2) -> None:
    for b in image.tracked:
        store(image, b)
        b.flags &= ~BITMAP_IN_USE
    image.tracked = []
    write_directory(image, image.bitmaps())


def find(image: Qcow2, name: str) -> Bitmap:
    for b in image.bitmaps():
        if b.name == name:
            return b
    raise BlockError(f"Dirty bitmap '{name}' not found")


def usable(image: Qcow2, name: str) -> Bitmap:
    b = find(image, name)
    if b.inconsistent and b not in image.tracked:
        raise BlockError(
            f"Bitmap '{name}' is inconsistent and cannot be used",
            "Try block-dirty-bitmap-remove to delete this bitmap from disk",
        )
    return b


def add(image: Qcow2, name: str, granularity: int | None, enabled: bool = True) -> Bitmap:
    impossible = f"Can't make bitmap '{name}' persistent in '{image.name}'"
    if image.header.version < 3:
        raise BlockError(f"{impossible}: Cannot store dirty bitmaps in qcow2 v2 files")
    if granularity is None:
        granularity = max(4096, min(65536, image.cluster_size))
    if granularity < 512 or granularity & (granularity - 1):
        raise BlockError("Granularity must be power of 2 and at least 512")
    if granularity > 1 << 31:
        raise BlockError("Granularity exceeds maximum (2147483648 bytes)")
    if not name:
        raise BlockError("Bitmap name cannot be empty")
    if any(b.name == name for b in image.bitmaps()):
        raise BlockError(f"Bitmap already exists: {name}")
    if len(name.encode()) > MAX_NAME:
        raise BlockError(f"{impossible}: Name length exceeds maximum ({MAX_NAME} characters)")
    if len(image.bitmaps()) >= q.MAX_BITMAPS:
        raise BlockError("Maximum number of persistent bitmaps is already reached")
    bitmap = Bitmap(image, name, granularity.bit_length() - 1, BITMAP_AUTO if enabled else 0)
    if bitmap.length > 1 << 32:
        raise BlockError("Too much space will be occupied by the bitmap. Use larger granularity")
    bitmap.clear()
    store(image, bitmap)
    image.bitmaps().append(bitmap)
    write_directory(image, image.bitmaps())
    return bitmap


def remove(image: Qcow2, name: str) -> None:
    b = find(image, name)
    image.bitmaps().remove(b)
    if b in image.tracked:
        image.tracked.remove(b)
    write_directory(image, image.bitmaps())
    free_data(image, b)
    image.flush_metadata()
    image.refs.write()


def change(image: Qcow2, name: str, action: str) -> None:
    b = usable(image, name)
    if action == "clear":
        b.clear()
        save(image, b)
        return
    if action == "enable":
        b.flags |= BITMAP_AUTO
    else:
        b.flags &= ~BITMAP_AUTO
    save(image, b)


def merge_into(image: Qcow2, name: str, source: Any, source_name: str) -> None:
    target = usable(image, name)
    if not hasattr(source, "bitmaps"):
        raise BlockError(f"Dirty bitmap '{source_name}' not found")
    other = usable(source, source_name)
    if other.image.size != image.size:
        raise BlockError(
            f"Bitmaps are of different sizes (destination size is {image.size} and source size is {other.image.size}) and can't be merged"
        )
    target.merge(other)
    save(image, target)


def measure(options: Any, source: Any) -> int:
    """Bytes for the bitmaps of `source` in an image with the cluster size of `options`."""
    cluster: int = options.cluster_size
    total: int = 0
    directory = 0
    for b in source.bitmaps():
        if b.inconsistent:
            continue
        length = -(-b.length // 8)
        clusters = -(-length // cluster)
        total += clusters * cluster + -(-clusters * 8 // cluster) * cluster
        directory += -(-(BitmapEntry.packed_size + len(b.name.encode())) // 8) * 8
    return total + -(-directory // cluster) * cluster


def save(image: Qcow2, bitmap: Bitmap) -> None:
    """Store bits and flags of a changed bitmap."""
    if bitmap not in image.tracked:
        store(image, bitmap)
        write_directory(image, image.bitmaps())
