"""A ring in memory that keeps the latest bytes; read by `ringbuf-read`."""

from __future__ import annotations

from tinamou.backends.chardev.base import Chardev
from tinamou.machine.props import SIZE, PropertyError, prop


class RingbufChardev(Chardev, kind="ringbuf"):
    """The last `size` bytes the guest sent."""

    ring: int = prop(SIZE, default=65536, name="size")

    def open(self) -> None:
        if not self.ring or self.ring & self.ring - 1:
            raise PropertyError("size of ringbuf chardev must be power of two")
        self.kept = bytearray()

    def send(self, data: bytes) -> int:
        self.kept += data
        del self.kept[: max(0, len(self.kept) - self.ring)]
        return len(data)

    def take(self, size: int) -> bytes:
        """Remove and return the oldest bytes."""
        out = bytes(self.kept[:size])
        del self.kept[:size]
        return out
