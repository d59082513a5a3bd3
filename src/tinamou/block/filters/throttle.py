"""Requests wait so that rates stay under the limits of a `throttle-group` object (leaky buckets)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from .. import options as opt
from ..node import BlockError, Filter, Options
from ..notation import TYPE_CHECKING
from ..objects import UserObject

if TYPE_CHECKING:
    from ..node import Buffer

KINDS = ("iops-total", "iops-read", "iops-write", "bps-total", "bps-read", "bps-write")


class Bucket:
    """`rate` units flow out per second; up to a tenth of a second's worth (or `burst`) may come at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.room = burst or rate / 10
        self.level = 0.0
        self.seen = time.monotonic()

    def wait_for(self, units: float, now: float) -> float:
        """Pour in `units`; seconds until they fit."""
        self.level = max(0.0, self.level - (now - self.seen) * self.rate)
        self.seen = now
        wait = max(0.0, (self.level - self.room) / self.rate)
        self.level += units
        return wait


def _properties() -> type[Options]:
    made: dict[str, object] = {}
    for kind in KINDS:
        for suffix in ("", "-max", "-max-length"):
            made[f"x_{kind}{suffix}".replace("-", "_")] = opt.number("", key=f"x-{kind}{suffix}")
            made[f"limits_{kind}{suffix}".replace("-", "_")] = opt.number("", key=f"limits.{kind}{suffix}")
    made["x_iops_size"] = opt.number("", key="x-iops-size")
    made["limits_iops_size"] = opt.number("", key="limits.iops-size")
    return type("Properties", (Options,), made)


class ThrottleGroup(UserObject, name="throttle-group"):
    """Limits shared by all disks that name it."""

    Properties = _properties()  # type: ignore[assignment]

    def complete(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, Bucket] = {}
        for kind in KINDS:
            rate = self._value(kind)
            burst = self._value(kind + "-max")
            if burst and not rate:
                raise BlockError("bps_max/iops_max require corresponding bps/iops values")
            if burst and burst < rate:
                raise BlockError("bps_max/iops_max cannot be lower than bps/iops")
            if rate:
                self.buckets[kind] = Bucket(rate, burst)
        for unit in ("iops", "bps"):
            if f"{unit}-total" in self.buckets and (f"{unit}-read" in self.buckets or f"{unit}-write" in self.buckets):
                raise BlockError("bps/iops/max total values and read/write values cannot be used at the same time")
        self.iops_size = self._value("iops-size")

    def _value(self, name: str) -> int:
        for prefix in ("limits_", "x_"):
            value = getattr(self.opts, prefix + name.replace("-", "_"))
            if value is not None:
                return int(value)
        return 0

    def pace(self, direction: str, length: int) -> None:
        """Wait until a request of `length` bytes may go."""
        requests = -(-length // self.iops_size) if self.iops_size else 1
        with self.lock:
            now = time.monotonic()
            wait = 0.0
            for unit, amount in (("iops", requests), ("bps", length)):
                for side in ("total", direction):
                    bucket = self.buckets.get(f"{unit}-{side}")
                    if bucket is not None:
                        wait = max(wait, bucket.wait_for(amount, now))
        if wait > 0:
            time.sleep(wait)


class Throttle(Filter, name="throttle"):
    name_keys = ("throttle-group", "driver", "file")
    class Open(Options):
        throttle_group = opt.text("Name of the throttle group", key="throttle-group")

    opts: Open

    def open(self) -> None:
        super().open()
        name = self.opts.throttle_group
        if name is None:
            raise BlockError("Please specify a throttle group")
        group = self.graph.objects.get(name)
        if not isinstance(group, ThrottleGroup):
            raise BlockError(f"Throttle group '{name}' does not exist")
        self.group = group

    def read_into(self, pos: int, view: memoryview) -> None:
        self.group.pace("read", len(view))
        super().read_into(pos, view)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        self.group.pace("write", sum(map(len, buffers)))
        super().writev(pos, buffers)
