"""Two engines side by side on one program: stop at the first instruction after which they differ.

The program runs on one of them, slice by slice.  At the beginning of a slice the process forks; its copy runs the same slice on the other
engine and compares registers, the exception that ended it, and every page of memory that may be written.  When something differs, a copy
that still stands at the beginning of the slice finds by halving how many instructions it takes, and names the last one.  System calls
happen once, between slices.

What the clock says differs by nature: a slice that ends up different at an instruction that reads a counter is not compared further.
While a process has several threads it runs uncompared: the system calls of one change memory during a slice of another.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import struct
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .engine import Exit, GoldenEngine, GoldenVcpu, Watched
from .host import HOST, native, raw_syscall
from .memory import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_TYPE, PAGE, READ, WRITE
from .signals import OPEN_ON_HOST
from .trace import Listing

if TYPE_CHECKING:
    from tinamou.engine.architecture import Architecture

    from .process import Process

__all__ = ["COMPARED", "ENGINES", "Lockstep", "LockstepVcpu"]

ENGINES = ("golden", "interpreter", "traces", "regions")  # by rising speed: the program itself runs on the faster one of a pair
COMPARED = ENGINES[:2]  # what the copies run
SLICE = {"golden": 1000, "interpreter": 100_000}  # instructions, by the slower one
HEAT = 64  # samples that a slice stands for
COUNTERS = re.compile(r"\b(cycle|time|instret|cntvct|cntpct)|0xc[08][0-2]\b|\brd(time|cycle|instret)")
PR_SET_PDEATHSIG = 1
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, (1 << 64) - 1
PRESENT = 3 << 62  # /proc/PID/pagemap: the page is in memory or swapped out
SAME, DIFFERENT, GONE = 0, 1, 2


class Gone(Exception):
    """The process that was to be compared has ended meanwhile: another thread has ended it."""


class State(NamedTuple):
    """Where a CPU stands after a run."""

    registers: dict[str, int]
    trap: tuple[int, int] | None  # the exception that ended it


class Difference(NamedTuple):
    what: str  # "a0", "memory at 0x1234", "exception"
    mine: str
    other: str


class Lockstep:
    """The comparison of a whole process."""

    def __init__(self, process: Process, arch: Architecture, mine: str, other: str, every: int = 0) -> None:
        self.process, self.arch, self.mine, self.other = process, arch, mine, other
        self.every = every or SLICE[other]
        self.lock = threading.RLock()
        self.instructions = self.slices = self.clocks = 0
        self.crowded = False
        self.told: set[int] = set()  # the guest's children whose end it may have heard of twice
        raw_syscall(HOST.numbers["prctl"], PR_SET_PTRACER, PR_SET_PTRACER_ANY)  # Yama lets copies read our memory then

    def summary(self) -> str:
        skipped = f", {self.clocks} ended at a clock" if self.clocks else ""
        skipped += ", not compared while there were several threads" if self.crowded else ""
        jit = self.process.engine.jit
        regions = f", {jit.statistics.regions} regions" if jit else ""
        text = f"{self.instructions} instructions in {self.slices} slices{regions}{skipped}: {self.mine} and {self.other} agree"
        return f"tinamou lockstep: {text}\n"

    # ---- one slice

    def slice(self, vcpu: LockstepVcpu) -> Exit:
        """Run a slice on the program's own engine, and compare.  Ends the process at a difference."""
        with self.lock, self.process.memory.lock:  # nobody maps or unmaps meanwhile
            ours, theirs = os.pipe(), os.pipe()
            with self.process.lock:
                sys.stdout.flush()
                before = native.thread_mask()
                native.set_mask(~OPEN_ON_HOST)  # the copy gets no signals, and its end is none of the guest's business
                copy = os.fork()
                if copy == 0:
                    os.close(ours[1])
                    os.close(theirs[0])
                    _Copy(self, vcpu, ours[0], theirs[1]).serve()
            start = vcpu.count()
            exit: Exit = vcpu.vcpu.step(self.every)
            state = State(self.process.abi.state(vcpu.cpu), (exit.cause, exit.value) if exit.trap else None)
            os.close(ours[0])
            os.close(theirs[1])
            os.write(ours[1], repr(tuple(state)).encode() + b"\n")
            os.close(ours[1])
            with os.fdopen(theirs[0]) as answer:
                found = answer.read().strip()
            self.bury(copy)
            native.set_mask(before)
            self.slices += 1
            self.instructions += vcpu.count() - start
            if found == "clock":
                self.clocks += 1
            elif found != "same":
                os._exit(1)
            return exit

    def bury(self, child: int) -> None:
        """Wait for a child of ours and take away the signal that tells of its end; SIGCHLD is blocked."""
        try:
            os.waitpid(child, 0)
        except ChildProcessError:  # ignored SIGCHLD: the kernel buries them
            return
        signals, now = ctypes.c_uint64(1 << signal.SIGCHLD - 1), (ctypes.c_uint64 * 2)()
        raw_syscall(HOST.numbers["rt_sigtimedwait"], ctypes.addressof(signals), 0, ctypes.addressof(now), 8)
        try:
            other = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if other is not None and other.si_pid not in self.told:  # a child of the guest's ended too, and two signals have become one
            self.told.add(other.si_pid)
            os.kill(os.getpid(), signal.SIGCHLD)


