"""Signals, faults and system calls of the host, for threads that run compiled guest code.

One native signal handler serves every signal.  A fault at a load or store that an image lists in its fault map continues where the map
says.  Any other signal is put into the ring of the thread that got it, with its siginfo, is masked in that thread until somebody takes it
from the ring, and kicks the thread's virtual CPU.  `ThreadRecord.call` makes a system call that does not block when a signal is already
in the ring, however late it came: the handler moves a thread that is about to enter the kernel past the system call.

An access that no fault map lists and that the guest's own memory refuses is a read-modify-write whose page another thread has taken away
between its check and its execution.  It happened before the change, then: the handler lets the page be written, and whoever runs the
thread puts the page's rights in order (`mended`).

Threads without a record keep all signals blocked: one of them would not find its ring.

The record of a thread lies at the bottom of its alternate signal stack, where the handler finds it by rounding down the stack pointer.
Offsets in ucontext_t: Linux's asm/sigcontext.h and asm/ucontext.h for x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import threading
from typing import Annotated, ClassVar

from . import image
from .memory import call_host, peek, poke
from .ops import exported, intrinsic
from .types import Array, Struct, i32, u8, u64

STACK = 0x10000  # bytes of an alternate stack, and its alignment
RING = 64  # signals that wait; each is masked while it waits, so this many different ones
SIGINFO = 128
MORE_FAULTS = 1 << 22  # pairs of a FaultMap's second table; not memory before they are used
NOT_ENTERED = -512  # a call that a signal in the ring kept from entering the kernel (the kernel's ERESTARTSYS)

SA_SIGINFO, SA_ONSTACK, SA_RESTORER = 4, 0x0800_0000, 0x0400_0000
SIGSEGV, SIGBUS = 11, 7


class Place:
    """Where the machine's registers lie in ucontext_t, and the system call in its assembly."""

    pc: ClassVar[int]
    mask: ClassVar[int]
    call: ClassVar[str]


class X86(Place):
    pc, mask = 40 + 16 * 8, 296
    # C: rdi record, rsi number, rdx rcx r8 r9 and two on the stack; kernel: rax number, rdi rsi rdx r10 r8 r9
    call = """
.text
.globl tinamou_call, tinamou_call_begin, tinamou_call_end, tinamou_call_abort
.p2align 4
tinamou_call:
  movq %rdi, %r11
  movq %rsi, %rax
  movq %rdx, %rdi
  movq %rcx, %rsi
  movq %r8, %rdx
  movq %r9, %r10
  movq 8(%rsp), %r8
  movq 16(%rsp), %r9
tinamou_call_begin:
  cmpq $0, {pending}(%r11)
  jne tinamou_call_abort
  syscall
tinamou_call_end:
  retq
tinamou_call_abort:
  movq ${not_entered}, %rax
  retq
.globl tinamou_restorer
tinamou_restorer:
  movq $15, %rax
  syscall
"""


class Arm64(Place):
    pc, mask = 176 + 8 + 32 * 8, 40
    call = """
.text
.globl tinamou_call, tinamou_call_begin, tinamou_call_end, tinamou_call_abort
.p2align 4
tinamou_call:
  mov x9, x0
  mov x8, x1
  mov x0, x2
  mov x1, x3
  mov x2, x4
  mov x3, x5
  mov x4, x6
  mov x5, x7
tinamou_call_begin:
  ldr x10, [x9, #{pending}]
  cbnz x10, tinamou_call_abort
  svc #0
tinamou_call_end:
  ret
tinamou_call_abort:
  mov x0, #{not_entered}
  ret
"""


PLACE: Place = X86() if os.uname().machine == "x86_64" else Arm64()


class ThreadState(Struct):
    """What the signal handler knows of a thread; native code and the handler share it."""

    pending: u64  # not 0: the ring is not empty
    kick: u64  # host address of the CPU's kick word
    head: u64  # signals put in so far
    taken: u64  # signals taken out so far
    faults: u64  # host address of a table: the number of its pairs (address, where to continue), 8 bytes unused, the pairs sorted
    more_faults: u64  # host address of another one
    trace_faults: u64  # and of a third
    call_begin: u64
    call_end: u64
    call_abort: u64
    reset: u64  # host address of libc's signal()
    mprotect: u64  # host address of libc's mprotect()
    memory: u64  # host address of guest memory, and of its end
    memory_end: u64
    mended: u64  # address of the page that the handler made writable, or 0
    ring: Annotated[Array[u8], RING * SIGINFO]


@intrinsic
def stack_pointer() -> u64:
    """The handler's own stack pointer."""
    raise TypeError("only compiled code has one")


def continue_at(table: u64, pc: u64) -> u64:
    """Where a fault map continues after a fault at pc; 0 if it does not list pc."""
    low, high = u64(0), peek(u64, table)
    while low < high:
        middle = (low + high) >> 1
        at = peek(u64, table + (middle << 4) + 16)
        if at == pc:
            return peek(u64, table + (middle << 4) + 24)
        if at < pc:
            low = middle + 1
        else:
            high = middle
    return u64(0)


