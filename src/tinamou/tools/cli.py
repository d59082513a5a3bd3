"""Command line conventions the disk tools share: option letters, error lines, numbers for people."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from tinamou.block.errors import BlockError
from tinamou.block.notation import Any


class Exit(Exception):
    """Ends the command with `code`; `lines` go to stderr, each with the program's name in front unless it starts
    with a tab character, which is removed."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(code, *lines)
        self.code = code
        self.lines = lines


def program() -> str:
    """The program's name as typed, without folders."""
    return os.path.basename(sys.argv[0]) or "tinamou"


def usage_error(message: str) -> Exit:
    return Exit(1, message, f"\tTry '{program()} --help' for more information")


def complain(message: str, *hints: str) -> None:
    """`PROG: message` on stderr; the program's name as typed."""
    sys.stdout.flush()
    print(f"{program()}: {message}", *hints, sep="\n", file=sys.stderr)


def piped(run: Callable[[list[str] | None], int], argv: list[str] | None) -> int:
    """run(argv), or 1 when whoever read its output has gone."""
    try:
        return run(argv)
    except BrokenPipeError:
        sys.stdout = open("/dev/null", "w")
        return 1


class Args:
    """Parsed options: `args["f"]` the last value, `args.all("o")` all, `name in args`, `args.files`, and `args.order`."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.files: list[str] = []
        self.order: list[tuple[str, str]] = []

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __getitem__(self, name: str) -> str | None:
        found = self.values.get(name)
        return found[-1] if found else None

    def all(self, name: str) -> list[str]:
        return self.values.get(name, [])


def getopt(argv: Sequence[str], spec: str) -> Args:
    """Parse as GNU getopt_long does: options anywhere, long ones may be shortened, `--` ends them.

    `spec` lists the options: `f=` takes a value, `p` does not, `U|force-share` are two names of one (the first names it).
    """
    short: dict[str, tuple[str, bool]] = {}
    long: dict[str, tuple[str, bool]] = {}
    for word in [*spec.split(), "h|help"]:
        takes = word.endswith("=")
        names = word.rstrip("=").split("|")
        for name in names:
            (short if len(name) == 1 else long)[name] = (names[0], takes)
    args = Args()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            args.files += rest
            break
        if word.startswith("--"):
            name, eq, value = word[2:].partition("=")
            matches = [name] if name in long else [n for n in long if n.startswith(name)]
            if len(matches) != 1 and len({long[n] for n in matches}) != 1:
                raise usage_error(f"unrecognized option '{word}'")
            key, takes = long[matches[0]]
            if takes and not eq:
                if not rest:
                    raise usage_error(f"missing argument for option '{word}'")
                value = rest.pop(0)
            elif eq and not takes:
                raise usage_error(f"unrecognized option '{word}'")
            args.values.setdefault(key, []).append(value)
            args.order.append((key, value))
        elif word.startswith("-") and len(word) > 1:
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter not in short:
                    raise usage_error(f"unrecognized option '{word}'")
                key, takes = short[letter]
                value = ""
                if takes:
                    if not letters and not rest:
                        raise usage_error(f"missing argument for option '{word}'")
                    value = letters or rest.pop(0)
                    letters = ""
                args.values.setdefault(key, []).append(value)
                args.order.append((key, value))
        else:
            args.files.append(word)
    return args


def human_size(n: int) -> str:
    """`1.5 GiB`: three significant digits, the next unit from 1000 on."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    i = 0
    while i < 6 and n >= 1000 * (1 << (10 * i)):
        i += 1
    return f"{n / (1 << (10 * i)):.3g} {units[i]}"


def dump_json(value: Any) -> str:
    """JSON as the tools print it: four spaces, empty containers on two lines."""
    import json

    text = json.dumps(value, indent=4, ensure_ascii=False)
    lines = []
    for line in text.split("\n"):
        body = line.rstrip(",")
        pad = line[: len(line) - len(line.lstrip())]
        if body.endswith((": {}", ": []")) or body.strip() in ("{}", "[]"):
            lines += [body[:-1], pad + line[len(body) - 1 :]]
        else:
            lines.append(line)
    return "\n".join(lines)


def explain(error: BaseException) -> tuple[str, tuple[str, ...]]:
    """One message and further lines for an error of the block layer or the system."""
    if isinstance(error, BlockError):
        return error.message, error.hints
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error), ()
    return str(error), ()
