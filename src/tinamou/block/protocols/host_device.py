"""A block device of the host: `/dev/...`; size by seeking, discard and zeroing by ioctl."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from ..node import BlockError
from ..notation import ClassVar
from .file import File

BLKDISCARD, BLKZEROOUT, BLKSSZGET, BLKPBSZGET = 0x1277, 0x127F, 0x1268, 0x127B


class HostDevice(File, name="host_device"):
    prefixes: ClassVar[tuple[str, ...]] = ("host_device",)
    device = True
    can_create = True

    @classmethod
    def parse_filename(cls, filename: str) -> dict[str, object]:
        return {"filename": filename.removeprefix("host_device:")}

    @classmethod
    def claims(cls, filename: str) -> bool:
        try:
            return stat.S_ISBLK(os.stat(filename).st_mode)
        except OSError:
            return False

    def _check_kind(self, name: str, mode: int) -> None:
        if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            raise BlockError(f"'{self.driver}' driver requires '{name}' to be either a character or block device")

    def _opened(self, name: str) -> None:
        super()._opened(name)
        if self.settings.direct:
            try:
                self.alignment = struct.unpack("i", fcntl.ioctl(self.fd, BLKSSZGET, bytes(4)))[0]
            except OSError:
                self.alignment = 512

    def write_zeroes(self, pos: int, length: int, unmap: bool = True) -> None:
        try:
            fcntl.ioctl(self.fd, BLKZEROOUT, struct.pack("QQ", pos, length))
        except OSError:
            self.can_punch = self.can_zero = False
            super().write_zeroes(pos, length, unmap)

    def discard(self, pos: int, length: int) -> None:
        try:
            fcntl.ioctl(self.fd, BLKDISCARD, struct.pack("QQ", pos, length))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY):
                raise

    def resize(self, size: int, preallocation: str = "off", exact: bool = True) -> None:
        """A device keeps its size; a format may use less of it."""
        if self.read_only:
            raise BlockError("Image is read-only")
        if size > self.size:
            raise BlockError("Cannot grow device files")
        if preallocation not in ("off", "falloc", "full"):
            raise BlockError(f"Unsupported preallocation mode '{preallocation}'")

    @classmethod
    def create_file(cls, graph, filename, options) -> None:  # type: ignore[no-untyped-def]
        """A device cannot be created; it must be large enough."""
        name = str(cls.parse_filename(filename)["filename"])
        try:
            fd = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BlockError(f"Could not open '{name}': {os.strerror(error.errno or 0)}") from None
        try:
            room = os.lseek(fd, 0, os.SEEK_END)
        finally:
            os.close(fd)
        if (options.size or 0) > room:
            raise BlockError("Cannot grow device files", f"The device '{name}' is too small: {room} bytes")

    @classmethod
    def delete_file(cls, filename: str) -> None:
        """Devices stay."""

    def zeroes_when_new(self) -> bool:
        return False


class HostCharacterDevice(HostDevice, name="host_cdev"):
    """`/dev/null`, or one that has a size."""

    prefixes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def claims(cls, filename: str) -> bool:
        try:
            return stat.S_ISCHR(os.stat(filename).st_mode)
        except OSError:
            return False
