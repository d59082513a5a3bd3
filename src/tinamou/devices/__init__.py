"""Every device, one file each, one folder per kind; found by folder, and in other packages by entry point."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from tinamou.machine import plugins
from tinamou.machine.device import Device


@cache
def discover() -> dict[str, type[Device]]:
    """Every device class by its type name: this folder's, and those other packages offer as `tinamou.devices`."""
    for info in pkgutil.walk_packages(__path__, __name__ + "."):
        importlib.import_module(info.name)
    plugins.load("tinamou.devices")
    found: dict[str, type[Device]] = {}
    todo: list[type[Device]] = [Device]
    while todo:
        cls = todo.pop()
        todo += cls.__subclasses__()
        if cls.type_name:
            if found.setdefault(cls.type_name, cls) is not cls:
                raise TypeError(f"two devices are called {cls.type_name!r}: {found[cls.type_name]} and {cls}")
    return dict(sorted(found.items()))
