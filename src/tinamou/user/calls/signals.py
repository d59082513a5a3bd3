"""Signals: actions, masks, waiting, sending."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import TYPE_CHECKING, Annotated, Any

from .. import signals
from ..errors import GuestFault
from ..host import HOST
from ..kinds import SigMask
from ..layout import layout_of, sigset
from ..room import Room
from ..signals import Action, SigInfo, Stack
from ..structs import Timespec
from ..syscall import Buf, In, Int, Named, Out, Ptr, Signal, Size, syscall
from ..thread import NoResult

if TYPE_CHECKING:
    from ..thread import Thread

How = Annotated[int, Named("SIG_BLOCK SIG_UNBLOCK SIG_SETMASK")]
INFO_SIZE = 128
MINSIGSTKSZ = 2048


def _check_size(size: int) -> None:
    if size != 8:
        raise OSError(errno.EINVAL, "sigsetsize")


@syscall
def rt_sigaction(t: Thread, signo: Signal, new: Ptr[Action], old: Ptr[Action], size: Size) -> None:
    _check_size(size)
    if not 1 <= signo <= 64:
        raise OSError(errno.EINVAL, "signal")
    wanted = new.load() if new else None
    with t.process.lock:
        before = t.process.actions[signo]
        if wanted is not None:
            if signo in (signals.SIGKILL, signals.SIGSTOP):
                raise OSError(errno.EINVAL, "signal")
            signals.set_action(t, signo, wanted)
    if old:
        old.store(before)


@syscall
def rt_sigprocmask(t: Thread, how: How, new: In[sigset], old: Out[sigset], size: Size) -> None:
    _check_size(size)
    before = t.mask
    if new:
        wanted = new.load()
        if how not in (0, 1, 2):
            raise OSError(errno.EINVAL, "how")
        signals.set_mask(t, (before | wanted, before & ~wanted, wanted)[how])
    if old:
        old.store(before)


@syscall
def rt_sigpending(t: Thread, pending: Buf, size: Size) -> None:
    if size > 8:
        raise OSError(errno.EINVAL, "sigsetsize")
    room = Room[int](sigset)
    t.host("rt_sigpending", room.memory, 8)
    found = _from_host(t, room.value) | signals.pending_set(t) & t.mask
    pending.write(layout_of(sigset, t.abi).dump(found)[:size])


def _from_host(t: Thread, mask: int) -> int:
    """A host set in the guest's numbering."""
    return sum(1 << t.process.guest_number(n) - 1 for n in range(1, 65) if mask >> (n - 1) & 1)


def _to_host(t: Thread, mask: int) -> int:
    return sum(1 << t.process.host_number(n) - 1 for n in range(1, 65) if mask >> (n - 1) & 1)


@syscall(restart="never")
def rt_sigsuspend(t: Thread, mask: SigMask, size: Size) -> int:
    _check_size(size)
    if mask is None:
        raise OSError(errno.EFAULT, "mask")
    return wait_with_mask(t, mask, "rt_sigsuspend", Room(sigset, t.process.host_mask(mask & ~signals.NEVER_BLOCKED)).memory, 8)


@syscall(restart="never")
def pause(t: Thread) -> int:
    return t.host("ppoll", 0, 0, 0, 0, 0)


def wait_with_mask(t: Thread, mask: int | None, name: str, *args: Any) -> int:
    """A host call during which the guest blocks `mask`, if given; the call's own arguments carry it to the host."""
    if mask is None:
        return t.host(name, *args)
    t.waiting_mask = mask & ~signals.NEVER_BLOCKED
    if any(not t.waiting_mask >> (info.signo - 1) & 1 for info in t.queue):
        raise InterruptedError(errno.EINTR, "a signal waits")
    try:
        result = t.host(name, *args)
    except InterruptedError:
        raise
    except OSError:
        t.waiting_mask = None
        raise
    t.waiting_mask = None
    return result


