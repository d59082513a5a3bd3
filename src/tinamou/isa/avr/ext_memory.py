"""Data memory, I/O and program memory.  AVR Instruction Set Manual, DS40002198B, chapter 5.

A program that loads a pointer's own register with post-increment or pre-decrement has no defined result.
"""

from __future__ import annotations

from typing import Any

from tinamou.engine.harvard import SELF_PROGRAM
from tinamou.native.types import u8, u16, u32, u64

from .operands import R0, R1, Address, R, Xh, Xl, Yh, Yl, Zh, Zl, avr
from .state import Avr

core = avr.extension("core")
sram = avr.extension("sram")

def word(low: u8, high: u8) -> u16:
    return u16(low) | u16(high) << 8


def low(pointer: u16) -> u8:
    return u8(pointer)


def high(pointer: u16) -> u8:
    return u8(pointer >> 8)


# -- indirect: by X, Y or Z, whose registers a row binds to Low and High


def _pointer(name: str, ramp: int, low: Any, high: Any, *, pp: str, b: str = "") -> dict[str, Any]:
    return {"P": name, "p": name.lower(), "pp": pp, "b": b, "Low": low, "High": high, "RAMP": ramp}


Low: Any = None
High: Any = None
RAMP = 0
POINTERS = [
    _pointer("X", 1, Xl, Xh, pp="11"),
    _pointer("Y", 2, Yl, Yh, pp="10", b="1"),
    _pointer("Z", 3, Zl, Zh, pp="00", b="0"),
]
BASES = POINTERS[1:]  # those that also go without change, and with displacement
LD, LD_INC, LD_DEC, LDD = (2, 1, 2, 1), (2, 1, 2, 2), (2, 2, 2, 2), (2, 2, 2, 2)
ST, ST_DEC = (2, 1, 1, 1), (2, 2, 1, 2)


def data(cpu: Avr, address: u32) -> u8:
    """A byte of the data space.

    On XMEGA one from I/O takes a cycle less than one from memory: the rows have the cycles of I/O.  One from program memory takes one more.
    """
    value = cpu.load(u8, address)
    if cpu.io_end and address >= cpu.io_end:
        cpu.spend(1)
    if cpu.mapped and address >= cpu.mapped:
        cpu.spend(1)
    return value


def far(cpu: Avr, ramp: int, address: u16) -> u32:
    """The data address that a pointer and its register RAMPn make."""
    if cpu.io_end:
        return u32(cpu.ramp[ramp] & cpu.far) << 16 | u32(address)
    return u32(address)


def moved(cpu: Avr, address: u32, distance: int) -> u32:
    """An address off a pointer: of 24 bits, or of 16."""
    if cpu.io_end:
        return address + distance & (u32(cpu.far) << 16 | 0xFFFF)
    return address + distance & 0xFFFF


def point(cpu: Avr, ramp: int, address: u32) -> tuple[u8, u8]:
    """What the pointer's registers become; its RAMPn is written."""
    if cpu.io_end and cpu.far != 0:
        cpu.ramp[ramp] = u8(address >> 16)
    return u8(address), u8(address >> 8)


@sram("1001 000d dddd 1100", "ld {d},X", name="ld.x", cycles=LD)
def ld_x(cpu: Avr, xl: Xl, xh: Xh) -> R:
    return data(cpu, far(cpu, 1, word(xl, xh)))


@core("1000 000d dddd <b>000", "ld {d},<P>", name="ld.<p>", over="ldd.<p>", cycles=LD, each=BASES)
def ld(cpu: Avr, lo: Low, hi: High) -> R:
    return data(cpu, far(cpu, RAMP, word(lo, hi)))


@sram("1001 000d dddd <pp>01", "ld {d},<P>+", name="ld.<p>+", cycles=LD_INC, each=POINTERS)
def ld_inc(cpu: Avr, lo: Low, hi: High) -> tuple[R, Low, High]:
    p = far(cpu, RAMP, word(lo, hi))
    value = data(cpu, p)
    lo, hi = point(cpu, RAMP, moved(cpu, p, 1))
    return value, lo, hi


