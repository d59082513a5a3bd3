"""Random programs with an interrupt, on the interpreter, with traces and in regions: the same after slices of any length."""

from __future__ import annotations

import random

import pytest
from avr_engines import CompiledAvr, random_state, random_word, read_state

from support.told import AvrJit
from tinamou.isa.avr import isa
from tinamou.isa.avr.models import MODELS, Model

MODES = ("off", "on", "eager")
DEVICES = {"in", "out", "lds.io", "sts.io", "sbi", "cbi", "sbic", "sbis", "sleep", "wdr", "spm", "spm.z+", "break", "out.spl", "out.sph"}
FLAGS = 0x35  # a register with the flag that asks for vector 2


def program(part: Model, r: random.Random) -> bytearray:
    """Many skips and short branches; calls go anywhere."""
    rows = isa(part.core, part.wide)
    insns = [i for i in rows.insns if i.extension in part.extensions and i.name not in DEVICES]
    skips = [i for i in insns if i.name in ("cpse", "sbrc", "sbrs")]
    branches = [i for i in insns if i.name.startswith("br") or i.name in ("rjmp", "rcall")]
    flash, at = bytearray(part.flash), 0
    while at < part.flash - 4:
        insn = r.choice(r.choices((skips, branches, insns), (25, 15, 60))[0])
        word = random_word(insn, rows, r)
        if insn.name in ("lds", "sts"):
            word = word & 0xFFFF | r.randrange(part.ram, part.ram + part.sram) << 16
        elif insn.name in ("rjmp", "rcall"):
            word = word & 0xF000 | r.randrange(-40, 40) & 0xFFF
        elif insn.name in ("jmp", "call"):
            word = insn.encode(k=r.randrange(part.flash // 2) * 2)
        flash[at : at + insn.size] = word.to_bytes(insn.size, "little")
        at += insn.size
    return flash


def agree(engines: list[CompiledAvr], part: Model, r: random.Random, slices: int) -> None:
    """From one random state on, with an interrupt every now and then, all engines come to the same states."""
    state, period = random_state(part, r), r.randrange(20, 300)
    for e in engines:
        e.put(state)
        e.cpu.io.shadow(FLAGS, 0)
        e.cpu.io.alarm(FLAGS, 1, at=e.cpu.cycles + 37, period=period, vector=2)
    for _ in range(slices):
        cycles = r.randrange(1, 400)
        first, *others = [(e.engine.run_cycles(cycles), read_state(e.cpu.cpu, bytes(e.sram.buffer), e.cpu.cycles)) for e in engines]
        assert all(found == first for found in others), cycles


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["ATmega168", "ATmega2560", "avrxmega2"])
def test_the_same_on_each_engine(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    part, r = MODELS[name], random.Random(f"{name} {seed}")
    flash = program(part, r)
    engines = []
    for jit in MODES:
        monkeypatch.setenv("TINAMOU_JIT", jit)
        engines.append(CompiledAvr(part, flash))
    for _ in range(8):
        agree(engines, part, r, 20)
    assert int(engines[0].cpu.shared.traces) == 0 < int(engines[2].cpu.shared.traces)
    for e in engines:
        e.engine.close()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["ATmega168", "ATmega2560", "avrxmega2", "avrtiny"])
def test_the_same_in_regions(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    part, r = MODELS[name], random.Random(f"{name} {seed} regions")
    flash = program(part, r)
    monkeypatch.setenv("TINAMOU_JIT", "off")
    engines = [CompiledAvr(part, flash)]
    engines[0].engine.jit = "off"
    AvrJit.told(monkeypatch)
    engines.append(CompiledAvr(part, flash))
    for _ in range(4):
        agree(engines, part, r, 12)
    assert engines[0].cpu.jit is None
    assert engines[1].cpu.jit is not None and engines[1].cpu.jit.statistics.instructions > 500
    for e in engines:
        e.engine.close()
