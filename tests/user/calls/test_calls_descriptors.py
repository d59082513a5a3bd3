from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path

from support.guest_calls import Guest
from tinamou.user.calls.notify import Itimerspec
from tinamou.user.calls.polling import EpollEvent, MaskAndSize, Pollfd, Timespec64
from tinamou.user.layout import i32, layout_of, sigset
from tinamou.user.structs import Timespec, Timeval

IN, OUT, HUP = 1, 4, 16


def pipe(g: Guest) -> tuple[int, int]:
    fds = g.room(8)
    assert g.pipe2(fds, 0) == 0
    return g.load(i32, fds), g.load(i32, fds + 4)


def close(g: Guest, *fds: int) -> None:
    for fd in fds:
        assert g.call("close", fd) == 0


def test_poll(g: Guest) -> None:
    r, w = pipe(g)
    fds = g.put(b"".join(layout_of(Pollfd, g.abi).dump(Pollfd(fd=fd, events=e)) for fd, e in ((r, IN), (w, OUT), (-1, IN))))
    assert g.poll(fds, 3, 0) == 1
    assert [g.load(Pollfd, fds + 8 * i).revents for i in range(3)] == [0, OUT, 0]
    os.write(w, b"x")
    until = g.struct(Timespec, tv_sec=5, tv_nsec=0)
    assert g.ppoll(fds, 3, until, 0, 0) == 2
    assert g.load(Pollfd, fds).revents == IN
    assert g.load(Timespec, until).tv_sec in (4, 5)
    until = g.struct(Timespec, wide=True, tv_sec=0, tv_nsec=1000)
    if g.abi.bits == 32:
        assert g.ppoll_time64(fds, 1, until, 0, 0) == 1
    mask = g.scalar(sigset, 1 << 9)
    assert g.ppoll(fds, 1, 0, mask, 8) == 1
    assert g.ppoll(fds, 1, 0, mask, 4) == -errno.EINVAL
    assert g.poll(8, 3, 0) == -errno.EFAULT
    close(g, r, w)


