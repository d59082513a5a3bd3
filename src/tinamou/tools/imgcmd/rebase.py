"""Gives an image another backing file: safely (-b), copying what would change, or by name only (-u)."""

from __future__ import annotations

from tinamou.block.errors import BlockError
from tinamou.block.graph import combine, find_driver
from tinamou.block.node import Format, Node, status
from tinamou.block.notation import Any
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
    usage_error,
)

USAGE = (
    "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename"
)
OPTIONS = "f= F= b= u p t= T= q U|force-share object= image-opts"
CHUNK = 2 << 20


def run(args: Args, graph: Graph) -> int:
    filename = one_file(args)
    new_name = args["b"]
    if new_name is None and "u" not in args:
        raise usage_error("Must specify backing file (-b) or use unsafe mode (-u)")
    exclusive_format(args)
    unsafe = "u" in args
    settings = cache_settings(Settings(write=True, exclusive=True, backing=not unsafe), args["t"])
    source_settings = cache_settings(Settings(), args["T"], "source cache")
    args.values.pop("U", None)  # the image is written to, so it cannot be shared
    node: Any = open_image(graph, args, filename, settings, args["f"])
    if args["F"] is not None:
        try:
            find_driver(args["F"])
        except BlockError:
            raise Exit(1, f"Invalid format name: '{args['F']}'") from None
    progress = Progress("p" in args and "q" not in args, max(1, node.size))
    ok = False
    try:
        if not unsafe and isinstance(node, Format):
            new = open_new(graph, node, new_name or "", args["F"], source_settings)
            copy_differences(node, new, progress)
            if new is not None:
                graph.close_node(new)
        if not hasattr(node, "change_backing"):
            raise Exit(1, f"Could not change the backing file to '{new_name or ''}': Operation not supported")
        fmt = args["F"]
        if new_name and fmt is None:
            graph.warn(f"Deprecated use of backing file without explicit backing format: '{new_name}'")
        try:
            node.change_backing(new_name or None, fmt)
        except BlockError as error:
            raise Exit(1, f"Could not change the backing file to '{new_name}': {error.message}") from None
        node.flush()
        ok = True
    finally:
        progress.end(ok)
    return 0


def open_new(graph: Graph, node: Format, name: str, fmt: str | None, settings: Settings) -> Node | None:
    if not name:
        return None
    full = combine(node.filename, name)
    try:
        return graph.open(full, fmt, settings)
    except BlockError as error:
        raise Exit(1, f"Could not open new backing file '{name}': {error.message}", *("\t" + h for h in error.hints)) from None


def copy_differences(node: Format, new: Node | None, progress: Progress) -> None:
    """Where the image shows its old backing file and the new one differs, the old contents are written to the image."""
    old = node.backing
    pos = 0
    while pos < node.size:
        extent = node.extent(pos, node.size - pos)
        n = min(extent.length, node.size - pos)
        if extent.kind == "hole":
            n = min(n, CHUNK)
            if not both_zero(old, new, pos, n):
                copy_piece(node, old, new, pos, n)
        pos += n
        progress.advance(n)


def both_zero(old: Node | None, new: Node | None, pos: int, length: int) -> bool:
    for node in (old, new):
        if node is not None and pos < node.size:
            found = status(node, pos, length)
            if not found.zero or found.length < length:
                return False
    return True


def copy_piece(node: Format, old: Node | None, new: Node | None, pos: int, length: int) -> None:
    unit = node.cluster_size or 65536
    before = old.read(pos, length) if old is not None else bytes(length)
    after = new.read(pos, length) if new is not None else bytes(length)
    if before == after:
        return
    at = 0
    while at < length:
        n = min(unit - (pos + at) % unit, length - at)
        if before[at : at + n] != after[at : at + n]:
            node.write(pos + at, before[at : at + n])
        at += n
