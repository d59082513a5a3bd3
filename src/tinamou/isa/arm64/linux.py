"""Linux on AArch64, for user mode.

ELF for the Arm 64-bit Architecture (e_machine); syscall(2) (x8, x0-x5); the kernel's exported headers asm/sigcontext.h, asm/ucontext.h,
asm/hwcap.h and asm/fcntl.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import TYPE_CHECKING, Any, ClassVar

from tinamou.native.types import u32, u64
from tinamou.user.abi import Abi, Flags
from tinamou.user.layout import Struct, layout_of, pointer, sigset, ulong
from tinamou.user.numbers import aarch64
from tinamou.user.signals import (
    BUS_ADRALN,
    BUS_ADRERR,
    ILL_ILLOPC,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SIGBUS,
    SIGILL,
    SIGSEGV,
    SIGTRAP,
    TRAP_BRKPT,
    Stack,
)

from .alu import get_nzcv, set_nzcv
from .architecture import ARM64
from .csr import read_fpsr, write_fpsr
from .models import MODELS, Model
from .state import SP
from .traps import (
    ALIGNMENT,
    EC_BRANCH_TARGET,
    EC_BRK,
    EC_DATA_ABORT,
    EC_INSTRUCTION_ABORT,
    EC_PC_ALIGNMENT,
    EC_SVC,
    EC_UNKNOWN,
    TAG_CHECK,
    TRANSLATION_LEVEL_3,
    WNR,
)

if TYPE_CHECKING:
    from tinamou.user.process import Process
    from tinamou.user.signals import Action, SigInfo
    from tinamou.user.thread import Thread

LR, NUMBER = 30, 8
SEGV_MTESERR = 9
SA_RESTORER = 0x0400_0000
HWCAPS = (
    "fp simd evtstrm aes pmull sha1 sha2 crc32 lse fp16 fp16 cpuid rdm jscvt fcma rcpc dpb sha3 sm3 sm4 dotprod sha512 sve fhm dit uscat "
    "rcpc2 flagm ssbs sb pauth pauth"
).split()  # by bit
INFO_SIZE = 128
# struct ucontext: flags, link, stack, mask, then struct sigcontext on 16 bytes: fault address, x0-x30, sp, pc, pstate, records
MASK_AT, CONTEXT_AT, RECORDS_AT = 40, 176, 176 + 288
FRAME_SIZE = INFO_SIZE + RECORDS_AT + 4096
FPSIMD_MAGIC, FPSIMD_SIZE = 0x4650_8001, 528
REGISTERS = struct.Struct("<34Q")


class RestoredAction(Struct):
    """struct sigaction of the rt_sigaction call."""

    sa_handler: pointer
    sa_flags: ulong
    sa_restorer: pointer
    sa_mask: sigset


class Aarch64(Abi):
    """aarch64, little-endian."""

    name = "aarch64"
    machine = 183
    bits = 64
    numbers = aarch64.NUMBERS
    limit = 1 << 39  # the smallest address space that the kernel offers
    dumps_core = True
    platform = "aarch64"
    trampoline = struct.pack("<II", 0xD280_1168, 0xD400_0001)  # mov x8, #139 (rt_sigreturn); svc #0
    structs: ClassVar[dict[str, type[Struct]]] = {"Action": RestoredAction}
    flags: ClassVar[dict[str, Flags]] = {
        "open": {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000, "O_TMPFILE": 0o20040000},
    }

    # ---- the CPU

    def cpu_models(self) -> list[str]:
        return sorted(MODELS)

    def model(self, process: Process) -> Model:
        name, *properties = (process.options.cpu or "max").split(",")
        switched = {}
        for p in properties:
            key, _, value = p.partition("=")
            switched[key] = value in ("", "on")
        return MODELS[name].with_properties(**switched)

    def extensions(self, process: Process) -> frozenset[str]:
        return self.model(process).extensions

    def hwcap(self, process: Process) -> int:
        have = self.extensions(process) | {"cpuid"}
        return sum(1 << bit for bit, name in enumerate(HWCAPS) if name in have)

    def vcpu(self, process: Process) -> Any:
        from tinamou.user.engine import new_vcpu

        core: Any = self.model(process).core()
        vcpu = new_vcpu(process, ARM64, core, self.extensions(process))
        fields = type(core).fields
        core.words = (ctypes.c_uint64 * 33).from_address(core.address + fields["x"].offset)
        core.vectors = (ctypes.c_uint8 * 512).from_address(core.address + fields["q"].offset)
        core.place = ctypes.c_uint64.from_address(core.address + fields["pc"].offset)
        return vcpu

    def start(self, cpu: Any, entry: int, sp: int) -> None:
        cpu.words[:] = [0] * 33
        cpu.words[SP] = sp
        ctypes.memset(cpu.vectors, 0, 512)
        cpu.fpcr = u32(0)
        write_fpsr(cpu, u32(0))
        set_nzcv(cpu, u32(0))
        cpu.tpidr = u64(0)
        for n in range(len(cpu.keys)):
            cpu.keys[n] = u64(int.from_bytes(os.urandom(8), "little"))
        cpu.place.value = entry

    def copy_registers(self, new: Any, old: Any) -> None:
        new.words[:] = old.words[:]
        ctypes.memmove(new.vectors, old.vectors, 512)
        for name in ("n", "z", "c", "v", "fpcr", "exceptions", "qc", "tpidr", "guarded", "tcf", "tco", "tags", "gcr", "rgsr", "ssbs", "dit"):
            setattr(new, name, getattr(old, name))
        for n in range(len(old.keys)):
            new.keys[n] = old.keys[n]
        new.place.value = old.place.value

    def set_thread_pointer(self, cpu: Any, value: int) -> None:
        cpu.tpidr = u64(value)

    def stack_pointer(self, cpu: Any) -> int:
        return int(cpu.words[SP])

    def set_stack_pointer(self, cpu: Any, value: int) -> None:
        cpu.words[SP] = value

    # ---- exceptions

    def trap(self, t: Thread, cause: int, value: int) -> None:
        cpu = t.cpu
        kind = cause >> 26
        if kind == EC_SVC:
            words = cpu.words
            cpu.place.value += 4
            t.system_call(words[NUMBER], words[0:6], words[0])
            return
        pc = cpu.place.value
        if access := self.page_fault(cause):
            self._page_fault(t, access, value)
        elif kind == EC_BRK:
            t.fault(SIGTRAP, TRAP_BRKPT, pc)
        elif kind == EC_PC_ALIGNMENT or (kind == EC_DATA_ABORT and cause & 63 == ALIGNMENT):
            if kind == EC_PC_ALIGNMENT:
                cpu.place.value = value
            t.fault(SIGBUS, BUS_ADRALN, value)
        elif kind == EC_DATA_ABORT and cause & 63 == TAG_CHECK:
            t.fault(SIGSEGV, SEGV_MTESERR, value)
        elif kind == EC_BRANCH_TARGET:
            cpu.place.value = value
            t.fault(SIGILL, ILL_ILLOPC, value)
        elif kind == EC_UNKNOWN:
            t.fault(SIGILL, ILL_ILLOPC, pc)
        else:
            t.fault(SIGSEGV, SEGV_ACCERR, value)

    def _page_fault(self, t: Thread, access: int, address: int) -> None:
        refusal = t.memory.refusal(address, access)  # none: another thread has mapped it since
        if refusal == "unmapped":
            t.fault(SIGSEGV, SEGV_MAPERR, address)
        elif refusal == "denied":
            t.fault(SIGSEGV, SEGV_ACCERR, address)
        elif refusal == "absent":
            t.fault(SIGBUS, BUS_ADRERR, address)

    def page_fault(self, cause: int) -> int:
        if cause & 63 != TRANSLATION_LEVEL_3:
            return 0
        return {EC_INSTRUCTION_ABORT: 4, EC_DATA_ABORT: 2 if cause & WNR else 1}.get(cause >> 26, 0)

    def set_result(self, cpu: Any, result: int) -> None:
        cpu.words[0] = result & self.mask

    def restart_call(self, cpu: Any, state: Any) -> None:
        cpu.words[0] = state
        cpu.place.value -= 4

    # ---- for debuggers and logs

    def describe(self, cpu: Any, fpu: bool) -> str:
        cells = [f" PC={cpu.place.value:016x}"] + [f"X{n:02}={cpu.words[n]:016x}" for n in range(31)] + [f" SP={cpu.words[SP]:016x}"]
        lines = [" ".join(cells[k : k + 3]) for k in range(0, len(cells), 3)]
        flags = int(get_nzcv(cpu))
        lines.append(f"PSTATE={flags << 28:08x} " + "".join(c if flags >> 3 - k & 1 else "-" for k, c in enumerate("NZCV")) + " EL0t")
        if fpu:
            lines.append(f"FPCR={int(cpu.fpcr):08x} FPSR={int(read_fpsr(cpu)):08x}")
            registers = [bytes(cpu.vectors[16 * n : 16 * n + 16])[::-1].hex() for n in range(32)]
            lines += [" ".join(f"Q{n:02}={registers[n][:16]}:{registers[n][16:]}" for n in (k, k + 1)) for k in range(0, 32, 2)]
        return "\n".join(lines) + "\n"

    def state(self, cpu: Any) -> dict[str, int]:
        names = ("pc", "sp", "cpsr", "fpcr", "fpsr", *(f"x{n}" for n in range(31)), *(f"v{n}" for n in range(32)))
        return {name: self.register(cpu, name) for name in names}

    def is_call(self, cause: int) -> bool:
        return cause >> 26 == EC_SVC

    def register(self, cpu: Any, name: str) -> int:
        if name[0] == "x":
            return int(cpu.words[int(name[1:])])
        if name[0] == "v":
            n = int(name[1:])
            return int.from_bytes(bytes(cpu.vectors[16 * n : 16 * n + 16]), "little")
        special = {"sp": cpu.words[SP], "pc": cpu.place.value, "cpsr": int(get_nzcv(cpu)) << 28, "fpcr": cpu.fpcr, "fpsr": read_fpsr(cpu)}
        return int(special[name])

    def set_register(self, cpu: Any, name: str, value: int) -> None:
        if name[0] == "x":
            cpu.words[int(name[1:])] = value & self.mask
        elif name[0] == "v":
            n = int(name[1:])
            cpu.vectors[16 * n : 16 * n + 16] = list(value.to_bytes(16, "little"))
        elif name == "sp":
            cpu.words[SP] = value & self.mask
        elif name == "pc":
            cpu.place.value = value & self.mask
        elif name == "cpsr":
            set_nzcv(cpu, u32(value >> 28))
        elif name == "fpcr":
            cpu.fpcr = u32(value)
        elif name == "fpsr":
            write_fpsr(cpu, u32(value))
        else:
            raise KeyError(name)

    def breakpoint(self, size: int) -> bytes:
        return b"\x00\x00\x20\xd4"  # brk #0

    def is_breakpoint(self, cause: int) -> bool:
        return cause >> 26 == EC_BRK

    # ---- signal frames: struct rt_sigframe { siginfo_t info; struct ucontext uc; } below a frame record

    def push_frame(self, t: Thread, sp: int, info: SigInfo, action: Action) -> None:
        cpu = t.cpu
        record = sp - 16 & -16
        frame = record - FRAME_SIZE & -16
        data = bytearray(FRAME_SIZE)
        data[:INFO_SIZE] = info.dump(self)
        uc = INFO_SIZE
        data[uc + 16 : uc + 40] = layout_of(Stack, self).dump(t.stack)
        struct.pack_into("<Q", data, uc + MASK_AT, t.mask)
        words = cpu.words[:]
        registers = (0, *words[:31], words[SP], cpu.place.value)
        REGISTERS.pack_into(data, uc + CONTEXT_AT, *registers)
        struct.pack_into("<Q", data, uc + CONTEXT_AT + 272, int(get_nzcv(cpu)) << 28)
        struct.pack_into("<IIII", data, uc + RECORDS_AT, FPSIMD_MAGIC, FPSIMD_SIZE, int(read_fpsr(cpu)), int(cpu.fpcr))
        data[uc + RECORDS_AT + 16 : uc + RECORDS_AT + 528] = bytes(cpu.vectors)
        t.memory.write(frame, bytes(data))
        t.memory.write(record, struct.pack("<QQ", words[29], words[LR]))
        cpu.words[29] = record
        restorer = getattr(action, "sa_restorer", 0) if action.sa_flags & SA_RESTORER else 0
        cpu.words[LR] = restorer or t.process.sigreturn
        cpu.words[SP] = frame
        cpu.words[0] = info.signo
        cpu.words[1] = frame
        cpu.words[2] = frame + INFO_SIZE
        cpu.place.value = action.sa_handler

    def pop_frame(self, t: Thread) -> int:
        cpu = t.cpu
        data = t.memory.read(cpu.words[SP] + INFO_SIZE, FRAME_SIZE - INFO_SIZE)
        registers = REGISTERS.unpack_from(data, CONTEXT_AT)
        cpu.words[:31] = registers[1:32]
        cpu.words[SP] = registers[32]
        cpu.place.value = registers[33]
        set_nzcv(cpu, u32(struct.unpack_from("<Q", data, CONTEXT_AT + 272)[0] >> 28 & 15))
        magic, _, fpsr, fpcr = struct.unpack_from("<IIII", data, RECORDS_AT)
        if magic == FPSIMD_MAGIC:
            write_fpsr(cpu, u32(fpsr))
            cpu.fpcr = u32(fpcr)
            cpu.vectors[:] = data[RECORDS_AT + 16 : RECORDS_AT + 528]
        t.stack = layout_of(Stack, self).load(data[16:40])
        return int(struct.unpack_from("<Q", data, MASK_AT)[0])


def abi(name: str) -> Aarch64:
    """The ABI by name.  Raises OSError ENOENT for a name that is none of this architecture's."""
    if name != "aarch64":
        raise OSError(errno.ENOENT, f"no Linux ABI {name}")
    return Aarch64()
