"""A hundred short C programs, made up at random: simavr takes the same cycles for each and leaves the same memory; the original prints
the same results."""

from __future__ import annotations

import ctypes
import functools
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from avr_guests import Running, needs_gcc, program
from support.simavr import Simavr

pytestmark = needs_gcc

COUNTS = {"uno": 80, "2009": 35, "mega": 100, "mega2560": 100}  # as many as fit
TYPES = ("uint8_t", "int8_t", "uint16_t", "int16_t", "uint32_t", "int32_t")

HEAD = """
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <stdint.h>
#include <string.h>
static const uint16_t table[8] PROGMEM = {1, 0x8000, 0xff, 0x7fff, 0x1234, 3, 0xfffe, 0x100};
static volatile uint32_t in[4] = {0x12345678, 0xfffffff0, 7, 0x80000001};
static uint8_t bytes[32];
volatile uint32_t results[COUNT];
"""

TAIL = """
static uint32_t (*const functions[COUNT])(void) PROGMEM = {NAMES};
int main(void)
{
    for (uint8_t k = 0; k < COUNT; k++) {
        for (uint8_t j = 0; j < sizeof bytes; j++)
            bytes[j] = j * 37 + 11;
        uint32_t (*f)(void) = (uint32_t (*)(void))pgm_read_word(&functions[k]);
        GPIOR0 = k + 1;
        uint32_t result = f();
        GPIOR0 = 0;
        results[k] = result;
    }
    GPIOR0 = 0xff;
    UBRR0 = 0;
    UCSR0B = 1 << TXEN0;
    for (uint8_t k = 0; k < COUNT; k++)
        for (int8_t shift = 28; shift >= -4; shift -= 4) {
            while (!(UCSR0A & 1 << UDRE0));
            UDR0 = shift < 0 ? '\\n' : "0123456789abcdef"[results[k] >> shift & 15];
        }
    for (;;);
}
"""


def expression(r: random.Random, depth: int) -> str:
    if depth == 0 or r.random() < 0.1:
        return r.choice(["a", "b", "c", str(r.randrange(256)), f"{r.getrandbits(16)}u", "bytes[a & 31]", "pgm_read_word(&table[b & 7])"])
    left, right = expression(r, depth - 1), expression(r, depth - 1)
    match r.randrange(12):
        case 0 | 1:
            return f"({left} {r.choice('+-')} {right})"
        case 2:
            return f"({left} * {right})"
        case 3:
            return f"({left} {r.choice('&|^')} {right})"
        case 4:
            return f"({left} {r.choice(['<<', '>>'])} ({right} & 7))"
        case 5:
            return f"({left} {r.choice('/%')} ({right} | 1))"
        case 6:
            return f"({left} {r.choice(['<', '==', '>=', '!='])} {right} ? {expression(r, depth - 1)} : {left})"
        case 7:
            return f"({r.choice(TYPES)})({left})"
        case 8:
            return f"(~{left})"
        case 9:
            return f"(-(int32_t){left})"
        case 10:
            return f"(uint32_t)(int32_t)((float)(int16_t)({left}) * 1.5f)"
        case _:
            return f"(({left}) + (uint16_t)({right}) * 3u)"


def function(r: random.Random, number: int) -> str:
    lines = [f"{r.choice(TYPES)} {name} = in[{r.randrange(4)}];" for name in "abc"]
    for _ in range(r.randrange(1, 4)):
        target = r.choice(["a", "b", "c", "bytes[c & 31]"])
        if r.random() < 0.4:
            loop = f"for (uint8_t i = 0; i < {r.randrange(2, 12)}; i++)"
            lines.append(f"{loop} {{ {target} += {expression(r, 2)} + i; b ^= {expression(r, 1)}; }}")
        elif r.random() < 0.3:
            lines.append(f"if ({expression(r, 2)}) {target} = {expression(r, 2)}; else c -= {expression(r, 1)};")
        else:
            lines.append(f"{target} = {expression(r, 3)};")
    if r.random() < 0.2:
        lines.append("memmove(bytes + (a & 7), bytes + (b & 7), 16);")
    body = "\n    ".join([*lines, "return a + ((uint32_t)b << 3) + ((uint32_t)c << 7) + bytes[5];"])
    return f"static __attribute__((noinline)) uint32_t f{number}(void)\n{{\n    {body}\n}}\n"


