"""Serial EEPROMs AT24C01 to AT24C512: Microchip data sheets DS20006270 (AT24C32), Atmel doc0180 (AT24C02-16)."""

from __future__ import annotations

from typing import Any

from tinamou.devices.i2c.bus import I2cDevice
from tinamou.machine.device import timer
from tinamou.machine.lines import state
from tinamou.machine.props import DRIVE, SIZE, U8, PropertyError, prop

WRITE_CYCLE = 5_000_000        # ns


class At24c(I2cDevice, type="at24c-eeprom", category="Storage", desc="I2C EEPROM of the 24C family"):
    """Up to 2 KiB: one address byte, the upper bits in the device address; above: two address bytes."""

    address: int = prop(U8, default=0x50)
    size_: int = prop(SIZE, default=4096, help="bytes: a power of two from 128 to 65536", name="rom-size")
    drive: Any = prop(DRIVE, default=None, help="where the content is kept")

    pointer = state(0)
    need = state(0)             # address bytes to come
    page = state(bytearray())   # bytes of the page write so far, at `page_at`
    page_at = state(0)
    busy = state(False)

    def setup(self) -> None:
        n = self.size_
        if n & n - 1 or not 128 <= n <= 65536:
            raise PropertyError(f"Property '{self.type_name}.rom-size' doesn't take value {n}: a power of two from 128 to 65536")
        self.wide = n > 2048
        self.page_size = 8 if n <= 256 else 16 if n <= 2048 else 32 if n <= 8192 else 64 if n <= 32768 else 128
        self.content = bytearray(b"\xff" * n)
        drive = self.drive
        if drive is not None:
            if drive.size != n:
                raise PropertyError(f"'{self.type_name}' of {n} bytes cannot be kept in a drive of {drive.size} bytes",
                                    f"use rom-size={drive.size} or a file of {n} bytes")
            drive.read_into(0, [memoryview(self.content)])

    def answers(self, address: int) -> bool:
        blocks = 1 if self.wide else max(1, self.size_ // 256)
        return self.address <= address < self.address + blocks

    def start(self, address: int, read: bool) -> bool:
        if self.busy:
            return False
        if not self.wide:
            self.pointer = self.pointer & 0xFF | (address - self.address) << 8
        self.need = 0 if read else 1 + self.wide
        self.page = bytearray()
        return True

    def receive(self, byte: int) -> bool:
        if self.need:
            self.need -= 1
            if self.wide:
                self.pointer = (self.pointer << 8 | byte) & self.size_ - 1
            else:
                self.pointer = (self.pointer & ~0xFF | byte) & self.size_ - 1
            self.page_at = self.pointer
            return True
        self.page.append(byte)
        low = self.page_size - 1
        self.pointer = self.pointer & ~low | self.pointer + 1 & low      # wraps inside the page
        return True

    def transmit(self) -> int:
        value = self.content[self.pointer]
        self.pointer = (self.pointer + 1) % self.size_
        return value

    def stop(self) -> None:
        if self.page:
            base, at = self.page_at & ~(self.page_size - 1), self.page_at
            for n, byte in enumerate(self.page):
                self.content[base + (at - base + n) % self.page_size] = byte
            if self.drive is not None:
                self.drive.write_from(base, [memoryview(bytes(self.content[base : base + self.page_size]))])
            self.page = bytearray()
            self.busy = True
            self.written.after(WRITE_CYCLE)

    @timer
    def written(self) -> None:
        """The internal write cycle is over: the part acknowledges its address again."""
        self.busy = False

    def save_more(self) -> dict[str, object]:
        return {"content": bytes(self.content)}

    def load_more(self, saved: dict[str, bytes]) -> None:
        self.content[:] = saved["content"]
