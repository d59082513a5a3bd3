"""How long a guest waits for the emulator: the longest time between two system calls of a program that makes one every 50 us or so.

Regions are compiled in the meantime: the runner `first run` finds none.  What the machine does besides shows in all runners alike, so the
median of several runs is the figure to look at, and the original's beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import build
import measure
from measure import Runner

SECONDS = 2
LIMIT = 2  # ms: longer laps are counted

PROGRAM = """\
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long words[64];

static double now(void) { /* ms; always a system call */
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

__attribute__((noinline)) static unsigned long sums(long lap) {
    unsigned long sum = 0;
    for (int i = 0; i < 40000; i++) {
        words[i & 63] += sum ^ (i * lap);
        sum += words[i * 7 & 63] >> 3;
    }
    return sum;
}

__attribute__((noinline)) static unsigned long mixed(long lap) {
    unsigned long sum = 0;
    for (int i = 0; i < 40000; i++) {
        sum = sum * 31 + (i ^ lap);
        if (sum & 4)
            sum ^= words[i & 63];
    }
    return sum;
}

int main(int argc, char **argv) {
    double end, last, longest = 0;
    unsigned long sum = 0;
    long laps = 0, late = 0;
    last = now();
    end = last + 1e3 * (argc > 1 ? atol(argv[1]) : 1);
    while (last < end) {
        sum += laps++ >> 9 & 1 ? mixed(laps) : sums(laps);
        double then = now(), lap = then - last;
        late += lap > LIMIT;
        if (lap > longest)
            longest = lap;
        last = then;
    }
    printf("%ld %ld %f %lu\\n", laps, late, longest, sum & 1);
    return 0;
}
"""


def results(runners: Sequence[Runner], runs: int, guest: str = "riscv64") -> dict[str, Any]:
    """By runner: laps a second, the longest lap of each run in ms, and how many a run took more than LIMIT ms."""
    program = build.compile("stalls", guest, PROGRAM.replace("LIMIT", str(LIMIT)))
    found: dict[str, dict[str, list[float]]] = {r.name: {"laps": [], "longest": [], "late": []} for r in runners}
    for n in range(runs + 1):
        for runner in runners:
            laps, late, longest, _ = measure.run(runner, program, str(SECONDS)).output.split()
            if n:  # the first round warms up
                row = found[runner.name]
                row["laps"].append(int(laps) / SECONDS)
                row["late"].append(int(late))
                row["longest"].append(float(longest))
    return {name: {"laps": statistics.median(r["laps"]), "longest": r["longest"], "late": r["late"]} for name, r in found.items()}


def report(found: dict[str, Any]) -> str:
    lines = [f"{'a system call a lap':<26} {'us a lap':>10} {'longest, ms':>12} {'worst run':>10} {f'laps over {LIMIT} ms, each run':>28}"]
    for name, row in found.items():
        each = " ".join(f"{n:.0f}" for n in row["late"])
        longest = row["longest"]
        lines.append(f"{name:<26} {1e6 / row['laps']:10.1f} {statistics.median(longest):12.2f} {max(longest):10.2f} {each:>28}")
    return "\n".join(lines)
