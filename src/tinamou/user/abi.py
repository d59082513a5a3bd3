"""The facts of one Linux ABI: guest architectures describe themselves with it in isa/<architecture>/linux.py, the host in user/host.py.

Most facts of asm-generic are the defaults; an architecture gives what differs: struct stat, flags, errno and signal numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .layout import Layout, Struct

if TYPE_CHECKING:
    from .elf import Header
    from .process import Process
    from .signals import Action, SigInfo
    from .thread import Thread

__all__ = ["FLAGS", "Abi", "Flags"]

Flags = dict[str, int]

# asm-generic values of the sets that some architecture numbers differently, and of those that strace names.
FLAGS: dict[str, Flags] = {
    "open": {
        "O_WRONLY": 0o1, "O_RDWR": 0o2, "O_CREAT": 0o100, "O_EXCL": 0o200, "O_NOCTTY": 0o400, "O_TRUNC": 0o1000,
        "O_APPEND": 0o2000, "O_NONBLOCK": 0o4000, "O_SYNC": 0o4010000, "O_DSYNC": 0o10000, "O_ASYNC": 0o20000, "O_DIRECT": 0o40000,
        "O_LARGEFILE": 0o100000, "O_TMPFILE": 0o20200000, "O_DIRECTORY": 0o200000, "O_NOFOLLOW": 0o400000,
        "O_NOATIME": 0o1000000, "O_CLOEXEC": 0o2000000, "O_PATH": 0o10000000,
    },
    "at": {
        "AT_SYMLINK_NOFOLLOW": 0x100, "AT_REMOVEDIR": 0x200, "AT_SYMLINK_FOLLOW": 0x400, "AT_NO_AUTOMOUNT": 0x800,
        "AT_EMPTY_PATH": 0x1000,
    },
    "prot": {"PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4, "PROT_SEM": 8, "PROT_GROWSDOWN": 1 << 24, "PROT_GROWSUP": 1 << 25},
    "map": {
        "MAP_SHARED_VALIDATE": 3, "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_FIXED": 0x10, "MAP_ANONYMOUS": 0x20, "MAP_GROWSDOWN": 0x100,
        "MAP_DENYWRITE": 0x800, "MAP_EXECUTABLE": 0x1000, "MAP_LOCKED": 0x2000, "MAP_NORESERVE": 0x4000, "MAP_POPULATE": 0x8000,
        "MAP_NONBLOCK": 0x10000, "MAP_STACK": 0x20000, "MAP_HUGETLB": 0x40000, "MAP_SYNC": 0x80000,
        "MAP_FIXED_NOREPLACE": 0x100000,
    },
    "mremap": {"MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4},
    "msync": {"MS_ASYNC": 1, "MS_INVALIDATE": 2, "MS_SYNC": 4},
    "clone": {
        "CLONE_VM": 0x100, "CLONE_FS": 0x200, "CLONE_FILES": 0x400, "CLONE_SIGHAND": 0x800, "CLONE_PIDFD": 0x1000,
        "CLONE_PTRACE": 0x2000, "CLONE_VFORK": 0x4000, "CLONE_PARENT": 0x8000, "CLONE_THREAD": 0x10000, "CLONE_NEWNS": 0x20000,
        "CLONE_SYSVSEM": 0x40000, "CLONE_SETTLS": 0x80000, "CLONE_PARENT_SETTID": 0x100000, "CLONE_CHILD_CLEARTID": 0x200000,
        "CLONE_DETACHED": 0x400000, "CLONE_UNTRACED": 0x800000, "CLONE_CHILD_SETTID": 0x1000000,
    },
}  # fmt: skip

# signal(7), the numbers of asm-generic; MIPS, Alpha, SPARC and PA-RISC differ.
SIGNALS = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM "
    "PROF WINCH IO PWR SYS"
)


class Abi:
    """Word size, byte order, numbers and layouts of one Linux ABI.

    name         what the programs are called by: riscv64
    machine      e_machine of its ELF files
    bits         of a register and of a long
    order        "<" or ">"
    numbers      system call number by name
    """

    name: str = ""
    machine: int = 0
    bits: int = 64
    order: str = "<"
    page: int = 4096
    numbers: ClassVar[dict[str, int]] = {}
    max_align: int = 8  # i386 and m68k align 64-bit fields less
    aligned_pairs: bool = False  # 64-bit arguments start at an even register on 32-bit ABIs (Arm, MIPS, PowerPC)
    structs: ClassVar[dict[str, type[Struct]]] = {}  # layouts of its own, by the name of the structure they replace
    packed: ClassVar[frozenset[str]] = frozenset()  # structures without padding (epoll_event on x86-64)
    flags: ClassVar[dict[str, Flags]] = {}  # sets numbered differently from asm-generic
    errno: ClassVar[dict[int, int]] = {}  # errors numbered differently, by their asm-generic number
    signals: ClassVar[dict[str, int]] = {name: n for n, name in enumerate(SIGNALS.split(), 1)}

    def __init__(self) -> None:
        self.layouts: dict[Any, Layout[Any]] = {}
        self.mask = (1 << self.bits) - 1

    # ---- of guests only

    limit: int = 1 << 38  # user address space
    dumps_core: bool = False  # the original announces core dumps on this architecture
    platform: str = ""  # AT_PLATFORM
    clone_tls_first: bool = True  # clone(flags, stack, parent_tid, tls, child_tid); else tls is last
    trampoline: bytes = b""  # code that calls rt_sigreturn

    def vcpu(self, process: Process) -> Any:
        """A new virtual CPU: `cpu`, `run()`, `kick()`, `invalidate(address, length)`."""
        raise NotImplementedError

    def extensions(self, process: Process) -> frozenset[str]:
        """Names of the extensions that the CPU model has."""
        return frozenset()

    def hwcap(self, process: Process) -> int:
        """AT_HWCAP of the CPU model."""
        return 0

    def hwcap2(self, process: Process) -> int:
        """AT_HWCAP2 of the CPU model."""
        return 0

    signal_stack: int = 0  # AT_MINSIGSTKSZ: bytes that a signal takes on the stack at most; 0: not told

    def protections(self, process: Process) -> int:
        """PROT_ bits beside read, write and execute that the CPU model has."""
        return 0

    def notice(self, process: Process, bits: int) -> None:
        """Pages are about to get such bits."""

    def protection(self, process: Process, header: Header, starts: bool, prot: int) -> int:
        """The protection of a segment, with such bits as the file's properties ask for; execution starts in that file or not."""
        return prot

    def prctl(self, t: Thread, option: int, arguments: tuple[int, ...]) -> int | None:
        """prctl options of this architecture: the result, None for others.  Raises OSError."""
        return None

    def start(self, cpu: Any, entry: int, sp: int) -> None:
        """Registers at the start of a program."""
        raise NotImplementedError

    def trap(self, t: Thread, cause: int, value: int) -> None:
        """An exception of the guest: a system call or a synchronous signal."""
        raise NotImplementedError

    def set_result(self, cpu: Any, result: int) -> None:
        """Store what a system call gave: a value or -errno."""
        raise NotImplementedError

    def restart_call(self, cpu: Any, state: Any) -> None:
        """Go back to the system call instruction, with its registers as they were."""
        raise NotImplementedError

    def copy_registers(self, new: Any, old: Any) -> None:
        """The registers of a thread made by clone or fork."""
        raise NotImplementedError

    def set_thread_pointer(self, cpu: Any, value: int) -> None:
        raise NotImplementedError

    def stack_pointer(self, cpu: Any) -> int:
        raise NotImplementedError

    def set_stack_pointer(self, cpu: Any, value: int) -> None:
        raise NotImplementedError

    # for debuggers and logs

    def describe(self, cpu: Any, fpu: bool) -> str:
        """All registers, as `-d cpu` (and `-d fpu`) shows them."""
        raise NotImplementedError

    def state(self, cpu: Any) -> dict[str, int]:
        """Everything of the CPU that programs can see, by name."""
        raise NotImplementedError

    def is_call(self, cause: int) -> bool:
        """Whether that exception is a system call."""
        return False

    def register(self, cpu: Any, name: str) -> int:
        """The register that debuggers call so.  Raises KeyError."""
        raise NotImplementedError

    def set_register(self, cpu: Any, name: str, value: int) -> None:
        raise NotImplementedError

    def breakpoint(self, size: int) -> bytes:
        """The breakpoint instruction of that many bytes."""
        raise NotImplementedError

    def is_breakpoint(self, cause: int) -> bool:
        """Whether that exception is the breakpoint instruction's."""
        raise NotImplementedError

    def page_fault(self, cause: int) -> int:
        """The access (PROT_ bit) that memory refused, if that is what the exception says; else 0."""
        raise NotImplementedError

    # signal frames

    def push_frame(self, t: Thread, sp: int, info: SigInfo, action: Action) -> None:
        """Enter a signal handler with a frame below `sp`.  Raises GuestFault with registers unchanged."""
        raise NotImplementedError

    def pop_frame(self, t: Thread) -> int:
        """Restore the registers from the frame a handler returns to and t.stack: the mask to set.  Raises GuestFault."""
        raise NotImplementedError

    def cpu_models(self) -> list[str]:
        """Names for -cpu."""
        return []

    def cpu_properties(self, model: str, text: str) -> None:
        """Check what follows a model's name in -cpu name,property=on,...  Raises ValueError with the message."""
        raise ValueError(f"CPU {model} has no properties: {text}")

    # ----

    def align(self, size: int) -> int:
        """Alignment in bytes of a scalar of that size in a structure."""
        return min(size, self.max_align)

    def flag_set(self, name: str) -> Flags:
        """The set of that name as this ABI numbers it."""
        own = self.flags.get(name)
        return FLAGS[name] | own if own else FLAGS[name]
