"""Encodings and assembly of every row: round trips, and against LLVM's assembler."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from arm64_harness import State, aim, random_word, touches_memory

from tinamou.engine import flat
from tinamou.engine.decoder import forms
from tinamou.engine.handlers import Builder, symbol_name
from tinamou.engine.patterns import Insn
from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.architecture import ARM64
from tinamou.isa.arm64.disasm import bitmask
from tinamou.native.llvm import compile_assembly, triple

ARCH = "armv8.5-a+crypto+fp16+fp16fml+memtag+sha3+sm4+rng+ssbs+ccdp+profile"


def samples(count: int) -> list[tuple[Insn, int]]:
    r = random.Random(64)
    return [(i, random_word(r, i)) for i in isa().insns for _ in range(count)]


def test_decode_finds_the_row() -> None:
    by_word = {}
    for insn, word in samples(1):
        found = isa().decode(word)
        assert found is not None
        assert found is insn or insn.name in found.over or insn.name.partition(".R")[0] in found.over, (insn.name, found.name)
        by_word[word] = insn
    for word, insn in by_word.items():
        fields = {name: insn.field(word, name) for name in insn.fields}
        assert insn.encode(**fields) == word & ~ignored_bits(insn)


def ignored_bits(insn: Insn) -> int:
    """Bits that neither the row fixes nor a field has."""
    known = insn.mask
    for pieces in insn.fields.values():
        for p in pieces:
            known |= (1 << p.width) - 1 << p.source
    return ~known & 0xFFFF_FFFF


def test_every_row_has_its_handler() -> None:
    names = [symbol_name(f, "insn") for f in forms(ARM64)]
    assert len(names) == len(set(names)) == len(isa().insns)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="knows how x86-64 compares with zero")
def test_no_check_for_faults_is_left() -> None:
    """LLVM makes fault maps of the null checks of guest pointers.  Where it leaves one, a fault of the guest would be one of ours."""
    symbol, before, left = "", [""], set()
    for line in map(str.strip, compile_assembly(Builder(ARM64, flat).text(triple())).splitlines()):
        if re.fullmatch(r"[\w.]+:", line) and not line.startswith("."):
            symbol, before = line, [""]
        tested = re.fullmatch(r"testq\s+(%r\w+), \1", before[-1]) if line.startswith("je") else None
        if tested:
            made = next((b for b in reversed(before[:-1]) if b.endswith(", " + tested[1])), "")
            left |= {symbol} if "%r14" in made else set()
        before = [*before[-8:], line]
    assert not left


def assembled(tmp_path: Path, lines: list[str]) -> bytes:
    """Machine code by the LLVM assembler."""
    source, target, raw = tmp_path / "a.s", tmp_path / "a.o", tmp_path / "a.bin"
    source.write_text("\n".join([f".arch {ARCH}", *lines]) + "\n")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-freestanding", "-c", str(source), "-o"]
    done = subprocess.run([*command, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    command = [sys.executable, "-m", "ziglang", "objcopy", "-O", "binary", "--only-section=.text", str(target), str(raw)]
    subprocess.run(command, capture_output=True, check=True)
    return raw.read_bytes()


def test_llvm_reads_the_disassembly(tmp_path: Path) -> None:
    lines, rows = [], []
    r = random.Random(0)
    for insn, word in samples(3):
        if touches_memory(insn):
            word = aim(r, insn, word, State())  # no unpredictable ones
        text = insn.disassemble(word, 0)
        if "imm" in insn.fields and ("{imm:pc}" in insn.asm or "{page}" in insn.asm):  # LLVM wants distances; here pc is 0
            text = re.sub(r"(-?0x[0-9a-f]+)$", lambda m: "#" + str(signed(int(m[1], 16))), text)
        lines.append(text)
        rows.append((insn, insn.disassemble(word, 0)))
    code = assembled(tmp_path, lines)
    assert len(code) == 4 * len(rows)
    for k, (insn, text) in enumerate(rows):
        word = int.from_bytes(code[4 * k : 4 * k + 4], "little")
        assert (insn.name, text) == (insn.name, insn.disassemble(word, 0)), f"{lines[k]}: {word:#x}"
        assert insn.matches(word)


def signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 == 1 else value


def test_logical_immediates() -> None:
    """All 5334 of 64 bits and their 32-bit ones are different, and none is all zeros or all ones."""
    wide = {bitmask(n, r, s, 64) for n in (0, 1) for r in range(64) for s in range(64)} - {None}
    narrow = {bitmask(0, r, s, 32) for r in range(64) for s in range(64)} - {None}
    assert (len(wide), len(narrow)) == (5334, 1302)
    assert not wide & {0, (1 << 64) - 1}
    assert not narrow & {0, (1 << 32) - 1}
