"""The QEMU machine protocol, server side: a command is a typed function, its signature is the schema.

    @command("device_del", since="0.14")
    def device_del(vm: Vm, id: str) -> None:
        "Ask the guest to release device `id`, then remove it."
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from tinamou.control import schema
from tinamou.control.schema import SchemaError, kebab
from tinamou.control.vm import CommandError, Vm
from tinamou.machine.props import PropertyError

F = TypeVar("F", bound=Callable[..., Any])
TOKEN_LIMIT, DEPTH_LIMIT = 64 << 20, 1024
COMMANDS: dict[str, Command] = {}


@dataclass(frozen=True)
class Command:
    """One command: its name, function, and what is read off the signature."""

    name: str
    function: Callable[..., Any]
    since: str
    parameters: dict[str, tuple[str, Any, bool]]
    returns: Any
    open_ended: bool


def command(name: str, *, since: str) -> Callable[[F], F]:
    """Register a command. A `**rest` parameter takes any further arguments."""

    def register(f: F) -> F:
        if name in COMMANDS and COMMANDS[name].function.__module__ != f.__module__:
            raise TypeError(f"two commands are called {name!r}")
        if not f.__doc__:
            raise TypeError(f"the command {name!r} is not documented")
        hints = schema.hints(f)
        table, open_ended = {}, False
        for p in list(inspect.signature(f).parameters.values())[1:]:
            if p.kind is p.VAR_KEYWORD:
                open_ended = True
                continue
            inner, optional = schema.strip_optional(hints[p.name])
            table[kebab(p.name)] = (p.name, inner, optional or p.default is not p.empty)
        COMMANDS[name] = Command(name, f, since, table, hints.get("return", type(None)), open_ended)
        return f

    return register


@cache
def discover() -> dict[str, Command]:
    """Every command of `tinamou.control.commands`, by name."""
    package = importlib.import_module("tinamou.control.commands")
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(info.name)
    return COMMANDS


def execute(vm: Vm, name: str, arguments: dict[str, Any]) -> Any:
    """Run a command; returns JSON. Raises CommandError or SchemaError."""
    c = discover().get(name)
    if c is None:
        raise CommandError(f"The command {name} has not been found", "CommandNotFound")
    given: dict[str, Any] = {}
    rest = {}
    for key, value in arguments.items():
        if key in c.parameters:
            attribute, inner, _ = c.parameters[key]
            given[attribute] = schema.parse(value, inner, key)
        elif c.open_ended:
            rest[key] = value
    for key, (attribute, _, optional) in c.parameters.items():
        if attribute not in given and not optional:
            raise SchemaError(f"Parameter '{key}' is missing")
    for key in arguments:
        if key not in c.parameters and not c.open_ended:
            raise SchemaError(f"Parameter '{key}' is unexpected")
    try:
        result = c.function(vm, **given, **rest)
    except PropertyError as e:
        raise CommandError(str(e)) from None
    return {} if result is None else schema.dump(result)


def describe() -> list[dict[str, Any]]:
    """The answer of `query-qmp-schema`."""
    d = schema.Describer()
    entries = []
    for c in discover().values():
        table = {key: (inner, optional) for key, (_, inner, optional) in c.parameters.items()}
        if table:
            label = f"{c.name}-arg"
            members = d.members(table)
            entries.append({"name": label, "meta-type": "object", "members": members})
        else:
            label = d.name(type(None))
        entries.append({"name": c.name, "meta-type": "command", "arg-type": label, "ret-type": d.name(c.returns)})
    for name in EVENTS:
        entries.append({"name": name, "meta-type": "event", "arg-type": d.name(type(None))})
    return entries + d.out


EVENTS = ("BLOCK_IO_ERROR", "DEVICE_DELETED", "POWERDOWN", "RESET", "RESUME", "SHUTDOWN", "STOP", "WATCHDOG")


class Session:
    """One monitor connection. `send` takes text for the client; `feed` brings what it says, cut anywhere."""

    def __init__(self, vm: Vm, send: Callable[[bytes], object], pretty: bool = False) -> None:
        self.vm, self._send, self.pretty = vm, send, pretty
        self.negotiated = False
        self._reader = JsonReader()
        self._events: Callable[[], None] | None = None

    def open(self) -> None:
        """Greet the client."""
        self.negotiated = False
        self._reader = JsonReader()
        major, minor, micro = self.vm.version
        version = {"qemu": {"micro": micro, "minor": minor, "major": major}, "package": self.vm.package}
        self.send({"QMP": {"version": version, "capabilities": ["oob"]}})
        if self._events is None:
            self._events = self.vm.on_event(self._event)

    def close(self) -> None:
        """The client is gone."""
        if self._events is not None:
            self._events()
            self._events = None

    def _event(self, message: dict[str, Any]) -> None:
        if self.negotiated:
            self.send(message)

    def send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, indent=4) if self.pretty else json.dumps(message)
        self._send(text.replace("\n", "\r\n").encode() + b"\r\n")

    def feed(self, data: bytes) -> None:
        for request in self._reader.feed(data):
            if isinstance(request, SchemaError):
                self.send({"error": {"class": "GenericError", "desc": str(request)}})
            else:
                self.request(request)

    def request(self, request: Any) -> None:
        """Answer one request."""
        id_ = {"id": request["id"]} if isinstance(request, dict) and "id" in request else {}
        try:
            answer = self._execute(request)
        except SchemaError as e:
            self.send({**id_, "error": {"class": "GenericError", "desc": str(e)}})
        except CommandError as e:
            self.send({**id_, "error": {"class": e.kind, "desc": str(e)}})
        else:
            self.send({"return": answer, **id_})

    def _execute(self, request: Any) -> Any:
        if not isinstance(request, dict):
            raise SchemaError("QMP input must be a JSON object")
        name = None
        for key, value in request.items():
            if key in ("execute", "exec-oob"):
                if not isinstance(value, str):
                    raise SchemaError(f"QMP input member '{key}' must be a string")
                if name is not None:
                    raise SchemaError(f"QMP input member '{key}' clashes with 'execute'")
                name = value
            elif key == "arguments":
                if not isinstance(value, dict):
                    raise SchemaError("QMP input member 'arguments' must be an object")
            elif key != "id":
                raise SchemaError(f"QMP input member '{key}' is unexpected")
        if name is None:
            raise SchemaError("QMP input lacks member 'execute'")
        arguments = request.get("arguments", {})
        if not self.negotiated and name != "qmp_capabilities":
            raise CommandError("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
        if name == "qmp_capabilities":
            return self._negotiate(arguments)
        return execute(self.vm, name, arguments)

    def _negotiate(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.negotiated:
            raise CommandError("Capabilities negotiation is already complete, command ignored", "CommandNotFound")
        enable = arguments.get("enable", [])
        if not isinstance(enable, list):
            raise SchemaError("Invalid parameter type for 'enable', expected: array")
        for key in arguments:
            if key != "enable":
                raise SchemaError(f"Parameter '{key}' is unexpected")
        for c in enable:
            if c != "oob":
                raise SchemaError(f"Parameter 'enable[{enable.index(c)}]' does not accept value '{c}'")
        self.negotiated = True
        return {}

    # --- as the front end of a character device

    def can_receive(self) -> int:
        return 4096

    def receive(self, data: bytes) -> None:
        self.feed(data)

    def event(self, what: str) -> None:
        if what == "opened":
            self.open()
        elif what == "closed":
            self.close()


class JsonReader:
    """Cuts a stream of bytes into JSON values. Line ends mean nothing: an unclosed brace swallows what follows."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._depth = 0
        self._quote = 0
        self._escaped = False
        self._at = 0

    def feed(self, data: bytes) -> list[Any]:
        """Complete values, and a SchemaError in the place of each damaged one."""
        self._text += data
        out: list[Any] = []
        while self._at < len(self._text):
            c = self._text[self._at]
            self._at += 1
            if self._quote:
                if self._escaped:
                    self._escaped = False
                elif c == 0x5C:
                    self._escaped = True
                elif c == self._quote:
                    self._quote = 0
                    if not self._depth:
                        out.append(self._take())
            elif c == 0xFF:
                self._reset()
            elif c in b"\"'":
                self._quote = c
            elif c in b"{[":
                self._depth += 1
                if self._depth > DEPTH_LIMIT:
                    self._reset()
                    out.append(SchemaError("JSON nesting depth limit exceeded"))
            elif c in b"}]":
                self._depth -= 1
                if self._depth <= 0:
                    out.append(self._take())
            elif not self._depth and c in b" \t\r\n":
                if self._text[: self._at].strip():
                    out.append(self._take())
                else:
                    del self._text[: self._at]
                    self._at = 0
            if self._at > TOKEN_LIMIT:
                self._reset()
                out.append(SchemaError("JSON token size limit exceeded"))
        return out

    def _reset(self) -> None:
        del self._text[: self._at]
        self._depth = self._quote = self._at = 0
        self._escaped = False

    def _take(self) -> Any:
        raw = bytes(self._text[: self._at])
        self._reset()
        try:
            return json.loads(_double_quoted(raw.decode()), parse_constant=_no_constant)
        except UnicodeDecodeError:
            return SchemaError("JSON parse error, invalid UTF-8 sequence in string")
        except (ValueError, RecursionError):
            word = re.search(r"(?<![\w\"'])(?!true\b|false\b|null\b)[a-zA-Z_]\w*", re.sub(r'"(\\.|[^"\\])*"', '""', raw.decode()))
            if word:
                return SchemaError(f"JSON parse error, invalid keyword '{word[0]}'")
            return SchemaError("JSON parse error, expecting value")


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _double_quoted(text: str) -> str:
    """The protocol's parser also takes 'strings'."""
    if "'" not in text:
        return text

    def fix(m: re.Match[str]) -> str:
        if m[0][0] == '"':
            return m[0]
        return '"' + m[0][1:-1].replace("\\'", "'").replace('"', '\\"') + '"'

    return re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', fix, text)
