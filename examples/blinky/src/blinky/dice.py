"""A PCI card with one register that throws dice."""

from __future__ import annotations

import random

from tinamou.devices.pci.core import PciFunction
from tinamou.machine.lines import state
from tinamou.machine.memory import Io
from tinamou.machine.props import U32, prop


class Dice(PciFunction, type="blinky-dice", category="Misc", desc="throws dice"):
    """Vendor and device numbers are those set aside for prototypes; register 0 of its memory is a fresh throw at each read."""

    sides: int = prop(U32, default=6, help="sides of a die")
    seed: int = prop(U32, default=1, help="the same throws every time")

    product = 0x10F0
    class_code = 0xFF0000

    thrown = state(0)

    def declare(self) -> None:
        self.base(0, Io("blinky-dice", 0x1000, self, access=(4, 4)))

    def read(self, offset: int, size: int) -> int:
        if offset:
            return 0
        self.thrown += 1
        return random.Random(f"{self.seed} {self.thrown}").randint(1, self.sides)

    def write(self, offset: int, value: int, size: int) -> None:
        self.log.guest_error(f"{self.label}: dice cannot be written")
