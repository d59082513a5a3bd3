"""`tinamou-io`: reads and writes disks for tests, command by command (`-c`, or lines from stdin)."""

from __future__ import annotations

import sys

from tinamou.block.notation import Any

SHORT = {
    "c": "cmd=",
    "f": "format=",
    "r": "read-only",
    "s": "snapshot",
    "n": "nocache",
    "C": "copy-on-read",
    "m": "misalign",
    "k": "native-aio",
    "i": "aio=",
    "t": "cache=",
    "d": "discard=",
    "T": "trace=",
    "U": "force-share",
    "h": "help",
    "V": "version",
}

USAGE = """Usage: {0} [OPTIONS]... [-c STRING]... [file]
Reads and writes disks, for tests

  --object OBJECTDEF   a secret or another object the image needs
  --image-opts         the file is given as options
  -c, --cmd STRING     carry out a command
  -f, --format FMT     the image format
  -r, --read-only      open for reading only
  -s, --snapshot       write to a temporary overlay
  -n, --nocache        O_DIRECT, short for -t none
  -C, --copy-on-read   copy what is read from the backing file
  -m, --misalign       accepted and ignored
  -k, --native-aio     accepted and ignored
  -i, --aio=MODE       threads, native or io_uring; all are threads
  -t, --cache=MODE     none, writeback, writethrough, directsync or unsafe
  -d, --discard=MODE   ignore or unmap
  -T, --trace WHAT     accepted and ignored
  -U, --force-share    take no locks
  -h, --help           this text
  -V, --version        the version

See '{0} -c help' for the commands."""


class BadOption(Exception):
    """An option letter nobody knows."""


def parse(argv: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options by long name and the remaining words."""
    long = {v.rstrip("="): v.endswith("=") for v in SHORT.values()} | {"object": True, "image-opts": False}
    found: dict[str, list[str]] = {}
    files: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            files += rest
            break
        if word.startswith("--"):
            name, eq, value = word[2:].partition("=")
            matches = [name] if name in long else [n for n in long if n.startswith(name)]
            if len(matches) != 1:
                raise BadOption(f"unrecognized option '{word}'")
            if long[matches[0]] and not eq:
                if not rest:
                    raise BadOption(f"option '{word}' requires an argument")
                value = rest.pop(0)
            found.setdefault(matches[0], []).append(value)
        elif word.startswith("-") and len(word) > 1:
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter not in SHORT:
                    raise BadOption(f"invalid option -- '{letter}'")
                name = SHORT[letter].rstrip("=")
                value = ""
                if long[name]:
                    if not letters and not rest:
                        raise BadOption(f"option requires an argument -- '{letter}'")
                    value, letters = letters or rest.pop(0), ""
                found.setdefault(name, []).append(value)
        else:
            files.append(word)
    return found, files


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments after the program's name; returns the exit code."""
    from tinamou.tools.cli import piped

    return piped(_main, argv)


def _main(argv: list[str] | None) -> int:
    from tinamou.tools.cli import complain, explain, program

    try:
        options, files = parse(list(sys.argv[1:] if argv is None else argv))
    except BadOption as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        print(USAGE.format(program()))
        return 1
    if "help" in options:
        print(USAGE.format(program()))
        return 0
    if "version" in options:
        from tinamou.tools.img import version_line

        print(version_line("qemu-io"))
        return 0
    if len(files) > 1:
        print(USAGE.format(program()))
        return 1
    from tinamou.block.errors import BlockError
    from tinamou.block.graph import Graph
    from tinamou.tools.iocmd import Session

    graph = Graph()
    graph.warn = lambda message: complain(f"warning: {message}")  # type: ignore[method-assign]
    session = Session(graph)
    code = 1
    try:
        code = _run(session, options, files)
    except (BlockError, OSError) as error:
        message, hints = explain(error)
        complain(message, *hints)
    except KeyboardInterrupt:
        code = 130
    try:
        session.finish()
        graph.close()
    except (BlockError, OSError) as error:
        message, hints = explain(error)
        complain(message, *hints)
        code = 1
    sys.stdout.flush()
    return code


def _run(session: Any, options: dict[str, list[str]], files: list[str]) -> int:
    from tinamou.block.errors import BlockError
    from tinamou.block.node import Settings
    from tinamou.block.options import nest, parse_opts
    from tinamou.tools.cli import Args, complain
    from tinamou.tools.imgcmd import CACHE_MODES, add_objects

    args = Args()
    args.values["object"] = options.get("object", [])
    add_objects(session.graph, args)
    settings = Settings(write="read-only" not in options, force_share="force-share" in options)
    if "nocache" in options:
        settings = settings.replace(direct=True)
    mode = options.get("cache", [None])[-1]
    if mode is not None:
        if mode not in CACHE_MODES:
            complain(f"Invalid cache option: {mode}")
            return 1
        settings = settings.replace(**CACHE_MODES[mode])
    discard = options.get("discard", [None])[-1]
    if discard is not None:
        if discard not in ("ignore", "off", "unmap", "on"):
            complain(f"Invalid discard option: {discard}")
            return 1
        settings = settings.replace(discard="unmap" if discard in ("unmap", "on") else "ignore")
    aio = options.get("aio", [None])[-1]
    if aio not in (None, "threads", "native", "io_uring"):
        complain(f"Invalid aio option: {aio}")
        return 1
    fmt = options.get("format", [None])[-1]
    if files:
        if "image-opts" in options:
            if fmt:
                complain("--image-opts and -f are mutually exclusive")
                return 1
            chosen: dict[str, Any] = nest(parse_opts(files[0], "file"))
            name = None
        else:
            chosen, name = {}, files[0]
            if fmt:
                chosen["driver"] = fmt
        try:
            session.open(name, chosen, settings, "snapshot" in options, "copy-on-read" in options)
        except BlockError as error:
            raise BlockError(
                f"can't open device {files[0]}: {error.message}" if name else f"can't open: {error.message}", *error.hints
            ) from None
    code = 0
    commands = options.get("cmd", [])
    if commands:
        for line in commands:
            ok = session.execute(line)
            code = code if ok else 1
            if session.done:
                break
        return code
    while not session.done:
        sys.stdout.write(f"{_prompt()}> ")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            break
        code = code if session.execute(line) else 1
    return code


def _prompt() -> str:
    from tinamou.tools.cli import program

    return program()


if __name__ == "__main__":
    sys.exit(main())
