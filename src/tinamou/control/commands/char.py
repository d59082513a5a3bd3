"""Character devices."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

from tinamou.backends.chardev.base import discover, make
from tinamou.backends.chardev.ringbuf import RingbufChardev
from tinamou.control.qmp import command
from tinamou.control.vm import CommandError, Vm


@dataclass
class ChardevInfo:
    frontend_open: bool
    filename: str
    label: str


@command("query-chardev", since="0.14")
def query_chardev(vm: Vm) -> list[ChardevInfo]:
    """The character devices."""
    return [ChardevInfo(c.front is not None or bool(getattr(c, "fronts", [])), c.filename, n) for n, c in vm.chardevs.items()]


@dataclass
class BackendInfo:
    name: str


@command("query-chardev-backends", since="2.0")
def query_chardev_backends(vm: Vm) -> list[BackendInfo]:
    """The kinds of character devices."""
    return [BackendInfo(n) for n in discover()]


@dataclass
class ChardevReturn:
    pty: str | None = None


@command("chardev-add", since="1.4")
def chardev_add(vm: Vm, id: str, backend: dict[str, Any]) -> ChardevReturn:
    """Make a character device; `backend` has `type` and `data`."""
    if id in vm.chardevs:
        raise CommandError(f"Chardev with id '{id}' already exists")
    data = dict(backend.get("data", {}))
    if isinstance(address := data.pop("addr", None), dict):
        data.update(address.get("data", {}))
    if "out" in data:
        data["path"] = data.pop("out")
    try:
        c = make({**data, "backend": str(backend.get("type")), "id": id}, vm.loop)
    except OSError as e:
        raise CommandError(f"Failed to add chardev '{id}': {e.strerror}") from None
    vm.chardevs[id] = c
    return ChardevReturn(getattr(c, "name", None) if c.kind == "pty" else None)


@command("chardev-remove", since="1.4")
def chardev_remove(vm: Vm, id: str) -> None:
    """Remove a character device nobody uses."""
    c = vm.chardevs.get(id)
    if c is None:
        raise CommandError(f"Chardev '{id}' not found")
    if c.front is not None:
        raise CommandError(f"Chardev '{id}' is busy")
    c.close()
    del vm.chardevs[id]


@command("chardev-send-break", since="2.10")
def chardev_send_break(vm: Vm, id: str) -> None:
    """Send a break into the guest's serial port."""
    c = vm.chardevs.get(id)
    if c is None:
        raise CommandError(f"Chardev '{id}' not found")
    c.event("break")


DataFormat = Literal["utf8", "base64"]


def ringbuf(vm: Vm, device: str) -> RingbufChardev:
    c = vm.chardevs.get(device)
    if c is None:
        raise CommandError(f"Device '{device}' not found")
    if not isinstance(c, RingbufChardev):
        raise CommandError(f"{device} is not a ringbuf device")
    return c


@command("ringbuf-read", since="1.4")
def ringbuf_read(vm: Vm, device: str, size: int, format: DataFormat | None = None) -> str:
    """Take bytes out of a ring buffer."""
    if size <= 0:
        raise CommandError("size must be greater than zero")
    data = ringbuf(vm, device).take(size)
    return base64.b64encode(data).decode() if format == "base64" else data.decode(errors="replace")


@command("ringbuf-write", since="1.4")
def ringbuf_write(vm: Vm, device: str, data: str, format: DataFormat | None = None) -> None:
    """Put bytes into a ring buffer."""
    ringbuf(vm, device).write(base64.b64decode(data) if format == "base64" else data.encode())
