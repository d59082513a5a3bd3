"""`tinamou-img`: create, convert, check and change disk images. One module per command in `imgcmd/`."""

from __future__ import annotations

import importlib
import os
import sys

HERE = os.path.join(os.path.dirname(__file__), "imgcmd")


def commands() -> list[str]:
    """The names of all commands, found by folder."""
    return sorted(e[:-3] for e in os.listdir(HERE) if e.endswith(".py") and not e.startswith("_"))


def version_line(program: str) -> str:
    """`qemu-img version 5.1.0 (tinamou-0.1.0)`: the version whose behaviour this is first, ours in parentheses."""
    from tinamou import __version__

    return f"{program} version 5.1.0 (tinamou-{__version__})"


def show_help() -> None:
    from tinamou.block.graph import all_drivers

    print(version_line("qemu-img"))
    print("usage: qemu-img [standard options] command [command options]")
    print("Creates, converts, checks and changes disk images.\n")
    print("    '-h', '--help'       this text")
    print("    '-V', '--version'    the version")
    print("    '-T', '--trace'      accepted and ignored\n")
    print("Command syntax:")
    for name in commands():
        module = importlib.import_module(f"tinamou.tools.imgcmd.{name}")
        print(f"  {name} {module.USAGE}")
    print("\nCommand parameters:")
    for name in commands():
        module = importlib.import_module(f"tinamou.tools.imgcmd.{name}")
        print(f"  {name}: {' '.join((module.__doc__ or '').split())}")
    print("\nSizes are bytes or take a suffix k, M, G, T, P, E (powers of 1024).")
    print("Cache modes (-t, -T): none, writeback, writethrough, directsync, unsafe.")
    print("\nSupported formats: " + " ".join(all_drivers()))


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments after the program's name; returns the exit code."""
    from tinamou.tools.cli import piped

    return piped(_main, argv)


def _main(argv: list[str] | None) -> int:
    args = list(sys.argv[1:] if argv is None else argv)
    while args and args[0].startswith("-") and args[0] != "-":
        word = args.pop(0)
        if word in ("-V", "--version"):
            print(version_line("qemu-img"))
            return 0
        if word in ("-h", "--help"):
            show_help()
            return 0
        if word in ("-T", "--trace"):
            if args:
                args.pop(0)
            continue
        if word.startswith("-T") or word.startswith("--trace="):
            continue
        return _say(f"unrecognized option '{word}'", hint=True)
    if not args:
        return _say("Not enough arguments", hint=True)
    name = args.pop(0)
    if not name.isidentifier() or not os.path.exists(os.path.join(HERE, name + ".py")) or name.startswith("_"):
        return _say(f"Command not found: {name}", hint=True, near=name)
    from tinamou.tools.imgcmd import run_command

    return run_command(name, args)


def _say(message: str, hint: bool = False, near: str = "") -> int:
    from tinamou.tools.cli import program

    print(f"{program()}: {message}", file=sys.stderr)
    if near:
        from difflib import get_close_matches

        close = get_close_matches(near, commands(), 1)
        if close:
            print(f"Did you mean '{close[0]}'?", file=sys.stderr)
    if hint:
        print(f"Try '{program()} --help' for more information", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
