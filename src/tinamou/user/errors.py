"""What can go wrong with a guest program."""

from __future__ import annotations


class GuestFault(Exception):
    """An address that the guest may not access so: EFAULT in a system call."""

    def __init__(self, address: int) -> None:
        super().__init__(f"no guest memory at {address:#x}")
        self.address = address


class LoadError(Exception):
    """A program that cannot be started: the message is the line for the user; `errno` is what execve would give."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno
