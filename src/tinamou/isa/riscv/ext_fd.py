"""F and D: single and double precision.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapters 20 and 21.

Encodings with the reserved rounding modes 5 and 6 are no instructions.
"""

from __future__ import annotations

from tinamou.engine.softmmu import float_unit
from tinamou.native.types import i32, i64, u32, u64
from tinamou.softfloat.format import F32, F64

from .fpu import (
    NEGATE_ADDEND,
    NEGATE_PRODUCT,
    PLAIN,
    add,
    box,
    classify,
    converted,
    div,
    eq,
    from_int,
    le,
    lt,
    minmax,
    mul,
    muladd,
    sign_injected,
    sqrt,
    sub,
    to_int,
    unbox,
)
from .operands import Fp, Rm, Simm, X, rv, ux
from .state import Hart

rv_f = rv.extension("f")
rv64_f = rv.extension("f", XLEN=64)
rv_d = rv.extension("d")
rv64_d = rv.extension("d", XLEN=64)


rv.guards |= dict.fromkeys(("f", "d", "zcf", "zcd"), float_unit)


# F.


@rv_f("imm[11:0] rs1 010 rd 0000111", "flw {rd},{imm}({rs1})")
def flw(h: Hart, rs1: X, imm: Simm) -> Fp:
    return box(h.load(u32, rs1 + imm))


@rv_f("imm[11:5] rs2 rs1 010 imm[4:0] 0100111", "fsw {rs2},{imm}({rs1})")
def fsw(h: Hart, rs1: X, rs2: Fp, imm: Simm) -> None:
    h.store(u32, rs1 + imm, u32(rs2))


