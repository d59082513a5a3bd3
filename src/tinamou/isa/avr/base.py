"""Instructions of all AVR cores.  AVR Instruction Set Manual, DS40002198B, chapter 5."""

from __future__ import annotations

from typing import Any

from tinamou.engine.harvard import BREAK, SLEEP, WATCHDOG_RESET
from tinamou.native.ops import bswap
from tinamou.native.types import i8, u8, u16, u32, u64

from . import alu
from .operands import (
    ALL,
    FC,
    FN,
    FT,
    FV,
    FZ,
    R0,
    R1,
    Address,
    Code,
    Compare,
    Logic,
    Number,
    R,
    Relative,
    Rh,
    Shift,
    Sum,
    Zh,
    Zl,
    avr,
)
from .state import CLEAR, FLAGS, SET, Avr, N, S, V

core = avr.extension("core")
sram = avr.extension("sram")  # AVR2 and later
words = avr.extension("sram", CORE=("e", "xm", "xt"))
far = avr.extension("jmp")  # parts with more than 8 KiB of flash
movw_ = avr.extension("movw")
mul_ = avr.extension("mul")

Flag: Any = None  # bound by families of flags
FLAG = VALUE = 0

# -- arithmetic and logic


@core("0000 11rd dddd rrrr", "add {d},{r}")
def add(d: R, r: R) -> Sum:
    return alu.add(d, r, u8(0))


@core("0001 11rd dddd rrrr", "adc {d},{r}")
def adc(d: R, r: R, c: FC) -> Sum:
    return alu.add(d, r, c)


@core("0001 10rd dddd rrrr", "sub {d},{r}")
def sub(d: R, r: R) -> Sum:
    return alu.subtract(d, r, u8(0))


@core("0101 KKKK dddd KKKK", "subi {d},{K:#04x}")
def subi(d: R, K: Number) -> Sum:
    return alu.subtract(d, K, u8(0))


@core("0000 10rd dddd rrrr", "sbc {d},{r}")
def sbc(d: R, r: R, z: FZ, c: FC) -> Sum:
    result, h, v, n, zero, carry = alu.subtract(d, r, c)
    return result, h, v, n, zero | z, carry


@core("0100 KKKK dddd KKKK", "sbci {d},{K:#04x}")
def sbci(d: R, K: Number, z: FZ, c: FC) -> Sum:
    result, h, v, n, zero, carry = alu.subtract(d, K, c)
    return result, h, v, n, zero | z, carry


@core("0001 01rd dddd rrrr", "cp {d},{r}")
def cp(d: R, r: R) -> Compare:
    _result, h, v, n, z, c = alu.subtract(d, r, u8(0))
    return h, v, n, z, c


@core("0000 01rd dddd rrrr", "cpc {d},{r}")
def cpc(d: R, r: R, z: FZ, c: FC) -> Compare:
    _result, h, v, n, zero, carry = alu.subtract(d, r, c)
    return h, v, n, zero | z, carry


@core("0011 KKKK dddd KKKK", "cpi {d},{K:#04x}")
def cpi(d: R, K: Number) -> Compare:
    _result, h, v, n, z, c = alu.subtract(d, K, u8(0))
    return h, v, n, z, c


@core("0010 00rd dddd rrrr", "and {d},{r}")
def and_(d: R, r: R) -> Logic:
    return alu.logic(d & r)


@core("0111 KKKK dddd KKKK", "andi {d},{K:#04x}")
def andi(d: R, K: Number) -> Logic:
    return alu.logic(d & K)


@core("0010 10rd dddd rrrr", "or {d},{r}")
def or_(d: R, r: R) -> Logic:
    return alu.logic(d | r)


@core("0110 KKKK dddd KKKK", "ori {d},{K:#04x}")
def ori(d: R, K: Number) -> Logic:
    return alu.logic(d | K)


@core("0010 01rd dddd rrrr", "eor {d},{r}")
def eor(d: R, r: R) -> Logic:
    return alu.logic(d ^ r)


@core("1001 010d dddd 0000", "com {d}")
def com(d: R) -> Shift:
    result, v, n, z = alu.logic(~d)
    return result, v, n, z, u8(1)


@core("1001 010d dddd 0001", "neg {d}")
def neg(d: R) -> Sum:
    return alu.subtract(u8(0), d, u8(0))


@core("1001 010d dddd 0011", "inc {d}")
def inc(d: R) -> Logic:
    result = d + 1
    return result, ~d & result & 0x80, result, result


@core("1001 010d dddd 1010", "dec {d}")
def dec(d: R) -> Logic:
    result = d - 1
    return result, d & ~result & 0x80, result, result


@core("1001 010d dddd 0110", "lsr {d}")
def lsr(d: R) -> Shift:
    return alu.shifted(d >> 1, d & 1)


