"""Guest programs that check themselves: what fails is printed with its line."""

from __future__ import annotations

import pytest

from support.guests import program, run


@pytest.mark.parametrize("arch", ["riscv64", "riscv32", "aarch64"])
@pytest.mark.parametrize("name", ["signals", "threads", "memory", "processes", "races", "arrivals"])
def test_program(name: str, arch: str) -> None:
    done = run(program(name, arch), arch=arch)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0 failures"
    assert done.returncode == 0
