"""Types on the wire: checking arguments against a signature, turning results into JSON, and describing both.

int, str, bool, float, Any; `X | None` is optional; list[X]; Literal and Enum are enumerations; a dataclass is a struct
(names with `-` for `_`); a union of dataclasses whose first field is a Literal is a discriminated union.
Errors have the original's words.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from functools import cache
from typing import Any, Literal, get_args, get_origin

BUILTIN = {int: "integer", str: "string", bool: "boolean", float: "number"}


class SchemaError(Exception):
    """An argument that does not fit; the text is what the client gets."""


def kebab(name: str) -> str:
    """The name on the wire."""
    return name.rstrip("_").replace("_", "-")


def wire_name(t: Any, member: str) -> str:
    """The name of a struct's member on the wire; `UNDERSCORED` are those that keep their underscores."""
    return member if member in getattr(t, "UNDERSCORED", ()) else kebab(member)


def hints(t: Any) -> dict[str, Any]:
    """The resolved annotations of a function or class."""
    return _hints(t)


@cache
def _hints(t: Any) -> dict[str, Any]:
    return typing.get_type_hints(t)


def strip_optional(t: Any) -> tuple[Any, bool]:
    """(type without None, whether None was allowed)."""
    if get_origin(t) in (typing.Union, types.UnionType):
        rest = [a for a in get_args(t) if a is not type(None)]
        if len(rest) < len(get_args(t)):
            return (rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]), True  # noqa: UP007
    return t, False


def members(t: Any) -> dict[str, tuple[str, Any, bool]]:
    """Wire name -> (attribute, type, optional) of a dataclass."""
    out = {}
    for f in dataclasses.fields(t):
        inner, optional = strip_optional(hints(t)[f.name])
        out[wire_name(t, f.name)] = (f.name, inner, optional or f.default is not dataclasses.MISSING)
    return out


def variants(t: Any) -> dict[str, Any] | None:
    """Tag value -> dataclass of a discriminated union, or None for another type."""
    if get_origin(t) not in (typing.Union, types.UnionType):
        return None
    out = {}
    for v in get_args(t):
        if not dataclasses.is_dataclass(v):
            return None
        first = dataclasses.fields(v)[0]
        out[str(get_args(hints(v)[first.name])[0])] = v
    return out


def parse(value: Any, t: Any, name: str) -> Any:
    """A JSON value as `t`; `name` is its path for messages. Raises SchemaError."""
    t, optional = strip_optional(t)
    if value is None and optional:
        return None
    if t is Any:
        return value
    if t in BUILTIN:
        good = isinstance(value, (int, float) if t is float else t) and (t is bool or not isinstance(value, bool))
        if not good:
            raise SchemaError(f"Invalid parameter type for '{name}', expected: {BUILTIN[t]}")
        if t is int and not -1 << 63 <= value < 1 << 64:
            raise SchemaError(f"Parameter '{name}' expects an integer below 2^64")
        return value
    if get_origin(t) is list:
        if not isinstance(value, list):
            raise SchemaError(f"Invalid parameter type for '{name}', expected: array")
        return [parse(v, get_args(t)[0], f"{name}[{i}]") for i, v in enumerate(value)]
    if get_origin(t) is dict or t is dict:
        if not isinstance(value, dict):
            raise SchemaError(f"Invalid parameter type for '{name}', expected: object")
        return value
    if get_origin(t) is Literal or (isinstance(t, type) and issubclass(t, enum.Enum)):
        accepted = get_args(t) if get_origin(t) is Literal else tuple(e.value for e in t)
        if not isinstance(value, str):
            raise SchemaError(f"Invalid parameter type for '{name}', expected: string")
        if value not in accepted:
            raise SchemaError(f"Parameter '{name}' does not accept value '{value}'")
        return value if get_origin(t) is Literal else t(value)
    if not isinstance(value, dict):
        raise SchemaError(f"Invalid parameter type for '{name}', expected: object")
    union = variants(t)
    if union is not None:
        first = next(iter(union.values()))
        tag_name = kebab(dataclasses.fields(first)[0].name)
        if tag_name not in value:
            raise SchemaError(f"Parameter '{join(name, tag_name)}' is missing")
        tag = value[tag_name]
        if not isinstance(tag, str) or tag not in union:
            raise SchemaError(f"Parameter '{join(name, tag_name)}' does not accept value '{tag}'")
        t = union[tag]
    table = members(t)
    given = {}
    for key, v in value.items():
        if key in table:
            attribute, inner, _ = table[key]
            given[attribute] = parse(v, inner, join(name, key))
    for key, (attribute, _, optional) in table.items():
        if attribute not in given and not optional:
            raise SchemaError(f"Parameter '{join(name, key)}' is missing")
    for key in value:
        if key not in table:
            raise SchemaError(f"Parameter '{join(name, key)}' is unexpected")
    return t(**given)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def dump(value: Any) -> Any:
    """A result as JSON: dataclasses become objects without their None members."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {wire_name(value, f.name): dump(v) for f in dataclasses.fields(value) if (v := getattr(value, f.name)) is not None}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return [dump(v) for v in value]
    if isinstance(value, dict):
        return {k: dump(v) for k, v in value.items()}
    return value


class Describer:
    """Builds the answer of `query-qmp-schema`: numbered types, commands and events."""

    def __init__(self) -> None:
        self.out: list[dict[str, Any]] = []
        self._names: dict[Any, str] = {}

    def name(self, t: Any) -> str:
        """The name under which a type is described; describes it first if need be."""
        t, _ = strip_optional(t)
        if t is type(None):
            return self._define("nothing", {"meta-type": "object", "members": []}, None)
        builtin = {int: ("int", "int"), str: ("str", "string"), bool: ("bool", "boolean"), float: ("number", "number")}.get(t)
        if builtin:
            return self._define(t, {"meta-type": "builtin", "json-type": builtin[1]}, builtin[0])
        if t is Any:
            return self._define("any", {"meta-type": "builtin", "json-type": "value"}, "any")
        if get_origin(t) is list:
            inner = self.name(get_args(t)[0])
            return self._define(f"[{inner}]", {"meta-type": "array", "element-type": inner}, f"[{inner}]")
        if get_origin(t) is dict or t is dict:
            return self.name(Any)
        if get_origin(t) is Literal or (isinstance(t, type) and issubclass(t, enum.Enum)):
            values = list(get_args(t)) if get_origin(t) is Literal else [e.value for e in t]
            return self._define(t, {"meta-type": "enum", "values": values}, None)
        if t in self._names:
            return self._names[t]
        union = variants(t)
        label = self._names[t] = str(len(self._names))
        if union is not None:
            tag = kebab(dataclasses.fields(next(iter(union.values())))[0].name)
            cases = [{"case": key, "type": self.name(v)} for key, v in union.items()]
            self.out.append({"name": label, "meta-type": "object", "tag": tag, "members": [
                {"name": tag, "type": self.name(Literal[tuple(union)])}], "variants": cases})
            return label
        self.out.append({"name": label, "meta-type": "object", "members": self.members(
            {key: (inner, optional) for key, (_, inner, optional) in members(t).items()})})
        return label

    def members(self, table: dict[str, tuple[Any, bool]]) -> list[dict[str, Any]]:
        return [{"name": key, "type": self.name(inner), **({"default": None} if optional else {})}
                for key, (inner, optional) in table.items()]

    def _define(self, key: Any, body: dict[str, Any], name: str | None) -> str:
        if key not in self._names:
            self._names[key] = name if name is not None else str(len(self._names))
            self.out.append({"name": self._names[key], **body})
        return self._names[key]
