"""State of an AVR.  AVR Instruction Set Manual, DS40002198B, chapters 1 (status register, registers) and 3 (cores)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from tinamou.engine.harvard import WAKE, HarvardCpu, entered, store_byte
from tinamou.native.memory import call_host
from tinamou.native.ops import ctz, outlined
from tinamou.native.types import Array, u8, u16, u64

C, Z, N, V, S, H, T, I = range(8)  # bits of SREG
FLAGS = "CZNVSHTI"
SET = {C: 1, Z: 0, H: 0x10, T: 1}  # what Avr.f holds for a flag that is set, where no other one depends on it
CLEAR = {C: 0, Z: 1, H: 0, T: 0, I: 0}

# I/O addresses of the registers that are in the CPU.
RAMPD, RAMPX, RAMPY, RAMPZ, EIND, SPL, SPH, SREG = range(0x38, 0x40)
DATA = 0x80_0000  # where a machine's memory map, and debuggers, have data address 0


class Avr(HarvardCpu):
    """The registers.

    A flag is a byte in the form in which the arithmetic gives it, and becomes a bit of SREG when that is read:
        C, T, I     0 or 1
        Z           set when the byte is 0
        N           bit 7
        V           bit 7; what the arithmetic gives has no other bit
        S           is N ^ V, and the other one where bit 6 of V's byte is set: a program may write any SREG
        H           bit 4
    """

    held: ClassVar[tuple[str, ...]] = ("sp",)
    wide: ClassVar[bool] = False  # the program counter has 22 bits: three bytes on the stack
    io_base: ClassVar[int] = 0x20  # data address of I/O address 0; below it are R0 to R31
    io_end: ClassVar[int] = 0  # loads from this data address on take a cycle more than those from I/O; 0: all take the same
    latency: ClassVar[int] = 4  # cycles from an interrupt's acceptance to the first instruction at its vector

    window: ClassVar[str] = "r"
    r: Annotated[Array[u8], 32]
    f: Annotated[Array[u8], 8]  # C Z N V - H T I
    sp: u16
    ramp: Annotated[Array[u8], 4]  # RAMPD RAMPX RAMPY RAMPZ
    far: u8  # 0xFF: data addresses have 24 bits, of which those registers are the highest
    eind: u8
    own: u64  # the registers RAMPD to SREG that there are: bit 0 for RAMPD
    vectors: u64  # code address of vector 1, in bytes
    vector_size: u64  # bytes
    boot: u64  # code address of the boot section
    locked_out: u64  # no interrupts in a section (bit 0 application, bit 1 boot) while the vectors are in the other: lock bits
    closed: u64  # no interrupts at all for the moment

    def __init__(self) -> None:
        super().__init__()
        self.own = u64(0xE8)
        self.f[Z] = u8(1)

    def status(self) -> u8:
        """SREG."""
        f = self.f
        value = f[C] | f[T] << 6 | f[I] << 7
        if f[Z] == 0:
            value |= 1 << Z
        return value | f[N] >> 7 << N | f[V] >> 7 << V | self.signed() << S | (f[H] >> 4 & 1) << H

    def signed(self) -> u8:
        """S."""
        v = self.f[V]
        return (self.f[N] ^ v ^ v << 1) >> 7

    def set_status(self, value: u8) -> bool:
        """Write SREG; whether that enabled interrupts."""
        f = self.f
        on = f[I] == 0 and value >> 7 != 0
        odd = value ^ value >> 1 ^ value >> 2  # bit 2: S is not N ^ V
        f[C], f[Z], f[N], f[V] = value & 1, ~value & 1 << Z, value << 5, value << 4 & 0x80 | odd << 4 & 0x40
        f[H], f[T], f[I] = value >> 1, value >> 6 & 1, value >> 7
        return on

    def is_own(self, address: u64) -> bool:
        if address < self.io_base:
            return True
        number = address - self.io_base - RAMPD
        return number < 8 and self.own >> number & 1 != 0

    def own_load(self, address: u64) -> u8:
        if address < self.io_base:
            return self.r[address & 31]
        number = address - self.io_base
        if number == SREG:
            return self.status()
        if number == SPH:
            return u8(self.sp >> 8)
        if number == SPL:
            return u8(self.sp)
        if number == EIND:
            return self.eind
        return self.ramp[number - RAMPD & 3]

    def own_store(self, address: u64, value: u8) -> bool:
        if address < self.io_base:
            self.r[address & 31] = value
            return False
        number = address - self.io_base
        if number == SREG:
            return self.set_status(value)
        if number == SPH:
            self.sp = self.sp & 0xFF | u16(value) << 8
        elif number == SPL:
            self.sp = self.sp & 0xFF00 | u16(value)
        elif number == EIND:
            self.eind = value
        else:
            self.ramp[number - RAMPD & 3] = value
        return False

    def is_deaf(self) -> bool:
        return self.f[I] == 0 or self.is_held()

    def is_held(self) -> bool:
        if self.closed != 0:
            return True
        if self.locked_out == 0:
            return False
        inside = u64(1) if self.target >= self.boot else u64(0)
        vectors = u64(1) if self.vectors >= self.boot else u64(0)
        return inside != vectors and self.locked_out >> inside & 1 != 0

    def interrupt(self) -> bool:
        if self.is_deaf():
            return False
        enter(self)
        return True


@outlined
def enter(cpu: Avr) -> None:
    """Enter the vector of the first requested interrupt; bit n of a request is vector n."""
    vector = u64(ctz(cpu.lines | cpu.asked))
    back = cpu.target >> 1
    for k in range(3 if cpu.wide else 2):
        store_byte(cpu, u64(cpu.sp), u8(back >> (8 * k)), cpu.instructions)
        cpu.sp -= 1
    cpu.f[I] = u8(0)
    cpu.instructions += cpu.latency
    if cpu.halted != 0:
        cpu.halted = u64(0)
        cpu.instructions += 4
        call_host(cpu.call, vector, u64(WAKE), u64(0), cpu.instructions)
    cpu.target = cpu.vectors + (vector - 1) * cpu.vector_size & cpu.code_mask
    entered(cpu, vector)


class AvrWide(Avr):
    """ATmega2560 and others with more than 128 KiB of flash."""

    wide: ClassVar[bool] = True
    latency: ClassVar[int] = 5


class AvrDirect(Avr):
    """XMEGA, and the tiny and mega parts since 2016: the registers are not in the data space, which begins with I/O.

    In the latter, and in the reduced core, it ends with program memory.
    """

    io_base: ClassVar[int] = 0
    latency: ClassVar[int] = 5


class AvrMapped(AvrDirect):
    mapped: ClassVar[int] = 0x8000


class AvrReduced(AvrDirect):
    mapped: ClassVar[int] = 0x4000


class AvrXmega(AvrDirect):
    io_end: ClassVar[int] = 0x1000


class AvrXmegaWide(AvrXmega):
    wide: ClassVar[bool] = True


STATES: dict[tuple[str, bool], type[Avr]] = {
    **{("e", False): Avr, ("e", True): AvrWide, ("xm", False): AvrXmega, ("xm", True): AvrXmegaWide},
    **{("xt", False): AvrMapped, ("rc", False): AvrReduced},
}