@exported
def tinamou_signal(number: i32, info: u64, context: u64) -> None:
    """The handler of every caught signal."""
    state = ThreadState.at(stack_pointer() & ~(STACK - 1))
    pc = peek(u64, context + PLACE.pc)
    code = peek(i32, info + 8)
    if (number == SIGSEGV or number == SIGBUS) and code > 0:  # the kernel's own: a fault of this thread
        target = continue_at(state.faults, pc)
        if target == 0:
            target = continue_at(state.more_faults, pc)
        if target == 0:
            target = continue_at(state.trace_faults, pc)
        address = peek(u64, info + 16)
        if target != 0:
            poke(u64, context + PLACE.pc, target)
        elif number == SIGSEGV and mend(state, address):
            poke(u64, state.kick, u64(1))
        else:  # a defect of the host program: die of it
            call_host(state.reset, u64(i32(number)), u64(0), u64(0), u64(0))
        return
    slot = info_slot(state)
    for k in range(SIGINFO // 8):
        poke(u64, slot + k * 8, peek(u64, info + k * 8))
    state.head += 1
    mask = context + PLACE.mask
    poke(u64, mask, peek(u64, mask) | u64(1) << ((u64(number) - 1) & 63))
    state.pending = u64(1)
    poke(u64, state.kick, u64(1))
    if pc >= state.call_begin and pc < state.call_end:
        poke(u64, context + PLACE.pc, state.call_abort)


def mend(state: ThreadState, address: u64) -> bool:
    """Make a page of guest memory writable that refused an access."""
    if address < state.memory or address >= state.memory_end:
        return False
    page = address & ~u64(4095)
    state.mended = page
    return call_host(state.mprotect, page, u64(4096), u64(3), u64(0)) & 0xFFFF_FFFF == 0


def info_slot(state: ThreadState) -> u64:
    """Where the next siginfo goes."""
    return u64(state.address) + ThreadState.fields["ring"].offset + (state.head & (RING - 1)) * SIGINFO


def _build() -> tuple[bytes, dict[str, object]]:
    from . import intrinsics  # noqa: F401  its import makes the operations known
    from .llvm import compile_object, triple
    from .lower import Hooks, Lower, Unit, V, Value

    def stack(g: Lower) -> Value:
        g.unit.declare("llvm.frameaddress.p0", "declare ptr @llvm.frameaddress.p0(i32)")
        return V(u64, g.value(f"ptrtoint ptr {g.value('call ptr @llvm.frameaddress.p0(i32 0)')} to i64"))

    unit = Unit(Hooks({stack_pointer: stack}))
    unit.export(tinamou_signal)
    text = PLACE.call.format(pending=ThreadState.fields["pending"].offset, not_entered=NOT_ENTERED)
    unit.globals += [f'module asm "{line}"' for line in text.strip().splitlines()]
    return compile_object(unit.text(triple())), {}


@functools.cache
def _native() -> image.Loaded:
    return image.load("host", ("native",), _build, os.uname().machine)


def prepare() -> None:
    """Have the native code, which has to be compiled at the first use of all, while there is memory for it.  Raises MemoryError."""
    _native()


class _SigAction(ctypes.Structure):
    """The kernel's struct sigaction."""

    _fields_ = (("handler", ctypes.c_uint64), ("flags", ctypes.c_uint64), ("restorer", ctypes.c_uint64), ("mask", ctypes.c_uint64))


class _Stack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_uint64), ("flags", ctypes.c_int), ("size", ctypes.c_uint64))


def _set_action(number: int, handler: int) -> None:
    """rt_sigaction by number: libc's own refuses the two signals that it uses itself, which guests use too."""
    action = _SigAction(handler, SA_SIGINFO | SA_ONSTACK if handler > 1 else 0, 0, 0)
    if isinstance(PLACE, X86):
        action.flags |= SA_RESTORER
        action.restorer = _native()["tinamou_restorer"]
    rt_sigaction = 13 if isinstance(PLACE, X86) else 134
    libc = image.libc
    if libc.syscall(ctypes.c_long(rt_sigaction), ctypes.c_long(number), ctypes.byref(action), None, ctypes.c_long(8)):
        raise OSError(ctypes.get_errno(), f"signal {number} cannot be caught")


def _sigprocmask(how: int, new: int | None) -> int:
    """rt_sigprocmask by number: libc's own leaves out the two signals that it uses itself, which guests use too."""
    old, given = ctypes.c_uint64(), ctypes.c_uint64((new or 0) & 0xFFFF_FFFF_FFFF_FFFF)
    number = ctypes.c_long(14 if isinstance(PLACE, X86) else 135)
    image.libc.syscall(number, ctypes.c_long(how), ctypes.byref(given) if new is not None else None, ctypes.byref(old), ctypes.c_long(8))
    return old.value


def set_thread_mask(mask: int) -> int:
    """Block exactly these host signals (bit n-1: signal n) in the calling thread: what was blocked before."""
    return _sigprocmask(2, mask)


def thread_mask() -> int:
    """The host signals that the calling thread blocks."""
    return _sigprocmask(0, None)


