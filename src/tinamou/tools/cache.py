"""tinamou cache info|clear: what is kept on disk between runs.

Compiled interpreters (`*.image`) and compiled regions of programs (`regions-*.bundle`), in the folder that `native.cache` describes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tinamou.native import cache

__all__ = ["main"]

USAGE = "usage: tinamou cache info|clear"


def files() -> list[Path]:
    return [Path(p) for suffix in (".bundle", ".image") for _, _, p in cache.files("", suffix)]


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    if words in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if len(words) != 1 or words[0] not in ("info", "clear"):
        print(f"tinamou cache: {'which one?' if not words else f'unknown words {words}'}\n{USAGE}", file=sys.stderr)
        return 1
    path, found = cache.folder(), files()
    if path is None:
        print("no cache: TINAMOU_CACHE is off, or the folder cannot be made or may be written to by others")
        return 0
    if words[0] == "clear":
        for p in [*found, *map(Path, cache.scratch())]:
            p.unlink(missing_ok=True)
        print(f"{len(found)} files deleted from {path}")
        return 0
    print(path)
    for suffix, what in ((".image", "compiled interpreters"), (".bundle", "programs with compiled regions")):
        some = [p for p in found if p.suffix == suffix]
        print(f"  {len(some):5} {what}, {sum(p.stat().st_size for p in some) / 1048576:.1f} MiB")
    return 0
