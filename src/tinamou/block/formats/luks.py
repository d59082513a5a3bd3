"""LUKS version 1 disks, as made by cryptsetup and the original: a header with key slots, then the disk, encrypted sector by sector.

The header may lie in another file (`header=`, a detached header): then the disk starts at the byte of `file` the header names, 0 in
headers made with `detached-header=on`.
"""

from __future__ import annotations

from collections.abc import Iterable

from .. import options as opt
from ..crypto import SECTOR, wipe
from ..crypto.options import MAGIC, AmendOptions, CreateOptions
from ..node import BlockError, Extent, Format, Node, Options
from ..notation import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..crypto.sectors import SectorCipher
    from ..graph import Graph
    from ..node import Buffer


class LuksDisk(Format, name="luks"):
    child_names = ("file", "header")
    can_create = True
    sectors: SectorCipher | None = None
    name_keys = ("driver", "file", "key-secret")

    class Open(Options):
        key_secret = opt.text("ID of the secret that provides the keyslot passphrase", key="key-secret")

    class Create(CreateOptions, Format.Create):
        detached_header = opt.flag("Create a detached LUKS header", key="detached-header")

    Amend = AmendOptions
    opts: Open

    @classmethod
    def probe(cls, head: bytes, file_size: int, filename: str) -> int:
        return 100 if head[:8] == MAGIC + b"\0\1" else 0

    def open(self) -> None:
        from ..crypto import luks

        detached = "header" in self.children
        self.luks = luks.Luks.load(self.children["header"] if detached else self.file, detached)
        self.alignment = SECTOR
        if not self.settings.no_io:
            secret = luks.passphrase(self.graph, self.opts.key_secret, "key-secret")
            try:
                key = self.luks.unlock(secret)
            finally:
                wipe(secret)
            try:
                self.sectors = self.luks.algorithms.sectors(key)
            finally:
                wipe(key)
        self.start = self.luks.payload_bytes
        room = self.file.size - self.start
        if room < 0:
            raise BlockError("Could not refresh total sector count: Input/output error")
        self.size = -(-room // SECTOR) * SECTOR

    @property
    def encrypted(self) -> bool:
        return True

    def extent(self, pos: int, want: int) -> Extent:
        return Extent("crypt", self.size - pos, self.start + pos)

    def decrypt(self, pos: int, offset: int, view: memoryview) -> None:
        self._unlocked().decrypt(pos // SECTOR, view)

    def encrypt(self, pos: int, offset: int, data: Buffer) -> Buffer:
        return self._unlocked().encrypt(pos // SECTOR, data)

    def _unlocked(self) -> SectorCipher:
        if self.sectors is None:
            raise BlockError("The disk was opened without a passphrase, to look at its header only")
        return self.sectors

    def zeroes_when_new(self) -> bool:
        return False

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        self.file.resize(self.start + size, preallocation, exact)
        self.size = size

    def info(self) -> dict[str, Any]:
        facts = self.luks.info()
        if "header" in self.children:
            facts["detached-header"] = True
        return facts

    def amend(self, options: Any, force: bool, progress: Any) -> None:
        """Change key slots."""
        from ..crypto import luks

        self.luks.amend(
            options,
            force,
            lambda: luks.passphrase(self.graph, self.opts.key_secret, "key-secret"),
            lambda name: luks.passphrase(self.graph, name, "new-secret"),
        )

    @classmethod
    def create(cls, graph: Graph, file: Node, options: Any) -> None:
        from ..crypto import luks

        algorithms = luks.Algorithms.chosen(options)
        secret = luks.passphrase(graph, options.key_secret, "key-secret")
        try:
            made, key = luks.Luks.create(file, algorithms, secret, options.iter_time, bool(options.detached_header))
            wipe(key)
        finally:
            wipe(secret)
        if options.detached_header:
            file.resize(algorithms.header_bytes)
            return
        size = -(-options.size // SECTOR) * SECTOR
        file.resize(made.payload_bytes + size, getattr(options, "preallocation", None) or "off")

    @classmethod
    def check_measure_options(cls, graph: Graph, options: Any) -> None:
        from ..crypto import luks

        wipe(luks.passphrase(graph, options.key_secret, "key-secret"))

    @classmethod
    def measure(cls, options: Any, disk_size: int, ranges: Iterable[tuple[int, int]]) -> tuple[int, int]:
        from ..crypto import luks

        total = luks.Algorithms.chosen(options).header_bytes + disk_size
        return total, total
