"""A regular file on the host: Linux system calls pread, pwritev, fallocate, lseek(SEEK_DATA), copy_file_range."""

from __future__ import annotations

import errno
import os
import stat
from _thread import allocate_lock
from bisect import bisect_right
from collections.abc import Sequence

from .. import locking
from .. import options as opt
from ..node import BlockError, Extent, Node, Options, Protocol, fill_zero, zeroes
from ..notation import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..graph import Graph
    from ..node import Buffer

FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
DIRECT_ALIGNMENT = 4096
MAX_IOV = 1024
MAX_REGIONS = 4096
"""Of data and holes that are remembered."""


def _fallocate(fd: int, mode: int, pos: int, length: int) -> None:
    """The system call `fallocate` with its mode, which the `os` module leaves out."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    while call(fd, mode, pos, length):
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


class File(Protocol, name="file"):
    """`filename=PATH`; a path may carry the prefix `file:`."""

    prefixes: ClassVar[tuple[str, ...]] = ("file",)
    can_create = True
    device = False

    class Open(Options):
        filename = opt.text("")
        locking = opt.choice("", ("auto", "on", "off"))
        aio = opt.choice("", ("threads", "native", "io_uring"))
        pr_manager = opt.text("", key="pr-manager")
        drop_cache = opt.flag("", key="drop-cache")
        x_check_cache_dropped = opt.flag("", key="x-check-cache-dropped")

    class Create(Options):
        size = opt.size("Virtual disk size")
        nocow = opt.flag("Turn off copy-on-write (valid only on btrfs)")
        extent_size_hint = opt.size("Extent size hint for the image file, 0 to disable")
        preallocation = opt.choice("Preallocation mode (allowed values: off, falloc, full)", ("off", "falloc", "full"))

    opts: Open
    fd = -1

    @classmethod
    def parse_filename(cls, filename: str) -> dict[str, Any]:
        return {"filename": filename}

    def open(self) -> None:
        name = self.opts.filename
        if not name:
            raise BlockError(
                'A block device must be specified for "file"' if name is None else f"The '{self.driver}' block driver requires a file name"
            )
        self.filename = name
        if "\0" in name:
            raise BlockError(f"Could not open '{name!r}': Invalid argument")
        flags = os.O_CLOEXEC | (os.O_DIRECT if self.settings.direct else 0)
        try:
            try:
                self.fd = os.open(name, flags | (os.O_RDWR if self.settings.write else os.O_RDONLY))
            except OSError as error:
                if not self.settings.auto_read_only or error.errno not in (errno.EACCES, errno.EROFS):
                    raise
                self.fd = os.open(name, flags | os.O_RDONLY)
                self.read_only = True
        except OSError as error:
            if error.errno == errno.EINVAL and self.settings.direct:
                raise BlockError(f"Could not open '{name}': filesystem does not support O_DIRECT") from None
            raise BlockError(f"Could not open '{name}': {os.strerror(error.errno or 0)}") from None
        try:
            self._opened(name)
        except BaseException:
            os.close(self.fd)
            self.fd = -1
            raise

    def _opened(self, name: str) -> None:
        mode = os.fstat(self.fd).st_mode
        self._check_kind(name, mode)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.alignment = DIRECT_ALIGNMENT if self.settings.direct else 1
        self.can_punch = stat.S_ISREG(mode)
        self.can_zero = stat.S_ISREG(mode)
        self._map: list[tuple[int, int, bool]] | None = None
        """What is known of data and holes: (start, end, data), in order of position."""
        self._growing = allocate_lock()
        self._growers = 0
        """Writes beyond the end that are under way; one of them has failed: `_short`."""
        self._short = False

    def _check_kind(self, name: str, mode: int) -> None:
        if stat.S_ISDIR(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode):
            raise BlockError(f"'{self.driver}' driver requires '{name}' to be a regular file")
        if stat.S_ISBLK(mode):
            raise BlockError(f"'{self.driver}' driver requires '{name}' to be a regular file")

    def lock(self, resize: bool, exclusive: bool) -> None:
        wanted = self.opts.locking or self.settings.locks
        if wanted == "off" or self.settings.force_share:
            return
        if not locking.supported(self.fd):
            if wanted == "on":
                raise BlockError("File lock requested but fcntl(F_OFD_SETLK) is unavailable")
            return
        used = {locking.READ}
        if self.settings.write and not self.read_only:
            used |= {locking.WRITE, locking.RESIZE} if resize else {locking.WRITE}
        locking.take(self.fd, self.filename, used, {locking.WRITE, locking.RESIZE} if exclusive else set())

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # Data

    def read_into(self, pos: int, view: memoryview) -> None:
        if self.settings.direct and not self._aligned(pos, view):
            self._read_bounced(pos, view)
            return
        while True:
            n = os.preadv(self.fd, [view], pos)
            if n == len(view):
                return
            if n == 0:
                fill_zero(view)
                return
            view = view[n:]
            pos += n

    def _aligned(self, pos: int, view: memoryview) -> bool:
        return False

    def _read_bounced(self, pos: int, view: memoryview) -> None:
        """O_DIRECT wants aligned memory, position and length: read through an aligned buffer."""
        import mmap

        step = 1 << 20
        end = pos + len(view)
        start = pos // DIRECT_ALIGNMENT * DIRECT_ALIGNMENT
        done = 0
        with mmap.mmap(-1, step) as area:
            while start < end:
                n = min(step, -(-(end - start) // DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT)
                with memoryview(area) as whole, whole[:n] as part:
                    got = os.preadv(self.fd, [part], start)
                    if got < n:
                        fill_zero(part[got:])
                    a = pos + done - start
                    take = min(n - a, len(view) - done)
                    view[done : done + take] = part[a : a + take]
                done += take
                start += n

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        if self.read_only:
            raise OSError(errno.EPERM, "Operation not permitted")
        if self.settings.direct:
            self._write_bounced(pos, b"".join(buffers))
            return
        total = sum(map(len, buffers))
        grows = pos + total > self.size
        if grows:
            # Said beforehand: another thread that makes the file longer must not cut it below this.
            with self._growing:
                self.size = max(self.size, pos + total)
                self._growers += 1
        n = -1
        try:
            n = os.pwritev(self.fd, buffers, pos) if len(buffers) <= MAX_IOV else 0
            if n != total:
                rest = memoryview(b"".join(buffers))
                while n < total:
                    n += os.pwritev(self.fd, [rest[n:]], pos + n)
        finally:
            if grows:
                with self._growing:
                    self._growers -= 1
                    self._short |= n != total
                    if self._short and not self._growers:
                        self.size = os.lseek(self.fd, 0, os.SEEK_END)
                        self._short = False
        self._map = None

    def _write_bounced(self, pos: int, data: bytes) -> None:
        import mmap

        start = pos // DIRECT_ALIGNMENT * DIRECT_ALIGNMENT
        end = -(-(pos + len(data)) // DIRECT_ALIGNMENT) * DIRECT_ALIGNMENT
        old_size = self.size
        with mmap.mmap(-1, end - start) as area:
            for edge in {start, end - DIRECT_ALIGNMENT}:
                if edge < pos or edge + DIRECT_ALIGNMENT > pos + len(data):
                    with memoryview(area) as whole, whole[edge - start : edge - start + DIRECT_ALIGNMENT] as part:
                        os.preadv(self.fd, [part], edge)
            area[pos - start : pos - start + len(data)] = data
            n = 0
            while n < end - start:
                with memoryview(area) as whole, whole[n:] as part:
                    n += os.pwritev(self.fd, [part], start + n)
        size = max(old_size, pos + len(data))
        if end > size:
            os.ftruncate(self.fd, size)
        self.size = size
        self._map = None

    def copy_range(self, pos: int, source: Node, source_pos: int, length: int) -> bool:
        """Let the kernel copy from another file (it may share the blocks); False when it cannot."""
        if not isinstance(source, File) or self.read_only or self.settings.direct or source.settings.direct:
            return False
        done = 0
        while done < length:
            try:
                n = os.copy_file_range(source.fd, self.fd, length - done, source_pos + done, pos + done)
            except OSError as error:
                if error.errno in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.ETXTBSY):
                    return False
                raise
            if n == 0:
                return False
            done += n
        with self._growing:
            self.size = max(self.size, pos + length)
        self._map = None
        return True

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        if self.read_only:
            raise OSError(errno.EPERM, "Operation not permitted")
        self._map = None
        end = pos + length
        if pos >= self.size and self.can_punch:
            with self._growing:
                if pos >= self.size:
                    os.ftruncate(self.fd, end)
                    self.size = end
                    return
        if self.can_punch and unmap and length >= 4096:
            try:
                _fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, pos, length)
                with self._growing:
                    if end > self.size:
                        os.ftruncate(self.fd, end)
                        self.size = end
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY):
                    raise
                self.can_punch = False
        if self.can_zero and length >= 4096:
            try:
                _fallocate(self.fd, FALLOC_ZERO_RANGE, pos, length)
                with self._growing:
                    self.size = max(self.size, end)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY):
                    raise
                self.can_zero = False
        while length:
            n = min(length, 1 << 20)
            self.writev(pos, [zeroes(n)])
            pos, length = pos + n, length - n

    def discard(self, pos: int, length: int) -> None:
        if not self.can_punch or self.read_only:
            return
        length = min(length, self.size - pos)
        if length <= 0:
            return
        self._map = None
        try:
            _fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, pos, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY):
                raise
            self.can_punch = False

    def flush(self) -> None:
        if not self.settings.no_flush and self.fd >= 0 and not self.read_only:
            os.fdatasync(self.fd)

    def extent(self, pos: int, want: int) -> Extent:
        """Data or hole, as the host file system says; a hole is a "zero" extent with an offset."""
        known = self._map
        if known is None:
            known = self._map = []
        index = bisect_right(known, (pos, 1 << 63))
        if index:
            _, end, data = known[index - 1]
            if pos < end:
                return Extent("data" if data else "zero", end - pos, pos, file=self)
        found = self._find(pos)
        if index < len(known) and known[index][1:] == found[1:]:
            known[index] = found
        else:
            if len(known) >= MAX_REGIONS:
                known.clear()
                index = 0
            known.insert(index, found)
        return Extent("data" if found[2] else "zero", found[1] - pos, pos, file=self)

    def _find(self, pos: int) -> tuple[int, int, bool]:
        if pos >= self.size:
            return pos, pos + (1 << 62), False
        try:
            data = os.lseek(self.fd, pos, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return pos, self.size, False
            return pos, self.size, True
        if data > pos:
            return pos, min(data, self.size), False
        return pos, min(os.lseek(self.fd, pos, os.SEEK_HOLE), self.size), True

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        if self.read_only:
            raise BlockError("Image is read-only")
        try:
            self._resize(size, preallocation)
        except OSError as error:
            what = "preallocate" if preallocation != "off" else "resize"
            raise BlockError(f"Failed to {what} file: {error.strerror}") from None
        self._map = None
        self.size = size

    def _resize(self, size: int, preallocation: str) -> None:
        old = self.size
        if preallocation in ("falloc", "full") and size < old:
            raise BlockError(f"Preallocation can't be used for shrinking files")  # noqa: F541
        try:
            if preallocation == "falloc" and size > old:
                os.posix_fallocate(self.fd, old, size - old)
            os.ftruncate(self.fd, size)
            if preallocation == "full":
                at = old
                while at < size:
                    n = min(size - at, 1 << 20)
                    at += os.pwrite(self.fd, zeroes(n), at)
                os.fsync(self.fd)
        except OSError:
            os.ftruncate(self.fd, old)
            raise

    def zeroes_when_new(self) -> bool:
        return True

    def allocated_bytes(self) -> int | None:
        return os.fstat(self.fd).st_blocks * 512

    @classmethod
    def create_file(cls, graph: Graph, filename: str, options: Any) -> None:
        if filename.startswith("file:"):
            filename = filename[5:]
        try:
            fd = os.open(filename, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise BlockError(f"Could not create '{filename}': {os.strerror(error.errno or 0)}") from None
        try:
            if locking.supported(fd):
                locking.take(fd, filename, {locking.WRITE, locking.RESIZE}, {locking.RESIZE})
            os.ftruncate(fd, 0)
            if options.nocow:
                _set_nocow(fd)
            if options.size:
                node = cls.__new__(cls)
                node.fd, node.size = fd, 0
                try:
                    node._resize(options.size, options.preallocation or "off")
                except OSError as error:
                    raise BlockError(f"Could not resize file: {os.strerror(error.errno or 0)}") from None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)

    @classmethod
    def delete_file(cls, filename: str) -> None:
        try:
            name = filename[5:] if filename.startswith("file:") else filename
            if stat.S_ISREG(os.stat(name).st_mode):
                os.unlink(name)
        except OSError:
            pass


def _set_nocow(fd: int) -> None:
    import fcntl
    import struct

    get_flags, set_flags, nocow = 0x80086601, 0x40086602, 0x00800000
    try:
        flags = struct.unpack("i", fcntl.ioctl(fd, get_flags, b"\0\0\0\0"))[0]
        fcntl.ioctl(fd, set_flags, struct.pack("i", flags | nocow))
    except OSError:
        pass
