"""How regions access flat memory: the lines that engine.regions has for it, as LLVM IR."""

from __future__ import annotations

from tinamou.native.link import FAULTS

from .cpu import REACH

LOADS = {"u8": "movzbl $1, ${0:k}", "i8": "movsbq $1, $0", "u16": "movzwl $1, ${0:k}", "i16": "movswq $1, $0", "u32": "movl $1, ${0:k}",
         "i32": "movslq $1, $0", "u64": "movq $1, $0", "i64": "movq $1, $0"}  # fmt: skip
STORES = {"i8": "movb $1, $0", "i16": "movw $1, $0", "i32": "movl $1, $0", "i64": "movq $1, $0"}
FAULTING = f"1: CODE\\0A.pushsection {FAULTS},\\22a\\22\\0A.long 1b - .\\0A.long ${{2:l}} - .\\0A.popsection"


class Access:
    """Turns the `!access` lines of one straight line of instructions into code.

    An access at a register plus a small offset is checked by the register alone: around the guest's memory are pages that fault.  Further
    accesses off the same register, until it changes, need no check.

    Each access has its own null check all the same, which becomes its line in the fault map; the empty assembly before it keeps LLVM from
    drawing conclusions from the others, and has pointer and data in registers, so that nothing stands between check and access.
    """

    def __init__(self) -> None:
        self.pointers: dict[str, str] = {}  # guest register -> pointer to what it points at
        self.checked: set[str | None] = set()  # guest registers that are below the limit

    def lower(self, text: str, prefix: str) -> str:
        out: list[str] = []
        loads: dict[str, str] = {}
        straight = True
        for line in text.split("\n"):
            words = line.split()
            if len(words) == 6 and words[2] == "load" and words[5].startswith("%x"):
                loads[words[0]] = words[5]
            if words and words[0] == "!access":
                self.access(out, prefix, loads, straight, words[1:])
                continue
            if words and words[0] in ("!load", "!store"):
                self.assembly(out, prefix, loads, straight, words)
                continue
            if "br i1" in line and "make.implicit" not in line:  # what is behind a check that leaves the region is on the straight line
                straight = straight and f"\n{words[4].strip('%,')}:\n  br label %{prefix}retry\n" in text
            out.append(line)
        return "\n".join(out)

    def near(self, by: str) -> bool:
        """The summands of an offset are small constants."""
        numbers = by.split("+")
        return all(n.lstrip("-").isdigit() for n in numbers) and abs(sum(map(int, numbers))) < REACH

    @staticmethod
    def check(name: str, address: str, prefix: str) -> list[str]:
        """The address is one of guest memory."""
        branch = f"  br i1 {name}c, label {name}in, label %{prefix}retry, !prof !0"
        return [f"  {name}c = icmp ult i64 {address}, %direct_limit", branch, f"{name[1:]}in:"]

    def access(self, out: list[str], prefix: str, loads: dict[str, str], straight: bool, words: list[str]) -> None:
        name, total, base, by, kind, data = words
        register = loads.get(base) if self.near(by) else None
        if register is None:
            base, by = total, "0"
        by = str(sum(map(int, by.split("+"))))
        pointer = self.pointers.get(register or "")
        if pointer is None:
            pointer = f"{name}m"
            out += [*self.check(name, base, prefix), f"  {pointer} = getelementptr i8, ptr %mem, i64 {base}"]
            if register and straight:
                self.pointers[register] = pointer
        if kind == "-":
            out.append(f'  {name}q = call ptr asm "", "=r,0"(ptr {pointer})')
        else:
            out.append(f'  {name}s = call {{ ptr, {kind} }} asm "", "=r,=r,0,1"(ptr {pointer}, {kind} {data})')
            out += [f"  {name}q = extractvalue {{ ptr, {kind} }} {name}s, 0", f"  {name}d = extractvalue {{ ptr, {kind} }} {name}s, 1"]
        out.append(f"  {name}p = getelementptr i8, ptr {name}q, i64 {by}")
        out.append(f"  {name}n = icmp eq ptr {name}q, null")

    def assembly(self, out: list[str], prefix: str, loads: dict[str, str], straight: bool, words: list[str]) -> None:
        """One instruction of x86-64, whose fault leads to the label `retry`: LLVM knows it as a jump that the assembly may take."""
        what, name, total, base, by, *more = words
        label = name[1:]
        register = loads.get(base) if self.near(by) else None
        if register is None:
            base = total
        if register not in self.checked:
            out += self.check(name, base, prefix)
            if register and straight:
                self.checked.add(register)
        out.append(f"  {name}p = getelementptr i8, ptr %mem, i64 {total}")
        if what == "!load":
            bits = int(more[0][1:])
            range_ = f"range(i64 0, {1 << bits}) " if more[0][0] == "u" and bits < 64 else ""
            head, code, constraints, arguments = f"{name} = callbr {range_}i64", LOADS[more[0]], "=r,*m,!i", f"ptr elementtype(i64) {name}p"
        else:
            kind, data = more
            head, code, constraints = "callbr void", STORES[kind], "*m,r,!i"
            arguments = f"ptr elementtype({kind}) {name}p, {kind} {data}"
        text = FAULTING.replace("CODE", code)
        out.append(f'  {head} asm sideeffect "{text}", "{constraints},~{{memory}}"({arguments})')
        out.append(f"    to label %{label}ok [label %{prefix}retry]")
        out.append(f"{label}ok:")

    def wrote(self, register: str) -> None:
        self.pointers.pop(register, None)
        self.checked.discard(register)
