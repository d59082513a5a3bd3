"""Memory: brk, mmap and what belongs to it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated

from ..syscall import Addr, Bits, Buf, Fd, Hex, Int, MapFlags, Named, Prot, Result, Size, UInt, syscall

if TYPE_CHECKING:
    from ..thread import Thread

PAGE = 4096
SUPPORTED_MAP = 0x1FFFFF | 0x3F << 26  # the flags above, and MAP_HUGE_SHIFT's bits
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
NEVER_ADVISED = frozenset({100, 101})  # MADV_HWPOISON, MADV_SOFT_OFFLINE: the host's business
ADVICE = {
    0: "MADV_NORMAL", 1: "MADV_RANDOM", 2: "MADV_SEQUENTIAL", 3: "MADV_WILLNEED", 4: "MADV_DONTNEED", 8: "MADV_FREE", 9: "MADV_REMOVE",
    10: "MADV_DONTFORK", 11: "MADV_DOFORK", 12: "MADV_MERGEABLE", 13: "MADV_UNMERGEABLE", 14: "MADV_HUGEPAGE", 15: "MADV_NOHUGEPAGE",
    16: "MADV_DONTDUMP", 17: "MADV_DODUMP", 18: "MADV_WIPEONFORK", 19: "MADV_KEEPONFORK", 20: "MADV_COLD", 21: "MADV_PAGEOUT",
    22: "MADV_POPULATE_READ", 23: "MADV_POPULATE_WRITE",
}  # fmt: skip
Advice = Annotated[int, Named(ADVICE)]
RemapFlags = Annotated[int, Bits("mremap")]
SyncFlags = Annotated[int, Bits("msync")]


@syscall
def brk(t: Thread, address: Addr) -> int:
    return t.memory.brk(address)


@syscall
def mmap(t: Thread, address: Addr, length: Size, prot: Prot, flags: MapFlags, fd: Fd, offset: Hex) -> int:
    at = t.memory.map(address, length, prot, flags, fd, offset)
    if "page" in t.process.options.log_items:
        t.process.log("page", "\n".join(["page layout changed following mmap", *t.memory.layout_text(t.abi.bits // 4)]))
    return at


@syscall
def mmap2(t: Thread, address: Addr, length: Size, prot: Prot, flags: MapFlags, fd: Fd, pages: Hex) -> int:
    """The offset counts units of 4096 bytes."""
    return mmap(t, address, length, prot, flags, fd, pages * 4096)


@syscall
def munmap(t: Thread, address: Addr, length: Size) -> None:
    t.memory.unmap(address & t.memory.pointer, length)


@syscall
def mprotect(t: Thread, address: Addr, length: Size, prot: Prot) -> None:
    if prot & ~(0x0300_000F | t.memory.special):
        raise OSError(errno.EINVAL, "protection")
    t.memory.protect(address & t.memory.pointer, length, prot)


@syscall
def pkey_mprotect(t: Thread, address: Addr, length: Size, prot: Prot, key: Int) -> None:
    if key != -1:
        raise OSError(errno.EINVAL, "no protection keys")
    mprotect(t, address, length, prot)


@syscall
def mremap(t: Thread, old: Addr, old_length: Size, new_length: Size, flags: RemapFlags, new: Addr) -> int:
    return t.memory.remap(old & t.memory.pointer, old_length, new_length, flags, new)


@syscall
def madvise(t: Thread, address: Addr, length: Size, advice: Advice) -> None:
    if advice in NEVER_ADVISED:
        raise OSError(errno.EPERM, "advice")
    t.memory.advise(address & t.memory.pointer, length, advice)


@syscall
def msync(t: Thread, address: Addr, length: Size, flags: SyncFlags) -> int:
    return t.host("msync", t.memory.mapped(address & t.memory.pointer, length), length, flags)


@syscall
def mincore(t: Thread, address: Addr, length: Size, vector: Buf) -> int:
    pages = -(-length // PAGE)
    return t.host("mincore", t.memory.mapped(address & t.memory.pointer, length), length, vector.host(pages))


@syscall
def mlock(t: Thread, address: Addr, length: Size) -> int:
    start = address & -PAGE & t.memory.pointer
    address &= t.memory.pointer
    return t.host("mlock", t.memory.mapped(start, address - start + length), address - start + length)


@syscall
def mlock2(t: Thread, address: Addr, length: Size, flags: UInt) -> int:
    start = address & -PAGE & t.memory.pointer
    address &= t.memory.pointer
    return t.host("mlock2", t.memory.mapped(start, address - start + length), address - start + length, flags)


@syscall
def munlock(t: Thread, address: Addr, length: Size) -> int:
    start = address & -PAGE & t.memory.pointer
    address &= t.memory.pointer
    return t.host("munlock", t.memory.mapped(start, address - start + length), address - start + length)


@syscall
def mlockall(t: Thread, flags: UInt) -> None:
    """Lock what the guest has mapped; the rest of the host process is not the guest's.  MCL_FUTURE has no effect."""
    if not flags & (MCL_CURRENT | MCL_FUTURE) or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT):
        raise OSError(errno.EINVAL, "flags")
    if flags & MCL_CURRENT:
        for region in t.memory.regions():
            if region.prot:
                t.host("mlock2", t.memory.base + region.start, region.end - region.start, int(bool(flags & MCL_ONFAULT)))


@syscall
def munlockall(t: Thread) -> None:
    for region in t.memory.regions():
        t.host("munlock", t.memory.base + region.start, region.end - region.start)


@syscall
def memfd_secret(flags: UInt) -> Result: ...
