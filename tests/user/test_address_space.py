"""The guest's address space: protections, the map, mremap, brk."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.user.errors import GuestFault
from tinamou.user.memory import EXEC, PAGE, READ, WRITE, AddressSpace

PRIVATE, SHARED, ANON, FIXED, NOREPLACE = 2, 1, 0x20, 0x10, 0x100000


@pytest.fixture
def space() -> Iterator[AddressSpace]:
    made = AddressSpace(1 << 32)
    yield made
    made.release()


def error(expected: int, call: Any, *arguments: Any) -> None:
    with pytest.raises(OSError) as caught:
        call(*arguments)
    assert errno.errorcode[caught.value.errno] == errno.errorcode[expected]


def pages(space: AddressSpace, count: int, prot: int = READ | WRITE, flags: int = PRIVATE | ANON) -> int:
    return space.map(0, count * PAGE, prot, flags)


def test_read_back(space: AddressSpace) -> None:
    at = pages(space, 2)
    space.write(at + PAGE - 3, b"across")
    assert space.read(at + PAGE - 3, 6) == b"across"
    assert space.read_string(at + PAGE - 3, 100) == b"across"


def test_no_access(space: AddressSpace) -> None:
    at = pages(space, 3)
    space.protect(at + PAGE, PAGE, READ)
    with pytest.raises(GuestFault) as caught:
        space.write(at + PAGE - 2, b"1234")
    assert caught.value.address == at + PAGE
    space.protect(at + PAGE, PAGE, 0)
    with pytest.raises(GuestFault):
        space.read(at + PAGE, 1)
    with pytest.raises(GuestFault):
        space.read(space.limit - 1, 2)
    with pytest.raises(GuestFault):
        space.host(1 << 60, 1)
    with pytest.raises(GuestFault):
        space.read(5, 1)


def test_maps_lines(space: AddressSpace) -> None:
    at = pages(space, 4)
    space.protect(at + PAGE, PAGE, READ | EXEC)
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(3 * PAGE))
        file.flush()
        space.map(at + 2 * PAGE, PAGE, READ, SHARED | FIXED, file.fileno(), PAGE)
        lines = [str(r) for r in space.regions()]
        inode = os.fstat(file.fileno()).st_ino
        assert lines[2].split()[1:] == ["r--s", "00001000", lines[2].split()[3], str(inode), file.name]
        assert lines[2].index(file.name) == 73
    assert [line.split()[1] for line in lines] == ["rw-p", "r-xp", "r--s", "rw-p"]


def test_neighbours_merge(space: AddressSpace) -> None:
    at = pages(space, 8)
    space.protect(at + PAGE, PAGE, READ)
    space.unmap(at + 4 * PAGE, PAGE)
    assert len(space.regions()) == 4
    space.protect(at + PAGE, PAGE, READ | WRITE)
    space.map(at + 4 * PAGE, PAGE, READ | WRITE, PRIVATE | ANON | FIXED)
    assert [(r.start, r.end) for r in space.regions()] == [(at, at + 8 * PAGE)]


def test_errors(space: AddressSpace) -> None:
    at = pages(space, 4)
    error(errno.EINVAL, space.map, 0, 0, READ, PRIVATE | ANON)
    error(errno.EINVAL, space.map, 0x12345, PAGE, READ, PRIVATE | ANON | FIXED)
    error(errno.ENOMEM, space.map, 0, 1 << 50, READ, PRIVATE | ANON)
    error(errno.EEXIST, space.map, at, PAGE, READ, PRIVATE | ANON | NOREPLACE)
    error(errno.EBADF, space.map, 0, PAGE, READ, PRIVATE, 999)
    error(errno.EINVAL, space.unmap, at + 1, PAGE)
    error(errno.EINVAL, space.unmap, at, 1 << 40)
    space.unmap(at + PAGE, PAGE)
    error(errno.ENOMEM, space.protect, at, 3 * PAGE, READ)
    assert space.regions()[0].prot == READ
    error(errno.EFAULT, space.remap, at, 3 * PAGE, 4 * PAGE, 1)
    error(errno.ENOMEM, space.advise, at, 3 * PAGE, 4)
    with open("/etc/passwd", "rb") as file:
        error(errno.EACCES, space.map, 0, PAGE, READ | WRITE, SHARED, os.open(file.name, os.O_RDONLY))


def test_remap(space: AddressSpace) -> None:
    at = pages(space, 2)
    space.write(at, b"moved")
    wall = space.map(at + 2 * PAGE, PAGE, READ, PRIVATE | ANON | FIXED)
    error(errno.ENOMEM, space.remap, at, 2 * PAGE, 4 * PAGE, 0)
    to = space.remap(at, 2 * PAGE, 4 * PAGE, 1)
    assert space.read(to, 5) == b"moved" and space.find(at) is None and space.find(wall)
    with pytest.raises(GuestFault):
        space.read(at, 1)
    assert space.remap(to, 4 * PAGE, PAGE, 0) == to
    assert space.remap(to, PAGE, 3 * PAGE, 0) == to, "grows in place"
    assert space.read(to + 2 * PAGE, 1) == b"\0"


def test_remap_of_a_file_grows_in_place(space: AddressSpace) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"a" * PAGE + b"b" * PAGE)
        file.flush()
        at = space.map(0x100000, PAGE, READ, PRIVATE, file.fileno(), 0)
        assert space.remap(at, PAGE, 2 * PAGE, 0) == at
        assert space.read(at + PAGE, 1) == b"b"
        to = space.remap(at, 2 * PAGE, 2 * PAGE, 3, 0x200000)
        assert to == 0x200000 and space.read(to + PAGE, 1) == b"b"
        assert [str(r).split()[0] for r in space.regions()] == ["00200000-00202000"]


@pytest.mark.parametrize("kind", [PRIVATE, SHARED])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("moves", [True, False])
def test_remap_of_a_file_keeps_what_was_written(space: AddressSpace, tmp_path: Path, kind: int, named: bool, moves: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(bytes([letter]) * PAGE for letter in b"abcd"))
    with open(path, "r+b") as file:
        at = space.map(0x100000, 2 * PAGE, READ | WRITE, kind, file.fileno(), PAGE)
    if not named:
        path.unlink()
    if moves:
        space.map(at + 2 * PAGE, PAGE, READ, PRIVATE | ANON | FIXED)
    space.write(at, b"W")
    new = space.remap(at, 2 * PAGE, 4 * PAGE, 1)
    assert (new == at) == (not moves and (named or kind == SHARED))
    assert [space.read(new + k * PAGE, 2) for k in range(3)] == [b"Wb", b"cc", b"dd"]
    assert space.refusal(new + 3 * PAGE, READ) == "absent", "behind the end of the file"
    space.write(new + 2 * PAGE, b"X")
    if new != at:
        assert space.find(at) is None and space.refusal(at, READ) == "unmapped"
    if named:
        data = path.read_bytes()
        assert data[PAGE : PAGE + 2] + data[3 * PAGE : 3 * PAGE + 2] == (b"WbXd" if kind == SHARED else b"bbdd")
    (region,) = [r for r in space.regions() if r.inode]
    assert (region.start, region.end, region.offset) == (new, new + 4 * PAGE, PAGE)
    assert not any(r.name == "[host]" for r in space.regions())


def test_heap(space: AddressSpace) -> None:
    space.heap = space.heap_end = 0x50000
    assert space.brk(0) == 0x50000
    assert space.brk(0x51234) == 0x51234
    space.write(0x51000, b"x")
    assert str(space.find(0x51000)).endswith("[heap]\n")
    assert space.brk(0x50800) == 0x50800
    assert space.find(0x51000) is None
    space.map(0x60000, PAGE, READ, PRIVATE | ANON | FIXED)
    assert space.brk(0x62000) == 0x50800, "something is in the way"


def test_changes_of_code_are_told(space: AddressSpace) -> None:
    told: list[tuple[int, int]] = []
    at = pages(space, 4, READ | EXEC)
    space.changed = lambda address, length: told.append((address, length))
    space.unmap(at + PAGE, PAGE)
    space.map(at, PAGE, READ, PRIVATE | ANON | FIXED)
    space.unmap(at, PAGE)
    assert told == [(at + PAGE, PAGE), (at, PAGE)]


def test_ten_thousand_mappings(space: AddressSpace) -> None:
    begun = time.process_time()
    made = [space.map(0, PAGE, READ | (WRITE if i & 1 else 0), PRIVATE | ANON) for i in range(10_000)]
    assert len(space.regions()) == 10_000 and len(set(made)) == 10_000
    for at in made[::2]:
        space.unmap(at, PAGE)
    for at in made[1::2]:
        space.protect(at, PAGE, READ)
    assert len(space.regions()) == 5_000
    print(f"{time.process_time() - begun:.2f} s")


def test_limit_on_address_space() -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from tinamou.user.memory import AddressSpace
print(AddressSpace(1 << 38).limit)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert 1 << 28 <= int(done.stdout) <= 8 << 30


operation = st.tuples(st.sampled_from(["map", "unmap", "protect"]), st.integers(0, 31), st.integers(1, 12), st.sampled_from([0, 1, 3, 5]))


@settings(max_examples=60, deadline=None)
@given(st.lists(operation, max_size=40))
def test_model(steps: list[tuple[str, int, int, int]]) -> None:
    space = AddressSpace(1 << 28)
    try:
        model: dict[int, int] = {}
        origin = 0x100000
        for what, page, count, prot in steps:
            at = origin + page * PAGE
            inside = range(page, page + count)
            if what == "map":
                space.map(at, count * PAGE, prot, PRIVATE | ANON | FIXED)
                model.update(dict.fromkeys(inside, prot))
            elif what == "unmap":
                space.unmap(at, count * PAGE)
                for p in inside:
                    model.pop(p, None)
            else:
                gap = next((p for p in inside if p not in model), None)
                if gap is None:
                    space.protect(at, count * PAGE, prot)
                else:
                    error(errno.ENOMEM, space.protect, at, count * PAGE, prot)
                model.update(dict.fromkeys(range(page, page + count if gap is None else gap), prot))
        regions = space.regions()
        seen = {(a - origin) // PAGE: r.prot for r in regions for a in range(r.start, r.end, PAGE)}
        assert seen == model
        assert all(a.end < b.start or a.prot != b.prot for a, b in itertools.pairwise(regions)), "neighbours are merged"
        for page, prot in model.items():
            at = origin + page * PAGE
            if prot:
                assert space.read(at, 1) == b"\0"
            else:
                with pytest.raises(GuestFault):
                    space.read(at, 1)
    finally:
        space.release()


@pytest.mark.parametrize("kind", ["anonymous", "shared", "private", "deleted"])
def test_moving_leaves_no_hole_for_other_host_threads(kind: str, tmp_path: Path) -> None:
    """While memory moves and grows, another thread of the host maps and unmaps its own: neither meets the other's."""
    script = """
        import os, sys, threading
        from tinamou.user import memory
        kind, path = sys.argv[1:]
        fd = -1 if kind == "anonymous" else os.open(path, os.O_RDWR)
        if kind == "deleted":
            os.unlink(path)
        flags = {"anonymous": 0x22, "shared": 1}.get(kind, 2)
        space, stop = memory.AddressSpace(1 << 30), threading.Event()
        def other():
            while not stop.is_set():
                mine = [memory._host_map(0, 8192, 3, 0x22) for _ in range(50)]
                for at in mine:
                    memory._munmap(at, 8192)
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        for i in range(1000):
            old = space.map(0, 16384, 3, flags, fd)
            space.write(old, b"%8d" % i)
            new = space.remap(old, 16384, 65536, 3, 0x10000000 + i % 7 * 0x100000)
            assert space.read(new, 8) == b"%8d" % i and space.read(new + 65528, 8) == bytes(8)
            if kind != "deleted":
                assert space.remap(new, 65536, 131072, 0) == new
                assert space.read(new + 131064, 8) == bytes(8)
            assert not any(r.name == "[host]" for r in space.regions())
            space.unmap(new, 131072)
        stop.set()
        thread.join()
    """
    path = tmp_path / "file"
    path.write_bytes(bytes(131072))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), kind, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.returncode) == ("", 0)