@functools.cache
def source(on: str) -> str:
    r, count = random.Random(2026), COUNTS[on]
    functions = "".join(function(r, n) for n in range(count))
    names = ", ".join(f"f{n}" for n in range(count))
    return HEAD.replace("COUNT", str(count)) + functions + TAIL.replace("COUNT", str(count)).replace("NAMES", names)


BOARDS = {"uno": "atmega328", "2009": "atmega168", "mega": "atmega1280", "mega2560": "atmega2560"}


def ours(on: str, jit: str = "") -> tuple[list[tuple[int, int]], bytes, str]:
    """(cycle, mark) of each store to GPIOR0, SRAM at the mark 0xff, what the serial port says."""
    r = Running(program(source(on), on, "-w"), on, jit=jit)
    cpu: Any = r.m.cpus[0]
    marks: list[tuple[int, int]] = []
    memory: list[bytes] = []
    bank = cpu.machine.memory.find(0x800025).region.bank
    write = bank.writers[0x3E]

    def note(value: int) -> None:
        marks.append((cpu.cycles, value))
        write(value)
        if value == 0xFF:
            memory.append(r.m.memory.load(0x800000 + cpu.part.ram, cpu.part.sram))

    bank.writers[0x3E] = note
    cpu.io.device(0x3E)
    while r.text.count("\n") < COUNTS[on]:
        r.run(0.05)
    r.close()
    return marks, memory[0], r.text


def elf_code(path: str, folder: Path) -> bytes:
    image = folder / "image.bin"
    subprocess.run(["avr-objcopy", "-O", "binary", "-R", ".eeprom", path, str(image)], check=True)
    return image.read_bytes()


@pytest.mark.parametrize("on", ["uno", "mega2560"])
def test_simavr_takes_the_same_cycles(on: str, tmp_path: Path) -> None:
    marks, memory, text = ours(on)
    assert len(marks) == 2 * COUNTS[on] + 1
    simavr = Simavr(BOARDS[on])
    simavr.load(elf_code(program(source(on), on, "-w"), tmp_path))
    t = simavr.t
    found: list[tuple[int, int]] = []
    last = 0
    data = t.data
    while last != 0xFF:
        simavr.one()
        if data[0x3E] != last:
            last = data[0x3E]
            found.append((t.cycle - 1, last))
    assert found == marks
    for jit in ("off", "traces", "on", "eager"):
        assert ours(on, jit) == (marks, memory, text), jit
    ram = 0x200 if on == "mega2560" else 0x100
    assert ctypes.string_at(ctypes.addressof(data.contents) + ram, len(memory)) == memory


@pytest.mark.skipif(shutil.which("qemu-system-avr") is None, reason="qemu-system-avr is not installed")
@pytest.mark.parametrize("on", BOARDS)
def test_the_original_prints_the_same(on: str, tmp_path: Path) -> None:
    _, _, text = ours(on)
    place = tmp_path / "serial"
    command = ["qemu-system-avr", "-machine", on, "-bios", program(source(on), on, "-w"), "-display", "none", "-monitor", "none",
               "-serial", f"file:{place}"]  # fmt: skip
    with subprocess.Popen(command) as original:
        end = time.monotonic() + 120
        while time.monotonic() < end and (not place.exists() or place.read_bytes().count(b"\n") < COUNTS[on]):
            time.sleep(0.05)
        original.kill()
    assert place.read_text().splitlines()[: COUNTS[on]] == text.splitlines()[: COUNTS[on]]