@functools.cache
def _first_thread() -> None:
    """glibc sets its own action for signal 33 when a process makes its first thread."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def catch(number: int) -> None:
    """From now on the signal goes into the ring of the thread that gets it."""
    if number == 33:
        _first_thread()
    _set_action(number, _native()["tinamou_signal"])


def default(number: int) -> None:
    """The signal does what it does to a process that knows nothing of it."""
    _set_action(number, 0)


def ignore(number: int) -> None:
    _set_action(number, 1)


def _address_of(name: str) -> int:
    address = ctypes.cast(getattr(image.libc, name), ctypes.c_void_p).value
    assert address
    return address


class FaultMap:
    """The loads and stores of an image that may fault, and of code that is added later, as the handler reads them."""

    def __init__(self, loaded: image.Loaded | None = None) -> None:
        faults = loaded.faults if loaded else []
        self._fixed = ctypes.create_string_buffer(self._pairs(faults, len(faults)))
        self.address = ctypes.addressof(self._fixed)
        self.more = image.allocate(MORE_FAULTS * 16 + 16)
        self._count = ctypes.c_uint64.from_address(self.more)
        self.traces = image.allocate(MORE_FAULTS * 16 + 16)  # filled by native code: see engine.traces

    @staticmethod
    def _pairs(pairs: list[tuple[int, int]], count: int) -> bytes:
        return struct.pack("<QQ", count, 0) + b"".join(struct.pack("<QQ", *p) for p in sorted(pairs))

    def append(self, pairs: list[tuple[int, int]]) -> bool:
        """Add code that lies above all added before; False when there is no room."""
        count = self._count.value
        if count + len(pairs) > MORE_FAULTS:
            return False
        data = self._pairs(pairs, 0)[16:]
        ctypes.memmove(self.more + 16 + count * 16, data, len(data))
        self._count.value = count + len(pairs)
        return True

    def clear_added(self) -> None:
        """Forget what `append` added.  None of it is running."""
        self._count.value = 0

    def clear(self) -> None:
        """Forget what was added, and the traces.  None of it is running."""
        self.clear_added()
        ctypes.c_uint64.from_address(self.traces).value = 0


NOTHING = (0,) * 6


class ThreadRecord:
    """Make the calling thread one that runs guest code.  `close()` it in the same thread before the thread ends."""

    def __init__(self, kick_address: int, faults: FaultMap) -> None:
        native = _native()
        self._room = image.allocate(2 * STACK)
        base = (self._room + STACK - 1) & -STACK
        self._at, self.state = base, ThreadState.at(base)
        state = self.state
        state.kick = u64(kick_address)
        self.watch(faults)
        state.call_begin = u64(native["tinamou_call_begin"])
        state.call_end = u64(native["tinamou_call_end"])
        state.call_abort = u64(native["tinamou_call_abort"])
        state.reset = u64(_address_of("signal"))
        state.mprotect = u64(_address_of("mprotect"))
        self._pending = ctypes.c_uint64.from_address(base + ThreadState.fields["pending"].offset)
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_uint64] * 8)(native["tinamou_call"])
        stack = _Stack(base, 0, STACK)
        self._old = _Stack()
        if image.libc.sigaltstack(ctypes.byref(stack), ctypes.byref(self._old)):
            raise OSError(ctypes.get_errno(), "no alternate signal stack")

    def watch(self, faults: FaultMap) -> None:
        """Use another fault map (the thread is not running compiled code)."""
        self._faults = faults
        self.state.faults, self.state.more_faults, self.state.trace_faults = u64(faults.address), u64(faults.more), u64(faults.traces)

    def guard(self, memory: int, end: int) -> None:
        """Host addresses between which guest memory lies: an access there that no fault map lists does not end the process."""
        self.state.memory, self.state.memory_end = u64(memory), u64(end)

    def mended(self) -> int:
        """Host address of a page that the handler made writable since the last time, or 0."""
        page = int(self.state.mended)
        if page:
            self.state.mended = u64(0)
        return page

    def call(self, number: int, *args: int) -> int:
        """A host system call with the interpreter lock released: its result or -errno, NOT_ENTERED when a signal waits in the ring."""
        result: int = self._call(self._at, number, *(args + NOTHING)[:6])  # ctypes takes the low 64 bits
        return result

    @property
    def pending(self) -> bool:
        """A signal waits in the ring."""
        return self._pending.value != 0

    def take(self) -> list[bytes]:
        """The siginfo of the signals that wait, oldest first.  They stay masked in this thread: set the mask when they are delivered."""
        old = set_thread_mask(-1)
        state, found = self.state, []
        ring = state.address + ThreadState.fields["ring"].offset
        for n in range(int(state.taken), int(state.head)):
            found.append(ctypes.string_at(ring + n % RING * SIGINFO, SIGINFO))
        state.taken = state.head
        self._pending.value = 0
        set_thread_mask(old)
        return found

    def close(self) -> None:
        """Give the thread its old alternate stack back."""
        off = _Stack(0, 2, 0) if not self._old.sp else self._old
        image.libc.sigaltstack(ctypes.byref(off), None)
        image.release(self._room, 2 * STACK)
