"""Devices: adding and removing, their properties, and the object tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinamou import devices
from tinamou.control import plugging, qom
from tinamou.control.qmp import command
from tinamou.control.vm import CommandError, Vm
from tinamou.machine.props import Bool


@command("device_add", since="0.13")
def device_add(vm: Vm, driver: str, bus: str | None = None, id: str | None = None, **properties: Any) -> None:
    """Make a device and plug it in."""
    options = {"driver": driver, **properties}
    options.update({k: v for k, v in (("bus", bus), ("id", id)) if v is not None})
    plugging.plug(vm, options, hot=vm.status != "preconfig")


@command("device_del", since="0.14")
def device_del(vm: Vm, id: str) -> None:
    """Ask the guest to release a device, then remove it."""
    try:
        plugging.unplug(vm, id)
    except KeyError:
        raise CommandError(f"Device '{id}' not found", "DeviceNotFound") from None
    vm.emit("DEVICE_DELETED", {"device": id, "path": f"/machine/peripheral/{id}"})


@dataclass
class PropertyInfo:
    name: str
    type: str
    description: str | None = None
    default_value: Any | None = None


@command("device-list-properties", since="1.2")
def device_list_properties(vm: Vm, typename: str) -> list[PropertyInfo]:
    """The properties of a device model."""
    cls = devices.discover().get(typename)
    if cls is None:
        raise CommandError(f"Device '{typename}' not found", "DeviceNotFound")
    return [PropertyInfo(n, p.kind.name, p.help or ("on/off" if isinstance(p.kind, Bool) else None),
                         None if p.required or not isinstance(p.default, (int, str, bool)) else p.default)
            for n, p in cls.properties.table.items() if not p.hidden]


@dataclass
class ObjectPropertyInfo:
    name: str
    type: str
    description: str | None = None


@command("qom-list", since="1.2")
def qom_list(vm: Vm, path: str) -> list[ObjectPropertyInfo]:
    """The properties and children of an object."""
    return [ObjectPropertyInfo(n, t) for n, t in qom.find(vm, path).listing()]


@command("qom-get", since="1.2")
def qom_get(vm: Vm, path: str, property: str) -> Any:
    """A property of an object."""
    return qom.find(vm, path).get(property)


@command("qom-set", since="1.2")
def qom_set(vm: Vm, path: str, property: str, value: Any) -> None:
    """Change a property of an object."""
    qom.find(vm, path).set(property, value)


@dataclass
class ObjectTypeInfo:
    name: str
    abstract: bool | None = None
    parent: str | None = None


@command("qom-list-types", since="1.1")
def qom_list_types(vm: Vm, implements: str | None = None, abstract: bool | None = None) -> list[ObjectTypeInfo]:
    """The types of objects."""
    return [ObjectTypeInfo(n, None, p) for n, p, ancestors in qom.types() if implements is None or implements in (n, *ancestors)]


@command("qom-list-properties", since="2.12")
def qom_list_properties(vm: Vm, typename: str) -> list[ObjectPropertyInfo]:
    """The properties of a type."""
    cls = devices.discover().get(typename)
    if cls is None:
        raise CommandError(f"Class '{typename}' not found", "DeviceNotFound")
    return [ObjectPropertyInfo(n, p.kind.name, p.help or None) for n, p in cls.properties.table.items() if not p.hidden]
