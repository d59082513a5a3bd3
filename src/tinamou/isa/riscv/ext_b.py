"""Zba, Zbb and Zbs: bit manipulation.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapter 28."""

from __future__ import annotations

from tinamou.native.ops import bswap, clz, ctz, popcount, rotl, rotr
from tinamou.native.types import i8, i16, i32, u16, u32

from .operands import XLEN, Shamt, X, ix, rv, ux

rv_zba = rv.extension("zba")
rv64_zba = rv.extension("zba", XLEN=64)


@rv_zba("0010000 rs2 rs1 010 rd 0110011", "sh1add {rd},{rs1},{rs2}")
def sh1add(rs1: X, rs2: X) -> X:
    return (rs1 << 1) + rs2


@rv_zba("0010000 rs2 rs1 100 rd 0110011", "sh2add {rd},{rs1},{rs2}")
def sh2add(rs1: X, rs2: X) -> X:
    return (rs1 << 2) + rs2


@rv_zba("0010000 rs2 rs1 110 rd 0110011", "sh3add {rd},{rs1},{rs2}")
def sh3add(rs1: X, rs2: X) -> X:
    return (rs1 << 3) + rs2


@rv64_zba("0000100 rs2 rs1 000 rd 0111011", "add.uw {rd},{rs1},{rs2}")
def add_uw(rs1: X, rs2: X) -> X:
    return ux(u32(rs1)) + rs2


@rv64_zba("0010000 rs2 rs1 010 rd 0111011", "sh1add.uw {rd},{rs1},{rs2}")
def sh1add_uw(rs1: X, rs2: X) -> X:
    return (ux(u32(rs1)) << 1) + rs2


@rv64_zba("0010000 rs2 rs1 100 rd 0111011", "sh2add.uw {rd},{rs1},{rs2}")
def sh2add_uw(rs1: X, rs2: X) -> X:
    return (ux(u32(rs1)) << 2) + rs2


@rv64_zba("0010000 rs2 rs1 110 rd 0111011", "sh3add.uw {rd},{rs1},{rs2}")
def sh3add_uw(rs1: X, rs2: X) -> X:
    return (ux(u32(rs1)) << 3) + rs2


@rv64_zba("000010 shamt[5:0] rs1 001 rd 0011011", "slli.uw {rd},{rs1},{shamt:#x}")
def slli_uw(rs1: X, shamt: Shamt) -> X:
    return ux(u32(rs1)) << shamt


rv_zbb = rv.extension("zbb")
rv32_zbb = rv.extension("zbb", XLEN=32)
rv64_zbb = rv.extension("zbb", XLEN=64)


@rv_zbb("0100000 rs2 rs1 111 rd 0110011", "andn {rd},{rs1},{rs2}")
def andn(rs1: X, rs2: X) -> X:
    return rs1 & ~rs2


@rv_zbb("0100000 rs2 rs1 110 rd 0110011", "orn {rd},{rs1},{rs2}")
def orn(rs1: X, rs2: X) -> X:
    return rs1 | ~rs2


@rv_zbb("0100000 rs2 rs1 100 rd 0110011", "xnor {rd},{rs1},{rs2}")
def xnor(rs1: X, rs2: X) -> X:
    return ~(rs1 ^ rs2)


@rv_zbb("0110000 00000 rs1 001 rd 0010011", "clz {rd},{rs1}")
def clz_(rs1: X) -> X:
    return clz(rs1)


@rv64_zbb("0110000 00000 rs1 001 rd 0011011", "clzw {rd},{rs1}")
def clzw(rs1: X) -> X:
    return ux(clz(u32(rs1)))


@rv_zbb("0110000 00001 rs1 001 rd 0010011", "ctz {rd},{rs1}")
def ctz_(rs1: X) -> X:
    return ctz(rs1)


@rv64_zbb("0110000 00001 rs1 001 rd 0011011", "ctzw {rd},{rs1}")
def ctzw(rs1: X) -> X:
    return ux(ctz(u32(rs1)))


@rv_zbb("0110000 00010 rs1 001 rd 0010011", "cpop {rd},{rs1}")
def cpop(rs1: X) -> X:
    return popcount(rs1)


@rv64_zbb("0110000 00010 rs1 001 rd 0011011", "cpopw {rd},{rs1}")
def cpopw(rs1: X) -> X:
    return ux(popcount(u32(rs1)))


@rv_zbb("0000101 rs2 rs1 110 rd 0110011", "max {rd},{rs1},{rs2}")
def max_(rs1: X, rs2: X) -> X:
    return rs1 if ix(rs1) > ix(rs2) else rs2


@rv_zbb("0000101 rs2 rs1 111 rd 0110011", "maxu {rd},{rs1},{rs2}")
def maxu(rs1: X, rs2: X) -> X:
    return rs1 if rs1 > rs2 else rs2


@rv_zbb("0000101 rs2 rs1 100 rd 0110011", "min {rd},{rs1},{rs2}")
def min_(rs1: X, rs2: X) -> X:
    return rs1 if ix(rs1) < ix(rs2) else rs2


@rv_zbb("0000101 rs2 rs1 101 rd 0110011", "minu {rd},{rs1},{rs2}")
def minu(rs1: X, rs2: X) -> X:
    return rs1 if rs1 < rs2 else rs2


@rv_zbb("0110000 00100 rs1 001 rd 0010011", "sext.b {rd},{rs1}")
def sext_b(rs1: X) -> X:
    return ux(i8(rs1))


