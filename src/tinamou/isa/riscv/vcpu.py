"""RISC-V CPUs of machines: their properties, lines, reset state, and what boards and people are told of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from tinamou.engine.cpu import Trap
from tinamou.engine.softmmu import FETCHES, READS, SLOTS, UNUSED, WRITES
from tinamou.engine.system import SystemVcpu
from tinamou.machine.memory import BusError
from tinamou.machine.props import BOOL, SIZE, STR, U64, Prop, Properties, PropertyError, choices
from tinamou.native.types import u32, u64

from . import triggers
from .models import MODELS, Model, extensions
from .privileged import MACHINE, SUPERVISOR, USER
from .state import F_NAMES, UNRESERVED, X_NAMES
from .system import SystemHart, SystemHart32
from .traps import ILLEGAL_INSTRUCTION

if TYPE_CHECKING:
    from tinamou.engine.system import SystemEngine

LINES = {"ssip": 1, "msip": 3, "stip": 5, "mtip": 7, "seip": 9, "meip": 11}
KEPT = ("lines", "hartid", "modes", "pmp_entries", "misa", "vendor", "architecture", "implementation", "privileged", "trigger_count")
PRIVILEGED = {"v1.10.0": 10, "v1.11.0": 11}
OTHER_WIDTH = {"rv32": "rv64", "sifive-e31": "sifive-e51", "sifive-u34": "sifive-u54"}
OTHER_WIDTH |= {v: k for k, v in OTHER_WIDTH.items()}
LETTERS = "imafdcsu"
SV = {32: 1, 64: 9}  # the largest mode of satp
WIDE = {1: "sv32", 8: "sv39", 9: "sv48"}


def _properties() -> Properties:
    table = {
        "hartid": Prop(U64, None, "number of the hart", "hartid", "hartid"),
        "resetvec": Prop(SIZE, None, "address of the first instruction", "resetvec", "resetvec"),
        "mmu": Prop(BOOL, True, "address translation in S mode", "mmu", "mmu"),
        "pmp": Prop(BOOL, True, "physical memory protection", "pmp", "pmp"),
        "debug": Prop(BOOL, True, "trigger module", "debug", "debug"),
        "mvendorid": Prop(U64, None, "number of the manufacturer", "mvendorid", "mvendorid"),
        "marchid": Prop(U64, None, "number of the architecture", "marchid", "marchid"),
        "mimpid": Prop(U64, None, "number of the implementation", "mimpid", "mimpid"),
        "priv_spec": Prop(STR, None, "version of the privileged architecture", "priv_spec", "priv_spec"),
    }
    for c in LETTERS:
        table[c] = Prop(BOOL, None, f"extension {c.upper()}", c, c)
    for name in ("zba", "zbb", "zbs"):
        table[name] = Prop(BOOL, None, f"extension {name.capitalize()}", name, name)
    return Properties("riscv-cpu", table)


PROPERTIES = _properties()
EXCEPTIONS = {  # the names that the original's log gives them
    0: "misaligned_fetch", 1: "fault_fetch", 2: "illegal_instruction", 3: "breakpoint", 4: "misaligned_load", 5: "fault_load",
    6: "misaligned_store", 7: "fault_store", 8: "user_ecall", 9: "supervisor_ecall", 11: "machine_ecall", 12: "exec_page_fault",
    13: "load_page_fault", 15: "store_page_fault",
}  # fmt: skip
INTERRUPTS = {1: "s_software", 3: "m_software", 5: "s_timer", 7: "m_timer", 9: "s_external", 11: "m_external"}
ENDS = {"j", "jr", "jal", "jalr", "ret", "mret", "sret", "ecall", "ebreak", "wfi", "c.j", "c.jr", "c.jal", "c.jalr", "c.ebreak", "call"}
COUNTERS = (0xC00, 0xC01, 0xC02, 0xC80, 0xC81, 0xC82)  # the user's cycle, time, instret, and RV32's upper halves
FLOAT = {"fflags": (0, 31), "frm": (5, 7), "fcsr": (0, 255)}  # where they are in fcsr


@cache
def _numbers() -> dict[str, int]:
    """CSRs by name."""
    from . import csr_privileged  # noqa: F401 (it names the privileged ones)
    from .operands import NAMES

    names: Any = NAMES["csr"]
    return {name: number for number, name in names.items()}


def model_of(name: str, xlen: int, chosen: bool) -> Model:
    """The model of that name and width.  A board's default (not `chosen`) stands for its sibling of the other width too."""
    found = MODELS.get((xlen, name)) or (None if chosen else MODELS.get((xlen, OTHER_WIDTH.get(name, ""))))
    if found is None:
        known = [n for w, n in MODELS if w == xlen]
        other = f"it is a CPU of tinamou-system-riscv{96 - xlen}" if (96 - xlen, name) in MODELS else choices(name, known)
        raise PropertyError(f"unable to find CPU model '{name}'", other)
    return found


