"""Virtio over MMIO: OASIS Virtual I/O Device 1.1, section 4.2; the legacy interface is 4.2.4."""

from __future__ import annotations

from typing import Any

from tinamou.devices.virtio.core import FEATURES_OK, VERSION_1, Transport, VirtioBus, VirtioDevice
from tinamou.devices.virtio.rings import Virtqueue
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device
from tinamou.machine.lines import line, state
from tinamou.machine.memory import BusError
from tinamou.machine.props import BOOL, STR, prop
from tinamou.machine.registers import Reg

CONFIG = 0x100


class VirtioMmio(Device, Transport, type="virtio-mmio", compatible="virtio,mmio", node="virtio_mmio", size=0x200):
    """One slot. Without a device on its bus the device ID reads as 0."""

    legacy: bool = prop(BOOL, default=True, name="force-legacy", help="on/off")
    bus_name: str = prop(STR, default="virtio-mmio-bus.0", hidden=True)

    MAGIC = Reg(0x000)
    magic = MAGIC.const(0x74726976)
    VERSION = Reg(0x004)
    version = VERSION.const(lambda self: 1 if self.legacy else 2)
    DEVICE_ID = Reg(0x008)
    device_id = DEVICE_ID.ro()
    VENDOR_ID = Reg(0x00C)
    vendor_id = VENDOR_ID.const(0x554D4551)
    FEATURES = Reg(0x010)
    offered = FEATURES.ro()
    FEATURES_SEL = Reg(0x014)
    features_sel = FEATURES_SEL.wo()
    DRIVER_FEATURES = Reg(0x020)
    driver_features = DRIVER_FEATURES.wo()
    DRIVER_FEATURES_SEL = Reg(0x024)
    driver_features_sel = DRIVER_FEATURES_SEL.wo()
    PAGE_SIZE = Reg(0x028)
    page_size = PAGE_SIZE.wo()
    QUEUE_SEL = Reg(0x030)
    queue_sel = QUEUE_SEL.wo()
    QUEUE_MAX = Reg(0x034)
    queue_max = QUEUE_MAX.ro()
    QUEUE_NUM = Reg(0x038)
    queue_num = QUEUE_NUM.wo()
    QUEUE_ALIGN = Reg(0x03C)
    queue_align = QUEUE_ALIGN.wo()
    QUEUE_PFN = Reg(0x040)
    queue_pfn = QUEUE_PFN.rw()
    QUEUE_READY = Reg(0x044)
    queue_ready = QUEUE_READY.rw()
    QUEUE_NOTIFY = Reg(0x050)
    queue_notify = QUEUE_NOTIFY.wo()
    INTERRUPT_STATUS = Reg(0x060)
    pending = INTERRUPT_STATUS.ro()
    INTERRUPT_ACK = Reg(0x064)
    acknowledge = INTERRUPT_ACK.wo()
    STATUS = Reg(0x070)
    status = STATUS.rw()
    DESC_LOW, DESC_HIGH = Reg(0x080), Reg(0x084)
    desc_low, desc_high = DESC_LOW.wo(), DESC_HIGH.wo()
    AVAIL_LOW, AVAIL_HIGH = Reg(0x090), Reg(0x094)
    avail_low, avail_high = AVAIL_LOW.wo(), AVAIL_HIGH.wo()
    USED_LOW, USED_HIGH = Reg(0x0A0), Reg(0x0A4)
    used_low, used_high = USED_LOW.wo(), USED_HIGH.wo()
    GENERATION = Reg(0x0FC)
    generation = GENERATION.ro()

    accepted = state(0)

    def setup(self) -> None:
        self.slot = VirtioBus(self.bus_name, self, self)

    def buses(self) -> list[Bus]:
        return [self.slot]

    @property
    def device(self) -> VirtioDevice | None:
        child = self.slot.children[0] if self.slot.children else None
        return child if isinstance(child, VirtioDevice) else None

    def plugged(self, device: VirtioDevice) -> None:
        if self.machine is not None:
            device.attached(self.machine)

    def attached(self, machine: Any) -> None:
        super().attached(machine)
        for d in self.slot.children:
            d.attached(machine)

    @property
    def queue(self) -> Virtqueue | None:
        queues = self.device.queues if self.device else []
        return queues[self.queue_sel] if self.queue_sel < len(queues) else None

    # --- identification and features

    @device_id.computed
    def read_device_id(self) -> int:
        return self.device.device_id if self.device else 0

    @offered.computed
    def read_features(self) -> int:
        if not self.device:
            return 0
        features = self.device.features | (0 if self.legacy else 1 << VERSION_1)
        return features >> 32 * self.features_sel if self.features_sel < 2 else 0

    @driver_features.on_write
    def accept(self, value: int) -> None:
        if self.driver_features_sel < 2 and self.device:
            shift = 32 * self.driver_features_sel
            self.accepted = self.accepted & ~(0xFFFF_FFFF << shift) | value << shift
            if self.legacy:
                self.device.driver_features = self.accepted & self.device.features & 0xFFFF_FFFF

    # --- queues

    @queue_max.computed
    def read_queue_max(self) -> int:
        queue = self.queue
        return queue.maximum if queue and not queue.ready else 0 if not queue else queue.maximum

    @queue_num.on_write
    def set_size(self, value: int) -> None:
        queue = self.queue
        if queue and 0 < value <= queue.maximum and not value & value - 1:
            queue.size = value
        else:
            self.log.guest_error(f"{self.label}: queue size {value}")

    @queue_pfn.computed
    def read_pfn(self) -> int:
        queue = self.queue
        return queue.desc // (self.page_size or 4096) if queue and queue.ready else 0

    @queue_pfn.on_write
    def set_pfn(self, value: int) -> None:
        queue = self.queue
        if queue is None or not self.legacy:
            return
        if value == 0:
            size = queue.size
            queue.reset()
            queue.size = size
            return
        align = self.queue_align or 4096
        queue.desc = value * (self.page_size or 4096)
        queue.avail = queue.desc + 16 * queue.size
        queue.used = queue.avail + 6 + 2 * queue.size + align - 1 & -align
        queue.ready = True

    @queue_ready.computed
    def read_ready(self) -> int:
        return int(self.queue.ready) if self.queue else 0

    @queue_ready.on_write
    def set_ready(self, value: int) -> None:
        queue = self.queue
        if queue is None or self.legacy:
            return
        if value & 1:
            queue.desc = self.desc_high << 32 | self.desc_low
            queue.avail = self.avail_high << 32 | self.avail_low
            queue.used = self.used_high << 32 | self.used_low
        queue.ready = bool(value & 1)

    @queue_notify.on_write
    def notify(self, value: int) -> None:
        if self.device:
            self.device.kick(value & 0xFFFF)

    # --- status and interrupts

    @status.computed
    def read_status(self) -> int:
        return self.device.status if self.device else 0

    @status.on_write
    def set_status(self, value: int) -> None:
        device = self.device
        if device is None:
            return
        if value & FEATURES_OK and not device.status & FEATURES_OK and not self.legacy:
            offered = device.features | 1 << VERSION_1
            if self.accepted & ~offered or not self.accepted >> VERSION_1 & 1:
                value &= ~FEATURES_OK
            else:
                device.driver_features = self.accepted
        device.set_status(value)
        if not value:
            self.pending = self.accepted = 0

    @acknowledge.on_write
    def clear(self, value: int) -> None:
        self.pending &= ~value

    @generation.computed
    def read_generation(self) -> int:
        return self.device.generation if self.device else 0

    def queue_interrupt(self, queue: Virtqueue) -> None:
        self.pending |= 1
        self.settle()

    def config_interrupt(self) -> None:
        self.pending |= 2
        self.settle()

    @line
    def irq(self) -> bool:
        return self.pending != 0

    # --- the configuration space takes any size

    def read(self, offset: int, size: int) -> int:
        if offset < CONFIG:
            if size != 4:
                raise BusError(offset, size, False, "access")
            return super().read(offset, size)
        data = self.device.config() if self.device else b""
        at = offset - CONFIG
        return int.from_bytes(data[at : at + size].ljust(size, b"\0"), "little")

    def write(self, offset: int, value: int, size: int) -> None:
        if offset < CONFIG:
            if size != 4:
                raise BusError(offset, size, True, "access")
            super().write(offset, value, size)
        elif self.device:
            self.device.write_config(offset - CONFIG, value.to_bytes(size, "little"))
            self.settle()
