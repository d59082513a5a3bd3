"""What is wrong with a program or happens to it: one line, the original's status, no traceback."""

from __future__ import annotations

import os
import pty
import random
import re
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

HINTS = {  # on a line of their own
    "class": "is a program for riscv32: tinamou-riscv32 runs it.",
    "byte order": "is a program for machine 62208, for which there is no tinamou command.",
    "machine": "is a program of this computer: run it by itself."
    if os.uname().machine == "x86_64"
    else "is a program for x86_64, for which there is no tinamou command.",
    "relocatable": "is an object file, which has to be linked first.",
    "core": "is a core dump.",
}


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
    first, *hints = done.stderr.splitlines()
    assert (done.returncode, first, done.stdout) == (255, f"tinamou-riscv64: {path}: {message}", "")
    assert hints == [f"{path} {HINTS[what]}" for _ in range(what in HINTS)]


@pytest.mark.parametrize("what", ["machine", "no headers", "bytes in memory", "address", "size of headers"])
def test_the_original_says_the_same(what: str, tmp_path: Path) -> None:
    original = shutil.which("qemu-riscv64")
    if original is None:
        pytest.skip("the original's qemu-user is not installed")
    path = file(tmp_path, DAMAGED[what][0]())
    theirs = subprocess.run([original, path], capture_output=True, text=True)
    mine = start(path)
    said = mine.stderr.splitlines()[0].replace("tinamou-", "qemu-") + "\n"
    assert (mine.returncode, said) == (theirs.returncode, theirs.stderr)


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (183, "is a program for aarch64: tinamou-aarch64 runs it."),
        (22, "is a program for s390x, for which there is no tinamou command."),
        (999, "is a program for machine 999, for which there is no tinamou command."),
    ],
)
def test_the_right_command_is_named(machine: int, text: str, tmp_path: Path) -> None:
    path = file(tmp_path, patched(18, "H", machine))
    assert start(path).stderr.splitlines()[1:] == [f"{path} {text}"]


def test_a_program_of_this_computer() -> None:
    assert run(sys.executable).stderr.splitlines()[1:] == [f"{sys.executable} is a program of this computer: run it by itself."]


def test_a_name_almost_right(tmp_path: Path) -> None:
    path = file(tmp_path, bytes(image()))
    done = run(tmp_path / "programm")
    assert done.stderr == f"Error while loading {tmp_path / 'programm'}: No such file or directory\nDid you mean '{path}'?\n"


@pytest.mark.parametrize("size", [0, 3, 10, 52, 63])
def test_too_short(size: int, tmp_path: Path) -> None:
    path = file(tmp_path, bytes(image()[:size]))
    done = start(path)
    assert (done.returncode, done.stderr) == (1, f"Error while loading {path}: Exec format error\n")


SCRIPT = "is a script: give the guest's /bin/sh as the program, and the script as its argument."


@pytest.mark.parametrize(("text", "hints"), [(b"hello\n", []), (b"#!/bin/sh -e\necho hi\n", [SCRIPT]), (b"#!\n", [])])
def test_not_an_elf_file(text: bytes, hints: list[str], tmp_path: Path) -> None:
    path = file(tmp_path, text)
    done = start(path)
    expected = [f"Error while loading {path}: Exec format error", *(f"{path} {h}" for h in hints)]
    assert (done.returncode, done.stderr.splitlines()) == (1, expected)


@pytest.mark.parametrize("mode", [0, 0o644])
def test_unreadable(mode: int, tmp_path: Path) -> None:
    path = file(tmp_path, bytes(image()), mode)
    done = start(path)
    assert (done.returncode, done.stderr) == (1, f"Error while loading {path}: Permission denied\n")


def test_cut_in_the_middle(tmp_path: Path) -> None:
    """The headers are whole: the program begins, and meets pages that its file does not have."""
    path = file(tmp_path, bytes(image()[: header(7)]))
    done = start(path)
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS)
    lacking = re.fullmatch(rf"tinamou-riscv64: warning: {path} is cut short, (\d+) bytes of its code or data are missing\n", done.stderr)
    assert lacking and 0 < int(lacking[1]) < len(image())


