"""Virtio over PCI: OASIS Virtual I/O Device 1.1, section 4.1; the legacy interface is 4.1.4.8."""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from tinamou.devices.pci.core import DEVICE as PRODUCT
from tinamou.devices.pci.core import REVISION, SUBSYSTEM, PciFunction
from tinamou.devices.pci.msix import LIMIT, Msix
from tinamou.devices.virtio.blk import VirtioBlk
from tinamou.devices.virtio.core import FEATURES_OK, VERSION_1, Transport, VirtioBus, VirtioDevice
from tinamou.devices.virtio.rings import Virtqueue
from tinamou.devices.virtio.rng import VirtioRng
from tinamou.devices.virtio.serial import VirtioSerial
from tinamou.machine.bus import Bus
from tinamou.machine.device import ResetKind
from tinamou.machine.lines import state
from tinamou.machine.memory import Io
from tinamou.machine.props import BOOL, ON_OFF_AUTO, U32, Properties, PropertyError, prop

COMMON, ISR, DEVICE, NOTIFY = 0, 0x1000, 0x2000, 0x3000
NO_VECTOR = 0xFFFF
UNSAID = 0xFFFF_FFFF                    # as many vectors as the device has use for
HEADER, HEADER_MSIX = 20, 24            # bytes of the legacy registers, without and with the vectors
STEP = 4                                # bytes between two queues' notification addresses


