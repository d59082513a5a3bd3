"""Looks for contradictions in an image; -r leaks or -r all repairs them. Exit code 0 clean, 1 could not check, 2 corrupt, 3
leaked clusters, 63 the format has no check."""

from __future__ import annotations

from tinamou.block.errors import BlockError, Unsupported
from tinamou.block.node import CheckResult, Format
from tinamou.block.notation import Any
from tinamou.tools.cli import Args, dump_json
from tinamou.tools.imgcmd import (
    Exit,
    Graph,
    Settings,
    cache_settings,
    exclusive_format,
    one_file,
    open_image,
    output_format,
    usage_error,
)

USAGE = "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename"
OPTIONS = "f|format= output= r|repair= T= q|quiet object= image-opts U|force-share"


def run(args: Args, graph: Graph) -> int:
    output = output_format(args)
    repair = args["r"]
    if repair not in (None, "leaks", "all"):
        raise usage_error(f"Unknown option value for -r (expecting 'leaks' or 'all'): {repair}")
    filename = one_file(args)
    exclusive_format(args)
    settings = cache_settings(Settings(for_check=True, write=repair is not None), args["T"], "source cache")
    node = open_image(graph, args, filename, settings, args["f"])
    quiet = "q" in args
    if not isinstance(node, Format) or not node.supports_check:
        raise Exit(63, "This image format does not support checks")
    try:
        result = node.check(repair is not None, repair == "all")
        if output == "human" and not quiet:
            show_messages(result)
        if (result.corruptions_fixed or result.leaks_fixed) and repair:
            fixed = (result.leaks_fixed, result.corruptions_fixed)
            if output == "human" and not quiet:
                print(
                    "The following inconsistencies were found and repaired:\n\n"
                    f"    {fixed[0]} leaked clusters\n    {fixed[1]} corruptions\n\n"
                    "Double checking the fixed image now..."
                )
            result = node.check(False, False)
            result.leaks_fixed, result.corruptions_fixed = fixed
            if output == "human" and not quiet:
                show_messages(result)
    except Unsupported as error:
        raise Exit(63, error.message) from None
    except BlockError as error:
        raise Exit(1, f"Check failed: {error.message}", *("\t" + hint for hint in error.hints)) from None
    if output == "json":
        print(dump_json(as_json(result, filename, node.driver)))
    elif not quiet:
        print(describe(result), end="")
    if result.errors:
        return 1
    if result.corruptions:
        return 2
    return 3 if result.leaks else 0


def show_messages(result: CheckResult) -> None:
    import sys

    sys.stdout.flush()
    if result.messages:
        print("\n".join(result.messages), file=sys.stderr, flush=True)


def as_json(result: CheckResult, filename: str, fmt: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in (
        ("image-end-offset", result.image_end),
        ("total-clusters", result.total_clusters),
        ("allocated-clusters", result.allocated_clusters),
        ("fragmented-clusters", result.fragmented_clusters),
        ("compressed-clusters", result.compressed_clusters),
        ("corruptions", result.corruptions),
        ("leaks", result.leaks),
        ("corruptions-fixed", result.corruptions_fixed),
        ("leaks-fixed", result.leaks_fixed),
    ):
        if value:
            out[key] = value
    return {**out, "check-errors": result.errors, "filename": filename, "format": fmt}


def describe(result: CheckResult) -> str:
    out = ""
    if not (result.corruptions or result.leaks or result.errors):
        out += "No errors were found on the image.\n"
    else:
        if result.corruptions:
            out += (
                f"\n{result.corruptions} errors were found on the image.\n"
                "Data may be corrupted, or further writes to the image may corrupt it.\n"
            )
        if result.leaks:
            out += f"\n{result.leaks} leaked clusters were found on the image.\nThis means waste of disk space, but no harm to data.\n"
        if result.errors:
            out += f"\n{result.errors} internal errors have occurred during the check.\n"
    if result.total_clusters and result.allocated_clusters:
        allocated = result.allocated_clusters
        out += (
            f"{allocated}/{result.total_clusters} = {allocated * 100.0 / result.total_clusters:.2f}% allocated, "
            f"{result.fragmented_clusters * 100.0 / allocated:.2f}% fragmented, "
            f"{result.compressed_clusters * 100.0 / allocated:.2f}% compressed clusters\n"
        )
    if result.image_end:
        out += f"Image end offset: {result.image_end}\n"
    return out
