"""What is read from the backing file is also written to the image, so that it is there next time."""

from __future__ import annotations

from .. import options as opt
from ..node import Filter, Format, Node, Options, status

UNIT = 65536
PIECE = 1 << 20
"""Bytes copied at once."""


class CopyOnRead(Filter, name="copy-on-read"):
    class Open(Options):
        bottom = opt.text("node down to which data is copied")

    opts: Open

    def open(self) -> None:
        super().open()
        self.base: Node | None = None
        if self.opts.bottom is not None:
            self.base = self.graph.find(self.opts.bottom).backing

    def read_into(self, pos: int, view: memoryview) -> None:
        top: Node = self.file
        while top.below is not None:
            top = top.below
        if isinstance(top, Format) and top.backing is not None and not top.read_only:
            self._copy(top, pos, pos + len(view))
        self.file.read_into(pos, view)

    def _copy(self, top: Format, pos: int, end: int) -> None:
        """Write to `top` the clusters between `pos` and `end` that it does not have."""
        unit = top.cluster_size or UNIT
        while pos < end:
            with top.lock:
                extent = top.extent(pos, end - pos)
                n = min(extent.length, end - pos)
                if extent.kind == "hole":
                    start = pos // unit * unit
                    n = min(n, PIECE)
                    if self.base is not None:
                        found = status(top, pos, n, until=self.base)
                        n = min(n, found.length)
                    if self.base is None or found.present:
                        stop = min(-(-(pos + n) // unit) * unit, top.size)
                        top.write(start, top.read(start, stop - start))
                        n = stop - pos
            pos += n
