"""Snapshots of the machine: in its disk images, or in a file of their own."""

from __future__ import annotations

import time

from tinamou.control import vmstate
from tinamou.control.hmp import Human, hmp
from tinamou.control.vm import CommandError
from tinamou.machine import snapshot
from tinamou.machine.board import size_text


@hmp("savevm", "tag", "save a VM snapshot. If no tag is provided, a new snapshot is created")
def savevm(h: Human, name: str = "") -> None:
    vmstate.save(h.vm, name)


@hmp("loadvm", "tag", "restore a VM snapshot from its tag")
def loadvm(h: Human, name: str) -> None:
    vmstate.load(h.vm, name)


@hmp("delvm", "tag", "delete a VM snapshot from its tag")
def delvm(h: Human, name: str) -> None:
    vmstate.delete(h.vm, name)


@hmp("info snapshots", "", "show the currently saved VM snapshots")
def snapshots(h: Human) -> str:
    try:
        found = [s for s in vmstate.everywhere(h.vm) if s.vm_state_size]
    except CommandError as e:
        return f"{e}\n"
    if not found:
        return "There is no snapshot available.\n"
    out = f"List of snapshots present on all disks:\n{'ID':<10}{'TAG':<17}{'VM SIZE':>8}{'DATE':>20}{'VM CLOCK':>13}{'ICOUNT':>11}\n"
    for s in found:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(s.date_sec))
        seconds, ns = divmod(s.vm_clock_nsec, 10**9)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ns // 10**6:03}"
        count = "" if s.icount is None else str(s.icount)
        out += f"{'--':<9} {s.name:<16} {size_text(s.vm_state_size):>8}{date:>20}{clock:>13}{count:>11}\n"
    return out


@hmp("savesnap", "file", "save the machine's state into a file")
def savesnap(h: Human, filename: str) -> None:
    try:
        with h.vm.stopped_for("save-vm"), open(filename, "wb") as f:
            snapshot.write(h.vm.machine, f)
    except OSError as e:
        raise CommandError(f"Could not save to '{filename}': {e.strerror}") from None


@hmp("loadsnap", "file", "restore the machine's state from a file")
def loadsnap(h: Human, filename: str) -> None:
    before = h.vm.status
    h.vm.stop("restore-vm")
    try:
        with open(filename, "rb") as f:
            snapshot.read(h.vm.machine, f)
    except OSError as e:
        raise CommandError(f"Could not open '{filename}': {e.strerror}") from None
    except snapshot.SnapshotError as e:
        raise CommandError(str(e)) from None
    h.vm.resume(before)
