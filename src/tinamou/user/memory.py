"""The guest's address space: a reserved range of host addresses in which guest address g lies at base + g.

A guest page has the host protection that the guest asked for (read and write; execution is ours alone, executable pages are readable).
One byte per page in the table at `flags` tells native code: bit 0 readable, 1 writable, 2 executable, 3 accessible at all.  The map of
what is where (for /proc/self/maps, mremap, gap search) is a sorted list of regions.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator

from tinamou.engine.cpu import GUARD
from tinamou.native.image import address_space_left

from .errors import GuestFault
from .tags import Tags

__all__ = ["EXEC", "READ", "WRITE", "AddressSpace", "Region"]

PAGE = 4096
READ, WRITE, EXEC = 1, 2, 4
TAGGED = 0x20  # PROT_MTE of arm64
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE = 1, 2, 0x10, 0x20, 0x4000
MAP_TYPE = 0xF
MAP_FIXED_NOREPLACE = 0x100000
MADV_DONTNEED = 4
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4
BIG = 1 << 18  # table bytes (1 GiB of guest memory) from which clearing drops pages rather than writing zeroes
LOWEST = 0x10000  # mmap_min_addr
LEAST = 1 << 26  # bytes that a guest has at least
EMULATOR = 150 << 20  # bytes of address space that the emulator needs behind those

_libc = ctypes.CDLL(None, use_errno=True)
_mmap, _munmap, _mprotect, _mremap, _madvise = _libc.mmap, _libc.munmap, _libc.mprotect, _libc.mremap, _libc.madvise
_mmap.restype = _mremap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_readv, _writev = _libc.process_vm_readv, _libc.process_vm_writev
for _f in (_readv, _writev):
    _f.restype = ctypes.c_ssize_t
    _f.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
_FAILED = ctypes.c_void_p(-1).value
_Vector = ctypes.c_uint64 * 4  # local iovec, remote iovec


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _host_map(address: int, length: int, prot: int, flags: int, fd: int = -1, offset: int = 0) -> int:
    got = _mmap(address or None, length, prot, flags, fd, offset)
    if got == _FAILED:
        raise _error()
    return int(got)


def _round(n: int) -> int:
    return (n + PAGE - 1) & -PAGE


class Region:
    """Guest pages from `start` up to `end` that one line of /proc/self/maps describes."""

    __slots__ = ("dev", "end", "flags", "inode", "name", "offset", "prot", "start")

    def __init__(
        self, start: int, end: int, prot: int, flags: int, offset: int = 0, dev: int = 0, inode: int = 0, name: str = ""
    ) -> None:
        self.start, self.end, self.prot, self.flags = start, end, prot, flags
        self.offset, self.dev, self.inode, self.name = offset, dev, inode, name

    def part(self, start: int, end: int) -> Region:
        """The piece between two addresses inside."""
        offset = self.offset + (start - self.start if self.inode else 0)
        return Region(start, end, self.prot, self.flags, offset, self.dev, self.inode, self.name)

    def joins(self, after: Region) -> bool:
        """Whether this region and the one that begins at its end are one."""
        if self.end != after.start or self.prot != after.prot or self.flags != after.flags or self.name != after.name:
            return False
        if self.inode or after.inode:
            return (self.dev, self.inode) == (after.dev, after.inode) and self.offset + self.end - self.start == after.offset
        return self.flags & MAP_TYPE != MAP_SHARED

    def __str__(self) -> str:
        """The line of /proc/self/maps."""
        rights = "".join(letter if self.prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
        shared = "s" if self.flags & MAP_TYPE in (MAP_SHARED, 3) else "p"
        line = (
            f"{self.start:08x}-{self.end:08x} {rights}{shared} {self.offset:08x} "
            f"{os.major(self.dev):02x}:{os.minor(self.dev):02x} {self.inode} "
        )
        return (f"{line:<73}{self.name}" if self.name else line) + "\n"


class AddressSpace:
    """Guest memory from 0 up to `limit`.

    base       host address of guest address 0
    flags      host address of the table of page flags
    changed    called with (address, length) when executable pages were replaced, unmapped or changed their protection
    special    PROT_ bits beside read, write and execute that this guest has; each is the bit of that value in the page flags, too
    seen       those that some page has had; `noticed` is called before the first gets one
    pointer    what of an address counts in a pointer given to a system call
    check_tag  whether a pointer given to a system call, with that many bytes behind it, has a fitting tag; None: all have
    tags       of memory with PROT_MTE, once there is some
    """

    def __init__(self, limit: int, base: int = 0) -> None:
        """Reserve `limit` bytes with a guard before and behind them, less when RLIMIT_AS refuses; at host address `base` if given.

        Half of what RLIMIT_AS allows, EMULATOR bytes at least, is left to the emulator.  Raises OSError when the host refuses even LEAST
        bytes, or that base.
        """
        fixed = MAP_FIXED_NOREPLACE if base else 0
        left = address_space_left()
        while True:
            try:
                if limit > min(left // 2, left - EMULATOR):
                    raise OSError(errno.ENOMEM, "not under this limit of the address space (ulimit -v)")
                flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed
                self.base = _host_map(max(base - GUARD, 0), limit + 2 * GUARD, 0, flags) + GUARD
                break
            except OSError:
                if limit <= LEAST or base:
                    raise
                limit >>= 1
        self.limit = limit
        self.flags = _host_map(0, limit // PAGE, READ | WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
        self.changed: Callable[[int, int], None] = lambda address, length: None
        self.special = self.seen = 0
        self.noticed: Callable[[int], None] = lambda bits: None
        self.pointer = -1
        self.check_tag: Callable[[int, int], bool] | None = None
        self.tags: Tags | None = None
        self.lock = threading.RLock()
        self._starts: list[int] = []
        self._regions: list[Region] = []
        self.clear()

    def clear(self) -> None:
        """Unmap everything."""
        self._reserve(0, self.limit)
        self._set_flags(0, self.limit, 0)
        self.seen = 0
        self.pointer, self.check_tag = -1, None
        if self.tags is not None:
            self.tags.clear(0, self.limit)
        for region in self._regions:
            if region.prot & EXEC:
                self.changed(region.start, region.end - region.start)
        self._starts, self._regions = [], []
        self.top = self.limit - (1 << 16)  # mmap searches downward from here; the loader moves it below the stack
        self._hint = self.top
        self.heap = self.heap_end = 0

    def release(self) -> None:
        """Give the reserved range back to the host; nothing may be read or written afterwards."""
        _munmap(self.base - GUARD, self.limit + 2 * GUARD)
        _munmap(self.flags, self.limit // PAGE)

    # ---- access

    def host(self, address: int, length: int, ours: bool = False) -> int:
        """Host address of that range for a host system call, which checks access itself.  Raises GuestFault beyond the limit."""
        if self.check_tag is not None and length and not ours and not self.check_tag(address, length):
            raise GuestFault(address)
        address &= self.pointer
        if address < 0 or length < 0 or address + length > self.limit:
            raise GuestFault(address)
        return self.base + address

    def read(self, address: int, length: int, ours: bool = False) -> bytes:
        """Raises GuestFault if the guest may not read all of it.  `ours`: the address is none that the guest gave."""
        if not length:
            return b""
        at = self.host(address, length, ours)
        room = ctypes.create_string_buffer(length)
        vector = _Vector(ctypes.addressof(room), length, at, length)
        where = ctypes.addressof(vector)
        done = _readv(os.getpid(), where, 1, where + 16, 1, 0)
        if done != length:
            raise GuestFault(address + max(done, 0))
        return room.raw

    def write(self, address: int, data: bytes) -> None:
        """Raises GuestFault if the guest may not write all of it; some bytes may have been stored then."""
        length = len(data)
        if not length:
            return
        at = self.host(address, length)
        room = ctypes.c_char_p(bytes(data))
        vector = _Vector(ctypes.cast(room, ctypes.c_void_p).value or 0, length, at, length)
        where = ctypes.addressof(vector)
        done = _writev(os.getpid(), where, 1, where + 16, 1, 0)
        if done != length:
            raise GuestFault(address + max(done, 0))

    def read_string(self, address: int, limit: int) -> bytes | None:
        """The bytes up to a NUL, or None if there is none within `limit` bytes.  Raises GuestFault."""
        found = b""
        while len(found) < limit:
            piece = self.read(address, min(PAGE - address % PAGE, limit - len(found), 256 if not found else PAGE))
            end = piece.find(b"\0")
            if end >= 0:
                return found + piece[:end]
            found += piece
            address += len(piece)
        return None

    # ---- the list of regions

    def regions(self) -> list[Region]:
        """What is mapped, by rising address."""
        with self.lock:
            return list(self._regions)

    def refusal(self, address: int, access: int) -> str:
        """Why an access (PROT_ bit) to an address is refused: unmapped, denied, absent (behind the end of its file), or "" if it is not."""
        with self.lock:  # the list and the host's mappings agree
            region = self.find(address)
            if region is None:
                return "unmapped"
            if not region.prot & access and not (access == READ and region.prot & (WRITE | EXEC)):
                return "denied"
            try:
                self.read(address, 1, ours=True)
            except GuestFault:
                return "absent"
            return ""

    def layout_text(self, digits: int) -> list[str]:
        """The lines of `-d page`."""
        lines = [f"{'start':<{digits}} {'end':<{digits}} {'size':<{digits}} prot"]
        for r in self.regions():
            rights = "".join(letter if r.prot & bit else "-" for letter, bit in (("r", 1), ("w", 2), ("x", 4)))
            lines.append(f"{r.start:0{digits}x}-{r.end:0{digits}x} {r.end - r.start:0{digits}x} {rights}")
        return lines

    def find(self, address: int) -> Region | None:
        """The region that holds the address."""
        i = bisect_right(self._starts, address) - 1
        if i >= 0 and address < self._regions[i].end:
            return self._regions[i]
        return None

    def _overlapping(self, start: int, end: int) -> Iterator[Region]:
        i = max(bisect_right(self._starts, start) - 1, 0)
        while i < len(self._regions) and self._regions[i].start < end:
            if self._regions[i].end > start:
                yield self._regions[i]
            i += 1

    def is_free(self, start: int, end: int) -> bool:
        """Whether nothing is mapped there."""
        return next(self._overlapping(start, end), None) is None

    def _covered(self, start: int, end: int) -> int:
        """Where the first gap from `start` on begins; `end` if there is none."""
        at = start
        for region in self._overlapping(start, end):
            if region.start > at:
                return at
            at = region.end
        return min(at, end)

    def _carve(self, start: int, end: int) -> list[Region]:
        """Take that range out of the list and give what it held, cut to the range."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        if first < len(self._regions) and self._regions[first].end <= start:
            first += 1
        last = first
        while last < len(self._regions) and self._regions[last].start < end:
            last += 1
        old = self._regions[first:last]
        if not old:
            return []
        left = [old[0].part(old[0].start, start)] if old[0].start < start else []
        right = [old[-1].part(end, old[-1].end)] if old[-1].end > end else []
        self._regions[first:last] = left + right
        self._starts[first:last] = [r.start for r in left + right]
        return [r.part(max(r.start, start), min(r.end, end)) for r in old]

    def _insert(self, new: Region) -> None:
        i = bisect_right(self._starts, new.start)
        if i and self._regions[i - 1].joins(new):
            i -= 1
            self._regions[i].end = new.end
            new = self._regions[i]
        else:
            self._regions.insert(i, new)
            self._starts.insert(i, new.start)
        if i + 1 < len(self._regions) and new.joins(self._regions[i + 1]):
            new.end = self._regions[i + 1].end
            del self._regions[i + 1], self._starts[i + 1]

    def _gap(self, length: int) -> int:
        """Start of a free range, as high as possible below `top`.  Raises OSError ENOMEM."""
        for high in (self._hint, self.top):
            end = min(high, self.top)
            i = bisect_right(self._starts, end - 1) - 1
            while end - length >= LOWEST:
                if i < 0 or self._regions[i].end <= end - length:
                    return end - length
                end = min(end, self._regions[i].start)
                i -= 1
        raise OSError(errno.ENOMEM, "address space is full")

    def find_gap(self, length: int, low: int, high: int) -> int:
        """Start of the lowest free range between two addresses.  Raises OSError ENOMEM."""
        at = low
        for region in self._overlapping(low, high):
            if region.start - at >= length:
                break
            at = max(at, region.end)
        if at + length > high:
            raise OSError(errno.ENOMEM, "no room")
        return at

    # ---- the host's side

    def _reserve(self, start: int, length: int) -> None:
        _host_map(self.base + start, length, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED)

    def _set_flags(self, start: int, end: int, prot: int) -> None:
        first, count = start // PAGE, (end - start) // PAGE
        value = prot & 7 | 8 if prot & 7 else 0
        if prot & WRITE:
            value |= READ
        value |= prot & self.special
        if not value and count >= BIG:  # whole pages of the table are dropped, the rest is written
            low, high = _round(first), (first + count) & -PAGE
            _host_map(self.flags + low, high - low, READ | WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED)
            ctypes.memset(self.flags + first, 0, low - first)
            ctypes.memset(self.flags + high, 0, first + count - high)
        else:
            ctypes.memset(self.flags + first, value, count)

    @staticmethod
    def _host_prot(prot: int) -> int:
        return (READ if prot & (READ | EXEC) else 0) | prot & WRITE

    def _forget(self, start: int, end: int) -> None:
        """Take out the range's regions; tell the engine when one was executable."""
        old = self._carve(start, end)
        if old:
            self._hint = max(self._hint, end)
            if any(r.prot & EXEC for r in old):
                self.changed(start, end - start)

    def _check(self, start: int, length: int, error: int = errno.EINVAL) -> int:
        """End of a page range given by a guest.  Raises OSError unless it is aligned and below the limit."""
        if start % PAGE or length < 0:
            raise OSError(errno.EINVAL, "unaligned")
        end = start + _round(length)
        if end > self.limit:
            raise OSError(error, "beyond the address space")
        return end

    # ---- mmap and family: addresses and lengths as the guest gave them; OSError carries the errno

    def map(
        self, address: int, length: int, prot: int, flags: int, fd: int = -1, offset: int = 0, name: str = ""
    ) -> int:
        """mmap with the host's flag values: the guest address of the mapping.

        Raises OSError: EINVAL, ENOMEM, EEXIST (MAP_FIXED_NOREPLACE), or what the host says of the file.
        """
        if length <= 0 or offset % PAGE:
            raise OSError(errno.EINVAL, "length or offset")
        if length > self.limit:
            raise OSError(errno.ENOMEM, "length")
        size = _round(length)
        with self.lock:
            if flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
                end = self._check(address, length, errno.ENOMEM)
                if address < LOWEST and not flags & MAP_FIXED:
                    raise OSError(errno.EPERM, "below mmap_min_addr")
                if flags & MAP_FIXED_NOREPLACE and not self.is_free(address, end):
                    raise OSError(errno.EEXIST, "occupied")
            else:
                address = _round(address)
                if address < LOWEST or address + size > self.top or not self.is_free(address, address + size):
                    address = self._gap(size)
                    self._hint = address
            end = address + size
            host_flags = flags & ~MAP_FIXED_NOREPLACE | MAP_FIXED
            prot &= 7 | self.special
            region = Region(address, end, prot, flags & (MAP_TYPE | MAP_NORESERVE), offset, 0, 0, name)
            if not flags & MAP_ANONYMOUS:
                facts = os.fstat(fd)
                region.dev, region.inode = facts.st_dev, facts.st_ino
                region.name = name or os.readlink(f"/proc/self/fd/{fd}")
            else:
                region.offset = 0
                if flags & MAP_TYPE == MAP_SHARED:
                    region.name = name or "/dev/zero (deleted)"
            self._notice([region], prot)
            _host_map(self.base + address, size, self._host_prot(prot), host_flags, fd, offset)
            self._forget(address, end)
            if self.tags is not None and prot & TAGGED:
                self.tags.clear(address, end)
            self._insert(region)
            self._set_flags(address, end, prot)
        return address

    def _notice(self, regions: list[Region], prot: int) -> None:
        """Pages of these regions get special bits.  Raises OSError EINVAL for tags on the pages of a file."""
        if prot & self.special & TAGGED:
            if any(r.inode and not r.name.startswith(("/memfd:", "/dev/shm/")) for r in regions):
                raise OSError(errno.EINVAL, "PROT_MTE on a file")
            if self.tags is None:
                self.tags = Tags(self.limit)
        if prot & self.special & ~self.seen:
            self.seen |= prot & self.special
            self.noticed(prot & self.special)

    def unmap(self, address: int, length: int) -> None:
        """munmap: also of ranges where nothing is."""
        end = self._check(address, length)
        if end == address:
            raise OSError(errno.EINVAL, "length")
        with self.lock:
            for part in list(self._overlapping(address, end)):
                start, stop = max(part.start, address), min(part.end, end)
                self._reserve(start, stop - start)
                self._set_flags(start, stop, 0)
            self._forget(address, end)

    def protect(self, address: int, length: int, prot: int) -> None:
        """mprotect: ENOMEM at a gap, after what lies below it has changed."""
        end = self._check(address, length, errno.ENOMEM)
        with self.lock:
            stop = self._covered(address, end)
            if stop > address:
                self._notice(list(self._overlapping(address, stop)), prot)
                if _mprotect(self.base + address, stop - address, self._host_prot(prot)):
                    raise _error()
                old = self._carve(address, stop)
                for region in old:
                    kept = region.prot & TAGGED  # for good
                    if prot & ~kept & self.special & TAGGED and self.tags is not None:
                        self.tags.clear(region.start, region.end)
                    region.prot = prot & (7 | self.special) | kept
                    self._set_flags(region.start, region.end, region.prot)
                    self._insert(region)
                self.changed(address, stop - address)
            if stop < end:
                raise OSError(errno.ENOMEM, "gap")

    def remap(self, old: int, old_length: int, new_length: int, flags: int, new: int = 0) -> int:
        """mremap: the new guest address."""
        if flags & ~7 or new_length <= 0 or (flags & MREMAP_FIXED and not flags & MREMAP_MAYMOVE):
            raise OSError(errno.EINVAL, "flags")
        if flags & MREMAP_DONTUNMAP and (not flags & MREMAP_MAYMOVE or _round(old_length) != _round(new_length)):
            raise OSError(errno.EINVAL, "MREMAP_DONTUNMAP")
        self._check(old, old_length, errno.EFAULT)
        size, new_size = _round(old_length), _round(new_length)
        with self.lock:
            region = self.find(old)
            if region is None or old + size > region.end:
                raise OSError(errno.EFAULT, "not one mapping")
            shared = region.flags & MAP_TYPE != MAP_PRIVATE
            if not size and not shared:
                raise OSError(errno.EINVAL, "old size 0")
            if flags & MREMAP_FIXED:
                self._check(new, new_length)
                if new < old + size and old < new + new_size:
                    raise OSError(errno.EINVAL, "overlap")
                if new_size < size:
                    self.unmap(old + new_size, size - new_size)
                    size = new_size
                return self._move(region, old, size, new_size, new, flags)
            if new_size <= size and size and not flags & MREMAP_DONTUNMAP:
                if new_size < size:
                    self.unmap(old + new_size, size - new_size)
                return old
            end = old + size
            grows = size and region.end == end and old + new_size <= self.top and self.is_free(end, old + new_size)
            if grows and not flags & MREMAP_DONTUNMAP:
                if not region.inode and not shared:
                    self.map(end, new_size - size, region.prot, region.flags | MAP_ANONYMOUS | MAP_FIXED, name=region.name)
                    return old
                if self._grow(region, old, size, new_size, bool(flags & MREMAP_MAYMOVE)):
                    return old
            if not flags & MREMAP_MAYMOVE:
                raise OSError(errno.ENOMEM, "no room to grow")
            new = self._gap(new_size)
            self._hint = new
            return self._move(region, old, size, new_size, new, flags)

    def _grow(self, region: Region, old: int, size: int, new_size: int, may_move: bool) -> bool:
        """Extend a mapping of a file in place, if that can be done; else it may be moved, or may not."""
        at = self.base + old
        piece = region.part(old, old + size)
        if region.flags & MAP_TYPE == MAP_PRIVATE:
            done = self._map_more(piece, new_size - size) or (not may_move and self._grow_bare(at, size, new_size))
        else:
            done = self._extend(at, 0, size, new_size, at)
        if not done:
            return False
        grown = Region(old + size, old + new_size, piece.prot, piece.flags, piece.offset + size, piece.dev, piece.inode, piece.name)
        self._insert(grown)
        self._set_flags(old + size, old + new_size, region.prot)
        return True

    def _grow_bare(self, at: int, size: int, new_size: int) -> bool:
        """Extend a mapping at a host address: the reservation behind it makes room, for a moment for anybody."""
        _munmap(at + size, new_size - size)
        if _mremap(at, size, new_size, 0, None) != _FAILED:
            return True
        self._close_hole(at + size - self.base, new_size - size)
        return False

    def _map_more(self, region: Region, size: int) -> bool:
        """Map what follows a private mapping of a file, if the file is still there under its name."""
        try:
            fd = os.open(region.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, ValueError):
            return False
        try:
            facts = os.fstat(fd)
            if (facts.st_dev, facts.st_ino) != (region.dev, region.inode):
                return False
            offset = region.offset + region.end - region.start
            _host_map(self.base + region.end, size, self._host_prot(region.prot), region.flags | MAP_FIXED, fd, offset)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    @staticmethod
    def _extend(like: int, part: int, size: int, new_size: int, at: int) -> bool:
        """Map at host address at + size what follows the `size` bytes of the file mapped at `like`, up to new_size.

        The longer mapping is made elsewhere, and its end takes the place of what is there: nothing of the guest's is ever free.  Its
        beginning is of no use: `part` 0 has it share the pages of `like` (of shared mappings), `part` = size takes them away.
        """
        flags = MREMAP_MAYMOVE | (MREMAP_DONTUNMAP if part else 0)
        longer = _mremap(like, part, part or new_size, flags, None)
        if longer != _FAILED and part:
            short, longer = longer, _mremap(longer, size, new_size, MREMAP_MAYMOVE, None)
            if longer == _FAILED:
                _munmap(short, size)
        if longer == _FAILED:
            return False
        end = _mremap(longer + size, new_size - size, new_size - size, MREMAP_MAYMOVE | MREMAP_FIXED, at + size)
        _munmap(longer, new_size if end == _FAILED else size)
        return bool(end != _FAILED)

    def _move(self, region: Region, old: int, size: int, new_size: int, new: int, flags: int) -> int:
        host_flags = MREMAP_MAYMOVE | MREMAP_FIXED | flags & MREMAP_DONTUNMAP
        whole = self._move_whole(region, old, size, new_size, new)
        if not whole and _mremap(self.base + old, size, new_size, host_flags, self.base + new) == _FAILED:
            error = _error()
            self.unmap(new, new_size)  # what was there is lost, as with the kernel
            raise error
        if self.tags is not None and region.prot & TAGGED:
            self.tags.clear(new, new + new_size)
            self.tags.move(old, new, min(size, new_size))
        moved = region.part(old, old + (size or PAGE))
        moved.start, moved.end = new, new + new_size
        if size and not flags & MREMAP_DONTUNMAP:
            if whole:
                self._reserve(old, size)
            else:
                self._close_hole(old, size)
            self._set_flags(old, old + size, 0)
            self._forget(old, old + size)
        self._forget(new, new + new_size)
        self._insert(moved)
        self._set_flags(new, new + new_size, moved.prot)
        return new

    def _move_whole(self, region: Region, old: int, size: int, new_size: int, new: int) -> bool:
        """Move memory (without a file: Linux 5.7, with one: 5.13) so that nothing of the old range is ever free: another host thread
        might map something there.  What it grows by is fresh, or more of the file."""
        if not size or new_size < size:
            return False
        like, at, grows = self.base + old, self.base + new, new_size > size
        host_flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP
        shared = region.flags & MAP_TYPE != MAP_PRIVATE
        if grows and shared and not self._extend(like, 0, size, new_size, at):
            return False
        if grows and not shared and not region.inode:
            fresh = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | region.flags & MAP_NORESERVE
            _host_map(at + size, new_size - size, self._host_prot(region.prot), fresh)
        if _mremap(like, size, size, host_flags, at) == _FAILED:
            return False
        if grows and not shared and region.inode and not self._extend(like, size, size, new_size, at):
            _mremap(at, size, size, host_flags, like)  # back
            return False
        return True

    def _close_hole(self, start: int, length: int) -> None:
        """Reserve again a range that the host unmapped; what another host thread mapped there meanwhile is lost to the guest."""
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE
        try:
            _host_map(self.base + start, length, 0, flags)
            return
        except OSError:
            pass
        for at in range(start, start + length, PAGE):
            try:
                _host_map(self.base + at, PAGE, 0, flags)
            except OSError:
                self._forget(at, at + PAGE)
                self._insert(Region(at, at + PAGE, 0, MAP_PRIVATE, name="[host]"))

    def advise(self, address: int, length: int, advice: int) -> None:
        """madvise with the host's advice values; ENOMEM if there are gaps."""
        end = self._check(address, length, errno.ENOMEM)
        with self.lock:
            if end == address:
                return
            for region in list(self._overlapping(address, end)):
                start, stop = max(region.start, address), min(region.end, end)
                if _madvise(self.base + start, stop - start, advice):
                    raise _error()
                if advice == MADV_DONTNEED and self.tags is not None and region.prot & TAGGED and not region.inode:
                    self.tags.clear(start, stop)
            if self._covered(address, end) < end:
                raise OSError(errno.ENOMEM, "gap")

    def mapped(self, address: int, length: int) -> int:
        """Host address of a page range in which everything is mapped (msync, mincore, mlock).  Raises OSError EINVAL, ENOMEM."""
        end = self._check(address, length, errno.ENOMEM)
        with self.lock:
            if self._covered(address, end) < end:
                raise OSError(errno.ENOMEM, "gap")
        return self.base + address

    # ---- for debuggers

    def mapped_from(self, address: int, length: int) -> int:
        """How many of these bytes lie in mapped pages without a gap."""
        with self.lock:
            return max(self._covered(address, min(address + length, self.limit)) - address, 0) if self.find(address) else 0

    def restore(self, page: int) -> None:
        """Give a page the host rights that the guest asked for."""
        with self.lock:
            region = self.find(page)
            if region is None:
                self._reserve(page, PAGE)
            else:
                _mprotect(self.base + page, PAGE, self._host_prot(region.prot))

    def restrict(self, page: int, access: int) -> None:
        """Leave the guest only these accesses (PROT_ bits) of what it may do in a page; 7 restores them."""
        with self.lock:
            region = self.find(page)
            if region is not None:
                _mprotect(self.base + page, PAGE, self._host_prot(region.prot) & access)
                self._set_flags(page, page + PAGE, region.prot & (access | EXEC | self.special))

    def brk(self, wanted: int) -> int:
        """Move the end of the heap; gives where it is now (unchanged when it cannot move)."""
        with self.lock:
            if wanted < self.heap or wanted > self.limit:
                return self.heap_end
            now, then = _round(self.heap_end), _round(wanted)
            if then > now:
                if not self.is_free(now, then):
                    return self.heap_end
                try:
                    self.map(now, then - now, READ | WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, name="[heap]")
                except OSError:
                    return self.heap_end
            elif then < now:
                self.unmap(then, now - then)
            self.heap_end = wanted
            return wanted
