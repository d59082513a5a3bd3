"""What is connected to the pins of a board: a bus whose places are pins, and the base of the parts on it."""

from __future__ import annotations

from tinamou.machine.bus import Bus
from tinamou.machine.device import Device
from tinamou.machine.machine import Machine
from tinamou.machine.pins import BoardPin, Driver, Net
from tinamou.machine.props import OBJECT, Prop, PropertyError, Str, prop


class PinKind(Str):
    """The name of a pin of the board."""


PIN = PinKind("pin")


def pin_prop(help_: str = "", default: str | None = None) -> str:
    """A property that names a pin; an empty default leaves it unconnected."""
    return prop(PIN, help=help_) if default is None else prop(PIN, default=default, help=help_)  # type: ignore[no-any-return]


class PinDevice(Device, bus="pins", user_creatable=True):
    """A part between pins. `wire` runs once, when the machine's pins are there."""

    def wire(self) -> None:
        """Listen to the pins."""

    def pin(self, attribute: str) -> BoardPin:
        """The pin that a property names. Raises PropertyError."""
        assert self.machine is not None
        return self.machine.pins[getattr(self, attribute)]

    def net(self, attribute: str) -> Net:
        return self.pin(attribute).net

    def driver(self, attribute: str) -> Driver:
        """An output of this part on a pin."""
        return Driver(f"{self.label}.{attribute}", self.net(attribute))


class PinsBus(Bus):
    """The pins of a board as places for parts."""

    type = "pins"
    hotplug = True

    def __init__(self, name: str, machine: Machine) -> None:
        super().__init__(name)
        self.machine = machine

    def insert(self, device: Device) -> None:
        if not isinstance(device, PinDevice):
            raise PropertyError(f"'{device.type_name}' cannot be connected to pins")
        for p in device.properties.table.values():
            value = getattr(device, p.attribute)
            if isinstance(p, Prop) and isinstance(p.kind, PinKind) and value and value not in self.machine.pins:
                try:
                    self.machine.pins[value]
                except PropertyError as e:
                    raise PropertyError(f"Property '{device.type_name}.{p.name}': {e}", e.hint) from None
        device.attached(self.machine)
        device.wire()


class Wiring(Device, type="board-pins"):
    """The board under the pins: what the outside holds is saved with it."""

    bus_: PinsBus = prop(OBJECT)

    def buses(self) -> list[Bus]:
        return [self.bus_]

    def save_more(self) -> dict[str, object]:
        assert self.machine is not None
        return {"pins": self.machine.pins.save(), "charges": self.machine.pins.charges()}

    def load_more(self, saved: dict[str, dict[str, list[float]]]) -> None:
        assert self.machine is not None
        self.machine.pins.load(saved["pins"])
        self.machine.pins.charge(saved["charges"])
