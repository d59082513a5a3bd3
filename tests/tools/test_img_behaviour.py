"""What `tinamou-img` does when things go wrong, and what it may not cost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support import originals

CODE = "import sys; sys.argv[0] = 'qemu-img'; from tinamou.tools.img import main; sys.exit(main())"


def img(*args: str, cwd: Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *args], cwd=cwd, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload,no-any-return]


HEAVY = ("llvmlite", "dataclasses", "inspect", "cryptography", "numpy", "asyncio", "typing", "re", "functools", "threading", "enum")


@pytest.mark.parametrize("words", ["info a.qcow2", "map a.qcow2", "check a.qcow2", "create -f qcow2 b.qcow2 1M"])
def test_light_imports(words: str, tmp_path: Path) -> None:
    """The tools start without the compiler and what else takes long to import."""
    originals.run("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M", cwd=tmp_path)
    code = f"import sys; from tinamou.tools.img import main; main({words.split()!r}); print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
                          cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    originals.run("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M", cwd=tmp_path)
    holder = subprocess.Popen(
        [*originals.tool("qemu-io"), "-c", "length", "-c", "sleep 20000", "a.qcow2"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    try:
        for _ in range(100):
            done = img("info", "a.qcow2", cwd=tmp_path)
            if done.returncode:
                break
        assert done.returncode == 1
        assert done.stderr.splitlines()[:2] == [
            "qemu-img: Could not open 'a.qcow2': Failed to get shared \"write\" lock",
            "Is another process using the image [a.qcow2]?",
        ]
        assert f"process {holder.pid} (qemu-io)" in done.stderr
        assert img("info", "-U", "a.qcow2", cwd=tmp_path).returncode == 0
    finally:
        holder.kill()
        holder.wait()


def test_the_original_respects_our_lock(tmp_path: Path) -> None:
    originals.run("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M", cwd=tmp_path)
    code = "import sys; from tinamou.tools.io import main; sys.exit(main())"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, "-c", "length", "-c", "sleep 20000", "a.qcow2"], cwd=tmp_path, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        done = subprocess.run([*originals.tool("qemu-img"), "info", "a.qcow2"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1 and 'Failed to get shared "write" lock' in done.stderr
    finally:
        holder.kill()
        holder.wait()


def limit(size: int):  # type: ignore[no-untyped-def]
    def set_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return set_limit


@pytest.mark.parametrize("target", ["raw", "qcow2"])
def test_full_disk(target: str, tmp_path: Path) -> None:
    """One message that names the byte, exit code 1, and what is there is consistent."""
    (tmp_path / "a.raw").write_bytes(os.urandom(4 << 20))
    done = img("convert", "-f", "raw", "-O", target, "a.raw", "b.img", cwd=tmp_path, preexec_fn=limit(2 << 20))
    assert done.returncode == 1
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    if target == "qcow2":
        code = subprocess.run([*originals.tool("qemu-img"), "check", "b.img"], cwd=tmp_path, capture_output=True).returncode
        assert code in (0, 3)


def test_full_disk_under_a_guest(tmp_path: Path) -> None:
    originals.run("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M", cwd=tmp_path)
    code = "import sys; sys.argv[0] = 'qemu-io'; from tinamou.tools.io import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "-c", "write 0 1M", "-c", "write 1M 4M", "-c", "read -P 205 0 1M", "a.qcow2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=limit(3 << 20),
    )
    assert done.returncode == 1 and "write failed: File too large" in done.stdout
    assert "Traceback" not in done.stderr
    code_check = subprocess.run([*originals.tool("qemu-img"), "check", "a.qcow2"], cwd=tmp_path, capture_output=True).returncode
    assert code_check in (0, 3)


def interrupted(cwd: Path, target: str, *args: str) -> tuple[int, str]:
    """Convert 64 MiB slowly, Ctrl-C when the file `target` has 3 MiB."""
    with open(cwd / "a.raw", "wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    child = subprocess.Popen(
        [sys.executable, "-c", CODE, "convert", "-f", "raw", "-r", "4M", *args], cwd=cwd, stderr=subprocess.PIPE, text=True
    )
    for _ in range(1000):
        if (cwd / target).exists() and (cwd / target).stat().st_blocks * 512 > 3 << 20:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    return child.returncode, errors


@pytest.mark.parametrize("fmt", ["qcow2", "vdi", "vpc", "vmdk", "raw"])
def test_interrupt_removes_the_target(fmt: str, tmp_path: Path) -> None:
    code, errors = interrupted(tmp_path, "b.img", "-O", fmt, "a.raw", "b.img")
    assert (code, errors) == (130, "qemu-img: interrupted; 'b.img' is incomplete and was removed\n")
    assert not (tmp_path / "b.img").exists()


def test_interrupt_removes_all_files_of_the_target(tmp_path: Path) -> None:
    code, errors = interrupted(tmp_path, "b-s001.vmdk", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "a.raw", "b.vmdk")
    assert (code, errors) == (130, "qemu-img: interrupted; 'b.vmdk' is incomplete and was removed\n")
    assert os.listdir(tmp_path) == ["a.raw"]


def test_interrupt_leaves_an_existing_target_consistent(tmp_path: Path) -> None:
    originals.run("qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2", "64M", cwd=tmp_path)
    code, errors = interrupted(tmp_path, "b.qcow2", "-n", "-O", "qcow2", "a.raw", "b.qcow2")
    assert (code, errors) == (130, "qemu-img: interrupted; 'b.qcow2' is incomplete\n")
    assert "No errors" in originals.run("qemu-img", "check", "b.qcow2", cwd=tmp_path)


def test_a_failed_create_leaves_nothing(tmp_path: Path) -> None:
    done = img("create", "-f", "qcow2", "-o", "cluster_size=1000", "a.qcow2", "1M", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "a.qcow2").exists()


def test_direct_io(tmp_path: Path) -> None:
    """O_DIRECT with lengths and positions that are not aligned."""
    data = os.urandom(1000003)
    (tmp_path / "a.raw").write_bytes(data + bytes(-len(data) % 512))
    assert img("convert", "-T", "none", "-t", "none", "-f", "raw", "-O", "qcow2", "a.raw", "b.qcow2", cwd=tmp_path).stderr == ""
    assert img("convert", "-T", "none", "-f", "qcow2", "-O", "raw", "b.qcow2", "c.raw", cwd=tmp_path).returncode == 0
    assert (tmp_path / "c.raw").read_bytes()[: len(data)] == data


REPAIRS = {
    "leak": [(0x20000 + 2 * 20, b"\0\2")],
    "not counted": [(0x20000 + 12, b"\0\0\0\0")],
    "counted twice": [(0x20000 + 12, b"\0\2")],
    "used twice": [(0x40008, (0x8000_0000_0005_0000).to_bytes(8, "big"))],
    "unaligned": [(0x40008, (0x8000_0000_0005_0200).to_bytes(8, "big"))],
    "flag of data": [(0x40008, (0x6_0000).to_bytes(8, "big"))],
    "flag of table": [(0x30000, (0x4_0000).to_bytes(8, "big"))],
    "block outside": [(0x10008, (0x7FFF_0000).to_bytes(8, "big"))],
    "no block": [(0x10000, bytes(8))],
    "reserved bits": [(0x40008, (0x8000_0000_0006_0010).to_bytes(8, "big"))],
    "far away": [(0x40008, (0x8000_0000_0706_0000).to_bytes(8, "big"))],
}


@pytest.mark.parametrize("kind", REPAIRS)
@pytest.mark.parametrize("repair", [None, "all"])
def test_repair_beside_the_original(kind: str, repair: str | None, tmp_path: Path) -> None:
    """The same verdict before and after, and the original finds our repaired image as good as its own."""
    originals.run("qemu-img", "create", "-q", "-f", "raw", "a.raw", "4M", cwd=tmp_path)
    originals.run("qemu-io", "-f", "raw", "-c", "write -P 5 0 1M", "a.raw", cwd=tmp_path)
    verdicts = []
    for name in ("theirs", "ours"):
        originals.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "a.raw", name, cwd=tmp_path)
        with open(tmp_path / name, "r+b") as file:
            for at, data in REPAIRS[kind]:
                file.seek(at)
                file.write(data)
        args = ["check", *(["-r", repair] if repair else []), name]
        if name == "ours":
            code = img(*args, cwd=tmp_path).returncode
        else:
            code = subprocess.run([*originals.tool("qemu-img"), *args], cwd=tmp_path, capture_output=True).returncode
        after = subprocess.run([*originals.tool("qemu-img"), "check", name], cwd=tmp_path, capture_output=True).returncode
        verdicts.append((code, after))
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("fmt", ["qcow2", "vmdk"])
@pytest.mark.parametrize("command", ["info --backing-chain", "map", "convert -O raw", "compare", "bench -c 1", "dd"])
def test_chains_without_an_end(fmt: str, command: str, tmp_path: Path) -> None:
    """Loops: exit code 1 (2 for compare), the file is named, no traceback."""

    def make(name: str, backing: str) -> None:
        done = img("create", "-q", "-u", "-f", fmt, "-b", backing, "-F", fmt, name, "1M", cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    if fmt == "vmdk":  # needs a parent to be created
        for name in ("a", "b", "self"):
            assert img("create", "-q", "-f", "vmdk", name, "1M", cwd=tmp_path).returncode == 0
        for name, backing in (("a", "b"), ("b", "a"), ("self", "self")):
            data = (tmp_path / name).read_bytes()
            hint = b'"monolithicSparse"\nparentFileNameHint="' + backing.encode() + b'"\n'
            (tmp_path / name).write_bytes(data.replace(b'"monolithicSparse"\n', hint, 1)[: len(data)])
    else:
        make("a", "b")
        make("b", "a")
        make("other", "self")
        (tmp_path / "other").rename(tmp_path / "self")
    for name in ("a", "self"):
        words = command.split()
        if command == "dd":
            args = ["dd", f"if={name}", "of=out.raw"]
        else:
            args = [*words, name, *(["out.raw"] if words[0] in ("convert", "compare") else [])]
        (tmp_path / "out.raw").write_bytes(bytes(512))
        done = img(*args, cwd=tmp_path)
        assert done.returncode == (2 if command == "compare" else 1), done.stderr
        assert "infinite loop" in done.stderr and name in done.stderr
        assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 2


BROKEN = {
    "twice": ("vdi", [(0x200, (3, 3, 4, 3, 4))]),
    "too large": ("vdi", [(0x200, (0x7FFFFFFF,))]),
    "counted wrong": ("vdi", [(0x184, (5,))]),
    "after the end": ("vmdk", [(0, (99999999,))]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_check_of_broken_images(kind: str, tmp_path: Path) -> None:
    """What the original says; where it gives up at the first fault of a vmdk image (exit code 1), ours goes on and exits with 2."""
    fmt, changes = BROKEN[kind]
    originals.run("qemu-img", "create", "-q", "-f", fmt, "a.img", "10M", cwd=tmp_path)
    data = bytearray((tmp_path / "a.img").read_bytes())
    if fmt == "vmdk":
        directory = int.from_bytes(data[56:64], "little") * 512
        table = int.from_bytes(data[directory : directory + 4], "little") * 512
        changes = [(table, values) for _, values in changes]
    for at, values in changes:
        for i, value in enumerate(values):
            data[at + 4 * i : at + 4 * i + 4] = value.to_bytes(4, "little")
    (tmp_path / "a.img").write_bytes(data)
    theirs = subprocess.run([*originals.tool("qemu-img"), "check", "a.img"], cwd=tmp_path, capture_output=True, text=True)
    ours = img("check", "a.img", cwd=tmp_path)
    if fmt == "vdi":
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    else:
        assert ours.returncode == 2 and ours.stderr == theirs.stderr.splitlines(keepends=True)[0]
