"""Scheduling, priorities, CPU affinity, resource limits and usage."""

from __future__ import annotations

import ctypes
import errno
import weakref
from typing import TYPE_CHECKING, Annotated

from ..kinds import Resource, numbers_of, renumber
from ..layout import Struct, i32, u32, u64, ulong
from ..room import Room
from ..structs import Rusage, Timespec
from ..syscall import Buf, In, Int, Named, Out, Result, Size, UInt, syscall
from .polling import swap_words

if TYPE_CHECKING:
    from ..process import Process
    from ..thread import Thread

Policy = Annotated[int, Named("SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH 4 SCHED_IDLE SCHED_DEADLINE")]
Who = Annotated[int, Named({0: "RUSAGE_SELF", 1: "RUSAGE_THREAD", -1: "RUSAGE_CHILDREN"})]
Which = Annotated[int, Named("PRIO_PROCESS PRIO_PGRP PRIO_USER")]
MASK_MAX = 1 << 13  # bytes of a CPU set
RESOURCES = numbers_of(
    "rlimit", RLIMIT_CPU=0, RLIMIT_FSIZE=1, RLIMIT_DATA=2, RLIMIT_STACK=3, RLIMIT_CORE=4, RLIMIT_RSS=5, RLIMIT_NPROC=6,
    RLIMIT_NOFILE=7, RLIMIT_MEMLOCK=8, RLIMIT_AS=9, RLIMIT_LOCKS=10, RLIMIT_SIGPENDING=11, RLIMIT_MSGQUEUE=12, RLIMIT_NICE=13,
    RLIMIT_RTPRIO=14, RLIMIT_RTTIME=15,
)  # fmt: skip
DATA, STACK, ADDRESS_SPACE = 2, 3, 9


# ---- scheduler


class SchedParam(Struct):
    sched_priority: i32


class SchedAttr(Struct):
    """struct sched_attr, 56 bytes."""

    size: u32
    sched_policy: u32
    sched_flags: u64
    sched_nice: i32
    sched_priority: u32
    sched_runtime: u64
    sched_deadline: u64
    sched_period: u64
    sched_util_min: u32
    sched_util_max: u32


@syscall
def sched_yield() -> Result: ...


@syscall
def sched_setparam(pid: Int, param: In[SchedParam]) -> Result: ...


@syscall
def sched_getparam(pid: Int, param: Out[SchedParam]) -> Result: ...


@syscall
def sched_setscheduler(pid: Int, policy: Policy, param: In[SchedParam]) -> Result: ...


@syscall
def sched_getscheduler(pid: Int) -> Result: ...


@syscall
def sched_get_priority_max(policy: Policy) -> Result: ...


@syscall
def sched_get_priority_min(policy: Policy) -> Result: ...


@syscall(wide="sched_rr_get_interval_time64")
def sched_rr_get_interval(pid: Int, interval: Out[Timespec]) -> Result: ...


@syscall
def sched_setattr(t: Thread, pid: Int, attr: In[SchedAttr], flags: UInt) -> int:
    if not attr:
        raise OSError(errno.EINVAL, "attr")
    value = attr.load()
    if value.size and not 48 <= value.size <= 4096:
        raise OSError(errno.E2BIG, "attr size")
    if value.size > 56 and any(t.memory.read(attr.addr + 56, value.size - 56)):
        raise OSError(errno.E2BIG, "attr of a later kernel")
    value.size = min(value.size, 56)
    return t.host("sched_setattr", pid, Room(SchedAttr, value).memory, flags)


@syscall
def sched_getattr(t: Thread, pid: Int, attr: Out[SchedAttr], size: UInt, flags: UInt) -> None:
    if size < 48:
        raise OSError(errno.EINVAL, "attr size")
    room = Room(SchedAttr)
    t.host("sched_getattr", pid, room.memory, 56, flags)
    value = room.value
    value.size = min(size, value.size)
    t.memory.write(attr.addr, attr.layout.dump(value)[:size])


