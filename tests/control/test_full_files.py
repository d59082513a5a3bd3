"""Files of the emulator on a full disk (/dev/full): that is told once, and the guest goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest
from running_vm import Running

TALK = """
    li s0, 0x10000000; la s1, count; li s2, 0x2008000
again: li t0, 46; sb t0, 0(s0); lw t2, 0(s2); ld t1, 0(s1); addi t1, t1, 1; sd t1, 0(s1); j again
    .balign 8
count: .dword 0
"""


@pytest.mark.parametrize(("words", "told"), [
    (("-chardev", "null,id=a,logfile=/dev/full", "-serial", "chardev:a"), "chardev a: /dev/full: No space left on device"),
    (("-d", "guest_errors", "-D", "/dev/full"), "test: /dev/full: No space left on device"),
    (("-chardev", "file,id=a,path=/dev/full", "-serial", "chardev:a"), ""),
])  # fmt: skip
def test_the_guest_goes_on(tmp_path, capfd, words, told):
    r = Running(tmp_path, TALK, *words)
    try:
        r.vm.start()
        r.until(lambda: r.word("count") > 1000)
        assert r.vm.running
    finally:
        r.close()
    said = capfd.readouterr().err
    assert said == (f"{told}: nothing more is logged\n" if told else "")


def test_standard_output():
    command = [sys.executable, "-m", "tinamou.tools.main", "system", "riscv64", "-version"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "tinamou-system-riscv64: standard output: No space left on device\n")
