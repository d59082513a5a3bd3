"""Files that are made once and then found again, by tests and benchmarks that run at the same time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def made(target: Path, make: Callable[[Path], object]) -> Path:
    """The file `target`; if it is not there yet, `make(path)` writes it under another name first.  One process at a time in a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            fresh = target.with_name(f"{target.name}.{os.getpid()}")
            make(fresh)
            fresh.rename(target)
    return target
