"""Zicsr, Zicntr, Zihpm and the floating-point CSRs.  The RISC-V Instruction Set Manual, Volume I, 20240411, chapters 7, 8 and 20.2.

Privileged CSRs are the Hart's `read_privileged` and `write_privileged`.
"""

from __future__ import annotations

from tinamou.engine.cpu import Trap
from tinamou.native.types import u32, u64

from .operands import NAMES, XLEN, Csr, Uimm, X, rv, ux
from .state import MISA_F, Hart
from .traps import ILLEGAL_INSTRUCTION

rv_zicsr = rv.extension("zicsr")


class Number:
    """Addresses of the user-level CSRs."""

    FFLAGS = 0x001
    FRM = 0x002
    FCSR = 0x003
    CYCLE = 0xC00
    TIME = 0xC01
    INSTRET = 0xC02
    HPMCOUNTER3 = 0xC03
    HPMCOUNTER31 = 0xC1F
    CYCLEH = 0xC80
    TIMEH = 0xC81
    INSTRETH = 0xC82
    HPMCOUNTER3H = 0xC83
    HPMCOUNTER31H = 0xC9F


NAMES["csr"] = (
    {value: name.lower() for name, value in vars(Number).items() if name.isupper()}
    | {0xC00 + n: f"hpmcounter{n}" for n in range(3, 32)}
    | {0xC80 + n: f"hpmcounter{n}h" for n in range(3, 32)}
)


def check_float(h: Hart) -> None:
    """Harts without F have none of its CSRs."""
    if not h.misa & MISA_F:
        raise Trap(ILLEGAL_INSTRUCTION)
    h.use_float_unit()
    h.settle_float()  # restarts: once settled, it does nothing


def check_writable(csr: u32) -> None:
    """Bits 11:10 of a read-only CSR's address are ones."""
    if csr >> 10 == 3:
        raise Trap(ILLEGAL_INSTRUCTION)


def read(h: Hart, csr: u32, xlen: int) -> u64:
    match csr:
        case Number.FFLAGS:
            check_float(h)
            return u64(h.fflags)
        case Number.FRM:
            check_float(h)
            return u64(h.frm)
        case Number.FCSR:
            check_float(h)
            return u64(h.frm << 5 | h.fflags)
    if csr >= Number.CYCLE and csr <= Number.HPMCOUNTER31:
        h.check_counter(csr)
        return h.counter(csr) if csr <= Number.INSTRET else u64(0)
    if xlen == 32:
        if csr >= Number.CYCLEH and csr <= Number.HPMCOUNTER31H:
            h.check_counter(csr)
            return h.counter(csr) if csr <= Number.INSTRETH else u64(0)
    return h.read_privileged(csr)


def write(h: Hart, csr: u32, value: u64) -> bool:
    """True: the next instruction may be seen differently."""
    match csr:
        case Number.FFLAGS:
            check_float(h)
            h.fflags = u32(value) & 31
        case Number.FRM:
            check_float(h)
            h.frm = u32(value) & 7
        case Number.FCSR:
            check_float(h)
            h.fflags = u32(value) & 31
            h.frm = u32(value) >> 5 & 7
        case _:
            return h.write_privileged(csr, value)
    return False


@rv_zicsr("csr rs1 001 rd 1110011", "csrrw {rd},{csr},{rs1}")
def csrrw(h: Hart, csr: Csr, rs1: X) -> X:
    check_writable(csr)
    old = read(h, csr, XLEN)
    if write(h, csr, u64(rs1)):
        h.switch(h.pc + 4)
    return ux(old)


@rv_zicsr("csr rs1 010 rd 1110011", "csrrs {rd},{csr},{rs1}")
def csrrs(h: Hart, csr: Csr, rs1: X) -> X:
    check_writable(csr)
    old = read(h, csr, XLEN)
    if write(h, csr, h.written_back(csr, old) | u64(rs1)):
        h.switch(h.pc + 4)
    return ux(old)


@rv_zicsr("csr rs1 011 rd 1110011", "csrrc {rd},{csr},{rs1}")
def csrrc(h: Hart, csr: Csr, rs1: X) -> X:
    check_writable(csr)
    old = read(h, csr, XLEN)
    if write(h, csr, h.written_back(csr, old) & ~u64(rs1)):
        h.switch(h.pc + 4)
    return ux(old)


@rv_zicsr("csr uimm 101 rd 1110011", "csrrwi {rd},{csr},{uimm}")
def csrrwi(h: Hart, csr: Csr, uimm: Uimm) -> X:
    check_writable(csr)
    old = read(h, csr, XLEN)
    if write(h, csr, u64(uimm)):
        h.switch(h.pc + 4)
    return ux(old)


@rv_zicsr("csr uimm 110 rd 1110011", "csrrsi {rd},{csr},{uimm}")
def csrrsi(h: Hart, csr: Csr, uimm: Uimm) -> X:
    check_writable(csr)
    old = read(h, csr, XLEN)
    if write(h, csr, h.written_back(csr, old) | u64(uimm)):
        h.switch(h.pc + 4)
    return ux(old)


@rv_zicsr("csr uimm 111 rd 1110011", "csrrci {rd},{csr},{uimm}")
def csrrci(h: Hart, csr: Csr, uimm: Uimm) -> X:
    check_writable(csr)
    old = read(h, csr, XLEN)
    if write(h, csr, h.written_back(csr, old) & ~u64(uimm)):
        h.switch(h.pc + 4)
    return ux(old)


# Setting or clearing with x0 or 0 writes nothing at all, so read-only CSRs may be named.


@rv_zicsr("csr 00000 010 rd 1110011", "csrrs {rd},{csr},zero", name="csrrs.zero", over="csrrs")
@rv_zicsr("csr 00000 011 rd 1110011", "csrrc {rd},{csr},zero", name="csrrc.zero", over="csrrc")
@rv_zicsr("csr 00000 110 rd 1110011", "csrrsi {rd},{csr},0", name="csrrsi.zero", over="csrrsi")
@rv_zicsr("csr 00000 111 rd 1110011", "csrrci {rd},{csr},0", name="csrrci.zero", over="csrrci")
def csrr(h: Hart, csr: Csr) -> X:
    return ux(read(h, csr, XLEN))
