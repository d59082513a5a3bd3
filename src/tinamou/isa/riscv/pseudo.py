"""Pseudoinstructions of the assembler.  The RISC-V Instruction Set Manual, Volume I, 20240411, table "RISC-V pseudoinstructions"."""

from __future__ import annotations

from tinamou.engine.assemble import Assembler, Evaluate, Pseudo

from . import isa
from .operands import NAMES


def _li(rd: str, value: int, xlen: int) -> list[str]:
    """lui and addi for 32 bits; what is above them first, shifted up."""
    low = (value + 0x800 & 0xFFF) - 0x800
    if value == low:
        return [f"addi {rd}, zero, {value}"]
    if -(1 << 31) <= value < 1 << 31:
        out = [f"lui {rd}, {value - low >> 12 & 0xFFFFF}"]
        return out + ([f"addi{'w' if xlen == 64 else ''} {rd}, {rd}, {low}"] if low else [])
    high, shift = value - low >> 12, 12
    while not high & 1:
        high, shift = high >> 1, shift + 1
    return [*_li(rd, high, xlen), f"slli {rd}, {rd}, {shift}"] + ([f"addi {rd}, {rd}, {low}"] if low else [])


def _address(rd: str, symbol: str, last: str) -> list[str]:
    """auipc and an instruction that adds the low 12 bits of the distance; `last` ends with the name of that distance."""
    return [f"auipc {rd}, ({symbol}) - . + 0x800 >> 12 & 0xfffff", last.replace("LOW", f"(({symbol}) - . + 4 + 0x800 & 0xfff) - 0x800")]


def _table(xlen: int) -> dict[str, Pseudo]:
    def li(ops: list[str], evaluate: Evaluate) -> list[str]:
        rd, text = ops
        value, top = evaluate(text), 1 << xlen - 1
        if not -top <= value < 2 * top:
            raise ValueError(f"{text} has more than {xlen} bits")
        return _li(rd, ((value & 2 * top - 1) ^ top) - top, xlen)

    def plain(*templates: str) -> Pseudo:
        return lambda ops, evaluate: [t.format(*ops) for t in templates]

    table = {
        "li": li,
        "la": lambda ops, evaluate: _address(ops[0], ops[1], f"addi {ops[0]}, {ops[0]}, LOW"),
        "call": lambda ops, evaluate: _address("ra", ops[0], "jalr ra, LOW(ra)"),
        "tail": lambda ops, evaluate: _address("t1", ops[0], "jalr zero, LOW(t1)"),
        "nop": plain("addi zero, zero, 0"),
        "c.nop": plain("c.addi zero, 0"),
        "unimp": plain("csrrw zero, cycle, zero"),
        "mv": plain("addi {0}, {1}, 0"),
        "not": plain("xori {0}, {1}, -1"),
        "neg": plain("sub {0}, zero, {1}"),
        "negw": plain("subw {0}, zero, {1}"),
        "sext.w": plain("addiw {0}, {1}, 0"),
        "seqz": plain("sltiu {0}, {1}, 1"),
        "snez": plain("sltu {0}, zero, {1}"),
        "sltz": plain("slt {0}, {1}, zero"),
        "sgtz": plain("slt {0}, zero, {1}"),
        "beqz": plain("beq {0}, zero, {1}"),
        "bnez": plain("bne {0}, zero, {1}"),
        "blez": plain("bge zero, {0}, {1}"),
        "bgez": plain("bge {0}, zero, {1}"),
        "bltz": plain("blt {0}, zero, {1}"),
        "bgtz": plain("blt zero, {0}, {1}"),
        "bgt": plain("blt {1}, {0}, {2}"),
        "ble": plain("bge {1}, {0}, {2}"),
        "bgtu": plain("bltu {1}, {0}, {2}"),
        "bleu": plain("bgeu {1}, {0}, {2}"),
        "j": plain("jal zero, {0}"),
        "jr": plain("jalr zero, 0({0})"),
        "ret": plain("jalr zero, 0(ra)"),
        "csrr": plain("csrrs {0}, {1}, zero"),
        "csrw": plain("csrrw zero, {0}, {1}"),
        "csrwi": plain("csrrwi zero, {0}, {1}"),
        "csrsi": plain("csrrsi zero, {0}, {1}"),
        "csrci": plain("csrrci zero, {0}, {1}"),
        "csrs": plain("csrrs zero, {0}, {1}"),
        "csrc": plain("csrrc zero, {0}, {1}"),
        "fmv.s": plain("fsgnj.s {0}, {1}, {1}"),
        "fabs.s": plain("fsgnjx.s {0}, {1}, {1}"),
        "fneg.s": plain("fsgnjn.s {0}, {1}, {1}"),
        "fmv.d": plain("fsgnj.d {0}, {1}, {1}"),
        "fabs.d": plain("fsgnjx.d {0}, {1}, {1}"),
        "fneg.d": plain("fsgnjn.d {0}, {1}, {1}"),
        "frflags": plain("csrrs {0}, fflags, zero"),
        "fsflags": plain("csrrw zero, fflags, {0}"),
        "frrm": plain("csrrs {0}, frm, zero"),
        "fsrm": plain("csrrw zero, frm, {0}"),
    }
    # The one-operand forms of jal and jalr, and fence without sets.
    table["jal"] = plain("jal ra, {0}")
    table["jalr"] = plain("jalr ra, 0({0})")
    table["fence"] = plain("fence iorw, iorw")
    return table


def _upper(shown: int, pc: int) -> int:
    """lui and auipc are written with bits 31:12 of their operand."""
    return ((shown << 12) ^ 1 << 31) - (1 << 31)


def assembler(xlen: int) -> Assembler:
    """An assembler of RV32 or RV64."""
    return Assembler(isa(xlen), names=NAMES, registers={"fp": "s0"}, pseudo=_table(xlen), unshow={"upper": _upper})
