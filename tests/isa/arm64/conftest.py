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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test on compiled handlers compiles them."""
    for item in items:
        if getattr(getattr(item, "callspec", None), "params", {}).get("engine") is NativeEngine:
            item.add_marker(pytest.mark.timeout(1500))
