"""Accesses to memory: every kind, at every place of a page's edge, and precise exceptions when they are refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from engine_harness import CODE, DATA, ECALL, LIMIT, NO_LOAD, NO_STORE, PAGE, Stop, assembler

EDGE = DATA + PAGE  # between two pages with all sorts of rights
ADDRESS_MISALIGNED, STORE_MISALIGNED = 4, 6

# mnemonic and operands, size, widths that have it
LOADS = [
    ("lb a0, 0(a1)", 1, ""), ("lbu a0, 0(a1)", 1, ""), ("lh a0, 0(a1)", 2, ""), ("lhu a0, 0(a1)", 2, ""), ("lw a0, 0(a1)", 4, ""),
    ("lwu a0, 0(a1)", 4, "64"), ("ld a0, 0(a1)", 8, "64"), ("flw fa0, 0(a1)", 4, ""), ("fld fa0, 0(a1)", 8, ""),
    ("c.lw a0, 0(a1)", 4, ""), ("c.ld a0, 0(a1)", 8, "64"), ("c.fld fa0, 0(a1)", 8, ""), ("c.flw fa0, 0(a1)", 4, "32"),
    ("c.lwsp a0, 0(sp)", 4, ""), ("c.ldsp a0, 0(sp)", 8, "64"), ("c.fldsp fa0, 0(sp)", 8, ""), ("c.flwsp fa0, 0(sp)", 4, "32"),
    ("lw a1, 0(a1)", 4, ""), ("lw zero, 0(a1)", 4, ""), ("lh a0, -2048(a1)", 2, ""), ("lh a0, 2047(a1)", 2, ""),
]  # fmt: skip
STORES = [
    ("sb a0, 0(a1)", 1, ""), ("sh a0, 0(a1)", 2, ""), ("sw a0, 0(a1)", 4, ""), ("sd a0, 0(a1)", 8, "64"), ("fsw fa0, 0(a1)", 4, ""),
    ("fsd fa0, 0(a1)", 8, ""), ("c.sw a0, 0(a1)", 4, ""), ("c.sd a0, 0(a1)", 8, "64"), ("c.fsd fa0, 0(a1)", 8, ""),
    ("c.fsw fa0, 0(a1)", 4, "32"), ("c.swsp a0, 0(sp)", 4, ""), ("c.sdsp a0, 0(sp)", 8, "64"), ("c.fsdsp fa0, 0(sp)", 8, ""),
    ("c.fswsp fa0, 0(sp)", 4, "32"), ("sw a1, 0(a1)", 4, ""), ("sh a0, -2048(a1)", 2, ""), ("sh a0, 2047(a1)", 2, ""),
]  # fmt: skip
ATOMICS = [
    (f"{name}.{w} a0, a2, (a1)", size, widths)
    for name in ("amoswap", "amoadd", "amoxor", "amoand", "amoor", "amomin", "amomax", "amominu", "amomaxu")
    for w, size, widths in (("w", 4, ""), ("d", 8, "64"))
]
RESERVED = [("lr.w a0, (a1)", 4, ""), ("lr.d a0, (a1)", 8, "64"), ("sc.w a0, a2, (a1)", 4, ""), ("sc.d a0, a2, (a1)", 8, "64")]


def offset(text: str) -> int:
    return int(text.split(", ")[-1].partition("(")[0] or 0)


def run_at(guest: Any, text: str, address: int) -> Stop:
    """One instruction that accesses this address, then ecall."""
    mask = (1 << guest.xlen) - 1
    guest.x[10], guest.x[12] = 0x8899_AABB_CCDD_EEFF & mask, 0x0123_4567_89AB_CDEF & mask
    guest.f[10] = 0x8899_AABB_CCDD_EEFF
    guest.x[11] = guest.x[2] = address - offset(text) & mask
    guest.pc = CODE
    stop: Stop = guest.go()
    return stop


def here(xlen: int, cases: list[tuple[str, int, str]]) -> list[tuple[str, int]]:
    return [(text, size) for text, size, widths in cases if str(xlen) in (widths or "32 64")]


ALL_RIGHTS = list(itertools.product(["", "r", "rw", "x", "rwx"], repeat=2))


@pytest.mark.parametrize("rights", ALL_RIGHTS, ids=lambda r: f"{r[0] or '-'} {r[1] or '-'}")
def test_rights_at_the_edge(pair: Any, xlen: int, rights: tuple[str, str]) -> None:
    """Both engines give the same, and nothing has changed when an access is refused: no register, no byte of memory."""
    for kind, cases in (("r", LOADS), ("w", STORES), ("w", ATOMICS), ("", RESERVED)):
        for text, size in here(xlen, cases):
            program = assembler(xlen).assemble(f"{text}\necall", CODE).data
            for guest in pair:
                guest.map(CODE, PAGE, "rx")
                guest.write(CODE, program)
            places = {-size, -size + 1, -(size // 2), -1, 0} if kind and cases is not ATOMICS else {-size, 0, -1}
            for place in places:
                seen = []
                for guest in pair:
                    for page, right in ((DATA, rights[0]), (EDGE, rights[1])):
                        guest.map(page, PAGE, "rw")
                        guest.write(page, bytes(range(1, 256)) * 16 + bytes(16))
                        guest.map(page, PAGE, right)
                    before = run_state(guest, rights)
                    stop = run_at(guest, text, EDGE + place)
                    after = run_state(guest, rights)
                    seen.append((stop, guest.cell.registers(), after))
                    if stop.cause != ECALL:
                        assert guest.pc == CODE and after == before, (text, place)
                        assert guest.x[10] == 0x8899_AABB_CCDD_EEFF & (1 << xlen) - 1 and guest.f[10] == 0x8899_AABB_CCDD_EEFF
                assert seen[0] == seen[1], (text, place)
                if kind and cases is not ATOMICS:
                    need = "rwx" if kind == "r" else "w"
                    refused = [EDGE + place + k for k in range(size) if not set(rights[place + k >= 0]) & set(need)]
                    cause = NO_LOAD if kind == "r" else NO_STORE
                    assert seen[0][0] == (Stop(cause, refused[0]) if refused else Stop(ECALL)), (text, place)


def run_state(guest: Any, rights: tuple[str, str]) -> list[bytes]:
    return [guest.read(page, PAGE) for page, right in ((DATA, rights[0]), (EDGE, rights[1])) if right]


def test_misaligned_atomics(pair: Any, xlen: int) -> None:
    for text, size in here(xlen, ATOMICS + RESERVED):
        for guest in pair:
            guest.load(f"{text}\necall")
            guest.map(DATA, PAGE, "rw")
        for place in range(1, size):
            cause = ADDRESS_MISALIGNED if text.startswith("lr") else STORE_MISALIGNED
            for guest in pair:
                assert run_at(guest, text, DATA + place) == Stop(cause, DATA + place) and guest.pc == CODE


@pytest.mark.parametrize("address", [0, 1, LIMIT - 1, LIMIT - 8, LIMIT - 3, 0x7FFF_FFFF, 0x8000_0000])
def test_unmapped(guest: Any, address: int) -> None:
    for cases, cause in ((LOADS, NO_LOAD), (STORES, NO_STORE)):
        for text, _size in here(guest.xlen, cases):
            guest.load(f"{text}\necall")
            assert run_at(guest, text, address) == Stop(cause, address) and guest.pc == CODE


@pytest.mark.parametrize("address", [1 << 32, (1 << 32) + DATA, (1 << 38) - 4, 1 << 47, 1 << 63, (1 << 64) - 1, (1 << 64) - DATA])
def test_beyond_the_limit(address: int) -> None:
    """64-bit addresses: those whose lower half is mapped, the host's own, the last one."""
    from engine_harness import guests

    for kind in ("golden", "interpreter"):
        guest = guests(kind, 64)
        guest.map(DATA, PAGE, "rw")
        for cases, cause in ((LOADS, NO_LOAD), (STORES, NO_STORE), (ATOMICS, NO_STORE)):
            for text, size in here(64, cases):
                guest.load(f"{text}\necall")
                if cases is ATOMICS and address % size:
                    continue
                assert run_at(guest, text, address) == Stop(cause, address) and guest.pc == CODE, text


