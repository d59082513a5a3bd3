"""Run RISC-V code on any engine from a given state, and compare with Unicorn.

An engine is a class with `name`, `xlen` and `run(state, code, count) -> Outcome`.  `ENGINES` lists those under test: every test that takes
the fixture `engine` runs on each of them.
"""

from __future__ import annotations

import ctypes
import dataclasses
import random
import struct
from dataclasses import dataclass, field
from typing import Protocol

import unicorn
from unicorn import riscv_const as uc

from support.flat_guest import FlatGuest
from support.told import EagerJit
from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.engine.golden import Golden, Ram
from tinamou.engine.patterns import Imm, Insn, Reg
from tinamou.engine.vcpu import Vcpu
from tinamou.isa.riscv import isa, traps
from tinamou.isa.riscv.architecture import RV32, RV64
from tinamou.isa.riscv.models import MODELS
from tinamou.isa.riscv.state import UNRESERVED, Hart
from tinamou.native.types import u32, u64

CODE = 0x8000_0000  # one page of code, then one page of data; nothing else is memory
DATA = CODE + 0x1000
PAGE = 0x1000
IMAGE = 0x2_0000


@dataclass
class State:
    """What a user-level instruction can read or write."""

    pc: int = CODE
    x: list[int] = field(default_factory=lambda: [0] * 32)
    f: list[int] = field(default_factory=lambda: [0] * 32)
    fflags: int = 0
    frm: int = 0
    data: bytes = bytes(PAGE)

    def differences(self, other: State) -> dict[str, tuple[str, str]]:
        out = {}
        for name in ("pc", "fflags", "frm"):
            a, b = getattr(self, name), getattr(other, name)
            if a != b:
                out[name] = f"{a:#x}", f"{b:#x}"
        for file in "xf":
            for n, (a, b) in enumerate(zip(getattr(self, file), getattr(other, file), strict=True)):
                if a != b:
                    out[f"{file}{n}"] = f"{a:#x}", f"{b:#x}"
        if self.data != other.data:
            at = next(i for i in range(PAGE) if self.data[i] != other.data[i]) & ~7
            out[f"data+{at:#x}"] = self.data[at : at + 8].hex(), other.data[at : at + 8].hex()
        return out


@dataclass
class Outcome:
    """The state after the run, and the cause of the exception that ended it early."""

    state: State
    cause: int | None = None


class Engine(Protocol):
    name: str
    xlen: int

    def __init__(self, xlen: int) -> None: ...

    def run(self, state: State, code: bytes, count: int) -> Outcome:
        """Put `code` and zeros into the page at CODE and execute `count` instructions from state.pc, or up to an exception."""

    def run_image(self, image: bytes, limit: int) -> Outcome:
        """Execute a program in IMAGE bytes of memory of its own from CODE on, up to an exception; `data` is of no meaning."""


class GoldenEngine:
    """The rows in CPython."""

    name = "golden"

    def __init__(self, xlen: int) -> None:
        self.xlen = xlen
        self.model = MODELS[xlen, "max"]
        self.hart = self.model.hart()
        self.ram = Ram(CODE, 2 * PAGE)
        self.golden = Golden(isa(xlen), self.hart, self.ram, enabled=self.model.extensions, address_bits=xlen)

    def run_image(self, image: bytes, limit: int) -> Outcome:
        hart, ram = self.model.hart(), Ram(CODE, IMAGE)
        hart.pc = u64(CODE)
        ram.data[: len(image)] = image
        try:
            Golden(isa(self.xlen), hart, ram, enabled=self.model.extensions, address_bits=self.xlen).step(limit)
        except Trap as trap:
            return Outcome(get(hart, b""), trap.cause)
        return Outcome(get(hart, b""))

    def run(self, state: State, code: bytes, count: int) -> Outcome:
        put(self.hart, state)
        self.ram.data[:PAGE] = code.ljust(PAGE, b"\0")
        self.ram.data[PAGE:] = state.data
        cause = None
        try:
            self.golden.step(count)
        except Trap as trap:
            cause = trap.cause
        return Outcome(get(self.hart, bytes(self.ram.data[PAGE:])), cause)


