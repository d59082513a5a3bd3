"""Says how large the file of an image will be, for an existing image or a size; --output=json."""

from __future__ import annotations

from collections.abc import Iterator

from tinamou.block.errors import BlockError
from tinamou.block.graph import create_class, find_format
from tinamou.block.node import Format, Node, status
from tinamou.block.notation import Any
from tinamou.block.options import parse_opts
from tinamou.tools.cli import Args, dump_json
from tinamou.tools.imgcmd import Exit, Graph, Settings, exclusive_format, open_image, output_format, size_argument
from tinamou.tools.imgcmd.convert import load_snapshot
from tinamou.tools.imgcmd.create import check_option_texts, print_option_help, wants_help

USAGE = (
    "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] [-f fmt] [-l snapshot_param] filename]"
)
OPTIONS = "f= O= o= l= object= image-opts output= size= U|force-share"


def run(args: Args, graph: Graph) -> int:
    output = output_format(args)
    check_option_texts(args.all("o"))
    size = size_argument(args["size"], "image size") if args["size"] is not None else None
    if "size" in args and args.files:
        raise Exit(1, "--size N cannot be used together with a filename.")
    if not args.files and ("image-opts" in args or "f" in args or "l" in args):
        raise Exit(1, "--image-opts, -f, and -l require a filename argument.")
    if len(args.files) > 1:
        raise Exit(1, "At most one filename argument is allowed.")
    if size is None and not args.files:
        raise Exit(1, "Either --size N or one filename must be specified.")
    exclusive_format(args)
    fmt = args["O"] or "raw"
    if wants_help(args.all("o")):
        print_option_help(fmt, None)
        return 0
    node: Node | None = None
    if args.files:
        node = open_image(graph, args, args.files[0], Settings(), args["f"])
        if args["l"] is not None:
            load_snapshot(node, args["l"])
        size = node.size
    cls = find_format(fmt)
    if not (isinstance(cls, type) and issubclass(cls, Format)):
        raise Exit(1, f"Block driver '{fmt}' does not support size measurement")
    values: dict[str, Any] = {}
    for text in args.all("o"):
        values.update(parse_opts(text))
    try:
        options: Any = (create_class(fmt) if cls.can_create else cls.Create)(values)
    except BlockError as error:
        raise Exit(1, error.message, *("\t" + h for h in error.hints), f"Invalid options for file format '{fmt}'") from None
    check = getattr(cls, "check_measure_options", None)
    if check is not None:
        check(graph, options)
    options.size = size
    required, full = cls.measure(options, size or 0, ranges(node) if node is not None else iter(()))
    result: dict[str, int] = {}
    bitmaps = getattr(cls, "measure_bitmaps", None)
    if bitmaps is not None and node is not None and hasattr(node, "bitmaps"):
        needed = bitmaps(options, node)
        if needed is not None:
            result["bitmaps"] = needed
    result |= {"required": required, "fully-allocated": full}
    if output == "json":
        print(dump_json(result))
        return 0
    print(f"required size: {required}\nfully allocated size: {full}")
    if "bitmaps" in result:
        print(f"bitmaps size: {result['bitmaps']}")
    return 0


def ranges(node: Node) -> Iterator[tuple[int, int]]:
    """Where the disk has data."""
    pos = 0
    while pos < node.size:
        found = status(node, pos, node.size - pos)
        if not found.zero:
            yield pos, found.length
        pos += found.length
