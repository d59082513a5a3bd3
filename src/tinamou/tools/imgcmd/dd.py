"""Copies a part of an image in blocks, as dd does: bs=, count=, skip=, if=, of=."""

from __future__ import annotations

from tinamou.block.copy import Copy
from tinamou.block.errors import BlockError
from tinamou.block.graph import find_format
from tinamou.block.node import Filter, Node
from tinamou.block.options import parse_size
from tinamou.tools.cli import Args, complain
from tinamou.tools.imgcmd import BAD_SIZE, Exit, Graph, Settings, exclusive_format, open_image
from tinamou.tools.imgcmd.create import create_image

USAGE = "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output"
OPTIONS = "f= O= U|force-share object= image-opts"


class Window(Filter):
    """Bytes `start` to `start + size` of a node."""

    def __init__(self, node: Node, start: int, size: int) -> None:
        super().__init__(node.graph, Filter.Open(), node.settings)
        self.children["file"] = node
        self.start, self.size = start, size
        self.inner = node

    @property
    def below(self) -> None:
        return None

    def extent(self, pos: int, want: int):  # type: ignore[no-untyped-def]
        from tinamou.block.node import Extent, status

        found = status(self.inner, self.start + pos, min(want, self.size - pos))
        return Extent("zero" if found.zero else "data", found.length, self.start + pos)

    def read_into(self, pos: int, view: memoryview) -> None:
        n = max(0, min(len(view), self.inner.size - self.start - pos))
        if n:
            self.inner.read_into(self.start + pos, view[:n])
        if n < len(view):
            view[n:] = bytes(len(view) - n)


def number(name: str, text: str, low: int, high: int) -> int:
    try:
        value = parse_size(text)
    except ValueError:
        raise Exit(1, BAD_SIZE[0].replace("image size", name), BAD_SIZE[1]) from None
    except OverflowError:
        value = high + 1
    if not low <= value <= high:
        raise Exit(1, f"Invalid {name} specified. Must be between {low} and {high}.")
    return value


def run(args: Args, graph: Graph) -> int:
    values: dict[str, int | str] = {}
    for word in args.files:
        name, eq, text = word.partition("=")
        if not eq or name not in ("bs", "count", "skip", "if", "of"):
            raise Exit(1, f"unrecognized operand {name}")
        if name in ("if", "of"):
            values[name] = text
        else:
            values[name] = number(name, text, *((1, 2**31 - 1) if name == "bs" else (0, 2**63 - 1)))
    if "if" not in values or "of" not in values:
        raise Exit(1, "Must specify both input and output files")
    exclusive_format(args)
    source_name, target_name = str(values["if"]), str(values["of"])
    source = open_image(graph, args, source_name, Settings(exclusive=True), args["f"])
    fmt = args["O"] or "raw"
    try:
        find_format(fmt)
    except BlockError:
        raise Exit(1, "Unknown file format") from None
    block = int(values.get("bs", 512))
    start = block * int(values.get("skip", 0))
    size = source.size
    if "count" in values:
        size = min(size, int(values["count"]) * block)
    beyond = start > source.size
    size = max(0, size - start) if start < size else 0
    try:
        create_image(graph, target_name, fmt, [], size, quiet=True)
    except BlockError as error:
        raise Exit(1, f"{target_name}: error while creating output image: {error.message}") from None
    if beyond:
        complain(f"{source_name}: cannot skip to specified offset")
    if not size:
        return 0
    target = open_image(graph, Args(), target_name, Settings(write=True, discard="unmap"), fmt, image_opts=False)
    Copy([Window(source, start, size)], target, target_zero=target.zeroes_when_new()).run()
    target.flush()
    return 0