def test_missing_interpreter() -> None:
    bash = sysroot("riscv64", "bash") / "usr/bin/bash"
    done = run(bash)
    message = "tinamou-riscv64: Could not open '/lib/ld-linux-riscv64-lp64d.so.1': No such file or directory\n"
    hint = f"{bash} is linked dynamically: name the folder with the guest's libraries by -L.\n"
    assert (done.returncode, done.stderr) == (255, message + hint)


def test_random_headers(tmp_path: Path) -> None:
    """Bytes changed at random in the headers: a message or a signal, never a traceback, never a hang."""
    source = random.Random(7)
    for _ in range(25):
        data = image()
        for _ in range(source.randint(1, 6)):
            data[source.randrange(4, 64 + 7 * 56)] = source.getrandbits(8)
        done = start(file(tmp_path, bytes(data)))
        assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 2, done.stderr


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


# ---- limits and outputs


def limited(limits: str, *words: str | Path, arch: str = "riscv64") -> subprocess.CompletedProcess[str]:
    command = [*USER[:-1], arch, *map(str, words)]
    return subprocess.run(["sh", "-c", f'{limits}; exec "$@"', "sh", *command], capture_output=True, text=True, timeout=900)


@pytest.mark.parametrize("arch", ["riscv64", "riscv32", "aarch64"])
@pytest.mark.parametrize("kilobytes", [350_000, 1_500_000, 6_000_000])
def test_limited_address_space(kilobytes: int, arch: str) -> None:
    """The guest gets what fits, and programs run."""
    path = program("environment", arch)
    assert run(path, "arguments", "x", arch=arch).returncode == 0  # the interpreter is in the cache from here on
    done = limited(f"ulimit -v {kilobytes}", path, "arguments", "x", arch=arch)
    assert (done.stderr, done.returncode) == ("", 0) and done.stdout.endswith("[arguments][x]\n")


def test_too_little_address_space() -> None:
    done = limited("ulimit -v 120000", program("environment"), "arguments")
    message = "tinamou-riscv64: Unable to reserve 0x4000000 bytes of virtual address space: not under this limit of the address space"
    assert (done.returncode, done.stderr) == (1, f"{message} (ulimit -v)\n")


def test_first_build_under_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty cache: the interpreter is compiled and the program runs, or one line says why not; LLVM aborts where nobody sees it."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("TINAMOU_CACHE", str(tmp_path))
    few = limited("ulimit -v 260000", program("environment"), "arguments")
    message = "tinamou-riscv64: no room to compile the interpreter under this limit of the address space (ulimit -v)"
    assert (few.returncode, few.stderr) == (1, f"{message}\n") and not list(tmp_path.glob("riscv64-*"))
    enough = limited("ulimit -v 500000", program("environment"), "arguments")
    assert (enough.returncode, enough.stderr) == (0, "") and len(list(tmp_path.glob("*.image"))) == 2


def test_predecoded_code_begins_anew_when_its_room_is_full() -> None:
    """Python's code has more pages than there is room for under this limit."""
    root = sysroot("riscv64", "python3", "libpython3-stdlib")
    words = ["-L", root, root / "usr/bin/python3", "-c", "import json, re, ast; print(len(ast.dump(ast.parse('a = 1\\n' * 200))))"]
    free = run(*words[2:], options=["-L", str(root)])
    assert (free.stderr, free.returncode) == ("", 0)
    done = limited("ulimit -v 400000", *words)
    assert (done.stderr, done.stdout, done.returncode) == ("", free.stdout, 0)


@pytest.mark.parametrize("words", [["-help"], ["-version"], ["-cpu", "help"], ["-d", "help"], ["-accel", "help"], ["-trace", "help"]])
def test_nowhere_to_write(words: list[str]) -> None:
    for redirection, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        done = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *USER, *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, f"tinamou-riscv64: write error: {reason}\n")
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run([*USER, *words], stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_a_reader_that_goes() -> None:
    with subprocess.Popen([*USER, program("environment"), "wait"], stdout=subprocess.PIPE) as guest:
        assert guest.stdout and guest.stdout.readline() == b"ready\n"
        guest.kill()
    assert guest.returncode == -signal.SIGKILL


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
