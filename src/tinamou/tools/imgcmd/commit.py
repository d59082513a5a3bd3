"""Writes what an image changed back into its backing file (or the one named by -b), and empties the image unless -d."""

from __future__ import annotations

from tinamou.block.copy import Copy
from tinamou.block.errors import BlockError
from tinamou.block.node import Format, Node, walk
from tinamou.tools.cli import Args
from tinamou.tools.imgcmd import (
    Exit,
    Graph,
    Progress,
    Settings,
    cache_settings,
    exclusive_format,
    one_file,
    open_image,
    size_argument,
)

USAGE = "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] filename"
OPTIONS = "f= t= b= r= d p q object= image-opts"


def run(args: Args, graph: Graph) -> int:
    rate = size_argument(args["r"], "rate limit") if args["r"] is not None else 0
    filename = one_file(args)
    exclusive_format(args)
    settings = cache_settings(Settings(write=True, exclusive=True, discard="unmap"), args["t"])
    top = open_image(graph, args, filename, settings, args["f"])
    progress = Progress("p" in args, quiet="q" in args)
    ok = False
    try:
        commit(graph, top, filename, args["b"], "d" in args or args["b"] is not None, rate, progress, settings)
        ok = True
    finally:
        progress.end(ok)
    if "q" not in args:
        print("Image committed.")
    return 0


def commit(
    graph: Graph, top: Node, filename: str, base_name: str | None, keep: bool, rate: int, progress: Progress, settings: Settings
) -> None:
    chain = list(walk(top))
    if len(chain) < 2:
        raise Exit(1, "Image does not have a backing file")
    base = chain[1]
    if base_name is not None:
        found = [node for node in chain[1:] if matches(node, base_name, filename)]
        if not found:
            raise Exit(1, f"Did not find '{base_name}' in the backing chain of '{filename}'")
        base = found[0]
    make_writable(graph, chain, base, settings)
    base = list(walk(top))[chain.index(base)]
    if base.size < top.size:
        base.resize(top.size)
    job = Copy([top], base, base=base, skip_unallocated=True, rate=rate)
    progress.total = max(1, job.work())
    job.on_progress = progress.advance
    job.run()
    base.flush()
    above = next((node for node in walk(top) if node.backing is base), None)
    committed = getattr(above, "backing_committed", None)
    if committed is not None:
        committed()
    if not keep and isinstance(top, Format):
        empty(top)
        top.flush()


def matches(node: Node, name: str, top: str) -> bool:
    import os

    from tinamou.block.graph import combine

    if node.filename == name:
        return True
    try:
        return os.path.samefile(node.filename, name) or os.path.samefile(node.filename, combine(top, name))
    except (OSError, ValueError):
        return False


def make_writable(graph: Graph, chain: list[Node], base: Node, settings: Settings) -> None:
    """Open `base` again for writing and put it in its place."""
    above = chain[chain.index(base) - 1]
    fmt, name = base.driver, base.filename
    options = base.full_options
    old = above.children.pop("backing")
    while old is not base and old.below is not None:
        old = old.below
    graph.close_node(old)
    try:
        above.children["backing"] = graph.open(name, fmt, settings, {k: v for k, v in options.items() if k != "driver"})
    except BlockError as error:
        raise error.under(f"Could not open '{name}'") from None


def empty(top: Format) -> None:
    """Forget everything the image holds."""
    drop = getattr(top, "make_empty", None)
    if drop is not None:
        drop()


__all__ = ["OPTIONS", "USAGE", "run"]
