"""Files and directories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from ..structs import Stat
from ..syscall import (  # isort: skip
    AtFlags, Buf, DirFd, Fd, Int, Mode, Named, NewPath, Offset, OpenFlags, Out, Path, Result, Size, Vector, syscall,
)  # fmt: skip

if TYPE_CHECKING:
    from ..thread import Thread

Whence = Annotated[int, Named("SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE")]


@syscall
def read(fd: Fd, buf: Buf, count: Size) -> Result: ...


@syscall
def write(fd: Fd, buf: Buf, count: Size) -> Result: ...


@syscall
def pread64(fd: Fd, buf: Buf, count: Size, offset: Offset) -> Result: ...


@syscall
def readv(fd: Fd, iov: Vector, count: Int) -> Result: ...


@syscall
def writev(fd: Fd, iov: Vector, count: Int) -> Result: ...


@syscall
def close(fd: Fd) -> Result: ...


@syscall
def lseek(fd: Fd, offset: Offset, whence: Whence) -> Result: ...


@syscall
def fstat(fd: Fd, statbuf: Out[Stat]) -> Result: ...


@syscall
def newfstatat(dirfd: DirFd, path: Path, statbuf: Out[Stat], flags: AtFlags) -> Result: ...


@syscall
def mkdirat(dirfd: DirFd, path: NewPath, mode: Mode) -> Result: ...


@syscall
def openat(t: Thread, dirfd: DirFd, path: Path, flags: OpenFlags, mode: Mode) -> int:
    return t.host("openat", dirfd, path, flags, mode)
