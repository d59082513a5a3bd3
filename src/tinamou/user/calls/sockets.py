"""Sockets of all families: addresses and control messages are converted where the guest's byte order or word size differs."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING, Annotated, Any

from ..errors import GuestFault
from ..host import HOST
from ..kinds import call_named, flag_set, numbers_of, renumber
from ..layout import Struct, i32, layout_of, pointer, u8, u16, u32, u64, ulong
from ..room import Room
from ..streams import NETLINK_KOBJECT_UEVENT, NETLINK_ROUTE
from ..structs import Timespec, Timeval
from ..syscall import MAX_COUNT, Buf, Fd, In, Int, Iovec, Kind, Named, Ptr, Result, Size, UInt, address_text, gather, syscall

if TYPE_CHECKING:
    from ..abi import Abi
    from ..thread import Thread

FAMILIES = (
    "PF_UNSPEC PF_UNIX PF_INET PF_AX25 PF_IPX PF_APPLETALK PF_NETROM PF_BRIDGE PF_ATMPVC PF_X25 PF_INET6 PF_ROSE PF_DECnet PF_NETBEUI "
    "PF_SECURITY PF_KEY PF_NETLINK PF_PACKET PF_ASH PF_ECONET PF_ATMSVC PF_RDS PF_SNA PF_IRDA PF_PPPOX PF_WANPIPE PF_LLC PF_IB PF_MPLS "
    "PF_CAN PF_TIPC PF_BLUETOOTH PF_IUCV PF_RXRPC PF_ISDN PF_PHONET PF_IEEE802154 PF_CAIF PF_ALG PF_NFC PF_VSOCK PF_KCM PF_QIPCRTR PF_SMC "
    "PF_XDP"
)
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK = 1, 2, 10, 16, 17, 40
ADDRESS_MAX = 128  # struct sockaddr_storage
CONTROL_MAX = 1 << 16
SOL_SOCKET, SOL_IP, SOL_TCP, SOL_IPV6 = 1, 0, 6, 41
SCM_RIGHTS = 1
MSG_ERRQUEUE, MSG_CTRUNC = 0x2000, 8

TYPES = numbers_of("sock_type", SOCK_STREAM=1, SOCK_DGRAM=2, SOCK_RAW=3, SOCK_RDM=4, SOCK_SEQPACKET=5, SOCK_DCCP=6, SOCK_PACKET=10)
TYPE_MASK = 0xF
flag_set("sock", SOCK_NONBLOCK=0o4000, SOCK_CLOEXEC=0o2000000)
MsgFlags = Annotated[int, flag_set(
    "msg", MSG_OOB=1, MSG_PEEK=2, MSG_DONTROUTE=4, MSG_CTRUNC=8, MSG_TRUNC=0x20, MSG_DONTWAIT=0x40, MSG_EOR=0x80, MSG_WAITALL=0x100,
    MSG_CONFIRM=0x800, MSG_ERRQUEUE=0x2000, MSG_NOSIGNAL=0x4000, MSG_MORE=0x8000, MSG_WAITFORONE=0x10000, MSG_ZEROCOPY=0x4000000,
    MSG_FASTOPEN=0x20000000, MSG_CMSG_CLOEXEC=0x40000000)]  # fmt: skip
Family = Annotated[int, Named(FAMILIES)]
Protocol = Annotated[int, Named({0: "IPPROTO_IP", 1: "IPPROTO_ICMP", 6: "IPPROTO_TCP", 17: "IPPROTO_UDP", 58: "IPPROTO_ICMPV6",
                                 255: "IPPROTO_RAW"})]  # fmt: skip
How = Annotated[int, Named("SHUT_RD SHUT_WR SHUT_RDWR")]


# ---------------------------------------------------------------------------------------------------------------- types


def type_bits(abi: Abi) -> dict[str, int]:
    """SOCK_NONBLOCK and SOCK_CLOEXEC."""
    return abi.flag_set("sock")


class _Type(Kind):
    """The type of a socket and its two flags; a Python function gets the host's number."""

    def value(self, t: Thread, raw: int) -> int:
        mine, theirs = type_bits(t.abi), type_bits(HOST)
        flags = sum(theirs[name] for name, bit in mine.items() if raw & bit)
        rest = raw & 0xFFFF_FFFF & ~sum(mine.values())
        return renumber(TYPES, rest, t.abi) | flags

    def show(self, t: Thread, raw: int) -> str:
        names = [name for name, n in t.abi.flag_set(TYPES).items() if n == raw & TYPE_MASK] or [str(raw & TYPE_MASK)]
        return "|".join(names + [name for name, bit in type_bits(t.abi).items() if raw & bit])


