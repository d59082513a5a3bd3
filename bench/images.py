"""Disk images beside the original's tools: each line prints both medians and the ratio original / ours (above 1: faster);
then each goal and whether it was reached (by wall time).

    python bench/images.py [--size 1024] [--runs 5] [--folder DIR] [--all] [--only vdi]

The tools take turns, run by run. On a machine with other work look at the processor times. It takes two to three minutes.

Needs `qemu-img` (Debian package qemu-utils) in PATH. Sizes are in MiB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

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


class Run(NamedTuple):
    """One process: wall and processor seconds, greatest resident memory in MB (10^6 bytes)."""

    wall: float
    cpu: float
    memory: float


class Goal(NamedTuple):
    """`value`, as measured, is to be at least (or, for times and memory, at most) `bound`."""

    what: str
    value: float
    bound: float
    unit: str = "x"

    @property
    def reached(self) -> bool:
        return self.value >= self.bound if self.unit == "x" else self.value <= self.bound


goals: list[Goal] = []
memory: dict[str, float] = {}
only = ""


def run(command: list[str], remove: str | None) -> Run:
    if remove and os.path.exists(remove):
        os.unlink(remove)
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def wanted(*names: str) -> bool:
    return any(only in name for name in names)


def compare(what: str, args: list[str], runs: int, remove: str | None = None, goal: float = 0, at_most_ms: float = 0) -> None:
    """Run both `runs` times, in turns. Goals: the ratio of the wall times, our wall time."""
    if not wanted(what):
        return
    rows: dict[str, list[Run]] = {"theirs": [], "ours": []}
    for _ in range(runs):
        for name, program in (("theirs", THEIRS), ("ours", OURS)):
            rows[name].append(run([*program, *args], remove))
    wall = {name: statistics.median(r.wall for r in of) for name, of in rows.items()}
    cpu = {name: statistics.median(r.cpu for r in of) for name, of in rows.items()}
    memory[what] = max(r.memory for r in rows["ours"])
    if goal:
        goals.append(Goal(what, wall["theirs"] / wall["ours"], goal))
    if at_most_ms:
        goals.append(Goal(what, 1000 * wall["ours"], at_most_ms, " ms"))
    print(
        f"{what:<34} wall {wall['theirs']:7.3f} s / {wall['ours']:7.3f} s = {wall['theirs'] / wall['ours']:5.2f}   "
        f"processor {cpu['theirs']:7.3f} s / {cpu['ours']:7.3f} s = {cpu['theirs'] / max(cpu['ours'], 1e-9):5.2f}   {memory[what]:4.0f} MB",
        flush=True,
    )


def compare_plain(runs: int) -> None:
    """The conversions that have goals."""
    compare("convert raw to qcow2", ["convert", "-f", "raw", "-O", "qcow2", "a.raw", "a.qcow2"], runs, "a.qcow2", 0.9)
    compare("convert qcow2 to raw", ["convert", "-f", "qcow2", "-O", "raw", "a.qcow2", "b.raw"], runs, "b.raw", 0.9)
    for kind, packing in (("zlib", max(1, runs // 3)), ("zstd", runs)):
        target = f"{kind}.qcow2"
        args = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", f"compression_type={kind}", "a.raw", target]
        compare(f"convert -c {kind}", args, packing, target, 1.0)
        compare(f"convert {kind} to raw", ["convert", "-f", "qcow2", "-O", "raw", target, "b.raw"], runs, "b.raw", 1.0)


def compare_formats(runs: int) -> None:
    for fmt, kind in (("vdi", ""), ("vpc", ""), ("vmdk", ""), ("vmdk", "streamOptimized")):
        target = f"small.{fmt}"
        more = ["-o", f"subformat={kind}"] if kind else []
        compare(f"convert raw to {fmt} {kind}", ["convert", "-f", "raw", "-O", fmt, *more, "small.raw", target], runs, target)
        compare(f"convert {fmt} {kind} to raw", ["convert", "-f", fmt, "-O", "raw", target, "b.raw"], runs, "b.raw")


def compare_encrypted(runs: int) -> None:
    """Into and out of encrypted images that are there already: making a key slot takes the time it is told to take."""
    key = ["--object", "secret,id=s,data=x"]
    for what, fmt, prefix, more in (
        ("luks", "luks", "", ""),
        ("luks, serpent", "luks", "", ",cipher-alg=serpent-256"),
        ("luks, twofish", "luks", "", ",cipher-alg=twofish-256"),
        ("qcow2 with luks", "qcow2", "encrypt.", ",encrypt.format=luks"),
    ):
        if not wanted(f"convert raw to {what}", f"convert {what} to raw"):
            continue
        target, secret = f"{fmt}{len(more)}.img", f"{prefix}key-secret=s"
        options = f"{secret},{prefix}iter-time=0{more}"
        subprocess.run([*OURS, "create", "-q", "-f", fmt, *key, "-o", options, target, str(os.path.getsize("small.raw"))], check=True)
        image = f"driver={fmt},file.filename={target},{secret}"
        args = ["convert", "-n", *key, "--image-opts", "--target-image-opts", "driver=raw,file.filename=small.raw", image]
        compare(f"convert raw to {what}", args, runs)
        compare(f"convert {what} to raw", ["convert", *key, "--image-opts", image, "-O", "raw", "b.raw"], runs, "b.raw")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the images that are converted")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fragmented", type=int, default=64, help="GiB of the fragmented image")
    parser.add_argument("--folder")
    parser.add_argument("--only", default="", help="measure what has this in its name")
    parser.add_argument("--all", action="store_true", help="also formats that have no goal, with images of a sixteenth of the size")
    options = parser.parse_args()
    global only
    only = options.only
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.chdir(folder)
        make_source(Path("a.raw"), options.size)
        subprocess.run([*THEIRS, "convert", "-O", "qcow2", "a.raw", "a.qcow2"], check=True)
        runs = options.runs
        compare_plain(runs)
        compare("create", ["create", "-q", "-f", "qcow2", "c.qcow2", "1G"], 3 * runs, "c.qcow2", at_most_ms=60)
        compare("info", ["info", "a.qcow2"], 3 * runs, at_most_ms=60)
        compare("bench, 75000 reads of 4k", ["bench", "-f", "qcow2", "-S", "1314816", "a.qcow2"], runs, None, 0.3)
        if options.all:
            make_source(Path("small.raw"), max(64, options.size // 16))
            compare_formats(runs)
            compare_encrypted(runs)
        check, show = (f"{command}, {options.fragmented} GiB fragmented" for command in ("check", "map"))
        if wanted(check, show):
            # In a process of its own: the greatest resident memory of a child begins with its parent's.
            maker = multiprocessing.Process(target=make_fragmented, args=(Path("f.qcow2"), options.fragmented))
            maker.start()
            maker.join()
            compare(check, ["check", "f.qcow2"], 1, None, 0.5)
            compare(show, ["map", "f.qcow2"], runs, None, 0.5)
    if memory:
        most = max(memory, key=lambda what: memory[what])
        goals.append(Goal(f"memory ({most})", memory[most], 150, " MB"))
    for goal in goals:
        verdict, side = "reached" if goal.reached else "not reached", "least" if goal.unit == "x" else "most"
        print(f"{verdict:<12} {goal.what}: {goal.value:.2f}{goal.unit} (at {side} {goal.bound:g}{goal.unit})")


if __name__ == "__main__":
    main()
