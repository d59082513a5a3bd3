"""The soft MMU: guest addresses are translated by the architecture, and a TLB in the CPU remembers the translations.

For whole machines.  A TLB is three tables (reads, writes, fetches) of SLOTS pairs:

    tag      the page's address; ~0 when the pair is unused
    addend   host address - guest address; in the fetch table the address of the page's entries

`cpu.memory` points at the TLB in use; an architecture with several translation regimes (privilege levels, MPRV ...) has one of the
CPU's TLBS for each and changes by `use_tlb` and `switch`.  An access compares the tag with the page of its last byte, so one that crosses
pages misses; where misaligned ones may be forbidden, with the address, in which the bits of a misaligned access stay and so miss.  The
slow path translates (the architecture's `translate`, which raises), looks the physical address up in the machine's regions, fills the TLB
for RAM, and calls the machine (`cpu.mmio`) for everything else.

Pages with predecoded code are never in the write table: a store there takes the slow path, which undoes the entries it hits.

Breakpoints and watchpoints are addresses as the CPU sees them.  A page with a breakpoint is not in the fetch table: control that comes
there runs on a page of entries of its own (`Mmu.guard`), which look at the address before each instruction (as they do on pages that are
only partly accessible).  The guest's own (`triggers`) work in the same way, for each CPU apart.  A page with a watchpoint is
not in the tables of reads or writes: the slow path looks.  Code elsewhere runs as fast as ever.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeVar

from tinamou.native.memory import call_host, compare_exchange, exchange, fence, peek, peek_acquire, poke
from tinamou.native.ops import intrinsic, outlined, unlikely
from tinamou.native.types import Array, Struct, Word, i64, u8, u32, u64

from . import traces, young
from .cpu import EXECUTE, PAGE, READ, WRITE, Cpu, Shared, Trap
from .flow import enter, get_budget, leave, memory_base, pc_of, reload, resume, set_budget, slow
from .interpreter import KICK, TRAP
from .predecode import BUSY, entry_offset, find_slow, fresh_page, shift, symbol, undo, undo_page
from .specials import alone, begin_slice, end_slice, sample
from .traceroom import SIZE as TRACES
from .young import PacedCpu

W = TypeVar("W", bound=Word)

TLBS = 8
SLOTS = 1024
INDEX = (SLOTS - 1) << 4  # of an address shifted right by 8: offset of its pair in a table
KIND = SLOTS * 16  # bytes of one table
READS, WRITES, FETCHES = 0, KIND, 2 * KIND
TLB = 3 * KIND
UNUSED = 0xFFFF_FFFF_FFFF_FFFF
LONGEST = 8  # bytes of the longest instruction that a store could change from behind
RETIRED = 1  # the entries of a page are all undone: it may be written without notice until code on it is decoded again
PATIENCE = 32  # stores to a page with code before it is retired
SLOT, COMPILED = 56, 72  # bytes behind the entries of a page, in its sentinels: host address of its pagemap word; not 0: it has had regions
BREAK, WATCH = 3, 4  # why run() returned, besides those of engine.interpreter: before the instruction at pc
CLOCK_MONOTONIC = 1
SECOND = 1_000_000_000
WATCHED = 1 << 62  # cause of the exception that ends a run before a watched access
BREAKS, WATCHES = 256, 64  # how many there can be


def pair(tlb: u64, address: u64) -> u64:
    """Host address of the pair of an address in the first table of a TLB."""
    return tlb + (address >> 8 & INDEX)


class Region(Struct):
    """Guest-physical memory that is host memory."""

    base: u64  # guest-physical
    length: u64
    host: u64
    readonly: u64  # not 0: stores go to cpu.mmio
    pagemap: u64  # host address of one word for each page from the one with `base` on: its entries (| RETIRED), or 0


class Watch(Struct):
    """Guest-virtual addresses, and the accesses (READ, WRITE) that stop."""

    first: u64
    last: u64
    access: u64


class Mmu(Struct):
    """What the CPUs of one machine know of its memory, and where they stop; `Cpu.mmu` points at it."""

    count: u64
    regions: Annotated[Array[Region], 128]
    cpus: u64
    tlbs: Annotated[Array[u64], 512]  # SystemCpu.tlbs of each
    guard: u64  # host address of a page of entries that are all h_guard
    breaks: u64  # how many
    break_at: Annotated[Array[u64], 256]
    watches: u64  # how many
    watch: Annotated[Array[Watch], 64]


class SystemCpu(PacedCpu):
    """A CPU of a whole machine.  The architecture gives translate, exception and interrupt."""

    mmu: u64
    mmio: u64  # host function (address, bytes | write << 8, value, CPU's address) -> value; sets bus_error when nothing answers
    bus_error: u64
    attention: u64  # not 0: something that interrupt() looks at has changed
    stale: u64  # not 0: the memory map has changed
    partial: u64  # translate: the translation holds for less than the page: it is not remembered
    tlbs: u64  # host address of TLBS tables of TLB bytes
    masked: u64  # not 0: no interrupts are taken (a debugger steps)
    report: u64  # not 0: watched accesses happen, and are only noted; 0: they end the run before they happen
    watched: u64  # number of the watchpoint that was hit, plus 1
    watched_at: u64  # the address of the access
    log_code: u64  # host function (address, 0, 0, CPU's address) that hears of code that was decoded, or 0
    cut: u64  # not 0: end the slice, what a device did must be seen
    triggers: u64  # not 0: the guest's own breakpoints and watchpoints are on: `triggered` and `trigger` are asked
    log_trap: u64  # host function (architecture's cause, pc, value, CPU's address) that hears of exceptions, or 0
    clock: u64  # host function clock_gettime, or one that tells the machine's time
    clock_offset: u64  # nanoseconds to add to it
    clock_hz: u64  # of the time counter
    clock_ticks: u64  # to add to its ticks
    counted: u64  # not 0: time is counted in instructions
    timespec: Annotated[Array[u64], 2]

    anywhere: ClassVar[bool] = True  # misaligned accesses are like others; else bears_misaligned() and remembered() say when

    def bears_misaligned(self) -> bool:
        """Misaligned accesses to pages in the TLB are allowed now."""
        return True

    def remembered(self) -> bool:
        """The translation just made may be in the TLB: on its page, misaligned accesses are allowed whenever bears_misaligned() says so."""
        return True

    def translate(self, access: int, address: u64) -> u64:
        """The physical address, for READ, WRITE or EXECUTE; raises the architecture's fault."""
        return address

    def translate_update(self, address: u64) -> u64:
        """The same for an instruction that reads and writes in one step."""
        return self.translate(WRITE, address)

    def check_span(self, access: int, address: u64, physical: u64, size: u64) -> None:
        """`translate` has set `partial`: raise when the other bytes of the access may not be touched."""

    def misaligned(self, access: int, address: u64) -> None:
        """A translated access whose address is no multiple of its size: raise if that is forbidden."""

    def physical_fault(self, access: int, address: u64) -> None:
        """Raise the exception for an access to a (virtual) address behind which no device answers."""
        self.fault(access, address)

    def triggered(self, first: u64, last: u64) -> bool:
        """Some access to these addresses may have to be told to `trigger`."""
        return False

    def trigger(self, access: int, address: u64, size: u64) -> None:
        """Before anything else of an access: raise when the guest wants to know of it."""

    def exception(self, cause: u64, value: u64) -> None:
        """Take the exception that the instruction at pc raised: set target to its handler."""

    def interrupt(self) -> None:
        """Take a pending enabled interrupt before the instruction at target, if there is one: set target to its handler."""

    @intrinsic
    def note_budget(self) -> None:
        """From now on, as long as this instruction lasts, `retired` tells how many came before it."""

    def retired(self) -> u64:
        """Instructions executed before the present one; after `note_budget`."""
        return self.instructions + u64(self.slice - self.budget) - 1

    def call_out(self, function: u64, a: u64, b: u64, c: u64) -> u64:
        """Call a function of the host, or one of Python's, with these words and this CPU's address."""
        self.settle_float()
        return call_host(function, a, b, c, u64(self.address))

    def use_float_unit(self) -> None:
        """Before an instruction of SIMD or floating point: raises when it is trapped."""

    def use_tlb(self, number: u64) -> None:
        """Translate through this TLB from the next `switch` on."""
        self.memory = self.tlbs + (number & (TLBS - 1)) * TLB

    def flush_tlb(self) -> None:
        """Forget all translations."""
        at = self.tlbs
        end = at + TLBS * TLB
        while at < end:
            poke(u64, at, u64(UNUSED))
            at += 16

    def flush_tlb_page(self, address: u64) -> None:
        """Forget the translations of one page."""
        at = pair(self.tlbs, address)
        end = at + TLBS * TLB
        while at < end:
            poke(u64, at, u64(UNUSED))
            at += KIND

    def load_physical(self, kind: type[W], address: u64) -> tuple[W, bool]:
        """Read RAM by physical address, for page walks: the word, and whether there is RAM."""
        host = host_address(self, address)
        if host == 0:
            return kind(0), False
        return peek(kind, host), True


