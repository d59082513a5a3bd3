"""tinamou lockstep: engines that agree, and planted mistakes that it finds."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.debian import sysroot
from support.guests import program
from tinamou.isa.riscv.pseudo import assembler

PLANT_GOLDEN = """
    from tinamou.isa.riscv.architecture import RV64
    def wrong(rs1, rs2):
        return rs1 | rs2
    xor = RV64.isa.by_name["xor"]
    xor.operands, xor.results  # kept from now on
    object.__setattr__(xor, "function", wrong)
"""
PLANT_REGIONS = """
    from tinamou.engine import regions
    original = regions.region_text
    regions.region_text = lambda *words: original(*words).replace("xor i64", "or i64")
"""


def lockstep(*words: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(before) + "\nimport sys\nfrom tinamou.tools.lockstep import main\nsys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, timeout=250)


def assembled(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "code.bin"
    path.write_bytes(assembler(64).assemble(textwrap.dedent(text), 0x10000).data)
    return path


@pytest.mark.parametrize("guest", ["riscv64", "riscv32"])
def test_program_on_interpreter_and_golden_model(guest: str) -> None:
    done = lockstep(guest, program("environment", guest), "arguments")
    assert done.returncode == 0 and done.stdout.endswith("[arguments]\n")
    match = re.fullmatch(r"tinamou lockstep: (\d+) instructions in (\d+) slices: interpreter and golden agree\n", done.stderr)
    assert match and int(match[1]) > 1000 and int(match[2]) > 3


def test_program_on_regions_and_interpreter() -> None:
    done = lockstep("--engines", "interpreter,regions", "--every", "150000", program("loops"), "200")
    assert done.returncode == 0 and done.stdout == "2500000000 15511210043330985984000000\n"
    match = re.fullmatch(
        r"tinamou lockstep: (\d+) instructions in (\d+) slices, (\d+) regions: regions and interpreter agree\n", done.stderr
    )
    assert match and int(match[1]) > 1_000_000 and int(match[3]) > 0


def test_program_with_processes() -> None:
    """The ends of the copies are none of the guest's business."""
    busybox = sysroot("riscv64", "busybox-static") / "usr/bin/busybox"
    done = lockstep("--engines", "interpreter,regions", busybox, "sh", "-c", "(exit 3); echo $?; echo hi | wc -c")
    assert (done.stdout, done.returncode) == ("3\n3\n", 0)
    assert done.stderr.endswith("regions and interpreter agree\n")


def test_program_on_traces_and_interpreter() -> None:
    done = lockstep("--engines", "traces,interpreter", "--every", "20000", program("environment"), "arguments")
    assert done.returncode == 0 and done.stdout.endswith("[arguments]\n")
    assert done.stderr.endswith(": traces and interpreter agree\n")


@pytest.mark.slow
def test_program_with_threads() -> None:
    """Several threads run uncompared."""
    done = lockstep("--engines", "interpreter,regions", program("threads"))
    assert (done.stdout, done.returncode) == ("0 failures\n", 0)
    assert done.stderr.endswith(", not compared while there were several threads: regions and interpreter agree\n")


FLAT = """
        li a0, 1000
        li a1, 0x5555
    loop:
        addi a0, a0, -1
        {0}
        bnez a0, loop
        ecall
"""


