"""AVR CPUs as parts of a machine: cycles are the machine's time (docs/avr.md).  `runner` has what runs them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinamou.engine import harvard, interpreter
from tinamou.engine.architecture import Architecture
from tinamou.engine.cpu import PAGE, Shared
from tinamou.engine.harvard import NEVER, SAMPLE
from tinamou.engine.machinecpu import MachineCpu
from tinamou.engine.traceroom import TraceRoom, regions_allowed
from tinamou.machine.clock import SECOND, Clock
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine
from tinamou.machine.memory import FlatRange, Io, Memory, Ram
from tinamou.native.image import allocate, release
from tinamou.native.types import i64, u8, u32, u64

from .architecture import architecture, length
from .iotable import IoTable, Registers
from .models import Model
from .state import DATA, FLAGS, SREG, Avr

if TYPE_CHECKING:
    from tinamou.engine.jit import Jit

    from .runner import AvrEngine

ARENA = 64 * 36 * PAGE  # room for the entries of 256 KiB of code
NO_ADDRESS = 1 << 32
QUANTUM = 200_000  # cycles between looks at what other threads want
HZ = 16_000_000
DELAY = 0.1  # seconds that a CPU runs before anybody looks whether something is worth compiling

R_NAMES = {f"r{n}": n for n in range(32)}
CallFunction = ctypes.CFUNCTYPE(*[ctypes.c_uint64] * 5)


class AvrError(RuntimeError):
    """The CPU cannot go on: in words for the user."""


class AvrVcpu(MachineCpu):
    """The CPU of a part (`machine.cpu.Cpu`)."""

    cpu: Avr

    def __init__(self, engine: AvrEngine, machine: Machine, part: Model, index: int) -> None:
        self.engine, self.machine, self.part, self.model, self.index = engine, machine, part, part.name, index
        self.arch: Architecture = architecture(part.core, part.wide)
        self.image = interpreter.load(self.arch, "harvard")
        self.run_native, self.step_native, self.forget_native = interpreter.functions(self.image)
        cpu = self.arch.cpu()
        assert isinstance(cpu, Avr)
        self.cpu = cpu
        bits: dict[str, int] = self.image.notes["extensions"]
        self._call = CallFunction(self._called)
        self.shared, self.arena = Shared(), allocate(ARENA)
        self.shared.arena = self.shared.arena_start = u64(self.arena)
        self.shared.arena_end = u64(self.arena + ARENA)
        self.room = TraceRoom(self.image, self.shared, jit=engine.jit)
        self.pages = -(-part.flash // PAGE)
        self.pagemap = allocate((self.pages + 1) * 8)
        cpu.extensions = u64(sum(1 << k for name, k in bits.items() if name in part.extensions))
        cpu.call = u64(ctypes.cast(self._call, ctypes.c_void_p).value or 0)
        cpu.shared, cpu.pagemap = u64(self.shared.address), u64(self.pagemap)
        cpu.code_mask, cpu.ram_start, cpu.ram_size = u64(part.flash - 1), u64(part.ram), u64(part.sram)
        cpu.fast_start, cpu.boot, cpu.far = cpu.ram_start, u64(part.flash), u8(0xFF if part.far else 0)
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
            "program_limit",
            "hit",
            "watched",
        )
        self._cycles, self._deadline, self._attention, self._lines, self._halted, self._stall, self._quit, self._kick, self._reason, \
            self._program_limit, self._hit, self._watched = (self.word(n) for n in words)  # fmt: skip
        self.io = IoTable(cpu, lambda: self.cycles)
        self.clock = Clock(HZ, machine.time)
        self.clock.on_change(self._new_frequency)
        self._base_cycle = self._base_ns = 0
        self._hz = HZ
        self._inside = self._moved = False
        self._now = 0
        self._until = NEVER
        self._restart: str | None = None
        self.holds: set[str] = set()
        self._table: dict[int, tuple[Io, int]] = {}
        self._silent: set[int] = set()
        self.flash: Ram | None = None
        self.jit: Jit | None = None
        self._soon: threading.Timer | None = None  # then there will be one
        self.running = False  # perhaps in compiled code
        self.reset_vector = 0
        self._acknowledge: dict[int, Callable[[], object]] = {}
        self.pins = {f"vector{n}": Pin(self._input(n), f"vector{n}", n, self) for n in range(2, part.vectors + 1)}
        self.on_sleep: Callable[[], object] | None = None
        self.on_wake: Callable[[], object] | None = None
        self.on_watchdog: Callable[[], object] | None = None
        self.on_spm: Callable[[int, int, int], object] | None = None
        self.on_break: Callable[[], object] | None = None
        self._on_lpm: Callable[[int], int | None] | None = None
        self._protected = part.flash, False, False
        self._limit_lpm()
        self._place_registers()

    def close(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon.join()
        if self.jit is not None:
            self.jit.close()
        self.room.close()
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
        last = min(self.pages if last is None else last, self.pages)
        if self.jit is not None:
            self.jit.invalidate(first, last)
        self.forget_native(self.pagemap, first, last)
        self._attention.value = 1  # a region that wrote to a device leaves

    # -- what boards ask (machine.cpu.Cpu)

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
        """Reset the machine before the next instruction: "watchdog", "brown-out" or "pin"."""
        self._restart = cause
        self._quit.value = 1
        self.attend()

    def hold(self, cause: str, on: bool) -> None:
        """From the reset that comes now on, nothing is executed until this cause, and all others, have ended."""
        if on:
            self.holds.add(cause)
        elif cause in self.holds:
            self.holds.remove(cause)
            if not self.holds:
                self._halted.value = 0
                self.attend()

    @property
    def on_lpm(self) -> Callable[[int], int | None] | None:
        """Asked for each byte that is loaded from program memory."""
        return self._on_lpm

    @on_lpm.setter
    def on_lpm(self, f: Callable[[int], int | None] | None) -> None:
        self._on_lpm = f
        self._limit_lpm()

    def protect(self, boot: int, *, application: bool, boot_section: bool) -> None:
        """Lock bits: the boot section begins at byte `boot`; which of the two sections the other one's loads see as 0xFF.

        And which one is not interrupted while the vectors are in the other one.
        """
        self._protected = boot, application, boot_section
        self.cpu.boot, self.cpu.locked_out = u64(boot), u64(application | boot_section << 1)
        self.attend()
        self._limit_lpm()

    def shut_out(self, on: bool) -> None:
        """No interrupts until this is taken back, whatever I says."""
        self.cpu.closed = u64(on)
        self.attend()

    def _limit_lpm(self) -> None:
        boot, application, boot_section = self._protected
        self._program_limit.value = 0 if self._on_lpm is not None or application else boot if boot_section else NO_ADDRESS

    def _load_program(self, address: int, pc: int) -> int:
        answer = self._on_lpm(address) if self._on_lpm is not None else None
        if answer is not None:
            return answer
        boot, application, boot_section = self._protected
        if (pc < boot <= address and boot_section) or (address < boot <= pc and application):
            return 0xFF
        assert self.flash is not None
        return self.flash.buffer[address]

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
        self._halted.value, self._stall.value = int(bool(self.holds)), 0

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
                self.machine.time.advance_to(self.ns(cycle))  # what became due during the instruction comes before its access
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
                return self.machine.memory.read(DATA + address, 1) if self._outside(address) else self._nothing(address, "read")
            return found[0].read(found[1], 1)
        if what == harvard.STORE:
            found = self._table.get(address) or self._find(address)
            if found is None:
                if not self._outside(address):
                    return self._nothing(address, "write")
                self.machine.memory.write(DATA + address, value, 1)
                return 0
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
                self.on_spm(address & self.part.flash - 1, value & 0xFFFF, value >> 16)
        elif what == harvard.PROGRAM_LOAD:
            return self._load_program(address, value)
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

    def _outside(self, address: int) -> bool:
        """There is memory that is not the part's own."""
        found = self.machine.memory.find(DATA + address)
        return found is not None and isinstance(found.region, Ram)

    def _nothing(self, address: int, what: str) -> int:
        if address not in self._silent:
            self._silent.add(address)
            self.machine.log.unimp(f"{what} of data address {address:#x}: nothing there")
        return 0

    # -- running

    @property
    def thread(self) -> threading.Thread | None:  # type: ignore[override]
        return self.engine.thread

    def prepare(self) -> None:
        """The CPU is going to run: the machine's time is its time."""
        if self.flash is None:
            raise AvrError(f"{self.model} has no flash at address 0")
        virtual = self.machine.time
        virtual.changed = self.deadline_moved
        if self._soon is None and not self.engine.realtime:
            self._consider()
        if self.ns(int(self._cycles.value)) != virtual.now:  # somebody moved it by hand
            self._base_ns, self._base_cycle = virtual.now, int(self._cycles.value)
        self._set_deadline()

    def _consider(self) -> None:
        """Have regions, if they are wanted: later, so that no start takes longer.  In real time there is time enough without."""
        mode = self.engine.jit or os.environ.get("TINAMOU_JIT", "")
        if regions_allowed(mode):
            self._soon = threading.Timer(0 if mode == "eager" else DELAY, self._compile, [mode])
            self._soon.daemon = True
            self._soon.start()

    def _compile(self, mode: str) -> None:
        from tinamou.engine.jit import Jit

        from .code import Code

        assert self.flash is not None
        code = Code(self.arch, self.image, self.shared, self.cpu, QUANTUM)
        self.jit = code.jit = Jit(code, mode)
        self.cpu.quantum, self.cpu.sampling = i64(code.quantum), u64(min(code.quantum, SAMPLE))
        if os.environ.get("TINAMOU_CODE_CACHE") != "off":
            self.jit.open_cache(f"{self.part.name} {hashlib.blake2b(self.flash.buffer).hexdigest()}")
        self.jit.add(self)

    def run(self) -> None:
        """Run until somebody kicks, a breakpoint is met, or the CPU waits for the world outside."""
        self.running = True
        self.run_native(self.cpu.address)
        self.running = False
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
                cause, self._restart = self._restart, None
                self.machine.reset("warm")
                reason = {"watchdog": "watchdog", "pin": "host-ui"}.get(cause, "guest-reset")
                self.machine.request("restarted", cause=reason, guest=cause != "pin")

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

    SAVED = ("pc", "instructions", "lines", "halted", "stall", "enabled", "sp", "eind", "vectors")

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
            "holds": sorted(self.holds),
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
        self.holds = set(saved["holds"])
        self._deadline.value = 0
        self.forget()
