"""Programs with hot loops, with and without compiled regions: phases, signals, threads, code that goes away; and how compiling disturbs."""

from __future__ import annotations

import re

import pytest

from support.guests import program, run

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
    """Each loop of each phase becomes a region, and is one no more when its code is another."""
    found = statistics(hot(what, jit, ROUNDS))
    assert found["regions"] >= 2 and found["share"] > (5 if what == "replaced" else 25)
    assert found["dropped"] > 2 or what != "replaced"


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["riscv32", "aarch64"])
@pytest.mark.parametrize("what", WHAT)
def test_with_regions_elsewhere(what: str, arch: str) -> None:
    """A64's rows take seconds to load: the loops run longer."""
    found = statistics(hot(what, "eager", ROUNDS * (10 if arch == "aarch64" else 1), arch))
    assert found["regions"] >= 2 and found["share"] > 5


@pytest.mark.parametrize("name", ["signals", "threads", "memory", "races"])
@pytest.mark.parametrize("jit", ["off", "eager"])
def test_programs_that_check_themselves(name: str, jit: str) -> None:
    done = run(program(name), options=["--no-code-cache", "-accel", f"tcg,jit={jit}"])
    assert (done.stderr, done.returncode) == ("", 0) and done.stdout.endswith("0 failures\n")
