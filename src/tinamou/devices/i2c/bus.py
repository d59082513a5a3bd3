"""The I2C bus as its parts see it, a byte at a time: NXP UM10204, chapter 3. A part stretches nothing and never loses arbitration."""

from __future__ import annotations

from tinamou.machine.bus import Bus
from tinamou.machine.device import Device
from tinamou.machine.props import U8, PropertyError, prop


class I2cDevice(Device, bus="i2c-bus", user_creatable=True):
    """A part on the bus. `address` is its 7-bit address."""

    address: int = prop(U8, default=0)

    def answers(self, address: int) -> bool:
        """It reacts to this 7-bit address."""
        return address == self.address

    def start(self, address: int, read: bool) -> bool:
        """It was addressed; True acknowledges."""
        return True

    def receive(self, byte: int) -> bool:
        """A byte from the master; True acknowledges."""
        return False

    def transmit(self) -> int:
        """A byte for the master."""
        return 0xFF

    def stop(self) -> None:
        """The transfer ended, by a stop or another start."""


class I2cBus(Bus):
    """What one controller reaches."""

    type = "i2c-bus"
    hotplug = True

    def __init__(self, name: str, owner: Device) -> None:
        super().__init__(name, owner)
        self.active: list[I2cDevice] = []

    def insert(self, device: Device) -> None:
        if not isinstance(device, I2cDevice):
            raise PropertyError(f"'{device.type_name}' is no I2C device")
        if not 0x08 <= device.address < 0x78:
            raise PropertyError(f"Property '{device.type_name}.address' doesn't take value {device.address:#x}: "
                                "parts have addresses from 0x08 to 0x77")
        for c in self.children:
            if isinstance(c, I2cDevice) and c.answers(device.address):
                raise PropertyError(f"address {device.address:#04x} of bus {self.name} is taken by {c.label}")
        if self.owner and self.owner.machine:
            device.attached(self.owner.machine)

    def withdraw(self, device: Device) -> None:
        self.active = [c for c in self.active if c is not device]

    def start(self, address: int, read: bool) -> bool:
        """Start or repeated start and the address byte; True when a part acknowledged it."""
        self.stop()
        self.active = [c for c in self.children if isinstance(c, I2cDevice) and c.answers(address) and c.start(address, read)]
        return bool(self.active)

    def write(self, byte: int) -> bool:
        """A byte to the addressed parts; True when acknowledged."""
        answers = [c.receive(byte) for c in self.active]
        return any(answers)

    def read(self) -> int:
        """A byte from the addressed part; an open bus is all ones."""
        value = 0xFF
        for c in self.active:
            value &= c.transmit()
        return value

    def stop(self) -> None:
        for c in self.active:
            c.stop()
        self.active = []
