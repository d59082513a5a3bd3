"""User objects the block layer refers to by id (`--object TYPE,id=ID,...`): one class each, registered by type name.

A class subclasses `UserObject` with `name="secret"` and declares its properties in `class Properties(Options)`. Modules
looked at: the ones in `MODULES`, and `tinamou.block.filters.throttle` for `throttle-group`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re

from .errors import BlockError
from .notation import TYPE_CHECKING, Any, ClassVar
from .options import Options

if TYPE_CHECKING:
    from .graph import Graph

MODULES = ("tinamou.block.crypto.secrets", "tinamou.block.filters.throttle")


ID_HINT = ("Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",)


class UserObject:
    """An object with an id. Properties arrive parsed in `self.opts`."""

    types: ClassVar[dict[str, type[UserObject]]] = {}
    type_names: ClassVar[dict[str, str]] = {}
    """Types of properties as `--object TYPE,help` shows them, where "string", "int" and "bool" do not fit."""

    class Properties(Options):
        """Nothing to say."""

    def __init_subclass__(cls, name: str = "") -> None:
        if name:
            UserObject.types[name] = cls

    def __init__(self, graph: Graph, id: str, properties: Options) -> None:
        self.graph = graph
        self.id = id
        self.opts = properties

    @classmethod
    def help_lines(cls) -> list[str]:
        """The properties, sorted by name."""
        kinds = {"bool (on/off)": "bool", "num": "int", "size": "int"}
        known = {o.key: cls.type_names.get(o.key, kinds.get(o.kind, "string")) for o in cls.Properties.declared()}
        return [f"  {key}=<{kind}>" for key, kind in sorted(known.items())]

    def complete(self) -> None:
        """Called once after construction; raises `BlockError` when the properties make no sense together."""

    def close(self) -> None:
        """Called when the graph is closed."""


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
        from difflib import get_close_matches

        near = get_close_matches(kind, UserObject.types, 1)
        raise BlockError(f"Parameter 'qom-type' does not accept value '{kind}'", *([f"Did you mean '{near[0]}'?"] if near else []))
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", id):
        raise BlockError("Parameter 'id' expects an identifier", *ID_HINT)
    known = cls.Properties.keys()
    for key in properties:
        if key not in known:
            raise BlockError(f"Parameter '{key}' is unexpected")
    made = cls(graph, id, cls.Properties(properties))
    made.complete()
    return made
