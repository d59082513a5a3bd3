"""A64 programs in the assembler's notation, assembled by ziglang's LLVM."""

from __future__ import annotations

import functools
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

R_AARCH64_ABS64 = 257


@functools.cache
def assembled(text: str, base: int) -> tuple[bytes, dict[str, int]]:
    """The bytes of a program for address `base`, and where its labels are."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.S", Path(folder) / "a.o"
        source.write_text(f".arch armv8.5-a+memtag+crypto\n{text}\n")
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-freestanding-none", "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        elf = target.read_bytes()
    at, size, count = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, at + n * size) for n in range(count)]
    text_at = next(n for n, s in enumerate(sections) if s[1] == 1 and s[2] & 4)
    code = bytearray(elf[sections[text_at][4] :][: sections[text_at][5]])
    table = next(s for s in sections if s[1] == 2)
    strings = sections[table[6]]
    symbols = []
    for n in range(table[5] // 24):
        name, _, _, where, value, _ = struct.unpack_from("<IBBHQQ", elf, table[4] + 24 * n)
        begin = strings[4] + name
        symbols.append((elf[begin : elf.index(b"\0", begin)].decode(), where, value))
    for s in sections:
        if s[1] == 4 and s[7] == text_at:
            for n in range(s[5] // 24):
                offset, info, addend = struct.unpack_from("<QQq", elf, s[4] + 24 * n)
                assert info & 0xFFFF_FFFF == R_AARCH64_ABS64
                struct.pack_into("<Q", code, offset, base + symbols[info >> 32][2] + addend)
    return bytes(code), {name: base + value for name, where, value in symbols if name and where == text_at}
