"""What every character device has: one front end (a UART, a monitor) and flow control in both directions."""

from __future__ import annotations

from typing import Protocol


class FrontEnd(Protocol):
    """The guest's side of a character device."""

    def can_receive(self) -> int:
        """How many bytes it takes now."""
        ...

    def receive(self, data: bytes) -> None:
        """Take at most as many bytes as `can_receive` said."""
        ...

    def event(self, what: str) -> None:
        """"opened", "closed" or "break"."""
        ...


class Chardev:
    """The host's side. Subclasses implement `write`; they bring input by `deliver`, which queues what does not fit."""

    kind = "null"
    QUEUE_LIMIT = 1 << 20

    def __init__(self, id: str = "") -> None:
        self.id = id
        self.front: FrontEnd | None = None
        self._queue = bytearray()
        self.opened = True

    @property
    def filename(self) -> str:
        """As `info chardev` shows it."""
        return self.kind

    # --- the front end's side

    def attach(self, front: FrontEnd) -> None:
        """Become the back end of `front`. Raises RuntimeError when there is one already."""
        if self.front is not None and self.front is not front:
            raise RuntimeError(f"chardev '{self.id}' is busy")
        self.front = front
        if self.opened:
            front.event("opened")

    def detach(self) -> None:
        self.front = None

    def write(self, data: bytes) -> int:
        """Bytes from the guest; returns how many were taken. The base drops them."""
        return len(data)

    def accept_input(self) -> None:
        """The front end has room again."""
        if self._queue:
            self.deliver(b"")

    # --- the host's side

    def deliver(self, data: bytes) -> None:
        """Bytes for the guest. What it cannot take now waits; `backlog` tells how much."""
        self._queue += data
        while self._queue and self.front is not None:
            n = min(self.front.can_receive(), len(self._queue))
            if n <= 0:
                break
            part = bytes(self._queue[:n])
            del self._queue[:n]
            self.front.receive(part)

    @property
    def backlog(self) -> int:
        """Bytes waiting for the front end; readers pause above `QUEUE_LIMIT`."""
        return len(self._queue)

    def event(self, what: str) -> None:
        """Tell the front end that the other end was "opened" or "closed", or sent a "break"."""
        if what in ("opened", "closed"):
            self.opened = what == "opened"
        if self.front is not None:
            self.front.event(what)

    def close(self) -> None:
        """Release files and sockets."""


class MemoryChardev(Chardev):
    """Keeps what the guest sends in `sent`; tests and scripts bring input with `deliver`."""

    kind = "memory"

    def __init__(self, id: str = "") -> None:
        super().__init__(id)
        self.sent = bytearray()

    def write(self, data: bytes) -> int:
        self.sent += data
        return len(data)
