"""Creates an image of the given size, or of its backing file's size, which must not exist for any good reason: it is
overwritten."""

from __future__ import annotations

import os

from tinamou.block.errors import BlockError
from tinamou.block.graph import combine, create, create_class, find_format, protocol_of
from tinamou.block.node import Format
from tinamou.block.notation import Any
from tinamou.block.options import Options, parse_opts, split_commas
from tinamou.tools.cli import Args
from tinamou.tools.imgcmd import BAD_SIZE, Exit, Graph, Settings, size_argument, usage_error

USAGE = "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]"
OPTIONS = "f= b= F= u o= q|quiet object="


def run(args: Args, graph: Graph) -> int:
    fmt = args["f"] or "raw"
    check_option_texts(args.all("o"))
    if wants_help(args.all("o")):
        print_option_help(fmt, args.files[0] if args.files else None)
        return 0
    if not args.files:
        raise usage_error("Expecting image file name")
    filename, *rest = args.files
    if len(rest) > 1:
        raise Exit(1, *BAD_SIZE)
    size = size_argument(rest[0]) if rest else None
    try:
        create_image(graph, filename, fmt, args.all("o"), size, args["b"], args["F"], "u" in args, "q" in args)
    except BlockError as error:
        raise error.under(filename) from None
    return 0


def check_option_texts(texts: list[str]) -> None:
    for text in texts:
        bare = text.replace(",,", "")
        if not text or bare.startswith(",") or bare.endswith(","):
            raise Exit(1, f"Invalid option list: {text}")


def wants_help(texts: list[str]) -> bool:
    return any(part in ("help", "?") for text in texts for part in split_commas(text))


def print_option_help(fmt: str, filename: str | None) -> None:
    """The answer to `-o help`."""
    cls = create_class(fmt, filename)
    title = "Supported options:" if filename is not None else f"Supported {fmt} options:"
    print("\n".join([title, *cls.help_lines()]))
    if filename is None and issubclass(find_format(fmt), Format):
        print("\nThe protocol level may support further options.")
        print("Specify the target filename to include those options.")


def create_image(
    graph: Graph,
    filename: str,
    fmt: str,
    option_texts: list[str],
    size: int | None,
    backing: str | None = None,
    backing_format: str | None = None,
    unsafe: bool = False,
    quiet: bool = False,
) -> Options:
    """`create` and what `convert` and `dd` do with their target; prints `Formatting ...` unless quiet."""
    values: dict[str, Any] = {}
    find_format(fmt)
    cls = create_class(fmt, filename)
    for text in option_texts:
        values.update(parse_opts(text))
    if size is not None and "size" in values and not unsafe:
        raise BlockError("The image size must be specified only once")
    options = cls(values, lenient=True)
    if size is not None:
        options = options.replace(size=size)
    known = cls.keys()
    for key, value, message in (
        ("backing_file", backing, "Backing file not supported for file format"),
        ("backing_fmt", backing_format, "Backing format not supported for file format"),
    ):
        if value is not None:
            if key not in known:
                raise BlockError(f"{message} '{fmt}'")
            options = options.replace(**{key: value})
    check_backing(graph, filename, options, unsafe)
    if getattr(options, "size", None) is None:
        raise BlockError("Image creation needs a size parameter")
    if not quiet:
        print(f"Formatting '{filename}', fmt={fmt} {options.render()}", flush=True)
    create(graph, filename, fmt, options)
    return options


def check_backing(graph: Graph, filename: str, options: Any, unsafe: bool) -> None:
    """Look at the backing file: it must open; its size is the default size, its format must be said."""
    name = getattr(options, "backing_file", None)
    fmt = getattr(options, "backing_fmt", None)
    if not name:
        if fmt:
            return
        return
    if fmt:
        try:
            find_format(fmt)
        except BlockError:
            if unsafe:
                raise BlockError(f"Parameter 'backing-fmt' does not accept value '{fmt}'") from None
            raise BlockError(f"Unknown driver '{fmt}'", "Could not open backing image.") from None
    full = combine(filename, name)
    if same_file(filename, full):
        raise BlockError("Error: Trying to create an image with the same filename as the backing file")
    if unsafe:
        return
    settings = Settings(backing=False, no_io=True)
    try:
        node = graph.open(full, fmt, settings)
    except BlockError as error:
        raise BlockError(error.message, *error.hints, "Could not open backing image.") from None
    try:
        if not fmt:
            graph.warn(f"Deprecated use of backing file without explicit backing format (detected format of {node.driver})")
            options.backing_fmt = node.driver
        if options.size is None:
            options.size = node.size
    finally:
        graph.close_node(node)


def same_file(a: str, b: str) -> bool:
    if a == b:
        return True
    try:
        return os.path.samefile(a, b) and protocol_of(a)[0].driver == "file"
    except (OSError, ValueError, BlockError):
        return False
