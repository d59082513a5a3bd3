"""simavr as an oracle: the library of Debian's libsimavr2, by ctypes.  The layout is that of sim_avr.h, version 1.6."""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import POINTER, Structure, c_char_p, c_int, c_int8, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from functools import cache

import pytest

MAX_IOS = 280


class Pool(Structure):
    _fields_ = [("count", c_int), ("irq", c_void_p)]


class IoEntry(Structure):
    _fields_ = [("irq", c_void_p), ("r_param", c_void_p), ("r", c_void_p), ("w_param", c_void_p), ("w", c_void_p)]


class SharedEntry(Structure):
    _fields_ = [("used", c_int), ("io", c_void_p * 8)]


class AvrT(Structure):
    """struct avr_t up to its memories."""

    _fields_ = [
        ("mmcu", c_char_p), ("ioend", c_uint16), ("ramend", c_uint16), ("flashend", c_uint32), ("e2end", c_uint32),
        ("vector_size", c_uint8), ("signature", c_uint8 * 3), ("fuse", c_uint8 * 6), ("lockbits", c_uint8),
        ("rampz", c_uint16), ("eind", c_uint16), ("address_size", c_uint8), ("reset_flags", c_uint32 * 4), ("codeend", c_uint32),
        ("state", c_int), ("frequency", c_uint32), ("vcc", c_uint32), ("avcc", c_uint32), ("aref", c_uint32),
        ("cycle", c_uint64), ("run_cycle_count", c_uint64), ("run_cycle_limit", c_uint64),
        ("sleep_usec", c_uint32), ("time_base", c_uint64),
        ("init", c_void_p), ("reset", c_void_p), ("custom", c_void_p * 3), ("run", c_void_p), ("sleep", c_void_p), ("irq_pool", Pool),
        ("sreg", c_uint8 * 8), ("interrupt_state", c_int8), ("pc", c_uint32), ("reset_pc", c_uint32),
        ("io", IoEntry * MAX_IOS), ("shared_count", c_int), ("shared", SharedEntry * 4),
        ("flash", POINTER(c_uint8)), ("data", POINTER(c_uint8)),
    ]  # fmt: skip


@cache
def library() -> ctypes.CDLL:
    """The library; skips the test where it is not installed (tests/setup-tools does it)."""
    try:
        lib = ctypes.CDLL("libsimavr.so.2")
    except OSError:
        pytest.skip("libsimavr2 is not installed: run tests/setup-tools")
    lib.avr_make_mcu_by_name.restype = POINTER(AvrT)
    lib.avr_make_mcu_by_name.argtypes = [c_char_p]
    for name in ("avr_init", "avr_reset", "avr_run", "avr_run_one", "avr_terminate"):
        getattr(lib, name).argtypes = [POINTER(AvrT)]
    lib.avr_run_one.restype = c_uint32
    return lib


class Simavr:
    """One microcontroller of simavr."""

    def __init__(self, mcu: str) -> None:
        self.lib = library()
        self.avr = self.lib.avr_make_mcu_by_name(mcu.lower().encode())
        assert self.avr, mcu
        self.lib.avr_init(self.avr)
        self.t: AvrT = self.avr.contents
        self.t.frequency = 16_000_000

    def load(self, code: bytes) -> None:
        ctypes.memmove(self.t.flash, code, len(code))
        self.t.codeend = self.t.flashend

    def one(self) -> None:
        """One instruction, without interrupts and timers."""
        self.t.pc = self.lib.avr_run_one(self.avr)

    def run(self) -> int:
        """One instruction, interrupts and timers; gives the state."""
        return int(self.lib.avr_run(self.avr))
