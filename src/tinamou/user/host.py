"""The machine we run on: its ABI, and system calls on behalf of guest threads."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from .abi import Abi
from .layout import Struct, long, u32, u64, ulong

__all__ = ["HOST", "raw_syscall"]


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


def raw_syscall(number: int, *args: int) -> int:
    """A host system call with the interpreter lock released: its result, or -errno.  Arguments are words (or bytes, for strings)."""
    result = _syscall(_word(number), *[a if isinstance(a, bytes) else _word(a) for a in args])
    return -ctypes.get_errno() if result == -1 else int(result)
