"""tinamou COMMAND ...: one program for everything; a link named like one of the original's programs is that program.

Commands are modules of this folder, imported only when used; each has `main(words) -> exit status`.
"""

from __future__ import annotations

import importlib
import os
import sys

__all__ = ["main"]

COMMANDS = {
    "user": "run a Linux program built for another architecture: user riscv64 PROGRAM ...",
    "system": "run a whole machine: system riscv64 -M virt ...",
    "run": "run a program on a microcontroller board: run sketch.hex --board uno",
    "img": "create, inspect and convert disk images",
    "io": "read and write inside a disk image",
    "lockstep": "run a program on two engines side by side, up to the first difference",
    "cache": "show or clear what is kept on disk between runs",
}


def usage() -> str:
    rows = "".join(f"  {name:<8} {text}\n" for name, text in COMMANDS.items())
    return f"usage: tinamou COMMAND [arguments...]\n\n{rows}\ntinamou COMMAND --help tells more.\n"


def main(words: list[str] | None = None) -> int:
    """Run the command that the name of the program or its first argument asks for: its exit status."""
    if words is None:
        name = os.path.basename(sys.argv[0])
        for prefix in ("tinamou-", "qemu-"):
            tail = name.removeprefix(prefix)
            if tail != name and tail.startswith("system-"):
                return int(importlib.import_module("tinamou.tools.system").main())
            if tail != name and tail not in COMMANDS:
                return int(importlib.import_module("tinamou.tools.user").main())
            if tail != name:
                return int(importlib.import_module(f"tinamou.tools.{tail}").main(sys.argv[1:]))
        words = sys.argv[1:]
    if not words or words[0] in ("-h", "-help", "--help", "help"):
        print(usage(), end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 1
    if words[0] in ("-V", "-version", "--version"):
        from tinamou import __version__

        print(f"tinamou {__version__}")
        return 0
    if words[0] not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(words[0], COMMANDS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"one of {', '.join(COMMANDS)}"
        print(f"tinamou: unknown command '{words[0]}': {hint}", file=sys.stderr)
        return 1
    return int(importlib.import_module(f"tinamou.tools.{words[0]}").main(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