def region_of(cpu: Cpu, address: u64) -> u64:
    """Host address of the Region that has this physical address, or 0."""
    mmu = Mmu.at(system(cpu).mmu)
    at = u64(mmu.address) + Mmu.fields["regions"].offset
    end = at + mmu.count * Region.size
    while at < end:
        r = Region.at(at)
        if address - r.base < r.length:
            return at
        at += Region.size
    return u64(0)


def system(cpu: Cpu) -> SystemCpu:
    return cpu  # type: ignore[return-value]


def host_address(cpu: Cpu, address: u64) -> u64:
    """Host address of a physical address in RAM, or 0."""
    at = region_of(cpu, address)
    if at == 0:
        return u64(0)
    r = Region.at(at)
    return r.host + (address - r.base)


@outlined
def now(h: SystemCpu) -> u64:
    """The time counter: ticks of the machine's clock."""
    h.call_out(h.clock, u64(CLOCK_MONOTONIC), u64(h.address) + SystemCpu.fields["timespec"].offset, u64(0))
    ns = h.timespec[0] * SECOND + h.timespec[1] + h.clock_offset
    return ns // SECOND * h.clock_hz + ns % SECOND * h.clock_hz // SECOND + h.clock_ticks


def float_unit(h: SystemCpu) -> None:
    """Guard of the rows that need the float unit."""
    h.use_float_unit()


