"""Signals: what is blocked, what is pending, which handler runs, what happens without one.

The host kernel does the routing: a guest handler is a native host handler that records the siginfo and kicks the thread, an ignored signal
is ignored on the host, a default action that leaves no trace (termination, stop) is the host's own, and each guest thread's mask is its
host thread's mask.  What stays here is the order of delivery, system call restart, synchronous faults and the default actions that the
original announces.  Signal numbers are the guest's; `host_number` and `guest_number` of the process translate.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, NoReturn

from .abi import SIGNALS
from .errors import GuestFault
from .host import HOST, KICK, KICK_VALUE
from .layout import Struct, i32, layout_of, pointer, sigset, ulong

if TYPE_CHECKING:
    from .abi import Abi
    from .thread import Thread

__all__ = ["Action", "SigInfo", "Stack", "deliver", "force", "set_action", "set_mask", "terminate"]

SIG_DFL, SIG_IGN = 0, 1
SA_NOCLDSTOP, SA_NOCLDWAIT, SA_SIGINFO = 1, 2, 4
SA_ONSTACK, SA_RESTART, SA_NODEFER, SA_RESETHAND = 0x0800_0000, 0x1000_0000, 0x4000_0000, 0x8000_0000
SS_ONSTACK, SS_DISABLE, SS_AUTODISARM = 1, 2, 1 << 31
SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV, SIGCHLD, SIGCONT, SIGSTOP = 4, 5, 6, 7, 8, 9, 11, 17, 18, 19
SIGSYS, SIGPOLL = 31, 29
SYNCHRONOUS = frozenset({SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV})
STOPS = frozenset({19, 20, 21, 22})
IGNORED = frozenset({17, 18, 23, 28})  # CHLD CONT URG WINCH
CORE = frozenset({3, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, 24, 25})
NEVER_BLOCKED = (1 << SIGKILL - 1) | (1 << SIGSTOP - 1)
# Host masks leave these open: faults of guest code, and kicks.
OPEN_ON_HOST = sum(1 << n - 1 for n in SYNCHRONOUS) | 1 << KICK - 1

SI_USER, SI_KERNEL, SI_QUEUE, SI_TIMER, SI_TKILL = 0, 0x80, -1, -2, -6
SEGV_MAPERR, SEGV_ACCERR, BUS_ADRALN, BUS_ADRERR, ILL_ILLOPC, TRAP_BRKPT = 1, 2, 1, 2, 1, 1


class Action(Struct):
    """struct sigaction of the rt_sigaction call on architectures without sa_restorer (RISC-V, Arm 64 has one)."""

    sa_handler: pointer
    sa_flags: ulong
    sa_mask: sigset


class Stack(Struct):
    """stack_t"""

    ss_sp: pointer
    ss_flags: i32
    ss_size: ulong


class Ucontext(Struct):
    """The beginning of asm-generic's struct ucontext; behind room for 1024 signals follow the registers, on 16 bytes."""

    uc_flags: ulong
    uc_link: pointer
    uc_stack: Stack
    uc_sigmask: sigset


INFO_SIZE = 128  # of siginfo_t, with which a frame begins


def frame_head(t: Thread, info: SigInfo) -> bytes:
    """The first bytes of a signal frame: siginfo_t and Ucontext."""
    return info.dump(t.abi) + layout_of(Ucontext, t.abi).dump(Ucontext(uc_stack=t.stack, uc_sigmask=t.mask))


def registers_at(abi: Abi) -> int:
    """Where in struct ucontext the registers begin."""
    return layout_of(Ucontext, abi).offsets["uc_sigmask"] + 1024 // 8 + 15 & -16


def leave_frame(t: Thread, context: bytes) -> int:
    """Take the signal stack out of a frame's struct ucontext: the mask to set."""
    layout = layout_of(Ucontext, t.abi)
    head: Ucontext = layout.load(context[: layout.size])
    t.stack = head.uc_stack
    return head.uc_sigmask