@rv_f("rs3 00 rs2 rs1 rm rd 1000011; rm!=5,6", "fmadd.s {rd},{rs1},{rs2},{rs3}{rm}")
def fmadd_s(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return box(muladd(h, F32, unbox(rs1), unbox(rs2), unbox(rs3), PLAIN, rm))


@rv_f("rs3 00 rs2 rs1 rm rd 1000111; rm!=5,6", "fmsub.s {rd},{rs1},{rs2},{rs3}{rm}")
def fmsub_s(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return box(muladd(h, F32, unbox(rs1), unbox(rs2), unbox(rs3), NEGATE_ADDEND, rm))


@rv_f("rs3 00 rs2 rs1 rm rd 1001011; rm!=5,6", "fnmsub.s {rd},{rs1},{rs2},{rs3}{rm}")
def fnmsub_s(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return box(muladd(h, F32, unbox(rs1), unbox(rs2), unbox(rs3), NEGATE_PRODUCT, rm))


@rv_f("rs3 00 rs2 rs1 rm rd 1001111; rm!=5,6", "fnmadd.s {rd},{rs1},{rs2},{rs3}{rm}")
def fnmadd_s(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return box(muladd(h, F32, unbox(rs1), unbox(rs2), unbox(rs3), NEGATE_PRODUCT | NEGATE_ADDEND, rm))


@rv_f("0000000 rs2 rs1 rm rd 1010011; rm!=5,6", "fadd.s {rd},{rs1},{rs2}{rm}")
def fadd_s(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return box(add(h, F32, unbox(rs1), unbox(rs2), rm))


@rv_f("0000100 rs2 rs1 rm rd 1010011; rm!=5,6", "fsub.s {rd},{rs1},{rs2}{rm}")
def fsub_s(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return box(sub(h, F32, unbox(rs1), unbox(rs2), rm))


@rv_f("0001000 rs2 rs1 rm rd 1010011; rm!=5,6", "fmul.s {rd},{rs1},{rs2}{rm}")
def fmul_s(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return box(mul(h, F32, unbox(rs1), unbox(rs2), rm))


@rv_f("0001100 rs2 rs1 rm rd 1010011; rm!=5,6", "fdiv.s {rd},{rs1},{rs2}{rm}")
def fdiv_s(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return box(div(h, F32, unbox(rs1), unbox(rs2), rm))


@rv_f("0101100 00000 rs1 rm rd 1010011; rm!=5,6", "fsqrt.s {rd},{rs1}{rm}")
def fsqrt_s(h: Hart, rs1: Fp, rm: Rm) -> Fp:
    return box(sqrt(h, F32, unbox(rs1), rm))


@rv_f("0010000 rs2 rs1 000 rd 1010011", "fsgnj.s {rd},{rs1},{rs2}")
def fsgnj_s(rs1: Fp, rs2: Fp) -> Fp:
    return box(sign_injected(F32, unbox(rs1), unbox(rs2)))


@rv_f("0010000 rs2 rs1 001 rd 1010011", "fsgnjn.s {rd},{rs1},{rs2}")
def fsgnjn_s(rs1: Fp, rs2: Fp) -> Fp:
    return box(sign_injected(F32, unbox(rs1), ~unbox(rs2)))


@rv_f("0010000 rs2 rs1 010 rd 1010011", "fsgnjx.s {rd},{rs1},{rs2}")
def fsgnjx_s(rs1: Fp, rs2: Fp) -> Fp:
    return box(sign_injected(F32, unbox(rs1), unbox(rs1) ^ unbox(rs2)))


@rv_f("0010100 rs2 rs1 000 rd 1010011", "fmin.s {rd},{rs1},{rs2}")
def fmin_s(h: Hart, rs1: Fp, rs2: Fp) -> Fp:
    return box(minmax(h, F32, unbox(rs1), unbox(rs2), False))


@rv_f("0010100 rs2 rs1 001 rd 1010011", "fmax.s {rd},{rs1},{rs2}")
def fmax_s(h: Hart, rs1: Fp, rs2: Fp) -> Fp:
    return box(minmax(h, F32, unbox(rs1), unbox(rs2), True))


@rv_f("1010000 rs2 rs1 010 rd 1010011", "feq.s {rd},{rs1},{rs2}")
def feq_s(h: Hart, rs1: Fp, rs2: Fp) -> X:
    return ux(eq(h, F32, unbox(rs1), unbox(rs2)))


@rv_f("1010000 rs2 rs1 001 rd 1010011", "flt.s {rd},{rs1},{rs2}")
def flt_s(h: Hart, rs1: Fp, rs2: Fp) -> X:
    return ux(lt(h, F32, unbox(rs1), unbox(rs2)))


@rv_f("1010000 rs2 rs1 000 rd 1010011", "fle.s {rd},{rs1},{rs2}")
def fle_s(h: Hart, rs1: Fp, rs2: Fp) -> X:
    return ux(le(h, F32, unbox(rs1), unbox(rs2)))


@rv_f("1110000 00000 rs1 001 rd 1010011", "fclass.s {rd},{rs1}")
def fclass_s(rs1: Fp) -> X:
    return ux(classify(F32, unbox(rs1)))


@rv_f("1100000 00000 rs1 rm rd 1010011; rm!=5,6", "fcvt.w.s {rd},{rs1}{rm}")
def fcvt_w_s(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(to_int(h, F32, i32, unbox(rs1), rm))


@rv_f("1100000 00001 rs1 rm rd 1010011; rm!=5,6", "fcvt.wu.s {rd},{rs1}{rm}")
def fcvt_wu_s(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(i32(to_int(h, F32, u32, unbox(rs1), rm)))


@rv64_f("1100000 00010 rs1 rm rd 1010011; rm!=5,6", "fcvt.l.s {rd},{rs1}{rm}")
def fcvt_l_s(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(to_int(h, F32, i64, unbox(rs1), rm))


@rv64_f("1100000 00011 rs1 rm rd 1010011; rm!=5,6", "fcvt.lu.s {rd},{rs1}{rm}")
def fcvt_lu_s(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(to_int(h, F32, u64, unbox(rs1), rm))


@rv_f("1101000 00000 rs1 rm rd 1010011; rm!=5,6", "fcvt.s.w {rd},{rs1}{rm}")
def fcvt_s_w(h: Hart, rs1: X, rm: Rm) -> Fp:
    return box(from_int(h, F32, i32, i32(rs1), rm))


@rv_f("1101000 00001 rs1 rm rd 1010011; rm!=5,6", "fcvt.s.wu {rd},{rs1}{rm}")
def fcvt_s_wu(h: Hart, rs1: X, rm: Rm) -> Fp:
    return box(from_int(h, F32, u32, u32(rs1), rm))


@rv64_f("1101000 00010 rs1 rm rd 1010011; rm!=5,6", "fcvt.s.l {rd},{rs1}{rm}")
def fcvt_s_l(h: Hart, rs1: X, rm: Rm) -> Fp:
    return box(from_int(h, F32, i64, i64(rs1), rm))


@rv64_f("1101000 00011 rs1 rm rd 1010011; rm!=5,6", "fcvt.s.lu {rd},{rs1}{rm}")
def fcvt_s_lu(h: Hart, rs1: X, rm: Rm) -> Fp:
    return box(from_int(h, F32, u64, u64(rs1), rm))


@rv_f("1110000 00000 rs1 000 rd 1010011", "fmv.x.w {rd},{rs1}")
def fmv_x_w(rs1: Fp) -> X:
    return ux(i32(rs1))


@rv_f("1111000 00000 rs1 000 rd 1010011", "fmv.w.x {rd},{rs1}")
def fmv_w_x(rs1: X) -> Fp:
    return box(u32(rs1))


# D.


@rv_d("imm[11:0] rs1 011 rd 0000111", "fld {rd},{imm}({rs1})")
def fld(h: Hart, rs1: X, imm: Simm) -> Fp:
    return h.load(u64, rs1 + imm)


@rv_d("imm[11:5] rs2 rs1 011 imm[4:0] 0100111", "fsd {rs2},{imm}({rs1})")
def fsd(h: Hart, rs1: X, rs2: Fp, imm: Simm) -> None:
    h.store(u64, rs1 + imm, rs2)


@rv_d("rs3 01 rs2 rs1 rm rd 1000011; rm!=5,6", "fmadd.d {rd},{rs1},{rs2},{rs3}{rm}")
def fmadd_d(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return muladd(h, F64, rs1, rs2, rs3, PLAIN, rm)


@rv_d("rs3 01 rs2 rs1 rm rd 1000111; rm!=5,6", "fmsub.d {rd},{rs1},{rs2},{rs3}{rm}")
def fmsub_d(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return muladd(h, F64, rs1, rs2, rs3, NEGATE_ADDEND, rm)


@rv_d("rs3 01 rs2 rs1 rm rd 1001011; rm!=5,6", "fnmsub.d {rd},{rs1},{rs2},{rs3}{rm}")
def fnmsub_d(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return muladd(h, F64, rs1, rs2, rs3, NEGATE_PRODUCT, rm)


@rv_d("rs3 01 rs2 rs1 rm rd 1001111; rm!=5,6", "fnmadd.d {rd},{rs1},{rs2},{rs3}{rm}")
def fnmadd_d(h: Hart, rs1: Fp, rs2: Fp, rs3: Fp, rm: Rm) -> Fp:
    return muladd(h, F64, rs1, rs2, rs3, NEGATE_PRODUCT | NEGATE_ADDEND, rm)


@rv_d("0000001 rs2 rs1 rm rd 1010011; rm!=5,6", "fadd.d {rd},{rs1},{rs2}{rm}")
def fadd_d(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return add(h, F64, rs1, rs2, rm)


@rv_d("0000101 rs2 rs1 rm rd 1010011; rm!=5,6", "fsub.d {rd},{rs1},{rs2}{rm}")
def fsub_d(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return sub(h, F64, rs1, rs2, rm)


@rv_d("0001001 rs2 rs1 rm rd 1010011; rm!=5,6", "fmul.d {rd},{rs1},{rs2}{rm}")
def fmul_d(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return mul(h, F64, rs1, rs2, rm)


@rv_d("0001101 rs2 rs1 rm rd 1010011; rm!=5,6", "fdiv.d {rd},{rs1},{rs2}{rm}")
def fdiv_d(h: Hart, rs1: Fp, rs2: Fp, rm: Rm) -> Fp:
    return div(h, F64, rs1, rs2, rm)


@rv_d("0101101 00000 rs1 rm rd 1010011; rm!=5,6", "fsqrt.d {rd},{rs1}{rm}")
def fsqrt_d(h: Hart, rs1: Fp, rm: Rm) -> Fp:
    return sqrt(h, F64, rs1, rm)


@rv_d("0010001 rs2 rs1 000 rd 1010011", "fsgnj.d {rd},{rs1},{rs2}")
def fsgnj_d(rs1: Fp, rs2: Fp) -> Fp:
    return sign_injected(F64, rs1, rs2)


@rv_d("0010001 rs2 rs1 001 rd 1010011", "fsgnjn.d {rd},{rs1},{rs2}")
def fsgnjn_d(rs1: Fp, rs2: Fp) -> Fp:
    return sign_injected(F64, rs1, ~rs2)


@rv_d("0010001 rs2 rs1 010 rd 1010011", "fsgnjx.d {rd},{rs1},{rs2}")
def fsgnjx_d(rs1: Fp, rs2: Fp) -> Fp:
    return sign_injected(F64, rs1, rs1 ^ rs2)


@rv_d("0010101 rs2 rs1 000 rd 1010011", "fmin.d {rd},{rs1},{rs2}")
def fmin_d(h: Hart, rs1: Fp, rs2: Fp) -> Fp:
    return minmax(h, F64, rs1, rs2, False)


@rv_d("0010101 rs2 rs1 001 rd 1010011", "fmax.d {rd},{rs1},{rs2}")
def fmax_d(h: Hart, rs1: Fp, rs2: Fp) -> Fp:
    return minmax(h, F64, rs1, rs2, True)


@rv_d("0100000 00001 rs1 rm rd 1010011; rm!=5,6", "fcvt.s.d {rd},{rs1}{rm}")
def fcvt_s_d(h: Hart, rs1: Fp, rm: Rm) -> Fp:
    return box(converted(h, F64, F32, rs1, rm))


@rv_d("0100001 00000 rs1 rm rd 1010011; rm!=5,6", "fcvt.d.s {rd},{rs1}")
def fcvt_d_s(h: Hart, rs1: Fp, rm: Rm) -> Fp:
    return converted(h, F32, F64, unbox(rs1), rm)


@rv_d("1010001 rs2 rs1 010 rd 1010011", "feq.d {rd},{rs1},{rs2}")
def feq_d(h: Hart, rs1: Fp, rs2: Fp) -> X:
    return ux(eq(h, F64, rs1, rs2))


@rv_d("1010001 rs2 rs1 001 rd 1010011", "flt.d {rd},{rs1},{rs2}")
def flt_d(h: Hart, rs1: Fp, rs2: Fp) -> X:
    return ux(lt(h, F64, rs1, rs2))


@rv_d("1010001 rs2 rs1 000 rd 1010011", "fle.d {rd},{rs1},{rs2}")
def fle_d(h: Hart, rs1: Fp, rs2: Fp) -> X:
    return ux(le(h, F64, rs1, rs2))


@rv_d("1110001 00000 rs1 001 rd 1010011", "fclass.d {rd},{rs1}")
def fclass_d(rs1: Fp) -> X:
    return ux(classify(F64, rs1))


@rv_d("1100001 00000 rs1 rm rd 1010011; rm!=5,6", "fcvt.w.d {rd},{rs1}{rm}")
def fcvt_w_d(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(to_int(h, F64, i32, rs1, rm))


@rv_d("1100001 00001 rs1 rm rd 1010011; rm!=5,6", "fcvt.wu.d {rd},{rs1}{rm}")
def fcvt_wu_d(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(i32(to_int(h, F64, u32, rs1, rm)))


@rv64_d("1100001 00010 rs1 rm rd 1010011; rm!=5,6", "fcvt.l.d {rd},{rs1}{rm}")
def fcvt_l_d(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(to_int(h, F64, i64, rs1, rm))


@rv64_d("1100001 00011 rs1 rm rd 1010011; rm!=5,6", "fcvt.lu.d {rd},{rs1}{rm}")
def fcvt_lu_d(h: Hart, rs1: Fp, rm: Rm) -> X:
    return ux(to_int(h, F64, u64, rs1, rm))


@rv_d("1101001 00000 rs1 rm rd 1010011; rm!=5,6", "fcvt.d.w {rd},{rs1}")
def fcvt_d_w(h: Hart, rs1: X, rm: Rm) -> Fp:
    return from_int(h, F64, i32, i32(rs1), rm)


@rv_d("1101001 00001 rs1 rm rd 1010011; rm!=5,6", "fcvt.d.wu {rd},{rs1}")
def fcvt_d_wu(h: Hart, rs1: X, rm: Rm) -> Fp:
    return from_int(h, F64, u32, u32(rs1), rm)


@rv64_d("1101001 00010 rs1 rm rd 1010011; rm!=5,6", "fcvt.d.l {rd},{rs1}{rm}")
def fcvt_d_l(h: Hart, rs1: X, rm: Rm) -> Fp:
    return from_int(h, F64, i64, i64(rs1), rm)


@rv64_d("1101001 00011 rs1 rm rd 1010011; rm!=5,6", "fcvt.d.lu {rd},{rs1}{rm}")
def fcvt_d_lu(h: Hart, rs1: X, rm: Rm) -> Fp:
    return from_int(h, F64, u64, u64(rs1), rm)


@rv64_d("1110001 00000 rs1 000 rd 1010011", "fmv.x.d {rd},{rs1}")
def fmv_x_d(rs1: Fp) -> X:
    return ux(rs1)


@rv64_d("1111001 00000 rs1 000 rd 1010011", "fmv.d.x {rd},{rs1}")
def fmv_d_x(rs1: X) -> Fp:
    return u64(rs1)
