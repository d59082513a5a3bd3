"""User-level CSRs: which exist, what they hold, and who may write them."""

from __future__ import annotations

import pytest
from riscv_harness import CODE, DATA, Engine, Outcome, State

from tinamou.isa.riscv import isa
from tinamou.isa.riscv.csr import Number
from tinamou.isa.riscv.models import MODELS
from tinamou.isa.riscv.pseudo import assembler
from tinamou.isa.riscv.traps import ILLEGAL_INSTRUCTION


def run(engine: Engine, text: str, state: State | None = None) -> Outcome:
    """The last statement of `text` ends the run."""
    code = assembler(engine.xlen).assemble(text, CODE).data
    return engine.run(state or State(), code, len(code) // 4)


def test_fcsr_is_fflags_and_frm(engine: Engine) -> None:
    after = run(engine, "li a0, 0x1ff; csrrw a1, fcsr, a0; csrr a2, fflags; csrr a3, frm; csrr a4, fcsr").state
    assert (after.fflags, after.frm) == (31, 7)
    assert after.x[11:15] == [0, 31, 7, 0xFF]
    after = run(engine, "csrrsi a1, fflags, 5; csrrci a2, frm, 2; csrrs a3, fcsr, zero", State(fflags=2, frm=3)).state
    assert (after.fflags, after.frm, after.x[11:14]) == (7, 1, [2, 3, 0b0010_0111])
    after = run(engine, "li a0, -1; csrrc a1, fcsr, a0; csrrwi zero, frm, 15", State(fflags=31, frm=4)).state
    assert (after.fflags, after.frm, after.x[11]) == (0, 7, 0x9F)


@pytest.mark.parametrize("counter", ["cycle", "time", "instret"])
def test_counters_count(engine: Engine, counter: str) -> None:
    x = run(engine, f"csrr a0, {counter}; csrr a1, {counter}").state.x
    assert 0 < x[10] < x[11] or (engine.xlen == 32 and x[10] != x[11])


@pytest.mark.parametrize("counter", ["cycleh", "timeh", "instreth", "hpmcounter3h", "hpmcounter31h"])
def test_upper_halves_exist_on_rv32(engine: Engine, counter: str) -> None:
    assert run(engine, f"csrr a0, {counter}").cause == (None if engine.xlen == 32 else ILLEGAL_INSTRUCTION)


def test_performance_counters_are_zero(engine: Engine) -> None:
    for n in range(3, 32):
        after = run(engine, f"li a0, 1; csrr a0, hpmcounter{n}")
        assert (after.cause, after.state.x[10]) == (None, 0)


WRITES = ["csrrw a0, {}, zero", "csrrs a0, {}, a1", "csrrc a0, {}, a1", "csrrwi a0, {}, 0", "csrrsi a0, {}, 1", "csrrci a0, {}, 1"]
READS = ["csrrs a0, {}, zero", "csrrc a0, {}, zero", "csrrsi a0, {}, 0", "csrrci a0, {}, 0"]


@pytest.mark.parametrize("statement", WRITES)
def test_counters_cannot_be_written(engine: Engine, statement: str) -> None:
    """Even by x0, or by writing what they hold: the encoding decides (7.1)."""
    before = State(x=[0] * 10 + [77] + [0] * 21)
    after = run(engine, statement.format("cycle"), before)
    assert after.cause == ILLEGAL_INSTRUCTION
    assert after.state.differences(before) == {}


@pytest.mark.parametrize("statement", READS)
def test_reading_forms_write_nothing(engine: Engine, statement: str) -> None:
    assert run(engine, statement.format("cycle")).cause is None


@pytest.mark.parametrize("statement", WRITES + READS)
@pytest.mark.parametrize("csr", [0, 4, 0x100, 0x300, 0x340, 0x800, 0xC20, 0xCA0, 0xF14, 0xFFF])
def test_there_are_no_others(engine: Engine, statement: str, csr: int) -> None:
    assert run(engine, statement.format(csr)).cause == ILLEGAL_INSTRUCTION


def test_harts_without_f_have_no_fcsr(xlen: int) -> None:
    from tinamou.engine.cpu import Trap
    from tinamou.engine.golden import Golden, Ram
    from tinamou.native.types import u64

    model = MODELS[xlen, "sifive-e31" if xlen == 32 else "sifive-e51"]
    for csr in (Number.FFLAGS, Number.FRM, Number.FCSR):
        for statement in WRITES + READS:
            ram = Ram(CODE, 4096)
            hart = model.hart()
            hart.pc = u64(CODE)
            ram.data[:4] = assembler(xlen).assemble(statement.format(csr), CODE).data
            with pytest.raises(Trap) as trap:
                Golden(isa(xlen), hart, ram, enabled=model.extensions).step()
            assert trap.value.cause == ILLEGAL_INSTRUCTION


def test_invalid_dynamic_rounding_is_illegal(engine: Engine) -> None:
    """20.2: with a reserved value in frm, every instruction that rounds by it is illegal, even exact ones."""
    base = DATA - 4096
    for frm in (5, 6, 7):
        for statement in ("fadd.d fa0,fa1,fa2", "fcvt.w.s a0,fa0", "fsqrt.s fa0,fa0", "fmadd.d fa0,fa0,fa0,fa0", "fcvt.s.d fa0,fa0"):
            assert run(engine, statement, State(pc=base, frm=frm)).cause == ILLEGAL_INSTRUCTION, statement
        for statement in ("fadd.d fa0,fa1,fa2,rne", "fmin.s fa0,fa0,fa0", "feq.d a0,fa0,fa0", "fsgnj.s fa0,fa0,fa0", "fclass.d a0,fa0"):
            assert run(engine, statement, State(pc=base, frm=frm)).cause is None, statement
