"""The `virt` board: no real hardware; its memory map is documented with the original's `docs/system/riscv/virt.rst`."""

from __future__ import annotations

import secrets
from typing import Annotated

from tinamou.boards.riscv.common import add_clint, add_devices, add_harts, add_plic, boot, start_tree
from tinamou.devices.char.ns16550a import Ns16550a
from tinamou.devices.flash.cfi01 import CfiFlash01
from tinamou.devices.misc.fw_cfg import NB_CPUS, FwCfg
from tinamou.devices.misc.sifive_test import SifiveTest
from tinamou.devices.pci.gpex import GpexHost
from tinamou.devices.rtc.goldfish import GoldfishRtc
from tinamou.devices.virtio.mmio import VirtioMmio
from tinamou.firmware.fdt import Tree, cells64
from tinamou.machine.board import board
from tinamou.machine.machine import Machine
from tinamou.machine.memory import GiB, KiB, MiB
from tinamou.machine.props import ON_OFF_AUTO

RAM = 0x8000_0000
FLASH = (0x2000_0000, 0x2200_0000)


@board("virt", "RISC-V VirtIO board", arch="riscv", max_cpus=512, cpu="rv64")
def virt(m: Machine, *, acpi: Annotated[str, ON_OFF_AUTO, "Enable ACPI"] = "off") -> None:
    """Everything a general-purpose guest needs: UART, RTC, flash, eight virtio slots, PCI Express."""
    harts = add_harts(m, "rv64")
    m.rom(0x0000_1000, 60 * KiB, "riscv_virt_board.mrom")
    test = m.at(0x0010_0000, SifiveTest())
    add_clint(m, 0x0200_0000, 10_000_000)
    plic = add_plic(m, 0x0C00_0000, ",".join(["MS"] * len(harts)), 96, 0x60_0000)
    m.at(0x0010_1000, GoldfishRtc(), irq=plic[11], span=0x1000)
    host = GpexHost()
    m.at(0x3000_0000, host, irq=[plic[32 + n] for n in range(4)])
    m.alias(0x0300_0000, host.io, name="gpex_ioport_window")
    m.at(0x1000_0000, Ns16550a(chardev=m.serial(0), baudbase=399193), irq=plic[10], span=0x100)
    for n in range(8):
        m.at(0x1000_1000 + 0x1000 * n, VirtioMmio(bus_name=f"virtio-mmio-bus.{n}"), irq=plic[1 + n], span=0x1000)
    fw_cfg = m.at(0x1010_0000, FwCfg())
    for n, base in enumerate(FLASH):
        m.at(base, CfiFlash01(name=f"virt.flash{n}", blocks=128, sector=256 * KiB, bank_width=4, device_width=2,
                              max_device_width=2, drive=m.drive("pflash", n)))
    m.alias(0x4000_0000, host.mmio, 0x4000_0000, 1 * GiB, name="pcie-mmio")
    ram = m.ram(RAM, m.settings.ram_size, "riscv_virt_board.ram")
    high = max(16 * GiB, 1 << (RAM + ram.size - 1).bit_length())
    m.alias(high, host.mmio, high, 16 * GiB, name="pcie-mmio-high")
    host.windows = [(0x0100_0000, 0, 0x0300_0000, 64 * KiB), (0x0200_0000, 0x4000_0000, 0x4000_0000, 1 * GiB),
                    (0x0300_0000, high, high, 16 * GiB)]
    fw_cfg.number(NB_CPUS, len(harts))
    fw_cfg.describe(m.settings)

    tree, soc = start_tree(m, "riscv-virtio,qemu", "riscv-virtio", RAM, 10_000_000)
    add_devices(m, tree, soc)
    finish_tree(m, tree, test)
    boot(m, tree, ram_base=RAM, rom_base=0x1000, firmware=f"opensbi-riscv{harts[0].facts()['xlen']}-generic-fw_dynamic.bin",
         flash=FLASH[0] if m.drive("pflash", 0) else None)


def finish_tree(m: Machine, tree: Tree, test: SifiveTest) -> None:
    """What is no device of its own: the console, power-off and reset, one node for both flash banks."""
    root, soc = tree.root, tree.root.children["soc"]
    chosen = root.add("chosen", stdout_path="/soc/serial@10000000")
    seed = m.settings.seed
    chosen["rng-seed"] = seed.to_bytes(32, "little") if seed is not None else secrets.token_bytes(32)
    handle = tree.phandle(test, soc.children["test@100000"])
    for name, value in (("poweroff", 0x5555), ("reboot", 0x7777)):
        root.add(name, compatible=f"syscon-{name}", regmap=handle, offset=0, value=value)
    soc.children["serial@10000000"]["clock-frequency"] = 3686400
    for name in ("flash@20000000", "fw-cfg@10100000"):
        root.children[name] = soc.children.pop(name)
    del soc.children["flash@22000000"]
    root.children["flash@20000000"]["reg"] = cells64(FLASH[0], 32 * MiB, FLASH[1], 32 * MiB)