Type = Annotated[int, _Type()]


@syscall
def socket(t: Thread, family: Family, kind: Type, protocol: Protocol) -> int:
    if family == AF_NETLINK and protocol not in (NETLINK_ROUTE, NETLINK_KOBJECT_UEVENT) and t.abi.order != HOST.order:
        raise OSError(errno.EPFNOSUPPORT, "messages of this protocol are not converted")
    return t.host("socket", family, kind, protocol)


@syscall
def socketpair(t: Thread, family: Family, kind: Type, protocol: Int, fds: Ptr[i32]) -> None:
    pair = Room(i32, count=2)
    t.host("socketpair", family, kind, protocol, pair.memory)
    fds[0], fds[1] = pair[0], pair[1]


# ---------------------------------------------------------------------------------------------------------------- addresses


class Sockaddr(Struct):
    sa_family: u16


class SockaddrIn6(Struct):
    sin6_family: u16
    sin6_port: Annotated[bytes, "2s"]
    sin6_flowinfo: Annotated[bytes, "4s"]
    sin6_addr: Annotated[bytes, "16s"]
    sin6_scope_id: u32


class SockaddrNl(Struct):
    nl_family: u16
    nl_pad: u16
    nl_pid: u32
    nl_groups: u32


class SockaddrLl(Struct):
    sll_family: u16
    sll_protocol: Annotated[bytes, "2s"]
    sll_ifindex: i32
    sll_hatype: u16


class SockaddrVm(Struct):
    svm_family: u16
    svm_reserved: u16
    svm_port: u32
    svm_cid: u32


# The part of an address that is in the machine's byte order; what follows is bytes, or in network order.
ADDRESSES: dict[int, type[Struct]] = {AF_INET6: SockaddrIn6, AF_NETLINK: SockaddrNl, AF_PACKET: SockaddrLl, AF_VSOCK: SockaddrVm}


def convert_address(data: bytes, source: Abi, target: Abi) -> bytes:
    """A sockaddr as the other ABI lays it out."""
    if source.order == target.order or len(data) < 2:
        return data
    family = layout_of(u16, source).load(data[:2])
    kind = ADDRESSES.get(family, Sockaddr)
    mine, theirs = layout_of(kind, source), layout_of(kind, target)
    if len(data) < mine.size:
        mine, theirs = layout_of(Sockaddr, source), layout_of(Sockaddr, target)
    return theirs.dump(mine.load(data[: mine.size])) + data[mine.size :]


def address_in(t: Thread, addr: Buf, size: int) -> bytes:
    """A socket address of the guest for the host.  Raises OSError EINVAL for a bad size, GuestFault."""
    if not 0 <= size <= ADDRESS_MAX:
        raise OSError(errno.EINVAL, "address length")
    return convert_address(addr.read(size), t.abi, HOST)


class AddressRoom:
    """Where the host puts an address for the guest."""

    def __init__(self, t: Thread, addr: Buf, length: Ptr[int]) -> None:
        self.t, self.addr, self.length = t, addr, length
        self.given = length.load() if addr else 0
        if self.given < 0:
            raise OSError(errno.EINVAL, "address length")
        self.room: Any = ctypes.create_string_buffer(ADDRESS_MAX) if addr else 0
        self.size: Any = ctypes.c_uint32(ADDRESS_MAX) if addr else 0

    def give(self) -> None:
        """Store what the host put there: as much as the guest left room for, and the whole length."""
        if self.addr:
            data = convert_address(self.room.raw[: self.size.value], HOST, self.t.abi)
            self.addr.write(data[: self.given])
            self.length.store(self.size.value)


