"""AVR CPUs of machines, and what runs them: cycles are the machine's time (docs/avr.md).

engine = AvrEngine()
machine = find("arduino-uno").make(settings, cpu_factory=engine.factory)
engine.run_cycles(16_000_000)       # a second, in the thread that calls
engine.start()                      # or in a thread of its own; `control.vm.Vm` does it
"""

from __future__ import annotations

import ctypes
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from tinamou.engine import harvard, interpreter
from tinamou.engine.architecture import Architecture
from tinamou.engine.cpu import PAGE, READ, WRITE, Shared
from tinamou.engine.harvard import IO, NEVER
from tinamou.machine.clock import SECOND, Clock
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine
from tinamou.machine.memory import FlatRange, Io, Memory, MemoryListener, Ram
from tinamou.machine.props import PropertyError, nearest
from tinamou.native.image import allocate, release
from tinamou.native.types import i64, u8, u32, u64

from .architecture import architecture, length
from .models import MODELS, Model, find
from .state import DATA, FLAGS, SREG, Avr

ARENA = 64 * 36 * PAGE  # room for the entries of 256 KiB of code
NO_ADDRESS = 1 << 32
QUANTUM = 200_000  # cycles between looks at what other threads want
HZ = 16_000_000

R_NAMES = {f"r{n}": n for n in range(32)}
WATCHES = {"read": READ, "write": WRITE, "access": READ | WRITE}
CallFunction = ctypes.CFUNCTYPE(*[ctypes.c_uint64] * 5)


class AvrError(RuntimeError):
    """The CPU cannot go on: in words for the user."""


class Registers:
    """R0 to R31 and the CPU's own I/O registers in the data space, for debuggers and monitors (`machine.memory.Bank`)."""

    def __init__(self, cpu: Avr, base: int) -> None:
        self.cpu, self.base = cpu, base

    def read(self, offset: int, size: int) -> int:
        return int(self.cpu.own_load(u64(self.base + offset)))

    def write(self, offset: int, value: int, size: int) -> None:
        self.cpu.own_store(u64(self.base + offset), u8(value))


