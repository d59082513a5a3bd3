"""Virtio: the device model that every transport carries. OASIS Virtual I/O Device 1.1, chapters 2 and 6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tinamou.devices.virtio.rings import EVENT_IDX, INDIRECT_DESC, NOTIFY_ON_EMPTY, RING_PACKED, GuestError, Virtqueue
from tinamou.machine.bus import Bus
from tinamou.machine.device import Device, ResetKind
from tinamou.machine.memory import Memory
from tinamou.machine.props import BOOL, PropertyError, prop

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 0x40, 0x80
ANY_LAYOUT, VERSION_1 = 27, 32          # feature bits


class VirtioBus(Bus):
    """The bus between a transport and its one device."""

    type = "virtio-bus"
    limit = 1

    def __init__(self, name: str, owner: Device, transport: Transport) -> None:
        super().__init__(name, owner)
        self.transport = transport

    def insert(self, device: Device) -> None:
        if not isinstance(device, VirtioDevice):
            raise PropertyError(f"'{device.type_name}' is no virtio device")
        device.transport = self.transport
        self.transport.plugged(device)

    def withdraw(self, device: Device) -> None:
        assert isinstance(device, VirtioDevice)
        device.status = 0
        device.transport = None


class Transport:
    """What a device asks of the transport that carries it."""

    def plugged(self, device: VirtioDevice) -> None:
        """A device came."""

    def queue_interrupt(self, queue: Virtqueue) -> None:
        """A queue has used buffers."""

    def config_interrupt(self) -> None:
        """The configuration changed."""


class VirtioDevice(Device, bus="virtio-bus", user_creatable=True):
    """The transport-independent half. Subclasses give `device_id`, `offered`, `queue_sizes`, `config` and handlers."""

    device_id: ClassVar[int] = 0

    indirect_desc: bool = prop(BOOL, default=True, name="indirect_desc", help="on/off")
    event_idx: bool = prop(BOOL, default=True, name="event_idx", help="on/off")
    notify_on_empty: bool = prop(BOOL, default=True, name="notify_on_empty", help="on/off")
    any_layout: bool = prop(BOOL, default=True, name="any_layout", help="on/off")
    packed: bool = prop(BOOL, default=False, help="on/off")

    def setup(self) -> None:
        self.transport: Transport | None = None
        self.queues: list[Virtqueue] = []
        self.status = 0
        self.driver_features = 0
        self.generation = 0

    def add_queue(self, size: int, handler: Callable[[Virtqueue], None]) -> Virtqueue:
        queue = Virtqueue(self, len(self.queues), size, handler)
        self.queues.append(queue)
        return queue

    # --- what subclasses say

    def offered(self) -> int:
        """The device type's feature bits."""
        return 0

    def config(self) -> bytes:
        """The configuration space."""
        return b""

    def write_config(self, offset: int, data: bytes) -> None:
        """The driver wrote into the configuration space."""
        self.log.guest_error(f"{self.label}: write of {data.hex()} into read-only configuration at {offset:#x}")

    def started(self) -> None:
        """The driver is ready (DRIVER_OK)."""

    # --- what transports call

    @property
    def features(self) -> int:
        """Every feature bit offered, those of the rings included; VERSION_1 is the transport's to add."""
        return (self.offered() | self.indirect_desc << INDIRECT_DESC | self.event_idx << EVENT_IDX
                | self.notify_on_empty << NOTIFY_ON_EMPTY | self.any_layout << ANY_LAYOUT | self.packed << RING_PACKED)

    @property
    def broken_down(self) -> bool:
        """A driver's mistake made it need a reset."""
        return bool(self.status & NEEDS_RESET)

    def has(self, bit: int) -> bool:
        """Did the driver accept feature `bit`?"""
        return bool(self.driver_features >> bit & 1)

    @property
    def memory(self) -> Memory:
        assert self.machine is not None
        return self.machine.memory

    def set_status(self, value: int) -> None:
        """The driver writes the status register; 0 resets."""
        if value == 0:
            self.restart()
            return
        before, self.status = self.status, value | self.status & NEEDS_RESET
        if value & DRIVER_OK and not before & DRIVER_OK:
            self.started()

    def restart(self) -> None:
        """A device reset by the driver or the machine."""
        self.status = self.driver_features = 0
        for q in self.queues:
            q.reset()
        self.on_restart()

    def on_restart(self) -> None:
        """What a subclass forgets at a reset."""

    def on_reset(self, kind: ResetKind) -> None:
        self.restart()

    def kick(self, index: int) -> None:
        """The driver notified queue `index`."""
        if index >= len(self.queues):
            self.log.guest_error(f"{self.label}: notification of queue {index}, which does not exist")
            return
        queue = self.queues[index]
        if queue.working and self.status & DRIVER_OK:
            self.run(queue)

    def run(self, queue: Virtqueue) -> None:
        """Handle what waits in a queue; a broken driver breaks the device, not the machine."""
        try:
            queue.handler(queue)
        except GuestError as e:
            self.broken(str(e))

    def broken(self, why: str) -> None:
        self.log.guest_error(f"{self.label}: {why}; the device needs a reset")
        self.status |= NEEDS_RESET
        if self.transport and self.has(VERSION_1):
            self.transport.config_interrupt()

    def interrupt(self, queue: Virtqueue) -> None:
        if self.transport:
            self.transport.queue_interrupt(queue)

    def config_changed(self) -> None:
        """Tell the driver that `config` gives something else now."""
        self.generation = self.generation + 1 & 0xFF
        if self.transport and self.status & DRIVER_OK:
            self.transport.config_interrupt()

    # --- snapshot

    def save_more(self) -> dict[str, Any]:
        return {"virtio": {"status": self.status, "features": self.driver_features, "generation": self.generation,
                           "queues": [q.save() for q in self.queues]}}

    def load_more(self, saved: dict[str, Any]) -> None:
        v = saved["virtio"]
        self.status, self.driver_features, self.generation = v["status"], v["features"], v["generation"]
        for q, s in zip(self.queues, v["queues"], strict=True):
            q.load(s)
