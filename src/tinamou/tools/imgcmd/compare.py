"""Says whether two images have the same contents: exit code 0 the same, 1 different, 2 and more an error. -s also compares
sizes and what is allocated."""

from __future__ import annotations

from tinamou.block.node import Node, Status, is_zero, status
from tinamou.tools.cli import Args, explain
from tinamou.tools.imgcmd import CACHE_MODES, Exit, Graph, Progress, Settings, cache_settings, open_image, usage_error

USAGE = "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2"
OPTIONS = "f= F= T= p q s U|force-share object= image-opts"
ERROR_CODE = 2
CHUNK = 2 << 20


def run(args: Args, graph: Graph) -> int:
    if len(args.files) != 2:
        raise usage_error("Expecting two image file names")
    if "image-opts" in args and ("f" in args or "F" in args):
        raise Exit(ERROR_CODE, "--image-opts and --format are mutually exclusive")
    if args["T"] is not None and args["T"] not in CACHE_MODES:
        raise Exit(ERROR_CODE, f"Invalid source cache option: {args['T']}")
    settings = cache_settings(Settings(), args["T"], "source cache")
    a, b = (open_image(graph, args, n, settings, args[f]) for n, f in zip(args.files, "fF", strict=True))
    progress = Progress("p" in args, max(a.size, b.size), "q" in args)
    try:
        code, line = compare(a, b, args.files, "s" in args, "q" in args, progress)
    except BaseException:
        progress.end(False)
        raise
    if line and "q" not in args:
        print(line)
    progress.end(False)
    return code


def compare(a: Node, b: Node, names: list[str], strict: bool, quiet: bool, progress: Progress) -> tuple[int, str]:
    """Exit code and the sentence that says what was found."""
    common = min(a.size, b.size)
    if strict and a.size != b.size:
        return 1, "Strict mode: Image size mismatch!"
    pos = 0
    while pos < common:
        want = common - pos
        sa, sb = status(a, pos, want), status(b, pos, want)
        n = min(sa.length, sb.length)
        if strict and (_flags(sa) != _flags(sb)):
            return 1, f"Strict mode: Offset {pos} block status mismatch!"
        if sa.zero and sb.zero:
            pass
        elif sa.zero != sb.zero:
            name, node = (names[1], b) if sa.zero else (names[0], a)
            n = min(n, CHUNK)
            at = first_difference(_read(node, pos, n, name), bytes(n))
            if at is not None:
                return 1, f"Content mismatch at offset {pos + at}!"
        elif sa.data or sb.data:
            n = min(n, CHUNK)
            at = first_difference(_read(a, pos, n, names[0]), _read(b, pos, n, names[1]))
            if at is not None:
                return 1, f"Content mismatch at offset {pos + at}!"
        pos += n
        progress.advance(n)
    if a.size != b.size:
        if not quiet:
            print("Warning: Image size mismatch!")
        node, name = (a, names[0]) if a.size > b.size else (b, names[1])
        while pos < node.size:
            s = status(node, pos, node.size - pos)
            n = s.length
            if not s.zero:
                n = min(n, CHUNK)
                data = _read(node, pos, n, name)
                if not is_zero(data):
                    at = first_difference(data, bytes(n)) or 0
                    return 1, f"Content mismatch at offset {pos + at}!"
            pos += n
            progress.advance(n)
    return 0, "Images are identical."


def _flags(s: Status) -> tuple[bool, bool, bool]:
    return s.data, s.zero, s.present


def _read(node: Node, pos: int, length: int, name: str) -> bytes:
    try:
        return node.read(pos, length)
    except OSError as error:
        raise Exit(4, f"Error while reading offset {pos} of {name}: {explain(error)[0]}") from None


def first_difference(a: bytes, b: bytes) -> int | None:
    """Offset of the first 512-byte sector that differs."""
    if a == b:
        return None
    low, high = 0, len(a)
    while high - low > 512:
        middle = (low + high) // 2 // 512 * 512
        if middle <= low:
            middle = low + 512
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
