"""Objects that devices use: sources of randomness."""

from __future__ import annotations

from typing import Any

from tinamou.control.qmp import command
from tinamou.control.vm import CommandError, Vm


@command("object-add", since="2.0")
def object_add(vm: Vm, qom_type: str, id: str, **options: Any) -> None:
    """Make an object; devices name it by `id`."""
    from tinamou.backends import objects

    if id in vm.objects:
        raise CommandError(f"attempt to add duplicate property '{id}' to object (type 'container')")
    if qom_type not in objects.KINDS:
        raise CommandError(f"Parameter 'qom-type' does not accept value '{qom_type}'")
    vm.objects[id] = objects.make({"qom-type": qom_type, "id": id, **options.pop("props", {}), **options})


@command("object-del", since="2.0")
def object_del(vm: Vm, id: str) -> None:
    """Remove an object that no device uses."""
    found = vm.objects.get(id)
    if found is None:
        raise CommandError(f"object '{id}' not found")
    if any(getattr(d, "rng", None) is found for d in vm.machine.everything()):
        raise CommandError(f"object '{id}' is in use, can not be deleted")
    del vm.objects[id]
