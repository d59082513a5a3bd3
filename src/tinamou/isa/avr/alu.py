"""Flags of the arithmetic.  AVR Instruction Set Manual, DS40002198B, chapter 5: the formulas under "Status Register and Boolean Formula".

Flags are in the form in which Avr.f keeps them; a function gives its result, then H S V N Z C as far as it has them.
"""

from __future__ import annotations

from tinamou.native.types import u8, u16


def add(d: u8, r: u8, c: u8) -> tuple[u8, u8, u8, u8, u8, u8, u8]:
    total = u16(d) + u16(r) + u16(c)
    result = u8(total)
    v = (d ^ result) & (r ^ result)
    return result, d ^ r ^ result, result ^ v, v, result, result, u8(total >> 8)


def subtract(d: u8, r: u8, c: u8) -> tuple[u8, u8, u8, u8, u8, u8, u8]:
    total = u16(d) - u16(r) - u16(c)
    result = u8(total)
    v = (d ^ r) & (d ^ result)
    return result, d ^ r ^ result, result ^ v, v, result, result, u8(total >> 15)


def logic(result: u8) -> tuple[u8, u8, u8, u8, u8]:
    return result, result, u8(0), result, result


def shifted(result: u8, c: u8) -> tuple[u8, u8, u8, u8, u8, u8]:
    """Behind a shift to the right that moved `c` out: V is N ^ C."""
    v = result ^ c << 7
    return result, c << 7, v, result, result, c


def words(result: u16, v: u16, c: u16) -> tuple[u8, u8, u8, u8, u8]:
    """Flags of a word: S V N Z C; v and c in bit 15."""
    n = u8(result >> 8)
    return n ^ u8(v >> 8), u8(v >> 8), n, n | u8(result), u8(c >> 15)
