"""What is wrong with a program or happens to it: one line, the original's status, no traceback."""

from __future__ import annotations

import os
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from support.debian import sysroot
from support.guests import program, run

USER = [sys.executable, "-m", "tinamou.tools.main", "user", "riscv64"]


def image() -> bytearray:
    return bytearray(program("environment").read_bytes())


def patched(at: int, code: str, *values: int) -> bytes:
    data = image()
    struct.pack_into("<" + code, data, at, *values)
    return bytes(data)


def header(index: int) -> int:
    """File offset of a program header."""
    return int(struct.unpack_from("<Q", image(), 32)[0]) + 56 * index


MAPPING, FOREIGN, HEADER = "Error mapping file: ", "Invalid ELF image for this architecture", "Incomplete read of file header"
DAMAGED = {
    "class": (lambda: patched(4, "B", 1), FOREIGN),
    "byte order": (lambda: patched(5, "B", 2), FOREIGN),
    "version": (lambda: patched(6, "B", 9), FOREIGN),
    "machine": (lambda: patched(18, "H", 62), FOREIGN),
    "relocatable": (lambda: patched(16, "H", 1), FOREIGN),
    "core": (lambda: patched(16, "H", 4), FOREIGN),
    "size of headers": (lambda: patched(54, "H", 1), FOREIGN),
    "number of headers": (lambda: patched(56, "H", 65535), HEADER),
    "no headers": (lambda: patched(56, "H", 0), MAPPING + "Invalid argument"),
    "headers far away": (lambda: patched(32, "Q", 1 << 62), HEADER),
    "headers before the file": (lambda: patched(32, "Q", (1 << 64) - 8), HEADER),
    "bytes in memory": (lambda: patched(header(1) + 40, "Q", 1 << 60), MAPPING + "Cannot allocate memory"),
    "bytes in the file": (lambda: patched(header(1) + 32, "Q", 1 << 40), MAPPING + "Invalid argument"),
    "address": (lambda: patched(header(1) + 16, "Q", 1 << 62), MAPPING + "Cannot allocate memory"),
    "length of the interpreter's name": (lambda: patched(header(6), "IIQQQQ", 3, 4, 0, 0, 0, 1 << 50), "Invalid PT_INTERP entry"),
    "cut behind the header": (lambda: bytes(image()[:64]), HEADER),
    "cut in the headers": (lambda: bytes(image()[:124]), HEADER),
}  # fmt: skip


def start(path: Path) -> subprocess.CompletedProcess[str]:
    return run(path, "descriptors")


def file(tmp_path: Path, data: bytes, mode: int = 0o755) -> Path:
    path = tmp_path / "program"
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_header(what: str, tmp_path: Path) -> None:
    make, message = DAMAGED[what]
    path = file(tmp_path, make())
    done = start(path)
    assert (done.returncode, done.stderr, done.stdout) == (255, f"tinamou-riscv64: {path}: {message}\n", "")


@pytest.mark.parametrize("what", ["machine", "no headers", "bytes in memory", "address", "size of headers"])
def test_the_original_says_the_same(what: str, tmp_path: Path) -> None:
    original = shutil.which("qemu-riscv64")
    if original is None:
        pytest.skip("the original's qemu-user is not installed")
    path = file(tmp_path, DAMAGED[what][0]())
    theirs = subprocess.run([original, path], capture_output=True, text=True)
    mine = start(path)
    assert (mine.returncode, mine.stderr.replace("tinamou-", "qemu-")) == (theirs.returncode, theirs.stderr)


@pytest.mark.parametrize("size", [0, 3, 10, 52, 63])
def test_too_short(size: int, tmp_path: Path) -> None:
    path = file(tmp_path, bytes(image()[:size]))
    done = start(path)
    assert (done.returncode, done.stderr) == (1, f"Error while loading {path}: Exec format error\n")


