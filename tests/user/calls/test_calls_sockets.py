from __future__ import annotations

import array
import errno
import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.guest_calls import ABIS, Guest
from tinamou.user.calls.sockets import (
    CONTROL,
    Cmsghdr,
    Credentials,
    Linger,
    Mmsghdr,
    Msghdr,
    SockaddrIn6,
    SockaddrNl,
    SockFprog,
    convert_address,
    convert_control,
)
from tinamou.user.host import HOST
from tinamou.user.layout import i32, layout_of, u16, ulong
from tinamou.user.structs import Timespec, Timeval
from tinamou.user.syscall import Iovec

MSG_DONTWAIT = 0x40


def inet(g: Guest, port: int, host: str = "127.0.0.1") -> int:
    return g.put(layout_of(u16, g.abi).dump(2) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8))


def pair(g: Guest, kind: str = "SOCK_STREAM", family: int = 1) -> tuple[int, int]:
    fds = g.room(8)
    assert g.socketpair(family, g.flag("sock_type", kind) | g.flag("sock", "SOCK_CLOEXEC"), 0, fds) == 0
    return g.load(i32, fds), g.load(i32, fds + 4)


def close(g: Guest, *fds: int) -> None:
    for fd in fds:
        assert g.call("close", fd) == 0


def test_tcp(g: Guest) -> None:
    server = g.socket(2, g.flag("sock_type", "SOCK_STREAM"), 0)
    level, options = g.flag("sol", "SOL_SOCKET"), g.abi.flag_set("so")
    assert g.setsockopt(server, level, options["SO_REUSEADDR"], g.scalar(i32, 1), 4) == 0
    assert g.bind(server, inet(g, 0), 16) == 0
    assert g.listen(server, 5) == 0
    name, size = g.room(16), g.scalar(i32, 16)
    assert g.getsockname(server, name, size) == 0
    assert g.load(u16, name) == 2 and g.load(i32, size) == 16
    port = struct.unpack(">H", g.peek(name + 2, 2))[0]
    assert port
    client = g.socket(2, g.flag("sock_type", "SOCK_STREAM") | g.flag("sock", "SOCK_CLOEXEC"), 6)
    assert g.connect(client, inet(g, port), 16) == 0
    short = g.scalar(i32, 4)
    peer = g.room(16)
    made = g.accept4(server, peer, short, g.flag("sock", "SOCK_NONBLOCK"))
    assert made >= 0 and not os.get_blocking(made)
    assert g.load(i32, short) == 16 and g.peek(peer + 4, 4) == b"U" * 4  # cut to the room there was
    assert g.load(u16, peer) == 2
    assert g.sendto(client, g.put(b"hello"), 5, 0, 0, 0) == 5
    buf = g.room(16)
    assert g.recvfrom(made, buf, 16, 0, 0, 0) == 5 and g.peek(buf, 5) == b"hello"
    assert g.recvfrom(made, buf, 16, 0, 0, 0) == -errno.EAGAIN
    value, size = g.room(4), g.scalar(i32, 4)
    assert g.getsockopt(made, level, options["SO_TYPE"], value, size) == 0
    assert g.load(i32, value) == g.flag("sock_type", "SOCK_STREAM")
    assert g.getpeername(made, peer, g.scalar(i32, 16)) == 0 and g.peek(peer + 4, 4) == bytes([127, 0, 0, 1])
    assert g.shutdown(client, 1) == 0
    assert g.recvfrom(made, buf, 16, 0, 0, 0) == 0
    assert g.connect(client, inet(g, port), 16) == -g.abi.errno.get(errno.EISCONN, errno.EISCONN)
    close(g, server, client, made)


