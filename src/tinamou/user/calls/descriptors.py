"""Descriptors themselves: dup, fcntl and locks, pipes, memfd, pidfd, close_range."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated, Any

from ..host import HOST
from ..kinds import Text, flag_set, numbers_of
from ..layout import Struct, i16, i32, i64, layout_of, off_t, u64
from ..room import Room

from ..syscall import (  # isort: skip
    Bits, Buf, Fd, In, Int, Kind, Named, Out, Ptr, Result, Signal, UInt, ULong, address_text, kind_of, syscall,
)  # fmt: skip

if TYPE_CHECKING:
    from ..abi import Abi
    from ..thread import Thread

OpenBits = Annotated[int, Bits("open")]  # dup3, pipe2: O_CLOEXEC and others
LockOp = Annotated[int, flag_set("flock", LOCK_SH=1, LOCK_EX=2, LOCK_NB=4, LOCK_UN=8)]
MemfdFlags = Annotated[int, flag_set("memfd", MFD_CLOEXEC=1, MFD_ALLOW_SEALING=2, MFD_HUGETLB=4)]
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4

COMMANDS = numbers_of(
    "fcntl", F_DUPFD=0, F_GETFD=1, F_SETFD=2, F_GETFL=3, F_SETFL=4, F_GETLK=5, F_SETLK=6, F_SETLKW=7, F_SETOWN=8, F_GETOWN=9,
    F_SETSIG=10, F_GETSIG=11, F_GETLK64=12, F_SETLK64=13, F_SETLKW64=14, F_SETOWN_EX=15, F_GETOWN_EX=16, F_GETOWNER_UIDS=17,
    F_OFD_GETLK=36, F_OFD_SETLK=37, F_OFD_SETLKW=38, F_SETLEASE=1024, F_GETLEASE=1025, F_NOTIFY=1026, F_DUPFD_QUERY=1027,
    F_DUPFD_CLOEXEC=1030, F_SETPIPE_SZ=1031, F_GETPIPE_SZ=1032, F_ADD_SEALS=1033, F_GET_SEALS=1034, F_GET_RW_HINT=1035,
    F_SET_RW_HINT=1036, F_GET_FILE_RW_HINT=1037, F_SET_FILE_RW_HINT=1038,
)  # fmt: skip


class Flock(Struct):
    """struct flock, and flock64 in wide layouts."""

    l_type: i16
    l_whence: i16
    l_start: off_t
    l_len: off_t
    l_pid: i32


class Flock64(Struct):
    """struct flock64 of 32-bit ABIs."""

    l_type: i16
    l_whence: i16
    l_start: i64
    l_len: i64
    l_pid: i32


class OwnerEx(Struct):
    """struct f_owner_ex"""

    type: i32
    pid: i32


# What the third argument of a command points to; of all others it is a number.
POINTERS: dict[str, Any] = {
    "F_GETLK": Flock, "F_SETLK": Flock, "F_SETLKW": Flock, "F_OFD_GETLK": Flock64, "F_OFD_SETLK": Flock64, "F_OFD_SETLKW": Flock64,
    "F_GETLK64": Flock64, "F_SETLK64": Flock64, "F_SETLKW64": Flock64, "F_SETOWN_EX": OwnerEx, "F_GETOWN_EX": OwnerEx,
    "F_GET_RW_HINT": u64, "F_SET_RW_HINT": u64, "F_GET_FILE_RW_HINT": u64, "F_SET_FILE_RW_HINT": u64,
}  # fmt: skip
READS_ONLY = frozenset({"F_SETLK", "F_SETLKW", "F_SETLK64", "F_SETLKW64", "F_OFD_SETLK", "F_OFD_SETLKW", "F_SETOWN_EX",
                        "F_SET_RW_HINT", "F_SET_FILE_RW_HINT"})  # fmt: skip


def name_of(abi: Abi, command: int) -> str | None:
    """The name of an fcntl command number."""
    return next((name for name, number in abi.flag_set(COMMANDS).items() if number == command), None)


class _Command(Kind):
    def show(self, t: Thread, raw: int) -> str:
        command = raw & 0xFFFF_FFFF
        return name_of(t.abi, command) or str(command)


NO_ARGUMENT = frozenset({"F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE", "F_GETPIPE_SZ", "F_GET_SEALS"})
ARGUMENTS: dict[str, Kind] = {  # of those that are no plain numbers
    "F_SETFL": Bits("open", zero="O_RDONLY"),
    "F_ADD_SEALS": flag_set("seals", F_SEAL_SEAL=1, F_SEAL_SHRINK=2, F_SEAL_GROW=4, F_SEAL_WRITE=8, F_SEAL_FUTURE_WRITE=16),
    "F_NOTIFY": flag_set("dnotify", DN_ACCESS=1, DN_MODIFY=2, DN_CREATE=4, DN_DELETE=8, DN_RENAME=16, DN_ATTRIB=32, DN_MULTISHOT=1 << 31),
    "F_SETLEASE": Named("F_RDLCK F_WRLCK F_UNLCK"),
    "F_SETSIG": kind_of(Signal),
}


class _Argument(Kind):
    def show(self, t: Thread, raw: int) -> str:
        return str(raw) if raw < 65536 else address_text(t, raw)

    def show_after(self, t: Thread, raw: int, before: list[int]) -> str | None:
        name = name_of(t.abi, before[-1] & 0xFFFF_FFFF) or ""
        if name in NO_ARGUMENT:
            return None
        if name in POINTERS:
            kind = kind_of((In if name in READS_ONLY else Out)[POINTERS[name]])
        else:
            kind = ARGUMENTS.get(name, self)
        return kind.bind(t.abi, HOST, False).show(t, raw)


Command = Annotated[int, _Command()]
Argument = Annotated[int, _Argument()]


@syscall(names="fcntl fcntl64")
def fcntl(t: Thread, fd: Fd, command: Command, argument: Argument) -> int:
    name = name_of(t.abi, command & 0xFFFF_FFFF)
    if name is None:
        raise OSError(errno.EINVAL, "command")
    number = HOST.flag_set(COMMANDS)[name.removesuffix("64")]  # a 64-bit host knows one struct flock
    if name == "F_GETFL":
        return int(Bits("open").bind(HOST, t.abi, False).value(t, t.host("fcntl", fd, number, 0)))
    if name == "F_SETFL":
        argument = Bits("open").bind(t.abi, HOST, False).value(t, argument)
    if name == "F_SETSIG":
        argument = t.process.host_number(argument)
    if name == "F_GETOWNER_UIDS":
        pair = Room(i32, count=2)
        t.host("fcntl", fd, number, pair.memory)
        out = Ptr[int](t.memory, argument, layout_of(i32, t.abi))
        out[0], out[1] = pair[0], pair[1]
        return 0
    if name not in POINTERS:
        result = t.host("fcntl", fd, number, argument)
        return t.process.guest_number(result) if name == "F_GETSIG" else result
    given: Ptr[Any] = Ptr(t.memory, argument, layout_of(POINTERS[name], t.abi))
    kind = Flock if POINTERS[name] is Flock64 else POINTERS[name]
    value = given.load()
    room = Room(kind, Flock(**vars(value)) if kind is Flock else value)
    result = t.host("fcntl", fd, number, room.memory)
    if name not in READS_ONLY:
        given.store(room.value)
    return result


@syscall
def flock(fd: Fd, operation: LockOp) -> Result: ...


# ---- dup and pipe


@syscall
def dup(fd: Fd) -> Result: ...


@syscall
def dup3(t: Thread, oldfd: Fd, newfd: Fd, flags: OpenBits) -> int:
    if newfd in t.process.private_fds:
        raise OSError(errno.EBADF, "the emulator's own")
    return t.host("dup3", oldfd, newfd, flags)


@syscall
def dup2(t: Thread, oldfd: Fd, newfd: Fd) -> int:
    if oldfd == newfd:
        t.host("fcntl", oldfd, 1, 0)
        return newfd
    return dup3(t, oldfd, newfd, 0)


@syscall
def pipe2(t: Thread, fds: Out[i32], flags: OpenBits) -> None:
    pair = Room(i32, count=2)
    t.host("pipe2", pair.memory, flags)
    fds[0], fds[1] = pair[0], pair[1]


@syscall
def pipe(t: Thread, fds: Out[i32]) -> None:
    pipe2(t, fds, 0)


@syscall
def close_range(t: Thread, first: UInt, last: UInt, flags: UInt) -> int:
    """The emulator's own descriptors stay open."""
    kept = sorted(fd for fd in t.process.private_fds if first <= fd <= last)
    if first > last:
        raise OSError(errno.EINVAL, "range")
    for fd in kept:
        if first < fd:
            t.host("close_range", first, fd - 1, flags)
        first = fd + 1
    return t.host("close_range", first, last, flags) if first <= last else 0


