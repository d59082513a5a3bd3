"""The system as a whole: names, memory and load, random bytes, prctl, mounts, namespaces."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Annotated, Any

from ..kinds import OptText, Text, flag_set, pass_operation
from ..layout import Struct, i32, layout_of, long, u16, u32, ulong
from ..room import Room

from ..syscall import (  # isort: skip
    Bits, Buf, Fd, In, Int, Iovec, Kind, Mode, NewPath, Out, Ptr, Result, Signal, Size, UInt, ULong, gather, syscall,
)  # fmt: skip

if TYPE_CHECKING:
    from ..thread import Thread

RandomFlags = Annotated[int, flag_set("getrandom", GRND_NONBLOCK=1, GRND_RANDOM=2, GRND_INSECURE=4)]
MountFlags = Annotated[int, flag_set(
    "mount", MS_RDONLY=1, MS_NOSUID=2, MS_NODEV=4, MS_NOEXEC=8, MS_SYNCHRONOUS=16, MS_REMOUNT=32, MS_MANDLOCK=64, MS_DIRSYNC=128,
    MS_NOATIME=1024, MS_NODIRATIME=2048, MS_BIND=4096, MS_MOVE=8192, MS_REC=16384, MS_SILENT=32768, MS_UNBINDABLE=1 << 17,
    MS_PRIVATE=1 << 18, MS_SLAVE=1 << 19, MS_SHARED=1 << 20, MS_RELATIME=1 << 21, MS_STRICTATIME=1 << 24)]  # fmt: skip
CloneFlags = Annotated[int, Bits("clone")]


# ---- names


class Utsname(Struct):
    sysname: Annotated[bytes, "65s"]
    nodename: Annotated[bytes, "65s"]
    release: Annotated[bytes, "65s"]
    version: Annotated[bytes, "65s"]
    machine: Annotated[bytes, "65s"]
    domainname: Annotated[bytes, "65s"]


@syscall
def uname(t: Thread, buf: Out[Utsname]) -> None:
    room = Room(Utsname)
    t.host("uname", room.memory)
    name = room.value
    name.machine = getattr(t.abi, "uname_machine", t.abi.name).encode()
    if t.process.options.release:
        name.release = os.fsencode(t.process.options.release)[:64]
    buf.store(name)


@syscall
def sethostname(name: Buf, size: Size) -> Result: ...


@syscall
def setdomainname(name: Buf, size: Size) -> Result: ...


# ---- memory, load, messages


class Sysinfo(Struct):
    uptime: long
    loads: Annotated[tuple[int, ...], "3ulong"]
    totalram: ulong
    freeram: ulong
    sharedram: ulong
    bufferram: ulong
    totalswap: ulong
    freeswap: ulong
    procs: u16
    pad: u16
    totalhigh: ulong
    freehigh: ulong
    mem_unit: u32


AMOUNTS = ("totalram", "freeram", "sharedram", "bufferram", "totalswap", "freeswap", "totalhigh", "freehigh")


@syscall
def sysinfo(t: Thread, info: Out[Sysinfo]) -> None:
    room = Room(Sysinfo)
    t.host("sysinfo", room.memory)
    value = room.value
    largest = max(getattr(value, name) for name in AMOUNTS)
    while largest >> t.abi.bits:  # counted in larger units until they fit a long
        largest >>= 1
        value.mem_unit *= 2
        for name in AMOUNTS:
            setattr(value, name, getattr(value, name) >> 1)
    info.store(value)


@syscall
def syslog(kind: Int, buf: Buf, size: Size) -> Result: ...


@syscall
def getrandom(buf: Buf, size: Size, flags: RandomFlags) -> Result: ...


@syscall
def umask(mask: Mode) -> Result: ...


@syscall
def personality(persona: UInt) -> Result: ...


@syscall
def membarrier(command: Int, flags: UInt, cpu: Int) -> Result: ...


@syscall
def acct(path: OptText) -> Result: ...


@syscall
def vhangup() -> Result: ...


# ---- prctl


PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_SET_NAME, PR_GET_NAME = 1, 2, 15, 16
TASK_COMM_LEN = 16
NUMBER = (ULong, ULong, ULong, ULong)
PRCTL: dict[int, tuple[str, tuple[Any, ...]]] = {
    PR_SET_PDEATHSIG: ("PR_SET_PDEATHSIG", (Signal,)),
    PR_GET_PDEATHSIG: ("PR_GET_PDEATHSIG", (Out[i32],)),
    3: ("PR_GET_DUMPABLE", ()),
    4: ("PR_SET_DUMPABLE", (ULong,)),
    7: ("PR_GET_KEEPCAPS", ()),
    8: ("PR_SET_KEEPCAPS", (ULong,)),
    13: ("PR_GET_TIMING", ()),
    14: ("PR_SET_TIMING", (ULong,)),
    PR_SET_NAME: ("PR_SET_NAME", (Text,)),
    PR_GET_NAME: ("PR_GET_NAME", (Buf,)),
    23: ("PR_CAPBSET_READ", (ULong,)),
    24: ("PR_CAPBSET_DROP", (ULong,)),
    27: ("PR_GET_SECUREBITS", ()),
    28: ("PR_SET_SECUREBITS", (ULong,)),
    29: ("PR_SET_TIMERSLACK", (ULong,)),
    30: ("PR_GET_TIMERSLACK", ()),
    36: ("PR_SET_CHILD_SUBREAPER", (ULong,)),
    37: ("PR_GET_CHILD_SUBREAPER", (Out[i32],)),
    38: ("PR_SET_NO_NEW_PRIVS", NUMBER),
    39: ("PR_GET_NO_NEW_PRIVS", NUMBER),
    41: ("PR_SET_THP_DISABLE", NUMBER),
    42: ("PR_GET_THP_DISABLE", NUMBER),
    47: ("PR_CAP_AMBIENT", NUMBER),
    52: ("PR_GET_SPECULATION_CTRL", NUMBER),
    53: ("PR_SET_SPECULATION_CTRL", NUMBER),
    57: ("PR_SET_IO_FLUSHER", NUMBER),
    58: ("PR_GET_IO_FLUSHER", NUMBER),
}
# Known, and refused unless the architecture has them: what they change is the emulator's, or is nothing a guest has (seccomp filters
# would hit the emulator's own calls).
REFUSED = {
    5: "PR_GET_UNALIGN", 6: "PR_SET_UNALIGN", 9: "PR_GET_FPEMU", 10: "PR_SET_FPEMU", 11: "PR_GET_FPEXC", 12: "PR_SET_FPEXC",
    19: "PR_GET_ENDIAN", 20: "PR_SET_ENDIAN", 21: "PR_GET_SECCOMP", 22: "PR_SET_SECCOMP", 25: "PR_GET_TSC", 26: "PR_SET_TSC",
    31: "PR_TASK_PERF_EVENTS_DISABLE", 32: "PR_TASK_PERF_EVENTS_ENABLE", 33: "PR_MCE_KILL", 34: "PR_MCE_KILL_GET", 35: "PR_SET_MM",
    40: "PR_GET_TID_ADDRESS", 43: "PR_MPX_ENABLE_MANAGEMENT", 44: "PR_MPX_DISABLE_MANAGEMENT", 45: "PR_SET_FP_MODE",
    46: "PR_GET_FP_MODE", 50: "PR_SVE_SET_VL", 51: "PR_SVE_GET_VL", 54: "PR_PAC_RESET_KEYS",
    55: "PR_SET_TAGGED_ADDR_CTRL", 56: "PR_GET_TAGGED_ADDR_CTRL", 59: "PR_SET_SYSCALL_USER_DISPATCH", 60: "PR_PAC_SET_ENABLED_KEYS",
    61: "PR_PAC_GET_ENABLED_KEYS", 0x53564D41: "PR_SET_VMA", 0x59616D61: "PR_SET_PTRACER",
}  # fmt: skip


class _Option(Kind):
    def show(self, t: Thread, raw: int) -> str:
        raw &= 0xFFFF_FFFF
        return PRCTL[raw][0] if raw in PRCTL else REFUSED.get(raw, str(raw))


PrctlOption = Annotated[int, _Option()]


@syscall
def prctl(t: Thread, option: PrctlOption, a: ULong, b: ULong, c: ULong, d: ULong) -> int:
    option &= 0xFFFF_FFFF
    own = t.abi.prctl(t, option, (a, b, c, d))
    if own is not None:
        return own
    if option not in PRCTL:
        if option not in REFUSED:
            t.process.log("unimp", f"Unsupported prctl: {option}")
        raise OSError(errno.EINVAL, "prctl option")
    if option == PR_SET_PDEATHSIG:
        return t.host("prctl", option, t.process.host_number(a))
    if option == PR_GET_PDEATHSIG:
        number = Room(i32)
        t.host("prctl", option, number.memory)
        t.memory.write(a, layout_of(i32, t.abi).dump(t.process.guest_number(number.value)))
        return 0
    if option == PR_GET_NAME:
        room = Room(Annotated[bytes, "16s"])
        t.host("prctl", option, room.memory)
        t.memory.write(a, room.value)
        return 0
    if option == PR_SET_NAME:
        name = t.memory.read_string(a, TASK_COMM_LEN)
        return t.host("prctl", option, t.memory.read(a, TASK_COMM_LEN - 1) if name is None else name)
    kinds = PRCTL[option][1]
    return pass_operation(t, "prctl", (option,), kinds, (a, b, c, d)[: len(kinds)])


# ---- mounts and namespaces


@syscall
def mount(t: Thread, source: OptText, target: NewPath, fstype: OptText, flags: MountFlags, data: ULong) -> int:
    """`data` is a string for every file system that has no binary options."""
    options = t.memory.read_string(data, 4096) if data else None
    return t.host("mount", source or 0, target, fstype or 0, flags, options or 0)


@syscall
def umount2(path: NewPath, flags: Int) -> Result: ...


@syscall
def umount(t: Thread, path: NewPath) -> int:
    return t.host("umount2", path, 0)


@syscall
def pivot_root(new_root: NewPath, put_old: NewPath) -> Result: ...


@syscall
def swapon(path: NewPath, flags: Int) -> Result: ...


@syscall
def swapoff(path: NewPath) -> Result: ...


@syscall
def unshare(flags: CloneFlags) -> Result: ...


@syscall
def setns(fd: Fd, kind: CloneFlags) -> Result: ...


# ---- another process's memory: this one's only


def own_memory(t: Thread, pid: int, local: tuple[Ptr[Iovec], int], remote: tuple[Ptr[Iovec], int], flags: int, name: str) -> int:
    if flags:
        raise OSError(errno.EINVAL, "flags")
    if pid != os.getpid() and pid not in t.process.threads:
        t.host("kill", pid, 0)
        raise OSError(errno.EPERM, "where another process has its guest memory is not known")
    words = []
    for vector, count in (local, remote):
        pieces: list[Iovec] = []
        for at, size in gather(t, vector, count):
            pieces.append(Iovec(iov_base=t.memory.host(at, size) if size else 0, iov_len=size))
        words += [Room(Iovec, *pieces).memory, count]
    return t.host(name, os.getpid(), *words, 0)


@syscall
def process_vm_readv(
    t: Thread, pid: Int, local: In[Iovec], count: ULong, remote: In[Iovec], remote_count: ULong, flags: ULong
) -> int:
    return own_memory(t, pid, (local, count), (remote, remote_count), flags, "process_vm_readv")


@syscall
def process_vm_writev(
    t: Thread, pid: Int, local: In[Iovec], count: ULong, remote: In[Iovec], remote_count: ULong, flags: ULong
) -> int:
    return own_memory(t, pid, (local, count), (remote, remote_count), flags, "process_vm_writev")


