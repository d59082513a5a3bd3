"""Serpent (R. Anderson, E. Biham, L. Knudsen: Serpent: A Proposal for the Advanced Encryption Standard, 1998), many blocks at once.

The bitslice form of chapter 3: the 128-bit state is four 32-bit words and an S-box is a Boolean function of the four. Here a word is
a big integer with one 32-bit lane per block (`lanes`).
"""

from __future__ import annotations

from itertools import combinations

from .lanes import LaneCipher, rotate

S_BOXES = (
    (3, 8, 15, 1, 10, 6, 5, 11, 14, 13, 4, 2, 7, 0, 9, 12),
    (15, 12, 2, 7, 9, 0, 5, 10, 1, 11, 14, 8, 6, 13, 3, 4),
    (8, 6, 7, 9, 3, 12, 10, 15, 13, 1, 14, 4, 0, 11, 5, 2),
    (0, 15, 11, 8, 12, 9, 6, 3, 13, 1, 2, 4, 10, 7, 5, 14),
    (1, 15, 8, 3, 12, 0, 11, 6, 2, 5, 4, 10, 9, 14, 7, 13),
    (15, 5, 2, 11, 4, 10, 9, 12, 0, 3, 14, 8, 13, 6, 7, 1),
    (7, 2, 12, 5, 8, 4, 6, 11, 14, 9, 1, 15, 13, 3, 10, 0),
    (1, 13, 15, 0, 14, 8, 2, 11, 7, 4, 12, 10, 9, 3, 5, 6),
)
GOLDEN = 0x9E3779B9
SHIFTS = (1, 3, 5, 7, 10, 13, 19, 22, 25, 27, 29, 31)
"""Distances of the linear transformation and its inverse, to the left and to the right."""

Step = tuple[bool, int, int, int]
Box = tuple[list[Step], list[int], int]


def circuit(table: tuple[int, ...]) -> Box:
    """A straight line program for an S-box from its algebraic normal form: steps (is AND, result, operand, operand) over registers,
    of which 0 to 3 are the inputs; the registers of the four outputs, and a mask of outputs to complement."""
    registers: dict[int, int] = {1: 0, 2: 1, 4: 2, 8: 3}
    steps: list[Step] = []
    wanted: list[set[int]] = []
    complement = 0
    for bit in range(4):
        form = [table[i] >> bit & 1 for i in range(16)]
        for i in range(4):
            for j in range(16):
                if j >> i & 1:
                    form[j] ^= form[j ^ 1 << i]
        complement |= form[0] << bit
        wanted.append({m for m in range(1, 16) if form[m]})
    for monomial in sorted(set.union(*wanted), key=lambda m: (m.bit_count(), m)):
        if monomial in registers:
            continue
        low = next(
            (m for m in sorted(registers, key=int.bit_count, reverse=True) if m & monomial == m and monomial ^ m in registers),
            0,
        )
        if not low:
            first = monomial & -monomial
            rest = monomial ^ first
            second = rest & -rest
            registers[first | second] = 4 + len(steps)
            steps.append((True, 4 + len(steps), registers[first], registers[second]))
            low = first | second
        registers[monomial] = 4 + len(steps)
        steps.append((True, 4 + len(steps), registers[low], registers[monomial ^ low]))
    sums = [{registers[m] for m in form} for form in wanted]
    while any(len(s) > 1 for s in sums):
        pairs: dict[tuple[int, int], int] = {}
        for s in sums:
            for pair in combinations(sorted(s), 2):
                pairs[pair] = pairs.get(pair, 0) + 1
        a, b = max(pairs, key=lambda p: (pairs[p], p))
        new = 4 + len(steps)
        steps.append((False, new, a, b))
        for s in sums:
            if a in s and b in s:
                s -= {a, b}
                s.add(new)
    return steps, [s.pop() for s in sums], complement


