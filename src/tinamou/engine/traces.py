"""Traces: the straight line of instructions from a much-used jump target on, as one piece of code.

A trace is made of copies of stencils (engine.stencils), in the order of the guest's instructions, and is installed as the handler of its
first instruction's entry.  While it runs, `%e` stays that entry; every way out sets it to the entry where the interpreter goes on:

    begin  take the cost of all instructions of the trace from the budget (exact memory models: and give up when it does not suffice)
    ...    the instructions
    end    dispatch the entry behind the last one
    stubs, out of the way: exit (take back what was not executed, go to a handler), leave (the same, dispatch the entry), taken (a jump
           in the page), hop (over an instruction of the trace)

An instruction that cannot do its work in the stencil has changed nothing, and its handler does it again.  So a trace never needs to be
correct about rare cases, and undoing it is storing another handler into one entry, as with any predecoded instruction.

Entries that begin a straight line, and targets of jumps in the page, get the handler h_warm when they are decoded; it counts, and after
Shared.patience visits makes the trace: some 100 ns an instruction, on the CPU's own thread, without the interpreter lock.
"""

from __future__ import annotations

from tinamou.native.memory import compare_exchange, peek, peek_acquire, poke, poke_release
from tinamou.native.ops import intrinsic, outlined
from tinamou.native.types import Struct, i8, i16, i32, i64, u8, u16, u32, u64

from . import predecode
from .cpu import PAGE, Cpu, Shared
from .predecode import BUSY, DECODE, WARM, publish

LONGEST = 64  # instructions of a trace
ENOUGH = 12  # instructions after which a trace ends where another one begins
HEAT = 1 << 16  # counters, one byte each
ROOM = 1 << 16  # bytes that one trace may need
FAULTS = 1 << 22  # pairs of the fault map
GLUE = ("begin", "exit", "leave", "taken", "end", "hop")
BEGIN, EXIT, LEAVE, NEAR, END, HOP, COPIES = range(7)  # COPIES: here the compact stencils begin
SKIPS = 255  # Stencil.spent: `taken` is behind the next instruction, and costs one for each of its units of code

# kinds of patches: 0 to 4 registers (the logarithm of their bytes), then
IMMEDIATE = 5  # to 10: i8 u8 i16 u16 i32 u32
NEXT, COLD, TAKEN, TRAP, DELTA, CREDIT, TO, IMAGE, FAULT, PC, ENTRY, BIAS = range(16, 28)
WIDE, NARROW = 128, 64  # flags: 8 bytes, 1 byte; else 4
INLINE, LINKED = 8, 16  # in Stencil.stubs: the code goes on with `taken`; with the entry that is linked


class Stencil(Struct):
    """The code of one form; offsets count from the image's start."""

    code: u32  # 0: none
    patches: u32
    extent: u16  # bytes
    count: u16  # of patches
    stubs: u8  # 1 cold, 2 taken, 4 trap, INLINE, LINKED
    relative: u8  # offset in the entry of the jump's distance
    cost: u8  # what the instruction takes from the budget
    spent: u8  # what it takes besides when it jumps, or SKIPS
    slots: u8  # the compact copy needs numbers of registers up to `reach` in these bytes of the entry: bit 0 is byte 8
    reach: u8


class Patch(Struct):
    place: u16  # offset in the code
    kind: u8
    slot: u8
    value: i32


class Step(Struct):
    """An instruction of the trace that is being made."""

    handler: u64
    operands: u64
    number: u32
    delta: u32  # its entry, in bytes from the first one
    skip: u64  # bytes of entries of the next instruction, if this one may skip it
    rest: u64  # the cost of this instruction and those behind it
    stencil: u64  # its number in the table


class Making(Struct):
    """What the patches of the stencil at hand refer to; host addresses, and numbers."""

    next: u64
    cold: u64
    taken: u64
    trap: u64
    delta: i64
    credit: i64
    to: u64
    pc: u64
    entry: u64
    bias: u64


@intrinsic
def glue(kind: int) -> u64:
    """Number of a piece of glue in the table of stencils."""
    raise TypeError("only compiled code has stencils")


def stencil_of(s: Shared, number: u64) -> Stencil:
    return Stencil.at(s.stencils + number * Stencil.size)


