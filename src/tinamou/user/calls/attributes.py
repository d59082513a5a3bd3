"""What is known about files: stat, modes, owners, times, access, extended attributes, file systems."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from ..host import HOST
from ..kinds import OptNewPath, Text, flag_set
from ..layout import Struct, i32, i64, layout_of, long, u16, u32, u64, ulong
from ..proc import follow
from ..room import Room, recode
from ..structs import Stat, Timespec, Timeval
from ..syscall import AT_FDCWD, AtFlags, Buf, DirFd, Fd, In, Mode, NewPath, OptPath, Out, Path, Result, Size, UInt, syscall

if TYPE_CHECKING:
    from ..thread import Thread

AccessMode = Annotated[int, flag_set("access", R_OK=4, W_OK=2, X_OK=1)]
StatxMask = Annotated[int, flag_set("statx", STATX_ALL=0xFFF, STATX_BASIC_STATS=0x7FF, STATX_BTIME=0x800)]
XattrFlags = Annotated[int, flag_set("xattr", XATTR_CREATE=1, XATTR_REPLACE=2)]
AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0x100, 0x1000


class Stat64(Struct):
    """struct stat64 of the 32-bit architectures that follow asm-generic/stat.h."""

    st_dev: u64
    st_ino: u64
    st_mode: u32
    st_nlink: u32
    st_uid: u32
    st_gid: u32
    st_rdev: u64
    pad1: u64
    st_size: i64
    st_blksize: i32
    pad2: i32
    st_blocks: i64
    st_atime: i32
    st_atime_nsec: u32
    st_mtime: i32
    st_mtime_nsec: u32
    st_ctime: i32
    st_ctime_nsec: u32
    unused4: u32
    unused5: u32


class StatxTime(Struct):
    tv_sec: i64
    tv_nsec: u32
    reserved: i32


class Statx(Struct):
    """struct statx, 256 bytes."""

    stx_mask: u32
    stx_blksize: u32
    stx_attributes: u64
    stx_nlink: u32
    stx_uid: u32
    stx_gid: u32
    stx_mode: u16
    spare0: u16
    stx_ino: u64
    stx_size: u64
    stx_blocks: u64
    stx_attributes_mask: u64
    stx_atime: StatxTime
    stx_btime: StatxTime
    stx_ctime: StatxTime
    stx_mtime: StatxTime
    stx_rdev_major: u32
    stx_rdev_minor: u32
    stx_dev_major: u32
    stx_dev_minor: u32
    stx_mnt_id: u64
    stx_dio_mem_align: u32
    stx_dio_offset_align: u32
    spare3: Annotated[tuple[int, ...], "12Q"]


class Statfs(Struct):
    """struct statfs; f_fsid is two ints."""

    f_type: ulong
    f_bsize: ulong
    f_blocks: ulong
    f_bfree: ulong
    f_bavail: ulong
    f_files: ulong
    f_ffree: ulong
    f_fsid: Annotated[tuple[int, ...], "2i"]
    f_namelen: ulong
    f_frsize: ulong
    f_flags: ulong
    spare0: ulong
    spare1: ulong
    spare2: ulong
    spare3: ulong


class Statfs64(Struct):
    """struct statfs64 of 32-bit architectures."""

    f_type: ulong
    f_bsize: ulong
    f_blocks: u64
    f_bfree: u64
    f_bavail: u64
    f_files: u64
    f_ffree: u64
    f_fsid: Annotated[tuple[int, ...], "2i"]
    f_namelen: ulong
    f_frsize: ulong
    f_flags: ulong
    spare0: ulong
    spare1: ulong
    spare2: ulong
    spare3: ulong


def stat_into(t: Thread, out: Out[Any], name: str, *arguments: Any, kind: Any = Stat) -> None:
    """Run a host call that fills a struct stat in its third, or second, place and store it in the guest's layout of `kind`."""
    room = Room(Stat)
    place = 2 if name == "newfstatat" else 1
    t.host(name, *arguments[:place], room.memory, *arguments[place:])
    t.memory.write(out.addr, recode(Stat, HOST, t.abi, kind)(room.memory.raw))


