"""The object tree that `qom-list`, `qom-get` and `info qom-tree` show: the machine, its devices, CPUs, back ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinamou import devices
from tinamou.machine.device import Device
from tinamou.machine.props import PropertyError

if TYPE_CHECKING:
    from tinamou.control.vm import Vm


class Node:
    """An object: its type, children by name, and properties as (type, read, write or None)."""

    def __init__(self, type_: str) -> None:
        self.type = type_
        self.children: dict[str, Node] = {}
        self.props: dict[str, tuple[str, Callable[[], Any], Callable[[Any], None] | None]] = {
            "type": ("string", lambda: self.type, None)}

    def listing(self) -> list[tuple[str, str]]:
        """(name, type) of properties, then of children."""
        return [(n, p[0]) for n, p in self.props.items()] + [(n, f"child<{c.type}>") for n, c in self.children.items()]

    def get(self, name: str) -> Any:
        if name in self.props:
            value = self.props[name][1]()
            return value if isinstance(value, (bool, int, str, list, dict)) or value is None else str(getattr(value, "id", ""))
        if name in self.children:
            return self.children[name].type
        raise PropertyError(f"Property '{self.type}.{name}' not found")

    def set(self, name: str, value: Any) -> None:
        if name not in self.props:
            raise PropertyError(f"Property '{self.type}.{name}' not found")
        write = self.props[name][2]
        if write is None:
            raise PropertyError(f"Property '{self.type}.{name}' is not writable")
        write(value)


def _device(device: Device) -> Node:
    node = Node(device.type_name or type(device).__name__)
    for name, p in device.properties.table.items():
        def read(attribute: str = p.attribute) -> Any:
            return getattr(device, attribute)
        node.props[name] = (p.kind.name, read, None)
    node.props["realized"] = ("bool", lambda: True, None)
    for name, part in device.parts.items():
        node.children[name] = _device(part)
    for bus in device.buses():
        inner = node.children[bus.name] = Node(bus.type)
        for i, child in enumerate(bus.children):
            inner.children[f"child[{i}]"] = _device(child)
    return node


def root(vm: Vm) -> Node:
    """The whole tree, made anew."""
    m = vm.machine
    top = Node("container")
    machine = top.children["machine"] = Node(f"{m.name}-machine")
    if m.board is not None:
        for name, p in m.board.properties.table.items():
            def read(attribute: str = p.attribute) -> Any:
                return m.options.get(attribute)
            machine.props[name] = (p.kind.name, read, None)
    for name in ("peripheral", "peripheral-anon", "unattached"):
        machine.children[name] = Node("container")
    peripheral, anonymous, unattached = (machine.children[n] for n in ("peripheral", "peripheral-anon", "unattached"))
    soc = machine.children["soc0"] = Node("riscv.hart_array" if vm.arch.startswith("riscv") else "container")
    for cpu in m.cpus:
        soc.children[f"harts[{cpu.index}]"] = Node(f"{cpu.model}-{vm.arch.rstrip('0123456789')}-cpu")
    for d in m.everything():
        if d.parent is not None:
            continue
        if d.user_creatable and d.id:
            peripheral.children[d.id] = _device(d)
        elif d.user_creatable:
            anonymous.children[f"device[{len(anonymous.children)}]"] = _device(d)
        else:
            unattached.children[f"device[{len(unattached.children)}]"] = _device(d)
    objects = top.children["objects"] = Node("container")
    for id_, o in vm.objects.items():
        objects.children[id_] = Node(getattr(o, "kind", type(o).__name__))
    chardevs = top.children["chardevs"] = Node("container")
    for id_, c in vm.chardevs.items():
        chardevs.children[id_] = Node(f"chardev-{c.kind}")
    return top


def find(vm: Vm, path: str) -> Node:
    """The object at an absolute path, or the only one whose last part is `path`. Raises CommandError."""
    from tinamou.control.vm import CommandError

    node = root(vm)
    if not path.startswith("/"):
        matches = list(_named(node, path))
        if len(matches) == 1:
            return matches[0]
        raise CommandError(f"Path '{path}' does not uniquely identify an object" if matches else
                           f"Device '{path}' not found", "GenericError" if matches else "DeviceNotFound")
    for part in path.strip("/").split("/"):
        if not part:
            continue
        inner = node.children.get(part)
        if inner is None:
            raise CommandError(f"Device '{path}' not found", "DeviceNotFound")
        node = inner
    return node


def _named(node: Node, name: str) -> list[Node]:
    out = []
    for n, c in node.children.items():
        if n == name:
            out.append(c)
        out += _named(c, name)
    return out


def types() -> list[tuple[str, str, tuple[str, ...]]]:
    """(name, parent, all ancestors) of every device type."""
    out = []
    for name, cls in devices.discover().items():
        parents = [b.type_name for b in cls.__mro__[1:] if isinstance(b, type) and issubclass(b, Device) and b.type_name]
        chain = (*parents, "pci-device" if cls.bus == "PCI" else "virtio-device" if cls.bus == "virtio-bus" else
                 "sys-bus-device" if cls.bus == "System" else "device", "device", "object")
        out.append((name, chain[0], chain))
    return out


def tree(node: Node, name: str = "machine", depth: int = 0) -> str:
    """As `info qom-tree` prints it."""
    lines = [f"{'  ' * depth}/{name} ({node.type})\n"]
    lines += [tree(c, n, depth + 1) for n, c in sorted(node.children.items())]
    return "".join(lines)
