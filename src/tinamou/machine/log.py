"""Log items that a user switches on with `-d`: guest mistakes and unimplemented parts are told by name, never fatal."""

from __future__ import annotations

import sys
from collections.abc import Callable


class Log:
    """Where devices report what a guest did wrong (`guest_errors`) or what is not modelled (`unimp`).

    `items` are the switched-on kinds. `sink` receives one line without its newline; the default writes to stderr.
    """

    def __init__(self, items: set[str] | None = None, sink: Callable[[str], object] | None = None) -> None:
        self.items: set[str] = items or set()
        self.ranges: list[tuple[int, int]] = []  # first and last address of the code that is logged; all if there is none
        self.sink: Callable[[str], object] = sink or self._stderr

    @staticmethod
    def _stderr(line: str) -> None:
        print(line, file=sys.stderr)

    def guest_error(self, text: str) -> None:
        """The guest broke a rule of its hardware manual."""
        if "guest_errors" in self.items:
            self.sink(text)

    def unimp(self, text: str) -> None:
        """The guest used something real that is not modelled."""
        if "unimp" in self.items:
            self.sink(text)

    def trace(self, item: str, text: str) -> None:
        """Anything else, under its own item name."""
        if item in self.items:
            self.sink(text)

    def wants(self, address: int) -> bool:
        """Code at this address is logged."""
        return not self.ranges or any(first <= address <= last for first, last in self.ranges)
