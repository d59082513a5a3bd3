"""What a command line asks for: a `Request`, filled by functions that `option` registers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tinamou.machine.machine import Settings
from tinamou.machine.props import nearest


class OptionError(Exception):
    """A bad option. `prefix` is the option as typed, or empty; `hint` goes on lines of its own."""

    def __init__(self, message: str, prefix: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.prefix, self.hint = prefix, hint


class Finished(Exception):
    """An option that only prints something: `text` to standard output, then exit with `status`."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.text, self.status = text, status


@dataclass
class Request:
    """What the words said, in order where order matters."""

    program: str = "qemu-system-riscv64"
    arch: str = "riscv"
    machine: dict[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=lambda: Settings(ram_size=0, cpus=0))
    serials: list[str] = field(default_factory=list)
    monitors: list[tuple[str, str]] = field(default_factory=list)       # (mode, where)
    chardevs: list[dict[str, str]] = field(default_factory=list)
    drives: list[dict[str, str]] = field(default_factory=list)
    devices: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    blockdevs: list[dict[str, Any]] = field(default_factory=list)
    globals_: list[tuple[str, str, str]] = field(default_factory=list)
    gdb: list[str] = field(default_factory=list)
    qtest: str = ""
    accelerators: list[str] = field(default_factory=list)
    jit: str = ""  # off, traces, on, eager; "" leaves it to the environment
    icount: dict[str, Any] | None = None  # shift (None: auto), sleep, align
    log_items: set[str] = field(default_factory=set)
    log_ranges: list[tuple[int, int]] = field(default_factory=list)  # first and last address of code that is logged; all if there is none
    log_file: str = ""
    name: str = ""
    uuid: str = ""
    pidfile: str = ""
    loadvm: str = ""
    display: str = ""
    nographic: bool = False
    nodefaults: bool = False
    stopped: bool = False
    snapshot: bool = False
    no_reboot: bool = False
    no_shutdown: bool = False
    daemonize: bool = False
    echr: int = 1
    dumpdtb: str = ""
    timestamps: bool = False  # -msg
    guest_name: bool = False

    def prefix(self) -> str:
        """What -msg puts before each message."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ") if self.timestamps else ""
        return now + (f"{self.name} " if self.guest_name and self.name else "")

    def warn(self, text: str) -> None:
        sys.stderr.write(f"{self.prefix()}{self.program}: warning: {text}\n")


@dataclass(frozen=True)
class Option:
    names: tuple[str, ...]
    argument: str
    help: str
    function: Callable[..., None]


OPTIONS: dict[str, Option] = {}


def option(names: str, argument: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `-NAME`; an empty `argument` means it takes none."""

    def register(f: Callable[..., None]) -> Callable[..., None]:
        made = Option(tuple(names.split("|")), argument, help, f)
        for n in made.names:
            OPTIONS[n] = made
        return f

    return register


def _attribute(path: str) -> tuple[Callable[[Request], Any], str]:
    """(finds the object, attribute) of `name` or `settings.name`. Raises TypeError when there is none."""
    where, _, name = path.rpartition(".")
    owner: Any = Settings if where else Request
    if name not in owner.__dataclass_fields__:
        raise TypeError(f"{owner.__name__} has no {name}{nearest(name, owner.__dataclass_fields__)}")
    return (lambda r: r.settings) if where else (lambda r: r), name


def flag(name: str, attribute: str, help: str) -> None:
    """Register `-NAME`, which makes an attribute of the request true."""
    owner, key = _attribute(attribute)
    option(name, "", help)(lambda r: setattr(owner(r), key, True))


def kept(name: str, attribute: str, argument: str, help: str) -> None:
    """Register `-NAME ARGUMENT`, which keeps the argument in an attribute of the request."""
    owner, key = _attribute(attribute)
    option(name, argument, help)(lambda r, value: setattr(owner(r), key, value))


def listed(name: str, attribute: str, argument: str, help: str, entry: Callable[[str], Any] = str) -> None:
    """Register `-NAME ARGUMENT`, which adds `entry(argument)` to a list of the request."""
    owner, key = _attribute(attribute)
    option(name, argument, help)(lambda r, value: getattr(owner(r), key).append(entry(value)))
