"""The memory model of microcontrollers: code and data apart, and every cycle counted.

Code is one piece of host memory, at address 0 of its own space.  Data addresses below `ram_start` are registers and I/O; from there on
`ram_size` bytes are RAM.  An access to RAM costs a comparison and an addition; I/O is a table of what to do (`io_kind`), in the end a call
of the host (`call`).

The budget counts cycles, and every instruction looks at it.  A slice ends at `deadline`, the cycle of the next event, never behind it, so
that an event, and the interrupt that it requests, come between the same two instructions in every run.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeVar

from tinamou.native.memory import call_host, exchange, peek, poke
from tinamou.native.ops import intrinsic, outlined, unlikely
from tinamou.native.types import Array, Struct, Word, i64, u8, u16, u64

from .cpu import PAGE, READ, WRITE, Cpu, _jump
from .flow import enter, get_budget, leave, memory_base, pc_of, set_budget, slow
from .interpreter import KICK, TRAP
from .predecode import entry_offset, find_slow, new_page
from .specials import alone, end_slice, sample

W = TypeVar("W", bound=Word)

IO = 512  # data addresses that may have an entry in io_kind
COUNTERS = 16
ALARMS = 32
BREAKS = 16
NEVER = 1 << 62
EXACT = True  # handlers look at the budget after every instruction
KEPT = ("fast_start", "ram_size")  # words of the CPU that a region looks at once
SAMPLE = 20_000  # cycles that a sample stands for

# io_kind: what a load does.  Stores call the host, those of PLAIN excepted.
DEVICE = 0  # calls the host
SHADOW = 1  # gives io_value
PLAIN = 2  # is memory
COUNTER = 16  # and above: gives the value of counters[kind - COUNTER]

# What the host is called for: the second argument of `call`; the first is an address, the third a value, the fourth the cycle.
LOAD, STORE, BITS, EVENT, ACKNOWLEDGE, SLEEP, SELF_PROGRAM, PROGRAM_LOAD, WATCHDOG_RESET, BREAK, UNDEFINED, WAKE = range(12)


class Counter(Struct):
    """A timer's count, computed when it is read."""

    start: u64  # the cycle at which it was `first`
    divider: u64  # cycles for each step
    first: u64
    top: u64  # the largest value
    dual: u64  # not 0: counts down again from top (period 2 * top)
    latch: u64  # data address whose shadow takes the high byte when the low one is read; 0: the counter has 8 bits


class Alarm(Struct):
    """A flag that time sets: at a cycle, and again and again."""

    due: u64  # the next time; NEVER: not at all
    period: u64  # cycles; 0: once
    address: u64  # data address whose shadow has the flag
    mask: u64  # the flag
    vector: u64  # the interrupt that is requested as well, which clears the flag when it is entered; 0: none


