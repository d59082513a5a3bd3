"""Stencils in fewer bytes, by rewriting LLVM's assembly: how much code fits into the host's caches decides how fast large guests are.

LLVM does not know the values of holes, so it leaves room for any; it folds loads of registers before it thinks of immediates, and it does
not fold a load into a jump or across the assembly that marks an access that may fault.  RULES mend that.

And every stencil that has registers of the CPU's window (Cpu.window) as operands gets a copy `compact.<number>` whose displacements to
them have 8 bits.  A trace uses it where the numbers of these registers allow (engine.traces).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tinamou.native.link import FAULTS

STENCIL, COMPACT = "stencil.", "compact."
REGISTER = re.compile(r"hole\.reg\.(\d+)\.(\d+)\.(\d+)\+?(\d*)\(%r13\)")
IMMEDIATE = re.compile(r"(mov|test|add|sub|and|or|xor|cmp)([bwlq]) \$(\S+), ")
PLACEHOLDER = 64  # a displacement of 8 bits
LABEL = re.compile(r"^(\.L\w+):$", re.M)
FAULT = re.compile(r"\.long\s+(\.L\w+)-stencil\.\d+\s+\.long\s+(\.L\w+)-stencil\.\d+")
FUNCTION = re.compile(r"^stencil\.(\d+):.*?^\s+\.size\s[^\n]*\n", re.M | re.S)

IMM, REG, MARK = r"\$hole\.imm\.\d+\.(?!u32)\w+", r"[^,\s]+\(%r13\)", r"((?:\.L\w+:\n)?)"


def same(a: str, b: str) -> bool:
    return whole(a) == whole(b)


def whole(register: str) -> str:
    """The 64-bit register that this is a part of."""
    if m := re.fullmatch(r"(r\d+)[bwd]?", register):
        return m[1]
    if m := re.fullmatch(r"[er]?([abcd])[xlh]", register):
        return f"r{m[1]}x"
    if m := re.fullmatch(r"[er]?(si|di|bp|sp)l?", register):
        return f"r{m[1]}"
    return register


def dead(register: str, m: re.Match[str]) -> bool:
    """Nobody uses a register behind the match."""
    return not any(same(register, other) for other in re.findall(r"%(\w+)", m.string[m.end() :]))


def low(register: str) -> str:
    """The lower 32 bits of a whole register."""
    return f"{register}d" if register[1].isdigit() else f"e{register[1:]}"


class Rule:
    """Whole lines that are replaced where they fit."""

    def __init__(self, pattern: str, replacement: str, fits: Callable[[re.Match[str]], bool] = lambda m: True) -> None:
        self.pattern, self.replacement, self.fits = re.compile(f"^{pattern}$", re.M), replacement, fits

    def applied(self, text: str) -> str:
        return self.pattern.sub(lambda m: m.expand(self.replacement) if self.fits(m) else m[0], text)


RULES = [
    # add an immediate to a register of the guest, not the other way round
    Rule(rf"mov(?:absq|l|q) ({IMM}), %(\w+)\n(add|and|or|xor)([ql]) ({REG}), %(\w+)", r"mov\4 \5, %\6\n\3\4 \1, %\6",
         lambda m: same(m[2], m[6])),
    # shift by an immediate of eight bits; the flags are of no use where the result is moved on
    Rule(rf"movl (\$hole\.imm\.\d+\.u8), %(\w+)\n(shl|shr|sar)x([ql]) %(\w+), ({REG}), %(\w+)(?=\n(?:movq|cltq))",
         r"mov\4 \6, %\7\n\3\4 \1, %\7", lambda m: same(m[2], m[5]) and same(m[5], m[7])),
    Rule(rf"mov(?:absq|l|q) ({IMM}), %(\w+)\nsub([ql]) %(\w+), (%\w+)", r"sub\3 \1, \5", lambda m: same(m[2], m[4]) and dead(m[2], m)),
    Rule(r"movl (\$hole\.imm\.\d+\.u8), %(\w+)\nbt([ql]) %(\w+), (%\w+)", r"bt\3 \1, \5", lambda m: same(m[2], m[4]) and dead(m[2], m)),
    # immediates of 32 bits, where LLVM took eight bytes
    Rule(rf"movabsq ({IMM}), (%\w+)", r"movq \1, \2"),
    Rule(r"movabsq \$hole\.credit, (%\w+)\nsubq \1, (%\w+)", r"subq $hole.credit, \2"),
    Rule(r"movabsq \$hole\.pc, (%\w+)\naddq \$(\d+), \1", r"movabsq $hole.pc+\2, \1"),
    # an access adds the guest's memory itself, when nobody needs its register behind it
    Rule(rf"addq %r14, %(\w+)\n{MARK}(\w+) \(%\1\), %(\w+)", r"\2\3 (%r14,%\1), %\4", lambda m: same(m[1], m[4])),
    Rule(rf"addq %r14, %(\w+)\n{MARK}(\w+) ([%$]\w+), \(%\1\)\njmp hole\.next@PLT", r"\2\3 \4, (%r14,%\1)\njmp hole.next@PLT",
         lambda m: not same(m[1], m[4].strip("%$"))),
    Rule(rf"leaq (\S+), %(\w+)\n{MARK}(\w+) \(%\2\), %(\w+)", r"\3\4 \1, %\5", lambda m: same(m[2], m[5])),
    Rule(rf"leaq (\S+), %(\w+)\n{MARK}(\w+) ([%$]\w+), \(%\2\)", r"\3\4 \5, \1",
         lambda m: not same(m[2], m[5].strip("%$")) and dead(m[2], m)),
    # around the guest's memory are pages that fault, so the register alone is compared with the limit (see cpu.GUARD)
    Rule(rf"(movq {REG}, %(\w+))\naddq \$(hole\.imm\.\d+\.[iu](?:8|16)), %\2\n"
         rf"(cmpq %rdi, %\2\njae hole\.cold@PLT\n(?:\w+ {REG}, %\w+\n)?(?:\.L\w+:\n)?\w+ (?:[%$]\w+, )?)(\(%r14,%\2\)(?:, %\w+)?)",
         r"\1\n\4\3\5", lambda m: same(m[2], m[5].rpartition("%")[2]) if ", %" in m[5] else dead(m[2], m)),
    # jumps through memory
    Rule(r"leaq (\S+)\(%r12\), (%\w+)\nmovq \1\(%r12\), (%\w+)\nmovq \2, %r12\njmpq \*\3", r"addq $\1, %r12\njmpq *(%r12)"),
    Rule(r"movq \((%\w+)\), (%\w+)\nmovq \1, %r12\njmpq \*\2", r"movq \1, %r12\njmpq *(%r12)"),
    Rule(r"movq \(%r12\), (%\w+)\njmpq \*\1", "jmpq *(%r12)"),
]  # fmt: skip


def shorter(text: str, origin: int) -> tuple[str, dict[str, tuple[int, int]]]:
    """The assembly with shorter stencils, and of those with a compact copy the entry's bytes that hold the numbers of such registers, as
    bits from byte 8 on, and the largest number that the copy is good for.

    The code reaches the CPU by a pointer to the offset `origin` in it.
    """
    handlers = dict(FAULT.findall(text))
    reaches: dict[str, tuple[int, int]] = {}

    def rewritten(match: re.Match[str]) -> str:
        name, number = STENCIL + match[1], match[1]
        body = folded(match[0])
        copy, slots, reach = narrow(body, origin)
        if not slots:
            return body
        reaches[number] = slots, reach
        labels = LABEL.findall(copy)
        for label in labels:
            if label in handlers:
                line = f'.pushsection {FAULTS},"a"\n.long {label}-.\n.long {handlers[label]}-.\n.popsection\n'
                copy = copy.replace(f"{label}:\n", f"{label}:\n{line}")
        for label in labels:
            copy = re.sub(rf"{re.escape(label)}\b", f".Lcompact{label[2:]}", copy)
        copy = copy.replace(name, COMPACT + number)
        return f"{body}.globl {COMPACT}{number}\n.p2align 4\n.type {COMPACT}{number},@function\n{copy}"

    return FUNCTION.sub(rewritten, text), reaches


def folded(text: str) -> str:
    """A function by the rules."""
    lines = (" ".join(line.split("#")[0].split()) for line in text.splitlines())
    text = "\n".join(line for line in lines if line)
    for rule in RULES:
        text = rule.applied(text)
    return selected(text) + "\n"


PLACE = re.compile(r"movabsq \$(hole\.reg\S+), %(\w+)")
CHOICE = re.compile(r"cmov\w+ %(\w+), %(\w+)")
CHOSEN = re.compile(r"mov([ql]) \(%r13,%(\w+)\), %(\w+)")


def selected(text: str) -> str:
    """LLVM selects between the places of two values and loads from that one; selecting between the values is shorter."""
    lines = text.split("\n")
    places = {m[2] for line in lines if (m := PLACE.fullmatch(line))}
    for k, line in enumerate(lines):
        if m := PLACE.fullmatch(line):
            lines[k] = f"movq {m[1]}(%r13), %{m[2]}"
        elif (m := CHOSEN.fullmatch(line)) and m[2] in places and not any(CHOSEN.fullmatch(behind) for behind in lines[k + 1 :]):
            lines[k] = f"mov{m[1]} %{m[2] if m[1] == 'q' else low(m[2])}, %{m[3]}"
            return "\n".join(lines)
        elif (m := CHOICE.fullmatch(line)) and {m[1], m[2]} <= places:
            continue
        elif any(whole(r) in places for r in re.findall(r"%(\w+)", line)):
            break  # the place is needed for something else
    return text


def narrow(text: str, origin: int) -> tuple[str, int, int]:
    """The function with 8-bit displacements to registers of the window, the slots of those and the largest number that can be reached."""
    out, slots, reach = [], 0, 255
    for line in text.splitlines():
        found = REGISTER.search(line)
        behind = immediate(line)
        if found and behind is not None:
            slot, shift, base, more = (int(word or 0) for word in found.groups())
            first = base - origin
            if -128 <= first < 128:
                slots |= 1 << slot - 8
                reach = min(reach, 127 - first - more >> shift)
                # the assembler does not shorten displacements of symbols
                where = f".reloc .-{behind + 1}, R_X86_64_8, {found[0].partition('(')[0]}"
                line = f"{line.replace(found[0], f'{PLACEHOLDER}(%r13)')}\n{where}"
        out.append(line)
    return "\n".join([*out, ""]), slots, reach


def immediate(line: str) -> int | None:
    """Bytes of an instruction's immediate operand, which come last; None where that, or the displacement before them, is not known."""
    if line.startswith("v"):
        return None  # displacements of AVX-512 count in other units
    if "$" not in line:
        return 0
    m = IMMEDIATE.match(line)
    if m is None:
        return None
    operation, suffix, value = m.groups()
    if operation not in ("mov", "test"):  # there are forms with immediates of 8 bits
        if not value.lstrip("-").isdigit():
            return None  # what the assembler takes depends on where it stands
        if -128 <= int(value) < 128:
            return 1
    if suffix == "b":
        return 1
    return 2 if suffix == "w" else 4
