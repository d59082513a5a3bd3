"""PCI functions and buses: PCI Local Bus Specification 3.0, chapter 6; PCI Express Base 4.0, 7.2.2 (ECAM)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tinamou.machine.bus import Bus
from tinamou.machine.device import Device, ResetKind
from tinamou.machine.lines import line, state
from tinamou.machine.memory import BusError, Region
from tinamou.machine.props import BOOL, PCI_ADDRESS, STR, PropertyError, prop

if TYPE_CHECKING:
    from collections.abc import Callable

VENDOR, DEVICE, COMMAND, STATUS, REVISION, CLASS, HEADER, BAR, SUBSYSTEM, CAPABILITIES, LINE, PIN = (
    0x00, 0x02, 0x04, 0x06, 0x08, 0x09, 0x0E, 0x10, 0x2C, 0x34, 0x3C, 0x3D)
IO_SPACE, MEMORY_SPACE, BUS_MASTER, NO_INTX = 1, 2, 4, 0x400
HAS_CAPABILITIES, INTERRUPT_STATUS = 0x10, 0x08
FULL = 4096


class PciFunction(Device, bus="PCI", user_creatable=True):
    """A function with a configuration space and up to six base address registers.

    Class attributes `vendor`, `product`, `class_code`, `revision` fill the header; `setup` adds regions with `bar` and
    capabilities with `capability`.
    """

    vendor: ClassVar[int] = 0x1B36
    product: ClassVar[int] = 0
    class_code: ClassVar[int] = 0
    revision: ClassVar[int] = 0
    pin: ClassVar[int] = 1

    addr: int = prop(PCI_ADDRESS, default=-1, help="Slot and optional function number, example: 06.0 or 06")
    romfile: str = prop(STR, default="")
    multifunction: bool = prop(BOOL, default=False, help="on/off")

    raised = state(False)

    def setup(self) -> None:
        self.slot = -1
        self.pci: PciBus | None = None
        self.config = bytearray(FULL)
        self.writable = bytearray(FULL)
        self.clears = bytearray(FULL)           # write 1 to clear
        self.bars: dict[int, tuple[Region, int, int]] = {}      # number -> (region, size, flags)
        self.mapped: dict[int, int] = {}
        self._next_capability = 0x40
        self.set(VENDOR, self.vendor, 2)
        self.set(DEVICE, self.product, 2)
        self.set(REVISION, self.revision, 1)
        self.set(CLASS, self.class_code, 3)
        self.set(SUBSYSTEM, 0x1AF4, 2)
        self.set(SUBSYSTEM + 2, 0x1100, 2)
        self.set(PIN, self.pin, 1)
        self.allow(COMMAND, IO_SPACE | MEMORY_SPACE | BUS_MASTER | NO_INTX | 0x140, 2)
        self.allow(LINE, 0xFF, 1)
        self.allow(0x0C, 0xFF, 1)
        self.declare()
        self.initial = bytes(self.config)

    def declare(self) -> None:
        """Add base address registers and capabilities."""

    # --- building

    def set(self, offset: int, value: int, size: int) -> None:
        self.config[offset : offset + size] = value.to_bytes(size, "little")

    def allow(self, offset: int, mask: int, size: int) -> None:
        """Bits a guest may write."""
        self.writable[offset : offset + size] = mask.to_bytes(size, "little")

    def get(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def base(self, number: int, region: Region, *, io: bool = False, wide: bool = False, prefetch: bool = False) -> None:
        """Base address register `number` decodes `region`, whose size is a power of two."""
        size = region.size
        flags = 1 if io else (4 if wide else 0) | (8 if prefetch else 0)
        self.bars[number] = (region, size, flags)
        self.set(BAR + 4 * number, flags, 4)
        bits = 8 if wide else 4
        self.allow(BAR + 4 * number, (1 << 8 * bits) - size & ~(3 if io else 15), bits)

    def capability(self, ident: int, body: bytes) -> int:
        """Add a capability (its first two bytes are made here); returns its offset."""
        at = self._next_capability
        self.config[at] = ident
        self.config[at + 1] = 0
        self.config[at + 2 : at + 2 + len(body)] = body
        link = CAPABILITIES
        while self.config[link]:
            link = self.config[link] + 1
        self.config[link] = at
        self._next_capability = at + 2 + len(body) + 3 & ~3
        self.set(STATUS, self.get(STATUS, 2) | HAS_CAPABILITIES, 2)
        return at

    # --- configuration accesses

    def read_config(self, offset: int, size: int) -> int:
        if offset <= STATUS < offset + size:
            self.set(STATUS, self.get(STATUS, 2) & ~INTERRUPT_STATUS | (INTERRUPT_STATUS if self.raised else 0), 2)
        return self.get(offset, size)

    def write_config_space(self, offset: int, value: int, size: int) -> None:
        for i, byte in enumerate(value.to_bytes(size, "little")):
            at = offset + i
            mask = self.writable[at]
            self.config[at] = (self.config[at] & ~mask | byte & mask) & ~(byte & self.clears[at])
        if (offset < BAR + 24 and offset + size > BAR) or offset <= COMMAND + 1:
            self.remap()
        self.configured()
        self.settle()

    def configured(self) -> None:
        """The guest has written into the configuration space."""

    def remap(self) -> None:
        """Show the regions where the base address registers say, as far as the command register allows."""
        if self.pci is None:
            return
        command = self.get(COMMAND, 2)
        for number, (region, size, flags) in self.bars.items():
            wide = flags & 4 and not flags & 1
            address = self.get(BAR + 4 * number, 8 if wide else 4) & ~(3 if flags & 1 else 15)
            on = command & (IO_SPACE if flags & 1 else MEMORY_SPACE)
            limit = self.pci.io.size if flags & 1 else self.pci.memory.size
            want = address if on and address and address + size <= limit else -1
            have = self.mapped.get(number, -1)
            if want == have:
                continue
            space = self.pci.io if flags & 1 else self.pci.memory
            if have >= 0:
                space.remove(region)
            if want >= 0:
                space.add(want, region, 1, overlap=True)
            self.mapped[number] = want

    # --- interrupts

    @line
    def intx(self) -> bool:
        return self.raised and not self.config[COMMAND + 1] & 4

    def raise_interrupt(self, on: bool) -> None:
        """Drive the function's INTx pin."""
        self.raised = on
        self.settle()

    def on_reset(self, kind: ResetKind) -> None:
        if hasattr(self, "initial"):
            self.config[:] = self.initial
            self.remap()

    def save_more(self) -> dict[str, Any]:
        return {"config": bytes(self.config)}

    def load_more(self, saved: dict[str, Any]) -> None:
        self.config[:] = saved["config"]
        self.remap()


