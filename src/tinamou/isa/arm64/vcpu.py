"""AArch64 CPUs of machines: their properties, lines, reset state, timers, and what boards and people are told of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinamou.engine.cpu import READ, Trap
from tinamou.engine.system import HeardFunction, Hit, SystemVcpu
from tinamou.machine.lines import Pin
from tinamou.machine.memory import BusError
from tinamou.machine.props import BOOL, SIZE, U64, Prop, Properties, PropertyError, nearest
from tinamou.native.types import u32, u64

from . import csr_privileged, mmu, psci, sysregs
from .alu import get_nzcv, set_nzcv
from .models import MODELS, MPIDR, PFR0, PROPERTIES
from .privileged import (
    EXTENSIONS,
    FIQ,
    HAS_16K,
    HAS_EL2,
    HAS_EL3,
    IRQ,
    MASKS,
    NS,
    SERROR,
    VFIQ,
    VIRQ,
)
from .state import SP, UNMONITORED, read_fpsr, write_fpsr
from .system import SystemCore

if TYPE_CHECKING:
    from tinamou.engine.system import SystemEngine

LINES = {"irq": 0, "fiq": 1, "virq": 2, "vfiq": 3, "serror": 4}
assert all(1 << LINES[n] == bit for n, bit in (("irq", IRQ), ("fiq", FIQ), ("virq", VIRQ), ("vfiq", VFIQ), ("serror", SERROR)))
TIMERS = ("cntp", "cntv", "cnthp", "cnthv", "cntps")  # by number: outputs of the CPU
KEPT = ("timer_changed", "lines", "psci_conduit", "firmware", "features",
           "id", "ctr", "dczid", "frequency", "resetvec", "getrandom", "clidr", "caches", "cbar")  # fmt: skip
VALUES = Properties("arm-cpu", {
    "has_el2": Prop(BOOL, False, "exception level EL2", "has_el2", "has_el2"),
    "has_el3": Prop(BOOL, False, "exception level EL3", "has_el3", "has_el3"),
    "rvbar": Prop(SIZE, 0, "address of the first instruction", "rvbar", "rvbar"),
    "mp-affinity": Prop(U64, None, "MPIDR_EL1's affinity fields", "mp-affinity", "mp_affinity"),
    "reset-cbar": Prop(SIZE, 0, "CBAR_EL1", "reset-cbar", "reset_cbar"),
    "psci-conduit": Prop(U64, 0, "calls that the machine's firmware answers: 1 SMC, 2 HVC", "psci-conduit", "psci_conduit"),
    "cntfrq": Prop(U64, 62_500_000, "frequency of the timers in Hz", "cntfrq", "cntfrq"),
} | {name: Prop(BOOL, None, f"feature {name}", name, name) for name in PROPERTIES})  # fmt: skip
# Identification of the caches (CCSIDR_EL1 by level and kind) of 32 KiB L1 and 1 MiB L2, lines of 64 bytes, as Cortex-A72 has them.
CLIDR, CCSIDR = 0x0A20_0023, {0: 0x701F_E00A, 1: 0x201F_E012, 2: 0x703F_E07A}
EXCEPTION_NAMES = {
    0x00: "Undefined Instruction", 0x01: "WFx", 0x07: "FP/SIMD", 0x09: "PAuth", 0x0D: "Branch Target", 0x0E: "Illegal State", 0x15: "SVC",
    0x16: "HVC", 0x17: "SMC", 0x18: "System Register", 0x20: "Prefetch Abort", 0x21: "Prefetch Abort", 0x22: "PC Alignment",
    0x24: "Data Abort", 0x25: "Data Abort", 0x3C: "BRK",
}  # fmt: skip


class Arm64Cpu(SystemVcpu):
    """One core."""

    lines = LINES
    kept = KEPT
    watch_before = True
    cpu: SystemCore

    def __init__(self, engine: SystemEngine, model: str, index: int, properties: dict[str, Any]) -> None:
        if model not in MODELS:
            raise PropertyError(f"unable to find CPU model '{model}'", nearest(model, sorted(MODELS), "nearest: "))
        values = VALUES.parse({k: v for k, v in properties.items() if v is not None})
        chosen = MODELS[model]
        switches = {n: values[n] for n in PROPERTIES if values.get(n) is not None}
        try:
            chosen = chosen.with_properties(**switches)
        except ValueError as e:
            raise PropertyError(str(e)) from None
        if not switches.get("mte"):  # without a board that has memory for tags
            chosen = chosen.without("mte")
        core = SystemCore()
        super().__init__(engine, core, chosen.name, index)
        self.extensions = chosen.extensions
        core.extensions = u64(engine.extensions(self.extensions))
        features = sum(bit for name, bit in EXTENSIONS.items() if name in self.extensions)
        el2, el3 = bool(values.get("has_el2")), bool(values.get("has_el3"))
        core.features = u64(features | el2 * HAS_EL2 | el3 * HAS_EL3 | (model == "max") * HAS_16K)
        for number, value in chosen.id_registers.items():
            core.id[number] = u64(value)
        # AArch32 is not there at any level
        core.id[PFR0] = u64(int(core.id[PFR0]) & ~0xFFFF | 0x11 | el2 << 8 | el3 << 12)
        affinity = values.get("mp_affinity")
        core.id[MPIDR] = u64(1 << 31 | (index if affinity is None else affinity))
        core.ctr = u64(chosen.ctr)
        self.frequency = values.get("cntfrq") or 62_500_000
        core.frequency = u64(self.frequency)
        core.resetvec = u64(values.get("rvbar") or 0)
        core.cbar = u64(values.get("reset_cbar") or 0)
        core.clidr = u64(CLIDR)
        for which, value in CCSIDR.items():
            core.caches[which] = u64(value)
        self._heard_timer = HeardFunction(self._timer)
        core.timer_changed = u64(ctypes.cast(self._heard_timer, ctypes.c_void_p).value or 0)
        self._answer = HeardFunction(self._firmware)
        core.psci_conduit, core.firmware = u64(values.get("psci_conduit") or 0), u64(ctypes.cast(self._answer, ctypes.c_void_p).value or 0)
        self.outputs: dict[str, list[Pin]] = {name: [] for name in TIMERS}
        self._levels = [False] * len(TIMERS)
        self._alarms: list[Any] = [None] * len(TIMERS)

    # -- reset and state

    def reset(self, vector: int | None = None) -> None:
        core = self.cpu
        self.clear()
        features = int(core.features)
        core.el = u64(3 if features & HAS_EL3 else 2 if features & HAS_EL2 else 1)
        core.guarded = u32("bti" in self.extensions)
        core.spsel, core.daif, core.nz = u64(1), u64(MASKS), u64(1)
        core.monitor = u64(UNMONITORED)
        for el in range(1, 4):
            core.sctlr[el] = u64(0x30C5_0838 if el > 1 else 0x30D0_0838)
        core.vpidr, core.vmpidr = core.id[0], core.id[MPIDR]
        core.scr = u64(0 if features & HAS_EL3 else NS)
        core.cptr[2] = u64(0x33FF)
        core.pmcr = u64(0x4100_3000)
        core.mdcr[2] = u64(0)
        core.oslock = u64(1)
        core.pc = u64(int(core.resetvec) if vector is None else vector)
        self._halted.value = 0
        self.loaded()
        self._attention.value = 1

    def loaded(self) -> None:
        core = self.cpu
        core.unprivileged = u64(0)
        core.regime()
        self.flush()
        for k in range(2):
            core.large_low[k], core.large_high[k] = u64((1 << 64) - 1), u64(0)
        for n in range(len(TIMERS)):
            self._rearm(n)

    def watch_hit(self) -> Hit:
        self.cpu.unprivileged = u64(0)
        self.cpu.regime()
        return super().watch_hit()

    def awake(self) -> bool:
        return bool(self.cpu.awake())

    def facts(self) -> dict[str, Any]:
        return {"model": self.model, "mpidr": int(self.cpu.id[MPIDR]) & 0xFF_00FF_FFFF, "el2": bool(int(self.cpu.features) & HAS_EL2),
                "el3": bool(int(self.cpu.features) & HAS_EL3), "frequency": int(self.cpu.frequency)}  # fmt: skip

    # -- time

    def set_time(self) -> None:
        super().set_time()
        for n in range(len(TIMERS)):
            self._rearm(n)

    def connect(self, timer: str, pin: Pin) -> None:
        """Drive `pin` by a timer's interrupt: cntp, cntv, cnthp, cnthv or cntps."""
        self.outputs[timer].append(pin)

    def _timer(self, timer: int, _: int, __: int, ___: int) -> int:
        """The guest wrote a timer's registers."""
        assert self.engine.machine is not None
        with self.engine.machine.lock:
            self._rearm(timer)
        return 0

    def _rearm(self, timer: int) -> None:
        """The level of a timer's output, and when that changes next."""
        core = self.cpu
        if self._alarms[timer] is not None:
            self._alarms[timer].cancel()
            self._alarms[timer] = None
        control, level = int(core.timer_control[timer]), False
        if control & 1 and self.clock is not None:
            now = self.clock.ticks + self.clock.skew - (int(core.cntvoff) if timer == 1 else 0) & (1 << 64) - 1
            left = int(core.timer_compare[timer]) - now
            if left <= 0:
                level = not control & 2
            elif left < 1 << 62:
                self._alarms[timer] = self.clock.at(self.clock.ticks + left, lambda: self._rearm(timer))
        if level != self._levels[timer]:
            self._levels[timer] = level
            for pin in self.outputs[TIMERS[timer]]:
                pin(level)

    # -- power (PSCI)

    def _firmware(self, _: int, __: int, ___: int, ____: int) -> int:
        """A call of the guest's: x0 is the function, x1-x3 its arguments, x0 the answer."""
        machine = self.engine.machine
        assert machine is not None
        with machine.lock:
            arguments = [int(self.cpu.x[n]) for n in range(4)]
            self.cpu.x[0] = u64(psci.call(self, machine, arguments))
        return 0

    def power_on(self, entry: int, context: int) -> None:
        """CPU_ON: begin at `entry`, at the level of the caller's EL1 or EL2."""
        self.reset(entry)
        self.cpu.x[0], self.cpu.powered_off = u64(context), u64(0)
        self._halted.value = 0
        self.wake.set()

    def power_off(self) -> None:
        """Wait for somebody's CPU_ON."""
        self.cpu.powered_off = u64(1)
        self._halted.value = 1

    # -- logging

    def _trap(self, what: int, pc: int, value: int, _: int) -> int:
        """`-d int`."""
        target = what >> 56 & 3
        if what >> 63:
            name = {0x80: "IRQ", 0x100: "FIQ", 0x180: "SError"}[what & 0xFFF]
            self._log("int", f"Taking exception [{name}] on CPU {self.index}\n...from EL{int(self.cpu.el)} to EL{target}, ELR 0x{pc:x}")
        else:
            syndrome = what & 0xFFFF_FFFF
            name = EXCEPTION_NAMES.get(syndrome >> 26, "Exception")
            self._log("int", f"Taking exception [{name}] on CPU {self.index}\n...from EL{int(self.cpu.el)} to EL{target}\n"
                      f"...with ESR 0x{syndrome >> 26:x}/0x{syndrome:x}\n...with FAR 0x{value:x}\n...with ELR 0x{pc:x}")  # fmt: skip
        return 0

    def _code(self, pc: int, _: int, __: int, ___: int) -> int:
        self._log("in_asm", f"----------------\nIN: \n{self.disassemble(pc, 16, self.read_virtual, one_line=True)}")
        return 0

    def disassemble(self, address: int, count: int, read: Callable[[int, int], bytes], one_line: bool = False) -> str:
        """Lines of `count` instructions, or with `one_line` up to the first that never goes on to the next."""
        from . import isa

        rows, out = isa(), ""
        for _ in range(count):
            try:
                word = int.from_bytes(read(address, 4), "little")
            except BusError:
                return out + f"0x{address:016x}:  Address 0x{address:x} is out of bounds.\n"
            text = rows.disassemble(word, address)
            out += f"0x{address:016x}:  {word:08x}  {text}\n"
            address += 4
            if one_line and text.split()[0] in ("b", "br", "ret", "eret", "svc", "hvc", "smc", "brk", "blr", "bl"):
                break
        return out

    # -- debuggers and monitors

    def translate(self, address: int) -> int | None:
        """The physical address of a virtual one, or None; changes no guest state."""
        core = self.cpu
        kind = READ | mmu.PLAIN_LOOK | (mmu.FOR_EL0 if core.el == 0 else 0)
        kept = core.attributes, core.shareability, core.guarded_page, core.hpfar, core.guarded
        physical, fault = mmu.walk(core, core.translated_by, u64(kind), u64(address))
        core.attributes, core.shareability, core.guarded_page, core.hpfar, core.guarded = kept
        return None if fault else int(physical)

    def pstate(self) -> int:
        return int(self.cpu.pstate())

    def register(self, name: str) -> int:
        """A register by its name: x0-x30, sp, pc, cpsr, v0-v31, fpcr, fpsr, system registers.  KeyError when there is none."""
        core = self.cpu
        name = name.lower()
        if name == "pc":
            return int(core.pc)
        if name == "sp":
            return int(core.x[SP])
        if name in ("cpsr", "pstate"):
            return self.pstate()
        kind, number = name[:1], name[1:]
        if kind in ("x", "v", "q") and number.isdecimal() and int(number) < (31 if kind == "x" else 32):
            return int(core.x[int(number)]) if kind == "x" else int(core.q[int(number)])
        if name == "fpcr":
            return int(core.fpcr)
        if name == "fpsr":
            return int(read_fpsr(core))
        found = sysregs.BY_NAME[name]
        try:
            return self._as_highest(lambda: int(csr_privileged.read(core, u32(found.number))))
        except Trap:
            raise KeyError(name) from None

    def set_register(self, name: str, value: int) -> None:
        """Change a register.  KeyError when there is none, or it cannot be written."""
        core = self.cpu
        name = name.lower()
        kind, number = name[:1], name[1:]
        if name == "pc":
            core.pc = u64(value)
        elif name == "sp":
            core.x[SP] = u64(value)
        elif name in ("cpsr", "pstate"):
            set_nzcv(core, u32(value >> 28 & 15))
            core.daif = u64(value & MASKS)
            core.select_stack(u64(value >> 2 & 3), u64(value & 1))
            self.loaded()
        elif kind == "x" and number.isdecimal() and int(number) < 31:
            core.x[int(number)] = u64(value)
        elif kind in ("v", "q") and number.isdecimal() and int(number) < 32:
            core.q[int(number)] = type(core.q[0])(value)
        elif name == "fpcr":
            core.fpcr = u32(value)
        elif name == "fpsr":
            write_fpsr(core, u32(value))
        else:
            found = sysregs.BY_NAME[name]
            try:
                self._as_highest(lambda: csr_privileged.write(core, u32(found.number), u64(value)))
            except Trap:
                raise KeyError(name) from None
            self.loaded()
            self._attention.value = 1

    def _as_highest(self, action: Callable[[], Any]) -> Any:
        """Do it with the rights of the highest level."""
        core = self.cpu
        el, core.el = core.el, u64(3)
        changed, core.timer_changed = core.timer_changed, u64(0)
        core.flush_tlb = self.flush  # type: ignore[method-assign]
        try:
            return action()
        finally:
            core.el, core.timer_changed = el, changed
            del core.flush_tlb
            core.regime()

    def describe(self) -> str:
        """The text of `info registers`."""
        core = self.cpu
        out = f" PC={int(core.pc):016x} "
        names = [f"X{n:02d}" for n in range(31)] + ["SP"]
        values = [int(core.x[n]) for n in range(31)] + [int(core.x[SP])]
        for k, (name, value) in enumerate(zip(names, values, strict=True)):
            out += f"{name:>3}={value:016x}" + ("\n" if k % 3 == 1 else " ")
        flags = int(get_nzcv(core))
        text = "".join(c if flags >> 3 - k & 1 else "-" for k, c in enumerate("NZCV"))
        secure = "" if int(core.features) & HAS_EL3 == 0 else "NS " if int(core.scr) & NS else "S "
        return out.rstrip() + f"\nPSTATE={self.pstate():08x} {text} {secure}EL{int(core.el)}{'h' if core.spsel else 't'}\n"


__all__ = ["Arm64Cpu"]
