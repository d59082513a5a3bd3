"""Jobs on threads: results in order, errors where they are asked for, nothing left behind."""

from __future__ import annotations

import threading
import time

import pytest

from tinamou.block.pool import Pool


def test_results() -> None:
    with Pool(3) as pool:
        jobs = [pool.submit(lambda n: n * n, n) for n in range(100)]
        assert [job.result() for job in jobs] == [n * n for n in range(100)]
        assert len(pool.threads) == 3


def test_errors_are_raised_by_result() -> None:
    with Pool(2) as pool:
        job = pool.submit(lambda n: 1 // n, 0)
        with pytest.raises(ZeroDivisionError):
            job.result()
        assert pool.submit(lambda n: n, 5).result() == 5


def test_leaving_drops_what_has_not_begun() -> None:
    before = threading.active_count()
    done: list[int] = []

    def slow(n: int) -> None:
        time.sleep(0.02)
        done.append(n)

    with pytest.raises(KeyError), Pool(2) as pool:
        jobs = [pool.submit(slow, n) for n in range(100)]
        jobs[0].result()
        raise KeyError
    assert threading.active_count() == before and 1 <= len(done) < 100
    with pytest.raises(RuntimeError, match="pool was closed"):
        jobs[99].result()
