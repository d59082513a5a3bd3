"""Random programs, the interpreter against the golden model; nonsense, executed for long."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_harness import CODE, DATA, LIMIT, PAGE

from tinamou.engine.patterns import Imm, Insn
from tinamou.isa.riscv import isa

CLOCKS = {0xC00, 0xC01, 0xC02, 0xC80, 0xC81, 0xC82}  # never the same twice
PLACES = [DATA, DATA + PAGE, DATA + 2 * PAGE, DATA + 3 * PAGE, CODE, CODE + PAGE, 0, LIMIT, LIMIT - PAGE]


@functools.cache
def rows(xlen: int) -> list[Insn]:
    return [i for i in isa(xlen).insns if i.name != "fence.i"]


def random_word(r: random.Random, xlen: int, at: int) -> bytes:
    """An instruction; jumps go to somewhere in the two pages of code, mostly."""
    while True:
        if r.random() < 0.02:
            return r.randbytes(4)
        insn = r.choice(rows(xlen))
        word = r.getrandbits(insn.width) & ~insn.mask | insn.value
        relative = next((o for o in insn.operands if isinstance(o.kind, Imm) and "{imm:pc}" in insn.asm and o.name == "imm"), None)
        if relative and r.random() < 0.9:
            target = CODE + r.randrange(0, 2 * PAGE, 2)
            for piece in insn.fields["imm"]:
                mask = (1 << piece.width) - 1
                word = word & ~(mask << piece.source) | (target - at >> piece.target & mask) << piece.source
        if not insn.matches(word) or ("csr" in insn.fields and insn.field(word, "csr") in CLOCKS):
            continue
        return word.to_bytes(insn.size, "little")


def scenario(r: random.Random, xlen: int) -> tuple[bytes, int, list[int], list[int], bytes, int]:
    """Code for two pages, where it starts, registers, rounding mode."""
    start = r.choice((0, PAGE - 100, PAGE - 30, 2 * PAGE - 120, r.randrange(0, 2 * PAGE - 200, 2)))
    code = bytearray(2 * PAGE)
    at = start
    while at < min(start + 160, 2 * PAGE - 4):
        data = random_word(r, xlen, CODE + at)
        code[at : at + len(data)] = data
        at += len(data)
    x = [0]
    for _ in range(31):
        value = r.choice(PLACES) + r.randrange(-40, 80) if r.random() < 0.6 else r.getrandbits(64) >> r.randrange(64)
        x.append(value % (1 << xlen))
    f = [r.choice((r.getrandbits(64), 0xFFFF_FFFF << 32 | r.getrandbits(32), 0x7FF8 << 48, 0x3FF0 << 48)) for _ in range(32)]
    return bytes(code), CODE + start, x, f, r.randbytes(64) * 64, r.randrange(8)


def prepared(guest: Any, code: bytes, pc: int, x: list[int], f: list[int], data: bytes, frm: int) -> None:
    guest.clear()
    guest.map(CODE, 2 * PAGE, "rx")
    guest.map(DATA, PAGE, "rw")
    guest.map(DATA + PAGE, PAGE, "rw")
    guest.map(DATA + 2 * PAGE, PAGE, "r")
    guest.write(CODE, code)
    for k in range(3):
        guest.write(DATA + k * PAGE, data)
    guest.x[:], guest.f[:] = x, f
    guest.cell.hart.frm = type(guest.cell.hart.frm)(frm)
    guest.pc = pc


def outcome(guest: Any, stop: Any) -> tuple[Any, ...]:
    memory = [guest.read(DATA + k * PAGE, PAGE) for k in range(3)]
    return stop, guest.count, guest.cell.registers(), memory


def check(pair: Any, seed: object, programs: int, steps: int) -> None:
    golden, _ = pair
    r = random.Random(f"{golden.xlen} {seed}")
    ended = set()
    for _ in range(programs):
        given = scenario(r, golden.xlen)
        parts = r.choice(([steps], [1] * 12 + [steps], [r.randrange(1, 9) for _ in range(8)]))
        results = []
        for guest in pair:
            prepared(guest, *given)
            seen = []
            for n in parts:
                stop = guest.step(n)
                seen.append(outcome(guest, stop))
                if stop.cause is not None:
                    guest.pc = guest.pc + 4 & (1 << guest.xlen) - 1  # go on behind it
            results.append(seen)
        for a, b in zip(*results, strict=True):
            assert a[0] == b[0] and a[1] == b[1] and differences(a[2], b[2]) == {}, (given[0].hex(), hex(given[1]))
            assert a[3] == b[3]
            ended.add(a[0].cause)
    assert len(ended) > 4


def differences(a: dict[str, int], b: dict[str, int]) -> dict[str, tuple[str, str]]:
    return {n: (hex(a[n]), hex(b[n])) for n in a if a[n] != b[n]}


def test_random_programs(pair: Any) -> None:
    check(pair, "few", 120, 60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_many_random_programs(pair: Any, seed: int) -> None:
    check(pair, seed, 1000, 200)


def fuzz(xlen: int, seed: int, rounds: int, cpus: int) -> None:
    script = Path(__file__).parent / "engine_fuzz.py"
    given = [str(n) for n in (xlen, seed, rounds, cpus)]
    done = subprocess.run([sys.executable, str(script), *given], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0 and done.stdout.startswith("done"), (done.returncode, done.stdout, done.stderr[-2000:])


@pytest.mark.parametrize("cpus", [1, 3])
def test_nonsense(xlen: int, cpus: int) -> None:
    fuzz(xlen, 1, 60, cpus)


@pytest.mark.slow
@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("seed", range(10, 20))
def test_much_nonsense(xlen: int, cpus: int, seed: int) -> None:
    fuzz(xlen, seed, 1500, cpus)
