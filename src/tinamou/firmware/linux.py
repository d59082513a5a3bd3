"""Starting firmware and Linux on RISC-V: where things go in RAM, the reset code, the dynamic-firmware record.

Documents: Documentation/arch/riscv/boot.rst of Linux (a0 = hart, a1 = device tree); OpenSBI docs/firmware/fw_dynamic.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinamou.firmware import loaders
from tinamou.firmware.fdt import FdtError, Tree, cells64
from tinamou.firmware.loaders import Image, ImageError
from tinamou.machine.memory import BusError, MiB
from tinamou.machine.props import PropertyError

if TYPE_CHECKING:
    from tinamou.machine.machine import Machine

OSBI = 0x4942534F                       # "OSBI"
SEARCH = ("/usr/share/tinamou", "/usr/local/share/qemu", "/usr/share/qemu")
DEBIAN_OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"


def find_data(m: Machine, name: str) -> Path | None:
    """A firmware file by path, or by name in `-L` folders and the system's."""
    for folder in ("", *m.settings.data_dirs, *SEARCH):
        path = Path(folder) / name if folder else Path(name)
        if path.is_file():
            return path
    return None


def reason(e: Exception) -> str:
    """Why a file was not loaded, in words."""
    return e.strerror or str(e) if isinstance(e, OSError) else str(e)


def place(m: Machine, name: str, image: Image) -> None:
    """Put every piece into memory now and at each reset. Raises PropertyError when something lies outside."""
    for i, s in enumerate(image.segments):
        try:
            m.memory.require(s.address, s.size)  # before that many bytes are made
            m.blob(name if not i else f"{name}#{i}", s.address, s.data.ljust(s.size, b"\0"))
        except BusError:
            raise PropertyError(f"could not load '{name}': {s.address:#x}-{s.address + s.size - 1:#x} is not memory "
                                f"of machine {m.name}", f"it has {m.settings.ram_size >> 10} KiB of RAM (-m)") from None


def load_firmware(m: Machine, start: int, default: str) -> int:
    """`-bios`: load it at `start` (ELF where it says); returns the first free address. Raises PropertyError."""
    name = m.settings.bios or "default"
    if name == "none":
        return start
    if name == "default":
        path = find_data(m, default)
        if path is None and Path(DEBIAN_OPENSBI).is_file() and "64" in default:
            path = Path(DEBIAN_OPENSBI)
        if path is None:
            raise PropertyError(f'Unable to load the RISC-V firmware "{default}"',
                                "install the package `opensbi`, or use -bios FILE or -bios none")
    else:
        path = find_data(m, name)
        if path is None:
            raise PropertyError(f'Unable to load the RISC-V firmware "{name}"',
                                "no such file, neither as it stands nor in the folders of -L and the system's")
    try:
        image = loaders.load(loaders.read_file(path), start)
    except (OSError, ImageError) as e:
        raise PropertyError(f"could not load firmware '{path}'", reason(e)) from None
    check_architecture(m, image, str(path))
    place(m, str(path), image)
    return image.high


def check_architecture(m: Machine, image: Image, path: str) -> None:
    if image.machine and image.machine != "riscv":
        raise PropertyError(f"'{path}' is built for {image.machine}, this machine is riscv")
    xlen = m.cpus[-1].facts().get("xlen") if m.cpus else None
    if image.bits and xlen and image.bits != xlen:
        raise PropertyError(f"'{path}' is a {image.bits}-bit program, the CPU has {xlen} bits")


