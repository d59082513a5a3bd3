"""Lists where the parts of the disk lie in the image and its backing files."""

from __future__ import annotations

from collections.abc import Iterator

from tinamou.block.node import Format, Node, Status, status
from tinamou.tools.cli import Args
from tinamou.tools.imgcmd import (
    Exit,
    Graph,
    Settings,
    exclusive_format,
    one_file,
    open_image,
    output_format,
    size_argument,
)

USAGE = "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename"
OPTIONS = "f|format= output= object= image-opts U|force-share s|start-offset= l|max-length="
STEP = 1 << 40


def run(args: Args, graph: Graph) -> int:
    output = output_format(args)
    start = size_argument(args["s"] or "0", "start offset")
    length = None if args["l"] is None else size_argument(args["l"] or "", "max length")
    filename = one_file(args)
    exclusive_format(args)
    node = open_image(graph, args, filename, Settings(), args["f"])
    end = node.size if length is None else min(node.size, start + length)
    if output == "human":
        print(f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File")
    else:
        print("[", end="")
    lines: list[str] = []
    separator = ""
    for pos, entry in entries(node, start, end):
        if output == "human":
            lines.append(human_line(pos, entry))
        else:
            lines.append(separator + json_line(pos, entry))
            separator = ",\n"
        if len(lines) > 2000:
            print("".join(lines), end="")
            lines.clear()
    print("".join(lines), end="")
    if output == "json":
        print("]")
    return 0


def entries(node: Node, start: int, end: int) -> Iterator[tuple[int, Status]]:
    """Ranges from `start` to `end`, neighbours that continue each other merged."""
    if start >= end:
        yield start, Status(0, False, False, False, 0)
        return
    last = status(node, start, min(end - start, STEP))
    last_pos = start
    pos = start + last.length
    plain = isinstance(node, Format) and node.file.kind == "protocol" and not node.present_when_zero
    below = plain and node.look_below  # type: ignore[attr-defined]
    while pos < end:
        if plain and last.data:
            assert isinstance(node, Format)
            file = node.file
            zero = False
            for run_pos, length, offset in node.plain_runs(pos, end):
                if below:
                    inner = file.extent(offset, length)
                    if inner.length < length:
                        break
                    zero = inner.kind == "zero"
                if offset == last.offset + last.length and last.data and zero == last.zero:
                    last = last._replace(length=last.length + length)
                else:
                    yield last_pos, last
                    last, last_pos = Status(length, True, zero, True, 0, offset, file), run_pos
                pos = run_pos + length
            if pos >= end:
                break
        found = status(node, pos, min(end - pos, STEP))
        if continues(last, found):
            last = last._replace(length=last.length + found.length)
        else:
            yield last_pos, last
            last, last_pos = found, pos
        pos += found.length
    yield last_pos, last


def continues(a: Status, b: Status) -> bool:
    if a.offset < 0 or b.offset < 0:
        if a.offset >= 0 or b.offset >= 0:
            return False
    elif a.offset + a.length != b.offset or a.file is not b.file:
        return False
    return a[1:5] == b[1:5] and a.compressed == b.compressed


def human_line(pos: int, entry: Status) -> str:
    if entry.data and entry.offset < 0:
        raise Exit(1, "File contains external, encrypted or compressed clusters.")
    if not entry.data or entry.zero:
        return ""
    name = entry.file.filename if entry.file is not None else ""
    length, offset = entry.length, entry.offset
    if pos and length and offset:
        return f"{pos:<#16x}{length:<#16x}{offset:<#16x}{name}\n"
    cells = [f"{value:#x}" if value else "0" for value in (pos, length, offset)]
    return "".join(f"{cell:<16}" for cell in cells) + name + "\n"


def _flags(bits: int) -> str:
    names = ("present", "zero", "data")
    return ", ".join(f'"{name}": {"true" if bits >> i & 1 else "false"}' for i, name in enumerate(names))


FLAGS = [_flags(bits) for bits in range(8)]


def json_line(pos: int, entry: Status) -> str:
    length, data, zero, present, depth, offset, _, _ = entry
    flags = FLAGS[present | zero << 1 | data << 2]
    place = f', "offset": {offset}' if offset >= 0 else ""
    return f'{{ "start": {pos}, "length": {length}, "depth": {depth}, {flags}{place}}}'
