"""At which requests the events of `blkdebug` come: an error injected at an event stops the same requests as the original's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support import originals
from support.beside import write_shims
from tinamou.block.filters.blkdebug import EVENTS

REQUESTS = {
    "read": "read 1M 4k",
    "read from below": "read 768k 4k",
    "read packed": "read 512k 4k",
    "write whole clusters": "write 3M 64k",
    "write part of a new cluster": "write 3076k 4k",
    "write part of a cluster with data below": "write 772k 4k",
    "write zeroes": "write -z 1M 64k",
}
FEW = {
    "read": ("reftable_load", "l2_load", "read_aio", "read_backing_aio", "write_aio", "pwritev"),
    "read packed": ("read_compressed", "read_aio"),
    "write part of a new cluster": ("cluster_alloc_space", "cow_read", "cow_write", "pwritev_zero"),
    "write part of a cluster with data below": ("cow_read", "cow_write", "read_aio", "read_backing_aio", "refblock_update_part"),
    "write zeroes": ("refblock_load", "cluster_free", "l2_update"),
}
UNLIKE = {("write zeroes", "pwritev_done")}
"""There the original fails at flushing when it closes the image, which ours has done before."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def run(program: str, *args: str) -> None:
        originals.run(f"qemu-{program}", *args, cwd=tmp_path)

    run("img", "create", "-q", "-f", "qcow2", "base", "4M")
    run("io", "-c", "write -P 1 0 2M", "base")
    run("img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "image", "4M")
    run("io", "-c", "write -P 2 0 128k", "-c", "write -c -P 3 512k 64k", "-c", "write -P 4 1M 64k", "image")
    return tmp_path


def fails(folder: Path, path: str, request: str, event: str) -> bool:
    shutil.copy(folder / "image", folder / "i")
    blkdebug = {"driver": "blkdebug", "inject-error": [{"event": event}], "image": {"driver": "file", "filename": "i"}}
    name = "json:" + json.dumps({"driver": "qcow2", "file": blkdebug})
    command = [os.path.join(path, "qemu-io"), "-d", "unmap", "-c", request, name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30)
    return done.returncode != 0 or "failed" in done.stdout + done.stderr


@pytest.mark.parametrize("request_", FEW)
def test_events(request_: str, folder: Path) -> None:
    shims = str(write_shims(folder))
    for event in FEW[request_]:
        expected = fails(folder, originals.folder(), REQUESTS[request_], event)
        assert fails(folder, shims, REQUESTS[request_], event) == expected, event


@pytest.mark.slow
@pytest.mark.parametrize("request_", REQUESTS)
def test_all_events(request_: str, folder: Path) -> None:
    shims = str(write_shims(folder))
    for event in sorted(EVENTS):
        if (request_, event) not in UNLIKE:
            expected = fails(folder, originals.folder(), REQUESTS[request_], event)
            assert fails(folder, shims, REQUESTS[request_], event) == expected, event
