"""GICv2: enables, priorities, levels and edges, software's interrupts, activation."""

from __future__ import annotations

import pytest

from tinamou.devices.intc.gicv2 import SPURIOUS, Gicv2
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine

BASE = 0x800_0000
CTLR, TYPER, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER = 0x000, 0x004, 0x100, 0x180, 0x200, 0x280, 0x300
IPRIORITYR, ITARGETSR, ICFGR, SGIR = 0x400, 0x800, 0xC00, 0xF00
C_CTLR, PMR, IAR, EOIR, RPR, HPPIR, DIR = 0x1_0000, 0x1_0004, 0x1_000C, 0x1_0010, 0x1_0014, 0x1_0018, 0x1_1000


class Gic:
    """The controller, on."""

    def __init__(self) -> None:
        self.machine, self.irq = Machine(), [False]
        self.device = self.machine.at(BASE, Gicv2(), irq=Pin(self.irq.append))
        self.machine.reset("cold")
        for at, value in ((CTLR, 1), (C_CTLR, 1), (PMR, 0xF0)):
            self[at] = value

    def __getitem__(self, offset: int) -> int:
        return self.machine.memory.read(BASE + offset, 4)

    def __setitem__(self, offset: int, value: int) -> None:
        self.machine.memory.write(BASE + offset, value, 4)

    def enable(self, n: int, priority: int = 0x80) -> None:
        self.machine.memory.write(BASE + IPRIORITYR + n, priority, 1)
        self[ISENABLER + n // 32 * 4] = 1 << n % 32


@pytest.fixture
def gic() -> Gic:
    return Gic()


def test_identification(gic: Gic) -> None:
    assert (gic[TYPER], gic[0xFE8], gic[ISENABLER], gic[IAR]) == (8, 0x2B, 0xFFFF, SPURIOUS)


def test_a_level_is_taken_and_ended(gic: Gic) -> None:
    gic.enable(33)
    gic.device[1](True)
    assert gic.irq[-1] and (gic[HPPIR], gic[ISPENDR + 4]) == (33, 2)
    assert (gic[IAR], gic[IAR], gic[RPR], gic[ISACTIVER + 4]) == (33, SPURIOUS, 0x80, 2)
    assert not gic.irq[-1]
    gic[EOIR] = 33
    assert gic.irq[-1]  # still high
    gic.device[1](False)
    assert not gic.irq[-1] and gic[IAR] == SPURIOUS


def test_an_edge_is_remembered(gic: Gic) -> None:
    gic.enable(40)
    gic[ICFGR + 8] = 2 << 16
    gic.device[8](True)
    gic.device[8](False)
    assert gic[IAR] == 40
    gic.device[8](True)
    gic[EOIR] = 40
    assert gic[IAR] == 40


def test_priorities(gic: Gic) -> None:
    gic.enable(40, 0xA0)
    gic.enable(50, 0x40)
    gic.device[8](True)
    assert gic[IAR] == 40
    gic.device[18](True)
    assert gic.irq[-1] and gic[IAR] == 50  # interrupts the other one
    gic[EOIR] = 50
    gic[PMR] = 0xA0
    gic[EOIR] = 40
    gic.device[18](False)
    assert gic[IAR] == SPURIOUS  # as low as the mask


def test_disabled(gic: Gic) -> None:
    gic.enable(35)
    gic.device[3](True)
    gic[ICENABLER + 4] = 8
    assert not gic.irq[-1] and gic[ISPENDR + 4] == 8
    gic[ICENABLER] = 0xFFFF_FFFF
    assert gic[ISENABLER] == 0xFFFF


def test_the_processors_own(gic: Gic) -> None:
    gic.enable(27)
    gic.device.private(11)(True)
    assert gic[IAR] == 27


@pytest.mark.parametrize(("value", "sent"), [(0x0001_0005, True), (0x0002_0005, False), (0x0100_0005, False), (0x0200_0005, True)])
def test_software(gic: Gic, value: int, sent: bool) -> None:
    gic.enable(5)
    gic[SGIR] = value
    assert gic[IAR] == (5 if sent else SPURIOUS)


def test_pending_by_hand(gic: Gic) -> None:
    gic.enable(60)
    gic[ISPENDR + 4] = 1 << 28
    assert gic.irq[-1]
    gic[ICPENDR + 4] = 1 << 28
    assert not gic.irq[-1]


def test_ending_in_two_steps(gic: Gic) -> None:
    gic.enable(33)
    gic[C_CTLR] = 0x201
    gic.device[1](True)
    assert gic[IAR] == 33
    gic[EOIR] = 33
    assert gic[ISACTIVER + 4] == 2
    gic[DIR] = 33
    assert gic[ISACTIVER + 4] == 0


def test_targets_of_one_processor(gic: Gic) -> None:
    gic[ITARGETSR + 32] = 0xFF
    assert (gic[ITARGETSR], gic[ITARGETSR + 32]) == (0x0101_0101, 0x01)
