"""The golden model's run loop, on a toy architecture: 1- and 2-byte instructions, either byte order."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest

from tinamou.engine.cpu import EXECUTE, READ, WRITE, Cpu, Trap
from tinamou.engine.golden import Fault, Golden, Ram
from tinamou.engine.patterns import BoundIsa, Imm, Isa, Reg
from tinamou.native.types import Array, u8, u32, u64

UNDEFINED = 99


class Toy(Cpu):
    r: Annotated[Array[u32], 4]

    def undefined(self) -> None:
        raise Trap(UNDEFINED)


class BigToy(Toy):
    big_endian: ClassVar[bool] = True


R = Annotated[u32, Reg("r")]
Number = Annotated[u32, Imm(signed=False)]


def rows(big: bool) -> BoundIsa:
    """Short words have bit 7 clear; of a long one it is set in its first byte."""
    toy = Isa("toy", rd=2, rs=2)
    base, extra = toy.extension("base"), toy.extension("extra")

    def long(select: str, operands: str) -> str:
        return f"1 {select} {operands} 00000000" if big else f"00000000 1 {select} {operands}"

    @base("0 000 rd rs", "copy {rd},{rs}")
    def copy(rs: R) -> R:
        return rs

    @base("0 001 rd rs", "load {rd},{rs}")
    def load(h: Toy, rs: R) -> R:
        return u32(h.load(u8, rs))

    @base("0 010 rd rs", "store {rd},{rs}")
    def store(h: Toy, rd: R, rs: R) -> None:
        h.store(u8, rd, u8(rs))

    @base("0 011 rd 00", "jump {rd}")
    def jump(h: Toy, rd: R) -> None:
        h.jump(rd)

    @base(long("000", "rd 00"), "clear {rd}")
    def clear() -> R:
        return u32(0)

    @extra("0 100 rd n[1:0]", "add {rd},{n}")
    def add(rd: R, n: Number) -> R:
        return rd + n

    return toy.bind()


@pytest.fixture(params=[Toy, BigToy])
def golden(request: pytest.FixtureRequest) -> Golden:
    cpu: Toy = request.param()
    cpu.pc = u64(0x100)
    return Golden(rows(request.param.big_endian), cpu, Ram(0x100, 16))


def poke(golden: Golden, *code: int) -> None:
    assert isinstance(golden.memory, Ram)
    golden.memory.data[: len(code)] = bytes(code)


def test_steps(golden: Golden) -> None:
    cpu = golden.cpu
    assert isinstance(cpu, Toy)
    poke(golden, 0b0100_0110, 0b0000_1001, 0b1000_0100, 0)
    golden.step(2)  # r1 += 2; r2 = r1
    assert (cpu.r[1], cpu.r[2], cpu.pc) == (2, 2, 0x102)
    golden.step()  # the long one: r1 = 0
    assert (cpu.r[1], cpu.r[2], cpu.pc, golden.executed) == (0, 2, 0x104, 3)


def test_jump(golden: Golden) -> None:
    poke(golden, 0b0011_0100)
    golden.cpu.r[1] = u32(0x108)  # type: ignore[attr-defined]
    golden.step()
    assert golden.cpu.pc == 0x108


def test_traps_leave_the_state(golden: Golden) -> None:
    cpu = golden.cpu
    assert isinstance(cpu, Toy)
    poke(golden, 0b0001_0110, 0b0010_1001)
    cpu.r[2] = u32(0x90)
    with pytest.raises(Trap) as trap:
        golden.step(5)
    assert (trap.value.cause, trap.value.value) == (READ, 0x90)
    cpu.pc = u64(0x101)
    with pytest.raises(Trap) as trap:
        golden.step(5)
    assert (trap.value.cause, trap.value.value) == (WRITE, 0x90)
    assert (cpu.pc, list(cpu.r), golden.executed) == (0x101, [0, 0, 0x90, 0], 0)


def test_words_that_are_no_instruction(golden: Golden) -> None:
    """The second byte of a word that begins no instruction is not fetched."""
    golden.cpu.pc = u64(0x10F)
    assert isinstance(golden.memory, Ram)
    for last, cause in ((0b0111_0000, UNDEFINED), (0b1000_0100, EXECUTE), (0b1111_0000, UNDEFINED)):
        golden.memory.data[15] = last
        with pytest.raises(Trap) as trap:
            golden.step()
        assert trap.value.cause == cause


def test_extensions_can_be_left_out() -> None:
    cpu = Toy()
    golden = Golden(rows(False), cpu, Ram(0, 4), enabled=frozenset({"base"}))
    poke(golden, 0b0100_0110)
    with pytest.raises(Trap) as trap:
        golden.step()
    assert trap.value.cause == UNDEFINED


def test_addresses_wrap() -> None:
    cpu = Toy()
    golden = Golden(rows(False), cpu, Ram(0xFFFF, 1), address_bits=16)
    cpu.pc = u64(0xFFFF)
    golden.step()
    assert cpu.pc == 0


def test_ram_says_which_byte_it_lacks() -> None:
    ram = Ram(16, 8)
    for address, size, bad in ((0, 4, 0), (14, 4, 14), (22, 4, 24), (24, 1, 24), (1 << 63, 8, 1 << 63)):
        with pytest.raises(Fault) as fault:
            ram.read(address, size)
        assert (fault.value.access, fault.value.address) == (READ, bad)
        with pytest.raises(Fault):
            ram.write(address, bytes(size))
    assert ram.data == bytes(8)
