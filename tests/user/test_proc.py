from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.guest_calls import ABIS, HEAP, Guest
from tinamou.user.calls.attributes import Statx
from tinamou.user.signals import Action

CWD = -100


@pytest.fixture
def g() -> Iterator[Guest]:
    guest = Guest(ABIS["generic64"])
    process = guest.process
    process.exe, process.arguments = os.fsencode(sys.executable), [b"prog", b"two words"]
    process.environment, process.auxv, process.stack_start = [b"A=1", b"B=2"], b"\x06" + bytes(31), 0x7FF0
    yield guest
    guest.release()


def contents(g: Guest, name: str) -> bytes:
    fd = g.openat(CWD, g.text(name), 0, 0)
    assert fd >= 0
    with open(fd, "rb") as file:
        return file.read()


def test_what_the_guest_sees(g: Guest) -> None:
    assert contents(g, "/proc/self/cmdline") == b"prog\0two words\0"
    assert contents(g, "/proc/self/environ") == b"A=1\0B=2\0"
    assert contents(g, "/proc/self/auxv") == b"\x06" + bytes(31)
    assert contents(g, f"/proc/{os.getpid()}/maps").startswith(b"%08x-" % HEAP)
    fields = contents(g, "/proc/self/stat").rpartition(b") ")[2].split()
    assert int(fields[28 - 3]) == 0x7FF0 and int(fields[26 - 3]) == 0
    assert int(fields[4 - 3]) == os.getppid()
    assert contents(g, "/proc/thread-self/cmdline") == b"prog\0two words\0"


def test_threads_size_and_signals_are_the_guests(g: Guest) -> None:
    """The emulator has threads, memory and signal handlers of its own."""
    mapped = sum(r.end - r.start for r in g.memory.regions())
    g.process.actions[10] = Action(sa_handler=0x1000)
    g.process.actions[12] = Action(sa_handler=1)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()
        fields = contents(g, "/proc/self/stat").rpartition(b") ")[2].split()
        status = dict(line.split(b":\t") for line in contents(g, "/proc/self/status").splitlines())
    assert int(fields[20 - 3]) == len(g.process.threads) == int(status[b"Threads"])
    assert int(fields[23 - 3]) == mapped == int(status[b"VmSize"].split()[0]) << 10
    assert int(contents(g, "/proc/self/statm").split()[0]) == mapped >> 12
    assert (int(status[b"SigCgt"], 16), int(status[b"SigIgn"], 16)) == (1 << 9, 1 << 11)
    assert int(status[b"Pid"]) == os.getpid()


def test_threads_of_the_emulator_are_not_listed(g: Guest) -> None:
    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()
        fd = g.openat(CWD, g.text("/proc/self/task"), 0, 0)
        size = g.getdents64(fd, HEAP + 0x1000, 512)
        assert len(os.listdir("/proc/self/task")) > 1
        data = g.memory.read(HEAP + 0x1000, size)
    names, at = [], 0
    while at < size:
        names.append(data[at + 19 :].split(b"\0", 1)[0])
        at += int.from_bytes(data[at + 16 : at + 18], "little")
    assert sorted(names) == sorted([b".", b"..", *(b"%d" % tid for tid in {os.getpid(), *g.process.threads})])
    assert g.getdents64(fd, HEAP + 0x1000, 512) == 0
    os.close(fd)


def test_the_program_itself(g: Guest) -> None:
    buf = g.room(256)
    name = g.text("/proc/self/exe")
    got = g.readlinkat(CWD, name, buf, 256)
    assert g.peek(buf, got) == os.path.abspath(os.fsencode(sys.executable))
    assert g.readlinkat(CWD, name, buf, 3) == 3
    assert g.readlinkat(CWD, name, buf, 0) == -errno.EINVAL
    assert contents(g, "/proc/self/exe")[:4] == b"\x7fELF"
    x = g.struct(Statx)
    assert g.statx(CWD, name, 0, 0xFFF, x) == 0 and g.load(Statx, x).stx_mode & 0o170000 == 0o100000
    assert g.statx(CWD, name, 0x100, 0xFFF, x) == 0 and g.load(Statx, x).stx_mode & 0o170000 == 0o120000


def test_others_are_the_hosts(g: Guest) -> None:
    assert b"Name:" in contents(g, "/proc/self/status")
    assert contents(g, "/proc/1/cmdline") != contents(g, "/proc/self/cmdline")
    assert g.openat(CWD, g.text("/proc/self/nothing"), 0, 0) == -errno.ENOENT
    fd = g.openat(CWD, g.text("/proc/self/maps"), g.flag("open", "O_CLOEXEC"), 0)
    assert not os.get_inheritable(fd)
    os.close(fd)
