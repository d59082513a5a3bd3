"""Floating point on the host's: lines of instructions between which the host's rounding mode and flags stay the guest's.

Registers and flags against the golden model, which knows nothing of the host.
"""

from __future__ import annotations

import functools
import random

import pytest
from riscv_harness import GoldenEngine, InterpreterEngine, Outcome, RegionsEngine, State, TracesEngine, random_state, random_word

from tinamou.isa.riscv import isa
from tinamou.isa.riscv.traps import BREAKPOINT, ILLEGAL_INSTRUCTION
from tinamou.native.types import u64

EBREAK = (0x0010_0073).to_bytes(4, "little")
DYNAMIC = 7
ACTIVATE = (0x0210_70D3).to_bytes(4, "little")  # fadd.d ft1, ft0, ft1


class StraightEngine(TracesEngine):
    """The handlers alone."""

    name = "handlers"

    def run(self, state: State, code: bytes, count: int = 0) -> Outcome:
        self.guest.engine.shared.stencils = u64(0)
        return self.to_the_end(state, code)


ENGINES = (StraightEngine, TracesEngine, RegionsEngine)


@functools.cache
def made(kind: type[InterpreterEngine | RegionsEngine | GoldenEngine], xlen: int):  # type: ignore[no-untyped-def]
    return kind(xlen)


def program(r: random.Random, xlen: int, length: int) -> bytes:
    """Arithmetic, conversions and comparisons; the flags are read, cleared and set, and the mode is changed, in between."""
    rows = [i for i in isa(xlen).insns if i.extension in ("f", "d") and "imm" not in i.fields]
    code = ACTIVATE
    for _ in range(length):
        if r.randrange(8):
            insn = r.choice(rows)
            word = random_word(r, insn, **({"rm": DYNAMIC} if r.randrange(5) else {}))
            code += word.to_bytes(4, "little")
        else:  # csrr[wsc] between x registers; the mode stays legal mostly
            csr, rd = r.choice((1, 1, 2, 3)), r.randrange(1, 32)
            if csr == 1:
                code += (csr << 20 | r.randrange(32) << 15 | r.choice((1, 2, 3)) << 12 | rd << 7 | 0x73).to_bytes(4, "little")
            else:  # csrrwi: a mode, or no flags and mode 0 or 1 by fcsr
                value = r.randrange(5) if csr == 2 else r.randrange(32)
                code += (csr << 20 | value << 15 | 5 << 12 | rd << 7 | 0x73).to_bytes(4, "little")
    return code + EBREAK


def check(kind: type, xlen: int, count: int, seed: str) -> None:
    r = random.Random(f"host float {seed} {xlen}")
    ours, golden = made(kind, xlen), made(GoldenEngine, xlen)
    ended = set()
    for _ in range(count):
        state, code = random_state(r, xlen), program(r, xlen, 30)
        state.frm %= 5
        got, wanted = ours.run(state, code), golden.run(state, code, 100)
        assert got.cause == wanted.cause, code.hex()
        assert got.state.differences(wanted.state) == {}, (state.frm, state.fflags, code.hex())
        ended.add(got.cause)
    assert BREAKPOINT in ended and ended <= {BREAKPOINT, ILLEGAL_INSTRUCTION}


@pytest.mark.parametrize("kind", ENGINES, ids=lambda k: k.name)
def test_lines_of_float_instructions(kind: type, xlen: int) -> None:
    check(kind, xlen, 30 if kind is RegionsEngine else 300, "few")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", ENGINES, ids=lambda k: k.name)
def test_many_lines(kind: type, xlen: int) -> None:
    check(kind, xlen, 600 if kind is RegionsEngine else 20_000, "many")
