"""CPython's own tests, run by Debian's Python for riscv64."""

from __future__ import annotations

import pytest

from support.debian import sysroot
from support.guests import run

MODULES = ["test_struct", "test_float", "test_signal", "test_threading", "test_socket"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("module", MODULES)
def test_module(module: str, tmp_path: object) -> None:
    root = sysroot("riscv64", "python3", "libpython3-stdlib", "libpython3.13-testsuite")
    options = ["-L", str(root), "-U", "PYTHONDONTWRITEBYTECODE"]
    done = run(root / "usr/bin/python3", "-m", "test", module, options=options, timeout=1700, cwd=tmp_path)
    assert "Result: SUCCESS" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.returncode == 0