# ---- memfd, pidfd, and others


@syscall
def memfd_create(name: Text, flags: MemfdFlags) -> Result: ...


@syscall
def pidfd_open(pid: Int, flags: OpenBits) -> Result: ...


@syscall
def pidfd_getfd(pidfd: Fd, fd: Fd, flags: UInt) -> Result: ...


@syscall
def pidfd_send_signal(t: Thread, pidfd: Fd, signal: Signal, info: Buf, flags: UInt) -> int:
    from ..signals import SigInfo

    host_info: bytes | int = 0
    if info:
        given = SigInfo.load(t.abi, info.read(128))
        given.signo = t.process.host_number(given.signo)
        host_info = given.dump(HOST)
    return t.host("pidfd_send_signal", pidfd, t.process.host_number(signal), host_info, flags)


@syscall
def kcmp(t: Thread, pid1: Int, pid2: Int, kind: Annotated[int, Named("KCMP_FILE KCMP_VM KCMP_FILES KCMP_FS KCMP_SIGHAND KCMP_IO "
         "KCMP_SYSVSEM KCMP_EPOLL_TFD")], first: ULong, second: ULong) -> int:  # fmt: skip
    if kind == 7:
        raise OSError(errno.EOPNOTSUPP, "KCMP_EPOLL_TFD")
    return t.host("kcmp", pid1, pid2, kind, first, second)


