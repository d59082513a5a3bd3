"""The same machine for asyncio: what takes time is awaited, so that several machines run at once."""

from __future__ import annotations

import asyncio
from typing import Unpack

from .machine import Arguments, Machine, Snapshot, Until
from .views import CpuView, MemoryView, Serial


class AsyncMachine:
    """A `Machine` (made with the same arguments) whose `run`, `fork` and `snapshot` are awaited.

    Each of them works in a thread of its own meanwhile; cancelling `run` pauses the machine.
    """

    def __init__(self, board: str = "virt", **arguments: Unpack[Arguments]) -> None:
        self.sync = Machine(board, **arguments)

    @classmethod
    def around(cls, machine: Machine) -> AsyncMachine:
        """The asynchronous view of a machine."""
        made = cls.__new__(cls)
        made.sync = machine
        return made

    def __repr__(self) -> str:
        return f"<asynchronous {self.sync!r}>"

    async def __aenter__(self) -> AsyncMachine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop for good."""
        await asyncio.to_thread(self.sync.close)

    @property
    def serial(self) -> Serial:
        return self.sync.serial

    @property
    def cpu(self) -> list[CpuView]:
        return self.sync.cpu

    @property
    def memory(self) -> MemoryView:
        return self.sync.memory

    @property
    def status(self) -> str:
        return self.sync.status

    @property
    def exit_code(self) -> int | None:
        return self.sync.exit_code

    async def run(self, until: Until | None = None, *, seconds: float | None = None, timeout: float | None = -1, serial: int = 0) -> str:
        """`Machine.run`. When the task is cancelled the machine is paused, and stands still when that has been noticed."""
        work = asyncio.ensure_future(asyncio.to_thread(self.sync.run, until, seconds=seconds, timeout=timeout, serial=serial))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():  # again and again: it may not have begun
                self.sync.pause()
                await asyncio.wait([work], timeout=0.02)
            work.exception()  # what ended early has no answer
            raise

    async def snapshot(self) -> Snapshot:
        return await asyncio.to_thread(self.sync.snapshot)

    async def restore(self, snapshot: Snapshot) -> None:
        await asyncio.to_thread(self.sync.restore, snapshot)

    async def fork(self) -> AsyncMachine:
        return AsyncMachine.around(await asyncio.to_thread(self.sync.fork))
