"""RV32I and RV64I.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapters 2 and 4; encodings of chapter 35."""

from __future__ import annotations

from tinamou.engine.cpu import Trap
from tinamou.native.types import i8, i16, i32, i64, u8, u16, u32, u64

from .operands import XLEN, Shamt, Simm, X, ix, rv, ux
from .state import Hart
from .traps import BREAKPOINT, ECALL_FROM_U

rv_i = rv.extension("i")
rv32_i = rv.extension("i", XLEN=32)
rv64_i = rv.extension("i", XLEN=64)


@rv_i("imm[31:12] rd 0110111", "lui {rd},{imm:upper}")
def lui(imm: Simm) -> X:
    return imm


@rv_i("imm[31:12] rd 0010111", "auipc {rd},{imm:upper}")
def auipc(h: Hart, imm: Simm) -> X:
    return ux(h.pc) + imm


@rv_i("imm[20|10:1|11|19:12] rd 1101111", "jal {rd},{imm:pc}")
def jal(h: Hart, imm: Simm) -> X:
    h.jump(ux(h.pc) + imm)
    return ux(h.pc) + 4


@rv_i("imm[11:0] rs1 000 rd 1100111", "jalr {rd},{imm}({rs1})")
def jalr(h: Hart, rs1: X, imm: Simm) -> X:
    h.jump((rs1 + imm) & ~1)
    return ux(h.pc) + 4


