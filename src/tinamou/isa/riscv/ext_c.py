"""C: compressed instructions.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapter 26; rows of table "RVC quadrants".

What the table marks RES is no row.  HINTs are the same rows with x0 as destination or a shift of 0, and do nothing.
"""

from __future__ import annotations

from tinamou.engine.cpu import Trap
from tinamou.native.types import i32, i64, u32, u64

from .operands import Fp, Ra, Shamt, Simm, Sp, Uimm, X, ix, rv, ux
from .state import Hart
from .traps import BREAKPOINT

rv_c = rv.extension("c")
rv32_c = rv.extension("c", XLEN=32)
rv64_c = rv.extension("c", XLEN=64)
rv_zcd = rv.extension("zcd")  # C and D
rv32_zcf = rv.extension("zcf", XLEN=32)  # C and F

BOX = 0xFFFF_FFFF_0000_0000  # upper half of a NaN-boxed single

# Quadrant 0.


@rv_c("000 uimm[5:4|9:6|2|3] rd' 00; uimm!=0", "c.addi4spn {rd},sp,{uimm}")
def c_addi4spn(sp: Sp, uimm: Uimm) -> X:
    return sp + uimm


@rv_zcd("001 uimm[5:3] rs1' uimm[7:6] rd' 00", "c.fld {rd},{uimm}({rs1})")
def c_fld(h: Hart, rs1: X, uimm: Uimm) -> Fp:
    return h.load(u64, rs1 + uimm)


@rv_c("010 uimm[5:3] rs1' uimm[2|6] rd' 00", "c.lw {rd},{uimm}({rs1})")
def c_lw(h: Hart, rs1: X, uimm: Uimm) -> X:
    return ux(h.load(i32, rs1 + uimm))


@rv32_zcf("011 uimm[5:3] rs1' uimm[2|6] rd' 00", "c.flw {rd},{uimm}({rs1})")
def c_flw(h: Hart, rs1: X, uimm: Uimm) -> Fp:
    return u64(h.load(u32, rs1 + uimm)) | BOX


@rv64_c("011 uimm[5:3] rs1' uimm[7:6] rd' 00", "c.ld {rd},{uimm}({rs1})")
def c_ld(h: Hart, rs1: X, uimm: Uimm) -> X:
    return ux(h.load(i64, rs1 + uimm))


@rv_zcd("101 uimm[5:3] rs1' uimm[7:6] rs2' 00", "c.fsd {rs2},{uimm}({rs1})")
def c_fsd(h: Hart, rs1: X, rs2: Fp, uimm: Uimm) -> None:
    h.store(u64, rs1 + uimm, rs2)


