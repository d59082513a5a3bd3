"""Changes the options of an existing image; --force allows dangerous changes (the last key slot)."""

from __future__ import annotations

from tinamou.block.errors import BlockError
from tinamou.block.notation import Any
from tinamou.block.options import parse_opts
from tinamou.tools.cli import Args
from tinamou.tools.imgcmd import (
    Exit,
    Graph,
    Progress,
    Settings,
    cache_settings,
    exclusive_format,
    open_image,
    usage_error,
)
from tinamou.tools.imgcmd.create import check_option_texts, wants_help

USAGE = "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename"
OPTIONS = "f= o= p q t= object= image-opts force"


def run(args: Args, graph: Graph) -> int:
    texts = args.all("o")
    check_option_texts(texts)
    if not texts:
        raise usage_error("Must specify options (-o)")
    if wants_help(texts) and args["f"] is not None and not args.files:
        from tinamou.block.graph import find_driver

        print_help(find_driver(args["f"]), args["f"])
        return 0
    if len(args.files) != 1:
        raise Exit(1, "Expecting one image file name")
    filename = args.files[0]
    exclusive_format(args)
    settings = cache_settings(Settings(write=True, exclusive=True), args["t"])
    node: Any = open_image(graph, args, filename, settings, args["f"])
    cls = type(node)
    if wants_help(texts):
        print_help(cls, node.driver)
        return 0
    if not hasattr(cls, "Amend"):
        raise Exit(1, f"Format driver '{node.driver}' does not support option amendment")
    values: dict[str, Any] = {}
    for text in texts:
        values.update(parse_opts(text))
    for key in values:
        if key not in cls.Amend.keys():
            hint = ("\tThis option is only supported for image creation",) if key in cls.Create.keys() else ()
            raise Exit(1, f"Invalid parameter '{key}'", *hint)
    options = cls.Amend(values)
    progress = Progress("p" in args and "q" not in args)
    ok = False

    def moved(done: int, total: int) -> None:
        progress.total = total
        progress.advance(done - progress.done)

    try:
        node.amend(options, "force" in args, moved)
        node.flush()
        ok = True
    except BlockError as error:
        raise Exit(1, error.message, *("\t" + hint for hint in error.hints)) from None
    finally:
        progress.end(ok)
    return 0


def print_help(cls: Any, name: str) -> None:
    if not hasattr(cls, "Amend"):
        raise Exit(1, f"Format driver '{name}' does not support option amendment")
    print("\n".join([f"Amend options for '{name}':", *cls.Amend.help_lines()]))
