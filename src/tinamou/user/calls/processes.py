"""Processes: execve, waiting for children."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Annotated

from .. import exec
from ..host import HOST
from ..layout import i32, pointer
from ..room import Room
from ..signals import SigInfo
from ..structs import Rusage
from ..syscall import AT_FDCWD, AtFlags, Buf, DirFd, In, Int, Named, Path, Ptr, syscall

if TYPE_CHECKING:
    from ..thread import Thread

AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH = 0x100, 0x1000
MAX_STRINGS = 1 << 20
IdType = Annotated[int, Named("P_ALL P_PID P_PGID P_PIDFD")]


def _strings(t: Thread, table: In[pointer]) -> list[bytes]:
    """The strings of a NULL-terminated array.  Raises GuestFault; OSError E2BIG when there is no end."""
    found: list[bytes] = []
    if not table:
        return found
    room = t.process.options.stack_size // 4
    while address := table[len(found)]:
        text = t.memory.read_string(address, min(room, 32 * 4096) + 1)
        if text is None or room < 0 or len(found) > MAX_STRINGS:
            raise OSError(errno.E2BIG, "arguments")
        room -= len(text) + 1
        found.append(text)
    return found


@syscall
def execve(t: Thread, path: Path, arguments: In[pointer], environment: In[pointer]) -> int:
    return exec.execve(t, path, t.process.guest_path(path), _strings(t, arguments), _strings(t, environment))


@syscall
def execveat(t: Thread, dirfd: DirFd, path: Path, arguments: In[pointer], environment: In[pointer], flags: AtFlags) -> int:
    given = _strings(t, arguments), _strings(t, environment)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise OSError(errno.EINVAL, "flags")
    if path[:1] == b"/" or dirfd == AT_FDCWD:
        file = name = path
    elif path or flags & AT_EMPTY_PATH:
        file = b"/proc/self/fd/%d" % dirfd + (b"/" + path if path else b"")
        name = b"/dev/fd/%d" % dirfd + (b"/" + path if path else b"")
        if not os.path.lexists(b"/proc/self/fd/%d" % dirfd):
            raise OSError(errno.EBADF, "dirfd")
    else:
        raise OSError(errno.ENOENT, "empty path")
    if flags & AT_SYMLINK_NOFOLLOW and path and os.path.islink(file):
        raise OSError(errno.ELOOP, "symbolic link")
    return exec.execve(t, file, t.process.guest_path(name), *given)


@syscall
def wait4(t: Thread, pid: Int, status: Ptr[i32], options: Int, usage: Ptr[Rusage]) -> int:
    room, used = Room[int](i32), Room[Rusage](Rusage)
    found = t.host("wait4", pid, room.memory, options, used.memory)
    if found:
        if status:
            status.store(wait_status(t, room.value))
        if usage:
            usage.store(used.value)
    return found


def wait_status(t: Thread, status: int) -> int:
    """A host wait status with the guest's signal number."""
    signo = status & 0x7F
    if signo == 0x7F:
        return status & ~0xFF00 | t.process.guest_number(status >> 8 & 0xFF) << 8 if status & 0xFF == 0x7F else status
    return status & ~0x7F | t.process.guest_number(signo) if signo else status


@syscall
def waitid(t: Thread, kind: IdType, which: Int, info: Buf, options: Int, usage: Ptr[Rusage]) -> int:
    room, used = ctypes.create_string_buffer(128), Room[Rusage](Rusage)
    result = t.host("waitid", kind, which, room, options, used.memory)
    if info:
        found = SigInfo.load(HOST, room.raw)
        info.write(found.dump(t.abi) if found.signo else bytes(128))
    if usage:
        usage.store(used.value)
    return result
