"""Blinky evaluation board: a 32-bit microcontroller with a UART and a row of LEDs (Blinky data sheet, chapter 2)."""

from __future__ import annotations

from typing import Annotated

from tinamou.boards.riscv.common import add_clint, add_harts, add_plic
from tinamou.boards.riscv.loading import load_at
from tinamou.devices.char.sifive_uart import SifiveUart
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB

from .leds import BlinkyLeds


@board("blinky", "Blinky evaluation board", arch="riscv", cpu="sifive-e31", ram=64 * KiB, fixed_ram=True)
def blinky(m: Machine, *, leds: Annotated[int, "How many LEDs are fitted"] = 8) -> None:
    """Program memory at 0x20000000, where the CPU starts."""
    add_harts(m, "sifive-e31", 1, resetvec=0x2000_0000)
    add_clint(m, 0x0200_0000, 32_768)
    plic = add_plic(m, 0x0C00_0000, "M", 52, 0x400_0000)
    m.at(0x1001_0000, BlinkyLeds(count=leds), button=plic[7])
    m.at(0x1001_3000, SifiveUart(chardev=m.serial(0)), irq=plic[3])
    m.rom(0x2000_0000, 128 * KiB, "blinky.flash")
    m.ram(0x8000_0000, 64 * KiB, "blinky.ram")
    load_at(m, "kernel", m.settings.kernel, 0x2000_0000)
