"""New VMDK images: the descriptor, sparse extents with empty grain tables, flat files."""

from __future__ import annotations

import os
import re
import sys
from array import array

from ...node import BlockError, Node, Settings, extend_zeroed
from ...notation import TYPE_CHECKING, Any
from .descriptor import NO_PARENT
from .extents import FLAG_COMPRESSED, FLAG_MARKERS, FLAG_ZERO_GRAIN, SECTOR, SparseHeader

if TYPE_CHECKING:
    from ...graph import Graph
    from ...node import Protocol

SPLIT = 2 << 30
"""Bytes per file of the split formats."""

DESCRIPTOR_OFFSET, DESCRIPTOR_SIZE = 1, 20
"""Sectors."""

SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
ADAPTERS = ("ide", "lsilogic", "buslogic", "legacyESX")

TEMPLATE = """# Disk DescriptorFile
version=1
CID={cid:x}
parentCID={parent_cid:x}
createType="{kind}"
{parent}
# Extent description
{extents}
# The Disk Data Base
#DDB

ddb.virtualHWVersion = "{hardware}"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "{heads}"
ddb.geometry.sectors = "63"
ddb.adapterType = "{adapter}"
ddb.toolsVersion = "{tools}"
"""


def create_image(graph: Graph, filename: str, protocol: type[Protocol], options: Any) -> None:
    """Write all files of a new image; a failure removes them again."""
    kind = options.subformat or "monolithicSparse"
    adapter = options.adapter_type or "ide"
    check_options(options, kind, adapter)
    if re.search(r'["\r\n\0]', os.path.basename(filename)):
        raise BlockError("The file name of a VMDK image may not contain quotation marks or line ends")
    parent_cid = read_parent(graph, filename, options.backing_file) if options.backing_file else NO_PARENT
    size = -(-options.size // SECTOR) * SECTOR
    flat = kind.endswith("Flat")
    made: list[str] = []
    try:
        names = extent_names(filename, kind)
        lines: list[str] = []
        left = size
        while left or (not lines and not flat and not kind.startswith("twoGb")):
            length = min(left, SPLIT) if kind.startswith("twoGb") else left
            name = next(names)
            make_extent(graph, name, protocol, length, options, kind)
            made.append(name)
            where = " 0" if flat else ""
            lines.append(f'RW {length // SECTOR} {"FLAT" if flat else "SPARSE"} "{os.path.basename(name)}"{where}\n')
            left -= length
        heads = 16 if adapter == "ide" else 255
        hint = f'parentFileNameHint="{options.backing_file}"\n' if options.backing_file else ""
        text = TEMPLATE.format(
            cid=int.from_bytes(os.urandom(4), "little") & 0x7FFF_FFFF,
            parent_cid=parent_cid,
            kind=kind,
            parent=hint,
            extents="".join(lines),
            hardware="6" if options.compat6 else "4" if options.hwversion == "undefined" else options.hwversion,
            cylinders=size // (63 * heads * SECTOR),
            heads=heads,
            adapter=adapter,
            tools=options.toolsversion or "2147483647",
        ).encode("utf-8", "surrogateescape")
        if filename in made:
            if len(text) > DESCRIPTOR_SIZE * SECTOR:
                raise BlockError(f"The descriptor of {len(text)} bytes does not fit into {DESCRIPTOR_SIZE} sectors: use shorter names")
            write_file(graph, filename, DESCRIPTOR_OFFSET * SECTOR, text)
        else:
            protocol.create_file(graph, filename, protocol.Create())
            made.append(filename)
            write_file(graph, filename, 0, text)
    except BaseException:
        for name in made:
            protocol.delete_file(name)
        raise


def check_options(options: Any, kind: str, adapter: str) -> None:
    for value, allowed in ((adapter, ADAPTERS), (kind, SUBFORMATS)):
        if value not in allowed:
            raise BlockError(f"invalid parameter value: {value}", f"Possible values: {', '.join(allowed)}")
    if options.compat6 and options.hwversion != "undefined":
        raise BlockError("compat6 cannot be enabled with hwversion set")
    flat = kind.endswith("Flat")
    if flat and options.backing_file:
        raise BlockError("Flat image can't have backing file")
    if flat and options.zeroed_grain:
        raise BlockError("Flat image can't enable zeroed grain")
    if options.backing_fmt and options.backing_fmt != "vmdk":
        raise BlockError("backing_file must be a vmdk image")
    for name, value in (("hwversion", options.hwversion), ("toolsversion", options.toolsversion), ("backing_file", options.backing_file)):
        if value and re.search(r'["\r\n\0]', value):
            raise BlockError(f"Parameter '{name}' may not contain quotation marks or line ends")


def read_parent(graph: Graph, filename: str, name: str) -> int:
    """The content ID of the backing file."""
    from ...graph import combine

    node: Any = graph.open(combine(filename, name), None, Settings(backing=False, no_io=True))
    try:
        if node.driver != "vmdk":
            raise BlockError("backing_file must be a vmdk image")
        return int(node.cid)
    finally:
        graph.close_node(node)


def extent_names(filename: str, kind: str) -> Any:
    """The file names of the extents: `disk-flat.vmdk`, `disk-s001.vmdk`, `disk-f001.vmdk`, or the image itself."""
    folder, base = os.path.split(filename)
    stem, dot, suffix = base.rpartition(".")
    if not dot:
        stem, suffix = base, ""
    number = 0
    while True:
        number += 1
        if kind == "monolithicFlat":
            name = f"{stem}-flat{dot}{suffix}"
        elif kind.startswith("twoGb"):
            name = f"{stem}-{'f' if kind.endswith('Flat') else 's'}{number:03}{dot}{suffix}"
        else:
            name = base
        yield os.path.join(folder, name)


def make_extent(graph: Graph, name: str, protocol: type[Protocol], length: int, options: Any, kind: str) -> None:
    lower: Any = protocol.Create()
    for option in lower.declared():
        if option.key in options.given and option.attribute != "size":
            setattr(lower, option.attribute, getattr(options, option.attribute))
    if kind.endswith("Flat"):
        lower.size = length
    elif getattr(lower, "preallocation", None):
        lower.preallocation = None
    protocol.create_file(graph, name, lower)
    if kind.endswith("Flat"):
        return
    try:
        node = graph.open_options({}, Settings(write=True, discard="unmap"), name, as_file=True)
        try:
            write_sparse(node, length, bool(options.zeroed_grain), kind == "streamOptimized")
        finally:
            graph.close_node(node)
    except BaseException:
        protocol.delete_file(name)
        raise


def write_sparse(file: Node, length: int, zeroed_grain: bool, compressed: bool) -> None:
    """The header, both grain directories and their (empty) tables."""
    header = SparseHeader(capacity=length // SECTOR, descriptor_offset=DESCRIPTOR_OFFSET, descriptor_size=DESCRIPTOR_SIZE)
    header.version = 3 if compressed else 2 if zeroed_grain else 1
    if compressed:
        header.flags |= FLAG_COMPRESSED | FLAG_MARKERS
        header.compression = 1
    if zeroed_grain:
        header.flags |= FLAG_ZERO_GRAIN
    tables = -(-header.capacity // (header.grain * header.table_entries))
    table_sectors = -(-4 * header.table_entries // SECTOR)
    directory_sectors = -(-4 * tables // SECTOR)
    each = directory_sectors + tables * table_sectors
    header.redundant_directory = DESCRIPTOR_OFFSET + DESCRIPTOR_SIZE
    header.directory = header.redundant_directory + each
    header.overhead = -(-(header.directory + each) // header.grain) * header.grain
    if header.overhead >= 1 << 32:
        raise BlockError(f"A disk of {length} bytes is too large for one sparse extent")
    extend_zeroed(file, header.overhead * SECTOR)
    for directory in (header.redundant_directory, header.directory):
        first = directory + directory_sectors
        step = 1 << 18
        for at in range(0, tables, step):
            count = min(step, tables - at)
            start = first + at * table_sectors
            words = array("I", range(start, start + count * table_sectors, table_sectors))
            if sys.byteorder == "big":
                words.byteswap()
            file.write(directory * SECTOR + 4 * at, words.tobytes())
    file.write(0, header.pack().ljust(SECTOR, b"\0"))


def write_file(graph: Graph, name: str, offset: int, data: bytes) -> None:
    node = graph.open_options({}, Settings(write=True), name, as_file=True)
    try:
        node.write(offset, data)
    finally:
        graph.close_node(node)