def test_options(g: Guest) -> None:
    level, options = g.flag("sol", "SOL_SOCKET"), g.abi.flag_set("so")
    a, b = pair(g)
    assert g.setsockopt(a, level, options["SO_RCVTIMEO"], g.struct(Timeval, tv_sec=3, tv_usec=500_000), g.size(Timeval)) == 0
    assert struct.unpack("@ll", socket.socket(fileno=os.dup(a)).getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)) == (3, 500_000)
    value, size = g.struct(Timeval), g.scalar(i32, g.size(Timeval))
    assert g.getsockopt(a, level, options["SO_RCVTIMEO"], value, size) == 0
    assert (g.load(Timeval, value).tv_sec, g.load(Timeval, value).tv_usec) == (3, 500_000)
    assert g.load(i32, size) == g.size(Timeval)
    assert g.setsockopt(a, level, options["SO_LINGER"], g.struct(Linger, l_onoff=1, l_linger=9), 8) == 0
    value, size = g.struct(Linger), g.scalar(i32, 8)
    assert g.getsockopt(a, level, options["SO_LINGER"], value, size) == 0
    assert g.load(Linger, value).l_linger == 9
    value, size = g.struct(Credentials), g.scalar(i32, 12)
    assert g.getsockopt(a, level, options["SO_PEERCRED"], value, size) == 0
    assert g.load(Credentials, value).pid == os.getpid()
    value, size = g.room(1), g.scalar(i32, -1)
    assert g.getsockopt(a, level, options["SO_PEERCRED"], value, size) == -errno.EINVAL
    assert g.setsockopt(a, level, options["SO_LINGER"], 8, 8) == -errno.EFAULT
    assert g.setsockopt(a, level, 9999, g.room(4), 4) == -errno.ENOPROTOOPT
    program = struct.pack(g.abi.order + "HBBI", 0x06, 0, 0, 2)  # return 2: cut to 2 bytes
    filter_ = g.struct(SockFprog, len=1, filter=g.put(program))
    x, y = pair(g, "SOCK_DGRAM")
    assert g.setsockopt(y, level, options["SO_ATTACH_FILTER"], filter_, g.size(SockFprog)) == 0
    os.write(x, b"hello")
    assert os.read(y, 10) == b"he"
    close(g, a, b, x, y)


