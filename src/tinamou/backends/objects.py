"""Objects made with `-object`: sources of randomness, and secrets for encrypted images."""

from __future__ import annotations

import os
from typing import Any

from tinamou.machine.props import STR, Declared, PropertyError, choices, prop


class RngRandom(Declared, kind="rng-random"):
    """Random bytes from a file of the host."""

    id: str = prop(STR, default="", hidden=True)
    filename: str = prop(STR, default="/dev/urandom")

    def setup(self) -> None:
        try:
            self._file = open(self.filename, "rb", buffering=0)
        except OSError as e:
            raise PropertyError(f"Could not open '{self.filename}': {os.strerror(e.errno or 0)}") from None

    def read(self, size: int) -> bytes:
        """`size` bytes, or fewer when the file ends."""
        return self._file.read(size) or b""


class RngBuiltin(Declared, kind="rng-builtin"):
    """Random bytes from the kernel."""

    id: str = prop(STR, default="", hidden=True)

    def read(self, size: int) -> bytes:
        return os.urandom(size)


KINDS: dict[str, type[Any]] = {c.kind: c for c in (RngBuiltin, RngRandom)}


def make(options: dict[str, Any]) -> Any:
    """An object from `-object` options. Raises PropertyError."""
    given = dict(options)
    kind, id_ = given.pop("qom-type", None), given.pop("id", None)
    if kind is None:
        raise PropertyError("Parameter 'qom-type' is missing")
    cls = KINDS.get(kind)
    if cls is None:
        raise PropertyError(f"Parameter 'qom-type' does not accept value '{kind}'", choices(kind, KINDS))
    if not id_:
        raise PropertyError("Parameter 'id' is missing")
    return cls(id=id_, **cls.properties.parse(given))
