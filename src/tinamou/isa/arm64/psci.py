"""Power State Coordination Interface 1.0: Arm DEN 0022D, chapter 5.  What a machine without firmware of its own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .models import MPIDR

if TYPE_CHECKING:
    from tinamou.machine.machine import Machine

    from .vcpu import Arm64Cpu

VERSION, CPU_OFF, MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, FEATURES = (0x8400_0000 + n for n in (0, 2, 6, 8, 9, 10))
CPU_SUSPEND, CPU_ON, AFFINITY_INFO = ((0x8400_0000 + n, 0xC400_0000 + n) for n in (1, 3, 4))
SUPPORTED = {VERSION, CPU_OFF, MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, FEATURES, *CPU_SUSPEND, *CPU_ON, *AFFINITY_INFO}
NOT_SUPPORTED, INVALID_PARAMETERS, ALREADY_ON, ON, OFF = -1, -2, -4, 0, 1
AFFINITY = 0xFF_00FF_FFFF


def call(cpu: Arm64Cpu, machine: Machine, arguments: list[int]) -> int:
    """The answer to x0-x3."""
    function, first, second, third = arguments
    function &= 0xFFFF_FFFF
    if function == VERSION:
        return 0x1_0000
    if function == FEATURES:
        return 0 if first & 0xFFFF_FFFF in SUPPORTED else NOT_SUPPORTED
    if function == MIGRATE_INFO_TYPE:
        return 2  # there is nothing that would have to be migrated
    if function == SYSTEM_OFF:
        machine.request_shutdown()
        cpu.power_off()
        return 0
    if function == SYSTEM_RESET:
        machine.request_reset()
        cpu.power_off()
        return 0
    if function == CPU_OFF:
        cpu.power_off()
        return 0
    if function in CPU_SUSPEND:
        cpu.cpu.halted = type(cpu.cpu.halted)(not cpu.cpu.awake())
        return 0
    if function in CPU_ON or function in AFFINITY_INFO:
        other = next((v for v in cpu.engine.vcpus if int(v.cpu.id[MPIDR]) & AFFINITY == first & AFFINITY), None)  # type: ignore[attr-defined]
        if other is None:
            return INVALID_PARAMETERS
        if function in AFFINITY_INFO:
            return OFF if other.cpu.powered_off else ON  # type: ignore[attr-defined]
        if not other.cpu.powered_off:  # type: ignore[attr-defined]
            return ALREADY_ON
        other.power_on(second, third)  # type: ignore[attr-defined]
        return 0
    return NOT_SUPPORTED
