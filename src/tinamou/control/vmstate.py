"""Snapshots of a running machine inside its disk images: `savevm`, `loadvm`, `delvm`, `-loadvm`.

The machine's state (machine.snapshot) goes into the first writable disk image whose format has room for it (qcow2), behind the disk;
a snapshot of the same name is taken in every other one.
"""

from __future__ import annotations

import io
import time
from typing import IO, Any, cast

from tinamou.block.errors import BlockError
from tinamou.block.formats.qcow2 import snapshots as stored
from tinamou.control.vm import CommandError, Vm
from tinamou.machine import snapshot

PIECE = 1 << 20


class StateWriter(io.RawIOBase):
    """A file that is the machine state of an image."""

    def __init__(self, image: Any) -> None:
        self.image, self.at, self.pending = image, 0, bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self.pending += view
        if len(self.pending) >= PIECE:
            self.flush()
        return len(view)

    def flush(self) -> None:
        if self.pending:
            self.image.write_vm_state(self.at, bytes(self.pending))
            self.at += len(self.pending)
            self.pending = bytearray()


class StateReader(io.RawIOBase):
    """The machine state of an image as a file of `size` bytes."""

    def __init__(self, image: Any, size: int) -> None:
        self.image, self.size, self.at = image, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        view = memoryview(into).cast("B")
        n = min(len(view), self.size - self.at)
        if n > 0:
            self.image.read_vm_state(self.at, view[:n])
            self.at += n
        return max(n, 0)


def images(vm: Vm) -> list[tuple[str, Any]]:
    """(name, image) of the disks that a snapshot of the machine includes.  CommandError when one cannot be included."""
    found: dict[int, tuple[str, Any]] = {}
    for name, drive in {**vm.nodes, **vm.drives}.items():
        image = drive.node_
        if image is None or drive.readonly:
            continue
        if not hasattr(image, "write_vm_state"):
            raise CommandError(f"Device '{name}' is writable but does not support snapshots")
        found[id(image)] = (name, image)
    if not found:
        raise CommandError("no block device can store vmstate for snapshot")
    return list(found.values())


def _find(image: Any, name: str) -> Any:
    """The image's snapshot of that name, or else of that id; None."""
    every = image.snapshots()
    return next((s for s in every if s.name == name), None) or next((s for s in every if s.id == name), None)


def everywhere(vm: Vm) -> list[Any]:
    """The snapshots that every image has, as the first one tells them."""
    first, *others = images(vm)
    return [s for s in first[1].snapshots() if all(_find(image, s.name) for _, image in others)]


def save(vm: Vm, name: str = "") -> None:
    """Take a snapshot of the machine and its disks; one of that name is replaced.  Raises CommandError."""
    disks = images(vm)
    now = time.time()
    name = name or time.strftime("vm-%Y%m%d%H%M%S", time.localtime(now))
    with vm.stopped_for("save-vm"):
        _save(vm, disks, name)


def _save(vm: Vm, disks: list[tuple[str, Any]], name: str) -> None:
    try:
        for _, image in disks:
            if any(s.name == name for s in image.snapshots()):
                image.delete_snapshot(None, name)
        writer = StateWriter(disks[0][1])
        snapshot.write(vm.machine, cast(IO[bytes], writer))
        writer.flush()
        turns = getattr(vm.runner, "turns", None)
        for n, (_, image) in enumerate(disks):
            stored.create(image, name, 0 if n else writer.at, vm.machine.time.now, None if turns is None else turns.count())
    except (BlockError, OSError) as e:
        raise CommandError(f"Error while writing VM state: {e}") from None


def load(vm: Vm, name: str) -> None:
    """Machine and disks become what they were; the machine stands still when that fails.  Raises CommandError."""
    disks = images(vm)
    if not all(_find(image, name) for _, image in disks):
        known = ", ".join(sorted({s.name for s in everywhere(vm)}))
        raise CommandError(f"Snapshot '{name}' does not exist in one or more devices" + (f"\nThere is: {known}" if known else ""))
    state = _find(disks[0][1], name)
    if not state.vm_state_size:
        raise CommandError("This is a disk-only snapshot. Revert to it offline using qemu-img")
    before = vm.status
    vm.stop("restore-vm")
    try:
        for _, image in disks:
            image.apply_snapshot(None, _find(image, name).name)
        reader = io.BufferedReader(StateReader(disks[0][1], state.vm_state_size), PIECE)
        snapshot.read(vm.machine, cast(IO[bytes], reader))
    except (BlockError, OSError, snapshot.SnapshotError) as e:
        raise CommandError(f"Error while loading VM state: {e}") from None
    vm.resume(before)


def delete(vm: Vm, name: str) -> None:
    """Remove a snapshot from all disks that have it.  Raises CommandError."""
    for _, image in images(vm):
        found = _find(image, name)
        if found is not None:
            try:
                image.delete_snapshot(None, found.name)
            except (BlockError, OSError) as e:
                raise CommandError(f"Error while deleting snapshot '{name}': {e}") from None
