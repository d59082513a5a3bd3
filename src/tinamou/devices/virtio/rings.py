"""Virtqueues: requests in rings that driver and device share. OASIS Virtual I/O Device 1.1, sections 2.6 (split) and 2.7 (packed)."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tinamou.machine.memory import BusError

if TYPE_CHECKING:
    from tinamou.devices.virtio.core import VirtioDevice

NOTIFY_ON_EMPTY, INDIRECT_DESC, EVENT_IDX, RING_PACKED = 24, 28, 29, 34  # feature bits
_NEXT, _WRITE, _INDIRECT, _AVAIL, _USED = 1, 2, 4, 1 << 7, 1 << 15
_ALWAYS, _NEVER, _AT = 0, 1, 2          # flags of a packed ring's event suppression: when to notify
_DESC, _PACKED = struct.Struct("<QIHH"), struct.Struct("<QIHH")  # address, bytes, flags, next; address, bytes, ID, flags
_EVENT = struct.Struct("<HH")           # place and wrap counter, flags
QUEUE_LIMIT = 1024


class GuestError(Exception):
    """The driver broke the rules; the device stops until it is reset (section 2.1.2, DEVICE_NEEDS_RESET)."""


@dataclass
class Chain:
    """One request: what the driver wrote for the device, and where the device may write, as host memory.

    `head` names it in the used ring: its first descriptor in a split ring, the driver's buffer ID in a packed one, where
    it takes `count` descriptors. `parts` are (guest address, bytes, does the device write) of its buffers.
    """

    head: int
    count: int = 1
    parts: list[tuple[int, int, bool]] = field(default_factory=list)
    readable: list[memoryview] = field(default_factory=list)
    writable: list[memoryview] = field(default_factory=list)

    def copy(self) -> Chain:
        """The same request; taking from one leaves the other whole."""
        return Chain(self.head, self.count, self.parts, list(self.readable), list(self.writable))

    def save(self) -> list[Any]:
        """As a snapshot keeps it; see `Virtqueue.chain`."""
        return [self.head, self.count, [list(part) for part in self.parts]]

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
    """A queue of at most `maximum` entries; `desc`, `avail` and `used` are the guest addresses of its three parts.

    `last_avail` and `used_index` count what was taken and given back: requests modulo 65536 in a split ring, descriptors since the
    beginning in a packed one.
    """

    def __init__(self, device: VirtioDevice, index: int, maximum: int, handler: Callable[[Virtqueue], None]) -> None:
        self.device, self.index, self.maximum, self.handler = device, index, maximum, handler
        self._layouts: tuple[Layout, Layout] = (Split(self), Packed(self))
        self.reset()

    def reset(self) -> None:
        self.size = self.maximum
        self.ready = False
        self.desc = self.avail = self.used = 0
        self.last_avail = self.used_index = self.signalled = 0
        self.signalled_valid = False
        self.vector = 0xFFFF
        self.forget()

    def save(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("size", "ready", "desc", "avail", "used", "last_avail", "used_index",
                                              "signalled", "signalled_valid", "vector")}

    def load(self, saved: dict[str, Any]) -> None:
        for k, v in saved.items():
            setattr(self, k, v)
        self.forget()

    def forget(self) -> None:
        """The rings may lie elsewhere now."""
        for layout in self._layouts:
            layout.cache = None

    @property
    def layout(self) -> Layout:
        return self._layouts[self.device.has(RING_PACKED)]

    @property
    def working(self) -> bool:
        return self.ready and not self.device.broken_down

    @property
    def waiting(self) -> int:
        """How many requests the driver has made available; 1 stands for some in a packed ring. Raises GuestError."""
        return self.layout.waiting() if self.working else 0

    def pop(self) -> Chain | None:
        """The next request, or None. Raises GuestError for a damaged one."""
        if not self.working:
            return None
        layout = self.layout
        if not layout.waiting():
            layout.listen()
            if not layout.waiting():
                return None
        return layout.pop()

    def unpop(self, chain: Chain) -> None:
        """Give the last popped request back: there is no room or data for it yet."""
        self.last_avail -= chain.count
        if not self.device.has(RING_PACKED):
            self.last_avail &= 0xFFFF

    def chain(self, saved: list[Any]) -> Chain:
        """The request that `Chain.save` kept. Raises GuestError."""
        head, count, parts = saved
        return self.gather(head, count, [(address, length, write) for address, length, write in parts])

    def push(self, chain: Chain, written: int = 0) -> None:
        """Return a finished request of which `written` bytes were filled. `notify` tells the driver."""
        left, wrote = written, self.device.memory.wrote
        for address, length, write in chain.parts:
            if left <= 0:
                break
            if write and length:
                wrote(address, min(length, left))
                left -= length
        self.layout.push(chain, written)

    def notify(self) -> None:
        """Interrupt the driver unless it asked not to be (sections 2.6.7, 2.6.10, 2.7.10)."""
        if self.layout.wants_interrupt():
            self.device.interrupt(self)

    # --- what layouts share

    def views(self, *parts: tuple[int, int, bool]) -> list[memoryview]:
        """The pieces of the ring (guest address, bytes, is it written) in host memory. Raises GuestError."""
        out = []
        for address, size, write in parts:
            try:
                pieces = self.device.memory.views(address, size, write)
            except BusError:
                raise GuestError(f"queue {self.index}: ring at {address:#x} is not in memory") from None
            if len(pieces) != 1:
                raise GuestError(f"queue {self.index}: ring at {address:#x} crosses a memory region")
            out.append(pieces[0])
        return out

    def gather(self, head: int, count: int, parts: list[tuple[int, int, bool]]) -> Chain:
        """The request of these buffers. Raises GuestError."""
        chain = Chain(head, count, parts)
        readable, writable, views = chain.readable, chain.writable, self.device.memory.views
        for address, length, write in parts:
            if not length:
                continue
            try:
                pieces = views(address, length, write)
            except BusError:
                raise GuestError(f"queue {self.index}: buffer at {address:#x} is not in memory") from None
            if write:
                writable += pieces
            elif writable:
                raise GuestError(f"queue {self.index}: readable buffer behind a writable one")
            else:
                readable += pieces
        return chain

    def table(self, address: int, length: int) -> memoryview:
        """An indirect table. Raises GuestError."""
        if length % 16 or not length or not self.device.has(INDIRECT_DESC):
            raise GuestError(f"queue {self.index}: bad indirect descriptor")
        try:
            return memoryview(self.device.memory.load(address, min(length, 16 * 65536)))
        except BusError:
            raise GuestError(f"queue {self.index}: indirect table at {address:#x} is not in memory") from None


class Layout(ABC):
    """How a queue lies in memory. Every method may raise GuestError."""

    def __init__(self, queue: Virtqueue) -> None:
        self.queue = queue
        self.cache: tuple[int, memoryview, memoryview, memoryview] | None = None

    def rings(self) -> tuple[memoryview, memoryview, memoryview]:
        """The three parts in host memory."""
        generation = self.queue.device.memory.generation
        if self.cache is None or self.cache[0] != generation:
            desc, driver, device = self.queue.views(*self.parts())
            self.cache = generation, desc, driver, device
        return self.cache[1:]

    @abstractmethod
    def parts(self) -> tuple[tuple[int, int, bool], ...]:
        """Guest address, bytes and "the device writes" of the descriptors, the driver's part, the device's part."""

    @abstractmethod
    def waiting(self) -> int:
        """See `Virtqueue.waiting`."""

    @abstractmethod
    def pop(self) -> Chain:
        """The next request; there is one."""

    @abstractmethod
    def listen(self) -> None:
        """Ask to be notified of the next request (event index)."""

    @abstractmethod
    def push(self, chain: Chain, written: int) -> None:
        """Give a request back."""

    @abstractmethod
    def wants_interrupt(self) -> bool:
        """Does the driver want to hear of what was given back since the last time?"""


class Split(Layout):
    """Section 2.6: a table of descriptors, a ring of available heads, a ring of used ones."""

    def parts(self) -> tuple[tuple[int, int, bool], ...]:
        q = self.queue
        return (q.desc, 16 * q.size, False), (q.avail, 6 + 2 * q.size, False), (q.used, 6 + 8 * q.size, True)

    def waiting(self) -> int:
        q, (_, avail, _) = self.queue, self.rings()
        n = int.from_bytes(avail[2:4], "little") - q.last_avail & 0xFFFF
        if n > q.size:
            raise GuestError(f"queue {q.index}: {n} requests in a ring of {q.size}")
        return n

    def pop(self) -> Chain:
        q, (table, avail, _) = self.queue, self.rings()
        at = 4 + 2 * (q.last_avail % q.size)
        n = int.from_bytes(avail[at : at + 2], "little")
        q.last_avail = q.last_avail + 1 & 0xFFFF
        parts: list[tuple[int, int, bool]] = []
        head, count, seen, indirect = n, q.size, 0, False
        while True:
            if n >= count:
                raise GuestError(f"queue {q.index}: descriptor {n} of {count}")
            seen += 1
            if seen > max(count, QUEUE_LIMIT):
                raise GuestError(f"queue {q.index}: descriptors form a loop")
            address, length, flags, following = _DESC.unpack_from(table, 16 * n)
            if flags & _INDIRECT:
                if indirect:
                    raise GuestError(f"queue {q.index}: bad indirect descriptor")
                table, count, n, indirect = q.table(address, length), length // 16, 0, True
                continue
            parts.append((address, length, bool(flags & _WRITE)))
            if not flags & _NEXT:
                return q.gather(head, 1, parts)
            n = following

    def listen(self) -> None:
        q = self.queue
        if q.device.has(EVENT_IDX):
            _, _, used = self.rings()
            used[4 + 8 * q.size : 6 + 8 * q.size] = q.last_avail.to_bytes(2, "little")

    def push(self, chain: Chain, written: int) -> None:
        q, (_, _, used) = self.queue, self.rings()
        at = 4 + 8 * (q.used_index % q.size)
        used[at : at + 8] = struct.pack("<II", chain.head, written)
        q.used_index = q.used_index + 1 & 0xFFFF
        used[2:4] = q.used_index.to_bytes(2, "little")

    def wants_interrupt(self) -> bool:
        q, (_, avail, _) = self.queue, self.rings()
        if q.device.has(EVENT_IDX):
            at = 4 + 2 * q.size
            wanted = int.from_bytes(avail[at : at + 2], "little")
            old, new = q.signalled, q.used_index
            fire = not q.signalled_valid or (new - wanted - 1 & 0xFFFF) < (new - old & 0xFFFF)
            q.signalled, q.signalled_valid = new, True
            return fire
        return not avail[0] & 1 or bool(q.device.has(NOTIFY_ON_EMPTY) and not q.waiting)


class Packed(Layout):
    """Section 2.7: one ring, whose descriptors say by two bits who has them; the bits change their meaning at each lap."""

    def parts(self) -> tuple[tuple[int, int, bool], ...]:
        q = self.queue
        return (q.desc, 16 * q.size, True), (q.avail, 4, False), (q.used, 4, True)

    def wrap(self, count: int) -> int:
        """The wrap counter after so many descriptors: 1 in the first lap."""
        return 1 - count // self.queue.size % 2

    def place(self, count: int) -> int:
        """Place and wrap counter as event suppression writes them."""
        return count % self.queue.size | self.wrap(count) << 15

    def waiting(self) -> int:
        q, (ring, _, _) = self.queue, self.rings()
        at = 16 * (q.last_avail % q.size)
        flags = int.from_bytes(ring[at + 14 : at + 16], "little")
        ours = self.wrap(q.last_avail)
        return int(flags >> 7 & 1 == ours and flags >> 15 & 1 != ours)

    def pop(self) -> Chain:
        q, (ring, _, _) = self.queue, self.rings()
        parts: list[tuple[int, int, bool]] = []
        first, count = q.last_avail, 0
        while True:
            if count == q.size:
                raise GuestError(f"queue {q.index}: descriptors form a loop")
            address, length, name, flags = _PACKED.unpack_from(ring, 16 * ((first + count) % q.size))
            count += 1
            if flags & _INDIRECT:
                if flags & _NEXT or count > 1:
                    raise GuestError(f"queue {q.index}: bad indirect descriptor")
                parts = [(at, size, bool(kind & _WRITE)) for at, size, _, kind in _PACKED.iter_unpack(q.table(address, length))]
            else:
                parts.append((address, length, bool(flags & _WRITE)))
            if not flags & _NEXT:
                q.last_avail += count
                return q.gather(name, count, parts)

    def listen(self) -> None:
        q = self.queue
        if q.device.has(EVENT_IDX):
            _, _, device = self.rings()
            device[:4] = _EVENT.pack(self.place(q.last_avail), _AT)

    def push(self, chain: Chain, written: int) -> None:
        q, (ring, _, _) = self.queue, self.rings()
        at = 16 * (q.used_index % q.size)
        flags = (_AVAIL | _USED if self.wrap(q.used_index) else 0) | (_WRITE if written else 0)
        ring[at + 8 : at + 14] = struct.pack("<IH", written, chain.head)
        ring[at + 14 : at + 16] = flags.to_bytes(2, "little")  # the last: the driver owns it from now on
        q.used_index += chain.count

    def wants_interrupt(self) -> bool:
        q, (_, driver, _) = self.queue, self.rings()
        place, flags = _EVENT.unpack(driver[:4])
        old, new = q.signalled, q.used_index
        q.signalled = new
        if flags != _AT or not q.device.has(EVENT_IDX):
            return bool(flags != _NEVER)
        lap = new // q.size - (place >> 15 != self.wrap(new))  # of the descriptor that it waits for
        return bool(old <= lap * q.size + (place & 0x7FFF) < new)
