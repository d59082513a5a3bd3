"""Disks in snapshots and forks of machines: those whose writes go to a temporary qcow2 file anyway (`discard_writes`) keep each moment as
an internal snapshot of that file; others can only be read."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING, Any

from .errors import MachineError

if TYPE_CHECKING:
    from tinamou.backends.drive import Drive
    from tinamou.control.vm import Vm

_numbers = itertools.count(1)


def writable(vm: Vm) -> list[Drive]:
    """The disks that a snapshot must hold. Raises MachineError when one of them is the user's own file."""
    found = [d for d in [*vm.drives.values(), *vm.nodes.values()] if d.node_ is not None and not d.readonly]
    for d in found:
        if not d.temporary:
            raise MachineError(f"a snapshot in memory would not hold the disk '{d.id or d.node}', whose file is written to: "
                               "make the machine with discard_writes=True, or open the disk read-only")  # fmt: skip
    return found


def keep(vm: Vm) -> str:
    """Keep what the disks hold now; gives the name."""
    name = f"tinamou {next(_numbers)}"
    for d in writable(vm):
        _stored().create(d.node_, name)
    return name


def go_back(vm: Vm, name: str) -> None:
    """The disks hold what they held then."""
    for d in writable(vm):
        _stored().apply(d.node_, None, name)


def forget(vm: Vm, name: str) -> None:
    """That moment is of no further use."""
    for d in vm.drives.values():
        if d.temporary and d.node_ is not None:
            _stored().delete(d.node_, None, name)


def copy(source: Vm, target: Vm) -> None:
    """The disks of a machine made the same way get the content of these."""
    from tinamou.block.node import Settings

    for mine, theirs in zip(writable(source), writable(target), strict=True):
        assert theirs.graph is not None and theirs.node_ is not None
        mine.flush()
        theirs.graph.close_node(theirs.node_)
        shutil.copyfile(mine.temporary, theirs.temporary)
        theirs.node_ = theirs.graph.open(theirs.temporary, "qcow2", Settings(write=True))


def _stored() -> Any:
    """Internal snapshots of qcow2 files; most machines have no disks and do without."""
    from tinamou.block.formats.qcow2 import snapshots

    return snapshots


__all__ = ["copy", "forget", "go_back", "keep", "writable"]