def put(hart: Hart, state: State) -> None:
    hart.pc, hart.fflags, hart.frm, hart.reservation = u64(state.pc), u32(state.fflags), u32(state.frm), u64(UNRESERVED)
    for name, values in (("x", state.x), ("f", state.f)):
        ctypes.memmove(hart.address + Hart.fields[name].offset, struct.pack("<32Q", *values), 256)


def get(hart: Hart, data: bytes) -> State:
    x, f = (list(struct.unpack("<32Q", ctypes.string_at(hart.address + Hart.fields[name].offset, 256))) for name in "xf")
    return State(int(hart.pc), x, f, int(hart.fflags), int(hart.frm), data)


class InterpreterEngine:
    """The compiled interpreter."""

    name = "interpreter"

    def __init__(self, xlen: int) -> None:
        self.xlen = xlen
        self.model = MODELS[xlen, "max"]
        self.guest, self.vcpu = self.memory(2 * PAGE)

    def memory(self, size: int) -> tuple[FlatGuest, Vcpu]:
        guest = FlatGuest(RV64 if self.xlen == 64 else RV32, 1 << 32, self.model.extensions)
        guest.map(CODE, size, READ | WRITE | EXECUTE)
        vcpu = guest.vcpu()
        vcpu.cpu.misa = u64(self.model.misa)
        return guest, vcpu

    def run_image(self, image: bytes, limit: int) -> Outcome:
        guest, vcpu = self.memory(IMAGE)
        try:
            put(vcpu.cpu, State())
            guest.write(CODE, image)
            guest.thread(vcpu)
            end = vcpu.step(limit)
            return Outcome(get(vcpu.cpu, b""), end.cause if end.trap else None)
        finally:
            guest.close()

    def run(self, state: State, code: bytes, count: int) -> Outcome:
        hart = self.vcpu.cpu
        put(hart, state)
        self.guest.write(CODE, code.ljust(PAGE, b"\0"))
        self.guest.write(DATA, state.data)
        self.guest.thread(self.vcpu)
        end = self.vcpu.step(count)
        return Outcome(get(hart, self.guest.read(DATA, PAGE)), end.cause if end.trap else None)


ENGINES: list[type[Engine]] = [GoldenEngine, InterpreterEngine]


class Regions(EagerJit):
    code = range(CODE, DATA)


class RegionsEngine:
    """Compiled regions: the code from its first instruction to its end, an exception."""

    name = "regions"

    def __init__(self, xlen: int, checked: bool = False) -> None:
        self.xlen = xlen
        model = MODELS[xlen, "max"]
        self.guest = FlatGuest(RV64 if xlen == 64 else RV32, 1 << 32, model.extensions)
        self.guest.map(CODE, 2 * PAGE, READ | WRITE | EXECUTE)
        self.guest.engine.jit = self.jit = Regions(self.guest.engine)
        if checked:
            self.jit.prepare()
            self.jit.makers = self.jit.makers[1:]
        self.vcpu = self.guest.vcpu()
        self.vcpu.cpu.misa = u64(model.misa)

    def run(self, state: State, code: bytes) -> Outcome:
        """Run up to an exception."""
        self.guest.thread(self.vcpu)
        hart = self.vcpu.cpu
        put(hart, state)
        self.guest.write(CODE, code)
        self.guest.write(DATA, state.data)
        put(hart, state)
        self.vcpu.run()  # makes the page's entries, which the region is installed in
        put(hart, state)
        self.guest.write(DATA, state.data)
        assert self.jit.compile(CODE)
        assert self.jit.compiled(CODE)
        end = self.vcpu.run()
        assert end.trap
        return Outcome(get(hart, self.guest.read(DATA, PAGE)), end.cause)


