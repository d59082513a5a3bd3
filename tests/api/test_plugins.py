"""Boards and devices of another package (examples/blinky), installed into a folder of its own by pip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLINKY = ROOT / "examples" / "blinky"

PROGRAM = """
from pathlib import Path
from tinamou import Machine
from tinamou.isa.riscv.pseudo import assembler

# Interrupt 7 (the button) goes to the CPU; each press lights one LED more and says so.
text = '''
    la t0, pressed; csrw mtvec, t0; li s0, 0x10013000; li s1, 0x10010000; li s2, 0x0C000000
    li t0, 1; sw t0, 8(s0); sw t0, 28(s2); li t1, 0x0C002000; li t0, 128; sw t0, 0(t1)
    li t0, 0x800; csrw mie, t0; csrsi mstatus, 8
    idle: wfi; j idle
    .balign 4
    pressed: li t1, 0x0C200000; lw t2, 4(t1); li t0, 1; sw t0, 8(s1)
    lw t0, 0(s1); slli t0, t0, 1; ori t0, t0, 1; sw t0, 0(s1)
    li t0, 42; sw t0, 0(s0); sw t2, 4(t1); mret
'''
Path("program.bin").write_bytes(assembler(32).assemble(text, 0x2000_0000).data)
with Machine("blinky", kernel="program.bin", options={"leds": 3}) as m:
    assert m.arch == "riscv32", m.arch
    leds = next(d for d in m.machine.devices if d.type_name == "blinky-leds")
    m.run(until=lambda m: m.cpu[0].halted)
    for n in range(4):
        with m.machine.lock:
            leds.press()
        m.run(until="*")
        m.run(until=lambda m: m.cpu[0].halted)
    assert leds.leds == 0b111 and leds.changes == 4, (leds.leds, leds.changes)
    with m.snapshot() as now:
        leds.leds = 0
        m.restore(now)
        assert leds.leds == 0b111
with Machine("virt", bios="none", devices=["blinky-dice,sides=20,addr=5"]) as m:
    config = 0x3000_0000 + (5 << 15)
    m.memory.u32[config + 0x10] = 0x5000_0000
    m.memory.u16[config + 4] = 2
    throws = {m.memory.u32[0x5000_0000] for _ in range(50)}
    assert max(throws) > 6 and min(throws) >= 1 and max(throws) <= 20, throws
print("it works")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the package is installed."""
    folder = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        str(folder),
        str(BLINKY),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return folder


def python(site, *words, cwd):
    path = os.pathsep.join([str(site), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, timeout=120, env={**os.environ, "PYTHONPATH": path}
    )


def tinamou(site, *words, cwd):
    return python(site, "-m", "tinamou.tools.main", "system", *words, cwd=cwd)


def test_it_is_in_the_lists(site, tmp_path):
    machines = tinamou(site, "riscv32", "-machine", "help", cwd=tmp_path).stdout
    assert re.search(r"^blinky +Blinky evaluation board$", machines, re.M), machines
    assert re.search(r"^virt ", machines, re.M)
    assert "leds=<uint32" in tinamou(site, "riscv32", "-machine", "blinky,help", cwd=tmp_path).stdout
    assert 'name "blinky-dice", bus PCI, desc "throws dice"' in tinamou(site, "riscv64", "-device", "help", cwd=tmp_path).stdout
    assert "sides=<uint32" in tinamou(site, "riscv64", "-device", "blinky-dice,help", cwd=tmp_path).stdout
    wrong = tinamou(site, "riscv32", "-machine", "blinkie", cwd=tmp_path)
    assert wrong.returncode == 1 and "nearest: blinky" in wrong.stderr


def test_it_runs(site, tmp_path):
    done = python(site, "-c", PROGRAM, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "it works\n"), done.stderr


def test_a_broken_one_is_left_out(tmp_path):
    """A package that cannot be imported does not take the others with it."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tinamou.machines]\nbroken = broken_board\n[tinamou.devices]\nnowhere = no_such_module\n")
    (tmp_path / "broken_board.py").write_text("raise ValueError('out of order')\n")
    for words in (["-machine", "help"], ["-device", "help"]):
        done = tinamou(tmp_path, "riscv64", *words, cwd=tmp_path)
        assert done.returncode == 0 and "virt" in done.stdout
        assert "of broken 1.0 is left out" in done.stderr and "Traceback" not in done.stderr


def test_the_sources_are_typed(tmp_path):
    env = {**os.environ, "MYPYPATH": os.pathsep.join([str(ROOT / "src"), str(BLINKY / "src")])}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "blinky", "--follow-imports=silent"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
