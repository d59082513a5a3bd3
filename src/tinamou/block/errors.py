"""What goes wrong in the block layer, in the words a user reads."""

from __future__ import annotations


class BlockError(Exception):
    """One sentence for the user, without program name; `hints` are further lines printed without prefix."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = hints

    def under(self, prefix: str) -> BlockError:
        """The same error seen from one level up: `prefix: message`, hints kept."""
        return BlockError(f"{prefix}: {self.message}", *self.hints)


class CorruptImage(BlockError, OSError):
    """The image contradicts itself; also an `OSError` with EIO for callers that only know I/O errors."""

    def __init__(self, message: str, *hints: str) -> None:
        BlockError.__init__(self, message, *hints)
        self.errno = 5
        self.strerror = "Input/output error"


class Unsupported(BlockError):
    """The driver has no such operation."""
