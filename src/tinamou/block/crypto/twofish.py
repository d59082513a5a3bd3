"""Twofish (B. Schneier and others: Twofish: A 128-Bit Block Cipher, 1998), many blocks at once.

The key dependent S-boxes and the MDS matrix of chapter 4.3 are one table look-up per byte: `bytes.translate` does it for a byte
plane, which is one byte of one word of every block. Sums of 32-bit words are made for all blocks at once in big integers.
"""

from __future__ import annotations

from .lanes import LaneCipher, rotate

Q_TABLES = (
    (
        (8, 1, 7, 13, 6, 15, 3, 2, 0, 11, 5, 9, 14, 12, 10, 4),
        (14, 12, 11, 8, 1, 2, 3, 5, 15, 4, 10, 6, 7, 0, 9, 13),
        (11, 10, 5, 14, 6, 13, 9, 0, 12, 8, 15, 3, 2, 4, 7, 1),
        (13, 7, 15, 4, 1, 2, 6, 14, 9, 11, 3, 0, 8, 5, 12, 10),
    ),
    (
        (2, 8, 11, 13, 15, 7, 6, 14, 3, 1, 9, 4, 0, 10, 12, 5),
        (1, 14, 2, 11, 4, 12, 3, 7, 6, 13, 10, 5, 15, 9, 0, 8),
        (4, 12, 7, 5, 1, 6, 9, 10, 0, 14, 13, 8, 2, 11, 3, 15),
        (11, 9, 5, 1, 12, 3, 13, 14, 6, 4, 7, 15, 2, 0, 8, 10),
    ),
)
MDS = ((0x01, 0xEF, 0x5B, 0x5B), (0x5B, 0xEF, 0xEF, 0x01), (0xEF, 0x5B, 0x01, 0xEF), (0xEF, 0x01, 0xEF, 0x5B))
RS = (
    (0x01, 0xA4, 0x55, 0x87, 0x5A, 0x58, 0xDB, 0x9E),
    (0xA4, 0x56, 0x82, 0xF3, 0x1E, 0xC6, 0x68, 0xE5),
    (0x02, 0xA1, 0xFC, 0xC1, 0x47, 0xAE, 0x3D, 0x19),
    (0xA4, 0x55, 0x87, 0x5A, 0x58, 0xDB, 0x9E, 0x03),
)
Q_ORDER = ((1, 1, 0, 0, 1), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1), (1, 0, 1, 1, 0))
"""Which permutation byte j of a word meets: for 256-bit keys first, last after all key words (figure 2)."""


def _permutation(t: tuple[tuple[int, ...], ...]) -> bytes:
    out = bytearray()
    for x in range(256):
        a, b = x >> 4, x & 15
        for first, second in ((t[0], t[1]), (t[2], t[3])):
            a, b = a ^ b, (a ^ (b >> 1 | b << 3 & 8) ^ a << 3) & 15
            a, b = first[a], second[b]
        out.append(b << 4 | a)
    return bytes(out)


Q = tuple(map(_permutation, Q_TABLES))


def multiply(a: int, b: int, polynomial: int) -> int:
    """The product in the field of 256 elements."""
    out = 0
    while b:
        if b & 1:
            out ^= a
        a <<= 1
        if a & 0x100:
            a ^= polynomial
        b >>= 1
    return out


PRODUCTS = {factor: bytes(multiply(x, factor, 0x169) for x in range(256)) for factor in (0x01, 0x5B, 0xEF)}


def boxes(words: list[bytes]) -> list[bytes]:
    """The four S-boxes for key words, the one applied last first."""
    tables = []
    for j in range(4):
        table = bytes(range(256))
        for i in range(len(words) - 1, -1, -1):
            q = Q[Q_ORDER[j][3 - i]]
            k = words[i][j]
            table = bytes(x ^ k for x in table.translate(q))
        tables.append(table.translate(Q[Q_ORDER[j][4]]))
    return tables


def columns(tables: list[bytes]) -> list[list[bytes]]:
    """`columns(...)[row][j]`: S-box of byte j, multiplied by the matrix element of that row."""
    made: dict[tuple[int, int], bytes] = {}
    for j in range(4):
        for factor in (0x01, 0x5B, 0xEF):
            made[j, factor] = tables[j].translate(PRODUCTS[factor])
    return [[made[j, MDS[row][j]] for j in range(4)] for row in range(4)]


