"""The machine we run on: its ABI, and system calls on behalf of guest threads."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from .abi import Abi
from .layout import Struct, long, u32, u64, ulong

__all__ = ["HOST", "native", "raw_syscall"]


class StatX86(Struct):
    """struct stat of x86-64."""

    st_dev: u64
    st_ino: u64
    st_nlink: u64
    st_mode: u32
    st_uid: u32
    st_gid: u32
    pad0: u32
    st_rdev: u64
    st_size: long
    st_blksize: long
    st_blocks: long
    st_atime: ulong
    st_atime_nsec: ulong
    st_mtime: ulong
    st_mtime_nsec: ulong
    st_ctime: ulong
    st_ctime_nsec: ulong
    unused4: ulong
    unused5: ulong
    unused6: ulong


class X86(Abi):
    name = "x86_64"
    machine = 62
    structs = {"Stat": StatX86}
    packed = frozenset({"EpollEvent"})


class Arm64(Abi):
    name = "aarch64"
    machine = 183
    flags = {"open": {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000,
                      "O_TMPFILE": 0o20040000}}  # fmt: skip


def _host() -> Abi:
    name = os.uname().machine
    for kind in (X86, Arm64):
        if kind.name == name:
            abi = kind()
            abi.numbers = importlib.import_module(f"tinamou.user.numbers.{name}").NUMBERS  # type: ignore[misc]
            return abi
    sys.exit(f"tinamou: user mode does not know {name} hosts")


HOST = _host()

_libc = ctypes.CDLL(None, use_errno=True)
_syscall: Callable[..., Any] = _libc.syscall
_libc.syscall.restype = ctypes.c_long
_word = ctypes.c_long


KICK = 64  # the host signal with which threads interrupt each other's system calls
KICK_VALUE = 0x74696E616D6F75  # sival of such a kick; a guest's own signal 64 carries another


def raw_syscall(number: int, *args: int | bytes) -> int:
    """A host system call with the interpreter lock released: its result, or -errno.  Arguments are words (or bytes, for strings)."""
    result = _syscall(_word(number), *[a if isinstance(a, bytes) else _word(a) for a in args])
    return -ctypes.get_errno() if result == -1 else int(result)


_KernelAction = struct.Struct("QQQQ")  # struct sigaction of the kernel on x86-64; without sa_restorer elsewhere


def _kernel_action(number: int, new: bytes | None = None) -> bytes:
    old = ctypes.create_string_buffer(32)
    given = ctypes.create_string_buffer(new, 32) if new else None
    raw_syscall(HOST.numbers["rt_sigaction"], number, ctypes.addressof(given) if given else 0, ctypes.addressof(old), 8)
    return old.raw


def is_ignored(number: int) -> bool:
    """Whether the process ignores that host signal."""
    return int.from_bytes(_kernel_action(number)[:8], sys.byteorder) == 1


def add_action_flags(number: int, flags: int) -> None:
    """Add SA_... flags to a host action, whoever installed it."""
    words = list(_KernelAction.unpack(_kernel_action(number)))
    words[1] |= flags
    _kernel_action(number, _KernelAction.pack(*words))


@functools.cache
def host() -> Any:
    """native.host, which is imported when there is a thread to run."""
    return importlib.import_module("tinamou.native.host")


class Native:
    """Signals and system calls of threads that run guest code, as the rest of user mode uses them."""

    raw_syscall = staticmethod(raw_syscall)
    is_ignored = staticmethod(is_ignored)
    def set_mask(self, mask: int) -> None:
        """Block exactly these host signals in the calling thread."""
        host().set_thread_mask(mask)

    def thread_mask(self) -> int:
        """The host signals that the calling thread blocks."""
        found: int = host().thread_mask()
        return found

    def attach(self, vcpu: Any, memory: int, end: int) -> Any:
        """Make the calling host thread one that runs guest code on that vCPU, in memory between these host addresses: its record."""
        record = host().ThreadRecord(vcpu.kick_address, vcpu.engine.faults)
        record.guard(memory, end)
        return record

    def mended(self, record: Any) -> int:
        """Host address of a page of guest memory whose rights have to be put in order, or 0."""
        page: int = record.mended()
        return page

    def detach(self, record: Any) -> None:
        """Undo attach, in the same thread, which keeps all signals blocked from now on."""
        self.set_mask(-1)
        record.close()

    def forked(self, record: Any) -> None:
        """In the child: what arrived for the parent is not the child's."""
        record.take()

    def host_syscall(self, record: Any, number: int, *args: int) -> int:
        """A host system call: its result or -errno; EINTR at once when a signal waits."""
        result: int = record.call(number, *args)
        return result

    def pending(self, record: Any) -> list[bytes]:
        """siginfo of what arrived for the thread; each is masked on the host until the mask is set again."""
        if not record.pending:
            return []
        taken: list[bytes] = record.take()
        return taken

    def catch(self, number: int, flags: int = 0) -> None:
        """Record the signal from now on.  `flags`: SA_NOCLDSTOP, SA_NOCLDWAIT."""
        host().catch(number)
        if flags:
            add_action_flags(number, flags)

    def default(self, number: int, flags: int = 0) -> None:
        _kernel_action(number, _KernelAction.pack(0, flags, 0, 0))

    def ignore(self, number: int) -> None:
        _kernel_action(number, _KernelAction.pack(1, 0, 0, 0))

    def set_name(self, name: bytes) -> None:
        """The thread's name, as prctl(PR_SET_NAME)."""
        raw_syscall(HOST.numbers["prctl"], 15, name)

    def interrupt(self, pid: int, tid: int) -> None:
        """Interrupt what that thread of ours waits for."""
        info = struct.pack("iii4xiiQ", KICK, 0, -1, pid, os.getuid(), KICK_VALUE).ljust(128, b"\0")
        room = ctypes.create_string_buffer(info)
        raw_syscall(HOST.numbers["rt_tgsigqueueinfo"], pid, tid, KICK, ctypes.addressof(room))


native = Native()