class HarvardCpu(Cpu):
    """A microcontroller's CPU.  `instructions` counts cycles; `memory` is the host address of data address 0, valid where there is RAM."""

    mapped: ClassVar[int] = 0  # data address from which on program memory is read as data; 0: nowhere

    fast_start: u64  # ram_start, or an address that there is not while accesses are watched
    ram_start: u64  # data address
    ram_size: u64  # bytes
    code: u64  # host address of code address 0
    code_mask: u64  # bytes of code - 1: addresses wrap there
    sampling: u64  # cycles that a sample stands for; 0: there are none
    unsampled: u64  # cycles since the last one
    left: u64  # not 0: the address (+ 1) at which a region left the rest of the slice to tier 0
    deadline: u64  # cycle at which the host has to be called
    next_alarm: u64  # the first of the alarms, or earlier
    own_vectors: u64  # those of alarms, a bit each
    call: u64  # host function (address, what, value, cycle) -> value
    attention: u64  # not 0: lines, deadline, stall or quit have changed
    lines: u64  # interrupt requests of devices, by vector
    asked: u64  # those of alarms
    halted: u64  # sleeps
    stall: u64  # cycles to wait before the next instruction
    quit: u64  # not 0: run() ends before the next instruction
    enabled: u64  # the cycle at which interrupts were enabled last: one more instruction comes first
    program_limit: u64  # loads from program memory call the host from this address on
    breaks: u64  # how many of break_at are in use; run() ends there
    passed: u64  # not 0: the instruction at which run() begins is no breakpoint
    hit: u64  # not 0: run() ended at one
    watches: u64  # how many of these are in use; run() ends behind an access to one
    watch_at: Annotated[Array[u64], BREAKS]  # data addresses
    watch_size: Annotated[Array[u64], BREAKS]
    watch_kind: Annotated[Array[u64], BREAKS]  # READ, WRITE or both
    watched: u64  # the number of the one that was met, counted from 1
    break_at: Annotated[Array[u64], BREAKS]
    io_kind: Annotated[Array[u8], IO]
    io_value: Annotated[Array[u8], IO]
    counters: Annotated[Array[Counter], COUNTERS]
    alarms: Annotated[Array[Alarm], ALARMS]
    alarm_count: u64

    def jump(self, target: Word) -> None:
        """Continue at `target` after this instruction; code addresses wrap."""
        _jump(self, u64(target) & self.code_mask)

    @intrinsic
    def input(self, address: u64) -> u8:
        """Load from what is probably no RAM: the same as `load`, without looking there first."""
        return self.load(u8, address)

    @intrinsic
    def output(self, address: u64, value: u8) -> None:
        """Store to what is probably no RAM."""
        self.store(u8, address, value)

    @intrinsic
    def modify(self, address: u64, mask: u8, value: u8) -> None:
        """Write those bits of an I/O register that `mask` has."""
        data = self._memory.read(int(address), 1)[0]
        self._memory.write(int(address), bytes([data & ~int(mask) | int(value) & int(mask)]))

    @intrinsic
    def program(self, address: u64) -> u8:
        """A byte of program memory."""
        return u8(self._memory.fetch(int(address) & int(self.code_mask), 1)[0])

    @intrinsic
    def program_word(self, address: u64) -> u16:
        """A word of program memory as the CPU fetches it; `address` is even."""
        return u16(int.from_bytes(self._memory.fetch(int(address) & int(self.code_mask), 2), "little"))

    @intrinsic
    def tell(self, what: int, address: u64, value: u64) -> u64:
        """Call the host, as every access to a device does."""
        return u64(self._memory.tell(what, int(address), int(value)))

    @intrinsic
    def interrupts_on(self) -> None:
        """Interrupts have become enabled: they come after one more instruction."""

    @intrinsic
    def pause(self) -> None:
        """Something has to be looked at before the next instruction."""

    def own_load(self, address: u64) -> u8:
        """A register that is in the CPU: only asked where is_own says so."""
        return u8(0)

    def own_store(self, address: u64, value: u8) -> bool:
        """Write one of them; whether this enabled interrupts."""
        return False

    def is_own(self, address: u64) -> bool:
        return False

    def is_deaf(self) -> bool:
        """No interrupt is accepted: only a reset ends sleep."""
        return False

    def is_held(self) -> bool:
        """No interrupt is accepted where the CPU is: it may be anywhere else after the next instruction."""
        return False

    def interrupt(self) -> bool:
        """Enter the handler of a requested interrupt before the instruction at `target`, if one is enabled; whether it did."""
        return False


def harvard(cpu: Cpu) -> HarvardCpu:
    return cpu  # type: ignore[return-value]


# -- fast paths


def beyond(c: HarvardCpu, kind: type[Word], address: u64) -> bool:
    """Not all in RAM."""
    if kind.size == 1:
        return address - c.fast_start >= c.ram_size
    return address - c.fast_start > c.ram_size - kind.size


def load(cpu: Cpu, kind: type[W], address: u64) -> W:
    c = harvard(cpu)
    if unlikely(beyond(c, kind, address)):
        slow()
    return peek(kind, memory_base() + address)


