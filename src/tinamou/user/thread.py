"""A guest thread: a host thread that runs guest code and performs its system calls."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any

from . import signals
from .errors import GuestFault
from .host import HOST, native
from .layout import Struct, layout_of, pointer, u32
from .signals import SigInfo, Stack

if TYPE_CHECKING:
    from .process import Process
    from .syscall import Call

__all__ = ["NoResult", "Thread", "ThreadExit"]

NOT_ENTERED = -512
FUTEX_WAKE, FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_TID_MASK = 1, 1 << 31, 1 << 30, 0x3FFF_FFFF
ROBUST_LIMIT = 2048
REFUSALS = {  # why memory refuses -> the signal and its code
    "unmapped": (signals.SIGSEGV, signals.SEGV_MAPERR),
    "denied": (signals.SIGSEGV, signals.SEGV_ACCERR),
    "absent": (signals.SIGBUS, signals.BUS_ADRERR),
}


class ThreadExit(Exception):
    """This guest thread ends with that status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class NoResult(Exception):
    """A system call that left the registers as they are to stay (rt_sigreturn, execve)."""


class RobustList(Struct):
    """struct robust_list_head, set_robust_list(2)."""

    next: pointer
    futex_offset: pointer  # signed
    pending: pointer


class Thread:
    """What one guest thread is besides its registers.

    mask       blocked signals, bit n-1 = signal n; `waiting_mask` while ppoll, sigsuspend and the like replace it
    queue      signals that arrived and wait to be delivered
    """

    def __init__(self, process: Process, vcpu: Any) -> None:
        self.process = process
        self.abi, self.memory, self.table = process.abi, process.memory, process.table
        self.vcpu, self.cpu = vcpu, vcpu.cpu
        self.tid = 0
        self.mask = 0
        self.entered = True
        self.waiting_mask: int | None = None
        self.queue: list[SigInfo] = []
        self.stack = Stack(ss_flags=signals.SS_DISABLE)
        self.interrupted: Call | None = None
        self.call_state: Any = None
        self.clear_child_tid = 0
        self.robust_list = 0
        self.record: Any = None
        self.stopping = False  # ends at the next chance: exit_group or execve of another thread

    # ---- the host's side

    def attach(self) -> None:
        """Bind to the host thread that calls this."""
        self.tid = threading.get_native_id()
        memory = self.memory
        self.record = native.attach(self.vcpu, memory.base, memory.base + memory.limit)
        self.process.current.thread = self
        with self.process.lock:
            self.process.threads[self.tid] = self

    def host_syscall(self, number: int, *args: int) -> int:
        """A host system call that a guest signal interrupts: its result or -errno.  Arguments are words."""
        result = native.host_syscall(self.record, number, *args)
        if result != NOT_ENTERED:
            return result
        self.entered = False
        return -4

    def host(self, name: str, *args: Any) -> int:
        """The host's system call of that name: its result.  Raises OSError, InterruptedError when a signal came.

        Arguments are words, bytes (a NUL is added) or ctypes objects (passed by address).
        """
        keep = []
        words = []
        for a in args:
            if isinstance(a, bytes):
                a = ctypes.create_string_buffer(a)
            if not isinstance(a, int):
                keep.append(a)
                a = ctypes.addressof(a)
            words.append(a)
        result = self.host_syscall(HOST.numbers[name], *words)
        if -4096 < result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def apply_mask(self, mask: int) -> None:
        """Make this host thread block what the guest blocks."""
        native.set_mask(self.process.host_mask(mask))

    def recorded(self) -> list[bytes]:
        """Host siginfos that arrived since."""
        return native.pending(self.record)

    def interrupt(self) -> None:
        """Make this thread look for signals and orders, whatever it does; called from any thread."""
        self.vcpu.kick()
        native.interrupt(os.getpid(), self.tid)

    # ---- running

    def run(self) -> None:
        """Run guest code until the thread ends."""
        vcpu, abi = self.vcpu, self.abi
        if self.process.debugger is not None:
            self.process.debugger.run(self)
        while True:
            try:
                exit = vcpu.run()
            except MemoryError:  # no room for more predecoded code
                if len(self.process.threads) > 1:
                    raise
                self.process.engine.reset()
                vcpu.attach()
                continue
            if exit.trap:
                abi.trap(self, exit.cause, exit.value)
            self.after_run(exit.trap)

    def after_run(self, trapped: bool) -> None:
        """What `run` does after guest code came to a stop and its exception, if that was why, was seen to."""
        if not trapped and (page := native.mended(self.record)):
            self.memory.restore(page - self.memory.base)
        if self.stopping:
            raise ThreadExit(0)
        if not trapped or self.queue:
            signals.deliver(self)

    def system_call(self, number: int, registers: tuple[int, ...], state: Any) -> None:
        """Perform a call and store its result; `state` is what abi.restart_call needs to repeat it."""
        process = self.process
        if process.strace:
            process.log_write(f"{os.getpid()} {self.table.show(self, number, registers)}")
        if process.options.events:
            words = " ".join(f"arg{n}=0x{w:016x}" for n, w in enumerate((*registers[:6], 0, 0), 1))
            process.event("guest_user_syscall", self.cpu, f"num=0x{number:016x} {words}")
        self.entered = True  # until a signal keeps a host call from entering the kernel: then the handler runs first, whatever its flags
        try:
            result = self.table.perform(self, number, registers)
        except NoResult:
            if process.strace:
                process.log_write(" = 0\n")
            return
        if process.strace:
            from .syscall import result_text

            process.log_write(f" = {result_text(self, result)}\n")
        if process.options.events:
            process.event("guest_user_syscall_ret", self.cpu, f"num=0x{number:016x} ret=0x{result & (1 << 64) - 1:016x}")
        if result == -4:  # EINTR: whether the guest sees it depends on the handler that runs
            self.call_state = state
            self.interrupted = self.table.find(number)
            if self.stopping:
                raise ThreadExit(0)
            signals.deliver(self)
            return
        if self.waiting_mask is not None:  # the call ended by itself
            self.waiting_mask = None
        self.abi.set_result(self.cpu, result)

    def restart_call(self) -> None:
        """Go back to the instruction of the interrupted call."""
        self.interrupted = None
        self.abi.restart_call(self.cpu, self.call_state)

    def fault(self, signo: int, code: int, address: int) -> None:
        """A synchronous signal with an address."""
        signals.force(self, SigInfo(signo, code, addr=address))

    def page_fault(self, access: int, address: int) -> None:
        """The signal for an access (PROT_ bit) that memory refused; none where another thread has mapped it since."""
        refusal = self.memory.refusal(address, access)
        if refusal:
            self.fault(*REFUSALS[refusal], address)

    def trace_signal(self, info: SigInfo) -> None:
        if self.process.strace:
            self.process.log_write(f"--- {signals.signal_name(info.signo)} {info.show()} ---\n")

    # ---- the end

    def finish(self) -> None:
        """What the kernel does when a thread ends: robust futexes, the cleared tid and its waiters."""
        with self.process.debugger.unwatched() if self.process.debugger else contextlib.nullcontext():
            self._wake_others()
        with self.process.lock:
            self.process.threads.pop(self.tid, None)
        self.vcpu.close()
        native.detach(self.record)

    def _wake_others(self) -> None:
        if self.robust_list:
            try:
                self._robust()
            except GuestFault:
                pass
        if self.clear_child_tid:
            try:
                self.memory.write(self.clear_child_tid, bytes(4))
                native.raw_syscall(HOST.numbers["futex"], self.memory.host(self.clear_child_tid, 4), FUTEX_WAKE, 1, 0, 0, 0)
            except GuestFault:
                pass

    def _robust(self) -> None:
        from .syscall import Ptr

        head: RobustList = Ptr[RobustList](self.memory, self.robust_list, layout_of(RobustList, self.abi)).load()
        word = layout_of(pointer, self.abi)
        mask = self.abi.mask
        entry, count = head.next, 0
        while entry & ~1 != self.robust_list and count < ROBUST_LIMIT:
            following = word.load(self.memory.read(entry & ~1, word.size))
            if entry != head.pending:
                self._abandon((entry & ~1) + head.futex_offset & mask, pi=bool(entry & 1))
            entry, count = following, count + 1
        if head.pending:
            self._abandon((head.pending & ~1) + head.futex_offset & mask, pi=bool(head.pending & 1))

    def _abandon(self, address: int, pi: bool) -> None:
        """Mark a futex whose owner this thread was."""
        word = layout_of(u32, self.abi)
        value = word.load(self.memory.read(address, 4))
        if value & FUTEX_TID_MASK == self.tid:
            self.memory.write(address, word.dump(value & FUTEX_WAITERS | FUTEX_OWNER_DIED))
            if value & FUTEX_WAITERS and not pi:
                native.raw_syscall(HOST.numbers["futex"], self.memory.host(address, 4), FUTEX_WAKE, 1, 0, 0, 0)
