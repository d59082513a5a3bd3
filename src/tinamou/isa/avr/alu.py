"""Flags of the arithmetic.  AVR Instruction Set Manual, DS40002198B, chapter 5: the formulas under "Status Register and Boolean Formula".

Flags are in the form in which Avr.f keeps them; a function gives its result, then H V N Z C as far as it has them.  S follows from V and N.
"""

from __future__ import annotations

from tinamou.native.types import u8, u16, u32


def add(d: u8, r: u8, c: u8) -> tuple[u8, u8, u8, u8, u8, u8]:
    total = u16(d) + u16(r) + u16(c)
    result = u8(total)
    return result, d ^ r ^ result, (d ^ result) & (r ^ result) & 0x80, result, result, u8(total >> 8)


def subtract(d: u8, r: u8, c: u8) -> tuple[u8, u8, u8, u8, u8, u8]:
    total = u32(d) - u32(r) - u32(c)
    result = u8(total)
    return result, d ^ r ^ result, (d ^ r) & (d ^ result) & 0x80, result, result, u8(total >> 31)


def logic(result: u8) -> tuple[u8, u8, u8, u8]:
    return result, u8(0), result, result


def shifted(result: u8, c: u8) -> tuple[u8, u8, u8, u8, u8]:
    """Behind a shift to the right that moved `c` out: V is N ^ C."""
    return result, (result ^ c << 7) & 0x80, result, result, c


def words(result: u16, v: u16, c: u16) -> tuple[u8, u8, u8, u8]:
    """Flags of a word: V N Z C; v and c in bit 15."""
    n = u8(result >> 8)
    return u8(v >> 8) & 0x80, n, n | u8(result), u8(c >> 15)