class VirtioPci(PciFunction, Transport):
    """A PCI function that carries one virtio device: memory BAR 4 for 1.0 drivers, I/O BAR 0 for legacy ones."""

    carries: ClassVar[type[VirtioDevice] | None] = None
    legacy_product: ClassVar[int] = 0
    vendor = 0x1AF4

    disable_legacy: str = prop(ON_OFF_AUTO, default="auto")
    disable_modern: bool = prop(BOOL, default=False)
    vectors: int = prop(U32, default=UNSAID, help="vectors of MSI-X; 0: none")

    device_select = state(0)
    driver_select = state(0)
    accepted = state(0)
    queue_select = state(0)
    isr = state(0)
    config_vector = state(NO_VECTOR)

    def __init_subclass__(cls, *, carries: type[VirtioDevice] | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if carries is not None:
            cls.carries = carries
            table = {**carries.properties.table, **cls.properties.table}
            cls.properties = Properties(cls.type_name, dict(sorted(table.items())))

    def declare(self) -> None:
        carried = self.carries
        assert carried is not None
        mine = ((p, getattr(self, p.attribute)) for p in carried.properties.table.values())
        inner = {p.attribute: value for p, value in mine if p.required or value != p.default}
        self.modern, self.legacy = not self.disable_modern, self.disable_legacy != "on"
        if not self.modern and not self.legacy:
            raise PropertyError("device cannot work as neither modern nor legacy mode is enabled",
                                "Set either disable-modern or disable-legacy to off")
        self.virtio: VirtioDevice = carried(**inner)
        self.slot_bus = VirtioBus("virtio-bus", self, self)
        self.slot_bus.plug(self.virtio)
        ident = carried.device_id
        self.set(PRODUCT, self.legacy_product if self.legacy and self.legacy_product else 0x1040 + ident, 2)
        self.set(REVISION, 0 if self.legacy else 1, 1)
        self.set(SUBSYSTEM + 2, ident if self.legacy else 0x1100, 2)
        if self.modern:
            self.base(4, Io("virtio-pci", 0x4000, Modern(self)), wide=True, prefetch=True)
            for kind, offset, size, extra in ((1, COMMON, 0x1000, b""), (3, ISR, 0x1000, b""), (4, DEVICE, 0x1000, b""),
                                              (2, NOTIFY, 0x1000, struct.pack("<I", STEP))):
                body = struct.pack("<BBBBBBII", 16 + len(extra), kind, 4, 0, 0, 0, offset, size) + extra
                self.capability(9, body)
        count = min(len(self.virtio.queues) + 1, LIMIT) if self.vectors == UNSAID else self.vectors
        if count > LIMIT:
            raise PropertyError(f"Property '{self.type_name}.vectors' doesn't take value {count} (minimum: 0, maximum: {LIMIT})")
        self.msix = Msix(self, count, 1) if count else None
        if self.legacy:
            size = 32
            while size < HEADER_MSIX + len(self.virtio.config()):
                size *= 2
            self.base(0, Io(self.type_name, size, Legacy(self)), io=True)

    def buses(self) -> list[Bus]:
        return [self.slot_bus]

    def attached(self, machine: Any) -> None:
        super().attached(machine)
        self.virtio.attached(machine)

    def on_reset(self, kind: ResetKind) -> None:
        super().on_reset(kind)
        self.raised = False
        if self.msix is not None:
            self.msix.reset()

    def save_more(self) -> dict[str, Any]:
        return {**super().save_more(), "msix": None if self.msix is None else self.msix.save()}

    def load_more(self, saved: dict[str, Any]) -> None:
        super().load_more(saved)
        if self.msix is not None:
            self.msix.load(saved["msix"])

    def configured(self) -> None:
        if self.by_message is not None:
            self.raised = False
            self.by_message.send()

    @property
    def by_message(self) -> Msix | None:
        """How to interrupt when the guest has chosen MSI-X; then the pin and the interrupt status rest."""
        return self.msix if self.msix is not None and self.msix.enabled else None

    def vector(self, value: int) -> int:
        """A vector that the driver chose; NO_VECTOR tells it that there is none of that number."""
        return value if self.msix is not None and value < self.msix.count else NO_VECTOR

    @property
    def legacy_header(self) -> int:
        """Where the device's configuration begins in the legacy registers."""
        return HEADER if self.by_message is None else HEADER_MSIX

    @property
    def queue(self) -> Virtqueue | None:
        queues = self.virtio.queues
        return queues[self.queue_select] if self.queue_select < len(queues) else None

    def queue_interrupt(self, queue: Virtqueue) -> None:
        if self.by_message is not None:
            self.by_message.fire(queue.vector)
        else:
            self.isr |= 1
            self.raise_interrupt(True)

    def config_interrupt(self) -> None:
        if self.by_message is not None:
            self.by_message.fire(self.config_vector)
        else:
            self.isr |= 3
            self.raise_interrupt(True)

    def take_isr(self) -> int:
        """Reading acknowledges."""
        value, self.isr = self.isr, 0
        self.raise_interrupt(False)
        return value

    def set_status(self, value: int) -> None:
        device = self.virtio
        if value & FEATURES_OK and not device.status & FEATURES_OK:
            offered = device.features | 1 << VERSION_1
            if self.accepted & ~offered or not self.accepted >> VERSION_1 & 1:
                value &= ~FEATURES_OK
            else:
                device.driver_features = self.accepted
        device.set_status(value)
        if not value:
            self.isr = self.accepted = 0
            self.config_vector = NO_VECTOR
            self.raise_interrupt(False)


class Modern:
    """BAR 4: the four structures (section 4.1.4)."""

    def __init__(self, function: VirtioPci) -> None:
        self.f = function

    def read(self, offset: int, size: int) -> int:
        f = self.f
        if offset < ISR:
            whole = self.common()
            return int.from_bytes(whole[offset : offset + size].ljust(size, b"\0"), "little")
        if offset < DEVICE:
            return f.take_isr() if offset == ISR else 0
        if offset < NOTIFY:
            data = f.virtio.config()
            return int.from_bytes(data[offset - DEVICE : offset - DEVICE + size].ljust(size, b"\0"), "little")
        return 0

    def common(self) -> bytes:
        """The common configuration structure (section 4.1.4.3)."""
        f, q, d = self.f, self.f.queue, self.f.virtio
        features = d.features | 1 << VERSION_1
        part = features >> 32 * f.device_select & 0xFFFF_FFFF if f.device_select < 2 else 0
        mine = f.accepted >> 32 * f.driver_select & 0xFFFF_FFFF if f.driver_select < 2 else 0
        head = struct.pack("<IIIIHHBBH", f.device_select, part, f.driver_select, mine, f.config_vector, len(d.queues), d.status,
                           d.generation, f.queue_select)
        if q is None:
            return head + bytes(32)
        return head + struct.pack("<HHHHQQQ", q.size, q.vector, q.ready, q.index, q.desc, q.avail, q.used)

    def write(self, offset: int, value: int, size: int) -> None:
        f, q = self.f, self.f.queue
        if offset >= NOTIFY:
            f.virtio.kick((offset - NOTIFY) // STEP)
        elif offset >= DEVICE:
            f.virtio.write_config(offset - DEVICE, value.to_bytes(size, "little"))
        elif offset >= ISR:
            f.log.guest_error(f"{f.label}: write to the interrupt status")
        else:
            match offset:
                case 0x00:
                    f.device_select = value
                case 0x08:
                    f.driver_select = value
                case 0x0C:
                    if f.driver_select < 2:
                        shift = 32 * f.driver_select
                        f.accepted = f.accepted & ~(0xFFFF_FFFF << shift) | value << shift
                case 0x10:
                    f.config_vector = f.vector(value & 0xFFFF)
                case 0x14:
                    f.set_status(value & 0xFF)
                case 0x16:
                    f.queue_select = value
                case 0x18 if q and 0 < value <= q.maximum and not value & value - 1:
                    q.size = value
                case 0x1A if q:
                    q.vector = f.vector(value)
                case 0x1C if q:
                    q.ready = bool(value & 1)
                case 0x20 | 0x24 | 0x28 | 0x2C | 0x30 | 0x34 if q:
                    name = ("desc", "avail", "used")[offset - 0x20 >> 3]
                    if size == 8:
                        setattr(q, name, value)
                    else:
                        shift = 32 * (offset >> 2 & 1)
                        setattr(q, name, getattr(q, name) & ~(0xFFFF_FFFF << shift) | value << shift)
                case _:
                    f.log.guest_error(f"{f.label}: write of {value:#x} at {offset:#x} of the common configuration")


class Legacy:
    """I/O BAR 0 (section 4.1.4.8): one header, then the device's configuration."""

    def __init__(self, function: VirtioPci) -> None:
        self.f = function

    def read(self, offset: int, size: int) -> int:
        f, q, d = self.f, self.f.queue, self.f.virtio
        if offset >= f.legacy_header:
            at = offset - f.legacy_header
            return int.from_bytes(d.config()[at : at + size].ljust(size, b"\0"), "little")
        match offset:
            case 0x00:
                return d.features & 0xFFFF_FFFF
            case 0x04:
                return d.driver_features & 0xFFFF_FFFF
            case 0x08:
                return q.desc >> 12 if q and q.ready else 0
            case 0x0C:
                return q.maximum if q else 0
            case 0x0E:
                return f.queue_select
            case 0x12:
                return d.status
            case 0x13:
                return f.take_isr()
            case 0x14:
                return f.config_vector
            case 0x16:
                return q.vector if q else NO_VECTOR
        return 0

    def write(self, offset: int, value: int, size: int) -> None:
        f, q, d = self.f, self.f.queue, self.f.virtio
        if offset >= f.legacy_header:
            d.write_config(offset - f.legacy_header, value.to_bytes(size, "little"))
            return
        match offset:
            case 0x04:
                d.driver_features = value & d.features & 0xFFFF_FFFF
            case 0x08 if q:
                if value == 0:
                    f.virtio.restart()
                    return
                q.desc = value << 12
                q.avail = q.desc + 16 * q.size
                q.used = q.avail + 6 + 2 * q.size + 4095 & -4096
                q.ready = True
            case 0x0E:
                f.queue_select = value
            case 0x10:
                d.kick(value & 0xFFFF)
            case 0x12:
                f.set_status(value & 0xFF & ~FEATURES_OK)
            case 0x14:
                f.config_vector = f.vector(value & 0xFFFF)
            case 0x16 if q:
                q.vector = f.vector(value & 0xFFFF)
            case _:
                f.log.guest_error(f"{f.label}: write of {value:#x} at {offset:#x}")


class VirtioBlkPci(VirtioPci, type="virtio-blk-pci", carries=VirtioBlk, category="Storage"):
    """A virtio disk on PCI."""

    legacy_product = 0x1001
    class_code = 0x010000


class VirtioSerialPci(VirtioPci, type="virtio-serial-pci", carries=VirtioSerial, category="Input"):
    """A virtio console on PCI."""

    legacy_product = 0x1003
    class_code = 0x078000


class VirtioRngPci(VirtioPci, type="virtio-rng-pci", carries=VirtioRng):
    """A virtio entropy source on PCI."""

    legacy_product = 0x1005
    class_code = 0x00FF00


__all__ = ["VirtioBlkPci", "VirtioPci", "VirtioRngPci", "VirtioSerialPci"]
