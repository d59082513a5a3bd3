"""Every call with arguments of all sorts, the host's part replaced: only results and error numbers come out, never an exception."""

from __future__ import annotations

import errno
import os
import random
from typing import Any

import pytest

from support.guest_calls import ABIS, HEAP, SIZE, Guest
from tinamou.user.syscall import declared

OTHERS = {"memory", "processes", "signals", "threads", "riscv"}  # they act on more than memory and the host
NAMES = sorted(name for name, d in declared().items() if d.function.__module__.rpartition(".")[2] not in OTHERS)
ROUNDS = 25


@pytest.mark.parametrize("abi", ABIS)
def test_no_exception(abi: str, monkeypatch: pytest.MonkeyPatch) -> None:
    g, dice = Guest(ABIS[abi]), random.Random(5)
    g.memory.write(HEAP, dice.randbytes(SIZE))
    mask = g.abi.mask
    odd = [0, 1, 2, 3, 8, 16, 24, 100, 4096, -1, -2, -100, mask, mask >> 1, 1 << 31, (1 << 31) - 1, g.memory.limit - 4, HEAP + SIZE - 2]

    def host_syscall(number: int, *args: int) -> int:
        assert all(-(1 << 63) <= a < 1 << 64 for a in args)
        return dice.choice([0, 0, 0, 1, -errno.EINVAL, -errno.EINTR, -errno.EOVERFLOW])

    def host(name: str, *args: Any) -> int:
        result = host_syscall(0, *[a for a in args if isinstance(a, int)])
        if name in ("getdents64", "epoll_pwait", "epoll_pwait2", "recvmmsg", "sendmmsg", "getgroups"):
            result = min(result, 0)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    monkeypatch.setattr(g.thread, "host_syscall", host_syscall)
    monkeypatch.setattr(g.thread, "host", host)
    for name in NAMES:
        for _ in range(ROUNDS):
            args = tuple(dice.choice(odd) if dice.random() < 0.5 else HEAP + dice.randrange(SIZE) for _ in range(6))
            number, registers = g.registers(name, args)
            try:
                result = g.process.table.perform(g.thread, number, registers)
                shown = g.process.table.show(g.thread, number, registers)
            except Exception as error:
                pytest.fail(f"{name}{tuple(map(hex, args))}: {error!r}")
            assert isinstance(result, int) and shown.startswith(name + "("), name
        if g.memory.find(HEAP) is None:
            g.memory.map(HEAP, SIZE, 3, 0x32)
    g.release()