@rv_i("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", "beq {rs1},{rs2},{imm:pc}")
def beq(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    if rs1 == rs2:
        h.jump(ux(h.pc) + imm)


@rv_i("imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011", "bne {rs1},{rs2},{imm:pc}")
def bne(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    if rs1 != rs2:
        h.jump(ux(h.pc) + imm)


@rv_i("imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011", "blt {rs1},{rs2},{imm:pc}")
def blt(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    if ix(rs1) < ix(rs2):
        h.jump(ux(h.pc) + imm)


@rv_i("imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011", "bge {rs1},{rs2},{imm:pc}")
def bge(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    if ix(rs1) >= ix(rs2):
        h.jump(ux(h.pc) + imm)


@rv_i("imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011", "bltu {rs1},{rs2},{imm:pc}")
def bltu(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    if rs1 < rs2:
        h.jump(ux(h.pc) + imm)


@rv_i("imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011", "bgeu {rs1},{rs2},{imm:pc}")
def bgeu(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    if rs1 >= rs2:
        h.jump(ux(h.pc) + imm)


# Loads and stores of any alignment.


@rv_i("imm[11:0] rs1 000 rd 0000011", "lb {rd},{imm}({rs1})")
def lb(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(i8, rs1 + imm))


@rv_i("imm[11:0] rs1 001 rd 0000011", "lh {rd},{imm}({rs1})")
def lh(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(i16, rs1 + imm))


@rv_i("imm[11:0] rs1 010 rd 0000011", "lw {rd},{imm}({rs1})")
def lw(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(i32, rs1 + imm))


@rv64_i("imm[11:0] rs1 011 rd 0000011", "ld {rd},{imm}({rs1})")
def ld(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(i64, rs1 + imm))


@rv_i("imm[11:0] rs1 100 rd 0000011", "lbu {rd},{imm}({rs1})")
def lbu(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(u8, rs1 + imm))


@rv_i("imm[11:0] rs1 101 rd 0000011", "lhu {rd},{imm}({rs1})")
def lhu(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(u16, rs1 + imm))


@rv64_i("imm[11:0] rs1 110 rd 0000011", "lwu {rd},{imm}({rs1})")
def lwu(h: Hart, rs1: X, imm: Simm) -> X:
    return ux(h.load(u32, rs1 + imm))


@rv_i("imm[11:5] rs2 rs1 000 imm[4:0] 0100011", "sb {rs2},{imm}({rs1})")
def sb(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    h.store(u8, rs1 + imm, u8(rs2))


@rv_i("imm[11:5] rs2 rs1 001 imm[4:0] 0100011", "sh {rs2},{imm}({rs1})")
def sh(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    h.store(u16, rs1 + imm, u16(rs2))


@rv_i("imm[11:5] rs2 rs1 010 imm[4:0] 0100011", "sw {rs2},{imm}({rs1})")
def sw(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    h.store(u32, rs1 + imm, u32(rs2))


@rv64_i("imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "sd {rs2},{imm}({rs1})")
def sd(h: Hart, rs1: X, rs2: X, imm: Simm) -> None:
    h.store(u64, rs1 + imm, u64(rs2))


@rv_i("imm[11:0] rs1 000 rd 0010011", "addi {rd},{rs1},{imm}")
def addi(rs1: X, imm: Simm) -> X:
    return rs1 + imm


@rv_i("imm[11:0] rs1 010 rd 0010011", "slti {rd},{rs1},{imm}")
def slti(rs1: X, imm: Simm) -> X:
    return ux(ix(rs1) < ix(imm))


@rv_i("imm[11:0] rs1 011 rd 0010011", "sltiu {rd},{rs1},{imm}")
def sltiu(rs1: X, imm: Simm) -> X:
    return ux(rs1 < imm)


@rv_i("imm[11:0] rs1 100 rd 0010011", "xori {rd},{rs1},{imm}")
def xori(rs1: X, imm: Simm) -> X:
    return rs1 ^ imm


@rv_i("imm[11:0] rs1 110 rd 0010011", "ori {rd},{rs1},{imm}")
def ori(rs1: X, imm: Simm) -> X:
    return rs1 | imm


@rv_i("imm[11:0] rs1 111 rd 0010011", "andi {rd},{rs1},{imm}")
def andi(rs1: X, imm: Simm) -> X:
    return rs1 & imm


@rv32_i("0000000 shamt[4:0] rs1 001 rd 0010011", "slli {rd},{rs1},{shamt:#x}")
@rv64_i("000000 shamt[5:0] rs1 001 rd 0010011", "slli {rd},{rs1},{shamt:#x}")
def slli(rs1: X, shamt: Shamt) -> X:
    return rs1 << shamt


@rv32_i("0000000 shamt[4:0] rs1 101 rd 0010011", "srli {rd},{rs1},{shamt:#x}")
@rv64_i("000000 shamt[5:0] rs1 101 rd 0010011", "srli {rd},{rs1},{shamt:#x}")
def srli(rs1: X, shamt: Shamt) -> X:
    return rs1 >> shamt


@rv32_i("0100000 shamt[4:0] rs1 101 rd 0010011", "srai {rd},{rs1},{shamt:#x}")
@rv64_i("010000 shamt[5:0] rs1 101 rd 0010011", "srai {rd},{rs1},{shamt:#x}")
def srai(rs1: X, shamt: Shamt) -> X:
    return ux(ix(rs1) >> shamt)


@rv_i("0000000 rs2 rs1 000 rd 0110011", "add {rd},{rs1},{rs2}")
def add(rs1: X, rs2: X) -> X:
    return rs1 + rs2


@rv_i("0100000 rs2 rs1 000 rd 0110011", "sub {rd},{rs1},{rs2}")
def sub(rs1: X, rs2: X) -> X:
    return rs1 - rs2


@rv_i("0000000 rs2 rs1 001 rd 0110011", "sll {rd},{rs1},{rs2}")
def sll(rs1: X, rs2: X) -> X:
    return rs1 << (rs2 & (XLEN - 1))


@rv_i("0000000 rs2 rs1 010 rd 0110011", "slt {rd},{rs1},{rs2}")
def slt(rs1: X, rs2: X) -> X:
    return ux(ix(rs1) < ix(rs2))


@rv_i("0000000 rs2 rs1 011 rd 0110011", "sltu {rd},{rs1},{rs2}")
def sltu(rs1: X, rs2: X) -> X:
    return ux(rs1 < rs2)


@rv_i("0000000 rs2 rs1 100 rd 0110011", "xor {rd},{rs1},{rs2}")
def xor(rs1: X, rs2: X) -> X:
    return rs1 ^ rs2


@rv_i("0000000 rs2 rs1 101 rd 0110011", "srl {rd},{rs1},{rs2}")
def srl(rs1: X, rs2: X) -> X:
    return rs1 >> (rs2 & (XLEN - 1))


@rv_i("0100000 rs2 rs1 101 rd 0110011", "sra {rd},{rs1},{rs2}")
def sra(rs1: X, rs2: X) -> X:
    return ux(ix(rs1) >> (rs2 & (XLEN - 1)))


@rv_i("0000000 rs2 rs1 110 rd 0110011", "or {rd},{rs1},{rs2}")
def or_(rs1: X, rs2: X) -> X:
    return rs1 | rs2


@rv_i("0000000 rs2 rs1 111 rd 0110011", "and {rd},{rs1},{rs2}")
def and_(rs1: X, rs2: X) -> X:
    return rs1 & rs2


# The 32-bit operations of RV64 give sign-extended results.


@rv64_i("imm[11:0] rs1 000 rd 0011011", "addiw {rd},{rs1},{imm}")
def addiw(rs1: X, imm: Simm) -> X:
    return ux(i32(rs1 + imm))


@rv64_i("0000000 shamt[4:0] rs1 001 rd 0011011", "slliw {rd},{rs1},{shamt:#x}")
def slliw(rs1: X, shamt: Shamt) -> X:
    return ux(i32(rs1 << shamt))


@rv64_i("0000000 shamt[4:0] rs1 101 rd 0011011", "srliw {rd},{rs1},{shamt:#x}")
def srliw(rs1: X, shamt: Shamt) -> X:
    return ux(i32(u32(rs1) >> shamt))


@rv64_i("0100000 shamt[4:0] rs1 101 rd 0011011", "sraiw {rd},{rs1},{shamt:#x}")
def sraiw(rs1: X, shamt: Shamt) -> X:
    return ux(i32(rs1) >> shamt)


@rv64_i("0000000 rs2 rs1 000 rd 0111011", "addw {rd},{rs1},{rs2}")
def addw(rs1: X, rs2: X) -> X:
    return ux(i32(rs1 + rs2))


@rv64_i("0100000 rs2 rs1 000 rd 0111011", "subw {rd},{rs1},{rs2}")
def subw(rs1: X, rs2: X) -> X:
    return ux(i32(rs1 - rs2))


@rv64_i("0000000 rs2 rs1 001 rd 0111011", "sllw {rd},{rs1},{rs2}")
def sllw(rs1: X, rs2: X) -> X:
    return ux(i32(rs1 << (rs2 & 31)))


@rv64_i("0000000 rs2 rs1 101 rd 0111011", "srlw {rd},{rs1},{rs2}")
def srlw(rs1: X, rs2: X) -> X:
    return ux(i32(u32(rs1) >> (rs2 & 31)))


@rv64_i("0100000 rs2 rs1 101 rd 0111011", "sraw {rd},{rs1},{rs2}")
def sraw(rs1: X, rs2: X) -> X:
    return ux(i32(rs1) >> (rs2 & 31))


# 2.7: every fence orders everything; the fields fm, rs1 and rd are ignored, as reserved values of fm must be.


@rv_i("1000 0011 0011 00000 000 00000 0001111", "fence.tso", over="fence")
@rv_i("fm pred succ rs1 000 rd 0001111", "fence {pred},{succ}")
def fence(h: Hart) -> None:
    h.fence()


@rv_i("000000000000 00000 000 00000 1110011", "ecall")
def ecall(h: Hart) -> None:
    raise Trap(ECALL_FROM_U + h.privilege)


@rv_i("000000000001 00000 000 00000 1110011", "ebreak")
def ebreak(h: Hart) -> None:
    raise Trap(BREAKPOINT, h.pc)
