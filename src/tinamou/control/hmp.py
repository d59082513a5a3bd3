"""The human monitor: commands whose signature is their grammar.

    @hmp("sum", "addr size", "compute the checksum of a memory region")
    def sum_(h: Human, start: Expr, size: Expr) -> str: ...

Parameter types: `str` a word (quotes allowed), `Rest` the rest of the line, `Expr` a number expression, `Fmt` a `/4xw`
format, `Flag` a `-x` option (its letter is the parameter's name). A default makes a parameter optional.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NewType, TypeVar

from tinamou.control.readline import LineEditor
from tinamou.control.schema import SchemaError, strip_optional
from tinamou.control.vm import CommandError, Vm
from tinamou.machine.board import size_text
from tinamou.machine.props import PropertyError, parse_size

F = TypeVar("F", bound=Callable[..., Any])
Rest = NewType("Rest", str)
Expr = NewType("Expr", int)
Flag = NewType("Flag", bool)
Size = NewType("Size", int)


@dataclass
class Fmt:
    """A dump format: how many, which letter (x o u d c i), how many bytes each (0: not said)."""

    count: int = 1
    letter: str = ""
    size: int = 0


class GrammarError(Exception):
    """The line does not fit the command; a hint at its help follows."""


@dataclass(frozen=True)
class HumanCommand:
    names: tuple[str, ...]
    arguments: str
    help: str
    function: Callable[..., Any]
    parameters: tuple[tuple[str, Any, bool, Any], ...] = field(default=())


COMMANDS: dict[str, HumanCommand] = {}
INFO: dict[str, HumanCommand] = {}


def hmp(name: str, arguments: str, help: str) -> Callable[[F], F]:
    """Register a command; `stop|s` gives two names, `info mtree` a subcommand of info."""

    def register(f: F) -> F:
        table, rest = (INFO, name[5:]) if name.startswith("info ") else (COMMANDS, name)
        hints = typing.get_type_hints(f)
        parameters = tuple((p.name, strip_optional(hints[p.name])[0], p.default is not p.empty,
                            None if p.default is p.empty else p.default)
                           for p in list(inspect.signature(f).parameters.values())[1:])
        made = HumanCommand(tuple(rest.split("|")), arguments, help, f, parameters)
        for n in made.names:
            if n in table and table[n].function.__module__ != f.__module__:
                raise TypeError(f"two monitor commands are called {n!r}")
            table[n] = made
        return f

    return register


@cache
def discover() -> None:
    """Import every command of `tinamou.control.human`."""
    package = importlib.import_module("tinamou.control.human")
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(info.name)


class Human:
    """Runs lines. `cpu` is the CPU that commands without one mean."""

    def __init__(self, vm: Vm, cpu: int = 0) -> None:
        discover()
        self.vm, self.cpu = vm, cpu
        self.last = Fmt(1, "x", 4)
        self.now = 0

    def run(self, line: str) -> str:
        """The output of one line."""
        line = line.strip()
        if not line or line.startswith("#"):
            return ""
        word, _, rest = line.partition(" ")
        # `x/4xw 0x1000`: the format may follow the name at once
        m = re.match(r"([A-Za-z_][\w-]*)(/.*)?$", word)
        if m and m[2]:
            word, rest = m[1], f"{m[2]} {rest}"
        shown = word
        command = COMMANDS.get(word)
        if word == "info":
            sub, _, tail = rest.strip().partition(" ")
            if not sub:
                return help_of("info")
            command, rest, shown = INFO.get(sub), tail, f"info {sub}"
        if command is None:
            return f"unknown command: '{shown}'\n"
        label = "|".join(command.names) if word != "info" else command.names[0]
        try:
            given = self.parse(command, rest.strip(), label)
            out = command.function(self, **given)
            return out if isinstance(out, str) else ""
        except GrammarError as e:
            return f"{e}\nTry \"help {shown}\" for more information\n"
        except (CommandError, PropertyError, SchemaError) as e:
            hint = getattr(e, "hint", "")
            return f"Error: {e}\n" + (f"{hint}\n" if hint else "")

    def parse(self, command: HumanCommand, text: str, label: str) -> dict[str, Any]:
        """Arguments by the parameters' types. Raises GrammarError."""
        given: dict[str, Any] = {}
        for name, kind, optional, default in command.parameters:
            text = text.lstrip()
            if kind is Flag:
                if text.startswith("-") and len(text) > 1 and not text[1].isdigit():
                    letters = {n for n, k, _, _ in command.parameters if k is Flag}
                    if text[1] == name and text[2:3] in ("", " "):
                        given[name], text = True, text[2:]
                        continue
                    if text[1] not in letters:
                        raise GrammarError(f"{label}: unsupported option -{text[1]}")
                given[name] = False
            elif kind is Fmt:
                given[name], text = self._format(text)
            elif not text:
                if not optional:
                    raise GrammarError("unexpected end of expression" if kind in (Expr, Size) else
                                       f"{label}: string expected")
                given[name] = default
            elif kind is Rest:
                given[name], text = text, ""
            elif kind is Expr:
                given[name], text = Expression(self, text).value()
            elif kind is Size:
                word, _, text = text.partition(" ")
                size = parse_size(word, 1 << 20)
                if size is None:
                    raise GrammarError("invalid size")
                given[name] = size
            else:
                given[name], text = _word(text)
        if text.strip():
            raise GrammarError(f"{label}: extraneous characters at the end of line")
        return given

    def _format(self, text: str) -> tuple[Fmt, str]:
        if not text.startswith("/"):
            return Fmt(), text
        m = re.match(r"/(\d*)([a-z]*)", text)
        assert m
        f = Fmt(int(m[1] or 1))
        for c in m[2]:
            if c in "xoudci":
                f.letter = c
            elif c in "bhwgL":
                f.size = {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}[c]
            else:
                raise GrammarError(f"invalid char in format: '{c}'")
        return f, text[m.end() :]

    # --- CPUs

    @property
    def current(self) -> Any:
        """The CPU that commands mean. Raises CommandError when there is none."""
        cpus = self.vm.machine.cpus
        if not cpus:
            raise CommandError("No CPU")
        return cpus[min(self.cpu, len(cpus) - 1)]

    def register(self, name: str) -> int:
        """A register's value for expressions. Raises GrammarError."""
        cpu = self.current
        try:
            return int(cpu.register(name))
        except (KeyError, AttributeError):
            raise GrammarError("unknown register") from None