@core("1001 010d dddd 0111", "ror {d}")
def ror(d: R, c: FC) -> Shift:
    return alu.shifted(d >> 1 | c << 7, d & 1)


@core("1001 010d dddd 0101", "asr {d}")
def asr(d: R) -> Shift:
    return alu.shifted(d >> 1 | d & 0x80, d & 1)


@core("1001 010d dddd 0010", "swap {d}")
def swap(d: R) -> R:
    return d << 4 | d >> 4


@words("1001 0110 KKdd KKKK", "adiw {d},{K:#04x}", cycles=2, pair=True)
def adiw(d: R, dh: R, K: Number) -> tuple[R, Rh, FV, FN, FZ, FC]:
    value = u16(d) | u16(dh) << 8
    result = value + u16(K)
    v, n, z, c = alu.words(result, ~value & result, value & ~result)
    return u8(result), u8(result >> 8), v, n, z, c


@words("1001 0111 KKdd KKKK", "sbiw {d},{K:#04x}", cycles=2, pair=True)
def sbiw(d: R, dh: R, K: Number) -> tuple[R, Rh, FV, FN, FZ, FC]:
    value = u16(d) | u16(dh) << 8
    result = value - u16(K)
    v, n, z, c = alu.words(result, value & ~result, ~value & result)
    return u8(result), u8(result >> 8), v, n, z, c


@mul_("1001 11rd dddd rrrr", "mul {d},{r}", cycles=2)
def mul(d: R, r: R) -> tuple[R0, R1, FZ, FC]:
    p = u16(d) * u16(r)
    return u8(p), u8(p >> 8), u8(p) | u8(p >> 8), u8(p >> 15)


@mul_("0000 0010 dddd rrrr", "muls {d},{r}", cycles=2)
def muls(d: R, r: R) -> tuple[R0, R1, FZ, FC]:
    p = u16(i8(d)) * u16(i8(r))
    return u8(p), u8(p >> 8), u8(p) | u8(p >> 8), u8(p >> 15)


@mul_("0000 0011 0ddd 0rrr", "mulsu {d},{r}", cycles=2)
def mulsu(d: R, r: R) -> tuple[R0, R1, FZ, FC]:
    p = u16(i8(d)) * u16(r)
    return u8(p), u8(p >> 8), u8(p) | u8(p >> 8), u8(p >> 15)


def doubled(p: u16) -> tuple[u8, u8, u8, u8]:
    """A fractional product: the bit that is shifted out is C."""
    q = p << 1
    return u8(q), u8(q >> 8), u8(q) | u8(q >> 8), u8(p >> 15)


@mul_("0000 0011 0ddd 1rrr", "fmul {d},{r}", cycles=2)
def fmul(d: R, r: R) -> tuple[R0, R1, FZ, FC]:
    return doubled(u16(d) * u16(r))


@mul_("0000 0011 1ddd 0rrr", "fmuls {d},{r}", cycles=2)
def fmuls(d: R, r: R) -> tuple[R0, R1, FZ, FC]:
    return doubled(u16(i8(d)) * u16(i8(r)))


@mul_("0000 0011 1ddd 1rrr", "fmulsu {d},{r}", cycles=2)
def fmulsu(d: R, r: R) -> tuple[R0, R1, FZ, FC]:
    return doubled(u16(i8(d)) * u16(r))


# -- moves


@core("0010 11rd dddd rrrr", "mov {d},{r}")
def mov(r: R) -> R:
    return r


@movw_("0000 0001 dddd rrrr", "movw {d},{r}", pair=True)
def movw(r: R, rh: R) -> tuple[R, Rh]:
    return r, rh


@core("1110 KKKK dddd KKKK", "ldi {d},{K:#04x}")
def ldi(K: Number) -> R:
    return K


# -- jumps: cycles of a core with three-byte return addresses are one more


@core("1100 kkkk kkkk kkkk", "rjmp {k:pc}", cycles=2)
def rjmp(cpu: Avr, k: Relative) -> None:
    cpu.jump(u32(cpu.pc) + k)


@sram("1001 0100 0000 1001", "ijmp", cycles=2)
def ijmp(cpu: Avr, zl: Zl, zh: Zh) -> None:
    cpu.jump((u32(zl) | u32(zh) << 8) << 1)


@far("1001 010k kkkk 110k kkkk kkkk kkkk kkkk", "jmp {k:#x}", cycles=3)
def jmp(cpu: Avr, k: Code) -> None:
    cpu.jump(k)


