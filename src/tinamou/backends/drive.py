"""Drives: what `-drive` describes, as disks, flash chips and firmware see it: bytes at offsets of an image.

The image itself is a node of the block layer.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph, create, create_class, find_driver
from tinamou.block.node import Node
from tinamou.block.node import Settings as NodeSettings
from tinamou.machine.props import PropertyError, choices

INTERFACES = ("none", "ide", "scsi", "floppy", "pflash", "virtio", "mtd", "sd", "xen")
PER_BUS = {"ide": 2, "scsi": 7}
CACHE = {  # name -> (writeback, direct, no flush)
    "writeback": (True, False, False), "none": (True, True, False), "off": (True, True, False),
    "unsafe": (True, False, True), "writethrough": (False, False, False), "directsync": (False, True, False)}
KNOWN = ("file", "format", "if", "index", "bus", "unit", "id", "media", "snapshot", "cache", "aio", "readonly", "read-only",
         "werror", "rerror", "discard", "detect-zeroes", "node-name", "serial", "copy-on-read", "cache.direct",
         "cache.no-flush", "cache.writeback", "driver", "force-share")
ERRORS = ("report", "ignore", "stop", "enospc")


@dataclass
class Drive:
    """An image with an interface and an error policy. Offsets and sizes are bytes; every access may raise OSError."""

    id: str
    node_: Node | None
    interface: str = "none"
    index: int = 0
    media: str = "disk"
    werror: str = "enospc"
    rerror: str = "report"
    filename: str = ""
    writethrough: bool = False
    graph: Graph | None = None
    temporary: str = ""
    user: Any = None
    listeners: list[Callable[[], object]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.node_.size if self.node_ is not None else 0

    @property
    def readonly(self) -> bool:
        return self.node_ is None or self.node_.read_only

    @property
    def node(self) -> str:
        """The name of the image's node."""
        return self.node_.name if self.node_ is not None else ""

    @property
    def format(self) -> str:
        return self.node_.driver if self.node_ is not None else ""

    def _image(self) -> Node:
        if self.node_ is None:
            raise OSError(123, os.strerror(123))
        return self.node_

    def read_into(self, offset: int, buffers: list[memoryview]) -> None:
        """Fill the buffers one after the other from `offset` on."""
        image = self._image()
        for b in buffers:
            image.read_into(offset, b)
            offset += len(b)

    def write_from(self, offset: int, buffers: list[memoryview]) -> None:
        """Write the buffers one after the other from `offset` on."""
        image = self._image()
        image.writev(offset, buffers)
        if self.writethrough:
            image.flush()

    def flush(self) -> None:
        """What was written is on stable storage when this returns."""
        self._image().flush()

    def discard(self, offset: int, size: int) -> None:
        """The range's content is of no further use."""
        self._image().discard(offset, size)

    def write_zeroes(self, offset: int, size: int) -> None:
        self._image().write_zeroes(offset, size)

    def close(self) -> None:
        """Close the image; a -snapshot overlay is dropped."""
        if self.graph is not None:
            self.graph.close()
        self.node_ = None
        if self.temporary and os.path.exists(self.temporary):
            os.unlink(self.temporary)