@sram("1001 000d dddd <pp>10", "ld {d},-<P>", name="ld.-<p>", cycles=LD_DEC, each=POINTERS)
def ld_dec(cpu: Avr, lo: Low, hi: High) -> tuple[R, Low, High]:
    p = moved(cpu, far(cpu, RAMP, word(lo, hi)), -1)
    value = data(cpu, p)
    lo, hi = point(cpu, RAMP, p)
    return value, lo, hi


@sram("1001 001r rrrr 1100", "st X,{r}", name="st.x", cycles=ST)
def st_x(cpu: Avr, r: R, xl: Xl, xh: Xh) -> None:
    cpu.store(u8, far(cpu, 1, word(xl, xh)), r)


@core("1000 001r rrrr <b>000", "st <P>,{r}", name="st.<p>", over="std.<p>", cycles=ST, each=BASES)
def st(cpu: Avr, r: R, lo: Low, hi: High) -> None:
    cpu.store(u8, far(cpu, RAMP, word(lo, hi)), r)


@sram("1001 001r rrrr <pp>01", "st <P>+,{r}", name="st.<p>+", cycles=ST, each=POINTERS)
def st_inc(cpu: Avr, r: R, lo: Low, hi: High) -> tuple[Low, High]:
    p = far(cpu, RAMP, word(lo, hi))
    cpu.store(u8, p, r)
    return point(cpu, RAMP, moved(cpu, p, 1))


@sram("1001 001r rrrr <pp>10", "st -<P>,{r}", name="st.-<p>", cycles=ST_DEC, each=POINTERS)
def st_dec(cpu: Avr, r: R, lo: Low, hi: High) -> tuple[Low, High]:
    p = moved(cpu, far(cpu, RAMP, word(lo, hi)), -1)
    cpu.store(u8, p, r)
    return point(cpu, RAMP, p)


# -- with displacement, direct: not on the reduced core, whose lds and sts have one word

full = avr.extension("sram", CORE=("e", "xm", "xt"))
reduced = avr.extension("core", CORE=("rc",))


@full("10q0 qq0d dddd <b>qqq", "ldd {d},<P>+{q}", name="ldd.<p>", cycles=LDD, each=BASES)
def ldd(cpu: Avr, lo: Low, hi: High, q: Address) -> R:
    return data(cpu, moved(cpu, far(cpu, RAMP, word(lo, hi)), u32(q)))


@full("10q0 qq1r rrrr <b>qqq", "std <P>+{q},{r}", name="std.<p>", cycles=(2, 2, 1, 1), each=BASES)
def std(cpu: Avr, r: R, lo: Low, hi: High, q: Address) -> None:
    cpu.store(u8, moved(cpu, far(cpu, RAMP, word(lo, hi)), u32(q)), r)


@full("1001 000d dddd 0000 kkkk kkkk kkkk kkkk", "lds {d},{k:#06x}", cycles=(2, 2, 3, 2))
def lds(cpu: Avr, k: Address) -> R:
    return data(cpu, far(cpu, 0, k))


@full("1001 001r rrrr 0000 kkkk kkkk kkkk kkkk", "sts {k:#06x},{r}", cycles=2)
def sts(cpu: Avr, r: R, k: Address) -> None:
    cpu.store(u8, far(cpu, 0, k), r)


# The same where most parts have I/O; RAM there is as good, but slower.
near = avr.extension("sram", CORE=("e",))


@near("1001 000d dddd 0000 0000 0000 kkkk kkkk", "lds {d},{k:#06x}", name="lds.io", over="lds", cycles=2)
def lds_io(cpu: Avr, k: Address) -> R:
    return cpu.input(u64(k))


