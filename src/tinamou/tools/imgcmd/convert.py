"""Copies one or more images into a new image of another format; -c compresses, -n writes into an existing image, -B keeps a
backing file, -l takes an internal snapshot, -W allows writing out of order, -C lets the host copy."""

from __future__ import annotations

import os

from tinamou.block.copy import Copy
from tinamou.block.errors import BlockError
from tinamou.block.graph import combine, create_class, find_format
from tinamou.block.node import Format, Node, walk
from tinamou.block.notation import Any
from tinamou.block.options import nest, parse_opts
from tinamou.tools.cli import Args, complain, explain
from tinamou.tools.imgcmd import (
    Exit,
    Graph,
    Progress,
    Settings,
    cache_settings,
    open_image,
    size_argument,
)
from tinamou.tools.imgcmd.create import check_option_texts, create_image, print_option_help, wants_help

USAGE = (
    "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps] [-U] [-C] [-c] [-p] [-q] "
    "[-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] "
    "[-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] filename "
    "[filename2 [...]] output_filename"
)
OPTIONS = (
    "f= O= B= F= C c o= l= S= p t= T= q n m= W U|force-share r= object= source-image-opts image-opts target-image-opts "
    "salvage target-is-zero bitmaps skip-broken-bitmaps"
)


def run(args: Args, graph: Graph) -> int:
    check_option_texts(args.all("o"))
    out_format = args["O"] or "raw"
    sparse = sparse_size(args["S"])
    threads = workers(args["m"])
    rate = size_argument(args["r"], "rate limit") if args["r"] is not None else 0
    check_combinations(args)
    if wants_help(args.all("o")):
        print_option_help(out_format, args.files[-1] if len(args.files) > 1 else None)
        return 0
    if len(args.files) < 2:
        raise Exit(1, "Must specify image file name")
    *names, target_name = args.files
    quiet = "q" in args
    progress_wanted = "p" in args and not quiet

    settings = cache_settings(Settings(exclusive=True), args["T"], "source cache")
    sources = []
    for name in names:
        sources.append(open_image(graph, args, name, settings, args["f"]))
        if args["l"] is not None:
            if len(names) > 1:
                raise Exit(1, "No support for concatenating multiple snapshot")
            load_snapshot(sources[0], args["l"])
    total = sum(source.size for source in sources)

    if "bitmaps" in args and len(sources) > 1:
        raise Exit(1, "Copying bitmaps only possible with single source")
    progress = Progress(progress_wanted)
    ok = False
    created = False
    target: Node | None = None
    try:
        backing: str | None = None
        if "n" not in args:
            backing = make_target(graph, args, out_format, target_name, sources, total)
            created = True
        target_settings = Settings(write=True, discard="unmap", backing=True).replace(no_flush="t" not in args)
        target_settings = cache_settings(target_settings, args["t"])
        target = open_target(graph, args, target_name, out_format, target_settings)
        if isinstance(target, Format):
            if "c" in args and not target.compression:
                raise Exit(1, "Compression not supported for this file format")
        elif "c" in args:
            raise Exit(1, "Compression not supported for this file format")
        if "bitmaps" in args:
            check_bitmaps(sources[0], target, "skip-broken-bitmaps" in args)
        if target.size < total:
            raise Exit(1, "output file is smaller than input file")
        base, skip = shared_base(args, sources, target, backing)
        job = Copy(
            sources,
            target,
            sparse=sparse,
            compressed=getattr(target, "compressed_only", "c" in args),
            target_zero=("target-is-zero" in args or (created and target.zeroes_when_new()))
            and not (isinstance(target, Format) and target.backing is not None),
            base=base,
            skip_unallocated=skip,
            threads=threads,
            out_of_order="W" in args,
            offload="C" in args,
            salvage="salvage" in args,
            rate=rate,
        )
        job.on_read_error = lambda pos, error: complain(f"warning: error while reading offset {pos}: {os.strerror(error.errno or 5)}")
        if progress_wanted:
            progress.total = max(1, job.work())
        job.on_progress = progress.advance
        job.run()
        if "bitmaps" in args:
            copy_bitmaps(sources[0], target, "skip-broken-bitmaps" in args)
        finish = getattr(target, "finish_compressed", None)
        if "c" in args and finish is not None:
            finish()
        try:
            target.flush()
        except OSError as error:
            raise BlockError(f"error while flushing '{target_name}': {explain(error)[0]}") from error
        ok = True
    except KeyboardInterrupt:
        complain(f"interrupted; '{target_name}' is incomplete" + (" and was removed" if created else ""))
        files = files_of(target)
        graph.close()
        if created:
            remove(target_name, *files)
        raise Exit(130) from None
    finally:
        progress.end(ok)
    return 0