class PciBus(Bus):
    """Functions by device and function number, and the two address spaces their registers appear in."""

    type = "PCI"

    def __init__(self, name: str, owner: Device, memory: Region, io: Region, irq: Callable[[int, int], Any]) -> None:
        super().__init__(name, owner)
        self.memory, self.io, self.irq = memory, io, irq
        self.functions: dict[int, PciFunction] = {}

    def insert(self, device: Device) -> None:
        if not isinstance(device, PciFunction):
            raise PropertyError(f"'{device.type_name}' is no PCI device")
        n = device.addr
        if n < 0:
            n = next((slot << 3 for slot in range(1, 32) if slot << 3 not in self.functions), -1)
            if n < 0:
                raise PropertyError(f"PCI: no slot/function available for {device.type_name}, all in use or reserved")
        elif n in self.functions:
            other = self.functions[n]
            named = f"{other.type_name},id={other.id}" if other.id else other.type_name
            raise PropertyError(f"PCI: slot {n >> 3} function {n & 7} not available for {device.type_name}, "
                                f"in use by {named}")
        self.functions[n] = device
        device.slot, device.pci = n, self
        device.connect("intx", self.irq(n, device.pin))
        if self.owner and self.owner.machine:
            device.attached(self.owner.machine)
        device.remap()

    def withdraw(self, device: Device) -> None:
        assert isinstance(device, PciFunction)
        device.raise_interrupt(False)
        device.set(COMMAND, 0, 2)
        device.remap()
        del self.functions[device.slot]
        device.pci = None

    def describe(self, device: Device) -> list[str]:
        assert isinstance(device, PciFunction)
        ids = f"{device.vendor:04x}:{device.get(DEVICE, 2):04x} (sub 1af4:{device.get(SUBSYSTEM + 2, 2):04x})"
        rows = [f"class Class {device.class_code >> 8:04x}, addr 00:{device.slot >> 3:02x}.{device.slot & 7}, pci id {ids}"]
        for number, (_, size, flags) in sorted(device.bars.items()):
            at = device.mapped.get(number, -1)
            shown = at if at >= 0 else 0xFFFF_FFFF_FFFF_FFFF
            end = at + size - 1 if at >= 0 else size - 2
            rows.append(f"bar {number}: {'i/o' if flags & 1 else 'mem'} at {shown:#x} [{end:#x}]")
        return rows


class Ecam:
    """Configuration space as memory: bus, device, function and register are the bits of the address."""

    def __init__(self, bus: PciBus) -> None:
        self.bus = bus

    def _find(self, offset: int) -> PciFunction | None:
        return self.bus.functions.get(offset >> 12 & 0xFF) if offset >> 20 == 0 else None

    def read(self, offset: int, size: int) -> int:
        function = self._find(offset)
        return function.read_config(offset & 0xFFF, size) if function else (1 << 8 * size) - 1

    def write(self, offset: int, value: int, size: int) -> None:
        function = self._find(offset)
        if function:
            function.write_config_space(offset & 0xFFF, value, size)


class Unmapped:
    """What a PCI window answers where no function decodes: all ones, as a master abort reads."""

    def read(self, offset: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write(self, offset: int, value: int, size: int) -> None:
        pass


__all__ = ["BusError", "Ecam", "PciBus", "PciFunction", "Unmapped"]
