"""Virtio block device: OASIS Virtual I/O Device 1.1, section 5.2."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from tinamou.devices.virtio.core import VirtioDevice
from tinamou.devices.virtio.rings import Chain, GuestError, Virtqueue, drop_end
from tinamou.machine.iothread import IoThread
from tinamou.machine.lines import state
from tinamou.machine.props import BLOCK_SIZE, BOOL, DRIVE, STR, U16, U32, PropertyError, prop

SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES = (
    1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14)
IN, OUT, FLUSH_CMD, GET_ID, DISCARD_CMD, ZEROES_CMD = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPPORTED = 0, 1, 2
SECTOR = 512
Action = Literal["stop", "ignore", "report"]
MAX_DISCARD = 1 << 22                   # sectors in one request


class BlockBackend(Protocol):
    """What a disk asks of its image: bytes at offsets. Every method may raise OSError."""

    size: int

    def read_into(self, offset: int, buffers: list[memoryview]) -> None: ...
    def write_from(self, offset: int, buffers: list[memoryview]) -> None: ...
    def flush(self) -> None: ...
    def discard(self, offset: int, size: int) -> None: ...
    def write_zeroes(self, offset: int, size: int) -> None: ...


@dataclass(eq=False)
class Request:
    """One request: `chain` is its data, `kept` all of it."""

    queue: Virtqueue
    kept: Chain
    chain: Chain
    kind: int
    sector: int
    status_at: memoryview
    written: int  # bytes of data for the driver
    status: int = OK
    error: OSError | None = None


class VirtioBlk(VirtioDevice, type="virtio-blk-device", category="Storage"):
    """A disk. Requests go straight between the image and guest memory, in a thread of their own where the machine has such."""

    device_id = 2

    drive: Any = prop(DRIVE, default=None, help="Node name or ID of a block device to use as a backend")
    serial: str = prop(STR, default="", help="up to 20 characters")
    logical: int = prop(BLOCK_SIZE, default=0, name="logical_block_size", help="A power of two between 512 B and 2 MiB")
    physical: int = prop(BLOCK_SIZE, default=0, name="physical_block_size", help="A power of two between 512 B and 2 MiB")
    min_io: int = prop(U32, default=0, name="min_io_size")
    opt_io: int = prop(U32, default=0, name="opt_io_size")
    config_wce: bool = prop(BOOL, default=True)
    num_queues: int = prop(U16, default=1)
    queue_size: int = prop(U16, default=256)
    discard: bool = prop(BOOL, default=True)
    write_zeroes: bool = prop(BOOL, default=True)
    read_only: bool = prop(BOOL, default=False, hidden=True)

    wce = state(1)

    def setup(self) -> None:
        super().setup()
        if self.drive is None:
            raise PropertyError("drive property not set")
        if not 1 <= self.num_queues <= 1024:
            raise PropertyError("num-queues property must be larger than 0")
        if not 2 < self.queue_size <= 1024 or self.queue_size & self.queue_size - 1:
            raise PropertyError(f"invalid queue-size property ({self.queue_size}), must be a power of 2 (max 1024)")
        self.logical = self.logical or SECTOR
        self.physical = self.physical or SECTOR
        if self.logical > self.physical:
            raise PropertyError("logical_block_size > physical_block_size not supported")
        for _ in range(self.num_queues):
            self.add_queue(self.queue_size, self.serve)
        self.stalled: list[tuple[Virtqueue, Chain]] = []
        self._io: IoThread | None = None

    @property
    def readonly(self) -> bool:
        return self.read_only or bool(getattr(self.drive, "readonly", False))

    def offered(self) -> int:
        bits = [SEG_MAX, GEOMETRY, BLK_SIZE, FLUSH, TOPOLOGY]
        bits += [CONFIG_WCE] if self.config_wce else []
        bits += [RO] if self.readonly else []
        bits += [MQ] if self.num_queues > 1 else []
        bits += [DISCARD] if self.discard and not self.readonly else []
        bits += [WRITE_ZEROES] if self.write_zeroes and not self.readonly else []
        return sum(1 << b for b in bits)

    def config(self) -> bytes:
        sectors = self.drive.size // SECTOR
        heads, per_track = 16, 63
        cylinders = min(sectors // (heads * per_track), 65535)
        exponent = (self.physical // self.logical).bit_length() - 1
        return struct.pack("<QIIHBBIBBHIBBHIIIIIIB3x", sectors, 0, self.queue_size - 2, cylinders, heads, per_track,
                           self.logical, exponent, 0, self.min_io // self.logical, self.opt_io // self.logical,
                           self.wce, 0, self.num_queues,
                           MAX_DISCARD, 1, self.logical // SECTOR, MAX_DISCARD, 1, 1, 1)[:60]

    def write_config(self, offset: int, data: bytes) -> None:
        if offset == 32 and len(data) == 1 and self.config_wce:
            self.wce = data[0] & 1
        else:
            super().write_config(offset, data)

    def on_restart(self) -> None:
        self.wce = 1
        self.stalled = []

    def restart(self) -> None:
        self.drain()
        super().restart()

    # --- requests

    def serve(self, queue: Virtqueue) -> None:
        self.begin((queue, chain) for chain in iter(queue.pop, None))

    def begin(self, waiting: Iterable[tuple[Virtqueue, Chain]]) -> None:
        """Carry requests out, or have them carried out by the thread. Raises GuestError."""
        done = []
        for queue, chain in waiting:
            request = self.request(queue, chain)
            if self.io is not None:
                self.io.submit(partial(self.perform, request))
            else:
                done.append(self.perform(request))
        self.finish(done)

    def request(self, queue: Virtqueue, chain: Chain) -> Request:
        """Read a request's head. Raises GuestError."""
        kept = chain.copy()
        kind, _, sector = struct.unpack("<IIQ", chain.read(16))
        if not chain.writable:
            raise GuestError("request without room for its status")
        status_at = chain.writable[-1][-1:]
        drop_end(chain.writable, 1)
        return Request(queue, kept, chain, kind, sector, status_at, chain.in_size if kind in (IN, GET_ID) else 0)

    def perform(self, r: Request) -> Request:
        """What blocks: done in any thread."""
        try:
            r.status = self.execute(r.kind, r.sector, r.chain)
        except OSError as e:
            r.error = e
        except GuestError:
            r.status = IOERR
        return r

    def finish(self, done: list[Request]) -> None:
        """Give requests back to the driver; those that failed wait when the machine stops on errors."""
        queues = set()
        for r in done:
            if r.error is not None:
                action = self.policy(r.error, r.kind)
                if action == "stop":
                    self.stalled.append((r.queue, r.kept))
                    continue
                r.status = OK if action == "ignore" else IOERR
            r.status_at[0] = r.status
            r.queue.push(r.kept, r.written + 1)
            if not r.written:
                address, length = next((at, size) for at, size, write in reversed(r.kept.parts) if write and size)
                self.memory.wrote(address + length - 1, 1)
            queues.add(r.queue)
        for queue in queues:
            queue.notify()

    @property
    def io(self) -> IoThread | None:
        """The thread for requests, if this machine has such."""
        if self._io is None and self.machine is not None and self.machine.io_threads:
            self._io = IoThread(self.machine.lock, self.finish, f"I/O {self.label}")
        return self._io

    def drain(self) -> None:
        """Wait for the requests under way."""
        if self._io is not None:
            self._io.drain()

    def execute(self, kind: int, sector: int, chain: Chain) -> int:
        offset = sector * SECTOR
        match kind:
            case 0:
                size = chain.in_size
                if not self.inside(offset, size):
                    return IOERR
                self.drive.read_into(offset, chain.writable)
            case 1:
                size = chain.out_size
                if self.readonly or not self.inside(offset, size):
                    return IOERR
                self.drive.write_from(offset, chain.readable)
                if not self.wce and not self.has(FLUSH):
                    self.drive.flush()
            case 4:
                self.drive.flush()
            case 8:
                chain.write(self.serial.encode()[:20].ljust(min(20, chain.in_size), b"\0"))
            case 11 | 13:
                if self.readonly or not self.has(DISCARD if kind == DISCARD_CMD else WRITE_ZEROES):
                    return UNSUPPORTED
                return self.trim(kind, chain)
            case _:
                return UNSUPPORTED
        return OK

    def trim(self, kind: int, chain: Chain) -> int:
        if chain.out_size != 16:
            return UNSUPPORTED if chain.out_size > 16 else IOERR
        sector, count, flags = struct.unpack("<QII", chain.read(16))
        offset, size = sector * SECTOR, count * SECTOR
        if count > MAX_DISCARD or not self.inside(offset, size) or flags & ~1 or (kind == DISCARD_CMD and flags):
            return IOERR if not flags & ~1 else UNSUPPORTED
        if kind == DISCARD_CMD:
            self.drive.discard(offset, size)
        else:
            self.drive.write_zeroes(offset, size)
        return OK

    def inside(self, offset: int, size: int) -> bool:
        return not size % self.logical and not offset % self.logical and offset + size <= self.drive.size

    # --- error policy: rerror and werror of the drive

    def policy(self, error: OSError, kind: int) -> Action:
        """What happens on this error: "stop" is to try again when the machine goes on."""
        reading = kind == IN
        policy = getattr(self.drive, "rerror" if reading else "werror", "report" if reading else "enospc")
        action: Action = (
            "stop" if policy == "stop" or (policy == "enospc" and error.errno == errno.ENOSPC) else
            "ignore" if policy == "ignore" else "report")
        if self.machine is not None:
            self.machine.request("block-io-error", device=getattr(self.drive, "id", ""), node=getattr(self.drive, "node", ""),
                                 operation="read" if reading else "write", action=action,
                                 nospace=error.errno == errno.ENOSPC, reason=error.strerror or str(error))
        return action

    def retry(self) -> None:
        """The machine goes on: serve what waited."""
        waiting, self.stalled = self.stalled, []
        self.begin(waiting)

    def save_more(self) -> dict[str, Any]:
        return {**super().save_more(), "stalled": [[queue.index, chain.save()] for queue, chain in self.stalled]}

    def load_more(self, saved: dict[str, Any]) -> None:
        super().load_more(saved)
        self.stalled = [(self.queues[n], self.queues[n].chain(kept)) for n, kept in saved["stalled"]]

    def resized(self) -> None:
        """The image has another size now."""
        self.config_changed()