class _Copy:
    """A forked copy of the process at the beginning of a slice: only the calling thread is left."""

    def __init__(self, lockstep: Lockstep, vcpu: LockstepVcpu, read: int, write: int) -> None:
        self.of, self.process, self.vcpu = lockstep, lockstep.process, vcpu
        self.read, self.write = read, write
        self.parent = os.getppid()

    def serve(self) -> None:
        try:
            self.prepare()
            with os.fdopen(self.read) as stream:
                line = stream.readline()
            if not line:
                raise Gone
            state = State(*eval(line))
            answer = "same" if self.compare(self.parent, state, self.of.every) == SAME else self.find(self.of.every)
            os.write(self.write, answer.encode())
        except Gone:
            pass
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)

    def prepare(self) -> None:
        """Make what is shared with others private: both engines would write to it."""
        process = self.process
        raw_syscall(HOST.numbers["prctl"], PR_SET_PDEATHSIG, signal.SIGKILL)
        process.memory.lock = threading.RLock()
        process.engine.after_fork()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        memory = process.memory
        for region in memory.regions():
            if region.flags & MAP_TYPE != MAP_PRIVATE and region.prot & WRITE:
                for start, size in present(os.getpid(), memory.base, region.start, region.end):
                    data = read_of(os.getpid(), memory.base + start, size)
                    prot, flags = READ | WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
                    raw_syscall(HOST.numbers["mmap"], memory.base + start, size, prot, flags, -1, 0)
                    ctypes.memmove(memory.base + start, data, len(data))

    # ---- running

    def other_vcpu(self) -> Any:
        """A CPU of the other engine that takes over where this one stands."""
        process, vcpu = self.process, self.vcpu
        extensions = process.abi.extensions(process)
        if self.of.other == "golden":
            return GoldenVcpu(GoldenEngine(), self.of.arch, vcpu.cpu, extensions, process.memory, process.abi.bits)
        from tinamou.engine.vcpu import Engine

        os.environ["TINAMOU_TRACES"] = "off"
        memory = process.memory
        engine = Engine(self.of.arch, memory.base, memory.limit, memory.flags, extensions)
        record = process.current.thread.record
        record.watch(engine.faults)
        return engine.vcpu(vcpu.cpu)

    def state_after(self, vcpu: Any, count: int) -> State:
        exit = vcpu.step(count)
        return State(self.process.abi.state(self.vcpu.cpu), (exit.cause, exit.value) if exit.trap else None)

    def forked(self, work: Callable[[], int]) -> int:
        """Do that in a copy of this copy: the exit status."""
        child = os.fork()
        if child == 0:
            raw_syscall(HOST.numbers["prctl"], PR_SET_PDEATHSIG, signal.SIGKILL)
            status = 99
            try:
                status = work()
            except (FileNotFoundError, ProcessLookupError):
                status = GONE
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == GONE:
            raise Gone
        if status not in (SAME, DIFFERENT):
            raise RuntimeError(f"a copy ended with status {status}")
        return status

    def compare(self, pid: int, state: State, count: int, tell: Callable[[Difference], None] | None = None) -> int:
        """Run the other engine for `count` instructions; whether it ends where process `pid` stands in `state`."""

        def work() -> int:
            found = self.difference(pid, state, self.state_after(self.other_vcpu(), count))
            if found and tell:
                tell(found)
            return DIFFERENT if found else SAME

        return self.forked(work)

    def both(self, count: int, tell: Callable[[Difference], None] | None = None) -> int:
        """Run both engines for `count` instructions in copies of their own: whether they end alike."""

        ready, done = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(done[1])
            raw_syscall(HOST.numbers["prctl"], PR_SET_PDEATHSIG, signal.SIGKILL)
            raw_syscall(HOST.numbers["prctl"], PR_SET_PTRACER, PR_SET_PTRACER_ANY)
            self.process.engine.after_fork()
            state = self.state_after(self.vcpu.vcpu, count)
            os.write(ready[1], repr(tuple(state)).encode() + b"\n")
            os.read(done[0], 1)  # until the other one has looked at our memory
            os._exit(0)
        os.close(ready[1])
        with os.fdopen(ready[0]) as stream:
            mine = State(*eval(stream.readline()))
        try:
            return self.compare(child, mine, count, tell)
        finally:
            os.close(done[0])
            os.close(done[1])
            os.waitpid(child, 0)

    # ---- comparing

    def difference(self, pid: int, mine: State, other: State) -> Difference | None:
        """What differs between process `pid`, in state `mine`, and this one."""
        if mine.trap != other.trap:
            return Difference("exception", *("none" if t is None else f"{t[0]:#x}, value {t[1]:#x}" for t in (mine.trap, other.trap)))
        for name, value in mine.registers.items():
            if other.registers[name] != value:
                return Difference(name, f"{value:#x}", f"{other.registers[name]:#x}")
        memory = self.process.memory
        for region in memory.regions():
            if not region.prot & WRITE:
                continue
            both = present(pid, memory.base, region.start, region.end) + present(os.getpid(), memory.base, region.start, region.end)
            for start, size in both:
                for at in range(start, start + size, 1 << 20):
                    length = min(1 << 20, start + size - at)
                    ours, theirs = read_of(os.getpid(), memory.base + at, length), read_of(pid, memory.base + at, length)
                    if ours != theirs:
                        pairs = enumerate(zip(theirs, ours, strict=False))
                        n = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs))) & -8
                        return Difference(f"memory at {at + n:#x}", theirs[n : n + 8].hex(" "), ours[n : n + 8].hex(" "))
        return None

    # ---- finding the instruction

    def find(self, count: int) -> str:
        """Which instruction of the slice makes the difference; prints it, unless it reads a clock."""
        same, different = 0, count
        while different - same > 1:
            middle = (same + different) // 2
            if self.both(middle) == SAME:
                same = middle
            else:
                different = middle
        found: list[Difference] = []
        reader, writer = os.pipe()

        def tell(difference: Difference) -> None:
            os.write(writer, repr(tuple(difference)).encode())

        self.both(different, tell)
        os.close(writer)
        with os.fdopen(reader) as stream:
            text = stream.read()
        if text:
            found.append(Difference(*eval(text)))
        how, pc = "at", 0
        if found and self.of.mine not in COMPARED:  # compiled code runs whole: what it did wrong lies before the boundary
            pc = self.last_writer(found[0], different)
            how = f"{found[0].what} was last written at"
        if not pc:
            how = "at"
            self.other_vcpu().step(different - 1)
            pc = int(self.vcpu.cpu.pc)
        listing = Listing(self.process, self.of.arch)
        block = listing.block(pc, 1)
        line = listing.line(pc, block[0]) if block else f"{pc:#x}: cannot be executed"
        if found and not found[0].what.startswith("memory") and COUNTERS.search(line):
            return "clock"
        name = listing.symbols.name(pc)
        out = [
            f"tinamou lockstep: {self.of.mine} and {self.of.other} differ after {self.of.instructions + different} instructions, {how}",
            f"  {line}" + (f"    in {name}" if name else ""),
        ]
        out += [f"  {d.what}: {self.of.mine} {d.mine}, {self.of.other} {d.other}" for d in found]
        if not found:
            out.append("  not when the slice is repeated: it depends on when regions were compiled")
        os.write(2, ("\n".join(out) + "\n").encode(errors="replace"))
        return "different"

    def last_writer(self, difference: Difference, count: int) -> int:
        """The instruction that last changed what differs, as the other engine runs the slice; 0 if none did."""
        abi, cpu, memory = self.process.abi, self.vcpu.cpu, self.process.memory
        where = difference.what.removeprefix("memory at ")
        at = int(where, 16) if where != difference.what else -1
        if at < 0 and where not in abi.state(cpu):
            return 0

        def value() -> int | bytes:
            return read_of(os.getpid(), memory.base + at, 8) if at >= 0 else abi.register(cpu, where)

        def work() -> int:
            vcpu, old, last = self.other_vcpu(), value(), 0
            for _ in range(count):
                pc = int(cpu.pc)
                vcpu.step(1)
                if (new := value()) != old:
                    old, last = new, pc
            os.write(writer, str(last).encode())
            return SAME

        reader, writer = os.pipe()
        self.forked(work)
        os.close(writer)
        with os.fdopen(reader) as stream:
            return int(stream.read())