@near("1001 001r rrrr 0000 0000 0000 kkkk kkkk", "sts {k:#06x},{r}", name="sts.io", over="sts", cycles=2)
def sts_io(cpu: Avr, r: R, k: Address) -> None:
    cpu.output(u64(k), r)


def reduced_address(k: u16) -> u16:
    """Data addresses 0x40 to 0xBF: the address is (not bit 8, bit 8, bit 10, bit 9, bits 3:0)."""
    return ~k >> 4 << 7 & 0x80 | k >> 4 << 6 & 0x40 | k >> 1 & 0x30 | k & 0x0F


@reduced("1010 0kkk dddd kkkk", "lds {d},{k:#04x}", name="lds.rc", cycles=2)
def lds_reduced(cpu: Avr, k: Address) -> R:
    return cpu.load(u8, reduced_address(k))


@reduced("1010 1kkk dddd kkkk", "sts {k:#04x},{d}", name="sts.rc")
def sts_reduced(cpu: Avr, d: R, k: Address) -> None:
    cpu.store(u8, reduced_address(k), d)


# -- stack


@sram("1001 001r rrrr 1111", "push {r}", cycles=(2, 1, 1, 1))
def push(cpu: Avr, r: R) -> None:
    cpu.store(u8, cpu.sp, r)
    cpu.sp -= 1


@sram("1001 000d dddd 1111", "pop {d}", cycles=(2, 2, 2, 3))
def pop(cpu: Avr) -> R:
    value = cpu.load(u8, cpu.sp + 1)
    cpu.sp += 1
    return value


# -- I/O; the registers that are in the CPU have rows of their own


@core("1011 0AAd dddd AAAA", "in {d},{A:#04x}")
def in_(cpu: Avr, A: Address) -> R:
    return cpu.input(u64(A + cpu.io_base))


@core("1011 1AAr rrrr AAAA", "out {A:#04x},{r}")
def out(cpu: Avr, A: Address, r: R) -> None:
    cpu.output(u64(A + cpu.io_base), r)


@core("1011 011d dddd 1111", "in {d},0x3f", name="in.sreg", over="in")
def in_sreg(cpu: Avr) -> R:
    return cpu.status()


@core("1011 111r rrrr 1111", "out 0x3f,{r}", name="out.sreg", over="out")
def out_sreg(cpu: Avr, r: R) -> None:
    if cpu.set_status(r):
        cpu.interrupts_on()


@core("1011 011d dddd 1101", "in {d},0x3d", name="in.spl", over="in")
def in_spl(cpu: Avr) -> R:
    return u8(cpu.sp)


@core("1011 111r rrrr 1101", "out 0x3d,{r}", name="out.spl", over="out")
def out_spl(cpu: Avr, r: R) -> None:
    cpu.sp = cpu.sp & 0xFF00 | u16(r)


@core("1011 011d dddd 1110", "in {d},0x3e", name="in.sph", over="in")
def in_sph(cpu: Avr) -> R:
    return u8(cpu.sp >> 8)


@core("1011 111r rrrr 1110", "out 0x3e,{r}", name="out.sph", over="out")
def out_sph(cpu: Avr, r: R) -> None:
    cpu.sp = cpu.sp & 0xFF | u16(r) << 8


# -- program memory

lpm_, lpmx = avr.extension("core", CORE=("e", "xm", "xt")), avr.extension("movw", CORE=("e", "xm", "xt"))
elpm_, elpmx = avr.extension("elpm"), avr.extension("elpmx")


@lpm_("1001 0101 1100 1000", "lpm", cycles=3)
def lpm(cpu: Avr, zl: Zl, zh: Zh) -> R0:
    return cpu.program(u64(word(zl, zh)))


@lpmx("1001 000d dddd 0100", "lpm {d},Z", name="lpm.z", cycles=3)
def lpm_z(cpu: Avr, zl: Zl, zh: Zh) -> R:
    return cpu.program(u64(word(zl, zh)))


