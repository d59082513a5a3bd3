"""What the benchmarks run: guest programs compiled into the cache folder, and the original's emulator."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from measure import BenchError, Runner

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))
from support.once import made  # noqa: E402

PROGRAMS = ROOT / "tests" / "guests" / "bench"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinamou-bench"
GUESTS = ("riscv64", "aarch64")
NATIVE = os.uname().machine
# Products and sums stay apart, so that every machine rounds alike; fused ones are a kernel of their own.
FLAGS = ["-static", "-O2", "-fno-sanitize=all", "-ffp-contract=off"]


@dataclass
class Kernel:
    """A program of tests/guests/bench whose first line says `/* group, N rounds: what it does */`."""

    name: str
    group: str
    rounds: int
    text: str


def kernels() -> dict[str, Kernel]:
    """All kernels by name: integer ones first, then floating-point."""
    found = []
    for path in sorted(PROGRAMS.glob("*.c")):
        head = re.match(r"/\* ([\w-]+), (\d+) rounds: (.*?) \*/", path.read_text())
        if head:
            found.append(Kernel(path.stem, head[1], int(head[2]), head[3]))
    return {k.name: k for k in sorted(found, key=lambda k: (k.group != "integer", k.group, k.name))}


def compile(name: str, arch: str, text: str | None = None) -> Path:
    """The static executable of tests/guests/bench/<name>.c, or of this C text; made once per content.  Raises BenchError."""
    target = f"{arch}-linux-musl"
    source = text.encode() if text is not None else (PROGRAMS / f"{name}.c").read_bytes()
    digest = hashlib.sha256(b"\0".join([source, (PROGRAMS / "bench.h").read_bytes(), target.encode(), *(f.encode() for f in FLAGS)]))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, *FLAGS, "-I", str(PROGRAMS)]

    def make(fresh: Path) -> None:
        done = subprocess.run([*command, "-x", "c", "-", "-o", str(fresh)], input=source, capture_output=True)
        if done.returncode:
            raise BenchError(f"{name} for {target} does not compile:\n{done.stderr.decode(errors='replace').strip()}")

    return made(CACHE / "programs" / f"{name}-{target}-{digest.hexdigest()[:16]}", make)


def tinamou(guest: str) -> list[Runner]:
    """The emulator of this source tree: as it is, without what earlier runs of a program compiled, and without compiling at all."""
    command = [sys.executable, "-m", "tinamou.tools.main", "user", guest]
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environments = []
    for name in ("kept", "fresh"):
        folder = CACHE / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        environments.append({"PYTHONPATH": path, "TINAMOU_CACHE": str(folder)})
    kept, fresh = environments

    def forget() -> None:
        for bundle in (CACHE / "fresh").glob("regions-*"):
            bundle.unlink(missing_ok=True)

    return [
        Runner("tinamou", command, kept),
        Runner("first run", command, fresh, forget),
        Runner("tier 0", command, kept | {"TINAMOU_JIT": "traces"}),
    ]


def original(guest: str) -> Runner:
    """The installed emulator of that guest, else the one of the Debian package qemu-user, unpacked into the cache folder of the tests."""
    name = f"qemu-{guest}"
    found = shutil.which(name)
    if found and "tinamou" not in os.path.realpath(found):
        return Runner("original", [found])
    from support.debian import DebianError, sysroot

    try:
        arch = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
        root = sysroot(arch, "qemu-user")
    except (DebianError, OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"no {name} is installed and the Debian package qemu-user cannot be had: {error}") from None
    loader = next(iter(sorted(root.glob("lib*/ld-linux-*.so.*"))), None) or next(iter(sorted(root.glob("usr/lib/*/ld-linux-*.so.*"))))
    libraries = ":".join(str(p) for p in sorted(root.glob("usr/lib/*-linux-gnu")))
    return Runner("original", [str(loader), "--library-path", libraries, str(root / "usr/bin" / name)])