@rv_zbb("0110000 00101 rs1 001 rd 0010011", "sext.h {rd},{rs1}")
def sext_h(rs1: X) -> X:
    return ux(i16(rs1))


@rv32_zbb("0000100 00000 rs1 100 rd 0110011", "zext.h {rd},{rs1}")
@rv64_zbb("0000100 00000 rs1 100 rd 0111011", "zext.h {rd},{rs1}")
def zext_h(rs1: X) -> X:
    return ux(u16(rs1))


@rv_zbb("0110000 rs2 rs1 001 rd 0110011", "rol {rd},{rs1},{rs2}")
def rol(rs1: X, rs2: X) -> X:
    return rotl(rs1, rs2)


@rv64_zbb("0110000 rs2 rs1 001 rd 0111011", "rolw {rd},{rs1},{rs2}")
def rolw(rs1: X, rs2: X) -> X:
    return ux(i32(rotl(u32(rs1), rs2)))


@rv_zbb("0110000 rs2 rs1 101 rd 0110011", "ror {rd},{rs1},{rs2}")
def ror(rs1: X, rs2: X) -> X:
    return rotr(rs1, rs2)


@rv64_zbb("0110000 rs2 rs1 101 rd 0111011", "rorw {rd},{rs1},{rs2}")
def rorw(rs1: X, rs2: X) -> X:
    return ux(i32(rotr(u32(rs1), rs2)))


@rv32_zbb("0110000 shamt[4:0] rs1 101 rd 0010011", "rori {rd},{rs1},{shamt:#x}")
@rv64_zbb("011000 shamt[5:0] rs1 101 rd 0010011", "rori {rd},{rs1},{shamt:#x}")
def rori(rs1: X, shamt: Shamt) -> X:
    return rotr(rs1, shamt)


@rv64_zbb("0110000 shamt[4:0] rs1 101 rd 0011011", "roriw {rd},{rs1},{shamt:#x}")
def roriw(rs1: X, shamt: Shamt) -> X:
    return ux(i32(rotr(u32(rs1), shamt)))


@rv_zbb("001010000111 rs1 101 rd 0010011", "orc.b {rd},{rs1}")
def orc_b(rs1: X) -> X:
    """Bytes other than 0 become 255: adding 127 to its low 7 bits carries into bit 7 of every byte that has one of them."""
    top = ux(0x8080_8080_8080_8080)
    some = ((rs1 & ~top) + ~top | rs1) & top
    return (some >> 7) * 255


@rv32_zbb("011010011000 rs1 101 rd 0010011", "rev8 {rd},{rs1}")
@rv64_zbb("011010111000 rs1 101 rd 0010011", "rev8 {rd},{rs1}")
def rev8(rs1: X) -> X:
    return bswap(rs1)


rv_zbs = rv.extension("zbs")
rv32_zbs = rv.extension("zbs", XLEN=32)
rv64_zbs = rv.extension("zbs", XLEN=64)


@rv_zbs("0100100 rs2 rs1 001 rd 0110011", "bclr {rd},{rs1},{rs2}")
def bclr(rs1: X, rs2: X) -> X:
    return rs1 & ~(ux(1) << (rs2 & (XLEN - 1)))


@rv32_zbs("0100100 shamt[4:0] rs1 001 rd 0010011", "bclri {rd},{rs1},{shamt:#x}")
@rv64_zbs("010010 shamt[5:0] rs1 001 rd 0010011", "bclri {rd},{rs1},{shamt:#x}")
def bclri(rs1: X, shamt: Shamt) -> X:
    return rs1 & ~(ux(1) << shamt)


@rv_zbs("0100100 rs2 rs1 101 rd 0110011", "bext {rd},{rs1},{rs2}")
def bext(rs1: X, rs2: X) -> X:
    return rs1 >> (rs2 & (XLEN - 1)) & 1


@rv32_zbs("0100100 shamt[4:0] rs1 101 rd 0010011", "bexti {rd},{rs1},{shamt:#x}")
@rv64_zbs("010010 shamt[5:0] rs1 101 rd 0010011", "bexti {rd},{rs1},{shamt:#x}")
def bexti(rs1: X, shamt: Shamt) -> X:
    return rs1 >> shamt & 1


@rv_zbs("0110100 rs2 rs1 001 rd 0110011", "binv {rd},{rs1},{rs2}")
def binv(rs1: X, rs2: X) -> X:
    return rs1 ^ ux(1) << (rs2 & (XLEN - 1))


@rv32_zbs("0110100 shamt[4:0] rs1 001 rd 0010011", "binvi {rd},{rs1},{shamt:#x}")
@rv64_zbs("011010 shamt[5:0] rs1 001 rd 0010011", "binvi {rd},{rs1},{shamt:#x}")
def binvi(rs1: X, shamt: Shamt) -> X:
    return rs1 ^ ux(1) << shamt


@rv_zbs("0010100 rs2 rs1 001 rd 0110011", "bset {rd},{rs1},{rs2}")
def bset(rs1: X, rs2: X) -> X:
    return rs1 | ux(1) << (rs2 & (XLEN - 1))


@rv32_zbs("0010100 shamt[4:0] rs1 001 rd 0010011", "bseti {rd},{rs1},{shamt:#x}")
@rv64_zbs("001010 shamt[5:0] rs1 001 rd 0010011", "bseti {rd},{rs1},{shamt:#x}")
def bseti(rs1: X, shamt: Shamt) -> X:
    return rs1 | ux(1) << shamt
