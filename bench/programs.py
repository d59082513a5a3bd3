"""Programs that others built: Debian's busybox and python3, ruff from the package index; on all processors and on one.

A cold run finds an empty code cache; the warm run behind it finds what that one left.  How much of the CPU time went into compiling is
what `-d jit` of the measured run itself says.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import build
import measure
from measure import BenchError, Runner, Sample

from support.debian import DebianError, sysroot
from support.once import made
from support.wheels import MUSL, PLATFORMS, WheelError, program

DEBIAN = {"riscv64": "riscv64", "aarch64": "arm64"}  # guest -> name of the Debian architecture
PACKAGES = ("busybox-static", "python3", "libpython3-stdlib", "libatomic1")
TEXT = 32 << 20  # bytes that gzip and sha256sum read
SCRIPT = build.PROGRAMS / "interpreted.py"
ROUNDS = 40
TREE = ("asyncio", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "xml")
COMPILING = re.compile(r"time spent compiling +([\d.]+) s")
COLD, WARM, TIER0, ORIGINAL = "cold", "warm", "tier 0", "original"
GOALS = {COLD: 1.0, WARM: 1.3}  # times the original's speed
START = 0.5  # CPU time of a warm start of python3, over that of a cold one


@dataclass
class Program:
    """What is run, and whether what it writes is right."""

    name: str
    text: str
    command: Callable[[Path, str, bool], list[str]]  # of the Debian root, the guest, and whether a tenth of the work is enough
    right: Callable[[str, bool], bool]


def input_text(quick: bool) -> Path:
    """Lines of words and numbers, the same each time."""
    size = TEXT // (10 if quick else 1)

    def make(fresh: Path) -> None:
        choice, lines, length = random.Random(1), [], 0
        words = ["".join(choice.choices("etaoinshrdlucmfw", k=choice.randint(2, 9))) for _ in range(5000)]
        while length < size:
            lines.append(" ".join(choice.choices(words, k=12)) + f" {choice.getrandbits(32)}\n")
            length += len(lines[-1])
        fresh.write_text("".join(lines)[:size])

    return made(build.CACHE / "data" / f"text-{size}", make)


def gzip_is_right(output: str, quick: bool) -> bool:
    return zlib.decompress(output.encode(errors="surrogateescape"), 31) == input_text(quick).read_bytes()


def sha256_is_right(output: str, quick: bool) -> bool:
    return output.split()[0] == hashlib.sha256(input_text(quick).read_bytes()).hexdigest()


def rounds(quick: bool) -> str:
    return str(ROUNDS // (10 if quick else 1))


def python_is_right(output: str, quick: bool) -> bool:
    return output == measure.run(Runner("native", [sys.executable, "-S"]), SCRIPT, rounds(quick)).output


def ruff(root: Path, guest: str, quick: bool) -> list[str]:
    tool = program("ruff", guest, platforms=MUSL if guest == "aarch64" else PLATFORMS)  # static on AArch64
    (library,) = root.glob("usr/lib/python3.*")
    words = ["check", "--isolated", "--no-cache", "--select", "ALL", "--exit-zero", "--quiet", "--statistics"]
    return [str(tool), *words, *(str(library / name) for name in TREE[: 1 if quick else None])]


PROGRAMS = {
    p.name: p
    for p in (
        Program("gzip", "busybox gzip, 32 MiB of text",
                lambda root, guest, quick: [f"{root}/usr/bin/busybox", "gzip", "-c", str(input_text(quick))], gzip_is_right),
        Program("sha256sum", "busybox sha256sum, 32 MiB",
                lambda root, guest, quick: [f"{root}/usr/bin/busybox", "sha256sum", str(input_text(quick))], sha256_is_right),
        Program("python3", "Debian's python3: calls, objects, floats, dictionaries, strings, generators, big integers",
                lambda root, guest, quick: [f"{root}/usr/bin/python3", "-S", str(SCRIPT), rounds(quick)], python_is_right),
        Program("ruff", "ruff check of some packages of Python's library, a thread for each processor", ruff,
                lambda output, quick: "unused" in output),
    )
}  # fmt: skip


def runners(guest: str, root: Path, reference: Runner) -> list[Runner]:
    """Cold, warm from what that left, the interpreter and its traces, the original; for programs that look for libraries below `root`."""

    def prepared(runner: Runner, name: str, *more: str) -> Runner:
        words = ["-L", str(root), "-U", "PYTHONPATH", *more]  # that is for the emulator
        environment = runner.environment | {"PYTHONDONTWRITEBYTECODE": ""}  # Debian's python3 comes without compiled modules
        return replace(runner, name=name, command=[*runner.command, *words], environment=environment)

    _, fresh, tier0 = build.tinamou(guest)
    cold = prepared(fresh, COLD, "-d", "jit")
    return [cold, replace(cold, name=WARM, before=lambda: None), prepared(tier0, TIER0), prepared(reference, ORIGINAL)]


def on_one(runner: Runner) -> Runner:
    return replace(runner, command=["taskset", "-c", str(min(os.sched_getaffinity(0))), *runner.command])


def measured(samples: dict[str, list[Sample]]) -> dict[str, dict[str, float]]:
    """Medians by runner, with the CPU seconds spent compiling where the run told."""
    rows = {}
    for name, some in samples.items():
        rows[name] = measure.summary(some)
        told = [float(found[1]) for s in some if (found := COMPILING.search(s.errors))]
        if told:
            rows[name]["compiling"] = sorted(told)[len(told) // 2]
    return rows


def run(item: Program, found: Sequence[Runner], words: list[str], runs: int, quick: bool) -> dict[str, dict[str, float]]:
    """All runners in turn; every run must write the same, and that must be right."""
    outputs: set[str] = set()

    def once(runner: Runner) -> Sample:
        sample = measure.run(runner, *words)
        outputs.add(sample.output)
        if len(outputs) > 1:
            raise BenchError(f"{item.name}: {runner.name} writes something else than those before")
        return sample

    rows = measured(measure.alternate(found, runs, once))
    if not item.right(outputs.pop(), quick):
        raise BenchError(f"{item.name}: what it writes is wrong")
    return rows


def results(names: Sequence[str], guest: str, reference: Runner, runs: int, quick: bool) -> dict[str, Any]:
    """Of each program: on all processors, and on one without tier 0.  Of python3 also the start, cold and warm."""
    try:
        root = sysroot(DEBIAN[guest], *PACKAGES)
        commands = {name: PROGRAMS[name].command(root, guest, quick) for name in names}
    except (DebianError, WheelError) as error:
        raise BenchError(str(error)) from None
    everyone = runners(guest, root, reference)
    report: dict[str, Any] = {}
    for runner in everyone[1:]:
        measure.run(runner, str(root / "usr/bin/busybox"), "true")  # interpreters are in their caches from here on
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        item = PROGRAMS[name]
        report[name] = {
            "all": run(item, everyone, commands[name], runs, quick),
            "one": run(item, [on_one(r) for r in everyone if r.name != TIER0], commands[name], runs, quick),
        }
    if "python3" in names:
        start = [str(root / "usr/bin/python3"), "-c", "pass"]
        found = [r for r in everyone if r.name != TIER0]
        report["python3"]["start"] = measured(measure.alternate(found, 3 * runs, lambda r: measure.run(r, *start)))
    return report


def goals(report: dict[str, Any]) -> list[tuple[str, float, bool]]:
    """(goal, what was measured, whether it is reached)."""
    rows = []
    for runner, least in GOALS.items():
        for name, found in report.items():
            for key, by in (("cpu", "CPU"), ("wall", "wall")):
                speed = measure.speeds(found["all"], ORIGINAL, key)[runner]
                rows.append((f"{name} {runner} at least {least:g}x by {by} time", speed, speed >= least))
    if "python3" in report:
        for what in ("start", "all"):
            found = report["python3"][what]
            ratio = found[WARM]["cpu"] / found[COLD]["cpu"]
            text = "start of python3" if what == "start" else "python3's whole run"
            rows.append((f"{text}: CPU time warm / cold under {START:g}", ratio, ratio < START))
    return rows


def text(report: dict[str, Any]) -> str:
    lines = [f"{'':<10} {'':<10} {'CPU s':>8} {'wall s':>8} {'speed':>7} {'by wall':>8} {'MB':>7} {'compiling s':>12} {'of CPU':>7}"]
    for name, found in report.items():
        for where, rows in found.items():
            by_cpu, by_wall = measure.speeds(rows, ORIGINAL), measure.speeds(rows, ORIGINAL, "wall")
            label = name if where == "all" else {"one": " one CPU", "start": " -c pass"}[where]
            for runner, row in rows.items():
                line = f"{label:<10} {runner:<10} {row['cpu']:8.3f} {row['wall']:8.3f}"
                if runner != ORIGINAL:
                    line += f" {by_cpu[runner]:6.2f}x {by_wall[runner]:7.2f}x"
                else:
                    line += f" {'':>7} {'':>8}"
                line += f" {row['memory'] / 1e6:7.1f}"
                if "compiling" in row:
                    line += f" {row['compiling']:12.3f} {row['compiling'] / row['cpu']:7.1%}"
                lines.append(line)
    lines += ["", f"{'goal':<52} {'measured':>9}"]
    lines += [f"{goal:<52} {value:8.2f}x  {'reached' if done else 'not reached'}" for goal, value, done in goals(report)]
    return "\n".join(lines)