class TracesEngine(InterpreterEngine):
    """Traces: one at the first visit of whatever can begin one."""

    name = "traces"

    def __init__(self, xlen: int) -> None:
        super().__init__(xlen)
        self.guest.engine.shared.patience = u64(1)

    def run(self, state: State, code: bytes, count: int = 0) -> Outcome:
        """Run up to an exception."""
        before = int(self.guest.engine.shared.traces)
        outcome = self.to_the_end(state, code)
        assert int(self.guest.engine.shared.traces) > before
        return outcome

    def to_the_end(self, state: State, code: bytes) -> Outcome:
        hart = self.vcpu.cpu
        put(hart, state)
        self.guest.write(CODE, code)
        self.guest.write(DATA, state.data)
        self.guest.thread(self.vcpu)
        end = self.vcpu.run()
        assert end.trap
        return Outcome(get(hart, self.guest.read(DATA, PAGE)), end.cause)


CAUSES = {
    unicorn.UC_ERR_READ_UNMAPPED: traps.LOAD_PAGE_FAULT,
    unicorn.UC_ERR_WRITE_UNMAPPED: traps.STORE_PAGE_FAULT,
    unicorn.UC_ERR_INSN_INVALID: traps.BREAKPOINT,  # illegal instructions are interrupts
}

FORGET = 0x7000_0000  # where Unicorn executes an SC before each run


class Unicorn:
    """The oracle: an independent implementation of RV32GC and RV64GC."""

    def __init__(self, xlen: int) -> None:
        self.xlen = xlen
        self.uc = u = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV64 if xlen == 64 else unicorn.UC_MODE_RISCV32)
        u.mem_map(CODE, PAGE)
        u.mem_map(DATA, PAGE)
        u.reg_write(uc.UC_RISCV_REG_MSTATUS, 0x6000)  # FS: the floating-point unit is on
        u.mem_map(FORGET, PAGE, unicorn.UC_PROT_EXEC)
        u.mem_write(FORGET, (0x1800202F).to_bytes(4, "little"))  # sc.w zero, zero, (zero)
        self.causes: list[int] = []
        u.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.registers = [uc.UC_RISCV_REG_X0 + n for n in range(32)] + [uc.UC_RISCV_REG_F0 + n for n in range(32)]

    def _interrupt(self, u: unicorn.Uc, number: int, _: object) -> None:
        self.causes.append(number)
        u.emu_stop()

    def run(self, state: State, code: bytes, count: int) -> Outcome:
        """Where a run ended by an exception stopped is not known: pc is then that of the initial state."""
        u = self.uc
        u.mem_write(CODE, code.ljust(PAGE, b"\0"))
        u.mem_write(DATA, state.data)
        u.emu_start(FORGET, 0, 0, 1)  # no reservation is left of the last run
        u.ctl_remove_cache(CODE, CODE + PAGE)
        for register, value in zip(self.registers, state.x + state.f, strict=True):
            u.reg_write(register, value)
        u.reg_write(uc.UC_RISCV_REG_FCSR, state.frm << 5 | state.fflags)
        self.causes.clear()
        cause = None
        try:
            u.emu_start(state.pc, (1 << self.xlen) - 2, 0, count)
        except unicorn.UcError as e:
            if e.errno != unicorn.UC_ERR_FETCH_UNMAPPED:  # of the instruction after the last
                cause = CAUSES[e.errno]
        if self.causes:
            cause = self.causes[0]
        mask = (1 << self.xlen) - 1
        values = [u.reg_read(r) for r in self.registers]
        fcsr = u.reg_read(uc.UC_RISCV_REG_FCSR)
        pc = state.pc if cause is not None else u.reg_read(uc.UC_RISCV_REG_PC) & mask
        x = [v & mask for v in values[:32]]
        return Outcome(State(pc, x, values[32:], fcsr & 31, fcsr >> 5, bytes(u.mem_read(DATA, PAGE))), cause)


# Random cases.

