"""What a driver accepts, and the grammar it is written in.

A driver declares its options as typed attributes, which is all there is to do: parsing, range errors, `-o help` and the
line `Formatting ...` come from the declaration.

    class Create(Options):
        size = opt.size("Virtual disk size")
        static = opt.flag("VDI static (pre-allocated) image", default=False)
"""

from __future__ import annotations

from .errors import BlockError
from .notation import Any, Generic, TypeVar, overload

T = TypeVar("T")
O = TypeVar("O", bound="Options")

SUFFIXES = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
SIZE_HINTS = (
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-",
    "and exabytes, respectively.",
)


def parse_size(text: str, default_suffix: str = "b") -> int:
    """Bytes from `10`, `1.5G`, `0x100`, `64k`. Raises `ValueError` for nonsense, `OverflowError` from 2^64 on."""
    s = text.strip()
    if s[:2].lower() == "0x":
        value = int(s, 16)
        shift = SUFFIXES[default_suffix]
        scaled = value << shift
    else:
        shift = SUFFIXES[default_suffix]
        if s and s[-1].lower() in SUFFIXES:
            shift, s = SUFFIXES[s[-1].lower()], s[:-1]
        whole, _, fraction = s.partition(".")
        if not whole.isascii() or not whole.isdigit() or len(whole) > 40 or (fraction and not fraction.isdigit()):
            raise ValueError(text)
        if not shift and fraction.strip("0"):
            raise ValueError(text)
        scaled = int(whole) << shift
        if fraction:
            scaled += (int(fraction[:30]) << shift) // 10 ** len(fraction[:30])
    if scaled >= 1 << 64:
        raise OverflowError(text)
    return scaled


