"""CPython's own tests, run by Debian's Python for riscv64 and arm64."""

from __future__ import annotations

import pytest

from support.debian import sysroot
from support.guests import run

MODULES = ["test_struct", "test_float", "test_signal", "test_threading", "test_socket"]
DEBIAN = {"riscv64": "riscv64", "aarch64": "arm64"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("arch", list(DEBIAN))
@pytest.mark.parametrize("module", MODULES)
def test_module(module: str, arch: str, tmp_path: object) -> None:
    packages = ("python3", "libpython3-stdlib")
    plain = sysroot(DEBIAN[arch], *packages)
    version = next((plain / "usr/bin").glob("python3.[0-9]*")).name
    root = sysroot(DEBIAN[arch], *packages, f"lib{version}-testsuite")
    options = ["-L", str(root), "-U", "PYTHONDONTWRITEBYTECODE"]
    done = run(root / "usr/bin/python3", "-m", "test", module, arch=arch, options=options, timeout=1700, cwd=tmp_path)
    assert "Result: SUCCESS" in done.stdout or "Tests result: SUCCESS" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.returncode == 0
