"""Broken programs: one line, the original's exit status, nothing half done."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.guests import program
from tinamou.isa.riscv.linux import abi
from tinamou.user import elf
from tinamou.user.errors import LoadError
from tinamou.user.memory import AddressSpace

Change = Callable[[bytearray], None]
GOOD = {"riscv64": program("environment")}


def start(path: Path) -> tuple[int, str]:
    code = "import sys; sys.argv[0] = 'qemu-riscv64'; from tinamou.tools.user import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, str(path), "arguments"], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.removeprefix("qemu-riscv64: ").rstrip("\n").replace(str(path), "FILE")


def put(offset: int, code: str, value: int) -> Change:
    return lambda image: struct.pack_into("<" + code, image, offset, value)


def cut(size: int) -> Change:
    def change(image: bytearray) -> None:
        del image[size:]

    return change


def header(image: bytes, wanted: int = 1, which: int = 0) -> int:
    """Where the program header number `which` of that type lies."""
    (table,) = struct.unpack_from("<Q", image, 32)
    (count,) = struct.unpack_from("<H", image, 56)
    return [table + 56 * i for i in range(count) if struct.unpack_from("<I", image, table + 56 * i)[0] == wanted][which]


def load(field: int, value: int, which: int = 0) -> Change:
    return lambda image: struct.pack_into("<Q", image, header(image, 1, which) + field, value)


def interpreter(name: bytes, size: int | None = None, at: int | None = None) -> Change:
    def change(image: bytearray) -> None:
        place = len(image) if at is None else at
        last = header(image, 0x70000003)  # the attributes
        struct.pack_into("<IIQQQQQQ", image, last, 3, 4, place, 0, 0, len(name) if size is None else size, len(name), 1)
        image += name

    return change


FOREIGN = "FILE: Invalid ELF image for this architecture"
NOT_ELF = "Error while loading FILE: Exec format error"
INVALID, NO_ROOM = "FILE: Error mapping file: Invalid argument", "FILE: Error mapping file: Cannot allocate memory"
SHORT = "FILE: Incomplete read of file header"
CHANGES: dict[str, tuple[Change, int, str]] = {
    "32 bits": (put(4, "B", 1), 255, FOREIGN),
    "big-endian": (put(5, "B", 2), 255, FOREIGN),
    "version": (put(6, "B", 9), 255, FOREIGN),
    "core file": (put(16, "H", 4), 255, FOREIGN),
    "relocatable": (put(16, "H", 1), 255, FOREIGN),
    "machine": (put(18, "H", 62), 255, FOREIGN),
    "header size": (put(54, "H", 20), 255, FOREIGN),
    "no headers": (put(56, "H", 0), 255, INVALID),
    "too many headers": (put(56, "H", 65535), 255, SHORT),
    "headers beyond the end": (put(32, "Q", 1 << 62), 255, SHORT),
    "headers beyond 64 bits": (put(32, "Q", (1 << 64) - 8), 255, SHORT),
    "empty": (cut(0), 1, NOT_ELF),
    "3 bytes": (cut(3), 1, NOT_ELF),
    "63 bytes": (cut(63), 1, NOT_ELF),
    "only the header": (cut(64), 255, SHORT),
    "half a program header": (cut(100), 255, SHORT),
    "absurd file size": (load(32, 1 << 60), 255, INVALID),
    "absurd memory size": (load(40, 1 << 60, -1), 255, NO_ROOM),
    "memory smaller than file": (load(40, 1, -1), 255, INVALID),
    "address near the end": (load(16, 0xFFFF_FFFF_FFFF_0000), 255, NO_ROOM),
    "address beyond the space": (load(16, 1 << 45, -1), 255, INVALID),
    "odd offset": (load(8, 0x123, -1), 255, INVALID),
    "interpreter beyond the end": (interpreter(b"", 10, 1 << 50), 255, SHORT),
    "absurd interpreter": (interpreter(b"", 1 << 40), 255, "FILE: Invalid PT_INTERP entry"),
    "unterminated interpreter": (interpreter(b"/nonexistent"), 255, "FILE: Invalid PT_INTERP entry"),
    "missing interpreter": (interpreter(b"/nonexistent\0"), 255, "Could not open '/nonexistent': No such file or directory"),
    "foreign interpreter": (interpreter(b"/bin/true\0"), 255, "/bin/true: Invalid ELF image for this architecture"),
    "interpreter that is no program": (interpreter(b"/etc/passwd\0"), 255, "/etc/passwd: Invalid ELF image for this architecture"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_broken(name: str, tmp_path: Path) -> None:
    change, status, message = CHANGES[name]
    image = bytearray(GOOD["riscv64"].read_bytes())
    change(image)
    path = tmp_path / "program"
    path.write_bytes(image)
    path.chmod(0o755)
    found, text = start(path)
    first, *hints = text.split("\n")
    assert (found, first) == (status, message) and len(hints) <= 1


@pytest.mark.parametrize(
    ("name", "change", "signal", "message"),
    [
        ("entry 0", put(24, "Q", 0), 11, ""),
        ("entry in data", put(24, "Q", 0x1000000), 11, ""),
        ("cut in the middle", cut(2000), 7, r"warning: FILE is cut short, \d+ bytes of its code or data are missing"),
    ],
)
def test_guest_faults(name: str, change: Change, signal: int, message: str, tmp_path: Path) -> None:
    image = bytearray(GOOD["riscv64"].read_bytes())
    change(image)
    path = tmp_path / "program"
    path.write_bytes(image)
    path.chmod(0o755)
    found, text = start(path)
    assert found == -signal and re.fullmatch(message, text)


def test_not_executable(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(GOOD["riscv64"].read_bytes())
    assert start(path) == (1, "Error while loading FILE: Permission denied")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 64 + 56 * 7), st.binary(min_size=1, max_size=8)), max_size=6), st.integers(0, 600))
def test_any_header_loads_or_is_refused(tmp_path: Path, changes: list[tuple[int, bytes]], keep: int) -> None:
    """Whatever the headers say: loaded, or one LoadError; nothing else."""
    image = bytearray(GOOD["riscv64"].read_bytes()[: max(keep, 64) if keep < 500 else None])
    for at, data in changes:
        image[at : at + len(data)] = data
    path = tmp_path / "program"
    path.write_bytes(image)
    guest = abi("riscv64")
    fd = os.open(path, os.O_RDONLY)
    space = AddressSpace(1 << 36)
    try:
        elf.load(space, elf.Header(guest, fd, "program"))
    except LoadError as error:
        assert "\n" not in str(error)
    finally:
        os.close(fd)
        space.release()
