"""Linux on RISC-V, for user mode.

RISC-V ELF psABI 1.0 (e_machine, registers); syscall(2) (a7, a0-a5); the kernel's exported headers asm/sigcontext.h, asm/ucontext.h and
asm/ptrace.h (signal frames), asm/hwcap.h.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING, Any

from tinamou.user.abi import Abi
from tinamou.user.numbers import riscv32, riscv64
from tinamou.user.signals import (
    BUS_ADRALN,
    ILL_ILLOPC,
    INFO_SIZE,
    SEGV_ACCERR,
    SIGBUS,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    frame_head,
    leave_frame,
    registers_at,
)

from .architecture import RV32, RV64
from .models import MODELS, Model
from .state import F_NAMES, X_NAMES
from .traps import (
    BREAKPOINT,
    ECALL_FROM_U,
    ILLEGAL_INSTRUCTION,
    INSTRUCTION_ADDRESS_MISALIGNED,
    INSTRUCTION_PAGE_FAULT,
    LOAD_ADDRESS_MISALIGNED,
    LOAD_PAGE_FAULT,
    STORE_ADDRESS_MISALIGNED,
    STORE_PAGE_FAULT,
)

if TYPE_CHECKING:
    from tinamou.user.process import Process
    from tinamou.user.signals import Action, SigInfo
    from tinamou.user.thread import Thread

RA, SP, TP, A0, A7 = 1, 2, 4, 10, 17
NEEDS = {INSTRUCTION_PAGE_FAULT: 4, LOAD_PAGE_FAULT: 1, STORE_PAGE_FAULT: 2}  # access refused -> PROT_ bit it wants
REGISTERS = {name: ("x", n) for n, name in enumerate(X_NAMES)} | {name: ("f", n) for n, name in enumerate(F_NAMES)}
REGISTERS |= {"fp": ("x", 8), "pc": ("", 0), "fflags": ("", 0), "frm": ("", 0), "fcsr": ("", 0)}
FP_SIZE = 528  # union __riscv_fp_state: room for 128-bit registers


class Riscv(Abi):
    """riscv64 and riscv32, little-endian, with the D extension's register file."""

    machine = 243
    # li a7, 139 (rt_sigreturn); ecall
    trampoline = struct.pack("<II", 139 << 20 | 17 << 7 | 0x13, 0x73)

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits, self.name = bits, f"riscv{bits}"
        self.mask = (1 << bits) - 1
        self.numbers = (riscv64 if bits == 64 else riscv32).NUMBERS  # type: ignore[misc]
        self.limit = 1 << 38 if bits == 64 else 1 << 32
        self.arch = RV64 if bits == 64 else RV32
        self._registers_at = registers_at(self)
        self._fp_at = self._registers_at + 32 * bits // 8
        self._frame_size = INFO_SIZE + self._fp_at + FP_SIZE
        self._registers = struct.Struct("<32Q" if bits == 64 else "<32I")

    # ---- the CPU

    def cpu_models(self) -> list[str]:
        return sorted(name for xlen, name in MODELS if xlen == self.bits)

    def model(self, process: Process) -> Model:
        return MODELS[self.bits, process.options.cpu or "any"]

    def extensions(self, process: Process) -> frozenset[str]:
        return self.model(process).extensions

    def hwcap(self, process: Process) -> int:
        return sum(1 << ord(e) - ord("a") for e in self.extensions(process) if e in "imafdcv")

    def vcpu(self, process: Process) -> Any:
        from tinamou.user.engine import new_vcpu

        model = self.model(process)
        hart = model.hart()
        vcpu = new_vcpu(process, self.arch, hart, model.extensions)
        fields = type(hart).fields
        hart.words = (ctypes.c_uint64 * 32).from_address(hart.address + fields["x"].offset)  # type: ignore[attr-defined]
        hart.floats = (ctypes.c_uint64 * 32).from_address(hart.address + fields["f"].offset)  # type: ignore[attr-defined]
        hart.place = ctypes.c_uint64.from_address(hart.address + fields["pc"].offset)  # type: ignore[attr-defined]
        return vcpu

    def start(self, cpu: Any, entry: int, sp: int) -> None:
        cpu.words[:] = [0] * 32
        cpu.floats[:] = [0] * 32
        cpu.fflags = cpu.frm = 0
        cpu.words[SP] = sp
        cpu.place.value = entry

    def copy_registers(self, new: Any, old: Any) -> None:
        new.words[:] = old.words[:]
        new.floats[:] = old.floats[:]
        new.fflags, new.frm = old.fflags, old.frm
        new.place.value = old.place.value

    def set_thread_pointer(self, cpu: Any, value: int) -> None:
        cpu.words[TP] = value

    def stack_pointer(self, cpu: Any) -> int:
        return int(cpu.words[SP])

    def set_stack_pointer(self, cpu: Any, value: int) -> None:
        cpu.words[SP] = value

    # ---- exceptions

    def trap(self, t: Thread, cause: int, value: int) -> None:
        cpu = t.cpu
        if cause == ECALL_FROM_U:
            words = cpu.words[A0 : A7 + 1]
            cpu.place.value += 4
            t.system_call(words[-1], words[:-1], words[0])
            return
        pc = cpu.place.value
        if cause in NEEDS:
            t.page_fault(NEEDS[cause], value)
        elif cause == BREAKPOINT:
            t.fault(SIGTRAP, TRAP_BRKPT, pc)
        elif cause == ILLEGAL_INSTRUCTION:
            t.fault(SIGILL, ILL_ILLOPC, pc)
        elif cause in (INSTRUCTION_ADDRESS_MISALIGNED, LOAD_ADDRESS_MISALIGNED, STORE_ADDRESS_MISALIGNED):
            t.fault(SIGBUS, BUS_ADRALN, value)
        else:
            t.fault(SIGSEGV, SEGV_ACCERR, value)

    def set_result(self, cpu: Any, result: int) -> None:
        cpu.words[A0] = result & self.mask

    def restart_call(self, cpu: Any, state: Any) -> None:
        cpu.words[A0] = state
        cpu.place.value -= 4

    # ---- for debuggers and logs

    def describe(self, cpu: Any, fpu: bool) -> str:
        digits = self.bits // 4
        rows = [("x", X_NAMES, [w & self.mask for w in cpu.words], digits)] + [("f", F_NAMES, cpu.floats[:], 16)] * fpu
        out = f" pc       {cpu.place.value:0{digits}x}\n"
        for letter, names, values, width in rows:
            for k in range(0, 32, 4):
                cells = [f"{f'{letter}{n}/{names[n]}':<8} {values[n]:0{width}x}" for n in range(k, k + 4)]
                out += " " + " ".join(cells) + "\n"
        return out

    def state(self, cpu: Any) -> dict[str, int]:
        return {name: self.register(cpu, name) for name in ("pc", *X_NAMES, *F_NAMES, "fcsr")}

    def is_call(self, cause: int) -> bool:
        return cause == ECALL_FROM_U

    def register(self, cpu: Any, name: str) -> int:
        kind, number = REGISTERS[name]
        if kind == "x":
            return int(cpu.words[number]) & self.mask
        if kind == "f":
            return int(cpu.floats[number])
        return int({"pc": cpu.place.value, "fflags": cpu.fflags, "frm": cpu.frm}.get(name, int(cpu.frm) << 5 | int(cpu.fflags)))

    def set_register(self, cpu: Any, name: str, value: int) -> None:
        kind, number = REGISTERS[name]
        if kind == "x":
            if number:
                cpu.words[number] = value & self.mask
        elif kind == "f":
            cpu.floats[number] = value
        elif name == "pc":
            cpu.place.value = value & self.mask
        if name in ("fflags", "fcsr"):
            cpu.fflags = value & 31
        if name in ("frm", "fcsr"):
            cpu.frm = (value >> 5 if name == "fcsr" else value) & 7

    def breakpoint(self, size: int) -> bytes:
        return b"\x02\x90" if size == 2 else b"\x73\x00\x10\x00"

    def is_breakpoint(self, cause: int) -> bool:
        return cause == BREAKPOINT

    def page_fault(self, cause: int) -> int:
        return NEEDS.get(cause, 0)

    # ---- signal frames: struct rt_sigframe { siginfo_t info; struct ucontext uc; }

    def push_frame(self, t: Thread, sp: int, info: SigInfo, action: Action) -> None:
        cpu = t.cpu
        frame = (sp - self._frame_size) & -16
        data = bytearray(frame_head(t, info).ljust(self._frame_size, b"\0"))
        context = INFO_SIZE
        registers = [w & self.mask for w in cpu.words]
        registers[0] = cpu.place.value
        self._registers.pack_into(data, context + self._registers_at, *registers)
        struct.pack_into("<32Q", data, context + self._fp_at, *cpu.floats)
        struct.pack_into("<I", data, context + self._fp_at + 256, int(cpu.frm) << 5 | int(cpu.fflags))
        t.memory.write(frame, bytes(data))
        cpu.words[RA] = t.process.sigreturn
        cpu.words[SP] = frame
        cpu.words[A0] = info.signo
        cpu.words[A0 + 1] = frame
        cpu.words[A0 + 2] = frame + INFO_SIZE
        cpu.place.value = action.sa_handler

    def pop_frame(self, t: Thread) -> int:
        cpu = t.cpu
        data = t.memory.read(cpu.words[SP] + INFO_SIZE, self._frame_size - INFO_SIZE)
        registers = self._registers.unpack_from(data, self._registers_at)
        cpu.place.value = registers[0]
        cpu.words[1:] = registers[1:]
        cpu.floats[:] = struct.unpack_from("<32Q", data, self._fp_at)
        (fcsr,) = struct.unpack_from("<I", data, self._fp_at + 256)
        cpu.fflags, cpu.frm = fcsr & 31, fcsr >> 5 & 7
        return leave_frame(t, data)


def abi(name: str) -> Riscv:
    """The ABI by name.  Raises OSError ENOENT for a name that is none of this architecture's."""
    if name not in ("riscv64", "riscv32"):
        raise OSError(errno.ENOENT, f"no Linux ABI {name}")
    return Riscv(int(name[5:]))
