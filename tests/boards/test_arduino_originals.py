"""The same programs on simavr and on the original: what the serial port says, and how many cycles it took."""

import re
import shutil
import subprocess

import pytest

from avr_guests import Running, needs_core, needs_gcc, program, sketch
from tinamou.machine.props import PropertyError

pytestmark = needs_gcc
needs_simavr = pytest.mark.skipif(shutil.which("simavr") is None, reason="simavr is not installed")
needs_original = pytest.mark.skipif(shutil.which("qemu-system-avr") is None, reason="qemu-system-avr is not installed")


def said_by_simavr(elf, mcu="atmega328p"):
    done = subprocess.run(["simavr", "-m", mcu, "-f", "16000000", elf], capture_output=True, timeout=60)
    text = re.sub(r"\x1b\[[0-9;]*m", "", (done.stdout + done.stderr).decode(errors="replace"))
    return [line[:-1] for line in text.splitlines() if line.endswith(".")]


def said_by_original(elf, lines, machine="uno"):
    """Its program never ends: read that many lines."""
    with subprocess.Popen(["qemu-system-avr", "-M", machine, "-bios", elf, "-display", "none", "-monitor", "none", "-serial", "stdio"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as p:
        out = [p.stdout.readline().decode().rstrip() for _ in range(lines)]
        p.kill()
    return out


@needs_simavr
@needs_original
@pytest.mark.parametrize("kind", range(10))
def test_results_and_cycles(kind):
    """Ten programs of ten measured pieces: all cycle counts are simavr's.

    Of the original the results alone: its timer follows the host. It has no ports: PINB reads 0 there, which the tenth program shows.
    """
    elf = program("measured.c", "uno", f"-DKIND={kind}")
    r = Running(elf).run(0.05)
    lines = r.text.split()
    r.close()
    results, cycles = lines[::2], lines[1::2]
    assert len(results) == 10
    assert [x.split() for x in said_by_simavr(elf)] == [list(x) for x in zip(results, cycles, strict=True)]
    if kind != 9:
        assert [x.split()[0] for x in said_by_original(elf, 10)] == results


@needs_original
@pytest.mark.parametrize("on", ["2009", "mega", "mega2560"])
def test_results_on_other_boards(on):
    elf = program("measured.c", on, "-DKIND=4")
    r = Running(elf, on).run(0.05)
    assert [x.split()[0] for x in said_by_original(elf, 10, on)] == r.text.split()[::2]
    r.close()


@needs_core
@needs_original
def test_errors_are_worded_alike():
    elf = sketch("blink.ino", "mega2560")
    theirs = subprocess.run(["qemu-system-avr", "-M", "uno", "-bios", elf, "-display", "none"], capture_output=True, text=True, timeout=60)
    with pytest.raises(PropertyError) as e:
        Running(elf)
    ours = f"{e.value}\n{e.value.hint}".splitlines()
    assert [line.removeprefix("qemu-system-avr: ") for line in theirs.stderr.splitlines()] == ours[:2]
