"""Encodings and assembly of every row: round trips, and against LLVM's assembler and GNU's disassembler."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from riscv_harness import random_word, with_field

from tinamou.engine.patterns import BoundIsa, EncodingError, Insn
from tinamou.isa.riscv import isa
from tinamou.isa.riscv.pseudo import assembler

HIDDEN = {"fm", "rs1", "rd", "imm", "rm"}  # fields that fence, fence.i and exact conversions ignore and do not show


# User-level CSRs, and addresses that nothing has: other tools know names that exist for one width only.
CSRS = (0x001, 0x002, 0x003, 0xC00, 0xC01, 0xC02, 0xC04, 0xC1F, 0x801, 0xCC5)


def shown(insn: Insn) -> set[str]:
    return set(re.findall(r"\{(\w+)", insn.asm))


def word_as_written(r: random.Random, insn: Insn) -> int:
    """A random encoding of which the assembly tells everything."""
    word = random_word(r, insn)
    for name in set(insn.fields) - shown(insn):
        assert name in HIDDEN, f"{insn.name} does not show {name}"
        word = with_field(insn, word, name, 0)
    if "csr" in insn.fields:
        word = with_field(insn, word, "csr", r.choice(CSRS if insn.binding["XLEN"] == 64 else (*CSRS, 3200, 3203)))
    for name in {"pred", "succ"} & set(insn.fields):  # the empty set has no name
        word = with_field(insn, word, name, r.randrange(1, 16))
    return word


def samples(xlen: int, count: int) -> list[tuple[Insn, int]]:
    r = random.Random(xlen)
    return [(i, word_as_written(r, i)) for i in isa(xlen).insns for _ in range(count)]


def test_decode_finds_the_row(xlen: int) -> None:
    for insn, word in samples(xlen, 8):
        assert isa(xlen).decode(word) is insn
        fields = {name: insn.field(word, name) for name in insn.fields}
        assert insn.encode(**fields) == word


def test_assembler_reads_the_disassembly(xlen: int) -> None:
    a, pc = assembler(xlen), 0x4000_0000
    for insn, word in samples(xlen, 8):
        text = insn.disassemble(word, pc)
        assert (text, a.word(text, pc)) == (text, word)


def test_overlapping_rows_are_refused(xlen: int) -> None:
    rows = isa(xlen)
    with pytest.raises(EncodingError, match="overlap"):
        BoundIsa("twice", [*rows.insns, _renamed(rows.by_name["add"])])
    with pytest.raises(EncodingError, match="described twice"):
        BoundIsa("twice", [*rows.insns, rows.by_name["add"]])


def _renamed(insn: Insn) -> Insn:
    copy = Insn(**{f: getattr(insn, f) for f in insn.__dataclass_fields__})
    copy.name = "other"
    return copy


def test_what_the_widths_share() -> None:
    """Rows described for one width only are those that the manual's tables name."""
    names32, names64 = (set(isa(x).by_name) for x in (32, 64))
    assert names32 - names64 == {"c.jal", "c.flw", "c.fsw", "c.flwsp", "c.fswsp"}
    floats = "fcvt.l.s fcvt.lu.s fcvt.s.l fcvt.s.lu fcvt.l.d fcvt.lu.d fcvt.d.l fcvt.d.lu fmv.x.d fmv.d.x"
    words = "addiw slliw srliw sraiw addw subw sllw srlw sraw mulw divw divuw remw remuw clzw ctzw cpopw rolw rorw roriw"
    others = "ld lwu sd add.uw sh1add.uw sh2add.uw sh3add.uw slli.uw c.ld c.sd c.addiw c.subw c.addw c.ldsp c.sdsp"
    atomics = {n.replace(".w", ".d") for n in names32 if n.startswith(("lr.", "sc.", "amo"))}
    assert names64 - names32 == {*floats.split(), *words.split(), *others.split(), *atomics}


def llvm(tmp_path: Path, xlen: int, lines: list[str], compressed: bool) -> bytes:
    """Machine code by the LLVM assembler."""
    source, target = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text(f".option {'' if compressed else 'no'}rvc\n.option norelax\n" + "\n".join(lines) + "\n")
    cpu = f"generic_rv{xlen}+m+a+f+d+c+zba+zbb+zbs"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", f"riscv{xlen}-freestanding", f"-mcpu={cpu}", "-c", str(source), "-o"]
    done = subprocess.run([*command, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    raw = tmp_path / "a.bin"
    command = [sys.executable, "-m", "ziglang", "objcopy", "-O", "binary", "--only-section=.text", str(target), str(raw)]
    subprocess.run(command, capture_output=True, check=True)
    return raw.read_bytes()


@pytest.mark.parametrize("width", [16, 32])
def test_llvm_reads_the_disassembly(tmp_path: Path, xlen: int, width: int) -> None:
    chosen = [(i, w) for i, w in samples(xlen, 6) if i.width == width]
    lines, words = [], []
    for insn, word in chosen:
        text = insn.disassemble(word, 0)
        # LLVM wants distances for targets (here pc is 0), and other words for these:
        text = text.replace("c.addi zero,0", "c.nop").replace(",unknown", "")
        lines.append(text)
        words.append(word)
    code = llvm(tmp_path, xlen, lines, width == 16)
    size = width // 8
    assert len(code) == size * len(words)
    for k, (text, word) in enumerate(zip(lines, words, strict=True)):
        assert (text, hex(int.from_bytes(code[k * size : k * size + size], "little"))) == (text, hex(word))


GNU_TOOLS = "riscv64-linux-gnu-"


def objdump(tmp_path: Path, xlen: int, words: list[int], pc: int) -> list[str]:
    """GNU's text of each word (behind a compressed one stands a C.NOP), blanks as ours."""
    source, target = tmp_path / "a.s", tmp_path / "a.o"
    source.write_text("\n".join(f".insn {w:#x}" if w & 3 == 3 else f".insn {w:#x}\n.insn 1" for w in words) + "\n")
    command = [GNU_TOOLS + "as", f"-march=rv{xlen}gc_zba_zbb_zbs", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    command = [GNU_TOOLS + "objdump", "-d", "-M", "no-aliases", f"--adjust-vma={pc:#x}", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    out = {}
    for line in done.stdout.splitlines():
        if match := re.match(r"\s*([\da-f]+):\t[\da-f]+\s+\t?([^<#]*)", line):
            out[int(match[1], 16)] = " ".join(match[2].split())
    return [out[pc + 4 * k] for k in range(len(words))]


# GNU's text differs for the same instruction:
GNU = [
    (r"(c\.(?:slli|srli|srai)) (\w+),0x0", r"\g<1>64 \2"),  # HINTs by their RV128 names
    (r"((?:j|jal|beqz?|bnez?|bltu?|bgeu?) (?:.*,)?)0x(\w+)$", r"\1\2"),  # targets
]


@pytest.mark.skipif(shutil.which(GNU_TOOLS + "objdump") is None, reason="the package binutils-riscv64-linux-gnu is not installed")
def test_disassembly_is_that_of_binutils(tmp_path: Path, xlen: int) -> None:
    pc = 0x4000_0000
    chosen = samples(xlen, 12)
    theirs = objdump(tmp_path, xlen, [w for _, w in chosen], pc)
    for k, (insn, word) in enumerate(chosen):
        ours = insn.disassemble(word, pc + 4 * k)
        for pattern, by in GNU:
            ours = re.sub(pattern, by, ours)
        assert (hex(word), ours) == (hex(word), theirs[k])