def compact(s: Shared, number: u64, step: u64) -> u64:
    """The number of an instruction's stencil: the compact one if there is one and the registers allow it."""
    st = stencil_of(s, number)
    bits, at = u64(st.slots), step + 8
    if bits == 0:
        return number
    while bits != 0:
        if bits & 1 != 0 and peek(u8, at) > st.reach:
            return number
        bits >>= 1
        at += 1
    return glue(COPIES) + number


def size_of(s: Shared, number: u64) -> u64:
    return u64(stencil_of(s, number).extent)


def immediate(kind: u8, at: u64) -> i64:
    """An operand of an entry."""
    match kind:
        case 0:
            return i64(peek(i8, at))
        case 1:
            return i64(peek(u8, at))
        case 2:
            return i64(peek(i16, at))
        case 3:
            return i64(peek(u16, at))
        case 4:
            return i64(peek(i32, at))
        case _:
            return i64(peek(u32, at))


@outlined
def place(shared: u64, making: u64, number: u64, at: u64, step: u64) -> u64:
    """Copy a stencil to `at` (an address of the executable mapping) and fill its holes; gives the address behind it."""
    s, m = Shared.at(shared), Making.at(making)
    st = stencil_of(s, number)
    source, target, n = s.image + u64(st.code), at + s.trace_write, u64(0)
    size = u64(st.extent)
    while n < size:
        poke(u64, target + n, peek(u64, source + n))
        n += 8
    p = s.image + u64(st.patches)
    end = p + u64(st.count) * Patch.size
    while p < end:
        h = Patch.at(p)
        where = at + u64(h.place)
        slot = step + u64(h.slot)
        kind = h.kind & (NARROW - 1)
        value = i64(h.value)
        if kind == FAULT:
            table = s.trace_faults
            k = peek(u64, table)
            poke(u64, table + 16 + (k << 4), where)
            poke(u64, table + 24 + (k << 4), m.cold if value < 0 else at + u64(value))
            poke_release(u64, table, k + 1)
        elif kind >= NEXT:
            to = u64(0)
            match kind:
                case 16:
                    to = at + size
                case 17:
                    to = m.cold
                case 18:
                    to = m.taken
                case 19:
                    to = m.trap
                case 20:
                    value += m.delta
                case 21:
                    value += m.credit
                case 22:
                    to = m.to
                case 25:
                    value += i64(m.pc)
                case 26:
                    value += i64(m.entry)
                case 27:
                    value += i64(m.bias)
                case _:
                    to = s.image + u64(value) + 4
            if to != 0:
                value = i64(to - where - 4)
            if h.kind & WIDE != 0:
                poke(u64, where + s.trace_write, u64(value))
            else:
                poke(u32, where + s.trace_write, u32(value))
        else:
            if kind < IMMEDIATE:
                value += i64(u64(peek(u8, slot)) << u64(kind))
            else:
                value += immediate(kind - IMMEDIATE, slot)
            if h.kind & NARROW != 0:
                poke(u8, where + s.trace_write, u8(value))
            elif h.kind & WIDE != 0:
                poke(u64, where + s.trace_write, u64(value))
            else:
                poke(u32, where + s.trace_write, u32(value))
        p += Patch.size
    return at + size


def begins(s: Shared, entry: u64) -> bool:
    """A trace begins here, or will soon."""
    now = peek_acquire(u64, entry)
    return now == predecode.symbol(WARM) or now - s.image >= s.image_size


def step_at(s: Shared, number: u64) -> u64:
    return s.trace_steps + number * Step.size


def code_size(s: Shared, number: u64) -> u64:
    """Bytes of an instruction's code in the line, without stubs."""
    return size_of(s, number) + (size_of(s, glue(NEAR)) if stencil_of(s, number).stubs & INLINE != 0 else u64(0))


def warm_behind(cpu: Cpu, entry: u64, host: u64, offset: u64, size: u64) -> None:
    """Behind an instruction that is in no trace another one begins, and behind what it may skip."""
    n = u64(0)
    while n < 2 and offset + size < predecode.page_end(cpu):
        predecode.warm(Shared.at(cpu.shared), entry + (size << predecode.shift()))
        size += predecode.length(u32(peek(u16, host + size)))
        n += 1


