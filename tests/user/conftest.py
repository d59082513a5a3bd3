"""Settings of the tests that run programs."""

from __future__ import annotations

import pytest

FIRST = 1500  # seconds that the first program may take: the interpreter of its architecture may have to be built


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        values = getattr(getattr(item, "callspec", None), "params", {}).values()
        if "aarch64" in values or "arm64" in item.path.name:
            item.add_marker(pytest.mark.timeout(FIRST))