class Option(Generic[T]):
    """One declared option; on an `Options` instance the attribute is its value."""

    def __init__(self, kind: str, help: str, default: T, key: str | None, values: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.help = help
        self.default = default
        self.key = key or ""
        self.values = values

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        self.key = self.key or name

    @overload
    def __get__(self, obj: None, owner: type) -> Option[T]: ...
    @overload
    def __get__(self, obj: object, owner: type) -> T: ...
    def __get__(self, obj: object | None, owner: type) -> Any:
        if obj is None:
            return self
        return vars(obj).get(self.attribute, self.default)

    def __set__(self, obj: object, value: T) -> None:
        obj.__dict__[self.attribute] = value

    def parse(self, value: Any) -> T:
        """The typed value of what the user wrote (text, or a JSON value); raises `BlockError`."""
        parser: Any = _PARSERS[self.kind]
        return parser(self, value)  # type: ignore[no-any-return]

    def render(self, value: T) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        return str(value)


def _parse_flag(option: Option[Any], value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("on", "off"):
        return bool(value == "on")
    raise BlockError(f"Parameter '{option.key}' expects 'on' or 'off'")


def _parse_size(option: Option[Any], value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return value
    try:
        return parse_size(str(value))
    except (ValueError, OverflowError):
        raise BlockError(f"Parameter '{option.key}' expects a non-negative number below 2^64", *SIZE_HINTS) from None


def _parse_number(option: Option[Any], value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    digits = text[2:] if text[:2].lower() == "0x" else text
    try:
        if len(digits) > 4000:
            raise OverflowError
        number = int(text, 16 if digits is not text else 10)
    except ValueError:
        raise BlockError(f"Parameter '{option.key}' expects a number") from None
    except OverflowError:
        number = 1 << 64
    if not 0 <= number < 1 << 64:
        raise BlockError(f"Value '{value}' is too large for parameter '{option.key}'")
    return number


def _parse_text(option: Option[Any], value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _parse_choice(option: Option[Any], value: Any) -> str:
    if value not in option.values:
        raise BlockError(f"Parameter '{option.key}' does not accept value '{value}'")
    return str(value)


_PARSERS = {
    "size": _parse_size,
    "bool (on/off)": _parse_flag,
    "num": _parse_number,
    "str": _parse_text,
    "choice": _parse_choice,
}


@overload
def size(help: str, *, key: str | None = None) -> Option[int | None]: ...
@overload
def size(help: str, default: int, key: str | None = None) -> Option[int]: ...
def size(help: str, default: Any = None, key: str | None = None) -> Option[Any]:
    """Bytes, with suffixes b k M G T P E."""
    return Option("size", help, default, key)


@overload
def flag(help: str, *, key: str | None = None) -> Option[bool | None]: ...
@overload
def flag(help: str, default: bool, key: str | None = None) -> Option[bool]: ...
def flag(help: str, default: Any = None, key: str | None = None) -> Option[Any]:
    """`on` or `off`."""
    return Option("bool (on/off)", help, default, key)


@overload
def number(help: str, *, key: str | None = None) -> Option[int | None]: ...
@overload
def number(help: str, default: int, key: str | None = None) -> Option[int]: ...
def number(help: str, default: Any = None, key: str | None = None) -> Option[Any]:
    """A number from 0 to 2^64 - 1, decimal or 0x."""
    return Option("num", help, default, key)


@overload
def text(help: str, *, key: str | None = None) -> Option[str | None]: ...
@overload
def text(help: str, default: str, key: str | None = None) -> Option[str]: ...
def text(help: str, default: Any = None, key: str | None = None) -> Option[Any]:
    """Any text."""
    return Option("str", help, default, key)


@overload
def choice(help: str, values: tuple[str, ...], *, key: str | None = None) -> Option[str | None]: ...
@overload
def choice(help: str, values: tuple[str, ...], default: str, key: str | None = None) -> Option[str]: ...
def choice(help: str, values: tuple[str, ...], default: Any = None, key: str | None = None) -> Option[Any]:
    """One of `values`; anything else is an error that names the parameter and the value."""
    return Option("choice", help, default, key, values)


class Options:
    """A set of declared options; instances hold the values. Declaration order is the order of `Formatting ...`.

    `given` has the keys the user wrote. A default of None means "not printed unless given".
    """

    def __init__(self, values: dict[str, Any] | None = None, lenient: bool = False) -> None:
        self.given: set[str] = set()
        known = {option.key: option for option in self.declared()}
        for key, value in (values or {}).items():
            option = known.get(key)
            if option is None:
                raise BlockError(f"Invalid parameter '{key}'")
            lax = lenient and option.kind == "choice"
            setattr(self, option.attribute, str(value) if lax else option.parse(value))
            self.given.add(key)

    def validate(self) -> None:
        """Check the choices that `lenient` let pass (`create` prints what it is asked to do before it looks closer)."""
        for option in self.declared():
            value = getattr(self, option.attribute)
            if option.kind == "choice" and value is not None and value not in option.values:
                if option.key == "preallocation" and value == "metadata":
                    raise BlockError("Unsupported preallocation mode: metadata")
                raise BlockError(f"Parameter '{option.key.replace('_', '-')}' does not accept value '{value}'")

    @classmethod
    def declared(cls) -> list[Option[Any]]:
        """All options, base classes first, in the order of declaration."""
        seen: dict[str, Option[Any]] = {}
        for owner in reversed(cls.__mro__):
            for name, value in vars(owner).items():
                if isinstance(value, Option):
                    seen.pop(name, None)
                    seen[name] = value
        return list(seen.values())

    @classmethod
    def keys(cls) -> set[str]:
        return {option.key for option in cls.declared()}

    @classmethod
    def help_lines(cls) -> list[str]:
        """The lines of `-o help`, sorted by name."""
        lines = []
        for option in sorted(cls.declared(), key=lambda o: o.key):
            kind = "str" if option.kind == "choice" else option.kind
            head = f"{option.key}=<{kind}>"
            lines.append(f"  {head:<22} - {option.help}" if option.help else f"  {head}")
        return lines

    def render(self) -> str:
        """`cluster_size=65536 size=1048576`: every option that has a value, in the order of declaration."""
        return " ".join(f"{o.key}={_quote(o.render(v))}" for o in self.declared() if (v := getattr(self, o.attribute)) is not None)

    def replace(self: O, **values: Any) -> O:
        """A copy with some attributes changed."""
        new = type(self)()
        new.__dict__.update(self.__dict__)
        new.given = set(self.given)
        for name, value in values.items():
            setattr(new, name, value)
            new.given.add(name)
        return new


def _quote(value: str) -> str:
    return value.replace(",", ",,")


def parse_opts(text: str, implied: str | None = None) -> dict[str, str]:
    """`a=1,b=x,,y,c` -> {a: 1, b: "x,y", c: "on"}; `noc` -> {c: "off"}; a first bare word belongs to `implied`."""
    out: dict[str, str] = {}
    for index, part in enumerate(split_commas(text)):
        key, eq, value = part.partition("=")
        if eq:
            out[key] = value
        elif index == 0 and implied is not None:
            out[implied] = part
        elif key.startswith("no"):
            out[key[2:]] = "off"
        elif key:
            out[key] = "on"
    return out


def split_commas(text: str) -> list[str]:
    """Split at single commas; a doubled comma stands for one."""
    parts = [""]
    i = 0
    while i < len(text):
        j = text.find(",", i)
        if j < 0:
            parts[-1] += text[i:]
            break
        parts[-1] += text[i:j]
        if text[j : j + 2] == ",,":
            parts[-1] += ","
            i = j + 2
        else:
            parts.append("")
            i = j + 1
    return [p for p in parts if p]


def nest(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys become nested dictionaries: {"file.filename": "x"} -> {"file": {"filename": "x"}}.

    A dictionary whose keys are 0, 1, 2 ... becomes a list. Raises `BlockError` when a key is both a value and a parent.
    """
    out: dict[str, Any] = {}
    for key, value in flat.items():
        if isinstance(value, dict):
            value = nest(value)
        elif isinstance(value, list):
            value = [nest(v) if isinstance(v, dict) else v for v in value]
        at = out
        path = key.split(".")
        if len(path) > 64:
            raise BlockError(f"Parameter '{key[:60]}...' is nested too deeply")
        for step in path[:-1]:
            inner = at.setdefault(step, {})
            if not isinstance(inner, dict):
                raise BlockError("Cannot mix scalar and non-scalar keys")
            at = inner
        old = at.get(path[-1])
        if isinstance(old, dict) and isinstance(value, dict):
            old.update(value)
        elif isinstance(old, dict):
            raise BlockError("Cannot mix scalar and non-scalar keys")
        else:
            at[path[-1]] = value
    return {k: _listed(v) for k, v in out.items()}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        value = {k: _listed(v) for k, v in value.items()}
        if value and all(k == str(i) for i, k in enumerate(sorted(value, key=lambda k: (len(k), k)))):
            return [value[str(i)] for i in range(len(value))]
    return value


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The reverse of `nest`."""
    out: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, list):
            value = {str(i): v for i, v in enumerate(value)}
        if isinstance(value, dict):
            out.update(flatten(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out


def parse_json_filename(text: str) -> dict[str, Any]:
    """The options of a file name `json:{...}`."""
    import json

    try:
        value = json.loads(text[5:])
    except ValueError as error:
        end = "premature EOI" if getattr(error, "pos", 0) >= len(text) - 5 else "syntax error"
        raise BlockError(f"Could not parse the JSON options: JSON parse error, {end}") from None
    except RecursionError:
        raise BlockError("Could not parse the JSON options: JSON parse error, nested too deeply") from None
    if not isinstance(value, dict):
        raise BlockError("Invalid JSON object given")
    return nest(value)