class SigInfo:
    """siginfo_t: `fields` holds what the kind of signal carries, by the names of sigaction(2) without si_."""

    def __init__(self, signo: int, code: int = SI_USER, error: int = 0, **fields: int) -> None:
        self.signo, self.code, self.error, self.fields = signo, code, error, fields

    @staticmethod
    def _parts(signo: int, code: int) -> tuple[tuple[str, str], ...]:
        """Names and kinds of the union's members; p is a pointer or sigval, l a long, i an int."""
        if code == SI_TIMER:
            return (("timerid", "i"), ("overrun", "i"), ("value", "p"))
        if code in (SI_USER, SI_TKILL, SI_KERNEL):
            return (("pid", "i"), ("uid", "i"))
        if code > 0:
            if signo in SYNCHRONOUS:
                return (("addr", "p"), ("addr_lsb", "i"))
            if signo == SIGCHLD:
                return (("pid", "i"), ("uid", "i"), ("status", "i"), ("utime", "l"), ("stime", "l"))
            if signo == SIGPOLL:
                return (("band", "l"), ("fd", "i"))
            if signo == SIGSYS:
                return (("call_addr", "p"), ("syscall", "i"), ("arch", "i"))
        return (("pid", "i"), ("uid", "i"), ("value", "p"))

    @classmethod
    def _format(cls, abi: Abi, signo: int, code: int) -> str:
        word = "q" if abi.bits == 64 else "i"
        kinds = {"p": word.upper(), "l": word, "i": "i"}
        text, at = abi.order + ("iii4x" if abi.bits == 64 else "iii"), 0  # the union is aligned like a pointer
        for _, kind in cls._parts(signo, code):
            size = struct.calcsize("=" + kinds[kind])
            text += "x" * (-at % size) + kinds[kind]
            at += -at % size + size
        return text

    def dump(self, abi: Abi) -> bytes:
        """128 bytes as that ABI lays them out."""
        values = [self.fields.get(name, 0) for name, _ in self._parts(self.signo, self.code)]
        text = self._format(abi, self.signo, self.code)
        limits = {"i": 32, "q": 64, "I": 32, "Q": 64}
        letters = [c for c in text[4:] if c not in "x4"]
        cut = [v & ((1 << limits[c]) - 1) for v, c in zip(values, letters, strict=True)]
        signed = [v - (1 << limits[c]) if c in "iq" and v >> (limits[c] - 1) else v for v, c in zip(cut, letters, strict=True)]
        return struct.pack(text, self.signo, self.error, self.code, *signed).ljust(128, b"\0")

    @classmethod
    def load(cls, abi: Abi, data: bytes) -> SigInfo:
        """Raises struct.error when `data` has fewer than 48 bytes."""
        signo, error, code = struct.unpack_from(abi.order + "iii", data)
        names = [name for name, _ in cls._parts(signo, code)]
        _, _, _, *values = struct.unpack_from(cls._format(abi, signo, code), data)
        return cls(signo, code, error, **dict(zip(names, values, strict=True)))

    def show(self) -> str:
        """As strace prints it."""
        codes = {SI_USER: "SI_USER", SI_QUEUE: "SI_QUEUE", SI_TIMER: "SI_TIMER", SI_TKILL: "SI_TKILL", SI_KERNEL: "SI_KERNEL"}
        rest = "".join(
            f", si_{name}={(f'{value:#x}' if value else 'NULL') if name == 'addr' else value}"
            for name, value in self.fields.items()
            if name != "addr_lsb"
        )
        return f"{{si_signo={signal_name(self.signo)}, si_code={codes.get(self.code, self.code)}{rest}}}"


def signal_name(signo: int) -> str:
    names = SIGNALS.split()
    return f"SIG{names[signo - 1]}" if 1 <= signo <= len(names) else str(signo)


# ---------------------------------------------------------------------------------------------------------------- masks and actions


def set_mask(t: Thread, mask: int) -> None:
    """Block exactly the signals of `mask`, for the guest and for its host thread."""
    t.mask = mask & ~NEVER_BLOCKED
    t.apply_mask(t.mask)


def set_action(t: Thread, signo: int, action: Action) -> None:
    """Install an action for the process, and what it means on the host."""
    process = t.process
    process.actions[signo] = action
    if signo not in (SIGKILL, SIGSTOP):
        process.apply_action(signo)
    if action.sa_handler == SIG_IGN or (action.sa_handler == SIG_DFL and signo in IGNORED):
        with process.lock:
            for other in process.threads.values():  # setting it to ignore discards what is pending
                other.queue = [info for info in other.queue if info.signo != signo]


def blocked_now(t: Thread) -> int:
    """The mask in force: a waiting call's own one, until its signal is delivered."""
    return t.mask if t.waiting_mask is None else t.waiting_mask


def take(t: Thread) -> bool:
    """Move what the host recorded for this thread to its queue: whether the host masks something until the mask is set again."""
    recorded = t.recorded()
    for data in recorded:
        info = SigInfo.load(HOST, data)
        if info.signo == KICK and info.fields.get("value") == KICK_VALUE:
            continue
        info.signo = t.process.guest_number(info.signo)
        with t.process.lock:
            if info.signo >= 32 or all(known.signo != info.signo for known in t.queue):
                t.queue.append(info)
    return bool(recorded)


def next_signal(t: Thread) -> SigInfo | None:
    """Take the next deliverable signal: faults first, then the lowest number, in order of arrival."""
    if not t.queue:
        return None
    blocked = blocked_now(t)
    with t.process.lock:
        ready = [info for info in t.queue if not blocked >> (info.signo - 1) & 1]
        if not ready:
            return None
        chosen = min(ready, key=lambda info: (info.signo not in SYNCHRONOUS, info.signo))
        t.queue.remove(chosen)
    return chosen