# -- fast paths


def load(cpu: Cpu, kind: type[W], address: u64) -> W:
    at = pair(memory_base(), address)
    if unlikely(peek(u64, at + READS) != address + (kind.size - 1) & -PAGE):
        slow()
    return peek(kind, address + peek(u64, at + (READS + 8)))


def store(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    at = pair(memory_base(), address)
    if unlikely(peek(u64, at + WRITES) != address + (kind.size - 1) & -PAGE):
        slow()
    poke(kind, address + peek(u64, at + (WRITES + 8)), value)


def load_aligned(cpu: Cpu, kind: type[W], address: u64) -> W:
    at = pair(memory_base(), address)
    if unlikely(peek(u64, at + READS) != address & (-PAGE | (kind.size - 1))):
        slow()
    return peek(kind, address + peek(u64, at + (READS + 8)))


def store_aligned(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    at = pair(memory_base(), address)
    if unlikely(peek(u64, at + WRITES) != address & (-PAGE | (kind.size - 1))):
        slow()
    poke(kind, address + peek(u64, at + (WRITES + 8)), value)


def writable(cpu: Cpu, address: u64) -> u64:
    at = pair(memory_base(), address)
    if unlikely(peek(u64, at + WRITES) != address & -PAGE):
        slow()
    return address + peek(u64, at + (WRITES + 8))


def find(cpu: Cpu, target: u64) -> u64:
    at = pair(memory_base(), target)
    if unlikely(peek(u64, at + FETCHES) != target & -PAGE):
        return u64(0)
    return peek(u64, at + (FETCHES + 8)) + entry_offset(target)


load_checked, store_checked = load_aligned, store_aligned  # no access faults on the host: nobody asks for these


# -- breakpoints and watchpoints


@outlined
def watch_on(cpu: Cpu, first: u64, last: u64) -> u64:
    """Host address of the first Watch that has one of these addresses, or 0."""
    mmu = Mmu.at(system(cpu).mmu)
    at = u64(mmu.address) + Mmu.fields["watch"].offset
    end = at + mmu.watches * Watch.size
    while at < end:
        w = Watch.at(at)
        if w.first <= last and w.last >= first:
            return at
        at += Watch.size
    return u64(0)


@outlined
def look(cpu: Cpu, access: int, address: u64, size: u64) -> None:
    """There are watchpoints: stop before this access, or note it."""
    c = system(cpu)
    mmu = Mmu.at(c.mmu)
    at = u64(mmu.address) + Mmu.fields["watch"].offset
    n = u64(0)
    while n < mmu.watches:
        w = Watch.at(at)
        if w.access & access != 0 and w.first <= address + (size - 1) and w.last >= address:
            if c.report == 0 or c.watched == 0:
                c.watched = n + 1
                c.watched_at = address
            if c.report == 0:
                raise Trap(WATCHED, address)
        at += Watch.size
        n += 1


@outlined
def break_between(cpu: Cpu, first: u64, last: u64) -> bool:
    mmu = Mmu.at(system(cpu).mmu)
    at = u64(mmu.address) + Mmu.fields["break_at"].offset
    end = at + (mmu.breaks << 3)
    while at < end:
        if peek(u64, at) - first <= last - first:
            return True
        at += 8
    return False


def tell_trigger(cpu: Cpu, access: int, address: u64, size: u64) -> None:
    if unlikely(system(cpu).triggers != 0):
        system(cpu).trigger(access, address, size)


def h_guard(cpu: Cpu, entry: u64) -> None:
    """An instruction on a page with breakpoints."""
    pc = pc_of(entry)
    if break_between(cpu, pc, pc):
        end_slice(cpu, i64(0))
        leave(BREAK, pc)
    cpu.target = pc
    tell_trigger(cpu, EXECUTE, pc, u64(1))
    alone(cpu, "h_cross")


# -- slow paths


def fill(cpu: Cpu, table: int, address: u64, addend: u64, region: u64, physical: u64) -> None:
    """Remember a translation, when it holds for the whole page."""
    if Mmu.at(system(cpu).mmu).watches != 0:
        if watch_on(cpu, address & -PAGE, address | (PAGE - 1)) != 0:
            return
    if system(cpu).triggers != 0:
        if system(cpu).triggered(address & -PAGE, address | (PAGE - 1)):
            return
    r = Region.at(region)
    page = physical & -PAGE
    if system(cpu).partial == 0 and system(cpu).remembered() and page - r.base < r.length and page + (PAGE - 1) - r.base < r.length:
        at = pair(cpu.memory, address) + table
        poke(u64, at + 8, addend)
        poke(u64, at, address & -PAGE)


def slot_of(region: u64, physical: u64) -> u64:
    """Host address of the pagemap's word for a page."""
    r = Region.at(region)
    return r.pagemap + ((physical >> 12) - (r.base >> 12) << 3)


def same_region(region: u64, physical: u64, size: int) -> bool:
    """The bytes behind the first one are in the region too."""
    r = Region.at(region)
    return physical + (size - 1) - r.base < r.length


def load_slow(cpu: Cpu, kind: type[W], address: u64) -> W:
    note_budget(cpu)
    value = load_outlined(cpu, kind, address)
    look_up(cpu)
    return value


def store_slow(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    note_budget(cpu)
    store_outlined(cpu, kind, address, value)
    look_up(cpu)


def note_budget(cpu: Cpu) -> None:
    cpu.budget = get_budget()


def look_up(cpu: Cpu) -> None:
    """A device may want to be heard at once: then nothing is left of the slice."""
    if unlikely(system(cpu).cut != 0):
        system(cpu).cut = u64(0)
        cpu.slice = cpu.slice - (get_budget() + 1)
        set_budget(i64(-1))


def misaligned_page(cpu: Cpu, table: int, address: u64, size: int) -> u64:
    """Of a misaligned access to a page in the TLB, if that is allowed: host address - guest address; 0 otherwise."""
    at = pair(cpu.memory, address) + table
    if address & (size - 1) == 0 or peek(u64, at) != address + (size - 1) & -PAGE or not system(cpu).bears_misaligned():
        return u64(0)
    return peek(u64, at + 8)


@outlined
def load_outlined(cpu: Cpu, kind: type[W], address: u64) -> W:
    if kind.size > 1:
        addend = misaligned_page(cpu, READS, address, kind.size)
        if addend != 0:
            return peek(kind, address + addend)
        if (address & (PAGE - 1)) + kind.size > PAGE:
            return load_across(cpu, kind, address)
    tell_trigger(cpu, READ, address, u64(kind.size))
    physical = system(cpu).translate(READ, address)
    if kind.size > 1:
        if address & (kind.size - 1) != 0:
            system(cpu).misaligned(READ, address)
        if system(cpu).partial != 0:
            system(cpu).check_span(READ, address, physical, u64(kind.size))
    if Mmu.at(system(cpu).mmu).watches != 0:
        look(cpu, READ, address, u64(kind.size))
    at = region_of(cpu, physical)
    if at == 0 or not same_region(at, physical, kind.size):
        return load_device(cpu, kind, address, physical)
    r = Region.at(at)
    host = r.host + (physical - r.base)
    fill(cpu, READS, address, host - address, at, physical)
    return peek(kind, host)


def load_across(cpu: Cpu, kind: type[W], address: u64) -> W:
    """A word that goes on in the next page, byte by byte."""
    value = kind(0)
    for k in range(kind.size):
        value |= kind(load_outlined(cpu, u8, address + k)) << (8 * k)
    system(cpu).misaligned(READ, address)
    return value


def load_device(cpu: Cpu, kind: type[W], address: u64, physical: u64) -> W:
    if kind.size > 8:
        cpu.fault(READ, address)
    c = system(cpu)
    value = c.call_out(c.mmio, physical, u64(kind.size), u64(0))
    if c.bus_error != 0:
        c.bus_error = u64(0)
        c.physical_fault(READ, address)
    return kind(value)


@outlined
def store_outlined(cpu: Cpu, kind: type[W], address: u64, value: W) -> None:
    if kind.size > 1:
        addend = misaligned_page(cpu, WRITES, address, kind.size)
        if addend != 0:
            poke(kind, address + addend, value)
            return
    tell_trigger(cpu, WRITE, address, u64(kind.size))
    if kind.size > 1:
        if (address & (PAGE - 1)) + kind.size > PAGE:
            system(cpu).translate(WRITE, address)  # both pages before anything is written
            system(cpu).translate(WRITE, address + (kind.size - 1) & -PAGE)
            system(cpu).misaligned(WRITE, address)
            if Mmu.at(system(cpu).mmu).watches != 0:
                look(cpu, WRITE, address, u64(kind.size))
            for k in range(kind.size):
                store_outlined(cpu, u8, address + k, u8(value >> (8 * k)))
            return
    physical = system(cpu).translate(WRITE, address)
    if kind.size > 1:
        if address & (kind.size - 1) != 0:
            system(cpu).misaligned(WRITE, address)
        if system(cpu).partial != 0:
            system(cpu).check_span(WRITE, address, physical, u64(kind.size))
    if Mmu.at(system(cpu).mmu).watches != 0:
        look(cpu, WRITE, address, u64(kind.size))
    at = region_of(cpu, physical)
    if at == 0 or not same_region(at, physical, kind.size):
        store_device(cpu, kind, address, physical, value)
        return
    r = Region.at(at)
    if r.readonly != 0:
        store_device(cpu, kind, address, physical, value)
        return
    host = r.host + (physical - r.base)
    poke(kind, host, value)
    written(cpu, address, host, at, physical, u64(kind.size))


def store_device(cpu: Cpu, kind: type[W], address: u64, physical: u64, value: W) -> None:
    if kind.size > 8:
        cpu.fault(WRITE, address)
    c = system(cpu)
    c.call_out(c.mmio, physical, u64(kind.size | 256), u64(value))
    if c.bus_error != 0:
        c.bus_error = u64(0)
        c.physical_fault(WRITE, address)


@outlined
def written(cpu: Cpu, address: u64, host: u64, region: u64, physical: u64, size: u64) -> None:
    """RAM is being written: remember the translation, or undo the code that was decoded from these bytes."""
    slot = slot_of(region, physical)
    entries = peek_acquire(u64, slot)
    if entries == 0 or entries & RETIRED != 0:
        fill(cpu, WRITES, address, host - address, region, physical)
        fence()
        if peek_acquire(u64, slot) == entries:
            return
        poke(u64, pair(cpu.memory, address) + WRITES, u64(UNUSED))  # somebody decodes just now
        entries = peek_acquire(u64, slot)
    else:
        fence()  # the store is seen before `undo` looks: another CPU decodes the old bytes and is undone, or the new ones
    entries = entries & ~RETIRED
    forget_bytes(cpu, entries, physical & (PAGE - 1), size)
    counter = entries + ((PAGE << shift()) + 8)  # in the first sentinel: stores so far, and how many are borne
    stores = peek(u32, counter) + 1
    limit = max(peek(u32, counter + 4), u32(PATIENCE))
    if stores < limit:
        poke(u32, counter, stores)
    else:
        poke(u32, counter, u32(0))
        poke(u32, counter + 4, min(limit * 2, u32(1 << 20)))
        compare_exchange(u64, slot, entries, entries | RETIRED)
        undo_page(entries)


def slot_behind(entries: u64) -> u64:
    """Where a page's entries have the host address of their word in the pagemap: in the fourth sentinel."""
    return entries + ((PAGE << shift()) + SLOT)


def forget_bytes(cpu: Cpu, entries: u64, offset: u64, size: u64) -> None:
    """Undo the entries of instructions that may contain these bytes of a page, and those before them whose traces may.

    A region may have all of its page.
    """
    if peek_acquire(u64, entries + ((PAGE << shift()) + COMPILED)) != 0:
        undo_page(entries)
        return
    first = entries + entry_offset(offset - LONGEST if offset > LONGEST else u64(0))
    reach = traces.LONGEST * LONGEST
    at = entries + entry_offset(offset - reach if offset > reach else u64(0))
    while at < first:
        if is_trace(cpu, peek_acquire(u64, at)):
            undo(at)
        at += 16
    end = entries + entry_offset(offset + size - 1) + 16
    while at < end:
        undo(at)
        at += 16


def is_trace(cpu: Cpu, handler: u64) -> bool:
    """The handler is a trace, or one that is being made."""
    return handler - (Shared.at(cpu.shared).trace_end - TRACES) < TRACES or handler == symbol(BUSY)


@outlined
def writable_slow(cpu: Cpu, address: u64) -> u64:
    tell_trigger(cpu, READ | WRITE, address, u64(4) if address & 7 != 0 else u64(8))  # aligned; the size is not known here
    physical = system(cpu).translate_update(address)
    if Mmu.at(system(cpu).mmu).watches != 0:
        look(cpu, READ | WRITE, address, u64(4) if address & 7 != 0 else u64(8))
    at = region_of(cpu, physical)
    if at == 0:
        system(cpu).physical_fault(READ | WRITE, address)
    r = Region.at(at)
    if r.readonly != 0:
        system(cpu).physical_fault(WRITE, address)
    host = r.host + (physical - r.base)
    entries = peek_acquire(u64, slot_of(at, physical))
    if entries != 0 and entries & RETIRED == 0:
        young.again(cpu, entries)  # what is undone before the write does not count
    written(cpu, address, host, at, physical, u64(16) if physical & (PAGE - 1) <= PAGE - 16 else u64(PAGE) - (physical & (PAGE - 1)))
    return host


@outlined
def find_code(cpu: Cpu, target: u64) -> u64:
    """The entry of a jump's target; makes its page's entries, and takes the page out of the write tables."""
    mmu = Mmu.at(system(cpu).mmu)
    if system(cpu).triggers != 0:
        if system(cpu).triggered(target & -PAGE, target | (PAGE - 1)):
            return mmu.guard + entry_offset(target)
    physical = system(cpu).translate(EXECUTE, target)
    at = region_of(cpu, physical)
    if at == 0:
        system(cpu).physical_fault(EXECUTE, target)
    if system(cpu).partial != 0:  # the next instruction may be forbidden
        return mmu.guard + entry_offset(target)
    if mmu.breaks != 0:
        if break_between(cpu, target & -PAGE, target | (PAGE - 1)):
            return mmu.guard + entry_offset(target)
    slot = slot_of(at, physical)
    base = peek_acquire(u64, slot)
    if base == 0:
        base = become_code(cpu, slot)
    base = base & ~RETIRED
    fill(cpu, FETCHES, target, base, at, physical)
    return base + entry_offset(target)


@outlined
def become_code(cpu: Cpu, slot: u64) -> u64:
    """Code is going to be decoded from a page that has none, or is retired; gives its entries."""
    fresh = u64(0)
    if peek_acquire(u64, slot) == 0:
        fresh = fresh_page(cpu)
        poke(u64, slot_behind(fresh), slot)
    young.lock(cpu)
    entries = compare_exchange(u64, slot, u64(0), fresh)
    if entries == 0:
        entries = fresh
    if entries & RETIRED != 0:
        compare_exchange(u64, slot, entries, entries & ~RETIRED)
    drop_writes(cpu)
    young.add(cpu, entries & ~RETIRED)
    young.unlock(cpu)
    return entries


@outlined
def drop_writes(cpu: Cpu) -> None:
    """Empty the write tables of all CPUs: a page has become code."""
    mmu = Mmu.at(system(cpu).mmu)
    tlbs = u64(mmu.address) + Mmu.fields["tlbs"].offset
    n = u64(0)
    while n < mmu.cpus:
        at = peek(u64, tlbs + (n << 3)) + WRITES
        for _ in range(TLBS):
            end = at + KIND
            while at < end:
                poke(u64, at, u64(UNUSED))
                at += 16
            at += TLB - KIND
        n += 1


@outlined
def code_address(cpu: Cpu, pc: u64) -> u64:
    """Host address of code that is about to be decoded."""
    physical = system(cpu).translate(EXECUTE, pc)
    at = region_of(cpu, physical)
    if at == 0:
        system(cpu).physical_fault(EXECUTE, pc)
    slot = slot_of(at, physical)
    entries = peek_acquire(u64, slot)
    if entries == 0 or entries & RETIRED != 0:
        become_code(cpu, slot)
    r = Region.at(at)
    return r.host + (physical - r.base)


@outlined
def decoded(cpu: Cpu, pc: u64) -> None:
    """If another CPU has retired the page meanwhile, what was decoded does not count."""
    if system(cpu).log_code != 0:
        system(cpu).call_out(system(cpu).log_code, pc, u64(0), u64(0))
    fence()
    physical = system(cpu).translate(EXECUTE, pc)
    at = region_of(cpu, physical)
    if at != 0:
        entries = peek_acquire(u64, slot_of(at, physical))
        if entries & RETIRED != 0:
            undo_page(entries & ~RETIRED)


def fence_code(cpu: Cpu) -> None:
    """Stores to decoded pages are watched, but those that were under way when their page became code."""
    young.undo(cpu)


# -- the ends of slices, exceptions and interrupts: without leaving native code


def go_on(cpu: Cpu) -> None:
    """Continue at cpu.target, in whatever regime the CPU is now."""
    if cpu.single | system(cpu).halted != 0:
        end_slice(cpu, i64(0))
        leave(KICK, cpu.target)
    reload()
    enter(find_slow(cpu, cpu.target), cpu.target)


@outlined
def attend(cpu: Cpu) -> None:
    """Look at what other threads have changed: the memory map, interrupt inputs."""
    c = system(cpu)
    if c.attention != 0:
        exchange("swap", u64, u64(c.address) + SystemCpu.fields["attention"].offset, u64(0))
        if c.stale != 0:
            c.stale = u64(0)
            c.flush_tlb()
        if c.masked == 0:
            c.interrupt()
        else:
            c.attention = u64(1)


def h_pause(cpu: Cpu, entry: u64) -> None:
    end_slice(cpu, i64(0))
    if cpu.kick | cpu.single | cpu.stepping != 0:
        leave(KICK, pc_of(entry))
    sample(cpu, entry)
    young.pass_on(cpu)
    begin_slice(cpu)
    if system(cpu).attention == 0:
        resume(entry)
    cpu.target = pc_of(entry)
    attend(cpu)
    go_on(cpu)


def h_switch(cpu: Cpu, entry: u64) -> None:
    attend(cpu)
    go_on(cpu)


def h_begin(cpu: Cpu, entry: u64) -> None:
    """run() of a whole machine begins here: an interrupt may have come while the CPU did not run."""
    attend(cpu)
    go_on(cpu)


def h_step_attended(cpu: Cpu, entry: u64) -> None:
    attend(cpu)
    tell_trigger(cpu, EXECUTE, cpu.target, u64(1))
    reload()
    alone(cpu, "h_stop")


# Exceptions cost an instruction, else a CPU whose handler raises could not be paused.


def take(cpu: Cpu) -> None:
    """Enter the handler of the exception that was raised at cpu.pc."""
    if cpu.trapped == 2:  # no room for entries
        end_slice(cpu, i64(0))
        leave(TRAP, cpu.pc)
    cpu.trapped = u64(0)
    if cpu.cause == WATCHED:  # the instruction is going to be run again
        set_budget(get_budget() + 1)
        end_slice(cpu, i64(0))
        leave(WATCH, cpu.pc)
    system(cpu).exception(cpu.cause, cpu.value)
    if get_budget() < 0:
        end_slice(cpu, i64(0))
        if cpu.kick | cpu.single | cpu.stepping != 0:
            leave(KICK, cpu.target)
        begin_slice(cpu)
        attend(cpu)
    go_on(cpu)


def h_trap(cpu: Cpu, entry: u64) -> None:
    """The instruction at pc raised: its handler is next."""
    cpu.pc = pc_of(entry)
    take(cpu)


def h_trap_here(cpu: Cpu, entry: u64) -> None:
    cpu.pc = pc_of(entry)
    set_budget(get_budget() - 1)
    take(cpu)


def h_trap_fetch(cpu: Cpu, entry: u64) -> None:
    cpu.pc = cpu.target
    set_budget(get_budget() - 1)
    take(cpu)


KEPT = ()  # words of the CPU that a region looks at once
PLACED = False  # regions are made for physical pages, wherever they are mapped
SPECIALS = [
    (h_pause, "h_trap_fetch"),
    (h_switch, "h_trap_fetch"),
    (h_begin, "h_trap_fetch"),
    (h_step_attended, "h_trap_fetch"),
    (h_guard, "h_trap_fetch"),
    (h_trap, "h_trap_fetch"),
    (h_trap_here, "h_trap_fetch"),
    (h_trap_fetch, "h_trap_fetch"),
]
STEP = "h_step_attended"
