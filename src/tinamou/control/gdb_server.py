"""The gdb stub on a socket or on standard input and output, in a thread of its own: `-gdb tcp::1234`, `-g 1234`, `-gdb unix:PATH`,
`-gdb stdio` (for gdb's `target remote | COMMAND`)."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tinamou.control.gdb import Stub, Target


class StandardStreams:
    """Standard input and output, as far as the server uses a socket."""

    family = socket.AF_UNIX

    def recv(self, size: int) -> bytes:
        return os.read(0, size)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...


class GdbServer:
    """Listens at once, serves one debugger at a time until `close`.

    `connected` is called when a debugger arrives (the machine should stop then), `lost` when it goes without detaching.
    """

    standard = False  # on standard input and output

    def __init__(self, address: str, target: Target, *, connected: Callable[[], object] = lambda: None,
                 lost: Callable[[], object] = lambda: None) -> None:
        self.target, self.connected, self.lost = target, connected, lost
        self.stub: Stub | None = None
        self._client: Any = None
        self._lock = threading.RLock()
        self._closed = False
        self._arrived = threading.Event()
        self._path = ""
        self.listener = self._listen(address)
        self._thread = threading.Thread(target=self._serve, name="gdb", daemon=True)
        self._thread.start()

    def _listen(self, address: str) -> socket.socket:
        """A socket for `PORT`, `tcp:HOST:PORT[,options]` or `unix:PATH` or a plain path. Raises OSError, ValueError."""
        text = address.split(",")[0]
        m = re.fullmatch(r"(?:tcp:)?(?:\[?([^\]/]*?)\]?:)?(\d+)", text)
        if m:
            host, port = m[1] or "", int(m[2])
            if port > 65535:
                raise ValueError(f"port {port} is not below 65536")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError:
                listener.close()
                raise
        elif text.startswith("unix:") or "/" in text:
            self._path = text.removeprefix("unix:")
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(self._path)
            except OSError:
                listener.close()
                self._path = ""
                raise
        else:
            raise ValueError(f"'{address}' is no port, tcp:HOST:PORT or unix:PATH")
        listener.listen(1)
        return listener

    @property
    def port(self) -> int:
        """The TCP port listened on (useful when 0 was asked for)."""
        name = self.listener.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the first debugger; False when none came in time."""
        return self._arrived.wait(timeout)

    def stopped(self, stop: object) -> None:
        """Pass a stop on to the debugger, if one is there."""
        with self._lock:
            if self.stub is not None:
                self.stub.stopped(stop)  # type: ignore[arg-type]

    def exited(self, status: int) -> None:
        """The machine ends."""
        from tinamou.control.gdb import Stop

        self.stopped(Stop(exit_code=status))

    def _send(self, data: bytes) -> None:
        client = self._client
        if client is not None:
            try:
                client.sendall(data)
            except OSError:
                pass

    def interrupt(self) -> None:
        """As if the debugger had asked to stop."""
        with self._lock:
            if self.stub is not None:
                self.stub.feed(b"\x03")

    def _clients(self) -> Iterator[Any]:
        """Debuggers, one after the other."""
        while not self._closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield client

    def _serve(self) -> None:
        for client in self._clients():
            with self._lock:
                self._client = client
                self.stub = stub = Stub(self.target, self._send)
            self.connected()
            self._arrived.set()
            self._talk(client, stub)
            with self._lock:
                self._client = self.stub = None
            client.close()
            if not stub.closed:
                self.target.clear_all_breaks()
                self.lost()

    def _talk(self, client: Any, stub: Stub) -> None:
        while not stub.closed and not self._closed:
            try:
                data = client.recv(65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                stub.feed(data)

    def close(self) -> None:
        """Stop listening and drop the debugger."""
        self._closed = True
        for s in (self._client, self.listener):
            if s is not None:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()
        if self._path and os.path.exists(self._path):
            os.unlink(self._path)


class StandardGdbServer(GdbServer):
    """One debugger, on standard input and output."""

    standard = True

    def _listen(self, address: str) -> socket.socket:
        return socket.socket(socket.AF_UNIX)

    def _clients(self) -> Iterator[Any]:
        yield StandardStreams()
