"""Whole machines as Python objects: run, look into, change, hook, snapshot and fork them.

    from tinamou import Machine

    with Machine("virt", kernel="Image", initrd="initramfs.gz", append="console=ttyS0") as m:
        m.run(until="login: ")
        m.serial.write("root\\n")
        print(hex(m.cpu[0].pc), m.memory[0x80000000:0x80000010].hex())

`Machine` blocks, `AsyncMachine` is the same for asyncio. docs/how-to/use-from-python.md is the guide.
"""

from __future__ import annotations

from tinamou.machine.snapshot import SnapshotError

from .errors import MachineEnded, MachineError, RunTimeout
from .hooks import Access, Hook
from .machine import Arguments, Machine, Snapshot
from .tasks import AsyncMachine
from .views import CpuView, MemoryView, Registers, Serial, Words

__all__ = [
    "Access", "Arguments", "AsyncMachine", "CpuView", "Hook", "Machine", "MachineEnded", "MachineError", "MemoryView", "Registers",
    "RunTimeout", "Serial", "Snapshot", "SnapshotError", "Words",
]  # fmt: skip
