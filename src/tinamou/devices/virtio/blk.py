"""Virtio block device: OASIS Virtual I/O Device 1.1, section 5.2."""

from __future__ import annotations

import errno
import struct
from typing import Any, Literal, Protocol

from tinamou.devices.virtio.core import Chain, GuestError, VirtioDevice, Virtqueue, take_end
from tinamou.machine.lines import state
from tinamou.machine.props import BLOCK_SIZE, BOOL, DRIVE, STR, U16, U32, PropertyError, prop

SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES = (
    1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14)
IN, OUT, FLUSH_CMD, GET_ID, DISCARD_CMD, ZEROES_CMD = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPPORTED = 0, 1, 2
SECTOR = 512
MAX_DISCARD = 1 << 22                   # sectors in one request


class BlockBackend(Protocol):
    """What a disk asks of its image: bytes at offsets. Every method may raise OSError."""

    size: int

    def read_into(self, offset: int, buffers: list[memoryview]) -> None: ...
    def write_from(self, offset: int, buffers: list[memoryview]) -> None: ...
    def flush(self) -> None: ...
    def discard(self, offset: int, size: int) -> None: ...
    def write_zeroes(self, offset: int, size: int) -> None: ...


class VirtioBlk(VirtioDevice, type="virtio-blk-device", category="Storage"):
    """A disk. Requests are served at once, straight between the image and guest memory."""

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

    # --- requests

    def serve(self, queue: Virtqueue) -> None:
        done = 0
        while (chain := queue.pop()) is not None:
            done += self.handle(queue, chain)
        if done:
            queue.notify()

    def handle(self, queue: Virtqueue, chain: Chain) -> int:
        """Serve one request; 0 when it has to wait because the machine stops on errors."""
        kept = Chain(chain.head, list(chain.readable), list(chain.writable), list(chain.written_at))
        kind, _, sector = struct.unpack("<IIQ", chain.read(16))
        if not chain.writable:
            raise GuestError("request without room for its status")
        status_at = chain.writable[-1][-1:]
        take_end(chain.writable, 1)
        written = chain.in_size if kind in (IN, GET_ID) else 0
        try:
            status = self.execute(kind, sector, chain)
        except OSError as e:
            if self.stops(e, kind):
                self.stalled.append((queue, kept))
                return 0
            status = IOERR
        status_at[0] = status
        queue.push(kept, written + 1 if kind in (IN, GET_ID) else 1)
        if kind not in (IN, GET_ID):
            address, length = kept.written_at[-1]
            self.memory.wrote(address + length - 1, 1)
        return 1

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

    def stops(self, error: OSError, kind: int) -> bool:
        """Does the machine stop on this error, to try again when it goes on?"""
        reading = kind == IN
        policy = getattr(self.drive, "rerror" if reading else "werror", "report" if reading else "enospc")
        action: Literal["stop", "ignore", "report"] = (
            "stop" if policy == "stop" or (policy == "enospc" and error.errno == errno.ENOSPC) else
            "ignore" if policy == "ignore" else "report")
        if self.machine is not None:
            self.machine.request("block-io-error", device=getattr(self.drive, "id", ""), node=getattr(self.drive, "node", ""),
                                 operation="read" if reading else "write", action=action,
                                 nospace=error.errno == errno.ENOSPC, reason=error.strerror or str(error))
        return action == "stop"

    def retry(self) -> None:
        """The machine goes on: serve what waited."""
        waiting, self.stalled = self.stalled, []
        for queue, chain in waiting:
            if self.handle(queue, chain):
                queue.notify()

    def resized(self) -> None:
        """The image has another size now."""
        self.config_changed()
