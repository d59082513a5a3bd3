"""System registers of EL0, cache operations and exceptions."""

from __future__ import annotations

import pytest
from arm64_harness import CODE, MEMORY, Engine, GoldenEngine, State, place

from tinamou.engine.cpu import Trap
from tinamou.isa.arm64 import isa, traps
from tinamou.isa.arm64.models import MODELS


def run(engine: Engine, name: str, state: State, **fields: int) -> State:
    place(state, isa().by_name[name].encode(**fields).to_bytes(4, "little"))
    outcome = engine.run(state)
    assert outcome.exception is None
    return outcome.state


@pytest.mark.parametrize(
    ("register", "written", "read"),
    [
        ("nzcv", 0xFFFF_FFFF_FFFF_FFFF, 0xF000_0000),
        ("fpcr", 0xFFFF_FFFF, 0x07C8_0000),
        ("fpsr", 0xFFFF_FFFF, 0x0800_009F),
        ("tpidr_el0", 0x1234_5678_9ABC_DEF0, 0x1234_5678_9ABC_DEF0),
        ("dit", 0xFFFF_FFFF, 1 << 24),
        ("ssbs", 0xFFFF_FFFF, 1 << 12),
        ("tco", 0xFFFF_FFFF, 1 << 25),
    ],
)
def test_written_and_read(engine: Engine, register: str, written: int, read: int) -> None:
    after = run(engine, f"msr.{register}", State(x=[written] + [0] * 30), Rt=0)
    assert run(engine, f"mrs.{register}", after, Rt=1).x[1] == read
    run(engine, f"msr.{register}", State(), Rt=31)  # as the next tests expect it


def test_counter_and_random(engine: Engine) -> None:
    state = State()
    first = run(engine, "mrs.cntvct_el0", state, Rt=0).x[0]
    assert run(engine, "mrs.cntvct_el0", state, Rt=0).x[0] > first
    assert run(engine, "mrs.cntfrq_el0", state, Rt=0).x[0] == 1_000_000_000
    numbers = {run(engine, "mrs.rndr", State(nzcv=15), Rt=0).x[0] for _ in range(4)}
    assert len(numbers) == 4
    assert run(engine, "mrs.rndr", State(nzcv=15), Rt=0).nzcv == 0
    assert run(engine, "mrs.dczid_el0", state, Rt=0).x[0] == 4


def test_id_registers() -> None:
    engine = GoldenEngine()
    engine.core.id[0o60] = type(engine.core.id[0])(MODELS["max"].id_registers[0o60])
    assert run(engine, "mrs.id", State(), Rt=3, ID=0o60).x[3] == MODELS["max"].id_registers[0o60]
    assert isa().disassemble(0xD538_0600) == "mrs x0, ID_AA64ISAR0_EL1"


def test_zva_clears_a_block(engine: Engine) -> None:
    state = State(x=[MEMORY + 0x1234] + [0] * 30, data=b"\xff" * len(State().data))
    after = run(engine, "dc_zva", state, Rt=0)
    assert after.data[0x1200:0x1240] == bytes(64)
    assert after.data[0x11FF] == after.data[0x1240] == 0xFF


def test_exceptions(engine: Engine) -> None:
    for name, kind in (("svc", traps.EC_SVC), ("brk", traps.EC_BRK), ("udf", traps.EC_UNKNOWN), ("hvc", traps.EC_UNKNOWN)):
        state = State()
        place(state, isa().by_name[name].encode(imm16=0x1234).to_bytes(4, "little"))
        outcome = engine.run(state)
        assert (outcome.exception, outcome.state.pc) == (kind, CODE)


def test_syndrome_has_the_immediate() -> None:
    engine = GoldenEngine()
    state = State()
    place(state, isa().by_name["svc"].encode(imm16=0x1234).to_bytes(4, "little"))
    engine.run(state)
    with pytest.raises(Trap) as trap:
        engine.golden.step()
    assert trap.value.cause == traps.SVC | 0x1234


def test_flags_between_formats(engine: Engine) -> None:
    """AXFLAG and XAFLAG on what FCMP gives: less, equal, greater, unordered."""
    arm, other = (0b1000, 0b0110, 0b0010, 0b0011), (0b0000, 0b0110, 0b0010, 0b0100)
    for a, b in zip(arm, other, strict=True):
        assert run(engine, "axflag", State(nzcv=a)).nzcv == b
        assert run(engine, "xaflag", State(nzcv=b)).nzcv == a
    assert run(engine, "cfinv", State(nzcv=0b0010)).nzcv == 0
