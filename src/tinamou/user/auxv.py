"""The initial stack: arguments, environment and the auxiliary vector.  System V ABI, "Process Initialization"; getauxval(3)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .layout import layout_of, ulong

if TYPE_CHECKING:
    from .elf import Image
    from .process import Process

AT_NULL, AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 0, 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_PLATFORM, AT_HWCAP, AT_CLKTCK = 11, 12, 13, 14, 15, 16, 17
AT_SECURE, AT_RANDOM, AT_HWCAP2, AT_EXECFN, AT_MINSIGSTKSZ = 23, 25, 26, 31, 51


def build_stack(process: Process, image: Image, top: int, name: bytes) -> int:
    """Write the start of the stack below `top`: the stack pointer at the program's start.  `name` is AT_EXECFN.

    Raises GuestFault when it does not fit.
    """
    abi, memory, options = process.abi, process.memory, process.options
    at = top - abi.bits // 8

    def put(data: bytes) -> int:
        nonlocal at
        at -= len(data)
        memory.write(at, data)
        return at

    execfn = put(name + b"\0")

    def put_all(strings: list[bytes]) -> list[int]:
        if not strings:
            return []
        joined = put(b"\0".join(strings) + b"\0")
        places, where = [], joined
        for s in strings:
            places.append(where)
            where += len(s) + 1
        return places

    environment = put_all(process.environment)
    arguments = put_all(process.arguments)
    if options.seed is None:
        noise = put(os.urandom(16))
    else:
        from random import Random

        noise = put(Random(options.seed).randbytes(16))
    platform = put(abi.platform.encode() + b"\0") if abi.platform else 0
    pairs = [
        (AT_PHDR, image.headers), (AT_PHENT, image.header.phentsize), (AT_PHNUM, image.header.phnum), (AT_PAGESZ, abi.page),
        (AT_BASE, image.base), (AT_FLAGS, 0), (AT_ENTRY, image.entry), (AT_UID, os.getuid()), (AT_EUID, os.geteuid()),
        (AT_GID, os.getgid()), (AT_EGID, os.getegid()), (AT_HWCAP, abi.hwcap(process)), (AT_CLKTCK, os.sysconf("SC_CLK_TCK")),
        (AT_RANDOM, noise), (AT_SECURE, 0), (AT_EXECFN, execfn),
    ]  # fmt: skip
    if platform:
        pairs.append((AT_PLATFORM, platform))
    if hwcap2 := abi.hwcap2(process):
        pairs.append((AT_HWCAP2, hwcap2))
    if abi.signal_stack:
        pairs.append((AT_MINSIGSTKSZ, abi.signal_stack))
    pairs.append((AT_NULL, 0))
    word = layout_of(ulong, abi).dump
    auxv = b"".join(word(key) + word(value) for key, value in pairs)
    vectors = [len(arguments), *arguments, 0, *environment, 0]
    block = b"".join(word(v) for v in vectors) + auxv
    at = (at - len(block)) & -16
    memory.write(at, block)
    process.auxv, process.stack_start = auxv, at
    return at
