"""Snapshots of Arduino boards: what follows is the same each time, in the same machine and in a new one."""

from __future__ import annotations

import io

import pytest
from test_avr_alarms import HEAD, PROGRAMS

from avr_guests import Running, port_stores, program
from tinamou.machine import snapshot


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_after_a_snapshot(name: str) -> None:
    elf = program(HEAD + PROGRAMS[name])
    r = Running(elf, "uno")
    trace = port_stores(r)
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
    trace = port_stores(new)
    kept.seek(0)
    snapshot.read(new.m, kept)
    new.run(0.003)
    assert trace == runs[0]
    for each in (r, new):
        each.close()
