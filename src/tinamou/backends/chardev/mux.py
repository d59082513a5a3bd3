"""Several front ends on one character device, switched by a prefix key (Ctrl-A)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tinamou.backends.chardev.base import Chardev, FrontEnd
from tinamou.machine.props import OBJECT, U8, PropertyError, prop

HELP = (("h", "print this help"), ("x", "exit emulator"), ("s", "save disk data back to file (if -snapshot)"),
        ("t", "toggle console timestamps"), ("b", "send break (magic sysrq)"), ("c", "switch between console and monitor"))
MAX_FRONTS = 4


class MuxChardev(Chardev, kind="mux"):
    """Input goes to the front end in focus; output of all of them goes out."""

    inner: Chardev = prop(OBJECT, default=None)
    escape: int = prop(U8, default=1)
    quit: Callable[[], Any] | None = prop(OBJECT, default=None)
    commit: Callable[[], Any] | None = prop(OBJECT, default=None)

    def open(self) -> None:
        if self.inner is None:
            raise PropertyError("chardev: mux: no chardev given")
        self.fronts: list[FrontEnd] = []
        self.focus = 0
        self.escaped = False
        self.timestamps: float | None = None
        self._line_start = True
        self._queues: list[bytearray] = []
        self.inner.attach(self)

    @property
    def filename(self) -> str:
        return self.inner.filename

    def attach(self, front: FrontEnd) -> None:
        if front in self.fronts:
            return
        if len(self.fronts) >= MAX_FRONTS:
            raise PropertyError("too many uses of multiplexed chardev "
                                f"'{self.id}' (maximum is {MAX_FRONTS})")
        self.fronts.append(front)
        self._queues.append(bytearray())
        self.focus = len(self.fronts) - 1
        front.event("opened")

    # --- output

    def send(self, data: bytes) -> int:
        if self.timestamps is None:
            return self.inner.write(data)
        out = bytearray()
        for byte in data:
            if self._line_start:
                self._line_start = False
                s = time.monotonic() - self.timestamps
                out += b"[%02d:%02d:%02d.%03d] " % (s // 3600, s // 60 % 60, s % 60, s * 1000 % 1000)
            out.append(byte)
            self._line_start = byte == 10
        self.inner.write(bytes(out))
        return len(data)

    # --- input: we are the inner device's front end

    def can_receive(self) -> int:
        return 32 if not self._queues or len(self._queues[self.focus]) < 32 else 0

    def receive(self, data: bytes) -> None:
        for byte in data:
            if self.escaped:
                self.escaped = False
                self.key(byte)
            elif byte == self.escape:
                self.escaped = True
            else:
                self.pass_on(byte)
        self.accept_input()

    def pass_on(self, byte: int) -> None:
        if self.fronts:
            self._queues[self.focus].append(byte)

    def hand_over(self) -> None:
        """Give the front end in focus what waits for it."""
        front, queue = self.fronts[self.focus], self._queues[self.focus]
        while queue and (n := min(front.can_receive(), len(queue))) > 0:
            part = bytes(queue[:n])
            del queue[:n]
            front.receive(part)

    def accept_input(self) -> None:
        if self.fronts:
            self.hand_over()
            if not self._queues[self.focus]:
                self.inner.accept_input()

    def key(self, byte: int) -> None:
        match chr(byte):
            case "h" | "?":
                name = f"C-{chr(self.escape + 96)}"
                text = "\n\r" + "".join(f"{name} {k}    {what}\n\r" for k, what in HELP)
                self.inner.write((text + f"{name} {name}  sends {name}\n\r").encode())
            case "x":
                self.inner.write(b"QEMU: Terminated\n\r")
                if self.quit:
                    self.quit()
            case "s":
                if self.commit:
                    self.commit()
            case "b":
                if self.fronts:
                    self.fronts[self.focus].event("break")
            case "c":
                if self.fronts:
                    self.hand_over()
                    self.fronts[self.focus].event("mux-out")
                    self.focus = (self.focus + 1) % len(self.fronts)
                    self.fronts[self.focus].event("mux-in")
            case "t":
                self.timestamps = None if self.timestamps is not None else time.monotonic()
                self._line_start = True
            case _:
                if byte == self.escape:
                    self.pass_on(byte)

    def event(self, what: str) -> None:
        for f in self.fronts:
            f.event(what)

    def close(self) -> None:
        super().close()
        self.inner.close()