def test_across_the_limit(pair: Any, xlen: int) -> None:
    """An access that begins on the last page and goes on behind it."""
    for guest in pair:
        guest.map(LIMIT - PAGE, PAGE, "rw")
        guest.write(LIMIT - PAGE, bytes([7]) * PAGE)
    for cases in (LOADS, STORES):
        for text, size in here(xlen, cases):
            for place in range(1, size):
                stops = []
                for guest in pair:
                    guest.load(f"{text}\necall")
                    stops.append(run_at(guest, text, LIMIT - place))
                    assert guest.pc == CODE and guest.read(LIMIT - PAGE, PAGE) == bytes([7]) * PAGE
                assert stops[0] == stops[1] and stops[0].cause in (NO_LOAD, NO_STORE)


def test_offsets_wrap(guest: Any) -> None:
    """Base and offset are added modulo the width."""
    mask = (1 << guest.xlen) - 1
    guest.map(0, PAGE, "rw")
    guest.write(0x100, b"\x2a")
    guest.load("lbu a0, 0x180(a1)\nlbu a2, -0x10(a3)\nsb a2, -0x7f8(a4)\necall")
    guest.x[11], guest.x[13], guest.x[14] = -0x80 & mask, 0x110, 0x7F9
    assert guest.go() == Stop(ECALL) and (guest.x[10], guest.x[12]) == (42, 42) and guest.read(0, 3) == b"\0\x2a\0"


