"""From an ELF relocatable object (x86-64 or AArch64) to a flat image that needs only a base address.

The image has two parts: code (read, execute) and data (read, write), each a multiple of 4096 bytes.  References inside are resolved
here; what depends on the base address or on host functions (memcpy ...) is left as a short list of slots in the data part.

Sources: System V ABI (ELF-64), x86-64 psABI 4.4 and ELF for the Arm 64-bit Architecture 5.7 (relocation types), LLVM's FaultMaps.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from .types import align_up

PAGE = 4096
SHT_RELA, SHT_NOBITS = 4, 8
SHF_WRITE, SHF_ALLOC = 1, 2
X86_64, AARCH64 = 62, 183
GOT = {X86_64: (9, 41, 42), AARCH64: (311, 312)}  # relocations to a slot that holds the address


FAULTS = ".tinamou.faults"  # section: what inline assembly says of its own accesses (see engine.regions)
PIECES, HOLE = ".stencil", "hole."


@dataclass
class Piece:
    """A function that is not run where it is: its relocations are left to the builder.  Symbols that begin with HOLE exist nowhere."""

    start: int  # offset of its code in the image
    end: int
    relocations: list[tuple[int, int, str, int, int]] = field(default_factory=list)  # (place, type, symbol, its offset or 0, addend)


class LinkError(Exception):
    """The object uses something the linker does not know."""


@dataclass
class Image:
    """Linked code and data; offsets count from the start of the code."""

    code_size: int = 0
    content: bytes = b""
    symbols: dict[str, int] = field(default_factory=dict)
    bases: list[tuple[int, int]] = field(default_factory=list)  # (slot, offset): 8-byte slots that hold base + offset
    imports: list[tuple[int, str]] = field(default_factory=list)  # (slot, host function)
    faults: list[tuple[int, int]] = field(default_factory=list)  # (address that may fault, where to continue), sorted
    notes: dict[str, Any] = field(default_factory=dict)  # whatever the builder wants to find again
    pieces: dict[str, Piece] = field(default_factory=dict)  # functions in the section PIECES, to be copied; not kept in the cache


@dataclass
class _Section:
    name: str
    flags: int
    kind: int
    data: bytes
    align: int
    link: int
    info: int
    at: int = -1


def link(obj: bytes, page: int = PAGE) -> Image:
    """Lay out and relocate one object file; code and data parts are multiples of `page` bytes."""
    if obj[:6] != b"\x7fELF\x02\x01":
        raise LinkError("not a little-endian ELF64 object")
    machine = struct.unpack_from("<H", obj, 18)[0]
    (shoff,) = struct.unpack_from("<Q", obj, 40)
    shentsize, shnum, shstrndx = struct.unpack_from("<HHH", obj, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", obj, shoff + shentsize * k) for k in range(shnum)]
    names = obj[heads[shstrndx][4] :]
    sections = []
    for name, kind, flags, _, off, size, link_, info, align, _ in heads:
        text = names[name : names.index(b"\0", name)].decode()
        data = bytes(size) if kind == SHT_NOBITS else obj[off : off + size]
        sections.append(_Section(text, flags, kind, data, max(align, 1), link_, info))

    symtab = next(s for s in sections if s.kind == 2)
    strings = sections[symtab.link].data
    symbols, extents = [], []
    for k in range(0, len(symtab.data), 24):
        name, info, _, index, value, size = struct.unpack_from("<IBBHQQ", symtab.data, k)
        symbols.append((strings[name : strings.index(b"\0", name)].decode(), info >> 4, index, value))
        extents.append(size)

    image = Image()
    out = bytearray()
    keep = [s for s in sections if s.flags & SHF_ALLOC and not s.name.startswith(".eh_frame")]
    code = [s for s in keep if not s.flags & SHF_WRITE]
    stubs: dict[str, int] = {}
    for s in code:
        _place(out, s)
    undefined = sorted({n for n, _, index, _ in symbols if index == 0 and n and not n.startswith(HOLE)})
    out += bytes(align_up(len(out), 16) - len(out))
    for n in undefined:
        stubs[n] = len(out)
        out += bytes(16)
    image.code_size = align_up(len(out), page)
    out += bytes(image.code_size - len(out))
    for s in keep:
        if s.flags & SHF_WRITE:
            _place(out, s)
    out += bytes(align_up(len(out), 8) - len(out))
    slots: dict[str, int] = {}
    for n in undefined:
        slots[n] = len(out)
        image.imports.append((len(out), n))
        _write_stub(out, machine, stubs[n], len(out))
        out += bytes(8)

    def address(index: int) -> int:
        name, _, section, value = symbols[index]
        if section == 0:
            return stubs[name]
        if section >= len(sections) or sections[section].at < 0:
            raise LinkError(f"symbol {name} is in no section of the image")
        at: int = sections[section].at + value
        return at

    for (name, _, index, value), size in zip(symbols, extents, strict=True):
        if 0 < index < len(sections) and sections[index].name == PIECES and size:
            image.pieces[name] = Piece(sections[index].at + value, sections[index].at + value + size)
    in_order = sorted(image.pieces.values(), key=lambda p: p.start)
    starts = [p.start for p in in_order]

    got: dict[int, int] = {}
    for s in sections:
        if s.kind != SHT_RELA or sections[s.info].at < 0:
            continue
        base = sections[s.info].at
        for k in range(0, len(s.data), 24):
            offset, info, addend = struct.unpack_from("<QQq", s.data, k)
            place, kind, sym = base + offset, info & 0xFFFFFFFF, info >> 32
            if sections[s.info].name == PIECES:
                name, _, section, _ = symbols[sym]
                hole = section == 0 and name.startswith(HOLE)
                piece = in_order[bisect_right(starts, place) - 1]
                piece.relocations.append((place, kind, name if hole else "", 0 if hole else address(sym), addend))
                continue
            if kind in GOT[machine]:
                if sym not in got:
                    out += bytes(align_up(len(out), 8) - len(out))
                    got[sym] = len(out)
                    name, _, section, _ = symbols[sym]
                    if section == 0:
                        image.imports.append((len(out), name))
                    else:
                        image.bases.append((len(out), address(sym)))
                    out += bytes(8)
                target = got[sym]
            else:
                target = address(sym)
            _relocate(image, out, machine, kind, place, target, addend)
    for name, binding, section, value in symbols:
        if binding and section and section < len(sections) and sections[section].at >= 0:
            image.symbols[name] = sections[section].at + value
    maps = next((s for s in keep if s.name == ".llvm_faultmaps"), None)
    if maps:
        image.faults = _fault_maps(image, out, maps)
    for s in keep:
        if s.name == FAULTS:  # pairs of distances from where they stand
            for at in range(s.at, s.at + len(s.data), 8):
                fault, handler = struct.unpack_from("<ii", out, at)
                image.faults.append((at + fault, at + 4 + handler))
    image.faults.sort()
    out += bytes(align_up(len(out), page) - len(out))
    image.content = bytes(out)
    return image


def _place(out: bytearray, s: _Section) -> None:
    out += bytes(align_up(len(out), s.align) - len(out))
    s.at = len(out)
    out += s.data


def _write_stub(out: bytearray, machine: int, stub: int, slot: int) -> None:
    """A jump through a slot in the data part."""
    if machine == X86_64:
        out[stub : stub + 6] = b"\xff\x25" + struct.pack("<i", slot - (stub + 6))  # jmp *slot(%rip)
    else:
        pages = (slot >> 12) - (stub >> 12)
        adrp = 0x90000010 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5  # adrp x16, slot
        ldr = 0xF9400211 | (slot & 0xFFF) >> 3 << 10  # ldr x17, [x16, :lo12:slot]
        out[stub : stub + 12] = struct.pack("<III", adrp, ldr, 0xD61F0220)  # br x17


def _relocate(image: Image, out: bytearray, machine: int, kind: int, place: int, target: int, addend: int) -> None:
    value = target + addend
    if machine == X86_64:
        if kind == 1:  # R_X86_64_64
            image.bases.append((place, value))
        elif kind in (2, 4, 9, 41, 42):  # PC32, PLT32, GOTPCREL(X)
            struct.pack_into("<i", out, place, value - place)
        elif kind == 24:  # PC64
            struct.pack_into("<q", out, place, value - place)
        else:
            raise LinkError(f"relocation type {kind} of x86-64")
        return
    word = struct.unpack_from("<I", out, place)[0] if kind not in (257,) else 0
    pages = (value >> 12) - (place >> 12)
    match kind:
        case 257:  # ABS64
            image.bases.append((place, value))
            return
        case 260 | 261:  # PREL64, PREL32
            struct.pack_into("<q" if kind == 260 else "<i", out, place, value - place)
            return
        case 282 | 283:  # JUMP26, CALL26
            word = word & ~0x3FFFFFF | (value - place) >> 2 & 0x3FFFFFF
        case 280:  # CONDBR19
            word = word & ~0xFFFFE0 | ((value - place) >> 2 & 0x7FFFF) << 5
        case 275 | 311:  # ADR_PREL_PG_HI21, ADR_GOT_PAGE
            word = word & ~0x60FFFFE0 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
        case 277 | 278:  # ADD_ABS_LO12_NC, LDST8
            word |= (value & 0xFFF) << 10
        case 284 | 285 | 286 | 299 | 312:  # LDST16 32 64 128, LD64_GOT_LO12
            word |= (value & 0xFFF) >> {284: 1, 285: 2, 286: 3, 299: 4, 312: 3}[kind] << 10
        case _:
            raise LinkError(f"relocation type {kind} of AArch64")
    struct.pack_into("<I", out, place, word & 0xFFFFFFFF)


def _fault_maps(image: Image, out: bytearray, s: _Section) -> list[tuple[int, int]]:
    """LLVM's table of loads and stores that may fault, and where each continues when it does."""
    functions = dict(image.bases)
    pos, end, found = s.at, s.at + len(s.data), []
    while pos + 8 <= end:
        version, count = out[pos], struct.unpack_from("<I", out, pos + 4)[0]
        if version != 1:
            raise LinkError(f"fault map of version {version}")
        pos += 8
        for _ in range(count):
            start = functions[pos]
            (n,) = struct.unpack_from("<I", out, pos + 8)
            pos += 16
            for _ in range(n):
                _kind, fault, handler = struct.unpack_from("<III", out, pos)
                found.append((start + fault, start + handler))
                pos += 12
    return sorted(found)
