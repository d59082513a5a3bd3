"""Boards and devices of other packages: modules named by entry points, imported when a list of boards or devices is asked for."""

from __future__ import annotations

import sys
from functools import cache


@cache
def load(group: str) -> None:
    """Import what installed packages offer as `group`. A package that cannot be imported is told of and left out."""
    import importlib.metadata  # a sixth of the start of a small machine

    for entry in importlib.metadata.entry_points(group=group):
        try:
            entry.load()
        except Exception as e:
            package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
            print(f"tinamou: warning: plug-in '{entry.name}'{package} is left out: {type(e).__name__}: {e}", file=sys.stderr)
