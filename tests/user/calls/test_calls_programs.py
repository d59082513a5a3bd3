"""Guest programs that make system calls and check what comes back; run natively too, which checks the programs."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from support import guests

PROGRAMS = ["files", "events", "sockets", "clocks", "system"]
NATIVE = platform.machine()
guests.TARGETS.setdefault(NATIVE, f"{NATIVE}-linux-musl")


@pytest.mark.parametrize("arch", ["riscv64", "riscv32", "aarch64"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, arch: str, tmp_path: Path) -> None:
    done = guests.run(guests.program(name, arch), tmp_path, arch, arch=arch)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0 failures"
    assert done.returncode == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_natively(name: str, tmp_path: Path) -> None:
    done = subprocess.run([guests.program(name, NATIVE), tmp_path, NATIVE], capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "0 failures")
