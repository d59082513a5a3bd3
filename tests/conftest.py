"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tinamou", deadline=None)  # a loaded machine is no defect
settings.load_profile("tinamou")
