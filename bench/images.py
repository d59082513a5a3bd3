"""Disk images beside the original's tools: each line prints both medians and the ratio original / ours (above 1: faster).

    python bench/images.py [--size 1024] [--runs 5] [--folder DIR] [--only vdi]

The tools take turns, run by run. On a machine with other work look at the processor times.

Needs `qemu-img` (Debian package qemu-utils) in PATH. Sizes are in MiB.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = [sys.executable, "-c", "import sys; from tinamou.tools.img import main; sys.exit(main())"]
THEIRS = ["qemu-img"]


def make_source(path: Path, mib: int) -> None:
    """Half random data, a quarter text, a quarter holes."""
    with open(path, "wb") as file:
        for i in range(mib):
            if i % 8 < 4:
                file.write(os.urandom(1 << 20))
            elif i % 8 < 6:
                line = b"line %d of a text that compresses well\n" % i
                file.write((line * ((1 << 20) // len(line) + 1))[: 1 << 20])
            else:
                file.seek(1 << 20, os.SEEK_CUR)
        file.truncate(mib << 20)


def make_fragmented(path: Path, gib: int) -> None:
    """A qcow2 image whose clusters lie in random order (metadata only; the file is sparse)."""
    from tinamou.block.formats.qcow2.layout import COPIED
    from tinamou.block.graph import Graph, create, create_class
    from tinamou.block.node import Settings

    graph = Graph()
    create(graph, str(path), "qcow2", create_class("qcow2", str(path))({"size": gib << 30}))
    node = graph.open(str(path), settings=Settings(write=True, no_flush=True))
    node.l2_cache_tables = 1 << 20  # type: ignore[attr-defined]
    order = list(range((gib << 30) >> 16))
    random.Random(3).shuffle(order)
    hosts: list[int] = []
    while len(hosts) < len(order):
        n = min(8192, len(order) - len(hosts))
        first = node.allocate_clusters(n)  # type: ignore[attr-defined]
        hosts += range(first, first + n)
    for host, guest in zip(hosts, order, strict=True):
        table = node.l2_for_write(guest >> 13)  # type: ignore[attr-defined]
        table.words[guest & 8191] = host << 16 | COPIED
        table.touch(0, 8192)
    node.file.resize((hosts[-1] + 1) << 16)
    graph.close()


def run(command: list[str], remove: str | None) -> tuple[float, float]:
    """Wall and processor seconds of one run."""
    if remove and os.path.exists(remove):
        os.unlink(remove)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


only = ""


def compare(what: str, args: list[str], runs: int, remove: str | None = None) -> None:
    if only not in what.replace("  ", " "):
        return
    results: dict[str, list[tuple[float, float]]] = {"theirs": [], "ours": []}
    for _ in range(runs):
        for name, program in (("theirs", THEIRS), ("ours", OURS)):
            results[name].append(run([*program, *args], remove))
    wall = {name: statistics.median(r[0] for r in rows) for name, rows in results.items()}
    cpu = {name: statistics.median(r[1] for r in rows) for name, rows in results.items()}
    print(
        f"{what:<34} wall {wall['theirs']:7.3f} s / {wall['ours']:7.3f} s = {wall['theirs'] / wall['ours']:5.2f}   "
        f"processor {cpu['theirs']:7.3f} s / {cpu['ours']:7.3f} s = {cpu['theirs'] / max(cpu['ours'], 1e-9):5.2f}",
        flush=True,
    )


def compare_encrypted(runs: int) -> None:
    """Into and out of encrypted images that are there already: making a key slot takes the time it is told to take."""
    key = ["--object", "secret,id=s,data=x"]
    for what, fmt, prefix, more in (
        ("luks", "luks", "", ""),
        ("luks, serpent", "luks", "", ",cipher-alg=serpent-256"),
        ("luks, twofish", "luks", "", ",cipher-alg=twofish-256"),
        ("qcow2 with luks", "qcow2", "encrypt.", ",encrypt.format=luks"),
    ):
        if only not in f"convert raw to {what}" and only not in f"convert {what} to raw":
            continue
        target, secret = f"{fmt}{len(more)}.img", f"{prefix}key-secret=s"
        options = f"{secret},{prefix}iter-time=0{more}"
        subprocess.run([*OURS, "create", "-q", "-f", fmt, *key, "-o", options, target, str(os.path.getsize("small.raw"))], check=True)
        image = f"driver={fmt},file.filename={target},{secret}"
        args = ["convert", "-n", *key, "--image-opts", "--target-image-opts", "driver=raw,file.filename=small.raw", image]
        compare(f"convert raw to {what}", args, runs)
        compare(f"convert {what} to raw", ["convert", *key, "--image-opts", image, "-O", "raw", "b.raw"], runs, "b.raw")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fragmented", type=int, default=64, help="GiB of the fragmented image")
    parser.add_argument("--folder")
    parser.add_argument("--only", default="", help="measure what has this in its name")
    options = parser.parse_args()
    global only
    only = options.only
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.chdir(folder)
        make_source(Path("a.raw"), options.size)
        runs = options.runs
        compare("convert raw to qcow2", ["convert", "-f", "raw", "-O", "qcow2", "a.raw", "a.qcow2"], runs, "a.qcow2")
        compare("convert qcow2 to raw", ["convert", "-f", "qcow2", "-O", "raw", "a.qcow2", "b.raw"], runs, "b.raw")
        Path("b.raw").unlink(missing_ok=True)
        make_source(Path("small.raw"), max(64, options.size // 4))
        for kind in ("zlib", "zstd"):
            target = f"{kind}.qcow2"
            args = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", f"compression_type={kind}", "small.raw", target]
            compare(f"convert -c {kind}", args, max(1, runs // 2), target)
            compare(f"convert {kind} to raw", ["convert", "-O", "raw", target, "b.raw"], runs, "b.raw")
        for fmt, kind in (("vdi", ""), ("vpc", ""), ("vmdk", ""), ("vmdk", "streamOptimized")):
            target = f"small.{fmt}"
            more = ["-o", f"subformat={kind}"] if kind else []
            compare(f"convert raw to {fmt} {kind}", ["convert", "-f", "raw", "-O", fmt, *more, "small.raw", target], runs, target)
            compare(f"convert {fmt} {kind} to raw", ["convert", "-f", fmt, "-O", "raw", target, "b.raw"], runs, "b.raw")
        compare_encrypted(runs)
        compare("create", ["create", "-q", "-f", "qcow2", "c.qcow2", "1G"], 2 * runs, "c.qcow2")
        compare("info", ["info", "a.qcow2"], 2 * runs)
        compare("bench, 75000 reads of 4k", ["bench", "-f", "qcow2", "-S", "1314816", "a.qcow2"], runs)
        if only not in f"check, map, {options.fragmented} GiB fragmented":
            return
        make_fragmented(Path("f.qcow2"), options.fragmented)
        compare(f"check, {options.fragmented} GiB fragmented", ["check", "f.qcow2"], max(1, runs // 2))
        compare(f"map, {options.fragmented} GiB fragmented", ["map", "f.qcow2"], runs)


if __name__ == "__main__":
    main()