def files_of(target: Node | None) -> list[str]:
    """The files an image consists of, without its backing file."""
    if target is None:
        return []
    if not target.children:
        return [target.filename]
    return [name for key, child in target.children.items() if key != "backing" for name in files_of(child)]


def remove(*names: str) -> None:
    for name in names:
        try:
            if os.path.isfile(name):
                os.unlink(name)
        except OSError:
            pass


def sparse_size(text: str | None) -> int:
    if text is None:
        return 4096
    value = size_argument(text, "buffer size for sparse output")
    if value % 512 or value > 16 << 20:
        raise Exit(
            1,
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select "
            "0 to disable sparse detection (fully allocates output).",
        )
    return value


def workers(text: str | None) -> int:
    if text is None:
        return 8
    if not text.isdigit() or not 1 <= int(text[:6]) <= 16:
        raise Exit(1, "Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")
    return int(text)


def check_combinations(args: Args) -> None:
    if "image-opts" in args and "f" in args:
        raise Exit(1, "--image-opts and --format are mutually exclusive")
    if "C" in args and "S" in args:
        raise Exit(1, "Cannot enable copy offloading when -S is used")
    if "C" in args and "c" in args:
        raise Exit(1, "Cannot enable copy offloading when -c is used")
    if "C" in args and "salvage" in args:
        raise Exit(1, "Cannot use copy offloading in salvaging mode")
    if "target-image-opts" in args and "n" not in args:
        raise Exit(1, "--target-image-opts requires use of -n flag")
    if "target-image-opts" in args and "O" in args:
        raise Exit(1, "-O and --target-image-opts are mutually exclusive")
    if "target-is-zero" in args and "n" not in args:
        raise Exit(1, "--target-is-zero requires use of -n flag")
    if "skip-broken-bitmaps" in args and "bitmaps" not in args:
        raise Exit(1, "Use of --skip-broken-bitmaps requires --bitmaps")
    if "n" in args and args.all("o"):
        complain("warning: -o has no effect when skipping image creation")


def load_snapshot(node: Node, text: str) -> None:
    """Read the disk as it was at the internal snapshot `text` (id, name, or snapshot.id=..,snapshot.name=..)."""
    load = getattr(node, "load_snapshot", None)
    if load is None:
        driver = f"Block format '{node.driver}' used by device ''"
        raise Exit(1, f"Failed to load snapshot: {driver} does not support temporarily loading internal snapshots")
    try:
        if text.startswith("snapshot."):
            options = parse_opts(text)
            for key in options:
                if key not in ("snapshot.id", "snapshot.name"):
                    raise Exit(1, f"Invalid parameter '{key}'", f"Failed in parsing snapshot param '{text}'")
            load(options.get("snapshot.id"), options.get("snapshot.name"))
        else:
            load(text, text, either=True)
    except BlockError as error:
        raise Exit(1, f"Failed to load snapshot: {error.message}") from None