def test_values(guest: Any) -> None:
    """Sign and zero extension; RV32 keeps registers of 32 bits; singles are boxed."""
    guest.map(DATA, PAGE, "rw")
    guest.write(DATA, bytes.fromhex("f1e2d3c4b5a69788"))
    want = {"lb": -0x0F, "lbu": 0xF1, "lh": -0x1D0F, "lhu": 0xE2F1, "lw": -0x3B2C_1D0F}
    if guest.xlen == 64:
        want |= {"lwu": 0xC4D3_E2F1, "ld": 0x8897_A6B5_C4D3_E2F1}
    for name, value in want.items():
        guest.load(f"{name} a0, 0(a1)\necall")
        guest.x[11] = DATA
        assert guest.go() == Stop(ECALL) and guest.x[10] == value & (1 << guest.xlen) - 1
    guest.load("flw fa0, 0(a1)\nfld fa1, 0(a1)\nfsw fa1, 8(a1)\nfsd fa0, 16(a1)\necall")
    guest.x[11] = DATA
    assert guest.go() == Stop(ECALL)
    assert (guest.f[10], guest.f[11]) == (0xFFFF_FFFF_C4D3_E2F1, 0x8897_A6B5_C4D3_E2F1)
    assert guest.read(DATA + 8, 16) == bytes.fromhex("f1e2d3c4000000 00f1e2d3c4ffffffff".replace(" ", ""))


def test_stack_grows_into_nothing(guest: Any) -> None:
    """A function that calls itself without end stops at the first page that is missing, with everything before in place."""
    guest.map(DATA, 2 * PAGE, "rw")
    step = guest.xlen // 8
    store = "sd" if guest.xlen == 64 else "sw"
    guest.load(f"f: addi sp, sp, -{step}\n{store} ra, 0(sp)\naddi a0, a0, 1\njal ra, f\n")
    guest.x[2] = DATA + 2 * PAGE
    assert guest.go() == Stop(NO_STORE, DATA - step)
    assert guest.pc == CODE + 4 and guest.x[10] == 2 * PAGE // step and guest.x[2] == DATA - step
    assert guest.read(DATA, step) == (CODE + 16).to_bytes(step, "little")


def test_faults_again_and_again(guest: Any) -> None:
    """After each exception the run goes on behind it."""
    guest.load("1: lw a0, 0(a1)\naddi a2, a2, 1\nj 1b")
    guest.x[11] = DATA
    for k in range(200):
        assert guest.go() == Stop(NO_LOAD, DATA) and guest.pc == CODE and guest.x[12] == k
        guest.pc = CODE + 4
    guest.map(DATA, PAGE, "r")
    guest.write(DATA, b"\x05\0\0\0")
    assert guest.step(3) == Stop(None) and guest.x[10] == 5


def test_lr_sc(guest: Any) -> None:
    """SC stores once after LR at the same address, and fails otherwise."""
    guest.map(DATA, PAGE, "rw")
    program = """
        lr.w a0, (a1)
        sc.w a2, a3, (a1)
        sc.w a4, a3, (a1)
        lr.w a5, (a1)
        addi t0, a1, 4
        sc.w a6, a3, (t0)
        sc.w a7, a3, (a1)
        lr.w t1, (a1)
        sw zero, 0(a1)
        sc.w t2, a3, (a1)
        ecall
    """
    guest.write(DATA, (0x8000_0001).to_bytes(4, "little"))
    guest.load(program)
    guest.x[11], guest.x[13] = DATA, 77
    assert guest.go() == Stop(ECALL)
    mask = (1 << guest.xlen) - 1
    assert guest.x[10] == -0x7FFF_FFFF & mask
    assert [guest.x[n] for n in (12, 14, 15, 16, 17, 7)] == [0, 1, 77, 1, 1, 1]
    assert guest.read(DATA, 8) == bytes(8)
