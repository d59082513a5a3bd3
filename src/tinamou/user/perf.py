"""What tools outside see of compiled code: /tmp/perf-PID.map for `perf`, and the text of `-d jit`.

The map (tools/perf/Documentation/jit-interface.txt of the kernel) has a line for each piece of code, its address and length in
hexadecimal and its name: the interpreter, and every region with the guest function that it begins in.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from .symbols import Symbols

if TYPE_CHECKING:
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

    def region(self, address: int, length: int, pc: int) -> None:
        """A region at that host address, which stands for the guest code at pc."""
        name = self.symbols.name(pc)
        self.write(f"{address:x} {length:x} {name + ' ' if name else ''}guest:{pc:#x}\n")


def watch(process: Process) -> None:
    """Do what -perfmap and -d jit ask for, from now on."""
    options, jit = process.options, process.engine.jit
    if options.perf_map:
        perf = PerfMap(process)
        process.at_fork.append(perf.open)
    if options.perf_map and jit:
        install = jit.install

        def installed(region: Any, *more: Any) -> bool:
            done: bool = install(region, *more)
            at = jit.handler(region.entries[0])
            if done and jit.arena.holds(at):  # it was the last to be placed
                perf.region(at, jit.arena.base + jit.arena.used - at, region.entries[0])
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
    share = f"{100 * s.in_regions / s.samples:.0f}%" if s.samples else "-"
    compiled = s.regions - s.revived
    rows = [
        ("regions", f"{s.regions} ({compiled} compiled, {s.revived} from the cache on disk), {s.dropped} dropped, {s.refused} refused"),
        ("guest instructions in them", f"{s.instructions}"),
        ("machine code", f"{s.code} bytes"),
        ("time spent compiling", f"{s.seconds:.3f} s of CPU in {elapsed:.3f} s"),
        ("samples", f"{s.samples}, in regions {share}"),
    ]
    return "JIT statistics\n" + "".join(f"  {name:<28}{value}\n" for name, value in rows)
