"""The disk is full half way: one message that names the file, exit code 1, an image that is consistent and holds what was written
before."""

from __future__ import annotations

import os
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import originals

CODE = "import sys; sys.argv[0] = 'qemu-{0}'; from tinamou.tools.{0} import main; sys.exit(main())"
KINDS = {
    "raw": ("raw", ""),
    "qcow2": ("qcow2", ""),
    "qcow2-small": ("qcow2", "cluster_size=512"),
    "qcow2-lazy": ("qcow2", "lazy_refcounts=on,cluster_size=4k"),
    "qcow2-sub": ("qcow2", "extended_l2=on"),
    "vdi": ("vdi", ""),
    "vpc": ("vpc", ""),
    "vmdk": ("vmdk", ""),
    "vmdk-stream": ("vmdk", "subformat=streamOptimized"),
    "vmdk-split": ("vmdk", "subformat=twoGbMaxExtentSparse"),
}


def command(tool: str, *args: str) -> list[str]:
    return [sys.executable, "-c", CODE.format(tool), *args]


def limit_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))


def consistent(image: Path, fmt: str) -> None:
    """The original finds no corruption, and can read all of it."""
    if fmt not in ("raw", "vpc"):
        done = subprocess.run([*originals.tool("qemu-img"), "check", "-f", fmt, str(image)], capture_output=True, text=True)
        assert done.returncode in (0, 3), done.stdout + done.stderr
    originals.run("qemu-img", "convert", "-f", fmt, "-O", "raw", image, str(image) + ".raw")


def in_small_filesystem(folder: Path, size: str, *commands: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run commands in a tmpfs of their own, then copy what is there to `folder/out`."""
    (folder / "fs").mkdir()
    (folder / "out").mkdir()
    lines = [f"mount -t tmpfs -o size={size} none fs", "cd fs"]
    for i, words in enumerate(commands):
        lines.append(f"{shlex.join(words)} >../out/{i}.stdout 2>../out/{i}.stderr || code=$?; echo ${{code:-0}} >../out/{i}.code")
    lines.append("cp --sparse=always -r . ../out/")
    script = "set -e\n" + "\n".join(lines)
    subprocess.run(["unshare", "-Urm", "sh", "-c", script], cwd=folder, check=True)
    out = folder / "out"
    return [
        subprocess.CompletedProcess(
            words, int((out / f"{i}.code").read_text()), (out / f"{i}.stdout").read_text(), (out / f"{i}.stderr").read_text()
        )
        for i, words in enumerate(commands)
    ]


def judge(done: subprocess.CompletedProcess[str], reason: str) -> None:
    assert done.returncode == 1, done.stderr
    assert reason in done.stderr and "b.img" in done.stderr.replace("b-s001", "b"), done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 3, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_convert_at_a_size_limit(kind: str, tmp_path: Path) -> None:
    fmt, options = KINDS[kind]
    (tmp_path / "a.raw").write_bytes(os.urandom(6 << 20))
    args = ["convert", "-f", "raw", "-O", fmt, *(["-o", options] if options else []), "a.raw", "b.img"]
    done = subprocess.run(command("img", *args), cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit_files)
    judge(done, "File too large")
    if (tmp_path / "b.img").exists():
        consistent(tmp_path / "b.img", fmt)


@pytest.mark.parametrize("kind", KINDS)
def test_convert_to_a_full_filesystem(kind: str, tmp_path: Path) -> None:
    fmt, options = KINDS[kind]
    (tmp_path / "a.raw").write_bytes(os.urandom(6 << 20))
    args = ["convert", "-f", "raw", "-O", fmt, *(["-o", options] if options else []), "../a.raw", "b.img"]
    (done,) = in_small_filesystem(tmp_path, "3m", command("img", *args))
    judge(done, "No space left on device")
    if (tmp_path / "out/b.img").exists():
        consistent(tmp_path / "out/b.img", fmt)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vmdk-stream"])
def test_a_guest_on_a_full_filesystem(kind: str, tmp_path: Path) -> None:
    """Writes fail from some point on; everything that was acknowledged can be read, before and after."""
    fmt, options = KINDS[kind]
    create = ["create", "-q", "-f", fmt, *(["-o", options] if options else []), "b.img", "64M"]
    fill = ["io", "-f", fmt]
    script = []
    for i in range(80):
        script += ["-c", f"write -P {i % 200 + 1} {i * 100}k 60k"]
    (created, filled) = in_small_filesystem(
        tmp_path, "4m", command("img", *create), command(fill[0], *fill[1:], *script, "-c", "flush", "b.img")
    )
    assert created.returncode == 0, created.stderr
    assert filled.returncode == 1 and "write failed: No space left on device" in filled.stdout
    assert "Traceback" not in filled.stderr
    consistent(tmp_path / "out/b.img", fmt)
    written = {}
    for line in filled.stdout.splitlines():
        if line.startswith("wrote "):
            count, offset = line.split()[1].split("/")[0], line.split()[-1]
            written[int(offset)] = int(count)
    assert 10 < len(written) < 80
    checks = []
    for i in range(80):
        offset = i * 100 << 10
        if offset in written:
            checks += ["-c", f"read -P {i % 200 + 1} {offset} {written[offset]}"]
    out = originals.run("qemu-io", "-r", "-f", fmt, *checks, tmp_path / "out/b.img")
    assert "failed" not in out and out.count("read ") == len(checks) // 2
