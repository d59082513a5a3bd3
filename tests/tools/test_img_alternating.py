"""The original and ours take turns at changing one qcow2 image; after every step both find it free of errors and read the same disk."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from support import originals
from support.beside import parsed, write_shims

KINDS = {
    "default": "",
    "small clusters": "cluster_size=1k,refcount_bits=32",
    "wide counts": "cluster_size=4k,refcount_bits=64,lazy_refcounts=on",
    "subclusters": "extended_l2=on,cluster_size=64k",
    "zstd": "compression_type=zstd,cluster_size=8k",
    "version 2": "compat=0.10,cluster_size=4k",
    "external data": "data_file=data.raw,cluster_size=16k",
}


class Image:
    def __init__(self, folder: Path, kind: str, shims: Path) -> None:
        self.folder = folder
        self.kind = kind
        self.shims = shims
        self.rng = random.Random(kind)
        self.snapshots: list[str] = []
        self.bitmaps: list[str] = []
        self.size = 4 << 20
        self.serial = 0

    def run(self, program: str, command: str, ours: bool, codes: tuple[int, ...] = (0,)) -> str:
        path = str(self.shims) if ours else originals.folder()
        done = subprocess.run([f"{path}/qemu-{program}", *command.split("|")], cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode in codes, (command, ours, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def step(self, ours: bool) -> str:
        """One change by one of the two programs; what it was."""
        rng = self.rng
        self.serial += 1
        pos = rng.randrange(0, self.size, 512)
        length = min(rng.choice((512, 4096, 70000 // 512 * 512, 300000 // 512 * 512)), self.size - pos)
        choices = ["write", "write", "zero", "discard", "packed", "io"]
        if self.kind != "external data":
            choices += ["snapshot", "snapshot", "apply", "delete"]
        if self.kind != "version 2":
            choices += ["bitmap", "bitmap", "unmark", "change"]
        choices += ["resize", "check"]
        what = rng.choice(choices)
        if what == "write":
            self.run("io", f"-f|qcow2|-c|write -P {rng.randrange(1, 255)} {pos} {length}|a.qcow2", ours)
        elif what == "zero":
            self.run("io", f"-f|qcow2|-c|write -z{rng.choice(('', ' -u'))} {pos} {length}|a.qcow2", ours)
        elif what == "discard":
            self.run("io", f"-f|qcow2|-d|unmap|-c|discard {pos} {length}|a.qcow2", ours)
        elif what == "packed" and self.kind != "external data":
            pos = pos // 65536 * 65536  # the original refuses to overwrite a cluster with a packed one
            self.run("io", f"-f|qcow2|-c|write -c -P {rng.randrange(1, 255)} {pos} {min(65536, self.size - pos)}|a.qcow2", ours, (0, 1))
        elif what == "io":
            writes = "|".join(f"-c|aio_write -P {rng.randrange(1, 255)} {rng.randrange(0, self.size - 70000, 512)} 64k" for _ in range(5))
            self.run("io", f"-f|qcow2|{writes}|-c|aio_flush|a.qcow2", ours)
        elif what == "snapshot" and len(self.snapshots) < 4:
            self.snapshots.append(f"s{self.serial}")
            self.run("img", f"snapshot|-c|s{self.serial}|a.qcow2", ours)
        elif what == "apply" and self.snapshots and not self.bitmaps:
            self.run("img", f"snapshot|-a|{rng.choice(self.snapshots)}|a.qcow2", ours)
            self.size = int(parsed_size(self.run("img", "info|--output=json|a.qcow2", False)))
        elif what == "delete" and self.snapshots:
            name = self.snapshots.pop(rng.randrange(len(self.snapshots)))
            self.run("img", f"snapshot|-d|{name}|a.qcow2", ours)
        elif what == "bitmap" and len(self.bitmaps) < 3:
            self.bitmaps.append(f"b{self.serial}")
            more = rng.choice(("", "|--disable", "|-g|128k"))
            self.run("img", f"bitmap|--add{more}|a.qcow2|b{self.serial}", ours)
        elif what == "unmark" and self.bitmaps:
            name = self.bitmaps.pop(rng.randrange(len(self.bitmaps)))
            self.run("img", f"bitmap|--remove|a.qcow2|{name}", ours)
        elif what == "change" and self.bitmaps:
            name = rng.choice(self.bitmaps)
            other = rng.choice(self.bitmaps)
            action = rng.choice(("--clear", "--enable", "--disable", f"--merge|{other}"))
            if other != name or "merge" not in action:
                self.run("img", f"bitmap|{action}|a.qcow2|{name}", ours, (0, 1) if "merge" in action else (0,))
        elif what == "resize" and not (self.kind == "version 2" and self.snapshots):
            self.size = max(1 << 20, self.size + rng.randrange(-1 << 20, 2 << 20) // 65536 * 65536)
            self.run("img", f"resize|--shrink|-f|qcow2|a.qcow2|{self.size}", ours)
        elif what == "check":
            # the original's repair forgets all snapshots of a sound image when there are several
            self.run("img", "check|-r|all|a.qcow2", ours or bool(self.snapshots))
        else:
            return "nothing"
        return what

    def look(self) -> None:
        """Both programs say the same of the image."""
        for command in ("check|--output=json|a.qcow2", "info|--output=json|a.qcow2", "map|--output=json|a.qcow2"):
            theirs, ours = self.run("img", command, False), self.run("img", command, True)
            assert parsed(theirs) == parsed(ours), command
        assert self.run("img", "snapshot|-l|a.qcow2", False) == self.run("img", "snapshot|-l|a.qcow2", True)
        self.run("img", "convert|-O|raw|a.qcow2|theirs.raw", False)
        self.run("img", "convert|-O|raw|a.qcow2|ours.raw", True)
        assert (self.folder / "theirs.raw").read_bytes() == (self.folder / "ours.raw").read_bytes()


def parsed_size(text: str) -> str:
    found = re.search(r'"virtual-size": (\d+)', text)
    assert found
    return found[1]


def take_turns(kind: str, folder: Path, steps: int) -> None:
    image = Image(folder, kind, write_shims(folder))
    options = f"|-o|{KINDS[kind]}" if KINDS[kind] else ""
    image.run("img", f"create|-q|-f|qcow2{options}|a.qcow2|4M", True)
    for number in range(steps):
        done = image.step(ours=image.rng.random() < 0.6)
        if done != "nothing":
            try:
                image.look()
            except AssertionError as error:
                raise AssertionError(f"{kind}, step {number}, {done}") from error


@pytest.mark.parametrize("kind", KINDS)
def test_taking_turns(kind: str, tmp_path: Path) -> None:
    take_turns(kind, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_taking_turns_for_long(kind: str, tmp_path: Path) -> None:
    take_turns(kind, tmp_path, 150)
