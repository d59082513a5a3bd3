"""Bare-metal guests for `Machine`, assembled here: no packages, milliseconds to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinamou import Machine
from tinamou.isa.riscv.pseudo import assembler

RAM = 0x8000_0000
UART = 0x1000_0000
TEST = 0x10_0000

# Says who it is, then echoes: a line that begins with `q` powers off with status 3.
SHELL = """
    li s0, 0x10000000
    la s1, greeting; jal ra, print
    prompt: la s1, ask; jal ra, print
    next: lbu t0, 5(s0); andi t0, t0, 1; beqz t0, next
    lbu t0, 0(s0)
    li t1, 0x71; beq t0, t1, quit
    sb t0, 0(s0)
    la t2, count; ld t3, 0(t2); addi t3, t3, 1; sd t3, 0(t2)
    li t1, 10; beq t0, t1, prompt
    j next
    print: lbu t0, 0(s1); beqz t0, printed; sb t0, 0(s0); addi s1, s1, 1; j print
    printed: ret
    quit: li t0, 0x100000; li t1, 0x33333; sw t1, 0(t0); j .
    greeting: .asciz "bare metal\\n"
    ask: .asciz "> "
    .balign 8
    count: .dword 0
"""

# Counts in memory and in s3 for ever; `double` is called with the count.
COUNTER = """
    la s2, count; li s3, 0
    again: addi s3, s3, 1; mv a0, s3; jal ra, double; sd a0, 0(s2); ld t1, 0(s2); j again
    double: slli a0, a0, 1
    back: ret
    .balign 4096
    count: .dword 0
"""


def build(folder: Path, text: str, xlen: int = 64, origin: int = RAM) -> tuple[Path, dict[str, int]]:
    """The program as a file for `bios`, and its labels."""
    program = assembler(xlen).assemble(text, origin)
    path = folder / "program.bin"
    path.write_bytes(program.data)
    return path, program.labels


@contextmanager
def started(folder: Path, text: str, **arguments: Any) -> Iterator[Any]:
    """A `virt` machine with the program as its firmware, and the program's labels as its attribute `labels`."""
    path, labels = build(folder, text)
    with Machine("virt", bios=path, memory="16M", **arguments) as m:
        m.labels = labels  # type: ignore[attr-defined]
        yield m
