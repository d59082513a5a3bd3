"""The debugger's view of a user-mode process: what the gdb stub drives when it is no machine.

A thread runs through `Debugger.run` instead of its own loop.  When one stops all do, at the next kick; threads inside a host system
call count as stopped and are held when they come back.  Breakpoints are instructions in (private copies of) the program's pages,
watchpoints take the host's access rights from the pages they lie in; a step is one instruction of the engine.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tinamou.control.gdb import Action, BaseTarget, BreakKind, Description, Stop, TargetError
from tinamou.user import signals
from tinamou.user.errors import GuestFault
from tinamou.user.host import native
from tinamou.user.memory import PAGE
from tinamou.user.signals import SigInfo

if TYPE_CHECKING:
    from tinamou.user.process import Process
    from tinamou.user.thread import Thread

__all__ = ["Debugger"]

SIGINT, SIGTRAP = 2, 5
# gdb's numbers (include/gdb/signals.def of the GDB manual's appendix) of Linux signals 1 to 31; real-time ones follow below.
GDB_SIGNALS = (0, 1, 2, 3, 4, 5, 6, 10, 8, 9, 30, 11, 31, 13, 14, 15, 143, 20, 19, 17, 18, 21, 22, 16, 24, 25, 26, 27, 28, 23, 32, 12)
REACH = 7  # bytes: an access that begins so far before a watched address may touch it


def to_gdb(signo: int) -> int:
    """gdb's number of a Linux signal."""
    if signo < 32:
        return GDB_SIGNALS[signo]
    return 77 if signo == 32 else 78 if signo == 64 else signo + 12


def from_gdb(number: int) -> int:
    """Linux's number of a gdb signal; 0 for none."""
    if number in GDB_SIGNALS:
        return GDB_SIGNALS.index(number)
    return {77: 32, 78: 64}.get(number, number - 12 if 45 <= number <= 75 else 0)


class Watch(NamedTuple):
    kind: BreakKind
    address: int
    size: int


def description_of(process: Process) -> Description:
    """The registers of the process's architecture.  KeyError when gdb support for it is missing."""
    from tinamou.control import gdb_arm64, gdb_riscv

    if process.abi.name == "aarch64":
        return gdb_arm64.description()
    counters = [(1, "fflags"), (2, "frm"), (3, "fcsr")]
    known = {"riscv64": (64, 64), "riscv32": (32, 64)}
    return gdb_riscv.description(*known[process.abi.name], counters)


