"""The guest process: what all its threads share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from . import signals
from .host import HOST, KICK, native
from .memory import AddressSpace
from .signals import SIG_DFL, SIG_IGN, Action
from .syscall import Table
from .thread import Thread, ThreadExit

if TYPE_CHECKING:
    from .abi import Abi
    from .elf import Image

__all__ = ["Options", "Process", "hide"]


def hide(fd: int) -> int:
    """Move a descriptor to a high number, where the guest does not meet it: the new one."""
    for lowest in (1000, 200, 20):
        try:
            moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:  # above the limit
            continue
        os.close(fd)
        return moved
    return fd


class Options:
    """What the command line and the environment said."""

    def __init__(self) -> None:
        self.program_name = "tinamou"  # how error messages call us
        self.sysroot = b""  # -L
        self.stack_size = 8 << 20  # -s
        self.cpu = ""  # -cpu
        self.release = ""  # -r: what uname tells
        self.base = 0  # -B
        self.reserve = 0  # -R
        self.strace = False
        self.log_items: frozenset[str] = frozenset()
        self.log_fd = 2
        self.seed: int | None = None
        self.engine = ""  # "golden": run on the golden model
        self.jit = ""  # off, traces, on or eager; "" leaves it to TINAMOU_JIT
        self.code_cache = True  # keep compiled regions on disk
        self.log_filter: list[range] = []  # -dfilter; empty: everything
        self.single_step = False  # -singlestep
        self.events: frozenset[str] = frozenset()  # -trace
        self.perf_map = False  # -perfmap


class Process:
    """Memory, signal actions, threads, and the program that runs.

    vcpu      makes a virtual CPU for a new thread
    image     the loaded program
    """

    def __init__(self, abi: Abi, options: Options) -> None:
        self.abi, self.options = abi, options
        self.memory = AddressSpace(min(options.reserve or abi.limit, abi.limit), options.base)
        self.memory.changed = self.code_changed
        self.memory.special = abi.protections(self)
        self.memory.noticed = self.special_pages
        self.table = Table(abi, HOST)
        self.strace = options.strace
        self.lock = threading.RLock()
        self.current = threading.local()
        self.threads: dict[int, Thread] = {}
        self.actions = [Action() for _ in range(65)]
        self.image: Image | None = None
        self.exe = b""
        self.arguments: list[bytes] = []
        self.environment: list[bytes] = []
        self.auxv = b""
        self.stack_start = 0
        self.sigreturn = 0  # address of the code that handlers return to
        self.private_fds = {options.log_fd} - {0, 1, 2}
        self.at_exit: list[Callable[[], None]] = []
        self.at_fork: list[Callable[[], None]] = []  # in the child
        self.timers: set[int] = set()  # of timer_create
        self.engine: Any = None
        self.wraps: Callable[[Process, Any, Any], Any] | None = None  # what stands between threads and their virtual CPUs
        self.listing: Any = None  # trace.Listing
        self.cpus = 0  # virtual CPUs that were traced
        self.debugger: Any = None  # control.gdb_user.Debugger
        self.leader_status = 0
        self._job: Callable[[], Thread] | None = None  # of the leader's host thread, whose guest thread has ended
        self._job_given = threading.Semaphore(0)
        same = abi.signals == HOST.signals
        theirs = HOST.signals
        self._to_host = {} if same else {n: theirs[name] for name, n in abi.signals.items() if name in theirs}
        self._to_guest = {host: guest for guest, host in self._to_host.items()}

    # ---- signals

    def host_number(self, signo: int) -> int:
        return self._to_host.get(signo, signo)

    def guest_number(self, signo: int) -> int:
        return self._to_guest.get(signo, signo)

    def host_mask(self, mask: int) -> int:
        """A guest mask as the host thread gets it."""
        if self._to_host:
            mask = sum(1 << self.host_number(n) - 1 for n in range(1, 65) if mask >> (n - 1) & 1)
        return mask & ~signals.OPEN_ON_HOST

    def signal_text(self, signo: int) -> str:
        return signal.strsignal(self.host_number(signo)) or str(signo)

    def apply_action(self, signo: int) -> None:
        """Make the host do what the guest's action of a signal wants."""
        host = self.host_number(signo)
        action = self.actions[signo]
        announced = (signo in signals.CORE and self.abi.dumps_core) or (
            (self.strace or self.debugger is not None) and signo not in signals.IGNORED | signals.STOPS
        )
        if signo in signals.SYNCHRONOUS or host == KICK or action.sa_handler not in (SIG_DFL, SIG_IGN):
            native.catch(host, action.sa_flags & (signals.SA_NOCLDSTOP | signals.SA_NOCLDWAIT))
        elif action.sa_handler == SIG_IGN:
            native.ignore(host)
        elif announced:
            native.catch(host)
        else:
            native.default(host, action.sa_flags & (signals.SA_NOCLDSTOP | signals.SA_NOCLDWAIT))

    def adopt_signals(self) -> None:
        """At the start: keep what our parent ignored, undo what the Python interpreter arranged for itself."""
        for signo in range(1, 65):
            host = self.host_number(signo)
            if signo in (signals.SIGKILL, signals.SIGSTOP):
                continue
            if native.is_ignored(host) and host not in (signal.SIGPIPE, signal.SIGXFSZ):
                self.actions[signo] = Action(sa_handler=SIG_IGN)
            self.apply_action(signo)

    def core_limit(self) -> int:
        return resource.getrlimit(resource.RLIMIT_CORE)[0]

    def no_core(self) -> None:
        """The guest's core is not ours."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    # ---- names

    def path(self, name: bytes) -> bytes:
        """Where the guest finds that file: an absolute name that exists below the -L folder is taken from there."""
        root = self.options.sysroot
        if root and name[:1] == b"/":
            inside = root + name
            if os.path.lexists(inside):
                return inside
        return name

    def guest_path(self, name: bytes) -> bytes:
        """The name by which the guest knows a file that `path` found."""
        root = self.options.sysroot
        return name[len(root) :] if root and name.startswith(root + b"/") else name

    def hide(self, fd: int) -> int:
        """Move a descriptor of ours out of the guest's way: the new one."""
        moved = hide(fd)
        self.private_fds.add(moved)
        return moved

    # ---- log

    def log(self, item: str, text: str) -> None:
        """One line under `-d item`."""
        if item in self.options.log_items:
            self.log_write(text + "\n")

    def log_write(self, text: str) -> None:
        try:
            os.write(self.options.log_fd, text.encode(errors="surrogateescape"))
        except OSError:
            pass

    def complain(self, text: str) -> None:
        """An error message for the user."""
        self.tell(f"{self.options.program_name}: {text}")

    @staticmethod
    def tell(text: str) -> None:
        """A line on the standard error output, if there is one."""
        with contextlib.suppress(OSError):
            os.write(2, f"{text}\n".encode(errors="surrogateescape"))

    def event(self, name: str, cpu: Any, text: str) -> None:
        """A line of -trace, if that event is enabled."""
        if name in self.options.events:
            where = "cpu" if name.startswith("guest_") else "env"
            self.log_write(f"{name} {where}={cpu.address:#x} {text}\n")

    # ---- threads

    def thread_list(self) -> list[Thread]:
        with self.lock:
            return list(self.threads.values())

    def vcpu(self) -> Any:
        """A virtual CPU for a new thread."""
        return self.abi.vcpu(self)

    def code_changed(self, address: int, length: int) -> None:
        if self.engine is not None:
            self.engine.invalidate(address, length)

    def special_pages(self, bits: int) -> None:
        self.abi.notice(self, bits)

    def main(self, t: Thread) -> NoReturn:
        """Run the leader; ends the host process."""
        if t.record is None:
            t.attach()
        self.adopt_signals()
        blocked = native.thread_mask()
        signals.set_mask(t, sum(1 << n - 1 for n in range(1, 65) if blocked >> (self.host_number(n) - 1) & 1))
        self.run(t)
        raise AssertionError("the leader does not return")

    def run(self, t: Thread) -> None:
        """Run a thread to its end.  The leader's host thread stays until the process ends."""
        while True:
            try:
                t.run()
            except ThreadExit as end:
                last = self._ended(t, end.status)
            except MemoryError as error:
                self.complain(str(error) or "out of memory")
                os._exit(1)
            except BaseException:
                self.before_exit()
                sys.excepthook(*sys.exc_info())
                os._exit(70)
            leader = t.tid == os.getpid()
            if last:
                self.exit(self.leader_status)
            if not leader:
                return
            native.set_mask(-1)
            self._job_given.acquire()
            assert self._job is not None
            t = self._job()
            self._job = None

    def _ended(self, t: Thread, status: int) -> bool:
        if t.tid == os.getpid():
            self.leader_status = status
        t.finish()
        with self.lock:
            return not self.threads and self._job is None

    def hand_over(self, job: Callable[[], Thread]) -> None:
        """Give the leader's host thread, whose guest thread has ended, the thread that `job` makes."""
        self._job = job
        self._job_given.release()

    def stop_others(self, me: Thread) -> None:
        """End every thread but this one, as execve does."""
        import time

        while others := [t for t in self.thread_list() if t is not me]:
            for t in others:
                t.stopping = True
                t.clear_child_tid = t.robust_list = 0
                t.interrupt()
            time.sleep(0.001)

    def drop_at_exec(self) -> None:
        """What a new program does not inherit and the host would take away in its execve: POSIX timers, locks on memory (execve(2))."""
        for timer in self.timers:
            native.raw_syscall(HOST.numbers["timer_delete"], timer)
        self.timers.clear()
        native.raw_syscall(HOST.numbers["munlockall"])

    def open_code_cache(self) -> None:
        """Compiled code of the program that runs now is kept on disk, unless --no-code-cache or TINAMOU_CODE_CACHE=off forbids it."""
        if self.engine.jit and self.options.code_cache and os.environ.get("TINAMOU_CODE_CACHE") != "off":
            try:
                info = os.stat(self.exe)
            except OSError:
                return
            self.engine.jit.open_cache(f"{os.fsdecode(self.exe)} {info.st_size} {info.st_mtime_ns}")

    def before_exit(self) -> None:
        if self.engine and self.engine.jit:
            self.engine.jit.finish()
        for hook in self.at_exit:
            hook()

    def exit(self, status: int) -> NoReturn:
        """exit_group."""
        self.before_exit()
        if self.debugger is not None:
            self.debugger.ended(status & 0xFF)
        os._exit(status & 0xFF)

    def die_of(self, host_signo: int) -> NoReturn:
        """End by a signal, so that our parent sees it."""
        native.default(host_signo)
        native.set_mask(~(1 << host_signo - 1))
        native.raw_syscall(HOST.numbers["tgkill"], os.getpid(), threading.get_native_id(), host_signo)
        os._exit(128 + host_signo)

    def forked(self, t: Thread) -> None:
        """In the child of a fork: only the calling thread is left."""
        self.lock = threading.RLock()
        self.memory.lock = threading.RLock()
        self._job, self._job_given = None, threading.Semaphore(0)
        t.tid = os.getpid()
        self.threads = {t.tid: t}
        t.queue = []
        self.timers.clear()
        native.forked(t.record)
        if self.debugger is not None:
            self.debugger.forked()
        self.engine.after_fork()
        for hook in self.at_fork:
            hook()

    def __repr__(self) -> str:
        return f"<Process {os.fsdecode(self.exe)} of {self.abi.name}, {len(self.threads)} threads>"


