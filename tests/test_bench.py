"""The benchmarks run: what they list, one kernel with everything compared, and the arithmetic of the report."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.append(str(BENCH))
import build  # noqa: E402
import cold  # noqa: E402
import measure  # noqa: E402
import programs  # noqa: E402
import stalls  # noqa: E402


def bench(*words):
    return subprocess.run([sys.executable, BENCH / "run.py", *map(str, words)], capture_output=True, text=True, timeout=280)


def test_the_list_names_every_benchmark():
    done = bench("--list")
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [*build.kernels(), "cold", "startup", "stalls", *programs.PROGRAMS]
    assert {k.group for k in build.kernels().values()} == {"integer", "floating-point"}


def test_a_kernel_gives_the_native_result_everywhere_and_a_ratio(tmp_path):
    done = bench("--quick", "--runs", 1, "--json", tmp_path / "results.json", "nbody")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^nbody +tinamou +[\d.]+ +[\d.]+ +[\d.]+x +[\d.]+x +[\d.]+$", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^floating-point, geometric mean +tier 0 +[\d.]+x +[\d.]+x$", done.stdout, re.MULTILINE), done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["kernels"]["nbody"]
    assert set(rows) == {"tinamou", "first run", "tier 0", "original"}
    assert all(row["cpu"] > 0 and row["wall"] > 0 and row["memory"] > 0 for row in rows.values())


def test_a_real_program_on_all_processors_and_on_one(tmp_path):
    done = bench("--quick", "--runs", 1, "--json", tmp_path / "results.json", "sha256sum")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "results.json").read_text())
    found = report["programs"]["sha256sum"]
    assert set(found["all"]) == {"cold", "warm", "tier 0", "original"} and set(found["one"]) == {"cold", "warm", "original"}
    assert all(found["all"][name]["compiling"] >= 0 for name in ("cold", "warm"))
    assert [g["reached"] for g in report["goals"]] == [g["measured"] >= (1.0 if "cold" in g["goal"] else 1.3) for g in report["goals"]]
    assert len(re.findall(r"^sha256sum (?:cold|warm) at least .* (?:not )?reached$", done.stdout, re.MULTILINE)) == 4, done.stdout


def test_the_longest_time_between_two_system_calls(monkeypatch):
    monkeypatch.setattr(stalls, "SECONDS", 1)
    runner = build.tinamou("riscv64")[0]
    found = stalls.results([runner], 1)
    assert found["tinamou"]["laps"] > 100 and found["tinamou"]["longest"][0] >= 1e3 / found["tinamou"]["laps"]
    assert (found["tinamou"]["longest"][0] > stalls.LIMIT) == (found["tinamou"]["late"][0] > 0)
    assert re.search(r"^tinamou +[\d.]+ +[\d.]+ +[\d.]+ +\d+$", stalls.report(found), re.MULTILINE)


def test_goals_of_programs():
    def rows(cold, warm):
        return {name: {"cpu": cpu, "wall": cpu} for name, cpu in (("cold", cold), ("warm", warm), ("original", 2.0))}

    found = {"python3": {"all": rows(2.0, 1.6), "start": rows(1.0, 0.4)}}
    reached = {goal: done for goal, _, done in programs.goals(found)}
    assert reached["python3 cold at least 1x by CPU time"] and not reached["python3 warm at least 1.3x by CPU time"]
    assert list(reached.values())[-2:] == [True, False]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quicksrt"], "no benchmark 'quicksrt'; did you mean 'quicksort'?"),
        (["--runs", "0"], "--runs 0: at least 1"),
        (["--guest", "aarch64", "cold"], "cold: for riscv64 only"),
        (["--vs", "/nonexistent", "core"], "bench: /nonexistent: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(words, message):
    done = bench(*words)
    assert done.returncode in (1, 2) and done.stderr.splitlines()[-1].endswith(message), done.stderr


def test_a_process_is_measured_by_itself():
    ballast = bytearray(100 << 20)  # of this process, which the measured one must not inherit
    small = measure.run(measure.Runner("python", [sys.executable, "-S", "-c"]), "print(sum(range(3000000)))")
    assert small.output == "4499998500000\n" and 0 < small.memory < len(ballast)
    big = measure.run(measure.Runner("python", [sys.executable, "-S", "-c"]), "b = bytearray(300 << 20); b[::4096] = b[::4096]")
    assert len(ballast) < 200 << 20 < big.memory < 400 << 20  # the kernel's counter may lag by many pages for each processor


def test_a_failing_program_is_reported():
    with pytest.raises(measure.BenchError, match="status 3\nno reason"):
        measure.run(measure.Runner("python", [sys.executable, "-c"]), "import sys; print('no reason', file=sys.stderr); sys.exit(3)")


def test_speeds_and_means():
    rows = {"a": {"cpu": 2.0}, "b": {"cpu": 0.5}, "original": {"cpu": 1.0}}
    assert measure.speeds(rows, "original") == {"a": 0.5, "b": 2.0}
    assert measure.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_cold_code_has_the_instructions_it_says():
    lines = cold.body(1400).splitlines()
    assert len(lines) == 1400 and sum("1f" in line for line in lines) == 200


def test_whole_machines():
    if not shutil.which("qemu-system-riscv64"):
        pytest.skip("compared with the original where it is installed")
    done = subprocess.run([sys.executable, BENCH / "machines.py", "--runs", "1", "uart"], capture_output=True, text=True, timeout=280)
    assert re.search(r"^UART register access +[\d.]+ +[\d.]+ us  CPU +[\d.]+x", done.stdout, re.MULTILINE), done.stdout + done.stderr
    done = subprocess.run([sys.executable, BENCH / "machines.py", "uarts"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no benchmark 'uarts'; one of boot, compute, uart, disk, snapshot" in done.stderr
