"""Everything written is compressed, if the format below can."""

from __future__ import annotations

from collections.abc import Sequence

from ..node import BlockError, Filter, Format, Node
from ..notation import TYPE_CHECKING

if TYPE_CHECKING:
    from ..node import Buffer


class Compress(Filter, name="compress"):
    def open(self) -> None:
        super().open()
        self.image = self._format()

    def _format(self) -> Format:
        node: Node = self.file
        while node.below is not None:
            node = node.below
        if not isinstance(node, Format) or not node.compression:
            raise BlockError(f"Compression is not supported by the format '{node.driver}'")
        return node

    def writev(self, pos: int, buffers: Sequence[Buffer]) -> None:
        write_compressed(self.image, pos, memoryview(b"".join(buffers)))


def write_compressed(image: Format, pos: int, data: memoryview) -> None:
    """Whole clusters are stored compressed when that saves space; parts of clusters are written as they are."""
    unit = image.cluster_size
    end = pos + len(data)
    at = pos
    while at < end:
        n = min(unit - at % unit, end - at)
        part = data[at - pos : at - pos + n]
        whole = n == unit or (at % unit == 0 and at + n == image.size)
        packed = image.compress(bytes(part).ljust(unit, b"\0")) if whole else None
        if packed is None:
            image.writev(at, [part])
        else:
            image.link_compressed(at, packed, unit)
        at += n
