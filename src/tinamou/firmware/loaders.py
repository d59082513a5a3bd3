"""Images a machine can start from: ELF, Intel HEX, U-Boot uImage, raw, gzip; and the Linux image headers.

`load` recognises the format and gives an `Image`: pieces with physical addresses, an entry point, symbols.
Documents: System V ABI (ELF) chapter 4 and 5; Intel Hexadecimal Object File Format 1988; U-Boot include/image.h's
published header layout; Documentation/arch/riscv/boot-image-header.rst of Linux.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import os
import stat
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

MACHINES = {3: "i386", 4: "m68k", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 42: "sh4", 43: "sparc64",
            62: "x86_64", 83: "avr", 94: "xtensa", 183: "aarch64", 189: "microblaze", 243: "riscv", 2: "sparc"}
LIMIT = 1 << 32


class ImageError(ValueError):
    """The file is not what it should be. The text does not repeat the file name."""


@dataclass
class Segment:
    """`data` goes to `address`; `size` may exceed it, the rest is zeros."""

    address: int
    data: bytes
    size: int = 0

    def __post_init__(self) -> None:
        self.size = max(self.size, len(self.data))


@dataclass
class Image:
    """Something loadable."""

    kind: str
    segments: list[Segment]
    entry: int = 0
    symbols: dict[str, int] = field(default_factory=dict)
    machine: str = ""
    bits: int = 0
    endian: str = ""
    flags: int = 0

    @property
    def low(self) -> int:
        return min((s.address for s in self.segments), default=0)

    @property
    def high(self) -> int:
        """The address after the last byte."""
        return max((s.address + s.size for s in self.segments), default=0)


# --- ELF


def elf(data: bytes, *, physical: bool = True, offset: int = 0) -> Image:
    """An ELF executable's loadable segments at their physical (or virtual) addresses plus `offset`. Raises ImageError."""
    if data[:4] != b"\x7fELF":
        raise ImageError("not an ELF file")
    if len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise ImageError("the ELF header is damaged")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    try:
        if wide:
            _, machine, _, entry, phoff, shoff, flags, _, phsize, phnum, shsize, shnum, _ = struct.unpack_from(
                order + "HHIQQQIHHHHHH", data, 16)
        else:
            _, machine, _, entry, phoff, shoff, flags, _, phsize, phnum, shsize, shnum, _ = struct.unpack_from(
                order + "HHIIIIIHHHHHH", data, 16)
        segments, start = [], entry
        for i in range(phnum):
            at = phoff + i * phsize
            if wide:
                p_type, _, p_offset, vaddr, paddr, filesz, memsz, _ = struct.unpack_from(order + "IIQQQQQQ", data, at)
            else:
                p_type, p_offset, vaddr, paddr, filesz, memsz, _, _ = struct.unpack_from(order + "IIIIIIII", data, at)
            if p_type != 1 or not memsz:
                continue
            if p_offset + filesz > len(data):
                raise ImageError("the ELF file is cut short")
            if filesz > memsz or memsz > LIMIT:
                raise ImageError("the ELF file has a segment of impossible size")
            where = paddr if physical else vaddr
            segments.append(Segment(where + offset, data[p_offset : p_offset + filesz], memsz))
            if physical and paddr != vaddr and vaddr <= entry < vaddr + memsz:
                start = entry + paddr - vaddr
        if not segments:
            raise ImageError("the ELF file has nothing to load")
        symbols = _symbols(data, order, wide, shoff, shsize, shnum, offset)
    except (struct.error, OverflowError):
        raise ImageError("the ELF file is cut short") from None
    return Image("elf", segments, start + offset, symbols, MACHINES.get(machine, f"machine {machine}"),
                 64 if wide else 32, "little" if order == "<" else "big", flags)


