from __future__ import annotations

import errno
import os
import signal
import struct
import time

from support.guest_calls import Guest
from tinamou.user.calls.clocks import Itimerval, Sigevent, Timex, Timezone, Tms
from tinamou.user.calls.notify import Itimerspec
from tinamou.user.host import HOST
from tinamou.user.layout import i32, layout_of, long
from tinamou.user.structs import Timespec, Timeval


def test_clocks(g: Guest) -> None:
    now = g.struct(Timespec)
    assert g.clock_gettime(0, now) == 0
    assert abs(g.load(Timespec, now).tv_sec - time.time()) < 5
    assert g.clock_getres(1, now) == 0 and g.load(Timespec, now).tv_nsec > 0
    assert g.clock_gettime(99, now) == -errno.EINVAL
    assert g.clock_gettime(0, 8) == -errno.EFAULT
    if g.abi.bits == 32:
        wide = g.put(bytes(16))
        assert g.clock_gettime64(0, wide) == 0
        assert abs(g.load(Timespec, wide, wide=True).tv_sec - time.time()) < 5
        assert g.clock_getres_time64(0, wide) == 0
    both, zone = g.struct(Timeval), g.struct(Timezone)
    assert g.gettimeofday(both, zone) == 0 and abs(g.load(Timeval, both).tv_sec - time.time()) < 5
    assert g.gettimeofday(both, 0) == 0
    seconds = g.scalar(long, 0)
    assert g.time(seconds) == g.load(long, seconds)
    used = g.struct(Tms)
    assert g.times(used) > 0 and g.load(Tms, used).tms_utime >= 0
    assert g.show("clock_gettime", 1, 0) == "clock_gettime(CLOCK_MONOTONIC,NULL)"


def test_sleep(g: Guest) -> None:
    before = time.monotonic()
    assert g.nanosleep(g.struct(Timespec, tv_sec=0, tv_nsec=20_000_000), 0) == 0
    assert time.monotonic() - before >= 0.02
    assert g.nanosleep(g.struct(Timespec, tv_sec=0, tv_nsec=1_000_000_000), 0) == -errno.EINVAL
    assert g.clock_nanosleep(1, 1, g.struct(Timespec, tv_sec=0, tv_nsec=1), 0) == 0
    if g.abi.bits == 32:
        assert g.clock_nanosleep_time64(1, 0, g.struct(Timespec, wide=True, tv_sec=0, tv_nsec=1), 0) == 0


def test_interrupted_sleep_tells_what_is_left(g: Guest) -> None:
    def interrupted(name: str, *args: object) -> int:
        args[3].raw = layout_of(Timespec, HOST).dump(Timespec(tv_sec=3, tv_nsec=4))  # type: ignore[attr-defined]
        raise InterruptedError(errno.EINTR, "")

    g.thread.host = interrupted  # type: ignore[method-assign, assignment]
    left = g.struct(Timespec)
    assert g.nanosleep(g.struct(Timespec, tv_sec=9, tv_nsec=0), left) == -errno.EINTR
    assert (g.load(Timespec, left).tv_sec, g.load(Timespec, left).tv_nsec) == (3, 4)


def test_interval_timers(g: Guest) -> None:
    fired: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda *_: fired.append(1))
    try:
        event = g.put(layout_of(Sigevent, g.abi).dump(Sigevent(sigev_value=5, sigev_signo=g.abi.signals["USR1"])).ljust(64, b"\0"))
        timer = g.room(4)
        assert g.timer_create(1, event, timer) == 0
        which = g.load(i32, timer)
        new = g.struct(Itimerspec, it_value=Timespec(tv_sec=0, tv_nsec=1_000_000))
        assert g.timer_settime(which, 0, new, 0) == 0
        while not fired:
            time.sleep(0.001)
        new = g.struct(Itimerspec, it_value=Timespec(tv_sec=50))
        was = g.struct(Itimerspec)
        assert g.timer_settime(which, 0, new, was) == 0 and g.load(Itimerspec, was).it_value.tv_sec == 0
        assert g.timer_gettime(which, was) == 0 and g.load(Itimerspec, was).it_value.tv_sec in (49, 50)
        assert g.timer_getoverrun(which) == 0
        assert g.timer_delete(which) == 0
        assert g.timer_delete(which) == -errno.EINVAL
    finally:
        signal.signal(signal.SIGUSR1, old)
    new = g.struct(Itimerval, it_value=Timeval(tv_sec=1000), it_interval=Timeval())
    assert g.setitimer(1, new, 0) == 0
    now = g.struct(Itimerval)
    assert g.getitimer(1, now) == 0 and g.load(Itimerval, now).it_value.tv_sec in (999, 1000)
    assert g.setitimer(1, g.struct(Itimerval, it_value=Timeval(), it_interval=Timeval()), 0) == 0
    before = signal.getitimer(signal.ITIMER_REAL)
    try:
        assert abs(g.alarm(500) - before[0]) < 5
        assert g.alarm(0) in (499, 500)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_clock_discipline_is_read_only(g: Guest) -> None:
    buf = g.struct(Timex, modes=0)
    assert g.adjtimex(buf) >= 0
    assert abs(g.load(Timex, buf).time.tv_sec - time.time()) < 5 and g.load(Timex, buf).tick > 0
    assert g.adjtimex(g.struct(Timex, modes=1, offset=5)) == -errno.EPERM
    if g.abi.bits == 32:
        wide = g.struct(Timex, wide=True, modes=0)
        assert layout_of(Timex, g.abi, wide=True).size == 208
        assert g.clock_adjtime64(0, wide) >= 0
        assert abs(g.load(Timex, wide, wide=True).time.tv_sec - time.time()) < 5
    else:
        assert layout_of(Timex, g.abi).size == 208


def test_nanoseconds_of_32_bit_programs_have_padding(g: Guest) -> None:
    """The kernel does not look at the upper half; what it gives back is whole."""
    if g.abi.bits == 64:
        return
    order = ">" if g.abi.order == ">" else "<"
    for seconds, nanoseconds, padding in ((0, 1000, 0xDEAD_BEEF), (0, 0, 0xFFFF_FFFF)):
        words = (padding, nanoseconds) if order == ">" else (nanoseconds, padding)
        request = g.put(struct.pack(order + "qII", seconds, *words))
        assert g.load(Timespec, request, wide=True).tv_nsec == nanoseconds
        assert g.clock_nanosleep_time64(1, 0, request, 0) == 0
    fd = g.timerfd_create(1, 0)
    new = struct.pack(order + "qq", 0, 0) + struct.pack(order + "qII", 50, *((9, 7) if order == ">" else (7, 9)))
    assert g.timerfd_settime64(fd, 0, g.put(new), 0) == 0
    was = g.room(32)
    assert g.timerfd_gettime64(fd, was) == 0
    left = g.load(Itimerspec, was, wide=True).it_value
    assert left.tv_sec * 10**9 + left.tv_nsec > 49 * 10**9 and left.tv_nsec < 10**9
    os.close(fd)


def test_timers_end_at_exec(g: Guest) -> None:
    timer = g.room(4)
    assert g.timer_create(1, g.struct(Sigevent, sigev_notify=1), timer) == 0
    first = g.load(i32, timer)
    assert g.timer_create(1, g.struct(Sigevent, sigev_notify=1), timer) == 0
    assert g.timer_delete(first) == 0
    assert g.process.timers == {g.load(i32, timer)}
    g.process.drop_at_exec()
    assert g.timer_gettime(g.load(i32, timer), g.struct(Itimerspec)) == -errno.EINVAL
    assert not g.process.timers
