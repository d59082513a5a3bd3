"""RISC-V guests on any engine, with guest pages that have rights.

    guest = guests("interpreter", 64)       # the same object for each test, empty
    guest.map(CODE, PAGE, "rx"); guest.write(CODE, code); guest.pc = CODE; guest.x[10] = 5
    stop = guest.go()                       # up to an exception
    stop.cause, stop.value, guest.pc, guest.count
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import dataclass
from typing import Any, Protocol

from support.flat_guest import FlatGuest
from support.told import ToldJit
from tinamou.engine.assemble import Assembler
from tinamou.engine.cpu import EXECUTE, PAGE, READ, WRITE, Trap
from tinamou.engine.golden import Fault, Golden
from tinamou.engine.vcpu import Vcpu
from tinamou.isa.riscv import isa
from tinamou.isa.riscv.architecture import RV32, RV64
from tinamou.isa.riscv.models import MODELS
from tinamou.isa.riscv.pseudo import assembler as riscv_assembler
from tinamou.isa.riscv.state import UNRESERVED, Hart
from tinamou.native import host
from tinamou.native.types import u32, u64

LIMIT = 1 << 32
CODE, DATA, STACK = 0x10_0000, 0x20_0000, 0x7FFF_0000
RIGHTS = {"r": READ, "w": WRITE, "x": EXECUTE}
ECALL, BREAKPOINT, ILLEGAL, NO_FETCH, NO_LOAD, NO_STORE = 8, 3, 2, 12, 13, 15


@dataclass(frozen=True)
class Stop:
    """Why a run ended: an exception, or (None) the end of the instructions that were asked for."""

    cause: int | None
    value: int = 0


@functools.cache
def assembler(xlen: int) -> Assembler:
    return riscv_assembler(xlen)


def rights(text: str) -> int:
    """Pages that may be written or executed may be read."""
    return sum(RIGHTS[c] for c in text) | (READ if text else 0)


class Cell:
    """One CPU of a guest: its registers, and how it runs."""

    def __init__(self, hart: Hart) -> None:
        self.hart = hart
        fields = Hart.fields
        self.x: MutableSequence[int] = (ctypes.c_uint64 * 32).from_address(hart.address + fields["x"].offset)  # type: ignore[assignment]
        self.f: MutableSequence[int] = (ctypes.c_uint64 * 32).from_address(hart.address + fields["f"].offset)  # type: ignore[assignment]

    @property
    def pc(self) -> int:
        return int(self.hart.pc)

    @pc.setter
    def pc(self, value: int) -> None:
        self.hart.pc = u64(value)

    def clear(self) -> None:
        self.x[:] = [0] * 32
        self.f[:] = [0] * 32
        h = self.hart
        h.fflags = h.frm = u32(0)
        h.pc, h.reservation, h.reserved = u64(0), u64(UNRESERVED), u64(0)

    def registers(self) -> dict[str, int]:
        """Everything that instructions see."""
        found = {"pc": self.pc, "fflags": int(self.hart.fflags), "frm": int(self.hart.frm)}
        for name, values in (("x", self.x), ("f", self.f)):
            found |= {f"{name}{n}": v for n, v in enumerate(values)}
        return found


class Guest(Protocol):
    """One CPU and its memory."""

    name: str
    xlen: int
    cell: Cell

    @property
    def count(self) -> int:
        """Instructions executed since clear()."""

    def clear(self) -> None:
        """No memory, registers 0."""

    def map(self, address: int, length: int, access: str) -> None: ...
    def write(self, address: int, data: bytes) -> None:
        """From outside: whatever the rights of mapped pages, and code takes effect."""

    def read(self, address: int, length: int) -> bytes: ...
    def go(self, at_most: int = 1_000_000) -> Stop:
        """Up to an exception; `at_most` is for the golden model, which is not interrupted otherwise."""

    def step(self, count: int = 1) -> Stop: ...
    def changed(self, address: int, length: int) -> None:
        """Tell the engine that the guest has changed code (what a fence of the guest's system does)."""


class Conveniences:
    cell: Cell
    xlen: int
    map: Callable[..., None]
    write: Callable[..., None]

    @property
    def x(self) -> MutableSequence[int]:
        return self.cell.x

    @property
    def f(self) -> MutableSequence[int]:
        return self.cell.f

    @property
    def pc(self) -> int:
        return self.cell.pc

    @pc.setter
    def pc(self, value: int) -> None:
        self.cell.pc = value

    def load(self, text: str, at: int = CODE, access: str = "rx") -> dict[str, int]:
        """Assemble a program to fresh pages and point pc at it; gives its labels."""
        program = assembler(self.xlen).assemble(text, at)
        first, end = at & -PAGE, (at + len(program.data) + PAGE - 1) & -PAGE
        self.map(first, end - first, access)
        self.write(at, program.data)
        self.pc = at
        return program.labels


class GoldenGuest(Conveniences):
    """The rows in CPython."""

    name = "golden"

    def __init__(self, xlen: int) -> None:
        self.xlen = xlen
        model = MODELS[xlen, "max"]
        self.cell = Cell(model.hart())
        self.pages: dict[int, bytearray] = {}
        self.access: dict[int, int] = {}
        self.golden = Golden(isa(xlen), self.cell.hart, self, enabled=model.extensions, address_bits=xlen)

    @property
    def count(self) -> int:
        return self.golden.executed

    def clear(self) -> None:
        self.pages.clear()
        self.access.clear()
        self.cell.clear()
        self.golden.executed = 0

    def map(self, address: int, length: int, access: str) -> None:
        for page in range(address >> 12, address + length >> 12):
            if access:
                self.pages.setdefault(page, bytearray(PAGE))
                self.access[page] = rights(access)
            else:
                self.pages.pop(page, None)
                self.access.pop(page, None)

    def _bytes(self, need: int, address: int, size: int) -> Iterator[tuple[bytearray, int, int]]:
        parts = []
        end = address + size
        while address < end:
            if address >= LIMIT or not self.access.get(address >> 12, 0) & need:
                raise Fault(need, address)
            stop = min(end, (address | 4095) + 1)
            parts.append((self.pages[address >> 12], address & 4095, stop - address))
            address = stop
        return iter(parts)

    def _get(self, need: int, address: int, size: int) -> bytes:
        return b"".join(bytes(page[at : at + n]) for page, at, n in self._bytes(need, address, size))

    # what the golden model asks for; `read` is also what the tests use, on pages that may be read
    def fetch(self, address: int, size: int) -> bytes:
        return self._get(EXECUTE, address, size)

    def read(self, address: int, size: int) -> bytes:
        return self._get(READ, address, size)

    def write(self, address: int, data: bytes) -> None:
        need = WRITE if self.running else READ
        for page, at, n in self._bytes(need, address, len(data)):
            page[at : at + n] = data[:n]
            data = data[n:]

    running = False

    def step(self, count: int = 1) -> Stop:
        self.running = True
        try:
            self.golden.step(count)
        except Trap as trap:
            return Stop(trap.cause, trap.value)
        finally:
            self.running = False
        return Stop(None)

    def go(self, at_most: int = 1_000_000) -> Stop:
        return self.step(at_most)

    def changed(self, address: int, length: int) -> None:
        pass


class InterpreterGuest(Conveniences):
    """The threaded interpreter on flat memory."""

    name = "interpreter"

    def __init__(self, xlen: int) -> None:
        self.xlen = xlen
        model = MODELS[xlen, "max"]
        self.flat = FlatGuest(RV64 if xlen == 64 else RV32, LIMIT, model.extensions)
        self.engine = self.flat.engine
        self.mapped: dict[int, int] = {}
        self.vcpu = self.engine.vcpu(model.hart())
        self.cell = Cell(self.vcpu.cpu)  # type: ignore[arg-type]
        self.start = 0

    @property
    def count(self) -> int:
        return self.vcpu.instructions - self.start

    def clear(self) -> None:
        for page in list(self.mapped):
            self.map(page << 12, PAGE, "")
        self.cell.clear()
        self.start = self.vcpu.instructions
        self.vcpu._kick.value = 0

    def map(self, address: int, length: int, access: str) -> None:
        pages = range(address >> 12, address + length >> 12)
        fresh = [p for p in pages if p not in self.mapped]
        self.flat.map(address, length, rights(access))
        if not access:
            for page in pages:
                self.mapped.pop(page, None)
            return
        if fresh:
            writable = rights("rw")
            for page in fresh:
                self.flat.map(page << 12, PAGE, writable)
                ctypes.memset(self.flat.base + (page << 12), 0, PAGE)
        for page in pages:
            self.mapped[page] = rights(access)
        self.flat.map(address, length, rights(access))

    def write(self, address: int, data: bytes) -> None:
        pages = {a >> 12 for a in range(address, address + len(data), PAGE)} | {address + len(data) - 1 >> 12} if data else set()
        for page in pages:
            self.flat.map(page << 12, PAGE, self.mapped[page] | WRITE)
        self.flat.write(address, data)
        for page in pages:
            self.flat.map(page << 12, PAGE, self.mapped[page])

    def read(self, address: int, length: int) -> bytes:
        return self.flat.read(address, length)

    def go(self, at_most: int = 1_000_000) -> Stop:
        return self._in_thread(self.vcpu.run)

    def step(self, count: int = 1) -> Stop:
        return self._in_thread(lambda: self.vcpu.step(count))

    def _in_thread(self, run: Callable[[], Any]) -> Stop:
        attach(self)
        found = run()
        return Stop(found.cause, found.value) if found.trap else Stop(None)

    def changed(self, address: int, length: int) -> None:
        self.engine.invalidate(address, length)

    def more(self) -> tuple[Vcpu, Cell]:
        """Another CPU of the same guest."""
        vcpu = self.engine.vcpu(MODELS[self.xlen, "max"].hart())
        return vcpu, Cell(vcpu.cpu)  # type: ignore[arg-type]


class RegionsGuest(InterpreterGuest):
    """Compiled regions around every address at which a run began before; the interpreter for the rest."""

    name = "regions"

    def __init__(self, xlen: int) -> None:
        super().__init__(xlen)
        self.engine.jit = self.jit = ToldJit(self.engine)
        self.made = 0

    def go(self, at_most: int = 1_000_000) -> Stop:
        if self.jit.executed(self.pc) and not self.jit.compiled(self.pc):
            self.jit.wanted.clear()
            self.made += self.jit.compile(self.pc)
        return super().go(at_most)


class TracesGuest(InterpreterGuest):
    """The interpreter, with a trace at the first visit of whatever can begin one."""

    name = "traces"

    def __init__(self, xlen: int) -> None:
        super().__init__(xlen)
        self.engine.shared.patience = u64(1)


_attached: list[tuple[InterpreterGuest, host.ThreadRecord]] = []


def attach(guest: InterpreterGuest | None) -> None:
    """The main thread runs this guest's CPU from now on, or none."""
    if _attached and _attached[0][0] is guest:
        return
    while _attached:
        _attached.pop()[1].close()
    if guest:
        _attached.append((guest, guest.flat.thread(guest.vcpu)))


KINDS: dict[str, Callable[[int], Any]] = {
    "golden": GoldenGuest,
    "interpreter": InterpreterGuest,
    "regions": RegionsGuest,
    "traces": TracesGuest,
}


@functools.cache
def make(kind: str, xlen: int) -> Any:
    return KINDS[kind](xlen)


def guests(kind: str, xlen: int) -> Any:
    guest = make(kind, xlen)
    guest.clear()
    return guest


class CpuThread(threading.Thread):
    """A thread that runs a CPU of an interpreter's guest until an exception, again after each that `again` wants."""

    def __init__(self, guest: InterpreterGuest, vcpu: Vcpu, again: Callable[[Any], bool] = lambda stop: False) -> None:
        super().__init__(daemon=True)
        self.guest, self.vcpu, self.again = guest, vcpu, again
        self.stop: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            record = self.guest.flat.thread(self.vcpu)
            while True:
                self.stop = self.vcpu.run()
                if not self.again(self.stop):
                    break
            record.close()
        except BaseException as e:
            self.error = e

    def join(self, timeout: float | None = None) -> None:
        super().join(timeout)
        if self.error:
            raise self.error
