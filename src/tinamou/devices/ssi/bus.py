"""The SPI bus as its parts see it: a chip select each, and bytes that go both ways at once."""

from __future__ import annotations

from tinamou.machine.bus import Bus
from tinamou.machine.device import Device
from tinamou.machine.props import U8, PropertyError, prop


class SsiDevice(Device, bus="SSI", user_creatable=True):
    """A part on the bus. `select` is the chip select; `transfer` one byte in and one out."""

    cs: int = prop(U8, default=0)

    def select(self, on: bool) -> None:
        """The chip select became active (`on`) or inactive."""

    def transfer(self, byte: int) -> int:
        """A byte from the controller; returns the byte to it."""
        return 0xFF


class SsiBus(Bus):
    """Parts by chip select number; at most one is selected by a controller without decoding of its own."""

    type = "SSI"

    def __init__(self, name: str, owner: Device) -> None:
        super().__init__(name, owner)
        self.selected: set[int] = set()

    def insert(self, device: Device) -> None:
        if not isinstance(device, SsiDevice):
            raise PropertyError(f"'{device.type_name}' is no SPI device")
        if any(isinstance(c, SsiDevice) and c.cs == device.cs for c in self.children):
            raise PropertyError(f"chip select {device.cs} of bus {self.name} is taken")
        if self.owner and self.owner.machine:
            device.attached(self.owner.machine)

    def chip_select(self, n: int, on: bool) -> None:
        """Drive one chip select; only changes reach the part."""
        if on != (n in self.selected):
            self.selected ^= {n}
            for c in self.children:
                if isinstance(c, SsiDevice) and c.cs == n:
                    c.select(on)

    def transfer(self, byte: int) -> int:
        """One byte through the selected parts; an open bus reads as ones."""
        out = 0xFF
        for c in self.children:
            if isinstance(c, SsiDevice) and c.cs in self.selected:
                out &= c.transfer(byte)
        return out
