"""The cache of compiled images: nothing that happens to its files does harm, and nothing that is not whole is executed."""

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinamou.native import cache, image

SOURCE = """
import os, sys
from tinamou.native import image
builds = []

def build():
    from tinamou.native.llvm import compile_object, triple
    builds.append(1)
    text = f'target triple = "{triple()}"\\n@pad = constant [3000 x i64] zeroinitializer\\ndefine i64 @answer() {{ ret i64 42 }}\\n'
    return compile_object(text), {"note": [1, "two"]}

def answer(name="test"):
    import ctypes
    loaded = image.load(name, ("native",), build)
    assert loaded.notes == {"note": [1, "two"]}
    return loaded.function("answer", ctypes.c_uint64)()
"""
space: dict[str, object] = {"__name__": "example"}
exec(SOURCE, space)
builds: list[int] = space["builds"]  # type: ignore[assignment]
answer: Callable[..., int] = space["answer"]  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setenv("TINAMOU_CACHE", str(path))
    builds.clear()
    return path


def python(code: str, **environment: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, **environment}
    return subprocess.Popen([sys.executable, "-c", SOURCE + code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[bytes]) -> str:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return out.decode()


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_second_time(folder: Path) -> None:
    assert answer() == 42 and len(builds) == 1
    assert answer() == 42 and len(builds) == 1
    path = only_file(folder)
    assert path.name.startswith("test-") and path.suffix == ".image"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cache.read(path.name) and cache.read("test-other.image") is None


def test_warm_start_needs_no_compiler(folder: Path) -> None:
    assert answer() == 42
    code = "print(answer(), len(builds), sorted({'llvmlite', 'tinamou.native.llvm', 'tinamou.native.lower'} & set(sys.modules)))"
    assert finished(python(code)) == "42 0 []\n"


@pytest.mark.parametrize(("name", "value", "where"), [
    ("TINAMOU_CACHE", "{tmp}/given", "{tmp}/given"),
    ("XDG_CACHE_HOME", "{tmp}/xdg", "{tmp}/xdg/tinamou"),
    ("HOME", "{tmp}/home", "{tmp}/home/.cache/tinamou"),
])  # fmt: skip
def test_place(name: str, value: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINAMOU_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert cache.folder() == where.format(tmp=tmp_path)


def test_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINAMOU_CACHE", "off")
    assert answer() == answer() == 42 and len(builds) == 2 and not folder.exists()
    assert cache.folder() is None and cache.read("x") is None and not cache.write("x", b"")


# -- files that are not whole


@pytest.fixture
def whole(folder: Path) -> tuple[Path, bytes]:
    assert answer() == 42
    builds.clear()
    return only_file(folder), only_file(folder).read_bytes()


def rebuilt(path: Path, content: bytes, bad: bytes) -> None:
    """What is in the file is not used; it is replaced by a good one, silently."""
    path.write_bytes(bad)
    assert cache.read(path.name) is None
    before = len(builds)
    assert answer() == 42 and len(builds) == before + 1
    assert cache.read(path.name) is not None and len(path.read_bytes()) == len(content)
    assert answer() == 42 and len(builds) == before + 1


def test_truncated(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    for k in range(50):
        rebuilt(path, content, content[: len(content) * k // 50])


def test_bits_flipped(whole: tuple[Path, bytes]) -> None:
    """Every bit of the head; some of the rest."""
    path, content = whole
    r = random.Random(1)
    places = [*range(8 * 48), *(r.randrange(8 * len(content)) for _ in range(400))]
    for k, n in enumerate(places):
        bad = bytearray(content)
        bad[n >> 3] ^= 1 << (n & 7)
        path.write_bytes(bad)
        assert cache.read(path.name) is None
        if k % 40 == 0:
            rebuilt(path, content, bytes(bad))


def test_other_content(whole: tuple[Path, bytes]) -> None:
    path, content = whole
    for bad in (b"", b"\0" * len(content), content + b"x", content * 2, b"#!/bin/sh\n", content[1:], bytes(7), bytes(39), bytes(40)):
        rebuilt(path, content, bad)


def test_no_ordinary_file(whole: tuple[Path, bytes], tmp_path: Path) -> None:
    """A link, a pipe, a folder, a device under the image's name: not read, and nothing waits."""
    path, content = whole
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.read(path.name) is None
    path.unlink()
    os.mkfifo(path)
    assert cache.read(path.name) is None
    assert answer() == 42 and len(builds) == 1
    path.unlink()
    path.mkdir()
    assert cache.read(path.name) is None
    assert answer() == 42 and len(builds) == 2  # it cannot be replaced either
    path.rmdir()
    with path.open("wb") as f:
        f.truncate(cache.LARGEST + 1)
    assert cache.read(path.name) is None


def test_under_another_name(folder: Path) -> None:
    """An image is whole under its own name only."""
    assert answer("one") == 42 and answer("two") == 42 and len(builds) == 2
    one, two = sorted(folder.iterdir())
    one.replace(two)
    assert cache.read(two.name) is None
    assert answer("two") == 42 and len(builds) == 3


# -- folders and files that somebody else could have written


def test_untrusted_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer() == 42
    for mode in (0o770, 0o702, 0o777):
        folder.chmod(mode)
        assert cache.folder() is None and cache.read(only_file(folder).name) is None
        assert answer() == 42
    assert len(builds) == 4
    folder.chmod(0o755)
    assert answer() == 42 and len(builds) == 4
    with monkeypatch.context() as m:
        m.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        assert cache.folder() is None
        assert answer() == 42 and len(builds) == 5


def test_untrusted_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer() == 42
    path = only_file(folder)
    if os.geteuid():
        real = os.fstat
        monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*real(fd)[:4], 12345, *real(fd)[5:]]))
    else:
        os.chown(path, 12345, -1)
    assert cache.read(path.name) is None


def test_unusable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for n, place in enumerate((tmp_path / "file", tmp_path / "file" / "below", Path("/proc/no/such"), Path("/dev/null"), Path("/\0"))):
        if "\0" in str(place):
            continue
        monkeypatch.setenv("TINAMOU_CACHE", str(place))
        assert answer() == 42 and len(builds) == n + 1
        assert not cache.write("x", b"content")


def test_read_only_folder(folder: Path) -> None:
    """What is there is used; what is not is built each time."""
    assert answer() == 42
    folder.chmod(0o500)
    try:
        assert answer() == 42 and len(builds) == 1
        if os.geteuid():
            assert answer("other") == answer("other") == 42 and len(builds) == 3
    finally:
        folder.chmod(0o700)


def test_full_disk(folder: Path) -> None:
    """No room for the file: the program goes on without, and leaves nothing behind."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    assert finished(python(limit + "print(answer(), answer(), len(builds))")) == "42 42 2\n"
    assert list(folder.iterdir()) == []


def test_no_descriptors_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening fails half-way."""
    assert answer() == 42
    path = only_file(folder)
    path.write_bytes(b"bad")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert cache.read(path.name) is None
    path.unlink()
    path.mkdir()
    assert cache.read(path.name) is None
    assert sorted(os.listdir("/proc/self/fd")) == before


# -- several processes


def test_built_at_once(folder: Path) -> None:
    """All build, all write, each has a whole image."""
    wait = "print('ready', flush=True); sys.stdin.readline()\n"
    code = wait + "print(answer(), len(builds))"
    processes = []
    for _ in range(6):
        processes.append(subprocess.Popen([sys.executable, "-c", "import tinamou.native.llvm\n" + SOURCE + code],
                                          stdin=subprocess.PIPE, stdout=subprocess.PIPE))  # fmt: skip
    for p in processes:
        assert p.stdout and p.stdout.readline() == b"ready\n"
    for p in processes:
        assert p.stdin
        p.stdin.write(b"\n")
        p.stdin.flush()
    results = [p.communicate(timeout=120)[0].decode() for p in processes]
    assert all(r in ("42 0\n", "42 1\n") for r in results) and "42 1\n" in results
    assert len(list(folder.iterdir())) == 1
    assert answer() == 42 and not builds


def test_killed_while_writing(folder: Path) -> None:
    """Half of the file is written when the process dies; or all of it, but it is not in its place yet."""
    assert answer() == 42
    path = only_file(folder)
    content = cache.read(path.name)
    half = """
import builtins
from tinamou.native import cache
class Half:
    def __init__(self, f): self.f = f
    def __enter__(self): return self
    def __exit__(self, *a): pass
    def write(self, data):
        self.f.write(data[: len(data) // 2]); self.f.flush()
        if len(data) > 100: os.kill(os.getpid(), 9)
cache.open = lambda *a: Half(builtins.open(*a))
answer()
"""
    whole = "os.replace = lambda *a: os.kill(os.getpid(), 9)\nanswer()\n"
    for code in (half, whole):
        path.unlink()
        process = python(code)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        left = [p for p in folder.iterdir() if p != path]
        assert len(left) == 1 and left[0].name.startswith(".") and not path.exists()
        builds.clear()
        assert answer() == 42 and len(builds) == 1 and cache.read(path.name) == content
        assert left[0].exists()  # perhaps somebody is writing it
        os.utime(left[0], (0, 0))
        path.unlink()
        assert answer() == 42 and not left[0].exists()


def test_killed_at_any_time(folder: Path) -> None:
    """A process that does nothing but write large files, killed again and again."""
    code = """
from tinamou.native import cache
n = 0
print("ready", flush=True)
while True:
    n += 1
    assert cache.write("big.image", bytes([n & 255]) * (3 << 20))
"""
    r = random.Random(7)
    for _ in range(6):
        process = python(code)
        assert process.stdout and process.stdout.readline() == b"ready\n"
        time.sleep(r.random() * 0.06)
        process.kill()
        process.communicate()
        content = cache.read("big.image")
        assert content is None or (len(content) == 3 << 20 and content == content[:1] * (3 << 20))
        raw = folder / "big.image"
        assert not raw.exists() or content is not None


def test_written_while_read(folder: Path) -> None:
    """A reader sees one whole file or another."""
    code = """
from tinamou.native import cache
for n in range(60):
    assert cache.write("big.image", bytes([n]) * (200_000 + n))
"""
    process = python(code)
    seen = set()
    while process.poll() is None:
        content = cache.read("big.image")
        if content is not None:
            assert content == content[:1] * (200_000 + content[0])
            seen.add(content[0])
    finished(process)
    assert cache.read("big.image") == bytes([59]) * 200_059


# -- what stays


def test_trimmed(folder: Path) -> None:
    """Of each name the newest few stay; others' files are not touched."""
    folder.mkdir(mode=0o700)
    for k in range(10):
        for name in (f"test-{k}.image", f"longer-test-{k}.image", f"test-{k}.txt"):
            (folder / name).write_bytes(b"")
            os.utime(folder / name, (1000 + k, 1000 + k))
    answer()
    kept = sorted(p.name for p in folder.glob("test-*.image"))
    assert len(kept) == image.KEEP and {"test-7.image", "test-8.image", "test-9.image"} < set(kept)
    assert len(list(folder.glob("longer-test-*.image"))) == len(list(folder.glob("*.txt"))) == 10


def test_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any change of the sources is another key: of text, of a file's name, of a new file."""
    root = tmp_path / "tinamou"
    for name, text in (("native/a.py", "x = 1\n"), ("native/deep/b.py", "y = 2\n"), ("isa/c.py", "z = 3\n")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(image, "__file__", str(root / "native" / "image.py"))
    key = image.sources_key.__wrapped__
    keys = [key(("native",)), key(("native", "isa")), key(("isa", "native"))]
    (root / "native" / "a.py").write_text("x = 2\n")
    keys.append(key(("native",)))
    (root / "native" / "deep" / "b.py").rename(root / "native" / "deep" / "c.py")
    keys.append(key(("native",)))
    (root / "native" / "d.py").write_text("")
    keys.append(key(("native",)))
    assert len(set(keys)) == len(keys)
    (root / "isa" / "c.py").write_text("z = 4\n")
    assert key(("native",)) == keys[-1]
    assert "llvmlite" in image.host_key() and "|" in image.host_key()
