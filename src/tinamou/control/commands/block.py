"""Disks: what there is, and adding and removing images while the machine runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tinamou.control.qmp import command
from tinamou.control.vm import CommandError, Vm


@dataclass
class ImageInfo:
    filename: str
    format: str
    virtual_size: int
    actual_size: int | None = None
    dirty_flag: bool | None = None
    format_specific: dict[str, Any] | None = None


@dataclass
class CacheInfo:
    writeback: bool
    direct: bool
    no_flush: bool


@dataclass
class DeviceInfo:
    UNDERSCORED = ("backing_file_depth", "detect_zeroes", "bps_rd", "bps_wr", "iops_rd", "iops_wr", "write_threshold")

    file: str
    ro: bool
    drv: str
    node_name: str
    backing_file_depth: int
    encrypted: bool
    detect_zeroes: str
    bps: int
    bps_rd: int
    bps_wr: int
    iops: int
    iops_rd: int
    iops_wr: int
    image: ImageInfo
    cache: CacheInfo
    write_threshold: int


@dataclass
class BlockInfo:
    device: str
    type: str
    removable: bool
    locked: bool
    inserted: DeviceInfo | None = None
    qdev: str | None = None
    io_status: str | None = None


def describe(drive: Any) -> DeviceInfo | None:
    """What `inserted` says of a drive with an image."""
    node = drive.node_
    if node is None:
        return None
    depth, below = 0, node.backing
    while below is not None and depth < 200:
        depth, below = depth + 1, below.backing
    settings = node.settings
    image = ImageInfo(drive.filename, node.driver, node.size, node.allocated_bytes(), False, node.info())
    return DeviceInfo(drive.filename, node.read_only, node.driver, node.name, depth, False, settings.detect_zeroes,
                      0, 0, 0, 0, 0, 0, image, CacheInfo(not drive.writethrough, settings.direct, settings.no_flush), 0)


def users(vm: Vm) -> dict[int, str]:
    """id of a drive -> QOM path of the device that uses it."""
    out: dict[int, str] = {}
    for d in vm.machine.everything():
        used = getattr(d, "drive", None)
        if used is not None:
            out[id(used)] = f"/machine/peripheral/{d.id}" if d.id else f"/machine/unattached/{d.type_name}"
    return out


@command("query-block", since="0.14")
def query_block(vm: Vm) -> list[BlockInfo]:
    """The drives and what is in them."""
    used = users(vm)
    return [BlockInfo(n, "unknown", id(d) not in used, False, describe(d), used.get(id(d)), "ok" if id(d) in used else None)
            for n, d in vm.drives.items()]


@command("query-named-block-nodes", since="2.0")
def query_named_block_nodes(vm: Vm, flat: bool | None = None) -> list[DeviceInfo]:
    """The nodes of drives, and those made with blockdev-add or -blockdev."""
    return [info for d in (*vm.nodes.values(), *vm.drives.values()) if (info := describe(d)) is not None]


@command("blockdev-add", since="2.9")
def blockdev_add(vm: Vm, driver: str, node_name: str | None = None, **options: Any) -> None:
    """Open an image; `node-name` is how devices name it."""
    from tinamou.backends.drive import open_node
    from tinamou.block.errors import BlockError
    from tinamou.block.graph import Graph, find_driver

    try:
        find_driver(driver)
    except BlockError:
        raise CommandError(f"Parameter 'driver' does not accept value '{driver}'") from None
    if node_name is None:
        raise CommandError("'node-name' must be specified for the root node")
    if node_name in vm.nodes:
        raise CommandError(f"Duplicate nodes with node-name='{node_name}'")
    vm.nodes[node_name] = open_node(Graph(), {"driver": driver, "node-name": node_name, **options})


@command("blockdev-del", since="2.9")
def blockdev_del(vm: Vm, node_name: str) -> None:
    """Close an image that no device uses."""
    drive = vm.nodes.get(node_name)
    if drive is None:
        raise CommandError(f"Failed to find node with node-name='{node_name}'")
    if id(drive) in users(vm):
        raise CommandError(f"Node {node_name} is in use")
    drive.close()
    del vm.nodes[node_name]


@command("block_resize", since="0.14")
def block_resize(vm: Vm, size: int, device: str | None = None, node_name: str | None = None) -> None:
    """Change a disk's size; its device tells the guest."""
    drive = vm.drives.get(device or "") or vm.nodes.get(node_name or "")
    if drive is None:
        if node_name is not None:
            raise CommandError(f"Cannot find device='' nor node-name='{node_name}'")
        raise CommandError(f"Cannot find device='{device or ''}' nor node-name=''")
    if size < 0:
        raise CommandError("Parameter 'size' expects a >0 size")
    try:
        drive.node_.resize(size)
    except OSError as e:
        raise CommandError(f"Could not resize: {os.strerror(e.errno or 0)}") from None
    for d in vm.machine.everything():
        if getattr(d, "drive", None) is drive and hasattr(d, "resized"):
            d.resized()