# ---- stat


@syscall
def fstat(t: Thread, fd: Fd, statbuf: Out[Stat]) -> None:
    stat_into(t, statbuf, "fstat", fd)


@syscall
def newfstatat(t: Thread, dirfd: DirFd, path: Path, statbuf: Out[Stat], flags: AtFlags) -> None:
    stat_into(t, statbuf, "newfstatat", dirfd, follow(t, path, flags), flags)


@syscall
def stat(t: Thread, path: Path, statbuf: Out[Stat]) -> None:
    stat_into(t, statbuf, "newfstatat", AT_FDCWD, follow(t, path), 0)


@syscall
def lstat(t: Thread, path: Path, statbuf: Out[Stat]) -> None:
    stat_into(t, statbuf, "newfstatat", AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)


@syscall
def fstat64(t: Thread, fd: Fd, statbuf: Out[Stat64]) -> None:
    stat_into(t, statbuf, "fstat", fd, kind=Stat64)


@syscall
def stat64(t: Thread, path: Path, statbuf: Out[Stat64]) -> None:
    stat_into(t, statbuf, "newfstatat", AT_FDCWD, follow(t, path), 0, kind=Stat64)


@syscall
def lstat64(t: Thread, path: Path, statbuf: Out[Stat64]) -> None:
    stat_into(t, statbuf, "newfstatat", AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, kind=Stat64)


@syscall
def fstatat64(t: Thread, dirfd: DirFd, path: Path, statbuf: Out[Stat64], flags: AtFlags) -> None:
    stat_into(t, statbuf, "newfstatat", dirfd, follow(t, path, flags), flags, kind=Stat64)


@syscall
def statx(t: Thread, dirfd: DirFd, path: Path, flags: AtFlags, mask: StatxMask, statxbuf: Out[Statx]) -> None:
    if t.abi.order == HOST.order:  # the same on all ABIs of one byte order
        t.host("statx", dirfd, follow(t, path, flags), flags, mask, t.memory.host(statxbuf.addr, 256))
        return
    room = Room(Statx)
    t.host("statx", dirfd, follow(t, path, flags), flags, mask, room.memory)
    statxbuf.store(room.value)


# ---- file systems


@syscall
def statfs(path: Path, buf: Out[Statfs]) -> Result: ...


@syscall
def fstatfs(fd: Fd, buf: Out[Statfs]) -> Result: ...


def statfs_into(t: Thread, size: int, buf: Out[Statfs64], name: str, file: int | bytes) -> None:
    if size != layout_of(Statfs64, t.abi).size:
        raise OSError(errno.EINVAL, "struct statfs64")
    room: Room[Any] = Room(Statfs)
    t.host(name, file, room.memory)
    buf.store(room.value)


@syscall
def statfs64(t: Thread, path: Path, size: Size, buf: Out[Statfs64]) -> None:
    statfs_into(t, size, buf, "statfs", path)


@syscall
def fstatfs64(t: Thread, fd: Fd, size: Size, buf: Out[Statfs64]) -> None:
    statfs_into(t, size, buf, "fstatfs", fd)


# ---- modes and owners


@syscall
def fchmod(fd: Fd, mode: Mode) -> Result: ...


@syscall
def fchmodat(dirfd: DirFd, path: NewPath, mode: Mode) -> Result: ...


@syscall
def fchmodat2(dirfd: DirFd, path: NewPath, mode: Mode, flags: AtFlags) -> Result: ...


@syscall
def chmod(t: Thread, path: NewPath, mode: Mode) -> int:
    return t.host("fchmodat", AT_FDCWD, path, mode)


@syscall
def fchown(fd: Fd, owner: UInt, group: UInt) -> Result: ...


@syscall
def fchownat(dirfd: DirFd, path: NewPath, owner: UInt, group: UInt, flags: AtFlags) -> Result: ...