@rv_c("110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "c.sw {rs2},{uimm}({rs1})")
def c_sw(h: Hart, rs1: X, rs2: X, uimm: Uimm) -> None:
    h.store(u32, rs1 + uimm, u32(rs2))


@rv32_zcf("111 uimm[5:3] rs1' uimm[2|6] rs2' 00", "c.fsw {rs2},{uimm}({rs1})")
def c_fsw(h: Hart, rs1: X, rs2: Fp, uimm: Uimm) -> None:
    h.store(u32, rs1 + uimm, u32(rs2))


@rv64_c("111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "c.sd {rs2},{uimm}({rs1})")
def c_sd(h: Hart, rs1: X, rs2: X, uimm: Uimm) -> None:
    h.store(u64, rs1 + uimm, u64(rs2))


# Quadrant 1.


@rv_c("000 imm[5] rd imm[4:0] 01", "c.addi {rd},{imm}")
def c_addi(rd: X, imm: Simm) -> X:
    """With rd = x0 this is C.NOP."""
    return rd + imm


@rv32_c("001 imm[11|4|9:8|10|6|7|3:1|5] 01", "c.jal {imm:pc}")
def c_jal(h: Hart, imm: Simm) -> Ra:
    h.jump(ux(h.pc) + imm)
    return ux(h.pc) + 2


@rv64_c("001 imm[5] rd imm[4:0] 01; rd!=0", "c.addiw {rd},{imm}")
def c_addiw(rd: X, imm: Simm) -> X:
    return ux(i32(rd + imm))


@rv_c("010 imm[5] rd imm[4:0] 01", "c.li {rd},{imm}")
def c_li(imm: Simm) -> X:
    return imm


@rv_c("011 imm[9] 00010 imm[4|6|8:7|5] 01; imm!=0", "c.addi16sp sp,{imm}")
def c_addi16sp(sp: Sp, imm: Simm) -> Sp:
    return sp + imm


@rv_c("011 imm[17] rd imm[16:12] 01; rd!=2 imm!=0", "c.lui {rd},{imm:upper}")
def c_lui(imm: Simm) -> X:
    return imm


@rv32_c("100 0 00 rd' shamt[4:0] 01", "c.srli {rd},{shamt:#x}")
@rv64_c("100 shamt[5] 00 rd' shamt[4:0] 01", "c.srli {rd},{shamt:#x}")
def c_srli(rd: X, shamt: Shamt) -> X:
    return rd >> shamt


@rv32_c("100 0 01 rd' shamt[4:0] 01", "c.srai {rd},{shamt:#x}")
@rv64_c("100 shamt[5] 01 rd' shamt[4:0] 01", "c.srai {rd},{shamt:#x}")
def c_srai(rd: X, shamt: Shamt) -> X:
    return ux(ix(rd) >> shamt)


@rv_c("100 imm[5] 10 rd' imm[4:0] 01", "c.andi {rd},{imm}")
def c_andi(rd: X, imm: Simm) -> X:
    return rd & imm


@rv_c("100 0 11 rd' 00 rs2' 01", "c.sub {rd},{rs2}")
def c_sub(rd: X, rs2: X) -> X:
    return rd - rs2


@rv_c("100 0 11 rd' 01 rs2' 01", "c.xor {rd},{rs2}")
def c_xor(rd: X, rs2: X) -> X:
    return rd ^ rs2


@rv_c("100 0 11 rd' 10 rs2' 01", "c.or {rd},{rs2}")
def c_or(rd: X, rs2: X) -> X:
    return rd | rs2


@rv_c("100 0 11 rd' 11 rs2' 01", "c.and {rd},{rs2}")
def c_and(rd: X, rs2: X) -> X:
    return rd & rs2


@rv64_c("100 1 11 rd' 00 rs2' 01", "c.subw {rd},{rs2}")
def c_subw(rd: X, rs2: X) -> X:
    return ux(i32(rd - rs2))


@rv64_c("100 1 11 rd' 01 rs2' 01", "c.addw {rd},{rs2}")
def c_addw(rd: X, rs2: X) -> X:
    return ux(i32(rd + rs2))


@rv_c("101 imm[11|4|9:8|10|6|7|3:1|5] 01", "c.j {imm:pc}")
def c_j(h: Hart, imm: Simm) -> None:
    h.jump(ux(h.pc) + imm)


@rv_c("110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "c.beqz {rs1},{imm:pc}")
def c_beqz(h: Hart, rs1: X, imm: Simm) -> None:
    if rs1 == 0:
        h.jump(ux(h.pc) + imm)


@rv_c("111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "c.bnez {rs1},{imm:pc}")
def c_bnez(h: Hart, rs1: X, imm: Simm) -> None:
    if rs1 != 0:
        h.jump(ux(h.pc) + imm)


# Quadrant 2.


@rv32_c("000 0 rd shamt[4:0] 10", "c.slli {rd},{shamt:#x}")
@rv64_c("000 shamt[5] rd shamt[4:0] 10", "c.slli {rd},{shamt:#x}")
def c_slli(rd: X, shamt: Shamt) -> X:
    return rd << shamt


@rv_zcd("001 uimm[5] rd uimm[4:3|8:6] 10", "c.fldsp {rd},{uimm}(sp)")
def c_fldsp(h: Hart, sp: Sp, uimm: Uimm) -> Fp:
    return h.load(u64, sp + uimm)


@rv_c("010 uimm[5] rd uimm[4:2|7:6] 10; rd!=0", "c.lwsp {rd},{uimm}(sp)")
def c_lwsp(h: Hart, sp: Sp, uimm: Uimm) -> X:
    return ux(h.load(i32, sp + uimm))


@rv32_zcf("011 uimm[5] rd uimm[4:2|7:6] 10", "c.flwsp {rd},{uimm}(sp)")
def c_flwsp(h: Hart, sp: Sp, uimm: Uimm) -> Fp:
    return u64(h.load(u32, sp + uimm)) | BOX


@rv64_c("011 uimm[5] rd uimm[4:3|8:6] 10; rd!=0", "c.ldsp {rd},{uimm}(sp)")
def c_ldsp(h: Hart, sp: Sp, uimm: Uimm) -> X:
    return ux(h.load(i64, sp + uimm))


@rv_c("100 0 rs1 00000 10; rs1!=0", "c.jr {rs1}")
def c_jr(h: Hart, rs1: X) -> None:
    h.jump(rs1 & ~1)


@rv_c("100 0 rd rs2 10; rs2!=0", "c.mv {rd},{rs2}")
def c_mv(rs2: X) -> X:
    return rs2


@rv_c("100 1 00000 00000 10", "c.ebreak")
def c_ebreak(h: Hart) -> None:
    raise Trap(BREAKPOINT, h.pc)


@rv_c("100 1 rs1 00000 10; rs1!=0", "c.jalr {rs1}")
def c_jalr(h: Hart, rs1: X) -> Ra:
    h.jump(rs1 & ~1)
    return ux(h.pc) + 2


@rv_c("100 1 rd rs2 10; rs2!=0", "c.add {rd},{rs2}")
def c_add(rd: X, rs2: X) -> X:
    return rd + rs2


@rv_zcd("101 uimm[5:3|8:6] rs2 10", "c.fsdsp {rs2},{uimm}(sp)")
def c_fsdsp(h: Hart, sp: Sp, rs2: Fp, uimm: Uimm) -> None:
    h.store(u64, sp + uimm, rs2)


@rv_c("110 uimm[5:2|7:6] rs2 10", "c.swsp {rs2},{uimm}(sp)")
def c_swsp(h: Hart, sp: Sp, rs2: X, uimm: Uimm) -> None:
    h.store(u32, sp + uimm, u32(rs2))


@rv32_zcf("111 uimm[5:2|7:6] rs2 10", "c.fswsp {rs2},{uimm}(sp)")
def c_fswsp(h: Hart, sp: Sp, rs2: Fp, uimm: Uimm) -> None:
    h.store(u32, sp + uimm, u32(rs2))


@rv64_c("111 uimm[5:3|8:6] rs2 10", "c.sdsp {rs2},{uimm}(sp)")
def c_sdsp(h: Hart, sp: Sp, rs2: X, uimm: Uimm) -> None:
    h.store(u64, sp + uimm, u64(rs2))
