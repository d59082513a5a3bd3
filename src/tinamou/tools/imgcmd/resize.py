"""Changes the size of a disk: to a size, by +size or by -size; making it smaller needs --shrink."""

from __future__ import annotations

from tinamou.block.errors import BlockError
from tinamou.block.options import SIZE_HINTS, parse_size
from tinamou.tools.cli import Args, complain
from tinamou.tools.imgcmd import Exit, Graph, Settings, exclusive_format, open_image, usage_error

USAGE = "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size"
LAST_IS_PLAIN = True
OPTIONS = "f= q object= image-opts preallocation= shrink"


def run(args: Args, graph: Graph) -> int:
    mode = args["preallocation"] or "off"
    if mode not in ("off", "metadata", "falloc", "full"):
        raise Exit(1, f"Invalid preallocation mode '{mode}'")
    if len(args.files) < 2:
        raise usage_error("Not enough arguments")
    *names, text = args.files
    if len(names) != 1:
        raise usage_error("Expecting image file name and size")
    sign = {"+": 1, "-": -1}.get(text[:1], 0)
    try:
        amount = parse_size(text[1:] if sign else text)
    except (ValueError, OverflowError):
        raise Exit(1, "Parameter 'size' expects a non-negative number below 2^64", *("\t" + hint for hint in SIZE_HINTS)) from None
    exclusive_format(args)
    node = open_image(graph, args, names[0], Settings(write=True, exclusive=True), args["f"])
    size = node.size + sign * amount if sign else amount
    if size <= 0:
        raise Exit(1, "New image size must be positive")
    if size <= node.size and mode != "off":
        raise Exit(1, "Preallocation can only be used for growing images")
    if size < node.size and "shrink" not in args:
        complain("Use the --shrink option to perform a shrink operation.")
        complain(
            "warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an "
            "operation, make sure there is no important data there."
        )
        return 1
    if size >= 1 << 63:
        raise BlockError("Required too big image size, it must be not greater than 9223372036854775807")
    node.resize(size, mode)
    node.flush()
    if "q" not in args:
        print("Image resized.")
    return 0
