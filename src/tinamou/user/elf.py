"""Programs in the Executable and Linkable Format: System V ABI, chapters 4 and 5.

A file is looked at first (`Header`), without touching the address space, so that execve can still fail; then mapped (`load`).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from .errors import GuestFault, LoadError
from .memory import EXEC, READ, WRITE, AddressSpace

if TYPE_CHECKING:
    from .abi import Abi
    from .process import Process

__all__ = ["Header", "Image", "Segment", "load", "open_program"]

PAGE = 4096
PT_LOAD, PT_INTERP, PT_GNU_STACK, PT_GNU_PROPERTY = 1, 3, 0x6474E551, 0x6474E553
PF_X, PF_W, PF_R = 1, 2, 4
ET_EXEC, ET_DYN = 2, 3
MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS, MAP_NORESERVE, MAP_FIXED_NOREPLACE = 2, 0x10, 0x20, 0x4000, 0x100000
PATH_MAX = 4096


def _up(n: int) -> int:
    return (n + PAGE - 1) & -PAGE


class Segment:
    """A program header."""

    __slots__ = ("align", "filesz", "flags", "memsz", "offset", "type", "vaddr")

    def __init__(self, abi: Abi, data: bytes) -> None:
        if abi.bits == 64:
            self.type, self.flags, self.offset, self.vaddr, _, self.filesz, self.memsz, self.align = struct.unpack(
                abi.order + "IIQQQQQQ", data
            )
        else:
            self.type, self.offset, self.vaddr, _, self.filesz, self.memsz, self.flags, self.align = struct.unpack(
                abi.order + "8I", data
            )


class Header:
    """A file's ELF header and program headers, checked for one ABI.  Raises LoadError.

    name     as messages call it
    """

    def __init__(self, abi: Abi, fd: int, name: str) -> None:
        self.abi, self.fd, self.name = abi, fd, name
        size = 64 if abi.bits == 64 else 52
        start = os.pread(fd, size, 0)
        if len(start) < size or start[:4] != b"\x7fELF":
            raise LoadError(f"Error while loading {name}: {os.strerror(errno.ENOEXEC)}", errno.ENOEXEC)
        foreign = LoadError(f"{name}: Invalid ELF image for this architecture", errno.ENOEXEC)
        if start[4] != (2 if abi.bits == 64 else 1) or start[5] != (1 if abi.order == "<" else 2) or start[6] != 1:
            raise foreign
        code = "HHIQQQIHHH" if abi.bits == 64 else "HHIIIIIHHH"
        kind, machine, _, self.entry, phoff, _, self.flags, _, phentsize, phnum = struct.unpack_from(abi.order + code, start, 16)
        if kind not in (ET_EXEC, ET_DYN) or machine != abi.machine or phentsize != (56 if abi.bits == 64 else 32):
            raise foreign
        self.position_independent = kind == ET_DYN
        self.phoff, self.phentsize, self.phnum = phoff, phentsize, phnum
        table = _pread(fd, phentsize * phnum, phoff)
        if table is None:
            raise LoadError(f"{name}: Incomplete read of file header", errno.ENOEXEC)
        self.segments = [Segment(abi, table[at : at + phentsize]) for at in range(0, len(table), phentsize)]
        self.loads = [s for s in self.segments if s.type == PT_LOAD]
        self.missing = max((s.offset + s.filesz for s in self.loads), default=0) - os.fstat(fd).st_size  # bytes that a cut file lacks
        if not any(s.memsz for s in self.loads):
            raise LoadError(f"{name}: Error mapping file: {os.strerror(errno.EINVAL)}", errno.EINVAL)
        for s in self.loads:
            if ((s.vaddr - s.offset) % PAGE and s.filesz) or s.filesz > s.memsz:
                raise LoadError(f"{name}: Error mapping file: {os.strerror(errno.EINVAL)}", errno.EINVAL)
        self.low = min(s.vaddr for s in self.loads) & -PAGE
        self.high = _up(max(s.vaddr + s.memsz for s in self.loads))
        if self.high > abi.limit:
            raise LoadError(f"{name}: Error mapping file: {os.strerror(errno.ENOMEM)}", errno.ENOMEM)
        self.executable_stack = any(s.type == PT_GNU_STACK and s.flags & PF_X for s in self.segments)
        self.properties = self._properties()
        self.interpreter = b""
        for s in self.segments:
            if s.type == PT_INTERP:
                found = _pread(fd, s.filesz, s.offset) if 2 <= s.filesz <= PATH_MAX else b""
                if found is None:
                    raise LoadError(f"{name}: Incomplete read of file header", errno.ENOEXEC)
                if found[-1:] != b"\0":
                    raise LoadError(f"{name}: Invalid PT_INTERP entry", errno.ENOEXEC)
                self.interpreter = found.split(b"\0")[0]


    def _properties(self) -> dict[int, bytes]:
        """What NT_GNU_PROPERTY_TYPE_0 says, by type of property; nothing if it is malformed."""
        found: dict[int, bytes] = {}
        align = self.abi.bits // 8
        for s in self.segments:
            data = _pread(self.fd, s.filesz, s.offset) if s.type == PT_GNU_PROPERTY and 16 <= s.filesz <= PAGE else None
            if not data or struct.unpack_from(self.abi.order + "III", data) != (4, len(data) - 16, 5) or data[12:16] != b"GNU\0":
                continue
            at = 16
            while at + 8 <= len(data):
                kind, size = struct.unpack_from(self.abi.order + "II", data, at)
                found[kind] = data[at + 8 : at + 8 + size]
                at += 8 + size + -size % align
        return found


def _pread(fd: int, size: int, offset: int) -> bytes | None:
    """All of that part of the file, or None."""
    if offset + size > 1 << 62:
        return None
    try:
        data = os.pread(fd, size, offset) if size else b""
    except OSError:
        return None
    return data if len(data) == size else None


class Image:
    """A program in memory: guest addresses."""

    def __init__(self, header: Header, bias: int) -> None:
        self.header, self.bias = header, bias
        self.entry = header.entry + bias & header.abi.mask
        self.brk = header.high + bias
        self.low, self.high = header.low + bias, header.high + bias
        self.headers = 0  # of the program headers, where the program finds them itself
        for s in header.loads:
            if s.offset <= header.phoff < s.offset + s.filesz:
                self.headers = header.phoff - s.offset + s.vaddr + bias
        self.start = self.entry  # where execution begins: in the interpreter if there is one
        self.base = 0  # AT_BASE: of the interpreter


def load(memory: AddressSpace, header: Header, base: int | None = None, protection: Callable[[int], int] = int) -> Image:
    """Map a file's segments; position-independent ones at `base`, or where there is room.  Raises LoadError.

    `protection` gives what PROT_ bits of its flags become.
    """
    span = header.high - header.low
    try:
        if header.position_independent:
            at = memory.find_gap(span, base, memory.top) if base is not None else memory.map(0, span, 0, MAP_PRIVATE | MAP_ANONYMOUS)
            bias = at - header.low
        else:
            bias = 0
        for s in header.loads:
            _map_segment(memory, header, s, s.vaddr + bias, protection)
        if header.position_independent and base is None:  # gaps between segments stay reserved as long as nothing else needs them
            for start, end in _gaps(header):
                memory.unmap(start + bias, end - start)
    except OSError as error:
        number = error.errno or errno.EIO
        raise LoadError(f"{header.name}: Error mapping file: {os.strerror(number)}", number) from None
    return Image(header, bias)


def _gaps(header: Header) -> list[tuple[int, int]]:
    at, gaps = header.low, []
    for s in sorted(header.loads, key=lambda s: s.vaddr):
        start = s.vaddr & -PAGE
        if start > at:
            gaps.append((at, start))
        at = max(at, _up(s.vaddr + s.memsz))
    return gaps


def _map_segment(memory: AddressSpace, header: Header, s: Segment, address: int, protection: Callable[[int], int]) -> None:
    prot = protection((READ if s.flags & PF_R else 0) | (WRITE if s.flags & PF_W else 0) | (EXEC if s.flags & PF_X else 0))
    start = address & -PAGE
    file_end, memory_end = address + s.filesz, address + s.memsz
    if s.filesz:
        memory.map(start, file_end - start, prot, MAP_PRIVATE | MAP_FIXED, header.fd, s.offset - (address - start))
    zero_from = _up(file_end) if s.filesz else start
    if memory_end > zero_from:
        memory.map(zero_from, _up(memory_end) - zero_from, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
    if s.memsz > s.filesz and file_end % PAGE and s.filesz and prot & WRITE:
        try:
            memory.write(file_end, bytes(-file_end % PAGE))  # the whole page: dynamic loaders use what follows .bss
        except GuestFault:
            pass  # the file is shorter than its headers say: the program meets SIGBUS there


def open_program(path: bytes) -> int:
    """A descriptor of an executable file.  Raises OSError: EACCES for what is no executable regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not os.path.isfile(f"/proc/self/fd/{fd}") or not os.access(f"/proc/self/fd/{fd}", os.X_OK, effective_ids=True):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except BaseException:
        os.close(fd)
        raise
    return fd


def interpreter_of(process: Process, header: Header) -> Header | None:
    """The checked header of the program's interpreter, found through the -L folder.  Raises LoadError."""
    if not header.interpreter:
        return None
    name = os.fsdecode(header.interpreter)
    try:
        fd = os.open(process.path(header.interpreter), os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        number = error.errno or errno.EIO
        raise LoadError(f"Could not open '{name}': {os.strerror(number)}", number) from None
    try:
        found = Header(process.abi, fd, name)
    except LoadError as error:
        os.close(fd)
        if str(error).startswith("Error while loading"):  # of an interpreter the original says this
            error = LoadError(f"{name}: Invalid ELF image for this architecture", errno.ELIBBAD)
        raise error from None
    except BaseException:
        os.close(fd)
        raise
    return found
