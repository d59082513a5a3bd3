"""Which code becomes a region, when: the policy of tier 1, and the thread that compiles.

Every slice of a CPU ends at a loop's head or a function's entry and notes its address there, so what is hot is sampled for nothing.  An
address that was seen HOT times gets a region around it; compiling runs on a thread of its own, with the interpreter lock released in
LLVM, and the region takes effect by one store into the predecoded entry.  When guest code changes or goes away, the entries of all
regions that contain some of it go back to tier 0 (a CPU that is inside leaves at its next jump back, exception or exit).
"""

from __future__ import annotations

import ctypes
import importlib
import math
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from tinamou.native import types
from tinamou.native.arena import Arena
from tinamou.native.image import ROOM, allocate, release
from tinamou.native.link import Image, link

from .codecache import COUNTS, NEVER, USELESS, CodeCache, Kept, digest
from .cpu import PAGE

if TYPE_CHECKING:
    from tinamou.native.host import FaultMap
    from tinamou.native.image import Loaded
    from tinamou.native.llvm import SmallCompiler

    from .architecture import Architecture
    from .cpu import Cpu, Shared
    from .discovery import Node, Region
    from .regions import Templates

HOT = 500  # samples of an address before it is looked at: 10 million instructions
FRESH = 25  # of these samples must be of this run: the code around has been decoded then
SHARE = 32  # few places: each has at least such a part of all samples
LONG = 128  # where there are none, so many times more; regions in code without hot loops save little
TAIL = 512  # places with a smaller part are not looked at
ROWS = 88  # one sample more for so many bytes of the interpreter: rows take as long to load as it is large
PRICE = 60  # samples in a region for each of its instructions before it is compiled: it would run 1.2 million times
GAIN = 6e-6  # seconds of compiling that a sample is worth: rows of some architectures take longer than that price
SHORT = 1000  # instructions of a slice where everything is compiled at once (TINAMOU_JIT=eager)
WIDER = 16  # other hot places, with at most so many times fewer samples, are looked at: the region around one may contain this one
OTHERS = 8  # of them
SPAN = 1 << 16  # bytes of code that are searched for traces
COLD = 256  # a target of jumps with so many times fewer samples than the region's first address is left out
ARENA = 256 << 20  # bytes of address space for regions
REGIONS = 1 << 16  # in it
TYPICAL = 7e-6  # seconds of CPU time for a slice
SLOWEST = 8  # times that, for which a sample counts more
PATIENCE = 0.1  # seconds for which CPUs are waited for that run old regions
LAST = 0.5  # seconds that a program's end waits for the last region
DEARER = 8  # a region that is not finished by then needs so many times more samples in later runs
LEAST = 64  # instructions that a region must execute each time that it is entered: going in and out takes as long as so many in traces
WORST = 6  # Jit.bad_luck at most
ENTERED = 50_000  # times that it is entered before that is looked at
TRIES = 3  # how often a region is made anew with more targets of its computed jumps
RING = 256  # samples that a CPU keeps
TAKEN = 16  # of these that are looked at each time
SOON = 0.004  # seconds between looks at the samples while regions from disk are awaited
POLL = 0.008  # the same while something may be due soon
CALM = 50  # looks after which these become rarer, when nothing was due
SOME = 16  # or when not even such a part of the samples was outside regions
RARE = 0.02  # seconds between looks then
IDLE = 0.05  # the same while there are no samples
SWITCH = 3e-5  # seconds that a CPU waits for the interpreter lock before it asks for it; a system call may need it several times


