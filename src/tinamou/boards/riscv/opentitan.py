"""OpenTitan (Earl Grey) with an Ibex core: OpenTitan hardware documentation, Top Earl Grey memory map."""

from __future__ import annotations

from typing import Annotated

from tinamou.boards.riscv.common import add_harts, plic_wires
from tinamou.boards.riscv.loading import load_at
from tinamou.devices.char.ibex_uart import IbexUart
from tinamou.devices.gpio.ibex_gpio import IbexGpio
from tinamou.devices.intc.plic import Plic
from tinamou.devices.ssi.ibex_spi_host import IbexSpiHost
from tinamou.devices.timer.ibex_timer import IbexTimer
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB, MiB
from tinamou.machine.props import SIZE

ROM, RAM, FLASH = 0x0000_8000, 0x1000_0000, 0x2000_0000
RESET = 0x2000_0400
STUBS = ((0x4005_0000, "spi_device", 0x1000), (0x4008_0000, "i2c", 0x1000), (0x400E_0000, "pattgen", 0x1000),
         (0x4011_0000, "sensor_ctrl", 0x1000), (0x4013_0000, "otp_ctrl", 0x4000), (0x4014_0000, "lc_ctrl", 0x1000),
         (0x4015_0000, "usbdev", 0x1000), (0x4040_0000, "pwrmgr", 0x1000), (0x4041_0000, "rstmgr", 0x1000),
         (0x4042_0000, "clkmgr", 0x1000), (0x4046_0000, "pinmux", 0x1000), (0x4047_0000, "padctrl", 0x1000),
         (0x4100_0000, "flash_ctrl", 0x1000), (0x4110_0000, "aes", 0x1000), (0x4111_0000, "hmac", 0x1000),
         (0x4112_0000, "kmac", 0x1000), (0x4113_0000, "otbn", 0x1_0000), (0x4114_0000, "keymgr", 0x1000),
         (0x4115_0000, "csrng", 0x1000), (0x4116_0000, "entropy", 0x1000), (0x4117_0000, "edn0", 0x1000),
         (0x4118_0000, "edn1", 0x1000), (0x411B_0000, "alert_handler", 0x1000), (0x411C_0000, "nmi_gen", 0x1000),
         (0x411F_0000, "peri", 0x1_0000))


@board("opentitan", "RISC-V Board compatible with OpenTitan", arch="riscv", cpu="lowrisc-ibex", ram=128 * KiB, fixed_ram=True)
def opentitan(m: Machine, *, resetvec: Annotated[int, SIZE, "Address of the first instruction"] = RESET) -> None:
    """A root of trust: ROM, flash and SRAM, UART, timer, GPIO and two SPI hosts; the rest logs by name."""
    add_harts(m, "lowrisc-ibex", 1, resetvec=resetvec)
    cpu = m.cpus[0]
    m.rom(ROM, 32 * KiB, "riscv.lowrisc.ibex.rom")
    m.ram(RAM, 128 * KiB, "riscv.lowrisc.ibex.ram")
    flash = m.rom(FLASH, 1 * MiB, "riscv.lowrisc.ibex.flash")
    plic = m.at(0x4800_0000, Plic(hart_config="M", sources=180, priorities=3, enable_stride=0x20, context_stride=8,
                                  aperture=0x400_5000), external=plic_wires(m, "M"))
    m.at(0x4000_0000, IbexUart(chardev=m.serial(0)), irq=[plic[1 + n] for n in range(8)])
    m.at(0x4004_0000, IbexGpio(), irq=[plic[33 + n] for n in range(32)])
    m.at(0x4010_0000, IbexTimer(clock=m.clock(10_000_000)), irq=cpu.line("mtip"))
    m.at(0x4030_0000, IbexSpiHost(), irq=[plic[151], plic[152]])
    m.at(0x4031_0000, IbexSpiHost(), irq=[plic[153], plic[154]])
    for base, name, size in STUBS:
        m.stub(base, f"riscv.lowrisc.ibex.{name}", size)
    m.alias(0x8000_0000, flash, 0, 512 * KiB, name="riscv.lowrisc.ibex.flash_virtual")
    m.reset_vectors[cpu.index] = resetvec
    load_at(m, "bios", m.settings.bios, ROM)
    load_at(m, "kernel", m.settings.kernel, FLASH)
