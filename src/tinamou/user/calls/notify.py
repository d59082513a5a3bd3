"""Descriptors that tell of events: timerfd, signalfd, inotify, fanotify."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated

from ..kinds import OptNewPath, SigMask, flag_set
from ..layout import Struct, sigset
from ..room import Room
from ..structs import Timespec
from ..syscall import Bits, Clock, Fd, In, Int, Offset, OpenFlags, Out, Path, Result, Size, UInt, syscall

if TYPE_CHECKING:
    from ..thread import Thread

NonblockCloexec = Annotated[int, Bits("open")]
TimerFlags = Annotated[int, flag_set("timerfd_settime", TFD_TIMER_ABSTIME=1, TFD_TIMER_CANCEL_ON_SET=2)]
WatchMask = Annotated[int, flag_set(
    "inotify", IN_ACCESS=1, IN_MODIFY=2, IN_ATTRIB=4, IN_CLOSE_WRITE=8, IN_CLOSE_NOWRITE=16, IN_OPEN=32, IN_MOVED_FROM=64,
    IN_MOVED_TO=128, IN_CREATE=256, IN_DELETE=512, IN_DELETE_SELF=1024, IN_MOVE_SELF=2048, IN_ONLYDIR=1 << 24,
    IN_DONT_FOLLOW=1 << 25, IN_EXCL_UNLINK=1 << 26, IN_MASK_CREATE=1 << 28, IN_MASK_ADD=1 << 29, IN_ISDIR=1 << 30,
    IN_ONESHOT=1 << 31)]  # fmt: skip


class Itimerspec(Struct):
    it_interval: Timespec
    it_value: Timespec


# ---- timerfd


@syscall
def timerfd_create(clock: Clock, flags: NonblockCloexec) -> Result: ...


@syscall(wide="timerfd_settime64")
def timerfd_settime(fd: Fd, flags: TimerFlags, new: In[Itimerspec], old: Out[Itimerspec]) -> Result: ...


@syscall(wide="timerfd_gettime64")
def timerfd_gettime(fd: Fd, value: Out[Itimerspec]) -> Result: ...


# ---- signalfd


@syscall
def signalfd4(t: Thread, fd: Fd, mask: SigMask, size: Size, flags: NonblockCloexec) -> int:
    if size != 8 or mask is None:
        raise OSError(errno.EINVAL, "signal set")
    return t.host("signalfd4", fd, Room(sigset, t.process.host_mask(mask)).memory, 8, flags)


@syscall
def signalfd(t: Thread, fd: Fd, mask: SigMask, size: Size) -> int:
    return signalfd4(t, fd, mask, size, 0)


# ---- inotify


@syscall
def inotify_init1(flags: NonblockCloexec) -> Result: ...


@syscall
def inotify_init(t: Thread) -> int:
    return t.host("inotify_init1", 0)


@syscall
def inotify_add_watch(fd: Fd, path: Path, mask: WatchMask) -> Result: ...


@syscall
def inotify_rm_watch(fd: Fd, watch: Int) -> Result: ...


# ---- fanotify


@syscall
def fanotify_init(flags: UInt, event_flags: OpenFlags) -> Result: ...


@syscall
def fanotify_mark(fd: Fd, flags: UInt, mask: Offset, dirfd: Int, path: OptNewPath) -> Result: ...
