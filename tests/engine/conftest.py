"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from engine_harness import KINDS, InterpreterGuest, attach, guests


@pytest.fixture(params=[64, 32], ids=["rv64", "rv32"])
def xlen(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=KINDS)
def guest(request: pytest.FixtureRequest, xlen: int) -> Any:
    """A guest on each engine, for each width."""
    return guests(request.param, xlen)


@pytest.fixture
def pair(xlen: int) -> Any:
    """The same empty guest on the golden model and on the interpreter."""
    return guests("golden", xlen), guests("interpreter", xlen)


@pytest.fixture
def native(xlen: int) -> InterpreterGuest:
    """A guest on the interpreter."""
    found: InterpreterGuest = guests("interpreter", xlen)
    return found


@pytest.fixture(autouse=True, scope="module")
def leave_no_records() -> Iterator[None]:
    """The main thread belongs to no CPU after these tests."""
    yield
    attach(None)
