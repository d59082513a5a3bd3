"""The same machine on each engine, in lockstep: registers, memory, cycles and traces are the same after slices of any length."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from avr_guests import Running, needs_core, needs_gcc, program, sketch
from support.told import AvrJit
from tinamou.devices.i2c.lm75 import Lm75
from tinamou.machine.trace import Trace, VcdFile

MODES = ("off", "traces", "eager")  # the last one in traces from the first visit on, and in regions wherever a slice begins
SKETCHES = ("blink", "echo", "analog", "fade", "tone", "soft", "wire", "servo")


def start(firmware: str, on: str, jit: str) -> Running:
    r = Running(firmware, on, jit=jit, log=False)
    if "i2c-bus" in {b.name for b in r.m.buses()}:
        r.bus("i2c-bus").plug(Lm75())
    r.pins["A0"].voltage = 1.7
    r.send(b"a line\n")
    return r


def state(r: Running) -> dict[str, Any]:
    cpu: Any = r.m.cpus[0]
    return {**cpu.save(), "sram": r.m.memory.load(0x800000 + cpu.part.ram, cpu.part.sram), "serial": r.text}


@pytest.fixture(autouse=True)
def regions(monkeypatch: pytest.MonkeyPatch) -> None:
    AvrJit.told(monkeypatch, quantum=20_000)
    monkeypatch.setattr(AvrJit, "limit", 100)


def in_lockstep(firmware: str, on: str, folder: Path, slices: int, longest: int) -> None:
    machines = {jit: start(firmware, on, jit) for jit in MODES}
    traces = {jit: Trace(r.m).pins("D13", "D9", "D8", "D6", "D3").buses() for jit, r in machines.items()}
    files = [VcdFile(str(folder / f"{jit}.vcd"), trace) for jit, trace in traces.items()]
    r = random.Random(on)
    for n in range(slices):
        cycles = r.choice((1, 2, 5, 100, longest, r.randrange(1, longest)))
        passed = {jit: m.engine.run_cycles(cycles) for jit, m in machines.items()}
        assert len(set(passed.values())) == 1, (n, cycles, passed)
        expected = state(machines["off"])
        for jit, m in machines.items():
            assert state(m) == expected, (n, jit)
    for file in files:
        file.close()
    wanted = (folder / "off.vcd").read_bytes()
    assert all((folder / f"{jit}.vcd").read_bytes() == wanted for jit in MODES)
    counts = {jit: int(m.m.cpus[0].shared.traces) for jit, m in machines.items()}
    assert counts["off"] == 0 < min(counts["eager"], counts["traces"])
    jit = machines["eager"].m.cpus[0].jit
    assert isinstance(jit, AvrJit) and jit.statistics.regions > 0
    for m in machines.values():
        m.close()


@needs_core
@pytest.mark.parametrize("name", SKETCHES)
def test_sketches(name: str, tmp_path: Path) -> None:
    in_lockstep(sketch(f"{name}.ino"), "uno", tmp_path, 60, 30_000)


@needs_core
def test_a_sketch_with_long_return_addresses(tmp_path: Path) -> None:
    in_lockstep(sketch("fade.ino", "mega2560"), "mega2560", tmp_path, 60, 30_000)


@needs_gcc
@pytest.mark.parametrize("kind", [2, 5, 8])
def test_programs(kind: int, tmp_path: Path) -> None:
    in_lockstep(program("measured.c", "uno", f"-DKIND={kind}"), "uno", tmp_path, 100, 3_000)
