"""The disk as it is, byte for byte; `offset` and `size` show a window of the file."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from .. import options as opt
from ..node import BlockError, Extent, Format, Node, Options, is_zero
from ..notation import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..graph import Graph
    from ..node import Buffer, Protocol


class Raw(Format, name="raw"):
    child_names = ("file",)
    can_create = True
    look_below = True
    name_keys = ("offset", "driver", "size", "file")
    present_when_zero = True
    owns_file = False

    class Open(Options):
        offset = opt.size("offset in the disk where the image starts")
        size = opt.size("virtual disk size")

    class Create(Options):
        size = opt.size("Virtual disk size")

    opts: Open

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        return 1

    def open(self) -> None:
        self.start = self.opts.offset or 0
        room = self.file.size - self.start
        if room < 0:
            raise BlockError(f"Offset ({self.start}) cannot be greater than size of the containing file ({self.file.size})")
        if self.opts.size is not None and self.opts.size > room:
            raise BlockError(
                f"The sum of offset ({self.start}) and size ({self.opts.size}) has to be smaller or equal to the  "
                f"actual size of the containing file ({self.file.size})"
            )
        if self.opts.size is not None and self.opts.size % 512:
            raise BlockError(f"Specified size is not multiple of 512")  # noqa: F541
        self.size = room if self.opts.size is None else self.opts.size
        self.alignment = self.file.alignment

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("data", self.size - pos, self.start + pos)

    def _keep_raw(self, pos: int, data: bytes) -> None:
        """A guest of a disk whose format was guessed may not turn it into an image of another format."""
        from ..graph import probe_bytes

        head = bytearray(self.file.read(self.start, 2048))
        head[pos : pos + len(data)] = data[: 2048 - pos]
        if probe_bytes(bytes(head), self.file.size, self.filename) != "raw":
            raise OSError(errno.EPERM, "Operation not permitted")

    def read_into(self, pos: int, view: memoryview) -> None:
        self.file.debug_event("read_aio")
        self.file.read_into(self.start + pos, view)

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        if self.probed and pos < 512:
            self._keep_raw(pos, b"".join(buffers))
        if self.settings.detect_zeroes != "off" and all(map(is_zero, buffers)):
            self.write_zeroes(pos, sum(map(len, buffers)), self.settings.detect_zeroes == "unmap")
            return
        self.file.debug_event("write_aio")
        self.file.writev(self.start + pos, buffers)
        self._grown()

    def _grown(self) -> None:
        """A format above may write beyond the end."""
        if self.opts.size is None:
            self.size = self.file.size - self.start

    def copy_range(self, pos: int, source: Node, source_pos: int, length: int) -> bool:
        done = not self.probed and self.file.copy_range(self.start + pos, source, source_pos, length)
        self._grown()
        return done

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        self.file.write_zeroes(self.start + pos, length, unmap)
        self._grown()

    def discard(self, pos: int, length: int) -> None:
        self.file.discard(self.start + pos, length)

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        if preallocation == "metadata":
            raise BlockError("Unsupported preallocation mode: metadata")
        if self.opts.size is not None:
            raise BlockError("Cannot resize fixed-size raw disks")
        self.file.resize(self.start + size, preallocation, exact)
        self.size = size

    def zeroes_when_new(self) -> bool:
        return self.file.zeroes_when_new()

    @classmethod
    def create_image(cls, graph: Graph, filename: str, protocol: type[Protocol], options: Any) -> None:
        lower: Any = protocol.Create({k: v for k, v in _plain(options).items() if k in protocol.Create.keys()})
        lower.size = -(-(lower.size or 0) // 512) * 512
        protocol.create_file(graph, filename, lower)

    @classmethod
    def measure(cls, options: Any, disk_size: int, ranges: Iterable[tuple[int, int]]) -> tuple[int, int]:
        return disk_size, disk_size


def _plain(options: Options) -> dict[str, Any]:
    return {o.key: v for o in options.declared() if (v := getattr(options, o.attribute)) is not None}