def push_return(cpu: Avr, address: u32) -> None:
    """Push a code address, low byte first: in memory the high byte comes first."""
    word = address >> 1
    if cpu.wide:
        cpu.store(u8, cpu.sp - 2, u8(word >> 16))
        cpu.store(u16, cpu.sp - 1, bswap(u16(word)))  # restarts: writes the same again
        cpu.sp -= 3
    else:
        cpu.store(u16, cpu.sp - 1, bswap(u16(word)))
        cpu.sp -= 2


def pop_return(cpu: Avr) -> u32:
    if cpu.wide:
        word = u32(cpu.load(u8, cpu.sp + 1)) << 16 | u32(bswap(cpu.load(u16, cpu.sp + 2)))
        cpu.sp += 3
        return word << 1
    low = bswap(cpu.load(u16, cpu.sp + 1))
    cpu.sp += 2
    return u32(low) << 1


@core("1101 kkkk kkkk kkkk", "rcall {k:pc}", cycles=(3, 2, 2, 3), wide=1)
def rcall(cpu: Avr, k: Relative) -> None:
    push_return(cpu, u32(cpu.pc) + 2)
    cpu.jump(u32(cpu.pc) + k)


@sram("1001 0101 0000 1001", "icall", cycles=(3, 2, 2, 3), wide=1)
def icall(cpu: Avr, zl: Zl, zh: Zh) -> None:
    push_return(cpu, u32(cpu.pc) + 2)
    cpu.jump((u32(zl) | u32(zh) << 8) << 1)


@far("1001 010k kkkk 111k kkkk kkkk kkkk kkkk", "call {k:#x}", cycles=(4, 3, 3, 3), wide=1)
def call(cpu: Avr, k: Code) -> None:
    push_return(cpu, u32(cpu.pc) + 4)
    cpu.jump(k)


@core("1001 0101 0000 1000", "ret", cycles=(4, 4, 4, 6), wide=1)
def ret(cpu: Avr) -> None:
    cpu.jump(pop_return(cpu))


@core("1001 0101 0001 1000", "reti", cycles=(4, 4, 4, 6), wide=1)
def reti(cpu: Avr) -> None:
    target = pop_return(cpu)
    if cpu.f[7] == 0:
        cpu.f[7] = u8(1)
        cpu.interrupts_on()
    cpu.jump(target)


eind = avr.extension("eijmp")


@eind("1001 0100 0001 1001", "eijmp", cycles=2)
def eijmp(cpu: Avr, zl: Zl, zh: Zh) -> None:
    cpu.jump((u32(zl) | u32(zh) << 8 | u32(cpu.eind) << 16) << 1)


@eind("1001 0101 0001 1001", "eicall", cycles=(4, 3, 3, 3))
def eicall(cpu: Avr, zl: Zl, zh: Zh) -> None:
    push_return(cpu, u32(cpu.pc) + 2)
    cpu.jump((u32(zl) | u32(zh) << 8 | u32(cpu.eind) << 16) << 1)


# -- conditions: one cycle more when the branch is taken, one for each word that is skipped


def is_set(number: int, flag: u8) -> bool:
    """Whether the flag of that number, as Avr.f keeps it, is set."""
    if number == 1:
        return flag == 0
    if 2 <= number <= 3:
        return flag & 0x80 != 0
    if number == 5:
        return flag & 0x10 != 0
    return flag != 0


BRANCHES = {"brcs": 0, "breq": 1, "brmi": 2, "brvs": 3, "brhs": 5, "brts": 6, "brie": 7}
COMPLEMENTS = {"brcc": 0, "brne": 1, "brpl": 2, "brvc": 3, "brhc": 5, "brtc": 6, "brid": 7}


def _flag_row(name: str, number: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "sss": f"{number:03b}", "Flag": ALL["F" + FLAGS[number]], "FLAG": number, **more}


@core("1111 00kk kkkk k<sss>", "<name> {k:pc}", each=[_flag_row(*row) for row in BRANCHES.items()])
def brbs(cpu: Avr, f: Flag, k: Relative) -> None:
    if is_set(FLAG, f):
        cpu.spend(1)
        cpu.jump(u32(cpu.pc) + k)


@core("1111 01kk kkkk k<sss>", "<name> {k:pc}", each=[_flag_row(*row) for row in COMPLEMENTS.items()])
def brbc(cpu: Avr, f: Flag, k: Relative) -> None:
    if not is_set(FLAG, f):
        cpu.spend(1)
        cpu.jump(u32(cpu.pc) + k)


@core("1111 00kk kkkk k100", "brlt {k:pc}")
def brlt(cpu: Avr, k: Relative) -> None:
    if cpu.signed() != 0:
        cpu.spend(1)
        cpu.jump(u32(cpu.pc) + k)


@core("1111 01kk kkkk k100", "brge {k:pc}")
def brge(cpu: Avr, k: Relative) -> None:
    if cpu.signed() == 0:
        cpu.spend(1)
        cpu.jump(u32(cpu.pc) + k)