def address_show(t: Thread, raw: int) -> str:
    """A socket address as strace prints it."""
    try:
        data = convert_address(t.memory.read(raw, 16), t.abi, HOST)
        family = layout_of(u16, HOST).load(data[:2])
        if family == AF_UNIX and data[2:3] != b"\0":
            name = t.memory.read_string(raw + 2, 108)
            return f'{{sun_family=AF_UNIX,sun_path="{(name or b"?").decode(errors="backslashreplace")}"}}'
    except GuestFault:
        return address_text(t, raw)
    if family == AF_UNIX:
        return '{sun_family=AF_UNIX,sun_path="@..."}'
    if family == AF_INET:
        host = ".".join(str(b) for b in data[4:8])
        return f'{{sin_family=AF_INET,sin_port=htons({int.from_bytes(data[2:4], "big")}),sin_addr=inet_addr("{host}")}}'
    return f"{{sa_family={family},{data[2:].hex()}}}"


class _AddressIn(Kind):
    def value(self, t: Thread, raw: int) -> Buf:
        return Buf(t.memory, raw)

    def show(self, t: Thread, raw: int) -> str:
        return address_show(t, raw) if raw else "NULL"


AddressIn = Annotated[Buf, _AddressIn()]


@syscall
def bind(t: Thread, fd: Fd, addr: AddressIn, size: Int) -> int:
    return t.host("bind", fd, given := address_in(t, addr, size), len(given))


@syscall
def connect(t: Thread, fd: Fd, addr: AddressIn, size: Int) -> int:
    return t.host("connect", fd, given := address_in(t, addr, size), len(given))


@syscall
def listen(fd: Fd, backlog: Int) -> Result: ...


@syscall
def accept4(t: Thread, fd: Fd, addr: Buf, size: Ptr[i32], flags: Type) -> int:
    peer = AddressRoom(t, addr, size)
    result = t.host("accept4", fd, peer.room, peer.size, flags)
    peer.give()
    return result


@syscall
def accept(t: Thread, fd: Fd, addr: Buf, size: Ptr[i32]) -> int:
    return accept4(t, fd, addr, size, 0)


@syscall
def getsockname(t: Thread, fd: Fd, addr: Buf, size: Ptr[i32]) -> None:
    size.load()
    own = AddressRoom(t, addr, size)
    t.host("getsockname", fd, own.room, own.size)
    own.give()


@syscall
def getpeername(t: Thread, fd: Fd, addr: Buf, size: Ptr[i32]) -> None:
    size.load()
    peer = AddressRoom(t, addr, size)
    t.host("getpeername", fd, peer.room, peer.size)
    peer.give()


@syscall
def shutdown(fd: Fd, how: How) -> Result: ...


# ---------------------------------------------------------------------------------------------------------------- data


@syscall
def sendto(t: Thread, fd: Fd, buf: Buf, length: Size, flags: MsgFlags, addr: AddressIn, size: Int) -> int:
    to: Any = address_in(t, addr, size) if addr else b""
    return t.host("sendto", fd, buf.host(length), length, flags, to or 0, len(to))


@syscall
def recvfrom(t: Thread, fd: Fd, buf: Buf, length: Size, flags: MsgFlags, addr: Buf, size: Ptr[i32]) -> int:
    peer = AddressRoom(t, addr, size)
    result = t.host("recvfrom", fd, buf.host(length), length, flags, peer.room, peer.size)
    peer.give()
    return result


@syscall
def send(t: Thread, fd: Fd, buf: Buf, length: Size, flags: MsgFlags) -> int:
    return t.host("sendto", fd, buf.host(length), length, flags, 0, 0)


@syscall
def recv(t: Thread, fd: Fd, buf: Buf, length: Size, flags: MsgFlags) -> int:
    return t.host("recvfrom", fd, buf.host(length), length, flags, 0, 0)


# ---------------------------------------------------------------------------------------------------------------- control messages


class Cmsghdr(Struct):
    cmsg_len: ulong
    cmsg_level: i32
    cmsg_type: i32


class Credentials(Struct):
    pid: i32
    uid: u32
    gid: u32


