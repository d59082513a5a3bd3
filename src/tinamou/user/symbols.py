"""Names of guest code: the symbol tables of the files that are mapped (System V ABI, chapter 4)."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from typing import TYPE_CHECKING

from .memory import EXEC

if TYPE_CHECKING:
    from .abi import Abi
    from .memory import AddressSpace, Region

__all__ = ["Symbols", "functions_of"]

PT_LOAD, SHT_SYMTAB, SHT_DYNSYM, STT_FUNC, STT_NOTYPE = 1, 2, 11, 2, 0
LARGEST = 64 << 20  # bytes of a table that is looked at
LONGEST = 4096  # bytes of a header that is looked at
Function = tuple[int, int, str]  # address in the file's own numbering, bytes (0: unknown), name


def functions_of(path: bytes | str, abi: Abi) -> tuple[list[Function], list[tuple[int, int, int]]]:
    """The functions of an ELF file by rising address, and its segments as (file offset, bytes, address).

    The complete symbol table if the file has one, else the dynamic one.  A file that is none, or damaged, gives nothing.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return [], []
    try:
        return _read(fd, abi)
    except (OSError, struct.error, ValueError, IndexError, OverflowError):
        return [], []
    finally:
        os.close(fd)


def _read(fd: int, abi: Abi) -> tuple[list[Function], list[tuple[int, int, int]]]:
    wide, order = abi.bits == 64, abi.order
    head = os.pread(fd, 64, 0)
    if head[:4] != b"\x7fELF" or head[4] != (2 if wide else 1) or head[5] != (1 if order == "<" else 2):
        return [], []
    phoff, shoff, _, _, phentsize, phnum, shentsize, shnum = struct.unpack_from(order + ("QQIHHHHH" if wide else "IIIHHHHH"), head,
                                                                                 32 if wide else 28)  # fmt: skip
    segments = []
    for n in range(phnum if phentsize <= LONGEST else 0):
        row = os.pread(fd, phentsize, phoff + n * phentsize)
        if wide:
            kind, _, offset, address, _, size = struct.unpack_from(order + "IIQQQQ", row)
        else:
            kind, offset, address, _, size = struct.unpack_from(order + "IIIII", row)
        if kind == PT_LOAD:
            segments.append((offset, size, address))
    sections = []
    for n in range(shnum if shentsize <= LONGEST else 0):
        row = os.pread(fd, shentsize, shoff + n * shentsize)
        sections.append(struct.unpack_from(order + ("IIQQQQIIQQ" if wide else "10I"), row))
    tables = {s[1]: s for s in sections if s[1] in (SHT_SYMTAB, SHT_DYNSYM)}
    table = tables.get(SHT_SYMTAB) or tables.get(SHT_DYNSYM)
    if table is None:
        return [], segments
    strings = sections[table[6]]
    if table[5] > LARGEST or strings[5] > LARGEST:
        return [], segments
    data, names = os.pread(fd, table[5], table[4]), os.pread(fd, strings[5], strings[4])
    layout = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
    found = []
    for fields in layout.iter_unpack(data[: len(data) // layout.size * layout.size]):
        name, info, section, value, size = (fields[i] for i in ((0, 1, 3, 4, 5) if wide else (0, 3, 5, 1, 2)))
        if info & 15 in (STT_FUNC, STT_NOTYPE) and section and section < 0xFF00 and name < len(names):
            text = names[name : names.index(b"\0", name)].decode(errors="replace")
            if text and (info & 15 == STT_FUNC or not text.startswith(("$", "."))):  # not the marks of code and data
                found.append((value, size if info & 15 == STT_FUNC else 0, text))
    return sorted(found), segments


class Symbols:
    """Function names of a process's address space; a file is read when something in it is asked for."""

    def __init__(self, memory: AddressSpace, abi: Abi) -> None:
        self.memory, self.abi = memory, abi
        self._files: dict[tuple[int, int], tuple[list[Function], list[tuple[int, int, int]]]] = {}

    def _file(self, region: Region) -> tuple[list[Function], list[tuple[int, int, int]]]:
        key = region.dev, region.inode
        if key not in self._files:
            self._files[key] = functions_of(region.name, self.abi)
        return self._files[key]

    def name(self, address: int) -> str:
        """The function that holds the address; "" if nothing is known."""
        region = self.memory.find(address)
        if region is None or not region.inode or not region.prot & EXEC:
            return ""
        functions, segments = self._file(region)
        inside = address - region.start + region.offset
        for offset, size, start in segments:
            if offset <= inside < offset + size:
                value = start + inside - offset
                break
        else:
            return ""
        i = bisect_right(functions, (value, 1 << 64, "")) - 1
        if i < 0:
            return ""
        begin, length, text = functions[i]
        return text if value < begin + length or not length else ""
