"""FEAT_MTE2: memory tags.  Arm Architecture Reference Manual, Arm ARM DDI 0487, D10 (Memory Tagging Extension), C6.2, J1.

Each 16 bytes of a tagged page have a tag of four bits.  Addresses carry theirs in bits 59:56.
"""

from __future__ import annotations

from tinamou.native.memory import peek, poke
from tinamou.native.ops import outlined
from tinamou.native.types import i64, u8, u32, u64

from .alu import sub_flags
from .disasm import zr
from .memory import based, check_store, settle, settled, store_words, tag_of, tag_slot
from .operands import Bits, Row, Simm, X, Xn, Xsp, Xt, a64
from .state import Core

mte = a64.extension("mte")

GRANULE = 16
TAG = 0x0F00_0000_0000_0000

COUNT = 0
ZERO = False


def with_tag(address: u64, tag: u32) -> u64:
    return address & ~u64(TAG) | u64(tag) << 56


def chosen(tag: u32, offset: u32, exclude: u32) -> u32:
    """ChooseNonExcludedTag: `offset` tags that are not excluded further; 0 if all are."""
    if exclude & 0xFFFF == 0xFFFF:
        return u32(0)
    t = tag
    n = offset
    while exclude >> t & 1 != 0:
        t = t + 1 & 15
    while n != 0:
        n = n - 1
        t = t + 1 & 15
        while exclude >> t & 1 != 0:
            t = t + 1 & 15
    return t


@outlined
def random_tag(h: Core, exclude: u32) -> u32:
    """RandomAllocationTag: from RGSR_EL1's shift register."""
    seed = h.rgsr >> 8 & 0xFFFF
    offset = u32(0)
    for i in range(4):
        top = (seed >> 5 ^ seed >> 3 ^ seed >> 2 ^ seed) & 1
        seed = seed >> 1 | top << 15
        offset = offset | top << i
    tag = chosen(h.rgsr & 15, offset, exclude)
    h.rgsr = seed << 8 | tag
    return tag


@mte("1 0 0 11010110 Rm 000100 Rn Rd", "irg {Rd}, {Rn}, {Rm}", alias=lambda s: "irg {Rd}, {Rn}" if zr(s["Rm"]) else None)
def irg(h: Core, Rn: Xsp, Rm: X) -> Xsp:
    return with_tag(Rn, random_tag(h, (u32(Rm) | h.gcr) & 0xFFFF))


@mte("1 00 100011 0 imm[9:4] xx tag[3:0] Rn Rd", "addg {Rd}, {Rn}, #{imm}, #{tag}")
def addg(h: Core, Rn: Xsp, imm: Bits, tag: Bits) -> Xsp:
    return with_tag(Rn + u64(imm), chosen(tag_of(Rn), tag, h.gcr))


@mte("1 10 100011 0 imm[9:4] xx tag[3:0] Rn Rd", "subg {Rd}, {Rn}, #{imm}, #{tag}")
def subg(h: Core, Rn: Xsp, imm: Bits, tag: Bits) -> Xsp:
    return with_tag(Rn - u64(imm), chosen(tag_of(Rn), tag, h.gcr))


@mte("1 0 0 11010110 Rm 000101 Rn Rd", "gmi {Rd}, {Rn}, {Rm}")
def gmi(Rn: Xsp, Rm: X) -> X:
    return Rm | u64(1) << tag_of(Rn)


def number(pointer: u64) -> u64:
    """56 bits, sign-extended."""
    return u64(i64(pointer << 8) >> 8)


@mte("1 0 0 11010110 Rm 000000 Rn Rd", "subp {Rd}, {Rn}, {Rm}")
def subp(Rn: Xsp, Rm: Xsp) -> X:
    return number(Rn) - number(Rm)


@mte("1 0 1 11010110 Rm 000000 Rn Rd", "subps {Rd}, {Rn}, {Rm}", alias=lambda s: "cmpp {Rn}, {Rm}" if zr(s["Rd"]) else None)
def subps(h: Core, Rn: Xsp, Rm: Xsp) -> X:
    return sub_flags(h, u64, number(Rn), number(Rm))


# -- loads and stores of tags


def get_tag(h: Core, address: u64) -> u32:
    slot = tag_slot(h, address)
    return u32(peek(u8, slot)) & 15 if slot != 0 else u32(0)


def set_tag(h: Core, address: u64, tag: u32) -> None:
    slot = tag_slot(h, address)
    if slot != 0:
        poke(u8, slot, u8(tag))


def store_tags(h: Core, address: u64, tag: u32, count: int, zero: bool) -> None:
    at = h.untagged(address) & ~(GRANULE - 1)
    tag = settled(tag)
    h.atomic("or", u8, at, u8(0))  # raises the fault of a store
    check_store(h, at, count * GRANULE)
    if zero:
        for i in range(count * 2):
            h.store(u64, at + 8 * i, u64(0))
            settle()
    for i in range(count):
        set_tag(h, at + GRANULE * i, tag)


