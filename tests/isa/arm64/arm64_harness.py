"""Run A64 code on any engine from a given state, and compare with Unicorn.

The code is in the state's memory (`place`).
"""

from __future__ import annotations

import ctypes
import random
import re
import struct
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

import unicorn
from unicorn import arm64_const as uc

from tinamou.engine.cpu import EXECUTE, READ, WRITE, Trap
from tinamou.engine.golden import Golden, Ram
from tinamou.engine.patterns import Imm, Insn
from tinamou.isa.arm64 import isa, traps
from tinamou.isa.arm64.alu import get_nzcv, set_nzcv
from tinamou.isa.arm64.architecture import ARM64
from tinamou.isa.arm64.state import SP, Core, read_fpsr, write_fpsr
from tinamou.native.types import u32, u64

MEMORY = 0x1_0000_0000  # readable, writable, executable; nothing else is memory
SIZE = 0x4_0000
CODE = MEMORY + SIZE // 2
U64 = (1 << 64) - 1
FPCR_MASK = 0x07C8_0000  # AHP DN FZ RMode FZ16


@dataclass
class State:
    """What an instruction of EL0 can read or write."""

    pc: int = CODE
    x: list[int] = field(default_factory=lambda: [0] * 31)
    sp: int = MEMORY
    nzcv: int = 0
    v: list[int] = field(default_factory=lambda: [0] * 32)
    fpcr: int = 0
    fpsr: int = 0
    data: bytes = bytes(SIZE)

    def differences(self, other: State) -> dict[str, tuple[str, str]]:
        out = {}
        for name in ("pc", "sp", "nzcv", "fpcr", "fpsr"):
            a, b = getattr(self, name), getattr(other, name)
            if a != b:
                out[name] = f"{a:#x}", f"{b:#x}"
        for file in "xv":
            for n, (a, b) in enumerate(zip(getattr(self, file), getattr(other, file), strict=True)):
                if a != b:
                    out[f"{file}{n}"] = f"{a:#x}", f"{b:#x}"
        if self.data != other.data:
            at = next(i for i in range(SIZE) if self.data[i] != other.data[i]) & ~15
            out[f"data+{at:#x}"] = self.data[at : at + 32].hex(), other.data[at : at + 32].hex()
        return out


@dataclass
class Outcome:
    """The state after the run, and the class of the exception that ended it early (bits 31:26 of the syndrome)."""

    state: State
    exception: int | None = None


def put(core: Core, state: State) -> None:
    core.pc = u64(state.pc)
    x = Core.fields["x"].offset
    ctypes.memmove(core.address + x, struct.pack("<31Q", *state.x), 248)
    core.x[SP] = u64(state.sp)
    set_nzcv(core, u32(state.nzcv))
    core.fpcr = u32(state.fpcr)
    write_fpsr(core, u32(state.fpsr))
    data = b"".join(v.to_bytes(16, "little") for v in state.v)
    ctypes.memmove(core.address + Core.fields["q"].offset, data, 512)


def get(core: Core, data: bytes) -> State:
    x = list(struct.unpack("<31Q", ctypes.string_at(core.address + Core.fields["x"].offset, 248)))
    raw = ctypes.string_at(core.address + Core.fields["q"].offset, 512)
    v = [int.from_bytes(raw[16 * n : 16 * n + 16], "little") for n in range(32)]
    assert core.x[31] == 0
    return State(int(core.pc), x, int(core.x[SP]), int(get_nzcv(core)), v, int(core.fpcr), int(read_fpsr(core)), data)


class Engine(Protocol):
    name: str

    def run(self, state: State, count: int = 1) -> Outcome:
        """Execute `count` instructions from state.pc, or up to an exception."""


class GoldenEngine:
    """The rows in CPython."""

    name = "golden"

    def __init__(self) -> None:
        self.core = Core()
        self.ram = Ram(MEMORY, SIZE)
        self.golden = Golden(isa(), self.core, self.ram)

    def run(self, state: State, count: int = 1) -> Outcome:
        put(self.core, state)
        self.ram.data[:] = state.data
        cause = None
        try:
            self.golden.step(count)
        except Trap as trap:
            cause = trap.cause >> 26
        return Outcome(get(self.core, bytes(self.ram.data)), cause)


