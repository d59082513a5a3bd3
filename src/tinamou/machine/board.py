"""Boards are functions that fill a Machine; the decorator gives them a name and turns their keywords into properties."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinamou.machine import plugins
from tinamou.machine.clock import VirtualTime
from tinamou.machine.cpu import CpuFactory
from tinamou.machine.log import Log
from tinamou.machine.machine import Machine, Settings
from tinamou.machine.memory import MiB
from tinamou.machine.props import BOOL, SIZE, STR, U32, Kind, Prop, Properties, PropertyError, choices, parse_size

BOARDS: dict[tuple[str, str], Board] = {}  # by architecture and name


@dataclass
class Board:
    """A kind of machine. `ram` is the default size in bytes, `fixed_ram` True when no other is allowed."""

    name: str
    desc: str
    build: Callable[..., None]
    arch: str
    max_cpus: int = 1
    min_cpus: int = 1
    default_cpus: int = 1
    cpu: str = ""
    ram: int = 128 * MiB
    fixed_ram: bool = False
    endian: typing.Literal["little", "big"] = "little"
    alias: str = ""
    default: bool = False
    valid_cpus: tuple[str, ...] = ()
    properties: Properties = field(default_factory=lambda: Properties("machine"))

    def make(self, settings: Settings | None = None, options: dict[str, Any] | None = None, *,
             cpu_factory: CpuFactory | None = None, time: VirtualTime | None = None, log: Log | None = None) -> Machine:
        """Build the machine and reset it. Raises PropertyError for a bad option, CPU count or RAM size."""
        settings = settings or Settings(ram_size=self.ram, cpus=self.default_cpus)
        values = self.properties.parse(options or {})
        if settings.cpus > self.max_cpus:
            raise PropertyError(f"Invalid SMP CPUs {settings.cpus}. The max CPUs supported by machine '{self.name}' "
                                f"is {self.max_cpus}")
        if settings.cpus < self.min_cpus:
            raise PropertyError(f"Invalid SMP CPUs {settings.cpus}. The min CPUs supported by machine '{self.name}' "
                                f"is {self.min_cpus}")
        if self.fixed_ram and settings.ram_size != self.ram:
            raise PropertyError(f"Invalid RAM size, should be {size_text(self.ram)}")
        m = Machine(self.name, settings, endian=self.endian, cpu_factory=cpu_factory, time=time, log=log)
        m.board = self
        m.options = {p.attribute: values.get(p.attribute, p.default) for p in self.properties.table.values()}
        with m.memory.batch():
            self.build(m, **values)
        m.reset("cold")
        return m


def size_text(n: int) -> str:
    """`16 KiB`, `1 GiB`, `1.5 GiB`."""
    value, unit = float(n), 0
    while value >= 1024 and unit < 6:
        value, unit = value / 1024, unit + 1
    return f"{value:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[unit]}"


_KINDS: dict[Any, Kind] = {bool: BOOL, int: U32, str: STR}


def board(name: str, desc: str, *, arch: str, **facts: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `def name(m: Machine, *, revb: Annotated[bool, "help"] = False) -> None` as a kind of machine."""

    def register(build: Callable[..., None]) -> Callable[..., None]:
        if (arch, name) in BOARDS and BOARDS[arch, name].build.__module__ != build.__module__:
            raise TypeError(f"two boards are called {name!r}")
        hints = typing.get_type_hints(build, include_extras=True)
        table = {}
        for p in list(inspect.signature(build).parameters.values())[1:]:
            hint, help_ = hints[p.name], ""
            kind: Kind | None = None
            if typing.get_origin(hint) is typing.Annotated:
                hint, *extra = typing.get_args(hint)
                help_ = next((x for x in extra if isinstance(x, str)), "")
                kind = next((x for x in extra if isinstance(x, Kind)), None)
            key = p.name.replace("_", "-")
            table[key] = Prop(kind or _KINDS[hint], p.default, help_, key, p.name)
        BOARDS[arch, name] = Board(name, desc, build, arch, properties=Properties(f"{name}-machine", table), **facts)
        return build

    return register


def discover(arch: str = "", plug_ins: bool = True) -> dict[str, Board]:
    """Every board: those in `tinamou.boards`, by folder, and those other packages offer as `tinamou.machines`.

    Without an architecture a name that several have stands for the board of the last of them ("virt": RISC-V's).
    """
    try:
        root = importlib.import_module("tinamou.boards")
    except ModuleNotFoundError:
        return {}
    for info in pkgutil.walk_packages(root.__path__, "tinamou.boards."):
        if not arch or info.name.split(".")[2] == arch:
            importlib.import_module(info.name)
    if plug_ins:
        plugins.load("tinamou.machines")
    known = {name: b for (_, name), b in sorted(BOARDS.items()) if not arch or b.arch == arch}
    return dict(sorted(known.items()))


def find(name: str, arch: str = "") -> Board:
    """The board of that name or alias. Raises PropertyError with the original's words and the nearest names."""
    for plug_ins in (False, True):  # those of other packages only where the name is none of ours
        known = discover(arch, plug_ins)
        for b in known.values():
            if name in (b.name, b.alias):
                return b
    hint = choices(name, [*known, *(b.alias for b in known.values() if b.alias)])
    raise PropertyError("unsupported machine type", "Use -machine help to list supported machines" + (f"\n{hint}" if hint else ""))


__all__ = ["BOARDS", "SIZE", "Board", "board", "discover", "find", "parse_size", "size_text"]
