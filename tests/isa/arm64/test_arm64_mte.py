"""Memory tags: outcomes as the architecture manual's pseudocode gives them."""

from __future__ import annotations

import ctypes

import pytest
from arm64_harness import CODE, MEMORY, SIZE, GoldenEngine, State, place

from tinamou.isa.arm64 import isa
from tinamou.isa.arm64.state import TAGGED_PAGE
from tinamou.isa.arm64.traps import EC_DATA_ABORT, TAG_CHECK_READ, TAG_CHECK_WRITE
from tinamou.native.types import u32, u64

DATA = MEMORY + 0x1000
SYNC, ASYNC = 1, 2


class Tagged(GoldenEngine):
    """The golden model with tagged memory at MEMORY."""

    def __init__(self) -> None:
        super().__init__()
        self.flags = ctypes.create_string_buffer(bytes([7 | TAGGED_PAGE]) * (SIZE >> 12), SIZE >> 12)
        self.tags = ctypes.create_string_buffer(SIZE >> 4)
        core = self.core
        core.limit = u64(MEMORY + SIZE)
        core.page_flags = u64(ctypes.addressof(self.flags) - (MEMORY >> 12))
        core.tags = u64(ctypes.addressof(self.tags) - (MEMORY >> 4))
        core.check_access_tags(0)

    def tag(self, address: int) -> int:
        return self.tags.raw[(address - MEMORY) >> 4]

    def do(self, name: str, x: dict[int, int], **fields: int) -> State:
        state = State(x=[x.get(n, 0) for n in range(31)], data=bytes(self.ram.data))
        place(state, isa().by_name[name].encode(**fields).to_bytes(4, "little"))
        self.outcome = self.run(state)
        return self.outcome.state


@pytest.fixture
def engine() -> Tagged:
    return Tagged()


def tagged(address: int, tag: int) -> int:
    return address | tag << 56


def test_tags_of_addresses(engine: Tagged) -> None:
    assert engine.do("addg", {1: tagged(DATA, 3)}, Rd=0, Rn=1, imm=32, tag=2).x[0] == tagged(DATA + 32, 5)
    assert engine.do("subg", {1: tagged(DATA, 15)}, Rd=0, Rn=1, imm=16, tag=1).x[0] == tagged(DATA - 16, 0)
    engine.core.gcr = u32(1 << 4 | 1 << 5)
    assert engine.do("addg", {1: tagged(DATA, 3)}, Rd=0, Rn=1, imm=0, tag=1).x[0] == tagged(DATA, 6)
    engine.core.gcr = u32(0xFFFF)
    assert engine.do("addg", {1: tagged(DATA, 3)}, Rd=0, Rn=1, imm=0, tag=1).x[0] == DATA
    assert engine.do("gmi", {1: tagged(DATA, 3), 2: 1}, Rd=0, Rn=1, Rm=2).x[0] == 0b1001


def test_irg_follows_the_shift_register(engine: Tagged) -> None:
    engine.core.rgsr = u32(0b1 << 8)  # the seed's lowest bit: the first of four bits made is 1
    state = engine.do("irg", {1: tagged(DATA, 9), 2: 0}, Rd=0, Rn=1, Rm=2)
    assert state.x[0] == tagged(DATA, 1)
    assert engine.core.rgsr == 0x1000 << 8 | 1
    assert engine.do("irg", {1: DATA, 2: 0xFFFF}, Rd=0, Rn=1, Rm=2).x[0] == DATA


def test_pointer_differences(engine: Tagged) -> None:
    x = {1: tagged(DATA, 3), 2: tagged(DATA + 0x100, 9)}
    assert engine.do("subp", x, Rd=0, Rn=2, Rm=1).x[0] == 0x100
    assert engine.do("subps", x, Rd=0, Rn=1, Rm=2).nzcv == 0b1000


def test_store_and_load_tags(engine: Tagged) -> None:
    engine.ram.data[0x1000:0x1040] = b"\xff" * 64
    engine.do("stg.stg", {1: DATA, 2: tagged(0, 7)}, Rn=1, Rt=2, imm=16)
    assert [engine.tag(DATA + i) for i in (0, 16, 32)] == [0, 7, 0]
    state = engine.do("stg_post.stz2g", {1: DATA, 2: tagged(0, 4)}, Rn=1, Rt=2, imm=32)
    assert (state.x[1], [engine.tag(DATA + i) for i in (0, 16, 32)]) == (DATA + 32, [4, 4, 0])
    assert engine.ram.data[0x1000:0x1040] == bytes(32) + b"\xff" * 32
    assert engine.do("ldg", {1: DATA + 24, 2: tagged(5, 1)}, Rn=1, Rt=2, imm=0).x[2] == tagged(5, 4)
    engine.do("stgp", {1: tagged(DATA + 32, 6), 2: 1, 3: 2}, Rn=1, Rt=2, Rt2=3, imm=0)
    assert (engine.tag(DATA + 32), engine.ram.data[0x1020:0x1030]) == (6, (1).to_bytes(8, "little") + (2).to_bytes(8, "little"))
    engine.do("dc_tags.gzva", {1: tagged(DATA + 5, 3)}, Rt=1)
    assert [engine.tag(DATA + i) for i in (0, 16, 32, 48, 64)] == [3, 3, 3, 3, 0]
    assert engine.ram.data[0x1000:0x1040] == bytes(64)


def test_synchronous_checks(engine: Tagged) -> None:
    engine.do("stg.stg", {1: DATA, 2: tagged(0, 7)}, Rn=1, Rt=2, imm=0)
    engine.core.check_access_tags(SYNC)
    engine.do("ldr.x", {1: tagged(DATA, 7)}, Rn=1, Rt=0, imm=8)
    assert engine.outcome.exception is None
    engine.do("ldr.x", {1: DATA}, Rn=1, Rt=0, imm=8)
    assert engine.outcome.exception == EC_DATA_ABORT
    assert TAG_CHECK_READ & 0x3F == TAG_CHECK_WRITE & 0x3F == 0x11
    engine.do("str.x", {1: tagged(DATA, 7)}, Rn=1, Rt=0, imm=16)
    assert engine.outcome.exception == EC_DATA_ABORT
    engine.do("stp.x", {1: tagged(DATA, 7)}, Rn=1, Rt=0, Rt2=2, imm=8)  # its second half has another tag
    assert engine.outcome.exception == EC_DATA_ABORT
    engine.core.tco = u32(1)
    engine.do("ldr.x", {1: DATA}, Rn=1, Rt=0, imm=0)
    assert engine.outcome.exception is None


def test_asynchronous_checks(engine: Tagged) -> None:
    engine.do("stg.stg", {1: DATA, 2: tagged(0, 7)}, Rn=1, Rt=2, imm=0)
    engine.core.check_access_tags(ASYNC)
    engine.do("str.x", {1: DATA, 2: 0x55}, Rn=1, Rt=2, imm=0)
    assert (engine.outcome.exception, engine.core.tfsr) == (None, 1)
    assert engine.ram.data[0x1000] == 0x55
    assert CODE > DATA