INTEGERS = [0, 1, 2, -1, -2, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 32) - 1, -1 << 31, 1 << 63, (1 << 63) - 1, 0x80, 0xFF, 0x7FFF, 0x8000]
SINGLES = [
    0x0000_0000, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7F80_0001, 0xFFC0_1234, 0x0000_0001,
    0x807F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x4F00_0000, 0xCF00_0000, 0x5F00_0000, 0x3F00_0000, 0x3FC0_0000, 0x4B00_0001, 0x3400_0000,
]  # fmt: skip
DOUBLES = [
    0, 1 << 63, 0x3FF0 << 48, 0xBFF0 << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF0 << 48) + 1, (0xFFF8 << 48) + 5, 1,
    (1 << 63) + (1 << 52) - 1, 1 << 52, (0x7FF0 << 48) - 1, 0x41E0 << 48, 0xC1E0 << 48, 0x43E0 << 48, 0x3FE0 << 48, 0x3FF8 << 48,
    (0x4330 << 48) + 1, 0x3CB0 << 48, 0x47EF_FFFF_F000_0000, 0x380F_FFFF_FFFF_FFFF, 0x36A0 << 48, 0x41DF_FFFF_FFC0_0000,
]  # fmt: skip


def random_integer(r: random.Random, xlen: int) -> int:
    match r.randrange(8):
        case 0 | 1:
            value = r.choice(INTEGERS)
        case 2:
            value = r.choice(INTEGERS) + r.randrange(-3, 4)
        case 3:
            value = 1 << r.randrange(xlen)
        case 4:
            value = r.getrandbits(xlen) >> r.randrange(xlen)
        case _:
            value = r.getrandbits(xlen)
    return value & (1 << xlen) - 1


def random_float(r: random.Random) -> int:
    """A double, or a boxed single; seldom a single without its box."""
    kind = r.randrange(16)
    if kind < 7:
        single = r.choice(SINGLES) if r.randrange(2) else r.getrandbits(32)
        if r.randrange(3) == 0:  # exponents near those of others, so that sums cancel and round
            single = single & 0x807F_FFFF | 0x3F00_0000 + (r.randrange(-30, 30) << 23) & 0x7F80_0000
        return single | (0xFFFF_FFFF << 32 if kind else r.getrandbits(32) << 32)
    double = r.choice(DOUBLES) if r.randrange(2) else r.getrandbits(64)
    if r.randrange(3) == 0:
        double = double & ~(0x7FF << 52) | 0x3FF + r.randrange(-60, 60) << 52
    return double