def bits(g: Guest, *fds: int) -> bytes:
    """An fd_set of 1024 bits."""
    word = g.abi.bits
    words = [sum(1 << fd % word for fd in fds if fd // word == i) for i in range(1024 // word)]
    return struct.pack(f"{g.abi.order}{len(words)}{'Q' if word == 64 else 'I'}", *words)


def test_select(g: Guest) -> None:
    r, w = pipe(g)
    high = fcntl.fcntl(w, fcntl.F_DUPFD, 300)
    reading, writing = g.put(bits(g, r)), g.put(bits(g, w, high))
    until = g.struct(Timeval, tv_sec=0, tv_usec=1_500_000)
    assert g.select(high + 1, reading, writing, 0, until) == 2
    assert g.peek(reading, 128) == bits(g) and g.peek(writing, 128) == bits(g, w, high)
    os.write(w, b"x")
    reading = g.put(bits(g, r))
    packed = g.struct(MaskAndSize, mask=g.scalar(sigset, 0), size=8)
    until = g.struct(Timespec, tv_sec=1, tv_nsec=0)
    assert g.pselect6(r + 1, reading, 0, 0, until, packed) == 1
    assert g.peek(reading, 128) == bits(g, r)
    packed = g.struct(MaskAndSize, mask=0, size=0)
    assert g.pselect6(r + 1, reading, 0, 0, until, packed) == 1
    assert g.select(-1, 0, 0, 0, until) == -errno.EINVAL
    packed = g.struct(MaskAndSize, mask=g.scalar(sigset, 0), size=7)
    assert g.pselect6(r + 1, reading, 0, 0, 0, packed) == -errno.EINVAL
    os.close(high)
    close(g, r, w)


def test_sets_are_read_to_their_end(g: Guest) -> None:
    """Only as many longs as the count needs are touched: a set may end where the mapping does."""
    end = 0x100000 + (1 << 20)
    g.memory.write(end - g.abi.bits // 8, bits(g)[: g.abi.bits // 8])
    until = g.struct(Timeval, tv_sec=0, tv_usec=0)
    assert g.select(3, end - g.abi.bits // 8, 0, 0, until) == 0


def test_epoll(g: Guest) -> None:
    r, w = pipe(g)
    ep = g.epoll_create1(g.flag("open", "O_CLOEXEC"))
    assert ep >= 0 and not os.get_inheritable(ep)
    cookie = 0x0123456789ABCDEF
    assert g.epoll_ctl(ep, 1, r, g.struct(EpollEvent, events=IN, data=cookie)) == 0
    assert g.epoll_ctl(ep, 1, w, g.struct(EpollEvent, events=OUT, data=2)) == 0
    assert g.epoll_ctl(ep, 3, r, g.struct(EpollEvent, events=IN, data=cookie + 1)) == 0
    os.write(w, b"x")
    size = g.size(EpollEvent)
    assert size == 16
    buf = g.room(size * 3)
    assert g.epoll_pwait(ep, buf, 3, 0, 0, 8) == 2
    found = {g.load(EpollEvent, buf + size * i).data for i in range(2)}
    assert found == {cookie + 1, 2}
    assert g.peek(buf + 2 * size, size) == b"\x55" * size  # what was not reported stays
    assert g.epoll_wait(ep, buf, 1, 0) == 1
    until = g.struct(Timespec64, tv_sec=0, tv_nsec=1)
    assert g.epoll_pwait2(ep, buf, 3, until, 0, 8) == 2
    assert g.epoll_ctl(ep, 2, r, 0) == 0
    assert g.epoll_wait(ep, buf, 0, 0) == -errno.EINVAL
    close(g, r, w, ep)


def test_eventfd_and_timerfd(g: Guest) -> None:
    fd = g.eventfd2(3, 1)
    assert os.read(fd, 8) == struct.pack("=Q", 1)
    timer = g.timerfd_create(1, g.flag("open", "O_NONBLOCK", "O_CLOEXEC"))
    assert timer >= 0 and not os.get_blocking(timer)
    new = g.struct(Itimerspec, it_value=Timespec(tv_sec=100, tv_nsec=5), it_interval=Timespec(tv_sec=7))
    assert g.timerfd_settime(timer, 0, new, 0) == 0
    now = g.struct(Itimerspec)
    assert g.timerfd_gettime(timer, now) == 0
    found = g.load(Itimerspec, now)
    assert (found.it_value.tv_sec, found.it_interval.tv_sec) in ((100, 7), (99, 7))
    if g.abi.bits == 32:
        new = g.struct(Itimerspec, wide=True, it_value=Timespec(tv_sec=1 << 33))
        assert g.timerfd_settime64(timer, 0, new, 0) == 0
        now = g.struct(Itimerspec, wide=True, it_value=Timespec())
        assert g.timerfd_gettime64(timer, now) == 0
        assert g.load(Itimerspec, now, wide=True).it_value.tv_sec in ((1 << 33), (1 << 33) - 1)
    close(g, fd, timer)


def test_signalfd(g: Guest) -> None:
    signo = g.abi.signals["USR2"]
    old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        fd = g.signalfd4(-1, g.scalar(sigset, 1 << (signo - 1)), 8, g.flag("open", "O_NONBLOCK"))
        signal.raise_signal(signal.SIGUSR2)
        assert struct.unpack_from("=I", os.read(fd, 128))[0] == signal.SIGUSR2
        assert g.signalfd4(-1, 0, 8, 0) == -errno.EINVAL
        close(g, fd)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_inotify(g: Guest, tmp_path: Path) -> None:
    fd = g.inotify_init1(g.flag("open", "O_NONBLOCK"))
    watch = g.inotify_add_watch(fd, g.text(str(tmp_path)), 0x100)
    assert watch >= 1
    (tmp_path / "new").touch()
    got, mask, _, length = struct.unpack_from("=iIII", os.read(fd, 100))
    assert (got, mask, length) == (watch, 0x100, 16)
    assert g.inotify_rm_watch(fd, watch) == 0
    close(g, fd)
    assert g.show("inotify_add_watch", 3, g.text("/x"), 0x102) == 'inotify_add_watch(3,"/x",IN_MODIFY|IN_CREATE)'


def test_pidfd(g: Guest) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline()
    pid = child.pid
    fd = g.pidfd_open(pid, 0)
    assert fd >= 0
    r, w = pipe(g)
    assert g.pidfd_send_signal(fd, g.abi.signals["USR1"], 0, 0) == 0
    assert child.wait(30) == -signal.SIGUSR1
    assert select.select([fd], [], [], 0)[0] == [fd]
    close(g, fd, r, w)
    assert g.kcmp(os.getpid(), os.getpid(), 0, 0, 0) in (0, -errno.EPERM)


def test_waiting_mask_is_announced(g: Guest) -> None:
    """The thread knows the mask of the wait, so that a handler is entered with it."""
    r, w = pipe(g)
    seen: list[int | None] = []
    real = g.thread.host
    g.thread.host = lambda name, *args: (seen.append(g.thread.waiting_mask), real(name, *args))[1]  # type: ignore[method-assign]
    fds = g.struct(Pollfd, fd=r, events=IN)
    mask = g.scalar(sigset, 1 << (g.abi.signals["USR1"] - 1))
    assert g.ppoll(fds, 1, g.struct(Timespec, tv_sec=0, tv_nsec=1), mask, 8) == 0
    assert seen == [1 << (g.abi.signals["USR1"] - 1)]
    close(g, r, w)
