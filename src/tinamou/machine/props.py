"""Properties: what a person may set on a device, board or backend, with the checks and messages users know.

A kind turns option text or a Python/JSON value into the value a part sees, or raises PropertyError.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar, dataclass_transform

T = TypeVar("T")
FEW = 20                                # words that an error message lists


class PropertyError(ValueError):
    """A property that does not exist or does not take the value. `hint` is for an extra line to people."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Kind:
    """A property type. `name` is what help prints between angle brackets."""

    name: str

    def parse(self, prop: str, value: Any) -> Any:
        """The value for a property called `prop`."""
        return value

    def show(self, value: Any) -> str:
        """As help prints a default."""
        return str(value)


class Bool(Kind):
    def parse(self, prop: str, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        if value in ("on", "yes", "true", "y"):
            return True
        if value in ("off", "no", "false", "n"):
            return False
        raise PropertyError(f"Parameter '{prop}' expects 'on' or 'off'")

    def show(self, value: Any) -> str:
        return "true" if value else "false"


@dataclass(frozen=True)
class Int(Kind):
    bits: int = 32
    signed: bool = False

    def parse(self, prop: str, value: Any) -> int:
        n = value
        if isinstance(n, str):
            try:
                n = int(n, 0) if not re.fullmatch(r"-?0[0-7]+", n) else int(n, 8)
            except ValueError:
                raise PropertyError(f"Parameter '{prop}' expects integer") from None
        if isinstance(n, bool) or not isinstance(n, int):
            raise PropertyError(f"Invalid parameter type for '{prop}', expected: integer")
        low, high = (-1 << self.bits - 1, 1 << self.bits - 1) if self.signed else (0, 1 << self.bits)
        if not low <= n < high:
            raise PropertyError(f"Parameter '{prop}' expects {self.name}_t")
        return n


class Size(Kind):
    def parse(self, prop: str, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            if 0 <= value < 1 << 64:
                return value
        elif isinstance(value, str):
            n = parse_size(value)
            if n is not None:
                return n
        raise PropertyError(
            f"Parameter '{prop}' expects a non-negative number below 2^64",
            "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.")


class BlockSize(Kind):
    """A power of two from 512 to 2 MiB, as logical and physical block sizes of disks are."""

    def parse(self, prop: str, value: Any) -> int:
        n: int = SIZE.parse(prop, value)
        if n and not 512 <= n <= 1 << 21:
            raise PropertyError(f"Property .{prop} doesn't take value {n} (minimum: 512, maximum: 2097152)")
        if n & n - 1:
            raise PropertyError(f"Property .{prop} doesn't take value '{n}', it's not a power of 2")
        return n


class Str(Kind):
    def parse(self, prop: str, value: Any) -> str:
        if not isinstance(value, str):
            raise PropertyError(f"Invalid parameter type for '{prop}', expected: string")
        return value

    def show(self, value: Any) -> str:
        return f'"{value}"'


@dataclass(frozen=True)
class Enum(Kind):
    values: tuple[str, ...] = ()

    def parse(self, prop: str, value: Any) -> str:
        if isinstance(value, str) and value in self.values:
            return value
        raise PropertyError(f"Parameter '{prop}' does not accept value '{value}'",
                            f"accepted: {', '.join(self.values)}{nearest(str(value), self.values)}")

    def show(self, value: Any) -> str:
        return f'"{value}"'


class Mac(Kind):
    def parse(self, prop: str, value: Any) -> bytes:
        if isinstance(value, bytes) and len(value) == 6:
            return value
        if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", value):
            return bytes.fromhex(re.sub("[:-]", "", value))
        raise PropertyError(f"Property '{prop}' doesn't take value '{value}'")


class PciAddress(Kind):
    """`SLOT[.FUNCTION]`, hexadecimal; as a number slot * 8 + function, -1 is the next free one."""

    def parse(self, prop: str, value: Any) -> int:
        if isinstance(value, int) and -1 <= value < 256:
            return value
        m = re.fullmatch(r"([0-9a-fA-F]{1,2})(?:\.([0-7]))?", value) if isinstance(value, str) else None
        if m and int(m[1], 16) < 32:
            return int(m[1], 16) << 3 | int(m[2] or "0")
        raise PropertyError(f"Property '{prop}' doesn't take value '{value}'", "expected: SLOT from 0 to 1f, or SLOT.FUNCTION")


class Any_(Kind):
    """A Python object: a backend, a clock, another part. `link` names what option text looks up."""


@dataclass(frozen=True)
class Link(Kind):
    """Text naming another object: `drive`, `chr`, `netdev` or an object's id. Objects themselves are taken as they are."""

    what: str = ""


BOOL = Bool("bool")
U8, U16, U32, U64 = Int("uint8", 8), Int("uint16", 16), Int("uint32", 32), Int("uint64", 64)
I32, I64 = Int("int32", 32, True), Int("int64", 64, True)
SIZE, BLOCK_SIZE, STR, MAC, PCI_ADDRESS = Size("size"), BlockSize("size"), Str("str"), Mac("str"), PciAddress("int32")
ON_OFF_AUTO = Enum("OnOffAuto", ("on", "off", "auto"))
OBJECT = Any_("object")
DRIVE, CHARDEV, NETDEV = Link("str", "drive"), Link("str", "chardev"), Link("str", "netdev")


def enum(name: str, *values: str) -> Enum:
    return Enum(name, values)


def link(type_name: str) -> Link:
    """A property naming an object of a type (`rng`, `iothread`, `memory-backend`)."""
    return Link(f"link<{type_name}>", "object")


_REQUIRED: Any = object()


@dataclass(frozen=True)
class Prop:
    """One declared property."""

    kind: Kind
    default: Any
    help: str
    name: str = ""
    attribute: str = ""
    hidden: bool = False

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    def initial(self) -> Any:
        return self.default

    def describe(self) -> str:
        """The line `-device X,help` prints."""
        left = f"{self.name}=<{self.kind.name}>"
        text = self.help or ("on/off" if isinstance(self.kind, (Bool,)) else
                             "on/off/auto" if self.kind is ON_OFF_AUTO else "")
        shown = "" if self.default is None or self.required else f" (default: {self.kind.show(self.default)})"
        tail = f"- {text}{shown}" if text or shown else ""
        return f"  {left:<22} {tail}".rstrip()


def prop(kind: Kind, *, default: Any = _REQUIRED, help: str = "", name: str = "", hidden: bool = False) -> Any:
    """Declare a property in a device's class body: `width: int = prop(U8, default=4, help="bytes")`.

    Its option name is the attribute's with `-` for `_`, unless `name` says otherwise. Without a default it is required.
    """
    return Prop(kind, default, help, name, hidden=hidden or kind is OBJECT)


@dataclass
class Properties:
    """The properties of one type, looked up by their option names."""

    owner: str
    table: dict[str, Prop] = field(default_factory=dict)

    def parse(self, given: dict[str, Any], resolve: Callable[[Link, str, str], Any] | None = None) -> dict[str, Any]:
        """Option text to values by attribute. `resolve(link, property, text)` finds named objects."""
        out = {}
        for key, value in given.items():
            p = self.table.get(key)
            if p is None:
                shown = (n for n, known in self.table.items() if not known.hidden)
                raise PropertyError(f"Property '{self.owner}.{key}' not found", choices(key, shown))
            if isinstance(p.kind, Link) and isinstance(value, str) and resolve:
                out[p.attribute] = resolve(p.kind, key, value)
            else:
                try:
                    out[p.attribute] = p.kind.parse(key, value)
                except PropertyError as e:
                    text = str(e).replace(f"Property '{key}'", f"Property '{self.owner}.{key}'")
                    raise PropertyError(text, e.hint) from None
        return out

    def help(self) -> str:
        """What `-device X,help` prints."""
        rows = [p.describe() for _, p in sorted(self.table.items()) if not p.hidden]
        return "\n".join([f"{self.owner} options:", *rows]) + "\n"


@dataclass_transform(kw_only_default=True, field_specifiers=(prop,))
class Declared:
    """Anything with declared properties that is no device: character devices, objects.

    The class keyword `kind` is the name in option text.
    """

    kind: ClassVar[str] = ""
    properties: ClassVar[Properties]

    def __init_subclass__(cls, *, kind: str = "") -> None:
        super().__init_subclass__()
        cls.kind = kind or cls.kind
        table: dict[str, Prop] = {}
        for base in reversed(cls.__mro__):
            for attribute, p in vars(base).items():
                if isinstance(p, Prop):
                    name = p.name or attribute.replace("_", "-")
                    table[name] = replace(p, name=name, attribute=attribute)
        cls.properties = Properties(cls.kind or cls.__name__, table)

    def __init__(self, **given: Any) -> None:
        for p in self.properties.table.values():
            if p.attribute in given:
                value = given.pop(p.attribute)
                setattr(self, p.attribute, None if value is None else p.kind.parse(p.name, value))
            elif p.required:
                raise PropertyError(f"Parameter '{p.name}' is missing")
            else:
                setattr(self, p.attribute, p.initial())
        if given:
            raise TypeError(f"{type(self).__name__} has no property {next(iter(given))!r}")
        self.setup()

    def setup(self) -> None:
        """Runs once, with the properties set."""


def parse_size(text: str, unit: int = 1) -> int | None:
    """`512`, `0x200`, `1.5G`, `64k`; a bare number counts `unit`. None when it is no size below 2**64."""
    m = re.fullmatch(r"\s*(?:(0[xX][0-9a-fA-F]+)|(\d+(?:\.\d*)?|\.\d+)\s*([bBkKmMgGtTpPeE]?))", text)
    if not m:
        return None
    if m[1]:
        value = int(m[1], 16) * unit
    else:
        scale = 1024 ** "bkmgtpe".index(m[3].lower()) if m[3] else unit
        whole, _, part = m[2].partition(".")
        value = int(whole or "0") * scale
        if part:
            if scale == 1:
                return None
            value += int(part) * scale // 10 ** len(part)
    return value if value < 1 << 64 else None


def choices(word: str, known: Iterable[str]) -> str:
    """The line under a message about a wrong word: close spellings, or else all of them if they are few."""
    all_ = [k for k in known if k]
    return nearest(word, all_, "nearest: ") or (f"accepted: {', '.join(all_)}" if 0 < len(all_) <= FEW else "")


def nearest(word: str, known: Iterable[str], prefix: str = "; nearest: ") -> str:
    """A hint naming close spellings, or nothing."""
    found = difflib.get_close_matches(word, list(known), 3, 0.6)
    return prefix + ", ".join(found) if found else ""