def random_state(r: random.Random, xlen: int) -> State:
    return State(
        CODE,
        [0] + [random_integer(r, xlen) for _ in range(31)],
        [random_float(r) for _ in range(32)],
        r.choice((0, 0, 31, r.randrange(32))),
        r.randrange(5) if r.randrange(12) else r.randrange(5, 8),
        r.randbytes(256) * (PAGE // 256),
    )


def touches_memory(insn: Insn) -> bool:
    return bool({"load", "store", "atomic", "compare_swap"} & set(insn.function.__code__.co_names))


def is_atomic(insn: Insn) -> bool:
    return insn.extension == "a"


def random_word(r: random.Random, insn: Insn, **fixed: int) -> int:
    """An encoding that decodes to this row, with random fields."""
    special = [i for i in isa(insn.binding["XLEN"]).insns if insn.name in i.over]
    while True:
        word = r.getrandbits(insn.width) & ~insn.mask | insn.value
        for name, value in fixed.items():
            if name in insn.fields:
                word = with_field(insn, word, name, value)
        if insn.matches(word) and not any(i.matches(word) for i in special):
            return word


def with_field(insn: Insn, word: int, name: str, value: int) -> int:
    value -= insn.bases.get(name, 0)
    for p in insn.fields[name]:
        word = word & ~((1 << p.width) - 1 << p.source) | (value >> p.target & (1 << p.width) - 1) << p.source
    return word


def base_register(insn: Insn, word: int) -> tuple[int, int]:
    """Of a load, store or atomic: the number of the register that the address comes from, and the offset."""
    base = next(o for o in insn.operands if o.name in ("rs1", "sp") and isinstance(o.kind, Reg))
    offset = next((insn.number(word, o) for o in insn.operands if isinstance(o.kind, Imm) and o.name in ("imm", "uimm")), 0)
    return insn.number(word, base), offset


def aim(r: random.Random, insn: Insn, word: int, state: State, xlen: int) -> None:
    """Let the address of a memory access be mostly in the data page."""
    register, offset = base_register(insn, word)
    if register == 0:
        return
    kind = r.randrange(24)
    at = r.randrange(0, PAGE - 8)
    if is_atomic(insn) and kind:
        at &= ~7
    elif kind == 1:
        at = r.choice((PAGE - 1, PAGE - 3, PAGE, -1, -4, 1 << 30))  # around the end of memory; far from it
    state.x[register] = DATA + at - offset & (1 << xlen) - 1


# What Unicorn does otherwise than the manual.  Each entry corrects the outcome of one instruction, given the state before it.

ALL32, ALL64 = (1 << 32) - 1, (1 << 64) - 1
BOX = ALL32 << 32
CANONICAL_NAN = BOX | 0x7FC0_0000


def expected(oracle: Unicorn, insn: Insn, word: int, state: State) -> Outcome:
    """The outcome of one instruction by Unicorn, corrected."""
    given = read_singles_boxed(insn, word, state)
    outcome = oracle.run(given, word.to_bytes(insn.size, "little"), 1)
    after = outcome.state
    for n in range(32):
        if given.f[n] != state.f[n] and (outcome.cause is not None or n not in written(insn, word)):
            after.f[n] = state.f[n]
    for correct in (write_singles_boxed, minimum_number, infinity_times_zero, amo_exceptions, sc_misaligned, store_over_the_end):
        correct(insn, word, state, outcome)
    return outcome


def written(insn: Insn, word: int) -> list[int]:
    return [insn.number(word, o) for o in insn.results if isinstance(o.kind, Reg) and o.kind.file == "f"]


def read_singles_boxed(insn: Insn, word: int, state: State) -> State:
    """21.2: a single that is not NaN-boxed counts as the canonical NaN.  Unicorn looks at the lower half only."""
    if insn.name in ("fmv.x.w", "fsw", "flw") or not (insn.extension == "f" or insn.name == "fcvt.d.s"):
        return state
    f = list(state.f)
    for o in insn.operands:
        if isinstance(o.kind, Reg) and o.kind.file == "f" and f[insn.number(word, o)] & BOX != BOX:
            f[insn.number(word, o)] = CANONICAL_NAN
    return dataclasses.replace(state, f=f)


def write_singles_boxed(insn: Insn, word: int, state: State, outcome: Outcome) -> None:
    """21.2: single results are NaN-boxed.  Unicorn leaves the upper half 0, or (FMV.W.X) that of the integer register."""
    if outcome.cause is None and (insn.extension == "f" or insn.name == "fcvt.s.d"):
        for n in written(insn, word):
            outcome.state.f[n] |= BOX


def operand(insn: Insn, word: int, state: State, name: str) -> int:
    """A floating-point operand as its row reads it, without box."""
    value = state.f[insn.field(word, name)]
    if insn.extension != "f":
        return value
    return (value if value & BOX == BOX else CANONICAL_NAN) & 0xFFFF_FFFF


def minimum_number(insn: Insn, word: int, state: State, outcome: Outcome) -> None:
    """20.6: FMIN and FMAX of a number and a NaN, even a signalling one, give the number.  Unicorn is of version 2.0: a NaN."""
    if insn.name[:4] in ("fmin", "fmax"):
        magnitude, infinity, box = (ALL32 >> 1, 0xFF << 23, BOX) if insn.extension == "f" else (ALL64 >> 1, 0x7FF << 52, 0)
        a, b = (operand(insn, word, state, n) for n in ("rs1", "rs2"))
        nan_a, nan_b = (v & magnitude > infinity for v in (a, b))
        if nan_a != nan_b:
            outcome.state.f[insn.field(word, "rd")] = (b if nan_a else a) | box


def infinity_times_zero(insn: Insn, word: int, state: State, outcome: Outcome) -> None:
    """20.6: infinity * 0 + NaN is invalid, even if the NaN is quiet.  Unicorn does not say so."""
    if "rs3" in insn.fields and outcome.cause is None:
        magnitude, infinity = (ALL32 >> 1, 0xFF << 23) if insn.extension == "f" else (ALL64 >> 1, 0x7FF << 52)
        a, b = (operand(insn, word, state, n) & magnitude for n in ("rs1", "rs2"))
        if sorted((a, b)) == [0, infinity]:
            outcome.state.fflags |= 16


def amo_exceptions(insn: Insn, word: int, state: State, outcome: Outcome) -> None:
    """Volume II, table of mcause: AMOs raise store/AMO exceptions.  Unicorn raises those of loads."""
    if insn.name.startswith("amo"):
        outcome.cause = {
            traps.LOAD_ADDRESS_MISALIGNED: traps.STORE_ADDRESS_MISALIGNED,
            traps.LOAD_PAGE_FAULT: traps.STORE_PAGE_FAULT,
        }.get(outcome.cause or 0, outcome.cause)


def sc_misaligned(insn: Insn, word: int, state: State, outcome: Outcome) -> None:
    """13.2: an SC to a misaligned address is an exception.  To Unicorn it is one that fails, without a reservation."""
    if insn.name.startswith("sc."):
        register, _ = base_register(insn, word)
        if state.x[register] % (4 if insn.name == "sc.w" else 8):
            outcome.state, outcome.cause = dataclasses.replace(state), traps.STORE_ADDRESS_MISALIGNED


def store_over_the_end(insn: Insn, word: int, state: State, outcome: Outcome) -> None:
    """A store of which a part is not in memory writes nothing here; Unicorn writes the other part."""
    if outcome.cause == traps.STORE_PAGE_FAULT:
        outcome.state.data = state.data


# Programs: straight on, with jumps forward.  Accesses to memory are at sp, s0 and t6, which nothing writes.

BASES = {2: DATA + 0x400, 8: DATA + 0x600, 31: DATA + 0x800}
NOP = (0x13).to_bytes(4, "little")


def random_program(r: random.Random, rows: list[Insn], xlen: int, length: int) -> tuple[State, bytes, int]:
    """A state, code, and how many instructions to execute: at most `length` of the rows, then NOPs."""
    state = random_state(r, xlen)
    state.frm = r.randrange(5)
    for register, address in BASES.items():
        state.x[register] = address
    items: list[tuple[Insn, int]] = []
    while len(items) < length:
        insn = r.choice(rows)
        if insn.name in ("jalr", "c.jr", "c.jalr", "ecall", "ebreak", "c.ebreak"):
            continue
        word = random_word(r, insn)
        if "csr" in insn.fields:
            word = with_field(insn, word, "csr", r.choice((1, 3)))
        if touches_memory(insn):
            bases = [n for n in BASES if "rs1" not in insn.bases or n == 8]
            if "rs1" in insn.fields:
                word = with_field(insn, word, "rs1", r.choice(bases))
            if is_atomic(insn) or insn.width == 32:
                for name in ("imm", "uimm"):
                    word = with_field(insn, word, name, r.randrange(-64, 64) * 8) if name in insn.fields else word
        if any(insn.number(word, o) in BASES for o in insn.results if isinstance(o.kind, Reg) and o.kind.file == "x"):
            continue
        items.append((insn, word))
    starts = [0]
    for insn, _ in items:
        starts.append(starts[-1] + insn.size)
    for k, (insn, word) in enumerate(items):
        if "jump" in insn.function.__code__.co_names:
            target = r.choice(starts[k + 1 : k + 6])
            items[k] = insn, with_field(insn, word, "imm", target - starts[k])
    return state, b"".join(w.to_bytes(i.size, "little") for i, w in items) + NOP * length, length