def control(g: Guest, *messages: tuple[int, int, bytes]) -> bytes:
    head, word, out = layout_of(Cmsghdr, g.abi), g.abi.bits // 8, b""
    for level, kind, body in messages:
        out = out.ljust(-(-len(out) // word) * word, b"\0")
        out += head.dump(Cmsghdr(cmsg_len=head.size + len(body), cmsg_level=level, cmsg_type=kind)) + body
    return out


def message(g: Guest, data: int, size: int, control_at: int = 0, control_size: int = 0, name: int = 0, name_size: int = 0) -> int:
    vector = g.struct(Iovec, iov_base=data, iov_len=size)
    return g.struct(Msghdr, msg_name=name, msg_namelen=name_size, msg_iov=vector, msg_iovlen=1, msg_control=control_at,
                    msg_controllen=control_size)  # fmt: skip


def test_descriptors_travel(g: Guest) -> None:
    a, b = pair(g)
    r, w = os.pipe()
    rights = control(g, (1, 1, layout_of(i32, g.abi).dump(w)))
    assert g.sendmsg(a, message(g, g.put(b"take"), 4, g.put(rights), len(rights)), 0) == 4
    buf, room = g.room(16), g.room(64)
    head = message(g, buf, 16, room, 64)
    assert g.recvmsg(b, head, 0x40000000) == 4  # MSG_CMSG_CLOEXEC
    got = g.load(Msghdr, head)
    assert g.peek(buf, 4) == b"take"
    assert got.msg_controllen >= len(rights) and got.msg_flags & ~0x40000000 == 0
    found = g.load(Cmsghdr, room)
    assert (found.cmsg_len, found.cmsg_level, found.cmsg_type) == (g.size(Cmsghdr) + 4, 1, 1)
    new = g.load(i32, room + g.size(Cmsghdr))
    os.write(new, b"x")
    assert os.read(r, 1) == b"x" and not os.get_inheritable(new)
    bad = g.put(layout_of(Cmsghdr, g.abi).dump(Cmsghdr(cmsg_len=3, cmsg_level=1, cmsg_type=1)))
    assert g.sendmsg(a, message(g, g.put(b"x"), 1, bad, g.size(Cmsghdr)), 0) == -errno.EINVAL
    for fd in (r, w, new):
        os.close(fd)
    close(g, a, b)


def test_descriptors_without_room_are_closed(g: Guest) -> None:
    a, b = pair(g)
    ends = [*os.pipe(), *os.pipe()]
    body = b"".join(layout_of(i32, g.abi).dump(fd) for fd in ends)
    rights = control(g, (1, 1, body))
    assert g.sendmsg(a, message(g, g.put(b"x"), 1, g.put(rights), len(rights)), 0) == 1
    before = len(os.listdir("/proc/self/fd"))
    room = g.room(64)
    head = message(g, g.room(4), 4, room, g.size(Cmsghdr) + 8)
    assert g.recvmsg(b, head, 0) == 1
    found, got = g.load(Msghdr, head), g.load(Cmsghdr, room)
    assert found.msg_flags & 8 and got.cmsg_len == g.size(Cmsghdr) + 8 == found.msg_controllen  # MSG_CTRUNC
    assert len(os.listdir("/proc/self/fd")) == before + 2
    new = [g.load(i32, room + g.size(Cmsghdr) + 4 * i) for i in range(2)]
    os.write(new[1], b"y")
    assert os.read(ends[0], 1) == b"y"
    for fd in [*ends, *new]:
        os.close(fd)
    close(g, a, b)


def test_credentials_and_timestamps(g: Guest) -> None:
    level, options = g.flag("sol", "SOL_SOCKET"), g.abi.flag_set("so")
    a, b = pair(g, "SOCK_DGRAM")
    assert g.setsockopt(b, level, options["SO_PASSCRED"], g.scalar(i32, 1), 4) == 0
    assert g.setsockopt(b, level, options["SO_TIMESTAMPNS"], g.scalar(i32, 1), 4) == 0
    os.write(a, b"x")
    room = g.room(128)
    head = message(g, g.room(4), 4, room, 128)
    assert g.recvmsg(b, head, 0) == 1
    end, at, seen = room + g.load(Msghdr, head).msg_controllen, room, {}
    while at + g.size(Cmsghdr) <= end:
        one = g.load(Cmsghdr, at)
        seen[one.cmsg_type] = g.peek(at + g.size(Cmsghdr), one.cmsg_len - g.size(Cmsghdr))
        at += -(-one.cmsg_len // (g.abi.bits // 8)) * (g.abi.bits // 8)
    assert layout_of(Credentials, g.abi).load(seen[2]).pid == os.getpid()
    assert layout_of(Timespec, g.abi).load(seen[35]).tv_sec > 10**9
    close(g, a, b)


def test_datagrams_in_bulk(g: Guest) -> None:
    a, b = pair(g, "SOCK_DGRAM")
    size = g.size(Mmsghdr)

    def many(*pieces: int) -> int:
        out = b""
        for at in pieces:
            vector = g.struct(Iovec, iov_base=at, iov_len=4)
            out += layout_of(Mmsghdr, g.abi).dump(Mmsghdr(msg_hdr=Msghdr(msg_iov=vector, msg_iovlen=1)))
        return g.put(out)

    sent = many(g.put(b"aaaa"), g.put(b"bbbb"), g.put(b"cccc"))
    assert g.sendmmsg(a, sent, 3, 0) == 3
    assert [g.load(Mmsghdr, sent + i * size).msg_len for i in range(3)] == [4, 4, 4]
    into = [g.room(4) for _ in range(5)]
    got = many(*into)
    until = g.struct(Timespec, tv_sec=1, tv_nsec=0)
    assert g.recvmmsg(b, got, 5, MSG_DONTWAIT, until) == 3
    assert [g.peek(at, 4) for at in into[:3]] == [b"aaaa", b"bbbb", b"cccc"]
    assert g.recvmmsg(b, got, 5, MSG_DONTWAIT, 0) == -errno.EAGAIN
    close(g, a, b)


def test_udp_names(g: Guest) -> None:
    a = g.socket(2, g.flag("sock_type", "SOCK_DGRAM"), 0)
    b = g.socket(2, g.flag("sock_type", "SOCK_DGRAM"), 0)
    assert g.bind(a, inet(g, 0), 16) == 0
    name = g.room(16)
    g.getsockname(a, name, g.scalar(i32, 16))
    port = struct.unpack(">H", g.peek(name + 2, 2))[0]
    assert g.sendmsg(b, message(g, g.put(b"hi"), 2, name=inet(g, port), name_size=16), 0) == 2
    source = g.room(28)
    head = message(g, g.room(8), 8, name=source, name_size=28)
    assert g.recvmsg(a, head, 0) == 2
    assert g.load(Msghdr, head).msg_namelen == 16
    assert g.load(u16, source) == 2 and g.peek(source + 4, 4) == bytes([127, 0, 0, 1])
    assert g.sendto(b, g.put(b"yo"), 2, 0, inet(g, port), 16) == 2
    size = g.scalar(i32, 28)
    assert g.recvfrom(a, g.room(8), 8, 0, source, size) == 2 and g.load(i32, size) == 16
    assert g.sendto(b, g.put(b"yo"), 2, 0, inet(g, port), 4000) == -errno.EINVAL
    close(g, a, b)


def test_sockets_in_one_call(g: Guest) -> None:
    def many(number: int, *words: int) -> int:
        return int(g.socketcall(number, g.scalar(ulong, *words)))

    fds = g.room(8)
    assert many(8, 1, g.flag("sock_type", "SOCK_STREAM"), 0, fds) == 0
    a, b = g.load(i32, fds), g.load(i32, fds + 4)
    assert many(9, a, g.put(b"hello"), 5, 0) == 5
    buf = g.room(8)
    assert many(10, b, buf, 8, 0) == 5 and g.peek(buf, 5) == b"hello"
    assert many(13, a, 1) == 0 and many(10, b, buf, 8, 0) == 0
    assert many(4, 999, 1) == -errno.EBADF and many(77) == -errno.EINVAL and g.socketcall(1, 8) == -errno.EFAULT
    close(g, a, b)


def test_unix_names(g: Guest, tmp_path: Path) -> None:
    path = str(tmp_path / "socket").encode()
    where = g.put(layout_of(u16, g.abi).dump(1) + path + b"\0")
    server = g.socket(1, g.flag("sock_type", "SOCK_STREAM"), 0)
    assert g.bind(server, where, len(path) + 3) == 0 and os.path.exists(path)
    assert g.listen(server, 1) == 0
    client = g.socket(1, g.flag("sock_type", "SOCK_STREAM"), 0)
    assert g.connect(client, where, len(path) + 3) == 0
    assert path.decode() in g.show("connect", client, where, len(path) + 3)
    close(g, server, client)


def test_error_numbers(g: Guest) -> None:
    r, w = os.pipe()
    assert g.listen(r, 1) == -g.abi.errno.get(errno.ENOTSOCK, errno.ENOTSOCK)
    os.close(r)
    os.close(w)


@pytest.mark.parametrize("name", ABIS)
def test_addresses(name: str) -> None:
    abi = ABIS[name]
    six = layout_of(SockaddrIn6, abi).dump(SockaddrIn6(sin6_family=10, sin6_port=b"\x12\x34", sin6_scope_id=5))
    there = convert_address(six, abi, HOST)
    assert there[2:4] == b"\x12\x34" and layout_of(SockaddrIn6, HOST).load(there).sin6_scope_id == 5
    assert convert_address(there, HOST, abi) == six
    netlink = layout_of(SockaddrNl, abi).dump(SockaddrNl(nl_family=16, nl_pid=77, nl_groups=1))
    assert layout_of(SockaddrNl, HOST).load(convert_address(netlink, abi, HOST)).nl_pid == 77
    assert layout_of(Msghdr, abi).size == (56 if abi.bits == 64 else 28)
    assert layout_of(Mmsghdr, abi).size == (64 if abi.bits == 64 else 32)


@given(
    st.sampled_from(list(ABIS)),
    st.lists(st.tuples(st.sampled_from([*CONTROL, (77, 99)]), st.binary(max_size=40)), max_size=4),
    st.binary(max_size=30),
)
def test_control_messages_survive(name: str, messages: list[tuple[tuple[int, int], bytes]], junk: bytes) -> None:
    """Any buffer converts or is refused with EINVAL; integers arrive as they were."""
    abi = ABIS[name]
    head, word, out = layout_of(Cmsghdr, abi), abi.bits // 8, b""
    for (level, kind), body in messages:
        out = out.ljust(-(-len(out) // word) * word, b"\0")
        out += head.dump(Cmsghdr(cmsg_len=head.size + len(body), cmsg_level=level, cmsg_type=kind)) + body
    there = convert_control(out, abi, HOST)
    mine = layout_of(Cmsghdr, HOST)
    if messages:
        first = mine.load(there[: mine.size])
        assert (first.cmsg_level, first.cmsg_type) == messages[0][0]
    try:
        convert_control(out + junk, abi, HOST)
    except OSError as error:
        assert error.errno == errno.EINVAL


def test_ints_in_control_messages() -> None:
    abi = ABIS["generic32be"]
    head = layout_of(Cmsghdr, abi)
    data = head.dump(Cmsghdr(cmsg_len=head.size + 8, cmsg_level=1, cmsg_type=1)) + struct.pack(">2i", 7, -1)
    there = convert_control(data, abi, HOST)
    assert array.array("i", there[layout_of(Cmsghdr, HOST).size :]).tolist() == [7, -1]


def test_netlink_of_another_byte_order() -> None:
    for name, wanted in (("generic32", True), ("generic32be", False)):
        g = Guest(ABIS[name])
        fd = g.socket(16, 3, 16)  # NETLINK_GENERIC
        assert fd >= 0 if wanted else fd == -errno.EPFNOSUPPORT
        if wanted:
            close(g, fd)
        g.release()
