"""Linux on AArch64, for user mode.

ELF for the Arm 64-bit Architecture (e_machine, GNU_PROPERTY_AARCH64_FEATURE_1_AND); syscall(2) (x8, x0-x5); the kernel's exported headers
asm/sigcontext.h, asm/ucontext.h, asm/hwcap.h, asm/mman.h, asm/fcntl.h and linux/prctl.h, and its Documentation/arch/arm64:
memory-tagging-extension.rst, tagged-address-abi.rst, pointer-authentication.rst, elf_hwcaps.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tinamou.native.types import u32, u64
from tinamou.user.abi import Abi, Flags
from tinamou.user.errors import GuestFault
from tinamou.user.layout import Struct, pointer, sigset, ulong
from tinamou.user.numbers import aarch64
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
    SigInfo,
    frame_head,
    leave_frame,
)

from .alu import get_nzcv, set_nzcv
from .architecture import ARM64
from .models import DFR0, ISAR0, ISAR1, MIDR, MMFR0, MODELS, MPIDR, PFR0, PFR1, REVIDR, Model
from .state import ADDRESS, FPCR, GUARDED_PAGE, SP, TAGGED_PAGE, read_fpsr, write_fpsr
from .traps import (
    ALIGNMENT,
    EC_BRANCH_TARGET,
    EC_BRK,
    EC_DATA_ABORT,
    EC_INSTRUCTION_ABORT,
    EC_PC_ALIGNMENT,
    EC_SP_ALIGNMENT,
    EC_SVC,
    EC_UNKNOWN,
    TAG_CHECK,
    TRANSLATION_LEVEL_3,
    WNR,
)

if TYPE_CHECKING:
    from tinamou.user.elf import Header
    from tinamou.user.process import Process
    from tinamou.user.signals import Action
    from tinamou.user.thread import Thread

LR, NUMBER = 30, 8
SEGV_MTEAERR, SEGV_MTESERR = 8, 9
SA_RESTORER, SA_EXPOSE_TAGBITS = 0x0400_0000, 0x0800
HWCAPS = (
    "fp simd evtstrm aes pmull sha1 sha2 crc32 lse fp16 fp16 cpuid rdm jscvt fcma rcpc dpb sha3 sm3 sm4 dotprod sha512 sve fhm dit uscat "
    "rcpc2 flagm ssbs sb pauth pauth"
).split()  # by bit
HWCAPS2 = {"dpb2": 0, "flagm2": 7, "frintts": 8, "rng": 16, "bti": 17, "mte": 18}
# struct sigcontext: fault address, x0-x30, sp, pc, pstate, on 16 bytes the records
CONTEXT_AT, RECORDS_AT, RECORDS = 176, 176 + 288, 4096
FRAME_SIZE = INFO_SIZE + RECORDS_AT + RECORDS
FPSIMD_MAGIC, FPSIMD_SIZE = 0x4650_8001, 528
ESR_MAGIC, ESR_SIZE = 0x4553_5201, 16
EXTRA_MAGIC, EXTRA_SIZE, EXTRA_LIMIT = 0x4558_5401, 32, 1 << 16
REGISTERS = struct.Struct("<34Q")
SSBS, DIT, TCO = 12, 24, 25  # bits of the saved PSTATE

ALL = (1 << 64) - 1
# What programs see of the ID registers (cpu-feature-registers.rst): these bits of the CPU's, and bits that are always the same.
VISIBLE = {
    MIDR: (ALL, 0), MPIDR: (0, 1 << 31), REVIDR: (ALL, 0), PFR0: (0x000F_000F_00FF_0000, 0x11), PFR1: (0xFFF, 0), DFR0: (0, 6),
    ISAR0: (ALL, 0), ISAR1: (ALL, 0), MMFR0: (0, 0xFF00_0000),
}  # fmt: skip

PROT_BTI, PROT_MTE = GUARDED_PAGE, TAGGED_PAGE
FEATURE_1_AND, FEATURE_1_BTI = 0xC000_0000, 1
PR_PAC_RESET_KEYS, PR_SET_TAGGED_ADDR_CTRL, PR_GET_TAGGED_ADDR_CTRL = 54, 55, 56
PR_PAC_SET_ENABLED_KEYS, PR_PAC_GET_ENABLED_KEYS = 60, 61
ADDRESS_KEYS, ALL_KEYS = 0b1111, 0b11111  # APIA, APIB, APDA, APDB, APGA
TAGGED_ADDR_ENABLE, TCF_SYNC, TCF_ASYNC, TAG_SHIFT = 1, 2, 4, 3
ANY_POINTER, UNTAGGED = -1, (1 << 56) - 1
NO_TAGS = 0xFFFF  # GCR_EL1.Exclude of a thread that has not asked for tags


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
    signal_stack = FRAME_SIZE + 32
    trampoline = struct.pack("<II", 0xD280_1168, 0xD400_0001)  # mov x8, #139 (rt_sigreturn); svc #0
    structs: ClassVar[dict[str, type[Struct]]] = {"Action": RestoredAction}
    flags: ClassVar[dict[str, Flags]] = {
        "open": {"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000, "O_TMPFILE": 0o20040000},
        "prot": {"PROT_BTI": PROT_BTI, "PROT_MTE": PROT_MTE},
    }

    # ---- the CPU

    def cpu_models(self) -> list[str]:
        return sorted(MODELS)

    def cpu_properties(self, model: str, text: str) -> None:
        MODELS[model].configured(text)

    def model(self, process: Process) -> Model:
        name, _, properties = (process.options.cpu or "max").partition(",")
        return MODELS[name].configured(properties)

    def extensions(self, process: Process) -> frozenset[str]:
        return self.model(process).extensions

    def hwcap(self, process: Process) -> int:
        have = self.extensions(process) | {"cpuid"}
        return sum(1 << bit for bit, name in enumerate(HWCAPS) if name in have)

    def hwcap2(self, process: Process) -> int:
        have = self.extensions(process)
        return sum(1 << bit for name, bit in HWCAPS2.items() if name in have)

    def vcpu(self, process: Process) -> Any:
        from tinamou.user.engine import new_vcpu

        core: Any = self.model(process).core()
        vcpu = new_vcpu(process, ARM64, core, self.extensions(process))
        fields = type(core).fields
        core.words = (ctypes.c_uint64 * 33).from_address(core.address + fields["x"].offset)
        core.vectors = (ctypes.c_uint8 * 512).from_address(core.address + fields["q"].offset)
        core.place = ctypes.c_uint64.from_address(core.address + fields["pc"].offset)
        core.syndrome = 0, 0  # ESR and FAR of the last fault
        self._look_at(core, process)
        for register in range(len(core.id)):
            keep, always = VISIBLE.get(register, (0, 0))
            core.id[register] = u64(int(core.id[register]) & keep | always)
        return vcpu

    def start(self, cpu: Any, entry: int, sp: int) -> None:
        cpu.words[:] = [0] * 33
        cpu.words[SP] = sp
        ctypes.memset(cpu.vectors, 0, 512)
        cpu.fpcr = u32(0)
        write_fpsr(cpu, u32(0))
        set_nzcv(cpu, u32(0))
        cpu.tpidr = u64(0)
        self.new_keys(cpu, ALL_KEYS)
        cpu.pac_enabled = u32(ADDRESS_KEYS)
        cpu.check_access_tags(0)
        cpu.tco = cpu.tfsr = cpu.dit = cpu.ssbs = u32(0)
        cpu.rgsr = u32(int.from_bytes(os.urandom(2), "little") << 8 or 1 << 8)  # a seed of 0 would stay 0
        cpu.gcr = u32(NO_TAGS | 1 << 16)
        cpu.syndrome = 0, 0
        cpu.place.value = entry

    @staticmethod
    def new_keys(cpu: Any, which: int) -> None:
        for n in range(len(cpu.keys)):
            if which >> n // 2 & 1:
                cpu.keys[n] = u64(int.from_bytes(os.urandom(8), "little"))

    # ---- memory with properties

    def protections(self, process: Process) -> int:
        have = self.extensions(process)
        return (PROT_BTI if "bti" in have else 0) | (PROT_MTE if "mte" in have else 0)

    def notice(self, process: Process, bits: int) -> None:
        for t in process.thread_list():
            self._look_at(t.cpu, process)

    @staticmethod
    def _look_at(cpu: Any, process: Process) -> None:
        """Let a CPU know that there are guarded pages, or tags."""
        memory = process.memory
        cpu.guarded = u32(memory.seen & PROT_BTI)
        cpu.tags = u64(memory.tags.base if memory.tags is not None else 0)

    def protection(self, process: Process, header: Header, starts: bool, prot: int) -> int:
        features = int.from_bytes(header.properties.get(FEATURE_1_AND, b""), "little")
        guarded = starts and prot & 4 and features & FEATURE_1_BTI
        return prot | (process.memory.special & PROT_BTI if guarded else 0)

    def prctl(self, t: Thread, option: int, arguments: tuple[int, ...]) -> int | None:
        have = self.extensions(t.process)
        cpu, (first, second, *_) = t.cpu, arguments
        used = {PR_PAC_RESET_KEYS: 1, PR_SET_TAGGED_ADDR_CTRL: 1, PR_GET_TAGGED_ADDR_CTRL: 0,
                PR_PAC_SET_ENABLED_KEYS: 2, PR_PAC_GET_ENABLED_KEYS: 0}.get(option)  # fmt: skip
        if used is None:
            return None
        if any(arguments[used:]) or (option not in (PR_SET_TAGGED_ADDR_CTRL, PR_GET_TAGGED_ADDR_CTRL) and "pauth" not in have):
            raise OSError(errno.EINVAL, "arguments")
        if option == PR_GET_TAGGED_ADDR_CTRL:
            modes = {0: 0, 1: TCF_SYNC, 2: TCF_ASYNC}[int(cpu.tcf)]
            enabled = TAGGED_ADDR_ENABLE if t.memory.pointer != ANY_POINTER else 0
            return enabled | modes | (~int(cpu.gcr) & 0xFFFF) << TAG_SHIFT
        if option == PR_SET_TAGGED_ADDR_CTRL:
            known = TAGGED_ADDR_ENABLE | (TCF_SYNC | TCF_ASYNC | 0xFFFF << TAG_SHIFT if "mte" in have else 0)
            if first & ~known:
                raise OSError(errno.EINVAL, "control")
            cpu.check_access_tags(2 if first & TCF_ASYNC else 1 if first & TCF_SYNC else 0)  # of both the CPU prefers asynchronous checks
            cpu.gcr = u32(1 << 16 | ~(first >> TAG_SHIFT) & 0xFFFF)
            self._look_at(cpu, t.process)
            t.memory.pointer = UNTAGGED if first & TAGGED_ADDR_ENABLE else ANY_POINTER
            t.memory.check_tag = partial(self.check_tag, t.process) if "mte" in have else None
            return 0
        if option == PR_PAC_RESET_KEYS:
            if first & ~ALL_KEYS:
                raise OSError(errno.EINVAL, "keys")
            self.new_keys(cpu, first or ALL_KEYS)
            return 0
        if option == PR_PAC_SET_ENABLED_KEYS:
            if first & ~ADDRESS_KEYS or second & ~first:
                raise OSError(errno.EINVAL, "keys")
            cpu.pac_enabled = u32(int(cpu.pac_enabled) & ~first | second)
            return 0
        return int(cpu.pac_enabled)

    @staticmethod
    def check_tag(process: Process, pointer: int, length: int) -> bool:
        """Whether a system call may use this pointer: where tags are checked synchronously, that of its first 16 bytes must fit.

        (How many bytes the call will really touch is not known then.)
        """
        t = getattr(process.current, "thread", None)
        tags, at = process.memory.tags, pointer & UNTAGGED
        if t is None or tags is None or t.cpu.tcf != 1 or t.cpu.tco or at + length > process.memory.limit:
            return True
        region = process.memory.find(at)
        return region is None or not region.prot & PROT_MTE or tags.match(at, 1, pointer >> 56 & 15)

    def copy_registers(self, new: Any, old: Any) -> None:
        new.words[:] = old.words[:]
        ctypes.memmove(new.vectors, old.vectors, 512)
        for name in ("nz", "c", "less", "fpcr", "exceptions", "qc", "tpidr", "guarded", "tco", "tags", "gcr", "rgsr", "ssbs", "dit", "pac_enabled"):
            setattr(new, name, getattr(old, name))
        new.check_access_tags(int(old.tcf))
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
        if cpu.tfsr:
            self._asynchronous_fault(t)
            if kind == EC_SVC:  # the signal comes first, the call is made again behind it
                return
        if kind == EC_SVC:
            words = cpu.words
            cpu.place.value += 4
            t.system_call(words[NUMBER], words[0:6], words[0])
            return
        pc = cpu.place.value
        cpu.syndrome = cause, value & ADDRESS
        if access := self.page_fault(cause):
            t.page_fault(access, value)
        elif kind == EC_BRK:
            t.fault(SIGTRAP, TRAP_BRKPT, pc)
        elif kind == EC_SP_ALIGNMENT:
            t.fault(SIGBUS, BUS_ADRALN, cpu.words[SP])
        elif kind == EC_PC_ALIGNMENT or (kind == EC_DATA_ABORT and cause & 63 == ALIGNMENT):
            if kind == EC_PC_ALIGNMENT:
                cpu.place.value = value
            t.fault(SIGBUS, BUS_ADRALN, value)
        elif kind == EC_DATA_ABORT and cause & 63 == TAG_CHECK:
            exposed = t.process.actions[SIGSEGV].sa_flags & SA_EXPOSE_TAGBITS
            t.fault(SIGSEGV, SEGV_MTESERR, value & (1 << 60) - 1 if exposed else value & ADDRESS)
        elif kind == EC_BRANCH_TARGET:
            cpu.place.value = value
            t.fault(SIGILL, ILL_ILLOPC, value)
        elif kind == EC_UNKNOWN:
            t.fault(SIGILL, ILL_ILLOPC, pc)
        else:
            t.fault(SIGSEGV, SEGV_ACCERR, value)

    @staticmethod
    def _asynchronous_fault(t: Thread) -> None:
        """Tell of tag checks that failed since the last look: a signal without an address, which can be blocked."""
        t.cpu.tfsr = u32(0)
        t.queue.append(SigInfo(SIGSEGV, SEGV_MTEAERR, addr=0))

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
        data = bytearray(frame_head(t, info).ljust(FRAME_SIZE, b"\0"))
        uc = INFO_SIZE
        words = cpu.words[:]
        syndrome, address = cpu.syndrome
        registers = (address, *words[:31], words[SP], cpu.place.value)
        REGISTERS.pack_into(data, uc + CONTEXT_AT, *registers)
        pstate = int(get_nzcv(cpu)) << 28 | int(cpu.ssbs) << SSBS | int(cpu.dit) << DIT | int(cpu.tco) << TCO
        struct.pack_into("<Q", data, uc + CONTEXT_AT + 272, pstate)
        struct.pack_into("<IIII", data, uc + RECORDS_AT, FPSIMD_MAGIC, FPSIMD_SIZE, int(read_fpsr(cpu)), int(cpu.fpcr))
        data[uc + RECORDS_AT + 16 : uc + RECORDS_AT + 528] = bytes(cpu.vectors)
        if syndrome:
            struct.pack_into("<IIQ", data, uc + RECORDS_AT + FPSIMD_SIZE, ESR_MAGIC, ESR_SIZE, syndrome)
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
        cpu.tco = u32(0)

    def pop_frame(self, t: Thread) -> int:
        cpu = t.cpu
        sp = cpu.words[SP]
        data = t.memory.read(sp + INFO_SIZE, FRAME_SIZE - INFO_SIZE)
        fpsr, fpcr, vectors = self._fpsimd(t, sp, data)
        registers = REGISTERS.unpack_from(data, CONTEXT_AT)
        (pstate,) = struct.unpack_from("<Q", data, CONTEXT_AT + 272)
        cpu.words[:31] = registers[1:32]
        cpu.words[SP] = registers[32]
        cpu.place.value = registers[33]
        set_nzcv(cpu, u32(pstate >> 28 & 15))
        cpu.ssbs, cpu.dit, cpu.tco = (u32(pstate >> bit & 1) for bit in (SSBS, DIT, TCO))
        write_fpsr(cpu, u32(fpsr))
        cpu.fpcr = u32(fpcr & FPCR)
        cpu.vectors[:] = vectors
        return leave_frame(t, data)

    @staticmethod
    def _fpsimd(t: Thread, frame: int, data: bytes) -> tuple[int, int, bytes]:
        """FPSR, FPCR and vectors of a context's records, which others may surround.  Raises GuestFault where the kernel finds them bad."""
        found: tuple[int, int, bytes] | None = None
        room, at, extra = data[RECORDS_AT:], 0, False
        bad = GuestFault(frame)
        if frame % 16:
            raise bad
        while True:
            if at + 8 > len(room):
                raise bad
            magic, size = struct.unpack_from("<II", room, at)
            if not magic and not size:
                break
            if size < 16 or size % 16 or at + size > len(room):
                raise bad
            if magic == FPSIMD_MAGIC and size == FPSIMD_SIZE and found is None:
                fpsr, fpcr = struct.unpack_from("<II", room, at + 8)
                found = fpsr, fpcr, room[at + 16 : at + FPSIMD_SIZE]
            elif magic == EXTRA_MAGIC and size == EXTRA_SIZE and not extra:
                where, length = struct.unpack_from("<QI", room, at + 8)
                ends = RECORDS_AT + at + size + 16  # a terminator, then more records
                if where != frame + INFO_SIZE + ends or length % 16 or not 0 < length <= EXTRA_LIMIT:
                    raise bad
                room, at, extra = t.memory.read(where, length), 0, True
                continue
            elif magic != ESR_MAGIC:
                raise bad
            at += size
        if found is None:
            raise bad
        return found


def abi(name: str) -> Aarch64:
    """The ABI by name.  Raises OSError ENOENT for a name that is none of this architecture's."""
    if name != "aarch64":
        raise OSError(errno.ENOENT, f"no Linux ABI {name}")
    return Aarch64()
