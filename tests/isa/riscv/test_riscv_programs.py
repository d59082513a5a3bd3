"""Small programs with known results, assembled here and run on every engine until their ECALL."""

from __future__ import annotations

import math
import struct
import zlib

import pytest
from riscv_harness import CODE, DATA, PAGE, Engine, Outcome, State

from tinamou.isa.riscv.pseudo import assembler
from tinamou.isa.riscv.traps import (
    BREAKPOINT,
    ECALL_FROM_U,
    ILLEGAL_INSTRUCTION,
    INSTRUCTION_PAGE_FAULT,
    LOAD_ADDRESS_MISALIGNED,
    LOAD_PAGE_FAULT,
    STORE_ADDRESS_MISALIGNED,
    STORE_PAGE_FAULT,
)

A0, A1, A2 = 10, 11, 12
LIMIT = 50_000  # instructions


def assemble(engine: Engine, text: str) -> bytes:
    """W is the load and store suffix of the width, N its bytes."""
    n = engine.xlen // 8
    return assembler(engine.xlen).assemble(f".equ N, {n}; .equ data, {DATA}\n" + text.replace("@", "wd"[n // 8]), CODE).data


def run(engine: Engine, text: str, data: bytes = b"", **x: int) -> Outcome:
    state = State(data=data + bytes(PAGE - len(data)))
    for name, value in x.items():
        state.x["zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7".split().index(name)] = value
    return engine.run(state, assemble(engine, text), LIMIT)


def result(engine: Engine, text: str, data: bytes = b"", **x: int) -> State:
    after = run(engine, text + "\necall", data, **x)
    assert after.cause == ECALL_FROM_U
    return after.state


def test_fibonacci(engine: Engine) -> None:
    program = """
        li a0, 0 ; li a1, 1 ; li t0, 40
    1:  add t1, a0, a1 ; mv a0, a1 ; mv a1, t1
        addi t0, t0, -1
        bnez t0, 1b
    """
    assert result(engine, program).x[A0] == 102334155


def test_recursion_with_a_stack(engine: Engine) -> None:
    """Ackermann's function, calling itself some 2,400 times."""
    program = """
        li sp, data + 4096
        li a0, 2 ; li a1, 15
        call ackermann
        j end
    ackermann:
        bnez a0, 1f
        addi a0, a1, 1
        ret
    1:  addi sp, sp, -2*N ; s@ ra, 0(sp) ; s@ s0, N(sp)
        bnez a1, 2f
        addi a0, a0, -1 ; li a1, 1
        call ackermann
        j 3f
    2:  mv s0, a0
        addi a1, a1, -1
        call ackermann
        mv a1, a0 ; addi a0, s0, -1
        call ackermann
    3:  l@ ra, 0(sp) ; l@ s0, N(sp) ; addi sp, sp, 2*N
        ret
    end:
    """
    assert result(engine, program).x[A0] == 33


def test_crc32(engine: Engine) -> None:
    text = bytes(range(256)) * 2
    program = """
        li a0, -1 ; li t2, 0xedb88320
    1:  lbu t0, 0(a1) ; addi a1, a1, 1
        xor a0, a0, t0
        li t1, 8
    2:  andi t0, a0, 1 ; sub t0, zero, t0 ; and t0, t0, t2
        slli a0, a0, 8*N - 32 ; srli a0, a0, 8*N - 31
        xor a0, a0, t0
        addi t1, t1, -1
        bnez t1, 2b
        addi a2, a2, -1
        bnez a2, 1b
        not a0, a0
    """
    assert result(engine, program, text, a1=DATA, a2=len(text)).x[A0] & 0xFFFF_FFFF == zlib.crc32(text)


def test_bubble_sort_of_halfwords(engine: Engine) -> None:
    values = [struct.unpack("<h", struct.pack("<H", 40503 * k % 65536))[0] for k in range(40)]
    program = """
    1:  li t2, 0 ; mv t0, a1 ; addi a2, a2, -1
    2:  beqz a2, 4f
        mv t1, a2
    3:  lh a3, 0(t0) ; lh a4, 2(t0)
        ble a3, a4, 5f
        sh a4, 0(t0) ; sh a3, 2(t0) ; li t2, 1
    5:  addi t0, t0, 2 ; addi t1, t1, -1
        bnez t1, 3b
        bnez t2, 1b
    4:
    """
    after = result(engine, program, struct.pack("<40h", *values), a1=DATA, a2=40)
    assert list(struct.unpack("<40h", after.data[:80])) == sorted(values)


def test_compressed_loop(engine: Engine) -> None:
    """Sum of 1 to 100 in compressed instructions at odd multiples of 2."""
    program = """
        c.nop
        c.li a0, 0 ; c.li a1, 25 ; c.slli a1, 2
    1:  c.add a0, a1
        c.addi a1, -1
        c.bnez a1, 1b
        c.mv a2, a0
        c.li a4, 1
        c.sub a2, a4
        la s1, 2f
        c.jalr s1
        c.ebreak
    2:
    """
    after = result(engine, program)
    assert (after.x[A0], after.x[A2]) == (5050, 5049)
    assert after.x[1] == after.pc - 2  # behind C.JALR stands the 2-byte C.EBREAK


def test_code_that_changes_itself(engine: Engine) -> None:
    program = """
        la t0, 2f ; lw t1, 0(t0)
        la t2, 1f
        jal a3, 3f
        sw t1, 0(t2)
        fence.i
        jal a3, 3f
        j 4f
    3:
    1:  addi a0, a0, 1
        jr a3
    2:  addi a0, a0, 100
    4:
    """
    assert result(engine, program).x[A0] == 101


def test_newton_square_root(engine: Engine) -> None:
    program = """
        fld fa0, 0(a1) ; fmv.d fa1, fa0 ; fld fa3, 8(a1)
        li t0, 8
    1:  fdiv.d fa2, fa0, fa1
        fadd.d fa1, fa1, fa2
        fmul.d fa1, fa1, fa3
        addi t0, t0, -1
        bnez t0, 1b
        fsd fa1, 16(a1)
        fsqrt.d fa4, fa0 ; fsd fa4, 24(a1)
        fcvt.w.d a0, fa1, rtz
        fcvt.s.d fa5, fa1 ; fmv.x.w a2, fa5
        frflags a3
    """
    after = result(engine, program, struct.pack("<dd", 2.0, 0.5), a1=DATA)
    newton, root = struct.unpack_from("<dd", after.data, 16)
    assert abs(newton - math.sqrt(2)) < 1e-15
    assert root == math.sqrt(2)
    assert after.x[A0] == 1
    assert struct.pack("<I", after.x[A2] & 0xFFFF_FFFF) == struct.pack("<f", math.sqrt(2))
    assert after.x[13] == 1  # inexact


def test_lock_by_load_reserved(engine: Engine) -> None:
    program = """
        li t2, 50
    1:  li t0, 1
    2:  lr.w.aq t1, (a1) ; bnez t1, 2b
        sc.w t1, t0, (a1) ; bnez t1, 2b
        lw a3, 4(a1) ; addi a3, a3, 3 ; sw a3, 4(a1)
        amoswap.w.rl zero, zero, (a1)
        addi t2, t2, -1
        bnez t2, 1b
        sc.w a0, t0, (a1)
    """
    after = result(engine, program, a1=DATA)
    assert struct.unpack_from("<II", after.data) == (0, 150)
    assert after.x[A0] == 1  # no reservation is left


@pytest.mark.parametrize(
    ("store", "outcome"),
    [("sw t0, 0(a1)", 1), ("sw t1, 0(a1)", 0), ("sw t0, 4(a1)", 0), ("lr.w t2, (a2)", 1), ("sc.w t2, t0, (a2)", 1), ("nop", 0)],
)
def test_what_breaks_a_reservation(engine: Engine, store: str, outcome: int) -> None:
    """Here a store of another value; a store of the same value need not be noticed."""
    program = f"li t0, 5; lr.w t1, (a1); {store}; sc.w a0, t0, (a1)"
    assert result(engine, program, a1=DATA, a2=DATA + 8).x[A0] == outcome


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("ebreak", BREAKPOINT),
        ("c.ebreak", BREAKPOINT),
        (".word 0", ILLEGAL_INSTRUCTION),
        (".word 0xffffffff", ILLEGAL_INSTRUCTION),
        ("li t0, 0x1000 ; addi a0, a0, 1 ; lw a0, 0(t0)", LOAD_PAGE_FAULT),
        (f"li t0, {DATA + PAGE - 2} ; lw a0, 0(t0)", LOAD_PAGE_FAULT),
        (f"li t0, {DATA + PAGE - 2} ; sw a0, 0(t0)", STORE_PAGE_FAULT),
        (f"li t0, {DATA + 2} ; lr.w a0, (t0)", LOAD_ADDRESS_MISALIGNED),
        (f"li t0, {DATA + 2} ; sc.w a0, a0, (t0)", STORE_ADDRESS_MISALIGNED),
        (f"li t0, {DATA + 2} ; amoor.w a0, a0, (t0)", STORE_ADDRESS_MISALIGNED),
    ],
)
def test_exceptions_are_precise(engine: Engine, program: str, cause: int) -> None:
    """`pc` is that of the instruction, and nothing of it happened."""
    code = assemble(engine, program)
    after = run(engine, program, a0=1)
    assert after.cause == cause
    last = 2 if program == "c.ebreak" else 4
    assert after.state.pc == CODE + len(code) - last
    assert after.state.x[A0] == (2 if "addi" in program else 1)
    assert after.state.data == bytes(PAGE)


def test_jump_to_nowhere(engine: Engine) -> None:
    """The jump itself completes: the exception is its target's."""
    after = run(engine, "li t0, 0x4000 ; jalr ra, 1(t0)")
    assert (after.cause, after.state.pc, after.state.x[1]) == (INSTRUCTION_PAGE_FAULT, 0x4000, CODE + 8)


def test_rv32_addresses_wrap(engine: Engine) -> None:
    """Adding to an address wraps at the width of the registers."""
    after = result(engine, "li t0, -4 ; li t1, data + 4 ; add t0, t0, t1 ; li t2, -2048 ; sub t0, t0, t2 ; lw a0, -2048(t0)", b"\7")
    assert after.x[A0] == 7


# The corner cases of M, as in the manual's table "Semantics for division by zero and division overflow".

LEAST64, LEAST32 = 1 << 63, 1 << 31
ALL64, ALL32 = (1 << 64) - 1, (1 << 32) - 1
SEXT_LEAST32 = ALL64 - LEAST32 + 1


@pytest.mark.parametrize(
    ("name", "a", "b", "want64", "want32"),
    [
        ("div", 20, 6, 3, 3),
        ("div", -20, 6, ALL64 - 2, ALL32 - 2),
        ("div", 1, 0, ALL64, ALL32),
        ("divu", 1, 0, ALL64, ALL32),
        ("rem", -7, 0, ALL64 - 6, ALL32 - 6),
        ("remu", 7, 0, 7, 7),
        ("rem", -7, 2, ALL64, ALL32),
        ("rem", 7, -2, 1, 1),
        ("div", "least", -1, LEAST64, LEAST32),
        ("rem", "least", -1, 0, 0),
        ("mulh", -1, -1, 0, 0),
        ("mulhu", -1, -1, ALL64 - 1, ALL32 - 1),
        ("mulhsu", -1, -1, ALL64, ALL32),
        ("mulh", "least", "least", 1 << 62, 1 << 30),
        ("divw", LEAST32, -1, SEXT_LEAST32, None),
        ("remw", LEAST32, -1, 0, None),
        ("divw", 1, 1 << 32, ALL64, None),
        ("divuw", 1, 1 << 32, ALL64, None),
        ("remuw", LEAST32, 0, SEXT_LEAST32, None),
        ("remw", ALL32, 0, ALL64, None),
    ],
)
def test_division_and_products(engine: Engine, name: str, a: int | str, b: int | str, want64: int, want32: int | None) -> None:
    want = want64 if engine.xlen == 64 else want32
    mask = (1 << engine.xlen) - 1
    operands = [((mask + 1) // 2 if v == "least" else int(v)) & mask for v in (a, b)]
    if want is None:
        assert name.endswith("w")  # no instruction of RV32
    else:
        assert result(engine, f"{name} a0, a1, a2", a1=operands[0], a2=operands[1]).x[A0] == want


# Floating point: the results that RISC-V fixes where IEEE 754 leaves a choice.

QNAN, SNAN, INF, NEG_ZERO, ONE = 0x7FC0_0000, 0x7F80_0001, 0x7F80_0000, 0x8000_0000, 0x3F80_0000


@pytest.mark.parametrize(
    ("statement", "a", "b", "want", "flags"),
    [
        ("fadd.s fa0, fa1, fa2", 0xFFC0_1234, ONE, QNAN, 0),  # payloads are not kept
        ("fadd.s fa0, fa1, fa2", SNAN, ONE, QNAN, 16),
        ("fsub.s fa0, fa1, fa2", INF, INF, QNAN, 16),
        ("fmin.s fa0, fa1, fa2", 0, NEG_ZERO, NEG_ZERO, 0),
        ("fmax.s fa0, fa1, fa2", NEG_ZERO, 0, 0, 0),
        ("fmin.s fa0, fa1, fa2", SNAN, ONE, ONE, 16),
        ("fmax.s fa0, fa1, fa2", QNAN, ONE, ONE, 0),
        ("fmin.s fa0, fa1, fa2", QNAN, SNAN, QNAN, 16),
        ("fdiv.s fa0, fa1, fa2", ONE, 0, INF, 8),
        ("fsqrt.s fa0, fa1", NEG_ZERO, 0, NEG_ZERO, 0),
        ("fsgnjn.s fa0, fa1, fa1", SNAN, 0, SNAN | 1 << 31, 0),
        ("fmadd.s fa0, fa1, fa2, fa1", INF, 0, QNAN, 16),
        ("fmadd.s fa0, fa1, fa2, fa3", INF, 0, QNAN, 16),  # fa3 is a quiet NaN: invalid all the same (20.6)
    ],
)
def test_single_results(engine: Engine, statement: str, a: int, b: int, want: int, flags: int) -> None:
    state = State()
    for n, value in ((11, a), (12, b), (13, QNAN)):
        state.f[n] = value | ALL32 << 32
    after = engine.run(state, assemble(engine, statement), 1)
    assert (after.cause, after.state.f[10], after.state.fflags) == (None, want | ALL32 << 32, flags)


@pytest.mark.parametrize(
    ("statement", "a", "want64", "flags"),
    [
        ("fcvt.w.s a0, fa1", QNAN, LEAST32 - 1, 16),
        ("fcvt.wu.s a0, fa1", QNAN, ALL64, 16),
        ("fcvt.w.s a0, fa1", INF | 1 << 31, SEXT_LEAST32, 16),
        ("fcvt.wu.s a0, fa1", 0xBF80_0000, 0, 16),
        ("fcvt.wu.s a0, fa1, rtz", 0xBF00_0000, 0, 1),
        ("fcvt.w.s a0, fa1, rmm", 0x3F00_0000, 1, 1),
        ("fcvt.wu.s a0, fa1", 0x4F00_0000, SEXT_LEAST32, 0),
        ("fclass.s a0, fa1", INF | 1 << 31, 1, 0),
        ("fclass.s a0, fa1", NEG_ZERO, 8, 0),
        ("fclass.s a0, fa1", 1, 32, 0),
        ("fclass.s a0, fa1", SNAN, 256, 0),
        ("fclass.s a0, fa1", QNAN, 512, 0),
        ("feq.s a0, fa1, fa1", QNAN, 0, 0),
        ("fle.s a0, fa1, fa1", QNAN, 0, 16),
        ("fmv.x.w a0, fa1", NEG_ZERO, SEXT_LEAST32, 0),
    ],
)
def test_integers_of_singles(engine: Engine, statement: str, a: int, want64: int, flags: int) -> None:
    state = State()
    state.f[11] = a | ALL32 << 32
    after = engine.run(state, assemble(engine, statement), 1)
    assert (after.cause, after.state.x[A0], after.state.fflags) == (None, want64 & (1 << engine.xlen) - 1, flags)


def test_singles_without_a_box(engine: Engine) -> None:
    """21.2: they count as the canonical NaN, but moves and stores of raw bits take the lower half."""
    state = State()
    state.f[11] = ONE
    for statement, want in (("fadd.s fa0, fa1, fa1", QNAN), ("fsgnj.s fa0, fa1, fa1", QNAN), ("fmv.w.x fa0, zero", 0)):
        after = engine.run(state, assemble(engine, statement), 1).state
        assert after.f[10] == want | ALL32 << 32
    assert engine.run(state, assemble(engine, "fclass.s a0, fa1"), 1).state.x[A0] == 512
    assert engine.run(state, assemble(engine, "fmv.x.w a0, fa1"), 1).state.x[A0] == ONE
    after = engine.run(State(x=[0, 0, DATA] + [0] * 29, f=state.f), assemble(engine, "fsw fa1, 4(sp)"), 1).state
    assert after.data[4:8] == ONE.to_bytes(4, "little")