def _symbols(data: bytes, order: str, wide: bool, shoff: int, shsize: int, shnum: int, offset: int) -> dict[str, int]:
    out: dict[str, int] = {}
    headers = []
    for i in range(shnum if shoff else 0):
        at = shoff + i * shsize
        if wide:
            _, s_type, _, _, s_offset, size, link, _, _, entsize = struct.unpack_from(order + "IIQQQQIIQQ", data, at)
        else:
            _, s_type, _, _, s_offset, size, link, _, _, entsize = struct.unpack_from(order + "IIIIIIIIII", data, at)
        headers.append((s_type, s_offset, size, link, entsize))
    for s_type, s_offset, size, link, entsize in headers:
        if s_type != 2 or link >= len(headers) or entsize < (24 if wide else 16):
            continue
        strings = data[headers[link][1] : headers[link][1] + headers[link][2]]
        for at in range(s_offset, min(s_offset + size, len(data)) - entsize + 1, entsize):
            if wide:
                name, info, _, index, value, _ = struct.unpack_from(order + "IBBHQQ", data, at)
            else:
                name, value, _, info, _, index = struct.unpack_from(order + "IIIBBH", data, at)
            if name and index and info & 0xF < 3:
                end = strings.find(b"\0", name)
                out[strings[name:end].decode(errors="replace")] = value + offset
    return out


# --- Intel HEX


def intel_hex(text: bytes) -> Image:
    """Record types 00 to 05. Raises ImageError naming the line."""
    segments: list[Segment] = []
    base = entry = 0
    chunk, start = bytearray(), 0
    for n, raw in enumerate(text.split(b"\n"), 1):
        row = raw.strip()
        if not row:
            continue
        try:
            record = bytes.fromhex(row[1:].decode("ascii")) if row[:1] == b":" else b""
        except (ValueError, UnicodeDecodeError):
            record = b""
        if len(record) < 5 or len(record) != record[0] + 5:
            raise ImageError(f"line {n} is no Intel HEX record")
        if sum(record) & 0xFF:
            raise ImageError(f"the checksum of line {n} is wrong")
        at, kind, data = record[1] << 8 | record[2], record[3], record[4:-1]
        if kind == 0:
            where = base + at
            if chunk and where != start + len(chunk):
                segments.append(Segment(start, bytes(chunk)))
                chunk = bytearray()
            if not chunk:
                start = where
            chunk += data
        elif kind == 1:
            if chunk:
                segments.append(Segment(start, bytes(chunk)))
            return Image("hex", segments, entry)
        elif kind in (2, 4) and len(data) == 2:
            base = int.from_bytes(data, "big") << (4 if kind == 2 else 16)
        elif kind == 3 and len(data) == 4:
            entry = (int.from_bytes(data[:2], "big") << 4) + int.from_bytes(data[2:], "big")
        elif kind == 5 and len(data) == 4:
            entry = int.from_bytes(data, "big")
        else:
            raise ImageError(f"line {n} has unknown record type {kind:#04x}")
    raise ImageError("the end record is missing")


# --- U-Boot uImage

_UIMAGE = struct.Struct(">7I4B32s")
UIMAGE_MAGIC = 0x27051956
UIMAGE_ARCH = {2: "arm", 3: "i386", 5: "mips", 7: "ppc", 9: "sh4", 12: "m68k", 14: "microblaze", 21: "openrisc", 22: "aarch64",
               24: "x86_64", 26: "riscv"}


def uimage(data: bytes) -> Image:
    """A legacy U-Boot image (kernel, standalone program or ramdisk), unpacked. Raises ImageError."""
    if len(data) < 64 or int.from_bytes(data[:4], "big") != UIMAGE_MAGIC:
        raise ImageError("not a uImage")
    _, check, _, size, load, entry, data_check, _, arch, kind, packed, _ = _UIMAGE.unpack(data[:64])
    if zlib.crc32(data[:4] + bytes(4) + data[8:64]) != check:
        raise ImageError("the checksum of the uImage's header is wrong")
    body = data[64 : 64 + size]
    if len(body) != size:
        raise ImageError("the uImage is cut short")
    if zlib.crc32(body) != data_check:
        raise ImageError("the checksum of the uImage's data is wrong")
    if kind not in (1, 2, 3):
        raise ImageError(f"cannot load uImage type {kind}")
    if packed == 1:
        body = gunzip(body)
    elif packed == 2:
        body = unpack(bz2.BZ2Decompressor(), body)
    elif packed == 3:
        body = unpack(lzma.LZMADecompressor(), body)
    elif packed:
        raise ImageError(f"unable to load uImage with compression type {packed}")
    return Image("uimage", [Segment(load, body)], entry, machine=UIMAGE_ARCH.get(arch, f"architecture {arch}"))


