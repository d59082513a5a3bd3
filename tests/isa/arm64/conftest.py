"""Fixtures of the A64 tests."""

from __future__ import annotations

import functools

import pytest
from arm64_harness import Engine, GoldenEngine, NativeEngine, Unicorn


@functools.cache
def _engine(kind: type[Engine]) -> Engine:
    return kind()


@functools.cache
def _oracle() -> Unicorn:
    return Unicorn()


@pytest.fixture(params=[GoldenEngine, NativeEngine], ids=lambda kind: kind.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine under test."""
    return _engine(request.param)


@pytest.fixture
def oracle() -> Unicorn:
    return _oracle()
