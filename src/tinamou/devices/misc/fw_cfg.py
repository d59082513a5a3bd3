"""Firmware configuration device: QEMU's docs/specs/fw_cfg (selector, data and DMA registers)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinamou.machine.device import Device
from tinamou.machine.lines import state
from tinamou.machine.memory import BusError
from tinamou.machine.props import BOOL, PropertyError, prop

if TYPE_CHECKING:
    from tinamou.firmware.fdt import Node
    from tinamou.machine.machine import Placed, Settings

SIGNATURE, ID, UUID, NOGRAPHIC, NB_CPUS, BOOT_MENU, FILE_DIR, FILE_FIRST = 0x00, 0x01, 0x02, 0x04, 0x05, 0x0E, 0x19, 0x20
FILE_SLOTS = 0x20
ERROR, READ, SKIP, SELECT, WRITE = 1, 2, 4, 8, 16


class FwCfg(Device, type="fw_cfg_mem", compatible="qemu,fw-cfg-mmio", node="fw-cfg", size=0x18, endian="big"):
    """Named blobs for firmware. Data at offset 0, selector at 8, DMA address at 16, all big endian."""

    dma_enabled: bool = prop(BOOL, default=True, name="dma_enabled")

    selected = state(0)
    position = state(0)
    dma_high = state(0)
    written = state(dict[str, bytes]())     # what the guest wrote into writable files

    def setup(self) -> None:
        self.items: dict[int, bytes] = {SIGNATURE: b"QEMU", ID: (3 if self.dma_enabled else 1).to_bytes(4, "little")}
        self.files: dict[str, bytes] = {}
        self.writable: set[str] = set()

    def describe(self, settings: Settings) -> None:
        """The items that say what the user wants: identity, console, boot menu; and the user's own files."""
        boot = settings.boot
        self.items[UUID] = settings.uuid
        self.number(NOGRAPHIC, settings.nographic)
        self.number(BOOT_MENU, boot.get("menu") == "on")
        self.file("etc/boot-fail-wait", int(boot.get("reboot-timeout", -1)).to_bytes(4, "little", signed=True))
        if "splash-time" in boot:
            self.file("etc/boot-menu-wait", int(boot["splash-time"]).to_bytes(2, "little"))
        for name, data in settings.fw_cfg:
            self.file(name, data)

    def number(self, key: int, value: int, size: int = 2) -> None:
        """A fixed item: a little-endian number."""
        self.items[key] = value.to_bytes(size, "little")

    def file(self, name: str, data: bytes, writable: bool = False) -> None:
        """A named file. Raises PropertyError for a name too long, given twice, or one too many."""
        if len(name.encode()) > 55:
            raise PropertyError(f"name too long (max. 55 char): '{name}'")
        if name in self.files:
            raise PropertyError(f"duplicate fw_cfg file name: {name}")
        if len(self.files) >= FILE_SLOTS:
            raise PropertyError("too many fw_cfg files")
        self.files[name] = data
        if writable:
            self.writable.add(name)

    def content(self, key: int) -> bytes:
        if key == FILE_DIR:
            out = len(self.files).to_bytes(4, "big")
            for i, name in enumerate(sorted(self.files)):
                out += len(self.files[name]).to_bytes(4, "big") + (FILE_FIRST + i).to_bytes(2, "big") + bytes(2)
                out += name.encode().ljust(56, b"\0")
            return out
        name_ = self.name_of(key)
        if name_ is not None:
            return self.written.get(name_, self.files[name_])
        return self.items.get(key & 0x3FFF, b"")

    def name_of(self, key: int) -> str | None:
        n = (key & 0x3FFF) - FILE_FIRST
        names = sorted(self.files)
        return names[n] if 0 <= n < len(names) else None

    def take(self, size: int) -> bytes:
        data = self.content(self.selected)[self.position : self.position + size]
        self.position += size
        return data.ljust(size, b"\0")

    def read(self, offset: int, size: int) -> int:
        if offset + size <= 8:
            return int.from_bytes(self.take(size), "big")
        if offset >= 16 and self.dma_enabled:
            return int.from_bytes(b"QEMU CFG"[offset - 16 : offset - 16 + size], "big")
        return 0

    def write(self, offset: int, value: int, size: int) -> None:
        if offset == 8 and size == 2:
            self.selected, self.position = value, 0
        elif self.dma_enabled and (offset, size) == (16, 8):
            self.dma(value)
        elif self.dma_enabled and (offset, size) == (16, 4):
            self.dma_high = value
        elif self.dma_enabled and (offset, size) == (20, 4):
            self.dma(self.dma_high << 32 | value)
            self.dma_high = 0
        else:
            self.log.guest_error(f"{self.label}: write of {value:#x} ({size} bytes) at offset {offset:#x}")

    def dma(self, address: int) -> None:
        """Perform the request at a guest address: control, length (u32 each), address (u64), big endian."""
        assert self.machine is not None
        memory = self.machine.memory
        try:
            request = memory.load(address, 16)
        except BusError:
            self.log.guest_error(f"{self.label}: DMA request at {address:#x} is not in memory")
            return
        control, length = int.from_bytes(request[:4], "big"), int.from_bytes(request[4:8], "big")
        target = int.from_bytes(request[8:], "big")
        if control & SELECT:
            self.selected, self.position = control >> 16, 0
        result = 0
        try:
            if control & READ:
                data = self.content(self.selected)[self.position : self.position + length]
                memory.store(target, data)
                for at in range(len(data), length, 1 << 20):
                    memory.store(target + at, bytes(min(1 << 20, length - at)))
                self.position += length
            elif control & WRITE:
                result = self.put(length, target)
            elif control & SKIP:
                self.position += length
        except BusError:
            result = ERROR
        memory.store(address, result.to_bytes(4, "big"))

    def put(self, length: int, source: int) -> int:
        name = self.name_of(self.selected)
        if name is None or name not in self.writable or self.position + length > len(self.files[name]):
            return ERROR
        assert self.machine is not None
        data = bytearray(self.content(self.selected))
        data[self.position : self.position + length] = self.machine.memory.load(source, length)
        self.written[name] = bytes(data)
        self.position += length
        return 0

    def fdt(self, node: Node, placed: Placed) -> None:
        node["dma-coherent"] = True
