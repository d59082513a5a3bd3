"""Shorter stencils: what the rules rewrite, and what they leave alone."""

import pytest
from engine_harness import InterpreterGuest

from tinamou.engine import compact, decoder
from tinamou.engine.traces import GLUE, Stencil
from tinamou.isa.riscv.architecture import RV64

REG, OTHER, IMM = "hole.reg.13.3.2704(%r13)", "hole.reg.12.3.2704(%r13)", "$hole.imm.14.i16"

SUM = [f"movq {REG}, %rax", f"addq {IMM}, %rax", "cmpq %rdi, %rax", "jae hole.cold@PLT"]  # write-back needs it
PLACES = ["movabsq $hole.reg.15.3.80, %rax", "movabsq $hole.reg.14.3.80, %rcx", "cmoveq %rax, %rcx"]


def folded(*lines: str) -> list[str]:
    return compact.folded("\n".join(["stencil.7:", *lines])).splitlines()[1:]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([f"\tmovabsq\t{IMM}, %rax", f"\taddq\t{REG}, %rax"], [f"movq {REG}, %rax", f"addq {IMM}, %rax"]),
        ([f"movl {IMM}, %ecx", f"xorl {REG}, %ecx  # 4-byte"], [f"movl {REG}, %ecx", f"xorl {IMM}, %ecx"]),
        ([f"movl {IMM}, %ecx", f"addq {REG}, %rax"], [f"movl {IMM}, %ecx", f"addq {REG}, %rax"]),
        (["movabsq $hole.imm.8.u32, %rax", f"addq {REG}, %rax"], ["movabsq $hole.imm.8.u32, %rax", f"addq {REG}, %rax"]),
        (["movl $hole.imm.14.u8, %eax", f"shlxq %rax, {REG}, %rax", f"movq %rax, {OTHER}"],
         [f"movq {REG}, %rax", "shlq $hole.imm.14.u8, %rax", f"movq %rax, {OTHER}"]),
        (["movl $hole.imm.14.u8, %eax", f"shlxq %rax, {REG}, %rax", "jb hole.next@PLT"],
         ["movl $hole.imm.14.u8, %eax", f"shlxq %rax, {REG}, %rax", "jb hole.next@PLT"]),
        ([f"movl {IMM}, %ecx", "subl %ecx, %eax", f"movq %rax, {OTHER}"], [f"subl {IMM}, %eax", f"movq %rax, {OTHER}"]),
        ([f"movl {IMM}, %ecx", "subl %ecx, %eax", f"movq %rcx, {OTHER}"],
         [f"movl {IMM}, %ecx", "subl %ecx, %eax", f"movq %rcx, {OTHER}"]),
        (["movl $hole.imm.10.u8, %ecx", "btq %rcx, %rax", "jb hole.next@PLT"], ["btq $hole.imm.10.u8, %rax", "jb hole.next@PLT"]),
        (["movabsq $hole.credit, %rax", "subq %rax, %r15"], ["subq $hole.credit, %r15"]),
        (["movabsq $hole.pc, %rax", "addq $4, %rax"], ["movabsq $hole.pc+4, %rax"]),
        (["addq %r14, %rax", "#APP", ".Ltmp3:", "movzbl (%rax), %eax"], [".Ltmp3:", "movzbl (%r14,%rax), %eax"]),
        (["addq %r14, %rax", ".Ltmp3:", "movq (%rax), %rcx"], ["addq %r14, %rax", ".Ltmp3:", "movq (%rax), %rcx"]),
        (["addq %r14, %rax", ".Ltmp3:", "movb %cl, (%rax)", "jmp hole.next@PLT"],
         [".Ltmp3:", "movb %cl, (%r14,%rax)", "jmp hole.next@PLT"]),
        (["addq %r14, %rax", ".Ltmp3:", "movq %rax, (%rax)", "jmp hole.next@PLT"],
         ["addq %r14, %rax", ".Ltmp3:", "movq %rax, (%rax)", "jmp hole.next@PLT"]),
        ([f"movq {REG}, %rax", f"addq {IMM}, %rax", "cmpq %rdi, %rax", "jae hole.cold@PLT", "addq %r14, %rax", "movq (%rax), %rax"],
         [f"movq {REG}, %rax", "cmpq %rdi, %rax", "jae hole.cold@PLT", "movq hole.imm.14.i16(%r14,%rax), %rax"]),
        ([*SUM, "movzbl (%r14,%rax), %ecx", f"movq %rax, {OTHER}"], [*SUM, "movzbl (%r14,%rax), %ecx", f"movq %rax, {OTHER}"]),
        ([*SUM, "movb %cl, (%r14,%rax)", f"movq %rax, {OTHER}"], [*SUM, "movb %cl, (%r14,%rax)", f"movq %rax, {OTHER}"]),
        (["leaq 32(%r12), %rax", "movq 32(%r12), %rcx", "movq %rax, %r12", "jmpq *%rcx  # TAILCALL"], ["addq $32, %r12", "jmpq *(%r12)"]),
        (["movq (%rax), %rcx", "movq %rax, %r12", "jmpq *%rcx"], ["movq %rax, %r12", "jmpq *(%r12)"]),
        ([*PLACES, "movl (%r13,%rcx), %eax"],
         ["movq hole.reg.15.3.80(%r13), %rax", "movq hole.reg.14.3.80(%r13), %rcx", "cmoveq %rax, %rcx", "movl %ecx, %eax"]),
        ([*PLACES, "addq %rax, %rdx", "movl (%r13,%rcx), %eax"], [*PLACES, "addq %rax, %rdx", "movl (%r13,%rcx), %eax"]),
    ],
)  # fmt: skip
def test_rules(before, after):
    assert folded(*before) == after


