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
    ages = []
    for path in files(f"{name}-", ".image"):
        with contextlib.suppress(OSError):
            ages.append((os.path.getmtime(path), path))
    for _, path in sorted(ages)[:-keep]:
        with contextlib.suppress(OSError):
            os.unlink(path)
    sweep()


def files(first: str, last: str) -> list[str]:
    """Paths of the files in the cache whose names begin and end like that."""
    path = folder()
    if path is None:
        return []
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return []
    return [os.path.join(path, name) for name in names if name.startswith(first) and name.endswith(last)]


def scratch(age: float = 0) -> list[str]:
    """Files that are being written, or that processes that died have left; those older than `age` seconds."""
    found = []
    for path in files(".", ""):
        with contextlib.suppress(OSError):
            if SCRATCH.fullmatch(os.path.basename(path)) and os.path.getmtime(path) <= time.time() - age:
                found.append(path)
    return found


def sweep() -> None:
    """Delete what processes that died while they wrote have left."""
    for path in scratch(LEFT):
        with contextlib.suppress(OSError):
            os.unlink(path)


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
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        return False
    return True