def open_drive(options: dict[str, str], taken: list[Drive], *, snapshot: bool = False, graph: Graph | None = None) -> Drive:
    """A drive from `-drive` options. `taken` are the earlier ones. Raises PropertyError in the original's words."""
    given = dict(options)
    interface = given.pop("if", "none")
    if interface not in INTERFACES:
        raise PropertyError(f"unsupported bus type '{interface}'", choices(interface, INTERFACES))
    media = given.pop("media", "disk")
    if media not in ("disk", "cdrom"):
        raise PropertyError(f"'{media}' invalid media", choices(media, ("disk", "cdrom")))
    index = _place(given, interface, taken)
    id_ = given.pop("id", "") or _name(interface, index, media)
    if any(d.id == id_ for d in taken):
        raise PropertyError(f"Duplicate ID '{id_}' for drive")
    cache = given.pop("cache", "writeback")
    if cache not in CACHE:
        raise PropertyError("invalid cache option", choices(cache, CACHE))
    writeback, direct, no_flush = CACHE[cache]
    for name in ("werror", "rerror"):
        value, known = given.get(name), ERRORS if name == "werror" else ERRORS[:3]
        if value is not None and value not in known:
            raise PropertyError(f"'{value}' invalid {'write' if name == 'werror' else 'read'} error action", choices(value, known))
    drive = Drive(id_, None, interface, index, media, given.pop("werror", "enospc"), given.pop("rerror", "report"),
                  writethrough=not writeback)
    readonly = _flag(given, "readonly", _flag(given, "read-only", media == "cdrom"))
    temporary = _flag(given, "snapshot", snapshot)
    settings = NodeSettings(write=not readonly, direct=direct, no_flush=no_flush, discard=given.pop("discard", "ignore"),
                            detect_zeroes=given.pop("detect-zeroes", "off"), force_share=_flag(given, "force-share", False))
    file, fmt = given.pop("file", None), given.pop("format", given.pop("driver", None))
    for name in ("aio", "serial", "copy-on-read", "node-name", "cache.direct", "cache.no-flush", "cache.writeback"):
        given.pop(name, None)
    nested = {k: v for k, v in given.items() if "." in k or k in _driver_options(fmt)}
    for key in given:
        if key not in nested:
            raise PropertyError(f"Block format '{fmt or 'raw'}' does not support the option '{key}'",
                                choices(key, KNOWN))
    if file is None and not nested:
        return drive
    drive.graph = graph or Graph()
    try:
        if temporary and file:
            drive.temporary = _overlay(file, fmt)
            below = {f"backing.{key}": value for key, value in nested.items() if key in _driver_options(fmt)}
            drive.node_ = drive.graph.open(drive.temporary, "qcow2", NodeSettings(write=True), below or None)
        else:
            drive.node_ = drive.graph.open(file or "", fmt, settings, nested or None)
    except BlockError as e:
        raise PropertyError(e.message, "\n".join(e.hints)) from None
    except OSError as e:
        raise PropertyError(f"Could not open '{file}': {os.strerror(e.errno or 0)}") from None
    drive.filename = file or ""
    return drive


def _driver_options(fmt: str | None) -> set[str]:
    """Options of a format that its images may need (`key-secret`)."""
    try:
        return find_driver(fmt).Open.keys() if fmt else set()
    except BlockError:
        return set()


def open_node(graph: Graph, options: dict[str, Any]) -> Drive:
    """A backend from `-blockdev` options (nested); reachable by its node name. Raises PropertyError."""
    try:
        node = graph.open_options(dict(options), NodeSettings(write=True))
    except BlockError as e:
        raise PropertyError(e.message, "\n".join(e.hints)) from None
    return Drive("", node, graph=graph)


def _place(given: dict[str, str], interface: str, taken: list[Drive]) -> int:
    """The drive's number on its interface, from index=, bus= and unit=, or the first free one."""
    per_bus = PER_BUS.get(interface, 0)
    numbers = {}
    for key in ("index", "bus", "unit"):
        text = given.pop(key, None)
        if text is not None:
            try:
                numbers[key] = int(text, 0)
            except ValueError:
                raise PropertyError(f"Parameter '{key}' expects a number") from None
    if "index" in numbers:
        if "bus" in numbers or "unit" in numbers:
            raise PropertyError("index cannot be used with bus and unit")
        index = numbers["index"]
    elif "unit" in numbers or "bus" in numbers:
        index = numbers.get("bus", 0) * (per_bus or 1) + numbers.get("unit", 0)
    else:
        used = {d.index for d in taken if d.interface == interface}
        return next(n for n in range(len(used) + 1) if n not in used)
    if any(d.interface == interface and d.index == index for d in taken) and interface != "none":
        bus, unit = divmod(index, per_bus) if per_bus else (0, index)
        raise PropertyError(f"drive with bus={bus}, unit={unit} (index={index}) exists")
    return index


def _name(interface: str, index: int, media: str) -> str:
    per_bus = PER_BUS.get(interface, 0)
    kind = ("-cd" if media == "cdrom" else "-hd") if interface in ("ide", "scsi") else ""
    if per_bus:
        return f"{interface}{index // per_bus}{kind}{index % per_bus}"
    return f"{interface}{kind}{index}"


def _flag(given: dict[str, str], name: str, default: bool) -> bool:
    value = given.pop(name, None)
    if value is None:
        return default
    if value not in ("on", "off"):
        raise PropertyError(f"Parameter '{name}' expects 'on' or 'off'")
    return value == "on"


def _overlay(file: str, fmt: str | None) -> str:
    """An empty temporary image over `file`, for -snapshot."""
    with Graph() as g:
        node = g.open(file, fmt, NodeSettings(no_io=True))
        size, driver = node.size, node.driver
        handle, path = tempfile.mkstemp(prefix="tinamou-", suffix=".qcow2", dir=os.environ.get("TMPDIR", "/var/tmp"))
        os.close(handle)
        values = {"size": size, "backing_file": os.path.abspath(file), "backing_fmt": driver}
        create(g, path, "qcow2", create_class("qcow2", path)(values))
    return path
