"""A: atomic instructions.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapter 13.

Every access is ordered as if aq and rl were set.  An SC succeeds when memory still holds what its LR read (13.2 allows only
an SC to the same address and after no other SC; a write of the same value in between goes unnoticed).
"""

from __future__ import annotations

from tinamou.engine.cpu import Trap
from tinamou.native.types import i32, i64, u32, u64

from .operands import X, rv, ux
from .state import UNRESERVED, Hart
from .traps import LOAD_ADDRESS_MISALIGNED, STORE_ADDRESS_MISALIGNED

rv_a = rv.extension("a")
rv64_a = rv.extension("a", XLEN=64)


def aligned(address: u64, size: int) -> u64:
    if address & (size - 1):
        raise Trap(STORE_ADDRESS_MISALIGNED, address)
    return address


@rv_a("00010 aqrl 00000 rs1 010 rd 0101111", "lr.w{aqrl} {rd},({rs1})")
def lr_w(h: Hart, rs1: X) -> X:
    if rs1 & 3:
        raise Trap(LOAD_ADDRESS_MISALIGNED, rs1)
    value = h.load(i32, rs1)
    h.reservation = u64(rs1)
    h.reserved = u64(value)
    return ux(value)


@rv_a("00011 aqrl rs2 rs1 010 rd 0101111", "sc.w{aqrl} {rd},{rs2},({rs1})")
def sc_w(h: Hart, rs1: X, rs2: X) -> X:
    address = aligned(u64(rs1), 4)
    if h.reservation != address:
        h.reservation = u64(UNRESERVED)
        return ux(1)
    expected = u32(h.reserved)
    found = h.compare_swap(u32, address, expected, u32(rs2))
    h.reservation = u64(UNRESERVED)
    return ux(found != expected)


@rv64_a("00010 aqrl 00000 rs1 011 rd 0101111", "lr.d{aqrl} {rd},({rs1})")
def lr_d(h: Hart, rs1: X) -> X:
    if rs1 & 7:
        raise Trap(LOAD_ADDRESS_MISALIGNED, rs1)
    value = h.load(u64, rs1)
    h.reservation = u64(rs1)
    h.reserved = value
    return ux(value)


@rv64_a("00011 aqrl rs2 rs1 011 rd 0101111", "sc.d{aqrl} {rd},{rs2},({rs1})")
def sc_d(h: Hart, rs1: X, rs2: X) -> X:
    address = aligned(u64(rs1), 8)
    if h.reservation != address:
        h.reservation = u64(UNRESERVED)
        return ux(1)
    expected = h.reserved
    found = h.compare_swap(u64, address, expected, u64(rs2))
    h.reservation = u64(UNRESERVED)
    return ux(found != expected)


@rv_a("00001 aqrl rs2 rs1 010 rd 0101111", "amoswap.w{aqrl} {rd},{rs2},({rs1})")
def amoswap_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("swap", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("00000 aqrl rs2 rs1 010 rd 0101111", "amoadd.w{aqrl} {rd},{rs2},({rs1})")
def amoadd_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("add", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("00100 aqrl rs2 rs1 010 rd 0101111", "amoxor.w{aqrl} {rd},{rs2},({rs1})")
def amoxor_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("xor", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("01100 aqrl rs2 rs1 010 rd 0101111", "amoand.w{aqrl} {rd},{rs2},({rs1})")
def amoand_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("and", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("01000 aqrl rs2 rs1 010 rd 0101111", "amoor.w{aqrl} {rd},{rs2},({rs1})")
def amoor_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("or", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("10000 aqrl rs2 rs1 010 rd 0101111", "amomin.w{aqrl} {rd},{rs2},({rs1})")
def amomin_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("min", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("10100 aqrl rs2 rs1 010 rd 0101111", "amomax.w{aqrl} {rd},{rs2},({rs1})")
def amomax_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("max", i32, aligned(u64(rs1), 4), i32(rs2)))


@rv_a("11000 aqrl rs2 rs1 010 rd 0101111", "amominu.w{aqrl} {rd},{rs2},({rs1})")
def amominu_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(i32(h.atomic("min", u32, aligned(u64(rs1), 4), u32(rs2))))


@rv_a("11100 aqrl rs2 rs1 010 rd 0101111", "amomaxu.w{aqrl} {rd},{rs2},({rs1})")
def amomaxu_w(h: Hart, rs1: X, rs2: X) -> X:
    return ux(i32(h.atomic("max", u32, aligned(u64(rs1), 4), u32(rs2))))


@rv64_a("00001 aqrl rs2 rs1 011 rd 0101111", "amoswap.d{aqrl} {rd},{rs2},({rs1})")
def amoswap_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("swap", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("00000 aqrl rs2 rs1 011 rd 0101111", "amoadd.d{aqrl} {rd},{rs2},({rs1})")
def amoadd_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("add", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("00100 aqrl rs2 rs1 011 rd 0101111", "amoxor.d{aqrl} {rd},{rs2},({rs1})")
def amoxor_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("xor", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("01100 aqrl rs2 rs1 011 rd 0101111", "amoand.d{aqrl} {rd},{rs2},({rs1})")
def amoand_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("and", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("01000 aqrl rs2 rs1 011 rd 0101111", "amoor.d{aqrl} {rd},{rs2},({rs1})")
def amoor_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("or", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("10000 aqrl rs2 rs1 011 rd 0101111", "amomin.d{aqrl} {rd},{rs2},({rs1})")
def amomin_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("min", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("10100 aqrl rs2 rs1 011 rd 0101111", "amomax.d{aqrl} {rd},{rs2},({rs1})")
def amomax_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("max", i64, aligned(u64(rs1), 8), i64(rs2)))


@rv64_a("11000 aqrl rs2 rs1 011 rd 0101111", "amominu.d{aqrl} {rd},{rs2},({rs1})")
def amominu_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("min", u64, aligned(u64(rs1), 8), u64(rs2)))


@rv64_a("11100 aqrl rs2 rs1 011 rd 0101111", "amomaxu.d{aqrl} {rd},{rs2},({rs1})")
def amomaxu_d(h: Hart, rs1: X, rs2: X) -> X:
    return ux(h.atomic("max", u64, aligned(u64(rs1), 8), u64(rs2)))
