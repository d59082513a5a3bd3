"""Zba, Zbb and Zbs against the definitions of the manual, bit by bit, and identities between them."""

from __future__ import annotations

import random
from collections.abc import Callable

from riscv_harness import CODE, Engine, State, random_integer, random_word

from tinamou.engine.patterns import Reg
from tinamou.isa.riscv import isa

Reference = Callable[[int, int, int], int]  # (rs1, rs2 or shamt, XLEN) -> rd


def signed(x: int, bits: int) -> int:
    x &= (1 << bits) - 1
    return x - (x >> bits - 1 << bits)


def bits(x: int, n: int) -> list[int]:
    """The n lowest bits, least significant first."""
    return [x >> k & 1 for k in range(n)]


def number(digits: list[int]) -> int:
    return sum(d << k for k, d in enumerate(digits))


def leading_zeros(x: int, n: int) -> int:
    count = 0
    while count < n and not bits(x, n)[n - 1 - count]:
        count += 1
    return count


def trailing_zeros(x: int, n: int) -> int:
    return leading_zeros(number(bits(x, n)[::-1]), n)


def rotated_left(x: int, k: int, n: int) -> int:
    old = bits(x, n)
    return number([old[(i - k) % n] for i in range(n)])


def bytes_of(x: int, n: int) -> list[int]:
    return list(x.to_bytes(n // 8, "little"))


REFERENCE: dict[str, Reference] = {
    "sh1add": lambda a, b, n: a * 2 + b,
    "sh2add": lambda a, b, n: a * 4 + b,
    "sh3add": lambda a, b, n: a * 8 + b,
    "add.uw": lambda a, b, n: a % 2**32 + b,
    "sh1add.uw": lambda a, b, n: a % 2**32 * 2 + b,
    "sh2add.uw": lambda a, b, n: a % 2**32 * 4 + b,
    "sh3add.uw": lambda a, b, n: a % 2**32 * 8 + b,
    "slli.uw": lambda a, b, n: a % 2**32 * 2**b,
    "andn": lambda a, b, n: number([p & (1 - q) for p, q in zip(bits(a, n), bits(b, n), strict=True)]),
    "orn": lambda a, b, n: number([p | (1 - q) for p, q in zip(bits(a, n), bits(b, n), strict=True)]),
    "xnor": lambda a, b, n: number([int(p == q) for p, q in zip(bits(a, n), bits(b, n), strict=True)]),
    "clz": lambda a, b, n: leading_zeros(a, n),
    "clzw": lambda a, b, n: leading_zeros(a, 32),
    "ctz": lambda a, b, n: trailing_zeros(a, n),
    "ctzw": lambda a, b, n: trailing_zeros(a, 32),
    "cpop": lambda a, b, n: sum(bits(a, n)),
    "cpopw": lambda a, b, n: sum(bits(a, 32)),
    "max": lambda a, b, n: max(signed(a, n), signed(b, n)),
    "maxu": lambda a, b, n: max(a, b),
    "min": lambda a, b, n: min(signed(a, n), signed(b, n)),
    "minu": lambda a, b, n: min(a, b),
    "sext.b": lambda a, b, n: signed(a, 8),
    "sext.h": lambda a, b, n: signed(a, 16),
    "zext.h": lambda a, b, n: a % 2**16,
    "rol": lambda a, b, n: rotated_left(a, b % n, n),
    "rolw": lambda a, b, n: signed(rotated_left(a, b % 32, 32), 32),
    "ror": lambda a, b, n: rotated_left(a, -b % n, n),
    "rori": lambda a, b, n: rotated_left(a, -b % n, n),
    "rorw": lambda a, b, n: signed(rotated_left(a, -b % 32, 32), 32),
    "roriw": lambda a, b, n: signed(rotated_left(a, -b % 32, 32), 32),
    "orc.b": lambda a, b, n: int.from_bytes(bytes(0xFF if x else 0 for x in bytes_of(a, n)), "little"),
    "rev8": lambda a, b, n: int.from_bytes(bytes(bytes_of(a, n)), "big"),
    "bclr": lambda a, b, n: number([0 if k == b % n else d for k, d in enumerate(bits(a, n))]),
    "bclri": lambda a, b, n: number([0 if k == b % n else d for k, d in enumerate(bits(a, n))]),
    "bext": lambda a, b, n: bits(a, n)[b % n],
    "bexti": lambda a, b, n: bits(a, n)[b % n],
    "binv": lambda a, b, n: number([1 - d if k == b % n else d for k, d in enumerate(bits(a, n))]),
    "binvi": lambda a, b, n: number([1 - d if k == b % n else d for k, d in enumerate(bits(a, n))]),
    "bset": lambda a, b, n: number([1 if k == b % n else d for k, d in enumerate(bits(a, n))]),
    "bseti": lambda a, b, n: number([1 if k == b % n else d for k, d in enumerate(bits(a, n))]),
}


def test_every_row_has_a_reference() -> None:
    assert {i.name for x in (32, 64) for i in isa(x).insns if i.extension.startswith("zb")} == set(REFERENCE)


def test_against_the_definitions(engine: Engine) -> None:
    xlen = engine.xlen
    r = random.Random(xlen)
    for insn in isa(xlen).insns:
        if insn.name not in REFERENCE:
            continue
        for _ in range(40):
            word = random_word(r, insn)
            state = State(CODE, [0] + [random_integer(r, xlen) for _ in range(31)])
            values = []
            for o in insn.operands:
                n = insn.number(word, o)
                values.append(state.x[n] if isinstance(o.kind, Reg) else n)
            after = engine.run(state, word.to_bytes(4, "little"), 1)
            assert after.cause is None
            rd = insn.field(word, "rd")
            want = list(state.x)
            if rd:
                want[rd] = REFERENCE[insn.name](values[0], values[-1], xlen) & (1 << xlen) - 1
            assert (insn.disassemble(word), after.state.x) == (insn.disassemble(word), want)
