"""gdb-multiarch debugs user-mode programs: break, watch, step, registers, memory, threads, signals, exits."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.guests import program
from tinamou.control.gdb_user import from_gdb, to_gdb

pytestmark = pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="gdb-multiarch is not installed")


def start(
    address: str, *words: str, arch: str = "riscv64", name: str = "debugged", options: tuple[str, ...] = ()
) -> tuple[subprocess.Popen[str], Path]:
    """A guest that waits for the debugger there."""
    path = program(name, arch, "-g", "-O1")
    command = [sys.executable, "-m", "tinamou.tools.main", "user", arch, *options, "-g", address, str(path), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), path


def gdb(address: str, path: Path, *commands: str) -> str:
    before = (f"file {path}", "set sysroot /", "set pagination off", f"target remote {address}")
    if not any("SIGUSR1" in c for c in commands):
        before += ("handle SIGUSR1 nostop noprint pass",)
    words = [w for c in (*before, *commands) for w in ("-ex", c)]
    return subprocess.run(["gdb-multiarch", "-q", "-nx", "-batch", *words], capture_output=True, text=True, timeout=60).stdout


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def session(*commands: str, words: tuple[str, ...] = (), arch: str = "riscv64", **more: Any) -> tuple[str, int, str]:
    """What gdb said, the guest's status and its output."""
    port = free_port()
    guest, path = start(str(port), *words, arch=arch, **more)
    while not listening(port):
        time.sleep(0.05)
    said = gdb(f":{port}", path, *commands)
    try:
        output, errors = guest.communicate(timeout=60)
    finally:
        guest.kill()
    assert errors == ""
    return said, guest.returncode, output


def listening(port: int) -> bool:
    """Looked up rather than tried: the first connection is the debugger's."""
    wanted = f":{port:04X} "
    return any(wanted in line and " 0A " in line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines())


@pytest.mark.timeout(1500)
def test_registers_of_aarch64() -> None:
    commands = ["break twice", "continue", "info registers x0 sp pc cpsr fpsr fpcr", "set var $x5 = 77", "print $x5"]
    commands += ["set var $v7.d.u[1] = 258", "print $v7.b.u[8] + $v7.b.u[9]", "stepi", "print $pc > 0", "delete", "continue"]
    said, status, _ = session(*commands, arch="aarch64")
    assert re.search(r"x0 +0x15 +21\n", said) and re.search(r"\nsp +0x", said) and re.search(r"\ncpsr +0x", said) and "fpcr " in said
    assert "$1 = 77" in said and "$2 = 3" in said and "$3 = 1" in said and status == 5


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("arch", ["riscv64", "riscv32", "aarch64"])
def test_break_and_finish(arch: str) -> None:
    said, status, output = session(
        "break twice", "continue", "print n", "bt", "finish", "delete", "continue", arch=arch
    )  # fmt: skip
    assert re.search(r"Breakpoint 1, twice \(n=(n@entry=)?21\)", said) and "$1 = 21" in said and "in main (" in said
    assert "Value returned is $2 = 42" in said
    assert "exited with code 05]" in said
    assert (status, output) == (5, "48 1.5\n")


def test_watch_and_memory() -> None:
    said, status, output = session(
        "watch counter", "continue", "continue", "info threads", "delete", "print text", "set var ratio = 4.25", "print ratio", "continue"
    )
    assert "Old value = 0\nNew value = 42" in said and "Old value = 42\nNew value = 44" in said
    assert '"hello"' in said and "= 4.25" in said
    assert (status, output) == (5, "48 4.25\n")


def test_reads_are_watched() -> None:
    said, _, _ = session("rwatch ratio", "continue", "delete", "awatch other", "continue", "delete", "continue")
    assert "Hardware read watchpoint 1: ratio" in said and "Value = 0.5" in said
    assert "Hardware access (read/write) watchpoint 2: other" in said


def test_steps_and_registers() -> None:
    said, status, _ = session(
        "break main", "continue", "stepi", "stepi", "info registers pc", "print $sp & 15", "set var $t3 = 0x1234", "print/x $t3",
        "set var $fa5 = 2.5", "print $fa5.double", "next", "next", "info registers fcsr", "delete", "continue",
    )  # fmt: skip
    assert "= 0x1234" in said and "= 2.5" in said and "<main+" in said and "fcsr " in said
    assert status == 5


