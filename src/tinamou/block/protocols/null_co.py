"""A disk that swallows writes and answers reads with nothing, for measurements; `null-co` and `null-aio` are the same."""

from __future__ import annotations

from collections.abc import Sequence

from .. import options as opt
from ..node import Extent, Options, Protocol, fill_zero
from ..notation import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..node import Buffer


class NullCo(Protocol, name="null-co"):
    prefixes = ("null-co",)
    name_keys = ("read-zeroes", "latency-ns", "driver", "size")

    class Open(Options):
        size = opt.size("size of the null block")
        latency_ns = opt.number("nanoseconds (approximated) to wait before completing request", key="latency-ns")
        read_zeroes = opt.flag("return zeroes when read", key="read-zeroes")

    opts: Open

    @classmethod
    def parse_filename(cls, filename: str) -> dict[str, Any]:
        return {}

    def open(self) -> None:
        self.size = 1 << 30 if self.opts.size is None else self.opts.size
        self.filename = f"{self.driver}://"

    def _wait(self) -> None:
        if self.opts.latency_ns:
            import time

            time.sleep(self.opts.latency_ns / 1e9)

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("zero" if self.opts.read_zeroes else "data", self.size - pos, pos, file=self)

    def read_into(self, pos: int, view: memoryview) -> None:
        self._wait()
        if self.opts.read_zeroes:
            fill_zero(view)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        self._wait()

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        self._wait()

    def flush(self) -> None:
        self._wait()

    def allocated_bytes(self) -> int | None:
        return 0


class NullAio(NullCo, name="null-aio"):
    prefixes = ("null-aio",)
