"""The demonstration: a C program is built for RISC-V and runs here; then Debian's riscv64 busybox does some shell work.

Run by `make demo`, which prepares everything.  Nothing binary is in the repository: the compiler comes from PyPI, busybox from the
archive that this machine's apt uses.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.debian import CACHE, DebianError, sysroot  # noqa: E402

TINAMOU = Path(sys.executable).with_name("tinamou-riscv64")


def run(*command: str | Path) -> None:
    print("$", " ".join(c.name if isinstance(c, Path) else c for c in command), flush=True)
    start = time.perf_counter()
    subprocess.run(command, check=True)
    print(f"  [{time.perf_counter() - start:.2f} s]\n", flush=True)


def main() -> int:
    folder = CACHE / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "mandelbrot"
    build = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-linux-musl", "-static", "-O2"]
    subprocess.run([*build, str(HERE / "mandelbrot.c"), "-o", str(program)], check=True)
    run("file", program) if os.path.exists("/usr/bin/file") else None
    print("The first start compiles the interpreter (some seconds, once); later ones load it from the cache.\n")
    run(TINAMOU, program)
    run(TINAMOU, program, "3")
    try:
        busybox = sysroot("riscv64", "busybox-static") / "usr/bin/busybox"
    except DebianError as error:
        print(f"Debian's busybox is left out: {error}", file=sys.stderr)
        return 0
    script = "uname -sm; for i in 3 1 2; do echo line $i; done | sort | tr a-z A-Z; seq 1 100000 | sha256sum"
    run(TINAMOU, busybox, "sh", "-c", script)
    return 0


if __name__ == "__main__":
    sys.exit(main())
