"""Who a process is: ids of users, groups, processes, sessions; capabilities."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..layout import Struct, i32, u32
from ..room import Room
from ..syscall import Int, Out, Ptr, Result, UInt, syscall

if TYPE_CHECKING:
    from ..thread import Thread

GROUPS_MAX = 65536


@syscall
def getpid() -> Result: ...


@syscall
def getppid() -> Result: ...


@syscall
def gettid() -> Result: ...


@syscall
def getpgid(pid: Int) -> Result: ...


@syscall
def getpgrp(t: Thread) -> int:
    return t.host("getpgid", 0)


@syscall
def setpgid(pid: Int, group: Int) -> Result: ...


@syscall
def getsid(pid: Int) -> Result: ...


@syscall
def setsid() -> Result: ...


# ---- users and groups: each acts on the calling thread alone, as the kernel's do


@syscall
def getuid() -> Result: ...


@syscall
def geteuid() -> Result: ...


@syscall
def getgid() -> Result: ...


@syscall
def getegid() -> Result: ...


@syscall
def setuid(uid: UInt) -> Result: ...


@syscall
def setgid(gid: UInt) -> Result: ...


@syscall
def setreuid(ruid: UInt, euid: UInt) -> Result: ...


@syscall
def setregid(rgid: UInt, egid: UInt) -> Result: ...


@syscall
def setresuid(ruid: UInt, euid: UInt, suid: UInt) -> Result: ...


@syscall
def setresgid(rgid: UInt, egid: UInt, sgid: UInt) -> Result: ...


@syscall
def getresuid(ruid: Out[u32], euid: Out[u32], suid: Out[u32]) -> Result: ...


@syscall
def getresgid(rgid: Out[u32], egid: Out[u32], sgid: Out[u32]) -> Result: ...


@syscall
def setfsuid(uid: UInt) -> Result: ...


@syscall
def setfsgid(gid: UInt) -> Result: ...


@syscall
def getgroups(t: Thread, count: Int, groups: Out[u32]) -> int:
    if count < 0:
        raise OSError(errno.EINVAL, "count")
    room = Room(u32, count=min(count, GROUPS_MAX))
    result = t.host("getgroups", min(count, GROUPS_MAX), room.memory)
    if count:
        t.memory.write(groups.addr, b"".join(groups.layout.dump(room[i]) for i in range(result)))
    return result


@syscall
def setgroups(t: Thread, count: Int, groups: Ptr[u32]) -> int:
    if not 0 <= count <= GROUPS_MAX:
        raise OSError(errno.EINVAL, "count")
    return t.host("setgroups", count, Room(u32, *groups[:count]).memory)


# ---- capabilities


class CapHeader(Struct):
    version: u32
    pid: i32


class CapData(Struct):
    effective: u32
    permitted: u32
    inheritable: u32


VERSION_1 = 0x19980330  # one CapData, later versions two


@syscall
def capget(t: Thread, header: Ptr[CapHeader], data: Out[CapData]) -> None:
    head = Room(CapHeader, header.load())
    room = Room(CapData, count=2)
    try:
        t.host("capget", head.memory, room.memory if data else 0)
    finally:
        header.store(head.value)
    for i in range(0 if not data else 1 if head.value.version == VERSION_1 else 2):
        data[i] = room[i]


@syscall
def capset(t: Thread, header: Ptr[CapHeader], data: Ptr[CapData]) -> None:
    head = Room(CapHeader, header.load())
    count = 1 if head.value.version == VERSION_1 else 2
    try:
        t.host("capset", head.memory, Room(CapData, *data[:count]).memory)
    finally:
        header.store(head.value)