class NativeEngine:
    """Compiled handlers."""

    name = "native"

    def __init__(self) -> None:
        from support.flat_guest import FlatGuest

        self.guest = FlatGuest(ARM64, limit=1 << 34)
        self.guest.map(MEMORY, SIZE, READ | WRITE | EXECUTE)
        self.vcpu = self.guest.vcpu()
        self.record = self.guest.thread(self.vcpu)

    def run(self, state: State, count: int = 1) -> Outcome:
        core = self.vcpu.cpu
        put(core, state)
        self.guest.write(MEMORY, state.data)
        self.guest.thread(self.vcpu)
        exit = self.vcpu.step(count)
        cause = exit.cause >> 26 if exit.trap else None
        if cause == traps.EC_INSTRUCTION_ABORT and core.pc != state.pc:  # the target of a jump, which the others do not fetch
            cause = None
        return Outcome(get(core, self.guest.read(MEMORY, SIZE)), cause)

    def close(self) -> None:
        self.record.close()
        self.guest.close()


EXCEPTIONS = {
    unicorn.UC_ERR_READ_UNMAPPED: traps.EC_DATA_ABORT,
    unicorn.UC_ERR_WRITE_UNMAPPED: traps.EC_DATA_ABORT,
    unicorn.UC_ERR_READ_UNALIGNED: traps.EC_DATA_ABORT,
    unicorn.UC_ERR_WRITE_UNALIGNED: traps.EC_DATA_ABORT,
    unicorn.UC_ERR_INSN_INVALID: traps.EC_UNKNOWN,
    unicorn.UC_ERR_EXCEPTION: traps.EC_DATA_ABORT,
}
INTERRUPTS = {1: traps.EC_UNKNOWN, 2: traps.EC_SVC, 3: traps.EC_INSTRUCTION_ABORT, 4: traps.EC_DATA_ABORT, 7: traps.EC_BRK}


