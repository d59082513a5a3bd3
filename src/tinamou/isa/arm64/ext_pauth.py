"""FEAT_PAuth with QARMA5: pointer authentication codes.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D8.11, J1 (ComputePAC, AddPAC, Auth).

R. Avanzi, The QARMA Block Cipher Family, 2017.
"""

from __future__ import annotations

from tinamou.native.ops import outlined, rotr
from tinamou.native.types import u64

from .memory import based, load
from .operands import X16, X17, X30, Row, Simm, Sp, X, Xn, Xsp, Xt, a64
from .state import Core

pauth = a64.extension("pauth")

KEY = 0  # number of the key: APIA, APIB, APDA, APDB
SIGN = True

# -- QARMA: 16 cells of four bits

ALPHA = 0xC0AC_29B7_C97C_50DD
ROUNDS = (0, 0x1319_8A2E_0370_7344, 0xA409_3822_299F_31D0, 0x082E_FA98_EC4E_6C89, 0x4528_21E6_38D0_1377)
SHUFFLE = (13, 6, 11, 0, 7, 12, 1, 10, 8, 3, 14, 5, 2, 9, 4, 15)
UNSHUFFLE = tuple(SHUFFLE.index(i) for i in range(16))
TWEAK = (4, 5, 6, 7, 11, 2, 3, 8, 12, 13, 14, 15, 0, 1, 10, 9)
UNTWEAK = tuple(TWEAK.index(i) for i in range(16))
TURNED = (2, 4, 7, 11, 12, 14, 15)  # cells of a shuffled tweak that go through the shift register
BOX = (0xB, 0x6, 0x8, 0xF, 0xC, 0x0, 0x9, 0xE, 0x3, 0x7, 0x4, 0x5, 0xD, 0x2, 0x1, 0xA)
UNBOX = tuple(BOX.index(i) for i in range(16))
LOWEST = 0x1111_1111_1111_1111


def permuted(x: u64, order: tuple[int, ...]) -> u64:
    """Cell i is cell order[i] of x."""
    r = u64(0)
    for i in range(16):
        r = r | (x >> 4 * order[i] & 15) << 4 * i
    return r


def shuffled(x: u64, backwards: bool) -> u64:
    if backwards:
        return permuted(x, UNSHUFFLE)
    else:
        return permuted(x, SHUFFLE)


def packed(box: tuple[int, ...]) -> int:
    return sum(v << 4 * i for i, v in enumerate(box))


FORWARD_BOX, BACKWARD_BOX = packed(BOX), packed(UNBOX)


def substituted(x: u64, box: int) -> u64:
    """Each cell through the S-box."""
    r = u64(0)
    for i in range(16):
        r = r | (u64(box) >> ((x >> 4 * i & 15) << 2) & 15) << 4 * i
    return r


def cells_rotated(x: u64, n: int) -> u64:
    """Each cell rotated left."""
    return x << n & LOWEST * (15 << n & 15) | x >> 4 - n & LOWEST * ((1 << n) - 1)


def mixed(x: u64) -> u64:
    """MixColumns: every cell becomes the sum of the others in its column, rotated by 1, 2 and 1."""
    one, two = cells_rotated(x, 1), cells_rotated(x, 2)
    return rotr(one, 16) ^ rotr(two, 32) ^ rotr(one, 48)


CELLS_TURNED = sum(15 << 4 * i for i in TURNED)
CELLS_TURNED_BEFORE = sum(15 << 4 * TWEAK[i] for i in TURNED)


def tweaked(x: u64) -> u64:
    """TweakShuffle."""
    y = permuted(x, TWEAK)
    z = y & CELLS_TURNED
    turned = z >> 1 & LOWEST * 7 | (z ^ z >> 1) << 3 & LOWEST * 8
    return y & ~u64(CELLS_TURNED) | turned & CELLS_TURNED


def untweaked(x: u64) -> u64:
    """TweakInvShuffle."""
    z = x & CELLS_TURNED
    turned = z << 1 & LOWEST * 14 | (z ^ z >> 3) & LOWEST
    return permuted(x & ~u64(CELLS_TURNED) | turned & CELLS_TURNED, UNTWEAK)