class RiscvCpu(SystemVcpu):
    """One hart."""

    lines = LINES
    kept = KEPT
    watch_before = True
    cpu: SystemHart

    def __init__(self, engine: SystemEngine, model: str, index: int, properties: dict[str, Any]) -> None:
        xlen = engine.arch.cpu.xlen  # type: ignore[attr-defined]
        assert engine.machine is not None
        chosen = model_of(model, xlen, chosen=engine.machine.settings.cpu == model)
        values: dict[str, Any] = {}
        for key, given in properties.items():
            try:
                values |= PROPERTIES.parse({key: given}) if given is not None else {}
            except PropertyError as e:
                text = str(e).replace("'riscv-cpu.", f"'{chosen.name}-riscv-cpu.")
                raise PropertyError(f"can't apply global {chosen.name}-riscv-cpu.{key}={given}: {text}", e.hint) from None
        enabled = set(chosen.extensions)
        for name in (*LETTERS, "zba", "zbb", "zbs"):
            if values.get(name) is not None:
                enabled = enabled | {name} if values[name] else enabled - {name}
        order = [c for c in LETTERS if c in enabled] + ["_" + n for n in ("zba", "zbb", "zbs") if n in enabled]
        try:
            self.extensions = extensions("".join(order))
        except ValueError as e:
            raise PropertyError(str(e)) from None
        hart = (SystemHart if xlen == 64 else SystemHart32)()
        super().__init__(engine, hart, chosen.name, index)
        self.xlen = xlen
        self.isa = f"rv{xlen}" + "".join(c for c in LETTERS if c in self.extensions)
        self.resetvec = values["resetvec"] if values.get("resetvec") is not None else 0x1000
        hart.extensions = u64(engine.extensions(self.extensions))
        hart.misa = u64(Model(chosen.name, xlen, "".join(order)).misa)
        hart.hartid = u64(index if values.get("hartid") is None else values["hartid"])
        largest = SV[xlen] if chosen.translation is None else chosen.translation
        hart.modes = u64(largest if values.get("mmu", True) and "s" in self.extensions else 0)
        hart.pmp_entries = u64(chosen.pmp if values.get("pmp", True) else 0)
        hart.trigger_count = u64(chosen.triggers if values.get("debug", True) else 0)
        version = values.get("priv_spec")
        if version is not None and version not in PRIVILEGED:
            raise PropertyError(f"Unsupported privilege spec version '{version}'", choices(version, PRIVILEGED))
        hart.privileged = u64(chosen.privileged if version is None else PRIVILEGED[version])
        for field, name in (("vendor", "mvendorid"), ("architecture", "marchid"), ("implementation", "mimpid")):
            setattr(hart, field, u64(getattr(chosen, field) if values.get(name) is None else values[name]))

    def reset(self, vector: int | None = None) -> None:
        hart = self.cpu
        self.clear()
        hart.privilege = u64(MACHINE)
        hart.reservation = u64(UNRESERVED)
        hart.pc = u64(self.resetvec if vector is None else vector)
        self._halted.value = 0
        self.loaded()
        self._attention.value = 1

    def loaded(self) -> None:
        self.cpu.regime()
        triggers.look(self.cpu)
        self.flush()
        for k in range(2):
            self.cpu.large_low[k], self.cpu.large_high[k] = u64((1 << 64) - 1), u64(0)

    def _trap(self, cause: int, pc: int, value: int, _: int) -> int:
        """`-d int`."""
        interrupt, number = cause >> 63, cause & (1 << 63) - 1
        name = (INTERRUPTS if interrupt else EXCEPTIONS).get(number, "(unknown)")
        self._log("int", f"riscv_cpu_do_interrupt: hart:{int(self.cpu.hartid)}, async:{interrupt}, cause:{number:0{self.xlen // 4}x}, "
                  f"epc:0x{pc:0{self.xlen // 4}x}, tval:0x{value:0{self.xlen // 4}x}, desc={name}")  # fmt: skip
        return 0

    def _code(self, pc: int, _: int, __: int, ___: int) -> int:
        lines = self.disassemble(pc, 32, self.read_virtual, one_line=True)
        self._log("in_asm", f"----------------\nIN: \nPriv: {int(self.cpu.privilege)}\n{lines}")
        return 0

    def disassemble(self, address: int, count: int, read: Callable[[int, int], bytes], one_line: bool = False) -> str:
        """Lines of `count` instructions, or with `one_line` up to the first that never goes on to the next."""
        from . import isa

        rows, out = isa(self.xlen), ""
        for _ in range(count):
            try:
                word = int.from_bytes(read(address, 2), "little")
                size = 4 if word & 3 == 3 else 2
                if size == 4:
                    word |= int.from_bytes(read(address + 2, 2), "little") << 16
            except BusError:
                return out + f"0x{address:016x}:  Address 0x{address:x} is out of bounds.\n"
            name, _, operands = rows.disassemble(word, address).partition(" ")
            text = f"{word:0{size * 2}x}".ljust(18)
            out += f"0x{address:016x}:  {text}{name:<24}{operands.strip()}".rstrip() + "\n"
            address += size
            if one_line and (name in ENDS or name.startswith(("b", "c.b"))):
                break
        return out

    def awake(self) -> bool:
        hart = self.cpu
        return bool((self._lines.value | int(hart.soft)) & int(hart.mie))

    def facts(self) -> dict[str, Any]:
        return {"isa": self.isa, "xlen": self.xlen, "mmu": WIDE.get(int(self.cpu.modes), ""), "hartid": int(self.cpu.hartid)}

    # -- debuggers and monitors

    def csrs(self) -> list[tuple[int, str]]:
        """(number, name) of the CSRs that this hart has, but those of floating point."""
        found = []
        for name, number in sorted(_numbers().items(), key=lambda item: item[1]):
            if number > 3 and (self.xlen == 32 or number & 0xF80 != 0xC80):
                try:
                    self.csr(number)
                except Trap:
                    continue
                found.append((number, name))
        return found

    def csr(self, number: int) -> int:
        """A CSR, read in M mode.  Raises Trap when there is none of this number."""
        from . import csr_privileged

        hart = self.cpu
        if number in COUNTERS:
            value = self.instructions
            if number & 0x1F == 1 and self.clock is not None:
                value = self.clock.ticks + self.clock.skew
            return value >> 32 & 0xFFFF_FFFF if number & 0x80 else value & (1 << self.xlen) - 1
        mode, hart.privilege = hart.privilege, u64(MACHINE)
        try:
            return int(csr_privileged.read(hart, u32(number)))
        finally:
            hart.privilege = mode

    def set_csr(self, number: int, value: int) -> None:
        """Write a CSR as in M mode.  Raises Trap when it cannot be written."""
        from . import csr_privileged

        hart = self.cpu
        hart.flush_tlb = self.flush  # type: ignore[method-assign]
        mode, hart.privilege = hart.privilege, u64(MACHINE)
        try:
            if number >> 10 == 3:
                raise Trap(ILLEGAL_INSTRUCTION)
            csr_privileged.write(hart, u32(number), u64(value))
        finally:
            hart.privilege = mode
            del hart.flush_tlb
        self.loaded()
        self._attention.value = 1

    def register(self, name: str) -> int:
        """A register by its name: x and f registers by their ABI names, pc, priv, CSRs.  KeyError when there is none."""
        hart = self.cpu
        name = "s0" if name == "fp" else name
        if name in ("pc", "priv"):
            return int(hart.pc if name == "pc" else hart.privilege)
        if name in X_NAMES:
            return int(hart.x[X_NAMES.index(name)])
        if "f" in self.extensions:
            if name in F_NAMES:
                return int(hart.f[F_NAMES.index(name)])
            if name in FLOAT:
                return int(hart.frm << 5 | hart.fflags) >> FLOAT[name][0] & FLOAT[name][1]
        try:
            return self.csr(_numbers()[name])
        except Trap:
            raise KeyError(name) from None

    def set_register(self, name: str, value: int) -> None:
        """Change a register.  KeyError when there is none, or it cannot be written."""
        hart = self.cpu
        name = "s0" if name == "fp" else name
        if name == "pc":
            hart.pc = u64(value)
        elif name == "priv":
            if value not in (MACHINE, USER, SUPERVISOR):
                raise KeyError(name)
            hart.privilege = u64(value)
            self.loaded()
        elif name in X_NAMES:
            if name != "zero":
                hart.x[X_NAMES.index(name)] = u64(value & (1 << self.xlen) - 1)
        elif name in F_NAMES and "f" in self.extensions:
            hart.f[F_NAMES.index(name)] = u64(value)
        elif name in FLOAT and "f" in self.extensions:
            shift, mask = FLOAT[name]
            both = int(hart.frm << 5 | hart.fflags) & ~(mask << shift) | (value & mask) << shift
            hart.fflags, hart.frm = u32(both & 31), u32(both >> 5 & 7)
        else:
            try:
                self.set_csr(_numbers()[name], value)
            except Trap:
                raise KeyError(name) from None

    def translate(self, address: int) -> int | None:
        """The physical address of a virtual one, or None; changes nothing."""
        hart = self.cpu
        satp = int(hart.satp)
        mode = satp >> 31 if self.xlen == 32 else satp >> 60
        if int(hart.privilege) == MACHINE or not mode:
            return address
        size, bits, levels = (4, 10, 2) if self.xlen == 32 else (8, 9, mode - 5)
        top = 12 + levels * bits
        if self.xlen == 64 and address >> (top - 1) not in (0, (1 << 65 - top) - 1):
            return None
        table = (satp & (0x3F_FFFF if self.xlen == 32 else 0xFFF_FFFF_FFFF)) << 12
        memory = self.engine.memory
        assert memory is not None
        for level in reversed(range(levels)):
            at = table + (address >> 12 + level * bits & (1 << bits) - 1) * size
            found = memory.find(at)
            if found is None or found.region.kind != "ram":
                return None
            entry = int.from_bytes(memory.load(at, size), "little")
            if not entry & 1:
                return None
            if entry & 0xA:
                mask = (1 << 12 + level * bits) - 1
                return (entry >> 10 & (1 << 44) - 1) << 12 & ~mask | address & mask
            table = (entry >> 10 & (1 << 44) - 1) << 12
        return None

    def describe_memory(self) -> str:
        """The text of `info mem`: what satp's tables map, neighbours of the same kind together."""
        hart = self.cpu
        satp = int(hart.satp)
        mode = satp >> 31 if self.xlen == 32 else satp >> 60
        if not mode:
            return "No translation or protection\n"
        width = self.xlen // 4
        out = f"{'vaddr':<{width}} {'paddr':<16} {'size':<{width}} attr\n{'-' * width} {'-' * 16} {'-' * width} -------\n"
        last: tuple[int, int, int, int] | None = None  # virtual, physical, size, flags
        for virtual, physical, size, flags in self._leaves(mode):
            if last and (last[0] + last[2], last[1] + last[2], last[3]) == (virtual, physical, flags):
                last = (last[0], last[1], last[2] + size, flags)
                continue
            out += self._mapping(last, width) if last else ""
            last = (virtual, physical, size, flags)
        return out + (self._mapping(last, width) if last else "")

    def _mapping(self, m: tuple[int, int, int, int], width: int) -> str:
        flags = "".join(c if m[3] >> k & 1 else "-" for k, c in enumerate("rwxugad", 1))
        return f"{m[0]:0{width}x} {m[1]:016x} {m[2]:0{width}x} {flags}\n"

    def _leaves(self, mode: int) -> Iterator[tuple[int, int, int, int]]:
        """(virtual, physical, size, flags) of every page that is mapped, by address."""
        size, bits, levels = (4, 10, 2) if self.xlen == 32 else (8, 9, mode - 5)
        memory = self.engine.memory
        assert memory is not None
        top = 12 + levels * bits

        def walk(table: int, level: int, virtual: int) -> Iterator[tuple[int, int, int, int]]:
            found = memory.find(table)
            if found is None or found.region.kind != "ram":
                return
            entries = memory.load(table, size << bits)
            for k in range(1 << bits):
                entry = int.from_bytes(entries[k * size : k * size + size], "little")
                if not entry & 1:
                    continue
                at, physical = virtual | k << 12 + level * bits, (entry >> 10 & (1 << 44) - 1) << 12
                if entry & 0xA:
                    if self.xlen == 64 and at >> top - 1:
                        at |= (1 << 64) - (1 << top)
                    yield at, physical, 1 << 12 + level * bits, entry & 0xFE
                elif level:
                    yield from walk(physical, level - 1, at)

        root = (int(self.cpu.satp) & (0x3F_FFFF if self.xlen == 32 else 0xFFF_FFFF_FFFF)) << 12
        return walk(root, levels - 1, 0)

    def describe_tlb(self) -> str:
        """The text of `info tlb`: the translations that are remembered for the present mode."""
        tables: dict[int, set[str]] = {}
        for kind, letter in zip((READS, WRITES, FETCHES), "rwx", strict=True):
            words = (ctypes.c_uint64 * (SLOTS * 2)).from_address(int(self.cpu.memory) + kind)
            for tag in words[::2]:
                if tag != UNUSED:
                    tables.setdefault(tag, set()).add(letter)
        width = self.xlen // 4
        out = f"{'vaddr':<{width}} {'paddr':<16} attr\n{'-' * width} {'-' * 16} ----\n" if tables else ""
        for tag, letters in sorted(tables.items()):
            physical = self.translate(tag)
            shown = "-" * 16 if physical is None else f"{physical:016x}"
            out += f"{tag:0{width}x} {shown} {''.join(c if c in letters else '-' for c in 'rwx')}\n"
        return out

    def describe(self) -> str:
        """The text of `info registers`."""
        hart, width = self.cpu, self.xlen // 4
        names = ("mhartid", "mstatus", "mip", "mie", "mideleg", "medeleg", "mtvec", "stvec", "mepc", "sepc", "mcause", "scause",
                 "mtval", "stval", "mscratch", "sscratch", "satp")  # fmt: skip
        values = {n: getattr(hart, n) for n in names if n in type(hart).fields}
        values |= {"mhartid": hart.hartid, "mip": hart.pending(), "mstatus": self.csr(0x300)}
        out = [f" pc       {int(hart.pc):0{width}x}"] + [f" {n:<8} {int(values[n]):0{width}x}" for n in names]
        for k in range(0, 32, 4):
            out.append("".join(f" x{n}/{X_NAMES[n]:<{5 - len(str(n))}} {int(hart.x[n]):0{width}x}" for n in range(k, k + 4)))
        if "f" in self.extensions:
            for k in range(0, 32, 4):
                out.append("".join(f" f{n}/{F_NAMES[n]:<{5 - len(str(n))}} {int(hart.f[n]):016x}" for n in range(k, k + 4)))
        return "\n".join(out) + "\n"

