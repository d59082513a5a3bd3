"""The round of the Data Encryption Standard that XMEGA parts have as an instruction.

AVR Instruction Set Manual, DS40002198B, chapter 6.50; FIPS 46-3.  Bit 1 of the standard is bit 63 here.
"""

from __future__ import annotations

from tinamou.native.ops import outlined
from tinamou.native.types import u8, u64

from .operands import FH, Number, avr
from .state import Avr

IP = tuple(first - 8 * k for first in (58, 60, 62, 64, 57, 59, 61, 63) for k in range(8))
IP_INVERSE = tuple(IP.index(n) + 1 for n in range(1, 65))
E = tuple((4 * k + n - 1) % 32 + 1 for k in range(8) for n in range(6))
P = (16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25)
PC1_C = (57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36)
PC1_D = (63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4)
PC2 = (14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
       41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32)  # fmt: skip
# The rows of S1 to S8; column 0 is the lowest digit.
S = (
    (0x7095C6A38BF21D4E, 0x8359BC6A1D2E47F0, 0x05A379CFB26D8E14, 0xD60AE3B5719428CF),
    (0xA50CD27943B6E81F, 0x5B96A10CE82F74D3, 0xF2396C851D4AB7E0, 0x9E50C76B24F31A8D),
    (0x824B7CD15F36E90A, 0x1FBCE582A643907D, 0x7EA5C21B03F8946D, 0xC25B3EF478960DA1),
    (0xF4CB5821A9603ED7, 0x9EA1C27430F65B8D, 0x4825E31FD7BC096A, 0xE27CB5498D1A60F3),
    (0x9E0DF3586BA714C2, 0x6893AF051D74C2BE, 0xE0365C9F87DAB124, 0x354A90F6D2E17C8B),
    (0xB57E43D08629FA1C, 0x83B0ED1659C724FA, 0x6BD1A4073C825FE9, 0xD80671EBAF59C234),
    (0x16A579C3D80FE2B4, 0x68F2C53EA1947B0D, 0x295086FAE73CDB41, 0xC32EF0597A418DB6),
    (0x7C05E39A1BF6482D, 0x29E0B65C473A8DF1, 0x853FDA602EC914B7, 0xB65309CFD8A47E12),
)
SHIFTED = 0x7EFC  # bit k: the halves of the key move by two in round k, else by one
HALF = (1 << 28) - 1


def chosen(value: u64, width: int, bits: tuple[int, ...]) -> u64:
    """The bits of a value of that width, numbered from 1 for the highest."""
    out = u64(0)
    for n in bits:
        out = out << 1 | value >> (width - n) & 1
    return out


def round_key(key: u64, n: u64) -> u64:
    """The 48 bits of round n, from 0."""
    c, d = chosen(key, 64, PC1_C), chosen(key, 64, PC1_D)
    k = u64(0)
    while k <= n:
        by = u64(1) + (u64(SHIFTED) >> k & 1)
        c, d = (c << by | c >> (28 - by)) & HALF, (d << by | d >> (28 - by)) & HALF
        k += 1
    return chosen(c << 28 | d, 56, PC2)


@outlined
def des_round(data: u64, key: u64, n: u64, decrypt: bool) -> u64:
    """Round n of 16, between the initial permutation and its inverse."""
    block = chosen(data, 64, IP)
    left, right = block >> 32, block & 0xFFFF_FFFF
    mixed = chosen(right, 32, E) ^ round_key(key, u64(15) - n if decrypt else n)
    out = u64(0)
    for k in range(8):
        six = mixed >> (42 - 6 * k) & 63
        row = u64(S[k][0])
        if six & 0x21 == 0x01:
            row = u64(S[k][1])
        elif six & 0x21 == 0x20:
            row = u64(S[k][2])
        elif six & 0x21 == 0x21:
            row = u64(S[k][3])
        out = out << 4 | row >> ((six >> 1 & 15) << 2) & 15
    left ^= chosen(out, 32, P)
    if n == 15:  # the halves are not exchanged behind the last one
        return chosen(left << 32 | right, 64, IP_INVERSE)
    return chosen(right << 32 | left, 64, IP_INVERSE)


@avr.extension("des", CORE=("xm",))("1001 0100 KKKK 1011", "des {K:#x}")
def des(cpu: Avr, K: Number, h: FH) -> None:
    """One cycle more behind another instruction than `des`; here: when the word before it is none."""
    data, key = u64(0), u64(0)
    for k in range(8):
        data |= u64(cpu.r[k]) << (8 * k)
        key |= u64(cpu.r[8 + k]) << (8 * k)
    if cpu.program_word(cpu.pc - 2) & 0xFF0F != 0x940B:
        cpu.spend(1)
    data = des_round(data, key, u64(K), h & 0x10 != 0)
    for k in range(8):
        cpu.r[k] = u8(data >> (8 * k))
