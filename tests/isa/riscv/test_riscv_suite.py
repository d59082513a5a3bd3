"""The user-level programs of riscv-tests, assembled here.  RISCV_TESTS names a checkout of github.com/riscv-software-src/riscv-tests."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from riscv_harness import CODE, Engine

from tinamou.isa.riscv.traps import ECALL_FROM_U

SUITES = ("ui", "um", "ua", "uc", "uf", "ud", "uzba", "uzbb", "uzbs")
NOT_RV32 = "rv32ud/move.S"  # moves 64 bits between x and f; the suite's own Makefrag leaves it out

# Instead of the suite's environments, which are for machine mode: a0 is 0 or the number of the test that failed.
HEADER = """
#define TESTNUM gp
#define RVTEST_RV64U
#define RVTEST_RV32U
#undef RVTEST_RV64UF
#define RVTEST_RV64UF
#define RVTEST_RV32UF
#define RVTEST_CODE_BEGIN .text; .globl _start; _start: li TESTNUM, 0; fscsr zero;
#define RVTEST_CODE_END
#define RVTEST_PASS li a0, 0; ecall;
#define RVTEST_FAIL mv a0, TESTNUM; ecall;
#define RVTEST_DATA_BEGIN .align 4;
#define RVTEST_DATA_END
"""
LAYOUT = f"SECTIONS {{ . = {CODE:#x}; .text : {{ *(.text*) *(.data*) *(.bss*) }} }}"


def checkout() -> Path | None:
    path = os.environ.get("RISCV_TESTS")
    return Path(path) if path else None


def assemble(source: Path, xlen: int, where: Path) -> bytes:
    """The program's image from address CODE on."""
    (where / "riscv_test.h").write_text(HEADER)
    (where / "layout").write_text(LAYOUT)
    cpu = f"generic_rv{xlen}+m+a+f+d+c+zba+zbb+zbs"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-w", "-target", f"riscv{xlen}-freestanding", f"-mcpu={cpu}"]
    command = [*compiler, "-E", f"-I{where}", f"-I{source.parents[1]}/macros/scalar", str(source)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # Programs that both widths share load numbers of 64 bits, of which LLVM does not take the lower half as GNU does.
    text = re.sub(r"(?<=, )0x[\da-f]+(?=;)", lambda number: hex(int(number[0], 16) & (1 << xlen) - 1), text)
    (where / "program.s").write_text(text)
    command = [*compiler, "-nostdlib", "-static", f"-Wl,-T,{where}/layout", str(where / "program.s"), "-o", str(where / "elf")]
    subprocess.run(command, check=True)
    elf = (where / "elf").read_bytes()
    wide = elf[4] == 2
    at, size, count = (*struct.unpack_from("<Q", elf, 32), *struct.unpack_from("<HH", elf, 54)) if wide else (
        *struct.unpack_from("<I", elf, 28), *struct.unpack_from("<HH", elf, 42))  # fmt: skip
    image = bytearray()
    for header in range(at, at + size * count, size):
        kind, *rest = struct.unpack_from("<IIQQQQ" if wide else "<IIIII", elf, header)
        offset, address, length = (rest[1], rest[2], rest[4]) if wide else (rest[0], rest[1], rest[3])
        if kind == 1:
            image = image.ljust(address - CODE + length, b"\0")
            image[address - CODE : address - CODE + length] = elf[offset : offset + length]
    return bytes(image)


@pytest.mark.slow
@pytest.mark.skipif(checkout() is None, reason="RISCV_TESTS does not name a checkout of riscv-tests")
@pytest.mark.parametrize("suite", SUITES)
def test_suite(engine: Engine, suite: str, tmp_path: Path) -> None:
    folder = checkout()
    assert folder
    programs = sorted((folder / "isa" / f"rv{engine.xlen}{suite}").glob("*.S"))
    assert programs
    failed = []
    for program in programs:
        if str(program).endswith(NOT_RV32):
            continue
        outcome = engine.run_image(assemble(program, engine.xlen, tmp_path), 100_000)
        if (outcome.cause, outcome.state.x[10]) != (ECALL_FROM_U, 0):
            failed.append((program.stem, outcome.cause, outcome.state.x[10]))
    assert not failed