def test_flat_program(tmp_path: Path) -> None:
    done = lockstep("--flat", "0x10000", assembled(tmp_path, FLAT.format("add a1, a1, a0")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("exception 0x8, value 0x0\n pc       0000000000010") and "x11/a1   " in done.stdout
    assert "agree" in done.stderr


def test_difference_of_a_register(tmp_path: Path) -> None:
    """At the first round in which or and xor differ, and at that instruction."""
    code = assembled(tmp_path, FLAT.format("xor a1, a1, a0"))
    done = lockstep("--flat", "0x10000", code, before=PLANT_GOLDEN)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    start = len(assembler(64).assemble("li a0, 1000\nli a1, 0x5555", 0).data) // 4
    first = start + 2  # 0x5555 | 999 is not 0x5555 ^ 999
    assert lines[0] == f"tinamou lockstep: interpreter and golden differ after {first} instructions, at"
    assert lines[1].split()[2:] == ["xor", "a1,a1,a0"]
    assert lines[2] == f"  a1: interpreter {0x5555 ^ 999:#x}, golden {0x5555 | 999:#x}"


def test_difference_in_a_program() -> None:
    """The first addi of a program adds to gp."""
    plant = PLANT_GOLDEN.replace("xor", "addi").replace("rs1, rs2", "rs1, imm").replace("rs1 | rs2", "rs1 + imm + 1")
    done = lockstep(program("environment"), "arguments", before=plant)
    assert done.returncode == 1
    assert re.match(r"tinamou lockstep: interpreter and golden differ after 2 instructions, at\n"
                    r"  0x[0-9a-f]+:  [0-9a-f]{8} +addi +gp,gp,\d+    in _start\n  gp: ", done.stderr)  # fmt: skip


def test_difference_of_memory(tmp_path: Path) -> None:
    plant = """
        from tinamou.engine.golden import Ram
        from tinamou.user import engine
        write = engine._Memory.write
        def wrong(self, address, data):
            write(self, address, b"!" + data[1:] if len(data) == 2 else data)
        engine._Memory.write = wrong
    """
    code = assembled(tmp_path, "li a0, 7\nsd a0, 8(sp)\nsh a0, 24(sp)\nsd a0, 16(sp)\necall")
    done = lockstep("--flat", "0x10000", code, before=plant)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[1].split()[2:] == ["sh", "a0,24(sp)"]
    assert re.fullmatch(r"  memory at 0x[0-9a-f]+: interpreter 07 00 00 00 00 00 00 00, golden 21 00 00 00 00 00 00 00", lines[2])


def test_difference_of_a_region(tmp_path: Path) -> None:
    code = assembled(tmp_path, FLAT.format("xor a1, a1, a0").replace("1000", "100000000"))
    done = lockstep("--engines", "regions,interpreter", "--flat", "0x10000", code, before=PLANT_REGIONS)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"tinamou lockstep: regions and interpreter differ after \d+ instructions, a1 was last written at", lines[0])
    assert lines[1].split()[2:] == ["xor", "a1,a1,a0"]


def test_clocks_are_no_difference(tmp_path: Path) -> None:
    done = lockstep("--flat", "0x10000", assembled(tmp_path, "csrrs a0, 0xc01, zero\naddi a1, zero, 3\necall"))
    assert done.returncode == 0 and "1 ended at a clock" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which program?"),
        (["--engines", "golden", "x"], "--engines golden: two different ones of golden, interpreter, traces, regions"),
        (["--engines", "golden,regoins", "x"],
         "--engines golden,regoins: 'regoins' is none of golden, interpreter, traces, regions\nDid you mean 'regions'?"),
        (["--engines", "traces,regions", "x"], "--engines traces,regions: one of the two is golden or interpreter"),
        (["--every", "x", "x"], "--every x: not a number"),
        (["--every"], "--every needs a value"),
        (["--flat", "0x10000", "/nonexistent"], "/nonexistent: No such file or directory"),
        (["--flat", "3", "/bin/true"], "--flat 0x3: an address from 0x10000 to 0x2000000000, a multiple of 2"),
        (["--flat", "0x10000", "/dev/null"], "/dev/null: empty"),
    ],
)  # fmt: skip
def test_mistakes(words: list[str], message: str) -> None:
    done = lockstep(*words)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"tinamou lockstep: {message}\n")


def test_help_and_missing_program() -> None:
    assert lockstep("--help").stdout.startswith("usage: tinamou lockstep ")
    done = lockstep("/nonexistent/x")
    assert (done.returncode, done.stderr) == (1, "Error while loading /nonexistent/x: No such file or directory\n")
