"""M: multiplication and division.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapter 12."""

from __future__ import annotations

from tinamou.native.ops import quot, rem
from tinamou.native.types import i32, i128, u32, u128

from .operands import XLEN, X, ix, rv, ux

rv_m = rv.extension("m")
rv64_m = rv.extension("m", XLEN=64)


@rv_m("0000001 rs2 rs1 000 rd 0110011", "mul {rd},{rs1},{rs2}")
def mul(rs1: X, rs2: X) -> X:
    return rs1 * rs2


@rv_m("0000001 rs2 rs1 001 rd 0110011", "mulh {rd},{rs1},{rs2}")
def mulh(rs1: X, rs2: X) -> X:
    return ux(i128(ix(rs1)) * i128(ix(rs2)) >> XLEN)


@rv_m("0000001 rs2 rs1 010 rd 0110011", "mulhsu {rd},{rs1},{rs2}")
def mulhsu(rs1: X, rs2: X) -> X:
    return ux(i128(ix(rs1)) * i128(rs2) >> XLEN)


@rv_m("0000001 rs2 rs1 011 rd 0110011", "mulhu {rd},{rs1},{rs2}")
def mulhu(rs1: X, rs2: X) -> X:
    return ux(u128(rs1) * u128(rs2) >> XLEN)


# Division by zero gives all ones and the dividend; the most negative number / -1 gives itself and 0.


@rv_m("0000001 rs2 rs1 100 rd 0110011", "div {rd},{rs1},{rs2}")
def div(rs1: X, rs2: X) -> X:
    if rs2 == 0:
        return ux(-1)
    return ux(quot(ix(rs1), ix(rs2)))


@rv_m("0000001 rs2 rs1 101 rd 0110011", "divu {rd},{rs1},{rs2}")
def divu(rs1: X, rs2: X) -> X:
    if rs2 == 0:
        return ux(-1)
    return rs1 // rs2


@rv_m("0000001 rs2 rs1 110 rd 0110011", "rem {rd},{rs1},{rs2}")
def rem_(rs1: X, rs2: X) -> X:
    if rs2 == 0:
        return rs1
    return ux(rem(ix(rs1), ix(rs2)))


@rv_m("0000001 rs2 rs1 111 rd 0110011", "remu {rd},{rs1},{rs2}")
def remu(rs1: X, rs2: X) -> X:
    if rs2 == 0:
        return rs1
    return rs1 % rs2


@rv64_m("0000001 rs2 rs1 000 rd 0111011", "mulw {rd},{rs1},{rs2}")
def mulw(rs1: X, rs2: X) -> X:
    return ux(i32(rs1 * rs2))


@rv64_m("0000001 rs2 rs1 100 rd 0111011", "divw {rd},{rs1},{rs2}")
def divw(rs1: X, rs2: X) -> X:
    if u32(rs2) == 0:
        return ux(-1)
    return ux(quot(i32(rs1), i32(rs2)))


@rv64_m("0000001 rs2 rs1 101 rd 0111011", "divuw {rd},{rs1},{rs2}")
def divuw(rs1: X, rs2: X) -> X:
    if u32(rs2) == 0:
        return ux(-1)
    return ux(i32(u32(rs1) // u32(rs2)))


@rv64_m("0000001 rs2 rs1 110 rd 0111011", "remw {rd},{rs1},{rs2}")
def remw(rs1: X, rs2: X) -> X:
    if u32(rs2) == 0:
        return ux(i32(rs1))
    return ux(rem(i32(rs1), i32(rs2)))


@rv64_m("0000001 rs2 rs1 111 rd 0111011", "remuw {rd},{rs1},{rs2}")
def remuw(rs1: X, rs2: X) -> X:
    if u32(rs2) == 0:
        return ux(i32(rs1))
    return ux(i32(u32(rs1) % u32(rs2)))
