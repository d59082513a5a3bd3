"""MSI-X: interrupts as memory writes. PCI Local Bus Specification 3.0, 6.8.2."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from tinamou.devices.pci.core import BUS_MASTER, COMMAND
from tinamou.machine.memory import BusError, Io

if TYPE_CHECKING:
    from tinamou.devices.pci.core import PciFunction

CAPABILITY = 0x11
ENABLE, MASK = 0x8000, 0x4000           # message control
ENTRY = struct.Struct("<QII")           # address, data, vector control (bit 0: masked)
LIMIT = 2048                            # vectors of a function


class Msix:
    """The table and the pending bits of `count` vectors, in the lower and the upper half of base address register `bar`."""

    def __init__(self, function: PciFunction, count: int, bar: int) -> None:
        self.function, self.count = function, count
        self.half = max(0x800, 1 << (16 * count - 1).bit_length())
        function.base(bar, Io(f"{function.type_name}-msix", 2 * self.half, self))
        self.at = function.capability(CAPABILITY, struct.pack("<HII", count - 1, bar, self.half | bar))
        function.allow(self.at + 2, ENABLE | MASK, 2)
        self.reset()

    def reset(self) -> None:
        """Every vector is masked."""
        self.table = bytearray(ENTRY.pack(0, 0, 1) * self.count)
        self.pending = 0

    @property
    def enabled(self) -> bool:
        return bool(self.function.get(self.at + 2, 2) & ENABLE)

    def fire(self, vector: int) -> None:
        """The function interrupts by this vector; while it is masked that waits."""
        if vector < self.count:
            self.pending |= 1 << vector
            self.send()

    def send(self) -> None:
        """Write the messages that wait and may be written."""
        if not self.enabled or self.function.get(self.at + 2, 2) & MASK or not self.function.get(COMMAND, 2) & BUS_MASTER:
            return
        waiting = self.pending
        for n in range(waiting.bit_length()):
            address, data, control = ENTRY.unpack_from(self.table, 16 * n)
            if waiting >> n & 1 and not control & 1:
                self.pending &= ~(1 << n)
                self.message(address, data)

    def message(self, address: int, data: int) -> None:
        machine = self.function.machine
        assert machine is not None
        try:
            machine.memory.write(address & ~3, int.from_bytes(data.to_bytes(4, "little"), machine.memory.endian), 4)
        except BusError:
            self.function.log.guest_error(f"{self.function.label}: message to {address:#x}, where nothing is")

    # --- the base address register

    def read(self, offset: int, size: int) -> int:
        if offset < self.half:
            content: bytes | bytearray = self.table
        else:
            content, offset = self.pending.to_bytes(-(-self.count // 64) * 8, "little"), offset - self.half
        return int.from_bytes(content[offset : offset + size].ljust(size, b"\0"), "little")

    def write(self, offset: int, value: int, size: int) -> None:
        if offset + size > len(self.table):
            self.function.log.guest_error(f"{self.function.label}: write at {offset:#x} behind the vectors of MSI-X")
            return
        self.table[offset : offset + size] = value.to_bytes(size, "little")
        self.send()

    # --- snapshot

    def save(self) -> dict[str, Any]:
        return {"table": bytes(self.table), "pending": self.pending}

    def load(self, saved: dict[str, Any]) -> None:
        self.table[:], self.pending = saved["table"], saved["pending"]


__all__ = ["LIMIT", "Msix"]
