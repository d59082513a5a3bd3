"""Adds, removes, clears, enables, disables or merges the persistent bitmaps of an image, in the order of the options."""

from __future__ import annotations

from tinamou.block.errors import BlockError
from tinamou.block.notation import Any
from tinamou.tools.cli import Args
from tinamou.tools.imgcmd import Exit, Graph, Settings, exclusive_format, open_image, size_argument

USAGE = (
    "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F source_fmt]] "
    "[-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap"
)
OPTIONS = "b= f= F= g= object= image-opts add remove clear enable disable merge="
ACTIONS = ("add", "remove", "clear", "enable", "disable", "merge")


def run(args: Args, graph: Graph) -> int:
    granularity = size_argument(args["g"], "granularity") if args["g"] is not None else None
    actions = [(name, value) for name, value in args.order if name in ACTIONS]
    if len(args.files) != 2:
        raise Exit(1, "Expecting filename and bitmap name")
    if not actions:
        raise Exit(1, "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
    names = [name for name, _ in actions]
    if granularity is not None and "add" not in names:
        raise Exit(1, "granularity only supported with --add")
    if args["b"] is not None and "merge" not in names:
        raise Exit(1, "Merge bitmap source file only supported with --merge")
    if args["F"] is not None and args["b"] is None:
        raise Exit(1, "-F only supported with -b")
    exclusive_format(args)
    filename, bitmap = args.files
    node: Any = open_image(graph, args, filename, Settings(write=True, exclusive=True, no_io=True), args["f"])
    other: Any = node
    if args["b"] is not None:
        other = open_image(graph, Args(), args["b"], Settings(no_io=True), args["F"], image_opts=False)
    for action, value in actions:
        try:
            perform(node, other, action, value, bitmap, granularity)
        except BlockError as error:
            raise Exit(
                1,
                f"Operation {action} on bitmap {bitmap} failed: {error.message}",
                *("\t" + hint for hint in error.hints),
            ) from None
    return 0


def perform(node: Any, other: Any, action: str, value: str, name: str, granularity: int | None) -> None:
    if not hasattr(node, "add_bitmap"):
        if action == "add":
            raise BlockError(f"Can't store persistent bitmaps to {node.name}: Operation not supported")
        raise BlockError(f"Dirty bitmap '{name}' not found")
    if action == "add":
        node.add_bitmap(name, granularity)
    elif action == "remove":
        node.remove_bitmap(name)
    elif action == "merge":
        node.merge_bitmap(name, other, value)
    else:
        node.change_bitmap(name, action)
