"""ioctl: a table of requests with the layout of what their argument points to."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ..host import HOST
from ..layout import Struct, i16, i32, i64, layout_of, long, pointer, u8, u16, u32, u64, ulong
from ..room import Room
from ..structs import Timespec, Timeval
from ..syscall import Bits, Fd, Kind, Ptr, address_text, syscall
from .sockets import WideTimespec, WideTimeval, convert_address

if TYPE_CHECKING:
    from ..abi import Abi
    from ..thread import Thread

SLACK = 64  # bytes behind a structure for requests of which only the front is declared

# ---------------------------------------------------------------------------------------------------------------- the table's notation


R, W, RW = "r", "w", "rw"  # the host writes, reads, does both through the pointer
VALUE = "value"  # the argument is a number, or nothing
IN_PLACE = "in place"  # a structure of variable size, the same on all ABIs of one byte order


class Request(NamedTuple):
    """A request: its number, a function of the ABI where a size is part of it, and its argument."""

    name: str
    number: int | Callable[[Abi], int]
    use: str = VALUE
    kind: Any = None
    special: Callable[[Thread, int, int, int], int] | None = None

    def of(self, abi: Abi) -> int:
        """The number as that ABI has it."""
        own = abi.flags.get("ioctl", {}).get(self.name)
        if own is not None:
            return own
        return self.number if isinstance(self.number, int) else self.number(abi)


GENERIC_CODE = (0, 1, 2, 30)  # _IOC_NONE, _IOC_WRITE, _IOC_READ, _IOC_DIRSHIFT


def code(direction: int, group: str | int, number: int, kind: Any = None) -> Callable[[Abi], int]:
    """_IOC: direction 0 none, 1 write, 2 read, 3 both."""
    letter = ord(group) if isinstance(group, str) else group

    def of(abi: Abi) -> int:
        none, write, read, shift = getattr(abi, "ioctl_code", GENERIC_CODE)
        way = (write if direction & 1 else 0) | (read if direction & 2 else 0) or none
        return way << shift | (layout_of(kind, abi).size if kind else 0) << 16 | letter << 8 | number

    return of


def io(group: str | int, number: int) -> Callable[[Abi], int]:
    return code(0, group, number)


def iow(group: str | int, number: int, kind: Any) -> Callable[[Abi], int]:
    return code(1, group, number, kind)


def ior(group: str | int, number: int, kind: Any) -> Callable[[Abi], int]:
    return code(2, group, number, kind)


def iowr(group: str | int, number: int, kind: Any) -> Callable[[Abi], int]:
    return code(3, group, number, kind)


# ---------------------------------------------------------------------------------------------------------------- structures


class Termios(Struct):
    c_iflag: u32
    c_oflag: u32
    c_cflag: u32
    c_lflag: u32
    c_line: u8
    c_cc: Annotated[bytes, "19s"]


class Termios2(Termios):
    c_ispeed: u32
    c_ospeed: u32


class Termio(Struct):
    c_iflag: u16
    c_oflag: u16
    c_cflag: u16
    c_lflag: u16
    c_line: u8
    c_cc: Annotated[bytes, "8s"]


class Winsize(Struct):
    ws_row: u16
    ws_col: u16
    ws_xpixel: u16
    ws_ypixel: u16


class Icount(Struct):
    counts: Annotated[tuple[int, ...], "20i"]


class Range(Struct):
    start: u64
    length: u64


class TrimRange(Struct):
    start: u64
    len: u64
    minlen: u64


class CloneRange(Struct):
    src_fd: i64
    src_offset: u64
    src_length: u64
    dest_offset: u64


class Fsxattr(Struct):
    fsx_xflags: u32
    fsx_extsize: u32
    fsx_nextents: u32
    fsx_projid: u32
    fsx_cowextsize: u32
    fsx_pad: Annotated[bytes, "8s"]


class Fiemap(Struct):
    fm_start: u64
    fm_length: u64
    fm_flags: u32
    fm_mapped_extents: u32
    fm_extent_count: u32
    fm_reserved: u32


class DedupeRange(Struct):
    src_offset: u64
    src_length: u64
    dest_count: u16
    reserved1: u16
    reserved2: u32


class Geometry(Struct):
    heads: u8
    sectors: u8
    cylinders: u16
    start: ulong


class LoopInfo64(Struct):
    lo_device: u64
    lo_inode: u64
    lo_rdevice: u64
    lo_offset: u64
    lo_sizelimit: u64
    lo_number: u32
    lo_encrypt_type: u32
    lo_encrypt_key_size: u32
    lo_flags: u32
    lo_file_name: Annotated[bytes, "64s"]
    lo_crypt_name: Annotated[bytes, "64s"]
    lo_encrypt_key: Annotated[bytes, "32s"]
    lo_init: Annotated[tuple[int, ...], "2Q"]


class LoopConfig(Struct):
    fd: u32
    block_size: u32
    info: LoopInfo64
    reserved: Annotated[tuple[int, ...], "8Q"]


class RtcTime(Struct):
    tm_sec: i32
    tm_min: i32
    tm_hour: i32
    tm_mday: i32
    tm_mon: i32
    tm_year: i32
    tm_wday: i32
    tm_yday: i32
    tm_isdst: i32


class RtcAlarm(Struct):
    enabled: u8
    pending: u8
    time: RtcTime


class RtcPll(Struct):
    pll_ctrl: i32
    pll_value: i32
    pll_max: i32
    pll_min: i32
    pll_posmult: i32
    pll_negmult: i32
    pll_clock: long


# struct ifreq by the member of its union in use; it has 40 bytes on 64-bit ABIs and 32 on others.


class IfreqInt(Struct):
    name: Annotated[bytes, "16s"]
    value: i32


class IfreqShort(Struct):
    name: Annotated[bytes, "16s"]
    value: i16


class IfreqAddress(Struct):
    name: Annotated[bytes, "16s"]
    family: u16
    data: Annotated[bytes, "14s"]


class IfreqMap(Struct):
    name: Annotated[bytes, "16s"]
    mem_start: ulong
    mem_end: ulong
    base_addr: u16
    irq: u8
    dma: u8
    port: u8


class IfreqMii(Struct):
    name: Annotated[bytes, "16s"]
    phy_id: u16
    reg_num: u16
    val_in: u16
    val_out: u16


class Ifconf(Struct):
    ifc_len: i32
    ifc_buf: pointer


class Arpreq(Struct):
    pa_family: u16
    pa: Annotated[bytes, "14s"]
    ha_family: u16
    ha: Annotated[bytes, "14s"]
    flags: i32
    netmask_family: u16
    netmask: Annotated[bytes, "14s"]
    dev: Annotated[bytes, "16s"]


class VtMode(Struct):
    mode: u8
    waitv: u8
    relsig: i16
    acqsig: i16
    frsig: i16


class VtState(Struct):
    v_active: u16
    v_signal: u16
    v_state: u16


class ScreenVariable(Struct):
    """struct fb_var_screeninfo"""

    words: Annotated[tuple[int, ...], "40I"]


class ScreenFixed(Struct):
    """struct fb_fix_screeninfo"""

    id: Annotated[bytes, "16s"]
    smem_start: ulong
    smem_len: u32
    type: u32
    type_aux: u32
    visual: u32
    xpanstep: u16
    ypanstep: u16
    ywrapstep: u16
    line_length: u32
    mmio_start: ulong
    mmio_len: u32
    accel: u32
    capabilities: u16
    reserved: Annotated[tuple[int, ...], "2H"]


Bytes16 = Annotated[bytes, "16s"]
Bytes256 = Annotated[bytes, "256s"]
Bytes512 = Annotated[bytes, "512s"]
IFREQ_SIZE = {64: 40, 32: 32}


# ---------------------------------------------------------------------------------------------------------------- special requests


def interfaces(t: Thread, fd: int, number: int, argument: int) -> int:
    """SIOCGIFCONF: an array of ifreq behind a pointer; NULL asks for its size."""
    given: Ptr[Ifconf] = Ptr(t.memory, argument, layout_of(Ifconf, t.abi))
    conf = given.load()
    mine, theirs = IFREQ_SIZE[t.abi.bits], IFREQ_SIZE[HOST.bits]
    if conf.ifc_len < 0:
        raise OSError(errno.EINVAL, "ifc_len")
    count = min(conf.ifc_len // mine, 4096)
    room = ctypes.create_string_buffer(max(count * theirs, 1))
    asked = Room(Ifconf, Ifconf(ifc_len=count * theirs, ifc_buf=ctypes.addressof(room) if conf.ifc_buf else 0))
    result = t.host("ioctl", fd, number, asked.memory)
    got = asked.value.ifc_len // theirs
    if conf.ifc_buf:
        rows = [room.raw[at : at + theirs] for at in range(0, got * theirs, theirs)]
        made = b"".join((row[:16] + convert_address(row[16:32], HOST, t.abi)).ljust(mine, b"\0") for row in rows)
        t.memory.write(conf.ifc_buf, made)
    given.store(Ifconf(ifc_len=got * mine, ifc_buf=conf.ifc_buf))
    return result


def open_peer(t: Thread, fd: int, number: int, argument: int) -> int:
    """TIOCGPTPEER: the argument is flags of open."""
    return t.host("ioctl", fd, number, Bits("open").bind(t.abi, HOST, False).value(t, argument))


# ---------------------------------------------------------------------------------------------------------------- the table


def sequence(names: str, first: int, use: str, kind: Any = None) -> list[Request]:
    """Requests with consecutive numbers."""
    return [Request(name, first + i, use, kind) for i, name in enumerate(names.split())]


REQUESTS: list[Request] = [
    # terminals: ioctl_tty(2)
    Request("TCGETS", 0x5401, R, Termios),
    *sequence("TCSETS TCSETSW TCSETSF", 0x5402, W, Termios),
    Request("TCGETA", 0x5405, R, Termio),
    *sequence("TCSETA TCSETAW TCSETAF", 0x5406, W, Termio),
    *sequence("TCSBRK TCXONC TCFLSH TIOCEXCL TIOCNXCL TIOCSCTTY", 0x5409, VALUE),
    Request("TIOCGPGRP", 0x540F, R, i32),
    Request("TIOCSPGRP", 0x5410, W, i32),
    Request("TIOCOUTQ", 0x5411, R, i32),
    Request("TIOCSTI", 0x5412, W, u8),
    Request("TIOCGWINSZ", 0x5413, R, Winsize),
    Request("TIOCSWINSZ", 0x5414, W, Winsize),
    Request("TIOCMGET", 0x5415, R, i32),
    *sequence("TIOCMBIS TIOCMBIC TIOCMSET", 0x5416, W, i32),
    Request("TIOCGSOFTCAR", 0x5419, R, i32),
    Request("TIOCSSOFTCAR", 0x541A, W, i32),
    Request("FIONREAD", 0x541B, R, i32),
    Request("TIOCCONS", 0x541D),
    Request("TIOCPKT", 0x5420, W, i32),
    Request("FIONBIO", 0x5421, W, i32),
    Request("TIOCNOTTY", 0x5422),
    Request("TIOCSETD", 0x5423, W, i32),
    Request("TIOCGETD", 0x5424, R, i32),
    Request("TCSBRKP", 0x5425),
    *sequence("TIOCSBRK TIOCCBRK", 0x5427, VALUE),
    Request("TIOCGSID", 0x5429, R, i32),
    Request("TCGETS2", ior("T", 0x2A, Termios2), R, Termios2),
    Request("TCSETS2", iow("T", 0x2B, Termios2), W, Termios2),
    Request("TCSETSW2", iow("T", 0x2C, Termios2), W, Termios2),
    Request("TCSETSF2", iow("T", 0x2D, Termios2), W, Termios2),
    Request("TIOCGPTN", ior("T", 0x30, u32), R, u32),
    Request("TIOCSPTLCK", iow("T", 0x31, i32), W, i32),
    Request("TIOCGDEV", ior("T", 0x32, u32), R, u32),
    Request("TIOCSIG", iow("T", 0x36, i32)),
    Request("TIOCVHANGUP", 0x5437),
    Request("TIOCGPKT", ior("T", 0x38, i32), R, i32),
    Request("TIOCGPTLCK", ior("T", 0x39, i32), R, i32),
    Request("TIOCGEXCL", ior("T", 0x40, i32), R, i32),
    Request("TIOCGPTPEER", io("T", 0x41), special=open_peer),
    *sequence("FIONCLEX FIOCLEX", 0x5450, VALUE),
    Request("FIOASYNC", 0x5452, W, i32),
    Request("TIOCGLCKTRMIOS", 0x5456, R, Termios),
    Request("TIOCSLCKTRMIOS", 0x5457, W, Termios),
    Request("TIOCSERGETLSR", 0x5459, R, u32),
    Request("TIOCMIWAIT", 0x545C),
    Request("TIOCGICOUNT", 0x545D, R, Icount),
    Request("FIOQSIZE", 0x5460, R, i64),
    # virtual terminals: ioctl_console(2)
    *sequence("KIOCSOUND KDMKTONE", 0x4B2F, VALUE),
    Request("KDGETLED", 0x4B31, R, u8),
    Request("KDSETLED", 0x4B32),
    Request("KDGKBTYPE", 0x4B33, R, u8),
    Request("KDSETMODE", 0x4B3A),
    Request("KDGETMODE", 0x4B3B, R, i32),
    Request("KDGKBMODE", 0x4B44, R, i32),
    Request("KDSKBMODE", 0x4B45),
    Request("KDSIGACCEPT", 0x4B4E),
    Request("VT_OPENQRY", 0x5600, R, i32),
    Request("VT_GETMODE", 0x5601, R, VtMode),
    Request("VT_SETMODE", 0x5602, W, VtMode),
    Request("VT_GETSTATE", 0x5603, R, VtState),
    *sequence("VT_RELDISP VT_ACTIVATE VT_WAITACTIVE VT_DISALLOCATE", 0x5605, VALUE),
    *sequence("VT_LOCKSWITCH VT_UNLOCKSWITCH", 0x560B, VALUE),
    # frame buffers
    Request("FBIOGET_VSCREENINFO", 0x4600, R, ScreenVariable),
    Request("FBIOPUT_VSCREENINFO", 0x4601, RW, ScreenVariable),
    Request("FBIOGET_FSCREENINFO", 0x4602, R, ScreenFixed),
    # block devices: linux/fs.h
    Request("BLKROSET", io(0x12, 93), W, i32),
    Request("BLKROGET", io(0x12, 94), R, i32),
    Request("BLKRRPART", io(0x12, 95)),
    Request("BLKGETSIZE", io(0x12, 96), R, ulong),
    Request("BLKFLSBUF", io(0x12, 97)),
    Request("BLKRASET", io(0x12, 98)),
    Request("BLKRAGET", io(0x12, 99), R, long),
    Request("BLKFRASET", io(0x12, 100)),
    Request("BLKFRAGET", io(0x12, 101), R, long),
    Request("BLKSECTGET", io(0x12, 103), R, u16),
    Request("BLKSSZGET", io(0x12, 104), R, i32),
    Request("BLKBSZGET", ior(0x12, 112, ulong), R, i32),
    Request("BLKBSZSET", iow(0x12, 113, ulong), W, i32),
    Request("BLKGETSIZE64", ior(0x12, 114, ulong), R, u64),
    Request("BLKDISCARD", io(0x12, 119), W, Range),
    Request("BLKIOMIN", io(0x12, 120), R, u32),
    Request("BLKIOOPT", io(0x12, 121), R, u32),
    Request("BLKALIGNOFF", io(0x12, 122), R, i32),
    Request("BLKPBSZGET", io(0x12, 123), R, u32),
    Request("BLKDISCARDZEROES", io(0x12, 124), R, u32),
    Request("BLKSECDISCARD", io(0x12, 125), W, Range),
    Request("BLKROTATIONAL", io(0x12, 126), R, u16),
    Request("BLKZEROOUT", io(0x12, 127), W, Range),
    Request("BLKGETDISKSEQ", ior(0x12, 128, u64), R, u64),
    Request("HDIO_GETGEO", 0x301, R, Geometry),
    Request("HDIO_GET_IDENTITY", 0x30D, R, Bytes512),
    Request("LOOP_SET_FD", 0x4C00),
    Request("LOOP_CLR_FD", 0x4C01),
    Request("LOOP_SET_STATUS64", 0x4C04, W, LoopInfo64),
    Request("LOOP_GET_STATUS64", 0x4C05, R, LoopInfo64),
    *sequence("LOOP_CHANGE_FD LOOP_SET_CAPACITY LOOP_SET_DIRECT_IO LOOP_SET_BLOCK_SIZE", 0x4C06, VALUE),
    Request("LOOP_CONFIGURE", 0x4C0A, W, LoopConfig),
    *sequence("LOOP_CTL_ADD LOOP_CTL_REMOVE LOOP_CTL_GET_FREE", 0x4C80, VALUE),
    # file systems: ioctl_fat(2), ioctl_ficlone(2), ioctl_iflags(2) ...
    Request("FIBMAP", io(0, 1), RW, i32),
    Request("FIGETBSZ", io(0, 2), R, i32),
    Request("FIFREEZE", iowr("X", 119, i32)),
    Request("FITHAW", iowr("X", 120, i32)),
    Request("FITRIM", iowr("X", 121, TrimRange), RW, TrimRange),
    Request("FICLONE", iow(0x94, 9, i32)),
    Request("FICLONERANGE", iow(0x94, 13, CloneRange), W, CloneRange),
    Request("FIDEDUPERANGE", iowr(0x94, 54, DedupeRange), IN_PLACE),
    Request("FS_IOC_FIEMAP", iowr("f", 11, Fiemap), IN_PLACE),
    Request("FS_IOC_GETFLAGS", ior("f", 1, long), R, i32),
    Request("FS_IOC_SETFLAGS", iow("f", 2, long), W, i32),
    Request("FS_IOC_GETVERSION", ior("v", 1, long), R, i32),
    Request("FS_IOC_SETVERSION", iow("v", 2, long), W, i32),
    Request("FS_IOC_FSGETXATTR", ior("X", 31, Fsxattr), R, Fsxattr),
    Request("FS_IOC_FSSETXATTR", iow("X", 32, Fsxattr), W, Fsxattr),
    Request("FS_IOC_GETFSLABEL", ior(0x94, 49, Bytes256), R, Bytes256),
    Request("FS_IOC_SETFSLABEL", iow(0x94, 50, Bytes256), W, Bytes256),
    # random(4), rtc(4)
    Request("RNDGETENTCNT", ior("R", 0, i32), R, i32),
    Request("RNDADDTOENTCNT", iow("R", 1, i32), W, i32),
    Request("RNDZAPENTCNT", io("R", 4)),
    Request("RNDCLEARPOOL", io("R", 6)),
    Request("RNDRESEEDCRNG", io("R", 7)),
    *[Request(name, io("p", i + 1)) for i, name in enumerate(
        "RTC_AIE_ON RTC_AIE_OFF RTC_UIE_ON RTC_UIE_OFF RTC_PIE_ON RTC_PIE_OFF".split())],
    Request("RTC_ALM_SET", iow("p", 7, RtcTime), W, RtcTime),
    Request("RTC_ALM_READ", ior("p", 8, RtcTime), R, RtcTime),
    Request("RTC_RD_TIME", ior("p", 9, RtcTime), R, RtcTime),
    Request("RTC_SET_TIME", iow("p", 10, RtcTime), W, RtcTime),
    Request("RTC_IRQP_READ", ior("p", 11, ulong), R, ulong),
    Request("RTC_IRQP_SET", iow("p", 12, ulong)),
    Request("RTC_EPOCH_READ", ior("p", 13, ulong), R, ulong),
    Request("RTC_EPOCH_SET", iow("p", 14, ulong)),
    Request("RTC_WIE_ON", io("p", 15)),
    Request("RTC_WIE_OFF", io("p", 16)),
    Request("RTC_WKALM_SET", iow("p", 15, RtcAlarm), W, RtcAlarm),
    Request("RTC_WKALM_RD", ior("p", 16, RtcAlarm), R, RtcAlarm),
    Request("RTC_PLL_GET", ior("p", 17, RtcPll), R, RtcPll),
    Request("RTC_PLL_SET", iow("p", 18, RtcPll), W, RtcPll),
    Request("RTC_VL_READ", ior("p", 19, u32), R, u32),
    Request("RTC_VL_CLR", io("p", 20)),
    # sockets: socket(7), netdevice(7), arp(7)
    *sequence("FIOSETOWN SIOCSPGRP", 0x8901, W, i32),
    *sequence("FIOGETOWN SIOCGPGRP SIOCATMARK", 0x8903, R, i32),
    Request("SIOCGSTAMP", 0x8906, R, Timeval),
    Request("SIOCGSTAMPNS", 0x8907, R, Timespec),
    Request("SIOCGSTAMP_NEW", ior(0x89, 6, WideTimeval), R, WideTimeval),
    Request("SIOCGSTAMPNS_NEW", ior(0x89, 7, WideTimespec), R, WideTimespec),
    Request("SIOCGIFNAME", 0x8910, RW, IfreqInt),
    Request("SIOCGIFCONF", 0x8912, special=interfaces),
    Request("SIOCGIFFLAGS", 0x8913, RW, IfreqShort),
    Request("SIOCSIFFLAGS", 0x8914, W, IfreqShort),
    *[Request(f"SIOC{way}IF{what}", 0x8915 + 2 * i + (way == "S"), RW if way == "G" else W, IfreqAddress)
      for i, what in enumerate("ADDR DSTADDR BRDADDR NETMASK".split()) for way in "GS"],
    Request("SIOCGIFMETRIC", 0x891D, RW, IfreqInt),
    Request("SIOCSIFMETRIC", 0x891E, W, IfreqInt),
    Request("SIOCGIFMTU", 0x8921, RW, IfreqInt),
    Request("SIOCSIFMTU", 0x8922, W, IfreqInt),
    Request("SIOCSIFNAME", 0x8923, W, Annotated[bytes, "32s"]),
    Request("SIOCSIFHWADDR", 0x8924, W, IfreqAddress),
    Request("SIOCGIFHWADDR", 0x8927, RW, IfreqAddress),
    *sequence("SIOCADDMULTI SIOCDELMULTI", 0x8931, W, IfreqAddress),
    Request("SIOCGIFINDEX", 0x8933, RW, IfreqInt),
    Request("SIOCSIFPFLAGS", 0x8934, W, IfreqShort),
    Request("SIOCGIFPFLAGS", 0x8935, RW, IfreqShort),
    Request("SIOCSIFHWBROADCAST", 0x8937, W, IfreqAddress),
    Request("SIOCGIFTXQLEN", 0x8942, RW, IfreqInt),
    Request("SIOCSIFTXQLEN", 0x8943, W, IfreqInt),
    *sequence("SIOCGMIIPHY SIOCGMIIREG", 0x8947, RW, IfreqMii),
    Request("SIOCSMIIREG", 0x8949, W, IfreqMii),
    Request("SIOCOUTQNSD", 0x894B, R, i32),
    Request("SIOCGSKNS", 0x894C),
    Request("SIOCDARP", 0x8953, W, Arpreq),
    Request("SIOCGARP", 0x8954, RW, Arpreq),
    Request("SIOCSARP", 0x8955, W, Arpreq),
    Request("SIOCGIFMAP", 0x8970, RW, IfreqMap),
    Request("SIOCSIFMAP", 0x8971, W, IfreqMap),
    Request("SIOCBRADDBR", 0x89A0, W, Bytes16),
    Request("SIOCBRDELBR", 0x89A1, W, Bytes16),
    *sequence("SIOCBRADDIF SIOCBRDELIF", 0x89A2, W, IfreqInt),
    # tun and tap devices: linux/if_tun.h
    Request("TUNSETNOCSUM", iow("T", 200, i32)),
    Request("TUNSETIFF", iow("T", 202, i32), RW, IfreqShort),
    Request("TUNSETPERSIST", iow("T", 203, i32)),
    Request("TUNSETOWNER", iow("T", 204, i32)),
    Request("TUNSETLINK", iow("T", 205, i32)),
    Request("TUNSETGROUP", iow("T", 206, i32)),
    Request("TUNGETFEATURES", ior("T", 207, u32), R, u32),
    Request("TUNSETOFFLOAD", iow("T", 208, u32)),
    Request("TUNGETIFF", ior("T", 210, u32), R, IfreqShort),
    Request("TUNGETSNDBUF", ior("T", 211, i32), R, i32),
    Request("TUNSETSNDBUF", iow("T", 212, i32), W, i32),
    Request("TUNGETVNETHDRSZ", ior("T", 215, i32), R, i32),
    Request("TUNSETVNETHDRSZ", iow("T", 216, i32), W, i32),
    Request("TUNSETQUEUE", iow("T", 217, i32), W, IfreqShort),
    # namespaces: ioctl_ns(2)
    Request("NS_GET_USERNS", io(0xB7, 1)),
    Request("NS_GET_PARENT", io(0xB7, 2)),
    Request("NS_GET_NSTYPE", io(0xB7, 3)),
    Request("NS_GET_OWNER_UID", io(0xB7, 4), R, u32),
]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- the call


_tables: dict[int, tuple[Abi, dict[int, Request]]] = {}


def requests(abi: Abi) -> dict[int, Request]:
    """The table of one ABI by number.  Raises TypeError when two requests have the same."""
    found = _tables.get(id(abi))
    if found is None:
        table: dict[int, Request] = {}
        for request in REQUESTS:
            number = request.of(abi)
            if number in table:
                raise TypeError(f"ioctl {request.name} and {table[number].name} are both {number:#x} on {abi.name}")
            table[number] = request
        found = _tables[id(abi)] = abi, table
    return found[1]


class _Request(Kind):
    def show(self, t: Thread, raw: int) -> str:
        request = requests(t.abi).get(raw & 0xFFFF_FFFF)
        return request.name if request else f"{raw & 0xFFFF_FFFF:#x}"


class _Argument(Kind):
    def show(self, t: Thread, raw: int) -> str:
        return str(raw) if raw < 4096 else address_text(t, raw)


RequestNumber = Annotated[int, _Request()]
Argument = Annotated[int, _Argument()]


@syscall
def ioctl(t: Thread, fd: Fd, number: RequestNumber, argument: Argument) -> int:
    request = requests(t.abi).get(number & 0xFFFF_FFFF)
    if request is None:
        t.process.log("unimp", f"Unsupported ioctl: cmd=0x{number & 0xFFFF_FFFF:04x}")
        raise OSError(errno.ENOTTY, "unknown request")
    host_number = request.of(HOST)
    if request.special:
        return request.special(t, fd, host_number, argument)
    if request.use == VALUE:
        return t.host("ioctl", fd, host_number, argument)
    if request.use == IN_PLACE:
        if t.abi.order != HOST.order:
            raise OSError(errno.ENOTTY, "not converted")
        return t.host("ioctl", fd, host_number, t.memory.host(argument, 1))
    mine, theirs = layout_of(request.kind, t.abi), layout_of(request.kind, HOST)
    if mine.code == theirs.code:
        return t.host("ioctl", fd, host_number, t.memory.host(argument, mine.size))
    data = t.memory.read(argument, mine.size) if "w" in request.use else bytes(mine.size)
    room: Any = ctypes.create_string_buffer(theirs.dump(mine.load(data)), theirs.size + SLACK)
    result = t.host("ioctl", fd, host_number, room)
    if "r" in request.use:
        t.memory.write(argument, mine.dump(theirs.load(room.raw[: theirs.size])))
    return result
