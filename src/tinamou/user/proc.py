"""The files of /proc that a guest must see as its own: proc(5)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from .host import HOST
from .memory import MAP_PRIVATE, MAP_TYPE, WRITE
from .signals import SIG_DFL, SIG_IGN

if TYPE_CHECKING:
    from .thread import Thread

__all__ = ["FILES", "follow", "hidden_names", "link_special", "open_special"]

O_ACCMODE = 3
AT_SYMLINK_NOFOLLOW = 0x100
NUM_THREADS, VSIZE, STARTSTACK = 20, 23, 28  # fields of stat, from 1
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
    """The host's line, with the guest's program name, threads, size and stack; other addresses are 0."""
    with open("/proc/self/stat", "rb") as file:
        line = file.read()
    head, _, tail = line.rpartition(b") ")
    pid = head.partition(b" ")[0]
    fields = tail.split()  # from field 3 on
    for number in ADDRESSES:
        if number - 3 < len(fields):
            fields[number - 3] = b"0"
    fields[NUM_THREADS - 3] = b"%d" % len(t.process.threads)
    fields[VSIZE - 3] = b"%d" % size(t)
    fields[STARTSTACK - 3] = b"%d" % t.process.stack_start
    return pid + b" (" + os.path.basename(t.process.exe)[:15] + b") " + b" ".join(fields) + b"\n"


def size(t: Thread) -> int:
    """Bytes of address space that are mapped."""
    return sum(r.end - r.start for r in t.memory.regions())


def statm(t: Thread) -> bytes:
    """The host's line, with the size that the guest knows of."""
    with open("/proc/self/statm", "rb") as file:
        return b"%d " % (size(t) // 4096) + file.read().partition(b" ")[2]


def status(t: Thread) -> bytes:
    """The host's lines, with the guest's threads, size and signals."""
    handlers = {signo: action.sa_handler for signo, action in enumerate(t.process.actions) if signo}
    ignored = sum(1 << signo - 1 for signo, handler in handlers.items() if handler == SIG_IGN)
    caught = sum(1 << signo - 1 for signo, handler in handlers.items() if handler not in (SIG_IGN, SIG_DFL))
    data = sum(r.end - r.start for r in t.memory.regions() if r.prot & WRITE and r.flags & MAP_TYPE == MAP_PRIVATE)
    mapped = b"%8d kB" % (size(t) >> 10)
    own = {b"Threads": b"%d" % len(t.process.threads), b"VmPeak": mapped, b"VmSize": mapped, b"VmData": b"%8d kB" % (data >> 10),
           b"SigBlk": b"%016x" % t.mask, b"SigIgn": b"%016x" % ignored, b"SigCgt": b"%016x" % caught}  # fmt: skip
    lines = []
    with open("/proc/thread-self/status", "rb") as file:
        for line in file:
            name, _, value = line.partition(b":\t")
            lines.append(name + b":\t" + own.get(name, value).rstrip(b"\n") + b"\n")
    return b"".join(lines)


FILES: dict[bytes, Callable[[Thread], bytes]] = {
    b"maps": maps, b"cmdline": cmdline, b"environ": environ, b"auxv": auxv, b"stat": stat, b"statm": statm,
    b"status": status,
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


def hidden_names(t: Thread, fd: int) -> set[bytes]:
    """What a guest does not find in that directory: threads of the emulator, in /proc/self/task."""
    try:
        path = os.readlink(b"/proc/self/fd/%d" % fd)
    except OSError:
        return set()
    if path != b"/proc/%d/task" % os.getpid():
        return set()
    with t.process.lock:
        return {name for name in os.listdir(path) if int(name) not in {os.getpid(), *t.process.threads}}


def link_special(t: Thread, path: bytes) -> bytes | None:
    """What /proc/self/exe points to; None for other names."""
    return os.path.abspath(t.process.exe) if own(path) == b"exe" else None


def follow(t: Thread, path: bytes, flags: int = 0) -> bytes:
    """`path`, or the program's own for /proc/self/exe unless `flags` (AT_...) say not to follow links."""
    return t.process.exe if own(path) == b"exe" and not flags & AT_SYMLINK_NOFOLLOW else path
