"""Where the bytes of a disk live: what a driver answers (`Extent`), and what a user is told about a whole chain (`Status`)."""

from __future__ import annotations

from .notation import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .node import Node


class Extent(NamedTuple):
    """Where `length` bytes of a disk, from the asked position on, live.

    kind      "data"   in `file` at byte `offset`, as they are
              "crypt"  in `file` at byte `offset`, through the node's `encrypt`/`decrypt`
              "zero"   reads as zeroes (`offset` >= 0: space is reserved there)
              "hole"   never written: the backing node shows through, zeroes where there is none (`offset` as for "zero")
              "zlib", "zstd", ...  compressed with the cluster's other bytes: `size` bytes in `file` at `offset`, and the
                       first wanted byte is byte `skip` of the unpacked cluster
    length    at least 1; may reach beyond what was asked
    writable  "data"/"crypt" only: may be overwritten in place (False when a snapshot shares it)
    file      the node that holds it; None: the format's own `file` child
    """

    kind: str
    length: int
    offset: int = -1
    size: int = 0
    skip: int = 0
    writable: bool = True
    file: Node | None = None


class Status(NamedTuple):
    """What a user is told about a range (`map`): the answer after looking through filters, formats and the host file."""

    length: int
    data: bool
    zero: bool
    present: bool
    depth: int
    offset: int = -1
    file: Node | None = None
    compressed: bool = False


def status(node: Node, pos: int, want: int, depth: int = 0, until: Node | None = None) -> Status:
    """What the range from `pos` on is, looking through filters and backing nodes down to, but not into, `until`.

    `depth` counts the backing layers above the one that answers. The length is at most `want`.
    """
    layer: Node | None = node
    while layer is not None and layer is not until:
        if layer.kind == "filter":
            layer = layer.below
            continue
        if pos >= layer.size:
            return Status(want, False, True, False, depth)
        if want > layer.size - pos:
            want = layer.size - pos
        extent = layer.extent(pos, want)
        n = extent.length if extent.length < want else want
        if extent.kind != "hole":
            return _host_status(layer, extent, n, depth)
        backing = layer.children.get("backing")
        if backing is None:
            return Status(n, False, True, False, depth, extent.offset, extent.file or layer.children.get("file"))
        if backing is until:
            return Status(n, False, False, False, depth + 1)
        if pos >= backing.size:
            return Status(n, False, True, False, depth)
        want = n
        layer = backing
        depth += 1
    return Status(want, False, False, False, depth)


def _host_status(layer: Node, extent: Extent, n: int, depth: int) -> Status:
    """Complete an allocated extent with what the host file knows."""
    kind, _, offset, _, _, _, file = extent
    if file is None:
        file = layer.children.get("file")
    if kind == "data":
        if layer.kind != "format" or not layer.look_below or file is None:  # type: ignore[attr-defined]
            return Status(n, True, False, True, depth, offset, file)
        if file.kind == "protocol" and offset < file.size:
            inner = file.extent(offset, n)
            length, data = inner.length if inner.length < n else n, inner.kind == "data"
            zero = inner.kind == "zero"
        else:
            below = status(file, offset, n)
            length, data, zero = below.length, below.data, below.zero
        return Status(length, data or not layer.present_when_zero, zero, True, depth, offset, file)  # type: ignore[attr-defined]
    if kind == "zero":
        return Status(n, False, True, True, depth, offset, file)
    return Status(n, True, False, True, depth, compressed=kind != "crypt")


def walk(node: Node) -> Iterator[Node]:
    """The node and its backing chain, top first, filters left out."""
    layer: Node | None = node
    while layer is not None:
        while layer.below is not None:
            layer = layer.below
        yield layer
        layer = layer.backing
