"""Virtio entropy device: OASIS Virtual I/O Device 1.1, section 5.4."""

from __future__ import annotations

import os
from typing import Any

from tinamou.devices.virtio.core import VirtioDevice
from tinamou.devices.virtio.rings import Virtqueue
from tinamou.machine.device import timer
from tinamou.machine.lines import state
from tinamou.machine.props import I64, U32, PropertyError, link, prop


class VirtioRng(VirtioDevice, type="virtio-rng-device"):
    """Random bytes, at most `max-bytes` every `period` milliseconds."""

    device_id = 4

    rng: Any = prop(link("rng-backend"), default=None)
    max_bytes: int = prop(I64, default=2**63 - 1)
    period: int = prop(U32, default=65536)

    used = state(0)                     # bytes given in this period

    def setup(self) -> None:
        super().setup()
        if self.period == 0:
            raise PropertyError("'period' parameter expects a positive integer")
        if self.max_bytes < 0:
            raise PropertyError("'max-bytes' parameter must be non-negative, and less than 2^63")
        self.add_queue(8, self.fill)

    def fill(self, queue: Virtqueue) -> None:
        done = False
        while self.used < self.max_bytes and (chain := queue.pop()) is not None:
            n = min(chain.in_size, self.max_bytes - self.used, 1 << 20)
            data = self.rng.read(n) if self.rng is not None else os.urandom(n)
            if not self.used and n:
                self.refill.after(self.period * 1_000_000)
            self.used += n
            queue.push(chain, chain.write(data))
            done = True
        if done:
            queue.notify()

    @timer
    def refill(self) -> None:
        self.used = 0
        for q in self.queues:
            self.kick(q.index)