def _inverse(table: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(table.index(i) for i in range(16))


BOXES = [circuit(table) for table in S_BOXES]
INVERSE = [circuit(_inverse(table)) for table in S_BOXES]


def substitute(box: Box, x: list[int], ones: int) -> list[int]:
    steps, outputs, complement = box
    r = x + [0] * len(steps)
    for is_and, to, a, b in steps:
        r[to] = r[a] & r[b] if is_and else r[a] ^ r[b]
    return [r[at] ^ ones if complement >> i & 1 else r[at] for i, at in enumerate(outputs)]


class Lanes:
    """Constants for `count` lanes of 32 bits."""

    def __init__(self, count: int) -> None:
        self.unit = int.from_bytes(b"\1\0\0\0" * count, "little")
        self.ones = self.unit * 0xFFFF_FFFF
        self.high = {n: self.unit * (0xFFFF_FFFF << n & 0xFFFF_FFFF) for n in SHIFTS}
        self.low = {n: self.unit * (0xFFFF_FFFF >> n) for n in SHIFTS}

    def rol(self, x: int, n: int) -> int:
        return (x << n & self.high[n]) | (x >> 32 - n & self.low[32 - n])

    def shl(self, x: int, n: int) -> int:
        return x << n & self.high[n]


class Serpent(LaneCipher[Lanes, list[list[int]]]):
    """The cipher with a key of 16, 24 or 32 bytes."""

    def __init__(self, key: bytes | bytearray) -> None:
        super().__init__()
        padded = int.from_bytes(key, "little") | (1 << 8 * len(key) if len(key) < 32 else 0)
        words = [padded >> 32 * i & 0xFFFF_FFFF for i in range(8)]
        for i in range(132):
            words.append(rotate(words[i] ^ words[i + 3] ^ words[i + 5] ^ words[i + 7] ^ GOLDEN ^ i, 11))
        self.keys = [substitute(BOXES[(3 - i) % 8], words[8 + 4 * i : 12 + 4 * i], 0xFFFF_FFFF) for i in range(33)]

    def _prepare(self, count: int) -> tuple[Lanes, list[list[int]]]:
        lanes = Lanes(count)
        return lanes, [[lanes.unit * word for word in key] for key in self.keys]

    def _encrypt(self, x: list[int], lanes: Lanes, keys: list[list[int]]) -> list[int]:
        rol, shl = lanes.rol, lanes.shl
        for i in range(32):
            k = keys[i]
            x0, x1, x2, x3 = substitute(BOXES[i % 8], [x[0] ^ k[0], x[1] ^ k[1], x[2] ^ k[2], x[3] ^ k[3]], lanes.ones)
            if i < 31:
                x0 = rol(x0, 13)
                x2 = rol(x2, 3)
                x1 = rol(x1 ^ x0 ^ x2, 1)
                x3 = rol(x3 ^ x2 ^ shl(x0, 3), 7)
                x0 = rol(x0 ^ x1 ^ x3, 5)
                x2 = rol(x2 ^ x3 ^ shl(x1, 7), 22)
            x = [x0, x1, x2, x3]
        return [a ^ b for a, b in zip(x, keys[32], strict=True)]

    def _decrypt(self, x: list[int], lanes: Lanes, keys: list[list[int]]) -> list[int]:
        rol, shl = lanes.rol, lanes.shl
        x = [a ^ b for a, b in zip(x, keys[32], strict=True)]
        for i in range(31, -1, -1):
            if i < 31:
                x0, x1, x2, x3 = x
                x2 = rol(x2, 10) ^ x3 ^ shl(x1, 7)
                x0 = rol(x0, 27) ^ x1 ^ x3
                x3 = rol(x3, 25) ^ x2 ^ shl(x0, 3)
                x1 = rol(x1, 31) ^ x0 ^ x2
                x = [rol(x0, 19), x1, rol(x2, 29), x3]
            x = [a ^ b for a, b in zip(substitute(INVERSE[i % 8], x, lanes.ones), keys[i], strict=True)]
        return x
