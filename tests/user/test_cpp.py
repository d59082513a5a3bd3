"""C++ as g++ builds it: exceptions and thread-local storage across shared libraries, threads and signal frames."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from support.debian import CACHE, sysroot
from support.guests import PROGRAMS, run

SOURCE = PROGRAMS / "exceptions.cpp"
FLAGS = ["-O1", "-fnon-call-exceptions", "-pthread"]


@functools.cache
def cross() -> tuple[Path, str]:
    """A folder with Debian's cross compiler, and the host's multiarch name."""
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    triplet = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
    return sysroot(arch, "g++-riscv64-linux-gnu"), triplet


@functools.cache
def built() -> Path:
    """A folder with the programs: `exceptions` with its libthrower.so, and the static `small`."""
    folder = CACHE / "programs" / f"exceptions-riscv64-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            root, triplet = cross()
            fresh = folder.with_suffix(".new")
            fresh.mkdir(exist_ok=True)
            compiler = [str(root / "usr/bin/riscv64-linux-gnu-g++"), f"--sysroot={root}", *FLAGS]
            environment = {**os.environ, "LD_LIBRARY_PATH": str(root / "usr/lib" / triplet)}
            for words in (["-shared", "-fPIC", "-DLIBRARY", "-o", "libthrower.so", str(SOURCE)],
                          ["-o", "exceptions", str(SOURCE), "-L.", "-lthrower", "-Wl,-rpath,$ORIGIN"],
                          ["-static", "-DSMALL", "-o", "small", str(SOURCE)]):  # fmt: skip
                subprocess.run([*compiler, *words], cwd=fresh, env=environment, check=True)
            fresh.rename(folder)
    return folder


def guest(*words: str, jit: str = "on") -> subprocess.CompletedProcess[str]:
    return run(built() / "exceptions", *words, options=["-L", str(cross()[0] / "usr/riscv64-linux-gnu"), "-accel", f"tcg,jit={jit}"])


@pytest.mark.parametrize("jit", ["off", "on"])
def test_exceptions(jit: str) -> None:
    done = guest(jit=jit)
    assert (done.stderr, done.stdout, done.returncode) == ("", "0 failures\n", 0)


def test_uncaught() -> None:
    """std::terminate in a thread: the process dies of SIGABRT."""
    done = guest("uncaught")
    assert (done.stderr, done.returncode) == ("terminate\n", -6)


def test_static() -> None:
    assert run(built() / "small").stdout == "0 failures\n"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_static_on_the_golden_model() -> None:
    assert run(built() / "small", options=["-engine", "golden"], timeout=1700).stdout == "0 failures\n"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_compiler_itself(tmp_path: Path) -> None:
    """Debian's g++ for riscv64 runs here, with all the programs that it starts; what it makes runs too."""
    options = ["-L", str(sysroot("riscv64", "g++"))]
    compiler = sysroot("riscv64", "g++") / "usr/bin/g++"
    for words in (["-shared", "-fPIC", "-DLIBRARY", "-o", "libthrower.so", SOURCE],
                  ["-o", "exceptions", SOURCE, "-L.", "-lthrower", "-Wl,-rpath,$ORIGIN"]):  # fmt: skip
        done = run(compiler, *FLAGS, *words, options=options, cwd=tmp_path, timeout=1700)
        assert (done.stderr, done.returncode) == ("", 0)
    assert run(tmp_path / "exceptions", options=options).stdout == "0 failures\n"
