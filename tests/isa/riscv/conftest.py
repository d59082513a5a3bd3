"""Fixtures of the RISC-V tests."""

from __future__ import annotations

import functools

import pytest
from riscv_harness import ENGINES, Engine, Unicorn


@functools.cache
def _engine(kind: type[Engine], xlen: int) -> Engine:
    return kind(xlen)


@functools.cache
def _oracle(xlen: int) -> Unicorn:
    return Unicorn(xlen)


@pytest.fixture(params=[64, 32], ids=["rv64", "rv32"])
def xlen(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=ENGINES, ids=lambda kind: kind.name)
def engine(request: pytest.FixtureRequest, xlen: int) -> Engine:
    """Each engine under test, for each width."""
    return _engine(request.param, xlen)


@pytest.fixture
def oracle(xlen: int) -> Unicorn:
    return _oracle(xlen)