def jump_target(step: u64, stencil: Stencil, pc: u64) -> u64:
    return predecode.wrapped(pc + u64(i64(peek(i32, step + u64(stencil.relative)))))


def target_of(cpu: Cpu, step: u64, stencil: Stencil, pc: u64) -> u64:
    """The entry of a direct jump's target, or 0 when it has none yet."""
    return predecode.linked(cpu, jump_target(step, stencil, pc))


def decode_too(cpu: Cpu, entry: u64, host: u64, offset: u64) -> None:
    """Decode an instruction of a trace at its own entry, too, if nothing has come there yet: to engine.jit it is executed then."""
    if compare_exchange(u64, entry, predecode.symbol(DECODE), predecode.symbol(BUSY)) == predecode.symbol(DECODE):
        word = u32(peek(u16, host)) if offset > predecode.page_end(cpu) - 4 else peek(u32, host)
        number = predecode.decode(cpu, entry, word, offset, u64(1))
        to = predecode.jumps_to(entry, number)
        publish(entry, predecode.handler_of(number))
        if to != 0:
            predecode.warm(Shared.at(cpu.shared), to)


def plan(cpu: Cpu, s: Shared, entry: u64, host: u64, pc: u64) -> tuple[u64, u64, bool]:
    """Decode a trace's instructions into s.trace_steps: how many, the distance of the entry behind them, and whether the last goes there.

    Behind an instruction that never goes on is more of the trace if it can be skipped.
    """
    offset, end, n, delta = pc & (PAGE - 1), predecode.page_end(cpu), u64(0), u64(0)
    going, reached, skipped = u64(1), u64(1), u64(0)
    while going != 0 and n < LONGEST and offset < end:
        word = u32(peek(u16, host)) if offset > end - 4 else peek(u32, host)
        size = predecode.length(word)
        step = step_at(s, n)
        going = u64(0)
        if offset + size <= end and not (n >= ENOUGH and begins(s, entry + delta)):
            number = predecode.decode(cpu, step, word, offset, u64(1))
            stencil = stencil_of(s, u64(number))
            skips = u64(1) if stencil.spent == SKIPS else u64(0)
            unlinked = stencil.stubs & LINKED != 0 and target_of(cpu, step, stencil, pc - (pc & (PAGE - 1)) + offset) == 0
            if stencil.code != 0 and not unlinked and not (skips != 0 and offset + size + 4 > end):
                st = Step.at(step)
                st.number, st.delta = number, u32(delta)
                st.stencil = compact(s, u64(number), step)
                decode_too(cpu, entry + delta, host, offset)
                delta += size << predecode.shift()
                offset += size
                host += size
                n += 1
                if skips != 0:
                    st.skip = predecode.length(u32(peek(u16, host))) << predecode.shift()
                reached = u64(0) if predecode.ends_of(number) else u64(1)
                going = reached | skipped
                skipped = skips
            elif number != 0 and not predecode.ends_of(number):
                warm_behind(cpu, entry + delta, host, offset, size)
    k = n
    Step.at(step_at(s, n)).rest = u64(0)
    while k != 0:
        k -= 1
        st = Step.at(step_at(s, k))
        st.rest = Step.at(step_at(s, k + 1)).rest + u64(stencil_of(s, u64(st.number)).cost)
    return n, delta, reached != 0


