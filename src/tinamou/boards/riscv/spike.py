"""The `spike` board: the machine of the RISC-V ISA simulator (its README, and `riscv,spike-bare` device tree)."""

from __future__ import annotations

from tinamou.boards.riscv.common import add_clint, add_devices, add_harts, boot, start_tree
from tinamou.devices.char.htif import Htif
from tinamou.firmware import linux, loaders
from tinamou.machine.board import board
from tinamou.machine.machine import Machine, Placed, device_region
from tinamou.machine.memory import KiB

RAM = 0x8000_0000
HTIF = 0x0100_0000


@board("spike", "RISC-V Spike board", arch="riscv", max_cpus=8, cpu="rv64", default=True)
def spike(m: Machine) -> None:
    """RAM, CLINT and the host-target interface, at the addresses an ELF file's `tohost` and `fromhost` name."""
    harts = add_harts(m, "rv64")
    m.rom(0x0000_1000, 60 * KiB, "riscv.spike.mrom")
    add_clint(m, 0x0200_0000, 10_000_000)
    m.ram(RAM, m.settings.ram_size, "riscv.spike.ram")
    firmware = f"opensbi-riscv{harts[0].facts()['xlen']}-generic-fw_dynamic.elf"
    place_htif(m, *find_htif(m, firmware))

    tree, soc = start_tree(m, "ucbbar,spike-bare,qemu", "ucbbar,spike-bare-dev", RAM, 10_000_000)
    add_devices(m, tree, soc)
    node = soc.children.pop(next(n for n in soc.children if n.startswith("htif")))
    node.name = "htif"
    tree.root.children["htif"] = node
    tree.root.add("chosen", stdout_path="/htif")
    boot(m, tree, ram_base=RAM, rom_base=0x1000, firmware=firmware)


def place_htif(m: Machine, to: int | None, from_: int) -> None:
    """The two words at the addresses of `tohost` and `fromhost`, or where firmware expects them: fromhost first."""
    if to is None:
        m.at(HTIF, Htif(chardev=m.serial(0), swapped=True), priority=1, span=0x1000)
        return
    device = Htif(chardev=m.serial(0), swapped=from_ < to, reg_in_fdt=False)
    words = device_region(device)
    for n, base in enumerate(sorted((to, from_))):
        m.alias(base, words, 8 * n, 8, name=words.name, priority=1)
    m.add(device)
    m.placed.append(Placed(device, min(to, from_), words, {}, 16))


def find_htif(m: Machine, default: str) -> tuple[int | None, int]:
    """Addresses of the symbols `tohost` and `fromhost` in the ELF file of -kernel or -bios; None when there are none."""
    bios = m.settings.bios or "default"
    for name in (m.settings.kernel, default if bios == "default" else bios):
        path = linux.find_data(m, name) if name and name != "none" else None
        if path is None:
            continue
        try:
            symbols = loaders.elf(loaders.read_file(path)).symbols
        except (OSError, loaders.ImageError):
            continue
        to, from_ = symbols.get("tohost"), symbols.get("fromhost")
        if to is not None and from_ is not None and abs(to - from_) >= 8:
            return to, from_
    return None, 0
