"""Buses that devices are plugged into by type name: PCI, virtio, SSI, I2C. What `-device` and `info qtree` walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinamou.machine.props import PropertyError

if TYPE_CHECKING:
    from tinamou.machine.device import Device


class Bus:
    """A place for devices of one bus type. Subclasses say what plugging does.

    `name` is `pcie.0` or the like, `type` what a device's `bus` class keyword must equal, `limit` how many fit.
    """

    type = "System"
    limit: int | None = None

    def __init__(self, name: str, owner: Device | None = None) -> None:
        self.name, self.owner = name, owner
        self.children: list[Device] = []

    @property
    def full(self) -> bool:
        return self.limit is not None and len(self.children) >= self.limit

    def plug(self, device: Device) -> None:
        """Take a device. Raises PropertyError when it does not fit; nothing is changed then."""
        if self.full:
            raise PropertyError(f"Bus '{self.name}' is full")
        self.insert(device)
        self.children.append(device)

    def unplug(self, device: Device) -> None:
        """Let a device go. Raises PropertyError when the bus cannot do that."""
        self.withdraw(device)
        self.children.remove(device)

    def insert(self, device: Device) -> None:
        """What plugging means on this bus."""

    def withdraw(self, device: Device) -> None:
        """What unplugging means on this bus."""
        raise PropertyError(f"Bus '{self.name}' does not support hotplugging")

    def describe(self, device: Device) -> list[str]:
        """Extra lines of `info qtree` for a child."""
        return []


def qtree(bus: Bus, lines: list[str] | None = None, depth: int = 0) -> str:
    """The tree of buses and devices with their properties, as `info qtree` prints it."""
    out = lines if lines is not None else []
    pad = " " * depth
    out += [f"{pad}bus: {bus.name}", f"{pad}  type {bus.type}"]
    for d in reversed(bus.children):
        out.append(f'{pad}  dev: {d.type_name or type(d).__name__}, id "{d.id if d.user_creatable else ""}"')
        for name, pins in _rows(d):
            out.append(f'{pad}    {name} {pins}')
        for name, p in d.properties.table.items():
            value = getattr(d, p.attribute)
            out.append(f"{pad}    {name} = {show(value)}")
        out += [f"{pad}    {x}" for x in bus.describe(d)]
        for b in d.buses():
            qtree(b, out, depth + 4)
    return "\n".join(out) + "\n"


def _rows(d: Device) -> list[tuple[str, int]]:
    from tinamou.machine.lines import Line, count_of

    return [(f'gpio-out "{"sysbus-irq" if x.name == "irq" else x.name}"',
             1 if isinstance(x, Line) else count_of(x.count, d)) for x in d.outputs()]


def show(value: Any) -> str:
    """A property value as `info qtree` prints it."""
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value} ({value:#x})"
    if isinstance(value, bytes):
        return f'"{value.hex(":")}"'
    if isinstance(value, str):
        return f'"{value}"'
    return f'"{getattr(value, "id", "") or getattr(value, "name", "") or type(value).__name__}"'
