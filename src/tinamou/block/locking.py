"""Host file locks that keep two writers off one image: open-file-description locks on single bytes of the file.

Byte 100 + p is read-locked by whoever uses permission p, byte 200 + p by whoever does not let others use it. Before a
process takes a permission it looks whether anybody else holds a lock on the opposite byte. Permissions: 0 consistent read,
1 write, 2 write unchanged, 3 resize.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from .errors import BlockError

F_OFD_GETLK, F_OFD_SETLK = 36, 37
USED, UNSHARED = 100, 200
READ, WRITE, WRITE_UNCHANGED, RESIZE = 0, 1, 2, 3
NAMES = {READ: "consistent read", WRITE: "write", WRITE_UNCHANGED: "write unchanged", RESIZE: "resize"}
_FLOCK = struct.Struct("hhqqi4x")


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)


def _held_by_other(fd: int, byte: int) -> bool:
    answer = fcntl.fcntl(fd, F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
    return int(_FLOCK.unpack(answer)[0]) != fcntl.F_UNLCK


def supported(fd: int) -> bool:
    """Whether the file system knows open-file-description locks."""
    try:
        fcntl.fcntl(fd, F_OFD_GETLK, _flock(fcntl.F_WRLCK, 0))
    except OSError:
        return False
    return True


def take(fd: int, filename: str, used: set[int], unshared: set[int]) -> None:
    """Lock; raises `BlockError` that says which permission and which process stands in the way. Nothing stays locked then."""
    taken: list[int] = []
    try:
        for base, permissions in ((USED, used), (UNSHARED, unshared)):
            for permission in sorted(permissions):
                fcntl.fcntl(fd, F_OFD_SETLK, _flock(fcntl.F_RDLCK, base + permission))
                taken.append(base + permission)
        for permission in sorted(used):
            if _held_by_other(fd, UNSHARED + permission):
                raise _refused(fd, filename, f'Failed to get "{NAMES[permission]}" lock', UNSHARED + permission)
        for permission in sorted(unshared):
            if _held_by_other(fd, USED + permission):
                raise _refused(fd, filename, f'Failed to get shared "{NAMES[permission]}" lock', USED + permission)
    except OSError as error:
        for byte in taken:
            fcntl.fcntl(fd, F_OFD_SETLK, _flock(fcntl.F_UNLCK, byte))
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise _refused(fd, filename, "Failed to lock byte", -1) from None
        raise
    except BlockError:
        for byte in taken:
            fcntl.fcntl(fd, F_OFD_SETLK, _flock(fcntl.F_UNLCK, byte))
        raise


def _refused(fd: int, filename: str, what: str, byte: int) -> BlockError:
    holders = holders_of(fd, byte)
    hints = [f"Is another process using the image [{filename}]?"]
    if holders:
        hints.append("The lock is held by " + ", ".join(f"process {pid} ({name})" for pid, name in holders) + ".")
    return BlockError(what, *hints)


def holders_of(fd: int, byte: int) -> list[tuple[int, str]]:
    """Processes that hold a lock on `byte` of the file, as far as /proc shows: [(pid, command)]."""
    own = os.fstat(fd)
    found: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            numbers = os.listdir(f"/proc/{entry}/fd")
        except OSError:
            continue
        for number in numbers:
            if int(entry) == os.getpid() and int(number) == fd:
                continue
            try:
                there = os.stat(f"/proc/{entry}/fd/{number}")
                if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
                    continue
                with open(f"/proc/{entry}/fdinfo/{number}") as lines:
                    if not any(_covers(line, byte) for line in lines):
                        continue
                with open(f"/proc/{entry}/comm") as comm:
                    found[int(entry)] = comm.read().strip()
            except (OSError, ValueError):
                continue
    return sorted(found.items())


def _covers(line: str, byte: int) -> bool:
    words = line.split()
    if len(words) < 9 or words[0] != "lock:" or words[2] != "OFDLCK":
        return False
    last = 1 << 63 if words[-1] == "EOF" else int(words[-1])
    return int(words[-2]) <= byte <= last
