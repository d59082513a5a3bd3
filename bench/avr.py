"""Simulated cycles per second of CPU time: Tinamou, simavr and the original on the same Arduino programs, side by side.

bench/avr.py [--runs 3] [--scale 1.0] [busy float blink start]
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAMS = {"busy": 20000, "float": 4000, "blink": 800}  # rounds
SOURCES = Path(__file__).resolve().parents[1] / "tests/guests/bench/avr"
HZ = 16_000_000
LIMIT = 300.0


def build(name: str, rounds: int, folder: Path) -> Path:
    out = folder / f"{name}.elf"
    subprocess.run(["avr-gcc", "-mmcu=atmega328p", "-O2", "-std=gnu11", f"-DROUNDS={rounds}",
                    str(SOURCES / f"{name}.c"), "-o", str(out)], check=True)  # fmt: skip
    return out


def emulators(elf: Path) -> dict[str, list[str]]:
    """Commands that write what the program sends to standard output."""
    out = {"tinamou": [sys.executable, "-m", "tinamou.tools.main", "system", "avr", "-machine", "uno", "-bios", str(elf),
                       "-display", "none", "-monitor", "none", "-serial", "stdio"]}  # fmt: skip
    if shutil.which("simavr"):
        out["simavr"] = ["simavr", "-m", "atmega328p", "-f", str(HZ), str(elf)]
    if shutil.which("qemu-system-avr"):
        out["original"] = [
            "qemu-system-avr",
            "-machine",
            "uno",
            "-bios",
            str(elf),
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
        ]
    return out


def run(command: list[str], mark: bytes) -> tuple[float, float, bytes]:
    """CPU seconds, wall seconds and output until the mark was written; then the process is killed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if command[0] == "simavr" else subprocess.DEVNULL
    )
    assert process.stdout is not None
    text = b""
    while mark not in text and time.perf_counter() - start < LIMIT:
        if select.select([process.stdout], [], [], 1.0)[0]:
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                break
            text += piece
    wall = time.perf_counter() - start
    os.kill(process.pid, signal.SIGKILL)  # not process.kill: that would wait for a process that has ended
    usage: resource.struct_rusage = os.wait4(process.pid, 0)[2]
    process.returncode = 0
    process.communicate()
    return usage.ru_utime + usage.ru_stime, wall, text


def cycles(elf: Path) -> tuple[int, str]:
    """How many cycles the program takes to its last character, and what it writes."""
    from tinamou.backends.chardev.base import MemoryChardev
    from tinamou.isa.avr.runner import AvrEngine
    from tinamou.machine.board import find
    from tinamou.machine.machine import Settings

    engine, port, kind = AvrEngine(), MemoryChardev(id="s"), find("uno", "avr")
    kind.make(Settings(bios=str(elf), serials=[port], ram_size=kind.ram), cpu_factory=engine.factory)
    total = 0
    while b"\n" not in bytes(port.sent):
        total += engine.run_cycles(100_000)
    engine.close()
    return total, bytes(port.sent).decode().strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*PROGRAMS, "start"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    if not shutil.which("avr-gcc"):
        print("bench/avr.py: avr-gcc is not installed (Debian: gcc-avr avr-libc)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in given.names:
            if name == "start":
                start(folder, given.runs)
                continue
            elf = build(name, max(1, int(PROGRAMS[name] * given.scale)), folder)
            count, said = cycles(elf)
            print(f"{name}: {count / 1e6:.0f} million cycles, {count / HZ:.1f} s of an Arduino; it says {said}")
            times: dict[str, list[float]] = {}
            for _ in range(given.runs):
                for who, command in emulators(elf).items():
                    if who == "original" and name == "blink":
                        continue
                    cpu, _wall, text = run(command, said.encode())
                    if said.encode() not in text:
                        print(f"  {who}: no result within {LIMIT:.0f} s")
                        continue
                    times.setdefault(who, []).append(cpu)
            speeds = {who: count / statistics.median(all_) / 1e6 for who, all_ in times.items()}
            for who, speed in speeds.items():
                ratio = "" if who == "tinamou" else f", tinamou is {speeds['tinamou'] / speed:.2f}x"
                print(f"  {who:<9} {speed:7.0f} million cycles a second of CPU time = {speed * 1e6 / HZ:5.1f}x an Arduino{ratio}")
    return 0


def start(folder: Path, runs: int) -> None:
    """From the start of the process to the first character."""
    elf = build("float", 1, folder)
    for who, command in emulators(elf).items():
        run(command, b"\n")
        found = [run(command, b"\n")[:2] for _ in range(runs)]
        cpu, wall = (statistics.median(f[n] for f in found) for n in (0, 1))
        print(f"start to first character: {who:<9} {cpu * 1000:5.0f} ms of CPU time, {wall * 1000:5.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