def take_one(t: Thread, mask: int) -> SigInfo | None:
    """Take the first recorded signal of that set, blocked or not."""
    with t.process.lock:
        for known in t.queue:
            if mask >> (known.signo - 1) & 1:
                t.queue.remove(known)
                return known
    return None


def pending_set(t: Thread) -> int:
    """Signals recorded but blocked since, as a set."""
    if take(t):
        t.apply_mask(t.mask)
    return sum({1 << (info.signo - 1) for info in t.queue})


# ---------------------------------------------------------------------------------------------------------------- delivery


def force(t: Thread, info: SigInfo) -> None:
    """A synchronous fault: delivered now; fatal when blocked or ignored."""
    if t.process.debugger is not None:
        shown = t.process.debugger.signal(t, info)
        if shown is None:
            return
        info = shown
    action = t.process.actions[info.signo]
    t.trace_signal(info)
    t.process.event("user_handle_signal", t.cpu, f"signal {info.signo}")
    if action.sa_handler == SIG_IGN or blocked_now(t) >> (info.signo - 1) & 1 or action.sa_handler == SIG_DFL:
        terminate(t, info.signo)
    handle(t, info, action)


def deliver(t: Thread) -> None:
    """Deliver every signal that is pending and not blocked; decide whether an interrupted system call goes on."""
    masked = take(t)
    while (info := next_signal(t)) is not None:
        if t.process.debugger is not None:
            shown = t.process.debugger.signal(t, info)
            if shown is None:
                continue
            info = shown
        action = t.process.actions[info.signo]
        t.trace_signal(info)
        t.process.event("user_handle_signal", t.cpu, f"signal {info.signo}")
        if action.sa_handler == SIG_IGN:
            continue
        if action.sa_handler == SIG_DFL:
            if info.signo in IGNORED:
                continue
            if info.signo in STOPS:
                os.kill(os.getpid(), SIGSTOP)
                continue
            terminate(t, info.signo)
        handle(t, info, action)
    t.waiting_mask = None  # where no handler ran, the call goes on
    if masked:
        t.apply_mask(t.mask)
    if t.interrupted is not None:
        t.restart_call()


def handle(t: Thread, info: SigInfo, action: Action) -> None:
    """Enter a handler: frame on the right stack, mask, flags."""
    if t.interrupted is not None:
        before = not t.entered and t.waiting_mask is None  # it came before the call began
        if before or (action.sa_flags & SA_RESTART and t.interrupted.restart == "sys"):
            t.restart_call()
        else:
            t.interrupted = None
            t.abi.set_result(t.cpu, -errno.EINTR)
    sp = t.abi.stack_pointer(t.cpu)
    stack = t.stack
    if action.sa_flags & SA_ONSTACK and not stack.ss_flags & SS_DISABLE and not on_stack(stack, sp):
        sp = stack.ss_sp + stack.ss_size
    try:
        t.abi.push_frame(t, sp, info, action)
    except GuestFault:
        if info.signo == SIGSEGV:
            terminate(t, SIGSEGV)
        t.process.actions[SIGSEGV] = Action()  # as the kernel: no stack for the handler is fatal
        force(t, SigInfo(SIGSEGV, SI_KERNEL))
        return
    t.process.event("user_setup_rt_frame", t.cpu, f"frame_addr={t.abi.stack_pointer(t.cpu):#x}")
    if stack.ss_flags & SS_AUTODISARM:
        t.stack = Stack(ss_flags=SS_DISABLE)
    mask = blocked_now(t) | action.sa_mask
    if not action.sa_flags & SA_NODEFER:
        mask |= 1 << (info.signo - 1)
    t.waiting_mask = None
    if action.sa_flags & SA_RESETHAND:
        set_action(t, info.signo, Action(sa_flags=action.sa_flags, sa_mask=action.sa_mask))
    set_mask(t, mask)


def on_stack(stack: Stack, sp: int) -> bool:
    """Whether `sp` lies on that alternate stack."""
    if stack.ss_flags & SS_AUTODISARM:
        return False
    return stack.ss_size > 0 and stack.ss_sp < sp <= stack.ss_sp + stack.ss_size


def terminate(t: Thread, signo: int) -> NoReturn:
    """The default action of a fatal signal: the process dies of the same signal on the host."""
    process = t.process
    process.before_exit()
    if process.debugger is not None:
        process.debugger.ended(None, signo)
    if signo in CORE and t.abi.dumps_core and process.core_limit():
        process.tell(f"qemu: uncaught target signal {signo} ({process.signal_text(signo)}) - core dumped")
        process.no_core()
    process.die_of(process.host_number(signo))
