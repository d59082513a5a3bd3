"""The commands of `tinamou-img`, one module each, named as the command.

A module has `USAGE` (the syntax line), `OPTIONS` (see `cli.getopt`) and `run(args, graph) -> int`, which prints to stdout
and raises `Exit` or `BlockError`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from tinamou.block.errors import BlockError
from tinamou.block.graph import Graph
from tinamou.block.node import Node, Settings
from tinamou.block.notation import Any
from tinamou.block.options import nest, parse_opts, parse_size
from tinamou.tools.cli import Args, Exit, complain, explain, getopt, program, usage_error

CACHE_MODES: dict[str, dict[str, Any]] = {
    "none": {"direct": True},
    "off": {"direct": True},
    "writeback": {},
    "writethrough": {"writethrough": True},
    "directsync": {"direct": True, "writethrough": True},
    "unsafe": {"no_flush": True},
}


def run_command(name: str, argv: Sequence[str]) -> int:
    """Run one command; errors become one line on stderr and an exit code."""
    command: Any = importlib.import_module(f"tinamou.tools.imgcmd.{name}")
    graph = Graph()
    graph.warn = lambda message: complain(f"warning: {message}")  # type: ignore[method-assign]
    code = 1
    try:
        last = list(argv[-1:]) if getattr(command, "LAST_IS_PLAIN", False) and argv[-1:] not in (["-h"], ["--help"]) else []
        args = getopt(argv[: len(argv) - len(last)], command.OPTIONS)
        args.files += last
        if "h" in args:
            from tinamou.tools.img import show_help

            show_help()
            return 0
        add_objects(graph, args)
        code = int(command.run(args, graph))
        graph.close()
        sys.stdout.flush()
        return code
    except Exit as stop:
        code = stop.code
        sys.stdout.flush()
        for line in stop.lines:
            print(line[1:] if line.startswith("\t") else f"{program()}: {line}", file=sys.stderr)
    except BrokenPipeError:
        devnull = open("/dev/null", "w")
        sys.stdout = devnull
        code = 1
    except (BlockError, OSError) as error:
        message, hints = explain(error)
        complain(message, *hints)
        code = getattr(command, "ERROR_CODE", 1)
    except KeyboardInterrupt:
        complain("interrupted")
        code = 130
    except MemoryError:
        complain("out of memory")
        code = getattr(command, "ERROR_CODE", 1)
    try:
        graph.close()
    except (BlockError, OSError) as error:
        message, hints = explain(error)
        complain(message, *hints)
        return code or 1
    return code


def add_objects(graph: Graph, args: Args) -> None:
    for text in args.all("object"):
        if text in ("help", "?"):
            from tinamou.block.objects import object_types

            lines = ["List of user creatable objects:", *(f"  {name}" for name in object_types())]
            print("\n".join(lines))
            raise Exit(0)
        kind, _, rest = text.partition(",")
        if rest in ("help", "?") and not text.startswith("{"):
            from tinamou.block.objects import object_types

            if kind in object_types():
                print("\n".join([f"{kind} options:", *object_types()[kind].help_lines()]))
                raise Exit(0)
        if text.startswith("{"):
            from tinamou.block.options import parse_json_filename

            properties: dict[str, Any] = parse_json_filename("json:" + text)
        else:
            properties = nest(parse_opts(text, "qom-type"))
        graph.add_object(properties)


def cache_settings(settings: Settings, mode: str | None, what: str = "cache") -> Settings:
    """Settings for `-t MODE` / `-T MODE`."""
    if mode is None:
        return settings
    if mode not in CACHE_MODES:
        raise Exit(1, f"Invalid {what} option: {mode}")
    return settings.replace(**CACHE_MODES[mode])


def open_image(graph: Graph, args: Args, filename: str, settings: Settings, fmt: str | None = None, image_opts: bool | None = None) -> Node:
    """Open what the user named on the command line, with its errors."""
    as_options = "image-opts" in args if image_opts is None else image_opts
    if "U" in args:
        settings = settings.replace(force_share=True)
    try:
        if as_options:
            if fmt is not None:
                raise Exit(1, "--image-opts and --format are mutually exclusive")
            options = parse_opts(filename, "file")
            if settings.force_share:
                options.setdefault("force-share", "on")
            return graph.open_options(nest(options), settings)
        node = graph.open(filename, fmt, settings)
        if fmt is None and settings.write and node.driver == "raw":
            warn_raw(filename)
        return node
    except BlockError as error:
        raise error.under(f"Could not open '{filename}'") from None


def warn_raw(filename: str) -> None:
    print(
        f"WARNING: Image format was not specified for '{filename}' and probing guessed raw.\n"
        "         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be"
        " restricted.\n"
        "         Specify the 'raw' format explicitly to remove the restrictions.",
        file=sys.stderr,
    )


def exclusive_format(args: Args) -> None:
    if "image-opts" in args and "f" in args:
        raise Exit(1, "--image-opts and --format are mutually exclusive")


def one_file(args: Args) -> str:
    if len(args.files) != 1:
        raise usage_error("Expecting one image file name")
    return args.files[0]


def output_format(args: Args) -> str:
    output = args["output"] or "human"
    if output not in ("human", "json"):
        raise Exit(1, "--output must be used with human or json as argument.")
    return output


BAD_SIZE = (
    "Invalid image size specified. You may use k, M, G, T, P or E suffixes for",
    "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
)


def size_argument(text: str, what: str = "image size") -> int:
    """A size in bytes, 0 to 2^63 - 1."""
    try:
        value = parse_size(text)
    except OverflowError:
        value = 1 << 64
    except ValueError:
        raise Exit(1, BAD_SIZE[0].replace("image size", what), BAD_SIZE[1]) from None
    if value >= 1 << 63:
        raise Exit(1, f"Invalid {what} specified. Must be between 0 and 9223372036854775807.")
    return value


class Progress:
    """The line `    (12.34/100%)`, rewritten in place when at least 2 % more is done; SIGUSR1 prints it once."""

    def __init__(self, enabled: bool, total: int = 0, quiet: bool = False) -> None:
        self.enabled = enabled and not quiet
        self.total = total
        self.done = 0
        self.last = -1.0
        if self.enabled:
            self.show(0.0)
        else:
            import _signal  # type: ignore[import-not-found, unused-ignore]  # `signal` imports `enum`, 2 ms

            try:
                _signal.signal(_signal.SIGUSR1, lambda *_: self._once())
            except ValueError:
                pass

    def show(self, percent: float) -> None:
        sys.stdout.write(f"    ({percent:3.2f}/100%)\r")
        sys.stdout.flush()
        self.last = percent

    def _once(self) -> None:
        percent = 100.0 * self.done / self.total if self.total else 0.0
        sys.stderr.write(f"    ({percent:3.2f}/100%)\n")

    def advance(self, amount: int) -> None:
        self.done += amount
        if self.enabled and self.total:
            percent = 100.0 * self.done / self.total
            if percent - self.last >= 2.0 or percent >= 100.0 > self.last:
                self.show(percent)

    def end(self, ok: bool = True) -> None:
        if self.enabled:
            if ok:
                self.show(100.0)
            sys.stdout.write("\n")
            sys.stdout.flush()


__all__ = [
    "BAD_SIZE",
    "Args",
    "Exit",
    "Graph",
    "Progress",
    "Settings",
    "cache_settings",
    "exclusive_format",
    "one_file",
    "open_image",
    "output_format",
    "size_argument",
    "usage_error",
]
