"""`tinamou.AsyncMachine`."""

from __future__ import annotations

import asyncio

import pytest

from api.bare import SHELL, build
from tinamou import AsyncMachine, RunTimeout


@pytest.fixture
def bios(tmp_path):
    return build(tmp_path, SHELL)[0]


def test_two_at_once(bios):
    async def talk(word):
        async with AsyncMachine("virt", bios=bios, memory="16M") as m:
            await m.run(until="> ")
            m.serial.write(word + "\n")
            return await m.run(until="> ")

    async def both():
        return await asyncio.gather(talk("one"), talk("two"))

    assert asyncio.run(both()) == ["one\n> ", "two\n> "]


def test_cancelling_pauses(bios):
    async def main():
        async with AsyncMachine("virt", bios=bios, memory="16M") as m:
            await m.run(until="> ")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(m.run(until="never", timeout=None), 0.1)
            assert m.status == "paused" and m.exit_code is None
            with pytest.raises(RunTimeout):
                await m.run(until="never", timeout=0.05)
            m.serial.write("still here\n")
            assert await m.run(until="> ") == "still here\n> "
            assert m.cpu[0].pc and m.memory[0x8000_0000] and "asynchronous" in repr(m)

    asyncio.run(main())


def test_cancelled_before_it_began(bios):
    async def main():
        async with AsyncMachine("virt", bios=bios, memory="16M") as m:
            task = asyncio.ensure_future(m.run(until="never", timeout=None))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert m.status in ("paused", "prelaunch")

    asyncio.run(main())


def test_snapshots(bios):
    async def main():
        async with AsyncMachine("virt", bios=bios, memory="16M") as m:
            await m.run(until="> ")
            now = await m.snapshot()
            async with await m.fork() as other:
                other.serial.write("fork\n")
                m.serial.write("self\n")
                assert await asyncio.gather(other.run(until="> "), m.run(until="> ")) == ["fork\n> ", "self\n> "]
            await m.restore(now)
            now.close()
            assert m.serial.text == "bare metal\n> "

    asyncio.run(main())
