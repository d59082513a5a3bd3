"""How a node is opened."""

from __future__ import annotations

from .notation import Any


class Settings:
    """How a node is opened: what the generic options (`read-only`, `cache.direct`, ...) and the tool's flags say.

    write          for reading and writing
    backing        open the backing chain
    direct         O_DIRECT
    no_flush       flush does nothing (`cache=unsafe`)
    writethrough   flush after each write of a guest or of `tinamou-io`
    discard        "ignore" or "unmap"
    detect_zeroes  "off", "on" or "unmap"
    force_share    take no host locks (-U); `locks` is the `locking=` option of files
    exclusive      a tool that must be alone at the image: also raw files are locked against other writers
    for_check      open images that are broken, repair nothing on the way
    no_io          only metadata will be looked at
    """

    def __init__(
        self,
        *,
        write: bool = False,
        backing: bool = True,
        direct: bool = False,
        no_flush: bool = False,
        writethrough: bool = False,
        discard: str = "ignore",
        detect_zeroes: str = "off",
        force_share: bool = False,
        auto_read_only: bool = False,
        for_check: bool = False,
        no_io: bool = False,
        locks: str = "auto",
        exclusive: bool = False,
    ) -> None:
        self.write = write
        self.backing = backing
        self.direct = direct
        self.no_flush = no_flush
        self.writethrough = writethrough
        self.discard = discard
        self.detect_zeroes = detect_zeroes
        self.force_share = force_share
        self.auto_read_only = auto_read_only
        self.for_check = for_check
        self.no_io = no_io
        self.locks = locks
        self.exclusive = exclusive

    def replace(self, **changes: Any) -> Settings:
        """A copy with some settings changed."""
        return Settings(**{**vars(self), **changes})
