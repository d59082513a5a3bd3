"""Processes measured side by side: CPU time, wall time and peak memory of each, alternating A B C A B C."""

from __future__ import annotations

import math
import os
import resource
import select
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 600.0  # seconds of wall time that one run may take


class BenchError(Exception):
    """Why there is no measurement, in words for the user."""


@dataclass
class Runner:
    """One way to run a guest program: a command that the program and its arguments are appended to."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None  # called before every run


@dataclass
class Sample:
    """What one process took: seconds of CPU (user and system, all threads), seconds of wall time, bytes of resident memory at most."""

    cpu: float
    wall: float
    memory: int
    output: str
    errors: str


def high_water(pid: int) -> int:
    """Peak resident bytes of a process that still runs, or 0."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmHWM:")), 0)


def run(runner: Runner, *words: str | Path) -> Sample:
    """Run a program to its end.  Raises BenchError when it fails or takes longer than LIMIT.

    The kernel's ru_maxrss starts from the memory of the process that started the program, so it counts only where it is more than that;
    a program that uses less is looked at while it runs.
    """
    runner.before()
    command = [*runner.command, *map(str, words)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=os.environ | runner.environment)
        except OSError as error:
            raise BenchError(f"{command[0]}: {error.strerror}") from None
        watched, seen, over = os.pidfd_open(process.pid), 0, False
        status = None
        try:
            while not select.select([watched], [], [], 0.002 if time.perf_counter() - start < 0.2 else 0.05)[0]:
                seen = max(seen, high_water(process.pid))
                if not over and time.perf_counter() - start > LIMIT:
                    process.kill()
                    over = True
            wall = time.perf_counter() - start
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            os.close(watched)
            if status is None:
                process.kill()
                process.wait()
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode(errors="surrogateescape"))
    if over:
        raise BenchError(f"{' '.join(command)}: more than {LIMIT:g} s")
    if process.returncode:
        code = process.returncode
        what = f"status {code}" if code > 0 else signal.Signals(-code).name
        raise BenchError(f"{' '.join(command)}: {what}\n{texts[1].strip()[-2000:]}".encode(errors="replace").decode())
    peak, own = usage.ru_maxrss << 10, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return Sample(usage.ru_utime + usage.ru_stime, wall, peak if peak > own else seen, texts[0], texts[1])


def alternate(runners: Sequence[Runner], runs: int, once: Callable[[Runner], Sample]) -> dict[str, list[Sample]]:
    """A sample of every runner in turn, `runs` times over."""
    samples: dict[str, list[Sample]] = {runner.name: [] for runner in runners}
    for _ in range(runs):
        for runner in runners:
            samples[runner.name].append(once(runner))
    return samples


def summary(samples: Sequence[Sample]) -> dict[str, float]:
    """Medians of CPU and wall time in seconds and the greatest memory in bytes."""
    return {
        "cpu": statistics.median(s.cpu for s in samples),
        "wall": statistics.median(s.wall for s in samples),
        "memory": max(s.memory for s in samples),
    }


def speeds(results: Mapping[str, Mapping[str, float]], reference: str, key: str = "cpu") -> dict[str, float]:
    """How many times as fast as the reference every other runner is."""
    return {name: results[reference][key] / max(r[key], 1e-9) for name, r in results.items() if name != reference}


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))