@syscall(wide="rt_sigtimedwait_time64", restart="never")
def rt_sigtimedwait(t: Thread, mask: SigMask, info: Buf, timeout: In[Timespec], size: Size) -> int:
    _check_size(size)
    if mask is None:
        raise OSError(errno.EFAULT, "mask")
    known = signals.take_one(t, mask)  # recorded before the guest blocked it
    if known is None:
        room = ctypes.create_string_buffer(INFO_SIZE)
        limit = Room(Timespec, timeout.load()).memory if timeout else 0
        t.host("rt_sigtimedwait", Room(sigset, _to_host(t, mask)).memory, room, limit, 8)
        known = SigInfo.load(HOST, room.raw)
        known.signo = t.process.guest_number(known.signo)
    if info:
        info.write(known.dump(t.abi))
    return known.signo


@syscall
def rt_sigreturn(t: Thread) -> int:
    t.process.event("user_do_rt_sigreturn", t.cpu, f"frame_addr={t.abi.stack_pointer(t.cpu):#x}")
    try:
        mask = t.abi.pop_frame(t)
    except GuestFault:  # a bad frame
        signals.force(t, signals.SigInfo(signals.SIGSEGV, signals.SI_KERNEL))
    else:
        signals.set_mask(t, mask)
    raise NoResult


@syscall
def sigaltstack(t: Thread, new: In[Stack], old: Out[Stack]) -> None:
    before = t.stack
    inside = signals.on_stack(before, t.abi.stack_pointer(t.cpu))
    if new:
        wanted = new.load()
        mode = wanted.ss_flags & 0xFFFF_FFFF & ~signals.SS_AUTODISARM
        if inside:
            raise OSError(errno.EPERM, "in use")
        if mode not in (0, signals.SS_DISABLE, signals.SS_ONSTACK):
            raise OSError(errno.EINVAL, "flags")
        if mode == signals.SS_DISABLE:
            wanted = Stack(ss_flags=wanted.ss_flags)
        elif wanted.ss_size < MINSIGSTKSZ:
            raise OSError(errno.ENOMEM, "size")
        else:
            wanted.ss_flags &= signals.SS_AUTODISARM
        t.stack = wanted
    if old:
        flags = before.ss_flags | (signals.SS_ONSTACK if inside else 0)
        old.store(Stack(ss_sp=before.ss_sp, ss_size=before.ss_size, ss_flags=flags))


@syscall
def kill(t: Thread, pid: Int, signo: Signal) -> int:
    return t.host("kill", pid, t.process.host_number(signo))


@syscall
def tkill(t: Thread, tid: Int, signo: Signal) -> int:
    return t.host("tkill", tid, t.process.host_number(signo))


@syscall
def tgkill(t: Thread, tgid: Int, tid: Int, signo: Signal) -> int:
    return t.host("tgkill", tgid, tid, t.process.host_number(signo))


def _host_info(t: Thread, info: Buf, signo: int) -> Any:
    """The guest's siginfo for the host; the call's signal number counts, not the one inside."""
    given = SigInfo.load(t.abi, info.read(INFO_SIZE))
    given.signo = t.process.host_number(signo)
    return ctypes.create_string_buffer(given.dump(HOST))


@syscall
def rt_sigqueueinfo(t: Thread, pid: Int, signo: Signal, info: Buf) -> int:
    return t.host("rt_sigqueueinfo", pid, t.process.host_number(signo), _host_info(t, info, signo))


@syscall
def rt_tgsigqueueinfo(t: Thread, tgid: Int, tid: Int, signo: Signal, info: Buf) -> int:
    return t.host("rt_tgsigqueueinfo", tgid, tid, t.process.host_number(signo), _host_info(t, info, signo))


@syscall
def restart_syscall(t: Thread) -> int:
    """Calls are restarted with their own number and arguments: nobody was promised this one."""
    raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
