"""Descriptors whose data are numbers, for guests of both byte orders."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.guest_calls import Guest
from tinamou.user import streams
from tinamou.user.calls.notify import Itimerspec
from tinamou.user.calls.sockets import Msghdr
from tinamou.user.layout import sigset
from tinamou.user.syscall import Iovec

CWD = -100


def words(g: Guest, code: str, at: int) -> tuple[int, ...]:
    return struct.unpack(g.abi.order + code, g.peek(at, struct.calcsize("=" + code)))


def test_eventfd(g: Guest) -> None:
    fd = g.eventfd2(5, g.flag("open", "O_NONBLOCK"))
    room = g.room(8)
    assert g.read(fd, room, 8) == 8 and words(g, "Q", room) == (5,)
    assert g.read(fd, room, 8) == -errno.EAGAIN
    seven = g.put(struct.pack(g.abi.order + "Q", 7))
    assert g.write(fd, seven, 8) == 8
    assert words(g, "Q", seven) == (7,)  # the guest's own copy is as it was
    assert os.eventfd_read(fd) == 7
    assert g.writev(fd, g.struct(Iovec, iov_base=seven, iov_len=8), 1) == 8
    copy = g.dup(fd)
    assert g.readv(copy, g.struct(Iovec, iov_base=room, iov_len=8), 1) == 8 and words(g, "Q", room) == (7,)
    assert g.write(fd, seven, 4) == -errno.EINVAL
    assert g.write(fd, 8, 8) == -errno.EFAULT
    os.close(fd)
    os.close(copy)


def test_timerfd(g: Guest) -> None:
    fd = g.timerfd_create(1, 0)
    new = g.struct(Itimerspec)
    g.memory.write(new, bytes(g.size(Itimerspec)))
    half = g.size(Itimerspec) // 2
    g.memory.write(new + half + half // 2, struct.pack(g.abi.order + ("q" if g.abi.bits == 64 else "i"), 1_000_000))
    assert g.timerfd_settime(fd, 0, new, 0) == 0
    room = g.room(8)
    assert g.read(fd, room, 8) == 8 and words(g, "Q", room) == (1,)
    os.close(fd)


def test_signalfd(g: Guest) -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        number = g.abi.signals["USR1"]
        fd = g.signalfd4(-1, g.scalar(sigset, 1 << number - 1), 8, 0)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        room = g.room(128)
        assert g.read(fd, room, 128) == 128
        _, _, code, pid, uid = words(g, "IiiII", room)
        assert (code, pid, uid) == (-6, os.getpid(), os.getuid())
        os.close(fd)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


def test_inotify(g: Guest, tmp_path: Path) -> None:
    fd = g.inotify_init1(0)
    watch = g.inotify_add_watch(fd, g.text(str(tmp_path)), g.flag("inotify", "IN_CREATE", "IN_DELETE"))
    (tmp_path / "first").touch()
    (tmp_path / "first").unlink()
    (tmp_path / "another, longer name").touch()
    room = g.room(4096)
    size = g.read(fd, room, 4096)
    data, found, at = g.peek(room, size), [], 0
    while at < size:
        wd, mask, _, length = struct.unpack_from(g.abi.order + "iIII", data, at)
        assert wd == watch
        found.append((mask, data[at + 16 : at + 16 + length].rstrip(b"\0").decode()))
        at += 16 + length
    assert found == [(0x100, "first"), (0x200, "first"), (0x100, "another, longer name")]
    os.close(fd)


def test_netlink(g: Guest) -> None:
    """What getifaddrs asks: the loopback device is there under its name, with its index and its address."""
    order = g.abi.order
    fd = g.socket(16, g.flag("sock_type", "SOCK_RAW"), 0)
    assert fd >= 0
    room = g.room(1 << 16)
    links, addresses = {}, {}
    for kind, sequence in ((18, 1), (22, 2)):
        request = g.put(struct.pack(order + "IHHIIB3x", 20, kind, 0x301, sequence, 0, 0))
        assert g.sendto(fd, request, 20, 0, 0, 0) == 20
        done = False
        while not done:
            iov = g.struct(Iovec, iov_base=room, iov_len=1 << 16)
            message = g.struct(Msghdr, msg_iov=iov, msg_iovlen=1)
            size = g.recvmsg(fd, message, 0)
            data, at = g.peek(room, size), 0
            while at < size:
                length, type, _, seq, _ = struct.unpack_from(order + "IHHII", data, at)
                assert seq == sequence and 16 <= length <= size - at
                if type == 3:
                    done = True
                    assert struct.unpack_from(order + "i", data, at + 16)[0] == 0
                code = "BBHiII" if kind == 18 else "BBBBI"
                head = struct.calcsize("=" + code)
                if type in (16, 20):
                    fields = struct.unpack_from(order + code, data, at + 16)
                    inner, found = at + 16 + head, {}
                    while inner < at + length:
                        size_of, number = struct.unpack_from(order + "HH", data, inner)
                        assert size_of >= 4
                        found[number] = data[inner + 4 : inner + size_of]
                        inner += (size_of + 3) & ~3
                    if kind == 18:
                        links[found[3].rstrip(b"\0").decode()] = fields[3], struct.unpack(order + "I", found[4])[0]
                    elif fields[0] == socket.AF_INET:
                        addresses[found[3].rstrip(b"\0").decode()] = socket.inet_ntoa(found[2])
                at += (length + 3) & ~3
    assert {name: index for name, (index, _) in links.items()} == {name: index for index, name in socket.if_nameindex()}
    assert links["lo"][1] == int(Path("/sys/class/net/lo/mtu").read_text())
    assert addresses["lo"] == "127.0.0.1"
    os.close(fd)


def test_netlink_of_other_kinds(g: Guest) -> None:
    """Events of devices are texts, the same for all; other protocols are not for guests of the other byte order."""
    kind = g.flag("sock_type", "SOCK_RAW")
    fd = g.socket(16, kind, 15)
    assert fd >= 0 and streams.codec_of(fd) is None
    os.close(fd)
    fd = g.socket(16, kind, 16)
    assert fd == -errno.EPFNOSUPPORT if streams.converted(g.abi) else fd >= 0
    if fd >= 0:
        os.close(fd)


def test_ordinary_files_are_bytes(g: Guest, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345678")
    fd = g.openat(CWD, g.text(str(tmp_path / "x")), 0, 0)
    room = g.room(8)
    assert g.read(fd, room, 8) == 8 and g.peek(room, 8) == b"12345678"
    os.close(fd)


@pytest.mark.parametrize("codec", [streams.counter, streams.signals, streams.inotify, streams.messages(True), streams.messages(False)])
@given(data=st.binary(max_size=300))
def test_any_bytes(codec: streams.Codec, data: bytes) -> None:
    """Whatever stands there: as many bytes come out, and conversion back gives them again when they were well formed."""
    assert len(codec(data, "<", ">")) == len(data)
