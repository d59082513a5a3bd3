"""The files of /proc that a guest must see as its own: proc(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .host import HOST

if TYPE_CHECKING:
    from .thread import Thread

__all__ = ["FILES", "follow", "link_special", "open_special"]

O_ACCMODE = 3
AT_SYMLINK_NOFOLLOW = 0x100
STARTSTACK, WCHAN = 28, 35  # fields of stat, from 1
ADDRESSES = (26, 27, 28, 29, 30, 45, 46, 47, 48, 49, 50, 51)  # of code, stack, data, heap, arguments: the host's


def maps(t: Thread) -> bytes:
    return "".join(map(str, t.memory.regions())).encode("utf-8", "surrogateescape")


def cmdline(t: Thread) -> bytes:
    return b"".join(argument + b"\0" for argument in t.process.arguments)


def environ(t: Thread) -> bytes:
    return b"".join(variable + b"\0" for variable in t.process.environment)


def auxv(t: Thread) -> bytes:
    return t.process.auxv


def stat(t: Thread) -> bytes:
    """The host's line, with the guest's program name and stack; other addresses are 0."""
    with open("/proc/self/stat", "rb") as file:
        line = file.read()
    head, _, tail = line.rpartition(b") ")
    pid = head.partition(b" ")[0]
    fields = tail.split()  # from field 3 on
    for number in ADDRESSES:
        if number - 3 < len(fields):
            fields[number - 3] = b"0"
    fields[STARTSTACK - 3] = b"%d" % t.process.stack_start
    return pid + b" (" + os.path.basename(t.process.exe)[:15] + b") " + b" ".join(fields) + b"\n"


FILES: dict[bytes, Callable[[Thread], bytes]] = {
    b"maps": maps, b"cmdline": cmdline, b"environ": environ, b"auxv": auxv, b"stat": stat,
}  # fmt: skip


def own(path: bytes | None) -> bytes | None:
    """What follows /proc/self/ or /proc/<our pid>/ in a name; None for other names."""
    if path is None or not path.startswith(b"/proc/"):
        return None
    found = re.fullmatch(rb"/proc/+(self|thread-self|\d+)/+(\w+)", path)
    if not found or (found[1].isdigit() and int(found[1]) != os.getpid()):
        return None
    return found[2]


def open_special(t: Thread, path: bytes, flags: int) -> int | None:
    """A descriptor of the guest's view of a file of /proc; None if `path` is none.  `flags` are the host's.  Raises OSError."""
    name = own(path)
    if name is None:
        return None
    bits = HOST.flag_set("open")
    if name == b"exe":
        if flags & (bits["O_NOFOLLOW"] | bits["O_PATH"]):
            return None
        return t.host("openat", -100, t.process.exe, flags, 0)
    make = FILES.get(name)
    if make is None or flags & O_ACCMODE or flags & (bits["O_DIRECTORY"] | bits["O_PATH"]) & ~O_ACCMODE:
        return None
    fd = os.memfd_create(f"proc-{name.decode()}", os.MFD_CLOEXEC if flags & bits["O_CLOEXEC"] else 0)
    data = make(t)
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def link_special(t: Thread, path: bytes) -> bytes | None:
    """What /proc/self/exe points to; None for other names."""
    return os.path.abspath(t.process.exe) if own(path) == b"exe" else None


def follow(t: Thread, path: bytes, flags: int = 0) -> bytes:
    """`path`, or the program's own for /proc/self/exe unless `flags` (AT_...) say not to follow links."""
    return t.process.exe if own(path) == b"exe" and not flags & AT_SYMLINK_NOFOLLOW else path
