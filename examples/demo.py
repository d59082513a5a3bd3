"""The demonstration: an Arm program checks a source tree here; a C program is built for RISC-V and runs; Debian's riscv64 busybox works.

Run by `make demo`, which prepares everything.  Nothing binary is in the repository: ruff (a static AArch64 program written in Rust) and the
compiler come from PyPI, busybox from the archive that this machine's apt uses.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.debian import CACHE, DebianError, sysroot  # noqa: E402
from support.wheels import MUSL, WheelError, program  # noqa: E402

TINAMOU = Path(sys.executable).with_name("tinamou-riscv64")
TINAMOU_ARM = TINAMOU.with_name("tinamou-aarch64")


def run(*command: str | Path, statuses: tuple[int, ...] = (0,)) -> None:
    """Run a command, shown with base names; its status must be one of these."""
    print("$", " ".join(c.name if isinstance(c, Path) else c for c in command), flush=True)
    start = time.perf_counter()
    done = subprocess.run(command)
    print(f"  [{time.perf_counter() - start:.2f} s]\n", flush=True)
    if done.returncode not in statuses:
        raise SystemExit(f"demo: status {done.returncode}")


def arm() -> None:
    """ruff for AArch64 over Python's library: twice here, then by the original if it is installed."""
    try:
        ruff = program("ruff", "aarch64", platforms=MUSL)
    except WheelError as error:
        print(f"ruff is left out: {error}", file=sys.stderr)
        return
    run("file", ruff) if shutil.which("file") else None
    print("The first start compiles the A64 interpreter (a minute or two, once); later ones load it from the cache.\n")
    run(TINAMOU_ARM, ruff, "--version")
    check: tuple[str | Path, ...] = (ruff, "check", "--isolated", "--no-cache", "--statistics", "--select", "F", "--exit-zero", "--quiet")
    for emulator in (TINAMOU_ARM, TINAMOU_ARM, *filter(None, [shutil.which("qemu-aarch64")])):
        run(emulator, *check, Path(sysconfig.get_path("stdlib")))


def main() -> int:
    arm()
    folder = CACHE / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    mandelbrot = folder / "mandelbrot"
    build = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-linux-musl", "-static", "-O2"]
    subprocess.run([*build, str(HERE / "mandelbrot.c"), "-o", str(mandelbrot)], check=True)
    run("file", mandelbrot) if shutil.which("file") else None
    run(TINAMOU, mandelbrot)
    run(TINAMOU, mandelbrot, "3")
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
