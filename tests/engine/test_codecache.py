"""Compiled regions on disk: found again by another process, refused when the guest's code or the file is not what it was."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tinamou.engine import codecache
from tinamou.engine.codecache import CodeCache, Kept, digest
from tinamou.native import cache as store
from tinamou.native.link import Image

CODE = bytes(range(256)) * 16


def read(address: int, length: int) -> bytes:
    return CODE[address - 0x1000 : address - 0x1000 + length]


def kept(address: int, length: int = 16) -> Kept:
    runs = [(address, length)]
    image = Image(16, b"code" * 4, {"region": 0}, [], [(8, "h_jump")], [(1, 2)])
    return Kept([address], [address + length], runs, digest(read, runs), 4, True, image)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINAMOU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bundle(program: str = "program 1 2") -> CodeCache:
    return CodeCache("riscv64", ("native",), "flat 0", program)


def test_what_one_process_saves_another_finds() -> None:
    first = bundle()
    first.add(kept(0x1000))
    first.save()
    (found,) = bundle().waiting
    assert (found.entries, found.runs, found.image.content) == ([0x1000], [(0x1000, 16)], b"code" * 4)
    assert found.image.imports == [[8, "h_jump"]]
    assert found.digest == digest(read, found.runs)
    assert bundle("another program").waiting == []


def test_what_was_looked_at_in_vain_is_not_looked_at_again_soon() -> None:
    first, second = bundle(), bundle()
    never = codecache.NEVER
    first.looked({0x1000: 700, 0x2000: never + 30, 0x3000: never + codecache.AGAIN})
    first.save()
    second.add(kept(0x1000))
    second.save()
    again = bundle()
    assert again.wanted == {0x1000: 700, 0x2000: codecache.AGAIN, 0x3000: 4 * codecache.AGAIN} and len(again.waiting) == 1


def test_samples_of_several_runs_add_up() -> None:
    first = bundle()
    first.sampled({0x1000: 7, 0x2000: codecache.FEW})
    first.save()
    second = bundle()
    assert second.heat == {0x1000: 7, 0x2000: codecache.FEW}
    second.sampled({0x1000: 8, 0x2000: codecache.FEW})  # hardly more: not worth another file
    second.save()
    assert bundle().heat == {0x1000: 7, 0x2000: codecache.FEW}
    second.sampled({n: n for n in range(2 * codecache.COUNTED)})
    second.save()
    assert min(bundle().heat) == codecache.COUNTED  # the hottest ones


def test_bundles_of_processes_that_ran_at_once_are_merged() -> None:
    first, second = bundle(), bundle()
    first.add(kept(0x1000))
    second.add(kept(0x1100))
    first.save()
    second.save()
    assert sorted(k.entries[0] for k in bundle().waiting) == [0x1000, 0x1100]


def test_other_code_at_the_address_has_another_digest() -> None:
    runs = [(0x1000, 16)]
    assert digest(lambda a, n: b"\0" * n, runs) != digest(read, runs)
    assert digest(lambda a, n: b"", runs) == ""


def test_a_damaged_bundle_is_absent(folder: Path) -> None:
    first = bundle()
    first.add(kept(0x1000))
    first.save()
    path = folder / first.name
    whole = path.read_bytes()
    for cut in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:cut])
        assert bundle().waiting == []
        path.write_bytes(whole[:cut] + bytes([whole[cut] ^ 1]) + whole[cut + 1 :])
        assert bundle().waiting == []
    path.write_bytes(whole)
    assert len(bundle().waiting) == 1


def test_a_folder_that_others_may_write_to_is_not_used(folder: Path) -> None:
    first = bundle()
    first.add(kept(0x1000))
    first.save()
    folder.chmod(0o777)
    assert bundle().waiting == []
    folder.chmod(stat.S_IRWXU)
    assert len(bundle().waiting) == 1


def test_a_folder_of_somebody_else_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bundle()
    first.add(kept(0x1000))
    first.save()
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: os.getuid() + 1)
        again = bundle()
        assert again.waiting == []
        again.add(kept(0x1100))
        again.save()
    assert [k.entries[0] for k in bundle().waiting] == [0x1000]


def test_a_link_in_place_of_a_bundle_is_not_followed(folder: Path, tmp_path: Path) -> None:
    first = bundle()
    first.add(kept(0x1000))
    first.save()
    (folder / first.name).rename(tmp_path / "elsewhere")
    (folder / first.name).symlink_to(tmp_path / "elsewhere")
    assert bundle().waiting == []


WRITER = """
import sys
from pathlib import Path
from tinamou.engine import codecache
from tinamou.native.link import Image
number = int(sys.argv[1])
print("begun", flush=True)
while True:
    c = codecache.CodeCache("riscv64", ("native",), "flat 0", "program 1 2")
    for n in range(30):
        at = 0x1000 * number + n
        image = Image(16, bytes([number]) * 5000, {"region": 0}, [], [(8, "h_jump")], [(1, 2)])
        c.add(codecache.Kept([at], [], [(at, 16)], f"{at:032x}", 4, True, image))
    c.save()
"""


def test_processes_that_write_at_once_and_are_killed(folder: Path) -> None:
    """Whoever reads meanwhile finds a whole bundle; what the killed ones were writing is in nobody's way, and goes in time."""
    bundle().add(kept(0x1000))
    words = [sys.executable, "-c", WRITER]
    for _ in range(3):
        writers = [subprocess.Popen([*words, str(n)], stdout=subprocess.PIPE) for n in range(1, 5)]
        seen = 0
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.read(6)
        for _look in range(40):
            found = bundle().waiting
            seen += bool(found)
            assert all(k.image.content == bytes([k.entries[0] >> 12]) * 5000 and k.digest == f"{k.entries[0]:032x}" for k in found)
        for writer in writers:
            writer.kill()
            writer.communicate()
        assert seen
    whole = bundle().waiting
    assert len(whole) >= 30 and len(whole) % 30 == 0
    (folder / ".regions-x.bundle.77.0123abcd").write_bytes(b"half")
    (folder / ".note").write_bytes(b"not ours")
    assert {os.path.basename(p) for p in store.scratch()} >= {".regions-x.bundle.77.0123abcd"}
    store.sweep()
    assert (folder / ".regions-x.bundle.77.0123abcd").exists()  # somebody may be writing it now
    for p in store.scratch():
        os.utime(p, (1, 1))
    codecache.trim(codecache.LIMIT)
    assert store.scratch() == [] and (folder / ".note").exists() and bundle().waiting


def test_the_least_recently_used_go_first(folder: Path) -> None:
    names = []
    for n in range(4):
        b = bundle(f"program {n}")
        b.add(kept(0x1000))
        b.save()
        names.append(b.name)
        os.utime(folder / b.name, (n + 1, n + 1))
    size = (folder / names[0]).stat().st_size
    codecache.trim(2 * size)
    assert [n for n in names if (folder / n).exists()] == names[2:]


def test_the_command(folder: Path) -> None:
    b = bundle()
    b.add(kept(0x1000))
    b.save()

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tinamou.tools.main", "cache", *words], capture_output=True, text=True)

    assert "1 programs with compiled regions" in run("info").stdout
    assert run("clear").stdout == f"1 files deleted from {folder}\n"
    assert not (folder / b.name).exists()
    wrong = run("clean")
    assert wrong.returncode == 1 and "info|clear" in wrong.stderr
