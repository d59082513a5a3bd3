"""Waiting for many descriptors: poll, select, epoll, eventfd."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Annotated, Any

from ..host import HOST
from ..kinds import SigMask, flag_set, waiting
from ..layout import Struct, i16, i32, layout_of, pointer, sigset, u32, u64, ulong
from ..room import Room, recode
from ..structs import Timespec, Timeval
from ..syscall import Bits, Buf, Fd, In, Int, Many, Named, Out, Ptr, Result, Size, UInt, syscall

if TYPE_CHECKING:
    from ..thread import Thread

EpollFlags = Annotated[int, Bits("open")]  # EPOLL_CLOEXEC is O_CLOEXEC
EventFlags = Annotated[int, Bits("open")]  # EFD_NONBLOCK, EFD_CLOEXEC; EFD_SEMAPHORE is 1
EpollOp = Annotated[int, Named("0 EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD")]
MAX_EVENTS = 1 << 14  # of one epoll_wait: fewer than asked for are allowed
MAX_SELECT = 1 << 20
flag_set("poll", POLLIN=1, POLLPRI=2, POLLOUT=4, POLLERR=8, POLLHUP=16, POLLNVAL=32)


class Pollfd(Struct):
    fd: i32
    events: i16
    revents: i16


class EpollEvent(Struct):
    events: u32
    data: u64


class MaskAndSize(Struct):
    """What the sixth argument of pselect6 points to."""

    mask: pointer
    size: ulong


# ---- poll


def poll_until(t: Thread, fds: Ptr[Pollfd], count: int, timeout: Any, mask: int | None) -> int:
    """ppoll with host's timespec (or 0); POLLIN etc. have the same numbers on all ABIs but SPARC's POLLWRNORM."""
    if count > MAX_SELECT:
        raise OSError(errno.EINVAL, "too many descriptors")
    with waiting(t, mask) as host_mask:
        if t.abi.order == HOST.order:
            return t.host("ppoll", fds.memory.host(fds.addr, count * 8), count, timeout, host_mask, 8)
        room = Room(Pollfd, *fds[:count])
        result = t.host("ppoll", room.memory, count, timeout, host_mask, 8)
    for i in range(count):
        fds[i] = room[i]
    return result


@syscall(wide="ppoll_time64", restart="never")
def ppoll(t: Thread, fds: Many[Pollfd], count: UInt, timeout: Ptr[Timespec], mask: SigMask, size: Size) -> int:
    if mask is not None and size != 8:
        raise OSError(errno.EINVAL, "signal set size")
    room = Room(Timespec, timeout.load()) if timeout else None
    result = poll_until(t, fds, count, room.memory if room else 0, mask)
    if room:
        timeout.store(room.value)
    return result


@syscall(restart="never")
def poll(t: Thread, fds: Many[Pollfd], count: UInt, milliseconds: Int) -> int:
    timeout = Room(Timespec, Timespec(tv_sec=milliseconds // 1000, tv_nsec=milliseconds % 1000 * 1_000_000)).memory
    return poll_until(t, fds, count, timeout if milliseconds >= 0 else 0, None)


# ---- select


def select_until(t: Thread, count: int, sets: tuple[Buf, Buf, Buf], timeout: Any, mask: int | None) -> int:
    """pselect6 on sets that are arrays of the guest's longs."""
    if not 0 <= count <= MAX_SELECT:
        raise OSError(errno.EINVAL, "number of descriptors")
    word = t.abi.bits // 8
    size = -(-count // t.abi.bits) * word
    given = [swap_words(s.read(size), word, t.abi.order).ljust(size + 8, b"\0") if s else None for s in sets]
    rooms = [g if g is None else ctypes.create_string_buffer(g, len(g)) for g in given]
    with waiting(t, mask) as host_mask:
        packed: Any = 0
        if mask is not None:
            packed = Room(MaskAndSize, MaskAndSize(mask=ctypes.addressof(host_mask), size=8)).memory
        result = t.host("pselect6", count, *[r or 0 for r in rooms], timeout, packed)
    for one, room in zip(sets, rooms, strict=True):
        if room:
            one.write(swap_words(room.raw[:size], word, t.abi.order))
    return result


def swap_words(data: bytes, word: int, order: str) -> bytes:
    """Bit sets in longs of one order as the host's: on little-endian hosts the word size does not matter."""
    if order == HOST.order:
        return data
    return b"".join(data[at : at + word][::-1] for at in range(0, len(data), word))


@syscall(wide="pselect6_time64", restart="never")
def pselect6(t: Thread, count: Int, read: Buf, write: Buf, error: Buf, timeout: Ptr[Timespec], packed: In[MaskAndSize]) -> int:
    mask = None
    if packed and (both := packed.load()).mask:
        if both.size != 8:
            raise OSError(errno.EINVAL, "signal set size")
        mask = layout_of(sigset, t.abi).load(t.memory.read(both.mask, 8))
    room = Room(Timespec, timeout.load()) if timeout else None
    result = select_until(t, count, (read, write, error), room.memory if room else 0, mask)
    if room:
        timeout.store(room.value)
    return result


@syscall(names="select _newselect", restart="never")
def select(t: Thread, count: Int, read: Buf, write: Buf, error: Buf, timeout: Ptr[Timeval]) -> int:
    room = None
    if timeout:
        given = timeout.load()
        if given.tv_sec < 0 or given.tv_usec < 0:
            raise OSError(errno.EINVAL, "timeout")
        seconds, micro = given.tv_sec + given.tv_usec // 1_000_000, given.tv_usec % 1_000_000
        room = Room(Timespec, Timespec(tv_sec=seconds, tv_nsec=micro * 1000))
    result = select_until(t, count, (read, write, error), room.memory if room else 0, None)
    if room:
        left = room.value
        timeout.store(Timeval(tv_sec=left.tv_sec, tv_usec=left.tv_nsec // 1000))
    return result


# ---- epoll


@syscall
def epoll_create1(flags: EpollFlags) -> Result: ...


@syscall
def epoll_create(t: Thread, size: Int) -> int:
    if size <= 0:
        raise OSError(errno.EINVAL, "size")
    return t.host("epoll_create1", 0)


@syscall
def epoll_ctl(epfd: Fd, op: EpollOp, watched: Fd, event: In[EpollEvent]) -> Result: ...


def wait_events(t: Thread, epfd: int, events: Out[EpollEvent], most: int, timeout: Any, mask: int | None, name: str) -> int:
    room = Room(EpollEvent, count=min(max(most, 1), MAX_EVENTS))
    with waiting(t, mask) as host_mask:
        result = t.host(name, epfd, room.memory, min(most, MAX_EVENTS), timeout, host_mask, 8)
    convert, size = recode(EpollEvent, HOST, t.abi), room.layout.size
    data = bytes(memoryview(room.memory)[: result * size])
    t.memory.write(events.addr, b"".join(convert(data[at : at + size]) for at in range(0, result * size, size)))
    return result


@syscall(restart="never")
def epoll_pwait(t: Thread, epfd: Fd, events: Out[EpollEvent], most: Int, timeout: Int, mask: SigMask, size: Size) -> int:
    return wait_events(t, epfd, events, most, timeout, mask, "epoll_pwait")


@syscall(restart="never")
def epoll_wait(t: Thread, epfd: Fd, events: Out[EpollEvent], most: Int, timeout: Int) -> int:
    return wait_events(t, epfd, events, most, timeout, None, "epoll_pwait")


class Timespec64(Struct):
    """struct __kernel_timespec, 64 bits on every ABI."""

    tv_sec: Annotated[int, "q"]
    tv_nsec: Annotated[int, "q"]


@syscall(restart="never")
def epoll_pwait2(t: Thread, epfd: Fd, events: Out[EpollEvent], most: Int, timeout: In[Timespec64], mask: SigMask, size: Size) -> int:
    until = Room(Timespec64, timeout.load()).memory if timeout else 0
    return wait_events(t, epfd, events, most, until, mask, "epoll_pwait2")


# ---- eventfd


@syscall
def eventfd2(count: UInt, flags: EventFlags) -> Result: ...


@syscall
def eventfd(t: Thread, count: UInt) -> int:
    return t.host("eventfd2", count, 0)
