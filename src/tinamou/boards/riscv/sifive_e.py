"""SiFive HiFive1 and HiFive1 Rev B: FE310-G000 and FE310-G002 manuals, chapter 4 (memory map), chapter 8 (interrupts)."""

from __future__ import annotations

import struct
from typing import Annotated

from tinamou.boards.riscv.common import add_clint, add_harts, add_plic
from tinamou.boards.riscv.loading import load_at
from tinamou.devices.char.sifive_uart import SifiveUart
from tinamou.devices.gpio.sifive_gpio import SifiveGpio
from tinamou.devices.misc.sifive_e_aon import SifiveEAon
from tinamou.devices.misc.sifive_e_prci import SifiveEPrci
from tinamou.devices.misc.sifive_otp import SifiveEOtp
from tinamou.devices.pwm.sifive_pwm import SifivePwm
from tinamou.devices.ssi.nor import Is25lp128
from tinamou.devices.ssi.sifive_spi import SifiveSpi
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB, MiB

DTIM, XIP = 0x8000_0000, 0x2000_0000


@board("sifive_e", "RISC-V Board compatible with SiFive E SDK", arch="riscv", cpu="sifive-e31", ram=16 * KiB, fixed_ram=True)
def sifive_e(m: Machine, *, revb: Annotated[bool, "Set on to tell QEMU that it should model the revB HiFive1 board"] = False
             ) -> None:
    """A microcontroller with 16 KiB of RAM that runs from its serial flash."""
    add_harts(m, "sifive-e31", 1, resetvec=0x1004)
    lfclk, tlclk = m.clock(32_768), m.clock(14_400_000)
    m.rom(0x0000_1000, 8 * KiB, "riscv.sifive.e.mrom", data=struct.pack(
        "<III", 0, (0x2001_0000 if revb else 0x2040_0000) | 0x2B7, 0x28067))       # lui t0, ...; jr t0
    otp = m.rom(0x0002_0000, 8 * KiB, "riscv.sifive.e.otp", data=b"\xff" * (8 * KiB))
    add_clint(m, 0x0200_0000, 10_000_000)
    plic = add_plic(m, 0x0C00_0000, "M", 52, 0x400_0000)
    m.at(0x1000_0000, SifiveEAon(clock=lfclk), wdog=plic[1], rtc=plic[2])
    m.at(0x1000_8000, SifiveEPrci(hfclk=tlclk))
    m.at(0x1001_0000, SifiveEOtp(memory=otp))
    m.at(0x1001_2000, SifiveGpio(), span=0x1000, irq=[plic[8 + n] for n in range(32)])
    m.at(0x1001_3000, SifiveUart(chardev=m.serial(0)), span=0x1000, irq=plic[3])
    qspi = m.at(0x1001_4000, SifiveSpi(num_cs=1, flash=True), irq=plic[5])
    m.at(0x1001_5000, SifivePwm(clock=tlclk, bits=8), span=0x1000, irq=[plic[40 + n] for n in range(4)])
    if revb:
        m.stub(0x1001_6000, "riscv.sifive.e.i2c0")
    m.at(0x1002_3000, SifiveUart(chardev=m.serial(1)), span=0x1000, irq=plic[4])
    m.at(0x1002_4000, SifiveSpi(num_cs=4), irq=plic[6])
    m.at(0x1002_5000, SifivePwm(clock=tlclk), span=0x1000, irq=[plic[44 + n] for n in range(4)])
    m.at(0x1003_4000, SifiveSpi(num_cs=1), irq=plic[7])
    m.at(0x1003_5000, SifivePwm(clock=tlclk), span=0x1000, irq=[plic[48 + n] for n in range(4)])
    m.rom(XIP, 512 * MiB, "riscv.sifive.e.xip")
    m.ram(DTIM, 16 * KiB, "riscv.sifive.e.ram")
    qspi.ssi.plug(Is25lp128(drive=m.drive("mtd", 0)))
    load_at(m, "kernel", m.settings.kernel, XIP + (0x1_0000 if revb else 0x40_0000))