def make_target(graph: Graph, args: Args, fmt: str, name: str, sources: list[Node], total: int) -> str | None:
    """Create the target file; returns its backing file's name."""
    texts = list(args.all("o"))
    cls = create_class(fmt, name)
    values: dict[str, Any] = {}
    for text in texts:
        values.update(parse_opts(text))
    backing = args["B"] if "B" in args else values.get("backing_file")
    if backing is not None and len(sources) > 1:
        raise Exit(
            1,
            "Having a backing file for the target makes no sense when concatenating multiple input images",
        )
    if "c" in args:
        driver = find_format(fmt)
        if not (issubclass(driver, Format) and driver.compression):
            raise Exit(1, "Compression not supported for this file format")
        if values.get("encryption") == "on" or "encrypt.format" in values:
            raise Exit(1, "Compression and encryption not supported at the same time")
        if values.get("preallocation", "off") != "off":
            raise Exit(1, "Compression and preallocation not supported at the same time")
    for key in values:
        if key not in cls.keys():
            raise Exit(1, f"Invalid parameter '{key}'")
    if args["B"] is not None and "backing_file" not in cls.keys():
        raise Exit(1, f"Backing file not supported for file format '{fmt}'")
    if args["F"] is not None and "backing_fmt" not in cls.keys():
        raise Exit(1, f"Backing format not supported for file format '{fmt}'")
    if "bitmaps" in args and not hasattr(find_format(fmt), "add_bitmap"):
        raise Exit(1, f"Format driver '{fmt}' does not support bitmaps")
    if backing is not None and not (args["F"] or values.get("backing_fmt")):
        node = graph.open(combine(name, backing), None, Settings(backing=False, no_io=True))
        graph.close_node(node)
        graph.warn(f"Deprecated use of backing file without explicit backing format (detected format of {node.driver})")
        fmt_of_backing: str | None = node.driver
    else:
        fmt_of_backing = args["F"]
    try:
        create_image(
            graph,
            name,
            fmt,
            texts,
            total,
            args["B"],
            fmt_of_backing,
            unsafe=True,
            quiet=True,
        )
    except BlockError as error:
        raise Exit(1, f"{name}: error while converting {fmt}: {error.message}", *("\t" + h for h in error.hints)) from None
    return backing


def open_target(graph: Graph, args: Args, name: str, fmt: str, settings: Settings) -> Node:
    plain = Args()
    secrets: dict[str, Any] = {}
    if "n" not in args:
        for text in args.all("o"):
            secrets.update({key: value for key, value in parse_opts(text).items() if key.endswith("key-secret")})
    if secrets:
        try:
            return graph.open(name, fmt, settings, nest(secrets))
        except BlockError as error:
            raise error.under(f"Could not open '{name}'") from None
    if "target-image-opts" in args:
        return open_image(graph, plain, name, settings, None, image_opts=True)
    if "n" in args and "O" not in args:
        fmt = "raw"
    return open_image(graph, plain, name, settings, fmt, image_opts=False)


def shared_base(args: Args, sources: list[Node], target: Node, backing: str | None) -> tuple[Node | None, bool]:
    """With -B: the node of the source's chain that is also the target's backing file, and that unallocated is skipped."""
    if not isinstance(target, Format) or (backing is None and target.backing is None) or len(sources) > 1:
        return None, False
    if "B" not in args and backing is None:
        return None, False
    wanted = target.backing.filename if target.backing is not None else backing
    chain = list(walk(sources[0]))
    for node in chain[1:]:
        if wanted is not None and _same(node.filename, wanted):
            return node, True
    return (chain[1], True) if len(chain) > 1 else (None, True)


def _same(a: str, b: str) -> bool:
    try:
        return a == b or os.path.samefile(a, b)
    except OSError:
        return False


def check_bitmaps(source: Node, target: Node, skip_broken: bool) -> None:
    if not getattr(target, "can_add_bitmaps", False):
        raise Exit(1, f"Format driver '{target.driver}' does not support bitmaps")
    if not hasattr(source, "bitmaps"):
        raise Exit(1, "Source lacks bitmap support")
    for bitmap in source.bitmaps():
        if bitmap.inconsistent:
            if not skip_broken:
                raise Exit(
                    1,
                    f"Cannot copy inconsistent bitmap '{bitmap.name}'",
                    "\tTry --skip-broken-bitmaps, or use 'qemu-img bitmap --remove'",
                )
            complain(f"warning: Skipping inconsistent bitmap '{bitmap.name}'")


def copy_bitmaps(source: Any, target: Any, skip_broken: bool) -> None:
    for bitmap in source.bitmaps():
        if not bitmap.inconsistent:
            target.copy_bitmap(bitmap, source)
