"""FEAT_CRC32: checksums.  Arm Architecture Reference Manual, Arm ARM DDI 0487, C6.2 (CRC32B ... CRC32CX)."""

from __future__ import annotations

from typing import TypeVar

from tinamou.native.types import Word, u8, u16, u32, u64

from .operands import Row, W, X, a64

crc32 = a64.extension("crc32")
V_ = TypeVar("V_", bound=Word)

# What tables bind.
T: type[Word] = Word
POLYNOMIAL = 0
R = W

REVERSED = 0xEDB8_8320  # 0x04C11DB7 and 0x1EDC6F41, lowest power first
REVERSED_C = 0x82F6_3B78

ROWS: tuple[Row, ...] = tuple(
    {"name": f"{c}{n}", "<op>": f"crc32{c}{n}", "SZ": f"{k:02b}", "C": "1" if c else "0", "sf": "1" if n == "x" else "0", "T": t,
     "R": X if n == "x" else W, "POLYNOMIAL": REVERSED_C if c else REVERSED}
    for c in ("", "c")
    for k, (n, t) in enumerate([("b", u8), ("h", u16), ("w", u32), ("x", u64)])
)  # fmt: skip


def checksum(t: type[V_], polynomial: int, crc: u32, data: V_) -> u32:
    """The remainder, bit by bit; numbers are in bit-reversed order."""
    x = u64(crc) ^ u64(data)
    for _ in range(t.bits):
        x = x >> 1 ^ (0 - (x & 1) & polynomial)
    return u32(x)


@crc32("sf 00 11010110 Rm 010 C SZ Rn Rd", "<op> {Rd}, {Rn}, {Rm}", each=ROWS)
def crc(Rn: W, Rm: R) -> W:
    return checksum(T, POLYNOMIAL, Rn, T(Rm))
