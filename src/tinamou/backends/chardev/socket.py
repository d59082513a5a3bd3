"""Character devices on sockets: Unix and TCP, server and client, with telnet and reconnection; and UDP."""

from __future__ import annotations

import errno
import os
import socket

from tinamou.backends.chardev.streams import FdChardev
from tinamou.machine.props import BOOL, STR, U32, PropertyError, prop

IAC, DONT, DO, WONT, WILL, SB, SE, BREAK = 255, 254, 253, 252, 251, 250, 240, 243
TELNET_GREETING = bytes([IAC, WILL, 1, IAC, WILL, 3, IAC, WILL, 0, IAC, DO, 0])     # echo, no go-ahead, binary both ways


class SocketChardev(FdChardev, kind="socket"):
    """One peer at a time. A server goes on listening; a client may reconnect."""

    path: str = prop(STR, default="")
    host: str = prop(STR, default="")
    port: str = prop(STR, default="")
    fd: str = prop(STR, default="")
    server: bool = prop(BOOL, default=False)
    wait: bool = prop(BOOL, default=True)
    telnet: bool = prop(BOOL, default=False)
    nodelay: bool = prop(BOOL, default=False)
    delay: bool = prop(BOOL, default=True)
    ipv4: bool = prop(BOOL, default=True)
    ipv6: bool = prop(BOOL, default=True)
    reconnect: int = prop(U32, default=0, help="seconds between attempts of a client")
    abstract: bool = prop(BOOL, default=False)

    def open(self) -> None:
        self.peer: socket.socket | None = None
        self.listener: socket.socket | None = None
        self.use(None, None)
        self.opened = False
        if not self.path and not self.host and not self.port and not self.fd:
            raise PropertyError("chardev: socket: no path, host or fd given")
        if (self.host or self.port) and not self.port:
            raise PropertyError("chardev: socket: no port given")
        if self.server and self.reconnect:
            raise PropertyError("'reconnect' option is incompatible with socket in server listen mode")
        if self.server:
            self.listen()
        elif self.fd:
            try:
                self.connected(socket.socket(fileno=int(self.fd)))
            except ValueError:
                raise PropertyError(f"Unable to parse FD number {self.fd}") from None
        else:
            self.dial(self.reconnect == 0)

    @property
    def address(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        if self.fd:
            return f"fd:{self.fd}"
        return f"{'telnet' if self.telnet else 'tcp'}:{self.host}:{self.shown_port}"

    @property
    def shown_port(self) -> str:
        if self.listener is not None and not self.path:
            return str(self.listener.getsockname()[1])
        return self.port

    @property
    def filename(self) -> str:
        return ("" if self.peer else "disconnected:") + self.address + (",server=on" if self.server else "")

    # --- connecting

    def _where(self) -> tuple[socket.AddressFamily, object]:
        if self.path:
            return socket.AF_UNIX, "\0" + self.path if self.abstract else self.path
        family = 0 if self.ipv4 and self.ipv6 else socket.AF_INET if self.ipv4 else socket.AF_INET6
        try:
            found = socket.getaddrinfo(self.host or None, self.port, family, socket.SOCK_STREAM, 0,
                                       socket.AI_PASSIVE if self.server else 0)
        except (socket.gaierror, OverflowError) as e:
            raise PropertyError(f"address resolution failed for {self.host}:{self.port}: {e}") from None
        found.sort(key=lambda f: f[0] != socket.AF_INET)
        return found[0][0], found[0][4]

    def listen(self) -> None:
        if self.fd:
            self.listener = socket.socket(fileno=int(self.fd))
        else:
            family, where = self._where()
            self.listener = socket.socket(family, socket.SOCK_STREAM)
            if family == socket.AF_UNIX:
                if not self.abstract and os.path.exists(self.path):
                    os.unlink(self.path)
            else:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.listener.bind(where)  # type: ignore[arg-type]
            except OSError as e:
                self.listener.close()
                raise PropertyError(f"Failed to bind socket to {self.path or self.host + ':' + self.port}: "
                                    f"{os.strerror(e.errno or 0)}") from None
            self.listener.listen(1)
        if self.wait and self.loop is not None:
            if self.front is None:
                self.connected(self.listener.accept()[0])
        else:
            self.expect()

    def expect(self) -> None:
        """Wait for the next peer in the loop."""
        if self.loop is not None and self.listener is not None:
            self.listener.setblocking(False)
            self.loop.reader(self.listener.fileno(), self.arrived)

    def arrived(self) -> None:
        assert self.listener is not None and self.loop is not None
        try:
            peer, _ = self.listener.accept()
        except OSError:
            return
        self.loop.reader(self.listener.fileno(), None)
        self.connected(peer)

    def dial(self, must: bool) -> None:
        family, where = self._where()
        peer = socket.socket(family, socket.SOCK_STREAM)
        try:
            peer.connect(where)  # type: ignore[arg-type]
        except OSError as e:
            peer.close()
            if must:
                raise PropertyError(f"Failed to connect to '{self.path or self.host + ':' + self.port}': "
                                    f"{os.strerror(e.errno or errno.ECONNREFUSED)}") from None
            self.redial()
            return
        self.connected(peer)

    def redial(self) -> None:
        if self.loop is not None and self.reconnect:
            self.loop.later(self.reconnect, lambda: self.dial(False))

    def connected(self, peer: socket.socket) -> None:
        self.peer = peer
        peer.setblocking(False)
        if peer.family != socket.AF_UNIX and (self.nodelay or not self.delay):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.use(peer.fileno(), peer.fileno())
        if self.telnet:
            os.write(peer.fileno(), TELNET_GREETING)
            self._iac = bytearray()
        self.event("opened")

    def ended(self) -> None:
        peer = self.peer
        if peer is None:
            return
        if self.loop is not None:
            if self._reading:
                self.loop.reader(peer.fileno(), None)
            if self._out:
                self.loop.writer(peer.fileno(), None)
        self._reading = False
        self.fd_in = self.fd_out = self.peer = None
        self._out.clear()
        self._queue.clear()
        peer.close()
        self.event("closed")
        if self.server:
            self.expect()
        else:
            self.redial()

    # --- telnet

    def deliver(self, data: bytes) -> None:
        if self.telnet and data:
            data = self._plain(data)
        super().deliver(data)

    def _plain(self, data: bytes) -> bytes:
        """Input without telnet commands; a BREAK becomes an event."""
        out = bytearray()
        for byte in data:
            pending = self._iac
            if not pending:
                if byte == IAC:
                    pending.append(byte)
                else:
                    out.append(byte)
            elif len(pending) == 1:
                if byte == IAC:
                    out.append(byte)
                    pending.clear()
                elif byte in (WILL, WONT, DO, DONT, SB):
                    pending.append(byte)
                else:
                    if byte == BREAK:
                        self.event("break")
                    pending.clear()
            elif pending[1] == SB:
                pending.append(byte)
                if pending[-2:] == bytes([IAC, SE]) or len(pending) > 256:
                    pending.clear()
            else:
                pending.clear()
        return bytes(out)

    def send(self, data: bytes) -> int:
        if self.peer is None:
            return len(data)
        if self.telnet:
            super().send(data.replace(b"\xff", b"\xff\xff"))
            return len(data)
        return super().send(data)

    def close(self) -> None:
        super().close()
        if self.peer is not None:
            self.peer.close()
            self.peer = None
        if self.listener is not None:
            if self.loop is not None and not self._reading:
                try:
                    self.loop.reader(self.listener.fileno(), None)
                except KeyError:
                    pass
            self.listener.close()
            self.listener = None
            if self.path and not self.abstract and os.path.exists(self.path):
                os.unlink(self.path)


class UdpChardev(FdChardev, kind="udp"):
    """Datagrams to one address, from anybody."""

    host: str = prop(STR, default="localhost")
    port: str = prop(STR, default="")
    localaddr: str = prop(STR, default="")
    localport: str = prop(STR, default="0")

    def open(self) -> None:
        if not self.port:
            raise PropertyError("chardev: udp: remote port not specified")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.localaddr, int(self.localport or 0)))
        self.socket.connect((self.host or "localhost", int(self.port)))
        self.socket.setblocking(False)
        self.use(self.socket.fileno(), self.socket.fileno())

    def ended(self) -> None:
        """An empty datagram or a refusal ends nothing."""

    def close(self) -> None:
        super().close()
        self.socket.close()
