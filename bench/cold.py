"""Cold code: 200,000 instructions, all at different places, run once; what the first time costs and what every further time costs.

The guest program times its calls with its own CPU clock (CLOCK_PROCESS_CPUTIME_ID, which is that of the emulator's process), so the
emulator's start does not blur the difference of 20 ms or so.  The CPU time of whole processes is measured as well, from outside.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

import build
import measure
from measure import Runner

COUNT = 200_000
REPEATS = 20  # further times, together measured as one

PROGRAM = """\
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

unsigned long block(unsigned long *data);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    static unsigned long data[64];
    long times = argc > 1 ? atol(argv[1]) : 0;
    unsigned long sum = 0;
    now();
    double start = now(), first = start;
    for (long i = 0; i < times; i++) {
        sum = sum * 31 + block(data);
        if (!i)
            first = now();
    }
    printf("%016lx %.9f %.9f\\n", sum, first - start, now() - first);
    return 0;
}

__asm__(
    ".text\\n.globl block\\n.option push\\n.option norelax\\n"
    "block:\\n"
    "mv t0, a0\\nli a1, 1\\nli a2, 2\\nli a3, 3\\nli a4, 4\\nli a5, 5\\nli a6, 6\\nli a7, 7\\n"
BODY    "ret\\n.option pop\\n");
"""


def body(count: int) -> str:
    """That many instructions, a branch among every seven; every branch leads to the next instruction, taken or not."""
    choice = random.Random(count)
    registers = [f"a{i}" for i in range(8)]
    lines = []
    for n in range(count):
        a, b, c = (choice.choice(registers) for _ in range(3))
        match n % 7:
            case 0 | 3:
                lines.append(f"addi {a}, {b}, {choice.randrange(-2048, 2048)}")
            case 1:
                lines.append(f"{choice.choice(['add', 'sub', 'xor', 'mul', 'sltu', 'or', 'addw'])} {a}, {b}, {c}")
            case 2:
                lines.append(f"ld {a}, {8 * choice.randrange(64)}(t0)")
            case 4:
                lines.append(f"sd {a}, {8 * choice.randrange(64)}(t0)")
            case 5:
                lines.append(f"{choice.choice(['slli', 'srli', 'srai'])} {a}, {b}, {choice.randrange(1, 64)}")
            case _:
                lines.append(f"{choice.choice(['beq', 'bne', 'blt', 'bgeu'])} {a}, {b}, 1f\\n1:")
    return "".join(f'    "{line}\\n"\n' for line in lines)


def results(runners: Sequence[Runner], runs: int, count: int = COUNT) -> dict[str, Any]:
    """Nanoseconds of CPU per instruction, by runner: the first time, every further time, and the first time seen from outside."""
    program = build.compile(f"cold{count}", "riscv64", PROGRAM.replace("BODY", body(count)))
    found: dict[str, dict[str, list[float]]] = {r.name: {"cold": [], "warm": [], "outside": []} for r in runners}
    memory, sums = dict.fromkeys(found, 0), set()
    for n in range(3 * runs + 1):
        for runner in runners:
            idle, once, often = (measure.run(runner, program, str(times)) for times in (0, 1, 1 + REPEATS))
            (sum1, first, _), (sum21, first21, further) = once.output.split(), often.output.split()
            sums.add((sum1, sum21))
            if n:  # the first round warms up
                row = found[runner.name]
                row["cold"] += [float(first) / count * 1e9, float(first21) / count * 1e9]
                row["warm"].append(float(further) / count / REPEATS * 1e9)
                row["outside"].append((once.cpu - idle.cpu) / count * 1e9)
                memory[runner.name] = max(memory[runner.name], often.memory)
    if len(sums) != 1:
        raise measure.BenchError(f"cold code gives different results: {sorted(sums)}")
    return {name: {k: statistics.median(v) for k, v in row.items()} | {"memory": memory[name]} for name, row in found.items()}


def report(found: dict[str, Any]) -> str:
    lines = [f"{'ns of CPU per instruction':<26} {'first time':>10} {'further':>8} {'outside':>8} {'MB':>7}"]
    for name, row in found.items():
        lines.append(f"{name:<26} {row['cold']:10.1f} {row['warm']:8.2f} {row['outside']:8.1f} {row['memory'] / 1e6:7.1f}")
    return "\n".join(lines)