def present(pid: int, base: int, start: int, end: int) -> list[tuple[int, int]]:
    """Guest address and length of the runs of pages between two guest addresses that a process has in memory."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as file:
        file.seek((base + start) // PAGE * 8)
        data = file.read((end - start) // PAGE * 8)
    found: list[tuple[int, int]] = []
    for n, (entry,) in enumerate(struct.iter_unpack("<Q", data[: len(data) // 8 * 8])):
        if entry & PRESENT:
            at = start + n * PAGE
            if found and sum(found[-1]) == at:
                found[-1] = found[-1][0], found[-1][1] + PAGE
            else:
                found.append((at, PAGE))
    return found


def read_of(pid: int, address: int, length: int) -> bytes:
    """Memory of another process of ours, as much of it as can be read."""
    room = ctypes.create_string_buffer(length)
    local, remote = (ctypes.c_uint64 * 2)(ctypes.addressof(room), length), (ctypes.c_uint64 * 2)(address, length)
    n = raw_syscall(HOST.numbers["process_vm_readv"], pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)
    if n == -1:
        raise PermissionError("the kernel does not let a process read the memory of its copy (kernel.yama.ptrace_scope)")
    return room.raw[: max(n, 0)]


class LockstepVcpu(Watched):
    """A virtual CPU that is compared with another one."""

    def __init__(self, lockstep: Lockstep, vcpu: Any) -> None:
        super().__init__(vcpu)
        self.lockstep = lockstep
        self.known = False  # to the JIT, which counts what is hot

    def count(self) -> int:
        """Instructions executed so far."""
        return int(self.vcpu.instructions)

    def run(self) -> Any:
        """As Vcpu.run, slice by slice."""
        jit = self.engine.jit
        if jit and not self.known:
            jit.add(self.vcpu)
            jit.first, jit.anywhere = 0, True
            self.known = True
        if len(self.lockstep.process.threads) > 1:
            self.lockstep.crowded = True
            return self.vcpu.run()
        while not self._kick.value:
            exit = self.lockstep.slice(self)
            if jit:  # steps are no samples: say what is hot
                with jit.lock:
                    jit.seen(int(self.cpu.pc), HEAT)
            if exit.trap:
                return exit
        self._kick.value = 0
        return Exit(False)
