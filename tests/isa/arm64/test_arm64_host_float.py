"""Floating point on the host's: lines of instructions between which the host's rounding mode and flags stay the guest's.

Registers and FPSR against the golden model, which knows nothing of the host.
"""

from __future__ import annotations

import functools
import random

import pytest
from arm64_harness import (
    CODE,
    MEMORY,
    SIZE,
    GoldenEngine,
    NativeEngine,
    Outcome,
    State,
    get,
    place,
    put,
    random_data,
    random_state,
    random_word,
    touches_memory,
)

from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.traps import EC_BRK, EC_UNKNOWN
from tinamou.native.types import u64

BREAK = isa().by_name["brk"].encode(imm16=0)
ACTIVATE = 0x1E61_2800  # fadd d0, d0, d1
FPCR, FPSR = 0x3B_4400, 0x3B_4420  # the registers' numbers, as MRS and MSR have them in bits 20:5


class ToTheEnd(NativeEngine):
    """Handlers alone, or a trace at the first visit of whatever can begin one."""

    def __init__(self, traces: bool) -> None:
        super().__init__()
        shared = self.guest.engine.shared
        shared.patience = u64(1)
        if not traces:
            shared.stencils = u64(0)

    def run(self, state: State, count: int = 1) -> Outcome:
        """Up to an exception."""
        core = self.vcpu.cpu
        put(core, state)
        self.guest.write(MEMORY, state.data)
        self.guest.thread(self.vcpu)
        end = self.vcpu.run()
        assert end.trap
        return Outcome(get(core, self.guest.read(MEMORY, SIZE)), end.cause >> 26)


@functools.cache
def engine(traces: bool) -> ToTheEnd:
    return ToTheEnd(traces)


@functools.cache
def golden() -> GoldenEngine:
    return GoldenEngine()


@functools.cache
def rows() -> list:
    return [i for i in isa().insns if i.name.startswith(("f", "scvtf", "ucvtf")) and not touches_memory(i)]


def program(r: random.Random, length: int) -> bytes:
    words = [ACTIVATE]
    for _ in range(length):
        match r.randrange(12):
            case 0:
                words.append(0xD520_0000 | FPSR & 0x1F_FFE0 | 1 << 21 | r.randrange(31))  # mrs
            case 1:
                words.append(0xD500_0000 | r.choice((FPCR, FPSR)) & 0x1F_FFE0 | r.randrange(31))  # msr
            case _:
                words.append(random_word(r, r.choice(rows())))
    return b"".join(w.to_bytes(4, "little") for w in [*words, BREAK])


def check(traces: bool, count: int, seed: str) -> None:
    r = random.Random(f"host float {seed}")
    ended = set()
    for _ in range(count):
        state = random_state(r, random_data(0))
        if r.randrange(2):
            state.fpcr &= 0x00C0_0000  # the rounding mode alone
        place(state, program(r, 30))
        got, wanted = engine(traces).run(state), golden().run(state, 100)
        code = state.data[CODE - MEMORY :][:128].hex()
        assert got.exception == wanted.exception, code
        assert got.state.differences(wanted.state) == {}, (hex(state.fpcr), hex(state.fpsr), code)
        ended.add(got.exception)
    assert EC_BRK in ended and ended <= {EC_BRK, EC_UNKNOWN}


@pytest.mark.parametrize("traces", [False, True])
def test_lines_of_float_instructions(traces: bool) -> None:
    check(traces, 150, "few")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("traces", [False, True])
def test_many_lines(traces: bool) -> None:
    check(traces, 10_000, "many")