class Unicorn:
    """The oracle: an independent implementation of A64."""

    def __init__(self) -> None:
        self.uc = u = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        u.ctl_set_cpu_model(uc.UC_CPU_ARM64_MAX)
        u.mem_map(MEMORY, SIZE)
        u.reg_write(uc.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        self.interrupts: list[int] = []
        u.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self.x = [uc.UC_ARM64_REG_X0 + n for n in range(29)] + [uc.UC_ARM64_REG_X29, uc.UC_ARM64_REG_X30]
        self.v = [uc.UC_ARM64_REG_Q0 + n for n in range(32)]

    def _interrupt(self, u: unicorn.Uc, number: int, _: object) -> None:
        self.interrupts.append(number)
        u.emu_stop()

    def run(self, state: State, count: int = 1) -> Outcome:
        """Where a run ended by an exception stopped is not known: pc is then that of the initial state."""
        u = self.uc
        u.mem_write(MEMORY, state.data)
        u.ctl_remove_cache(state.pc & ~0xFFF, (state.pc & ~0xFFF) + 0x1000)
        for register, value in zip(self.x, state.x, strict=True):
            u.reg_write(register, value)
        for register, value in zip(self.v, state.v, strict=True):
            u.reg_write(register, value)
        u.reg_write(uc.UC_ARM64_REG_SP, state.sp)
        u.reg_write(uc.UC_ARM64_REG_NZCV, state.nzcv << 28)
        u.reg_write(uc.UC_ARM64_REG_FPCR, state.fpcr)
        u.reg_write(uc.UC_ARM64_REG_FPSR, state.fpsr)
        self.interrupts.clear()
        cause = None
        try:
            u.emu_start(state.pc, U64 - 3, 0, count)
        except unicorn.UcError as e:
            if e.errno != unicorn.UC_ERR_FETCH_UNMAPPED:
                cause = EXCEPTIONS[e.errno]
        if self.interrupts:
            cause = INTERRUPTS.get(self.interrupts[0], self.interrupts[0] + 1000)
        pc = state.pc if cause is not None else u.reg_read(uc.UC_ARM64_REG_PC)
        x = [u.reg_read(r) for r in self.x]
        v = [u.reg_read(r) for r in self.v]
        nzcv = u.reg_read(uc.UC_ARM64_REG_NZCV) >> 28
        fpsr, fpcr = u.reg_read(uc.UC_ARM64_REG_FPSR), u.reg_read(uc.UC_ARM64_REG_FPCR)
        after = State(pc, x, u.reg_read(uc.UC_ARM64_REG_SP), nzcv, v, fpcr, fpsr, bytes(u.mem_read(MEMORY, SIZE)))
        return Outcome(after, cause)


# Random cases.

INTEGERS = [0, 1, 2, -1, -2, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 32) - 1, -1 << 31, 1 << 63, (1 << 63) - 1, 0x80, 0xFF, 0x7FFF, 0x8000]
HALVES = [0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFE12, 1, 0x83FF, 0x0400, 0x7BFF, 0x3800, 0x3E00, 0x6401, 0x1400]
SINGLES = [
    0x0000_0000, 0x8000_0000, 0x3F80_0000, 0xBF80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x7F80_0001, 0xFFC0_1234, 0x0000_0001,
    0x807F_FFFF, 0x0080_0000, 0x7F7F_FFFF, 0x4F00_0000, 0xCF00_0000, 0x5F00_0000, 0x3F00_0000, 0x3FC0_0000, 0x4B00_0001, 0x3400_0000,
]  # fmt: skip
DOUBLES = [
    0, 1 << 63, 0x3FF0 << 48, 0xBFF0 << 48, 0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, (0x7FF0 << 48) + 1, (0xFFF8 << 48) + 5, 1,
    (1 << 63) + (1 << 52) - 1, 1 << 52, (0x7FF0 << 48) - 1, 0x41E0 << 48, 0xC1E0 << 48, 0x43E0 << 48, 0x3FE0 << 48, 0x3FF8 << 48,
    (0x4330 << 48) + 1, 0x3CB0 << 48, 0x47EF_FFFF_F000_0000, 0x380F_FFFF_FFFF_FFFF, 0x36A0 << 48, 0x41DF_FFFF_FFC0_0000,
]  # fmt: skip


def random_integer(r: random.Random, bits: int = 64) -> int:
    match r.randrange(8):
        case 0 | 1:
            value = r.choice(INTEGERS)
        case 2:
            value = r.choice(INTEGERS) + r.randrange(-3, 4)
        case 3:
            value = 1 << r.randrange(bits)
        case 4:
            value = r.getrandbits(bits) >> r.randrange(bits)
        case _:
            value = r.getrandbits(bits)
    return value & (1 << bits) - 1


def random_float(r: random.Random, bits: int) -> int:
    table, fraction, bias = {16: (HALVES, 10, 15), 32: (SINGLES, 23, 127), 64: (DOUBLES, 52, 1023)}[bits]
    value = r.choice(table) if r.randrange(2) else r.getrandbits(bits)
    if r.randrange(3) == 0:  # exponents near those of others, so that sums cancel and round
        exponent = (bias + r.randrange(-30, 30)) % (2 * bias)
        value = value & ~(2 * bias + 1 << fraction) | exponent << fraction
    return value


def random_vector(r: random.Random) -> int:
    lane = r.choice((8, 16, 32, 64))
    if lane > 8 and r.randrange(3):
        return sum(random_float(r, lane) << i for i in range(0, 128, lane))
    return sum(random_integer(r, lane) << i for i in range(0, 128, lane))


def random_state(r: random.Random, data: bytes) -> State:
    fpcr = 0 if r.randrange(3) == 0 else r.getrandbits(32) & FPCR_MASK
    fpsr = r.choice((0, 0, 0x0800_009F, r.getrandbits(32) & 0x0800_009F))
    x = [random_integer(r) for _ in range(31)]
    return State(CODE, x, random_integer(r) & ~15, r.getrandbits(4), [random_vector(r) for _ in range(32)], fpcr, fpsr, data)


