"""Programs with hot loops, with and without compiled regions: phases, signals, threads, code that goes away; and how compiling disturbs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.guests import program, run
from tinamou.native.cache import files

ROUNDS = 20_000_000  # of a loop: a quarter of a second
WHAT = ["phases", "interrupted", "threads", "replaced"]


def statistics(text: str) -> dict[str, int]:
    """Regions, dropped ones, and percent of the time in them, as -d jit tells them."""
    found = re.search(r"regions +(\d+) .* (\d+) dropped.*\n(?:.*\n)*? +time +regions (\d+)%", text)
    assert found, text
    return dict(zip(("regions", "dropped", "share"), map(int, found.groups()), strict=True))


def hot(what: str, jit: str, rounds: int, arch: str = "riscv64") -> str:
    options = ["--no-code-cache", "-accel", f"tcg,jit={jit}", "-d", "jit"]
    done = run(program("hot", arch), what, str(rounds), arch=arch, options=options)
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done.stderr
    return done.stderr


@pytest.mark.parametrize("arch", ["riscv64", "riscv32", "aarch64"])
@pytest.mark.parametrize("jit", ["off", "traces"])
@pytest.mark.parametrize("what", WHAT)
def test_without_regions(what: str, jit: str, arch: str) -> None:
    assert "nothing is compiled" in hot(what, jit, ROUNDS // 20, arch)


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("jit", ["on", "eager"])
def test_with_regions(jit: str, what: str) -> None:
    """Each loop of each phase becomes a region, and is one no more when its code is another; `on` waits till that pays."""
    found = statistics(hot(what, jit, ROUNDS * (4 if jit == "eager" else 6)))
    assert found["regions"] >= 2 and found["share"] > (5 if what == "replaced" else 15)
    assert found["dropped"] > 2 or what != "replaced"


@pytest.mark.parametrize("what", ["phases", "replaced"])
def test_regions_and_interpreter_side_by_side(what: str) -> None:
    """The same instructions on both, slice by slice, while loops are compiled and their code goes away."""
    words = ["lockstep", "--engines", "interpreter,regions", "--every", "150000", program("hot"), what, "400000"]
    done = subprocess.run([sys.executable, "-m", "tinamou.tools.main", *words], capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done.stderr
    found = re.search(r" (\d+) regions.*: regions and interpreter agree\n", done.stderr)
    assert found and int(found[1]) >= 2, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["riscv32", "aarch64"])
@pytest.mark.parametrize("what", WHAT)
def test_with_regions_elsewhere(what: str, arch: str) -> None:
    """A64's rows take seconds to load: the loops run longer."""
    found = statistics(hot(what, "eager", ROUNDS * (10 if arch == "aarch64" else 1), arch))
    assert found["regions"] >= 2 and found["share"] > 5


def test_processes_share_the_cache_on_disk(tmp_path: Path) -> None:
    """Several at once, one of them killed; then a damaged file: what runs is right, and what was kept is used when it is whole."""
    for _, _, image in files("", ".image"):
        shutil.copy(image, tmp_path)
    tmp_path.chmod(0o700)
    environment = {**os.environ, "TINAMOU_CACHE": str(tmp_path)}
    words = [
        sys.executable,
        "-m",
        "tinamou.tools.main",
        "user",
        "riscv64",
        "-accel",
        "tcg,jit=eager",
        "-d",
        "jit",
        program("hot"),
        "phases",
    ]
    several = [
        subprocess.Popen([*words, str(4 * ROUNDS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(4)
    ]
    time.sleep(0.8)
    several[0].kill()
    said = [p.communicate(timeout=100) for p in several]
    assert [p.returncode for p in several[1:]] == [0] * 3 and all(output == "0 failures\n" for output, _ in said[1:])
    (kept,) = tmp_path.glob("regions-*.bundle")

    def again() -> int:
        done = subprocess.run([*words, str(4 * ROUNDS)], capture_output=True, text=True, env=environment, timeout=100)
        assert (done.returncode, done.stdout) == (0, "0 failures\n")
        return int(re.search(r"(\d+) from the cache on disk", done.stderr)[1])  # type: ignore[index]

    assert again() >= 2
    damaged = bytearray(kept.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    kept.write_bytes(damaged)
    assert again() == 0
    assert again() >= 2


@pytest.mark.parametrize("name", ["signals", "threads", "memory", "races"])
@pytest.mark.parametrize("jit", ["off", "eager"])
def test_programs_that_check_themselves(name: str, jit: str) -> None:
    done = run(program(name), options=["--no-code-cache", "-accel", f"tcg,jit={jit}"])
    assert (done.stderr, done.returncode) == ("", 0) and done.stdout.endswith("0 failures\n")
