"""What is read from the backing file is also written to the image, so that it is there next time."""

from __future__ import annotations

from .. import options as opt
from ..node import Filter, Format, Node, Options

UNIT = 65536


class CopyOnRead(Filter, name="copy-on-read"):
    class Open(Options):
        bottom = opt.text("node down to which data is copied")

    def read_into(self, pos: int, view: memoryview) -> None:
        top: Node = self.file
        while top.below is not None:
            top = top.below
        end = pos + len(view)
        if isinstance(top, Format) and top.backing is not None and not top.read_only:
            at = pos
            while at < end:
                extent = top.extent(at, end - at)
                n = min(extent.length, end - at)
                if extent.kind == "hole":
                    unit = top.cluster_size or UNIT
                    start = at // unit * unit
                    n = min(n + at - start, 1 << 20)
                    stop = min(-(-(start + n) // unit) * unit, top.size)
                    top.write(start, top.read(start, stop - start))
                    n = stop - at
                at += n
        self.file.read_into(pos, view)