@outlined
def compute_pac(data: u64, modifier: u64, key1: u64, key0: u64) -> u64:
    """ComputePAC: key0 is bits 127:64 of the key."""
    other = rotr(key0, 1) ^ key0 >> 63
    mod = modifier
    x = data ^ key0
    for i in range(5):
        x = x ^ key1 ^ mod ^ ROUNDS[i]
        if i > 0:
            x = mixed(shuffled(x, False))
        x = substituted(x, FORWARD_BOX)
        mod = tweaked(mod)
    x = substituted(mixed(shuffled(x ^ other ^ mod, False)), FORWARD_BOX)
    x = key1 ^ mixed(shuffled(x, False))
    x = mixed(substituted(shuffled(x, True), BACKWARD_BOX))
    x = shuffled(x, True) ^ key0 ^ mod
    for i in range(5):
        x = substituted(x, BACKWARD_BOX)
        if i < 4:
            x = shuffled(mixed(x), True)
        mod = untweaked(mod)
        x = x ^ ROUNDS[4 - i] ^ key1 ^ mod ^ ALPHA
    return x ^ other


# -- pointers

HALF = 1 << 55  # selects the half of the address space


def plain(pointer: u64, field: u64) -> u64:
    """Without a code: its bits as bit 55."""
    return pointer | field if pointer >> 55 & 1 != 0 else pointer & ~field


@outlined
def signed(h: Core, pointer: u64, modifier: u64, key: int) -> u64:
    """AddPAC."""
    field = h.pac_field(pointer)
    code = compute_pac(plain(pointer, field), modifier, h.keys[2 * key], h.keys[2 * key + 1])
    above = pointer & (field | HALF)
    if above != 0 and above != field | HALF:
        code = code ^ (u64(1) << 62 if field >> 56 != 0 else u64(1) << 54)  # not a canonical pointer: the code will not match
    return pointer & ~field | code & field


@outlined
def authenticated(h: Core, pointer: u64, modifier: u64, key: int) -> u64:
    """Auth: the plain pointer, or one with an error code that will fault."""
    field = h.pac_field(pointer)
    original = plain(pointer, field)
    code = compute_pac(original, modifier, h.keys[2 * key], h.keys[2 * key + 1])
    if (code ^ pointer) & field == 0:
        return original
    error = u64(2 if key & 1 else 1)
    if field >> 56 != 0:
        return original & ~u64(3 << 61) | error << 61
    return original & ~u64(3 << 53) | error << 53


def transformed(h: Core, pointer: u64, modifier: u64, key: int, sign: bool) -> u64:
    if h.pac_enabled >> key & 1 == 0:
        return pointer
    h.allow("pauth")
    return signed(h, pointer, modifier, key) if sign else authenticated(h, pointer, modifier, key)


KINDS: tuple[Row, ...] = tuple(
    {"name": f"{op}{key}", "<op>": f"{op}{key}", "OP": f"{(not sign) * 4 + k:03b}", "KEY": k, "SIGN": sign}
    for op, sign in (("pac", True), ("aut", False))
    for k, key in enumerate(("ia", "ib", "da", "db"))
)


@pauth("1 1 0 11010110 00001 000 OP Rn Rd", "<op> {Rd}, {Rn}", each=KINDS)
def pac(h: Core, Rd: X, Rn: Xsp) -> X:
    return transformed(h, Rd, Rn, KEY, SIGN)


@pauth("1 1 0 11010110 00001 001 OP 11111 Rd", "<op> {Rd}", each=[{**r, "<op>": f"{r['<op>'][:3]}{r['<op>'][3]}z{r['<op>'][4]}"} for r in KINDS])
def pacz(h: Core, Rd: X) -> X:
    return transformed(h, Rd, u64(0), KEY, SIGN)


@pauth("1 1 0 11010110 00001 010000 11111 Rd", "xpaci {Rd}")
@pauth("1 1 0 11010110 00001 010001 11111 Rd", "xpacd {Rd}", name="xpacd")
def xpaci(h: Core, Rd: X) -> X:
    return plain(Rd, h.pac_field(Rd))


@pauth("1 0 0 11010110 Rm 001100 Rn Rd", "pacga {Rd}, {Rn}, {Rm}")
def pacga(h: Core, Rn: X, Rm: Xsp) -> X:
    h.allow("pauth")
    return compute_pac(Rn, Rm, h.keys[8], h.keys[9]) & ~u64(0xFFFF_FFFF)


# In the space of hints, where processors without the feature do nothing.

