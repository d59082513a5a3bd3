"""Guest programs: C sources of tests/guests/programs, compiled by ziglang into a cache folder, and running them.

The first program of an architecture takes half a minute: zig builds its C library then.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from .debian import CACHE
from .once import made

PROGRAMS = Path(__file__).resolve().parents[1] / "guests" / "programs"
FIRST_RUN = {"aarch64": 900.0}  # seconds, where the interpreter takes more than some to be built
TARGETS = {"riscv64": "riscv64-linux-musl", "riscv32": "riscv32-linux-musl", "aarch64": "aarch64-linux-musl"}


def program(name: str | Path, arch: str = "riscv64", *flags: str) -> Path:
    """The static executable of tests/guests/programs/<name>.c, or of another C file, for that guest."""
    source = PROGRAMS / f"{name}.c" if isinstance(name, str) else name
    command = [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[arch], "-static", "-O1", "-fno-sanitize=all", "-w", *flags]
    digest = hashlib.sha256(source.read_bytes() + b"".join(h.read_bytes() for h in sorted(PROGRAMS.glob("*.h"))))
    digest.update(" ".join(command[1:]).encode())
    target = CACHE / "programs" / f"{source.stem}-{arch}-{digest.hexdigest()[:16]}"
    return made(target, lambda fresh: subprocess.run([*command, "-o", str(fresh), str(source)], check=True))


def run(
    *words: str | Path, arch: str = "riscv64", options: list[str] | None = None, timeout: float = 0, **more: object
) -> subprocess.CompletedProcess[str]:
    """Run a guest program with the tinamou command: status, output and messages as text."""
    timeout = timeout or FIRST_RUN.get(arch, 120)
    command = [sys.executable, "-m", "tinamou.tools.main", "user", arch, *(options or []), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", timeout=timeout, **more)  # type: ignore[call-overload, no-any-return]
