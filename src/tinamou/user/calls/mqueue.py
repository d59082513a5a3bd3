"""POSIX message queues: mq_overview(7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from ..kinds import Text
from ..layout import Struct, long, u32
from ..room import Room
from ..structs import Timespec
from ..syscall import Buf, Fd, In, Mode, OpenFlags, Out, Result, Size, UInt, syscall
from .clocks import Sigevent, host_event

if TYPE_CHECKING:
    from ..thread import Thread


SIGEV_THREAD = 2
COOKIE = 32  # NOTIFY_COOKIE_LEN


class MqAttr(Struct):
    mq_flags: long
    mq_maxmsg: long
    mq_msgsize: long
    mq_curmsgs: long
    reserved: Annotated[tuple[int, ...], "4long"]


@syscall
def mq_open(name: Text, flags: OpenFlags, mode: Mode, attr: In[MqAttr]) -> Result: ...


@syscall
def mq_unlink(name: Text) -> Result: ...


@syscall
def mq_getsetattr(mqd: Fd, new: In[MqAttr], old: Out[MqAttr]) -> Result: ...


@syscall(wide="mq_timedsend_time64")
def mq_timedsend(mqd: Fd, message: Buf, size: Size, priority: UInt, timeout: In[Timespec]) -> Result: ...


@syscall(wide="mq_timedreceive_time64")
def mq_timedreceive(mqd: Fd, message: Buf, size: Size, priority: Out[u32], timeout: In[Timespec]) -> Result: ...


@syscall
def mq_notify(t: Thread, mqd: Fd, event: In[Sigevent]) -> int:
    if event and (value := event.load()).sigev_notify == SIGEV_THREAD:  # the kernel copies what the value points to
        value.sigev_value = t.memory.host(value.sigev_value, COOKIE)
        return t.host("mq_notify", mqd, Room(Sigevent, value, count=3).memory)
    return t.host("mq_notify", mqd, host_event(t, event))