def store(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    c = harvard(cpu)
    if unlikely(beyond(c, kind, address)):
        slow()
    poke(kind, memory_base() + address, value)


load_checked, store_checked = load, store


def writable(cpu: Cpu, address: u64) -> u64:
    """Nothing is atomic but whole instructions."""
    return memory_base() + address


writable_slow = writable


def find(cpu: Cpu, target: u64) -> u64:
    base = peek(u64, cpu.pagemap + (target >> 12 << 3))
    return base + entry_offset(target) if base != 0 else u64(0)


# -- I/O


def now(cpu: Cpu) -> u64:
    """Cycles that have passed when the instruction at hand ends."""
    return cpu.instructions + u64(cpu.slice - get_budget())


def cut(cpu: Cpu) -> None:
    """The slice ends with the instruction at hand."""
    left = get_budget()
    if left >= 0:
        cpu.slice -= left + 1
        set_budget(i64(-1))


def attended(cpu: Cpu) -> None:
    if harvard(cpu).attention != 0:
        cut(cpu)


def place(address: u64, more: int) -> u64:
    """The address of a further byte, of a stack: in the same 64 KiB."""
    return address & ~u64(0xFFFF) | address + more & 0xFFFF


def load_slow(cpu: Cpu, kind: type[W], address: u64) -> W:
    value = kind(0)
    for k in range(kind.size):
        value |= kind(load_byte(cpu, place(address, k), now(cpu) - 1)) << (8 * k)
    attended(cpu)
    return value


def store_slow(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    for k in range(kind.size):
        if store_byte(cpu, place(address, k), u8(value >> (8 * k)), now(cpu) - 1):
            harvard(cpu).interrupts_on()
    attended(cpu)


@outlined
def load_byte(cpu: Cpu, address: u64, cycle: u64) -> u8:
    c = harvard(cpu)
    if c.watches != 0:
        watch(cpu, address, READ)
    if address - c.ram_start < c.ram_size:
        return peek(u8, c.memory + address)
    if c.is_own(address):
        return c.own_load(address)
    if address < IO:
        kind = c.io_kind[address & (IO - 1)]
        if kind == SHADOW or kind == PLAIN:
            if c.next_alarm <= cycle:  # while this instruction runs
                ring(cpu, cycle)
            return c.io_value[address & (IO - 1)]
        if kind >= COUNTER:
            return count(cpu, c.counters[u64(kind) & (COUNTERS - 1)], cycle)
    if c.mapped != 0 and address - c.mapped <= c.code_mask:
        return peek(u8, c.code + (address - c.mapped))
    return u8(call_host(c.call, address, u64(LOAD), u64(0), cycle))


@outlined
def watch(cpu: Cpu, address: u64, access: int) -> None:
    c = harvard(cpu)
    n = u64(0)
    while n < c.watches:
        if address - c.watch_at[n & (BREAKS - 1)] < c.watch_size[n & (BREAKS - 1)] and c.watch_kind[n & (BREAKS - 1)] & access != 0:
            c.watched = n + 1
            c.attention = u64(1)
            return
        n += 1


def count(cpu: Cpu, counter: Counter, cycle: u64) -> u8:
    steps = counter.first + (cycle - counter.start) // counter.divider
    if counter.dual != 0:
        steps = steps % (counter.top * 2)
        if steps > counter.top:
            steps = counter.top * 2 - steps
    else:
        steps = steps % (counter.top + 1)
    if counter.latch != 0:
        harvard(cpu).io_value[counter.latch & (IO - 1)] = u8(steps >> 8)
    return u8(steps)


@outlined
def store_byte(cpu: Cpu, address: u64, value: u8, cycle: u64) -> bool:
    """Whether this enabled interrupts."""
    c = harvard(cpu)
    if c.watches != 0:
        watch(cpu, address, WRITE)
    if address - c.ram_start < c.ram_size:
        poke(u8, c.memory + address, value)
    elif c.is_own(address):
        return c.own_store(address, value)
    elif address < IO and c.io_kind[address & (IO - 1)] == PLAIN:
        c.io_value[address & (IO - 1)] = value
    else:
        call_host(c.call, address, u64(STORE), u64(value), cycle)
    return False


def input(cpu: HarvardCpu, address: u64) -> u8:
    kind = cpu.io_kind[address & (IO - 1)]
    cycle = now(cpu) - 1
    if address >= IO or kind == DEVICE or cpu.watches != 0 or cpu.next_alarm <= cycle:
        slow()
    if kind >= COUNTER:
        return count(cpu, cpu.counters[u64(kind) & (COUNTERS - 1)], cycle)
    return cpu.io_value[address & (IO - 1)]


def input_slow(cpu: HarvardCpu, address: u64) -> u8:
    return load_slow(cpu, u8, address)


def output(cpu: HarvardCpu, address: u64, value: u8) -> None:
    store_slow(cpu, u8, address, value)


def modify(cpu: HarvardCpu, address: u64, mask: u8, value: u8) -> None:
    modify_byte(cpu, address, mask, value, now(cpu) - 1)
    attended(cpu)


@outlined
def modify_byte(cpu: Cpu, address: u64, mask: u8, value: u8, cycle: u64) -> None:
    c = harvard(cpu)
    if address < IO and c.io_kind[address & (IO - 1)] == PLAIN:
        c.io_value[address & (IO - 1)] = c.io_value[address & (IO - 1)] & ~mask | value & mask
    else:
        call_host(c.call, address, u64(BITS), u64(mask) << 8 | u64(value), cycle)


def program(cpu: HarvardCpu, address: u64) -> u8:
    if unlikely(address & cpu.code_mask >= cpu.program_limit):
        slow()
    return peek(u8, cpu.code + (address & cpu.code_mask))


def program_slow(cpu: HarvardCpu, address: u64) -> u8:
    if address & cpu.code_mask >= cpu.program_limit:
        return program_byte(cpu, address & cpu.code_mask, cpu.pc, now(cpu) - 1)
    return peek(u8, cpu.code + (address & cpu.code_mask))


@outlined
def program_byte(cpu: Cpu, address: u64, pc: u64, cycle: u64) -> u8:
    """The host is told at which address the instruction is."""
    c = harvard(cpu)
    return u8(call_host(c.call, address, u64(PROGRAM_LOAD), pc, cycle))


def program_word(cpu: HarvardCpu, address: u64) -> u16:
    return peek(u16, cpu.code + (address & cpu.code_mask))


def tell(cpu: HarvardCpu, what: int, address: u64, value: u64) -> u64:
    answer = call_host(cpu.call, address, u64(what), value, now(cpu) - 1)
    attended(cpu)
    return answer


def interrupts_on(cpu: HarvardCpu) -> None:
    cpu.enabled = now(cpu)
    cut(cpu)


def pause(cpu: HarvardCpu) -> None:
    cut(cpu)


INTRINSICS = {
    HarvardCpu.pause: pause,
    HarvardCpu.input: (input, input_slow),
    HarvardCpu.output: output,
    HarvardCpu.modify: modify,
    HarvardCpu.program: (program, program_slow),
    HarvardCpu.program_word: program_word,
    HarvardCpu.tell: tell,
    HarvardCpu.interrupts_on: interrupts_on,
}


# -- code


@outlined
def find_code(cpu: Cpu, target: u64) -> u64:
    """The entry of a jump's target; makes its page's entries."""
    slot = cpu.pagemap + (target >> 12 << 3)
    base = peek(u64, slot)
    if base == 0:
        base = new_page(cpu, slot)
    return base + entry_offset(target)


def wrap(cpu: Cpu, address: u64) -> u64:
    """Behind the last instruction comes the first one."""
    return address & harvard(cpu).code_mask


def page_end(cpu: Cpu) -> u64:
    size = harvard(cpu).code_mask + 1
    return size if size < PAGE else u64(PAGE)


def code_address(cpu: Cpu, pc: u64) -> u64:
    return harvard(cpu).code + (pc & harvard(cpu).code_mask)


def decoded(cpu: Cpu, pc: u64) -> None:
    """Only the host changes code, while no instruction is running."""


def fence_code(cpu: Cpu) -> None: ...


# -- between instructions


@outlined
def boundary(cpu: Cpu) -> bool:
    """Before the instruction at cpu.target: events, interrupts, sleep.  Gives whether run() ends; else there is a slice."""
    c = harvard(cpu)
    while True:
        exchange("swap", u64, u64(c.address) + HarvardCpu.fields["attention"].offset, u64(0))
        c.instructions += c.stall
        c.stall = u64(0)
        if c.quit | c.watched != 0:
            return True
        if c.instructions >= c.next_alarm:
            ring(cpu, c.instructions)
        if c.instructions >= c.deadline:
            call_host(c.call, c.target, u64(EVENT), u64(0), c.instructions)
            continue
        if c.lines | c.asked != 0 and c.enabled != c.instructions:
            if c.interrupt():
                continue
        if c.halted == 0:
            break
        after = c.deadline if c.is_deaf() else min(c.deadline, c.next_alarm)
        if after >= NEVER or c.kick != 0 or c.single != 0:
            return True
        c.instructions = after
    if c.breaks != 0:
        if c.passed == 0 and at_break(cpu):
            c.hit = u64(1)
            return True
        c.passed = u64(0)
    left = i64(min(c.deadline, c.next_alarm) - c.instructions) - 1
    if left > c.quantum:
        left = c.quantum
    if c.breaks != 0 or c.single != 0 or (c.lines | c.asked != 0 and (c.enabled == c.instructions or c.is_held())):
        left = i64(0)
    c.slice = left
    return False


@outlined
def ring(cpu: Cpu, cycle: u64) -> None:
    """Set the flags of the alarms whose time has come."""
    c = harvard(cpu)
    first = u64(NEVER)
    n = u64(0)
    while n < c.alarm_count:
        alarm = c.alarms[n & (ALARMS - 1)]
        if alarm.due <= cycle:
            c.io_value[alarm.address & (IO - 1)] |= u8(alarm.mask)
            if alarm.vector != 0:
                c.asked |= u64(1) << alarm.vector
            if alarm.period != 0:
                alarm.due += ((cycle - alarm.due) // alarm.period + 1) * alarm.period
            else:
                alarm.due = u64(NEVER)
        first = min(first, alarm.due)
        n += 1
    c.next_alarm = first


@outlined
def entered(cpu: Cpu, vector: u64) -> None:
    """The handler of a vector is entered: the flag that asked for it is cleared."""
    c = harvard(cpu)
    if c.own_vectors >> vector & 1 == 0:
        call_host(c.call, vector, u64(ACKNOWLEDGE), u64(0), c.instructions)
        return
    if c.instructions >= c.next_alarm:  # what came during the entry is cleared with it
        ring(cpu, c.instructions)
    n = u64(0)
    while n < c.alarm_count:
        alarm = c.alarms[n & (ALARMS - 1)]
        if alarm.vector == vector:
            c.io_value[alarm.address & (IO - 1)] &= ~u8(alarm.mask)
        n += 1
    c.asked &= ~(u64(1) << vector)


@outlined
def at_break(cpu: Cpu) -> bool:
    c = harvard(cpu)
    n = u64(0)
    while n < c.breaks:
        if c.break_at[n & (BREAKS - 1)] == c.target:
            return True
        n += 1
    return False


def begin_slice(cpu: Cpu, over: bool) -> None:
    """The next slice, unless run() ends here."""
    if over:
        cpu.slice = i64(0)
        leave(KICK, cpu.target)
    set_budget(cpu.slice)


def take_samples(cpu: Cpu, cycles: u64) -> None:
    """The slice took so many cycles: note where it ended, or where a region did that could not go on to its end."""
    c = harvard(cpu)
    c.unsampled += cycles
    while c.unsampled >= c.sampling:
        sample(cpu, c.left - 1 if c.left != 0 else c.target)
        c.unsampled -= c.sampling
    c.left = u64(0)


def h_pause(cpu: Cpu, entry: u64) -> None:
    before = cpu.instructions
    end_slice(cpu, i64(0))
    cpu.target = pc_of(entry) & harvard(cpu).code_mask
    if cpu.single != 0:
        leave(KICK, cpu.target)
    if harvard(cpu).sampling != 0:
        take_samples(cpu, cpu.instructions - before)
    begin_slice(cpu, boundary(cpu) or cpu.kick != 0)
    enter(find_slow(cpu, cpu.target), cpu.target)


def h_budget(cpu: Cpu, entry: u64) -> None:
    """The slice has too few cycles for what a region does next, or none any more."""
    if get_budget() < 0:
        enter(find_slow(cpu, cpu.target), cpu.target)
    harvard(cpu).left = cpu.target + 1
    alone(cpu, "h_cross")


def h_begin(cpu: Cpu, entry: u64) -> None:
    """run() begins here."""
    cpu.slice = i64(0)
    begin_slice(cpu, boundary(cpu))
    enter(find_slow(cpu, cpu.target), cpu.target)


def h_step_exact(cpu: Cpu, entry: u64) -> None:
    cpu.slice = i64(0)
    begin_slice(cpu, boundary(cpu))
    alone(cpu, "h_stop")


def h_switch(cpu: Cpu, entry: u64) -> None:
    enter(find_slow(cpu, cpu.target), cpu.target)


def h_trap(cpu: Cpu, entry: u64) -> None:
    end_slice(cpu, i64(0))
    leave(TRAP, pc_of(entry))


def h_trap_here(cpu: Cpu, entry: u64) -> None:
    """No instruction: the host is told, and what follows is executed."""
    if cpu.trapped == 2:  # no room for entries
        end_slice(cpu, i64(0))
        leave(TRAP, pc_of(entry))
    cpu.trapped = u64(0)
    set_budget(get_budget() - 1)
    tell(harvard(cpu), UNDEFINED, pc_of(entry), u64(0))
    cpu.target = pc_of(entry) + 2 & harvard(cpu).code_mask
    enter(find_slow(cpu, cpu.target), cpu.target)


def h_trap_fetch(cpu: Cpu, entry: u64) -> None:
    end_slice(cpu, i64(0))
    leave(TRAP, cpu.target)


SPECIALS = [
    (h_begin, "h_trap_fetch"),
    (h_pause, "h_trap_fetch"),
    (h_budget, "h_trap_fetch"),
    (h_step_exact, "h_trap_fetch"),
    (h_switch, "h_trap_fetch"),
    (h_trap, "h_trap_fetch"),
    (h_trap_here, "h_trap_fetch"),
    (h_trap_fetch, ""),
]
STEP = "h_step_exact"
