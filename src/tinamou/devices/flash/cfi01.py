"""Parallel NOR flash, Intel command set: JEDEC JESD68.01 (CFI), Intel 28F128J3 StrataFlash data sheet tables 4 and 9."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from tinamou.machine.device import Device, ResetKind
from tinamou.machine.lines import state
from tinamou.machine.memory import Region, RomDevice
from tinamou.machine.props import BOOL, DRIVE, SIZE, STR, U8, U16, U32, PropertyError, prop

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed

READY, FAILED = 0x80, 0x30              # status: ready; erase and program error
BUFFER_LOG2 = 11                        # 2 KiB write buffer in each chip


class Mode(Enum):
    """What the next bus cycle means."""

    ARRAY, STATUS, IDENTIFY, QUERY = "array", "status", "identify", "query"
    PROGRAM, ERASE, COUNT, FILL, CONFIRM, LOCK = "program", "erase", "count", "fill", "confirm", "lock"


class CfiFlash01(Device, type="cfi.pflash01", compatible="cfi-flash", node="flash", category="Storage"):
    """One or more chips side by side on a bus of `width` bytes, each answering on its own lanes."""

    drive: Any = prop(DRIVE, default=None, help="Node name or ID of a block device to use as a backend")
    blocks: int = prop(U32, default=0, name="num-blocks")
    sector: int = prop(SIZE, default=0, name="sector-length", help="bytes of an erase block on the whole bus")
    bank_width: int = prop(U8, default=0, name="width", help="bytes of the bus")
    device_width: int = prop(U8, default=0, help="bytes one chip uses of it; 0 is the whole bus")
    max_device_width: int = prop(U8, default=0, help="bytes one chip could use")
    big_endian: bool = prop(BOOL, default=False)
    read_only: bool = prop(BOOL, default=False, hidden=True)
    id0: int = prop(U16, default=0x89)
    id1: int = prop(U16, default=0x18)
    id2: int = prop(U16, default=0)
    id3: int = prop(U16, default=0)
    name: str = prop(STR, default="")

    mode = state(Mode.ARRAY)
    status = state(READY)
    left = state(0)                     # words the write buffer still expects
    pending = state(list[tuple[int, int, int]]())

    def setup(self) -> None:
        required: tuple[tuple[str, object], ...] = (("sector-length", self.sector), ("num-blocks", self.blocks),
                                                   ("name", self.name))
        for key, value in required:
            if not value:
                raise PropertyError(f'attribute "{key}" not specified or zero.' if key != "name"
                                    else 'attribute "name" not specified.')
        chip = self.device_width or self.bank_width
        self.chips = self.bank_width // chip
        self.chip_bits = 8 * chip
        self.total = self.blocks * self.sector
        self.step = self.bank_width * (self.max_device_width or chip) // chip
        self.id = self.name
        self.rom = RomDevice(self.name, self.total, self, endian="big" if self.big_endian else "little",
                             access=(1, 8), implemented=(1, 4))
        if self.drive is not None:
            if self.drive.size != self.total:
                raise PropertyError(f"device requires {self.total} bytes, block backend provides {self.drive.size} bytes")
            self.drive.read_into(0, [self.rom.buffer])
        self.used = bytearray(b"\1" if self.drive else b"\0") * self.blocks     # per sector: was it ever written?
        block, n = self.sector // self.chips, self.blocks - 1
        self.table = bytes(0x10) + b"QRY" + bytes([
            1, 0, 0x31, 0, 0, 0, 0, 0,                                      # 13: Intel command set, extended table
            0x45, 0x55, 0, 0, 7, 7, 10, 0, 4, 4, 4, 0,                      # 1b: volts, times
            (self.total // self.chips).bit_length() - 1, 2, 0,              # 27: size, x8 and x16
            BUFFER_LOG2, 0, 1,                                              # 2a: write buffer, one erase region
            n & 255, n >> 8, block >> 8 & 255, block >> 16]) \
            + b"PRI10" + bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 1])               # 31: version 1.0, one protection field

    def region(self) -> Region:
        return self.rom

    def on_reset(self, kind: ResetKind) -> None:
        self.enter(Mode.ARRAY)

    def enter(self, mode: Mode) -> None:
        self.mode = mode
        self.rom.direct = mode is Mode.ARRAY

    # --- reads

    def read(self, offset: int, size: int) -> int:
        match self.mode:
            case Mode.ARRAY:
                return int.from_bytes(self.rom.buffer[offset : offset + size], self.rom.io.endian)
            case Mode.IDENTIFY:
                ids = (self.id0 << 8 | self.id1, self.id2 << 8 | self.id3) if self.chip_bits == 8 else (self.id0, self.id1)
                n = offset % self.sector // self.step       # each block answers
                return self.on_all_chips(offset, size, lambda _: ids[n] if n < 2 else 0)
            case Mode.QUERY:
                return self.on_all_chips(offset, size, lambda n: self.table[n] if n < len(self.table) else 0)
            case _:
                return self.on_all_chips(offset, size, lambda _: self.status)

    def on_all_chips(self, offset: int, size: int, answer: Any) -> int:
        """Every chip puts its answer on its own lanes; a narrow read sees a chip's low byte."""
        chip = self.chip_bits // 8
        out = 0
        for byte in range(0, size, chip):
            out |= answer((offset + byte) // self.step) << 8 * byte
        return out & (1 << 8 * size) - 1

    # --- commands

    def write(self, offset: int, value: int, size: int) -> None:
        command = value & 0xFF
        match self.mode:
            case Mode.PROGRAM:
                self.program(offset, value, size)
                self.enter(Mode.STATUS)
            case Mode.COUNT:
                self.left = (value & (1 << self.chip_bits) - 1) + 1
                if self.left * self.bank_width > (1 << BUFFER_LOG2) * self.chips:
                    self.refuse(f"write buffer of {self.left} words")
                else:
                    self.pending = []
                    self.mode = Mode.FILL
            case Mode.FILL:
                self.pending.append((offset, value, size))
                self.left -= 1
                if not self.left:
                    self.mode = Mode.CONFIRM
            case Mode.CONFIRM:
                if command == 0xD0:
                    for cycle in self.pending:
                        self.program(*cycle)
                    self.enter(Mode.STATUS)
                else:
                    self.refuse(f"confirmation {command:#04x}")
                self.pending = []
            case Mode.ERASE:
                if command == 0xD0:
                    self.erase(offset - offset % self.sector)
                    self.enter(Mode.STATUS)
                else:
                    self.refuse(f"confirmation {command:#04x}")
            case Mode.LOCK:
                if command in (0x01, 0xD0):
                    self.enter(Mode.STATUS)
                else:
                    self.refuse(f"lock command {command:#04x}")
            case _:
                self.command(command)

    def command(self, command: int) -> None:
        match command:
            case 0x10 | 0x40:
                self.enter(Mode.PROGRAM)
            case 0x20 | 0x28:
                self.enter(Mode.ERASE)
            case 0xE8:
                self.enter(Mode.COUNT)
            case 0x50:
                self.status = READY
                self.enter(Mode.ARRAY)
            case 0x60:
                self.enter(Mode.LOCK)
            case 0x70:
                self.enter(Mode.STATUS)
            case 0x90:
                self.enter(Mode.IDENTIFY)
            case 0x98:
                self.enter(Mode.QUERY)
            case 0x00 | 0xF0 | 0xFF:
                self.enter(Mode.ARRAY)
            case _:
                self.refuse(f"command {command:#04x}")

    def refuse(self, what: str) -> None:
        self.log.guest_error(f"{self.label}: unexpected {what}")
        self.enter(Mode.ARRAY)

    def program(self, offset: int, value: int, size: int) -> None:
        """Programming only clears bits. A sector without a drive reads as zeros, but programs like an erased one."""
        if self.read_only:
            self.status |= FAILED & 0x10
            return
        buffer = self.rom.buffer
        sector = offset // self.sector
        if not self.used[sector]:
            self.used[sector] = 1
            buffer[sector * self.sector : (sector + 1) * self.sector] = b"\xff" * self.sector
        data = value.to_bytes(size, self.rom.io.endian)
        for i, byte in enumerate(data):
            buffer[offset + i] &= byte
        self.changed(offset, size)

    def erase(self, base: int) -> None:
        if self.read_only:
            self.status |= FAILED & 0x20
            return
        self.used[base // self.sector] = 1
        self.rom.buffer[base : base + self.sector] = b"\xff" * self.sector
        self.changed(base, self.sector)

    def changed(self, offset: int, size: int) -> None:
        self.rom.wrote(offset, size)
        if self.drive is not None:
            try:
                self.drive.write_from(offset, [self.rom.buffer[offset : offset + size]])
            except OSError as e:
                self.status |= FAILED
                self.log.guest_error(f"{self.label}: cannot save to its file: {e.strerror}")

    # --- snapshot and device tree

    def save_more(self) -> dict[str, Any]:
        return {"used": bytes(self.used)}

    def load_more(self, saved: dict[str, Any]) -> None:
        self.used = bytearray(saved["used"])
        self.pending = [tuple(cycle) for cycle in self.pending]  # type: ignore[misc]
        self.rom.direct = self.mode is Mode.ARRAY

    def fdt(self, node: Node, placed: Placed) -> None:
        node["bank-width"] = self.bank_width
