"""Starting: a static hello-world with everything in the cache, and the first build of the interpreter with an empty cache folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import build
import measure
from measure import Runner

HEAVY = ("llvmlite", "tinamou.native.lower", "tinamou.native.llvm")  # what a warm start does without


def modules(runner: Runner, program: os.PathLike[str]) -> list[str]:
    """Names of the modules that a run imports."""
    seen = measure.run(replace(runner, environment=runner.environment | {"PYTHONPROFILEIMPORTTIME": "1"}), str(program)).errors
    rows = [line.rsplit("|", 1)[1].strip() for line in seen.splitlines() if line.startswith("import time:")]
    return [name for name in rows if name != "imported package"]


def results(runners: Sequence[Runner], runs: int, guest: str) -> dict[str, Any]:
    program = build.compile("hello", guest)
    for runner in runners:
        if measure.run(runner, program).output != "hello\n":
            raise measure.BenchError(f"{runner.name} does not say hello")
    samples = measure.alternate(runners, 5 * runs, lambda runner: measure.run(runner, program))
    found: dict[str, Any] = {name: measure.summary(rows) for name, rows in samples.items()}
    ours = runners[0]
    imported = modules(ours, program)
    found[ours.name] |= {"modules": len(imported), "heavy": [n for n in imported if n.startswith(HEAVY)]}
    builds = []
    for _ in range(max(1, runs // 2)):
        with tempfile.TemporaryDirectory() as folder:
            builds.append(measure.run(replace(ours, environment=ours.environment | {"TINAMOU_CACHE": folder}), program))
    found["first build"] = measure.summary(builds)
    return found


def report(found: dict[str, Any]) -> str:
    lines = [f"{'static hello-world':<26} {'wall ms':>10} {'CPU ms':>8} {'MB':>7}"]
    for name, row in found.items():
        lines.append(f"{name:<26} {row['wall'] * 1e3:10.1f} {row['cpu'] * 1e3:8.1f} {row['memory'] / 1e6:7.1f}")
        if "modules" in row:
            lines.append(f"  imports {row['modules']} modules, of the compiler {', '.join(row['heavy']) or 'none'}")
    return "\n".join(lines)
