from __future__ import annotations

import errno
import fcntl
import os
import pty
import socket
import struct
import termios

from support.guest_calls import ABIS, Guest, Odd
from tinamou.user.calls.ioctls import (
    Ifconf,
    IfreqAddress,
    IfreqInt,
    IfreqShort,
    Termios,
    Termios2,
    Winsize,
    requests,
)
from tinamou.user.host import HOST
from tinamou.user.layout import i32, layout_of, u16, u32


def number(g: Guest, name: str) -> int:
    return next(n for n, request in requests(g.abi).items() if request.name == name)


def test_terminal(g: Guest) -> None:
    master, slave = pty.openpty()
    try:
        real = termios.tcgetattr(slave)
        into = g.struct(Termios)
        assert g.ioctl(slave, number(g, "TCGETS"), into) == 0
        found = g.load(Termios, into)
        assert [found.c_iflag, found.c_oflag, found.c_lflag] == [real[0], real[1], real[3]]
        assert found.c_cc[:3] == b"\x03\x1c\x7f"
        found.c_lflag &= ~termios.ECHO
        assert g.ioctl(slave, number(g, "TCSETSW"), g.struct(Termios, **vars(found))) == 0
        assert not termios.tcgetattr(slave)[3] & termios.ECHO
        into = g.struct(Termios2)
        assert g.ioctl(slave, number(g, "TCGETS2"), into) == 0
        assert g.load(Termios2, into).c_ospeed == 38400
        size = g.struct(Winsize, ws_row=40, ws_col=132)
        assert g.ioctl(master, number(g, "TIOCSWINSZ"), size) == 0
        assert os.get_terminal_size(slave) == (132, 40)
        size = g.struct(Winsize)
        assert g.ioctl(slave, number(g, "TIOCGWINSZ"), size) == 0
        assert (g.load(Winsize, size).ws_row, g.load(Winsize, size).ws_col) == (40, 132)
        name = g.room(4)
        assert g.ioctl(master, number(g, "TIOCGPTN"), name) == 0
        assert os.ttyname(slave) == f"/dev/pts/{g.load(u32, name)}"
        peer = g.ioctl(master, number(g, "TIOCGPTPEER"), g.flag("open", "O_RDWR", "O_NOCTTY"))
        assert os.ttyname(peer) == os.ttyname(slave)
        os.close(peer)
        assert g.ioctl(master, number(g, "TCFLSH"), 2) == 0
        assert g.ioctl(slave, number(g, "TIOCGPGRP"), name) == -errno.ENOTTY
        assert g.ioctl(slave, number(g, "TCGETS"), 8) == -errno.EFAULT
        assert not g.logged
    finally:
        os.close(master)
        os.close(slave)


def test_descriptors(g: Guest) -> None:
    r, w = os.pipe()
    os.write(w, b"12345")
    count = g.room(4)
    assert g.ioctl(r, number(g, "FIONREAD"), count) == 0 and g.load(i32, count) == 5
    assert g.ioctl(r, number(g, "FIONBIO"), g.scalar(i32, 1)) == 0 and not os.get_blocking(r)
    assert g.ioctl(r, number(g, "FIONCLEX"), 0) == 0 and os.get_inheritable(r)
    assert g.ioctl(r, number(g, "FIOCLEX"), 0) == 0 and not os.get_inheritable(r)
    assert g.ioctl(999, number(g, "FIONREAD"), count) == -errno.EBADF
    os.close(r)
    os.close(w)


def test_unknown(g: Guest) -> None:
    assert g.ioctl(0, 0xDEAD, 0) == -errno.ENOTTY
    assert g.logged == ["Unsupported ioctl: cmd=0xdead\n"]
    assert g.show("ioctl", 1, 0xDEAD, 5) == "ioctl(1,0xdead,5)"
    assert g.show("ioctl", 1, number(g, "TIOCGWINSZ"), 0x10000).startswith("ioctl(1,TIOCGWINSZ,0x0")


def test_interfaces(g: Guest) -> None:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fd, index = s.fileno(), socket.if_nametoindex("lo")
    request = g.struct(IfreqInt, name=b"lo")
    g.room(32)
    assert g.ioctl(fd, number(g, "SIOCGIFINDEX"), request) == 0
    assert g.load(IfreqInt, request).value == index
    request = g.put(layout_of(IfreqInt, g.abi).dump(IfreqInt(value=index)) + bytes(20))
    assert g.ioctl(fd, number(g, "SIOCGIFNAME"), request) == 0
    assert g.load(IfreqInt, request).name.rstrip(b"\0") == b"lo"
    request = g.put(layout_of(IfreqAddress, g.abi).dump(IfreqAddress(name=b"lo", family=2)) + bytes(8))
    assert g.ioctl(fd, number(g, "SIOCGIFADDR"), request) == 0
    found = g.load(IfreqAddress, request)
    assert (found.family, found.data[2:6]) == (2, bytes([127, 0, 0, 1]))
    request = g.put(layout_of(IfreqShort, g.abi).dump(IfreqShort(name=b"lo")) + bytes(22))
    assert g.ioctl(fd, number(g, "SIOCGIFFLAGS"), request) == 0
    assert g.load(IfreqShort, request).value & 9 == 9  # IFF_UP, IFF_LOOPBACK
    size = 40 if g.abi.bits == 64 else 32
    buf = g.room(size * 8)
    conf = g.struct(Ifconf, ifc_len=size * 8, ifc_buf=buf)
    assert g.ioctl(fd, number(g, "SIOCGIFCONF"), conf) == 0
    length = g.load(Ifconf, conf).ifc_len
    rows = {g.peek(at, 16).rstrip(b"\0"): at for at in range(buf, buf + length, size)}
    assert g.load(u16, rows[b"lo"] + 16) == 2
    s.close()


def test_numbers() -> None:
    """Numbers with a size in them, against those of this machine's headers."""
    little = {request.name: n for n, request in requests(ABIS["generic64"]).items()}
    assert little["TIOCGPTN"] == termios.TIOCGPTN if hasattr(termios, "TIOCGPTN") else 0x80045430
    assert little["FS_IOC_GETFLAGS"] == 0x80086601 and little["BLKGETSIZE64"] == 0x80081272
    assert little["FICLONE"] == fcntl.FICLONE if hasattr(fcntl, "FICLONE") else 0x40049409
    assert {request.name: n for n, request in requests(ABIS["generic32"]).items()}["FS_IOC_GETFLAGS"] == 0x80046601
    odd = {request.name: n for n, request in requests(Odd(">", 32)).items()}
    assert odd["TIOCGPTN"] == 0x40045430  # as on MIPS
    assert little["TCGETS"] == termios.TCGETS if hasattr(termios, "TCGETS") else 0x5401
    assert struct.calcsize("=36s") == layout_of(Termios, HOST).size
    for abi in ABIS.values():
        assert len(requests(abi)) > 150
