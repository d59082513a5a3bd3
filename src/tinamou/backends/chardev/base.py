"""What every character device has: one front end (a UART, a monitor) and flow control in both directions."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache
from typing import Any, ClassVar, Protocol

from tinamou.backends.loop import Loop
from tinamou.machine.props import BOOL, OBJECT, STR, Declared, PropertyError, choices, prop


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


class Chardev(Declared, kind="null"):
    """The host's side. Subclasses implement `write`; they bring input by `deliver`, which queues what does not fit.

    The base class is the device `null`: it drops what the guest sends.
    """

    QUEUE_LIMIT: ClassVar[int] = 1 << 16

    id: str = prop(STR, default="", hidden=True)
    loop: Loop | None = prop(OBJECT, default=None, hidden=True)
    logfile: str = prop(STR, default="", help="also write what the guest sends into this file")
    logappend: bool = prop(BOOL, default=False)

    def setup(self) -> None:
        self.front: FrontEnd | None = None
        self.opened = True
        self._queue = bytearray()
        self._log = open(self.logfile, "ab" if self.logappend else "wb", buffering=0) if self.logfile else None
        self.open()

    def open(self) -> None:
        """Open files and sockets. Raises OSError or PropertyError."""

    @property
    def filename(self) -> str:
        """As `info chardev` shows it."""
        return self.kind

    # --- the front end's side

    def attach(self, front: FrontEnd) -> None:
        """Become the back end of `front`. Raises PropertyError when there is one already."""
        if self.front is not None and self.front is not front:
            raise PropertyError(f"Device '{self.id}' is in use")
        self.front = front
        if self.opened:
            front.event("opened")
        self.accept_input()

    def detach(self) -> None:
        self.front = None

    def write(self, data: bytes) -> int:
        """Bytes from the guest; returns how many were taken (the rest may be sent again later)."""
        if self._log is not None:
            try:
                self._log.write(data)
            except OSError as e:  # the guest goes on
                sys.stderr.write(f"chardev {self.id}: {self.logfile}: {e.strerror}: nothing more is logged\n")
                self._log = None
        return self.send(data)

    def send(self, data: bytes) -> int:
        """Where the bytes go. The base drops them."""
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
        self.flow()

    def flow(self) -> None:
        """The backlog changed: readers pause while it exceeds QUEUE_LIMIT."""

    @property
    def backlog(self) -> int:
        """Bytes waiting for the front end."""
        return len(self._queue)

    def event(self, what: str) -> None:
        """Tell the front end that the other end was "opened" or "closed", or sent a "break"."""
        if what in ("opened", "closed"):
            self.opened = what == "opened"
        if self.front is not None:
            self.front.event(what)

    def close(self) -> None:
        """Release files and sockets."""
        if self._log is not None:
            self._log.close()
            self._log = None


class MemoryChardev(Chardev, kind="memory-test"):
    """Keeps what the guest sends in `sent`; tests and scripts bring input with `deliver`."""

    def open(self) -> None:
        self.sent = bytearray()

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)


@cache
def discover() -> dict[str, type[Chardev]]:
    """Every kind of character device by the name `-chardev` takes."""
    package = importlib.import_module("tinamou.backends.chardev")
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(info.name)
    found: dict[str, type[Chardev]] = {}
    todo: list[type[Chardev]] = [Chardev]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        if "kind" in vars(cls) and cls.kind != "memory-test":
            found.setdefault(cls.kind, cls)
    return dict(sorted(found.items()))


def make(options: dict[str, Any], loop: Loop | None = None) -> Chardev:
    """A character device from `-chardev` options. Raises PropertyError or OSError."""
    given = dict(options)
    name = given.pop("backend", None)
    if name is None:
        raise PropertyError("Parameter 'backend' is missing")
    id_ = given.pop("id", None)
    if not id_:
        raise PropertyError("chardev: no id specified")
    given.pop("mux", None)
    kinds = discover()
    cls = kinds.get(ALIASES.get(name, name))
    if cls is None:
        raise PropertyError(f"'{name}' is not a valid char driver name", choices(name, kinds))
    return cls(id=id_, loop=loop, **cls.properties.parse(given))


ALIASES = {"memory": "ringbuf", "tty": "serial", "parport": "parallel"}
