"""SPI NOR flash: JEDEC JESD216 commands; ISSI IS25LP128 / IS25WP256 and Winbond W25Q data sheets."""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar

from tinamou.devices.ssi.bus import SsiDevice
from tinamou.machine.lines import state
from tinamou.machine.props import DRIVE, PropertyError, prop

BUSY, WRITE_ENABLED = 1, 2


class Phase(Enum):
    """What the next byte is."""

    COMMAND, ADDRESS, DUMMY, READ, PROGRAM, STATUS, WRITE_STATUS, IDENTIFY, IGNORE = range(9)


ERASE = {0x20: 4 << 10, 0xD7: 4 << 10, 0x52: 32 << 10, 0xD8: 64 << 10, 0x21: 4 << 10, 0xDC: 64 << 10}
READ = {0x03: 0, 0x0B: 1, 0x3B: 1, 0x6B: 1, 0xBB: 1, 0xEB: 3, 0x13: 0, 0x0C: 1, 0x3C: 1, 0x6C: 1, 0xEC: 3}
PROGRAM = {0x02, 0x32, 0x38, 0x12, 0x34}
FOUR_BYTES = {0x13, 0x0C, 0x3C, 0x6C, 0xEC, 0x12, 0x34, 0x21, 0xDC}


class SpiNor(SsiDevice, category="Storage"):
    """A serial flash chip of `capacity` bytes; writes need the write-enable latch, programming wraps inside a page."""

    capacity: ClassVar[int] = 16 << 20
    jedec: ClassVar[bytes] = b""

    drive: Any = prop(DRIVE, default=None, help="Node name or ID of a block device to use as a backend")

    phase = state(Phase.COMMAND)
    command = state(0)
    address = state(0)
    left = state(0)
    index = state(0)
    write_enabled = state(False)
    four_bytes = state(False)
    status = state(0, keep=True)
    page = state(bytearray())

    def setup(self) -> None:
        if self.drive is None:
            self.image = bytearray(b"\xff") * self.capacity
        else:
            if self.drive.size > self.capacity:
                raise PropertyError(f"device requires {self.capacity} bytes, block backend provides {self.drive.size} bytes")
            self.image = bytearray(self.capacity)
            self.drive.read_into(0, [memoryview(self.image)[: self.drive.size]])

    def select(self, on: bool) -> None:
        if not on:
            self.finish()
        self.phase = Phase.COMMAND if on else Phase.IGNORE

    def transfer(self, byte: int) -> int:
        match self.phase:
            case Phase.COMMAND:
                self.begin(byte)
            case Phase.ADDRESS:
                self.address = self.address << 8 | byte
                self.left -= 1
                if not self.left:
                    self.address %= self.capacity
                    self.addressed()
            case Phase.DUMMY:
                self.left -= 1
                if not self.left:
                    self.phase = Phase.READ
            case Phase.READ:
                out = self.image[self.address]
                self.address = (self.address + 1) % self.capacity
                return out
            case Phase.PROGRAM:
                self.page.append(byte)
            case Phase.STATUS:
                return self.status | (WRITE_ENABLED if self.write_enabled else 0)
            case Phase.WRITE_STATUS:
                if self.write_enabled:
                    self.status = byte & 0xFC
                    self.write_enabled = False
                self.phase = Phase.IGNORE
            case Phase.IDENTIFY:
                out = self.jedec[self.index % len(self.jedec)]
                self.index += 1
                return out
        return 0

    def begin(self, command: int) -> None:
        self.command, self.address, self.index = command, 0, 0
        if command in READ or command in PROGRAM or command in ERASE:
            self.phase = Phase.ADDRESS
            self.left = 4 if command in FOUR_BYTES or self.four_bytes else 3
            return
        self.phase = Phase.IGNORE
        match command:
            case 0x05 | 0x07:
                self.phase = Phase.STATUS
            case 0x01:
                self.phase = Phase.WRITE_STATUS
            case 0x06:
                self.write_enabled = True
            case 0x04:
                self.write_enabled = False
            case 0x9F | 0x9E | 0x90 | 0xAB:
                self.phase = Phase.IDENTIFY
            case 0xB7:
                self.four_bytes = True
            case 0xE9 | 0x29:
                self.four_bytes = False
            case 0xC7 | 0x60:
                self.erase(0, self.capacity)
            case 0x66 | 0x99 | 0x00 | 0xFF | 0xB9 | 0x35 | 0xF5:
                pass
            case _:
                self.log.guest_error(f"{self.label}: unknown command {command:#04x}")

    def addressed(self) -> None:
        if self.command in READ:
            self.left = READ[self.command]
            self.phase = Phase.DUMMY if self.left else Phase.READ
        elif self.command in PROGRAM:
            self.page, self.phase = bytearray(), Phase.PROGRAM
        else:
            size = ERASE[self.command]
            self.erase(self.address & -size, size)
            self.phase = Phase.IGNORE

    def finish(self) -> None:
        """The chip select goes away: a page is programmed now."""
        if self.phase is Phase.PROGRAM and self.page:
            if not self.write_enabled:
                self.log.guest_error(f"{self.label}: page program without write enable")
            else:
                base, at = self.address & -256, self.address & 255
                for byte in self.page[-256:]:
                    self.image[base + at] &= byte
                    at = at + 1 & 255
                self.save_image(base, 256)
            self.write_enabled = False
            self.page = bytearray()

    def erase(self, base: int, size: int) -> None:
        if not self.write_enabled:
            self.log.guest_error(f"{self.label}: erase without write enable")
            return
        self.image[base : base + size] = b"\xff" * size
        self.write_enabled = False
        self.save_image(base, size)

    def save_image(self, base: int, size: int) -> None:
        if self.drive is not None and base < self.drive.size:
            self.drive.write_from(base, [memoryview(self.image)[base : min(base + size, self.drive.size)]])

    def save_more(self) -> dict[str, Any]:
        return {"image": bytes(self.image)} if self.drive is None else {}

    def load_more(self, saved: dict[str, Any]) -> None:
        if "image" in saved:
            self.image[:] = saved["image"]


class Is25wp256(SpiNor, type="is25wp256"):
    """32 MiB, on the HiFive Unleashed."""

    capacity = 32 << 20
    jedec = b"\x9d\x70\x19"


class Is25lp128(SpiNor, type="is25lp128"):
    """16 MiB, on the HiFive1."""

    capacity = 16 << 20
    jedec = b"\x9d\x60\x18"


class W25q128(SpiNor, type="w25q128"):
    """16 MiB."""

    capacity = 16 << 20
    jedec = b"\xef\x40\x18"
