"""Descriptors whose data are numbers: what a guest of the other byte order reads from them and writes to them is converted.

eventfd(2), timerfd_create(2), signalfd(2), inotify(7), netlink(7), rtnetlink(7).  Which kind a descriptor is the kernel tells
(/proc/self/fd), so duplicates and inherited ones need no bookkeeping.  Of rtnetlink's attributes those below are converted; what is not
listed (names, hardware and network addresses) is bytes.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .host import HOST
from .layout import layout_of

if TYPE_CHECKING:
    from .abi import Abi
    from .syscall import Call
    from .thread import Thread

__all__ = ["CALLS", "converted", "converting"]

SO_PROTOCOL, SO_DOMAIN = 38, 39
NETLINK_ROUTE, NETLINK_KOBJECT_UEVENT = 0, 15  # protocols that are understood; the messages of the latter are texts without a header
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER = "IHHII"  # struct nlmsghdr: length, type, flags, sequence, port
# struct signalfd_siginfo, 128 bytes: ssi_signo first
SIGNAL = "IiiIIiIIIIiiQQQQHHiQI28x"
# rtnetlink: type of message // 4 -> its structure, and its attributes: number -> structure (a repeated word: "24I")
LINK = {4: "I", 5: "I", 7: "24I", 10: "I", 13: "I", 15: "I", 21: "I", 23: "24Q", 27: "I", 30: "I", 31: "I", 32: "I", 35: "I", 37: "I",
        40: "I", 41: "I", 47: "I", 48: "I", 50: "I", 51: "I", 58: "I", 59: "I", 60: "I", 61: "I", 63: "I", 64: "I"}  # fmt: skip
ADDRESS = {6: "4I", 8: "I", 9: "I"}
ROUTE = {3: "I", 4: "I", 6: "I", 12: "8I", 15: "I", 16: "I"}
NEIGHBOUR = {3: "4I", 4: "I", 6: "I", 8: "I", 9: "I"}
ROUTING: dict[int, tuple[str, dict[int, str]]] = {
    4: ("BBHiII", LINK),  # RTM_NEWLINK, DELLINK, GETLINK, SETLINK: struct ifinfomsg
    5: ("BBBBI", ADDRESS),  # RTM_NEWADDR ...: struct ifaddrmsg
    6: ("BBBBBBBBI", ROUTE),  # RTM_NEWROUTE ...: struct rtmsg
    7: ("BBHiHBB", NEIGHBOUR),  # RTM_NEWNEIGH ...: struct ndmsg
}
Codec = Callable[[bytes, str, str], bytes]  # data, the order they are in, the order they are to have


def repack(code: str, data: bytes, old: str, new: str) -> bytes:
    """A structure at the beginning of `data` in another order; shorter data as they are."""
    size = struct.calcsize("=" + code)
    if len(data) < size:
        return data
    return struct.pack(new + code, *struct.unpack_from(old + code, data)) + data[size:]


def counter(data: bytes, old: str, new: str) -> bytes:
    return repack("Q", data, old, new)


def signals(data: bytes, old: str, new: str) -> bytes:
    return b"".join(repack(SIGNAL, data[at : at + 128], old, new) for at in range(0, len(data), 128))


def inotify(data: bytes, old: str, new: str) -> bytes:
    out, at = b"", 0
    while at + 16 <= len(data):
        length = 16 + struct.unpack_from(old + "I", data, at + 12)[0]
        out += repack("iIII", data[at : at + length], old, new)
        at += length
    return out + data[at:]


def messages(route: bool) -> Codec:
    """Netlink messages, one behind the other."""

    def convert(data: bytes, old: str, new: str) -> bytes:
        out, at = b"", 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from(old + "IH", data, at)
            end = min(at + max(length, 16), len(data))
            following = min(-(-end // 4) * 4, len(data))
            out += repack(HEADER, data[at : at + 16], old, new) + body(kind, data[at + 16 : end], old, new) + data[end:following]
            at = following
        return out + data[at:]

    def body(kind: int, data: bytes, old: str, new: str) -> bytes:
        if kind == NLMSG_ERROR:
            return repack("i", data[:4], old, new) + convert(data[4:], old, new)
        if kind == NLMSG_DONE:
            return repack("i", data, old, new)
        found = ROUTING.get(kind // 4) if route and kind >= 16 else None
        if found is None:
            return data
        code, known = found
        size = struct.calcsize("=" + code)
        return repack(code, data[:size], old, new) + attributes(data[size:], known, old, new)

    return convert


def attributes(data: bytes, known: dict[int, str], old: str, new: str) -> bytes:
    """struct rtattr, each with its padding."""
    out, at = b"", 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from(old + "HH", data, at)
        end = min(at + max(length, 4), len(data))
        following = min(-(-end // 4) * 4, len(data))
        value = data[at + 4 : end]
        code = known.get(kind & 0x3FFF)
        out += repack("HH", data[at : at + 4], old, new) + (repack(code, value, old, new) if code else value) + data[end:following]
        at = following
    return out + data[at:]


KINDS: dict[str, Codec] = {
    "anon_inode:[eventfd]": counter,
    "anon_inode:[timerfd]": counter,
    "anon_inode:[signalfd]": signals,
    "anon_inode:inotify": inotify,
}


def codec_of(fd: int) -> Codec | None:
    """What converts the data of that descriptor; None for bytes."""
    try:
        name = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None
    if name.startswith("socket:"):
        import socket  # (which takes 5 ms)

        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                if copy.getsockopt(socket.SOL_SOCKET, SO_DOMAIN) != socket.AF_NETLINK:
                    return None
                protocol = copy.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL)
                return None if protocol == NETLINK_KOBJECT_UEVENT else messages(protocol == NETLINK_ROUTE)
        except OSError:
            return None
    return KINDS.get(name)


# ---- calls


READS = {"read": "buf", "readv": "iov", "recv": "buf", "recvfrom": "buf", "recvmsg": "msg"}
WRITES = {"write": "buf", "writev": "iov", "send": "buf", "sendto": "buf", "sendmsg": "msg"}
CALLS = frozenset(READS | WRITES)


def converted(abi: Abi) -> bool:
    """Whether an ABI's data differ from the host's."""
    return abi.order != HOST.order


def pieces(t: Thread, form: str, registers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Guest address and length of what a call reads or writes.  Raises GuestFault, OSError."""
    from .syscall import Iovec, Ptr, gather

    if form == "buf":
        return [(registers[1], registers[2])]
    vector, count = registers[1], registers[2]
    if form == "msg":
        from .calls.sockets import Msghdr

        message = Ptr[Any](t.memory, registers[1], layout_of(Msghdr, t.abi)).load()
        vector, count = message.msg_iov, message.msg_iovlen
    return gather(t, Ptr[Iovec](t.memory, vector, layout_of(Iovec, t.abi)), count & 0xFFFF_FFFF)


def scatter(t: Thread, places: list[tuple[int, int]], data: bytes) -> None:
    for address, size in places:
        t.memory.write(address, data[:size])
        data = data[size:]
        if not data:
            break


def converting(call: Call, run: Callable[[Any, tuple[int, ...]], int]) -> Callable[[Any, tuple[int, ...]], int]:
    """The call with its data converted when the descriptor's are numbers."""
    reads, form = call.name in READS, READS.get(call.name) or WRITES[call.name]
    mine, hosts = call.abi.order, "<" if sys.byteorder == "little" else ">"

    def perform(t: Thread, registers: tuple[int, ...]) -> int:
        codec = codec_of(registers[0] & 0x7FFF_FFFF)
        if codec is None:
            return run(t, registers)
        places = pieces(t, form, registers)
        if reads:
            result = run(t, registers)
            if result > 0:
                data = b"".join(t.memory.read(address, size) for address, size in places)[:result]  # fewer than MSG_TRUNC tells
                scatter(t, places, codec(data, hosts, mine))
            return result
        given = b"".join(t.memory.read(address, size) for address, size in places)
        scatter(t, places, codec(given, mine, hosts))  # the host reads it from there
        try:
            return run(t, registers)
        finally:
            scatter(t, places, given)

    return perform
