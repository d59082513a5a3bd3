"""What `-d in_asm,exec,cpu,int`, `-singlestep` and `-trace` show: guest code runs block by block, each looked at before it runs.

A block is the straight line up to the next jump, exception or end of a page; with -singlestep one instruction.  Blocks are shown by
`in_asm` when they run for the first time or their code has changed.  Every entry into a block is shown by `exec` and `cpu`, whether the
original would have chained it or not (`nochain`).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from .engine import Exit, Watched
from .errors import GuestFault
from .memory import EXEC
from .symbols import Symbols

if TYPE_CHECKING:
    from tinamou.engine.architecture import Architecture
    from tinamou.engine.patterns import Insn

    from .process import Process

__all__ = ["EVENTS", "TracedVcpu", "filter_of", "matching"]

PAGE = 4096
LONGEST = 512  # instructions in a block
EVENTS = ("guest_user_syscall", "guest_user_syscall_ret", "user_setup_rt_frame", "user_do_rt_sigreturn", "user_handle_signal")
"""What -trace can show."""


def matching(pattern: str) -> list[str]:
    """The trace events that a pattern with * and ? names."""
    return [name for name in EVENTS if fnmatchcase(name, pattern)]


def filter_of(text: str) -> list[range]:
    """The ranges of -dfilter: START+LENGTH, END-LENGTH, FIRST..LAST, with commas between.  ValueError with the original's words."""
    found = []
    for item in text.split(","):
        match = re.fullmatch(r"(.*?)(\.\.|[+-])(.*)", item)
        if not match:
            raise ValueError("Bad range specifier")
        numbers = []
        for word, side in ((match[1], "left"), (match[3], "right")):
            if not re.fullmatch(r"0[xX][0-9a-fA-F]+|\d+", word):
                raise ValueError(f"Invalid number to the {side} of {match[2]}")
            numbers.append(int(word, 16) if word[:2] in ("0x", "0X") else int(word, 8 if word.startswith("0") and word.isdigit() else 10))
        first, second = numbers
        ends = {"+": (first, first + second - 1), "-": (first - second + 1, first), "..": (first, second)}[match[2]]
        if ends[1] < ends[0]:
            raise ValueError("Invalid range")
        found.append(range(ends[0], ends[1] + 1))
    return found


class Listing:
    """Decodes and shows guest code."""

    def __init__(self, process: Process, arch: Architecture) -> None:
        self.process, self.arch = process, arch
        self.symbols = Symbols(process.memory, process.abi)
        self.digits = process.abi.bits // 4
        self._last: dict[str, bool] = {}

    def ends_block(self, insn: Insn) -> bool:
        """Whether control may go elsewhere, or other code be there, after that instruction."""
        if insn.name not in self._last:
            from tinamou.engine.decoder import form_of

            form = form_of(insn, system=False)
            self._last[insn.name] = form.jumps or form.ends or "fence_code" in insn.function.__code__.co_names
        return self._last[insn.name]

    def block(self, pc: int, most: int) -> list[bytes]:
        """The instructions from pc up to the end of its block; nothing when pc cannot be executed."""
        from tinamou.native.types import u32

        memory, unit = self.process.memory, self.arch.unit
        region = memory.find(pc)
        if region is None or not region.prot & EXEC or pc % self.arch.granule:
            return []
        end = min(PAGE - pc % PAGE + 16, region.end - pc)  # the last one may reach into the next page
        try:
            data = memory.read(pc, end)
        except GuestFault:
            return []
        found: list[bytes] = []
        at = 0
        while at < PAGE - pc % PAGE:
            first = data[at : at + 4].ljust(4, b"\0")
            word = int.from_bytes(first, "big" if self.arch.cpu.big_endian else "little")
            size = int(self.arch.length(u32(word)))
            if at + max(size, unit) > len(data):
                break
            found.append(data[at : at + size])
            insn = self.decode(found[-1])
            at += size
            if insn is None or len(found) == most or self.ends_block(insn):
                break
        return found

    def decode(self, code: bytes) -> Insn | None:
        return self.arch.isa.decode(int.from_bytes(code, "big" if self.arch.cpu.big_endian else "little"))

    def line(self, pc: int, code: bytes) -> str:
        """One instruction as `in_asm` shows it."""
        insn, word = self.decode(code), int.from_bytes(code, "big" if self.arch.cpu.big_endian else "little")
        text = insn.disassemble(word, pc) if insn and insn.size == len(code) else f".{len(code)}byte {word:#x}"
        name, _, rest = text.partition(" ")
        return f"0x{pc:0{self.digits}x}:  {word:0{2 * len(code)}x}".ljust(self.digits + 23) + f"{name:<23} {rest}".rstrip()

    def text(self, pc: int, block: list[bytes]) -> str:
        """A block as `in_asm` shows it."""
        lines = ["----------------", f"IN: {self.symbols.name(pc)}"]
        for code in block:
            lines.append(self.line(pc, code))
            pc += len(code)
        return "\n".join(lines) + "\n\n"


class TracedVcpu(Watched):
    """A virtual CPU that shows what it runs."""

    def __init__(self, process: Process, arch: Architecture, vcpu: Any) -> None:
        options = process.options
        super().__init__(vcpu)
        self.process = process
        self.most = 1 if options.single_step else LONGEST
        self.items, self.ranges = options.log_items, options.log_filter
        if process.listing is None:
            process.listing = Listing(process, arch)
        self.listing: Listing = process.listing
        self.number = process.cpus
        process.cpus += 1
        self.seen: dict[int, list[bytes]] = {}

    def run(self) -> Any:
        """As Vcpu.run, block by block."""
        process, abi = self.process, self.process.abi
        by_blocks = self.most == 1 or bool(self.items & {"in_asm", "exec", "cpu"})
        while not self._kick.value:
            if by_blocks:
                pc = int(self.cpu.pc)
                block = self.listing.block(pc, self.most)
                if block and (not self.ranges or any(pc in r for r in self.ranges)):
                    self.show(pc, block)
                exit = self.vcpu.step(max(len(block), 1))
            else:
                exit = self.vcpu.run()
                if not exit.trap:
                    return exit
            if exit.trap:
                if "int" in self.items and not abi.is_call(exit.cause):
                    at = int(self.cpu.pc)
                    process.log_write(f"exception: cpu:{self.number}, cause:{exit.cause:#x}, pc:{at:#x}, value:{exit.value:#x}\n")
                return exit
        self._kick.value = 0
        return Exit(False)

    def show(self, pc: int, block: list[bytes]) -> None:
        """What the log says of a block that begins to run."""
        items, process = self.items, self.process
        if "in_asm" in items and self.seen.get(pc) != block:
            self.seen[pc] = block
            process.log_write(self.listing.text(pc, block))
        if "exec" in items:
            digits, name = self.listing.digits, self.listing.symbols.name(pc)
            words = f"{0:0{digits}x}/{pc:0{digits}x}/{int(self.most == 1):#x}"
            process.log_write(f"Trace {self.number}: {process.memory.base + pc:#x} [{words}] {name}\n")
        if "cpu" in items:
            process.log_write(process.abi.describe(self.cpu, "fpu" in items))
