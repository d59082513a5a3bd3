"""What every serial device shares: its character device."""

from __future__ import annotations

from tinamou.backends.chardev.base import Chardev
from tinamou.machine.device import Device
from tinamou.machine.props import CHARDEV, prop


class SerialDevice(Device, category="Input"):
    """A device with one character device. Subclasses say how much they can take and what a byte does."""

    chardev: Chardev | None = prop(CHARDEV, default=None, help="ID of a chardev to use as a backend")

    def setup(self) -> None:
        if self.chardev is not None:
            self.chardev.attach(self)

    def send(self, byte: int) -> None:
        """One byte to the host."""
        if self.chardev is not None:
            self.chardev.write(bytes((byte & 0xFF,)))

    def more(self) -> None:
        """The guest took input: there is room again."""
        if self.chardev is not None:
            self.chardev.accept_input()

    def can_receive(self) -> int:
        return 0

    def receive(self, data: bytes) -> None:
        """Bytes from the host."""

    def event(self, what: str) -> None:
        """Connection changes; most devices ignore them."""
