"""The grammar of option text: `key=value,key2=value2` with `,,` for a comma, an implied first key, and nested keys.

Two forms exist. `opts` is the older one: a bare `key` means on and `nokey` off. `keyval` is the newer: dotted keys make
nested dictionaries, and a text that begins with `{` is JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tinamou.machine.props import PropertyError, choices

ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
HELP = ("help", "?")
MAX_INDEX = 1000


def _pairs(text: str, implied: str | None, bare: bool) -> list[tuple[str, str]]:
    out = []
    for n, item in enumerate(_items(text)):
        key, sign, value = item
        if sign:
            out.append((key, value))
        elif n == 0 and implied:
            out.append((implied, key))
        elif key in HELP:
            out.append((key, "on"))
        elif not bare:
            raise PropertyError(f"Expected '=' after parameter '{key}'")
        elif key.startswith("no"):
            out.append((key[2:], "off"))
        elif key:
            out.append((key, "on"))
    return out


def _items(text: str) -> list[tuple[str, bool, str]]:
    """(key or whole, has `=`, value). A key never contains a comma; doubled commas belong to values and bare words."""
    out: list[tuple[str, bool, str]] = []
    at = 0
    while at < len(text):
        eq, comma = text.find("=", at), text.find(",", at)
        if eq >= 0 and (comma < 0 or eq < comma):
            value, at2 = _value(text, eq + 1)
            out.append((text[at:eq], True, value))
            at = at2
        else:
            value, at = _value(text, at)
            out.append((value, False, ""))
    return out


def _value(text: str, at: int) -> tuple[str, int]:
    part: list[str] = []
    while at < len(text):
        if text[at] == ",":
            if text[at + 1 : at + 2] != ",":
                return "".join(part), at + 1
            at += 1
        part.append(text[at])
        at += 1
    return "".join(part), at


def opts(text: str, implied: str | None = None) -> dict[str, str]:
    """Older form; a repeated key keeps its last value. Raises PropertyError for a bad id."""
    out: dict[str, str] = {}
    for key, value in _pairs(text, implied, True):
        out.pop(key, None)
        out[key] = value
    check_id(out.get("id"))
    return out


def check_id(id_: str | None) -> None:
    """Raise PropertyError unless it is an identifier (or None)."""
    if id_ is not None and not ID.fullmatch(id_):
        raise PropertyError("Parameter 'id' expects an identifier",
                            "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.")


def wants_help(values: dict[str, Any]) -> bool:
    """Was `help` or `?` given?"""
    return any(k in HELP or v in HELP for k, v in values.items() if isinstance(v, str))


def keyval(text: str, implied: str | None = None) -> dict[str, Any]:
    """Newer form: `a.b=1,a.c.0=x` or JSON. Raises PropertyError."""
    if text.startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise PropertyError("JSON parse error") from None
        if not isinstance(value, dict):
            raise PropertyError("Expected an object")
        return value
    tree: dict[str, Any] = {}
    for key, value in _pairs(text, implied, False):
        if key in HELP:
            tree[key] = "on"
            continue
        path = key.split(".")
        for part in path:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*|\d{1,9}", part):
                raise PropertyError(f"Invalid parameter '{key}'")
        node = tree
        for part in path[:-1]:
            inner = node.setdefault(part, {})
            if not isinstance(inner, dict):
                raise PropertyError(f"Parameters '{key}' used inconsistently")
            node = inner
        if isinstance(node.get(path[-1]), dict):
            raise PropertyError(f"Parameters '{key}.*' used inconsistently")
        node[path[-1]] = value
    return {k: _lists(k, v) for k, v in tree.items()}


def _lists(path: str, value: Any) -> Any:
    """Dictionaries whose keys are numbers become lists."""
    if not isinstance(value, dict):
        return value
    inner = {k: _lists(f"{path}.{k}", v) for k, v in value.items()}
    numbers = [k for k in inner if k.isdigit()]
    if not numbers:
        return inner
    if len(numbers) != len(inner):
        raise PropertyError(f"Parameters '{path}.*' used inconsistently")
    if sorted(map(int, numbers)) != list(range(len(numbers))) or len(numbers) > MAX_INDEX:
        missing = next(n for n in range(len(numbers)) if str(n) not in inner)
        raise PropertyError(f"Parameter '{path}.{missing}' missing")
    return [inner[str(n)] for n in range(len(numbers))]


def only(values: dict[str, Any], known: set[str] | tuple[str, ...]) -> None:
    """Raise PropertyError naming the first key that is not known."""
    for key in values:
        if key not in known:
            raise PropertyError(f"Invalid parameter '{key}'", choices(key, known))


def readconfig(text: str) -> list[tuple[str, str, dict[str, str]]]:
    """(group, id, values) of each section of a `-readconfig` file. Raises PropertyError naming the line."""
    out: list[tuple[str, str, dict[str, str]]] = []
    for n, raw in enumerate(text.splitlines(), 1):
        row = raw.strip()
        if not row or row.startswith("#"):
            continue
        if m := re.fullmatch(r'\[\s*([A-Za-z0-9_-]+)(?:\s+"([^"]*)")?\s*\]', row):
            out.append((m[1], m[2] or "", {}))
        elif m := re.fullmatch(r'([A-Za-z0-9_.-]+)\s*=\s*"([^"]*)"', row):
            if not out:
                raise PropertyError(f"line {n}: no group defined")
            out[-1][2][m[1]] = m[2]
        else:
            raise PropertyError(f"line {n}: parse error")
    return out


def writeconfig(groups: list[tuple[str, str, dict[str, str]]]) -> str:
    """The text `readconfig` reads."""
    out = ["# qemu config file", ""]
    for group, id_, values in groups:
        out.append(f'[{group} "{id_}"]' if id_ else f"[{group}]")
        out += [f'  {k} = "{v}"' for k, v in values.items()]
        out.append("")
    return "\n".join(out)


def quote(text: str) -> str:
    """A value safe to put into option text."""
    return text.replace(",", ",,")


def spell(values: dict[str, str], implied: str = "") -> str:
    """The text that `opts` reads; the implied key's value stands alone."""
    return ",".join(quote(v) if k == implied else f"{k}={quote(v)}" for k, v in values.items())