@syscall
def sched_setaffinity(t: Thread, pid: Int, size: Size, mask: Buf) -> int:
    data = swap_words(mask.read(min(size, MASK_MAX)), t.abi.bits // 8, t.abi.order)
    return t.host("sched_setaffinity", pid, len(data), data)


@syscall
def sched_getaffinity(t: Thread, pid: Int, size: Size, mask: Buf) -> int:
    word = t.abi.bits // 8
    if size % word:
        raise OSError(errno.EINVAL, "size")
    room = ctypes.create_string_buffer(MASK_MAX)
    got = t.host("sched_getaffinity", pid, MASK_MAX, room)
    used = len(room.raw.rstrip(b"\0"))
    if used > size:
        raise OSError(errno.EINVAL, "size")
    return mask.write(swap_words(room.raw[: min(got, size)], word, t.abi.order))


@syscall
def getcpu(t: Thread, cpu: Out[u32], node: Out[u32], cache: Int) -> None:
    rooms = Room(u32), Room(u32)
    t.host("getcpu", rooms[0].memory, rooms[1].memory, 0)
    for out, room in zip((cpu, node), rooms, strict=True):
        if out:
            out.store(room.value)


# ---- priorities


@syscall
def getpriority(which: Which, who: Int) -> Result: ...


@syscall
def setpriority(which: Which, who: Int, value: Int) -> Result: ...


@syscall
def nice(t: Thread, increment: Int) -> int:
    now = 20 - t.host("getpriority", 0, 0)
    return t.host("setpriority", 0, 0, max(-20, min(19, now + increment)))


@syscall
def ioprio_get(which: Int, who: Int) -> Result: ...


@syscall
def ioprio_set(which: Int, who: Int, value: Int) -> Result: ...


# ---- limits: those on memory are only remembered, they would hit the emulator


class Rlimit(Struct):
    rlim_cur: ulong
    rlim_max: ulong


class Rlimit64(Struct):
    rlim_cur: u64
    rlim_max: u64


REMEMBERED = frozenset({DATA, STACK, ADDRESS_SPACE})
_limits: weakref.WeakKeyDictionary[Process, dict[int, tuple[int, int]]] = weakref.WeakKeyDictionary()
INFINITE = (1 << 64) - 1


def limits(t: Thread, pid: int, resource: int, new: tuple[int, int] | None) -> tuple[int, int]:
    """prlimit64: the old soft and hard limit, in host numbers.  Raises OSError."""
    own = pid in (0, t.tid) or pid in t.process.threads
    remembered = _limits.setdefault(t.process, {})
    if new and own and resource in REMEMBERED:
        old = limits(t, pid, resource, None)
        if new[0] > new[1]:
            raise OSError(errno.EINVAL, "soft limit above the hard one")
        if new[1] > old[1] and t.host("geteuid"):
            raise OSError(errno.EPERM, "raising a hard limit")
        remembered[resource] = new
        return old
    room = Room(Rlimit64)
    given = Room(Rlimit64, Rlimit64(rlim_cur=new[0], rlim_max=new[1])).memory if new else 0
    t.host("prlimit64", pid, resource, given, room.memory)
    if own and resource in remembered:
        return remembered[resource]
    return room.value.rlim_cur, room.value.rlim_max


@syscall
def prlimit64(t: Thread, pid: Int, resource: Resource, new: In[Rlimit64], old: Out[Rlimit64]) -> None:
    wanted = new.load() if new else None
    both = limits(t, pid, renumber(RESOURCES, resource, t.abi), (wanted.rlim_cur, wanted.rlim_max) if wanted else None)
    if old:
        old.store(Rlimit64(rlim_cur=both[0], rlim_max=both[1]))


@syscall(names="getrlimit ugetrlimit")
def getrlimit(t: Thread, resource: Resource, value: Out[Rlimit]) -> None:
    soft, hard = (min(limit, t.abi.mask) for limit in limits(t, 0, renumber(RESOURCES, resource, t.abi), None))
    value.store(Rlimit(rlim_cur=soft, rlim_max=hard))


@syscall
def setrlimit(t: Thread, resource: Resource, value: In[Rlimit]) -> None:
    given = value.load()
    soft, hard = (INFINITE if limit == t.abi.mask else limit for limit in (given.rlim_cur, given.rlim_max))
    limits(t, 0, renumber(RESOURCES, resource, t.abi), (soft, hard))


# ---- usage


@syscall
def getrusage(who: Who, usage: Out[Rusage]) -> Result: ...


