"""The assembler derived from the rows."""

from __future__ import annotations

import pytest

from tinamou.isa.riscv.pseudo import assembler


def words(text: str, origin: int = 0x1000) -> list[int]:
    data = assembler(64).assemble(text, origin).data
    return [int.from_bytes(data[k : k + 4], "little") for k in range(0, len(data), 4)]


def test_labels_and_expressions() -> None:
    program = assembler(64).assemble(
        """
        .equ size, 3 * (4 + 4)      # bytes
        start:  addi a0, a0, size - 1
        1:      bnez a0, 1b ; j 1f
        .zero 2 ; .balign 8
        1: end: .dword start, end - start, -1 ; .half 0x1234 ; .byte 'a', '\\n' ; .asciz "x;#\\t"
        """,
        0x1000,
    )
    assert program.labels == {"size": 24, "start": 0x1000, "1#1": 0x1004, "1#2": 0x1010, "end": 0x1010}
    assert program.data[16:] == b"".join(v.to_bytes(8, "little") for v in (0x1000, 16, 2**64 - 1)) + b"\x34\x12a\nx;#\t\0"
    assert int.from_bytes(program.data[:4], "little") == 0x01750513
    assert program.data[12:16] == bytes(4)


def test_blanks_do_not_matter() -> None:
    assert words("lw a0 , 4 ( sp )") == words("lw a0,4(sp)") == words("lw\tx10,  2+2(x2)") == [0x00412503]


def test_parentheses_in_offsets() -> None:
    assert words("lw a0, (2 + 2) * 2 - (1 + 3)(sp)") == [0x00412503]


def test_literals() -> None:
    assert words(".word 0x10, 0b11, 12, -1, ~0, 'A' + 1, 1 << 4 | 2, 7 // 2 % 2") == [16, 3, 12, 2**32 - 1, 2**32 - 1, 66, 18, 1]


def test_local_labels_are_the_nearest() -> None:
    assert words("1: j 1f ; 1: j 1b ; 1: nop") == [0x0040006F, 0x0000006F, 0x00000013]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("frobnicate a0", "no such instruction"),
        ("addi a0, a1", r"write addi \{rd\},\{rs1\},\{imm\}"),
        ("addi a0, q7, 1", "q7 is no register of x"),
        ("addi a0, x32, 1", "x32 does not fit"),
        ("addi a0, a0, 2048", "2048 does not fit imm"),
        ("c.lw t6, 0(a0)", "t6 does not fit rd"),
        ("c.lw a0, 3(a0)", "3 does not fit uimm"),
        ("c.addi4spn a0, sp, 0", "not with these operands"),
        ("beq a0, a1, . + 3", "does not fit imm"),
        ("j far", "far is not defined"),
        ("a: ; a: nop", "defined twice"),
        ("li a0, 1 << 64", "more than 64 bits"),
        ("li a0", "values to unpack"),
        ("mv a0", "index"),
        (".word 1 +", "is no number"),
        (".word a()", "is no number|not defined"),
        (".word 1 << 1000000", "is no number"),
        (".word 1 // 0", "is no number"),
        (".zero 1 << 40", "out of range"),
        (".balign 0", "out of range"),
        (".ascii 5", "one string in double quotes"),
    ],
)
def test_mistakes_name_the_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)^line 2: .*(?:{reason})"):
        assembler(64).assemble("nop\n" + text)


@pytest.mark.parametrize("xlen", [32, 64])
def test_li_makes_every_number(xlen: int) -> None:
    """By the rows' own functions, beside which nothing of the engine is needed."""
    from tinamou.engine.golden import Golden, Ram
    from tinamou.isa.riscv import isa
    from tinamou.isa.riscv.state import Hart
    from tinamou.native.types import u64

    values = {0, 1, -1, 2047, 2048, -2048, -2049, 0x7FFFF7FF, 0x7FFFF800, 0x7FFFFFFF, -(1 << 31), 0x12345678, (1 << 32) - 1}
    if xlen == 64:
        values |= {1 << k for k in range(32, 64)} | {(1 << k) - 1 for k in range(32, 65)} | {-(1 << k) for k in range(32, 64)}
        values |= {0x123456789ABCDEF0, -0x123456789ABCDEF0, 0xDEADBEEF00000000, 0x7FFFFFFFFFFFF800}
    for value in values:
        code = assembler(xlen).assemble(f"li a0, {value}").data
        hart = Hart()
        hart.pc = u64(0)
        ram = Ram(0, 64)
        ram.data[: len(code)] = code
        Golden(isa(xlen), hart, ram).step(len(code) // 4)
        assert hart.x[10] == value & (1 << xlen) - 1


def test_addresses_near_and_far() -> None:
    from tinamou.isa.riscv import isa

    for origin, symbol in ((0x1000, 0x1800), (0x80000000, 0x7FFFF7F8), (0x1000, 0x12345678)):
        auipc, addi = words(f".equ there, {symbol} ; la a0, there", origin)
        rows = isa(64).by_name
        upper = rows["auipc"].number(auipc, rows["auipc"].operands[0])
        assert origin + upper + rows["addi"].number(addi, rows["addi"].operands[1]) == symbol
