"""avr-gdb debugs an Arduino: the program's own symbols, breakpoints, watchpoints, steps, registers, both memories."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avr_guests import needs_gcc, program

pytestmark = [needs_gcc, pytest.mark.skipif(shutil.which("avr-gdb") is None, reason="avr-gdb is not installed")]

SOURCE = """
#include <avr/io.h>
volatile unsigned char table[4] = {1, 2, 3, 4};
volatile unsigned int total;
__attribute__((noinline)) void add(unsigned char k) { total += table[k & 3]; PORTB = total; }
int main(void) { for (unsigned char k = 0; ; k++) add(k); }
"""

Gdb = Callable[..., str]


@pytest.fixture(params=["uno", "mega2560"])
def gdb(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gdb]:
    """Runs gdb's commands on a new machine; gives what it says."""
    on, place = request.param, tmp_path / "gdb.sock"
    elf = program(SOURCE, on, "-g", "-O1")
    words = [sys.executable, "-m", "tinamou.tools.main", "system", "avr", "-machine", on, "-bios", elf, "-display", "none",
             "-serial", "none", "-monitor", "none", "-S", "-gdb", f"unix:{place}"]  # fmt: skip
    machine = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(*commands: str) -> str:
        end = time.monotonic() + 60
        while not place.exists() and time.monotonic() < end and machine.poll() is None:
            time.sleep(0.02)
        script = ["set pagination off", "set confirm off", f"target remote {place}", *commands, "kill"]
        arguments = [w for c in script for w in ("-ex", c)]
        done = subprocess.run(["avr-gdb", "-q", "-nx", "-batch", *arguments, elf], capture_output=True, text=True, timeout=90)
        return done.stdout + done.stderr

    yield run
    machine.kill()
    machine.communicate()


def test_breakpoints_and_memory(gdb: Gdb) -> None:
    said = gdb("info registers pc SREG", "break add", "continue", "print k", "ignore 1 4", "continue", "print k", "print total",
               "x/4xb table", "set var total = 77", "print total", "finish", "bt")  # fmt: skip
    assert re.search(r"^pc +0x0 +", said, re.M) and re.search(r"^SREG +0x0 ", said, re.M)
    assert re.findall(r"^\$\d+ = (\S+)", said, re.M) == ["0", "5", "11", "77"]
    assert re.search(r"0x800\d00 <table>:\t0x01\t0x02\t0x03\t0x04", said)
    assert re.search(r"^#0 .* main \(\)", said, re.M)


def test_steps_and_watchpoints(gdb: Gdb) -> None:
    said = gdb("watch total", "continue", "continue", "print total", "delete", "stepi", "info registers pc", "stepi", "info registers pc")
    assert re.findall(r"^(?:Old|New) value = (\d+)", said, re.M) == ["0", "1", "1", "3"]
    assert "$1 = 3" in said
    first, second = re.findall(r"^pc +0x[0-9a-f]+ +(0x[0-9a-f]+) ", said, re.M)
    assert 0 < int(second, 16) - int(first, 16) <= 4
