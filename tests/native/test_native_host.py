"""Signals, faults and system calls of the host: each scenario is a process of its own."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinamou.native import host
from tinamou.native.types import u64

SCENARIOS = Path(__file__).parent / "host_scenarios.py"


def run(name: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCENARIOS), name], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", [
    "faults", "bus_errors", "faults_of_code_added_later", "recorded", "every_signal_at_once", "values_queued", "not_caught", "calls",
    "interrupted", "not_entered", "no_signal_is_lost", "to_the_right_thread", "records_come_and_go",
])  # fmt: skip
def test_scenario(name: str) -> None:
    result = run(name)
    assert result.returncode == 0 and result.stdout.endswith("done\n"), (result.returncode, result.stdout, result.stderr)


def test_fault_outside_the_map() -> None:
    result = run("fault_outside_the_map")
    assert result.returncode == -signal.SIGSEGV and "still alive" not in result.stdout


def test_defaults() -> None:
    result = run("defaults")
    assert result.returncode == -signal.SIGUSR1 and result.stdout == "now\n"


def test_fault_map_lookup() -> None:
    """The handler's search, in CPython: every listed address, and none besides."""
    r = random.Random(4)
    for count in (0, 1, 2, 3, 7, 100):
        pairs = {r.randrange(0, 1 << 40) * 2: r.randrange(1, 1 << 47) for _ in range(count)}

        class Listed:
            faults = list(pairs.items())

        table = host.FaultMap(Listed())  # type: ignore[arg-type]
        for at, then in pairs.items():
            assert host.continue_at(u64(table.address), u64(at)) == then
            assert host.continue_at(u64(table.address), u64(at + 1)) == 0
        for at in (0, 1, 1 << 60):
            assert host.continue_at(u64(table.address), u64(at)) == pairs.get(at, 0)
        assert table.append(sorted((at + 1, then) for at, then in pairs.items()))
        for at, then in pairs.items():
            assert host.continue_at(u64(table.more), u64(at + 1)) == then