class Debugger(BaseTarget):
    """A process under a debugger; `server` passes stops on."""

    def __init__(self, process: Process) -> None:
        self.of = process
        self.description = description_of(process)
        self.registers = self.description.numbered()
        self.condition = threading.Condition()
        self.server: Any = None
        self.running = False
        self.active = True  # False after detach: threads run on their own
        self.wanted: Stop | None = None  # somebody asked to stop
        self.held: set[int] = set()  # threads that stay where they are while others run
        self.replaced: dict[int, int | None] = {}  # thread -> signal to deliver instead of the reported one
        self.numbers: dict[int, int] = {}  # tid -> number for gdb
        self.infos: dict[int, SigInfo] = {}
        self.breaks: dict[int, bytes] = {}  # address -> what is there without the breakpoint
        self.watches: list[Watch] = []
        self.stepping: set[int] = set()

    # ---- what the stub asks

    def _thread(self, number: int) -> Thread:
        for t in self.of.thread_list():
            if self.numbers.get(t.tid) == number:
                return t
        raise TargetError(22)

    def _number(self, t: Thread) -> int:
        return self.numbers.setdefault(t.tid, len(self.numbers) + 1)

    def threads(self) -> list[int]:
        return sorted(self._number(t) for t in self.of.thread_list())

    def thread_name(self, thread: int) -> str:
        return f"Thread {self._thread(thread).tid}"

    def read_register(self, thread: int, number: int) -> bytes:
        register = self.registers.get(number)
        if register is None:
            raise TargetError(14)
        value = self.of.abi.register(self._thread(thread).cpu, register.name)
        return value.to_bytes(register.bits // 8, "little" if self.of.abi.order == "<" else "big")

    def write_register(self, thread: int, number: int, data: bytes) -> None:
        register = self.registers.get(number)
        if register is None:
            raise TargetError(14)
        value = int.from_bytes(data, "little" if self.of.abi.order == "<" else "big")
        self.of.abi.set_register(self._thread(thread).cpu, register.name, value)

    def read_memory(self, thread: int, address: int, size: int, physical: bool) -> bytes:
        memory = self.of.memory
        try:
            where = memory.host(address, size)
        except GuestFault:
            raise TargetError(14) from None
        if memory.mapped_from(address, size) < size:
            raise TargetError(14)
        data = bytearray(self._raw(where, size))
        if len(data) < size:
            raise TargetError(14)
        for at, original in self.breaks.items():
            for i, byte in enumerate(original):
                if address <= at + i < address + size:
                    data[at + i - address] = byte
        return bytes(data)

    def write_memory(self, thread: int, address: int, data: bytes, physical: bool) -> None:
        memory = self.of.memory
        if memory.mapped_from(address, len(data)) < len(data):
            raise TargetError(14)
        for at, original in self.breaks.items():
            inside = bytearray(original)
            for i in range(len(inside)):
                if address <= at + i < address + len(data):
                    inside[i] = data[at + i - address]
            self.breaks[at] = bytes(inside)
        self._poke(address, data)
        for at, original in self.breaks.items():
            if address < at + len(original) and at < address + len(data):
                self._poke(at, self.of.abi.breakpoint(len(original)))

    def _raw(self, where: int, size: int) -> bytes:
        with open("/proc/self/mem", "rb", buffering=0) as file:
            try:
                return os.pread(file.fileno(), size, where)
            except OSError:
                return b""

    def _poke(self, address: int, data: bytes) -> None:
        """Store in any mapped page: the host gives private read-only pages a copy."""
        with open("/proc/self/mem", "r+b", buffering=0) as file:
            try:
                os.pwrite(file.fileno(), data, self.of.memory.host(address, len(data)))
            except (OSError, GuestFault):
                raise TargetError(14) from None
        self.of.code_changed(address, len(data))

    def set_break(self, kind: BreakKind, address: int, size: int) -> None:
        if kind in ("software", "hardware"):
            if address in self.breaks:
                return
            size = size if size in (2, 4) else 4
            if self.of.memory.mapped_from(address, size) < size:
                raise TargetError(14)
            self.breaks[address] = self._raw(self.of.memory.host(address, size), size)
            self._poke(address, self.of.abi.breakpoint(size))
            return
        if not 0 < size <= PAGE or self.of.memory.mapped_from(address, size) < size:
            raise TargetError(14)
        self.watches.append(Watch(kind, address, size))
        self._arm()

    def clear_break(self, kind: BreakKind, address: int, size: int) -> None:
        if kind in ("software", "hardware"):
            original = self.breaks.pop(address, None)
            if original is not None:
                self._poke(address, original)
            return
        for watch in self.watches:
            if (watch.kind, watch.address) == (kind, address):
                self._disarm()
                self.watches.remove(watch)
                self._arm()
                return

    def clear_all_breaks(self) -> None:
        for address in list(self.breaks):
            try:
                self.clear_break("software", address, 0)
            except TargetError:
                self.breaks.pop(address, None)
        self._disarm()
        self.watches.clear()

    def resume(self, actions: dict[int, Action], signals: dict[int, int], step_flags: int) -> None:
        present = set(self.threads())
        with self.condition:
            self.held = present - set(actions)
            self.stepping = {n for n, action in actions.items() if action == "step"}
            for thread, number in signals.items():
                self.replaced[thread] = from_gdb(number)
            self.wanted = None
            self.running = True
            self.condition.notify_all()

    def interrupt(self) -> None:
        """Stop at the next instruction; a thread that waits in a system call is interrupted."""
        with self.condition:
            self.wanted = Stop(signal=SIGINT)
        self._kick_all()

    def _kick_all(self) -> None:
        for t in self.of.thread_list():
            t.interrupt()

    def auxv(self) -> bytes:
        return self.of.auxv

    def exec_file(self) -> str:
        return os.fsdecode(self.of.exe)

    def siginfo(self, thread: int) -> bytes:
        info = self.infos.get(thread)
        return info.dump(self.of.abi) if info else b""

    def kill(self) -> None:
        os.kill(os.getpid(), 9)

    def detach(self) -> None:
        self.clear_all_breaks()
        with self.condition:
            self.active, self.running = False, True
            self.condition.notify_all()

    # ---- watchpoints: the pages they lie in lose the access that they watch

    def _pages(self) -> dict[int, bool]:
        """Watched pages; True when reads are watched too."""
        found: dict[int, bool] = {}
        for w in self.watches:
            for page in range(w.address & -PAGE, w.address + w.size, PAGE):
                found[page] = found.get(page, False) or w.kind != "write"
        return found

    def _arm(self) -> None:
        for page, reads in self._pages().items():
            self.of.memory.restrict(page, 0 if reads else 1)

    def _disarm(self) -> None:
        for page in self._pages():
            self.of.memory.restrict(page, 7)

    @contextlib.contextmanager
    def unwatched(self) -> Iterator[None]:
        """What we do on behalf of the guest is not watched, and not refused."""
        self._disarm()
        try:
            yield
        finally:
            self._arm()

    def _watched(self, t: Thread, access: int, address: int) -> Watch | None:
        """Let the thread do the access that a watched page refused; which watchpoint it hit."""
        before = [self._raw(self.of.memory.base + w.address, w.size) for w in self.watches]
        self._disarm()
        t.vcpu.step(1)
        hit = None
        for w, old in zip(self.watches, before, strict=True):
            written = self._raw(self.of.memory.base + w.address, w.size) != old
            near = w.address - REACH <= address < w.address + w.size
            inside = w.address <= address < w.address + w.size
            if near and (written if access == 2 and not inside else inside):
                if w.kind == "access" or (access == 2) == (w.kind == "write"):
                    hit = hit or w
        self._arm()
        return hit

    # ---- the threads' side

    def run(self, t: Thread) -> None:
        """Run guest code of a thread as the debugger wants, until the thread ends or the debugger detaches."""
        abi, number = self.of.abi, self._number(t)
        while self.active:
            self._wait(t, number)
            if not self.active:
                break
            exit = t.vcpu.step(1) if number in self.stepping else t.vcpu.run()
            if exit.trap:
                pc = abi.register(t.cpu, "pc")
                access = abi.page_fault(exit.cause)
                if self.watches and access and exit.value & -PAGE in self._pages() and self._allowed(exit.value, access):
                    hit = self._watched(t, access, exit.value)
                    if hit:
                        self.stop(t, Stop(number, SIGTRAP, watch=(hit.kind, hit.address)))
                        continue
                elif abi.is_breakpoint(exit.cause) and pc in self.breaks:
                    self.stop(t, Stop(number, SIGTRAP, breakpoint="software"))
                    continue
                else:
                    with self.unwatched():
                        abi.trap(t, exit.cause, exit.value)
            with self.unwatched():
                t.after_run(bool(exit.trap))
            if number in self.stepping:
                self.stop(t, Stop(number, SIGTRAP))

    def _allowed(self, address: int, access: int) -> bool:
        """Whether the guest itself may do that there: the refusal was ours."""
        region = self.of.memory.find(address)
        return region is not None and bool(region.prot & access)

    def _wait(self, t: Thread, number: int) -> None:
        """Hold the thread while the process is stopped or only others run."""
        with self.condition:
            wanted, self.wanted = self.wanted, None
        if wanted is not None:
            self.stop(t, Stop(number, wanted.signal))
        with self.condition:
            while self.active and not self._may_run(number) and not t.stopping:
                self.condition.wait(0.5)

    def _may_run(self, number: int) -> bool:
        return self.running and number not in self.held

    def stop(self, t: Thread, reason: Stop) -> None:
        """Stop every thread and tell the debugger; returns when this thread may go on."""
        with self.condition:
            first = self.running
            self.running = False
            self.stepping = set()
        for other in self.of.thread_list():
            if other is not t:
                other.vcpu.kick()
        if first:
            self.server.stopped(reason)
        number = self._number(t)
        with self.condition:
            while self.active and not self._may_run(number) and not t.stopping:
                self.condition.wait(0.5)

    def signal(self, t: Thread, info: SigInfo) -> SigInfo | None:
        """A signal is about to be delivered: the debugger may drop or replace it."""
        if not self.active:
            return info
        number = self._number(t)
        self.infos[number] = info
        self.replaced[number] = 0
        self.stop(t, Stop(number, to_gdb(info.signo)))
        self.infos.pop(number, None)
        chosen = self.replaced.pop(number, 0)
        if not chosen:
            return None
        return info if chosen == info.signo else SigInfo(chosen, signals.SI_USER, pid=os.getpid(), uid=os.getuid())

    def ended(self, status: int | None, signo: int = 0) -> None:
        """The process is about to end, by exit or by a signal."""
        if self.active and self.server is not None:
            self.running = False
            self.server.stopped(Stop(exit_code=status) if status is not None else Stop(killed=to_gdb(signo)))
            self.server.close()

    def forked(self) -> None:
        """In a child: it runs on its own, without breakpoints."""
        self.condition = threading.Condition()
        self.clear_all_breaks()
        self.active = False


def serve(process: Process, address: str) -> None:
    """Listen for a debugger and wait until one is there.  Raises OSError, ValueError for a bad address.

    The calling thread's signal mask is as before; the stub's threads block everything.  A debugger that goes away lets the guest run.
    """
    from tinamou.control.gdb_server import GdbServer

    debugger = Debugger(process)
    low = []  # keep the guest's numbers free of our sockets
    while (fd := os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) < 100:
        low.append(fd)
    os.close(fd)
    mask = native.thread_mask()
    native.set_mask(-1)
    try:
        debugger.server = server = GdbServer(address, debugger, lost=debugger.detach)
        process.private_fds.add(server.listener.fileno())
        native.set_mask(mask)
        server.wait()
        if server._client is not None:
            process.private_fds.add(server._client.fileno())
    finally:
        native.set_mask(mask)
        for fd in low:
            os.close(fd)
    process.debugger = debugger
