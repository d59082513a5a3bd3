"""The text that describes a VMDK disk: content IDs, parent, extents, disk data base.

Every image that is probed loads this module: `re` is imported where it is used."""

from __future__ import annotations

from collections.abc import Iterator

from ...node import BlockError
from ...notation import NamedTuple

MAX_TEXT = 4 << 20
"""Longest descriptor that is read, in bytes."""

NO_PARENT = 0xFFFF_FFFF
ACCESS = ("RW", "RDONLY", "NOACCESS")
FLAT_KINDS = ("FLAT", "VMFS")
SPARSE_KINDS = ("SPARSE", "VMFSSPARSE")
CREATE_TYPES = (
    "monolithicSparse",
    "monolithicFlat",
    "streamOptimized",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "vmfs",
    "vmfsSparse",
)
EXTENT_LINE = r'(RW|RDONLY|NOACCESS)\s+(\d{1,19})\s+(\w+)(?:\s+"([^"\n]*)")?(?:\s+(\d{1,19}))?\s*'


class ExtentLine(NamedTuple):
    """`RW 4192256 SPARSE "disk-s001.vmdk"`: sizes and offsets in sectors of 512 bytes."""

    access: str
    sectors: int
    kind: str
    name: str
    offset: int


class Descriptor:
    """The text as it is in the file, and what it says."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[str, str] = {}
        for line in self.lines():
            key, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                self.values.setdefault(key.strip(), value.strip().strip('"'))

    @classmethod
    def decode(cls, data: bytes) -> Descriptor:
        """From its bytes, which end at the first zero byte."""
        return cls(data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))

    def encode(self) -> bytes:
        return self.text.encode("utf-8", "surrogateescape")

    def lines(self) -> Iterator[str]:
        for line in self.text.split("\n"):
            yield line.strip()

    def content_id(self, key: str) -> int:
        """`CID` or `parentCID`, a 32-bit number; raises `BlockError`."""
        value = self.values.get(key)
        if value is None:
            raise BlockError(f"The VMDK descriptor has no {key}")
        if not 1 <= len(value) <= 8 or value.strip("0123456789abcdefABCDEF"):
            raise BlockError(f"The VMDK descriptor's {key} is not a 32-bit hexadecimal number: {value[:40]}")
        return int(value, 16)

    def set_content_id(self, key: str, value: int) -> None:
        import re

        self.text = re.sub(rf"(?m)^(\s*{key}\s*=)[^\r\n]*", rf"\g<1>{value:08x}", self.text, count=1)
        self.values[key] = f"{value:08x}"

    @property
    def create_type(self) -> str:
        return self.values.get("createType", "")

    @property
    def parent(self) -> str | None:
        """The backing file's name; None without one."""
        return self.values.get("parentFileNameHint") or None

    def extents(self) -> Iterator[ExtentLine]:
        """Every extent, in the order of the disk; raises `BlockError` for a line that is none."""
        import re

        for line in self.lines():
            if line.split(" ")[0].split("\t")[0] not in ACCESS:
                continue
            found = re.fullmatch(EXTENT_LINE, line)
            if found is None:
                raise BlockError(f"Invalid extent line: {line[:200]}")
            access, sectors, kind, name, offset = found.groups()
            flat = kind in FLAT_KINDS
            if kind == "ZERO":
                name = name or ""
            elif not flat and kind not in SPARSE_KINDS:
                raise BlockError(f"Unsupported extent type '{kind}'")
            elif not name or (kind == "FLAT" and offset is None) or (not flat and offset is not None):
                raise BlockError(f"Invalid extent line: {line[:200]}")
            if not int(sectors):
                raise BlockError(f"Extent of no sectors: {line[:200]}")
            yield ExtentLine(access, int(sectors), kind, name, int(offset or 0))


def is_descriptor(head: bytes) -> bool:
    """Whether a file begins like a descriptor: comments and empty lines, then `version=1`, 2 or 3."""
    for line in head.split(b"\n"):
        line = line.rstrip(b"\r")
        if not line or line.startswith(b"#"):
            continue
        return line in (b"version=1", b"version=2", b"version=3")
    return False