class Obliging:
    """While a thread is in this context, those that wait for the interpreter lock ask for it after SWITCH seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside, self.usual = 0, 0.0

    def forget(self) -> None:
        """In the child of a fork, where the threads are gone."""
        if self.inside:
            sys.setswitchinterval(self.usual)
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            self.usual = self.usual if self.inside else sys.getswitchinterval()
            self.inside += 1
            sys.setswitchinterval(SWITCH)

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                sys.setswitchinterval(self.usual)


obliging = Obliging()


def code_at(page: Callable[[int], bytes], address: int, length: int) -> bytes:
    """Bytes out of pages."""
    data = b""
    while len(data) < length:
        at = address + len(data)
        data += page(at >> 12)[at & PAGE - 1 : (at & PAGE - 1) + length - len(data)] or bytes(length)
    return data


@dataclass
class Statistics:
    """What tier 1 has done so far."""

    regions: int = 0
    instructions: int = 0  # of the guest, in regions
    code: int = 0  # bytes
    seconds: float = 0.0  # spent compiling, Python and LLVM
    revived: int = 0  # regions from disk
    dropped: int = 0  # regions invalidated
    useless: int = 0  # regions given up because they were left too soon
    refused: int = 0  # addresses that gave no region
    samples: int = 0
    in_regions: int = 0  # samples that were in compiled code
    in_traces: int = 0


@dataclass
class Installed:
    address: int
    kept: Kept
    counts: Any  # see codecache.COUNTS
    entries: list[int] = field(default_factory=list)
    left: set[int] = field(default_factory=set)  # some of the addresses to which it was left
    before: tuple[int, int] = 0, 0  # counts when it was judged last


class Engine(Protocol):
    """Whose code is compiled: what a memory model has in common with the others."""

    model: str
    arch: Architecture
    image: Loaded
    shared: Shared
    decode_handler: int
    limit: int  # code addresses from here on are none
    quantum: int
    lasting: bool  # how long a region is stayed in does not change
    first: int  # samples at few places before the compiler is loaded for them
    constants: dict[str, int]  # words of the CPU that never change

    @property
    def extensions(self) -> int:
        """A bit for each extension that all CPUs have."""

    @property
    def faults(self) -> FaultMap | None:
        """Where loads and stores are noted that may fault, if any may."""

    def entries(self, number: int) -> int:
        """Host address of the entries of a page of guest code, or 0."""

    def code_page(self, number: int) -> bytes:
        """A page of guest code, as long as it is; nothing if it may not be executed."""

    def place_of(self, sample: int) -> int:
        """Where the piece of code begins to which a sample belongs."""

    def compiled(self, number: int) -> None:
        """A page is going to have regions."""


class Runner(Protocol):
    """What has a CPU."""

    running: bool  # perhaps in compiled code

    @property
    def cpu(self) -> Cpu: ...


class Jit:
    """Tier 1 of one engine.  `mode`: eager compiles everything at once; "" leaves it to the environment."""

    def __init__(self, engine: Engine, mode: str = "") -> None:
        self.engine = engine
        self.statistics = Statistics()
        self.vcpus: dict[int, tuple[Runner, int]] = {}
        self.lock = threading.RLock()
        eager = (mode or os.environ.get("TINAMOU_JIT")) == "eager"
        self.hot, self.price = (1, 0) if eager else (HOT, PRICE)
        self.first = 0 if eager else engine.first + engine.image.code_size // ROWS  # samples of what is hot before the compiler is loaded
        self.anywhere = not int(engine.shared.stencils)  # no traces tell what is visited often: all that has been executed counts
        if eager:
            engine.quantum = SHORT
        self.mark_warm = engine.image.function("mark_warm", None, ctypes.c_uint64, ctypes.c_uint64)
        self.heat: Counter[int] = Counter()  # samples of this run that were not in regions
        self.spent = time.process_time()
        self.past: dict[int, int] = {}  # those of earlier runs
        self.paid, self.bought = PRICE * GAIN * 200, 200  # seconds of compiling for how many instructions, with a guess to begin with
        self.total = 0  # all of them, and those in regions of this run
        self.outside = True  # of the samples taken last, some were not in regions
        self.due: set[int] = set()  # addresses that are hot enough to be looked at
        self.wanted: dict[int, int] = {}  # an address that was looked at -> samples it needs before the next look
        self.by_page: dict[int, list[Installed]] = {}
        self.judged: dict[int, Installed] = {}  # of these it is not known yet whether they are of use
        self.tries: Counter[int] = Counter()  # entries of those that lacked targets
        self.bad_luck = 0  # how many more were given up than kept: each doubles the price of the next
        self.generation = 0
        self.compiling = False  # the thread is inside the compiler, perhaps holding LLVM's locks
        self.disabled = self.inherited = False
        self.cache: CodeCache | None = None
        self.arena = Arena(ARENA)
        self.counts = allocate(REGIONS * 24)  # three words a region; they stay as long as a CPU may be inside
        self.placed = 0  # regions in the arena, of which some are not used any more
        self.thread: threading.Thread | None = None
        self.stopped = threading.Event()
        self.makers: list[Callable[[], Templates]] = []  # with fault maps, with checks

    # -- life

    def add(self, vcpu: Runner) -> None:
        with self.lock:
            self.vcpus[id(vcpu)] = (vcpu, int(vcpu.cpu.sampled))
        if self.thread is None and not self.disabled:
            self.start()

    def remove(self, vcpu: Runner) -> None:
        with self.lock:
            self.vcpus.pop(id(vcpu), None)

    def start(self) -> None:
        self.stopped.clear()
        self.thread = threading.Thread(target=self.work, name="tinamou-jit", daemon=True)
        old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.thread.start()  # it inherits the mask: no signal is its business
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def stop(self) -> None:
        """End the thread; regions stay."""
        self.stopped.set()
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join()
        self.thread = None

    def close(self) -> None:
        """The engine is not used any more; no CPU is running."""
        self.finish()
        self.stop()
        self.arena.close()
        release(self.counts, REGIONS * 24)

    def after_fork(self) -> None:
        """In the child: the thread is gone, and the arena is shared with the parent, which goes on writing to it.

        The child makes do with the regions it has until it executes another program (forget_all).
        """
        obliging.forget()
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self.thread = None
        self.disabled = self.inherited = True

    # -- the thread

    def work(self) -> None:
        with obliging:
            self.watch()

    def watch(self) -> None:
        wait, calm = POLL, 0
        while not self.stopped.wait(wait):
            calm += 1
            if not self.collect():
                wait = IDLE
            elif self.cache and self.cache.waiting:
                wait = SOON
            else:
                wait = POLL if calm < CALM and self.hopeful else RARE
            self.revive()
            self.judge()
            while not self.stopped.is_set() and (pc := self.hottest()) is not None:
                calm = 0
                if not self.compiled(pc):
                    self.compiling = True
                    self.compile(pc)
                    self.compiling = False
                self.collect()

    @property
    def hopeful(self) -> bool:
        """Something may be due soon."""
        return self.outside and 2 * self.total > self.first

    def hottest(self) -> int | None:
        """The address to look at next.  The first one must be worth loading the compiler, together with others that are due."""
        if not self.due:
            return None
        if not self.makers:
            hot = [self.samples(pc) for pc in self.due]
            if sum(n for n in hot if n * SHARE >= self.total) < self.first and sum(hot) < self.first * LONG:
                return None
        pc = max(self.due, key=self.samples)
        self.due.discard(pc)
        return pc

    def samples(self, pc: int) -> int:
        """How often an address was seen, in this run and those before it."""
        return self.heat[pc] + self.past.get(pc, 0)

    def collect(self) -> int:
        """Count the samples taken since the last time; the newest of each CPU stand for all.

        Slices of slow instructions count for more: heat is time.
        """
        total = 0
        seen_at: Counter[int] = Counter()
        before, self.spent = self.spent, time.process_time()
        with self.lock:
            for key, (vcpu, seen) in list(self.vcpus.items()):
                cpu = vcpu.cpu
                now = int(cpu.sampled)
                new = now - seen
                if not new:
                    continue
                self.vcpus[key] = vcpu, now
                total += new
                ring = (ctypes.c_uint64 * RING).from_address(cpu.address + type(cpu).fields["samples"].offset)
                n = min(new, TAKEN)
                start, end = (now - n) % RING, now % RING
                taken = ring[start:end] if start < end else ring[start:] + ring[:end]
                for pc, times in Counter(taken).items():
                    seen_at[self.engine.place_of(pc)] += times * (new // n)
                seen_at[self.engine.place_of(taken[-1])] += new % n
            slowness = (self.spent - before) / (total * TYPICAL) if total else 0.0
            earlier = self.statistics.in_regions
            for pc, n in seen_at.items():
                self.seen(pc, n, max(1.0, min(slowness, SLOWEST)))
            self.outside = (self.statistics.in_regions - earlier) * SOME < total * (SOME - 1)
        return total

    def seen(self, pc: int, n: int, slowness: float = 1.0) -> None:
        """Slices ended at pc; the caller has the lock."""
        handler = self.handler(pc)
        heat = round(n * slowness)
        self.statistics.samples += n
        self.total += heat
        if self.arena.holds(handler):
            self.statistics.in_regions += n
            return
        self.statistics.in_traces += n * self.in_trace(handler)
        self.heat[pc] += heat
        if self.samples(pc) >= max(self.wanted.get(pc, self.hot), self.total // TAIL) and (not self.past or self.heat[pc] >= FRESH):
            self.due.add(pc)

    def describe(self) -> str:
        """For people: lines of `info jit`."""
        s = self.statistics
        return (
            f"region count        {s.regions}, {s.useless} given up\n"
            f"region code size    {s.code}/{self.arena.size}\n"
            f"region time         {s.seconds:.3f} s compiling, {s.in_regions / (s.samples or 1):.0%} of all slices ended in one\n"
        )

    # -- entries

    def entry(self, pc: int) -> int:
        """Host address of the entry of a guest address, or 0."""
        base = self.engine.entries(pc >> 12) if pc < self.engine.limit else 0
        return base + ((pc & (PAGE - self.engine.arch.granule)) << self.engine.arch.shift) if base else 0

    def handler(self, pc: int) -> int:
        entry = self.entry(pc)
        return ctypes.c_uint64.from_address(entry).value if entry else 0

    def compiled(self, pc: int) -> bool:
        return self.arena.holds(self.handler(pc))

    def traced(self, pc: int) -> bool:
        """A trace begins there."""
        return self.in_trace(self.handler(pc))

    def in_trace(self, handler: int) -> bool:
        beyond = self.engine.image.beyond
        return bool(beyond) and beyond <= handler < beyond + ROOM

    def visited(self, first: int, last: int) -> list[int]:
        """Where traces begin between two addresses that are not far from each other."""
        arch, found = self.engine.arch, list[int]()
        for number in range(first >> 12, (last >> 12) + 1) if last - first < SPAN else ():
            base = self.engine.entries(number)
            words = PAGE << arch.shift >> 3
            handlers = (ctypes.c_uint64 * words).from_address(base)[:: arch.granule << arch.shift >> 3] if base else []
            found += [(number << 12) + k * arch.granule for k, h in enumerate(handlers) if self.in_trace(h)]
        return [at for at in found if first <= at <= last]

    def executed(self, pc: int) -> bool:
        """The instruction has been decoded."""
        return self.handler(pc) not in (0, self.engine.decode_handler)

    # -- the cache on disk

    def open_cache(self, program: str) -> None:
        """Regions of this program are kept on disk; those that are there already are used."""
        engine = self.engine
        packages = ("native", "engine", *engine.arch.sources)
        options = f"{engine.model} {engine.extensions}"
        self.cache = CodeCache(engine.arch.name, packages, options, program)
        with self.lock:
            self.wanted.update(self.cache.wanted)
            self.past.update(self.cache.heat)
            self.bad_luck = self.cache.bad_luck
            self.total += sum(self.past.values())

    def finish(self) -> None:
        """The program ends.  What is being compiled for the cache is waited for, else every short run would begin with it again."""
        if self.compiling and self.cache is not None and not self.inherited and self.thread is not None:
            self.stopped.set()
            self.thread.join(LAST)
        self.close_cache()

    def close_cache(self) -> None:
        """Write what is new."""
        with self.lock:
            kept, self.cache = self.cache, None
            if kept is not None and not self.inherited:
                kept.looked(self.wanted)
                kept.bad_luck = self.bad_luck
                kept.sampled({pc: self.samples(pc) for pc in {*self.heat, *self.past} if not self.compiled(pc)})
                kept.save()

    def read_code(self, address: int, length: int) -> bytes:
        """Guest code as it is now; less when not all of it may be executed."""
        first, last = address >> 12, address + length - 1 >> 12
        if not all(len(self.page(n)) == PAGE for n in range(first, last + 1)):
            return b""
        return code_at(self.page, address, length)

    def page(self, number: int) -> bytes:
        """A page of guest code, or nothing if it may not be executed."""
        return self.engine.code_page(number) if number << 12 < self.engine.limit else b""

    def revive(self) -> None:
        """Install regions from disk whose code has begun to run."""
        cache = self.cache
        if cache is None or not cache.waiting:
            return
        later = []
        for kept in cache.waiting:
            if not all(self.entry(e) for e in kept.entries):
                later.append(kept)
                continue
            generation = self.generation, int(self.engine.shared.fences)
            if digest(self.read_code, kept.runs) == kept.digest and self.install(kept, generation):
                self.statistics.revived += 1
        cache.waiting = later

    # -- compiling

    def prepare(self) -> None:
        if not self.makers:
            from .regions import Templates

            def word(name: str | None) -> Any:
                return bool if name == "bool" else getattr(types, name) if name else None

            known = {}
            for symbol, (result, raises) in self.engine.image.notes["functions"].items():
                known[symbol] = (tuple(word(r) for r in result) if isinstance(result, list) else word(result)), raises
            model = importlib.import_module(f"tinamou.engine.{self.engine.model}")
            e = self.engine
            made = partial(Templates, e.arch, model, known, e.extensions, e.constants)
            self.makers = [cache(partial(made, checked)) for checked in (False, True)]

    @cached_property
    def compiler(self) -> SmallCompiler:
        from tinamou.native.llvm import SmallCompiler

        return SmallCompiler()

    def compile(self, pc: int) -> bool:
        """Make and install the region around pc."""
        from .regions import region_text

        start = time.thread_time()
        self.prepare()
        generation = self.generation, int(self.engine.shared.fences)
        pages: dict[int, bytes] = {}
        placed = self.makers[0]().placed

        def page(number: int) -> bytes:
            if number not in pages:
                pages[number] = self.page(number)
            return pages[number]

        def fetch(at: int) -> int | None:
            if not placed and at >> 12 != pc >> 12:
                return None
            data = page(at >> 12)[at & 4095 : (at & 4095) + 4]
            if placed and len(data) < 4 and at & 4095 > PAGE - 4:
                data += page((at >> 12) + 1)[: 4 - len(data)]
            word = int.from_bytes(data, "little")
            if len(data) == 4:
                return word
            return word if len(data) >= self.engine.arch.unit and self.engine.arch.length(types.u32(word)) <= len(data) else None

        region = self.choose(pc, fetch)
        if region is None:
            self.statistics.seconds += time.thread_time() - start
            return False
        compiler, began = self.compiler, time.thread_time()
        for maker in self.makers:
            obj, guards = compiler.compile(region_text(maker(), region, compiler.triple))
            image = link(obj, 16)
            if len(image.faults) >= guards:
                break
        self.paid += time.thread_time() - began
        self.bought += region.size
        runs = region.runs
        found = digest(lambda a, n: code_at(page, a, n), runs)
        kept = Kept(region.entries, region.exits, runs, found, region.size, region.whole, image)
        installed = self.install(kept, generation)
        with self.lock:
            for n in region.nodes:
                self.wanted.pop(n, None)
            if installed and self.cache is not None:
                self.cache.add(kept)
        self.statistics.seconds += time.thread_time() - start
        return installed

    def choose(self, pc: int, fetch: Callable[[int], int | None]) -> Region | None:
        """The region around pc, if it is worth compiling.  If not, pc is looked at again when it is much hotter."""
        from .discovery import MAX_INSNS, discover

        cold = self.samples(pc) // COLD
        often = [at for at in {*self.heat, *self.past} if self.samples(at) >= max(cold, 1)]
        often.sort(key=self.samples, reverse=True)
        with self.lock:  # what other regions with computed jumps have becomes part of this one
            joined = {e for page in self.by_page.values() for made in page if not made.kept.whole for e in made.kept.entries}

        def hot(node: Node, at: int) -> bool:
            """Slices end at loops' heads and functions' entries; of other targets it is known whether they have been visited often."""
            inside = not node.call or at == node.following
            return self.anywhere or self.samples(at) >= cold or self.compiled(at) or (inside and self.traced(at))

        def around(at: int) -> Region | None:
            return discover(self.makers[0](), at, fetch, self.executed, hot, sampled=[*often, *joined], visited=self.visited)

        region = around(pc)
        worth = self.worth(region) if region and region.loops else 0.0
        if self.price and region and region.landings and region.size == MAX_INSNS:  # a part of an interpreter is soon left
            worth = min(worth, 1 / 32)
        if self.price and region and worth >= 1:  # what leads here and is hot as well would soon be compiled with all of this again
            for at in often[:OTHERS]:
                more = around(at) if at not in region.nodes and self.samples(at) * WIDER >= self.samples(pc) else None
                if more and pc in more.nodes and more.size < MAX_INSNS and self.worth(more) >= 1:
                    region = more
        with self.lock:
            if region and worth >= 1:
                for n in {*region.nodes} & {*self.heat, *self.past}:
                    self.wanted[n] = DEARER * self.samples(n)  # should the program end before the region is made
                    self.heat.pop(n, None)
                    self.past.pop(n, None)
                self.due -= region.nodes.keys()
                return region
            if region and worth:
                for n in {*region.nodes} & {*self.heat, *self.past}:  # any of these would lead to much the same
                    self.wanted[n] = max(self.hot, self.samples(n) * max(2, min(32, math.ceil(1 / worth))))
                self.due -= region.nodes.keys()
            else:
                self.wanted[pc] = NEVER + self.samples(pc)
                self.heat.pop(pc, None)
                self.past.pop(pc, None)
                self.statistics.refused += 1
        return None

    def worth(self, region: Region) -> float:
        """What compiling a region gains over what it costs.

        Compiling costs half a millisecond an instruction, or what it has cost so far if that is more, and saves a part of a nanosecond at
        each execution, if the region has a loop: going in and out of one costs as much as tens of instructions.
        """
        if not self.price:
            return 1.0
        return sum(map(self.samples, region.nodes)) / (self.asked() * region.size)

    def asked(self) -> float:
        """Samples for each instruction of a region before it is compiled."""
        return max(self.price, self.paid / (self.bought * GAIN)) * (1 << self.bad_luck)

    def judge(self) -> None:
        """Give up regions that are left soon after they are entered: traces do without loading and storing registers."""
        with self.lock:
            for made in [*self.judged.values()]:
                entered, executed, left = made.counts
                if not made.kept.whole:
                    made.left.add(left)
                if entered - made.before[0] < ENTERED:
                    continue
                if executed - made.before[1] >= (entered - made.before[0]) * LEAST or not self.price:
                    self.bad_luck = max(self.bad_luck - 1, 0)
                    if self.engine.lasting:
                        del self.judged[id(made)]
                    made.before = entered, executed
                    continue
                self.withdraw(made)
                if self.cache is not None:
                    self.cache.remove(made.kept)
                if not self.widen(made):
                    self.give_up(made.kept)

    def give_up(self, kept: Kept) -> None:
        self.bad_luck = min(self.bad_luck + 1, WORST)
        self.statistics.useless += 1
        for start, length in kept.runs:
            for pc in range(start, start + length, self.engine.arch.granule):
                if pc in self.past or pc in self.heat or pc in kept.entries:
                    self.wanted[pc] = USELESS

    def widen(self, made: Installed) -> bool:
        """Look again at a region with computed jumps, when it was left to targets that were not known when it was made."""
        from .discovery import NEAR

        kept = made.kept
        first, last = kept.runs[0][0] - NEAR, sum(kept.runs[-1]) + NEAR
        missed = {pc for pc in made.left if first <= pc < last and not any(0 <= pc - at < n for at, n in kept.runs)}
        if kept.whole or not missed or max(self.tries[pc] for pc in kept.entries) == TRIES:
            return False
        self.tries.update(kept.entries)
        self.bad_luck = min(self.bad_luck + 1, WORST)
        targets = {*kept.entries, *missed}
        for pc in targets:
            self.heat[pc] += max(self.hot, math.ceil(self.asked() * kept.size / len(targets)))
        return True  # the next sample at one of them makes it due; by then they have been decoded again

    def install(self, region: Kept, generation: tuple[int, int]) -> bool:
        with self.lock:
            if generation != (self.generation, int(self.engine.shared.fences)):
                return False  # code was invalidated meanwhile; if the address is still hot it comes again
            image = region.image
            at = self.place(image)
            if at is None and self.make_room():
                at = self.place(image)
            if at is None:
                return False
            made = Installed(at + image.symbols["region"], region, self.counts_of(self.placed - 1))
            for number in region.pages:
                self.engine.compiled(number)
            for pc in region.entries:
                entry = self.entry(pc)
                if entry:
                    ctypes.c_uint64.from_address(entry).value = made.address
                    made.entries.append(entry)
            # a CPU's fence, or a store to this code, came just now: it may have missed these entries
            if generation[1] != int(self.engine.shared.fences) or digest(self.read_code, region.runs) != region.digest:
                self.withdraw(made)
                return False
            if self.engine.shared.stencils:
                for pc in region.exits:  # let traces begin there: to the decoder these may be no targets of jumps
                    if entry := self.entry(pc):
                        self.mark_warm(self.engine.shared.address, entry)
            for number in region.pages:
                self.by_page.setdefault(number, []).append(made)
            self.judged[id(made)] = made
            s = self.statistics
            s.regions, s.instructions, s.code = s.regions + 1, s.instructions + region.size, s.code + len(image.content)
        return True

    def counts_of(self, number: int) -> Any:
        return (ctypes.c_uint64 * 3).from_address(self.counts + number * 24)

    def place(self, image: Image) -> int | None:
        """Copy a region into the arena; gives its address, or None when there is no room."""
        if self.placed == REGIONS:
            return None
        counts = self.counts_of(self.placed)
        counts[:] = 0, 0, 0
        at = self.arena.place(image, lambda name: ctypes.addressof(counts) if name == COUNTS else self.engine.image[name])
        faults = self.engine.faults
        if at is None or (faults is not None and not faults.append([(at + a, at + b) for a, b in image.faults])):
            return None
        self.placed += 1
        return at

    def make_room(self) -> bool:
        """All regions go, when every CPU has left them: at the end of its slice, or because it does not run."""
        for page in self.by_page.values():
            for made in page:
                self.withdraw(made)
        self.statistics.dropped += len({id(made) for page in self.by_page.values() for made in page})
        self.by_page.clear()
        self.judged.clear()
        inside = [(vcpu, int(vcpu.cpu.sampled)) for vcpu, _ in self.vcpus.values()]
        end = time.monotonic() + PATIENCE
        while any(vcpu.running and int(vcpu.cpu.sampled) == then for vcpu, then in inside):
            if time.monotonic() > end:
                return False  # the next region tries again
            time.sleep(0.0002)
        self.arena.used = self.placed = 0
        if self.engine.faults is not None:
            self.engine.faults.clear_added()
        return True

    def invalidate(self, first: int, last: int) -> None:
        """Pages `first` up to `last` (excluded) have other code now, or none."""
        with self.lock:
            self.generation += 1
            numbers = [n for n in self.by_page if first <= n < last] if last - first > len(self.by_page) else range(first, last)
            for number in numbers:
                for made in self.by_page.pop(number, ()):
                    self.statistics.dropped += 1
                    self.withdraw(made)

    def withdraw(self, made: Installed) -> None:
        """Let tier 0 have the entries of a region again."""
        self.judged.pop(id(made), None)
        for entry in made.entries:
            slot = ctypes.c_uint64.from_address(entry)
            if slot.value == made.address:
                slot.value = self.engine.decode_handler

    def forget_all(self) -> None:
        """The engine starts anew; no CPU is running."""
        with self.lock:
            self.generation += 1
            self.by_page.clear()
            self.judged.clear()
            self.tries.clear()
            self.close_cache()
            self.heat.clear()
            self.past.clear()
            self.total = 0
            self.due.clear()
            self.wanted.clear()
            if self.inherited:
                self.arena.close()
                self.arena = Arena(ARENA)
                self.disabled = self.compiling  # LLVM's locks are held for ever if the parent's thread held them
                self.inherited = False
            self.arena.used = self.placed = 0
            if self.engine.faults is not None:
                self.engine.faults.clear()