class IoTable:
    """What loads from I/O registers give without a call: see docs/avr.md."""

    def __init__(self, cpu: Avr, cycles: Callable[[], int]) -> None:
        self.cycles = cycles
        at = {name: cpu.address + type(cpu).fields[name].offset for name in ("io_kind", "io_value")}
        self.kinds = (ctypes.c_uint8 * IO).from_address(at["io_kind"])
        self.values = (ctypes.c_uint8 * IO).from_address(at["io_value"])
        self.counters: dict[int, int] = {}
        self.words = self._rows(cpu, "counters", harvard.Counter.size // 8, harvard.COUNTERS)
        self.alarms: dict[tuple[int, int], int] = {}
        self.bells = self._rows(cpu, "alarms", harvard.Alarm.size // 8, harvard.ALARMS)
        self.count, self.next_alarm, self.own_vectors, self.asked, self.attention = (
            ctypes.c_uint64.from_address(cpu.address + type(cpu).fields[name].offset)
            for name in ("alarm_count", "next_alarm", "own_vectors", "asked", "attention")
        )
        self.next_alarm.value = NEVER

    def _rows(self, cpu: Avr, name: str, size: int, count: int) -> list[Any]:
        first = cpu.address + type(cpu).fields[name].offset
        return [(ctypes.c_uint64 * size).from_address(first + n * size * 8) for n in range(count)]

    def device(self, address: int) -> None:
        """Every load calls the device."""
        self.kinds[address] = harvard.DEVICE

    def shadow(self, address: int, value: int) -> None:
        """Loads give `value`."""
        self.values[address] = value
        self.kinds[address] = harvard.SHADOW

    def plain(self, address: int) -> None:
        """Loads and stores are of memory."""
        self.kinds[address] = harvard.PLAIN

    def counter(self, address: int, *, start: int, divider: int, first: int, top: int, dual: bool = False, latch: int = 0) -> None:
        """Loads give a timer's count: `first` at cycle `start`, one step each `divider` cycles."""
        n = self.counters.setdefault(address, len(self.counters))
        self.words[n][:] = [start, divider, first, max(top, 1), dual, latch]
        self.kinds[address] = harvard.COUNTER + n

    def alarm(self, address: int, mask: int, *, at: int, period: int = 0, vector: int = 0) -> None:
        """Set the flag `mask` in the shadow of `address` at a cycle, and again after each period; while it is set, ask for `vector`."""
        n = self.alarms.setdefault((address, mask), len(self.alarms))
        self.bells[n][:] = [at, period, address, mask, vector]
        self.count.value = len(self.alarms)
        self.next_alarm.value = min(self.next_alarm.value, at)
        self._ask()

    def _ask(self) -> None:
        """Interrupt requests follow from the flags."""
        own = asked = 0
        for _due, _period, address, mask, vector in self.bells[: len(self.alarms)]:
            if vector:
                own |= 1 << vector
                if self.values[address] & mask:
                    asked |= 1 << vector
        self.own_vectors.value, self.asked.value = own, asked
        self.attention.value = 1

    def silence(self, address: int, mask: int) -> None:
        """No alarm for this flag, which stays as it is."""
        if (address, mask) in self.alarms:
            self.alarm(address, mask, at=NEVER)

    def flags(self, address: int) -> int:
        """The shadow, with what this cycle's alarms set."""
        now = self.cycles()
        if self.next_alarm.value <= now:
            for bell in self.bells[: len(self.alarms)]:
                due, period, place, mask, _vector = bell
                if due <= now:
                    self.values[place] |= mask
                    bell[0] = due + ((now - due) // period + 1) * period if period else NEVER
            self._ask()
        return int(self.values[address])

    def set_flags(self, address: int, value: int) -> None:
        """Change the shadow, whether loads see it or not."""
        self.values[address] = value
        self._ask()


class AvrVcpu:
    """The CPU of a part (`machine.cpu.Cpu`)."""

    def __init__(self, engine: AvrEngine, machine: Machine, part: Model, index: int) -> None:
        self.engine, self.machine, self.part, self.model, self.index = engine, machine, part, part.name, index
        self.arch: Architecture = architecture(part.core, part.wide)
        self.image = interpreter.load(self.arch, "harvard")
        self.run_native, self.step_native, self.forget_native = interpreter.functions(self.image)
        cpu = self.arch.cpu()
        assert isinstance(cpu, Avr)
        self.cpu: Avr = cpu
        bits: dict[str, int] = self.image.notes["extensions"]
        self._call = CallFunction(self._called)
        self.shared, self.arena = Shared(), allocate(ARENA)
        self.shared.arena = self.shared.arena_start = u64(self.arena)
        self.shared.arena_end = u64(self.arena + ARENA)
        self.pages = -(-part.flash // PAGE)
        self.pagemap = allocate((self.pages + 1) * 8)
        cpu.extensions = u64(sum(1 << k for name, k in bits.items() if name in part.extensions))
        cpu.call = u64(ctypes.cast(self._call, ctypes.c_void_p).value or 0)
        cpu.shared, cpu.pagemap = u64(self.shared.address), u64(self.pagemap)
        cpu.code_mask, cpu.ram_start, cpu.ram_size = u64(part.flash - 1), u64(part.ram), u64(part.sram)
        cpu.fast_start = cpu.ram_start
        cpu.own, cpu.vector_size, cpu.quantum = u64(part.own), u64(part.vector_size), i64(QUANTUM)
        words = (
            "instructions",
            "deadline",
            "attention",
            "lines",
            "halted",
            "stall",
            "quit",
            "kick",
            "reason",
            "program_call",
            "hit",
            "watched",
        )
        self._cycles, self._deadline, self._attention, self._lines, self._halted, self._stall, self._quit, self._kick, self._reason, \
            self._program_call, self._hit, self._watched = (self.word(n) for n in words)  # fmt: skip
        self.io = IoTable(cpu, lambda: self.cycles)
        self.clock = Clock(HZ, machine.time)
        self.clock.on_change(self._new_frequency)
        self._base_cycle = self._base_ns = 0
        self._hz = HZ
        self._inside = self._moved = False
        self._now = 0
        self._until = NEVER
        self._restart: str | None = None
        self._table: dict[int, tuple[Io, int]] = {}
        self._silent: set[int] = set()
        self.flash: Ram | None = None
        self.reset_vector = 0
        self._acknowledge: dict[int, Callable[[], object]] = {}
        self.pins = {f"vector{n}": Pin(self._input(n), f"vector{n}", n, self) for n in range(2, part.vectors + 1)}
        self.on_sleep: Callable[[], object] | None = None
        self.on_wake: Callable[[], object] | None = None
        self.on_watchdog: Callable[[], object] | None = None
        self.on_spm: Callable[[int, int], object] | None = None
        self.on_break: Callable[[], object] | None = None
        self._on_lpm: Callable[[int], int | None] | None = None
        self._place_registers()

    def word(self, name: str) -> Any:
        """A field of the CPU, to be read and written while it runs."""
        return ctypes.c_uint64.from_address(self.cpu.address + type(self.cpu).fields[name].offset)

    def close(self) -> None:
        release(self.arena, ARENA)
        release(self.pagemap, (self.pages + 1) * 8)

    # -- the memory map

    def _place_registers(self) -> None:
        root, cpu = self.machine.memory.root, self.cpu
        if cpu.io_base:
            root.add(DATA, Io("avr-registers", cpu.io_base, Registers(cpu, 0), access=(1, 1), implemented=(1, 1)))
        for n in range(8):
            if self.part.own >> n & 1:
                at = cpu.io_base + SREG - 7 + n
                root.add(DATA + at, Io(f"avr-{at:#x}", 1, Registers(cpu, at), access=(1, 1), implemented=(1, 1)), priority=1)

    def follow(self, memory: Memory) -> None:
        """The memory map has changed."""
        code, data = memory.find(0), memory.find(DATA + self.part.ram)
        self._table.clear()
        if code is not None and isinstance(code.region, Ram):
            self.flash = code.region
            self.cpu.code = u64(code.region.address + code.offset)
            self.forget()
        if data is not None and isinstance(data.region, Ram):
            self.cpu.memory = u64(data.region.address + data.offset - self.part.ram)
            self.cpu.ram_size = u64(min(self.part.sram, data.size))
        self.cpu.fast_start = u64(NO_ADDRESS if int(self.cpu.watches) else self.part.ram)

    def forget(self, first: int = 0, last: int | None = None) -> None:
        """Code in these pages has changed."""
        self.forget_native(self.pagemap, first, min(self.pages if last is None else last, self.pages))

    # -- what boards ask (machine.cpu.Cpu)

    def line(self, name: str) -> Pin:
        return self.pins[name]

    def _input(self, vector: int) -> Callable[[bool], object]:
        mask = 1 << vector

        def action(level: bool) -> None:
            self._lines.value = self._lines.value | mask if level else self._lines.value & ~mask
            self.attend()

        return action

    def attend(self) -> None:
        """Look at inputs, events and requests before the next instruction, also when the CPU waits."""
        self._attention.value = 1
        self.engine.wake.set()

    def on_acknowledge(self, vector: int, action: Callable[[], object]) -> None:
        """Call `action` whenever this vector has been entered."""
        self._acknowledge[vector] = action

    def vectors(self, address: int) -> None:
        """The vector table is at this word address."""
        self.cpu.vectors = u64(address * 2)

    def stall(self, cycles: int) -> None:
        """So many cycles pass before the next instruction."""
        self._stall.value += cycles
        self.attend()

    def restart(self, cause: str) -> None:
        """Reset the machine before the next instruction."""
        self._restart = cause
        self._quit.value = 1
        self.attend()

    @property
    def on_lpm(self) -> Callable[[int], int | None] | None:
        """Asked for each byte that is loaded from program memory."""
        return self._on_lpm

    @on_lpm.setter
    def on_lpm(self, f: Callable[[int], int | None] | None) -> None:
        self._on_lpm = f
        self._program_call.value = f is not None

    def timebase(self, clock: Any) -> None:
        """An AVR has no time counter."""

    def reset(self, vector: int | None = None) -> None:
        """Registers keep their values, as in the part."""
        cpu = self.cpu
        cpu.pc = u64(self.reset_vector * 2 if vector is None else vector)
        cpu.target = cpu.pc
        cpu.set_status(u8(0))
        cpu.sp = type(cpu.sp)(self.part.ram + self.part.sram - 1)
        cpu.eind = u8(0)
        for n in range(4):
            cpu.ramp[n] = u8(0)
        cpu.vectors = u64(0)
        cpu.enabled = u64(NEVER)
        self._halted.value = self._stall.value = 0

    def facts(self) -> dict[str, Any]:
        return {"part": self.part}

    # -- time

    @property
    def cycles(self) -> int:
        """Since power-on; exact in devices that are called, and while the CPU stands still."""
        return self._now if self._inside else int(self._cycles.value)

    def ns(self, cycle: int) -> int:
        """The virtual time at which a cycle begins, rounded up."""
        return self._base_ns - (-(cycle - self._base_cycle) * SECOND // self._hz)

    def cycle(self, ns: int) -> int:
        """The first cycle that begins at that time or later."""
        return self._base_cycle + max(0, (ns - 1 - self._base_ns) * self._hz // SECOND + 1)

    def _new_frequency(self) -> None:
        now = self.cycles
        self._base_ns, self._base_cycle = self.ns(now), now
        self._hz = max(self.clock.hz, 1)
        self.deadline_moved()

    def deadline_moved(self) -> None:
        """There is an earlier event than before."""
        self._moved = True
        if not self._inside:
            self._deadline.value = 0
            self.attend()

    def _set_deadline(self) -> None:
        self._moved = False
        due = self.machine.time.deadline
        cycle = NEVER if due is None else self.cycle(due)
        if self.engine.realtime and not self._halted.value:
            cycle = min(cycle, self.cycles + self._hz // 500)
        self._deadline.value = min(cycle, self._until, NEVER)

    # -- calls from compiled code

    def _called(self, address: int, what: int, value: int, cycle: int) -> int:
        with self.machine.lock:
            try:
                self._inside, self._now = True, cycle
                if what == harvard.EVENT:
                    self._events(cycle)
                    return 0
                self.machine.time.set(self.ns(cycle))
                answer = self._device(address, what, value)
                if self._moved:
                    self._set_deadline()
                    self._attention.value = 1
                return answer
            except Exception:
                traceback.print_exc()
                self.engine.failed(f"a device failed at {address:#x}")
                return 0
            finally:
                self._inside = False

    def _events(self, cycle: int) -> None:
        self.machine.time.advance_to(self.ns(cycle))
        if cycle >= self._until:
            self._quit.value = 1
        self._set_deadline()
        if self._deadline.value <= cycle and not self._quit.value:
            self._deadline.value = cycle + 1
        self.engine.pace(self.machine.time.now)

    def _device(self, address: int, what: int, value: int) -> int:
        if what == harvard.LOAD:
            found = self._table.get(address) or self._find(address)
            if found is None:
                return self._nothing(address, "read")
            return found[0].read(found[1], 1)
        if what == harvard.STORE:
            found = self._table.get(address) or self._find(address)
            if found is None:
                return self._nothing(address, "write")
            found[0].write(found[1], value, 1)
        elif what == harvard.BITS:
            found = self._table.get(address) or self._find(address)
            if found is None:
                return self._nothing(address, "write")
            region, offset = found
            mask, bits = value >> 8, value & 0xFF
            masked = getattr(region.bank, "write_bits", None)
            if masked is not None:
                masked(offset, bits & mask, mask)
            else:
                region.write(offset, region.read(offset, 1) & ~mask | bits & mask, 1)
        elif what == harvard.ACKNOWLEDGE:
            action = self._acknowledge.get(address)
            if action is not None:
                action()
        elif what == harvard.SLEEP:
            return 1 if self.on_sleep is None else int(bool(self.on_sleep()))
        elif what == harvard.WAKE:
            if self.on_wake is not None:
                self.on_wake()
        elif what == harvard.WATCHDOG_RESET:
            if self.on_watchdog is not None:
                self.on_watchdog()
        elif what == harvard.SELF_PROGRAM:
            if self.on_spm is not None:
                self.on_spm(address & self.part.flash - 1, value)
        elif what == harvard.PROGRAM_LOAD:
            answer = self._on_lpm(address) if self._on_lpm is not None else None
            if answer is not None:
                return answer
            assert self.flash is not None
            return self.flash.buffer[address & self.part.flash - 1]
        elif what == harvard.BREAK:
            if self.on_break is not None:
                self.on_break()
        elif what == harvard.UNDEFINED:
            self.machine.log.guest_error(f"invalid instruction at {address:#x}")
        return 0

    def _find(self, address: int) -> tuple[Io, int] | None:
        found: FlatRange | None = self.machine.memory.find(DATA + address)
        if found is None or not isinstance(found.region, Io):
            return None
        self._table[address] = out = found.region, DATA + address - found.base + found.offset
        return out

    def _nothing(self, address: int, what: str) -> int:
        if address not in self._silent:
            self._silent.add(address)
            self.machine.log.unimp(f"{what} of data address {address:#x}: nothing there")
        return 0

    # -- running

    @property
    def halted(self) -> bool:
        """Sleeps."""
        return bool(self._halted.value)

    @property
    def pc(self) -> int:
        """Address of the next instruction in bytes; exact while the CPU stands still."""
        return int(self.cpu.pc)

    @property
    def instructions(self) -> int:
        """Cycles so far: what the engine counts."""
        return int(self._cycles.value)

    @property
    def thread_id(self) -> int:
        thread = self.engine.thread
        return (thread.native_id if thread else None) or 0

    def prepare(self) -> None:
        """The CPU is going to run: the machine's time is its time."""
        if self.flash is None:
            raise AvrError(f"{self.model} has no flash at address 0")
        virtual = self.machine.time
        virtual.changed = self.deadline_moved
        if self.ns(int(self._cycles.value)) != virtual.now:  # somebody moved it by hand
            self._base_ns, self._base_cycle = virtual.now, int(self._cycles.value)
        self._set_deadline()

    def run(self) -> None:
        """Run until somebody kicks, a breakpoint is met, or the CPU waits for the world outside."""
        self.run_native(self.cpu.address)
        self._ended()

    def step(self) -> None:
        """One instruction, or the entry into an interrupt's handler and its first one."""
        self.step_native(self.cpu.address)
        self._ended()

    def _ended(self) -> None:
        if self._reason.value != interpreter.KICK:
            raise AvrError("no room for more predecoded code")
        self._kick.value = 0
        if self._hit.value:
            self._hit.value = 0
            self.engine.at_break(int(self.cpu.pc))
        if self._watched.value:
            self.engine.at_watch(self._watched.value - 1)
            self._watched.value = 0
        self.machine.time.set(self.ns(int(self._cycles.value)))
        if self._quit.value:
            self._quit.value = 0
            if self._restart is not None:
                self._restart = None
                self.machine.reset("warm")

    # -- debuggers, monitors, snapshots

    def translate(self, address: int) -> int | None:
        return address

    def register(self, name: str) -> int:
        """r0 to r31, SREG, SP, PC (in bytes) as debuggers name them.  KeyError."""
        cpu = self.cpu
        match name.lower():
            case "sreg":
                return int(cpu.status())
            case "sp":
                return int(cpu.sp)
            case "pc":
                return int(cpu.pc)
        return int(cpu.r[R_NAMES[name]])

    def set_register(self, name: str, value: int) -> None:
        cpu = self.cpu
        match name.lower():
            case "sreg":
                cpu.set_status(u8(value))
            case "sp":
                cpu.sp = type(cpu.sp)(value)
            case "pc":
                cpu.pc = u64(value & self.part.flash - 1)
            case _:
                cpu.r[R_NAMES[name]] = u8(value)

    def disassemble(self, address: int, count: int, read: Callable[[int, int], bytes]) -> str:
        """The text of the monitor's `x/i`: one instruction a line."""
        rows, out = self.arch.isa, []
        for _ in range(count):
            word = int.from_bytes(read(address, 2), "little")
            size = int(length(u32(word)))
            if size == 4:
                word |= int.from_bytes(read(address + 2, 2), "little") << 16
            out.append(f"0x{address:08x}:  {rows.disassemble(word, address)}\n")
            address += size
        return "".join(out)

    def describe(self) -> str:
        """The text of `info registers`; a CPU that runs stands still meanwhile."""
        running = self.engine.running and threading.current_thread() is not self.engine.thread
        if running:
            self.engine.stop()
        text = self._describe()
        if running:
            self.engine.start()
        return text

    def _describe(self) -> str:
        cpu = self.cpu
        status = int(cpu.status())
        flags = "".join(FLAGS[n] if status >> n & 1 else "-" for n in reversed(range(8)))
        out = [f"PC:    {int(cpu.pc) >> 1:06x}", f"SP:      {int(cpu.sp):04x}"]
        out += [f"RAMPZ:     {int(cpu.ramp[3]):02x}", f"EIND:      {int(cpu.eind):02x}"]
        out += [f"X:       {self._pair(26):04x}", f"Y:       {self._pair(28):04x}", f"Z:       {self._pair(30):04x}"]
        out += [f"SREG:    [ {' '.join(flags)} ]", f"CYCLES:  {self.cycles}"]
        for n in range(0, 32, 8):
            out.append(" ".join(f"R{k:02d}: {int(cpu.r[k]):02x}" for k in range(n, n + 8)))
        return "\n".join(out) + "\n"

    def _pair(self, n: int) -> int:
        return int(self.cpu.r[n]) | int(self.cpu.r[n + 1]) << 8

    SAVED = ("pc", "instructions", "lines", "halted", "stall", "enabled", "sp", "eind", "vectors", "program_call")

    def save(self) -> dict[str, Any]:
        cpu = self.cpu
        out: dict[str, Any] = {name: int(getattr(cpu, name)) for name in self.SAVED}
        out |= {"r": [int(v) for v in cpu.r], "ramp": [int(v) for v in cpu.ramp], "sreg": int(cpu.status())}
        out |= {
            "io_kind": bytes(self.io.kinds),
            "io_value": bytes(self.io.values),
            "io_counters": [[a, n] for a, n in self.io.counters.items()],
        }
        out |= {
            "counters": [list(w) for w in self.io.words],
            "alarms": [list(w) for w in self.io.bells],
            "io_alarms": [[*key, n] for key, n in self.io.alarms.items()],
            "base": [self._base_cycle, self._base_ns, self._hz],
        }
        return out

    def load(self, saved: dict[str, Any]) -> None:
        cpu = self.cpu
        for name in self.SAVED:
            setattr(cpu, name, type(getattr(cpu, name))(saved[name]))
        for n in range(32):
            cpu.r[n] = u8(saved["r"][n])
        for n in range(4):
            cpu.ramp[n] = u8(saved["ramp"][n])
        cpu.set_status(u8(saved["sreg"]))
        self.io.kinds[:], self.io.values[:] = saved["io_kind"], saved["io_value"]
        self.io.counters = dict(saved["io_counters"])
        for words, values in zip(self.io.words, saved["counters"], strict=True):
            words[:] = values
        for words, values in zip(self.io.bells, saved["alarms"], strict=True):
            words[:] = values
        self.io.alarms = {(address, mask): n for address, mask, n in saved["io_alarms"]}
        self.io.count.value, self.io.next_alarm.value = len(self.io.alarms), 0
        self.io._ask()
        self._base_cycle, self._base_ns, self._hz = saved["base"]
        self._deadline.value = 0
        self.forget()


class AvrEngine(MemoryListener):
    """What executes the CPU of one machine (`machine.cpu.Runner`).  `realtime`: virtual time does not run ahead of the host's."""

    name = "tcg"
    keeps_time = True  # the machine's time is stepped, by the CPU

    def __init__(self, realtime: bool = False) -> None:
        self.realtime = realtime
        self.breaks: list[tuple[str, int]] = []  # kind, code address
        self.watches: list[tuple[str, int, int]] = []  # kind, address, bytes
        self.machine: Machine | None = None
        self.cpu: AvrVcpu | None = None
        self.thread: threading.Thread | None = None
        self.wake = threading.Event()
        self.running = self.closed = False
        self.still = True
        self.changed = threading.Condition(threading.RLock())
        self.stopped_by: Callable[..., object] | None = None
        self._began = (0, 0)

    def factory(self, machine: Machine, model: str, index: int, properties: dict[str, Any]) -> Any:
        """`machine.cpu.CpuFactory`.  Raises PropertyError."""
        try:
            part = find(model)
        except KeyError:
            raise PropertyError(f"unable to find CPU model '{model}'", nearest(model, MODELS, "nearest: ")) from None
        soldered = MODELS.get(machine.board.cpu) if machine.board is not None else None
        if soldered is not None:
            if part.name not in (soldered.name, soldered.family):
                raise PropertyError(f"machine '{machine.name}' has an {soldered.name} ({soldered.family}), not an {part.name}")
            part = soldered
        if self.cpu is not None:
            raise PropertyError("an AVR machine has one CPU")
        self.machine, self.changed = machine, threading.Condition(machine.lock)
        self.cpu = AvrVcpu(self, machine, part, index)
        machine.memory.listen(self)
        return self.cpu

    # -- MemoryListener

    def map_changed(self, memory: Memory) -> None:
        if self.cpu is not None:
            self.cpu.follow(memory)

    def ram_written(self, ram: Ram, offset: int, size: int) -> None:
        if self.cpu is not None and ram is self.cpu.flash and size > 0:
            self.cpu.forget(max(offset - 2, 0) // PAGE, (offset + size - 1) // PAGE + 1)

    # -- running

    def pace(self, now: int) -> None:
        """Wait for the host's clock when virtual time (in nanoseconds) has run ahead."""
        if self.realtime and self.running:
            host, virtual = self._began
            ahead = (now - virtual) - (time.monotonic_ns() - host)
            if ahead < -50_000_000:  # nothing happened for a while
                self._began = time.monotonic_ns(), now
            elif ahead > 1_000_000:
                lock = self.machine.lock if self.machine is not None else self.changed
                lock.release()
                time.sleep(min(ahead / 1e9, 0.1))
                lock.acquire()

    def run_cycles(self, cycles: int) -> int:
        """Run until so many cycles have passed, asleep or not, in this thread; gives them: an instruction is not cut in two."""
        v = self.cpu
        assert v is not None
        start = int(v._cycles.value)
        v._until = start + cycles
        try:
            v.prepare()
            while int(v._cycles.value) < v._until:
                v.cpu.passed = u64(1)  # breakpoints are for those who start() the machine
                v.run()
        finally:
            v._until = NEVER
        return int(v._cycles.value) - start

    def start(self, only: Sequence[int] | None = None) -> None:
        with self.changed:
            if self.running or self.cpu is None or self.machine is None:
                return
            self.running = True
            self.cpu.prepare()
            self.cpu.cpu.passed = u64(1)
            self._began = time.monotonic_ns(), self.machine.time.now
            if self.thread is None:
                self.thread = threading.Thread(target=self.work, name="CPU 0", daemon=True)
                self.thread.start()
            self.changed.notify_all()

    def work(self) -> None:
        """The CPU's thread."""
        v = self.cpu
        assert v is not None
        while True:
            with self.changed:
                if not self.running:
                    self.still = True
                    self.changed.notify_all()
                    while not self.running and not self.closed:
                        self.changed.wait()
                if self.closed:
                    self.still = True
                    self.changed.notify_all()
                    return
                self.still = False
            self.wake.clear()
            try:
                v.run()
            except AvrError as e:
                self.failed(str(e))
                return
            if v._deadline.value >= NEVER and v.halted and not v._attention.value and self.running:
                if v.cpu.is_deaf():
                    v.machine.log.guest_error("the CPU sleeps with interrupts disabled: only a reset wakes it")
                self.wake.wait()

    def stop(self) -> None:
        """Returns when the CPU stands still, if it is not the CPU that calls."""
        with self.changed:
            self.running = False
            if self.cpu is not None:
                self.cpu._kick.value = 1
                self.cpu._attention.value = 1
            self.wake.set()
            if self.thread is threading.current_thread():
                return
            while self.thread is not None and not self.still and self.thread.is_alive():
                self.changed.wait(1.0)

    def step(self, index: int, flags: int, others: Sequence[int] = ()) -> tuple[int, str, int] | None:
        """One instruction."""
        assert self.cpu is not None
        self.cpu.prepare()
        found: list[tuple[int, str, int]] = []
        tell, self.stopped_by = self.stopped_by, lambda *hit: found.append(hit)
        try:
            self.cpu.step()
        finally:
            self.stopped_by = tell
        return found[0] if found else None

    def set_break(self, kind: str, address: int, size: int) -> None:
        """A breakpoint at a code address, or a watchpoint at one of DATA and up.  RuntimeError when it cannot be had."""
        if kind in WATCHES:
            if address < DATA:
                raise AvrError("only the data space, from 0x800000 on, is watched")
            if len(self.watches) == harvard.BREAKS:
                raise AvrError(f"no more than {harvard.BREAKS} watchpoints")
            self.watches.append((kind, address, size))
            self._tell_watches()
            return
        if len(self.breaks) == harvard.BREAKS and address not in {a for _, a in self.breaks}:
            raise AvrError(f"no more than {harvard.BREAKS} breakpoints")
        self.breaks.append((kind, address))
        self._tell_breaks()

    def clear_break(self, kind: str, address: int, size: int) -> None:
        if kind in WATCHES:
            self.watches.remove((kind, address, size))
            self._tell_watches()
            return
        self.breaks.remove((kind, address))
        self._tell_breaks()

    def _tell_watches(self) -> None:
        assert self.cpu is not None
        cpu = self.cpu.cpu
        for n, (kind, address, size) in enumerate(self.watches):
            cpu.watch_at[n], cpu.watch_size[n], cpu.watch_kind[n] = u64(address - DATA), u64(size), u64(WATCHES[kind])
        cpu.watches = u64(len(self.watches))
        cpu.fast_start = u64(NO_ADDRESS if self.watches else self.cpu.part.ram)

    def _tell_breaks(self) -> None:
        assert self.cpu is not None
        cpu = self.cpu.cpu
        places = sorted({a for _, a in self.breaks})
        for n, address in enumerate(places):
            cpu.break_at[n] = u64(address)
        cpu.breaks = u64(len(places))
        self.cpu.attend()

    def at_watch(self, number: int) -> None:
        """The instruction before the one at pc made an access that is watched."""
        kind, address, _ = self.watches[number]
        with self.changed:
            self.running = False
        if self.stopped_by is not None:
            self.stopped_by(0, kind, address)

    def at_break(self, pc: int) -> None:
        """The CPU stopped before the instruction at pc."""
        kind = next((k for k, a in self.breaks if a == pc), "")
        with self.changed:
            self.running = False
        if self.stopped_by is not None:
            self.stopped_by(0, kind, pc)

    def failed(self, reason: str) -> None:
        """Something that must not happen: the machine ends."""
        if self.machine is not None:
            self.machine.log.sink(f"tinamou: {reason}")
            self.machine.request_shutdown("host-error", code=1)

    def close(self) -> None:
        """Stop for good and give the memory back."""
        if self.closed:
            return
        self.stop()
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        if self.thread is not None:
            self.thread.join()
        if self.cpu is not None and self.machine is not None:
            self.machine.memory.unlisten(self)
            self.cpu.close()
