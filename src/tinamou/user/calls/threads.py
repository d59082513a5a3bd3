"""Threads: clone, futexes, thread ids, exit."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Annotated

from .. import exec
from ..layout import Struct, u32, u64, ulong
from ..room import Room
from ..structs import Timespec
from ..syscall import Addr, Bits, Clock, In, Int, Kind, Out, Size, UInt, syscall
from ..thread import ThreadExit

if TYPE_CHECKING:
    from ..thread import Thread

FUTEX_CMD_MASK, FUTEX_PRIVATE, FUTEX_CLOCK_REALTIME = 0x7F, 128, 256
COMMANDS = (
    "FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI FUTEX_TRYLOCK_PI "
    "FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2"
).split()
WAIT, WAKE, FD, REQUEUE, CMP_REQUEUE, WAKE_OP, LOCK_PI, UNLOCK_PI, TRYLOCK_PI = range(9)
WAIT_BITSET, WAKE_BITSET, WAIT_REQUEUE_PI, CMP_REQUEUE_PI, LOCK_PI2 = range(9, 14)
TIMED = frozenset({WAIT, WAIT_BITSET, LOCK_PI, LOCK_PI2, WAIT_REQUEUE_PI})  # the fourth argument is a timeout, else a number
TWO = frozenset({REQUEUE, CMP_REQUEUE, CMP_REQUEUE_PI, WAKE_OP, WAIT_REQUEUE_PI})  # the fifth argument is a second futex
PI = frozenset({LOCK_PI, UNLOCK_PI, TRYLOCK_PI, LOCK_PI2, WAIT_REQUEUE_PI, CMP_REQUEUE_PI})


class _Operation(Kind):
    def show(self, t: Thread, raw: int) -> str:
        command = raw & FUTEX_CMD_MASK
        flags = [("FUTEX_PRIVATE_FLAG", FUTEX_PRIVATE), ("FUTEX_CLOCK_REALTIME", FUTEX_CLOCK_REALTIME)]
        parts = [name for name, bit in flags if raw & bit]
        return "|".join([*parts, COMMANDS[command] if command < len(COMMANDS) else str(command)])


Operation = Annotated[int, _Operation()]
CloneFlags = Annotated[int, Bits("clone")]


class FutexWaiter(Struct):
    """struct futex_waitv"""

    val: u64
    uaddr: u64
    flags: u32
    reserved: u32


def _timeout(timeout: In[Timespec]) -> Room[Timespec]:
    return Room(Timespec, timeout.load())


@syscall(wide="futex_time64")
def futex(t: Thread, word: Addr, operation: Operation, value: UInt, timeout: In[Timespec], word2: Addr, value3: UInt) -> int:
    command = operation & FUTEX_CMD_MASK
    foreign = t.abi.order != "<"
    if foreign and command in PI | {WAKE_OP}:
        raise OSError(errno.ENOSYS, "the host reads these words in its own byte order")
    if foreign and command in (WAIT, WAIT_BITSET, CMP_REQUEUE):  # compared with memory
        if command == CMP_REQUEUE:
            value3 = int.from_bytes(value3.to_bytes(4, "little"), "big")
        else:
            value = int.from_bytes(value.to_bytes(4, "little"), "big")
    first = t.memory.host(word, 4)
    second = t.memory.host(word2, 4) if command in TWO else 0
    fourth: int = timeout.addr & 0xFFFF_FFFF
    if command in TIMED:
        room = _timeout(timeout) if timeout else None
        return t.host("futex", first, operation & 0xFFFF_FFFF, value, room.memory if room else 0, second, value3)
    return t.host("futex", first, operation & 0xFFFF_FFFF, value, fourth, second, value3)


@syscall
def futex_waitv(t: Thread, waiters: In[FutexWaiter], count: UInt, flags: UInt, timeout: In[Timespec], clock: Clock) -> int:
    if not 1 <= count <= 128:
        raise OSError(errno.EINVAL, "count")
    given = waiters[:count]
    for w in given:
        w.uaddr = t.memory.host(w.uaddr, 4)
    return t.host("futex_waitv", Room(FutexWaiter, *given).memory, count, flags, _timeout(timeout).memory if timeout else 0, clock)


@syscall
def set_robust_list(t: Thread, head: Addr, size: Size) -> None:
    if size != 3 * t.abi.bits // 8:
        raise OSError(errno.EINVAL, "size")
    t.robust_list = head


@syscall
def get_robust_list(t: Thread, tid: Int, head: Out[ulong], size: Out[ulong]) -> None:
    other = t.process.threads.get(tid or t.tid)
    if other is None:
        raise OSError(errno.ESRCH, "no such thread")
    head.store(other.robust_list)
    size.store(3 * t.abi.bits // 8)


@syscall
def set_tid_address(t: Thread, address: Addr) -> int:
    t.clear_child_tid = address
    return t.tid


@syscall
def clone(t: Thread, flags: CloneFlags, stack: Addr, parent_tid: Addr, third: Addr, fourth: Addr) -> int:
    tls, child_tid = (third, fourth) if t.abi.clone_tls_first else (fourth, third)
    return exec.clone(t, flags, stack, parent_tid, tls, child_tid)


@syscall
def fork(t: Thread) -> int:
    return exec.clone(t, exec.SIGCHLD, 0, 0, 0, 0)


@syscall
def vfork(t: Thread) -> int:
    return exec.clone(t, exec.CLONE_VM | exec.CLONE_VFORK | exec.SIGCHLD, 0, 0, 0, 0)


@syscall
def exit(t: Thread, status: Int) -> int:
    raise ThreadExit(status)


@syscall
def exit_group(t: Thread, status: Int) -> int:
    if t.process.strace:
        t.process.log_write("\n")
    t.process.exit(status)


@syscall
def rseq(t: Thread, area: Addr, size: UInt, flags: Int, signature: UInt) -> int:
    """Restartable sequences need the kernel's scheduler: C libraries go on without."""
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

