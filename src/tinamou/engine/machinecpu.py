"""What every CPU of a machine has on this engine, with a soft MMU (`system`) or without (`harvard`)."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine

from .cpu import Cpu


class MachineCpu:
    """The state of one CPU as seen from outside of compiled code, and its interrupt inputs (`machine.cpu.Cpu`)."""

    cpu: Cpu
    pins: dict[str, Pin]
    thread: threading.Thread | None
    _halted: Any  # fields of the CPU, see `word`
    _lines: Any

    def word(self, name: str) -> Any:
        """A field of the CPU, to be read and written while it runs."""
        return ctypes.c_uint64.from_address(self.cpu.address + type(self.cpu).fields[name].offset)

    def line(self, name: str) -> Pin:
        return self.pins[name]

    def _input(self, bit: int) -> Callable[[bool], object]:
        mask = 1 << bit

        def action(level: bool) -> None:
            self._lines.value = self._lines.value | mask if level else self._lines.value & ~mask
            self.attend()

        return action

    def attend(self) -> None:
        """Make the CPU look at its inputs soon, also when it waits."""
        raise NotImplementedError

    @property
    def halted(self) -> bool:
        """Waits for an interrupt."""
        return bool(self._halted.value)

    @property
    def pc(self) -> int:
        """Address of the next instruction; exact while the CPU stands still."""
        return int(self.cpu.pc)

    @property
    def instructions(self) -> int:
        """Executed so far, exceptions included (a microcontroller: cycles); exact while the CPU stands still."""
        return int(self.cpu.instructions)

    @property
    def thread_id(self) -> int:
        return (self.thread.native_id if self.thread else None) or 0


def tell_failure(machine: Machine | None, reason: str) -> None:
    """Something that must not happen: the machine ends."""
    if machine is not None:
        machine.log.sink(f"tinamou: {reason}")
        machine.request_shutdown("host-error", code=1)
