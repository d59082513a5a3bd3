"""Measures requests: -c how many, -s how large, -S how far apart, -d how many at once, -w writing."""

from __future__ import annotations

import time
from collections import deque

from tinamou.block.node import Node
from tinamou.block.options import parse_size
from tinamou.block.pool import Job, Pool
from tinamou.tools.cli import Args, explain
from tinamou.tools.imgcmd import BAD_SIZE, CACHE_MODES, Exit, Graph, Settings, cache_settings, exclusive_format, one_file, open_image

USAGE = (
    "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] [-o offset] "
    "[--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename"
)
OPTIONS = "c= d= f= flush-interval= i= n|native no-drain o= pattern= q s= S= t= w U|force-share object= image-opts"
INT_MAX = 2**31 - 1


def count(args: Args, name: str, default: int, what: str, low: int = 0, high: int = INT_MAX) -> int:
    text = args[name]
    if text is None:
        return default
    try:
        value = int(text, 0) if len(text) < 30 else -1
    except ValueError:
        value = -1
    if not low <= value <= high:
        raise Exit(1, f"Invalid {what} specified")
    return value


def length(args: Args, name: str, default: int, what: str, high: int, low: int = 0) -> int:
    text = args[name]
    if text is None:
        return default
    try:
        value = parse_size(text)
    except ValueError:
        raise Exit(1, BAD_SIZE[0].replace("image size", what), BAD_SIZE[1]) from None
    except OverflowError:
        value = high + 1
    if not low <= value <= high:
        raise Exit(1, f"Invalid {what} specified. Must be between {low} and {high}.")
    return value


def run(args: Args, graph: Graph) -> int:
    requests = count(args, "c", 75000, "request count")
    depth = count(args, "d", 64, "queue depth", 1)
    offset = length(args, "o", 0, "offset", 2**63 - 1)
    size = length(args, "s", 4096, "buffer size", INT_MAX)
    step = length(args, "S", 0, "step size", INT_MAX) or size
    every = count(args, "flush-interval", 0, "flush interval")
    pattern = count(args, "pattern", 0, "pattern byte", 0, 255)
    writing = "w" in args
    filename = one_file(args)
    if not writing and every:
        raise Exit(1, "--flush-interval is only available in write tests")
    if every and every < depth:
        raise Exit(1, "Flush interval can't be smaller than depth")
    if args["i"] not in (None, "threads", "native", "io_uring"):
        raise Exit(1, f"Invalid aio option: {args['i']}")
    exclusive_format(args)
    if args["t"] is not None and args["t"] not in CACHE_MODES:
        raise Exit(1, "Invalid cache mode")
    settings = cache_settings(Settings(write=writing), args["t"])
    if "n" in args:
        args.values.setdefault("i", ["native"])
    if args["i"] == "native" and not settings.direct:
        raise Exit(1, f"Could not open '{filename}': aio=native was specified, but it requires cache.direct=on, which was not specified.")
    node = open_image(graph, args, filename, settings, args["f"])
    if node.size == 0 or offset >= node.size or size > node.size:
        raise Exit(1, "Image size is smaller than the requests" if size > node.size else "Offset lies beyond the image")
    if "q" not in args:
        print(
            f"Sending {requests} {'write' if writing else 'read'} requests, {size} bytes each, {depth} in parallel "
            f"(starting at offset {offset}, step size {step})"
        )
        if every:
            print(f"Sending flush every {every} requests", flush=True)
    start = time.monotonic()
    try:
        work(node, requests, depth, offset, size, step, writing, every, pattern)
    except OSError as error:
        raise Exit(1, f"Failed request: {explain(error)[0]}") from None
    if "q" not in args:
        print(f"Run completed in {time.monotonic() - start:3.3f} seconds.")
    return 0


def work(node: Node, requests: int, depth: int, offset: int, size: int, step: int, writing: bool, every: int, pattern: int) -> None:
    """Requests that the page cache answers are done one after the other; with O_DIRECT `depth` are in flight."""
    data = bytes([pattern]) * size if writing else b""
    limit = node.size

    def one(at: int) -> None:
        if writing:
            node.writev(at, [data])
        else:
            node.read_into(at, memoryview(buffer) if depth == 1 or not threads else memoryview(bytearray(size)))

    buffer = bytearray(size)
    threads = min(depth, 16) if node.settings.direct else 0
    position = offset
    if not threads:
        view = memoryview(buffer)
        for i in range(requests):
            if position + size > limit:
                position = 0
            if writing:
                node.writev(position, [data])
            else:
                node.read_into(position, view)
            position += step
            if every and (i + 1) % every == 0:
                node.flush()
        return
    waiting: deque[Job] = deque()
    with Pool(threads) as pool:
        for i in range(requests):
            if position + size > limit:
                position = 0
            waiting.append(pool.submit(one, position))
            position += step
            if len(waiting) >= depth:
                waiting.popleft().result()
            if every and (i + 1) % every == 0:
                while waiting:
                    waiting.popleft().result()
                node.flush()
        while waiting:
            waiting.popleft().result()