STORES: tuple[Row, ...] = (
    {"name": "stg", "<op>": "stg", "OPC": "00", "COUNT": 1, "ZERO": False},
    {"name": "stzg", "<op>": "stzg", "OPC": "01", "COUNT": 1, "ZERO": True},
    {"name": "st2g", "<op>": "st2g", "OPC": "10", "COUNT": 2, "ZERO": False},
    {"name": "stz2g", "<op>": "stz2g", "OPC": "11", "COUNT": 2, "ZERO": True},
)


@mte("11011001 OPC 1 imm[12:4] 10 Rn Rt", "<op> {Rt}, [{Rn}{plus}]", each=STORES)
def stg(h: Core, Rn: Xsp, imm: Simm, Rt: Xsp) -> None:
    store_tags(h, based(h, Rn) + imm, tag_of(Rt), COUNT, ZERO)


@mte("11011001 OPC 1 imm[12:4] 01 Rn Rt", "<op> {Rt}, [{Rn}], #{imm}", each=STORES)
def stg_post(h: Core, Rn: Xsp, imm: Simm, Rt: Xsp) -> Xn:
    store_tags(h, based(h, Rn), tag_of(Rt), COUNT, ZERO)
    return Rn + imm


@mte("11011001 OPC 1 imm[12:4] 11 Rn Rt", "<op> {Rt}, [{Rn}, #{imm}]!", each=STORES)
def stg_pre(h: Core, Rn: Xsp, imm: Simm, Rt: Xsp) -> Xn:
    store_tags(h, based(h, Rn) + imm, tag_of(Rt), COUNT, ZERO)
    return Rn + imm


@mte("11011001 01 1 imm[12:4] 00 Rn Rt", "ldg {Rt}, [{Rn}{plus}]")
def ldg(h: Core, Rn: Xsp, imm: Simm, Rt: X) -> Xt:
    at = h.untagged(based(h, Rn) + imm) & ~(GRANULE - 1)
    settled(h.load(u8, at))
    return with_tag(Rt, get_tag(h, at))


def store_pair_tagged(h: Core, address: u64, first: u64, second: u64) -> None:
    """STGP: 16 bytes, whose tag becomes that of the address."""
    at = h.untagged(address)
    h.atomic("or", u8, at, u8(0))
    check_store(h, at, GRANULE)
    store_words(h, at, first, second)
    set_tag(h, at, tag_of(address))


@mte("0 1 101 0 010 0 imm[10:4] Rt2 Rn Rt", "stgp {Rt}, {Rt2}, [{Rn}{plus}]")
def stgp(h: Core, Rn: Xsp, imm: Simm, Rt: X, Rt2: X) -> None:
    store_pair_tagged(h, based(h, Rn) + imm, Rt, Rt2)


@mte("0 1 101 0 001 0 imm[10:4] Rt2 Rn Rt", "stgp {Rt}, {Rt2}, [{Rn}], #{imm}")
def stgp_post(h: Core, Rn: Xsp, imm: Simm, Rt: X, Rt2: X) -> Xn:
    store_pair_tagged(h, based(h, Rn), Rt, Rt2)
    return Rn + imm


@mte("0 1 101 0 011 0 imm[10:4] Rt2 Rn Rt", "stgp {Rt}, {Rt2}, [{Rn}, #{imm}]!")
def stgp_pre(h: Core, Rn: Xsp, imm: Simm, Rt: X, Rt2: X) -> Xn:
    store_pair_tagged(h, based(h, Rn) + imm, Rt, Rt2)
    return Rn + imm


# DC GVA and DC GZVA: the tags of a block, and zeros.

ZVA = 64


@mte("1101010100001 011 0111 0100 OP2 Rt", "dc <op>, {Rt}", name="dc_tags", over="sys",
     each=({"name": "gva", "<op>": "gva", "OP2": "011", "ZERO": False}, {"name": "gzva", "<op>": "gzva", "OP2": "100", "ZERO": True}))  # fmt: skip
def dc_tags(h: Core, Rt: X) -> None:
    store_tags(h, Rt & ~u64(ZVA - 1), tag_of(Rt), ZVA // GRANULE, ZERO)


@mte("1101010100001 011 0111 CRM OP2 Rt", "dc <op>, {Rt}", name="dc_tag_cache", over="sys", each=tuple(
    {"name": op, "<op>": op, "CRM": crm, "OP2": op2}
    for crm, where in (("1010", "cg{}vac"), ("1100", "cg{}vap"), ("1101", "cg{}vadp"), ("1110", "cig{}vac"))
    for op2, op in (("011", where.format("")), ("101", where.format("d")))
))  # fmt: skip
def dc_tag_cache(h: Core, Rt: X) -> None:
    settled(h.load(u8, h.untagged(Rt)))