class In6Pktinfo(Struct):
    ipi6_addr: Annotated[bytes, "16s"]
    ipi6_ifindex: u32


class InPktinfo(Struct):
    ipi_ifindex: i32
    ipi_spec_dst: Annotated[bytes, "4s"]
    ipi_addr: Annotated[bytes, "4s"]


class ExtendedError(Struct):
    """struct sock_extended_err; the offender's address follows."""

    ee_errno: u32
    ee_origin: u8
    ee_type: u8
    ee_code: u8
    ee_pad: u8
    ee_info: u32
    ee_data: u32


class ThreeTimespecs(Struct):
    software: Timespec
    transformed: Timespec
    hardware: Timespec


class WideTimespec(Struct):
    tv_sec: Annotated[int, "q"]
    tv_nsec: Annotated[int, "q"]


class WideThreeTimespecs(Struct):
    software: WideTimespec
    transformed: WideTimespec
    hardware: WideTimespec


# What the data of a control message is, by (level, type): a Struct, or "ints".
CONTROL: dict[tuple[int, int], Any] = {
    (SOL_SOCKET, SCM_RIGHTS): "ints",
    (SOL_SOCKET, 2): Credentials,  # SCM_CREDENTIALS
    (SOL_SOCKET, 29): Timeval,  # SO_TIMESTAMP_OLD
    (SOL_SOCKET, 35): Timespec,  # SO_TIMESTAMPNS_OLD
    (SOL_SOCKET, 37): ThreeTimespecs,  # SO_TIMESTAMPING_OLD
    (SOL_SOCKET, 63): WideTimespec,  # SO_TIMESTAMP_NEW
    (SOL_SOCKET, 64): WideTimespec,  # SO_TIMESTAMPNS_NEW
    (SOL_SOCKET, 65): WideThreeTimespecs,  # SO_TIMESTAMPING_NEW
    (SOL_SOCKET, 4): "ints",  # SCM_PIDFD
    (SOL_SOCKET, 40): "ints",  # SO_RXQ_OVFL
    (SOL_SOCKET, 61): u64,  # SCM_TXTIME
    (SOL_IP, 1): "bytes",  # IP_TOS, one byte
    (SOL_IP, 2): "ints",  # IP_TTL
    (SOL_IP, 8): InPktinfo,  # IP_PKTINFO
    (SOL_IP, 11): ExtendedError,  # IP_RECVERR
    (17, 103): u16,  # UDP_SEGMENT
    (17, 104): "ints",  # UDP_GRO
    (SOL_IPV6, 25): ExtendedError,  # IPV6_RECVERR
    (SOL_IPV6, 50): In6Pktinfo,  # IPV6_PKTINFO
    (SOL_IPV6, 52): "ints",  # IPV6_HOPLIMIT
    (SOL_IPV6, 67): "ints",  # IPV6_TCLASS
}


def same_words(abi: Abi) -> bool:
    """Whether control messages and msghdr have the host's layout."""
    return abi.order == HOST.order and abi.bits == HOST.bits