_IN: tuple[Row, ...] = tuple(
    {"name": f"{op}i{key}", "KEY": k, "SIGN": sign, "<op>": f"{op}i{key}", "O": o, "B": str(k)}
    for op, sign, o in (("pac", True, "0"), ("aut", False, "1"))
    for k, key in enumerate("ab")
)
_HINTS: tuple[Row, ...] = tuple({**r, "OP1716": f"{r['O']}{r['B']}0", "OPZ": f"{r['O']}{r['B']}0", "OPSP": f"{r['O']}{r['B']}1"} for r in _IN)


@pauth("11010101000000110010 0001 OP1716 11111", "<op>1716", each=_HINTS, over="hint")
def pac1716(h: Core, x17: X17, x16: X16) -> X17:
    return transformed(h, x17, x16, KEY, SIGN)


@pauth("11010101000000110010 0011 OPZ 11111", "<op>z", name="pac30z", each=_HINTS, over="hint")
def pac30z(h: Core, x30: X30) -> X30:
    return transformed(h, x30, u64(0), KEY, SIGN)


@pauth("11010101000000110010 0011 OPSP 11111", "<op>sp", name="pac30sp", each=_HINTS, over="hint")
def pac30sp(h: Core, x30: X30, sp: Sp) -> X30:
    return transformed(h, x30, sp, KEY, SIGN)


@pauth("11010101000000110010 0000 111 11111", "xpaclri", over="hint")
def xpaclri(h: Core, x30: X30) -> X30:
    return plain(x30, h.pac_field(x30))


# -- branches and loads

KEYS: tuple[Row, ...] = ({"name": "a", "M": "0", "<k>": "a", "KEY": 0}, {"name": "b", "M": "1", "<k>": "b", "KEY": 1})


def checked(h: Core, pointer: u64, modifier: u64, key: int) -> u64:
    return h.branch_target(transformed(h, pointer, modifier, key, False))


@pauth("1101011 1 000 11111 00001 M Rn Rm", "bra<k> {Rn}, {Rm}", each=KEYS)
def bra(h: Core, Rn: X, Rm: Xsp) -> None:
    h.jump(checked(h, Rn, Rm, KEY))


@pauth("1101011 1 001 11111 00001 M Rn Rm", "blra<k> {Rn}, {Rm}", each=KEYS)
def blra(h: Core, Rn: X, Rm: Xsp) -> X30:
    h.jump(checked(h, Rn, Rm, KEY))
    return h.pc + 4


@pauth("1101011 0 000 11111 00001 M Rn 11111", "bra<k>z {Rn}", each=KEYS)
def braz(h: Core, Rn: X) -> None:
    h.jump(checked(h, Rn, u64(0), KEY))


@pauth("1101011 0 001 11111 00001 M Rn 11111", "blra<k>z {Rn}", each=KEYS)
def blraz(h: Core, Rn: X) -> X30:
    h.jump(checked(h, Rn, u64(0), KEY))
    return h.pc + 4


@pauth("1101011 0 100 11111 00001 M 11111 11111", "ereta<k>", each=KEYS)
def ereta(h: Core, sp: Sp) -> None:
    h.switch(h.exception_return(transformed(h, h.return_address(), sp, KEY, False)))


@pauth("1101011 0 010 11111 00001 M 11111 11111", "reta<k>", each=KEYS)
def reta(h: Core, x30: X30, sp: Sp) -> None:
    h.jump(checked(h, x30, sp, KEY))


DATA_KEYS: tuple[Row, ...] = ({"name": "a", "M": "0", "<k>": "a", "KEY": 2}, {"name": "b", "M": "1", "<k>": "b", "KEY": 3})


@pauth("11 111 0 00 M imm[12] 1 imm[11:3] 0 1 Rn Rt", "ldra<k> {Rt}, [{Rn}{plus}]", each=DATA_KEYS)
def ldra(h: Core, Rn: Xsp, imm: Simm) -> Xt:
    return load(h, u64, transformed(h, based(h, Rn), u64(0), KEY, False) + imm)


@pauth("11 111 0 00 M imm[12] 1 imm[11:3] 1 1 Rn Rt", "ldra<k> {Rt}, [{Rn}{plus}]!", each=DATA_KEYS)
def ldra_pre(h: Core, Rn: Xsp, imm: Simm) -> tuple[Xn, Xt]:
    address = transformed(h, based(h, Rn), u64(0), KEY, False) + imm
    return address, load(h, u64, address)
