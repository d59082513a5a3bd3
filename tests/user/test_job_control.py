"""Guests on a terminal, as jobs of a shell and as the shell itself; trees of processes and their ends."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.debian import sysroot
from support.guests import run

DEBIAN = {"riscv64": "riscv64", "aarch64": "arm64"}
PACKAGES = ("busybox-static", "bash", "coreutils")
TIME = 120.0  # seconds that anything may take


class Terminal:
    """A program as the leader of a session on a terminal of its own."""

    def __init__(self, *words: str | Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "$ "
            os.execvp(str(words[0]), list(map(str, words)))
        self.shown = b""
        self.status: int | None = None

    def until(self, text: str) -> None:
        """Read up to this text, which is then not looked at again."""
        end = time.monotonic() + TIME
        while text.encode() not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], end - time.monotonic())
            if not ready:
                raise AssertionError(f"no {text!r} after {self.shown!r}")
            self.shown += os.read(self.fd, 4096)
        self.shown = self.shown.partition(text.encode())[2]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def both_ways(self, word: str) -> None:
        """Type a line, which the terminal shows and the program, too."""
        self.type(word + "\n")
        self.until(word)
        self.until(word)

    def wait(self) -> int:
        """Its status as subprocess gives it, or the signal that stopped it plus 1000."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return 1000 + os.WSTOPSIG(status)
        self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


class Guest:
    def __init__(self, arch: str) -> None:
        self.arch, self.root = arch, sysroot(DEBIAN[arch], *PACKAGES)
        self.options = ["-L", str(self.root)]
        self.busybox = self.root / "usr/bin/busybox"

    def words(self, *words: str | Path) -> list[str | Path]:
        return [sys.executable, "-m", "tinamou.tools.main", "user", self.arch, *self.options, *words]


@pytest.fixture(params=list(DEBIAN))
def guest(request: pytest.FixtureRequest) -> Guest:
    found = Guest(request.param)
    assert run(found.busybox, "true", arch=found.arch).returncode == 0  # the interpreter is in the cache from here on
    return found


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    made: list[Terminal] = []
    yield made
    for t in made:
        t.close()


def test_keys_of_the_terminal(guest: Guest, terminals: list[Terminal]) -> None:
    """A shell of the host has the guest as its job: stopped by Ctrl-Z, continued, ended by Ctrl-C and Ctrl-\\."""
    t = Terminal("sh", "-i")
    terminals.append(t)
    command = " ".join(map(str, guest.words(guest.busybox)))
    t.until("$ ")
    for key, status in (("\x03", 130), ("\x1c", 131)):
        t.type(f"{command} cat\n")
        t.both_ways("one")
        t.type("\x1a")
        t.until("$ ")
        t.type("fg\n")
        t.until("cat")
        t.both_ways("two")
        t.type(key)
        t.until("$ ")
        t.type("echo status $?\n")
        t.until(f"status {status}\r\n")
        t.until("$ ")
    t.type("exit 5\n")
    assert t.wait() == 5


def test_stopped_and_continued(guest: Guest, terminals: list[Terminal]) -> None:
    t = Terminal(*guest.words(guest.busybox, "cat"))
    terminals.append(t)
    t.both_ways("one")
    os.kill(t.pid, signal.SIGSTOP)
    assert t.wait() == 1000 + signal.SIGSTOP
    os.kill(t.pid, signal.SIGCONT)
    t.both_ways("two")
    t.type("\x04")
    assert t.wait() == 0


def test_the_guest_is_the_shell(guest: Guest, terminals: list[Terminal]) -> None:
    t = Terminal(*guest.words(guest.root / "usr/bin/bash", "--norc", "--noprofile", "-i"))
    terminals.append(t)
    t.until("$ ")
    t.type("echo u''p; cat\n")
    t.until("up\r\n")  # the line editor has given the terminal back
    t.both_ways("one")
    t.type("\x1a")
    t.until("Stopped")
    t.until("$ ")
    t.type("fg\n")
    t.until("cat\r\n")
    t.both_ways("two")
    t.type("\x03")
    t.until("$ ")
    t.type("sleep 100 & kill -9 $!; wait $!; echo status $?\n")
    t.until("status 137\r\n")
    t.type("stty -a | tr ' ' '\\n' | grep -x isig; exit 5\n")
    t.until("isig\r\n")
    assert t.wait() == 5


TREES = r"""
chain() { if [ $1 -gt 0 ]; then ( chain $(($1 - 1)); exit $(($? + 1)) ); else return 0; fi; }
chain 40; echo chain $?
bush() { if [ $1 -gt 0 ]; then ( bush $(($1 - 1)) ) & ( bush $(($1 - 1)) ) & wait; else echo leaf; fi; }
bush 5 | wc -l
( sleep 100 & echo $!; wait ) > pids & sleep 1; kill -9 $!; wait $!; echo killed $?; kill $(cat pids)
"""


def test_trees_of_processes(guest: Guest, tmp_path: Path) -> None:
    done = run(guest.busybox, "sh", "-c", TREES, arch=guest.arch, cwd=tmp_path)
    assert done.stdout == "chain 40\n32\nkilled 137\n"
    assert done.stderr in ("", "Killed\n")  # the shell's notice about its job


def test_threads_that_are_counted(guest: Guest) -> None:
    """The emulator's own threads are not the guest's: Python would warn at a fork."""
    root = sysroot(DEBIAN[guest.arch], "python3", "libpython3-stdlib")
    code = """if True:
        import os, sys
        for i in range(200000): pass
        if os.fork(): os.wait()
        print(len(sys.warnoptions), os.listdir('/proc/self/task') == [str(os.getpid())])
        """
    options = ["-L", str(root), "-E", "PYTHONWARNINGS=error"]
    done = run(root / "usr/bin/python3", "-c", code, arch=guest.arch, options=options)
    assert (done.stderr, done.stdout, done.returncode) == ("", "1 True\n1 True\n", 0)