def load_kernel(m: Machine, firmware_end: int, xlen: int) -> Image | None:
    """`-kernel`: behind the firmware at the next 2 MiB (4 MiB for 32 bits). Raises PropertyError."""
    name = m.settings.kernel
    if name is None:
        for option, value in (("-append", m.settings.append), ("-initrd", m.settings.initrd)):
            if value:
                raise PropertyError(f"{option} only allowed with -kernel option")
        return None
    unit = 2 * MiB if xlen == 64 else 4 * MiB
    start = -(-firmware_end // unit) * unit
    try:
        data = loaders.read_file(name)
        if data[:2] == b"\x1f\x8b":
            data = loaders.gunzip(data)
        image = loaders.load(data, start)
        if len(data) < (size := loaders.portable_size(data)):
            raise ImageError(f"it is cut short: {len(data)} bytes of at least {size}")
    except (OSError, ImageError) as e:
        raise PropertyError(f"could not load kernel '{name}'", reason(e)) from None
    check_architecture(m, image, name)
    header = loaders.linux_image(image.segments[0].data) if image.kind == "raw" else None
    place(m, name, image)
    if header and image.segments[0].address + header.image_size > _ram_end(m, start):
        raise PropertyError(f"kernel '{name}' needs {header.image_size} bytes of memory at {start:#x}, "
                            f"more than the {m.settings.ram_size} of this machine (-m)")
    return image


def _ram_end(m: Machine, address: int) -> int:
    r = m.memory.find(address)
    return r.base + r.size if r else address


def load_initrd(m: Machine, kernel_start: int, tree: Tree) -> None:
    """`-initrd`: half of RAM, at most 512 MiB, behind the kernel; its place goes into /chosen."""
    name = m.settings.initrd
    if not name:
        return
    start = kernel_start + min(m.settings.ram_size // 2, 512 * MiB)
    try:
        data = loaders.read_file(name)
        m.blob(name, start, data)
    except (OSError, ImageError) as e:
        raise PropertyError(f"could not load ramdisk '{name}'", reason(e)) from None
    except BusError:
        raise PropertyError(f"could not load ramdisk '{name}'",
                            f"its {len(data)} bytes do not fit at {start:#x}: give the machine more memory (-m)") from None
    chosen = tree.root.add("chosen")
    chosen["linux,initrd-start"] = cells64(start)
    chosen["linux,initrd-end"] = cells64(start + len(data))


def fdt_address(ram_base: int, ram_size: int, size: int) -> int:
    """The device tree lies below the end of RAM and below 3 GiB, aligned to 2 MiB."""
    end = ram_base + ram_size
    limit = min(end, 3072 * MiB) if ram_base < 3072 * MiB else end
    return limit - size & -2 * MiB


def load_fdt(m: Machine, tree: Tree, ram_base: int, ram_size: int) -> int:
    """Put the device tree (or the file of `-dtb`) into RAM; returns its address."""
    if m.settings.dtb:
        try:
            tree = Tree.unpack(loaders.read_file(m.settings.dtb, 16 * MiB))
        except (OSError, FdtError, ImageError) as e:
            raise PropertyError(f"Couldn't open dtb file {m.settings.dtb}", reason(e)) from None
        if m.settings.append:
            tree.root.add("chosen", bootargs=m.settings.append)
    m.fdt = tree
    data = tree.pack()
    address = fdt_address(ram_base, ram_size, len(data))
    m.blob("fdt", address, tree.pack(-(-len(data) // 8) * 8))
    return address


@dataclass(frozen=True)
class ResetCode:
    """The code at the reset vector: hart id to a0, device tree to a1, firmware record to a2, jump to `start`."""

    start: int
    fdt: int
    kernel: int
    xlen: int

    def pack(self, pad: int = 0) -> bytes:
        """The code, the two addresses, `pad` bytes, the record."""
        load = 0x0202B583 if self.xlen == 64 else 0x0202A583           # ld|lw a1, 32(t0)
        load_start = 0x0182B283 if self.xlen == 64 else 0x0182A283     # ld|lw t0, 24(t0)
        code = struct.pack("<6I", 0x00000297,                          # auipc t0, 0
                           40 + pad << 20 | 0x28613,                   # addi a2, t0, 40 + pad
                           0xF1402573,                                 # csrr a0, mhartid
                           load, load_start,
                           0x00028067)                                 # jr t0
        word = "<Q" if self.xlen == 64 else "<I"
        code += struct.pack("<QQ", self.start, self.fdt) + bytes(pad)
        record = b"".join(struct.pack(word, v) for v in (OSBI, 2, self.kernel, 1, 0, 0))
        return code + record
