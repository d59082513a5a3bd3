"""Mutated images of every format: no crash, no second lost, no memory that a header asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from block.fuzz_formats import KINDS

TESTS = Path(__file__).parent.parent


def fuzz(kind: str, rounds: int) -> None:
    code = f"import sys; sys.path[:0] = {[str(TESTS), *sys.path]!r}; from block.fuzz_formats import main; main({kind!r}, {rounds})"
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_images(kind: str) -> None:
    fuzz(kind, 600)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_images(kind: str) -> None:
    """200,000 for each format."""
    same = sum(KINDS[other][0] == KINDS[kind][0] for other in KINDS)
    fuzz(kind, -(-200_000 // same))