@lpmx("1001 000d dddd 0101", "lpm {d},Z+", name="lpm.z+", cycles=3)
def lpm_z_inc(cpu: Avr, zl: Zl, zh: Zh) -> tuple[R, Zl, Zh]:
    p = word(zl, zh)
    return cpu.program(u64(p)), low(p + 1), high(p + 1)


def extended(cpu: Avr, low: u8, high: u8) -> u32:
    """RAMPZ:Z."""
    return u32(cpu.ramp[3]) << 16 | u32(high) << 8 | u32(low)


@elpm_("1001 0101 1101 1000", "elpm", cycles=3)
def elpm(cpu: Avr, zl: Zl, zh: Zh) -> R0:
    return cpu.program(u64(extended(cpu, zl, zh)))


@elpmx("1001 000d dddd 0110", "elpm {d},Z", name="elpm.z", cycles=3)
def elpm_z(cpu: Avr, zl: Zl, zh: Zh) -> R:
    return cpu.program(u64(extended(cpu, zl, zh)))


@elpmx("1001 000d dddd 0111", "elpm {d},Z+", name="elpm.z+", cycles=3)
def elpm_z_inc(cpu: Avr, zl: Zl, zh: Zh) -> tuple[R, Zl, Zh]:
    p = extended(cpu, zl, zh)
    value = cpu.program(u64(p))
    cpu.ramp[3] = u8(p + 1 >> 16)
    return value, u8(p + 1), u8(p + 1 >> 8)


@avr.extension("spm", CORE=("e", "xm", "xt"))("1001 0101 1110 1000", "spm")
def spm(cpu: Avr, zl: Zl, zh: Zh, r0: R0, r1: R1) -> None:
    cpu.tell(SELF_PROGRAM, u64(extended(cpu, zl, zh)), u64(r0) | u64(r1) << 8 | u64(cpu.pc) << 16)


@avr.extension("spmx", CORE=("xm", "xt"))("1001 0101 1111 1000", "spm Z+", name="spm.z+")
def spm_z_inc(cpu: Avr, zl: Zl, zh: Zh, r0: R0, r1: R1) -> tuple[Zl, Zh]:
    p = extended(cpu, zl, zh)
    cpu.tell(SELF_PROGRAM, u64(p), u64(r0) | u64(r1) << 8 | u64(cpu.pc) << 16)
    cpu.ramp[3] = u8(p + 2 >> 16)
    return u8(p + 2), u8(p + 2 >> 8)


# -- XMEGA: a register and a byte of memory in one instruction

rmw = avr.extension("rmw", CORE=("xm",))


@rmw("1001 001d dddd 0100", "xch Z,{d}", cycles=2)
def xch(cpu: Avr, d: R, zl: Zl, zh: Zh) -> R:
    old = cpu.load(u8, far(cpu, 3, word(zl, zh)))
    cpu.store(u8, far(cpu, 3, word(zl, zh)), d)
    return old


@rmw("1001 001d dddd 0101", "las Z,{d}", cycles=2)
def las(cpu: Avr, d: R, zl: Zl, zh: Zh) -> R:
    old = cpu.load(u8, far(cpu, 3, word(zl, zh)))
    cpu.store(u8, far(cpu, 3, word(zl, zh)), old | d)
    return old


@rmw("1001 001d dddd 0110", "lac Z,{d}", cycles=2)
def lac(cpu: Avr, d: R, zl: Zl, zh: Zh) -> R:
    old = cpu.load(u8, far(cpu, 3, word(zl, zh)))
    cpu.store(u8, far(cpu, 3, word(zl, zh)), old & ~d)
    return old


@rmw("1001 001d dddd 0111", "lat Z,{d}", cycles=2)
def lat(cpu: Avr, d: R, zl: Zl, zh: Zh) -> R:
    old = cpu.load(u8, far(cpu, 3, word(zl, zh)))
    cpu.store(u8, far(cpu, 3, word(zl, zh)), old ^ d)
    return old