def test_a_compact_copy():
    text = """\t.globl\tstencil.7
\t.type\tstencil.7,@function
stencil.7:
\tmovq\thole.reg.13.3.2704(%r13), %rax
.Ltmp5:
\tmovq\t(%rax), %rax
\tmovq\t%rax, hole.reg.12.3.2976(%r13)
\tjmp\thole.next@PLT
.LBB9_1:
\tjmp\thole.cold@PLT
.Lfunc_end9:
\t.size\tstencil.7, .Lfunc_end9-stencil.7
\t.section\t.llvm_faultmaps
\t.long\t.Ltmp5-stencil.7
\t.long\t.LBB9_1-stencil.7
"""
    made, reaches = compact.shorter(text, 2832)
    assert reaches == {"7": (1 << 5, 31)}  # byte 13; 2704 + 31 * 8 is 120 from the middle
    copy = made[made.index("compact.7:") : made.index(".size compact.7")].splitlines()
    assert copy[:3] == ["compact.7:", "movq 64(%r13), %rax", ".reloc .-1, R_X86_64_8, hole.reg.13.3.2704"]
    assert "movq %rax, hole.reg.12.3.2976(%r13)" in copy  # not in the window
    assert copy[3:8] == [
        ".Lcompacttmp5:", '.pushsection .tinamou.faults,"a"', ".long .Lcompacttmp5-.", ".long .LcompactBB9_1-.", ".popsection",
    ]  # fmt: skip
    assert ".LcompactBB9_1:" in copy and made.count("\n.Ltmp5:") == 1


@pytest.mark.parametrize(
    ("line", "behind"),
    [
        ("movq MEM, %rax", 0), ("movq $0, MEM", 4), ("movb $1, MEM", 1), ("movw $1, MEM", 2), ("cmpq $0, MEM", 1), ("addl $128, MEM", 4),
        ("movq $hole.imm.9.i8, MEM", 4), ("cmpq $hole.imm.9.i8, MEM", None), ("testw $1, MEM", 2), ("rorxq $3, MEM, %rax", None),
        ("vpabsq MEM, %xmm0", None),
    ],
)  # fmt: skip
def test_where_the_displacement_is(line, behind):
    assert compact.immediate(line.replace("MEM", REG)) == behind


def test_compact_stencils_are_shorter_and_few_rows_have_none():
    engine = InterpreterGuest(64).flat.engine
    count = len(decoder.forms(RV64)) + sum(bool(f.relative) for f in decoder.forms(RV64)) + 1 + len(GLUE)
    table = engine.image["stencils"]
    pairs = [(Stencil.at(table + k * Stencil.size), Stencil.at(table + (count + k) * Stencil.size)) for k in range(count)]
    made = [(int(a.extent), int(b.extent)) for a, b in pairs if a.code and a.slots]
    assert len(made) > 150 and all(b < a for a, b in made)
    assert all(a.slots == 0 or b.code for a, b in pairs)
