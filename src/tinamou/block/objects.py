"""User objects the block layer refers to by id (`--object TYPE,id=ID,...`): one class each, registered by type name.

A class subclasses `UserObject` with `name="secret"` and declares its properties in `class Properties(Options)`. Modules
looked at: the ones in `MODULES`, and `tinamou.block.filters.throttle` for `throttle-group`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import BlockError
from .options import Options

if TYPE_CHECKING:
    from .graph import Graph

MODULES = ("tinamou.block.crypto.secrets", "tinamou.block.filters.throttle")


class UserObject:
    """An object with an id. Properties arrive parsed in `self.opts`."""

    types: ClassVar[dict[str, type[UserObject]]] = {}

    class Properties(Options):
        """Nothing to say."""

    def __init_subclass__(cls, name: str = "") -> None:
        if name:
            UserObject.types[name] = cls

    def __init__(self, graph: Graph, id: str, properties: Options) -> None:
        self.graph = graph
        self.id = id
        self.opts = properties

    def complete(self) -> None:
        """Called once after construction; raises `BlockError` when the properties make no sense together."""


def object_types() -> dict[str, type[UserObject]]:
    for module in MODULES:
        try:
            known = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            known = False
        if known:
            importlib.import_module(module)
    return dict(sorted(UserObject.types.items()))


def new_object(graph: Graph, kind: str, id: str, properties: dict[str, Any]) -> UserObject:
    """Create an object; raises `BlockError` for an unknown type or property."""
    cls = object_types().get(kind)
    if cls is None:
        raise BlockError(f"invalid object type: {kind}")
    known = cls.Properties.keys()
    for key in properties:
        if key not in known:
            raise BlockError(f"Property '{kind}.{key}' not found")
    made = cls(graph, id, cls.Properties(properties))
    made.complete()
    return made