@cache
def random_data(seed: int) -> bytes:
    return random.Random(seed).randbytes(1 << 12) * (SIZE >> 12)


def random_word(r: random.Random, insn: Insn, **fixed: int) -> int:
    """An encoding of a row with random fields."""
    for _ in range(1000):
        word = r.getrandbits(32) & ~insn.mask | insn.value
        for name, value in fixed.items():
            if name in insn.fields:
                word = with_field(insn, word, name, value)
        if insn.matches(word) and not any(i.matches(word) for i in _special(insn.name)):
            return word
    raise AssertionError(f"{insn.name} has no encoding of its own")


@cache
def _special(name: str) -> tuple[Insn, ...]:
    """Rows that are special cases of this one."""
    insn = isa().by_name[name]
    return tuple(
        i for i in isa().insns if i.mask & insn.mask != i.mask and any(o == insn.name or insn.name.startswith(o + ".R") for o in i.over)
    )


def with_field(insn: Insn, word: int, name: str, value: int) -> int:
    for p in insn.fields[name]:
        word = word & ~((1 << p.width) - 1 << p.source) | (value >> p.target & (1 << p.width) - 1) << p.source
    return word


MEMORY_NAMES = {
    "load", "load_pair", "store", "store_pair", "atomic", "compare_swap", "check_store", "load_list", "store_list", "load_structures",
    "store_structures", "load_lane", "store_lane", "load_all", "store_tags", "store_pair_tagged",
}  # fmt: skip


def touches_memory(insn: Insn) -> bool:
    return bool(MEMORY_NAMES & set(insn.function.__code__.co_names))


