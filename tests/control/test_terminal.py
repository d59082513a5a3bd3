"""Keys of a real terminal: those of the console, and ctrl-c, which is the guest's where the monitor shares its terminal."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import termios
import time

import pytest

from tinamou.isa.riscv.pseudo import assembler

# Says `>`, then every byte it gets as a number of two digits.
ECHO = """
    li s0, 0x10000000; li t0, 62; sb t0, 0(s0)
next: lbu t0, 5(s0); andi t0, t0, 1; beqz t0, next
    lbu s1, 0(s0); srli a0, s1, 4; jal ra, put; andi a0, s1, 15; jal ra, put; j next
put: addi a0, a0, 48; li t1, 58; blt a0, t1, out; addi a0, a0, 39
out: sb a0, 0(s0); ret
"""


class Terminal:
    def __init__(self, folder, *words):
        image = folder / "program.bin"
        image.write_bytes(assembler(64).assemble(ECHO, 0x8000_0000).data)
        self.ours, theirs = os.openpty()
        command = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-M", "virt", "-bios", str(image), *words]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))  # fmt: skip
        os.close(theirs)
        self.text = b""

    def expect(self, text):
        """Read up to there."""
        end = time.monotonic() + 60
        while text not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.ours], [], [], 1)[0]:
                try:
                    self.text += os.read(self.ours, 4096)
                except OSError:  # nobody has the other end
                    break
        assert text in self.text
        self.text = self.text.partition(text)[2]

    def keys(self, data):
        os.write(self.ours, data)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def terminal(tmp_path):
    made = []

    def make(*words):
        made.append(Terminal(tmp_path, *words))
        made[-1].expect(b">")
        return made[-1]

    yield make
    for t in made:
        t.close()


@pytest.mark.parametrize("words", [("-nographic",), ("-display", "none", "-serial", "mon:stdio")])
def test_console_and_monitor_on_one_terminal(terminal, words):
    t = terminal(*words)
    t.keys(b"\x03a")
    t.expect(b"0361")
    t.keys(b"\x01\x01")
    t.expect(b"01")
    t.keys(b"\x01c")
    t.expect(b"(qemu) ")
    t.keys(b"info status\r")
    t.expect(b"VM status: running")
    t.keys(b"\x01cb")
    t.expect(b"62")
    t.keys(b"\x01x")
    t.expect(b"QEMU: Terminated")
    assert t.process.wait(30) == 0


def test_a_console_alone_ends_at_ctrl_c(terminal):
    t = terminal("-display", "none", "-serial", "stdio", "-monitor", "none")
    t.keys(b"a")
    t.expect(b"61")
    t.keys(b"\x03")
    t.expect(b"terminating on signal 2\r\n")
    assert t.process.wait(30) == 0


def test_who_ended_it(terminal):
    t = terminal("-nographic")
    t.process.terminate()
    t.expect(f"terminating on signal 15 from pid {os.getpid()} (".encode())
    assert t.process.wait(30) == 0
