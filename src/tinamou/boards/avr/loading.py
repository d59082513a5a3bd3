"""The program of a microcontroller: `-bios` or `-drive if=mtd`, as ELF, Intel HEX or raw bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinamou.boards.avr.base import MACHINES
from tinamou.firmware import linux, loaders
from tinamou.machine.machine import Machine
from tinamou.machine.props import PropertyError

if TYPE_CHECKING:
    from tinamou.boards.avr.common import Mcu

DATA, EEPROM, FUSES, LOCK = 0x80_0000, 0x81_0000, 0x82_0000, 0x83_0000    # where the GNU tools put what is not flash
LIMIT = 64 << 20                                            # bytes: more than any program file has


def load_firmware(m: Machine, mcu: Mcu, title: str) -> None:
    """Put the program into flash (and EEPROM and fuses, if it brings content for them). Raises PropertyError."""
    m.memory.store_rom(0, b"\xff" * mcu.part.flash)
    name, drive = m.settings.bios, m.drive("mtd", 0)
    if name not in (None, "none", "default"):
        assert name is not None
        try:
            data = loaders.read_file(linux.find_data(m, name) or name, LIMIT)
        except OSError as e:
            raise PropertyError(f"Unable to find firmware image '{name}'", e.strerror or "") from None
        except loaders.ImageError as e:
            raise PropertyError(f"Unable to load firmware image '{name}': {e}") from None
    elif drive is not None:
        name = drive.filename or drive.id
        if drive.size > LIMIT:
            raise PropertyError(f"Unable to load firmware image '{name}': it has {drive.size} bytes")
        buffer = bytearray(drive.size)
        drive.read_into(0, [memoryview(buffer)])
        data = bytes(buffer)
        if data[:1] == b":" or (data[:4] != b"\x7fELF" and not any(data[mcu.part.flash :])):
            data = data.rstrip(b"\0")           # images are padded to whole sectors
    else:
        return
    place(m, mcu, title, name, data)


def place(m: Machine, mcu: Mcu, title: str, name: str, data: bytes) -> None:
    """Check that the program is for this part and fits, then write it."""
    part = mcu.part
    wrong = f"Unable to load firmware image '{name}'"
    try:
        image = loaders.intel_hex(data) if re.match(rb":[0-9A-Fa-f]{10}", data) else loaders.load(data)
    except loaders.ImageError as e:
        raise PropertyError(f"{wrong}: {e}") from None
    if image.kind == "elf":
        if image.machine != "avr":
            raise PropertyError(f"{wrong}: it is for {image.machine}, not for avr", f"build it with avr-gcc -mmcu={part.name.lower()}")
        mach = MACHINES.get(image.flags & 0x7F, f"machine {image.flags & 0x7F}")
        if mach != part.mach:
            raise PropertyError(f"Current machine: {title} with '{part.mach}' CPU\nELF image '{name}' is for '{mach}' CPU",
                                f"build it with avr-gcc -mmcu={part.name.lower()}")
        if image.entry:
            raise PropertyError(f"{wrong}: its entry point is {image.entry:#x}, the part starts at 0")
    code = [s for s in image.segments if s.data and s.address < EEPROM]
    for s in code:
        if s.address + len(s.data) > part.flash:
            what = f"it has {len(s.data)} bytes" if image.kind == "raw" else f"it reaches address {s.address + len(s.data) - 1:#x}"
            raise PropertyError(f"{wrong}: {what}, but the flash of {part.name} has {part.flash} bytes (0 to {part.flash - 1:#x})")
    for s in image.segments:
        if s.data and EEPROM <= s.address < FUSES:
            mcu.eeprom.fill(s.address - EEPROM, s.data)
        elif s.data and s.address in (FUSES, LOCK):
            mcu.set_fuses(mcu.fuses.from_program(*((s.data, b"") if s.address == FUSES else (b"", s.data))))
    for s in code:
        m.memory.store_rom(s.address, s.data)