def test_in_compiled_loops() -> None:
    """Functions that have run as regions stop at breakpoints, step, and are watched."""
    hot: dict[str, Any] = {"name": "hot", "options": ("--no-code-cache", "-accel", "tcg,jit=eager")}
    stop = ["break second", "continue", "break first", "continue", "print $_hit_bpnum", "print n", "stepi 1000", "info symbol $pc"]
    then = ["print i", "stepi 4000", "print i", "delete", "finish"]
    said, status, output = session(*stop, *then, "continue", words=("phases", "10000000"), **hot)
    assert re.search(r"Breakpoint 1, second \(n=(n@entry=)?10000000\)", said), said
    assert re.search(r"Breakpoint 2, first \(n=(n@entry=)?10000000\)", said) and re.search(r"first \+ \d+ in section", said)
    assert (status, output) == (0, "0 failures\n")
    said, status, output = session("handle SIGALRM nostop noprint pass", "watch alarms", "continue", "continue", "delete", "continue",
                                   words=("interrupted", "10000000"), **hot)  # fmt: skip
    assert "Old value = 0\nNew value = 1" in said and "Old value = 1\nNew value = 2" in said, said
    assert (status, output) == (0, "0 failures\n")


def test_threads() -> None:
    said, status, _ = session("break worker", "continue", "info threads", "print a", "thread 1", "bt 1", "delete", "continue")
    assert "worker (a=0x0)" in said and "Thread 1.1" in said and "Thread 1.2" in said
    assert "[Switching to thread 1 " in said
    assert status == 5


def test_signals() -> None:
    said, status, _ = session(
        "handle SIGUSR1 stop print pass", "continue", "print $_siginfo.si_signo", "print other", "break caught", "continue", "print n",
        "delete", "continue",
    )  # fmt: skip
    assert "Program received signal SIGUSR1" in said
    assert "$1 = 10" in said and "Breakpoint 1, caught (n=10)" in said
    assert status == 5


def test_crash() -> None:
    said, status, _ = session("handle SIGUSR1 nostop noprint pass", "continue", "print $_siginfo._sifields._sigfault.si_addr", "bt 1",
                              "continue", words=("crash",))  # fmt: skip
    assert "Program received signal SIGSEGV" in said and "0x10" in said and "main (c=2" in said
    assert "Program terminated with signal SIGSEGV" in said
    assert status == -signal.SIGSEGV


@pytest.mark.parametrize("what", ["loop", "sleep"])
def test_interrupt(what: str) -> None:
    """A debugger's Ctrl-C stops a loop and a system call alike."""
    port = free_port()
    guest, path = start(str(port), what)
    while not listening(port):
        time.sleep(0.05)
    script = "handle SIGUSR1 nostop noprint pass\ncontinue &\nshell sleep 2\ninterrupt\nshell sleep 1\nbt 1\nkill\nquit\n"
    words = [w for c in ("set mi-async on", "set pagination off", f"file {path}", f"target remote :{port}") for w in ("-ex", c)]
    command = ["gdb-multiarch", "-q", "-nx", *words]
    said = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60).stdout
    assert "received signal SIGINT" in said
    guest.communicate(timeout=30)
    assert guest.returncode == -signal.SIGKILL


def test_unix_socket_and_detach(tmp_path: Path) -> None:
    place = tmp_path / "gdb.sock"
    guest, path = start(str(place))
    while not place.exists():
        time.sleep(0.05)
    said = gdb(str(place), path, "break twice", "continue", "detach")
    output, _ = guest.communicate(timeout=60)
    assert "Breakpoint 1, twice" in said
    assert (guest.returncode, output) == (5, "48 1.5\n")


def test_bad_address() -> None:
    guest, _ = start("nothing")
    _, errors = guest.communicate(timeout=60)
    assert (guest.returncode, errors) == (1, "tinamou-riscv64: -g nothing: 'nothing' is no port, tcp:HOST:PORT or unix:PATH\n")


def test_signal_numbers() -> None:
    assert all(from_gdb(to_gdb(n)) == n for n in range(1, 65) if n != 16)
    assert (to_gdb(11), to_gdb(7), to_gdb(10), to_gdb(34)) == (11, 10, 30, 46)
