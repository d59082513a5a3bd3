"""Tinamou's user mode measured against the original's, side by side on this machine: see README.md beside this file."""

from __future__ import annotations

import argparse
import datetime
import difflib
import functools
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import build
import cold
import measure
import programs
import stalls
import startup
from measure import BenchError, Runner

EARLIER = 3  # runs before those that are measured
OTHERS = {
    "cold": "200,000 RISC-V instructions run once",
    "startup": "a static hello-world, and the first build of the interpreter",
    "stalls": "the longest time between two system calls while regions are compiled",
}


def kernel(item: build.Kernel, guest: str, runners: Sequence[Runner], runs: int, rounds: int) -> dict[str, Any]:
    """Measure one kernel; every run of every runner must print what the native program prints."""
    expected = measure.run(Runner("native", []), build.compile(item.name, build.NATIVE), str(rounds)).output
    program = build.compile(item.name, guest)

    def once(runner: Runner) -> measure.Sample:
        sample = measure.run(runner, program, str(rounds))
        if sample.output != expected:
            raise BenchError(f"{item.name}: {runner.name} prints {sample.output.strip()!r}, not {expected.strip()!r}")
        return sample

    for _ in range(EARLIER):  # what they compile, and what they saw to be warm, is there for the next run
        once(runners[0])
    for runner in runners[1:]:
        measure.run(runner, program, "1")  # files and the interpreter are in their caches from here on
    return {name: measure.summary(samples) for name, samples in measure.alternate(runners, runs, once).items()}


def table(rows: dict[str, dict[str, Any]], groups: dict[str, str], reference: str) -> str:
    """Medians per kernel, speed relative to the reference by CPU and by wall time, and geometric means per group."""
    lines = [f"{'':<10} {'':<10} {'CPU s':>8} {'wall s':>8} {'speed':>7} {'by wall':>8} {'MB':>7}"]
    for name, found in rows.items():
        by_cpu, by_wall = measure.speeds(found, reference), measure.speeds(found, reference, "wall")
        for runner, row in found.items():
            ratios = f"{by_cpu[runner]:6.2f}x {by_wall[runner]:7.2f}x" if runner != reference else f"{'':>7} {'':>8}"
            lines.append(f"{name:<10} {runner:<10} {row['cpu']:8.3f} {row['wall']:8.3f} {ratios} {row['memory'] / 1e6:7.1f}")
    for group, means in geometric_means(rows, groups, reference).items():
        for runner, (cpu, wall) in means.items():
            lines.append(f"{group + ', geometric mean':<31} {runner:<10}{cpu:5.2f}x {wall:7.2f}x")
    return "\n".join(lines)


def geometric_means(rows: dict[str, dict[str, Any]], groups: dict[str, str], reference: str) -> dict[str, dict[str, tuple[float, float]]]:
    """By group and runner: speed relative to the reference by CPU time and by wall time."""
    means: dict[str, dict[str, tuple[float, float]]] = {}
    for group in dict.fromkeys(groups[name] for name in rows):
        members = [found for name, found in rows.items() if groups[name] == group]
        means[group] = {
            runner: (
                measure.geometric_mean([measure.speeds(m, reference)[runner] for m in members]),
                measure.geometric_mean([measure.speeds(m, reference, "wall")[runner] for m in members]),
            )
            for runner in measure.speeds(members[0], reference)
        }
    return means


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run, 'programs' for all real ones (default: everything)")
    parser.add_argument("--list", action="store_true", help="print the names of the benchmarks and what they do")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="measured runs of each (default: 5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--guest", choices=build.GUESTS, default="riscv64", help="whose programs (default: riscv64)")
    parser.add_argument("--vs", metavar="PROGRAM", help="compare with this program instead of the original's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as well")
    options = parser.parse_args()
    known = [*build.kernels(), *OTHERS, *programs.PROGRAMS, "programs"]
    for name in options.names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            parser.error(f"no benchmark '{name}'; " + (f"did you mean '{close[0]}'?" if close else f"one of {', '.join(known)}"))
    if options.guest != "riscv64":
        if "cold" in options.names:
            parser.error("cold: for riscv64 only")
        options.names = options.names or [name for name in known if name != "cold"]
    if "programs" in options.names:
        options.names = [*(name for name in options.names if name != "programs" and name not in programs.PROGRAMS), *programs.PROGRAMS]
    if options.runs < 1:
        parser.error(f"--runs {options.runs}: at least 1")
    return options


def main() -> int:
    options = arguments()
    kernels = build.kernels()
    if options.list:
        for item in kernels.values():
            print(f"{item.name:<10} {item.group}: {item.text}")
        for name, text in OTHERS.items():
            print(f"{name:<10} {text}")
        for program in programs.PROGRAMS.values():
            print(f"{program.name:<10} programs: {program.text}")
        return 0
    names = options.names or [*kernels, *OTHERS, *programs.PROGRAMS]
    reference = Runner("other", [options.vs]) if options.vs else build.original(options.guest)
    runners = [*build.tinamou(options.guest), reference]
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": {"processor": processor(), "count": os.cpu_count(), "python": platform.python_version()},
        "reference": measure.run(reference, "--version").output.split("\n")[0],
        "guest": options.guest,
        "runs": options.runs,
        "quick": options.quick,
    }
    print(f"{report['date']}, {processor()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"{reference.name}: {report['reference']}; medians of {options.runs} alternating runs\n", flush=True)
    rows = {}
    for name in names:
        if name in kernels:
            print(f"{name} ...", file=sys.stderr, flush=True)
            item = kernels[name]
            rows[name] = kernel(item, options.guest, runners, options.runs, max(1, item.rounds // (10 if options.quick else 1)))
    if rows:
        groups = {name: kernels[name].group for name in rows}
        report |= {"kernels": rows, "means": geometric_means(rows, groups, reference.name)}
        print(table(rows, groups, reference.name) + "\n", flush=True)
    measures = {
        "cold": cold.results,
        "startup": functools.partial(startup.results, guest=options.guest),
        "stalls": functools.partial(stalls.results, guest=options.guest),
    }
    for name in OTHERS:
        if name in names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            report[name] = measures[name](runners, options.runs)
            print({"cold": cold, "startup": startup, "stalls": stalls}[name].report(report[name]) + "\n", flush=True)
    chosen = [name for name in programs.PROGRAMS if name in names]
    if chosen:
        report["programs"] = programs.results(chosen, options.guest, reference, options.runs, options.quick)
        report["goals"] = [{"goal": goal, "measured": value, "reached": done} for goal, value, done in programs.goals(report["programs"])]
        print(programs.text(report["programs"]) + "\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def processor() -> str:
    """The host processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