def aim(r: random.Random, insn: Insn, word: int, state: State) -> int:
    """Let the address of a memory access be mostly in memory, aligned if it must be; gives the word, changed if need be."""
    names = ("Rn", "Rt") if insn.name.startswith(("dc", "ic")) else ("Rn",)
    base = next((o for o in insn.operands if o.name in names), None)
    if base is None:  # a literal
        return with_field(insn, word, "imm", r.randrange(-0x1000, 0x1000) & ~3 & (1 << insn.bits("imm")) - 1)
    fields = [n for n in ("Rs", "Rt", "Rt2", "Rm") if n in insn.fields and n != base.name]
    while True:  # registers that are the same are unpredictable, or no address
        numbers = [insn.number(word, base), *(insn.field(word, n) for n in fields)]
        if len(set(numbers)) == len(numbers):
            break
        for n in fields:
            word = with_field(insn, word, n, r.randrange(31))
    at = r.randrange(SIZE // 4, SIZE // 4 * 3)
    kind = r.randrange(16)
    if kind == 0:
        at = r.choice((0, SIZE, SIZE - 1, SIZE - 4, SIZE - 8, SIZE - 12, SIZE - 20, -1, -4, 1 << 40))
    elif kind < 8:
        at &= ~15
    offset = next((insn.number(word, o) for o in insn.operands if isinstance(o.kind, Imm) and o.name == "imm"), 0)
    address = MEMORY + at - (offset if kind < 8 else 0) & U64
    n = insn.number(word, base)
    if n == SP or (n == 31 and isinstance(base.kind, Imm)):
        state.sp = address if r.randrange(4) == 0 else address & ~15
    elif n < 31:
        state.x[n] = address
    if "Rm" in insn.fields:
        m = insn.field(word, "Rm")
        if m != 31:
            state.x[m] = r.choice((r.randrange(0x1000), -r.randrange(0x1000) & U64, r.randrange(0x1000) | r.getrandbits(32) << 32))
    return word



def place(state: State, code: bytes) -> None:
    """Put the code where the state's pc is."""
    at = state.pc - MEMORY
    state.data = state.data[:at] + code + state.data[at + len(code) :]


# What Unicorn does otherwise than the manual.

ALIGNED = {"ldar", "stlr", "ldlar", "stllr", "ldapr", "ldxr", "stxr", "ldxp", "stxp", "ld", "swp", "cas", "casp"}


def by_stack(insn: Insn, word: int) -> bool:
    """An access whose base register is SP."""
    return touches_memory(insn) and "Rn" in insn.function.__code__.co_varnames and word >> 5 & 31 == 31


def verdict(insn: Insn, word: int, before: State, ours: Outcome, theirs: Outcome) -> dict[str, tuple[object, object]]:
    """What of the outcome is wrong."""
    name = insn.name.split(".")[0]
    if by_stack(insn, word) and before.sp % 16:  # CheckSPAlignment.  Unicorn does not.
        found = dict(before.differences(ours.state))
        return found if ours.exception == traps.EC_SP_ALIGNMENT else {"exception": (ours.exception, traps.EC_SP_ALIGNMENT)}
    if ours.exception is not None:
        undone = before.differences(ours.state)  # nothing was written; Unicorn leaves halves of pairs
        if undone or ours.exception == theirs.exception:
            return dict(undone)
        if ours.exception == traps.EC_PC_ALIGNMENT:
            return {}  # taken before the target is fetched; Unicorn does not fetch it
        if ours.exception == traps.EC_DATA_ABORT and name in ALIGNED:
            return {}  # B2.5.2: ordered and atomic accesses must be aligned.  Unicorn demands it of some only.
        if ours.exception == traps.EC_DATA_ABORT and name == "dc":
            return {}  # C5.3: cleaning what is not mapped is a fault.  Unicorn does nothing.
        return {"exception": (ours.exception, theirs.exception)}
    if theirs.exception is not None:
        return {"exception": (None, theirs.exception)}
    out: dict[str, tuple[object, object]] = dict(ours.state.differences(theirs.state))
    if name == "ld" and insn.name.split(".")[1:] and {"smax", "smin"} & set(insn.name.split(".")):
        out = {k: v for k, v in out.items() if not k.startswith("data")}  # Unicorn compares without extending the sign
        if out == {}:
            out = signed_extreme(insn, word, before, ours)
    if name in ("blr", "br", "ret") or insn.name.startswith("bti.b"):  # it has no TBI at EL1: the top byte stays
        out = {} if set(out) <= {"pc"} and int(ours.state.pc) == int(theirs.state.pc) & (1 << 56) - 1 else out
    if name == "fjcvtzs" and set(out) <= {"nzcv"} and before.fpcr >> 24 & 1:
        return {}  # FPToFixedJS: a flushed operand is not exact
    if name == "fcmla_element_4h":
        out.pop("fpsr", None)  # Unicorn computes the upper half too and keeps its exceptions
    if insn.name.startswith("fcvtz_scalar_fixed.s.h"):
        # the sign above the half stays there
        out = {k: v for k, v in out.items() if not (k[0] == "v" and int(str(v[0]), 16) == int(str(v[1]), 16) & 0xFFFF)}
    return out


def signed_extreme(insn: Insn, word: int, before: State, ours: Outcome) -> dict[str, tuple[object, object]]:
    """LDSMAX and LDSMIN by their definition."""
    size = 1 << (word >> 30)
    n, s = word >> 5 & 31, word >> 16 & 31
    at = (before.sp if n == 31 else before.x[n]) - MEMORY
    value = (before.x[s] if s < 31 else 0) & (1 << 8 * size) - 1
    old = before.data[at : at + size]
    pick = max if "smax" in insn.name else min
    want = pick(int.from_bytes(old, "little", signed=True), int.from_bytes(value.to_bytes(size, "little"), "little", signed=True))
    got = int.from_bytes(ours.state.data[at : at + size], "little", signed=True)
    return {} if got == want else {"memory": (got, want)}


SKIPPED = re.compile(r"mrs|msr|sys|svc|brk|udf|hlt|dcps|hvc|smc|eret|drps|wf[ei]|ic_ivau|rndr|xaflag_")


def skipped(insn: Insn) -> bool:
    """What depends on the privilege or the processor."""
    return bool(SKIPPED.match(insn.name))
