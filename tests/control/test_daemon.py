"""-daemonize: the parent ends when everything listens, and tells what went wrong before."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

COMMAND = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-M", "virt", "-bios", "none", "-display", "none",
           "-serial", "null", "-S", "-daemonize"]  # fmt: skip


def ends(pid):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_it_listens_when_the_parent_ends(tmp_path):
    words = ["-pidfile", tmp_path / "pid", "-monitor", f"unix:{tmp_path / 'monitor'},server,nowait", "-gdb", f"unix:{tmp_path / 'gdb'}"]
    done = subprocess.run([*COMMAND, *words], capture_output=True, timeout=60)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        with socket.socket(socket.AF_UNIX) as gdb, socket.socket(socket.AF_UNIX) as monitor:
            gdb.connect(str(tmp_path / "gdb"))
            monitor.connect(str(tmp_path / "monitor"))
            monitor.sendall(b"quit\n")
            assert ends(pid) and not (tmp_path / "pid").exists()
    finally:
        if not ends(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_mistake_is_told():
    for words, message in ((["-pidfile", "/nonexistent/pid"], b"cannot create PID file: Could not create '/nonexistent/pid'"),
                           (["-gdb", "unix:/nonexistent/gdb"], b"-gdb unix:/nonexistent/gdb: ")):  # fmt: skip
        done = subprocess.run([*COMMAND, *words], capture_output=True, timeout=60)
        assert done.returncode == 1 and message in done.stderr and b"Traceback" not in done.stderr