class Expression:
    """Numbers, $registers, characters, + - * / % & | ^ ~ and parentheses; the text up to the first other thing."""

    def __init__(self, human: Human, text: str) -> None:
        self.human, self.text, self.at = human, text, 0

    def value(self) -> tuple[int, str]:
        """(value as a signed 64-bit number, the text behind it)."""
        n = self.logic() & 2**64 - 1
        return (n - 2**64 if n >> 63 else n), self.text[self.at :]

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def blank(self) -> None:
        while self.peek() == " ":
            self.at += 1

    def _chain(self, ops: str, inner: Callable[[], int]) -> int:
        n = inner()
        while self.peek() and self.peek() in ops:
            op = self.peek()
            self.at += 1
            m = inner()
            match op:
                case "+":
                    n += m
                case "-":
                    n -= m
                case "*":
                    n *= m
                case "&":
                    n &= m
                case "|":
                    n |= m
                case "^":
                    n ^= m
                case _:
                    if m == 0:
                        raise GrammarError("division by zero")
                    q = abs(n) // abs(m) * (1 if (n < 0) == (m < 0) else -1)
                    n = q if op == "/" else n - q * m
        return n

    def logic(self) -> int:
        return self._chain("&|^", self.sum)

    def sum(self) -> int:
        return self._chain("+-", self.product)

    def product(self) -> int:
        return self._chain("*/%", self.unary)

    def unary(self) -> int:
        self.blank()
        c = self.peek()
        if c and c in "+-~":
            self.at += 1
            n = self.unary()
            return n if c == "+" else -n if c == "-" else ~n
        if c == "(":
            self.at += 1
            n = self.logic()
            if self.peek() != ")":
                raise GrammarError("')' expected")
            self.at += 1
        elif c == "'":
            n = ord(self.text[self.at + 1 : self.at + 2] or "\0")
            if self.text[self.at + 2 : self.at + 3] != "'":
                raise GrammarError("missing terminating \' character")
            self.at += 3
        elif c == "$":
            m = re.match(r"\w+", self.text[self.at + 1 :])
            name = m[0] if m else ""
            self.at += 1 + len(name)
            n = self.human.register(name)
        elif not c:
            raise GrammarError("unexpected end of expression")
        else:
            m = re.match(r"0[xX][0-9a-fA-F]+|\d+", self.text[self.at :])
            if not m:
                raise GrammarError(f"invalid char '{c}' in expression")
            word = m[0]
            self.at += len(word)
            try:
                n = int(word, 16 if word[:2] in ("0x", "0X") else 8 if word[0] == "0" and len(word) > 1 else 10)
            except ValueError:
                raise GrammarError(f"invalid char '{word[-1]}' in expression") from None
            if n >> 64:
                raise GrammarError("number too large")
        self.blank()
        return n


