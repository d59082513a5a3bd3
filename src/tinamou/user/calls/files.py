"""Open files: reading, writing, positions, sizes, copying, syncing."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated

from ..host import HOST
from ..kinds import Advice, HighHalf, LowHalf, flag_set
from ..layout import Struct, i64, off_t, u64
from ..proc import open_special
from ..room import Room

from ..syscall import (  # isort: skip
    AT_FDCWD, Bits, Buf, DirFd, Fd, In, Int, Long, Mode, Named, NewPath, Offset, OpenFlags, Out, Path, Ptr, Result, Size, UInt, ULong,
    Vector, syscall,
)  # fmt: skip

if TYPE_CHECKING:
    from ..thread import Thread

Whence = Annotated[int, Named("SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE")]
RwFlags = Annotated[int, flag_set("rwf", RWF_HIPRI=1, RWF_DSYNC=2, RWF_SYNC=4, RWF_NOWAIT=8, RWF_APPEND=16)]
FallocMode = Annotated[int, flag_set(
    "falloc", FALLOC_FL_KEEP_SIZE=1, FALLOC_FL_PUNCH_HOLE=2, FALLOC_FL_COLLAPSE_RANGE=8, FALLOC_FL_ZERO_RANGE=16,
    FALLOC_FL_INSERT_RANGE=32, FALLOC_FL_UNSHARE_RANGE=64)]  # fmt: skip
SpliceFlags = Annotated[int, flag_set("splice", SPLICE_F_MOVE=1, SPLICE_F_NONBLOCK=2, SPLICE_F_MORE=4, SPLICE_F_GIFT=8)]
SyncFlags = Annotated[int, flag_set(
    "sync_file_range", SYNC_FILE_RANGE_WAIT_BEFORE=1, SYNC_FILE_RANGE_WRITE=2, SYNC_FILE_RANGE_WAIT_AFTER=4)]  # fmt: skip


class OpenHow(Struct):
    flags: u64
    mode: u64
    resolve: u64


# ---- opening


@syscall
def openat(t: Thread, dirfd: DirFd, path: Path, flags: OpenFlags, mode: Mode) -> int:
    special = open_special(t, path, flags)
    return special if special is not None else t.host("openat", dirfd, path, flags, mode)


@syscall(names="open")
def open_(t: Thread, path: Path, flags: OpenFlags, mode: Mode) -> int:
    return openat(t, AT_FDCWD, path, flags, mode)


@syscall
def creat(t: Thread, path: NewPath, mode: Mode) -> int:
    flags = HOST.flag_set("open")
    return t.host("openat", AT_FDCWD, path, flags["O_CREAT"] | flags["O_WRONLY"] | flags["O_TRUNC"], mode)


@syscall
def openat2(t: Thread, dirfd: DirFd, path: Path, how: In[OpenHow], size: Size) -> int:
    if size < 24:
        raise OSError(errno.EINVAL, "open_how")
    if size > 24 and any(t.memory.read(how.addr + 24, min(size, 4096) - 24)):
        raise OSError(errno.E2BIG, "open_how of a later kernel")
    wanted = how.load()
    low = Bits("open").bind(t.abi, HOST, False).value(t, wanted.flags)
    wanted.flags = wanted.flags >> 32 << 32 | low
    return t.host("openat2", dirfd, path, Room(OpenHow, wanted).memory, 24)


@syscall
def close(t: Thread, fd: Fd) -> int:
    if fd in t.process.private_fds:
        raise OSError(errno.EBADF, "the emulator's own")
    return t.host("close", fd)


# ---- reading and writing


@syscall
def read(fd: Fd, buf: Buf, count: Size) -> Result: ...


@syscall
def write(fd: Fd, buf: Buf, count: Size) -> Result: ...


@syscall
def pread64(fd: Fd, buf: Buf, count: Size, offset: Offset) -> Result: ...


@syscall
def pwrite64(fd: Fd, buf: Buf, count: Size, offset: Offset) -> Result: ...


@syscall
def readv(fd: Fd, iov: Vector, count: Int) -> Result: ...


@syscall
def writev(fd: Fd, iov: Vector, count: Int) -> Result: ...


@syscall
def preadv(fd: Fd, iov: Vector, count: Int, low: LowHalf, high: HighHalf) -> Result: ...


@syscall
def pwritev(fd: Fd, iov: Vector, count: Int, low: LowHalf, high: HighHalf) -> Result: ...


@syscall
def preadv2(fd: Fd, iov: Vector, count: Int, low: LowHalf, high: HighHalf, flags: RwFlags) -> Result: ...


@syscall
def pwritev2(fd: Fd, iov: Vector, count: Int, low: LowHalf, high: HighHalf, flags: RwFlags) -> Result: ...


# ---- positions and sizes


@syscall
def lseek(fd: Fd, offset: Long, whence: Whence) -> Result: ...


@syscall(names="llseek _llseek")
def llseek(t: Thread, fd: Fd, high: ULong, low: ULong, result: Out[i64], whence: Whence) -> None:
    result.store(t.host("lseek", fd, (high & 0xFFFF_FFFF) << 32 | low & 0xFFFF_FFFF, whence))


@syscall
def truncate(path: NewPath, length: Long) -> Result: ...


@syscall(wide="truncate64")
def truncate64(path: NewPath, length: Offset) -> Result: ...


@syscall
def ftruncate(fd: Fd, length: Long) -> Result: ...


@syscall(wide="ftruncate64")
def ftruncate64(fd: Fd, length: Offset) -> Result: ...


@syscall
def fallocate(fd: Fd, mode: FallocMode, offset: Offset, length: Offset) -> Result: ...


# ---- advice and syncing


@syscall
def fadvise64(fd: Fd, offset: Offset, length: Size, advice: Advice) -> Result: ...


@syscall
def fadvise64_64(t: Thread, fd: Fd, offset: Offset, length: Offset, advice: Advice) -> int:
    return t.host("fadvise64", fd, offset, length, advice)


@syscall
def arm_fadvise64_64(t: Thread, fd: Fd, advice: Advice, offset: Offset, length: Offset) -> int:
    return t.host("fadvise64", fd, offset, length, advice)


@syscall
def readahead(fd: Fd, offset: Offset, count: Size) -> Result: ...


@syscall
def sync() -> Result: ...


@syscall
def syncfs(fd: Fd) -> Result: ...


@syscall
def fsync(fd: Fd) -> Result: ...


@syscall
def fdatasync(fd: Fd) -> Result: ...


@syscall
def sync_file_range(fd: Fd, offset: Offset, length: Offset, flags: SyncFlags) -> Result: ...


@syscall(names="sync_file_range2 arm_sync_file_range")
def sync_file_range2(t: Thread, fd: Fd, flags: SyncFlags, offset: Offset, length: Offset) -> int:
    return t.host("sync_file_range", fd, offset, length, flags)


# ---- copying


@syscall
def copy_file_range(fd_in: Fd, off_in: Ptr[i64], fd_out: Fd, off_out: Ptr[i64], length: Size, flags: UInt) -> Result: ...


@syscall(wide="sendfile64")
def sendfile(out_fd: Fd, in_fd: Fd, offset: Ptr[off_t], count: Size) -> Result: ...


@syscall
def splice(fd_in: Fd, off_in: Ptr[i64], fd_out: Fd, off_out: Ptr[i64], length: Size, flags: SpliceFlags) -> Result: ...


@syscall
def tee(fd_in: Fd, fd_out: Fd, length: Size, flags: SpliceFlags) -> Result: ...


@syscall
def vmsplice(fd: Fd, iov: Vector, count: ULong, flags: SpliceFlags) -> Result: ...