@outlined
def make(cpu: Cpu, entry: u64, host: u64, pc: u64) -> u64:
    """Make the trace from pc on, whose code is at `host` and whose entry this is; gives its address, or 0.  The caller has the lock."""
    s = Shared.at(cpu.shared)
    if s.trace_at + ROOM > s.trace_end or peek(u64, s.trace_faults) + LONGEST > FAULTS:
        return u64(0)
    n, behind, reached = plan(cpu, s, entry, host, pc)
    if n < min(s.patience, u64(2)):
        return u64(0)
    making = step_at(s, u64(LONGEST + 1))
    m = Making.at(making)
    start = s.trace_at
    at = start + size_of(s, glue(BEGIN))
    stub, k = at + size_of(s, glue(END)) + 8, u64(0)  # `place` writes up to 7 bytes too many
    while k < n:
        stub += code_size(s, Step.at(step_at(s, k)).stencil)
        k += 1
    k = u64(0)
    while k < n:
        step = step_at(s, k)
        st = Step.at(step)
        number = st.stencil
        stencil = stencil_of(s, number)
        need = stencil.stubs if k != 0 else stencil.stubs | stencil_of(s, glue(BEGIN)).stubs
        delta, more = i64(st.delta), i64(Step.at(step_at(s, k + 1)).rest)
        m.delta = delta
        if need & 1 != 0:
            m.cold, m.credit, m.to = stub, i64(st.rest), predecode.handler_of(st.number)
            stub = place(cpu.shared, making, glue(EXIT) if k == 0 else glue(LEAVE), stub, u64(0))
        if need & 4 != 0:
            m.trap, m.credit, m.to = stub, more, predecode.symbol("h_trap")
            stub = place(cpu.shared, making, glue(EXIT), stub, u64(0))
        if k == 0:
            m.credit = i64(st.rest)
            place(cpu.shared, making, glue(BEGIN), start, u64(0))
        target = delta
        if stencil.spent == SKIPS:
            m.credit = more - i64(st.skip >> 4)
            if k + 2 < n:  # the target is in the trace
                m.credit -= i64(Step.at(step_at(s, k + 2)).rest)
                m.to = at + code_size(s, number) + code_size(s, Step.at(step_at(s, k + 1)).stencil)
                m.taken = m.to
                if m.credit != 0:
                    m.taken = stub
                    stub = place(cpu.shared, making, glue(HOP), stub, u64(0))
            else:
                m.taken = stub
                m.delta = i64(behind if k + 1 == n else u64(Step.at(step_at(s, k + 1)).delta)) + i64(st.skip)
                stub = place(cpu.shared, making, glue(NEAR), stub, u64(0))
        elif need & (2 | INLINE) != 0:
            m.taken, m.credit = stub, more - i64(stencil.spent)
            target += i64(peek(i32, step + u64(stencil.relative)))
            m.delta = target
            if need & 2 != 0:
                stub = place(cpu.shared, making, glue(NEAR), stub, u64(0))
        m.delta, m.credit, m.pc = delta, more, pc + (u64(st.delta) >> predecode.shift())
        if need & LINKED != 0:
            m.entry = target_of(cpu, step, stencil, m.pc)
            m.bias = jump_target(step, stencil, m.pc) - (m.entry >> predecode.shift())
        at = place(cpu.shared, making, number, at, step)
        if need & INLINE != 0:
            m.delta = target
            at = place(cpu.shared, making, glue(NEAR), at, u64(0))
        k += 1
    if reached:
        m.delta = i64(behind)
        place(cpu.shared, making, glue(END), at, u64(0))
    s.trace_at = (stub + 15) & ~15
    s.traces += 1
    s.traced += n
    return start


# -- which entries get one


def due(cpu: Cpu, entry: u64) -> bool:
    """Another visit: the entry is due for a trace."""
    s = Shared.at(cpu.shared)
    at = s.heat + (entry >> 4 & (HEAT - 1))
    visits = peek(u8, at) + 1
    poke(u8, at, visits if u64(visits) < s.patience else u8(0))
    return u64(visits) >= s.patience


@outlined
def promote(cpu: Cpu, entry: u64, host: u64, pc: u64) -> bool:
    """Give an entry whose handler is h_warm its trace, or its own handler if there is none; False: somebody else is at it."""
    lock = cpu.shared + Shared.fields["trace_lock"].offset
    if compare_exchange(u64, lock, u64(0), u64(1)) != 0:
        return False
    done = u64(0)
    if compare_exchange(u64, entry, predecode.symbol(WARM), predecode.symbol(BUSY)) == predecode.symbol(WARM):
        offset = pc & (PAGE - 1)
        word = u32(peek(u16, host)) if offset > predecode.page_end(cpu) - 4 else peek(u32, host)
        number = predecode.decode(cpu, entry, word, offset, u64(1))  # again: the code may have changed unnoticed since
        handler = make(cpu, entry, host, pc)
        publish(entry, handler if handler != 0 else predecode.handler_of(number))
        done = u64(1)
    poke_release(u64, lock, u64(0))
    return done != 0