@pytest.mark.parametrize("text", [b"hello\n", b"#!/bin/sh\necho hi\n"])
def test_not_an_elf_file(text: bytes, tmp_path: Path) -> None:
    path = file(tmp_path, text)
    done = start(path)
    assert (done.returncode, done.stderr) == (1, f"Error while loading {path}: Exec format error\n")


@pytest.mark.parametrize("mode", [0, 0o644])
def test_unreadable(mode: int, tmp_path: Path) -> None:
    path = file(tmp_path, bytes(image()), mode)
    done = start(path)
    assert (done.returncode, done.stderr) == (1, f"Error while loading {path}: Permission denied\n")


def test_cut_in_the_middle(tmp_path: Path) -> None:
    """The headers are whole: the program begins, and meets pages that its file does not have."""
    done = start(file(tmp_path, bytes(image()[: header(7)])))
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS)
    assert "Traceback" not in done.stderr


def test_missing_interpreter() -> None:
    bash = sysroot("riscv64", "bash") / "usr/bin/bash"
    done = run(bash)
    message = "tinamou-riscv64: Could not open '/lib/ld-linux-riscv64-lp64d.so.1': No such file or directory\n"
    assert (done.returncode, done.stderr) == (255, message)


def test_random_headers(tmp_path: Path) -> None:
    """Bytes changed at random in the headers: a message or a signal, never a traceback, never a hang."""
    source = random.Random(7)
    for _ in range(25):
        data = image()
        for _ in range(source.randint(1, 6)):
            data[source.randrange(4, 64 + 7 * 56)] = source.getrandbits(8)
        done = start(file(tmp_path, bytes(data)))
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1, done.stderr


# ---- what programs do to themselves


@pytest.mark.parametrize(
    ("entry", "signo"),
    [(0x1234, signal.SIGSEGV), (1, signal.SIGSEGV), (0x3FFFFFFFF0, signal.SIGSEGV), ((1 << 64) - 2, signal.SIGSEGV)],
)
def test_jump_to_nowhere(entry: int, signo: int, tmp_path: Path) -> None:
    done = start(file(tmp_path, patched(24, "Q", entry)))
    assert (done.returncode, done.stderr) == (-signo, "")


def test_stack_overflow() -> None:
    done = run(program("environment"), "recurse", "24", options=["-s", "1M"])
    assert (done.returncode, done.stderr) == (-signal.SIGSEGV, "")


def test_ten_thousand_mappings() -> None:
    """`many` in memory.c: mapped, listed in /proc/self/maps, unmapped."""
    done = run(program("memory"))
    assert (done.stdout, done.stderr) == ("0 failures\n", "")


# ---- signals


def caught(pid: int) -> int:
    """The signals that a process catches, as a set."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return int(line.split()[1], 16)
    return 0


def interpreter_is_up(pid: int) -> None:
    """Wait until Python's own start, in which it catches SIGINT, is over."""
    end = time.monotonic() + 60
    seen = False
    while time.monotonic() < end:
        interrupt = bool(caught(pid) & 1 << signal.SIGINT - 1)
        if seen and not interrupt:
            return
        seen = seen or interrupt
    raise AssertionError("SIGINT is still caught by Python")


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_at_any_moment(signo: signal.Signals) -> None:
    for step in range(12):
        guest = subprocess.Popen([*USER, program("environment"), "wait"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if signo == signal.SIGINT:
            interpreter_is_up(guest.pid)
        time.sleep(0.02 * step)
        guest.send_signal(signo)
        _, errors = guest.communicate(timeout=60)
        assert (guest.returncode, errors) == (-signo, ""), step


def test_interrupt_by_the_terminal() -> None:
    """Ctrl-C goes to the whole job; the terminal's settings are as before."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)

    def take_terminal() -> None:
        os.setsid()
        __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0)

    guest = subprocess.Popen([*USER, program("environment"), "wait"], stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(master, 100)
    os.write(master, b"\x03")
    assert guest.wait(60) == -signal.SIGINT
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    try:
        shown += os.read(master, 1000)
    except OSError:
        pass
    os.close(master)
    assert shown.replace(b"\r\n", b"") == b"ready^C"
