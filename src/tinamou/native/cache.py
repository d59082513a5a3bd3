"""Compiled images on disk: `$XDG_CACHE_HOME/tinamou` or `~/.cache/tinamou`.

A file is written beside its place and renamed into it, so that concurrent processes see whole files or none; what does not verify by
its digest is treated as absent and replaced.  The folder must belong to the user and be writable by nobody else, or it is not used.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable

try:  # that of hashlib, which loads OpenSSL as well: 5% of the time that a program takes to start
    from _blake2 import blake2b as blake2b
except ImportError:  # a Python that is built without hash functions of its own
    from hashlib import blake2b as blake2b

MAGIC = b"tinamou\x02"
DIGEST = 32
LARGEST = 1 << 30  # bytes of a file; images have a few hundred thousand
SCRATCH = re.compile(r"\..+\.(?:image|bundle)\.\d+\.[0-9a-f]{8}")
LEFT = 3600  # seconds after which a file half written is left by a process that died


def folder() -> str | None:
    """The cache folder, made if need be; None when there is none that can be trusted."""
    if os.environ.get("TINAMOU_CACHE") == "off":
        return None
    base = os.environ.get("TINAMOU_CACHE") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = base if os.environ.get("TINAMOU_CACHE") else os.path.join(base, "tinamou")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        info = os.stat(path)
    except OSError:
        return None
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o022:
        return None
    return path


def _digest(name: str, content: bytes | memoryview) -> bytes:
    """Over the name too: a file under another's name is not whole."""
    return blake2b(content, digest_size=DIGEST, person=blake2b(name.encode(), digest_size=16).digest()).digest()


def read(name: str) -> bytes | None:
    """The content stored under a name, if it is there and whole."""
    path = folder()
    if path is None:
        return None
    try:
        fd = os.open(os.path.join(path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        if info.st_uid != os.geteuid() or not stat.S_ISREG(info.st_mode) or info.st_size > LARGEST:
            return None
        with open(fd, "rb", closefd=False) as f:
            raw = f.read()
    except OSError:
        return None
    finally:
        os.close(fd)
    body = memoryview(raw)[len(MAGIC) + DIGEST :]
    if raw[: len(MAGIC)] != MAGIC or _digest(name, body) != raw[len(MAGIC) : len(MAGIC) + DIGEST]:
        return None
    return bytes(body)


def trim(name: str, keep: int) -> None:
    """Forget all but the `keep` newest files called name-..., and what writing processes that died have left."""
    delete(path for _, _, path in files(f"{name}-", ".image")[:-keep])
    sweep()


def files(first: str, last: str) -> list[tuple[float, int, str]]:
    """Of the files in the cache whose names begin and end like that: time of the last change, bytes and path, oldest first."""
    path, found = folder(), list[tuple[float, int, str]]()
    if path is None:
        return found
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(first) and entry.name.endswith(last):
                with contextlib.suppress(OSError):
                    info = entry.stat()
                    found.append((info.st_mtime, info.st_size, entry.path))
    return sorted(found)


def delete(paths: Iterable[str]) -> None:
    """Delete files, as far as they are there and may be deleted."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def scratch(age: float = 0) -> list[str]:
    """Files that are being written, or that processes that died have left; those older than `age` seconds."""
    return [path for changed, _, path in files(".", "") if SCRATCH.fullmatch(os.path.basename(path)) and changed <= time.time() - age]


def sweep() -> None:
    """Delete what processes that died while they wrote have left."""
    delete(scratch(LEFT))


def write(name: str, content: bytes) -> bool:
    """Store content under a name; False when that was not possible (a full disk, no folder): the caller goes on without."""
    path = folder()
    if path is None:
        return False
    fresh = os.path.join(path, f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with open(fresh, "xb") as f:
            f.write(MAGIC + _digest(name, content))
            f.write(content)
        os.replace(fresh, os.path.join(path, name))
    except OSError:
        delete([fresh])
        return False
    return True