def _word(text: str) -> tuple[str, str]:
    if not text.startswith('"'):
        word, _, rest = text.partition(" ")
        return word, rest
    out, i = [], 1
    while i < len(text) and text[i] != '"':
        if text[i] == "\\":
            i += 1
            c = text[i : i + 1]
            if c not in ("n", "r", "\\", "'", '"'):
                raise GrammarError(f"unsupported escape code: '\\{c}'")
            out.append({"n": "\n", "r": "\r"}.get(c, c))
        else:
            out.append(text[i])
        i += 1
    if i >= len(text):
        raise GrammarError("unterminated string")
    return "".join(out), text[i + 1 :]


def help_of(what: str) -> str:
    """The help lines of a command, of `info`, or of everything."""
    discover()
    if what == "info":
        return "".join(_help_line(c, "info ") for _, c in sorted(INFO.items()))
    if what.startswith("info "):
        c = INFO.get(what[5:])
        return _help_line(c, "info ") if c else ""
    if what:
        c = COMMANDS.get(what)
        return _help_line(c) if c else ""
    seen = {id(c): c for c in COMMANDS.values()}
    rows = sorted(seen.values(), key=lambda c: c.names)
    return "".join(_help_line(c) for c in rows)


def _help_line(c: HumanCommand, prefix: str = "") -> str:
    return f"{prefix}{'|'.join(c.names)} {c.arguments} -- {c.help}\n"


class HumanSession:
    """The monitor on a character device: greeting, prompt, line editing."""

    PROMPT = "(qemu) "

    def __init__(self, vm: Vm, send: Callable[[bytes], object], readline: bool = True) -> None:
        self.human, self._send = Human(vm), send
        self.editor = LineEditor(self.write, self.line, self.complete)
        self.readline = readline
        self._plain = ""
        self._focus = True
        self._greeted = False

    def write(self, text: str) -> None:
        """Output; line ends become CR LF."""
        self._send(text.replace("\n", "\r\n").encode())

    def line(self, text: str) -> None:
        self.write(self.human.run(text))
        if not self.human.vm.ended:
            self.editor.start(self.PROMPT)

    def greet(self) -> None:
        major, minor, micro = self.human.vm.version
        self.write(f"QEMU {major}.{minor}.{micro} monitor - type 'help' for more information\n")
        self.editor.start(self.PROMPT)
        self._greeted = True

    def complete(self, text: str) -> tuple[str, list[str]]:
        """Names of commands, of info subcommands, devices after device_add, ids after device_del."""
        words = text.split(" ")
        last = words[-1]
        match words[:-1]:
            case []:
                table = list(COMMANDS)
            case ["info"] | ["help", "info"] | ["?", "info"]:
                table = list(INFO)
            case ["help"] | ["?"]:
                table = list(COMMANDS)
            case ["device_add"]:
                from tinamou.devices import discover as devices

                table = [n for n, c in devices().items() if c.user_creatable]
            case ["device_del"]:
                table = [d.id for d in self.human.vm.machine.everything() if d.id and d.user_creatable]
            case ["chardev-remove"] | ["chardev-send-break"]:
                table = list(self.human.vm.chardevs)
            case _:
                table = []
        return last, sorted(n for n in table if n.startswith(last))

    # --- as the front end of a character device

    def can_receive(self) -> int:
        return 4096

    def receive(self, data: bytes) -> None:
        text = data.decode("latin-1")
        if self.readline:
            self.editor.feed(text)
            return
        self._plain += text
        while "\n" in self._plain:
            row, self._plain = self._plain.split("\n", 1)
            self.line(row.rstrip("\r"))

    def event(self, what: str) -> None:
        if what == "opened":
            if self._focus and not self._greeted:
                self.greet()
        elif what == "closed":
            self._greeted = False
        elif what == "mux-in":
            if self._greeted:
                self.write("\n")
                self.editor.show_prompt()
            else:
                self.greet()


__all__ = ["Expr", "Flag", "Fmt", "Human", "HumanSession", "Rest", "Size", "hmp", "size_text"]