def over_next(cpu: Avr) -> u64:
    """How far it is to the instruction after the next one, at a cycle a word; jmp, call, lds and sts have two words."""
    word = cpu.program_word(cpu.pc + 2)
    if word & 0xFE0C == 0x940C or word & 0xFC0F == 0x9000:
        cpu.spend(2)
        return u64(6)
    cpu.spend(1)
    return u64(4)


@core("0001 00rd dddd rrrr", "cpse {d},{r}")
def cpse(cpu: Avr, d: R, r: R) -> None:
    if d == r:
        cpu.forward(over_next(cpu))


@core("1111 110r rrrr 0bbb", "sbrc {r},{b}")
def sbrc(cpu: Avr, r: R, b: Number) -> None:
    if r >> b & 1 == 0:
        cpu.forward(over_next(cpu))


@core("1111 111r rrrr 0bbb", "sbrs {r},{b}")
def sbrs(cpu: Avr, r: R, b: Number) -> None:
    if r >> b & 1 != 0:
        cpu.forward(over_next(cpu))


@core("1001 1001 AAAA Abbb", "sbic {A:#04x},{b}", cycles=(1, 2, 1, 1))
def sbic(cpu: Avr, A: Address, b: Number) -> None:
    if cpu.input(u64(A + cpu.io_base)) >> b & 1 == 0:
        cpu.forward(over_next(cpu))


@core("1001 1011 AAAA Abbb", "sbis {A:#04x},{b}", cycles=(1, 2, 1, 1))
def sbis(cpu: Avr, A: Address, b: Number) -> None:
    if cpu.input(u64(A + cpu.io_base)) >> b & 1 != 0:
        cpu.forward(over_next(cpu))


# -- bits


@core("1001 1010 AAAA Abbb", "sbi {A:#04x},{b}", cycles=(2, 1, 1, 1))
def sbi(cpu: Avr, A: Address, b: Number) -> None:
    cpu.modify(u64(A + cpu.io_base), u8(1) << b, u8(0xFF))


@core("1001 1000 AAAA Abbb", "cbi {A:#04x},{b}", cycles=(2, 1, 1, 1))
def cbi(cpu: Avr, A: Address, b: Number) -> None:
    cpu.modify(u64(A + cpu.io_base), u8(1) << b, u8(0))


@core("1111 101d dddd 0bbb", "bst {d},{b}")
def bst(d: R, b: Number) -> FT:
    return d >> b & 1


@core("1111 100d dddd 0bbb", "bld {d},{b}")
def bld(d: R, b: Number, t: FT) -> R:
    return d & ~(u8(1) << b) | t << b


@core("1001 0100 0<sss> 1000", "<name>", each=[_flag_row("se" + FLAGS[n].lower(), n, VALUE=SET[n]) for n in SET])
def bset() -> Flag:
    return u8(VALUE)


@core("1001 0100 1<sss> 1000", "<name>", each=[_flag_row("cl" + FLAGS[n].lower(), n, VALUE=CLEAR[n]) for n in CLEAR])
def bclr() -> Flag:
    return u8(VALUE)


def _sign_row(number: int, value: int) -> dict[str, Any]:
    name = ("se" if value else "cl") + FLAGS[number].lower()
    return {"name": name, "c": str(1 - value), "sss": f"{number:03b}", "FLAG": number, "VALUE": value}


SIGNS = [_sign_row(n, value) for n in (N, V, S) for value in (0, 1)]


@core("1001 0100 <c><sss> 1000", "<name>", each=SIGNS)
def one_sign(cpu: Avr) -> None:
    """N, V and S by themselves."""
    value = cpu.status() & ~(u8(1) << FLAG)
    if VALUE != 0:
        value |= u8(1) << FLAG
    cpu.set_status(value)


@core("1001 0100 0111 1000", "sei")
def sei(cpu: Avr) -> None:
    if cpu.f[7] == 0:
        cpu.f[7] = u8(1)
        cpu.interrupts_on()


# -- the machine


@core("0000 0000 0000 0000", "nop")
def nop() -> None:
    pass


@core("1001 0101 1000 1000", "sleep")
def sleep(cpu: Avr) -> None:
    if cpu.tell(SLEEP, u64(0), u64(0)) != 0:
        cpu.halted = u64(1)
        cpu.pause()


@core("1001 0101 1010 1000", "wdr")
def wdr(cpu: Avr) -> None:
    cpu.tell(WATCHDOG_RESET, u64(0), u64(0))


@avr.extension("break")("1001 0101 1001 1000", "break")
def break_(cpu: Avr) -> None:
    cpu.tell(BREAK, cpu.pc, u64(0))