def h_values(words: list[bytes]) -> list[int]:
    """The function h of chapter 4.3.2 of the words whose four bytes are equal, 0 to 39."""
    rows = columns(boxes(words))
    return [sum((r[0][x] ^ r[1][x] ^ r[2][x] ^ r[3][x]) << 8 * i for i, r in enumerate(rows)) for x in range(40)]


class Lanes:
    """Constants for `count` lanes of 32 bits."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.unit = int.from_bytes(b"\1\0\0\0" * count, "little")
        self.sign = self.unit << 31
        self.rest = self.unit * 0x7FFF_FFFF
        self.even = self.unit * 0xFFFF_FFFE

    def add(self, a: int, b: int) -> int:
        rest = self.rest
        return ((a & rest) + (b & rest)) ^ ((a ^ b) & self.sign)

    def rol1(self, x: int) -> int:
        return (x << 1 & self.even) | (x >> 31 & self.unit)

    def ror1(self, x: int) -> int:
        return (x >> 1 & self.rest) | ((x & self.unit) << 31)


class Twofish(LaneCipher[Lanes, list[int]]):
    """The cipher with a key of 16, 24 or 32 bytes."""

    def __init__(self, key: bytes | bytearray) -> None:
        super().__init__()
        pieces = [bytes(key[i : i + 4]) for i in range(0, len(key), 4)]
        even, odd = pieces[0::2], pieces[1::2]
        vector = []
        for i in range(0, len(key), 8):
            part = key[i : i + 8]
            word = bytearray()
            for row in RS:
                value = 0
                for factor, byte in zip(row, part, strict=True):
                    value ^= multiply(byte, factor, 0x14D)
                word.append(value)
            vector.append(bytes(word))
        self.tables = columns(boxes(vector[::-1]))
        self.keys = []
        even_h, odd_h = h_values(even), h_values(odd)
        for i in range(20):
            a = even_h[2 * i]
            b = rotate(odd_h[2 * i + 1], 8)
            self.keys += [(a + b) & 0xFFFF_FFFF, rotate((a + 2 * b) & 0xFFFF_FFFF, 9)]

    def _prepare(self, count: int) -> tuple[Lanes, list[int]]:
        lanes = Lanes(count)
        return lanes, [lanes.unit * key for key in self.keys]

    def _g(self, word: int, count: int, shift: int) -> int:
        """The function g of all lanes; `shift` 1: of the word rotated left by eight bits."""
        data = word.to_bytes(4 * count, "little")
        planes = [data[(j - shift) % 4 :: 4] for j in range(4)]
        out = bytearray(4 * count)
        done: dict[int, int] = {}
        for row in range(4):
            value = 0
            for j in range(4):
                table = self.tables[row][j]
                part = done.get(id(table))
                if part is None:
                    part = done[id(table)] = int.from_bytes(planes[j].translate(table), "little")
                value ^= part
            out[row::4] = value.to_bytes(count, "little")
        return int.from_bytes(out, "little")

    def _encrypt(self, x: list[int], lanes: Lanes, keys: list[int]) -> list[int]:
        a, b, c, d = (word ^ key for word, key in zip(x, keys[:4], strict=True))
        add = lanes.add
        for i in range(16):
            t0, t1 = self._g(a, lanes.count, 0), self._g(b, lanes.count, 1)
            t0 = add(t0, t1)
            c = lanes.ror1(c ^ add(t0, keys[2 * i + 8]))
            d = lanes.rol1(d) ^ add(add(t0, t1), keys[2 * i + 9])
            a, b, c, d = c, d, a, b
        return [word ^ key for word, key in zip((c, d, a, b), keys[4:8], strict=True)]

    def _decrypt(self, x: list[int], lanes: Lanes, keys: list[int]) -> list[int]:
        c, d, a, b = (word ^ key for word, key in zip(x, keys[4:8], strict=True))
        add = lanes.add
        for i in range(15, -1, -1):
            a, b, c, d = c, d, a, b
            t0, t1 = self._g(a, lanes.count, 0), self._g(b, lanes.count, 1)
            t0 = add(t0, t1)
            c = lanes.rol1(c) ^ add(t0, keys[2 * i + 8])
            d = lanes.ror1(d ^ add(add(t0, t1), keys[2 * i + 9]))
        return [word ^ key for word, key in zip((a, b, c, d), keys[:4], strict=True)]
