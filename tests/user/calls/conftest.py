"""A guest process of each ABI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.guest_calls import ABIS, Guest


@pytest.fixture(params=list(ABIS))
def g(request: pytest.FixtureRequest) -> Iterator[Guest]:
    guest = Guest(ABIS[request.param])
    yield guest
    guest.release()
