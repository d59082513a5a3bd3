"""State of an AVR.  AVR Instruction Set Manual, DS40002198B, chapter 3 (status register) and 1 (registers and operands)."""

from __future__ import annotations

from typing import Annotated

from tinamou.engine.harvard import HarvardCpu
from tinamou.native.types import Array, u8, u16

C, Z, N, V, S, H, T, I = range(8)  # bits of SREG
FLAGS = "CZNVSHTI"

# Data addresses of the I/O registers that are in the CPU.
RAMPD, RAMPX, RAMPY, RAMPZ, EIND, SPL, SPH, SREG = range(0x58, 0x60)
DATA = 0x80_0000  # where a machine's memory map, and debuggers, have data address 0


class Avr(HarvardCpu):
    """The registers.

    A flag is a byte in the form in which the arithmetic gives it, and becomes a bit of SREG when that is read:
        C, T, I     0 or 1
        Z           set when the byte is 0
        N, V, S     bit 7
        H           bit 4
    """

    r: Annotated[Array[u8], 32]
    f: Annotated[Array[u8], 8]  # C Z N V S H T I
    sp: u16
    ramp: Annotated[Array[u8], 4]  # RAMPD RAMPX RAMPY RAMPZ
    eind: u8
