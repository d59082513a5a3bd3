"""Shows what an image is: format, sizes, backing file, snapshots, and what its format adds."""

from __future__ import annotations

import time

from tinamou.block.errors import BlockError
from tinamou.block.node import Format, Node
from tinamou.block.notation import Any
from tinamou.tools.cli import Args, dump_json, human_size
from tinamou.tools.imgcmd import Graph, Settings, exclusive_format, one_file, open_image, output_format

USAGE = "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename"
OPTIONS = "f|format= output= backing-chain object= image-opts U|force-share"


def run(args: Args, graph: Graph) -> int:
    output = output_format(args)
    filename = one_file(args)
    exclusive_format(args)
    settings = Settings(backing=False, no_io=True)
    infos = []
    node: Node | None = open_image(graph, args, filename, settings, args["f"])
    seen: set[str] = set()
    while node is not None:
        if node.filename in seen:
            raise BlockError(f"Backing file '{node.filename}' creates an infinite loop.")
        seen.add(node.filename)
        info = collect(node)
        infos.append(info)
        if "backing-chain" not in args or "full-backing-filename" not in info:
            break
        if len(infos) > 1000:
            raise BlockError(f"The backing chain of '{filename}' is longer than 1000 images")
        fmt = info.get("backing-filename-format")
        node = open_image(graph, args, info["full-backing-filename"], settings, fmt, image_opts=False)
    if output == "json":
        print(dump_json(infos if "backing-chain" in args else infos[0]))
    else:
        print("\n".join(describe(info) for info in infos), end="")
    return 0


def collect(node: Node) -> dict[str, Any]:
    """The facts of one node under the names of the JSON output."""
    from tinamou.block.graph import combine

    out: dict[str, Any] = {"virtual-size": node.size, "filename": node.exact_filename(), "format": node.driver}
    actual = node.allocated_bytes()
    if actual is not None:
        out["actual-size"] = actual
    if isinstance(node, Format):
        if node.cluster_size:
            out["cluster-size"] = node.cluster_size
        if node.encrypted:
            out["encrypted"] = True
        if node.backing_file:
            out["backing-filename"] = node.backing_file
            try:
                out["full-backing-filename"] = combine(node.filename, node.backing_file)
            except BlockError:
                out["full-backing-filename"] = node.backing_file
            if node.backing_format:
                out["backing-filename-format"] = node.backing_format
        snapshots = node.snapshots()
        if snapshots:
            out["snapshots"] = [
                {
                    "icount": s.icount,
                    "vm-clock-nsec": s.vm_clock_nsec % 10**9,
                    "name": s.name,
                    "date-sec": s.date_sec,
                    "date-nsec": s.date_nsec,
                    "vm-clock-sec": s.vm_clock_nsec // 10**9,
                    "id": s.id,
                    "vm-state-size": s.vm_state_size,
                }
                for s in snapshots
            ]
            for s in out["snapshots"]:
                if s["icount"] is None:
                    del s["icount"]
    if node.kind != "protocol":
        out["dirty-flag"] = bool(getattr(node, "dirty", False))
    specific = node.info()
    if specific is not None:
        out["format-specific"] = {"type": node.driver, "data": specific}
    return out


def describe(info: dict[str, Any]) -> str:
    """The text for people, ending in a newline."""
    lines = [
        f"image: {info['filename']}",
        f"file format: {info['format']}",
        f"virtual size: {human_size(info['virtual-size'])} ({info['virtual-size']} bytes)",
        "disk size: " + (human_size(info["actual-size"]) if "actual-size" in info else "unavailable"),
    ]
    if info.get("encrypted"):
        lines.append("encrypted: yes")
    if "cluster-size" in info:
        lines.append(f"cluster_size: {info['cluster-size']}")
    if info.get("dirty-flag"):
        lines.append("cleanly shut down: no")
    if "backing-filename" in info:
        full = info["full-backing-filename"]
        actual = f" (actual path: {full})" if full != info["backing-filename"] else ""
        lines.append(f"backing file: {info['backing-filename']}{actual}")
        if "backing-filename-format" in info:
            lines.append(f"backing file format: {info['backing-filename-format']}")
    if "snapshots" in info:
        lines.append("Snapshot list:")
        lines += snapshot_table(info["snapshots"])
    data = info.get("format-specific", {}).get("data")
    if data:
        lines.append("Format specific information:")
        lines += describe_value(data, 1)
    return "\n".join(lines) + "\n"


def snapshot_table(snapshots: list[dict[str, Any]]) -> list[str]:
    """The columns of `snapshot -l`."""
    lines = [f"{'ID':<10}{'TAG':<17}{'VM SIZE':>8}{'DATE':>20}{'VM CLOCK':>13}{'ICOUNT':>11}"]
    for s in snapshots:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(s["date-sec"]))
        seconds = s["vm-clock-sec"]
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{s['vm-clock-nsec'] // 1000000:03}"
        size = human_size(s["vm-state-size"])
        icount = "" if s.get("icount") is None else str(s["icount"])
        lines.append(f"{s['id']:<9} {s['name']:<16} {size:>8}{date:>20}{clock:>13}{icount:>11}")
    return lines


def describe_value(value: Any, depth: int) -> list[str]:
    """Nested format-specific data: four spaces per level, list members as `[0]:`, - in names as spaces."""
    pad = "    " * depth
    lines: list[str] = []
    items: list[tuple[str, Any]]
    if isinstance(value, dict):
        items = [(key.replace("-", " "), item) for key, item in value.items()]
    else:
        items = [(f"[{i}]", item) for i, item in enumerate(value)]
    for name, item in items:
        if isinstance(item, (dict, list)):
            lines.append(f"{pad}{name}:")
            lines += describe_value(item, depth + 1)
        else:
            text = ("true" if item else "false") if isinstance(item, bool) else str(item)
            lines.append(f"{pad}{name}: {text}")
    return lines
