"""Time: clocks, sleeping, interval timers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Annotated, Any

from ..kinds import flag_set
from ..layout import Struct, i32, long, pointer, time_t, u32
from ..room import Room
from ..structs import Timespec, Timeval
from ..syscall import Clock, In, Int, Named, Out, Ptr, Result, UInt, syscall
from .notify import Itimerspec

if TYPE_CHECKING:
    from ..thread import Thread

TimerFlags = Annotated[int, flag_set("timer", TIMER_ABSTIME=1)]
Which = Annotated[int, Named("ITIMER_REAL ITIMER_VIRTUAL ITIMER_PROF")]
TIMER_ABSTIME = 1
SIGEV_SIGNAL, SIGEV_NONE, SIGEV_THREAD_ID = 0, 1, 4


class Timezone(Struct):
    tz_minuteswest: i32
    tz_dsttime: i32


class Itimerval(Struct):
    it_interval: Timeval
    it_value: Timeval


class Tms(Struct):
    tms_utime: long
    tms_stime: long
    tms_cutime: long
    tms_cstime: long


class Timex(Struct):
    """struct timex; what are longs there have 64 bits in the wide layout (struct __kernel_timex)."""

    modes: u32
    offset: time_t
    freq: time_t
    maxerror: time_t
    esterror: time_t
    status: i32
    constant: time_t
    precision: time_t
    tolerance: time_t
    time: Timeval
    tick: time_t
    ppsfreq: time_t
    jitter: time_t
    shift: i32
    stabil: time_t
    jitcnt: time_t
    calcnt: time_t
    errcnt: time_t
    stbcnt: time_t
    tai: i32
    unused: Annotated[tuple[int, ...], "11i"]


class Sigevent(Struct):
    """struct sigevent, 64 bytes in the kernel; what follows is not read."""

    sigev_value: pointer
    sigev_signo: i32
    sigev_notify: i32
    sigev_tid: i32


# ---- clocks


@syscall(wide="clock_gettime64")
def clock_gettime(clock: Clock, time: Out[Timespec]) -> Result: ...


@syscall(wide="clock_settime64")
def clock_settime(clock: Clock, time: In[Timespec]) -> Result: ...


@syscall(wide="clock_getres_time64")
def clock_getres(clock: Clock, resolution: Out[Timespec]) -> Result: ...


@syscall
def gettimeofday(t: Thread, time: Out[Timeval], zone: Out[Timezone]) -> None:
    now, where = Room(Timeval), Room(Timezone)
    t.host("gettimeofday", now.memory, where.memory)
    if time:
        time.store(now.value)
    if zone:
        zone.store(where.value)


@syscall
def settimeofday(time: In[Timeval], zone: In[Timezone]) -> Result: ...


@syscall
def time(t: Thread, result: Out[long]) -> int:
    now = Room(Timeval)
    t.host("gettimeofday", now.memory, 0)
    if result:
        result.store(now.value.tv_sec)
    return int(now.value.tv_sec)


@syscall
def stime(t: Thread, given: In[long]) -> int:
    return t.host("settimeofday", Room(Timeval, Timeval(tv_sec=given.load())).memory, 0)


@syscall
def times(t: Thread, buf: Out[Tms]) -> int:
    room = Room(Tms)
    ticks = t.host("times", room.memory)
    if buf:
        buf.store(room.value)
    return ticks & t.abi.mask


def read_timex(t: Thread, buf: Ptr[Timex], name: str, *clock: int) -> int:
    """Reading the state of a clock's discipline; setting the host's clock is not for guests."""
    value = buf.load()
    if value.modes and value.modes != 0xA001:  # ADJ_OFFSET_SS_READ
        raise OSError(errno.EPERM, "changing the host's clock")
    room = Room(Timex, value)
    result = t.host(name, *clock, room.memory)
    buf.store(room.value)
    return result


@syscall
def adjtimex(t: Thread, buf: Ptr[Timex]) -> int:
    return read_timex(t, buf, "adjtimex")


@syscall(wide="clock_adjtime64")
def clock_adjtime(t: Thread, clock: Clock, buf: Ptr[Timex]) -> int:
    return read_timex(t, buf, "clock_adjtime", clock)


# ---- sleeping


def sleep(t: Thread, clock: int, flags: int, request: Ptr[Timespec], left: Ptr[Timespec]) -> int:
    remaining = Room(Timespec)
    try:
        return t.host("clock_nanosleep", clock, flags, Room(Timespec, request.load()).memory, remaining.memory)
    except InterruptedError:
        if left and not flags & TIMER_ABSTIME:
            left.store(remaining.value)
        raise


@syscall(wide="clock_nanosleep_time64", restart="never")
def clock_nanosleep(t: Thread, clock: Clock, flags: TimerFlags, request: In[Timespec], left: Out[Timespec]) -> int:
    return sleep(t, clock, flags, request, left)


@syscall(restart="never")
def nanosleep(t: Thread, request: In[Timespec], left: Out[Timespec]) -> int:
    return sleep(t, 1, 0, request, left)


# ---- interval timers


@syscall
def getitimer(which: Which, value: Out[Itimerval]) -> Result: ...


@syscall
def setitimer(which: Which, new: In[Itimerval], old: Out[Itimerval]) -> Result: ...


@syscall
def alarm(t: Thread, seconds: UInt) -> int:
    old = Room(Itimerval)
    t.host("setitimer", 0, Room(Itimerval, Itimerval(it_value=Timeval(tv_sec=seconds))).memory, old.memory)
    left = old.value.it_value
    return int(left.tv_sec) + (left.tv_usec >= 500_000 or (left.tv_usec > 0 and not left.tv_sec))


def host_event(t: Thread, event: Ptr[Sigevent]) -> Any:
    """struct sigevent in host layout and numbering, or 0 for NULL."""
    if not event:
        return 0
    value = event.load()
    if value.sigev_notify in (SIGEV_SIGNAL, SIGEV_THREAD_ID):
        value.sigev_signo = t.process.host_number(value.sigev_signo)
    return Room(Sigevent, value, count=3).memory


@syscall
def timer_create(t: Thread, clock: Clock, event: In[Sigevent], timer: Out[i32]) -> None:
    made = Room(i32)
    t.host("timer_create", clock, host_event(t, event), made.memory)
    t.process.timers.add(made.value)
    timer.store(made.value)


@syscall(wide="timer_settime64")
def timer_settime(timer: Int, flags: TimerFlags, new: In[Itimerspec], old: Out[Itimerspec]) -> Result: ...


@syscall(wide="timer_gettime64")
def timer_gettime(timer: Int, value: Out[Itimerspec]) -> Result: ...


@syscall
def timer_getoverrun(timer: Int) -> Result: ...


@syscall
def timer_delete(t: Thread, timer: Int) -> None:
    t.host("timer_delete", timer)
    t.process.timers.discard(timer)