@syscall
def chown(t: Thread, path: NewPath, owner: UInt, group: UInt) -> int:
    return t.host("fchownat", AT_FDCWD, path, owner, group, 0)


@syscall
def lchown(t: Thread, path: NewPath, owner: UInt, group: UInt) -> int:
    return t.host("fchownat", AT_FDCWD, path, owner, group, AT_SYMLINK_NOFOLLOW)


# ---- access


@syscall
def faccessat(dirfd: DirFd, path: Path, mode: AccessMode) -> Result: ...


@syscall
def faccessat2(dirfd: DirFd, path: Path, mode: AccessMode, flags: AtFlags) -> Result: ...


@syscall
def access(t: Thread, path: Path, mode: AccessMode) -> int:
    return t.host("faccessat", AT_FDCWD, follow(t, path), mode)


# ---- times


class TwoTimespecs(Struct):
    access: Timespec
    modification: Timespec


class TwoTimevals(Struct):
    access: Timeval
    modification: Timeval


class Utimbuf(Struct):
    actime: long
    modtime: long


@syscall(wide="utimensat_time64")
def utimensat(dirfd: DirFd, path: OptPath, times: In[TwoTimespecs], flags: AtFlags) -> Result: ...


def set_times(t: Thread, dirfd: int, path: bytes | None, times: TwoTimespecs | None) -> int:
    at = Room(TwoTimespecs, times).memory if times else 0
    return t.host("utimensat", dirfd, path or 0, at, 0)


@syscall
def utime(t: Thread, path: NewPath, times: In[Utimbuf]) -> int:
    if not times:
        return set_times(t, AT_FDCWD, path, None)
    both = times.load()
    made = TwoTimespecs(access=Timespec(tv_sec=both.actime), modification=Timespec(tv_sec=both.modtime))
    return set_times(t, AT_FDCWD, path, made)


@syscall
def futimesat(t: Thread, dirfd: DirFd, path: OptNewPath, times: In[TwoTimevals]) -> int:
    made = None
    if times:
        both = times.load()
        for one in (both.access, both.modification):
            if not 0 <= one.tv_usec < 1_000_000:
                raise OSError(errno.EINVAL, "microseconds")
        spec: Callable[[Timeval], Timespec] = lambda v: Timespec(tv_sec=v.tv_sec, tv_nsec=v.tv_usec * 1000)  # noqa: E731
        made = TwoTimespecs(access=spec(both.access), modification=spec(both.modification))
    return set_times(t, dirfd, path, made)


@syscall
def utimes(t: Thread, path: NewPath, times: In[TwoTimevals]) -> int:
    return futimesat(t, AT_FDCWD, path, times)


# ---- extended attributes


@syscall
def setxattr(path: NewPath, name: Text, value: Buf, size: Size, flags: XattrFlags) -> Result: ...


@syscall
def lsetxattr(path: NewPath, name: Text, value: Buf, size: Size, flags: XattrFlags) -> Result: ...


@syscall
def fsetxattr(fd: Fd, name: Text, value: Buf, size: Size, flags: XattrFlags) -> Result: ...


@syscall
def getxattr(path: Path, name: Text, value: Buf, size: Size) -> Result: ...


@syscall
def lgetxattr(path: Path, name: Text, value: Buf, size: Size) -> Result: ...


@syscall
def fgetxattr(fd: Fd, name: Text, value: Buf, size: Size) -> Result: ...


@syscall
def listxattr(path: Path, names: Buf, size: Size) -> Result: ...


@syscall
def llistxattr(path: Path, names: Buf, size: Size) -> Result: ...


@syscall
def flistxattr(fd: Fd, names: Buf, size: Size) -> Result: ...


@syscall
def removexattr(path: NewPath, name: Text) -> Result: ...


@syscall
def lremovexattr(path: NewPath, name: Text) -> Result: ...


@syscall
def fremovexattr(fd: Fd, name: Text) -> Result: ...
