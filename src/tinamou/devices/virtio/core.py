"""Virtio: split virtqueues and the device model every transport carries. OASIS Virtual I/O Device 1.1, chapters 2 and 6."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tinamou.machine.bus import Bus
from tinamou.machine.device import Device, ResetKind
from tinamou.machine.memory import BusError, Memory
from tinamou.machine.props import BOOL, PropertyError, prop

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 0x40, 0x80
NOTIFY_ON_EMPTY, ANY_LAYOUT, INDIRECT_DESC, EVENT_IDX, VERSION_1 = 24, 27, 28, 29, 32
_NEXT, _WRITE, _INDIRECT = 1, 2, 4
_DESC = struct.Struct("<QIHH")
QUEUE_LIMIT = 1024


class GuestError(Exception):
    """The driver broke the rules; the device stops until it is reset (section 2.1.2, DEVICE_NEEDS_RESET)."""


@dataclass
class Chain:
    """One request: what the driver wrote for the device, and where the device may write, as host memory."""

    head: int
    readable: list[memoryview] = field(default_factory=list)
    writable: list[memoryview] = field(default_factory=list)
    written_at: list[tuple[int, int]] = field(default_factory=list)

    @property
    def in_size(self) -> int:
        """Bytes the device may write."""
        return sum(len(v) for v in self.writable)

    @property
    def out_size(self) -> int:
        """Bytes the driver wrote."""
        return sum(len(v) for v in self.readable)

    def read(self, size: int) -> bytes:
        """Take `size` bytes off the front of the readable part. Raises GuestError when it is shorter."""
        out = b"".join(bytes(v) for v in take(self.readable, size))
        if len(out) != size:
            raise GuestError(f"request of {len(out)} bytes where {size} are needed")
        return out

    def write(self, data: bytes) -> int:
        """Put bytes at the front of the writable part and take that part off; returns how many fitted."""
        done = 0
        for v in take(self.writable, len(data)):
            v[:] = data[done : done + len(v)]
            done += len(v)
        return done


def take(views: list[memoryview], size: int) -> list[memoryview]:
    """Remove the first `size` bytes of a list of pieces and return them as pieces."""
    out = []
    while size > 0 and views:
        v = views[0]
        if len(v) <= size:
            out.append(views.pop(0))
            size -= len(v)
        else:
            out.append(v[:size])
            views[0] = v[size:]
            size = 0
    return out


def drop_end(views: list[memoryview], size: int) -> None:
    """Remove the last `size` bytes of a list of pieces that has at least as many."""
    while size:
        v = views.pop()
        if len(v) > size:
            views.append(v[:-size])
        size -= min(size, len(v))


class Virtqueue:
    """A split virtqueue (section 2.6) of at most `maximum` entries."""

    def __init__(self, device: VirtioDevice, index: int, maximum: int, handler: Callable[[Virtqueue], None]) -> None:
        self.device, self.index, self.maximum, self.handler = device, index, maximum, handler
        self._cache: tuple[int, memoryview, memoryview, memoryview] | None = None
        self.reset()

    def reset(self) -> None:
        self.size = self.maximum
        self.ready = False
        self.desc = self.avail = self.used = 0
        self.last_avail = self.used_index = self.signalled = 0
        self.signalled_valid = False
        self.vector = 0xFFFF
        self._cache = None

    def save(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("size", "ready", "desc", "avail", "used", "last_avail", "used_index",
                                              "signalled", "signalled_valid", "vector")}

    def load(self, saved: dict[str, Any]) -> None:
        for k, v in saved.items():
            setattr(self, k, v)
        self._cache = None

    # --- the rings in host memory

    def _rings(self) -> tuple[memoryview, memoryview, memoryview]:
        memory = self.device.memory
        if self._cache is None or self._cache[0] != memory.generation:
            views = []
            for address, size, write in ((self.desc, 16 * self.size, False), (self.avail, 6 + 2 * self.size, False),
                                         (self.used, 6 + 8 * self.size, True)):
                try:
                    pieces = memory.views(address, size, write)
                except BusError:
                    raise GuestError(f"queue {self.index}: ring at {address:#x} is not in memory") from None
                if len(pieces) != 1:
                    raise GuestError(f"queue {self.index}: ring at {address:#x} crosses a memory region")
                views.append(pieces[0])
            self._cache = (memory.generation, views[0], views[1], views[2])
        return self._cache[1], self._cache[2], self._cache[3]

    @property
    def working(self) -> bool:
        return self.ready and not self.device.status & NEEDS_RESET

    @property
    def waiting(self) -> int:
        """How many requests the driver has made available."""
        if not self.working:
            return 0
        _, avail, _ = self._rings()
        n = int.from_bytes(avail[2:4], "little") - self.last_avail & 0xFFFF
        if n > self.size:
            raise GuestError(f"queue {self.index}: {n} requests in a ring of {self.size}")
        return n

    def pop(self) -> Chain | None:
        """The next request, or None. Raises GuestError for a damaged one."""
        if not self.waiting:
            self.listen()
            if not self.waiting:
                return None
        desc, avail, _ = self._rings()
        at = 4 + 2 * (self.last_avail % self.size)
        head = int.from_bytes(avail[at : at + 2], "little")
        self.last_avail = self.last_avail + 1 & 0xFFFF
        return self._gather(desc, head)

    def chain(self, head: int) -> Chain:
        """The request that begins at this descriptor. Raises GuestError."""
        return self._gather(self._rings()[0], head)

    def unpop(self) -> None:
        """Give the last popped request back: there is no room or data for it yet."""
        self.last_avail = self.last_avail - 1 & 0xFFFF

    def _gather(self, table: memoryview, head: int) -> Chain:
        memory, count, n, seen = self.device.memory, self.size, head, 0
        chain = Chain(head)
        indirect = False
        while True:
            if n >= count:
                raise GuestError(f"queue {self.index}: descriptor {n} of {count}")
            seen += 1
            if seen > max(count, QUEUE_LIMIT):
                raise GuestError(f"queue {self.index}: descriptors form a loop")
            address, length, flags, following = _DESC.unpack_from(table, 16 * n)
            if flags & _INDIRECT:
                if indirect or length % 16 or not length or not self.device.has(INDIRECT_DESC):
                    raise GuestError(f"queue {self.index}: bad indirect descriptor")
                try:
                    table = memoryview(memory.load(address, min(length, 16 * 65536)))
                except BusError:
                    raise GuestError(f"queue {self.index}: indirect table at {address:#x} is not in memory") from None
                count, n, indirect = length // 16, 0, True
                continue
            write = bool(flags & _WRITE)
            if length:
                try:
                    pieces = memory.views(address, length, write)
                except BusError:
                    raise GuestError(f"queue {self.index}: buffer at {address:#x} is not in memory") from None
                if write:
                    chain.writable += pieces
                    chain.written_at.append((address, length))
                elif chain.writable:
                    raise GuestError(f"queue {self.index}: readable buffer behind a writable one")
                else:
                    chain.readable += pieces
            if not flags & _NEXT:
                return chain
            n = following

    def listen(self) -> None:
        """Ask to be notified of the next request (event index)."""
        if self.device.has(EVENT_IDX):
            _, _, used = self._rings()
            used[4 + 8 * self.size : 6 + 8 * self.size] = self.last_avail.to_bytes(2, "little")

    def push(self, chain: Chain, written: int = 0) -> None:
        """Return a finished request of which `written` bytes were filled. `notify` tells the driver."""
        left = written
        for address, length in chain.written_at:
            if left <= 0:
                break
            self.device.memory.wrote(address, min(length, left))
            left -= length
        _, _, used = self._rings()
        at = 4 + 8 * (self.used_index % self.size)
        used[at : at + 8] = struct.pack("<II", chain.head, written)
        self.used_index = self.used_index + 1 & 0xFFFF
        used[2:4] = self.used_index.to_bytes(2, "little")

    def notify(self) -> None:
        """Interrupt the driver unless it asked not to be (sections 2.6.7, 2.6.10)."""
        _, avail, _ = self._rings()
        if self.device.has(EVENT_IDX):
            at = 4 + 2 * self.size
            wanted = int.from_bytes(avail[at : at + 2], "little")
            old, new = self.signalled, self.used_index
            fire = not self.signalled_valid or (new - wanted - 1 & 0xFFFF) < (new - old & 0xFFFF)
            self.signalled, self.signalled_valid = new, True
        else:
            fire = not avail[0] & 1 or (self.device.has(NOTIFY_ON_EMPTY) and not self.waiting)
        if fire:
            self.device.interrupt(self)


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
                | self.notify_on_empty << NOTIFY_ON_EMPTY | self.any_layout << ANY_LAYOUT)

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
