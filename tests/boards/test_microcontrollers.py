"""Bare-metal C on the microcontroller boards, compiled here by ziglang."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tinamou import Machine

SOURCE = Path(__file__).parents[1] / "guests" / "bare" / "uart.c"
LAYOUT = """
ENTRY(_start)
SECTIONS {{
  . = {flash:#x};
  .text : {{ *(.init) *(.text*) *(.rodata*) *(.srodata*) . = ALIGN(8); }}
  data_source = .;
  . = {ram:#x};
  .data : AT(data_source) {{ data_start = .; *(.data*) *(.sdata*) . = ALIGN(8); data_end = .; }}
  .bss (NOLOAD) : {{ *(.bss*) *(.sbss*) *(COMMON) . = ALIGN(16); bss_end = .; }}
  /DISCARD/ : {{ *(.eh_frame*) *(.comment) }}
  stack_top = {ram:#x} + 0x2000;
}}
"""
BOARDS = {
    "sifive_e": ("sifive_e", {}, 0x2040_0000, 0x8000_0000, "rv32+m+a+c", []),
    "sifive_e-revb": ("sifive_e", {"revb": True}, 0x2001_0000, 0x8000_0000, "rv32+m+a+c", []),
    "opentitan": ("opentitan", {}, 0x2000_0400, 0x1000_0000, "rv32+m+c", ["-DOPENTITAN"]),
}


@pytest.mark.parametrize("name", BOARDS)
def test_uart_program(name, tmp_path):
    board, options, flash, ram, cpu, defines = BOARDS[name]
    (tmp_path / "layout").write_text(LAYOUT.format(flash=flash, ram=ram))
    program = tmp_path / "program.elf"
    mtvec = 1 if name == "opentitan" else 0  # Ibex is always vectored
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv32-freestanding", f"-mcpu=generic_{cpu}", "-Os", "-nostdlib"]
    command += ["-static", "-ffreestanding", "-fno-sanitize=all", "-fno-builtin", f'-DWHO="{name}"', f"-DMTVEC={mtvec}", *defines]
    subprocess.run([*command, f"-Wl,-T,{tmp_path}/layout", "-o", str(program), str(SOURCE)], check=True, timeout=250)
    with Machine(board, kernel=program, options=options) as m:
        assert m.run(timeout=20, until="ticks 00000001\n") == f"Hello from {name}\ncrc cbf43926 div 0883d3b7 ticks 00000001\n"
        m.serial.write("shout this\n")
        assert m.run(until="\n") == "SHOUT THIS\n"


@pytest.mark.parametrize("xlen", [32, 64])
def test_host_target_interface(xlen, tmp_path):
    program = tmp_path / "program.elf"
    target = ["-target", f"riscv{xlen}-freestanding", f"-mcpu=generic_rv{xlen}+m+a+c"]
    command = [sys.executable, "-m", "ziglang", "cc", *target, "-O1", "-g"]  # with symbols
    command += ["-nostdlib", "-static", "-ffreestanding", "-fno-sanitize=all", "-mcmodel=medany", "-Wl,-T," + str(tmp_path / "layout")]
    (tmp_path / "layout").write_text(
        "ENTRY(_start) SECTIONS { . = 0x80000000; .text : { *(.init) *(.text*) *(.rodata*) *(.srodata*) } "
        ". = 0x80002000; .data : { *(.data*) *(.sdata*) *(.bss*) *(.sbss*) } /DISCARD/ : { *(.eh_frame*) } }"
    )
    subprocess.run([*command, "-o", str(program), str(SOURCE.with_name("htif.c"))], check=True, timeout=250)
    with Machine("spike", arch=f"riscv{xlen}", bios="none", kernel=program) as m:
        assert m.run(timeout=20) == "through htif\n"
        assert (m.status, m.exit_code) == ("shutdown", 5)
