"""Directories and names: creating, linking, renaming, removing, listing, the current and the root directory."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Set
from typing import TYPE_CHECKING, Annotated

from ..host import HOST
from ..kinds import Device, flag_set
from ..layout import Struct, i64, layout_of, u8, u16, u64, ulong
from ..proc import hidden_names, link_special
from ..syscall import AT_FDCWD, AtFlags, Bits, Buf, DirFd, Fd, Int, Mode, NewPath, Path, Result, Size, syscall

if TYPE_CHECKING:
    from ..thread import Thread

RenameFlags = Annotated[int, flag_set("rename", RENAME_NOREPLACE=1, RENAME_EXCHANGE=2, RENAME_WHITEOUT=4)]
AT_REMOVEDIR = 0x200


class Dirent64(Struct):
    """struct linux_dirent64 up to its name."""

    d_ino: u64
    d_off: i64
    d_reclen: u16
    d_type: u8


class Dirent(Struct):
    """struct linux_dirent up to its name; the type is the record's last byte."""

    d_ino: ulong
    d_off: ulong
    d_reclen: u16


def list_directory(t: Thread, fd: int, buf: Buf, size: int, old: bool, hidden: Set[bytes]) -> int:
    """getdents64, or getdents for `old`, converted record by record; what does not fit is read again next time.

    Names of `hidden` are left out.
    """
    mine = layout_of(Dirent if old else Dirent64, t.abi)
    theirs = layout_of(Dirent64, HOST)
    head = mine.offsets["d_reclen"] + 2 if old else mine.offsets["d_type"] + 1
    room = ctypes.create_string_buffer(max(min(size, 1 << 16), 1))
    start = t.host("lseek", fd, 0, 1)
    got = t.host("getdents64", fd, room, min(size, 1 << 16))
    data, at, out = room.raw[:got], 0, bytearray()
    align = t.abi.bits // 8 if old else 8
    while at < got:
        entry = theirs.load(data[at : at + theirs.size])
        name = data[at + theirs.offsets["d_type"] + 1 : at + entry.d_reclen].split(b"\0", 1)[0]
        if name in hidden:
            start = entry.d_off
            at += entry.d_reclen
            continue
        length = -(-(head + len(name) + 1 + old) // align) * align
        if len(out) + length > size:
            if not out:
                t.host("lseek", fd, start, 0)
                raise OSError(errno.EINVAL, "no room for one entry")
            t.host("lseek", fd, start, 0)
            return buf.write(bytes(out))
        if old:
            record = mine.dump(Dirent(d_ino=entry.d_ino, d_off=entry.d_off, d_reclen=length))[:head] + name
            out += record.ljust(length - 1, b"\0") + bytes([entry.d_type])
        else:
            record = mine.dump(Dirent64(d_ino=entry.d_ino, d_off=entry.d_off, d_reclen=length, d_type=entry.d_type))[:head] + name
            out += record.ljust(length, b"\0")
        start = entry.d_off
        at += entry.d_reclen
    if got and not out:
        return list_directory(t, fd, buf, size, old, hidden)
    return buf.write(bytes(out))


@syscall
def getdents64(t: Thread, fd: Fd, buf: Buf, size: Size) -> int:
    hidden = hidden_names(t, fd)
    if t.abi.order == HOST.order and not hidden:
        return t.host("getdents64", fd, buf.host(size), size)
    return list_directory(t, fd, buf, size, False, hidden)


@syscall
def getdents(t: Thread, fd: Fd, buf: Buf, size: Size) -> int:
    return list_directory(t, fd, buf, size, True, hidden_names(t, fd))


# ---- creating and removing


@syscall
def mkdirat(dirfd: DirFd, path: NewPath, mode: Mode) -> Result: ...


@syscall
def mkdir(t: Thread, path: NewPath, mode: Mode) -> int:
    return t.host("mkdirat", AT_FDCWD, path, mode)


@syscall
def mknodat(dirfd: DirFd, path: NewPath, mode: Mode, dev: Device) -> Result: ...


@syscall
def mknod(t: Thread, path: NewPath, mode: Mode, dev: Device) -> int:
    return t.host("mknodat", AT_FDCWD, path, mode, dev)


@syscall
def unlinkat(dirfd: DirFd, path: NewPath, flags: AtFlags) -> Result: ...


@syscall
def unlink(t: Thread, path: NewPath) -> int:
    return t.host("unlinkat", AT_FDCWD, path, 0)


@syscall
def rmdir(t: Thread, path: NewPath) -> int:
    return t.host("unlinkat", AT_FDCWD, path, AT_REMOVEDIR)


# ---- links and names


@syscall
def linkat(olddirfd: DirFd, oldpath: NewPath, newdirfd: DirFd, newpath: NewPath, flags: AtFlags) -> Result: ...


@syscall
def link(t: Thread, oldpath: NewPath, newpath: NewPath) -> int:
    return t.host("linkat", AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)


@syscall
def symlinkat(target: NewPath, dirfd: DirFd, path: NewPath) -> Result: ...


@syscall
def symlink(t: Thread, target: NewPath, path: NewPath) -> int:
    return t.host("symlinkat", target, AT_FDCWD, path)


@syscall
def readlinkat(t: Thread, dirfd: DirFd, path: Path, buf: Buf, size: Int) -> int:
    special = link_special(t, path)
    if special is None:
        return t.host("readlinkat", dirfd, path, buf.host(max(size, 0)), size)
    if size <= 0:
        raise OSError(errno.EINVAL, "size")
    return buf.write(special[:size])


@syscall
def readlink(t: Thread, path: Path, buf: Buf, size: Int) -> int:
    return readlinkat(t, AT_FDCWD, path, buf, size)


@syscall
def renameat2(olddirfd: DirFd, oldpath: NewPath, newdirfd: DirFd, newpath: NewPath, flags: RenameFlags) -> Result: ...


@syscall
def renameat(t: Thread, olddirfd: DirFd, oldpath: NewPath, newdirfd: DirFd, newpath: NewPath) -> int:
    return t.host("renameat2", olddirfd, oldpath, newdirfd, newpath, 0)


@syscall
def rename(t: Thread, oldpath: NewPath, newpath: NewPath) -> int:
    return t.host("renameat2", AT_FDCWD, oldpath, AT_FDCWD, newpath, 0)


# ---- where a process is


@syscall
def getcwd(buf: Buf, size: Size) -> Result: ...


@syscall
def chdir(path: NewPath) -> Result: ...


@syscall
def fchdir(fd: Fd) -> Result: ...


@syscall
def chroot(path: NewPath) -> Result: ...


# ---- file handles


class FileHandle(Struct):
    """struct file_handle up to its bytes."""

    handle_bytes: Annotated[int, "I"]
    handle_type: Annotated[int, "i"]


def convert_handle(t: Thread, data: bytes, to_guest: bool) -> bytes:
    """The two words before the handle in the other byte order."""
    mine, theirs = t.abi.order + "Ii", HOST.order + "Ii"
    return struct.pack(mine, *struct.unpack_from(theirs, data)) if to_guest else struct.pack(theirs, *struct.unpack_from(mine, data))


@syscall
def name_to_handle_at(t: Thread, dirfd: DirFd, path: Path, handle: Buf, mount_id: Buf, flags: AtFlags) -> int:
    head = convert_handle(t, handle.read(8), to_guest=False)
    size = min(struct.unpack_from(HOST.order + "I", head)[0], 128)
    room = ctypes.create_string_buffer(struct.pack(HOST.order + "I", size) + head[4:], 8 + size)
    number = ctypes.c_int()
    try:
        result = t.host("name_to_handle_at", dirfd, path, room, number, flags)
    except OSError as error:
        if error.errno == errno.EOVERFLOW:
            handle.write(convert_handle(t, room.raw, to_guest=True))
        raise
    used = struct.unpack_from(HOST.order + "I", room.raw)[0]
    handle.write(convert_handle(t, room.raw, to_guest=True) + room.raw[8 : 8 + used])
    mount_id.write(struct.pack(t.abi.order + "i", number.value))
    return result


@syscall
def open_by_handle_at(t: Thread, mount_fd: Fd, handle: Buf, flags: Int) -> int:
    head = convert_handle(t, handle.read(8), to_guest=False)
    size = min(struct.unpack_from(HOST.order + "I", head)[0], 128)
    room = ctypes.create_string_buffer(head + handle.read(size, 8))
    return t.host("open_by_handle_at", mount_fd, room, Bits("open").bind(t.abi, HOST, False).value(t, flags))
