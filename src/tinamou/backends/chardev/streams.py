"""Character devices on files: file, stdio, pipe, pty, the host's serial ports."""

from __future__ import annotations

import atexit
import os
import sys
import termios
import tty
from typing import Any

from tinamou.backends.chardev.base import Chardev
from tinamou.machine.props import BOOL, STR, PropertyError, prop


class FdChardev(Chardev, kind="fd"):
    """Reads one descriptor in the loop and writes another; what cannot be written at once waits, up to a limit."""

    OUTPUT_LIMIT = 1 << 20

    def use(self, fd_in: int | None, fd_out: int | None) -> None:
        """Take over the descriptors."""
        self.fd_in, self.fd_out = fd_in, fd_out
        self._out = bytearray()
        self._reading = False
        self.flow()

    def flow(self) -> None:
        fd = getattr(self, "fd_in", None)
        want = fd is not None and self.loop is not None and self.backlog < self.QUEUE_LIMIT
        if fd is not None and self.loop is not None and want != self._reading:
            self._reading = want
            self.loop.reader(fd, self.readable if want else None)

    def readable(self) -> None:
        assert self.fd_in is not None
        try:
            data = os.read(self.fd_in, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.deliver(data)
        else:
            self.ended()

    def ended(self) -> None:
        """End of the input."""
        if self._reading and self.loop is not None and self.fd_in is not None:
            self.loop.reader(self.fd_in, None)
        self._reading, self.fd_in = False, None
        self.event("closed")

    def send(self, data: bytes) -> int:
        if self.fd_out is None:
            return len(data)
        if not self._out:
            try:
                n = os.write(self.fd_out, data)
            except BlockingIOError:
                n = 0
            except OSError:
                return len(data)
            data_left = data[n:]
        else:
            n, data_left = 0, data
        room = self.OUTPUT_LIMIT - len(self._out)
        self._out += data_left[:room]
        if self._out and self.loop is not None:
            self.loop.writer(self.fd_out, self.writable)
        return n + min(len(data_left), room)

    def writable(self) -> None:
        assert self.fd_out is not None and self.loop is not None
        try:
            n = os.write(self.fd_out, self._out)
        except BlockingIOError:
            return
        except OSError:
            n = len(self._out)
        del self._out[:n]
        if not self._out:
            self.loop.writer(self.fd_out, None)

    def close(self) -> None:
        if self.loop is not None:
            if self._reading and self.fd_in is not None:
                self.loop.reader(self.fd_in, None)
            if self._out and self.fd_out is not None:
                self.loop.writer(self.fd_out, None)
        self._reading = False
        super().close()


class FileChardev(FdChardev, kind="file"):
    """What the guest sends goes into a file."""

    path: str = prop(STR, default="")
    input_path: str = prop(STR, default="")
    append: bool = prop(BOOL, default=False)

    def open(self) -> None:
        if not self.path:
            raise PropertyError("chardev: file: no filename given")
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if self.append else os.O_TRUNC)
        out = os.open(self.path, flags, 0o666)
        source = os.open(self.input_path, os.O_RDONLY | os.O_CLOEXEC) if self.input_path else None
        self.use(None, out)
        if source is not None:
            with os.fdopen(source, "rb") as f:
                self.deliver(f.read(1 << 20))

    def close(self) -> None:
        super().close()
        if self.fd_out is not None:
            os.close(self.fd_out)
            self.fd_out = None


class StdioChardev(FdChardev, kind="stdio"):
    """The terminal (or whatever standard input and output are); a terminal is put into raw mode and back at exit."""

    signal: bool = prop(BOOL, default=True, help="Ctrl-C ends the emulator instead of reaching the guest")
    used = False

    def open(self) -> None:
        if StdioChardev.used:
            raise PropertyError("cannot use stdio by multiple character devices")
        StdioChardev.used = True
        sys.stdout.flush()
        self._saved: list[Any] | None = None
        fd = 0
        if os.isatty(fd):
            self._saved = termios.tcgetattr(fd)
            tty.setraw(fd, termios.TCSANOW)
            mode = termios.tcgetattr(fd)
            mode[1] |= termios.OPOST
            if self.signal:
                mode[3] |= termios.ISIG
            termios.tcsetattr(fd, termios.TCSANOW, mode)
            atexit.register(self.restore)
        self.use(0, 1)

    def restore(self) -> None:
        """The terminal as it was."""
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSANOW, self._saved)
            self._saved = None

    def close(self) -> None:
        super().close()
        self.restore()
        StdioChardev.used = False


class PipeChardev(FdChardev, kind="pipe"):
    """Named pipes PATH.in and PATH.out, or one PATH for both directions."""

    path: str = prop(STR, default="")

    def open(self) -> None:
        if not self.path:
            raise PropertyError("chardev: pipe: no device path given")
        try:
            source = os.open(self.path + ".in", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
            sink = os.open(self.path + ".out", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            source = sink = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        self.use(source, sink)

    @property
    def filename(self) -> str:
        return "pipe"

    def close(self) -> None:
        super().close()
        for fd in {self.fd_in, self.fd_out} - {None}:
            assert fd is not None
            os.close(fd)
        self.fd_in = self.fd_out = None


class PtyChardev(FdChardev, kind="pty"):
    """A pseudo-terminal; its name is printed and shown by `info chardev`."""

    def open(self) -> None:
        primary, secondary = os.openpty()
        tty.setraw(secondary)
        os.set_blocking(primary, False)
        self.name = os.ttyname(secondary)
        self._secondary = secondary             # kept open: reads never end while nobody is connected
        print(f"char device redirected to {self.name} (label {self.id})", file=sys.stderr)
        self.use(primary, primary)

    @property
    def filename(self) -> str:
        return f"pty:{self.name}"

    def close(self) -> None:
        super().close()
        if self.fd_in is not None:
            os.close(self.fd_in)
            os.close(self._secondary)
            self.fd_in = self.fd_out = None


class SerialChardev(FdChardev, kind="serial"):
    """A serial port of the host."""

    path: str = prop(STR, default="")

    def open(self) -> None:
        if not self.path:
            raise PropertyError("chardev: serial/tty: no device path given")
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        if os.isatty(fd):
            tty.setraw(fd)
        self.use(fd, fd)


class VcChardev(Chardev, kind="vc"):
    """A console on the display. Without a display nobody sees it."""

    width: str = prop(STR, default="")
    height: str = prop(STR, default="")
    cols: str = prop(STR, default="")
    rows: str = prop(STR, default="")
