"""The floating-point instructions of an x86-64 host, as an oracle: SSE2, FMA3, F16C and x87 with their flags."""

from __future__ import annotations

import ctypes
import mmap
import platform
from pathlib import Path

X86_64 = platform.machine() in ("x86_64", "AMD64")
FEATURES = set(Path("/proc/cpuinfo").read_text().split()) if X86_64 and Path("/proc/cpuinfo").exists() else set()

# SSE's order (MXCSR) and x87's (status word) are the same: IE DE ZE OE UE PE.
INVALID, DENORMAL, DIVBYZERO, OVERFLOW, UNDERFLOW, INEXACT = (1 << i for i in range(6))
FLUSH_TO_ZERO, DENORMALS_ARE_ZERO = 0x8000, 0x40

# void f(a, b, c, out, control): rdi, rsi, rdx, rcx, r8
_LOAD = {64: "f20f1007 f20f100e f20f1012", 32: "f30f1007 f30f100e f30f1012", 0: ""}
_STORE = {64: "f20f1101", 32: "f30f1101", 0: "488901"}  # rax


class Code:
    """Machine code behind a call."""

    page = mmap.mmap(-1, 1 << 16, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) if X86_64 else None
    used = 0

    def __init__(self, code: str) -> None:
        raw = bytes.fromhex(code)
        assert Code.page is not None
        base = ctypes.addressof(ctypes.c_char.from_buffer(Code.page))
        Code.page[Code.used : Code.used + len(raw)] = raw
        self.call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5)(base + Code.used)
        Code.used += len(raw) + 15 & ~15
        self.buffer = ctypes.create_string_buffer(16 * 5)
        self.at = [ctypes.addressof(self.buffer) + 16 * i for i in range(5)]

    def run(self, operands: tuple[int, ...], control: bytes) -> tuple[int, bytes]:
        for i, x in enumerate(operands):
            self.buffer[16 * i : 16 * i + 16] = int(x).to_bytes(16, "little")
        self.buffer[48:64] = bytes(16)
        self.buffer[64 : 64 + len(control)] = control
        self.call(*self.at)
        return int.from_bytes(self.buffer[48:64], "little"), self.buffer[64:80]


class Sse(Code):
    """An instruction on xmm0 = a, xmm1 = b, xmm2 = c whose result is in xmm0, or (out=0) in rax."""

    def __init__(self, code: str, load: int, out: int | None = None) -> None:
        out = load if out is None else out
        # ldmxcsr [r8]; loads; xor eax, eax; code; store; stmxcsr [r8]; ldmxcsr [r8 + 4]; ret
        super().__init__(f"410fae10 {_LOAD[load]} 31c0 {code} {_STORE[out]} 410fae18 410fae5004 c3")

    def __call__(self, *operands: int, rounding: int = 0, mxcsr: int = 0) -> tuple[int, int]:
        control = (0x1F80 | rounding << 13 | mxcsr).to_bytes(4, "little") + (0x1F80).to_bytes(4, "little")
        result, after = self.run(operands, control)
        return result, after[0] & 0x3F


class X87(Code):
    """An instruction on st(0) = a, st(1) = b; the control and the status word after it."""

    def __init__(self, code: str, load: str = "db2e db2f", store: str = "db39", status_of_store: bool = False) -> None:
        # fninit; fldcw [r8]; loads; code; store to [rcx]; fnstsw [r8 + 2] before or after; fninit; ret
        status = "41dd7802"
        end = store + status if status_of_store else status + store
        super().__init__(f"dbe3 41d928 {load} {code} {end} dbe3 c3")

    def __call__(self, *operands: int, rounding: int = 0, precision: int = 3) -> tuple[int, int]:
        """The result and the status word."""
        result, after = self.run(operands, (0x3F | precision << 8 | rounding << 10).to_bytes(2, "little"))
        return result, int.from_bytes(after[2:4], "little")
