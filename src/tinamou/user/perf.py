"""What tools outside see of compiled code: /tmp/perf-PID.map for `perf`, and the text of `-d jit`.

The map (tools/perf/Documentation/jit-interface.txt of the kernel) has a line for each piece of code, its address and length in
hexadecimal and its name: the interpreter, and every region with the guest function that it begins in, as they come into being; the traces
that there are when the program ends.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import time
from array import array
from typing import TYPE_CHECKING, Any

from .memory import EXEC, PAGE
from .symbols import Symbols

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .process import Process

__all__ = ["report", "watch"]


class PerfMap:
    """The file of this process; written as code comes into being, so that it is there whatever ends the process."""

    def __init__(self, process: Process) -> None:
        self.symbols = Symbols(process.memory, process.abi)
        self.fd = -1
        self.process = process
        self.open()

    def open(self) -> None:
        """The file of the process that we are now; what others left under its name is replaced, links are not followed."""
        path = f"/tmp/perf-{os.getpid()}.map"
        try:
            os.unlink(path)
        except OSError:
            pass
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self.process.complain(f"-perfmap: {path}: {error.strerror}")
            return
        self.fd = self.process.hide(fd)
        image = self.process.engine.image
        self.write(f"{image.base:x} {image.code_size:x} interpreter of {self.process.abi.name}\n")

    def write(self, text: str) -> None:
        if self.fd >= 0:
            os.write(self.fd, text.encode(errors="replace"))

    def code(self, address: int, length: int, kind: str, pc: int) -> str:
        """The line for code at that host address, which stands for the guest code at pc."""
        name = self.symbols.name(pc)
        return f"{address:x} {length:x} {name + ' ' if name else ''}{kind}:{pc:#x}\n"

    def traces(self) -> None:
        """Name all traces; one reaches up to the next."""
        rooms = trace_rooms(self.process.engine)
        found = sorted((handler, pc) for pc, handler in self.handlers() if any(handler in room for room in rooms))
        for (start, pc), (following, _) in itertools.pairwise([*found, (1 << 64, 0)]):
            stop = next(room.stop for room in rooms if start in room)
            self.write(self.code(start, min(following, stop) - start, "trace", pc))

    def handlers(self) -> Iterator[tuple[int, int]]:
        """(guest address, host address of its handler) of all code that was looked at."""
        engine, arch = self.process.engine, self.process.engine.arch
        words = (arch.granule << arch.shift) // 8  # of an entry
        for region in self.process.memory.regions():
            for page in range(region.start, region.end if region.prot & EXEC else region.start, PAGE):
                at = engine.entries(page >> 12)
                if at:
                    row = array("Q", ctypes.string_at(at, PAGE << arch.shift))[::words]
                    yield from zip(range(page, page + PAGE, arch.granule), row, strict=True)


def trace_rooms(engine: Any) -> list[range]:
    """Host addresses of traces."""
    rooms = [range(arena.base, arena.base + arena.size) for arena in engine.room.arenas]
    return [*rooms[:-1], range(rooms[-1].start, int(engine.shared.trace_at))] if rooms else []


def watch(process: Process) -> None:
    """Do what -perfmap and -d jit ask for, from now on."""
    options, jit = process.options, process.engine.jit
    if options.perf_map:
        perf = PerfMap(process)
        process.at_fork.append(perf.open)
        process.at_exit.append(perf.traces)
    if options.perf_map and jit:
        install = jit.install

        def installed(region: Any, *more: Any) -> bool:
            done: bool = install(region, *more)
            at = jit.handler(region.entries[0])
            if done and jit.arena.holds(at):  # it was the last to be placed
                perf.write(perf.code(at, jit.arena.base + jit.arena.used - at, "region", region.entries[0]))
            return done

        jit.install = installed
    if "jit" in options.log_items:
        started = time.monotonic()
        process.at_exit.append(lambda: process.log_write(report(jit, time.monotonic() - started)))


def report(jit: Any, elapsed: float) -> str:
    """What tier 1 did, for people; `jit` is None when it is off."""
    if jit is None:
        return "JIT statistics: nothing is compiled: jit=off or jit=traces\n"
    s = jit.statistics
    parts = {"regions": s.in_regions, "traces": s.in_traces, "interpreter": s.samples - s.in_regions - s.in_traces}
    shares = ", ".join(f"{name} {n / max(s.samples, 1):.0%}" for name, n in parts.items())
    fate = f"{s.dropped} dropped, {s.useless} given up, {s.refused} refused"
    rows = [
        ("regions", f"{s.regions} ({s.regions - s.revived} compiled, {s.revived} from the cache on disk), {fate}"),
        ("guest instructions in them", f"{s.instructions}"),
        ("machine code", f"{s.code} bytes"),
        ("time spent compiling", f"{s.seconds:.3f} s of CPU in {elapsed:.3f} s"),
        ("time", f"{shares} (of {s.samples} samples)"),
    ]
    return "JIT statistics\n" + "".join(f"  {name:<28}{value}\n" for name, value in rows)
