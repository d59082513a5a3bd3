"""Snapshots of Arduino boards: what follows is the same each time, in the same machine and in a new one."""

from __future__ import annotations

import io
from typing import Any

import pytest
from test_avr_alarms import HEAD, PROGRAMS

from avr_guests import Running, program
from tinamou.machine import snapshot


def traced(r: Running) -> list[tuple[int, int, int]]:
    """(cycle, register, value) of each store to a port from now on."""
    cpu: Any = r.m.cpus[0]
    out: list[tuple[int, int, int]] = []
    bank = cpu.machine.memory.find(0x800025).region.bank
    for address in (0x25, 0x28, 0x2B):
        write = bank.writers[address]

        def note(value: int, address: int = address, write: Any = write) -> None:
            out.append((cpu.cycles, address, value))
            write(value)

        bank.writers[address] = note
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_after_a_snapshot(name: str) -> None:
    elf = program(HEAD + PROGRAMS[name])
    r = Running(elf, "uno")
    trace = traced(r)
    r.run(0.0031)
    taken, kept = snapshot.take(r.m), io.BytesIO()
    snapshot.write(r.m, kept)
    runs = []
    for _ in range(3):
        trace.clear()
        r.run(0.003)
        runs.append(list(trace))
        snapshot.restore(r.m, taken)
    assert len(runs[0]) > 5
    assert runs[1] == runs[0] and runs[2] == runs[0]
    taken.close()

    new = Running(elf, "uno")
    new.run(0.0007)
    trace = traced(new)
    kept.seek(0)
    snapshot.read(new.m, kept)
    new.run(0.003)
    assert trace == runs[0]
    for each in (r, new):
        each.close()
