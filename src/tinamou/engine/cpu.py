"""What every CPU has, whatever its architecture: a program counter, memory, and a way to raise exceptions.

An architecture's state is a `Cpu` with its registers as further fields.  Under CPython (the golden model) memory is an object with
`read(address, size) -> bytes` and `write(address, data)`; in compiled code the same methods are the soft MMU of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

from tinamou.native.ops import intrinsic
from tinamou.native.types import Array, Struct, Word, i64, u64, u128

W = TypeVar("W", bound=Word)


class Trap(Exception):
    """A synchronous exception of the guest: `cause` as the architecture numbers it, and its value (an address, an instruction)."""

    def __init__(self, cause: int, value: int = 0) -> None:
        super().__init__(int(cause), int(value))
        self.cause, self.value = int(cause), int(value)

    def __str__(self) -> str:
        return f"exception {self.cause}, value {self.value:#x}"


READ, WRITE, EXECUTE = 1, 2, 4  # kinds of access; also the bits of the page flags
PAGE = 4096
REACH = 1 << 16  # bytes: compiled code of flat memory checks a register and accesses what is nearer than this to where it points
GUARD = 2 * REACH  # bytes that fault before and behind flat memory


class Shared(Struct):
    """What all CPUs of a machine share; `Cpu.shared` points at it."""

    arena: u64  # next free byte for entries
    arena_end: u64
    arena_start: u64
    fences: u64  # how often everything decoded was forgotten
    image: u64  # the interpreter's code and data, bytes
    image_size: u64
    stencils: u64  # table of Stencil (engine.traces); 0: this host has none
    trace_at: u64  # next free byte for traces
    trace_end: u64
    trace_write: u64  # where it is written - where it is executed
    trace_lock: u64  # 1: somebody makes a trace
    trace_steps: u64  # what the maker of a trace needs
    trace_faults: u64  # the fault map of traces (native.host)
    heat: u64  # visits of entries
    patience: u64  # visits of an entry before it gets a trace
    traces: u64  # made so far
    traced: u64  # instructions in them
    cpus: u64  # how many there are, where engine.young must know
    states: u64  # host address of their addresses
    young: u64  # entries of the pages that have become code a moment ago (engine.young)
    young_lock: u64
    generation: u64


class Cpu(Struct):
    """State of one virtual CPU, in memory that compiled code shares.

    The fields below belong to the engine; an architecture adds its registers.  `pc` is the address of the current instruction; while
    compiled code runs, it is derived from the predecoded entry, and the field is only written when the run ends.
    """

    big_endian: ClassVar[bool] = False
    held: ClassVar[tuple[str, ...]] = ()  # words, such as condition flags, that regions keep where they keep registers
    window: ClassVar[str] = ""  # field that the 256 bytes begin with which compiled code reaches by short displacements
    spare: ClassVar[int] = 8192  # a handler may use any register number of 8 bits (see engine.predecode)

    pc: u64
    extensions: u64  # one bit for each extension of the architecture that this CPU has, in alphabetical order
    target: u64  # golden model: where the next instruction is; compiled code: where a far jump wants to go
    bias: u64  # pc = (address of the entry >> shift) + bias
    trapped: u64  # an outlined function raised: cause and value are set
    cause: u64
    value: u64
    reason: u64  # why run() returned: see engine.interpreter
    budget: i64  # what is left of the slice; the slice ends at the first taken jump after it is used up
    slice: i64
    instructions: u64  # executed before the current slice
    quantum: i64  # size of a slice
    samples: Annotated[Array[u64], 256]  # where the last slices ended
    sampled: u64  # slices that ended so far
    retries: u64  # instructions that regions left to tier 0
    kick: u64  # not 0: return from run() at the end of the slice
    stepping: u64  # the same, for Vcpu.step: a kick meanwhile is not lost
    single: u64  # not 0: one instruction only (Vcpu.step)
    scratch: Annotated[Array[u128], 16]  # entries of a single step
    host_float: u64  # not 0: the host's floating point rounds as the guest wants it, and its exception flags are the guest's
    memory: u64  # host address of guest address 0
    limit: u64  # guest addresses from here on are not memory
    direct_limit: u64  # loads and stores from here on take the slow path: `limit`, or 0 while all of them are to be looked at
    page_flags: u64  # host address of one byte a guest page
    pagemap: u64  # host address of one word a guest page: its entries, or 0
    shared: u64  # host address of what all CPUs of a machine share (Shared)
    _memory: Any

    def fault(self, access: int, address: u64) -> None:
        """Raise the architecture's exception for an access (READ, WRITE or EXECUTE) that memory refuses."""
        raise Trap(access, address)

    def undefined(self) -> None:
        """Raise the architecture's exception for an instruction that no row describes."""
        raise Trap(0)

    def settle_float(self) -> None:
        """The host's floating point is the host's own again, its flags are in the guest's register, and `host_float` is 0.

        Needed before anybody but compiled code of the guest runs, or looks.
        """

    def jump(self, target: Word) -> None:
        """Continue at `target` after this instruction."""
        _jump(self, target)

    @intrinsic
    def switch(self, target: Word) -> None:
        """Continue at `target` with another view of memory or another privilege: what was fetched ahead is not valid any more."""
        self.target = u64(int(target) & 0xFFFF_FFFF_FFFF_FFFF)

    @intrinsic
    def forward(self, distance: Word) -> None:
        """Continue behind the next instruction: so many bytes behind this one's address, at most 8 units of code.

        It may spend one for each unit that is skipped, and nothing else (engine.traces relies on that).
        """
        self.target = self.pc + int(distance)

    @intrinsic
    def spend(self, cost: int) -> None:
        """This takes more from the budget than the row says."""
        self.budget = i64(int(self.budget) - cost)

    @intrinsic
    def load(self, kind: type[W], address: Word) -> W:
        """Read guest memory; may raise a Trap before anything changed."""
        data = self._memory.read(int(address), kind.size)
        return kind(int.from_bytes(data, "big" if self.big_endian else "little"))

    @intrinsic
    def store(self, kind: type[W], address: Word, value: W) -> None:
        """Write guest memory; may raise a Trap before anything changed."""
        if type(value) is not kind:
            raise TypeError(f"a {type(value).__name__} is stored as {kind.__name__}")
        data = (int(value) & kind.mask).to_bytes(kind.size, "big" if self.big_endian else "little")
        self._memory.write(int(address), data)

    @intrinsic
    def atomic(self, operation: str, kind: type[W], address: Word, value: W) -> W:
        """Read-modify-write guest memory in one step; gives the old value.

        Operations: swap add and or xor min max (signedness by `kind`).  The address is a multiple of the size: check it before.
        """
        old = self.load(kind, address)
        self.store(kind, address, kind(ATOMIC[operation](old, value)))
        return old

    @intrinsic
    def compare_swap(self, kind: type[W], address: Word, expected: W, value: W) -> W:
        """Store `value` if memory holds `expected`, in one step; gives what memory held."""
        old = self.load(kind, address)
        if old == expected:
            self.store(kind, address, value)
        return old

    @intrinsic
    def fence_code(self) -> None:
        """Instructions that this CPU stored are what it fetches from now on."""

    @intrinsic
    def fence(self) -> None:
        """Order all earlier memory accesses before all later ones, for other CPUs too."""


ATOMIC: dict[str, Callable[[Any, Any], Any]] = {
    "swap": lambda old, new: new,
    "add": lambda old, new: old + new,
    "and": lambda old, new: old & new,
    "or": lambda old, new: old | new,
    "xor": lambda old, new: old ^ new,
    "min": min,
    "max": max,
}


@intrinsic
def _jump(cpu: Cpu, target: Word) -> None:
    cpu.target = u64(int(target) & 0xFFFF_FFFF_FFFF_FFFF)