def convert_control(data: bytes, source: Abi, target: Abi, log: Any = None) -> bytes:
    """A buffer of control messages as the other ABI lays them out.  Raises OSError EINVAL for a bad length."""
    mine, theirs = layout_of(Cmsghdr, source), layout_of(Cmsghdr, target)
    out, at = b"", 0
    while at + mine.size <= len(data):
        head = mine.load(data[at : at + mine.size])
        if not mine.size <= head.cmsg_len <= len(data) - at:
            raise OSError(errno.EINVAL, "cmsg_len")
        body = data[at + mine.size : at + head.cmsg_len]
        kind = CONTROL.get((head.cmsg_level, head.cmsg_type))
        if kind == "ints":
            body = b"".join(
                layout_of(i32, target).dump(layout_of(i32, source).load(body[i : i + 4])) for i in range(0, len(body) & ~3, 4)
            )
        elif kind is None:
            if log and source.order != target.order:
                log(f"Unsupported ancillary data: {head.cmsg_level}/{head.cmsg_type}")
        elif kind != "bytes":
            a, b = layout_of(kind, source), layout_of(kind, target)
            if len(body) >= a.size:
                rest = body[a.size :]
                body = b.dump(a.load(body[: a.size])) + (convert_address(rest, source, target) if kind is ExtendedError else rest)
        made = theirs.dump(Cmsghdr(cmsg_len=theirs.size + len(body), cmsg_level=head.cmsg_level, cmsg_type=head.cmsg_type)) + body
        word = target.bits // 8
        out = out.ljust(-(-len(out) // word) * word, b"\0") + made
        step = source.bits // 8
        at += -(-head.cmsg_len // step) * step
    return out.ljust(-(-len(out) // (target.bits // 8)) * (target.bits // 8), b"\0")


def cut_control(t: Thread, data: bytes, room: int) -> bytes:
    """As much of the guest's control messages as fits: the last one is cut, descriptors that the guest does not get are closed."""
    head, number, step, at = layout_of(Cmsghdr, t.abi), layout_of(i32, t.abi), t.abi.bits // 8, 0
    out = data[:room]
    while at + head.size <= len(data):
        one = head.load(data[at : at + head.size])
        end = at + one.cmsg_len
        if end > room:
            left = max(room - at - head.size, 0) // 4 * 4
            if (one.cmsg_level, one.cmsg_type) == (SOL_SOCKET, SCM_RIGHTS):
                for place in range(at + head.size + left, end, 4):
                    t.host("close", number.load(data[place : place + 4]))
            if at + head.size <= room:
                one.cmsg_len = head.size + left
                out = data[:at] + head.dump(one) + data[at + head.size : at + head.size + left]
            else:
                out = out[:at]
        at += -(-(end - at) // step) * step
    return out


# ---------------------------------------------------------------------------------------------------------------- messages


class Msghdr(Struct):
    msg_name: pointer
    msg_namelen: i32
    msg_iov: pointer
    msg_iovlen: ulong
    msg_control: pointer
    msg_controllen: ulong
    msg_flags: u32


class Mmsghdr(Struct):
    msg_hdr: Msghdr
    msg_len: u32


class Message:
    """A guest's msghdr and its image for the host."""

    def __init__(self, t: Thread, head: Msghdr, sending: bool) -> None:
        self.t, self.head = t, head
        self.keep: list[Any] = []
        made = Msghdr(msg_iovlen=head.msg_iovlen, msg_flags=head.msg_flags)
        if head.msg_iovlen > MAX_COUNT:
            raise OSError(errno.EMSGSIZE, "msg_iovlen")
        vector: Ptr[Iovec] = Ptr(t.memory, head.msg_iov, layout_of(Iovec, t.abi))
        pieces = gather(t, vector, head.msg_iovlen)
        words = [w for at, size in pieces for w in (t.memory.host(at, size) if size else 0, size)]
        made.msg_iov = self.place((ctypes.c_uint64 * max(len(words), 1))(*words))
        self.name = self.control = None
        if head.msg_name and head.msg_namelen < 0:
            raise OSError(errno.EINVAL, "msg_namelen")
        if head.msg_name and (head.msg_namelen or not sending):
            size = min(head.msg_namelen, ADDRESS_MAX)
            data = address_in(t, Buf(t.memory, head.msg_name), size) if sending else b""
            self.name = ctypes.create_string_buffer(data, ADDRESS_MAX)
            made.msg_name, made.msg_namelen = self.place(self.name), size if sending else ADDRESS_MAX
        if head.msg_control and head.msg_controllen:
            size = min(head.msg_controllen, CONTROL_MAX)
            if sending:
                data = t.memory.read(head.msg_control, size)
                if not same_words(t.abi):
                    data = convert_control(data, t.abi, HOST, lambda text: t.process.log("unimp", text))
                self.control = ctypes.create_string_buffer(data, max(len(data), 1))
                made.msg_controllen = len(data)
            else:  # a 64-bit host needs more room for the same messages
                made.msg_controllen = size if same_words(t.abi) else size * 2 + 16
                self.control = ctypes.create_string_buffer(made.msg_controllen)
            made.msg_control = self.place(self.control)
        self.made = made

    def place(self, memory: Any) -> int:
        self.keep.append(memory)
        return ctypes.addressof(memory)

    def received(self, got: Msghdr) -> Msghdr:
        """Give the guest the address and the control messages: its msghdr as it is to be now."""
        t, head = self.t, self.head
        if self.name is not None:
            data = convert_address(self.name.raw[: got.msg_namelen], HOST, t.abi)
            t.memory.write(head.msg_name, data[: head.msg_namelen])
            head.msg_namelen = got.msg_namelen
        head.msg_flags = got.msg_flags
        length = 0
        if self.control is not None:
            data = self.control.raw[: got.msg_controllen]
            if not same_words(t.abi):
                data = convert_control(data, HOST, t.abi, lambda text: t.process.log("unimp", text))
            if len(data) > head.msg_controllen:
                data = cut_control(t, data, head.msg_controllen)
                head.msg_flags |= MSG_CTRUNC
            t.memory.write(head.msg_control, data)
            length = len(data)
        head.msg_controllen = length
        return head


@syscall
def sendmsg(t: Thread, fd: Fd, message: In[Msghdr], flags: MsgFlags) -> int:
    made = Message(t, message.load(), sending=True)
    return t.host("sendmsg", fd, Room(Msghdr, made.made).memory, flags)


@syscall
def recvmsg(t: Thread, fd: Fd, message: Ptr[Msghdr], flags: MsgFlags) -> int:
    made = Message(t, message.load(), sending=False)
    room = Room(Msghdr, made.made)
    result = t.host("recvmsg", fd, room.memory, flags)
    message.store(made.received(room.value))
    return result


@syscall
def sendmmsg(t: Thread, fd: Fd, messages: Ptr[Mmsghdr], count: UInt, flags: MsgFlags) -> int:
    given = messages[: min(count, MAX_COUNT)]
    made = [Message(t, m.msg_hdr, sending=True) for m in given]
    room = Room(Mmsghdr, *[Mmsghdr(msg_hdr=m.made) for m in made])
    result = t.host("sendmmsg", fd, room.memory, len(made), flags)
    for i in range(result):
        given[i].msg_len = room[i].msg_len
        messages[i] = given[i]
    return result


@syscall(wide="recvmmsg_time64")
def recvmmsg(t: Thread, fd: Fd, messages: Ptr[Mmsghdr], count: UInt, flags: MsgFlags, timeout: Ptr[Timespec]) -> int:
    given = messages[: min(count, MAX_COUNT)]
    made = [Message(t, m.msg_hdr, sending=False) for m in given]
    room = Room(Mmsghdr, *[Mmsghdr(msg_hdr=m.made) for m in made])
    until = Room(Timespec, timeout.load()) if timeout else None
    result = t.host("recvmmsg", fd, room.memory, len(made), flags, until.memory if until else 0)
    for i in range(result):
        given[i].msg_hdr, given[i].msg_len = made[i].received(room[i].msg_hdr), room[i].msg_len
        messages[i] = given[i]
    if until:
        timeout.store(until.value)
    return result


# ---------------------------------------------------------------------------------------------------------------- options


class Linger(Struct):
    l_onoff: i32
    l_linger: i32


class WideTimeval(Struct):
    tv_sec: Annotated[int, "q"]
    tv_usec: Annotated[int, "q"]


class SockFprog(Struct):
    len: u16
    filter: pointer


class Ipv6Mreq(Struct):
    ipv6mr_multiaddr: Annotated[bytes, "16s"]
    ipv6mr_interface: i32


class IpMreqn(Struct):
    imr_multiaddr: Annotated[bytes, "4s"]
    imr_address: Annotated[bytes, "4s"]
    imr_ifindex: i32


class PacketMreq(Struct):
    mr_ifindex: i32
    mr_type: u16
    mr_alen: u16
    mr_address: Annotated[bytes, "8s"]


OPTIONS = numbers_of(
    "so", SO_DEBUG=1, SO_REUSEADDR=2, SO_TYPE=3, SO_ERROR=4, SO_DONTROUTE=5, SO_BROADCAST=6, SO_SNDBUF=7, SO_RCVBUF=8, SO_KEEPALIVE=9,
    SO_OOBINLINE=10, SO_NO_CHECK=11, SO_PRIORITY=12, SO_LINGER=13, SO_BSDCOMPAT=14, SO_REUSEPORT=15, SO_PASSCRED=16, SO_PEERCRED=17,
    SO_RCVLOWAT=18, SO_SNDLOWAT=19, SO_RCVTIMEO=20, SO_SNDTIMEO=21, SO_BINDTODEVICE=25, SO_ATTACH_FILTER=26, SO_DETACH_FILTER=27,
    SO_PEERNAME=28, SO_TIMESTAMP=29, SO_ACCEPTCONN=30, SO_PEERSEC=31, SO_SNDBUFFORCE=32, SO_RCVBUFFORCE=33, SO_PASSSEC=34,
    SO_TIMESTAMPNS=35, SO_MARK=36, SO_TIMESTAMPING=37, SO_PROTOCOL=38, SO_DOMAIN=39, SO_RXQ_OVFL=40, SO_PEEK_OFF=42,
    SO_LOCK_FILTER=44, SO_BUSY_POLL=46, SO_MAX_PACING_RATE=47, SO_INCOMING_CPU=49, SO_COOKIE=57, SO_PEERGROUPS=59, SO_ZEROCOPY=60,
    SO_TIMESTAMP_NEW=63, SO_TIMESTAMPNS_NEW=64, SO_TIMESTAMPING_NEW=65, SO_RCVTIMEO_NEW=66, SO_SNDTIMEO_NEW=67,
)  # fmt: skip
LEVEL = numbers_of("sol", SOL_SOCKET=1)

# Options whose value is no array of 32-bit integers: (level, host's number).
VALUES: dict[tuple[int, int], Any] = {
    (SOL_SOCKET, 13): Linger, (SOL_SOCKET, 17): Credentials, (SOL_SOCKET, 20): Timeval, (SOL_SOCKET, 21): Timeval,
    (SOL_SOCKET, 66): WideTimeval, (SOL_SOCKET, 67): WideTimeval, (SOL_SOCKET, 57): u64, (SOL_SOCKET, 25): bytes, (SOL_SOCKET, 31): bytes,
    (SOL_IP, 4): bytes, (SOL_IP, 35): IpMreqn, (SOL_IP, 36): IpMreqn, (SOL_IP, 32): IpMreqn,
    (SOL_IPV6, 20): Ipv6Mreq, (SOL_IPV6, 21): Ipv6Mreq, (SOL_IPV6, 50): In6Pktinfo,
    (SOL_TCP, 13): bytes, (SOL_TCP, 14): bytes, (SOL_TCP, 31): bytes,
    (263, 1): PacketMreq, (263, 2): PacketMreq,
}  # fmt: skip
SO_ATTACH_FILTER, SO_ERROR, SO_PEERNAME, SO_TYPE, SO_ATTACH_REUSEPORT_CBPF = 26, 4, 28, 3, 51
OPTION_MAX = 1 << 16


def host_option(abi: Abi, level: int, option: int) -> tuple[int, int]:
    """Level and option as the host numbers them."""
    if level != abi.flag_set(LEVEL)["SOL_SOCKET"]:
        return level, option
    return SOL_SOCKET, renumber(OPTIONS, option, abi)


def convert_option(where: tuple[int, int], data: bytes, source: Abi, target: Abi) -> bytes:
    """The value of an option as the other ABI lays it out."""
    kind = VALUES.get(where)
    if where == (SOL_SOCKET, SO_PEERNAME):
        return convert_address(data, source, target)
    if kind is bytes or (source.order == target.order and (kind is None or source.bits == target.bits)):
        return data
    if kind is not None:
        mine, theirs = layout_of(kind, source), layout_of(kind, target)
        if len(data) >= mine.size:
            return theirs.dump(mine.load(data[: mine.size]))
    if where[0] == SOL_IP and where[1] in (32, 35, 36, 39, 40) and len(data) < 12:
        return data  # addresses, in network order
    whole = len(data) & ~3
    return struct.pack(f"{target.order}{whole // 4}I", *struct.unpack(f"{source.order}{whole // 4}I", data[:whole])) + data[whole:]


class _Level(Kind):
    def show(self, t: Thread, raw: int) -> str:
        names = {t.abi.flag_set(LEVEL)["SOL_SOCKET"]: "SOL_SOCKET", 0: "SOL_IP", 6: "SOL_TCP", 17: "SOL_UDP", 41: "SOL_IPV6"}
        return names.get(raw, str(raw))


Level = Annotated[int, _Level()]


@syscall
def setsockopt(t: Thread, fd: Fd, level: Level, option: Int, value: Buf, length: Int) -> int:
    if not 0 <= length <= OPTION_MAX:
        raise OSError(errno.EINVAL, "option length")
    where = host_option(t.abi, level, option)
    if where[0] == SOL_SOCKET and where[1] in (SO_ATTACH_FILTER, SO_ATTACH_REUSEPORT_CBPF):
        return attach_filter(t, fd, where[1], value)
    data = convert_option(where, value.read(length) if value else b"", t.abi, HOST)
    return t.host("setsockopt", fd, *where, data if value else 0, len(data))


def attach_filter(t: Thread, fd: int, option: int, value: Buf) -> int:
    """A classic BPF program: u16 code, u8 jt, u8 jf, u32 k per instruction."""
    program: SockFprog = Ptr[Any](t.memory, value.addr, layout_of(SockFprog, t.abi)).load()
    code = t.memory.read(program.filter, program.len * 8)
    rows = struct.iter_unpack(t.abi.order + "HBBI", code)
    memory = ctypes.create_string_buffer(b"".join(struct.pack(HOST.order + "HBBI", *row) for row in rows), max(len(code), 1))
    return t.host("setsockopt", fd, SOL_SOCKET, option, Room(SockFprog, SockFprog(len=program.len, filter=ctypes.addressof(memory))).memory,
                  layout_of(SockFprog, HOST).size)  # fmt: skip


@syscall
def getsockopt(t: Thread, fd: Fd, level: Level, option: Int, value: Buf, length: Ptr[i32]) -> None:
    where = host_option(t.abi, level, option)
    room_for = length.load()
    if room_for < 0:
        raise OSError(errno.EINVAL, "option length")
    kind = VALUES.get(where)
    size = min(room_for, OPTION_MAX)
    if isinstance(kind, type) and issubclass(kind, Struct):
        size = max(size, layout_of(kind, HOST).size)  # the guest's may be smaller
    room = ctypes.create_string_buffer(max(size, 1))
    got = ctypes.c_uint32(size)
    t.host("getsockopt", fd, *where, room, got)
    data = convert_option(where, room.raw[: got.value], HOST, t.abi)
    if where == (SOL_SOCKET, SO_ERROR) and len(data) == 4:
        number = layout_of(i32, t.abi).load(data)
        data = layout_of(i32, t.abi).dump(t.abi.errno.get(number, number))
    if where == (SOL_SOCKET, SO_TYPE) and len(data) == 4:
        number = layout_of(i32, t.abi).load(data)
        data = layout_of(i32, t.abi).dump(renumber(TYPES, number, HOST, t.abi))
    data = data[:room_for]
    value.write(data)
    length.store(len(data))


# ---------------------------------------------------------------------------------------------------------------- one call for all of them


SOCKETCALLS = (
    ("socket", 3), ("bind", 3), ("connect", 3), ("listen", 2), ("accept", 3), ("getsockname", 3), ("getpeername", 3), ("socketpair", 4),
    ("send", 4), ("recv", 4), ("sendto", 6), ("recvfrom", 6), ("shutdown", 2), ("setsockopt", 5), ("getsockopt", 5), ("sendmsg", 3),
    ("recvmsg", 3), ("accept4", 4), ("recvmmsg", 5), ("sendmmsg", 4),
)  # fmt: skip


@syscall
def socketcall(t: Thread, which: Int, arguments: In[ulong]) -> int:
    """The socket calls of older architectures: linux/net.h."""
    if not 1 <= which <= len(SOCKETCALLS):
        raise OSError(errno.EINVAL, "socketcall")
    name, count = SOCKETCALLS[which - 1]
    return call_named(t, name, *arguments[:count])
