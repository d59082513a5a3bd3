"""Random functions, run in CPython and compiled."""

import random

import pytest
from native_harness import Pack, argument_types, edges
from program_writer import Writer

FUNCTIONS = 12  # in one image
INPUTS = 12


def check(seed: int, opt: int) -> None:
    writers = [Writer(seed * FUNCTIONS + k) for k in range(FUNCTIONS)]
    pack = Pack([w.run for w in writers], opt)
    r = random.Random(seed)
    for w in writers:
        kinds = argument_types(w.run)
        for _ in range(INPUTS):
            values = [r.choice(edges(t)) if r.random() < 0.6 else int(t(r.getrandbits(t.bits))) for t in kinds]  # type: ignore[attr-defined]
            try:
                pack.check(w.run, *values)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{w.text}") from None


@pytest.mark.parametrize("seed", range(16))
def test_random_functions(seed: int) -> None:
    check(seed, (2, 0, 1, 3)[seed % 4])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 500))
def test_many_random_functions(seed: int) -> None:
    check(seed, (2, 0, 1, 3)[seed % 4])
