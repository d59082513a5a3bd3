"""Devices made by name at run time: finding the class, its properties and the bus; taking them out again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinamou import devices
from tinamou.control.options import check_id
from tinamou.machine.bus import Bus
from tinamou.machine.device import GLOBALS, Device
from tinamou.machine.props import Link, PropertyError, choices

if TYPE_CHECKING:
    from tinamou.control.vm import Vm

ALIASES = {"virtio-blk": "virtio-blk-pci", "virtio-serial": "virtio-serial-pci", "virtio-rng": "virtio-rng-pci"}
CATEGORIES = ("Controller/Bridge/Hub", "USB", "Storage", "Network", "Input", "Display", "Sound", "Misc", "CPU", "Watchdog",
              "Uncategorized")


def device_class(name: str) -> type[Device]:
    """The class of a device model a person may create. Raises PropertyError."""
    table = devices.discover()
    cls = table.get(ALIASES.get(name, name))
    if cls is None or not cls.user_creatable:
        known = [n for n, c in table.items() if c.user_creatable]
        raise PropertyError(f"'{name}' is not a valid device model name", choices(name, known))
    return cls


def plug(vm: Vm, options: dict[str, Any], hot: bool) -> Device:
    """Make the device that option text or QMP arguments describe."""
    given = dict(options)
    name = given.pop("driver", None)
    if name is None:
        raise PropertyError("Parameter 'driver' is missing")
    id_, bus_name = given.pop("id", None), given.pop("bus", None)
    check_id(id_)
    cls = device_class(name)
    bus = find_bus(vm, cls, bus_name)
    if hot and not getattr(bus, "hotplug", False):
        raise PropertyError(f"Bus '{bus.name}' does not support hotplugging")
    if id_ and vm.machine.find_device(id_) is not None:
        raise PropertyError(f"Duplicate device ID '{id_}'" if hot else f"Duplicate ID '{id_}' for device")

    def resolve(link: Link, prop: str, text: str) -> Any:
        try:
            return vm.resolve(link, prop, text)
        except PropertyError as e:
            if str(e).startswith("can't find"):
                carried = getattr(cls, "carries", None)
                raise PropertyError(f"Property '{(carried or cls).type_name}.{prop}' {e}", e.hint) from None
            raise

    values = cls.properties.parse(given, resolve)
    token = GLOBALS.set(vm.globals)
    try:
        device = cls(**values)
    finally:
        GLOBALS.reset(token)
    device.id = id_ or ""
    bus.plug(device)
    if device.machine is None:
        device.attached(vm.machine)
    return device


def find_bus(vm: Vm, cls: type[Device], name: str | None) -> Bus:
    """The bus called `name`, or the first of the device's bus type with room. Raises PropertyError."""
    buses = list(vm.machine.buses())
    if name is not None:
        bus = next((b for b in buses if b.name == name), None)
        if bus is None:
            raise PropertyError(f"Bus '{name}' not found", choices(name, [b.name for b in buses]))
        if bus.type != cls.bus:
            raise PropertyError(f"Device '{cls.type_name}' can't go on {bus.type} bus")
        if bus.full:
            raise PropertyError(f"Bus '{name}' is full")
        return bus
    fitting = [b for b in buses if b.type == cls.bus]
    if not fitting:
        raise PropertyError(f"No '{cls.bus}' bus found for device '{cls.type_name}'")
    free = [b for b in fitting if not b.full]
    if not free:
        raise PropertyError(f"All '{cls.bus}' buses are full for device '{cls.type_name}'")
    return free[0]


def unplug(vm: Vm, id_: str) -> None:
    """`device_del`: take a device out of its bus. Raises PropertyError, KeyError for an unknown id."""
    for bus in vm.machine.buses():
        for d in bus.children:
            if d.id == id_ and d.user_creatable:
                bus.unplug(d)
                return
    raise KeyError(id_)


def help_text() -> str:
    """`-device help`: models by category."""
    shown: dict[str, list[str]] = {}
    for name, cls in devices.discover().items():
        if cls.user_creatable:
            alias = next((f', alias "{a}"' for a, target in ALIASES.items() if target == name), "")
            desc = f', desc "{cls.desc}"' if cls.desc else ""
            shown.setdefault(cls.category, []).append(f'name "{name}", bus {cls.bus}{alias}{desc}')
    out = []
    for category in (*CATEGORIES, *sorted(set(shown) - set(CATEGORIES))):
        if category in shown:
            out += [f"{category} devices:", *shown[category], ""]
    return "\n".join(out)