def unpack(d: bz2.BZ2Decompressor | lzma.LZMADecompressor, data: bytes, limit: int = LIMIT) -> bytes:
    """Unpack bzip2 or LZMA. Raises ImageError when damaged or more than `limit` bytes."""
    try:
        out = d.decompress(data, limit)
    except (OSError, EOFError, lzma.LZMAError):
        raise ImageError("the compressed data is damaged") from None
    if not d.eof:
        raise ImageError("the compressed data is too long or cut short")
    return out


def gunzip(data: bytes, limit: int = LIMIT) -> bytes:
    """Unpack gzip. Raises ImageError when damaged or more than `limit` bytes."""
    d = zlib.decompressobj(31)
    try:
        out = d.decompress(data, limit)
    except zlib.error:
        raise ImageError("the gzip data is damaged") from None
    if d.unconsumed_tail or not d.eof:
        raise ImageError("the gzip data is too long or cut short")
    return out


# --- Linux


@dataclass(frozen=True)
class LinuxHeader:
    """The header of a RISC-V (or arm64) `Image`: offsets in bytes from the start of RAM."""

    text_offset: int
    image_size: int
    flags: int


def linux_image(data: bytes) -> LinuxHeader | None:
    """The header at the start of a flat kernel, or None."""
    if len(data) >= 64 and data[56:60] in (b"RSC\x05", b"ARM\x64"):
        return LinuxHeader(*struct.unpack_from("<QQQ", data, 8))
    return None


def portable_size(data: bytes) -> int:
    """How long the file must be by the section table of its PE header (kernels that UEFI can start have one); 0 without one.

    Microsoft's PE Format: the header's place at 0x3c, sections of 40 bytes behind the optional header.
    """
    if len(data) < 64 or data[:2] != b"MZ":
        return 0
    (at,) = struct.unpack_from("<I", data, 0x3C)
    head = data[at : at + 24]
    if len(head) < 24 or head[:4] != b"PE\0\0":
        return at + 24 if len(head) < 24 and at < 1 << 16 else 0
    count, optional = struct.unpack_from("<H12xH", head, 6)
    table = at + 24 + optional
    if table + 40 * count > len(data):
        return int(table + 40 * count)
    return max((sum(struct.unpack_from("<II", data, table + 40 * n + 16)) for n in range(count)), default=0)


# --- any of them


def load(data: bytes, address: int = 0, *, physical: bool = True) -> Image:
    """Recognise the format; anything else is raw bytes for `address`."""
    if data[:4] == b"\x7fELF":
        return elf(data, physical=physical)
    if len(data) >= 64 and int.from_bytes(data[:4], "big") == UIMAGE_MAGIC:
        return uimage(data)
    if data[:2] == b"\x1f\x8b":
        return load(gunzip(data), address, physical=physical)
    if data[:1] == b":" and b"\n:" in data[:600]:
        return intel_hex(data)
    return Image("raw", [Segment(address, data)], address)


def read_file(path: str | Path, limit: int = LIMIT) -> bytes:
    """A file's bytes. Raises OSError, or ImageError when it is larger than `limit`."""
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("it is no regular file")
    if not found.st_size:
        raise ImageError("it is empty")
    if found.st_size > limit:
        raise ImageError(f"the file has {found.st_size} bytes, more than {limit}")
    with open(path, "rb") as f:
        return f.read(limit)
